//! What may be called while a guard is held, and who waits for whom.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use writeback::page::PageRef;
use writeback::{
    Budget, CacheConfig, Config, Error, Flusher, FlusherConfig, Mapping, MemStore, PageCache,
    Result, SyncMode,
};

use crate::common::{PAGE, Writes, eventually, never, open, open_dirty, page};
use crate::{open_in, settle};

#[test]
fn what_the_table_allows_under_a_guard_can_be_done() {
    let (mapping, _store) = open(6);
    let handle = mapping.handle();
    let pages: Vec<_> = (0..3).map(|index| page(&mapping, index)).collect();
    let first = pages[0].read();
    let again = pages[0].read();
    let mut byte = [0];
    handle.read_at(&mut byte, 0).unwrap();
    drop(again);
    let mut second = pages[1].write().unwrap();
    second[0] = 1;
    let missing = mapping.page(3).unwrap();
    let third = missing.read();
    assert_eq!(third[0], 0);
    handle.write_at(b"x", 4 * PAGE as u64).unwrap();
    handle.write_at(b"beyond", 9 * PAGE as u64).unwrap();
    handle.read_at(&mut byte, 5 * PAGE as u64).unwrap();
    drop((first, third));
    pages[2].write_with(0..1, |bytes| bytes.fill(1)).unwrap();
    assert!(pages[0].mark_dirty().unwrap());
    assert!(mapping.try_hold_page(3).unwrap().is_some());
    assert!(pages[0].try_lock_state().is_some());
    drop(second);
    assert_eq!(mapping.len(), 9 * PAGE as u64 + 6);
    settle(&mapping);
}

#[test]
fn a_read_again_does_not_wait_behind_a_writer_that_waits_for_the_first() {
    let (mapping, _store) = open(1);
    let page = page(&mapping, 0);
    let first = page.read();
    let writer = {
        let page = page.clone();
        thread::spawn(move || page.write().map(|mut bytes| bytes[0] = 1))
    };
    eventually("the writer waits", || {
        let page = page.clone();
        thread::spawn(move || page.try_read().is_none()).join().unwrap()
    });
    assert_eq!(page.read()[0], 0);
    mapping.handle().read_at(&mut [0], 0).unwrap();
    drop(first);
    writer.join().unwrap().unwrap();
}

#[test]
fn a_thread_with_a_guard_goes_over_the_limits_and_then_waits_for_room() {
    // Who would make room may wait for the guard.
    let config = CacheConfig::new(4).dirty_pages_max(2).stall_max(Duration::from_millis(50));
    let cache = PageCache::new(config).unwrap();
    let (mapping, store) = open_in(&cache, 8);
    let first = page(&mapping, 0);
    let mut guard = first.write().unwrap();
    guard[0] = 1;
    for index in 1..8 {
        page(&mapping, index).write().unwrap()[0] = 1;
    }
    let stats = cache.stats();
    assert_eq!((stats.dirty, stats.cached, store.accepted().contains(&1)), (8, 8, false));
    assert!(matches!(mapping.handle().try_write_at(b"x", 9 * PAGE as u64), Err(Error::WouldBlock)));
    drop(guard);
    mapping.wait_for_room().unwrap();
    assert!(cache.stats().dirty < 8);
    // And where there is none: everybody without a guard is told.
    store.writes(Writes::Fail(writeback::StoreError::NoSpace));
    (0..8).for_each(|index| _ = page(&mapping, index).write());
    assert!(matches!(mapping.wait_for_room(), Err(Error::Stalled { .. })));
    store.writes(Writes::Accept);
    mapping.handle().sync_data().expect_err("it tells of the writes that failed");
    settle(&mapping);
    cache.check().unwrap();
}

