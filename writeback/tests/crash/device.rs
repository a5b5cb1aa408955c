//! A device that is stuck, slow, forgetful, out of order, or panics: nobody waits for what does not come,
//! and nobody but who has to waits at all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use writeback::store::fault::{Action, Fault, FaultConfig, FaultStore, Rule, Stage};
use writeback::{Budget, Config, Error, Mapping, StoreError, SyncMode};

use crate::common::{eventually, watch};
use crate::driver::{open, silence_ordered_panics};

const PAGE: usize = 4096;

/// A mapping of `pages` dirty pages; store and mapping go by one clock.
fn dirty(config: FaultConfig, pages: usize) -> (FaultStore, Mapping) {
    watch();
    let store = FaultStore::with_config(config.contents(vec![0; pages * PAGE]));
    let config = Config::new().clock(store.clock().clone());
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    mapping.handle().write_at(&vec![1; pages * PAGE], 0).unwrap();
    (store, mapping)
}

#[track_caller]
fn assert_all_is_well(store: &FaultStore, mapping: &Mapping, bytes: &[u8]) {
    let handle = mapping.handle();
    let _ = handle.check_error();
    handle.sync_data().unwrap();
    assert!(store.durable() == bytes);
    let stats = mapping.stats();
    assert_eq!((stats.dirty, stats.writeback, stats.oldest_writeback), (0, 0, None));
    mapping.check().unwrap();
}

#[test]
fn a_stuck_write_holds_up_nobody_who_does_not_wait_for_it() {
    let (store, mapping) = dirty(FaultConfig::new(1), 2);
    let (_, other) = dirty(FaultConfig::new(2), 2);
    store.inject(Rule::new(Fault::Stuck).on(Action::Write).touching(0..1));
    mapping.write_page(0, SyncMode::Skip).unwrap();
    let syncer = thread::spawn({
        let handle = mapping.handle();
        move || handle.sync_data()
    });
    eventually("the other page is written", || mapping.stats().written == 1);

    other.handle().sync_data().unwrap();
    let handle = mapping.handle();
    handle.write_at(b"new", 0).unwrap();
    let mut bytes = [0; 3];
    handle.read_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"new");
    handle.sync_range(PAGE as u64..).unwrap();
    assert_eq!(mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap().submitted, 0);

    assert_eq!(mapping.stats().oldest_writeback, Some(Duration::ZERO));
    store.advance(Duration::from_secs(7));
    assert_eq!(mapping.stats().oldest_writeback, Some(Duration::from_secs(7)), "it can be seen");
    assert_eq!(other.stats().oldest_writeback, None);
    assert!(!syncer.is_finished(), "what it was asked for is not durable");
    store.release_stuck();
    store.deliver_all();
    syncer.join().unwrap().unwrap();
    let mut expected = vec![1; 2 * PAGE];
    expected[..3].copy_from_slice(b"new");
    assert_all_is_well(&store, &mapping, &expected);
}

#[test]
fn a_stuck_flush_holds_up_syncs_and_nobody_else() {
    let (store, mapping) = dirty(FaultConfig::new(1), 2);
    store.inject(Rule::new(Fault::Stuck).on(Action::Flush));
    let sync = || {
        let handle = mapping.handle();
        thread::spawn(move || handle.sync_data())
    };
    let first = sync();
    eventually("it is stuck", || store.stuck_calls() == 1);
    let second = sync();
    let handle = mapping.handle();
    handle.write_at(&[2; 10], 5).unwrap();
    // Here, or by the second sync, should that begin after the change.
    mapping.write_page(0, SyncMode::Wait).unwrap();
    assert_eq!((mapping.stats().written, mapping.stats().dirty), (3, 0));
    assert!(!first.is_finished() && !second.is_finished());
    store.release_stuck();
    first.join().unwrap().unwrap();
    second.join().unwrap().unwrap();
    let mut expected = vec![1; 2 * PAGE];
    expected[5..15].fill(2);
    assert_all_is_well(&store, &mapping, &expected);
}

#[test]
fn a_stuck_read_holds_up_only_who_wants_its_page() {
    let (store, mapping) = dirty(FaultConfig::new(1), 3);
    mapping.close().unwrap();
    let mapping = open(&store, PAGE);
    store.inject(Rule::new(Fault::Stuck).on(Action::Read).touching(0..1));
    let reader = thread::spawn({
        let handle = mapping.handle();
        move || handle.read_at(&mut [0; 10], 0)
    });
    eventually("it is stuck", || store.stuck_calls() == 1);
    let handle = mapping.handle();
    assert_eq!(handle.read_at(&mut [0; 10], PAGE as u64).unwrap(), 10);
    handle.write_at(&[3; 10], 2 * PAGE as u64).unwrap();
    handle.sync_data().unwrap();
    assert!(!reader.is_finished());
    store.release_stuck();
    assert_eq!(reader.join().unwrap().unwrap(), 10);
}

#[test]
fn a_slow_device_takes_the_time_it_takes_and_no_other() {
    let (store, mapping) = dirty(FaultConfig::new(1), 1);
    let second = Duration::from_secs(1);
    store.inject(Rule::new(Fault::Slow(5 * second)).on(Action::Write));
    store.inject(Rule::new(Fault::Slow(second)).on(Action::Flush));
    mapping.write_page(0, SyncMode::Skip).unwrap();
    store.advance(4 * second);
    assert_eq!(store.deliver_all(), 0);
    assert_eq!(mapping.stats().oldest_writeback, Some(4 * second));
    store.advance(second);
    assert_eq!(store.deliver_all(), 1);
    mapping.handle().sync_data().unwrap();
    assert_eq!(store.clock().now(), 6 * second);
}

