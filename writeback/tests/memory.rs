//! Bounded memory: what is evicted, what is not, and that nobody sees a difference.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use writeback::store::Store;
use writeback::{
    CacheConfig, Config, Error, Flusher, FlusherConfig, Mapping, MemStore, PageCache, StoreError,
    SyncMode,
};

/// A cache with room for `capacity` pages.
fn cache(capacity: u64) -> PageCache {
    PageCache::new(CacheConfig::new(capacity)).unwrap()
}

/// A mapping in `cache`, over a store with `pages` pages of zeros.
fn open_in(cache: &PageCache, pages: usize) -> (Mapping, TestStore) {
    let store = TestStore::new();
    store.set_len((pages * PAGE) as u64).unwrap();
    let config = Config::new().cache(cache);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    (mapping, store)
}

fn write(mapping: &Mapping, page: u64, byte: u8) {
    mapping.handle().write_at(&[byte; PAGE], page * PAGE as u64).unwrap();
}

fn read(mapping: &Mapping, page: u64) -> u8 {
    let mut bytes = [0; PAGE];
    mapping.handle().read_at(&mut bytes, page * PAGE as u64).unwrap();
    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "page {page} is torn");
    bytes[0]
}

fn cached(mapping: &Mapping, page: u64) -> bool {
    mapping.cached_page(page).is_some()
}

fn assert_sound(cache: &PageCache, mappings: &[&Mapping]) {
    mappings.iter().for_each(|mapping| mapping.check().unwrap());
    cache.check().unwrap();
}

#[test]
fn a_page_that_was_evicted_is_read_again_as_it_was_written() {
    let cache = cache(4);
    let (mapping, store) = open_in(&cache, 8);
    for page in 0..8 {
        write(&mapping, page, u8::try_from(page).unwrap() + 1);
        mapping.handle().sync_data().unwrap();
    }
    for page in 0..8 {
        assert_eq!(read(&mapping, page), u8::try_from(page).unwrap() + 1);
    }
    let stats = cache.stats();
    assert!(stats.cached <= 4 && stats.reclaim.evicted >= 8, "{stats:?}");
    assert_eq!(stats.overcommitted, 0);
    assert!(store.reads_begun() > 0);
    assert_sound(&cache, &[&mapping]);
}

#[test]
fn a_page_that_takes_the_memory_of_another_shows_nothing_of_it() {
    let cache = cache(4);
    let store = MemStore::with_contents([7; PAGE + 100]);
    let short = Mapping::with_config(Arc::new(store), Config::new().cache(&cache)).unwrap();
    let (other, _) = open_in(&cache, 8);
    for page in 0..8 {
        write(&other, page, 9);
    }
    other.handle().sync_data().unwrap();
    // Read, and written in part, for which the rest is read first.
    for part in [&[][..], &[7; 10]] {
        (0..8).for_each(|page| assert_eq!(read(&other, page), 9));
        if !part.is_empty() {
            short.handle().write_at(part, PAGE as u64).unwrap();
        }
        let last = short.page(1).unwrap();
        assert_eq!(last.read()[..100], [7; 100]);
        assert_eq!(last.read()[100..], [0; PAGE - 100]);
    }
}

#[test]
fn what_is_dirty_held_locked_kept_or_under_writeback_is_not_evicted() {
    let cache = cache(100);
    let (mapping, store) = open_in(&cache, 8);
    for page in 1..6 {
        read(&mapping, page);
    }
    write(&mapping, 0, 1);
    let locked = page(&mapping, 1).lock_state().expect("not cut");
    let hold = mapping.hold_page(2).unwrap();
    let kept = page(&mapping, 3);
    write(&mapping, 4, 1);
    store.writes(Writes::Keep);
    mapping.write_page(4, SyncMode::Skip).unwrap();
    assert_eq!(cache.evict(100), 1, "page 5 only");
    assert!(!cached(&mapping, 5) && (0..5).all(|page| cached(&mapping, page)));
    drop(locked);
    drop(hold);
    drop(kept);
    assert_eq!(cache.evict(100), 3);
    store.writes(Writes::Accept);
    store.release_first(Ok(()));
    assert_eq!(cache.evict(100), 1, "the write of page 4 has ended");
    mapping.handle().sync_data().unwrap();
    assert_eq!(cache.evict(100), 1);
    assert_eq!((cache.stats().cached, mapping.stats().evicted), (0, 6));
    assert_sound(&cache, &[&mapping]);
}

