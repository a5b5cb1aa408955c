//! What another process has changed in the store: pages that are read again, and a length that is taken over.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use writeback::hooks::Log;
use writeback::page::PageTag;
use writeback::store::fault::{Action, Fault, FaultConfig, FaultStore, Rule};
use writeback::store::{FlushKind, Store};
use writeback::{Budget, Config, Error, Mapping, MemStore, SyncMode};

use crate::watchdog::SetOnDrop;
use crate::{watch, within};

const PAGE: u64 = SIZE as u64;
const SIZE: usize = 4096;

fn byte(mapping: &Mapping, offset: u64) -> Option<u8> {
    let mut byte = [0xee];
    let count = mapping.handle().read_at(&mut byte, offset).unwrap();
    (count > 0).then_some(byte[0])
}

#[test]
fn pages_with_any_of_the_bytes_are_read_again_and_no_others() {
    let store = MemStore::with_contents([1; 10 * SIZE]);
    let mapping = Mapping::open(store.clone()).unwrap();
    mapping.handle().prefetch(..).unwrap();
    store.write_at(0, &[2; 10 * SIZE]).unwrap();
    let bytes = 3 * PAGE + 4095..5 * PAGE + 1;
    assert_eq!(mapping.invalidate(bytes).unwrap(), 0);
    assert_eq!(mapping.stats().cached, 7);
    let found: Vec<_> = (0..10).map(|page| byte(&mapping, page * PAGE).unwrap()).collect();
    assert_eq!(found, [1, 1, 1, 2, 2, 2, 1, 1, 1, 1]);
    assert_eq!((mapping.invalidate(5..5).unwrap(), mapping.stats().cached), (0, 10));
    assert_eq!(mapping.invalidate(..).unwrap(), 0);
    assert_eq!((byte(&mapping, 9 * PAGE), mapping.stats().cached), (Some(2), 1));
    mapping.check().unwrap();
}

#[test]
fn what_only_this_mapping_knows_stays() {
    let store = MemStore::with_contents([1; 4 * SIZE]);
    let mapping = Mapping::open(store.clone()).unwrap();
    let handle = mapping.handle();
    handle.prefetch(..).unwrap();
    handle.write_at(&[3], PAGE).unwrap();
    let hold = mapping.hold_page(2).unwrap();
    store.write_at(0, &[2; 4 * SIZE]).unwrap();
    assert_eq!(mapping.invalidate(..).unwrap(), 2, "one is dirty, one is held");
    assert_eq!((byte(&mapping, PAGE), byte(&mapping, PAGE + 1)), (Some(3), Some(1)));
    assert_eq!((byte(&mapping, 2 * PAGE), byte(&mapping, 0)), (Some(1), Some(2)));
    drop(hold);
    handle.sync_data().unwrap();
    assert_eq!(mapping.invalidate(..).unwrap(), 0);
    assert_eq!((byte(&mapping, PAGE), byte(&mapping, 2 * PAGE)), (Some(3), Some(2)));
    mapping.check().unwrap();
}

#[test]
fn a_page_in_hand_is_gone() {
    let store = MemStore::with_contents([1; SIZE]);
    let mapping = Mapping::open(store.clone()).unwrap();
    let page = mapping.page(0).unwrap();
    store.write_at(0, &[2; SIZE]).unwrap();
    assert_eq!(mapping.invalidate(..).unwrap(), 0);
    assert_eq!(page.read()[0], 1, "as it was");
    let written = page.write_with(0..1, |bytes| bytes.fill(9));
    assert!(matches!(written, Err(Error::Gone { index: 0 })), "{written:?}");
    assert_eq!(mapping.page(0).unwrap().read_with(|bytes| bytes[0]), 2);
}

