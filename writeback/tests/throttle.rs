//! Keeping writers back: when they wait, for what, who lets them go on, and when it is an error.

mod common;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use parking_lot::Mutex;
use writeback::store::{Completion, Store, WriteBatch};
use writeback::{
    Budget, CacheConfig, Config, Error, Flusher, FlusherConfig, Mapping, MemStore, PageCache,
    StoreError, SyncMode,
};

/// A cache with room for 100 pages, so many of them dirty, that never pauses and gives up at once.
fn cache(max: u64) -> PageCache {
    let config = CacheConfig::new(100).dirty_pages_max(max);
    PageCache::new(config.stall_max(Duration::ZERO).pause_max(Duration::ZERO)).unwrap()
}

fn open_in(cache: &PageCache) -> (Mapping, TestStore) {
    let store = TestStore::new();
    let config = Config::new().cache(cache);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    (mapping, store)
}

fn write(mapping: &Mapping, page: u64) -> writeback::Result<()> {
    mapping.handle().write_at(&[1; PAGE], page * PAGE as u64)
}

/// A cache whose limit is reached: two pages are being written, and no write ends by itself.
fn full() -> (PageCache, Mapping, TestStore) {
    let cache = cache(2);
    let (mapping, store) = open_in(&cache);
    write(&mapping, 0).unwrap();
    write(&mapping, 1).unwrap();
    store.writes(Writes::Keep);
    mapping.write_page(0, SyncMode::Skip).unwrap();
    mapping.write_page(1, SyncMode::Skip).unwrap();
    (cache, mapping, store)
}

/// Has a thread write page 2, which must wait, then does `then`, which must let it go; returns its result.
fn stalled(cache: &PageCache, mapping: &Mapping, then: impl FnOnce()) -> writeback::Result<()> {
    thread::scope(|scope| {
        let writer = scope.spawn(|| write(mapping, 2));
        eventually("it waits", || cache.stats().stalled_now == 1);
        never("it goes on", || writer.is_finished());
        then();
        writer.join().unwrap()
    })
}

fn settle(cache: &PageCache, mapping: &Mapping, store: &TestStore) {
    store.writes(Writes::Accept);
    while store.kept() > 0 {
        store.release_first(Ok(()));
    }
    let _told = mapping.handle().check_error();
    mapping.handle().sync_data().unwrap();
    assert_settled(mapping);
    cache.check().unwrap();
    let stats = cache.stats();
    assert_eq!((stats.debt, stats.stalled_now), (0, 0), "{stats:?}");
}

#[test]
fn without_a_flusher_a_writer_at_the_limit_writes_back_itself() {
    let cache = cache(4);
    let (mapping, store) = open_in(&cache);
    for page in 0..50 {
        write(&mapping, page).unwrap();
        assert!(cache.stats().debt <= 4, "{:?}", cache.stats());
    }
    assert!(cache.stats().stalled > 0);
    settle(&cache, &mapping, &store);
}

#[test]
fn a_stalled_writer_goes_on_when_a_write_ends() {
    let (cache, mapping, store) = full();
    stalled(&cache, &mapping, || store.release_first(Ok(()))).unwrap();
    assert_eq!(cache.stats().debt, 2);
    settle(&cache, &mapping, &store);
}

#[test]
fn each_write_that_ends_lets_one_in_and_in_order() {
    let (cache, mapping, store) = full();
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for number in 0..2 {
            let (mapping, done) = (&mapping, &done);
            scope.spawn(move || {
                write(mapping, 2 + number).unwrap();
                done.lock().push(number);
            });
            eventually("it waits", || cache.stats().stalled_now == number + 1);
        }
        store.release_first(Ok(()));
        eventually("the first has written", || *done.lock() == [0]);
        never("the second has, too", || done.lock().len() == 2);
        store.release_first(Ok(()));
        eventually("the second has written", || *done.lock() == [0, 1]);
    });
    settle(&cache, &mapping, &store);
}

#[test]
fn a_stalled_writer_is_woken_by_a_write_that_fails() {
    let (cache, mapping, store) = full();
    store.writes(Writes::Fail(StoreError::NoSpace));
    let error = stalled(&cache, &mapping, || {
        store.release_first(Err(StoreError::NoSpace));
        store.release_first(Err(StoreError::NoSpace));
    });
    assert!(error.as_ref().unwrap_err().is_no_space(), "{error:?}");
    settle(&cache, &mapping, &store);
}

