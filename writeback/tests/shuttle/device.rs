//! The store under the cache: it reads, writes and flushes at once, or late, from other threads and out of order; it
//! fails when told to; and it holds the cache to what `Store` promises its implementors.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::{Condvar, Mutex, MutexGuard};
use shuttle::thread;
use writeback::StoreError;
use writeback::page::Image;
use writeback::store::{
    Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch,
};

use crate::ledger::PAGE;

#[derive(Debug, Default)]
struct State {
    /// It takes whole pages only.
    aligned: bool,
    accepted: Vec<u8>,
    durable: Vec<u8>,
    /// What waits for a thread of the device; `None` of it if everything is done at once.
    queue: Option<Vec<Asked>>,
    closed: bool,
    /// Pages whose write was submitted and is not completed.
    under_way: BTreeSet<u64>,
    /// Pages whose read was begun and has not ended.
    reading: BTreeSet<u64>,
    setting_len: bool,
    set_len_fails: bool,
    /// How many of the next writes fail.
    failing: u64,
    failed: u64,
    /// The next flush fails, and those after it lie.
    flush_fails: bool,
    broken: bool,
    flushes: u64,
}

/// What the device was asked for and has not ended.
#[derive(Debug)]
enum Asked {
    Read(ReadRun),
    Write(WriteBatch, Completion),
    /// With what had been accepted when it began.
    Flush(Vec<u8>, FlushCompletion),
}

impl State {
    fn begin(&mut self, page: u64) {
        assert!(self.under_way.insert(page), "two writes of page {page} at a time");
        assert!(!self.reading.contains(&page), "page {page} is written while it is read");
    }
}

/// A store in memory. Its locks are shuttle's, so everything it does is part of the schedule.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Device {
    /// A device with `bytes`, durable. It is `late` if threads are to [`serve`](Self::serve) it.
    pub(crate) fn new(bytes: Vec<u8>, late: bool) -> Self {
        let state = State {
            accepted: bytes.clone(),
            durable: bytes,
            queue: late.then(Vec::new),
            ..State::default()
        };
        Self { shared: Arc::new((Mutex::new(state), Condvar::new())) }
    }

    /// An empty device that takes whole pages only.
    pub(crate) fn aligned(late: bool) -> Self {
        let device = Self::new(Vec::new(), late);
        device.lock().aligned = true;
        device
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().expect("no panic under it")
    }

    /// Does what is queued, one randomly chosen thing after the other, until the device is closed.
    pub(crate) fn serve(&self) {
        loop {
            let mut state = self.lock();
            while state.queue.as_ref().unwrap().is_empty() && !state.closed {
                state = self.shared.1.wait(state).unwrap();
            }
            let queue = state.queue.as_mut().unwrap();
            if queue.is_empty() {
                return;
            }
            let at = thread_rng().gen_range(0..queue.len());
            let asked = queue.swap_remove(at);
            drop(state);
            self.end(asked);
        }
    }

    fn end(&self, asked: Asked) {
        match asked {
            Asked::Read(run) => self.read_now(run),
            Asked::Write(batch, completion) => self.write_now(&batch, completion),
            Asked::Flush(covers, completion) => self.flush_now(covers, completion),
        }
    }

    /// Has it done by a thread of the device, if there are any.
    fn end_or_queue(&self, asked: Asked) {
        let mut state = self.lock();
        let closed = state.closed;
        match &mut state.queue {
            Some(queue) if !closed => {
                queue.push(asked);
                self.shared.1.notify_all();
            }
            _ => {
                drop(state);
                self.end(asked);
            }
        }
    }

    fn read_now(&self, run: ReadRun) {
        // Whoever waits for it may write the page as soon as it has ended.
        self.lock().reading.retain(|page| !pages_of_run(&run).contains(page));
        run.fill(|offset, into| {
            let state = self.lock();
            let pages = offset / PAGE as u64..(offset + into.len() as u64).div_ceil(PAGE as u64);
            assert!(
                state.under_way.range(pages).next().is_none(),
                "a page is read while it is written"
            );
            let from = to_usize(offset).min(state.accepted.len());
            let count = into.len().min(state.accepted.len() - from);
            into[..count].copy_from_slice(&state.accepted[from..from + count]);
            Ok(count)
        });
    }

    fn flush_now(&self, covers: Vec<u8>, completion: FlushCompletion) {
        let mut state = self.lock();
        let outcome = if std::mem::take(&mut state.flush_fails) {
            // The next one succeeds, as if there were nothing to flush: the device has forgotten it.
            state.broken = true;
            Err(StoreError::NoSpace)
        } else {
            if !state.broken {
                state.durable = covers;
            }
            Ok(())
        };
        drop(state);
        completion.complete(outcome);
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.shared.1.notify_all();
    }

    fn write_now(&self, batch: &WriteBatch, completion: Completion) {
        let bytes: Vec<_> =
            batch.images().iter().map(|image| copy_slowly(image.as_ref())).collect();
        let failed = self.accept(batch.offset(), &bytes.concat());
        // The write is no longer under way once its completion is used, and not much earlier: then the
        // next one of the page may begin.
        self.lock().under_way.retain(|page| !pages_of(batch).contains(page));
        match failed {
            true => completion.complete(Err(StoreError::NoSpace)),
            false => completion.complete(Ok(batch.len())),
        }
    }

    /// Accepts bytes at `offset`, unless it is to fail; returns whether it did.
    fn accept(&self, offset: u64, bytes: &[u8]) -> bool {
        let mut state = self.lock();
        if state.failing > 0 {
            state.failing -= 1;
            state.failed += 1;
            return true;
        }
        let (from, to) = (to_usize(offset), to_usize(offset) + bytes.len());
        if state.accepted.len() < to {
            state.accepted.resize(to, 0);
        }
        state.accepted[from..to].copy_from_slice(bytes);
        false
    }

    /// Writes an image past the queue, as an engine does that has the page's `Writeback`.
    pub(crate) fn write_image(&self, offset: u64, image: &[u8]) -> Result<(), StoreError> {
        let page = offset / PAGE as u64;
        self.lock().begin(page);
        let bytes = copy_slowly(image);
        let failed = self.accept(offset, &bytes);
        self.lock().under_way.remove(&page);
        if failed { Err(StoreError::NoSpace) } else { Ok(()) }
    }

    pub(crate) fn fail_writes(&self, count: u64) {
        self.lock().failing = count;
    }

    pub(crate) fn failed(&self) -> u64 {
        self.lock().failed
    }

    pub(crate) fn fail_flush(&self) {
        self.lock().flush_fails = true;
    }

    /// The next change of its length fails.
    pub(crate) fn fail_set_len(&self) {
        self.lock().set_len_fails = true;
    }

    /// How often it was flushed, well or badly.
    pub(crate) fn flushes(&self) -> u64 {
        self.lock().flushes
    }

    pub(crate) fn accepted(&self) -> Vec<u8> {
        self.lock().accepted.clone()
    }

    pub(crate) fn durable(&self) -> Vec<u8> {
        self.lock().durable.clone()
    }
}

