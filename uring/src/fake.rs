//! A ring without a kernel, over a store in memory, that does what a kernel may: it ends things late and in any order, short, interrupted, or not now.

mod broken;

use std::collections::VecDeque;
use std::io;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use libc::iovec;
use parking_lot::{Condvar, Mutex};
use proptest::prelude::*;
use writeback::store::{
    Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch,
};
use writeback::{CacheConfig, Config, Mapping, MemStore, PageCache, StoreError};

use crate::drive::{Engine, Shared, drive};
use crate::flight::{Below, Flight};
use crate::progress::Progress;
use crate::queue::Wake;
use crate::ring::{Act, Bytes, Call, Ring};

/// A wake, until somebody has slept over it.
#[derive(Default)]
struct Event(Mutex<bool>, Condvar);

struct Waker(Arc<Event>);

impl Wake for Waker {
    fn wake(&self) {
        *self.0.0.lock() = true;
        self.0.1.notify_all();
    }
}

/// What a fake kernel has been asked for.
enum Asked {
    Move { act: Act, offset: u64, slices: Vec<iovec> },
    Sync,
}

struct Fake {
    memory: MemStore,
    rng: Rng,
    alignment: usize,
    /// Entries that it takes between two calls of `enter`.
    room: usize,
    noted: Vec<(u64, Asked)>,
    under_way: Vec<(u64, Asked)>,
    ended: VecDeque<(u64, i32)>,
    event: Arc<Event>,
    /// Most that it had at a time.
    most: Arc<AtomicUsize>,
    /// What ends with an error of its own: `EINTR` or `EAGAIN`, one of so many; 0: none.
    refuses: u32,
    /// Ends nothing while this is set.
    stuck: Arc<Mutex<bool>>,
    /// Takes nothing any more while this is set.
    broken: Arc<Mutex<bool>>,
    /// Hands over nothing that is noted while this is set; it is set when something ends, if it `deafens`.
    deaf: Arc<Mutex<bool>>,
    deafens: bool,
    /// Has ended all that it has before it returns, unless it is stuck, also if it breaks.
    prompt: bool,
    /// Says each end twice, and does all at once.
    repeats: bool,
}

// SAFETY: the addresses in it are of flights, which stay (I-PINNED).
unsafe impl Send for Fake {}

impl Fake {
    fn new(memory: &MemStore, seed: u64) -> Self {
        Self {
            memory: memory.clone(),
            rng: Rng::with_seed(seed),
            alignment: 1,
            room: 8,
            noted: Vec::new(),
            under_way: Vec::new(),
            ended: VecDeque::new(),
            event: Arc::default(),
            most: Arc::default(),
            refuses: 6,
            stuck: Arc::default(),
            broken: Arc::default(),
            deaf: Arc::default(),
            deafens: false,
            prompt: false,
            repeats: false,
        }
    }

    /// How much of `len` bytes is done now: at least some.
    fn some(&mut self, len: usize) -> usize {
        if len <= self.alignment || self.repeats || self.rng.bool() {
            return len;
        }
        (self.rng.usize(1..=len) / self.alignment * self.alignment).max(self.alignment).min(len)
    }

    /// Does it as far as it likes.
    fn perform(&mut self, asked: &Asked) -> i32 {
        if self.refuses > 0 && self.rng.u32(0..self.refuses) == 0 {
            let is_move = matches!(asked, Asked::Move { .. });
            return if self.rng.bool() || !is_move { -libc::EINTR } else { -libc::EAGAIN };
        }
        match asked {
            Asked::Sync => self.memory.sync(FlushKind::Data).map_or(-libc::EIO, |()| 0),
            Asked::Move { act: Act::Write, offset, slices } => {
                let mut bytes = Vec::new();
                for slice in slices {
                    // SAFETY: I-PINNED, which whoever pushed it has promised.
                    bytes.extend_from_slice(unsafe {
                        std::slice::from_raw_parts(slice.iov_base.cast::<u8>(), slice.iov_len)
                    });
                }
                let count = self.some(bytes.len());
                self.memory.write_at(*offset, &bytes[..count]).unwrap();
                i32::try_from(count).unwrap()
            }
            Asked::Move { act: Act::Read, offset, slices } => {
                let room: usize = slices.iter().map(|slice| slice.iov_len).sum();
                let mut bytes = vec![0; room];
                let there = self.memory.read_at(*offset, &mut bytes).unwrap();
                // Within a block it ends at the end only.
                let count = if there < room { there } else { self.some(room) };
                let mut rest = &bytes[..count];
                for slice in slices {
                    let part = rest.len().min(slice.iov_len);
                    // SAFETY: as above; and they are the flight's alone.
                    let into = unsafe {
                        std::slice::from_raw_parts_mut(slice.iov_base.cast::<u8>(), part)
                    };
                    into.copy_from_slice(&rest[..part]);
                    rest = &rest[part..];
                }
                i32::try_from(count).unwrap()
            }
        }
    }
}