#[test]
fn a_stalled_writer_is_woken_by_a_completion_that_is_dropped() {
    let (cache, mapping, store) = full();
    store.writes(Writes::Accept);
    let lost = || store.release_first(Err(StoreError::Lost));
    // The page is dirty again; the other write ends well, and there is room.
    stalled(&cache, &mapping, || {
        lost();
        store.release_first(Ok(()));
    })
    .unwrap();
    settle(&cache, &mapping, &store);
}

#[test]
fn a_stalled_writer_is_told_that_the_mapping_is_closed() {
    let (cache, mapping, store) = full();
    let outcome = stalled(&cache, &mapping, || {
        let closer = {
            let mapping = mapping.clone();
            thread::spawn(move || mapping.close().map_err(|failed| failed.error))
        };
        eventually("the writer is gone", || cache.stats().stalled_now == 0);
        store.release_first(Ok(()));
        store.release_first(Ok(()));
        closer.join().unwrap().unwrap();
    });
    assert!(matches!(outcome, Err(Error::Closed)), "{outcome:?}");
    cache.check().unwrap();
    assert_eq!(cache.stats().debt, 0);
}

#[test]
fn a_stalled_writer_is_told_that_the_mapping_is_poisoned() {
    let (cache, mapping, store) = full();
    store.fail_flush(true);
    let outcome = stalled(&cache, &mapping, || {
        // A length has changed, so there is something to flush; no page is in the range.
        mapping.handle().set_len(2 * PAGE as u64 + 1).unwrap();
        mapping.handle().sync_range(5 * PAGE as u64..).unwrap_err();
    });
    assert!(matches!(outcome, Err(Error::Poisoned { .. })), "{outcome:?}");
    store.release_first(Ok(()));
    store.release_first(Ok(()));
    cache.check().unwrap();
}

#[test]
fn a_stalled_writer_goes_on_when_dirty_pages_are_cut() {
    let cache = cache(2);
    let (mapping, store) = open_in(&cache);
    write(&mapping, 0).unwrap();
    write(&mapping, 1).unwrap();
    store.writes(Writes::Keep);
    mapping.write_page(0, SyncMode::Skip).unwrap();
    stalled(&cache, &mapping, || mapping.handle().set_len(PAGE as u64).unwrap()).unwrap();
    settle(&cache, &mapping, &store);
}

#[test]
fn a_stalled_writer_goes_on_when_another_mapping_is_dropped() {
    let cache = cache(2);
    let ((mapping, store), (other, other_store)) = (open_in(&cache), open_in(&cache));
    write(&other, 0).unwrap();
    write(&mapping, 0).unwrap();
    store.writes(Writes::Keep);
    other_store.writes(Writes::Keep);
    mapping.write_page(0, SyncMode::Skip).unwrap();
    stalled(&cache, &mapping, || drop(other)).unwrap();
    settle(&cache, &mapping, &store);
}

