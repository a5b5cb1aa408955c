//! Use of pages, as eviction sees it: what counts, how often, and whom it saves.

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use common::TestStore;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use writeback::page::PageTag;
use writeback::store::Store;
use writeback::{Advice, Budget, CacheConfig, Config, Mapping, PageCache, SyncMode};

/// Small ones: in a debug build it takes long to make a page.
const PAGE: usize = 1024;
const BLOCK: usize = 512;

/// A mapping over a store with `pages` pages of zeros, in `cache`.
fn open_in(cache: &PageCache, pages: u64) -> (Mapping, TestStore) {
    let store = TestStore::new();
    store.set_len(pages * PAGE as u64).unwrap();
    let config = Config::new().page_size(PAGE).block_size(BLOCK).cache(cache);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    (mapping, store)
}

fn open_alone(capacity: u64, pages: u64) -> (PageCache, Mapping, TestStore) {
    let cache = PageCache::new(CacheConfig::bytes(capacity * PAGE as u64)).unwrap();
    let (mapping, store) = open_in(&cache, pages);
    (cache, mapping, store)
}

fn read(mapping: &Mapping, page: u64) {
    let mut byte = [0];
    mapping.handle().read_at(&mut byte, page * PAGE as u64).unwrap();
}

/// As a backup does.
fn read_once(mapping: &Mapping, page: u64) {
    let handle = mapping.handle();
    handle.advise(.., Advice::NoReuse);
    handle.clone().read_at(&mut [0], page * PAGE as u64).unwrap();
}

/// By looking only.
fn is_cached(mapping: &Mapping, page: u64) -> bool {
    mapping.cached_page(page).is_some()
}

fn is_accessed(mapping: &Mapping, page: u64) -> bool {
    mapping.cached_page(page).is_some_and(|page| page.has_tag(PageTag::Accessed))
}

/// Something that can be done to a page.
type Act = fn(&Mapping, u64);

fn found(mapping: &Mapping, page: u64) -> writeback::page::PageRef {
    mapping.cached_page(page).expect("cached")
}

/// Every way to use a page.
const USES: &[(&str, Act)] = &[
    ("read_at", read),
    ("write_at", |m, p| m.handle().write_at(&[1], p * PAGE as u64).unwrap()),
    ("try_write_at", |m, p| _ = m.handle().try_write_at(&[1], p * PAGE as u64).unwrap()),
    ("page", |m, p| _ = m.page(p).unwrap()),
    ("page, read", |m, p| m.page(p).unwrap().read_with(|bytes| assert_eq!(bytes.len(), PAGE))),
    ("cached_page, read", |m, p| found(m, p).read_with(|bytes| assert_eq!(bytes.len(), PAGE))),
    ("cached_page, write", |m, p| found(m, p).write_with(0..1, |bytes| bytes[0] = 1).unwrap()),
    ("cached_page, read guard", |m, p| assert_eq!(found(m, p).read().len(), PAGE)),
    ("cached_page, read guard tried for", |m, p| _ = found(m, p).try_read().unwrap()),
    ("cached_page, write guard", |m, p| found(m, p).write().unwrap()[0] = 1),
    ("cached_page, write guard tried for", |m, p| found(m, p).try_write().unwrap()[0] = 1),
    ("cached_page, mark_dirty", |m, p| _ = found(m, p).mark_dirty().unwrap()),
    ("cached_page, mark_blocks_dirty", |m, p| _ = found(m, p).mark_blocks_dirty(1..2).unwrap()),
    ("lock, mark_dirty", |m, p| _ = found(m, p).lock_state().unwrap().mark_dirty().unwrap()),
    ("try_lock, mark_dirty", |m, p| {
        _ = found(m, p).try_lock_state().unwrap().mark_dirty().unwrap()
    }),
    ("lock, mark_blocks_dirty", |m, p| {
        _ = found(m, p).lock_state().unwrap().mark_blocks_dirty(1..2).unwrap();
    }),
    ("hold", |m, p| _ = m.hold_page(p).unwrap()),
    ("try_hold", |m, p| _ = m.try_hold_page(p).unwrap().expect("free")),
    ("hold_blocks", |m, p| _ = m.hold_blocks(p, 0..1).unwrap()),
];