#[test]
fn a_few_pages_in_hand_do_not_keep_the_others_of_a_small_mapping() {
    let cache = cache(100);
    let (mapping, _store) = open_in(&cache, 17);
    let (other, _store) = open_in(&cache, 70);
    (0..17).for_each(|page| _ = read(&mapping, page));
    // Time goes by, so that all but the last have a chance.
    (0..70).for_each(|page| _ = read(&other, page));
    drop(other);
    (0..16).for_each(|page| _ = read(&mapping, page));
    let in_hand: Vec<_> = (12..16).map(|index| page(&mapping, index)).collect();
    assert_eq!(cache.evict(100), 13, "all that can be are evicted in one call");
    drop(in_hand);
    assert_sound(&cache, &[&mapping]);
}

#[test]
fn a_page_in_hand_can_be_written_however_much_is_evicted() {
    // R-EVICTED-DIRTY: the reference is looked at before the dirty flag, and both in the step that removes the page.
    let cache = cache(2);
    let (mapping, _store) = open_in(&cache, 16);
    let in_hand = page(&mapping, 0);
    for page in 1..16 {
        read(&mapping, page);
    }
    in_hand.write_with(0..1, |bytes| bytes[0] = 9).expect("it is still part of the mapping");
    drop(in_hand);
    mapping.handle().sync_data().unwrap();
    cache.evict(16);
    let mut byte = [0];
    mapping.handle().read_at(&mut byte, 0).unwrap();
    assert_eq!(byte, [9]);
    assert_sound(&cache, &[&mapping]);
}

#[test]
fn a_failed_page_is_kept_until_it_is_written() {
    let cache = cache(4);
    let (mapping, store) = open_in(&cache, 16);
    write(&mapping, 0, 7);
    store.writes(Writes::Fail(StoreError::NoSpace));
    mapping.handle().sync_data().unwrap_err();
    for page in 1..16 {
        read(&mapping, page);
    }
    assert!(cached(&mapping, 0), "nowhere else are its bytes");
    store.writes(Writes::Accept);
    mapping.handle().sync_data().unwrap();
    cache.evict(16);
    assert_eq!(read(&mapping, 0), 7);
    assert_sound(&cache, &[&mapping]);
}

#[test]
fn a_scan_does_not_cost_those_who_are_used_their_places() {
    let cache = cache(64);
    let (mapping, store) = open_in(&cache, 2048);
    let hot = [3, 500, 1000, 1999];
    let touch = || hot.iter().for_each(|page| _ = (read(&mapping, *page), read(&mapping, *page)));
    touch();
    let before = store.reads_begun();
    for page in 0..2048 {
        if page % 4 == 0 {
            touch();
        }
        read(&mapping, page);
    }
    let again = store.reads_begun() - before;
    assert!(again <= 2048, "{again} reads: a page that is used all the time was read again");
    assert_sound(&cache, &[&mapping]);
}

#[test]
fn when_nothing_can_go_the_cache_grows_and_shrinks_again() {
    let cache = cache(4);
    let (mapping, _store) = open_in(&cache, 16);
    let in_hand: Vec<_> = (0..8).map(|index| page(&mapping, index)).collect();
    let stats = cache.stats();
    assert_eq!((stats.cached, stats.overcommitted), (8, 4));
    drop(in_hand);
    read(&mapping, 9);
    assert!(cache.stats().cached <= 4, "{:?}", cache.stats());
    assert_sound(&cache, &[&mapping]);
}

#[test]
fn mappings_give_in_proportion_to_what_they_have() {
    let cache = cache(300);
    let (small, _store) = open_in(&cache, 60);
    let (large, _store) = open_in(&cache, 240);
    (0..60).for_each(|page| _ = read(&small, page));
    (0..240).for_each(|page| _ = read(&large, page));
    cache.evict(150);
    let (small_left, large_left) = (small.stats().cached, large.stats().cached);
    assert!((15..=45).contains(&small_left), "{small_left} of 60 are left, {large_left} of 240");
    assert_sound(&cache, &[&small, &large]);
}

#[test]
fn a_small_newcomer_gives_no_more_than_its_part() {
    let cache = cache(1000);
    let (large, _store) = open_in(&cache, 960);
    (0..960).for_each(|page| _ = read(&large, page));
    // Something has been asked of the large mapping before the small one comes.
    cache.evict(32);
    let (small, _store) = open_in(&cache, 16);
    (0..16).for_each(|page| _ = read(&small, page));
    cache.evict(100);
    let small_left = small.stats().cached;
    assert!(small_left >= 12, "{small_left} of 16 are left, where one in ten was to go");
    assert_sound(&cache, &[&small, &large]);
}

