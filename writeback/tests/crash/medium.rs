//! The store of these tests itself: what a power cut may leave of it after each thing that it does, seen by
//! nothing but its own face. A cache can only be judged by a store that keeps its own promises.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use writeback::store::fault::{Action, Fault, FaultConfig, FaultStore, Rule, Stage};
use writeback::store::{FlushKind, Store};
use writeback::{Config, Mapping, StoreError, SyncMode};

use crate::common::{eventually, watch};
use crate::driver::silence_ordered_panics;

/// A page is one sector here, so that its first byte says which write of it is there.
const PAGE: usize = 512;

const SECOND: Duration = Duration::from_secs(1);

/// A store of `pages` pages of zeros, and a mapping by which they are written.
fn new(pages: usize) -> (FaultStore, Mapping) {
    watch();
    let store = FaultStore::with_config(FaultConfig::new(7).contents(vec![0; pages * PAGE]));
    let config = Config::new().page_size(PAGE);
    (store.clone(), Mapping::with_config(Arc::new(store), config).unwrap())
}

/// Has the store write a page; how it ends is seen by what a power cut leaves.
fn write(mapping: &Mapping, page: u64, byte: u8) {
    mapping.handle().write_at(&[byte; PAGE], page * PAGE as u64).unwrap();
    silence_ordered_panics();
    let _ = catch_unwind(AssertUnwindSafe(|| mapping.write_page(page, SyncMode::Skip)));
}

fn flush(store: &FaultStore) {
    store.sync(FlushKind::Data).unwrap();
}

/// What many power cuts leave: the first byte of each page.
fn left(store: &FaultStore) -> BTreeSet<Vec<u8>> {
    let first_bytes = |bytes: &[u8]| bytes.chunks(PAGE).map(|page| page[0]).collect();
    (0..200).map(|seed| first_bytes(&store.crash_clone(seed).accepted())).collect()
}

#[track_caller]
fn expect<const N: usize>(store: &FaultStore, expected: [&[u8]; N]) {
    assert_eq!(left(store), expected.iter().map(|bytes| bytes.to_vec()).collect());
}

#[test]
fn a_write_that_succeeds_is_there_for_certain_after_the_next_flush() {
    let (store, mapping) = new(2);
    write(&mapping, 0, 1);
    expect(&store, [&[0, 0], &[1, 0]]);
    write(&mapping, 1, 1);
    expect(&store, [&[0, 0], &[1, 0], &[0, 1], &[1, 1]]);
    flush(&store);
    expect(&store, [&[1, 1]]);
}

#[test]
fn a_write_that_fails_or_is_lost_may_be_there_until_the_page_is_written_again() {
    for fault in [Fault::Io, Fault::Lost, Fault::Panic] {
        let (store, mapping) = new(1);
        store.inject(Rule::new(fault).on(Action::Write));
        write(&mapping, 0, 1);
        assert_eq!(store.accepted()[0], 0, "{fault:?}");
        expect(&store, [&[0], &[1]]);
        flush(&store);
        expect(&store, [&[0], &[1]]);
        write(&mapping, 0, 2);
        flush(&store);
        expect(&store, [&[2]]);
    }
}

#[test]
fn a_write_that_finds_no_space_is_not_there() {
    let (store, mapping) = new(1);
    store.inject(Rule::new(Fault::NoSpace).on(Action::Write));
    write(&mapping, 0, 1);
    expect(&store, [&[0]]);
    flush(&store);
    expect(&store, [&[0]]);
}

#[test]
fn a_short_write_is_there_as_far_as_it_was_accepted() {
    let (store, mapping) = new(2);
    store.inject(Rule::new(Fault::Short { accepted: Some(PAGE as u64) }).on(Action::Write));
    mapping.handle().write_at(&[1; 2 * PAGE], 0).unwrap();
    mapping.handle().sync_data().unwrap_err();
    assert_eq!(mapping.stats().dirty, 1);
    expect(&store, [&[1, 0]]);
    // Within a sector, too: then it is torn.
    store.inject(Rule::new(Fault::Short { accepted: Some(3) }).on(Action::Write));
    write(&mapping, 0, 9);
    flush(&store);
    assert_eq!(store.durable()[..5], [9, 9, 9, 1, 1]);
}