/// What is done to a page that is no use of it.
const LOOKS: &[(&str, Act)] = &[
    ("cached_page", |m, p| _ = found(m, p)),
    ("has_tag", |m, p| _ = found(m, p).has_tag(PageTag::Dirty)),
    ("snapshot", |m, p| assert!(found(m, p).snapshot().is_uptodate())),
    ("read_at, once", read_once),
    ("read_at_in_task, once", |m, p| {
        let (handle, mut bytes) = (m.async_handle(), [0; 8]);
        handle.handle().advise(.., Advice::NoReuse);
        let read = pin!(handle.read_at(&mut bytes, p * PAGE as u64));
        assert!(read.poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }),
    ("lock", |m, p| _ = found(m, p).lock_state().unwrap()),
    ("writeback", |m, p| _ = m.write_range(p..=p, SyncMode::Wait, Budget::UNLIMITED).unwrap()),
    ("write_page", |m, p| _ = m.write_page(p, SyncMode::Wait).unwrap()),
];

/// Tells whether `act` saves a page from an eviction of all others.
fn saves(act: Act) -> bool {
    let (cache, mapping, _store) = open_alone(100, 16);
    (0..16).for_each(|page| read(&mapping, page));
    act(&mapping, 3);
    mapping.handle().sync_data().unwrap();
    assert_eq!(cache.evict(15), 15);
    mapping.check().unwrap();
    is_cached(&mapping, 3)
}

#[test]
fn whatever_way_a_page_is_used_it_is_spared() {
    for (name, act) in USES {
        assert!(saves(*act), "{name} does not count");
    }
    for (name, act) in LOOKS {
        assert!(!saves(*act), "{name} counts");
    }
}

#[test]
fn whatever_way_a_page_is_used_a_burst_counts_once() {
    for (name, act) in USES {
        let (_cache, mapping, _store) = open_alone(6400, 1000);
        read(&mapping, 3);
        (0..64).for_each(|_| act(&mapping, 3));
        assert!(!is_accessed(&mapping, 3), "{name}: it has only just come in");
        // A turn is a hundred pages. The one in which the page came in is over, not the one after it.
        (100..200).for_each(|page| read(&mapping, page));
        (0..64).for_each(|_| act(&mapping, 3));
        assert!(!is_accessed(&mapping, 3), "{name}: the burst may have begun at a turn's end");
        (200..300).for_each(|page| read(&mapping, page));
        act(&mapping, 3);
        assert!(is_accessed(&mapping, 3), "{name}: it is used again");
    }
}

#[test]
fn who_is_used_in_many_turns_has_two_chances_and_no_more() {
    let (cache, mapping, _store) = open_alone(100, 200);
    for page in 0..20 {
        read(&mapping, page);
        read(&mapping, 3);
    }
    assert!(is_accessed(&mapping, 3));
    assert_eq!(cache.evict(20), 20, "all can go");
    assert!(!is_cached(&mapping, 3));
    let used = cache.stats().reclaim.used;
    assert_eq!(used, 2, "the hand has gone by it twice");
}

#[test]
fn who_has_no_chance_left_is_saved_by_its_next_use() {
    let (cache, mapping, _store) = open_alone(100, 200);
    (0..8).for_each(|page| read(&mapping, page));
    read(&mapping, 3);
    let in_hand = found(&mapping, 3);
    assert_eq!(cache.evict(8), 7);
    assert!(!is_accessed(&mapping, 3), "it has used its chance up");
    // In the turn in which it was used before: nothing has come in.
    read(&mapping, 3);
    assert!(is_accessed(&mapping, 3));
    drop(in_hand);
}

#[test]
fn who_comes_back_soon_is_known() {
    let (cache, mapping, _store) = open_alone(100, 200);
    (0..16).for_each(|page| read(&mapping, page));
    assert_eq!(cache.evict(16), 16);
    read(&mapping, 3);
    read(&mapping, 100);
    assert!(is_accessed(&mapping, 3), "it should have stayed");
    assert!(!is_accessed(&mapping, 100), "it was never here");
    mapping.check().unwrap();
}

#[test]
fn pages_of_any_size_are_known_when_they_come_back() {
    for size in [512, 4096, 65_536] {
        let cache = PageCache::new(CacheConfig::bytes(256 * size as u64)).unwrap();
        let store = TestStore::new();
        store.set_len(256 * size as u64).unwrap();
        let config = Config::new().page_size(size).cache(&cache);
        let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
        let read_all = || {
            // One by one: no page is read ahead.
            (0..200).for_each(|page| drop(mapping.page(page).unwrap()));
            (0..200).filter(|page| is_accessed(&mapping, *page)).count()
        };
        assert_eq!(read_all(), 0);
        assert_eq!(cache.evict(200), 200);
        let known = read_all();
        assert!(known > 160, "{known} of 200 pages of {size} bytes");
    }
}

#[test]
fn no_more_pages_are_evicted_ahead_where_they_are_small() {
    for size in [512, 4096, 65_536] {
        let cache = PageCache::new(CacheConfig::bytes(1000 * size as u64)).unwrap();
        let store = TestStore::new();
        store.set_len(1001 * size as u64).unwrap();
        let config = Config::new().page_size(size).cache(&cache);
        let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
        (0..1001).for_each(|page| drop(mapping.page(page).unwrap()));
        let evicted = cache.stats().reclaim.evicted;
        assert!((1..=64).contains(&evicted), "{evicted} pages of {size} bytes");
    }
}

#[test]
fn who_is_read_once_and_again_by_scans_is_not_known() {
    let (cache, mapping, _store) = open_alone(100, 200);
    for _ in 0..3 {
        (0..16).for_each(|page| read_once(&mapping, page));
        assert!((0..16).all(|page| !is_accessed(&mapping, page)));
        assert_eq!(cache.evict(16), 16);
    }
    read(&mapping, 3);
    assert!(is_accessed(&mapping, 3), "whoever is no scan should have found it");
    mapping.check().unwrap();
}

/// Pages read from the store by 30,000 uses: the root of a tree, some pages that are warm, and any of all.
fn misses(use_page: Act) -> u64 {
    let (cache, mapping, store) = open_alone(1000, 10_000);
    let mut random = SmallRng::seed_from_u64(1);
    for _ in 0..10_000 {
        use_page(&mapping, 0);
        use_page(&mapping, random.random_range(1..500));
        use_page(&mapping, random.random_range(1..10_000));
    }
    cache.check().unwrap();
    store.reads_begun()
}

#[test]
fn a_page_in_use_stays_whichever_way_it_is_used() {
    let by_handle = misses(read);
    let by_page = misses(|mapping, page| mapping.page(page).unwrap().read_with(|_| ()));
    assert!(by_page < by_handle + by_handle / 50, "{by_page} instead of {by_handle}");
    assert!(by_handle < by_page + by_page / 50, "{by_handle} instead of {by_page}");
    // The 500 warm ones stay, and one use in twenty of the others finds its page there too.
    assert!(by_handle < 10_100, "{by_handle}");
    println!("by handle {by_handle}, by page {by_page}");
}

/// Reads all bytes of a page, a few at a time, by handle or by page.
const PIECES: &[(&str, Act)] = &[
    ("by handle", |mapping, page| {
        let (handle, mut bytes) = (mapping.handle(), [0; 16]);
        for piece in 0..PAGE as u64 / 16 {
            handle.read_at(&mut bytes, page * PAGE as u64 + piece * 16).unwrap();
        }
    }),
    ("by page", |mapping, page| {
        for piece in 0..PAGE / 16 {
            mapping.page(page).unwrap().read_with(|bytes| assert_eq!(bytes[piece * 16], 0));
        }
    }),
    ("at once", |mapping, page| {
        let mut bytes = [0; PAGE];
        mapping.handle().read_at(&mut bytes, page * PAGE as u64).unwrap();
    }),
];

/// Counts the misses among 4,000 reads of 500 hot pages while others are read through once, one page between
/// two hot reads.
fn hot_misses(hot: &Mapping, scanned: &Mapping, first: u64, store: &TestStore, scan: Act) -> u64 {
    let mut random = SmallRng::seed_from_u64(1);
    (0..5000).for_each(|_| read(hot, random.random_range(0..500)));
    let mut misses = 0;
    for page in 0..4000 {
        let before = store.reads_begun();
        read(hot, random.random_range(0..500));
        misses += store.reads_begun() - before;
        scan(scanned, first + page);
    }
    misses
}

#[test]
fn a_scan_in_however_small_reads_leaves_the_hot_pages_alone() {
    for (name, scan) in PIECES {
        let (cache, mapping, store) = open_alone(1000, 5000);
        let misses = hot_misses(&mapping, &mapping, 1000, &store, *scan);
        assert!(misses < 40, "{name}: {misses} of 4000 hot reads missed");
        cache.check().unwrap();
    }
}

#[test]
fn pages_that_were_used_stay_through_a_scan_of_any_length() {
    // Upwards the hand goes before the scan, and never comes round; downwards it does.
    for ((name, scan), downwards) in PIECES.iter().flat_map(|way| [(way, false), (way, true)]) {
        let (_cache, mapping, _store) = open_alone(1000, 5000);
        for _ in 0..2 {
            (0..500).for_each(|page| read(&mapping, page));
        }
        // Nobody uses them meanwhile.
        let pages = (500..5000).map(|page| if downwards { 5499 - page } else { page });
        pages.for_each(|page| scan(&mapping, page));
        let left = (0..500).filter(|page| is_cached(&mapping, *page)).count();
        // Those that had come in last had not been used apart from that.
        assert!(left > 460, "{name}: {left} of 500 are left");
    }
}

#[test]
fn a_scan_of_another_mapping_leaves_the_hot_pages_alone() {
    for (name, scan) in PIECES {
        let (cache, hot, store) = open_alone(1000, 500);
        let (scanned, _store) = open_in(&cache, 4000);
        let misses = hot_misses(&hot, &scanned, 0, &store, *scan);
        assert!(misses < 40, "{name}: {misses} of 4000 hot reads missed");
        cache.check().unwrap();
    }
}

#[test]
fn a_loop_over_more_than_there_is_room_for_finds_some_of_it() {
    for (pages, percent) in [(1250, 50), (1100, 65)] {
        let (_cache, mapping, store) = open_alone(1000, pages);
        for _ in 0..20 {
            (0..pages).for_each(|page| read(&mapping, page));
        }
        let (reads, all) = (store.reads_begun(), 20 * pages);
        assert!((all - reads) * 100 > all * percent, "{reads} of {all} were not found");
    }
}

#[test]
fn pages_that_are_used_all_the_time_can_be_evicted_if_there_are_no_others() {
    let (cache, mapping, _store) = open_alone(1000, 1000);
    for _ in 0..5 {
        (0..900).for_each(|page| read(&mapping, page));
        // A turn.
        (900..1000).for_each(|page| read(&mapping, page));
        cache.evict(50);
    }
    let cached = cache.stats().cached;
    assert_eq!(cache.evict(cached), cached);
    mapping.check().unwrap();
    cache.check().unwrap();
}

#[test]
fn dirty_pages_that_were_used_do_not_hide_clean_ones() {
    let cache = PageCache::new(may_be_dirty(2000)).unwrap();
    let (mapping, _store) = open_in(&cache, 1000);
    (0..1000).for_each(|page| read(&mapping, page));
    (0..1000).for_each(|page| read(&mapping, page));
    // The hand that takes chances away comes down, to the dirty ones first.
    (200..1000).for_each(|page| _ = found(&mapping, page).mark_dirty().unwrap());
    assert_eq!(cache.evict(200), 200, "all that is clean");
    assert!((200..1000).all(|page| is_cached(&mapping, page)));
}

#[test]
fn dirty_pages_that_were_used_are_written_when_nothing_else_is_left() {
    let cache = PageCache::new(may_be_dirty(64)).unwrap();
    let (mapping, _store) = open_in(&cache, 100);
    (0..64).for_each(|page| read(&mapping, page));
    (0..60).for_each(|page| _ = found(&mapping, page).mark_dirty().unwrap());
    assert!((0..60).all(|page| is_accessed(&mapping, page)));
    assert_eq!(cache.evict(64), 4, "the others are clean");
    let _in_hand: Vec<_> = (80..84).map(|page| mapping.page(page).unwrap()).collect();
    (0..60).for_each(|page| read(&mapping, page));
    assert!((0..60).all(|page| is_accessed(&mapping, page)));
    read(&mapping, 90);
    let stats = cache.stats();
    assert!(stats.reclaim.paged_out > 0 && stats.overcommitted == 0, "{stats:?}");
}

/// As many pages may be dirty as there is room for.
fn may_be_dirty(capacity: u64) -> CacheConfig {
    let bytes = capacity * PAGE as u64;
    CacheConfig::bytes(bytes).dirty_bytes_max(bytes).pause_max(Duration::ZERO)
}