/// A copy of an image made in two steps, the odd bytes last: who changes an image that is being written
/// is found out.
fn copy_slowly(image: &[u8]) -> Vec<u8> {
    let mut copy: Vec<_> = image.iter().map(|byte| byte.wrapping_add(1)).collect();
    for odd in [0, 1] {
        copy.iter_mut().zip(image).skip(odd).step_by(2).for_each(|(to, from)| *to = *from);
        thread::yield_now();
    }
    copy
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

fn pages_of(batch: &WriteBatch) -> Range<u64> {
    batch.first_page()..batch.first_page() + batch.images().len() as u64
}

fn pages_of_run(run: &ReadRun) -> Range<u64> {
    run.offset() / PAGE as u64..(run.offset() + run.len()).div_ceil(PAGE as u64)
}

fn assert_shape(batch: &WriteBatch) {
    assert_eq!(batch.offset(), batch.first_page() * PAGE as u64);
    assert!(batch.images().iter().all(|image| !image.is_empty()), "an empty image: {batch:?}");
    let (_, all_but_last) = batch.images().split_last().expect("a batch has a page");
    assert!(all_but_last.iter().all(|image| image.len() == PAGE), "not side by side: {batch:?}");
}

impl Store for Device {
    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.alignment = if self.lock().aligned { PAGE } else { 1 };
        limits
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(self.lock().accepted.len() as u64)
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        let mut state = self.lock();
        assert!(!state.setting_len, "two calls of set_len at a time");
        let beyond = len.div_ceil(PAGE as u64)..;
        // Of aligned writes, one that is padded or cut away may be under way: then it is cut again.
        let cut = len < state.accepted.len() as u64 && !state.aligned;
        assert!(!cut || state.under_way.range(beyond).next().is_none(), "cut under a write");
        state.setting_len = true;
        drop(state);
        thread::yield_now();
        let mut state = self.lock();
        state.setting_len = false;
        if std::mem::take(&mut state.set_len_fails) {
            return Err(StoreError::NoSpace);
        }
        state.accepted.resize(to_usize(len), 0);
        Ok(())
    }

    fn read(&self, run: ReadRun) {
        for page in pages_of_run(&run) {
            assert!(self.lock().reading.insert(page), "two reads of page {page} at a time");
        }
        self.end_or_queue(Asked::Read(run));
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        assert_shape(&batch);
        let mut state = self.lock();
        let whole = |image: &Image| image.len() == PAGE;
        assert!(!state.aligned || batch.images().iter().all(whole), "not aligned: {batch:?}");
        pages_of(&batch).for_each(|page| state.begin(page));
        drop(state);
        self.end_or_queue(Asked::Write(batch, completion));
    }

    /// Covers what had been accepted when it began, and no more.
    fn flush(&self, _kind: FlushKind, completion: FlushCompletion) {
        let mut state = self.lock();
        state.flushes += 1;
        let covers = state.accepted.clone();
        drop(state);
        thread::yield_now();
        self.end_or_queue(Asked::Flush(covers, completion));
    }
}
