//! Syncs of tasks beside whoever keeps a latch, or a page: they keep nobody from the page meanwhile, do not come again for ever, and come to an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use writeback::page::Claim;
use writeback::store::Store;
use writeback::store::fault::{Action, FaultConfig, FaultStore};
use writeback::{Budget, Config, Mapping, MemStore, SyncMode};

use crate::common::{self, eventually};
use crate::{PAGE, Task, stored};

/// A thread that keeps a guard of a page until the sender is dropped.
pub(crate) fn keep_a_guard(mapping: &Mapping, page: u64) -> (Sender<()>, thread::JoinHandle<()>) {
    let (has_it, had) = channel();
    let (let_go, lets_go): (_, Receiver<()>) = channel();
    let mapping = mapping.clone();
    let keeper = thread::spawn(move || {
        let page = mapping.page(page).unwrap();
        let _guard = page.read();
        has_it.send(()).unwrap();
        let _ = lets_go.recv();
    });
    had.recv().unwrap();
    (let_go, keeper)
}

/// Polls it until it waits to be woken; returns how often it came again.
pub(crate) fn until_it_waits<T>(task: &mut Task<'_, T>, mut at_each: impl FnMut()) -> usize {
    for polls in 1..1000 {
        assert!(task.is_pending());
        at_each();
        if task.woken() < polls {
            return polls;
        }
    }
    panic!("it comes again and again");
}

#[test]
fn a_sync_waits_for_a_guard_without_the_page_and_without_spinning() {
    let (store, mapping) = stored(4, &[]);
    let handle = mapping.async_handle();
    handle.handle().write_at(&[9; PAGE], 0).unwrap();
    let (let_go, keeper) = keep_a_guard(&mapping, 0);
    let (page, mut polls) = (mapping.page(0).unwrap(), 0);
    let mut task = Task::new(handle.sync_data());
    let its = until_it_waits(&mut task, || {
        polls += 1;
        // By then a thread waits for the latch, with the lock as all threads.
        if polls < 10 {
            assert!(page.try_lock_state().is_some() && page.snapshot().is_dirty());
        }
    });
    let mut other = Task::new(handle.sync_range(..1));
    let others = until_it_waits(&mut other, || {});
    drop(let_go);
    eventually("they are woken", || task.woken() >= its && other.woken() >= others);
    keeper.join().unwrap();
    task.ready().unwrap();
    other.ready().unwrap();
    assert_eq!(store.durable()[..PAGE], [9; PAGE]);
    assert_eq!(mapping.stats().dirty, 0);
    mapping.check().unwrap();
}

#[test]
fn a_sync_ends_beside_readers_that_never_all_let_go() {
    common::watch();
    let mapping = Mapping::open(MemStore::new()).unwrap();
    let handle = mapping.async_handle();
    handle.handle().write_at(&[1; PAGE], 0).unwrap();
    handle.handle().sync_data().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for reader in 0..4 {
            let (mapping, stop) = (&mapping, &stop);
            scope.spawn(move || {
                let page = mapping.page(0).unwrap();
                thread::sleep(Duration::from_millis(reader));
                while !stop.load(Ordering::Relaxed) {
                    let guard = page.read();
                    thread::sleep(Duration::from_millis(2));
                    drop(guard);
                }
            });
        }
        handle.handle().write_at(&[2; 8], 0).unwrap();
        thread::sleep(Duration::from_millis(20));
        let mut task = Task::new(handle.sync_data());
        let (began, mut polls) = (Instant::now(), 0);
        while task.is_pending() && began.elapsed() < Duration::from_secs(5) {
            polls += 1;
            eventually("it is woken", || task.woken() >= polls);
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(mapping.stats().dirty, 0, "after {polls} polls");
        assert!(polls < 500, "{polls}");
    });
}

