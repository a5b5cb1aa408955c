//! Reads and flushes whose completions come late, in another order, or never: whoever waits for them is told, and nobody else waits.

use std::thread::{self, JoinHandle};

use writeback::store::fault::{Action, FaultConfig, FaultStore};
use writeback::{Error, Mapping, Result, StoreError, SyncMode};

use crate::common::{eventually, never, watch};
use crate::driver::open;

const PAGE: usize = 4096;

/// A mapping of `pages` pages, none of them cached, each filled with its number plus one. Operations of these kinds end
/// when they are delivered.
fn stored(seed: u64, pages: u8, queued: &[Action]) -> (FaultStore, Mapping) {
    watch();
    let contents: Vec<_> = (1..=pages).flat_map(|byte| [byte; PAGE]).collect();
    let store = FaultStore::with_config(FaultConfig::new(seed).contents(contents));
    queued.iter().for_each(|action| store.queue(*action, true));
    let mapping = open(&store, PAGE);
    (store, mapping)
}

/// A thread that reads a byte of a page.
fn reader(mapping: &Mapping, page: u64) -> JoinHandle<Result<u8>> {
    let handle = mapping.handle();
    thread::spawn(move || {
        let mut byte = [0];
        handle.read_at(&mut byte, page * PAGE as u64 + 17).map(|_| byte[0])
    })
}

fn syncer(mapping: &Mapping) -> JoinHandle<Result<()>> {
    let handle = mapping.handle();
    thread::spawn(move || handle.sync_data())
}

fn is_lost(outcome: &Result<u8>) -> bool {
    matches!(outcome, Err(Error::Read { source: StoreError::Lost, .. }))
}

#[test]
fn all_who_want_a_page_wait_for_one_read_of_it() {
    let (store, mapping) = stored(1, 3, &[Action::Read]);
    let readers: Vec<_> = (0..4).map(|_| reader(&mapping, 1)).collect();
    eventually("it is under way", || store.pending() == 1);
    never("another read of the page begins", || store.pending() > 1);
    // Nobody else waits: a page that is written whole is not read.
    mapping.handle().write_at(&[9; PAGE], 0).unwrap();
    mapping.handle().sync_data().unwrap();
    assert!(readers.iter().all(|reader| !reader.is_finished()));
    assert_eq!(store.deliver_all(), 1);
    readers.into_iter().for_each(|reader| assert_eq!(reader.join().unwrap().unwrap(), 2));
    assert_eq!((store.operations(Action::Read), mapping.stats().read), (1, 1));
    mapping.check().unwrap();
}

#[test]
fn a_read_that_is_forgotten_is_told_to_its_reader_and_the_next_one_asks_again() {
    let (store, mapping) = stored(1, 2, &[Action::Read]);
    let readers = [reader(&mapping, 1), reader(&mapping, 1)];
    eventually("it is under way", || store.pending() == 1);
    assert_eq!(store.lose_pending(), 1);
    eventually("the other asks", || store.operations(Action::Read) == 2 && store.pending() == 1);
    assert_eq!(store.deliver_all(), 1);
    let outcomes = readers.map(|reader| reader.join().unwrap());
    assert_eq!(outcomes.iter().filter(|outcome| is_lost(outcome)).count(), 1, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Ok(2))).count(), 1);
    // No page was written: nobody else is told, and nothing is wrong with the mapping.
    mapping.handle().check_error().unwrap();
    mapping.handle().sync_data().unwrap();
    mapping.check().unwrap();
}

#[test]
fn a_write_that_needs_a_read_which_is_forgotten_has_changed_nothing() {
    let (store, mapping) = stored(1, 2, &[Action::Read]);
    let writer = thread::spawn({
        let handle = mapping.handle();
        move || handle.write_at(b"part", 5)
    });
    eventually("it is under way", || store.pending() == 1);
    assert_eq!(store.lose_pending(), 1);
    let told = writer.join().unwrap().unwrap_err();
    assert!(matches!(told, Error::Read { index: 0, source: StoreError::Lost }), "{told}");
    assert_eq!(mapping.stats().dirty, 0);
    store.queue(Action::Read, false);
    assert_eq!(reader(&mapping, 0).join().unwrap().unwrap(), 1);
    mapping.check().unwrap();
}

