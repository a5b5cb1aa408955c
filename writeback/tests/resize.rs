//! A cache that is made larger and smaller while it is in use.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use writeback::store::Store;
use writeback::{CacheConfig, Config, Error, Flusher, FlusherConfig, Mapping, PageCache};

fn open_in(cache: &PageCache, pages: usize) -> (Mapping, TestStore) {
    let store = TestStore::new();
    store.set_len((pages * PAGE) as u64).unwrap();
    let config = Config::new().cache(cache);
    (Mapping::with_config(Arc::new(store.clone()), config).unwrap(), store)
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

fn pages(count: u64) -> u64 {
    count * PAGE as u64
}

/// All that is cached may be dirty.
fn dirty_cache(capacity: u64) -> PageCache {
    let config = CacheConfig::new(capacity).dirty_pages_max(capacity);
    PageCache::new(config.dirty_pages_background(capacity).pause_max(Duration::ZERO)).unwrap()
}

#[test]
fn clean_pages_beyond_the_new_capacity_leave_at_once() {
    let cache = PageCache::new(CacheConfig::new(200)).unwrap();
    let (mapping, store) = open_in(&cache, 400);
    (0..200).for_each(|page| _ = read(&mapping, page));
    cache.resize(pages(50)).unwrap();
    let stats = cache.stats();
    assert_eq!((stats.capacity_bytes, stats.cached_bytes), (pages(50), pages(50)));
    (0..200).for_each(|page| _ = read(&mapping, page));
    assert!(cache.stats().cached <= 50 && cache.stats().overcommitted == 0, "{:?}", cache.stats());
    cache.resize(pages(400)).unwrap();
    (0..400).for_each(|page| _ = read(&mapping, page));
    let before = store.reads_begun();
    (0..400).for_each(|page| _ = read(&mapping, page));
    assert_eq!((store.reads_begun(), cache.stats().cached), (before, 400), "all fit now");
    cache.check().unwrap();
    mapping.check().unwrap();
}

#[test]
fn dirty_pages_stay_until_they_are_written() {
    let cache = dirty_cache(100);
    let (mapping, _store) = open_in(&cache, 100);
    (0..100).for_each(|page| write(&mapping, page, 7));
    cache.resize(pages(10)).unwrap();
    assert_eq!((cache.stats().dirty, cache.stats().cached), (100, 100), "none is lost");
    mapping.handle().sync_data().unwrap();
    assert_eq!((cache.stats().dirty, cache.stats().cached), (0, 10));
    assert!((0..100).all(|page| read(&mapping, page) == 7));
    assert_clean_is_stored(&mapping);
    cache.check().unwrap();
}

#[test]
fn a_flusher_that_is_asleep_is_woken_for_what_is_dirty_and_beyond() {
    let cache = dirty_cache(100);
    let (mapping, _store) = open_in(&cache, 100);
    let asleep = FlusherConfig::new().interval(Duration::MAX).background_pages(u64::MAX);
    let flusher = Flusher::start([mapping.clone()], asleep.dirty_expire(Duration::MAX)).unwrap();
    (0..100).for_each(|page| write(&mapping, page, 7));
    cache.resize(pages(10)).unwrap();
    eventually("it is written down to the limit", || cache.stats().debt <= 10);
    flusher.stop();
    mapping.handle().sync_data().unwrap();
    // The flusher makes room ahead.
    assert!((8..=10).contains(&cache.stats().cached), "{:?}", cache.stats());
}

#[test]
fn what_is_in_hand_stays_and_leaves_later() {
    let cache = PageCache::new(CacheConfig::new(100)).unwrap();
    let (mapping, _store) = open_in(&cache, 100);
    let in_hand: Vec<_> = (0..60).map(|index| page(&mapping, index)).collect();
    cache.resize(pages(20)).unwrap();
    assert_eq!(cache.stats().cached, 60);
    assert!(in_hand.iter().all(|page| page.snapshot().is_mapped()));
    drop(in_hand);
    _ = read(&mapping, 99);
    assert!(cache.stats().cached <= 20, "{:?}", cache.stats());
    cache.check().unwrap();
}

#[test]
fn limits_of_dirty_pages_go_with_the_capacity_unless_they_were_set() {
    // The fifth of 50, and of 100.
    let cache = PageCache::new(CacheConfig::new(50).pause_max(Duration::ZERO)).unwrap();
    let (mapping, store) = open_in(&cache, 100);
    store.writes(Writes::Keep);
    (0..10).for_each(|page| write(&mapping, page, 1));
    thread::scope(|scope| {
        let writer = scope.spawn(|| write(&mapping, 10, 1));
        eventually("it waits", || cache.stats().stalled_now == 1 && store.kept() > 0);
        cache.resize(pages(100)).unwrap();
        eventually("it goes on", || writer.is_finished());
        writer.join().unwrap();
    });
    (11..20).for_each(|page| write(&mapping, page, 1));
    assert_eq!((cache.stats().debt, cache.stats().stalled), (20, 1));
    store.writes(Writes::Accept);
    while store.kept() > 0 {
        store.release_first(Ok(()));
    }
    mapping.handle().sync_data().unwrap();

    let set = CacheConfig::new(50).dirty_pages_max(5).pause_max(Duration::ZERO);
    let cache = PageCache::new(set).unwrap();
    let (mapping, _store) = open_in(&cache, 100);
    cache.resize(pages(100)).unwrap();
    for page in 0..20 {
        write(&mapping, page, 1);
        assert!(cache.stats().debt <= 5, "{:?}", cache.stats());
    }
    cache.resize(pages(2)).unwrap();
    mapping.handle().sync_data().unwrap();
    for page in 0..20 {
        write(&mapping, page, 2);
        assert!(cache.stats().debt <= 2, "{:?}", cache.stats());
    }
}

#[test]
fn a_size_that_cannot_be_changes_nothing() {
    let cache = PageCache::new(CacheConfig::new(50)).unwrap();
    assert!(matches!(cache.resize(511), Err(Error::Config { .. })));
    assert_eq!(cache.stats().capacity_bytes, pages(50));
    cache.resize(512).unwrap();
    let (mapping, _store) = open_in(&cache, 4);
    (0..4).for_each(|page| write(&mapping, page, 1));
    mapping.handle().sync_data().unwrap();
    cache.resize(u64::MAX).unwrap();
    assert!((0..4).all(|page| read(&mapping, page) == 1));
    cache.check().unwrap();
}

#[test]
fn whatever_the_size_is_meanwhile_all_that_was_written_is_read() {
    const PAGES: u64 = 128;
    let cache = dirty_cache(64);
    let (mapping, store) = open_in(&cache, usize::try_from(PAGES).unwrap());
    let (stop, synced) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let _ends = SetOnDrop(&stop);
        // Each has pages of its own, and knows what is in them.
        let work = |own: u64| {
            let (mapping, stop, synced) = (&mapping, &stop, &synced);
            move || {
                let mut random = SmallRng::seed_from_u64(own);
                let mut known = vec![0; usize::try_from(PAGES).unwrap()];
                while !stop.load(Ordering::Relaxed) {
                    let page = random.random_range(0..PAGES / 2) * 2 + own;
                    let at = usize::try_from(page).unwrap();
                    if random.random_bool(0.5) {
                        known[at] = random.random();
                        write(mapping, page, known[at]);
                    }
                    assert_eq!(read(mapping, page), known[at], "page {page}");
                    if random.random_range(0..64) == 0 {
                        mapping.handle().sync_data().unwrap();
                        synced.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        };
        let workers = [scope.spawn(work(0)), scope.spawn(work(1))];
        let mut random = SmallRng::seed_from_u64(2);
        while synced.load(Ordering::Relaxed) < 200 && !workers.iter().any(|one| one.is_finished()) {
            cache.resize(pages(random.random_range(1..100))).unwrap();
            thread::sleep(Duration::from_micros(200));
        }
    });
    mapping.handle().sync_data().unwrap();
    cache.resize(pages(8)).unwrap();
    assert!(cache.stats().cached <= 8, "{:?}", cache.stats());
    assert_clean_is_stored(&mapping);
    assert_eq!(store.kept(), 0);
    cache.check().unwrap();
    mapping.check().unwrap();
}