#[test]
fn a_mapping_that_is_dropped_gives_its_places_back() {
    let cache = cache(100);
    let (mapping, _store) = open_in(&cache, 16);
    (0..16).for_each(|page| _ = read(&mapping, page));
    write(&mapping, 0, 1);
    assert_eq!((cache.stats().mappings, cache.stats().cached), (1, 16));
    drop(mapping);
    assert_eq!((cache.stats().mappings, cache.stats().cached, cache.stats().dirty), (0, 0, 0));
    cache.check().unwrap();
}

#[test]
fn truncation_and_eviction_of_the_same_pages_lose_no_account() {
    let cache = cache(8);
    let (mapping, _store) = open_in(&cache, 64);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = SmallRng::seed_from_u64(1);
            while !stop.load(Ordering::Relaxed) {
                let len = random.random_range(0..64 * PAGE as u64);
                mapping.handle().set_len(len).unwrap();
                mapping.handle().set_len(64 * PAGE as u64).unwrap();
            }
        });
        scope.spawn(|| {
            let _ends = SetOnDrop(&stop);
            let mut random = SmallRng::seed_from_u64(2);
            for _ in 0..150 {
                write(&mapping, random.random_range(0..64), 1);
                let _ = mapping.handle().sync_data();
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                cache.evict(3);
            }
        });
    });
    mapping.handle().sync_data().unwrap();
    assert_sound(&cache, &[&mapping]);
    assert_clean_is_stored(&mapping);
}

#[test]
fn a_cache_needs_room_and_a_mapping_in_it_a_store() {
    assert!(matches!(PageCache::new(CacheConfig::new(0)), Err(Error::Config { .. })));
    let in_cache = Config::new().cache(&cache(4));
    assert!(matches!(Mapping::memory_backed(in_cache), Err(Error::Config { .. })));
}

/// A store that says it is congested when it is told to.
#[derive(Debug, Default)]
struct Congested(TestStore, AtomicBool);

impl Store for Congested {
    pass_on!(0: limits, len, set_len, read, write, flush);

    fn is_congested(&self) -> bool {
        self.1.load(Ordering::Relaxed)
    }
}

/// A cache whose pages are all dirty, and its store.
fn all_dirty(pages: usize) -> (PageCache, Mapping, Arc<Congested>) {
    let config = CacheConfig::new(pages as u64).dirty_pages_max(pages as u64);
    let cache = PageCache::new(config.pause_max(Duration::ZERO)).unwrap();
    let store = Arc::new(Congested::default());
    store.set_len((2 * pages * PAGE) as u64).unwrap();
    let mapping = Mapping::with_config(store.clone(), Config::new().cache(&cache)).unwrap();
    (0..pages as u64).for_each(|page| write(&mapping, page, 1));
    (cache, mapping, store)
}

#[test]
fn pageout_where_all_is_dirty_and_no_flusher_runs() {
    crate::common::watch();
    // shrink_list -> pageout: met once, written the second time, then evicted.
    let (cache, mapping, _store) = all_dirty(8);
    read(&mapping, 8);
    let stats = cache.stats();
    assert!(stats.cached <= 8 && stats.overcommitted == 0, "{stats:?}");
    assert!(stats.reclaim.deferred >= 8 && stats.reclaim.paged_out >= 8, "{stats:?}");
    assert_sound(&cache, &[&mapping]);
    assert_eq!(read(&mapping, 0), 1);
}

#[test]
fn may_write_to_queue_keeps_pageout_from_a_congested_store() {
    crate::common::watch();
    let (cache, mapping, store) = all_dirty(8);
    store.1.store(true, Ordering::Relaxed);
    read(&mapping, 8);
    let stats = cache.stats();
    assert_eq!((stats.reclaim.paged_out, stats.overcommitted, stats.cached), (0, 1, 9));
    assert!(stats.reclaim.congested >= 8, "{stats:?}");
    store.1.store(false, Ordering::Relaxed);
    read(&mapping, 9);
    assert!(cache.stats().cached <= 8, "{:?}", cache.stats());
    assert_sound(&cache, &[&mapping]);
}

