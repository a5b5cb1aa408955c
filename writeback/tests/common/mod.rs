//! What the tests share: stores that do as they are told, and checks.
#![allow(dead_code, unused_imports, reason = "every test file uses a part of it")]
#![allow(unreachable_pub, reason = "a module of several test crates")]

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use writeback::page::PageRef;
use writeback::store::{
    Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch,
};
use writeback::{Config, Mapping, MemStore, StoreError};

mod pass_on;
mod watchdog;

pub(crate) use pass_on::pass_on;
pub(crate) use watchdog::{SetOnDrop, patience, watch, watch_for};

pub const PAGE: usize = 4096;

/// What a [`TestStore`] does with the next writes.
#[derive(Debug, Clone)]
pub enum Writes {
    /// Accepts them at once.
    Accept,
    /// Keeps them until the test releases them.
    Keep,
    /// Fails them.
    Fail(StoreError),
    /// Accepts so many bytes of each and fails the rest.
    Short(u64),
    /// Takes so long for each batch, in `submit`.
    Slow(Duration),
    /// Does not return from `submit` before it is told something else.
    Block,
    /// Forgets them.
    Drop,
    /// Panics.
    Panic,
}

#[derive(Debug, Default)]
pub struct Inner {
    accepted: Vec<u8>,
    durable: Vec<u8>,
    writes: Option<Writes>,
    kept: Vec<(WriteBatch, Completion)>,
    fail_flush: bool,
    panic_in_flush: bool,
    fail_set_len: bool,
    fail_read: bool,
    /// While set, a read that has begun does not end.
    block_read: bool,
    reads_begun: u64,
    /// While set, a flush that has begun does not end.
    block_flush: bool,
    flushes_begun: u64,
    batches: Vec<(u64, usize)>,
    spans: Vec<(u64, u64)>,
}

/// A store that a test drives step by step.
#[derive(Debug, Clone, Default)]
pub struct TestStore {
    inner: Arc<(Mutex<Inner>, Condvar)>,
}

impl TestStore {
    pub fn new() -> Self {
        watch();
        Self::default()
    }

    fn with<R>(&self, change: impl FnOnce(&mut Inner) -> R) -> R {
        let outcome = change(&mut self.inner.0.lock());
        self.inner.1.notify_all();
        outcome
    }

    pub fn writes(&self, mode: Writes) {
        self.with(|inner| inner.writes = Some(mode));
    }

    pub fn fail_flush(&self, fail: bool) {
        self.with(|inner| inner.fail_flush = fail);
    }

    pub fn panic_in_flush(&self) {
        self.with(|inner| inner.panic_in_flush = true);
    }

    pub fn fail_set_len(&self, fail: bool) {
        self.with(|inner| inner.fail_set_len = fail);
    }

    pub fn fail_read(&self, fail: bool) {
        self.with(|inner| inner.fail_read = fail);
    }

    pub fn block_read(&self, block: bool) {
        self.with(|inner| inner.block_read = block);
    }

    pub fn reads_begun(&self) -> u64 {
        self.with(|inner| inner.reads_begun)
    }

    pub fn block_flush(&self, block: bool) {
        self.with(|inner| inner.block_flush = block);
    }

    pub fn accepted(&self) -> Vec<u8> {
        self.with(|inner| inner.accepted.clone())
    }

    pub fn durable(&self) -> Vec<u8> {
        self.with(|inner| inner.durable.clone())
    }

    pub fn flushes_begun(&self) -> u64 {
        self.with(|inner| inner.flushes_begun)
    }

    pub fn kept(&self) -> usize {
        self.with(|inner| inner.kept.len())
    }

    /// First page and number of pages of every batch so far.
    pub fn batches(&self) -> Vec<(u64, usize)> {
        self.with(|inner| inner.batches.clone())
    }

    /// Takes bytes past the queue, from who writes a page itself.
    pub fn put(&self, offset: u64, bytes: &[u8]) {
        let at = usize::try_from(offset).unwrap();
        self.with(|inner| inner.accepted[at..at + bytes.len()].copy_from_slice(bytes));
    }

    /// As [`put`](Self::put), and lengthens the store if it ends earlier, unless there are no bytes.
    pub fn put_beyond(&self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = usize::try_from(offset).unwrap() + bytes.len();
        self.with(|inner| inner.accepted.resize(inner.accepted.len().max(end), 0));
        self.put(offset, bytes);
    }