impl Ring for Fake {
    unsafe fn push(&mut self, key: u64, call: Call<'_>) -> bool {
        if self.noted.len() == self.room {
            return false;
        }
        let asked = match call {
            Call::Sync { .. } => Asked::Sync,
            Call::Move(act, offset, Bytes::One(slice)) => {
                Asked::Move { act, offset, slices: vec![slice] }
            }
            Call::Move(act, offset, Bytes::Many(slices)) => {
                Asked::Move { act, offset, slices: slices.to_vec() }
            }
        };
        self.noted.push((key, asked));
        true
    }

    fn enter(&mut self, wait: bool) -> io::Result<()> {
        if *self.deaf.lock() && !self.noted.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        self.under_way.append(&mut self.noted);
        self.most.fetch_max(self.under_way.len(), Ordering::Relaxed);
        loop {
            let is_broken = *self.broken.lock();
            if is_broken && !self.prompt {
                return Err(io::Error::from_raw_os_error(libc::EBADF));
            }
            let is_stuck = *self.stuck.lock();
            let mut left = match self.under_way.len() {
                count if self.prompt && (is_broken || !is_stuck) => count,
                _ if is_stuck => 0,
                count => self.rng.usize(0..=count),
            };
            while left > 0 {
                let number = self.rng.usize(0..self.under_way.len());
                let (key, asked) = self.under_way.swap_remove(number);
                let result = self.perform(&asked);
                self.ended.push_back((key, result));
                left -= 1;
            }
            if is_broken {
                return Err(io::Error::from_raw_os_error(libc::EBADF));
            }
            if !wait || !self.ended.is_empty() {
                return Ok(());
            }
            let mut woken = self.event.0.lock();
            if self.under_way.is_empty() || is_stuck {
                // A wake that does not come is a lost one: the test is not over in time.
                self.event.1.wait_while_for(
                    &mut woken,
                    |woken| !*woken,
                    Duration::from_millis(if is_stuck { 1 } else { 60_000 }),
                );
            }
            if std::mem::take(&mut *woken) {
                return Ok(());
            }
        }
    }

    fn reap(&mut self, ends: &mut Vec<(u64, i32)>) {
        if self.deafens && !self.ended.is_empty() {
            *self.deaf.lock() = true;
        }
        for end in self.ended.drain(..) {
            ends.push(end);
            if self.repeats {
                ends.push(end);
            }
        }
    }

    fn take_back(&mut self, keys: &mut Vec<u64>) {
        keys.extend(self.noted.drain(..).map(|(key, _)| key));
    }
}

impl Below for MemStore {
    fn len(&self) -> Result<u64, StoreError> {
        Store::len(self)
    }

    fn sync_name(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A store over a fake ring.
#[derive(Debug)]
struct Under {
    engine: Engine,
    memory: MemStore,
    alignment: usize,
}

impl Under {
    fn new(ring: Fake, places: u32) -> Self {
        let (memory, alignment) = (ring.memory.clone(), ring.alignment);
        let (waker, below) = (Waker(Arc::clone(&ring.event)), memory.clone());
        let progress = Arc::<Progress>::default();
        let shared = Shared::new(Box::new(waker), Box::new(below), places, progress);
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || drive(ring, &shared)
        });
        Self { engine: Engine::new(shared, thread), memory, alignment }
    }
}

impl Store for Under {
    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.alignment = self.alignment;
        limits
    }

    fn len(&self) -> Result<u64, StoreError> {
        Store::len(&self.memory)
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.memory.set_len(len)
    }

    fn read(&self, run: ReadRun) {
        self.engine.submit(Flight::read(run, self.alignment));
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        self.engine.submit(Flight::write(batch, completion, self.alignment));
    }

    fn is_congested(&self) -> bool {
        self.engine.is_congested()
    }

    fn flush(&self, kind: FlushKind, completion: FlushCompletion) {
        self.engine.submit(Flight::flush(kind, completion));
    }
}

/// A limit for what could wait for ever.
fn within<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, is_done) = channel();
    let body = thread::spawn(move || {
        let result = body();
        let _ = done.send(());
        result
    });
    let outcome = is_done.recv_timeout(Duration::from_secs(45));
    assert!(outcome != Err(std::sync::mpsc::RecvTimeoutError::Timeout), "it hangs");
    body.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[derive(Debug, Clone)]
enum Step {
    Write { offset: usize, len: usize },
    Read { offset: usize, len: usize },
    SetLen(usize),
    Sync,
    Forget,
}