#[test]
fn a_write_that_is_under_way_is_waited_for() {
    let store = FaultStore::new(1);
    let mapping = Mapping::open(store.clone()).unwrap();
    mapping.handle().write_at(&[7; SIZE], 0).unwrap();
    store.inject(Rule::new(Fault::Stuck).on(Action::Write));
    mapping.write_page(0, SyncMode::Skip).unwrap();
    thread::scope(|scope| {
        let other = scope.spawn(|| mapping.invalidate(..).unwrap());
        thread::sleep(Duration::from_millis(20));
        assert!(!other.is_finished());
        store.release_stuck();
        assert_eq!(store.deliver_all(), 1);
        assert_eq!(other.join().unwrap(), 0);
    });
    assert_eq!((mapping.stats().cached, byte(&mapping, 4095)), (0, Some(7)));
}

/// A flusher has claimed a page of `count` bytes, which is written to again, and goes on while another thread, which comes to the page
/// meanwhile, does as `other` says.
fn beside_a_claim<T: Send>(
    store: &MemStore,
    mapping: &Mapping,
    count: usize,
    other: impl FnOnce() -> T + Send,
) -> T {
    mapping.handle().write_at(&vec![1; count], 0).unwrap();
    let locked = mapping.page(0).unwrap().lock_state().unwrap();
    let claim = locked.clear_dirty_for_io().unwrap();
    mapping.handle().write_at(&[2; 10], 0).unwrap();
    thread::scope(|scope| {
        let other = scope.spawn(other);
        while !mapping.cached_page(0).unwrap().has_tag(PageTag::ToWrite) {
            thread::yield_now();
        }
        // For it to come to the page, if it can: nothing shows that it waits.
        thread::sleep(Duration::from_millis(20));
        let writeback = claim.start_writeback().unwrap();
        store.write_at(writeback.offset(), writeback.image().as_ref()).unwrap();
        writeback.end(Ok(()));
        other.join().unwrap()
    })
}

#[test]
fn none_stay_after_a_sync() {
    let store = MemStore::new();
    let mapping = Mapping::open(store.clone()).unwrap();
    beside_a_claim(&store, &mapping, SIZE, || mapping.handle().sync_data()).unwrap();
    assert_eq!(store.durable()[..10], [2; 10]);
    assert_eq!((mapping.stats().dirty, mapping.invalidate(..).unwrap()), (0, 0));
}

#[test]
fn what_another_has_written_after_a_sync_is_not_undone() {
    let store = MemStore::new();
    let mapping = Mapping::open(store.clone()).unwrap();
    beside_a_claim(&store, &mapping, SIZE, || mapping.handle().sync_data()).unwrap();
    store.write_at(20, &[9; 10]).unwrap();
    mapping.handle().sync_data().unwrap();
    let mut found = [0; 10];
    store.read_at(20, &mut found).unwrap();
    assert_eq!(found, [9; 10]);
}

#[test]
fn what_another_has_appended_after_a_sync_is_taken_over() {
    let store = MemStore::new();
    let mapping = Mapping::open(store.clone()).unwrap();
    mapping.handle().set_len(100).unwrap();
    beside_a_claim(&store, &mapping, 50, || mapping.handle().sync_data()).unwrap();
    store.write_at(100, &[9; 10]).unwrap();
    assert_eq!(mapping.refresh_len().unwrap(), 110);
    assert_eq!(mapping.handle().append(&[3; 10]).unwrap(), 110);
}

#[test]
fn a_close_beside_a_flusher_is_ok() {
    let store = MemStore::new();
    let mapping = Mapping::open(store.clone()).unwrap();
    let other = mapping.clone();
    let closed = beside_a_claim(&store, &mapping, SIZE, || other.close());
    assert_eq!(store.durable()[..10], [2; 10]);
    closed.unwrap();
}

#[test]
fn what_another_has_written_is_flushed_by_the_next_sync() {
    let store = FaultStore::new(1);
    let mapping = Mapping::open(store.clone()).unwrap();
    mapping.handle().write_at(&[7; SIZE], 0).unwrap();
    mapping.handle().sync_all().unwrap();
    store.write_at(0, &[8; SIZE]).unwrap();
    store.set_len(2 * PAGE).unwrap();
    mapping.invalidate(..).unwrap();
    mapping.handle().sync_data().unwrap();
    let left = store.crash_clone(1);
    let mut found = [0; SIZE];
    left.read_at(0, &mut found).unwrap();
    assert_eq!((found, left.len().unwrap()), ([8; SIZE], 2 * PAGE));
}