    /// Where every batch so far begins, and how many bytes it has.
    pub fn spans(&self) -> Vec<(u64, u64)> {
        self.with(|inner| inner.spans.clone())
    }

    /// The kept write that came first, for the test to end.
    pub fn take_first(&self) -> (WriteBatch, Completion) {
        self.with(|inner| inner.kept.remove(0))
    }

    /// Ends the kept write that came first.
    pub fn release_first(&self, result: Result<(), StoreError>) {
        let (batch, completion) = self.with(|inner| inner.kept.remove(0));
        self.end(&batch, completion, result);
    }

    /// Ends the kept write that came last.
    pub fn release_last(&self, result: Result<(), StoreError>) {
        let (batch, completion) = self.with(|inner| inner.kept.pop().expect("one is kept"));
        self.end(&batch, completion, result);
    }

    fn end(&self, batch: &WriteBatch, completion: Completion, result: Result<(), StoreError>) {
        match result {
            Ok(()) => {
                self.with(|inner| inner.accept(batch, batch.len()));
                completion.complete(Ok(batch.len()));
            }
            Err(error) => completion.complete(Err(error)),
        }
    }
}

impl Inner {
    fn accept(&mut self, batch: &WriteBatch, limit: u64) {
        let mut at = usize::try_from(batch.offset()).unwrap();
        let mut left = usize::try_from(limit).unwrap();
        for image in batch.images() {
            let bytes = image.as_ref();
            let bytes = &bytes[..left.min(bytes.len())];
            if self.accepted.len() < at + bytes.len() {
                self.accepted.resize(at + bytes.len(), 0);
            }
            self.accepted[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
            left -= bytes.len();
        }
    }
}

fn broken() -> StoreError {
    std::io::Error::other("broken by the test").into()
}

impl Store for TestStore {
    fn limits(&self) -> Limits {
        MemStore::new().limits()
    }

    fn len(&self) -> Result<u64, StoreError> {
        self.with(|inner| Ok(inner.accepted.len() as u64))
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.with(|inner| {
            if inner.fail_set_len {
                return Err(broken());
            }
            inner.accepted.resize(usize::try_from(len).unwrap(), 0);
            Ok(())
        })
    }

    fn read(&self, run: ReadRun) {
        run.fill(|offset, into| {
            let (lock, changed) = &*self.inner;
            let mut inner = lock.lock();
            inner.reads_begun += 1;
            while inner.block_read {
                changed.wait(&mut inner);
            }
            if inner.fail_read {
                return Err(broken());
            }
            let from = usize::try_from(offset).unwrap().min(inner.accepted.len());
            let count = into.len().min(inner.accepted.len() - from);
            into[..count].copy_from_slice(&inner.accepted[from..from + count]);
            Ok(count)
        });
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        let mode = self.with(|inner| {
            inner.batches.push((batch.first_page(), batch.images().len()));
            inner.spans.push((batch.offset(), batch.len()));
            inner.writes.clone().unwrap_or(Writes::Accept)
        });
        match mode {
            Writes::Accept => self.end(&batch, completion, Ok(())),
            Writes::Slow(time) => {
                thread::sleep(time);
                self.end(&batch, completion, Ok(()));
            }
            Writes::Block => {
                let (lock, changed) = &*self.inner;
                let mut inner = lock.lock();
                while matches!(inner.writes, Some(Writes::Block)) {
                    changed.wait(&mut inner);
                }
                drop(inner);
                self.end(&batch, completion, Ok(()));
            }
            Writes::Keep => self.with(|inner| inner.kept.push((batch, completion))),
            Writes::Fail(error) => self.end(&batch, completion, Err(error)),
            Writes::Short(bytes) => {
                self.with(|inner| inner.accept(&batch, bytes.min(batch.len())));
                completion.complete(Ok(bytes.min(batch.len())));
            }
            Writes::Drop => drop(completion),
            Writes::Panic => panic!("told to by the test"),
        }
    }