#[test]
fn a_sync_that_waits_for_a_write_keeps_no_lock() {
    let (store, mapping) = stored(4, &[Action::Write]);
    let handle = mapping.async_handle();
    handle.handle().write_at(&[1; PAGE], 0).unwrap();
    mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
    handle.handle().write_at(&[2; PAGE], 0).unwrap();
    let mut not_polled = Task::new(handle.sync_data());
    assert!(not_polled.is_pending());
    assert!(mapping.page(0).unwrap().try_lock_state().is_some());
    // Another comes to an end though nobody polls that one.
    let mut other = Task::new(handle.sync_data());
    assert!(other.is_pending());
    store.deliver_all();
    assert!(other.is_pending(), "its own write");
    assert_eq!(store.pending(), 1);
    handle.handle().write_at(&[3; PAGE], 0).unwrap();
    store.deliver_all();
    other.ready().unwrap();
    assert_eq!(store.durable()[..PAGE], [2; PAGE]);
    // The write that has begun since it came had what it is for.
    not_polled.ready().unwrap();
    assert_eq!((store.operations(Action::Write), mapping.stats().dirty), (2, 1));
}

/// Somebody has claimed a page that is written to again before its write begins, and another syncs: what it says is durable is not dirty afterwards.
/// The write that is claimed after that is enough for it, also if the page has been changed again when the sync is polled.
#[test]
fn a_sync_leaves_nothing_dirty_beside_a_claim_of_before() {
    for block in [PAGE, 512] {
        common::watch();
        let store = Arc::new(FaultStore::new(1));
        let config = Config::new().block_size(block);
        let mapping = Mapping::with_config(store.clone(), config).unwrap();
        let handle = mapping.async_handle();
        let begin_a_claim = |byte| {
            handle.handle().write_at(&[byte; PAGE], 0).unwrap();
            let locked = mapping.page(0).unwrap().lock_state().unwrap();
            locked.clear_dirty_for_io().unwrap()
        };
        let write_out = |claim: Claim| {
            for writeback in claim.start_blocks(SyncMode::Wait).unwrap() {
                store.write_at(writeback.offset(), writeback.image().as_ref()).unwrap();
                writeback.end(Ok(()));
            }
        };
        let first = begin_a_claim(1);
        handle.handle().write_at(&[2; 10], 0).unwrap();
        let mut task = Task::new(handle.sync_data());
        assert!(task.is_pending());
        write_out(first);
        task.ready().unwrap();
        assert_eq!((mapping.stats().dirty, &store.durable()[..10]), (0, &[2; 10][..]));

        let first = begin_a_claim(3);
        handle.handle().write_at(&[4; 10], 0).unwrap();
        let mut task = Task::new(handle.sync_data());
        assert!(task.is_pending());
        write_out(first);
        write_out(begin_a_claim(5));
        handle.handle().write_at(&[6; 10], 0).unwrap();
        let written = store.operations(Action::Write);
        task.ready().unwrap();
        assert_eq!((store.operations(Action::Write), mapping.stats().dirty), (written, 1));
        assert_eq!(store.durable(), [5; PAGE]);
    }
}

/// Somebody who lengthens the mapping waits for a guard, and a sync would set the store's length right. Tells whether the sync has waited: if it
/// comes before that one has begun, on a slow machine, it has nothing to wait for.
fn sync_beside_growth() -> bool {
    let store = FaultStore::with_config(FaultConfig::new(1).alignment(512));
    let mapping = Mapping::with_config(Arc::new(store.clone()), Config::new()).unwrap();
    let handle = mapping.async_handle();
    handle.handle().write_at(&[1; 100], 0).unwrap();
    mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED).unwrap();
    mapping.wait_range(..);
    assert_eq!(mapping.stats().dirty, 0);
    let (let_go, keeper) = keep_a_guard(&mapping, 0);
    let page = mapping.page(0).unwrap();
    let grower = thread::spawn(move || {
        page.write_bytes(100..200).unwrap().copy_from_slice(&[2; 100]);
    });
    thread::sleep(Duration::from_millis(50));
    let mut task = Task::new(handle.sync_data());
    let waits = task.is_pending();
    if waits {
        let polls = until_it_waits(&mut task, || {});
        drop(let_go);
        eventually("it is woken", || task.woken() >= polls);
        task.ready().unwrap();
    } else {
        drop(let_go);
    }
    keeper.join().unwrap();
    grower.join().unwrap();
    handle.handle().sync_data().unwrap();
    assert_eq!(store.durable(), [[1; 100], [2; 100]].concat());
    mapping.check().unwrap();
    waits
}

#[test]
fn a_sync_that_waits_for_growth_does_not_spin() {
    common::watch();
    while !sync_beside_growth() {}
}