#[test]
fn a_write_under_way_may_be_there_and_no_flush_covers_it() {
    for fault in [Fault::Stuck, Fault::Slow(SECOND)] {
        let (store, mapping) = new(1);
        store.inject(Rule::new(fault).on(Action::Write));
        write(&mapping, 0, 1);
        flush(&store);
        expect(&store, [&[0], &[1]]);
        assert_eq!((store.deliver_all(), store.pending()), (0, 1));
        store.advance(SECOND);
        store.release_stuck();
        assert_eq!(store.deliver_all(), 1);
        expect(&store, [&[0], &[1]]);
        flush(&store);
        expect(&store, [&[1]]);
    }
}

#[test]
fn a_length_is_there_for_certain_after_the_next_flush() {
    let (store, _mapping) = new(1);
    store.set_len(2 * PAGE as u64).unwrap();
    expect(&store, [&[0], &[0, 0]]);
    flush(&store);
    expect(&store, [&[0, 0]]);
    store.inject(Rule::new(Fault::Slow(SECOND)).on(Action::SetLen));
    store.set_len(0).unwrap();
    assert_eq!(store.clock().now(), SECOND);
    expect(&store, [&[], &[0, 0]]);
}

#[test]
fn a_length_that_could_not_be_set_may_be_there_after_any_number_of_flushes() {
    for fault in [Fault::Io, Fault::Panic] {
        for (before, after) in [(1, 3), (3, 1)] {
            let (store, _mapping) = new(before);
            let lengths = [&[0, 0, 0][..before], &[0, 0, 0][..after]];
            store.inject(Rule::new(fault).on(Action::SetLen));
            silence_ordered_panics();
            let set = catch_unwind(AssertUnwindSafe(|| store.set_len((after * PAGE) as u64)));
            assert!(set.is_err() || set.unwrap().is_err());
            assert_eq!(store.len().unwrap(), (before * PAGE) as u64);
            for _ in 0..3 {
                expect(&store, lengths);
                flush(&store);
            }
            store.set_len(PAGE as u64).unwrap();
            flush(&store);
            expect(&store, [&[0]]);
        }
    }
}

#[test]
fn a_length_for_which_there_is_no_space_is_not_there() {
    let (store, _mapping) = new(1);
    store.inject(Rule::new(Fault::NoSpace).on(Action::SetLen));
    assert!(matches!(store.set_len(3 * PAGE as u64), Err(StoreError::NoSpace)));
    expect(&store, [&[0]]);
}

#[test]
fn what_a_failed_flush_was_to_cover_is_in_doubt_for_good() {
    for fault in [Fault::Io, Fault::Panic] {
        let (store, mapping) = new(1);
        write(&mapping, 0, 1);
        store.set_len(2 * PAGE as u64).unwrap();
        store.inject(Rule::new(fault).on(Action::Flush));
        silence_ordered_panics();
        let flushed = catch_unwind(AssertUnwindSafe(|| store.sync(FlushKind::All)));
        assert!(flushed.is_err() || flushed.unwrap().is_err());
        for _ in 0..3 {
            expect(&store, [&[0], &[1], &[0, 0], &[1, 0]]);
            flush(&store);
        }
        write(&mapping, 0, 2);
        store.set_len(PAGE as u64).unwrap();
        flush(&store);
        expect(&store, [&[2]]);
    }
}

#[test]
fn a_flush_that_lies_covers_nothing_and_the_next_one_all() {
    let (store, mapping) = new(1);
    store.inject(Rule::new(Fault::Lie).on(Action::Flush));
    write(&mapping, 0, 1);
    flush(&store);
    expect(&store, [&[0], &[1]]);
    flush(&store);
    expect(&store, [&[1]]);
}