#[test]
fn who_waits_for_a_write_that_is_forgotten_is_told() {
    let (store, mapping) = dirty(FaultConfig::new(1).queued(true), 4);
    let syncer = thread::spawn({
        let handle = mapping.handle();
        move || handle.sync_data()
    });
    eventually("it is under way", || store.pending() == 1);
    assert_eq!(store.lose_pending(), 1);
    let error = syncer.join().unwrap().unwrap_err();
    assert!(matches!(error, Error::Write { source: StoreError::Lost }), "{error}");
    assert_eq!(mapping.stats().dirty, 4, "kept");
    store.set_queued(false);
    assert_all_is_well(&store, &mapping, &[1; 4 * PAGE]);
}

#[test]
fn writes_may_end_in_any_order_on_any_thread() {
    for seed in 0..30 {
        let (store, mapping) = dirty(FaultConfig::new(seed).queued(true).batch_pages_max(1), 6);
        mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED).unwrap();
        assert_eq!((store.pending(), mapping.stats().writeback), (6, 6));
        // Dirty again before they end: each page is to be written twice.
        mapping.handle().write_at(&[2; 6 * PAGE], 0).unwrap();
        thread::scope(|scope| {
            let syncer = scope.spawn(|| mapping.handle().sync_data());
            let deliverers = [store.deliver_in_background(), store.deliver_in_background()];
            syncer.join().unwrap().unwrap();
            deliverers.into_iter().for_each(|deliverer| deliverer.stop());
        });
        assert_eq!(mapping.stats().written, 12);
        store.set_queued(false);
        assert_all_is_well(&store, &mapping, &[2; 6 * PAGE]);
    }
}

/// A writer that dirties all pages again whenever the store is handed one of them.
#[test]
fn a_sync_ends_though_a_writer_never_stops() {
    let (store, mapping) = dirty(FaultConfig::new(1).batch_pages_max(1), 8);
    let before = store.operations(Action::Write);
    let handle = mapping.handle();
    store.on_event(move |_, event| {
        if event.operation.action == Action::Write && event.stage == Stage::Begun {
            handle.write_at(&[2; 8 * PAGE], 0).unwrap();
        }
    });
    mapping.handle().sync_data().unwrap();
    let writes = store.operations(Action::Write) - before;
    assert!(writes <= 8, "{writes} writes of 8 pages");
    assert_eq!(mapping.stats().dirty, 8);
    store.on_event(|_, _| ());
    assert_all_is_well(&store, &mapping, &[2; 8 * PAGE]);
}

fn panics(f: impl FnOnce()) {
    silence_ordered_panics();
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err(), "it was told to panic");
}

/// Nothing stays locked or under way, and what was in hand is kept.
fn assert_usable(mapping: &Mapping) {
    for index in 0..mapping.len().div_ceil(PAGE as u64) {
        let state = mapping.page(index).unwrap().snapshot();
        assert!(!state.is_locked() && !state.is_under_writeback(), "page {index}: {state:?}");
    }
    mapping.check().unwrap();
    mapping.handle().write_at(&[1; 3 * PAGE], 0).unwrap();
    mapping.handle().set_len(3 * PAGE as u64).unwrap();
}

#[test]
fn a_panic_in_a_write_is_a_write_that_is_lost() {
    let (store, mapping) = dirty(FaultConfig::new(1), 3);
    let handle = mapping.handle();
    store.inject(Rule::new(Fault::Panic).on(Action::Write));
    panics(|| drop(handle.sync_data()));
    assert_eq!(mapping.stats().dirty, 3);
    assert!(matches!(handle.sync_data(), Err(Error::Write { source: StoreError::Lost })));
    assert_usable(&mapping);
    assert_all_is_well(&store, &mapping, &[1; 3 * PAGE]);
}

#[test]
fn a_panic_in_a_read_leaves_the_page_to_the_next_reader() {
    let (store, mapping) = dirty(FaultConfig::new(1), 3);
    mapping.close().unwrap();
    let mapping = open(&store, PAGE);
    store.inject(Rule::new(Fault::Panic).on(Action::Read).times(2));
    panics(|| drop(mapping.handle().read_at(&mut [0; 10], 0)));
    panics(|| drop(mapping.handle().write_at(b"part", 0)));
    assert_usable(&mapping);
    assert_all_is_well(&store, &mapping, &[1; 3 * PAGE]);
}

#[test]
fn a_panic_in_a_change_of_the_length_is_one_that_failed() {
    let (store, mapping) = dirty(FaultConfig::new(1), 3);
    let handle = mapping.handle();
    handle.sync_data().unwrap();
    store.inject(Rule::new(Fault::Panic).on(Action::SetLen).times(2));
    panics(|| drop(handle.set_len(10 * PAGE as u64)));
    assert_eq!(handle.len(), 3 * PAGE as u64, "not lengthened");
    panics(|| drop(handle.set_len(PAGE as u64)));
    assert_eq!(handle.len(), PAGE as u64, "cut, and the store is by the next sync");
    handle.sync_data().unwrap();
    assert_eq!(store.durable(), [1; PAGE]);
    assert_usable(&mapping);
    assert_all_is_well(&store, &mapping, &[1; 3 * PAGE]);
}

#[test]
fn a_panic_in_a_flush_is_a_flush_that_failed() {
    let (store, mapping) = dirty(FaultConfig::new(1), 3);
    let handle = mapping.handle();
    store.inject(Rule::new(Fault::Panic).on(Action::Flush));
    panics(|| drop(handle.sync_data()));
    assert!(matches!(handle.sync_data(), Err(Error::Poisoned { .. })));
    assert_eq!(store.operations(Action::Flush), 1, "it is not tried again");
    assert_eq!(handle.read_at(&mut [0; 10], 0).unwrap(), 10);
    assert!(mapping.close().unwrap_err().error.is_poisoned());
}