#[test]
fn a_length_is_taken_over_with_what_lies_behind_the_former_end() {
    let store = MemStore::with_contents([1; SIZE + 100]);
    let mapping = Mapping::open(store.clone()).unwrap();
    mapping.handle().prefetch(..).unwrap();
    store.write_at(PAGE + 100, &[2; SIZE]).unwrap();
    assert_eq!(mapping.refresh_len().unwrap(), 2 * PAGE + 100);
    assert_eq!((byte(&mapping, PAGE + 99), byte(&mapping, PAGE + 100)), (Some(1), Some(2)));
    assert_eq!((byte(&mapping, 2 * PAGE + 99), byte(&mapping, 2 * PAGE + 100)), (Some(2), None));
    assert_eq!(mapping.handle().append(&[3]).unwrap(), 2 * PAGE + 100);

    mapping.handle().sync_data().unwrap();
    store.set_len(50).unwrap();
    store.set_len(200).unwrap();
    assert_eq!((mapping.refresh_len().unwrap(), mapping.len()), (200, 200));
    assert_eq!(
        (byte(&mapping, 49), byte(&mapping, 50), byte(&mapping, 200)),
        (Some(1), Some(0), None)
    );
    mapping.handle().write_at(&[4], 300).unwrap();
    assert_eq!((byte(&mapping, 250), byte(&mapping, 300)), (Some(0), Some(4)));
    assert_eq!(
        mapping.refresh_len().unwrap(),
        301,
        "what this mapping has written keeps its length"
    );
    mapping.handle().sync_data().unwrap();
    assert_eq!((mapping.refresh_len().unwrap(), store.len().unwrap()), (301, 301));
    mapping.check().unwrap();
}

#[test]
fn what_is_dirty_keeps_the_length_of_the_mapping() {
    let store = MemStore::with_contents([1; 4 * SIZE]);
    let mapping = Mapping::open(store.clone()).unwrap();
    mapping.handle().write_at(&[5], 3 * PAGE).unwrap();
    store.set_len(PAGE).unwrap();
    assert_eq!(mapping.refresh_len().unwrap(), 4 * PAGE);
    assert_eq!(byte(&mapping, 3 * PAGE), Some(5));
    mapping.handle().sync_data().unwrap();
    assert_eq!((store.len().unwrap(), mapping.refresh_len().unwrap()), (4 * PAGE, 4 * PAGE));

    // And where another has lengthened the store, within the page that this one has changed.
    store.set_len(3 * PAGE + 10).unwrap();
    assert_eq!(mapping.refresh_len().unwrap(), 3 * PAGE + 10);
    mapping.handle().write_at(&[6], 3 * PAGE + 1).unwrap();
    store.write_at(3 * PAGE + 10, &[7; 10]).unwrap();
    assert_eq!(mapping.refresh_len().unwrap(), 3 * PAGE + 10);
    mapping.handle().sync_data().unwrap();
    mapping.check().unwrap();
}

/// Also where clean pages lie behind what stays, or clean blocks.
#[test]
fn a_length_that_is_kept_is_the_stores() {
    for (held, block) in [(false, SIZE), (true, SIZE), (false, 512)] {
        let store = MemStore::with_contents([1; 4 * SIZE]);
        let config = Config::new().block_size(block);
        let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
        mapping.handle().prefetch(..).unwrap();
        let hold = held.then(|| mapping.hold_page(2).unwrap());
        if !held {
            mapping.handle().write_at(&[5], 2 * PAGE).unwrap();
        }
        store.set_len(PAGE).unwrap();
        assert_eq!(mapping.refresh_len().unwrap(), 4 * PAGE);
        assert_eq!(store.len().unwrap(), 4 * PAGE);
        drop(hold);
        mapping.handle().sync_data().unwrap();
        let lengths = (store.len().unwrap(), mapping.refresh_len().unwrap());
        assert_eq!(lengths, (4 * PAGE, 4 * PAGE));
        let found = [PAGE, 2 * PAGE, 3 * PAGE].map(|at| byte(&mapping, at).unwrap());
        assert_eq!(
            found,
            [0, if held { 1 } else { 5 }, 0],
            "cut off by the other, but for what stayed"
        );
    }
}

