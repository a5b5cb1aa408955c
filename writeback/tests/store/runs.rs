//! Pages that are missing side by side are read with one read of the store, and whoever wants one of them waits for that.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use writeback::store::fault::{Action, Fault, FaultConfig, FaultStore, Rule};
use writeback::store::{ReadRun, Store};
use writeback::{
    CacheConfig, Config, Error, Handle, Mapping, MemStore, PageCache, Result, StoreError,
};

use crate::pass_on::pass_on;
use crate::within;

const PAGE: usize = 4096;

/// `pages` pages, each filled with its number plus one.
fn contents(pages: usize) -> Vec<u8> {
    (0..pages).flat_map(|page| [u8::try_from(page % 250).unwrap() + 1; PAGE]).collect()
}

fn stored(pages: usize) -> FaultStore {
    FaultStore::with_config(FaultConfig::new(1).contents(contents(pages)))
}

fn open(store: &FaultStore, capacity: Option<u64>) -> (Mapping, Option<PageCache>) {
    let cache = capacity.map(|pages| PageCache::new(CacheConfig::new(pages)).unwrap());
    let config = cache.as_ref().map_or_else(Config::new, |cache| Config::new().cache(cache));
    (Mapping::with_config(Arc::new(store.clone()), config).unwrap(), cache)
}

/// Where each read so far began, and how many pages it had.
fn reads(store: &FaultStore) -> Vec<(u64, u64)> {
    let page = PAGE as u64;
    let log = store.take_log();
    let begun = log.iter().filter(|event| event.stage == writeback::store::fault::Stage::Begun);
    let reads = begun.filter(|event| event.operation.action == Action::Read);
    reads.map(|event| (event.operation.offset / page, event.operation.len.div_ceil(page))).collect()
}

fn read(handle: &Handle, offset: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xee; len];
    let count = handle.read_at(&mut bytes, offset as u64).unwrap();
    bytes.truncate(count);
    bytes
}

fn reader(mapping: &Mapping, page: usize, pages: usize) -> JoinHandle<Result<Vec<u8>>> {
    let handle = mapping.handle();
    thread::spawn(move || {
        let mut bytes = vec![0xee; pages * PAGE];
        handle.read_at(&mut bytes, (page * PAGE) as u64).map(|_| bytes)
    })
}

