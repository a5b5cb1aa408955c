//! Capacity and limits in bytes: pages of any size weigh what they have.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use writeback::store::Store;
use writeback::{Budget, CacheConfig, Config, Error, Mapping, PageCache, SyncMode};

const LARGE: usize = 16 * PAGE;

/// A mapping in `cache` with pages of `size` bytes, over a store with so many of them.
fn open_in(cache: &PageCache, size: usize, pages: usize) -> (Mapping, TestStore) {
    let store = TestStore::new();
    store.set_len((pages * size) as u64).unwrap();
    let config = Config::new().page_size(size).cache(cache);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    (mapping, store)
}

fn read(mapping: &Mapping, page: u64) {
    drop(mapping.page(page).unwrap());
}

fn write(mapping: &Mapping, page: u64, byte: u8) {
    let size = mapping.page_size();
    mapping.handle().write_at(&vec![byte; size], page * size as u64).unwrap();
}

fn assert_sound(cache: &PageCache, mappings: &[&Mapping]) {
    mappings.iter().for_each(|mapping| mapping.check().unwrap());
    cache.check().unwrap();
}

#[test]
fn a_config_in_pages_means_pages_of_4096_bytes() {
    let config = CacheConfig::new(100).dirty_pages_max(50).dirty_pages_background(10);
    assert_eq!(PageCache::new(config).unwrap().stats().capacity_bytes, 100 * 4096);
    let too_small = PageCache::new(CacheConfig::bytes(511));
    assert!(matches!(too_small, Err(Error::Config { .. })));
    let too_dirty = CacheConfig::bytes(4096).dirty_bytes_max(4097);
    assert!(matches!(PageCache::new(too_dirty), Err(Error::Config { .. })));
    assert!(PageCache::new(CacheConfig::new(u64::MAX)).is_ok());
}

#[test]
fn pages_of_all_sizes_share_one_capacity() {
    let cache = PageCache::new(CacheConfig::bytes(64 * PAGE as u64)).unwrap();
    let (small, _store) = open_in(&cache, PAGE, 64);
    let (large, _store) = open_in(&cache, LARGE, 8);
    (0..64).for_each(|page| read(&small, page));
    assert_eq!((cache.stats().cached, small.stats().evicted), (64, 0));
    read(&large, 0);
    let (left, stats) = (small.stats().cached, cache.stats());
    assert!((16..=48).contains(&left), "{left} are left where 16 had to go for a large one");
    assert!(stats.cached_bytes <= stats.capacity_bytes && stats.overcommitted == 0, "{stats:?}");
    (1..8).for_each(|page| read(&large, page));
    let stats = cache.stats();
    assert!(stats.cached_bytes <= stats.capacity_bytes && stats.overcommitted == 0, "{stats:?}");
    assert!(large.stats().cached <= 4 && large.stats().evicted >= 4, "{stats:?}");
    assert_sound(&cache, &[&small, &large]);
    drop(large);
    assert_eq!(cache.stats().cached_bytes, small.stats().cached * PAGE as u64);
    assert_sound(&cache, &[&small]);
}

#[test]
fn a_small_page_costs_one_large_one_its_place() {
    let cache = PageCache::new(CacheConfig::bytes(4 * LARGE as u64)).unwrap();
    let (small, _store) = open_in(&cache, PAGE, 1);
    let (large, _store) = open_in(&cache, LARGE, 4);
    (0..4).for_each(|page| read(&large, page));
    read(&small, 0);
    assert_eq!((large.stats().cached, small.stats().cached), (3, 1));
    assert_sound(&cache, &[&small, &large]);
}

#[test]
fn a_page_larger_than_the_cache_has_its_place_nevertheless() {
    let cache = PageCache::new(CacheConfig::bytes(8 * PAGE as u64)).unwrap();
    let (large, _store) = open_in(&cache, LARGE, 3);
    for page in 0..3 {
        write(&large, page, 7);
        assert_eq!(cache.stats().cached_bytes, LARGE as u64);
        large.handle().sync_data().unwrap();
    }
    assert_eq!(cache.stats().overcommitted, 3);
    assert_sound(&cache, &[&large]);
}