#[test]
fn reads_may_end_in_any_order_on_any_thread() {
    for seed in 0..20 {
        let (store, mapping) = stored(seed, 8, &[Action::Read, Action::Write, Action::Flush]);
        let readers: Vec<_> = (0..16).map(|at| reader(&mapping, at % 8)).collect();
        eventually("all are under way", || store.pending() == 8);
        let deliverers = [store.deliver_in_background(), store.deliver_in_background()];
        for (at, reader) in readers.into_iter().enumerate() {
            assert_eq!(usize::from(reader.join().unwrap().unwrap()), at % 8 + 1);
        }
        mapping.handle().write_at(&[9; 8 * PAGE], 0).unwrap();
        mapping.handle().sync_data().unwrap();
        deliverers.into_iter().for_each(|deliverer| deliverer.stop());
        assert_eq!(store.operations(Action::Read), 8);
        assert_eq!(store.durable(), [9; 8 * PAGE]);
        mapping.check().unwrap();
    }
}

#[test]
fn a_cut_waits_for_a_read_that_is_late_and_takes_its_page_away() {
    let (store, mapping) = stored(1, 3, &[Action::Read]);
    let reader = reader(&mapping, 2);
    eventually("it is under way", || store.pending() == 1);
    let cutter = thread::spawn({
        let handle = mapping.handle();
        move || handle.set_len(PAGE as u64)
    });
    never("the cut overtakes the read", || cutter.is_finished());
    assert_eq!(store.deliver_all(), 1);
    cutter.join().unwrap().unwrap();
    // It has read the byte, or nothing, if the cut came before it looked.
    assert!(matches!(reader.join().unwrap(), Ok(3 | 0)));
    assert_eq!((mapping.stats().cached, mapping.len()), (0, PAGE as u64));
    mapping.handle().sync_data().unwrap();
    assert_eq!(store.durable(), [1; PAGE]);
}

#[test]
fn a_late_flush_holds_up_syncs_and_nobody_else() {
    let (store, mapping) = stored(1, 2, &[Action::Flush]);
    let handle = mapping.handle();
    handle.write_at(&[5; PAGE], 0).unwrap();
    let first = syncer(&mapping);
    eventually("it is under way", || store.pending() == 1);
    let second = syncer(&mapping);
    handle.write_at(&[6; 10], 0).unwrap();
    assert_eq!(reader(&mapping, 1).join().unwrap().unwrap(), 2);
    mapping.write_page(0, SyncMode::Wait).unwrap();
    never("a sync ends before its flush", || first.is_finished() || second.is_finished());
    assert_eq!(store.operations(Action::Flush), 1, "one at a time");
    while !(first.is_finished() && second.is_finished()) {
        store.deliver_all();
        thread::yield_now();
    }
    first.join().unwrap().unwrap();
    second.join().unwrap().unwrap();
    store.queue(Action::Flush, false);
    handle.sync_data().unwrap();
    assert_eq!(store.durable()[..11], [6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 5]);
}

#[test]
fn a_flush_that_is_forgotten_is_one_that_failed() {
    let (store, mapping) = stored(1, 2, &[Action::Flush]);
    mapping.handle().write_at(&[5; PAGE], 0).unwrap();
    let (first, second) = (syncer(&mapping), syncer(&mapping));
    eventually("it is under way", || store.pending() == 1);
    assert_eq!(store.lose_pending(), 1);
    let told = [first, second].map(|syncer| syncer.join().unwrap().unwrap_err());
    assert!(told.iter().all(Error::is_poisoned), "{told:?}");
    let lost = |error: &&Error| matches!(error, Error::Flush { source: StoreError::Lost });
    assert_eq!(told.iter().filter(lost).count(), 1, "{told:?}");
    assert_eq!(store.operations(Action::Flush), 1, "it is not tried again");
    assert!(matches!(mapping.handle().sync_all(), Err(Error::Poisoned { .. })));
    assert_eq!(reader(&mapping, 0).join().unwrap().unwrap(), 5, "reads are served");
}