/// One page stays while the write of one behind it ends, which lengthens the store.
#[test]
fn what_is_written_behind_a_page_that_stays_is_kept() {
    let store = FaultStore::new(1);
    let mapping = Mapping::open(store.clone()).unwrap();
    mapping.handle().write_at(&[7; 2 * SIZE], 0).unwrap();
    store.inject(Rule::new(Fault::Stuck).on(Action::Write));
    mapping.write_page(1, SyncMode::Skip).unwrap();
    let refreshed = release_for(&store, || mapping.refresh_len().unwrap());
    assert_eq!((refreshed, byte(&mapping, PAGE)), (2 * PAGE, Some(7)));
    mapping.handle().sync_data().unwrap();
    assert_eq!((store.len().unwrap(), byte(&mapping, 2 * PAGE - 1)), (2 * PAGE, Some(7)));
}

/// Holding a page must not wait for who waits for the hold.
#[test]
fn who_holds_a_page_may_ask_while_another_syncs_it() {
    within(|| {
        let mapping = Mapping::open(MemStore::with_contents([1; 4 * SIZE])).unwrap();
        mapping.handle().write_at(&[3], 3 * PAGE).unwrap();
        let hold = mapping.hold_page(3).unwrap();
        thread::scope(|scope| {
            let syncer = scope.spawn(|| mapping.handle().sync_data());
            // It has claimed the page, and waits for the hold.
            while mapping.page(3).unwrap().snapshot().is_dirty() {
                thread::yield_now();
            }
            assert_eq!(mapping.invalidate(..).unwrap(), 1);
            mapping.store().set_len(PAGE).unwrap();
            assert_eq!(mapping.refresh_len().unwrap(), 4 * PAGE);
            drop(hold);
            syncer.join().unwrap().unwrap();
        });
    });
}

/// A store whose writes of the last page are stuck, which another has lengthened meanwhile.
fn stuck_at_the_end(alignment: usize, len: usize) -> (FaultStore, Mapping) {
    let config = FaultConfig::new(1).alignment(alignment).contents(vec![1; len]);
    let store = FaultStore::with_config(config);
    let mapping = Mapping::open(store.clone()).unwrap();
    mapping.handle().append(&[7; 100]).unwrap();
    store.inject(Rule::new(Fault::Stuck).on(Action::Write));
    mapping.write_page((len as u64) / PAGE, SyncMode::Skip).unwrap();
    assert_eq!(store.pending(), 1);
    (store, mapping)
}

/// Lets go of what is stuck when `other` waits for it.
fn release_for<T: Send>(store: &FaultStore, other: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let other = scope.spawn(other);
        thread::sleep(Duration::from_millis(50));
        assert!(!other.is_finished());
        store.release_stuck();
        store.deliver_all();
        other.join().unwrap()
    })
}

#[test]
fn the_padding_of_a_write_that_is_under_way_is_no_length() {
    for len in [0, 5000] {
        let (store, mapping) = stuck_at_the_end(512, len);
        let refreshed = release_for(&store, || mapping.refresh_len().unwrap());
        assert_eq!((refreshed, mapping.len()), (len as u64 + 100, len as u64 + 100));
        mapping.handle().sync_data().unwrap();
        assert_eq!(store.len().unwrap(), len as u64 + 100);
    }
}