#[test]
fn a_pass_leaves_a_page_that_is_being_changed_and_writes_one_that_is_read() {
    let (mapping, store) = open_dirty(3, 1);
    let changed = page(&mapping, 1);
    let guard = changed.write().unwrap();
    let pass = || {
        let mapping = mapping.clone();
        thread::spawn(move || mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap())
            .join()
            .unwrap()
    };
    let progress = pass();
    assert_eq!((progress.submitted, progress.skipped), (2, 1));
    drop(guard);
    assert_eq!(pass().submitted, 1);
    assert_eq!(store.accepted(), [1; 3 * PAGE]);
}

#[test]
fn a_pass_that_waits_for_a_guard_has_submitted_what_it_has_begun() {
    let (mapping, store) = open_dirty(2, 1);
    let second = page(&mapping, 1);
    let guard = second.read();
    let syncer = {
        let handle = mapping.handle();
        thread::spawn(move || handle.sync_data())
    };
    eventually("the first page is written", || store.accepted()[..PAGE] == [1; PAGE]);
    never("the second is latched", || syncer.is_finished());
    drop(guard);
    syncer.join().unwrap().unwrap();
    assert_eq!(store.durable(), [1; 2 * PAGE]);
}

#[test]
fn a_miss_under_a_guard_does_not_wait_for_a_cut_that_waits_for_the_guard() {
    let (mapping, _store) = open(3);
    let tail = page(&mapping, 1);
    let guard = tail.read();
    let cutter = {
        let handle = mapping.handle();
        // Has to clear the end of the page that is latched.
        thread::spawn(move || handle.set_len(PAGE as u64 + 100))
    };
    eventually("it is cutting", || mapping.len() == PAGE as u64 + 100);
    assert!(matches!(mapping.page(0), Err(Error::WouldBlock)));
    let lengthen = mapping.handle().write_at(b"x", 5 * PAGE as u64);
    assert!(matches!(lengthen, Err(Error::WouldBlock)), "{lengthen:?}");
    never("its page is latched", || cutter.is_finished());
    drop(guard);
    cutter.join().unwrap().unwrap();
    mapping.handle().write_at(b"x", 5 * PAGE as u64).unwrap();
    settle(&mapping);
}

/// A thread that lengthens the mapping within a page that is latched for reading: it keeps truncation out meanwhile, and waits.
fn lengthen_under(
    latched: &PageRef,
    bytes: std::ops::Range<usize>,
) -> thread::JoinHandle<Result<()>> {
    let page = latched.clone();
    let writer = thread::spawn(move || page.write_with(bytes, |bytes| bytes.fill(1)));
    eventually("it waits for the page", || {
        let page = latched.clone();
        // Who waits to write is not overtaken.
        thread::spawn(move || page.try_read().is_none()).join().unwrap()
    });
    writer
}

#[test]
fn a_miss_under_a_guard_overtakes_a_cut_that_has_not_begun() {
    let (mapping, _store) = open(3);
    mapping.handle().set_len(2 * PAGE as u64 + 100).unwrap();
    let last = page(&mapping, 2);
    let guard = last.read();
    let writer = lengthen_under(&last, 200..300);
    let cutter = {
        let handle = mapping.handle();
        thread::spawn(move || handle.set_len(10))
    };
    never("a slow writer is at work", || cutter.is_finished());
    mapping.page(1).expect("neither waits for it nor is told of it");
    drop(guard);
    writer.join().unwrap().unwrap();
    cutter.join().unwrap().unwrap();
    settle(&mapping);
}