#[test]
fn pageout_leaves_pages_that_are_held_or_in_hand() {
    let (cache, mapping, store) = all_dirty(4);
    let (hold, in_hand) = (mapping.hold_page(0).unwrap(), page(&mapping, 1));
    read(&mapping, 4);
    let reclaim = cache.stats().reclaim;
    // Whoever holds a page has it in hand, too.
    assert!(reclaim.kept >= 2 && reclaim.paged_out == 2, "{reclaim:?}");
    assert!(hold.page().snapshot().is_dirty() && in_hand.snapshot().is_dirty());
    drop((hold, in_hand));
    assert!(store.0.batches().iter().all(|(first, _)| *first >= 2));
    assert_sound(&cache, &[&mapping]);
}

#[test]
fn pageout_is_left_to_a_flusher_that_runs() {
    let (cache, mapping, _store) = all_dirty(8);
    let never = FlusherConfig::new().interval(Duration::from_secs(3600));
    let flusher = Flusher::start([mapping.clone()], never).unwrap();
    read(&mapping, 8);
    eventually("it has been woken", || flusher.stats().rounds > 0 && cache.stats().debt == 0);
    flusher.stop();
    read(&mapping, 9);
    assert!(cache.stats().cached <= 8, "{:?}", cache.stats());
    assert_sound(&cache, &[&mapping]);
}

#[test]
fn a_flusher_makes_room_before_it_is_needed() {
    let cache = cache(16);
    let (mapping, _store) = open_in(&cache, 64);
    (0..16).for_each(|page| _ = read(&mapping, page));
    assert_eq!(cache.stats().cached, 16);
    Flusher::manual([mapping.clone()], FlusherConfig::new()).step();
    assert_eq!(cache.stats().cached, 14);
    assert_sound(&cache, &[&mapping]);
}

/// How often a page that somebody keeps was looked at in vain, when `pages` are kept over a capacity of 16, and then in as many syncs.
#[test]
fn a_flusher_keeps_nothing_free_of_a_cache_of_few_pages() {
    for capacity in 1..8 {
        let cache = cache(capacity);
        let (mapping, _store) = open_in(&cache, 10);
        (0..capacity).for_each(|page| _ = read(&mapping, page));
        let flusher = Flusher::manual([mapping.clone()], FlusherConfig::new());
        (0..5).for_each(|_| _ = flusher.step());
        assert_eq!(mapping.stats().cached, capacity);
        assert_sound(&cache, &[&mapping]);
    }
}

fn looks_in_vain(pages: u64, in_tasks: bool) -> (u64, u64) {
    let store = MemStore::new();
    store.set_len((pages + 1) * PAGE as u64).unwrap();
    let cache = PageCache::new(CacheConfig::new(16)).unwrap();
    let mapping = Mapping::with_config(Arc::new(store), Config::new().cache(&cache)).unwrap();
    let tasks = mapping.async_handle();
    let page = |index| {
        if !in_tasks {
            return mapping.page(index).unwrap();
        }
        let mut page = std::pin::pin!(tasks.page(index));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match page.as_mut().poll(&mut context) {
            std::task::Poll::Ready(page) => page.unwrap(),
            std::task::Poll::Pending => panic!("the store ends reads at once"),
        }
    };
    let kept: Vec<_> = (0..pages).map(page).collect();
    let looks = cache.stats().reclaim.kept;
    let handle = mapping.handle();
    let syncs = pages / 4;
    (0..syncs).for_each(|_| handle.sync_data().unwrap());
    let in_syncs = cache.stats().reclaim.kept - looks;
    // What they have let go of leaves soon.
    drop(kept);
    (0..syncs).for_each(|_| handle.sync_data().unwrap());
    (0..2).for_each(|_| _ = mapping.page(pages).unwrap());
    handle.sync_data().unwrap();
    assert!(cache.stats().cached <= 17, "{:?}", cache.stats());
    cache.check().unwrap();
    (looks, in_syncs)
}

#[test]
fn pages_that_are_kept_beyond_the_capacity_are_not_all_looked_at_each_time() {
    for in_tasks in [false, true] {
        let ((few, _), (many, in_syncs)) =
            (looks_in_vain(250, in_tasks), looks_in_vain(1000, in_tasks));
        assert!(many <= 8 * few, "{few} looks, and {many} for four times as many pages");
        assert!(in_syncs <= 100 * 250, "{in_syncs} looks in 250 syncs of nothing");
    }
}
