//! Syncs that wait in no thread: for writes, for flushes, for others' locks; and what each says when it is done.

use std::sync::Arc;

use writeback::hooks::Log;
use writeback::store::Store;
use writeback::store::fault::{Action, Fault, FaultStore, Rule};
use writeback::{Budget, Config, Error, Mapping, MemStore, StoreError, SyncMode};

use crate::{PAGE, Task, contents, stored};

/// Polls it each time it has been woken, having what the store has under way ended before, until it is done. Returns how often it was pending.
fn run<T>(task: &mut Task<'_, T>, store: &FaultStore) -> (T, usize) {
    let mut pending = 0;
    loop {
        if let std::task::Poll::Ready(output) = task.poll() {
            return (output, pending);
        }
        pending += 1;
        store.deliver_all();
        assert!(task.woken() >= pending, "nobody wakes it");
    }
}

#[test]
fn a_sync_waits_for_its_writes_and_then_for_its_flush() {
    let (store, mapping) = stored(4, &[Action::Write, Action::Flush]);
    let handle = mapping.async_handle();
    handle.handle().write_at(&[9; PAGE], 0).unwrap();
    let mut task = Task::new(handle.sync_data());
    assert!(task.is_pending());
    assert_eq!((store.operations(Action::Write), store.operations(Action::Flush)), (1, 0));
    // Not of this sync.
    handle.handle().write_at(&[8; PAGE], PAGE as u64).unwrap();
    store.deliver_all();
    assert_eq!(task.woken(), 1);
    assert!(task.is_pending());
    assert_eq!((store.operations(Action::Write), store.operations(Action::Flush)), (1, 1));
    assert!(task.is_pending(), "it may be polled for nothing");
    store.deliver_all();
    assert_eq!((task.woken(), task.wakers()), (2, 0));
    task.ready().unwrap();
    assert_eq!(store.durable()[..2 * PAGE], [[9; PAGE], [2; PAGE]].concat());
    assert_eq!(mapping.stats().dirty, 1);
    let mut of_range = Task::new(handle.sync_range(..PAGE as u64));
    of_range.ready().unwrap();
    assert_eq!(mapping.stats().dirty, 1, "not in the range");
    run(&mut Task::new(handle.sync_all()), &store).0.unwrap();
    assert_eq!(store.durable()[PAGE..2 * PAGE], [8; PAGE]);
    Task::new(handle.sync_range(5..5)).ready().unwrap();
    mapping.check().unwrap();
}

#[test]
fn those_who_wait_for_a_flush_are_covered_by_the_next() {
    let (store, mapping) = stored(4, &[Action::Flush]);
    let handle = mapping.async_handle();
    let mut syncs: Vec<_> = (0..100_u8)
        .map(|sync| {
            handle.handle().write_at(&[sync; 10], 0).unwrap();
            let mut sync = Task::new(handle.sync_data());
            assert!(sync.is_pending());
            sync
        })
        .collect();
    assert_eq!((store.operations(Action::Flush), store.pending()), (1, 1));
    store.deliver_all();
    assert!(syncs.iter().all(|sync| (sync.woken(), sync.wakers()) == (1, 0)));
    syncs.remove(0).ready().unwrap();
    assert!(syncs.iter_mut().all(Task::is_pending));
    assert_eq!((store.operations(Action::Flush), store.pending()), (2, 1));
    // The one that began it has gone.
    drop(syncs.remove(0));
    store.deliver_all();
    assert!(syncs.iter().all(|sync| (sync.woken(), sync.wakers()) == (2, 0)));
    syncs.iter_mut().for_each(|sync| sync.ready().unwrap());
    assert_eq!(store.durable()[..10], [99; 10]);
    assert_eq!(store.operations(Action::Flush), 2);
}

#[test]
fn a_flush_that_fails_poisons_though_its_sync_has_gone() {
    for lose in [false, true] {
        let (store, mapping) = stored(4, &[Action::Flush]);
        let handle = mapping.async_handle();
        handle.handle().write_at(&[9; PAGE], 0).unwrap();
        let (mut begun, mut waits) = (Task::new(handle.sync_data()), Task::new(handle.sync_data()));
        if !lose {
            store.inject(Rule::new(Fault::Io).on(Action::Flush));
        }
        assert!(begun.is_pending() && waits.is_pending());
        assert_eq!(begun.drop_future(), 0);
        assert_eq!(if lose { store.lose_pending() } else { store.deliver_all() }, 1);
        assert_eq!(waits.woken(), 1);
        assert!(matches!(waits.ready(), Err(Error::Poisoned { .. })));
        assert!(mapping.is_poisoned());
    }
    let (store, mapping) = stored(4, &[Action::Flush]);
    let handle = mapping.async_handle();
    let mut begun = Task::new(handle.sync_data());
    assert!(begun.is_pending());
    store.lose_pending();
    assert!(matches!(begun.ready(), Err(Error::Flush { source: StoreError::Lost })));
}

#[test]
fn an_error_is_told_by_the_next_sync_if_the_one_that_met_it_has_gone() {
    let (store, mapping) = stored(4, &[Action::Write]);
    let handle = mapping.async_handle();
    handle.handle().write_at(&[9; PAGE], 0).unwrap();
    let mut gone = Task::new(handle.sync_data());
    assert!(gone.is_pending());
    assert_eq!(store.lose_pending(), 1);
    assert_eq!(gone.drop_future(), 0);
    let (told, _) = run(&mut Task::new(handle.sync_data()), &store);
    assert!(matches!(told, Err(Error::Write { source: StoreError::Lost })), "{told:?}");
    assert_eq!(store.durable()[..PAGE], [9; PAGE], "written again all the same");
    run(&mut Task::new(handle.sync_data()), &store).0.unwrap();
}

