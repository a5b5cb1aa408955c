//! A fork of a process that has a mapping and a flusher: the child has none of the parent's threads.
#![cfg(unix)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use writeback::store::fault::{Action, Fault, FaultStore, Rule};
use writeback::store::{
    Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, Threads, WriteBatch,
};
use writeback::{
    Budget, CacheConfig, Config, Error, Flusher, FlusherConfig, Mapping, MemStore, PageCache,
    StoreError, SyncMode,
};

/// What the child found, as its exit status.
fn in_a_child(look: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child calls nothing but `look`, which takes no lock that another thread of the parent may
    // have had at the fork (or is ended by the alarm, which is what this test is about), and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", std::io::Error::last_os_error());
    if child == 0 {
        // SAFETY: it concerns this process only, which ends by it unless it ends by itself.
        unsafe { libc::alarm(20) };
        let well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)).unwrap_or(false);
        // SAFETY: ends the process at once, without running what the parent will run itself.
        unsafe { libc::_exit(i32::from(!well)) };
    }
    let mut status = 0;
    // SAFETY: `status` is valid for the write, and the child is this thread's.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status
}

#[test]
fn a_fork_is_told_and_does_not_hang() {
    let store = MemStore::new();
    let mapping = Mapping::open(store.clone()).unwrap();
    // To wait for its threads would take longer than the child has.
    let config = FlusherConfig::new().interval(Duration::MAX).stop_max(Duration::MAX);
    let flusher = Flusher::start([mapping.clone()], config).unwrap();
    assert!(flusher.is_running());
    mapping.handle().write_at(b"of the parent", 0).unwrap();
    let mut flusher = Some(flusher);
    let status = in_a_child(|| {
        let handle = mapping.handle();
        let mut bytes = [0; 13];
        let read = handle.read_at(&mut bytes, 0).is_ok() && &bytes == b"of the parent";
        let synced = handle.sync_data();
        let flusher = flusher.take().expect("not stopped yet");
        let running = flusher.is_running();
        drop(flusher); // does not wait for threads that there are not
        let refused = [
            handle.set_len(1),
            handle.allocate(..4096),
            mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED).map(drop),
            mapping.write_cyclic(Budget::UNLIMITED).map(drop),
            mapping.write_page(0, SyncMode::Wait).map(drop),
        ];
        let refused = refused.iter().all(|outcome| matches!(outcome, Err(Error::Forked)));
        let closed = mapping.clone().close().map_err(|failed| failed.error);
        read && !running
            && refused
            && matches!(synced, Err(Error::Forked))
            && matches!(closed, Err(Error::Forked))
    });
    assert_eq!(status, 0, "a status of 14 is the alarm: it hung");
    // The parent has lost nothing, and nobody has written for it.
    assert_eq!((mapping.len(), store.accepted().len()), (13, 0));
    let flusher = flusher.take().expect("the child took its own copy");
    assert!(flusher.is_running());
    flusher.kick();
    mapping.handle().sync_data().unwrap();
    assert_eq!(flusher.stop().unwritten, 0);
}

/// Its flushes do not return while it is told so. It has no lock, of which a child could find that another thread has it.
#[derive(Debug, Clone, Default)]
struct Blocks(Arc<(AtomicBool, AtomicU32)>);

impl Store for Blocks {
    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn set_len(&self, _len: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn read(&self, run: ReadRun) {
        drop(run);
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        completion.complete(Ok(batch.len()));
    }

    fn flush(&self, _kind: FlushKind, completion: FlushCompletion) {
        self.0.1.fetch_add(1, Ordering::SeqCst);
        while self.0.0.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
        completion.complete(Ok(()));
    }
}

#[test]
fn a_fork_has_no_threads_for_a_store_and_calls_it_itself() {
    let inner = Blocks::default();
    inner.0.0.store(true, Ordering::SeqCst);
    let store = Threads::new(inner.clone(), 1);
    let (tell, told) = channel();
    let ended = move |outcome: Result<(), _>| {
        let _ = tell.send(outcome.is_ok());
    };
    store.flush(FlushKind::Data, FlushCompletion::new(ended));
    while inner.0.1.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    let mut store = Some(store);
    let status = in_a_child(|| {
        let store = store.take().expect("not dropped yet");
        // Its own copy of that.
        inner.0.0.store(false, Ordering::SeqCst);
        let flushed = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&flushed);
        let ended = move |outcome: Result<(), _>| told.store(outcome.is_ok(), Ordering::SeqCst);
        store.flush(FlushKind::Data, FlushCompletion::new(ended));
        drop(store);
        flushed.load(Ordering::SeqCst)
    });
    assert_eq!(status, 0, "a status of 14 is the alarm: it hung");
    inner.0.0.store(false, Ordering::SeqCst);
    assert_eq!(told.recv(), Ok(true));
}

#[test]
fn a_fork_does_not_wait_for_what_its_parent_has_begun() {
    let store = FaultStore::new(1);
    store.inject(Rule::new(Fault::Stuck).on(Action::Write));
    let mapping = Mapping::open(store.clone()).unwrap();
    let handle = mapping.handle();
    handle.write_at(b"of the parent", 0).unwrap();
    mapping.write_page(0, SyncMode::Skip).unwrap();
    assert_eq!(store.pending(), 1);
    let status = in_a_child(|| {
        let outcomes = [handle.sync_data(), handle.sync_all(), handle.sync_range(..1)];
        outcomes.iter().all(|outcome| matches!(outcome, Err(Error::Forked)))
    });
    assert_eq!(status, 0, "a status of 14 is the alarm: it waits for a write that nobody ends");
    store.release_stuck();
    assert_eq!(store.deliver_all(), 1);
    handle.sync_data().unwrap();
}

#[test]
fn a_fork_that_reads_writes_nothing_to_make_room() {
    let store = MemStore::with_contents([1; 64 * 4096]);
    let cache = PageCache::new(CacheConfig::new(4)).unwrap();
    let mapping =
        Mapping::with_config(Arc::new(store.clone()), Config::new().cache(&cache)).unwrap();
    let handle = mapping.handle();
    handle.write_at(&[2; 2 * 4096], 0).unwrap();
    let (before, dirty) = (store.accepted(), mapping.stats().dirty);
    assert!(dirty > 0);
    let status = in_a_child(|| {
        let mut kept = Vec::new();
        for page in 2..20 {
            kept.push(mapping.page(page).unwrap());
        }
        let unwritten = store.accepted() == before && mapping.stats().dirty == dirty;
        // They are the parent's, and stay where they are.
        std::mem::forget(kept);
        unwritten
    });
    assert_eq!(status, 0, "the child has written what is dirty, or a status of 14: it hung");
}