#[test]
fn dirty_pages_count_as_the_bytes_they_have() {
    let config = CacheConfig::bytes(1 << 20).dirty_bytes_max(4 * LARGE as u64);
    let cache = PageCache::new(config.pause_max(Duration::ZERO)).unwrap();
    let (large, _store) = open_in(&cache, LARGE, 16);
    let (small, _store) = open_in(&cache, PAGE, 16);
    let mut most = 0;
    for page in 0..16 {
        // Some of it is as good as all.
        large.handle().write_at(b"some", page * LARGE as u64).unwrap();
        let stats = cache.stats();
        assert_eq!(stats.debt_bytes, stats.debt * LARGE as u64);
        most = most.max(stats.debt);
    }
    assert_eq!(most, 4, "beside another mapping: up to 8/9 of the limit, and then a page");
    large.handle().sync_data().unwrap();
    (0..16).for_each(|page| write(&small, page, 1));
    assert_eq!((cache.stats().debt, cache.stats().debt_bytes), (16, 16 * PAGE as u64));
    small.handle().sync_data().unwrap();
    assert_eq!(cache.stats().debt_bytes, 0);
    assert_sound(&cache, &[&small, &large]);
}

/// Lets the store accept everything, so that a test that fails ends.
struct Accept<'s>(&'s TestStore);

impl Drop for Accept<'_> {
    fn drop(&mut self) {
        self.0.writes(Writes::Accept);
        while self.0.kept() > 0 {
            self.0.release_first(Ok(()));
        }
    }
}