#[test]
fn a_thread_with_a_guard_grows_a_mapping_whose_padding_is_about_to_be_cut_off() {
    crate::common::watch();
    let cache = PageCache::new(CacheConfig::new(8)).unwrap();
    let store = Arc::new(MemStore::new().aligned(512));
    let mapping = Mapping::with_config(store, Config::new().cache(&cache)).unwrap();
    mapping.handle().write_at(&[1; 100], 0).unwrap();
    // Padded, and no sync has seen to that yet.
    mapping.write_page(0, SyncMode::Wait).unwrap();
    let tail = page(&mapping, 0);
    let guard = tail.read();
    let writer = lengthen_under(&tail, 200..300);
    let syncer = {
        let handle = mapping.handle();
        thread::spawn(move || handle.sync_data())
    };
    never("the mapping is growing", || syncer.is_finished());
    // Each has the lock of a new page when it finds that it cannot grow.
    let strangers = [3, 4].map(|index: u64| {
        let handle = mapping.handle();
        thread::spawn(move || handle.write_at(b"y", index * PAGE as u64))
    });
    never("the sync comes before them", || strangers.iter().any(JoinHandle::is_finished));
    // They have taken the places of their pages, which are empty and unlocked, for good.
    cache.evict(8);
    mapping.handle().write_at(b"x", 3 * PAGE as u64 + 1).unwrap();
    drop(guard);
    writer.join().unwrap().unwrap();
    syncer.join().unwrap().unwrap();
    for stranger in strangers {
        stranger.join().unwrap().unwrap();
    }
    cache.check().unwrap();
    mapping.handle().sync_data().unwrap();
    mapping.check().unwrap();
}

#[test]
fn a_thread_with_a_guard_does_not_make_up_for_a_cut_that_failed() {
    // The sync that does so meanwhile may wait for the guard.
    let (mapping, store) = open(3);
    store.fail_set_len(true);
    mapping.handle().set_len(PAGE as u64).unwrap_err();
    let page = page(&mapping, 0);
    let guard = page.read();
    let lengthen = || mapping.handle().write_at(b"x", 2 * PAGE as u64);
    store.fail_set_len(false);
    assert!(matches!(lengthen(), Err(Error::WouldBlock)));
    drop(guard);
    lengthen().unwrap();
    settle(&mapping);
}

#[test]
fn a_write_under_a_guard_that_is_stopped_in_the_middle_says_how_far_it_came() {
    let (mapping, store) = open(3);
    store.fail_set_len(true);
    mapping.handle().set_len(2 * PAGE as u64).unwrap_err();
    store.fail_set_len(false);
    drop(mapping.page(1).unwrap());
    let page = page(&mapping, 0);
    let guard = page.read();
    // The first of its pages is cached; the second is beyond the end, and the cut has still to be made up for.
    let written = mapping.handle().write_at(&[7; 2 * PAGE], PAGE as u64);
    assert!(matches!(written, Err(Error::Partial { written: 4096, .. })), "{written:?}");
    let tried = mapping.handle().try_write_at(&[8; 2 * PAGE], PAGE as u64);
    assert!(matches!(tried, Ok(4096)), "{tried:?}");
    drop(guard);
    assert_eq!(mapping.len(), 2 * PAGE as u64);
    settle(&mapping);
}

#[test]
fn a_guard_that_is_forgotten_keeps_its_page_and_nobody_who_evicts() {
    let cache = PageCache::new(CacheConfig::new(8)).unwrap();
    let (mapping, _store) = open_in(&cache, 4);
    crate::common::watch();
    thread::scope(|scope| {
        scope.spawn(|| std::mem::forget(page(&mapping, 0).read()));
    });
    page(&mapping, 1);
    assert_eq!(cache.evict(8), 2);
    assert_eq!(page(&mapping, 0).read()[0], 0, "it is read anew");
}

