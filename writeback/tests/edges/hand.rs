//! The hand of the clock: whom it takes, in which order, who is spared, and that it comes round.

use std::sync::Arc;
use std::time::Duration;

use writeback::page::PageTag;
use writeback::store::Store;
use writeback::{CacheConfig, Config, Flusher, FlusherConfig, Mapping, PageCache};

use crate::common::*;

fn open_in(cache: &PageCache, pages: usize) -> (Mapping, TestStore) {
    let store = TestStore::new();
    store.set_len((pages * PAGE) as u64).unwrap();
    let config = Config::new().cache(cache);
    (Mapping::with_config(Arc::new(store.clone()), config).unwrap(), store)
}

/// A mapping of eight pages that have been read in, and not used since; its hand stands at the first.
fn eight() -> (PageCache, Mapping) {
    let cache = PageCache::new(CacheConfig::new(100)).unwrap();
    let (mapping, _store) = open_in(&cache, 8);
    (0..8).for_each(|page| touch(&mapping, page));
    (cache, mapping)
}

fn touch(mapping: &Mapping, page: u64) {
    mapping.handle().read_at(&mut [0], page * PAGE as u64).unwrap();
}

fn cached(mapping: &Mapping) -> Vec<u64> {
    (0..8).filter(|page| mapping.cached_page(*page).is_some()).collect()
}

fn is_accessed(mapping: &Mapping, page: u64) -> bool {
    mapping.cached_page(page).expect("cached").has_tag(PageTag::Accessed)
}

#[test]
fn pages_go_in_the_order_of_the_hand_which_stays_where_it_came_to() {
    let cache = PageCache::new(CacheConfig::new(100)).unwrap();
    let (mapping, _store) = open_in(&cache, 8);
    (2..8).for_each(|page| touch(&mapping, page));
    assert_eq!(cache.evict(2), 2);
    assert_eq!(cached(&mapping), [4, 5, 6, 7]);
    // New ones: those that have left are known, and would be spared wherever they are.
    (0..2).for_each(|page| touch(&mapping, page));
    assert_eq!(cache.evict(1), 1);
    assert_eq!(cached(&mapping), [0, 1, 5, 6, 7], "they are behind it");
    assert_eq!(cache.evict(3), 3);
    assert_eq!(cached(&mapping), [0, 1]);
    assert_eq!(cache.evict(1), 1);
    assert_eq!(cached(&mapping), [1], "it comes round");
    assert_eq!(cache.evict(8), 1, "for all that are left");
    cache.check().unwrap();
}

#[test]
fn the_hand_comes_round_to_who_came_back() {
    let (cache, mapping) = eight();
    for round in 0..5 {
        assert_eq!(cache.evict(5), 5, "round {round}");
        (0..8)
            .filter(|page| mapping.cached_page(*page).is_none())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|page| touch(&mapping, page));
        assert_eq!(cached(&mapping).len(), 8);
    }
    assert_eq!(mapping.stats().evicted, 25);
}

#[test]
fn all_can_go_wherever_the_hand_stands_and_whoever_was_used() {
    let (cache, mapping) = eight();
    assert_eq!(cache.evict(4), 4);
    // In the middle; and all have a chance.
    for _ in 0..2 {
        (0..8).for_each(|page| touch(&mapping, page));
    }
    assert!((0..8).all(|page| is_accessed(&mapping, page)));
    assert_eq!(cache.evict(8), 8);
    assert_eq!(cache.stats().cached, 0);
}

#[test]
fn a_page_that_was_used_since_it_was_met_is_not_written_for_room() {
    let config = CacheConfig::new(8).dirty_pages_max(8).dirty_pages_background(8);
    let cache = PageCache::new(config.pause_max(Duration::ZERO)).unwrap();
    let (mapping, store) = open_in(&cache, 8);
    (0..8).for_each(|page| mapping.handle().write_at(&[1; PAGE], page * PAGE as u64).unwrap());
    let hours = Duration::from_secs(3600);
    let config = FlusherConfig::new().dirty_expire(hours).background_pages(1000);
    let flusher = Flusher::manual([mapping.clone()], config);
    flusher.step();
    assert_eq!(store.batches(), [], "met for the first time");
    touch(&mapping, 3);
    flusher.step();
    assert_eq!(store.batches(), [(0, 3), (4, 4)]);
    assert!(page(&mapping, 3).snapshot().is_dirty());
}

#[test]
fn a_mapping_that_comes_later_gives_no_more_than_its_part() {
    let cache = PageCache::new(CacheConfig::new(1000)).unwrap();
    let (old, _store) = open_in(&cache, 1200);
    let fill = |mapping: &Mapping, first: u64| {
        (first..first + 60).for_each(|page| touch(mapping, page));
    };
    // Always others: those that have left are known, and would be spared.
    fill(&old, 0);
    for round in 1..20 {
        fill(&old, 60 * round);
        assert_eq!(cache.evict(60), 60);
    }
    // Newcomers are put where the last one stood before it gave: that it gave little then leaves them no credit.
    (0..3).for_each(|_| assert_eq!(cache.evict(1), 1));
    let (new, _store) = open_in(&cache, 60);
    fill(&new, 0);
    (0..10).for_each(|_| assert_eq!(cache.evict(4), 4));
    let left = [old.stats().cached, new.stats().cached];
    assert!(left.iter().all(|left| (30..=50).contains(left)), "{left:?} of 60 each are left");
}