const PAGE: usize = 512;
const LEN_MAX: usize = 40 * PAGE;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let range = || (0..LEN_MAX, 1..12 * PAGE);
    let step = prop_oneof![
        5 => range().prop_map(|(offset, len)| Step::Write { offset, len }),
        4 => range().prop_map(|(offset, len)| Step::Read { offset, len }),
        1 => (0..LEN_MAX).prop_map(Step::SetLen),
        2 => Just(Step::Sync),
        2 => Just(Step::Forget),
    ];
    prop::collection::vec(step, 1..40)
}

fn perform(mapping: &Mapping, cache: &PageCache, model: &mut Vec<u8>, number: u8, step: &Step) {
    let handle = mapping.handle();
    match *step {
        Step::Write { offset, len } => {
            handle.write_at(&vec![number; len], offset as u64).unwrap();
            model.resize(model.len().max(offset + len), 0);
            model[offset..offset + len].fill(number);
        }
        Step::Read { offset, len } => {
            let mut found = vec![0; len];
            let count = handle.read_at(&mut found, offset as u64).unwrap();
            let end = (offset + len).min(model.len());
            assert_eq!(found[..count], model[offset.min(end)..end]);
        }
        Step::SetLen(len) => {
            handle.set_len(len as u64).unwrap();
            model.resize(len, 0);
        }
        Step::Sync => handle.sync_data().unwrap(),
        Step::Forget => {
            handle.sync_data().unwrap();
            cache.evict(u64::MAX);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// However a kernel ends what it is asked for, the bytes are those that were written.
    #[test]
    fn in_any_schedule_the_bytes_are_those_that_were_written(
        program in steps(), seed: u64, places in 1..20_u32, room in 1..10_usize, aligned: bool,
    ) {
        within(move || {
            let memory = MemStore::new();
            let mut ring = Fake::new(&memory, seed);
            ring.room = room;
            ring.alignment = if aligned { PAGE } else { 1 };
            let store = Arc::new(Under::new(ring, places));
            let cache = PageCache::new(CacheConfig::bytes(64 * PAGE as u64)).unwrap();
            let config = Config::new().page_size(PAGE).cache(&cache);
            let mapping = Mapping::with_config(store, config).unwrap();
            let mut model = Vec::new();
            for (number, step) in (1..).zip(&program) {
                perform(&mapping, &cache, &mut model, number, step);
                if matches!(step, Step::Sync | Step::Forget) {
                    assert!(memory.durable() == model, "step {number}");
                }
            }
            mapping.close().unwrap();
            assert!(memory.durable() == model);
        });
    }
}

fn write(store: &impl Store, offset: u64, tell: &Sender<(u64, bool)>) {
    let batch = WriteBatch::new(0, offset, vec![vec![7; PAGE].as_slice().into()]);
    let tell = tell.clone();
    let completion = Completion::new(batch.len(), move |_, error| {
        let _ = tell.send((offset, error.is_none()));
    });
    store.write(batch, completion);
}

fn eventually(so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < deadline, "it does not come");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_store_that_is_dropped_waits_for_all_that_it_was_asked_for() {
    within(|| {
        let memory = MemStore::new();
        let ring = Fake::new(&memory, 1);
        let stuck = Arc::clone(&ring.stuck);
        *stuck.lock() = true;
        let store = Under::new(ring, 100);
        let (tell, told) = channel();
        (0..256).for_each(|number| write(&store, number * PAGE as u64, &tell));
        let dropping = thread::spawn(move || drop(store));
        thread::sleep(Duration::from_millis(20));
        assert!(!dropping.is_finished() && told.try_recv().is_err());
        *stuck.lock() = false;
        dropping.join().unwrap();
        drop(tell);
        assert_eq!(told.iter().filter(|(_, fine)| *fine).count(), 256);
        assert!(memory.accepted() == [7; 256 * PAGE]);
    });
}

#[test]
fn a_small_ring_takes_what_many_writers_have_one_after_the_other() {
    within(|| {
        let memory = MemStore::new();
        let ring = Fake::new(&memory, 2);
        let most = Arc::clone(&ring.most);
        let store = Under::new(ring, 4);
        let (tell, told) = channel();
        thread::scope(|scope| {
            for writer in 0..64 {
                let (store, tell) = (&store, tell.clone());
                scope.spawn(move || {
                    (0..8).for_each(|number| {
                        write(store, (writer * 8 + number) * PAGE as u64, &tell)
                    });
                });
            }
        });
        drop((tell, store));
        assert_eq!(told.iter().filter(|(_, fine)| *fine).count(), 512);
        assert!(memory.accepted() == vec![7; 512 * PAGE]);
        assert!(most.load(Ordering::Relaxed) <= 4);
    });
}

/// An end that is told twice would be that of another flight, which has the place now and is not done.
#[test]
fn an_end_that_comes_twice_ends_nothing_else() {
    within(|| {
        for seed in 0..20 {
            let memory = MemStore::new();
            let mut ring = Fake::new(&memory, seed);
            (ring.repeats, ring.refuses) = (true, 0);
            let store = Under::new(ring, 2);
            let (tell, told) = channel();
            (0..50).for_each(|number| write(&store, number * PAGE as u64, &tell));
            drop((tell, store));
            let told: Vec<_> = told.iter().collect();
            assert!(told.len() == 50 && told.iter().all(|(_, fine)| *fine), "{told:?}");
            assert!(memory.accepted() == [7; 50 * PAGE]);
        }
    });
}

/// The kernel has one: that stays. All others are told, and what comes later too.
#[test]
fn a_ring_that_breaks_ends_all_that_the_kernel_does_not_have() {
    within(|| {
        let ring = Fake::new(&MemStore::new(), 3);
        let (stuck, broken, most) =
            (Arc::clone(&ring.stuck), Arc::clone(&ring.broken), Arc::clone(&ring.most));
        *stuck.lock() = true;
        let store = Under::new(ring, 1);
        let (tell, told): (_, Receiver<(u64, bool)>) = channel();
        (0..5).for_each(|number| write(&store, number * PAGE as u64, &tell));
        eventually(|| most.load(Ordering::Relaxed) == 1);
        *broken.lock() = true;
        let mut ended: Vec<_> = (0..4).map(|_| told.recv().unwrap()).collect();
        ended.sort_unstable();
        assert_eq!(ended, [1, 2, 3, 4].map(|number| (number * PAGE as u64, false)));
        let error = store.sync(FlushKind::Data).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        drop((store, tell));
        // The completion of what stays is not even dropped.
        let more = told.recv_timeout(Duration::from_millis(10));
        assert_eq!(more, Err(std::sync::mpsc::RecvTimeoutError::Timeout));
    });
}

#[test]
fn who_panics_when_told_of_an_end_concerns_nobody_else() {
    within(|| {
        let memory = MemStore::new();
        let store = Under::new(Fake::new(&memory, 4), 8);
        // What it panics with panics in turn when it is dropped.
        struct Worse;
        impl Drop for Worse {
            fn drop(&mut self) {
                panic!("a panic that is meant, too");
            }
        }
        let completion = Completion::new(PAGE as u64, |_, _| std::panic::panic_any(Worse));
        store.write(WriteBatch::new(0, 0, vec![[1; PAGE][..].into()]), completion);
        store.write_at(PAGE as u64, &[2; PAGE]).unwrap();
        store.sync(FlushKind::All).unwrap();
        assert_eq!(memory.durable(), [[1; PAGE], [2; PAGE]].concat());
        assert!(catch_unwind(std::panic::AssertUnwindSafe(|| drop(store))).is_ok());
    });
}

/// The last reference goes with the end of a write.
#[test]
fn a_store_that_is_dropped_on_its_own_thread_does_not_wait_for_that() {
    within(|| {
        let memory = MemStore::new();
        let ring = Fake::new(&memory, 5);
        let stuck = Arc::clone(&ring.stuck);
        *stuck.lock() = true;
        let store = Arc::new(Under::new(ring, 8));
        let (tell, told) = channel();
        let last = Arc::clone(&store);
        let completion = Completion::new(PAGE as u64, move |_, _| {
            drop(last);
            let _ = tell.send(());
        });
        store.write(WriteBatch::new(0, 0, vec![[1; PAGE][..].into()]), completion);
        // It is not the last one while this thread has the other.
        drop(store);
        *stuck.lock() = false;
        told.recv().unwrap();
        assert_eq!(memory.accepted(), [1; PAGE]);
    });
}

#[test]
fn a_store_with_three_quarters_of_what_it_takes_at_once_is_congested() {
    within(|| {
        let ring = Fake::new(&MemStore::new(), 7);
        let stuck = Arc::clone(&ring.stuck);
        *stuck.lock() = true;
        let store = Under::new(ring, 8);
        let (tell, told) = channel();
        let mut congested = Vec::new();
        for number in 0..12 {
            congested.push(store.is_congested());
            write(&store, number * PAGE as u64, &tell);
        }
        *stuck.lock() = false;
        assert_eq!(congested, [[false; 6], [true; 6]].concat());
        (0..12).for_each(|_| assert!(told.recv().unwrap().1));
        assert!(!store.is_congested());
    });
}

#[test]
fn what_has_no_bytes_ends_at_once() {
    within(|| {
        let store = Under::new(Fake::new(&MemStore::new(), 6), 1);
        let (tell, told) = channel();
        let completion = Completion::new(0, move |_, error: Option<StoreError>| {
            let _ = tell.send(error.is_none());
        });
        store.write(WriteBatch::new(0, 0, Vec::new()), completion);
        assert_eq!(told.recv(), Ok(true));
        assert_eq!(store.read_at(0, &mut []).unwrap(), 0);
    });
}