    fn flush(&self, _kind: FlushKind, completion: FlushCompletion) {
        completion.complete_with(|| {
            let (lock, changed) = &*self.inner;
            let mut inner = lock.lock();
            inner.flushes_begun += 1;
            // What a flush covers is what was accepted when it began, at the least.
            let covers = inner.accepted.clone();
            changed.notify_all();
            while inner.block_flush {
                changed.wait(&mut inner);
            }
            assert!(!inner.panic_in_flush, "told to by the test");
            if inner.fail_flush {
                return Err(broken());
            }
            inner.durable = covers;
            Ok(())
        });
    }
}

/// A store in memory that completes writes late, on another thread and out of order.
#[derive(Debug)]
pub struct LateStore {
    pub inner: MemStore,
    queue: Mutex<Sender<(WriteBatch, Completion)>>,
}

impl LateStore {
    pub fn new(inner: MemStore, seed: u64) -> Self {
        watch();
        let (queue, jobs) = channel::<(WriteBatch, Completion)>();
        let store = inner.clone();
        thread::spawn(move || {
            let mut random = SmallRng::seed_from_u64(seed);
            while let Ok(first) = jobs.recv() {
                let mut batch = vec![first];
                batch.extend(jobs.try_iter().take(7));
                batch.shuffle(&mut random);
                for (write, completion) in batch {
                    if random.random_bool(0.1) {
                        thread::sleep(Duration::from_micros(200));
                    }
                    store.write(write, completion);
                }
            }
        });
        Self { inner, queue: Mutex::new(queue) }
    }
}

impl Store for LateStore {
    pass_on!(inner: limits, len, set_len, read, flush);

    fn write(&self, batch: WriteBatch, completion: Completion) {
        // Should the thread be gone, the completion comes back in the error and is dropped.
        let _ = self.queue.lock().send((batch, completion));
    }
}

/// A mapping over a new [`TestStore`] with `pages` pages of zeros, none of them cached.
pub fn open(pages: usize) -> (Mapping, TestStore) {
    let store = TestStore::new();
    store.set_len((pages * PAGE) as u64).unwrap();
    let mapping = Mapping::with_config(Arc::new(store.clone()), Config::new()).unwrap();
    (mapping, store)
}

/// As [`open`], with every page dirty and filled with `byte`.
pub fn open_dirty(pages: usize, byte: u8) -> (Mapping, TestStore) {
    let (mapping, store) = open(pages);
    mapping.handle().write_at(&vec![byte; pages * PAGE], 0).unwrap();
    (mapping, store)
}

pub fn page(mapping: &Mapping, index: u64) -> PageRef {
    watch();
    mapping.page(index).unwrap()
}

/// Waits until `condition` holds; fails the test if it does not within ten seconds.
#[track_caller]
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    watch();
    let deadline = Instant::now() + patience();
    while !condition() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        thread::sleep(Duration::from_micros(200));
    }
}

/// A bound on time: what is slow by itself is slow every time, what the machine slows is not. Passes with the first of
/// five attempts that keeps the bound.
#[track_caller]
pub fn in_one_of_five(mut attempt: impl FnMut() -> Result<(), String>) {
    let told: Vec<_> = (0..5).map_while(|_| attempt().err()).collect();
    assert!(told.len() < 5, "five times: {told:?}");
}

/// Gives what should not happen the time to happen.
#[track_caller]
pub fn never(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..30 {
        assert!(!condition(), "came true too early: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// At the end of a test: nothing is dirty, nothing is under way, nothing is broken, and what the
/// cache calls clean is in the store.
#[track_caller]
pub fn assert_settled(mapping: &Mapping) {
    mapping.check().unwrap();
    let stats = mapping.stats();
    assert_eq!((stats.dirty, stats.writeback), (0, 0), "{stats:?}");
    assert_clean_is_stored(mapping);
}

/// I-STORED: a page that is not dirty, not under writeback and not locked is in the store as it is.
#[track_caller]
pub fn assert_clean_is_stored(mapping: &Mapping) {
    let pages = mapping.len().div_ceil(mapping.page_size() as u64);
    for page in (0..pages).filter_map(|index| mapping.cached_page(index)) {
        let state = page.snapshot();
        if state.is_dirty() || state.is_under_writeback() || !state.is_uptodate() {
            continue;
        }
        let mut stored = vec![0; mapping.page_size()];
        mapping.store().read_at(page.offset(), &mut stored).unwrap();
        page.read_with(|bytes| assert!(bytes == stored, "page {} differs", page.index()));
    }
}