fn eventually(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

#[test]
fn a_read_over_missing_pages_asks_the_store_once_and_for_no_more_than_it_was_asked_for() {
    within(|| {
        let store = stored(20);
        let (mapping, _) = open(&store, None);
        let handle = mapping.handle();
        assert_eq!(read(&handle, 5000, 3 * PAGE), contents(20)[5000..5000 + 3 * PAGE]);
        assert_eq!(reads(&store), [(1, 4)]);
        // What is cached ends a run, and is not read again.
        assert_eq!(read(&handle, 0, 8 * PAGE), contents(20)[..8 * PAGE]);
        assert_eq!(reads(&store), [(0, 1), (5, 3)]);
        // So does the end of the mapping.
        assert_eq!(read(&handle, 18 * PAGE, 5 * PAGE), contents(20)[18 * PAGE..]);
        assert_eq!(reads(&store), [(18, 2)]);
        assert_eq!(mapping.stats().read, 10);
        mapping.check().unwrap();
    });
}

#[test]
fn a_run_has_one_mebibyte_at_the_most() {
    within(|| {
        let store = stored(600);
        let (mapping, _) = open(&store, None);
        assert_eq!(read(&mapping.handle(), 0, 600 * PAGE), contents(600));
        assert_eq!(reads(&store), [(0, 256), (256, 256), (512, 88)]);
        let config = Config::new().page_size(1 << 20);
        let large = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
        assert_eq!(read(&large.handle(), 0, 600 * PAGE), contents(600));
        assert_eq!(reads(&store), [(0, 256), (256, 256), (512, 256)], "a page is read whole");
    });
}

#[test]
fn a_run_takes_free_places_only_and_at_least_one() {
    within(|| {
        let store = stored(64);
        let (mapping, cache) = open(&store, Some(16));
        let cache = cache.unwrap();
        let handle = mapping.handle();
        assert_eq!(read(&handle, 0, 64 * PAGE), contents(64));
        let lens: Vec<_> = reads(&store).iter().map(|(_, pages)| *pages).collect();
        assert_eq!(lens[0], 16);
        assert!(lens.iter().all(|pages| (1..=16).contains(pages)) && lens.len() > 4, "{lens:?}");
        assert!(cache.stats().cached <= 16 && cache.stats().overcommitted == 0);
        // No place is free, and none can be: each page comes in beyond the capacity, one at a time.
        let pages: Vec<_> = (0..16).map(|page| mapping.page(page).unwrap()).collect();
        store.take_log();
        assert_eq!(read(&handle, 40 * PAGE, 3 * PAGE), contents(64)[40 * PAGE..43 * PAGE]);
        assert!(reads(&store).iter().all(|(_, pages)| *pages == 1));
        drop(pages);
        cache.check().unwrap();
        mapping.check().unwrap();
    });
}

#[test]
fn whoever_wants_a_page_of_a_run_waits_for_it_and_nobody_reads_it_twice() {
    within(|| {
        let store = stored(8);
        store.queue(Action::Read, true);
        let (mapping, _) = open(&store, None);
        let first = reader(&mapping, 0, 4);
        eventually(|| store.pending() == 1);
        // The one begins within the run and goes beyond it, the other reaches into it.
        let (second, third) = (reader(&mapping, 2, 4), reader(&mapping, 3, 1));
        let beside = reader(&mapping, 6, 2);
        eventually(|| store.pending() == 2);
        thread::sleep(std::time::Duration::from_millis(10));
        assert_eq!(store.pending(), 2, "they wait");
        let deliverer = store.deliver_in_background();
        let expected = |from: usize, to: usize| contents(8)[from * PAGE..to * PAGE].to_vec();
        assert_eq!(first.join().unwrap().unwrap(), expected(0, 4));
        assert_eq!(second.join().unwrap().unwrap(), expected(2, 6));
        assert_eq!(third.join().unwrap().unwrap(), expected(3, 4));
        assert_eq!(beside.join().unwrap().unwrap(), expected(6, 8));
        deliverer.stop();
        let mut found = reads(&store);
        found.sort_unstable();
        assert_eq!(found, [(0, 4), (4, 2), (6, 2)]);
        assert_eq!(mapping.stats().read, 8);
        mapping.check().unwrap();
    });
}

#[test]
fn a_run_that_fails_or_is_lost_is_told_once_and_read_again() {
    within(|| {
        for fault in [Fault::Io, Fault::Lost] {
            let store = stored(4);
            let (mapping, _) = open(&store, None);
            store.inject(Rule::new(fault).on(Action::Read));
            let told = reader(&mapping, 0, 4).join().unwrap().unwrap_err();
            assert!(matches!(told, Error::Read { index: 0, .. }), "{told}");
            for page in 0..4 {
                let cached = mapping.cached_page(page).expect("it stays, empty");
                assert!(!cached.snapshot().is_uptodate() && !cached.snapshot().is_locked());
            }
            assert_eq!(read(&mapping.handle(), 0, 4 * PAGE), contents(4));
            mapping.check().unwrap();
        }
    });
}

#[test]
fn a_cut_waits_for_a_run_and_takes_its_pages_away() {
    within(|| {
        let store = stored(4);
        store.queue(Action::Read, true);
        let (mapping, _) = open(&store, None);
        let reader = reader(&mapping, 0, 4);
        eventually(|| store.pending() == 1);
        let cutter = thread::spawn({
            let handle = mapping.handle();
            move || handle.set_len(PAGE as u64 + 5)
        });
        thread::sleep(std::time::Duration::from_millis(10));
        assert!(!cutter.is_finished());
        let deliverer = store.deliver_in_background();
        cutter.join().unwrap().unwrap();
        reader.join().unwrap().unwrap();
        deliverer.stop();
        store.queue(Action::Read, false);
        let mut expected = contents(4);
        expected.truncate(PAGE + 5);
        assert_eq!(read(&mapping.handle(), 0, 4 * PAGE), expected);
        assert!(mapping.stats().cached <= 2);
        mapping.check().unwrap();
    });
}

#[test]
fn a_cut_waits_for_the_reads_of_what_it_takes_away_and_of_where_it_ends_and_for_no_others() {
    within(|| {
        // Which page is being read, and whether the cut to two pages and a half waits for that.
        for (page, waits) in [(0, false), (1, false), (2, true), (3, true)] {
            let store = stored(4);
            store.queue(Action::Read, true);
            let (mapping, _) = open(&store, None);
            let reader = reader(&mapping, page, 1);
            eventually(|| store.pending() == 1);
            let handle = mapping.handle();
            let cutter = thread::spawn(move || handle.set_len(5 * PAGE as u64 / 2));
            if waits {
                thread::sleep(std::time::Duration::from_millis(10));
                assert!(!cutter.is_finished(), "page {page}");
            } else {
                cutter.join().unwrap().unwrap();
                assert_eq!(store.deliver_all(), 1);
                reader.join().unwrap().unwrap();
                continue;
            }
            assert_eq!(store.deliver_all(), 1);
            cutter.join().unwrap().unwrap();
            reader.join().unwrap().unwrap();
            store.queue(Action::Read, false);
            // What was read from beyond does not come back with the length.
            mapping.handle().set_len(4 * PAGE as u64).unwrap();
            let mut expected = contents(4);
            expected[5 * PAGE / 2..].fill(0);
            assert_eq!(read(&mapping.handle(), 0, 4 * PAGE), expected, "page {page}");
            mapping.check().unwrap();
        }
    });
}

#[test]
fn a_mapping_is_closed_though_it_is_being_read_and_its_store_goes_when_that_has_ended() {
    within(|| {
        let store = stored(4);
        store.queue(Action::Read, true);
        let (mapping, _) = open(&store, None);
        let kept = Arc::downgrade(mapping.store());
        let reader = reader(&mapping, 1, 2);
        eventually(|| store.pending() == 1);
        mapping.handle().write_at(&[9; PAGE], 0).unwrap();
        mapping.close().unwrap();
        assert_eq!(store.durable()[..PAGE], [9; PAGE]);
        assert_eq!(store.deliver_all(), 1);
        assert_eq!(reader.join().unwrap().unwrap(), contents(4)[PAGE..3 * PAGE]);
        eventually(|| kept.upgrade().is_none());
    });
}

#[test]
fn prefetch_reads_what_is_missing_and_leaves_half_of_the_cache_to_others() {
    within(|| {
        let store = stored(100);
        let (mapping, _) = open(&store, None);
        let handle = mapping.handle();
        handle.write_at(&[9; PAGE], 10 * PAGE as u64).unwrap();
        handle.prefetch(5 * PAGE as u64..20 * PAGE as u64).unwrap();
        assert_eq!(reads(&store), [(5, 5), (11, 9)]);
        handle.prefetch(..).unwrap();
        handle.prefetch(..).unwrap();
        assert_eq!(reads(&store), [(0, 5), (20, 80)]);
        assert_eq!(read(&handle, 10 * PAGE, 1), [9]);
        handle.prefetch(1 << 40..).unwrap();
        let (mapping, cache) = open(&store, Some(32));
        mapping.handle().prefetch(..).unwrap();
        assert_eq!(cache.unwrap().stats().cached, 16);
        assert_eq!(reads(&store), [(0, 16)]);
        store.inject(Rule::new(Fault::Io).on(Action::Read));
        let told = mapping.handle().prefetch(50 * PAGE as u64..).unwrap_err();
        assert!(matches!(told, Error::Read { index: 50, .. }), "{told}");
    });
}

#[test]
fn prefetch_asks_for_all_before_it_waits_and_tells_of_the_first_that_fails() {
    within(|| {
        let store = stored(600);
        store.queue(Action::Read, true);
        let (mapping, _) = open(&store, None);
        let prefetch = thread::spawn({
            let handle = mapping.handle();
            move || handle.prefetch(..)
        });
        eventually(|| store.pending() == 3);
        assert!(!prefetch.is_finished());
        store.deliver_all();
        prefetch.join().unwrap().unwrap();
        assert_eq!(reads(&store), [(0, 256), (256, 256), (512, 88)]);
        let (mapping, _) = open(&store, None);
        store.queue(Action::Read, false);
        store.inject(Rule::new(Fault::Io).on(Action::Read).nth(2));
        let told = mapping.handle().prefetch(..).unwrap_err();
        assert!(matches!(told, Error::Read { index: 256, .. }), "{told}");
        assert_eq!(mapping.stats().read, 256 + 88, "what comes behind is read all the same");
    });
}

#[test]
fn reading_ahead_waits_for_nothing_and_whoever_comes_waits_for_the_read() {
    within(|| {
        let store = stored(600);
        store.queue(Action::Read, true);
        let (mapping, _) = open(&store, None);
        let handle = mapping.handle();
        handle.read_ahead(100 * PAGE as u64..400 * PAGE as u64);
        handle.read_ahead(350 * PAGE as u64..410 * PAGE as u64);
        handle.read_ahead(1 << 40..);
        assert_eq!(reads(&store), [(100, 256), (356, 44), (400, 10)]);
        let reader = reader(&mapping, 250, 2);
        thread::sleep(std::time::Duration::from_millis(10));
        assert!(!reader.is_finished() && store.pending() == 3);
        store.deliver_all();
        assert_eq!(reader.join().unwrap().unwrap(), contents(600)[250 * PAGE..252 * PAGE]);
        assert_eq!((store.operations(Action::Read), mapping.stats().read), (3, 310));
        // What is lost is nobody's error, and is read by whoever wants it.
        handle.read_ahead(..PAGE as u64);
        store.lose_pending();
        store.queue(Action::Read, false);
        assert_eq!(read(&handle, 0, PAGE), contents(1));
        handle.check_error().unwrap();
        mapping.check().unwrap();
    });
}

#[test]
fn reading_ahead_takes_room_that_there_is_and_no_more() {
    within(|| {
        let store = stored(64);
        let (mapping, cache) = open(&store, Some(16));
        let (cache, handle) = (cache.unwrap(), mapping.handle());
        handle.read_ahead(..);
        assert_eq!(cache.stats().cached, 8, "half of it is left to others");
        let kept: Vec<_> = (0..16).map(|page| mapping.page(page).unwrap()).collect();
        handle.read_ahead(20 * PAGE as u64..);
        assert_eq!((cache.stats().cached, cache.stats().overcommitted), (16, 0));
        drop(kept);
        handle.read_ahead(20 * PAGE as u64..);
        assert!(mapping.cached_page(20).is_some_and(|page| page.snapshot().is_uptodate()));
        assert!(cache.stats().cached <= 16);
        cache.check().unwrap();
        mapping.check().unwrap();
    });
}

/// A store that has read what it was asked for long before it says so.
#[derive(Debug, Clone)]
struct Early(MemStore, Arc<Mutex<Vec<(ReadRun, u64)>>>);

impl Store for Early {
    pass_on!(0: limits, len, write, flush);

    /// It cannot be cut to 100 bytes when it is asked first.
    fn set_len(&self, len: u64) -> std::result::Result<(), StoreError> {
        if len == 100 && self.0.len()? == 2 * PAGE as u64 && self.1.lock().is_empty() {
            return Err(StoreError::NoSpace);
        }
        self.0.set_len(len)
    }

    fn read(&self, mut run: ReadRun) {
        let (mut at, mut count) = (run.offset(), 0);
        for buffer in run.buffers() {
            count += self.0.read_at(at, buffer).expect("it is in memory") as u64;
            at += buffer.len() as u64;
        }
        self.1.lock().push((run, count));
    }
}

/// The store has old bytes behind the end. A page is read, and before the store says so, the mapping is lengthened.
#[test]
fn bytes_behind_the_end_are_not_read_though_the_mapping_is_lengthened_meanwhile() {
    within(|| {
        for part in [false, true] {
            let store = Early(MemStore::with_contents([7; 2 * PAGE]), Arc::default());
            let mapping = Mapping::open(store.clone()).unwrap();
            mapping.handle().set_len(100).unwrap_err();
            // By a read, or by a write of a part of the page.
            let first = thread::spawn({
                let handle = mapping.handle();
                move || match part {
                    false => handle.read_at(&mut [0; 10], 0).map(drop),
                    true => handle.write_at(b"x", 50),
                }
            });
            eventually(|| !store.1.lock().is_empty());
            mapping.handle().write_at(&[8; PAGE], PAGE as u64).unwrap();
            let (run, count) = store.1.lock().pop().unwrap();
            run.complete(Ok(count));
            first.join().unwrap().unwrap();
            let found = read(&mapping.handle(), 100, 2 * PAGE);
            assert_eq!(found[..PAGE - 100], [0; PAGE - 100], "old bytes come back");
            assert_eq!(found[PAGE - 100..], [8; PAGE]);
        }
    });
}

/// Pages in memory, of which one cannot be read.
#[derive(Debug)]
struct BadPage {
    inner: MemStore,
    page: u64,
}

impl Store for BadPage {
    pass_on!(inner: limits, len, set_len, write, flush);

    fn read(&self, run: ReadRun) {
        let bad = self.page * PAGE as u64;
        if (run.offset()..run.offset() + run.len()).contains(&bad) {
            let good = bad - run.offset();
            return run.fail_after(good, StoreError::NoSpace);
        }
        self.inner.read(run);
    }
}

#[test]
fn a_prefetch_tells_of_a_page_in_the_middle_of_a_run_that_could_not_be_read() {
    within(|| {
        let store = BadPage { inner: MemStore::with_contents(contents(64)), page: 10 };
        let mapping = Mapping::open(store).unwrap();
        let told = mapping.handle().prefetch(..).unwrap_err();
        assert!(matches!(told, Error::Read { index: 10, .. }), "{told}");
        // A reader is told of the page that it has come to.
        assert!(mapping.page(9).is_ok());
        let mut bytes = vec![0; 64 * PAGE];
        let told = mapping.handle().read_at(&mut bytes, 5 * PAGE as u64).unwrap_err();
        assert!(matches!(told, Error::Read { index: 10, .. }), "{told}");
        mapping.handle().prefetch(11 * PAGE as u64..).unwrap();
        assert_eq!(mapping.stats().cached, 64, "the bad one stays, empty");
        mapping.check().unwrap();
    });
}

#[test]
fn a_prefetch_asks_again_for_what_another_could_not_read() {
    within(|| {
        for faults in [1, 2] {
            let store = stored(4);
            store.queue(Action::Read, true);
            let (mapping, _) = open(&store, None);
            store.inject(Rule::new(Fault::Io).on(Action::Read).times(faults));
            let other = reader(&mapping, 0, 4);
            eventually(|| store.pending() == 1);
            let prefetch = thread::spawn({
                let handle = mapping.handle();
                move || handle.prefetch(..)
            });
            thread::sleep(std::time::Duration::from_millis(20));
            assert!(!prefetch.is_finished() && store.pending() == 1, "it waits for the other's");
            store.queue(Action::Read, false);
            store.deliver_all();
            other.join().unwrap().unwrap_err();
            let told = prefetch.join().unwrap();
            assert_eq!(told.is_err(), faults == 2, "{told:?}");
            mapping.handle().prefetch(..).unwrap();
            assert_eq!(read(&mapping.handle(), 0, 4 * PAGE), contents(4));
        }
    });
}
