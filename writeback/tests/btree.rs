//! The B+tree of the example: descents by latch coupling beside splits, misses, evictions, a flusher and syncs.

mod common;
#[path = "../examples/btree/tree.rs"]
mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use common::TestStore;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tree::Tree;
use writeback::{CacheConfig, Config, Flusher, FlusherConfig, Mapping, PageCache, Result};

const PAGE: usize = 512;

fn open_in(cache: &PageCache, store: &TestStore) -> Mapping {
    let config = Config::new().page_size(PAGE).cache(cache);
    Mapping::with_config(Arc::new(store.clone()), config).unwrap()
}

#[test]
fn a_tree_has_what_a_map_has() {
    for entries_max in [3, 4, 30] {
        let cache = PageCache::new(CacheConfig::new(8)).unwrap();
        let mapping = open_in(&cache, &TestStore::new());
        let tree = Tree::create(mapping.clone(), entries_max).unwrap();
        let (mut random, mut map) = (SmallRng::seed_from_u64(7), BTreeMap::new());
        for value in 0..250 {
            let key = random.random_range(0..200);
            assert_eq!(tree.insert(key, value).unwrap(), map.insert(key, value));
            let other = random.random_range(0..200);
            assert_eq!(tree.get(other).unwrap(), map.get(&other).copied());
        }
        assert_eq!(tree.check().unwrap(), map.len());
        mapping.handle().sync_data().unwrap();
        common::assert_settled(&mapping);
        cache.check().unwrap();
    }
}

#[test]
fn threads_that_insert_split_and_look_up_lose_nothing() {
    const THREADS: u64 = 6;
    const KEYS: u64 = 300;
    // Most of the tree is not in memory, and hardly any of it may be dirty.
    let cache = PageCache::new(CacheConfig::new(32).dirty_pages_max(24)).unwrap();
    let store = TestStore::new();
    let mapping = open_in(&cache, &store);
    let tree = Tree::create(mapping.clone(), 6).unwrap();
    let flusher = Flusher::start([mapping.clone()], FlusherConfig::new()).unwrap();
    let (done, looked_up) = (AtomicBool::new(false), AtomicU64::new(0));
    // Spread, so that neighbours are of different threads.
    let key = |thread: u64, number: u64| {
        (number * THREADS + thread).wrapping_mul(0x9e37_79b9) % 1_000_003
    };
    thread::scope(|scope| {
        let insert = |thread: u64| {
            let tree = &tree;
            move || -> Result<()> {
                let mut random = SmallRng::seed_from_u64(thread);
                for number in 0..KEYS {
                    assert_eq!(tree.insert(key(thread, number), number)?, None);
                    let earlier = random.random_range(0..=number);
                    assert_eq!(tree.get(key(thread, earlier))?, Some(earlier));
                }
                Ok(())
            }
        };
        let inserters: Vec<_> = (0..THREADS).map(|thread| scope.spawn(insert(thread))).collect();
        scope.spawn(|| {
            let mut random = SmallRng::seed_from_u64(99);
            while !done.load(Ordering::Relaxed) {
                let (thread, number) =
                    (random.random_range(0..THREADS), random.random_range(0..KEYS));
                let found = tree.get(key(thread, number)).unwrap();
                assert!(found.is_none_or(|value| value == number));
                looked_up.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                mapping.handle().sync_data().unwrap();
            }
        });
        let joined: Vec<_> = inserters.into_iter().map(|thread| thread.join()).collect();
        done.store(true, Ordering::Relaxed);
        joined.into_iter().for_each(|joined| joined.unwrap().unwrap());
    });
    flusher.stop();
    let every_key_is_there = |tree: &Tree| {
        assert_eq!(tree.check().unwrap() as u64, THREADS * KEYS);
        for thread in 0..THREADS {
            (0..KEYS).for_each(|number| {
                assert_eq!(tree.get(key(thread, number)).unwrap(), Some(number));
            });
        }
    };
    assert!(looked_up.into_inner() > 0);
    every_key_is_there(&tree);
    mapping.handle().sync_data().unwrap();
    common::assert_settled(&mapping);
    cache.check().unwrap();
    assert!(cache.stats().reclaim.evicted > 0);
    // And in the store.
    drop((tree, mapping));
    every_key_is_there(&Tree::open(open_in(&cache, &store), 6));
}