#[test]
fn when_every_dirty_page_has_failed_writers_get_its_error_and_a_cut_makes_room() {
    let cache = cache(2);
    let (mapping, store) = open_in(&cache);
    write(&mapping, 0).unwrap();
    write(&mapping, 1).unwrap();
    store.writes(Writes::Fail(StoreError::NoSpace));
    mapping.handle().sync_data().unwrap_err();
    let error = write(&mapping, 2).unwrap_err();
    assert!(matches!(error, Error::Stalled { source: Some(StoreError::NoSpace) }), "{error:?}");
    assert!(error.is_no_space() && error.to_string().contains("no space"), "{error}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::StorageFull);
    assert!(mapping.cached_page(2).is_none(), "nothing was changed");
    // What is retained may be changed all the same, since that takes no room.
    write(&mapping, 1).unwrap();
    mapping.handle().set_len(PAGE as u64).unwrap();
    write(&mapping, 2).unwrap();
    settle(&cache, &mapping, &store);
}

#[test]
fn a_mapping_that_can_not_be_written_tells_its_own_writers_only() {
    let cache = cache(2);
    let ((mapping, store), (broken, broken_store)) = (open_in(&cache), open_in(&cache));
    broken_store.writes(Writes::Fail(StoreError::NoSpace));
    write(&broken, 0).unwrap();
    write(&broken, 1).unwrap();
    broken.handle().sync_data().unwrap_err();
    let error = write(&broken, 2).unwrap_err();
    assert!(matches!(error, Error::Stalled { source: Some(StoreError::NoSpace) }), "{error:?}");
    for page in 0..20 {
        write(&mapping, page).unwrap();
    }
    drop(broken);
    settle(&cache, &mapping, &store);
}

#[test]
fn room_on_the_store_is_found_by_the_next_writer() {
    let cache = cache(50);
    let (mapping, store) = open_in(&cache);
    store.writes(Writes::Fail(StoreError::NoSpace));
    let full = (0_u64..).find(|page| write(&mapping, *page).is_err()).expect("there is a limit");
    // Each failure doubles the time that pages back off: to seconds, by now.
    (0..9).for_each(|_| _ = mapping.handle().sync_data().unwrap_err());
    store.writes(Writes::Accept);
    write(&mapping, full).unwrap();
    settle(&cache, &mapping, &store);
}

#[test]
fn a_store_that_has_recovered_is_not_backed_off_from() {
    let cache = cache(50);
    let (mapping, store) = open_in(&cache);
    (0..50).for_each(|page| write(&mapping, page).unwrap());
    store.writes(Writes::Fail(StoreError::NoSpace));
    (0..9).for_each(|_| _ = mapping.handle().sync_data().unwrap_err());
    store.writes(Writes::Accept);
    let background =
        |pages| mapping.write_range(.., SyncMode::Skip, Budget::pages(pages)).unwrap().submitted;
    assert_eq!(background(100), 0, "all back off");
    mapping.write_page(7, SyncMode::Skip).unwrap();
    assert_eq!(background(100), 49, "one that had failed has been written");
    settle(&cache, &mapping, &store);
}

#[test]
fn before_a_writer_is_refused_one_page_is_tried_and_no_more() {
    let cache = cache(10);
    let (mapping, store) = open_in(&cache);
    store.writes(Writes::Fail(StoreError::NoSpace));
    (0..10).for_each(|page| write(&mapping, page).unwrap());
    mapping.handle().sync_data().unwrap_err();
    let tried = store.batches().len();
    write(&mapping, 10).unwrap_err();
    let tried: Vec<_> = store.batches().drain(tried..).collect();
    assert!(matches!(tried[..], [(_, 1)]), "{tried:?}");
    settle(&cache, &mapping, &store);
}

#[test]
fn pages_that_are_held_stall_a_writer_for_a_limited_time() {
    let config = CacheConfig::new(100).dirty_pages_max(1);
    let cache = PageCache::new(config.stall_max(Duration::from_millis(50))).unwrap();
    let (mapping, store) = open_in(&cache);
    write(&mapping, 0).unwrap();
    let hold = mapping.hold_page(0).unwrap();
    let error = write(&mapping, 1).unwrap_err();
    assert!(matches!(error, Error::Stalled { source: None }), "{error:?}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::TimedOut);
    drop(hold);
    write(&mapping, 1).unwrap();
    settle(&cache, &mapping, &store);
}

#[test]
fn an_error_that_passes_is_waited_for() {
    let config = CacheConfig::new(100).dirty_pages_max(1).stall_max(Duration::from_secs(60));
    let cache = PageCache::new(config).unwrap();
    let (mapping, store) = open_in(&cache);
    write(&mapping, 0).unwrap();
    store.writes(Writes::Fail(StoreError::NoSpace));
    stalled_until(&cache, &mapping, || store.writes(Writes::Accept)).unwrap();
    settle(&cache, &mapping, &store);
}

/// As [`stalled`], for a cache in which a writer tries again and again.
fn stalled_until(
    cache: &PageCache,
    mapping: &Mapping,
    then: impl FnOnce(),
) -> writeback::Result<()> {
    thread::scope(|scope| {
        let writer = scope.spawn(|| write(mapping, 2));
        eventually("it has tried", || mapping.stats().write_errors > 0);
        assert_eq!(cache.stats().stalled_now, 1);
        then();
        writer.join().unwrap()
    })
}

#[test]
fn who_may_not_wait_is_told_how_far_it_came() {
    let (cache, mapping, store) = full();
    let handle = mapping.handle();
    assert!(matches!(handle.try_write_at(&[2; PAGE], 2 * PAGE as u64), Err(Error::WouldBlock)));
    assert_eq!(mapping.len(), 2 * PAGE as u64);
    store.release_first(Ok(()));
    assert_eq!(handle.try_write_at(&[2; 3 * PAGE], 2 * PAGE as u64).unwrap(), PAGE);
    let error = io::Error::from(handle.try_write_at(b"x", 9 * PAGE as u64).unwrap_err());
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    settle(&cache, &mapping, &store);
}

#[test]
fn pages_in_hand_are_dirtied_with_leave_and_locked_ones_without() {
    let (cache, mapping, store) = full();
    store.set_len(4 * PAGE as u64).unwrap();
    mapping.handle().set_len(4 * PAGE as u64).unwrap();
    let (in_hand, locked) = (page(&mapping, 2), page(&mapping, 3).lock_state().expect("not cut"));
    assert!(locked.mark_dirty().unwrap(), "whoever has a lock must not wait for a writeback");
    drop(locked);
    thread::scope(|scope| {
        let marker = scope.spawn(|| in_hand.mark_dirty());
        eventually("it waits", || cache.stats().stalled_now == 1);
        store.release_first(Ok(()));
        never("it goes on", || marker.is_finished());
        store.release_first(Ok(()));
        assert!(marker.join().unwrap().unwrap());
    });
    settle(&cache, &mapping, &store);
}

#[test]
fn the_flusher_is_woken_by_the_debt_that_writers_are_held_to() {
    let config = CacheConfig::new(100).dirty_pages_max(20).dirty_pages_background(8);
    let cache = PageCache::new(config).unwrap();
    let ((one, _store), (other, _other_store)) = (open_in(&cache), open_in(&cache));
    let never = FlusherConfig::new().interval(Duration::from_secs(3600));
    let flusher = Flusher::start([one.clone(), other.clone()], never).unwrap();
    for page in 0..8 {
        write(&one, page).unwrap();
    }
    thread::sleep(Duration::from_millis(20));
    assert_eq!(flusher.stats().rounds, 0, "there is no reason to");
    write(&other, 0).unwrap();
    eventually("written", || cache.stats().debt <= 8);
    assert!(flusher.stop().stats.rounds >= 1);
    one.handle().sync_data().unwrap();
    other.handle().sync_data().unwrap();
    cache.check().unwrap();
}

#[test]
fn a_flusher_is_woken_though_somebody_asked_for_one_before_it_came() {
    let config = CacheConfig::new(100).dirty_pages_max(50).dirty_pages_background(8);
    let cache = PageCache::new(config).unwrap();
    let (mapping, _store) = open_in(&cache);
    (0..20).for_each(|page| write(&mapping, page).unwrap());
    mapping.handle().sync_data().unwrap();
    let never = FlusherConfig::new().interval(Duration::MAX);
    let flusher = Flusher::start([mapping.clone()], never).unwrap();
    (0..20).for_each(|page| write(&mapping, page).unwrap());
    eventually("written", || cache.stats().debt <= 8);
    drop(flusher);
}

#[test]
fn a_pause_ends_when_enough_is_written_or_nothing_is_taken_any_more() {
    for poisons in [false, true] {
        let config = CacheConfig::new(200).dirty_pages_max(100).dirty_pages_background(10);
        let cache = PageCache::new(config.pause_max(Duration::from_secs(3600))).unwrap();
        let (mapping, store) = open_in(&cache);
        // As far as can be seen it takes nothing any more.
        store.writes(Writes::Keep);
        let flusher = Flusher::start([mapping.clone()], FlusherConfig::new()).unwrap();
        // What is measured takes some time.
        (0..15).for_each(|page| write(&mapping, page).unwrap());
        eventually("its writes have begun", || store.kept() > 0);
        thread::sleep(Duration::from_millis(30));
        let release = || (0..store.kept()).for_each(|_| store.release_first(Ok(())));
        thread::scope(|scope| {
            let writer = scope.spawn(|| (15..90).try_for_each(|page| write(&mapping, page)));
            eventually("it pauses", || cache.stats().paused > 0);
            if poisons {
                store.fail_flush(true);
                // Of bytes that nobody writes.
                mapping.handle().sync_range(1000 * PAGE as u64..).unwrap_err();
            } else {
                store.writes(Writes::Accept);
            }
            eventually("it goes on", || {
                if !poisons {
                    release();
                }
                writer.is_finished()
            });
            assert_eq!(writer.join().unwrap().is_err(), poisons);
        });
        store.writes(Writes::Accept);
        release();
        drop(flusher);
    }
}

#[test]
fn writers_pause_before_they_have_to_wait() {
    let config = CacheConfig::new(200).dirty_pages_max(100).dirty_pages_background(10);
    let cache = PageCache::new(config).unwrap();
    let (mapping, store) = open_in(&cache);
    // A page takes at least a millisecond, which is what makes a pause worth its while.
    store.writes(Writes::Slow(Duration::from_millis(10)));
    let flusher = Flusher::start([mapping.clone()], FlusherConfig::new().chunk_pages(10)).unwrap();
    for page in 0..1000 {
        write(&mapping, page).unwrap();
        assert!(cache.stats().debt <= 100);
        if cache.stats().paused > 0 {
            break;
        }
    }
    assert!(cache.stats().paused > 0, "{:?}", cache.stats());
    flusher.stop();
    store.writes(Writes::Accept);
    mapping.handle().sync_data().unwrap();
    cache.check().unwrap();
}

#[test]
fn without_a_flusher_a_pause_would_bring_nothing() {
    let config = CacheConfig::new(200).dirty_pages_max(100).dirty_pages_background(10);
    let cache = PageCache::new(config).unwrap();
    let (mapping, store) = open_in(&cache);
    // Long enough for the store's rate to be known, by which a pause would be.
    store.writes(Writes::Slow(Duration::from_millis(30)));
    (0..500).for_each(|page| write(&mapping, page).unwrap());
    assert_eq!(cache.stats().paused, 0);
    settle(&cache, &mapping, &store);
}

#[test]
fn a_pause_does_not_feed_on_itself() {
    // Many times the limit of dirty pages, as fast as may be: the last fifth must not take much longer than the first.
    let config = CacheConfig::new(2000).dirty_pages_max(400);
    in_one_of_five(|| {
        let cache = PageCache::new(config.clone()).unwrap();
        let (mapping, store) = open_in(&cache);
        let flusher = Flusher::start([mapping.clone()], FlusherConfig::new()).unwrap();
        let fifth = |number: u64| {
            let begun = Instant::now();
            (0..2000).for_each(|page| write(&mapping, number * 2000 + page).unwrap());
            begun.elapsed()
        };
        let times: Vec<_> = (0..5).map(fifth).collect();
        let (first, last) = (times[0], times[4]);
        flusher.stop();
        settle(&cache, &mapping, &store);
        let well = last < 4 * first + Duration::from_secs(1);
        well.then_some(()).ok_or_else(|| format!("{first:?}, then {last:?}"))
    });
}

/// A store that tells a common log of each page it is given.
#[derive(Debug)]
struct Logging(MemStore, u8, Arc<Mutex<Vec<u8>>>);

impl Store for Logging {
    pass_on!(0: limits, len, set_len, read, flush);

    fn write(&self, batch: WriteBatch, completion: Completion) {
        self.2.lock().extend(batch.images().iter().map(|_| self.1));
        self.0.write(batch, completion);
    }
}

#[test]
fn mappings_take_turns_at_the_flusher() {
    crate::common::watch();
    let log = Arc::new(Mutex::new(Vec::new()));
    let open = |number| {
        let store = Logging(MemStore::new(), number, Arc::clone(&log));
        let mapping = Mapping::open(store).unwrap();
        mapping.handle().write_at(&[1; 12 * PAGE], 0).unwrap();
        mapping
    };
    let config = FlusherConfig::new().background_pages(0).chunk_pages(4);
    let flusher = Flusher::manual([open(1), open(2)], config.clone());
    assert_eq!(flusher.step().submitted, 24);
    let turns = [[1; 4], [2; 4], [1; 4], [2; 4], [1; 4], [2; 4]].concat();
    assert_eq!(*log.lock(), turns);
    // A request too, and no more of it than was asked for.
    log.lock().clear();
    let flusher = Flusher::manual([open(3), open(4)], config.background_pages(100));
    flusher.request(10);
    assert_eq!(flusher.step().submitted, 10);
    assert_eq!(*log.lock(), [3, 3, 3, 3, 4, 4, 4, 4, 3, 3]);
}

#[test]
fn a_page_owes_once_for_being_dirty_and_once_for_being_written() {
    let cache = cache(10);
    let (mapping, store) = open_in(&cache);
    write(&mapping, 0).unwrap();
    store.writes(Writes::Keep);
    mapping.write_page(0, SyncMode::Skip).unwrap();
    write(&mapping, 0).unwrap();
    assert_eq!(cache.stats().debt, 2);
    // It fails: the page is dirty already.
    store.release_first(Err(StoreError::Lost));
    assert_eq!(cache.stats().debt, 1);
    // A claim passes the debt on, and gives it up if the page was dirtied meanwhile.
    let claim =
        page(&mapping, 0).lock_state().expect("not cut").clear_dirty_for_io().expect("dirty");
    assert_eq!(cache.stats().debt, 1);
    write(&mapping, 0).unwrap();
    assert_eq!(cache.stats().debt, 2);
    claim.redirty();
    assert_eq!(cache.stats().debt, 1);
    // Nobody has dirtied it: the claim's debt is the page's again.
    let claim =
        page(&mapping, 0).lock_state().expect("not cut").clear_dirty_for_io().expect("dirty");
    claim.redirty();
    assert_eq!(cache.stats().debt, 1);
    settle(&cache, &mapping, &store);
}