#[test]
fn a_writer_that_waits_is_let_in_for_the_bytes_of_its_page() {
    let config = CacheConfig::bytes(1 << 20).dirty_bytes_max(2 * LARGE as u64);
    let cache = PageCache::new(config.pause_max(Duration::ZERO)).unwrap();
    let (large, store) = open_in(&cache, LARGE, 8);
    let (_small, _store) = open_in(&cache, PAGE, 1);
    store.writes(Writes::Keep);
    (0..2).for_each(|page| write(&large, page, 1));
    std::thread::scope(|scope| {
        let _goes_on = Accept(&store);
        let writers = [2, 3].map(|page| {
            scope.spawn({
                let large = &large;
                move || write(large, page, 1)
            })
        });
        // They write back themselves, and wait for the end.
        eventually("both wait", || cache.stats().stalled_now == 2 && store.kept() > 0);
        store.writes(Writes::Accept);
        while store.kept() > 0 {
            store.release_first(Ok(()));
            // One that was let in counts from then on, not only when its page is dirty.
            assert!(cache.stats().debt_bytes <= 2 * LARGE as u64, "{:?}", cache.stats());
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
    assert_eq!(cache.stats().stalled, 2);
    large.handle().sync_data().unwrap();
    assert_sound(&cache, &[&large]);
}

#[test]
fn images_that_pages_have_left_count_and_others_make_room() {
    let config = CacheConfig::new(64).dirty_pages_max(64).pause_max(Duration::ZERO);
    let cache = PageCache::new(config).unwrap();
    let (mapping, store) = open_in(&cache, PAGE, 64);
    (0..64).for_each(|page| read(&mapping, page));
    store.writes(Writes::Keep);
    let _goes_on = Accept(&store);
    (0..16).for_each(|page| write(&mapping, page, 1));
    mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
    assert_eq!((cache.stats().cached, cache.stats().image_bytes), (64, 0));
    for page in 0..16 {
        write(&mapping, page, 2);
        let stats = cache.stats();
        assert_eq!(stats.image_bytes, (page + 1) * PAGE as u64, "that of the write stays");
        // But for the last, which is made up for when the next comes.
        let most = stats.capacity_bytes + PAGE as u64;
        assert!(stats.cached_bytes + stats.image_bytes <= most, "{stats:?}");
    }
    assert!(mapping.stats().evicted >= 15, "{:?}", mapping.stats());
    let in_vain = cache.stats();
    (16..64).for_each(|page| read(&mapping, page));
    let stats = cache.stats();
    assert!(stats.cached_bytes + stats.image_bytes <= stats.capacity_bytes, "{stats:?}");
    assert_eq!(stats.overcommitted, in_vain.overcommitted);
    store.writes(Writes::Accept);
    while store.kept() > 0 {
        store.release_first(Ok(()));
    }
    assert_eq!(cache.stats().image_bytes, 0);
    mapping.handle().sync_data().unwrap();
    (16..64).for_each(|page| read(&mapping, page));
    assert_eq!(cache.stats().cached_bytes, cache.stats().capacity_bytes, "all of it again");
    assert_sound(&cache, &[&mapping]);
}

#[test]
fn images_that_nothing_makes_room_for_hold_up_nobody() {
    let config = CacheConfig::new(256).dirty_pages_max(256).pause_max(Duration::ZERO);
    let cache = PageCache::new(config).unwrap();
    let (mapping, _store) = open_in(&cache, PAGE, 256);
    (0..200).for_each(|page| write(&mapping, page, 1));
    let image = |page| mapping.hold_page(page).unwrap().image();
    let mut images: Vec<_> = (0..200).map(image).collect();
    (0..200).for_each(|page| write(&mapping, page, 2));
    assert_eq!(cache.stats().image_bytes, 200 * PAGE as u64);
    assert!(images.iter().all(|image| image.as_ref()[0] == 1));
    images.truncate(56);
    assert_eq!(cache.stats().image_bytes, 56 * PAGE as u64);
    drop(images);
    assert_eq!(cache.stats().image_bytes, 0);
    mapping.handle().sync_data().unwrap();
    assert_sound(&cache, &[&mapping]);
}

#[test]
fn pages_of_16_mib_and_of_512_bytes_share_a_cache() {
    const HUGE: usize = 16 << 20;
    let cache = PageCache::new(CacheConfig::bytes(3 * HUGE as u64)).unwrap();
    let (huge, huge_store) = open_in(&cache, HUGE, 0);
    let (tiny, tiny_store) = open_in(&cache, 512, 64);
    (0..64).for_each(|page| write(&tiny, page, 7));
    (0..5).for_each(|page| write(&huge, page, u8::try_from(page).unwrap() + 1));
    let handle = huge.handle();
    handle.write_at(b"across", 2 * HUGE as u64 - 3).unwrap();
    handle.write_at(b"the end", 5 * HUGE as u64).unwrap();
    handle.sync_data().unwrap();
    tiny.handle().sync_data().unwrap();
    let durable = huge_store.durable();
    assert_eq!(durable.len(), 5 * HUGE + 7);
    for page in 0..5 {
        let byte = u8::try_from(page).unwrap() + 1;
        assert!(durable[page * HUGE + 3..(page + 1) * HUGE - 3].iter().all(|found| *found == byte));
    }
    assert_eq!(&durable[2 * HUGE - 3..2 * HUGE + 3], b"across");
    assert_eq!(&durable[5 * HUGE..], b"the end");
    assert!(tiny_store.durable() == [7; 64 * 512]);
    let mut found = [0; 6];
    handle.read_at(&mut found, 2 * HUGE as u64 - 3).unwrap();
    assert_eq!(&found, b"across");
    assert!(cache.stats().cached_bytes <= cache.stats().capacity_bytes, "{:?}", cache.stats());
    assert_sound(&cache, &[&huge, &tiny]);
}

#[test]
fn a_write_of_large_pages_has_64_mib_at_the_most() {
    const HUGE: usize = 16 << 20;
    let store = TestStore::new();
    let config = Config::new().unbounded().page_size(HUGE);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    (0..6).for_each(|page| write(&mapping, page, 1));
    mapping.handle().sync_data().unwrap();
    assert_eq!(store.batches(), [(0, 4), (4, 2)]);
}
