//! A store that blocks, over which no task does.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::task::Poll;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::task::yield_now;
use writeback::store::fault::{Action, Fault, FaultStore, Rule};
use writeback::store::{
    Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, Threads, WriteBatch,
};
use writeback::{Config, FileStore, Mapping, MemStore, StoreError};

use crate::common::{eventually, watch};
use crate::{PAGE, contents};

/// Holds up every read, write and flush until it is opened, in the call.
#[derive(Debug, Default)]
struct Gate {
    inner: MemStore,
    is_open: Mutex<bool>,
    opened: Condvar,
    within: AtomicUsize,
    most: AtomicUsize,
    callers: Mutex<BTreeSet<String>>,
}

fn name_of(thread: ThreadId) -> String {
    format!("{thread:?}")
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn pass<R>(&self, call: impl FnOnce() -> R) -> R {
        self.callers.lock().unwrap().insert(name_of(thread::current().id()));
        self.most.fetch_max(self.within.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let mut is_open = self.is_open.lock().unwrap();
        while !*is_open {
            is_open = self.opened.wait(is_open).unwrap();
        }
        drop(is_open);
        let passed = call();
        self.within.fetch_sub(1, Ordering::SeqCst);
        passed
    }
}

/// So that a test has the gate beside the store.
#[derive(Debug, Clone, Default)]
struct Gated(Arc<Gate>);

impl Store for Gated {
    fn limits(&self) -> Limits {
        self.0.inner.limits()
    }

    fn len(&self) -> Result<u64, StoreError> {
        self.0.inner.len()
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.0.inner.set_len(len)
    }

    fn read(&self, run: ReadRun) {
        self.0.pass(|| self.0.inner.read(run));
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        self.0.pass(|| self.0.inner.write(batch, completion));
    }

    fn flush(&self, kind: FlushKind, completion: FlushCompletion) {
        self.0.pass(|| self.0.inner.flush(kind, completion));
    }
}

fn in_one_thread<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Two turns of whoever else is in this thread, however often they are asked for.
async fn others_go_on(turns: &AtomicUsize) {
    let before = turns.load(Ordering::SeqCst);
    while turns.load(Ordering::SeqCst) < before + 2 {
        yield_now().await;
    }
}

#[test]
fn the_executors_only_thread_goes_on_while_the_store_blocks() {
    watch();
    let gated = Gated::default();
    gated.0.inner.set_len(8 * PAGE as u64).unwrap();
    let threads = Arc::new(Threads::new(gated.clone(), 3));
    let mapping = Mapping::with_config(threads.clone(), Config::new()).unwrap();
    in_one_thread(tokio::task::LocalSet::new().run_until(async {
        let turns = Arc::new(AtomicUsize::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let ticking = tokio::task::spawn_local({
            let (turns, is_over) = (Arc::clone(&turns), Arc::clone(&is_over));
            async move {
                while !is_over.load(Ordering::SeqCst) {
                    turns.fetch_add(1, Ordering::SeqCst);
                    yield_now().await;
                }
            }
        });
        let tasks: Vec<_> = (0..8_u64)
            .map(|page| {
                let handle = mapping.async_handle();
                tokio::task::spawn_local(async move {
                    let mut bytes = [1; PAGE];
                    // Some read what is not there yet, some change a part of it, some write all; all sync.
                    match page % 3 {
                        0 => drop(handle.read_at(&mut bytes, page * PAGE as u64).await.unwrap()),
                        1 => handle.write_at(&[7; 10], page * PAGE as u64).await.unwrap(),
                        _ => handle.write_at(&[7; PAGE], page * PAGE as u64).await.unwrap(),
                    }
                    handle.sync_data().await.unwrap();
                })
            })
            .collect();
        // There are no more calls than three, though more is asked for, which waits.
        let deadline = Instant::now() + crate::common::patience();
        while gated.0.within.load(Ordering::SeqCst) < 3 || !threads.is_congested() {
            assert!(Instant::now() < deadline, "{gated:?}");
            yield_now().await;
        }
        others_go_on(&turns).await;
        assert!(tasks.iter().any(|task| !task.is_finished()));
        gated.0.open();
        for task in tasks {
            task.await.unwrap();
        }
        is_over.store(true, Ordering::SeqCst);
        ticking.await.unwrap();
    }));
    let durable = gated.0.inner.durable();
    for page in 0..8 {
        assert_eq!(durable[page * PAGE], if page % 3 == 0 { 0 } else { 7 }, "page {page}");
    }
    let callers = gated.0.callers.lock().unwrap().clone();
    assert!(!callers.contains(&name_of(thread::current().id())), "{callers:?}");
    assert_eq!(gated.0.most.load(Ordering::SeqCst), 3, "as many as were asked for");
    mapping.check().unwrap();
}

#[test]
fn threads_are_as_many_as_there_is_work_for_and_end_with_the_store() {
    watch();
    let gated = Gated::default();
    let store = Threads::new(gated.clone(), 50);
    let (tell, told) = channel();
    let flush = || {
        let tell = tell.clone();
        let ended = move |outcome: Result<(), _>| {
            let _ = tell.send(outcome.is_ok());
        };
        store.flush(FlushKind::Data, FlushCompletion::new(ended));
    };
    (0..4).for_each(|_| flush());
    eventually("four are in it", || gated.0.within.load(Ordering::SeqCst) == 4);
    gated.0.open();
    (0..4).for_each(|_| assert_eq!(told.recv(), Ok(true)));
    // One after the other has one thread, of those four.
    for _ in 0..100 {
        flush();
        assert_eq!(told.recv(), Ok(true));
    }
    assert!(gated.0.callers.lock().unwrap().len() <= 4 + 4, "{:?}", gated.0.callers);
    // What is asked for when it is dropped is done.
    *gated.0.is_open.lock().unwrap() = false;
    (0..60).for_each(|_| flush());
    drop(store);
    gated.0.open();
    (0..60).for_each(|_| assert_eq!(told.recv(), Ok(true)));
    eventually("nobody has the store", || Arc::strong_count(&gated.0) == 1);
}

#[test]
fn it_is_congested_when_as_much_waits_as_there_are_threads() {
    watch();
    let gated = Gated::default();
    let store = Threads::new(gated.clone(), 2);
    for asked in 1..=4 {
        assert!(!store.is_congested(), "{asked}");
        store.flush(FlushKind::Data, FlushCompletion::new(|_| ()));
        eventually("they are in it", || gated.0.within.load(Ordering::SeqCst) == asked.min(2));
    }
    assert!(store.is_congested());
    gated.0.open();
    eventually("they are through", || !store.is_congested());
}

#[test]
fn a_file_can_be_opened_again_as_soon_as_its_mapping_is_closed() {
    watch();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pages");
    std::fs::write(&path, contents(8)).unwrap();
    for round in 0..300 {
        let file = FileStore::open(&path).unwrap_or_else(|error| panic!("round {round}: {error}"));
        let mapping = Mapping::open(Threads::new(file, 2)).unwrap();
        in_one_thread(async {
            let handle = mapping.async_handle();
            let mut byte = [0];
            handle.read_at(&mut byte, 4 * PAGE as u64).await.unwrap();
            assert_eq!(byte, [5]);
            match round % 3 {
                0 => handle.write_at(&[5; 3], 4 * PAGE as u64).await.unwrap(),
                1 => handle.sync_data().await.unwrap(),
                _ => {}
            }
        });
        mapping.close().unwrap();
    }
    assert_eq!(std::fs::read(&path).unwrap(), contents(8));
}

/// Has its bytes at hand or not, and says how often it was to get them.
#[derive(Debug, Clone, Default)]
struct AtHand {
    inner: MemStore,
    is_at_hand: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
    got: Arc<AtomicUsize>,
}

impl Store for AtHand {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn len(&self) -> Result<u64, StoreError> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.inner.set_len(len)
    }

    fn read(&self, run: ReadRun) {
        self.got.fetch_add(1, Ordering::SeqCst);
        self.inner.read(run);
    }

    fn try_read(&self, mut run: ReadRun) -> Result<(), ReadRun> {
        assert!(!self.panics.load(Ordering::SeqCst), "as it is meant to");
        if self.is_at_hand.load(Ordering::SeqCst) {
            self.inner.read(run);
            return Ok(());
        }
        run.buffers().for_each(|buffer| buffer.fill(0xee));
        Err(run)
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        self.inner.write(batch, completion);
    }

    fn flush(&self, kind: FlushKind, completion: FlushCompletion) {
        self.inner.flush(kind, completion);
    }
}

#[test]
fn what_is_at_hand_is_read_by_whoever_asks_and_what_is_not_by_a_thread() {
    watch();
    let store = AtHand { inner: MemStore::with_contents(contents(40)), ..AtHand::default() };
    let mapping = Mapping::open(Threads::new(store.clone(), 2).try_reads(true)).unwrap();
    in_one_thread(async {
        let handle = mapping.async_handle();
        let mut bytes = [0; PAGE];
        handle.read_at(&mut bytes, 0).await.unwrap();
        assert_eq!((bytes, store.got.load(Ordering::SeqCst)), ([1; PAGE], 1));
        store.is_at_hand.store(true, Ordering::SeqCst);
        handle.read_at(&mut bytes, 7 * PAGE as u64).await.unwrap();
        assert_eq!((bytes, store.got.load(Ordering::SeqCst)), ([8; PAGE], 1));
    });
    // To copy much takes longer than to have it done.
    let threads = Threads::new(store.clone(), 2).try_reads(true);
    for (len, got) in [(64 << 10, 1), ((64 << 10) + 512, 2)] {
        let mut bytes = vec![0; len];
        assert_eq!(threads.read_at(0, &mut bytes).unwrap(), len);
        assert!(bytes == contents(40)[..len]);
        assert_eq!(store.got.load(Ordering::SeqCst), got, "{len} bytes");
    }
    store.panics.store(true, Ordering::SeqCst);
    assert!(matches!(threads.read_at(0, &mut [0; 10]), Err(StoreError::Lost)));
    // Whose wakers may wait is not to be tried.
    assert_eq!(Threads::new(store, 2).read_at(0, &mut [0; 10]).unwrap(), 10);
}

#[test]
fn a_read_of_a_file_that_the_kernel_has_is_that_of_the_file() {
    watch();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pages");
    // The last page is a part of one: how much there is of it, only a read that may wait can tell.
    std::fs::write(&path, &contents(9)[..8 * PAGE + 100]).unwrap();
    let mapping =
        Mapping::open(Threads::new(FileStore::open(&path).unwrap(), 2).try_reads(true)).unwrap();
    let mut bytes = vec![0; 9 * PAGE];
    for page in [3, 8, 0] {
        let at = page * PAGE as u64;
        let count = in_one_thread(mapping.async_handle().read_at(&mut bytes[..PAGE], at)).unwrap();
        assert_eq!(count, if page == 8 { 100 } else { PAGE });
        assert_eq!(bytes[..count], vec![u8::try_from(page).unwrap() + 1; count]);
    }
    mapping.close().unwrap();
    let store = FileStore::open(&path).unwrap();
    let run = ReadRun::new(0, PAGE, 2, |bytes, error| {
        assert!(error.is_none() && bytes == contents(2));
    });
    // It has just been written and read. Whether the file system can say that is its own affair.
    if let Err(run) = store.try_read(run) {
        assert!(std::env::var_os("DIRECT_REQUIRED").is_none());
        store.read(run);
    }
    let behind = ReadRun::new(8 * PAGE as u64, PAGE, 1, |_, _| ());
    assert!(store.try_read(behind).is_err(), "what is not all there");
}

#[test]
fn what_it_is_asked_for_is_asked_of_the_other_store() {
    let inner = MemStore::with_contents(contents(2));
    let store = Threads::new(inner.clone(), 0);
    assert_eq!(store.limits(), inner.limits());
    assert_eq!((store.len().unwrap(), store.is_empty().unwrap()), (2 * PAGE as u64, false));
    store.set_len(100).unwrap();
    store.write_at(98, b"abc").unwrap();
    store.zero(10, 10).unwrap();
    store.sync(FlushKind::Data).unwrap();
    let mut expected = contents(1);
    expected.truncate(98);
    expected.extend_from_slice(b"abc");
    expected[10..20].fill(0);
    assert_eq!((inner.durable(), inner.len().unwrap()), (expected.clone(), 101));
    let mut bytes = [0; 200];
    assert_eq!(store.read_at(0, &mut bytes).unwrap(), 101);
    assert_eq!(bytes[..101], expected);
    for (of_store, of_inner) in [
        (store.next_data(0), inner.next_data(0)),
        (store.next_hole(0), inner.next_hole(0)),
        (store.next_hole(200), inner.next_hole(200)),
    ] {
        assert_eq!(of_store.unwrap(), of_inner.unwrap());
    }
    store.allocate(0, 10).unwrap();
    store.punch(0, 101).unwrap();
    assert_eq!(inner.accepted(), [0; 101]);
    assert!(
        std::ptr::eq(store.get_ref(), store.get_ref()) && format!("{store:?}").contains("MemStore")
    );
}

/// As errors and ends that come later, in any order, and none at all.
#[test]
fn an_end_is_passed_on_as_it_comes() {
    watch();
    let faulty = FaultStore::new(1);
    faulty.write_at(0, &contents(4)).unwrap();
    let store = Threads::new(faulty.clone(), 1);
    let mut byte = [0];
    for fault in [Fault::Panic, Fault::Lost, Fault::Io] {
        for action in [Action::Read, Action::Write, Action::Flush] {
            faulty.inject(Rule::new(fault).on(action));
            let failed = match action {
                Action::Read => store.read_at(0, &mut byte).map(drop),
                Action::Write => store.write_at(0, &[1]),
                _ => store.sync(FlushKind::Data),
            };
            let is_lost = matches!(failed, Err(StoreError::Lost));
            let is_as_it_came = failed.is_err() && is_lost == (fault != Fault::Io);
            assert!(is_as_it_came, "{action:?}, {fault:?}: {failed:?}");
        }
    }
    faulty.inject(Rule::new(Fault::Short { accepted: Some(5) }).on(Action::Write));
    let (tell, told) = channel();
    let completion = Completion::new(7, move |accepted, error| {
        let _ = tell.send((accepted, error.is_some()));
    });
    store.write(WriteBatch::new(0, 0, vec![[1; 7][..].into()]), completion);
    assert_eq!(told.recv(), Ok((5, true)));
    // Its one thread is free while the other store keeps what it was asked for.
    for action in [Action::Read, Action::Write, Action::Flush] {
        faulty.queue(action, true);
    }
    let mapping = Mapping::with_config(Arc::new(store), Config::new()).unwrap();
    in_one_thread(async {
        let (first, second) = (mapping.async_handle(), mapping.async_handle());
        let change = async {
            first.write_at(&[9; PAGE], 2 * PAGE as u64).await.unwrap();
            first.sync_data().await.unwrap();
        };
        let look = async {
            let mut bytes = [0; PAGE];
            second.read_at(&mut bytes, 0).await.unwrap();
            assert_eq!(bytes[PAGE - 1], 1);
        };
        let mut both: [Pin<Box<dyn Future<Output = ()>>>; 2] = [Box::pin(change), Box::pin(look)];
        let mut are_over = [false; 2];
        let deadline = Instant::now() + crate::common::patience();
        while are_over != [true; 2] {
            for (future, is_over) in both.iter_mut().zip(&mut are_over) {
                if !*is_over {
                    *is_over =
                        poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready()))
                            .await;
                }
            }
            assert!(Instant::now() < deadline, "they never end");
            thread::sleep(Duration::from_millis(1));
            faulty.deliver_all();
        }
    });
    mapping.check().unwrap();
}