#[test]
fn a_flush_that_is_stuck_or_slow_covers_what_was_before_it_and_only_that() {
    let (store, mapping) = new(2);
    write(&mapping, 0, 1);
    store.set_len(3 * PAGE as u64).unwrap();
    store.inject(Rule::new(Fault::Stuck).on(Action::Flush));
    thread::scope(|scope| {
        let stuck = scope.spawn(|| flush(&store));
        eventually("it is stuck", || store.stuck_calls() == 1);
        expect(&store, [&[0, 0], &[1, 0], &[0, 0, 0], &[1, 0, 0]]);
        write(&mapping, 1, 1);
        store.set_len(4 * PAGE as u64).unwrap();
        store.release_stuck();
        stuck.join().unwrap();
    });
    expect(&store, [&[1, 0, 0], &[1, 1, 0], &[1, 0, 0, 0], &[1, 1, 0, 0]]);
    store.inject(Rule::new(Fault::Slow(SECOND)).on(Action::Flush));
    flush(&store);
    assert_eq!(store.clock().now(), SECOND);
    expect(&store, [&[1, 1, 0, 0]]);
}

#[test]
fn a_stuck_flush_that_fails_leaves_what_came_after_it_began_to_the_next() {
    let (store, mapping) = new(2);
    write(&mapping, 0, 1);
    let during = mapping.clone();
    // The hook is called when the flush has begun, and before it fails.
    store.on_event(move |_, event| {
        let is_flush = event.operation.action == Action::Flush && event.operation.number == 1;
        if is_flush && event.stage == Stage::Begun {
            during.page(1).unwrap().write_with(0..PAGE, |bytes| bytes.fill(1)).unwrap();
            during.write_page(1, SyncMode::Skip).unwrap();
        }
    });
    store.inject(Rule::new(Fault::Io).on(Action::Flush));
    store.sync(FlushKind::Data).unwrap_err();
    store.on_event(|_, _| ());
    flush(&store);
    expect(&store, [&[0, 1], &[1, 1]]);
}

#[test]
fn reads_that_go_wrong_change_nothing_that_is_stored() {
    let (store, mapping) = new(1);
    write(&mapping, 0, 5);
    flush(&store);
    let mut bytes = [0; PAGE];
    store.inject(Rule::new(Fault::Io).on(Action::Read));
    assert!(store.read_at(0, &mut bytes).is_err());
    store.inject(Rule::new(Fault::BitRot).on(Action::Read));
    assert_eq!(store.read_at(0, &mut bytes).unwrap(), PAGE);
    let wrong: u32 = bytes.iter().map(|byte| (byte ^ 5).count_ones()).sum();
    assert_eq!(wrong, 1, "one bit");
    store.inject(Rule::new(Fault::Slow(SECOND)).on(Action::Read));
    assert_eq!(store.read_at(0, &mut bytes).unwrap(), PAGE);
    assert_eq!((bytes, store.clock().now()), ([5; PAGE], SECOND));
    store.inject(Rule::new(Fault::Panic).on(Action::Read));
    silence_ordered_panics();
    assert!(catch_unwind(AssertUnwindSafe(|| store.read_at(0, &mut [0; PAGE]))).is_err());
    expect(&store, [&[5]]);
}

#[test]
fn a_lengthening_that_failed_is_undone_by_the_next_sync() {
    // Whether the store is longer than its mapping nobody knows; the sync that says all is durable does.
    for fault in [Fault::Io, Fault::Panic] {
        let (store, mapping) = new(1);
        let handle = mapping.handle();
        store.inject(Rule::new(fault).on(Action::SetLen));
        silence_ordered_panics();
        let set = catch_unwind(AssertUnwindSafe(|| handle.set_len(3 * PAGE as u64)));
        assert!(set.is_err() || set.unwrap().is_err());
        assert_eq!(handle.len(), PAGE as u64);
        expect(&store, [&[0], &[0, 0, 0]]);
        handle.sync_all().unwrap();
        expect(&store, [&[0]]);
    }
    // A refusal leaves no doubt, and nothing to undo.
    let (store, mapping) = new(1);
    store.inject(Rule::new(Fault::NoSpace).on(Action::SetLen));
    mapping.handle().set_len(3 * PAGE as u64).unwrap_err();
    mapping.handle().sync_all().unwrap();
    assert_eq!(store.operations(Action::SetLen), 1);
}
