//! Syncs that wait in no thread: for writes, for flushes, for others' locks; and what each says when it is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use writeback::hooks::Log;
use writeback::store::Store;
use writeback::store::fault::{Action, Fault, FaultStore, Rule};
use writeback::{AsyncHandle, Budget, Config, Error, Mapping, MemStore, StoreError, SyncMode};

use crate::common::{SetOnDrop, eventually};
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

/// A log whose `ensure` ends when the test says so, and how.
#[derive(Debug, Default)]
struct Journal {
    durable: AtomicU64,
    asked: AtomicU64,
    /// Up to where it becomes durable when it is asked; zero: it does not answer. It fails whoever asks for more.
    answers: AtomicU64,
}

impl Journal {
    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    fn answer(&self, upto: u64) {
        self.answers.store(upto, Ordering::SeqCst);
    }
}

impl Log for Journal {
    fn durable(&self) -> u64 {
        self.durable.load(Ordering::SeqCst)
    }

    fn ensure(&self, upto: u64) -> std::io::Result<()> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        while self.answers.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        if upto > self.answers.load(Ordering::SeqCst) {
            return Err(std::io::Error::other("it is full"));
        }
        self.durable.fetch_max(upto, Ordering::SeqCst);
        Ok(())
    }
}

/// A mapping of four pages with a log, whose first pages have changes at these positions.
fn logged(positions: &[u64]) -> (MemStore, Arc<Journal>, AsyncHandle) {
    crate::common::watch();
    let (store, log) = (MemStore::with_contents(contents(4)), Arc::new(Journal::default()));
    let config = Config::new().log(log.clone());
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    let handle = mapping.async_handle();
    for (page, position) in (0..).zip(positions) {
        handle.handle().write_logged_at(&[9; 8], page * PAGE as u64, *position).unwrap();
    }
    (store, log, handle)
}

#[test]
fn a_sync_waits_for_the_log_in_no_thread_and_once() {
    let (store, log, handle) = logged(&[3, 9, 5]);
    let (mut task, mut other) = (Task::new(handle.sync_data()), Task::new(handle.sync_data()));
    assert!(task.is_pending() && other.is_pending());
    eventually("the log is asked", || log.asked() == 1);
    assert_eq!((handle.handle().mapping().stats().written, store.accepted()), (0, contents(4)));
    log.answer(100);
    eventually("both are woken", || task.woken() == 1 && other.woken() == 1);
    task.ready().unwrap();
    other.ready().unwrap();
    assert_eq!(log.asked(), 1);
    assert!((0..3).all(|page| store.durable()[page * PAGE..][..8] == [9; 8]));
}

#[test]
fn a_page_that_is_changed_while_the_log_is_waited_for_waits_again() {
    let (store, log, handle) = logged(&[3]);
    let mut task = Task::new(handle.sync_data());
    assert!(task.is_pending());
    eventually("the log is asked", || log.asked() == 1);
    handle.handle().write_logged_at(&[8; 8], 0, 7).unwrap();
    log.answer(3);
    eventually("it is woken", || task.woken() == 1);
    log.answer(0);
    assert!(task.is_pending());
    eventually("the log is asked", || log.asked() == 2);
    assert_eq!(store.accepted(), contents(4), "its newest change is not in the log");
    log.answer(7);
    eventually("it is woken", || task.woken() == 2);
    task.ready().unwrap();
    assert_eq!(store.durable()[..8], [8; 8]);
}

#[test]
fn a_log_that_fails_leaves_the_page_dirty_and_is_told() {
    let (store, log, handle) = logged(&[3, 9]);
    log.answer(3);
    let mut task = Task::new(handle.sync_data());
    let told = loop {
        if let std::task::Poll::Ready(told) = task.poll() {
            break told.unwrap_err();
        }
    };
    assert!(matches!(told, Error::Write { source: StoreError::Log(_), .. }), "{told:?}");
    assert_eq!(
        (store.accepted()[..8].to_vec(), handle.handle().mapping().stats().dirty),
        (vec![9; 8], 1)
    );
    log.answer(9);
    // It backs off, which a sync does not mind.
    let mut task = Task::new(handle.sync_data());
    while task.is_pending() {}
    assert_eq!(
        (store.durable()[PAGE..][..8].to_vec(), handle.handle().mapping().stats().dirty),
        (vec![9; 8], 0)
    );
}

#[test]
fn a_sync_with_a_log_ends_beside_changes_that_never_pause() {
    let (store, log, handle) = logged(&[1]);
    log.answer(u64::MAX);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = SetOnDrop(&stop);
        scope.spawn(|| {
            for position in 2_u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                handle.handle().write_logged_at(&position.to_le_bytes(), 0, position).unwrap();
            }
        });
        for _ in 0..50 {
            let mut task = Task::new(handle.sync_data());
            while task.is_pending() {
                std::thread::yield_now();
            }
            // What it stored is in the log.
            let stored = u64::from_le_bytes(store.durable()[..8].try_into().unwrap());
            assert!(stored <= log.durable() || stored == u64::from_le_bytes([9; 8]));
        }
    });
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
        // What is under way has the mapping.
        store.deliver_all();
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