/// A waker is foreign code: this one closes the mapping, in the thread of the store that wakes it.
#[test]
fn a_mapping_can_be_closed_by_whoever_is_told_of_an_end() {
    struct Closes(Mutex<Option<Mapping>>, std::sync::mpsc::Sender<bool>);

    impl std::task::Wake for Closes {
        fn wake(self: Arc<Self>) {
            if let Some(mapping) = self.0.lock().unwrap().take() {
                let _ = self.1.send(mapping.close().is_ok());
            }
        }
    }

    watch();
    let gated = Gated::default();
    gated.0.inner.set_len(PAGE as u64).unwrap();
    let mapping = Mapping::open(Threads::new(gated.clone(), 1)).unwrap();
    let (tell, told) = channel();
    let waker = Arc::new(Closes(Mutex::new(Some(mapping.clone())), tell)).into();
    let handle = mapping.async_handle();
    drop(mapping);
    let mut byte = [0];
    let mut read = Box::pin(handle.read_at(&mut byte, 0));
    assert!(read.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    gated.0.open();
    assert!(told.recv_timeout(crate::common::patience()).unwrap());
}

#[test]
fn whoever_is_told_of_an_end_may_wait_for_all_that_was_asked_for() {
    watch();
    let gated = Gated::default();
    let store = Threads::new(gated.clone(), 1);
    let ((tell, told), (tell_second, second)) = (channel(), channel());
    let second = Mutex::new(second);
    let waits = move |outcome: Result<(), _>| {
        outcome.unwrap();
        let both = second.lock().unwrap().recv_timeout(crate::common::patience());
        let _ = tell.send(both);
    };
    store.flush(FlushKind::Data, FlushCompletion::new(waits));
    let ends = move |outcome: Result<(), _>| {
        let _ = tell_second.send(outcome.is_ok());
    };
    store.flush(FlushKind::Data, FlushCompletion::new(ends));
    gated.0.open();
    assert_eq!(told.recv(), Ok(Ok(true)));
    assert_eq!(gated.0.most.load(Ordering::SeqCst), 1);
}