#[test]
fn a_sync_of_many_pages_lets_others_have_a_turn_and_loses_nothing_if_it_is_dropped_there() {
    crate::common::watch();
    let store = MemStore::new();
    let mapping = Mapping::open(store.clone()).unwrap();
    let handle = mapping.async_handle();
    let bytes = [[7; 512]; 5000 * 8].concat();
    for drop_at in [1, 2, 3, usize::MAX] {
        handle.handle().write_at(&bytes, 0).unwrap();
        let mut task = Task::new(handle.sync_data());
        let mut turns = 0;
        while turns < drop_at && task.is_pending() {
            turns += 1;
            assert_eq!(task.woken(), turns, "it comes again by itself");
        }
        assert_eq!(turns, drop_at.min(5));
        assert_eq!(task.drop_future(), 0);
        mapping.check().unwrap();
        if drop_at < usize::MAX {
            assert_eq!(mapping.stats().dirty, 5000 - 1000 * drop_at as u64);
            handle.handle().sync_data().unwrap();
        }
        assert_eq!((mapping.stats().dirty, store.durable().len()), (0, bytes.len()));
    }
}

#[derive(Debug)]
struct NoLog;

impl Log for NoLog {
    fn durable(&self) -> u64 {
        0
    }

    fn ensure(&self, _upto: u64) -> std::io::Result<()> {
        panic!("nobody waits for it in a task")
    }
}

#[test]
fn a_mapping_with_a_log_is_not_synced_by_a_task() {
    let config = Config::new().log(Arc::new(NoLog));
    let mapping =
        Mapping::with_config(Arc::new(MemStore::with_contents(contents(1))), config).unwrap();
    let handle = mapping.async_handle();
    handle.handle().write_logged_at(b"x", 0, 1).unwrap();
    assert!(matches!(Task::new(handle.sync_data()).ready(), Err(Error::Config { .. })));
    assert!(Task::new(handle.page(0)).ready().is_ok());
}

#[test]
fn a_sync_ends_though_another_writes_the_page_again_and_again() {
    for block_size in [4 * PAGE, PAGE] {
        let store = FaultStore::new(1);
        store.queue(Action::Write, true);
        let config = Config::new().page_size(4 * PAGE).block_size(block_size);
        let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
        let (handle, tasks) = (mapping.handle(), mapping.async_handle());
        let write = |byte| {
            handle.write_at(&[byte], 0).unwrap();
            mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
        };
        write(1);
        handle.write_at(&[2], 0).unwrap();
        let mut sync = Task::new(tasks.sync_data());
        let mut rounds = 0;
        while sync.is_pending() {
            rounds += 1;
            assert!(rounds <= 4, "what is written later keeps it, in blocks of {block_size}");
            // The write ends, and the next of the same page begins, before the sync comes to look.
            store.deliver_all();
            write(3);
        }
        drop(sync);
        assert!(store.durable()[0] >= 2);
    }
}

/// Nor by who claims the page and writes it itself.
#[test]
fn a_sync_ends_though_another_starts_one_write_of_the_page_after_the_other() {
    for block_size in [4 * PAGE, PAGE] {
        let store = FaultStore::new(1);
        let config = Config::new().page_size(4 * PAGE).block_size(block_size);
        let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
        let (handle, tasks) = (mapping.handle(), mapping.async_handle());
        let start = |byte| {
            handle.write_at(&[byte], 0).unwrap();
            let locked = mapping.page(0).unwrap().lock_state().unwrap();
            let writeback = locked.clear_dirty_for_io().unwrap().start_writeback().unwrap();
            store.write_at(writeback.offset(), writeback.image().as_ref()).unwrap();
            writeback
        };
        let mut under_way = start(1);
        handle.write_at(&[2], 0).unwrap();
        let mut sync = Task::new(tasks.sync_data());
        let mut rounds = 0;
        while sync.is_pending() {
            rounds += 1;
            assert!(rounds <= 4, "what is written later keeps it, in blocks of {block_size}");
            under_way.end(Ok(()));
            under_way = start(3);
        }
        drop(sync);
        under_way.end(Ok(()));
        assert!(store.durable()[0] >= 2);
        mapping.check().unwrap();
    }
}

#[test]
fn a_write_that_leaves_out_what_is_held_is_not_taken_for_all_of_the_page() {
    let store = FaultStore::new(1);
    store.queue(Action::Write, true);
    let config = Config::new().page_size(4 * PAGE).block_size(PAGE);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    let (handle, tasks) = (mapping.handle(), mapping.async_handle());
    let begin = || mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
    handle.write_at(&[1; 4 * PAGE], 0).unwrap();
    begin();
    handle.write_at(&[2; 4 * PAGE], 0).unwrap();
    let mut sync = Task::new(tasks.sync_data());
    assert!(sync.is_pending());
    store.deliver_all();
    // The next write has all but one block, which is dirty.
    let hold = mapping.hold_blocks(0, 2..3).unwrap();
    begin();
    assert!(sync.is_pending());
    store.deliver_all();
    assert!(sync.is_pending(), "a block is held");
    drop(hold);
    let (outcome, _) = run(&mut sync, &store);
    outcome.unwrap();
    drop(sync);
    assert_eq!(store.durable(), [2; 4 * PAGE]);
}