#[test]
fn an_append_goes_behind_what_another_has_appended() {
    watch();
    let appended = || {
        let (store, mapping) = stuck_at_the_end(1, 100);
        store.write_at(200, &[2; 100]).unwrap();
        let (refreshed, appended) = release_for(&store, || {
            thread::scope(|scope| {
                let refresher = scope.spawn(|| mapping.refresh_len().unwrap());
                thread::sleep(Duration::from_millis(20));
                let appended = mapping.handle().append(&[9; 10]).unwrap();
                (refresher.join().unwrap(), appended)
            })
        });
        // On a slow machine the append may have come first, and the mapping keeps its length for it.
        assert!(matches!((refreshed, appended), (300, 300) | (210, 200)), "{refreshed} {appended}");
        (appended == 300).then_some((store, mapping))
    };
    let (store, mapping) = std::iter::repeat_with(appended).flatten().next().expect("endless");
    mapping.handle().sync_data().unwrap();
    let mut found = [0; 310];
    store.read_at(0, &mut found).unwrap();
    assert_eq!((found[199], found[200], found[299], found[300]), (7, 2, 2, 9));
}

#[test]
fn a_sync_of_other_pages_waits_for_none_at_the_end() {
    watch();
    let syncs_meanwhile = || {
        let (store, mapping) = stuck_at_the_end(1, 2 * SIZE);
        store.set_len(2 * PAGE + 50).unwrap();
        thread::scope(|scope| {
            let refresher = scope.spawn(|| mapping.refresh_len().unwrap());
            thread::sleep(Duration::from_millis(20));
            mapping.handle().sync_range(..10).unwrap();
            // If it comes first, on a slow machine, it sets the length right, and there is nothing to refresh.
            let waits = !refresher.is_finished();
            store.release_stuck();
            store.deliver_all();
            waits
        })
    };
    while !syncs_meanwhile() {}
}

#[test]
fn a_mapping_that_is_alone_keeps_its_length() {
    for alignment in [1, 512] {
        let store = MemStore::new().aligned(alignment);
        let mapping = Mapping::open(store.clone()).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
                }
            });
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    mapping.refresh_len().unwrap();
                }
            });
            let _done = SetOnDrop(&done);
            for turn in 0..5000 {
                assert_eq!(mapping.handle().append(&[7; 10]).unwrap(), turn * 10);
            }
        });
        mapping.check().unwrap();
    }
}

/// With a log a page is taken out under its latch. One that stays anyway is not waited for.
#[test]
fn a_guard_of_a_dirty_page_is_not_waited_for() {
    let config = Config::new().log(Arc::new(NoLog));
    let store = Arc::new(MemStore::with_contents([1; SIZE]));
    let mapping = Mapping::with_config(store, config).unwrap();
    mapping.handle().write_at(&[2], 0).unwrap();
    let page = mapping.page(0).unwrap();
    let guard = page.read();
    let other = mapping.clone();
    assert_eq!(within(move || other.invalidate(..).unwrap()), 1);
    drop(guard);
}

#[derive(Debug)]
struct NoLog;

impl Log for NoLog {
    fn durable(&self) -> u64 {
        u64::MAX
    }