/// Whatever would wait for its own thread.
#[test]
#[cfg(debug_assertions)]
fn a_call_that_would_wait_for_its_own_thread_is_found_and_what_is_held_is_named() {
    type Act = fn(&Mapping);
    const NEVER: &[(&str, Act)] = &[
        ("a sync", |m| _ = m.handle().sync_data()),
        ("a sync", |m| _ = m.handle().sync_range(0..1)),
        ("`write_range`", |m| _ = m.write_range(.., SyncMode::Skip, Budget::UNLIMITED)),
        ("`write_cyclic`", |m| _ = m.write_cyclic(Budget::UNLIMITED)),
        ("`write_page`", |m| _ = m.write_page(1, SyncMode::Skip)),
        ("`wait_range`", |m| m.wait_range(..)),
        ("`wait_writeback`", |m| page(m, 1).wait_writeback()),
        ("`append`", |m| _ = m.handle().append(b"x")),
        ("`set_len`", |m| _ = m.handle().set_len(0)),
        ("`punch` or `zero`", |m| _ = m.handle().punch(0..1)),
        ("`punch` or `zero`", |m| _ = m.handle().zero(PAGE as u64..)),
        ("`close`", |m| _ = m.clone().close()),
        ("a hold", |m| _ = m.hold_page(1)),
        ("`lock_state`", |m| _ = page(m, 1).lock_state()),
        ("`wait_for_room`", |m| _ = m.wait_for_room()),
        ("a change of the page", |m| _ = page(m, 0).write()),
        ("a change of the page", |m| _ = page(m, 0).write_with(0..1, |_| ())),
        ("a change of the page", |m| _ = page(m, 0).mark_dirty()),
        ("writing to the page", |m| _ = m.handle().write_at(b"x", 0)),
        ("latching the page", |m| _ = m.try_hold_page(0).unwrap().unwrap().image()),
        ("latching the page", |m| _ = page(m, 0).try_lock_state().unwrap().mark_dirty()),
    ];
    const NOT_WHILE_IT_IS_CHANGED: &[(&str, Act)] = &[
        ("reading the page", |m| _ = page(m, 0).read()),
        ("reading the page", |m| _ = m.handle().read_at(&mut [0], 0)),
    ];
    let says = |mapping: &Mapping, act: Act| -> Option<String> {
        let panic = catch_unwind(AssertUnwindSafe(|| act(mapping))).err()?;
        panic.downcast_ref::<String>().cloned()
    };
    let (mapping, _store) = open_dirty(2, 1);
    let held = page(&mapping, 0);
    for (call, act) in NEVER {
        let _guard = held.read();
        let expected =
            format!("{call} would wait for its own thread, which has a read guard of page 0");
        assert_eq!(says(&mapping, *act), Some(expected), "{call}");
    }
    for (call, act) in NEVER.iter().chain(NOT_WHILE_IT_IS_CHANGED) {
        let _guard = held.write().unwrap();
        let expected =
            format!("{call} would wait for its own thread, which has a write guard of page 0");
        assert_eq!(says(&mapping, *act), Some(expected), "{call}");
    }
    // Of other mappings everything can be called.
    let (other, _store) = open_dirty(2, 1);
    let _guard = held.write().unwrap();
    other.handle().sync_data().unwrap();
    other.handle().set_len(0).unwrap();
    other.close().unwrap();
}

#[test]
fn guards_beside_a_flusher_lose_nothing() {
    const THREADS: u8 = 4;
    let cache = PageCache::new(CacheConfig::new(6).dirty_pages_max(4)).unwrap();
    let (mapping, store) = open_in(&cache, 12);
    let flusher = Flusher::start([mapping.clone()], FlusherConfig::new()).unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let mapping = &mapping;
            scope.spawn(move || -> Result<()> {
                for round in 0..200_u64 {
                    mapping.wait_for_room()?;
                    let (low, high) = (round % 11, round % 11 + 1);
                    let (low, high) = (mapping.page(low)?, mapping.page(high)?);
                    let mut low = low.write()?;
                    let mut high = high.write()?;
                    low[usize::from(thread)] += 1;
                    high[usize::from(THREADS + thread)] += 1;
                }
                mapping.handle().sync_data()
            });
        }
    });
    flusher.stop();
    settle(&mapping);
    cache.check().unwrap();
    let durable = store.durable();
    let sum = |places: std::ops::Range<usize>| -> u64 {
        durable
            .chunks(PAGE)
            .flat_map(|page| &page[places.clone()])
            .map(|byte| u64::from(*byte))
            .sum()
    };
    assert_eq!((sum(0..4), sum(4..8)), (800, 800));
}
