//! Lookups and reads: what is a hit, what a miss, and what is told of the store's answers.

use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use writeback::hooks::{Observer, ReadEvent};
use writeback::store::Store;
use writeback::{CacheConfig, Config, Mapping, MemStore, PageCache, StoreError, WeakMapping};

use crate::common::{PAGE, TestStore, patience, watch};

/// So many hits a thread hands on at once.
const LOT: u64 = 61;

/// Writes down reads and lookups; with `looks_at`, has another thread lock the page that was read.
#[derive(Debug, Default)]
struct Notes {
    reads: Mutex<Vec<(u64, u64, u64, bool)>>,
    lookups: Mutex<(u64, u64)>,
    looks_at: OnceLock<WeakMapping>,
}

impl Observer for Notes {
    fn looked_up(&self, hits: u64, misses: u64) {
        let mut lookups = self.lookups.lock();
        *lookups = (lookups.0 + hits, lookups.1 + misses);
    }

    fn read(&self, read: ReadEvent, _took: Duration, outcome: Result<(), &StoreError>) {
        if let Some(mapping) = self.looks_at.get().and_then(WeakMapping::upgrade) {
            let (done, is_done) = channel();
            thread::spawn(move || {
                let page = mapping.cached_page(read.first_page).expect("just read");
                drop(page.lock_state());
                done.send(()).unwrap();
            });
            is_done.recv_timeout(patience()).expect("the page is free by then");
        }
        self.reads.lock().push((read.first_page, read.pages, read.bytes, outcome.is_ok()));
    }
}

fn observed(pages: u64) -> (Mapping, TestStore, Arc<Notes>) {
    watch();
    let (store, notes) = (TestStore::new(), Arc::new(Notes::default()));
    store.set_len(pages * PAGE as u64).unwrap();
    let config = Config::new().observer(notes.clone());
    (Mapping::with_config(Arc::new(store.clone()), config).unwrap(), store, notes)
}

fn full(pages: usize) -> Mapping {
    let mapping = Mapping::open(MemStore::with_contents(vec![0; pages * PAGE])).unwrap();
    mapping.handle().read_exact_at(&mut vec![0; pages * PAGE], 0).unwrap();
    mapping
}

#[test]
fn a_read_is_told_with_its_run_when_the_pages_are_free() {
    let (mapping, _store, notes) = observed(8);
    notes.looks_at.set(mapping.downgrade()).unwrap();
    let handle = mapping.handle();
    handle.read_exact_at(&mut [0; 3 * PAGE], 0).unwrap();
    handle.read_exact_at(&mut [0; 10], 5 * PAGE as u64).unwrap();
    handle.read_exact_at(&mut [0; PAGE], 0).unwrap();
    let page = PAGE as u64;
    assert_eq!(*notes.reads.lock(), [(0, 3, 3 * page, true), (5, 1, page, true)]);
    let stats = mapping.stats();
    assert_eq!((stats.misses, stats.read, stats.observer_panics), (2, 4, 0));
}

#[test]
fn a_read_that_fails_is_told_as_such() {
    let (mapping, store, notes) = observed(2);
    store.fail_read(true);
    mapping.handle().read_at(&mut [0; 1], 0).unwrap_err();
    store.fail_read(false);
    mapping.handle().read_at(&mut [0; 1], 0).unwrap();
    assert_eq!(*notes.reads.lock(), [(0, 1, 0, false), (0, 1, PAGE as u64, true)]);
    assert_eq!(mapping.stats().misses, 2);
}

#[test]
fn a_page_that_is_overwritten_whole_is_neither_hit_nor_miss_and_one_that_is_read_for_a_part_is_a_miss()
 {
    let (mapping, _store, notes) = observed(2);
    notes.looks_at.set(mapping.downgrade()).unwrap();
    let handle = mapping.handle();
    handle.write_at(&[1; PAGE], 0).unwrap();
    assert_eq!((mapping.stats().misses, mapping.stats().read), (0, 0));
    handle.write_at(&[1; 10], PAGE as u64).unwrap();
    let stats = mapping.stats();
    assert_eq!((stats.misses, stats.read, stats.observer_panics), (1, 1, 0));
    assert_eq!(*notes.reads.lock(), [(1, 1, PAGE as u64, true)]);
}

#[test]
fn every_way_to_ask_for_a_page_is_a_hit_and_use_of_one_in_hand_is_none() {
    watch();
    type Way<'w> = (&'w str, &'w (dyn Fn(&Mapping) + Sync));
    let ways: [Way<'_>; 5] = [
        ("read_at", &|mapping| _ = mapping.handle().read_at(&mut [0], 0).unwrap()),
        ("write_at", &|mapping| mapping.handle().write_at(&[0], 0).unwrap()),
        ("try_write_at", &|mapping| _ = mapping.handle().try_write_at(&[0], 0).unwrap()),
        ("page", &|mapping| _ = mapping.page(0).unwrap()),
        ("try_page", &|mapping| _ = mapping.try_page(0).unwrap()),
    ];
    for (name, way) in ways {
        // A thread of its own has no lot begun.
        let hits = thread::scope(|scope| {
            let work = scope.spawn(|| {
                let mapping = full(1);
                let hits: [u64; 2] = [LOT - 1, 1].map(|count| {
                    (0..count).for_each(|_| way(&mapping));
                    mapping.stats().hits
                });
                hits
            });
            work.join().unwrap()
        });
        assert_eq!(hits, [0, LOT], "{name}");
    }
    let mapping = full(1);
    let page = mapping.cached_page(0).unwrap();
    for _ in 0..2 * LOT {
        drop(page.read());
        page.mark_dirty().unwrap();
        drop(page.lock_state());
        mapping.cached_page(0).unwrap();
    }
    assert_eq!(mapping.stats().hits, 0);
}

#[test]
fn mappings_that_are_used_in_turn_are_told_apart() {
    let mappings = [full(1), full(1), full(1)];
    let rounds = 100 * LOT;
    for _ in 0..rounds {
        for mapping in &mappings {
            mapping.handle().read_at(&mut [0], 0).unwrap();
        }
    }
    for mapping in &mappings {
        let hits = mapping.stats().hits;
        assert!(hits.abs_diff(rounds) <= 2 * LOT, "{hits} of {rounds}");
    }
}

#[test]
fn hits_and_misses_are_told_and_say_what_a_cache_is_good_for() {
    watch();
    let notes = Arc::new(Notes::default());
    let cache = PageCache::new(CacheConfig::new(16)).unwrap();
    let config = Config::new().cache(&cache).observer(notes.clone());
    let store = Arc::new(MemStore::with_contents(vec![0; 64 * PAGE]));
    let mapping = Mapping::with_config(store, config).unwrap();
    // A quarter of what is asked for fits.
    for turn in 0..20 * 64 {
        mapping.handle().read_at(&mut [0], turn * 29 % 64 * PAGE as u64).unwrap();
    }
    let stats = mapping.stats();
    assert!(stats.hits + stats.misses <= 20 * 64 && stats.hits + stats.misses > 20 * 64 - LOT);
    assert_eq!(stats.misses, stats.read);
    assert!(stats.hits < 20 * 64 / 2, "{stats:?}");
    mapping.handle().write_at(&[0], 0).unwrap();
    let stats = mapping.stats();
    assert_eq!(*notes.lookups.lock(), (stats.hits, stats.misses));
}