    fn ensure(&self, _: u64) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_length_is_not_taken_over_by_who_may_not_change_anything() {
    let store = FaultStore::new(1);
    let mapping = Mapping::open(store.clone()).unwrap();
    mapping.handle().write_at(&[7; 10], 0).unwrap();
    store.inject(Rule::new(Fault::Io).on(Action::Flush));
    mapping.handle().sync_data().unwrap_err();
    let refused = mapping.refresh_len();
    assert!(matches!(refused, Err(Error::Poisoned { .. })), "{refused:?}");
    assert_eq!(mapping.invalidate(..).unwrap(), 0);
}

#[test]
fn a_store_in_whole_blocks_has_no_length_that_another_gave_it() {
    let store = FaultStore::with_config(FaultConfig::new(1).alignment(512));
    let mapping = Mapping::open(store.clone()).unwrap();
    mapping.handle().write_at(&[7; 100], 0).unwrap();
    mapping.write_page(0, SyncMode::Wait).unwrap();
    store.deliver_all();
    assert_eq!(mapping.refresh_len().unwrap(), 100, "the padding is this mapping's own");
    mapping.handle().sync_data().unwrap();
    assert_eq!(mapping.refresh_len().unwrap(), 100);
}

#[test]
fn a_mapping_in_memory_has_nothing_to_read_again() {
    let mapping = Mapping::memory_backed(Config::new()).unwrap();
    mapping.handle().write_at(&[7; 5000], 0).unwrap();
    assert_eq!((mapping.invalidate(..).unwrap(), mapping.refresh_len().unwrap()), (0, 5000));
    assert_eq!(byte(&mapping, 4999), Some(7));
}

/// Two mappings of one store, as of two processes that lock the file by turns: each reads what the other has written, counts on, and appends a line.
#[test]
fn two_who_take_turns_see_all_of_each_others_changes() {
    for alignment in [1, 512] {
        take_turns(alignment);
    }
}

fn take_turns(alignment: usize) {
    const TURNS: u64 = 200;
    let store = FaultStore::with_config(FaultConfig::new(1).alignment(alignment).contents([0; 8]));
    let lock = Mutex::new(());
    let work = |name: u8| {
        let mapping = Mapping::open(store.clone()).unwrap();
        let handle = mapping.handle();
        for _ in 0..TURNS {
            let turn = lock.lock().unwrap();
            let len = mapping.refresh_len().unwrap();
            assert_eq!(mapping.invalidate(..).unwrap(), 0);
            let mut count = [0; 8];
            handle.read_exact_at(&mut count, 0).unwrap();
            let count = u64::from_le_bytes(count);
            assert_eq!(len, 8 + 100 * count, "as long as the other has left it");
            handle.write_at(&(count + 1).to_le_bytes(), 0).unwrap();
            assert_eq!(handle.append(&[name; 100]).unwrap(), len);
            handle.sync_data().unwrap();
            drop(turn);
        }
        mapping.check().unwrap();
    };
    thread::scope(|scope| (1..=2).for_each(|name| _ = scope.spawn(move || work(name))));
    let mut all = vec![0; (8 + 2 * 100 * usize::try_from(TURNS).unwrap()).next_multiple_of(512)];
    let count = store.read_at(0, &mut all).unwrap();
    all.truncate(count);
    assert_eq!(all[..8], (2 * TURNS).to_le_bytes());
    let lines: Vec<_> = all[8..]
        .chunks(100)
        .map(|line| (line[0], line.iter().all(|byte| *byte == line[0])))
        .collect();
    assert!(lines.iter().all(|(_, whole)| *whole));
    for name in 1..=2 {
        assert_eq!(lines.iter().filter(|(by, _)| *by == name).count() as u64, TURNS);
    }
    store.sync(FlushKind::Data).unwrap();
}

/// One writes its own pages and says so, the other takes pages out as fast as it can.
#[test]
fn nothing_that_is_written_is_lost_by_it() {
    let store = MemStore::with_contents([0; 8 * SIZE]);
    let mapping = Mapping::open(store.clone()).unwrap();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4_u64)
            .map(|page| {
                let handle = mapping.handle();
                scope.spawn(move || {
                    for turn in 1..=500_u64 {
                        let at = page * 2 * PAGE + turn % 8 * 8;
                        handle.write_at(&turn.to_le_bytes(), at).unwrap();
                        let mut found = [0; 8];
                        handle.read_at(&mut found, at).unwrap();
                        assert_eq!(u64::from_le_bytes(found), turn);
                        if turn.is_multiple_of(16) {
                            handle.sync_data().unwrap();
                        }
                    }
                })
            })
            .collect();
        while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
            mapping.invalidate(..).unwrap();
            mapping.refresh_len().unwrap();
        }
    });
    mapping.handle().sync_data().unwrap();
    mapping.check().unwrap();
    assert_eq!(mapping.len(), 8 * PAGE);
}
