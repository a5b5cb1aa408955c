//! Mappings that are opened without a `PageCache`: bounded nevertheless.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::*;
use writeback::store::{
    Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch,
};
use writeback::{Config, Error, Flusher, FlusherConfig, Mapping, MemStore, StoreError};

const MIB: usize = 1 << 20;
/// What such a mapping keeps, in pages of 1 MiB, and how many of them may be dirty.
const PAGES: u64 = 256;
const DIRTY: u64 = 128;

/// A store as long as need be, which keeps nothing.
#[derive(Debug, Default)]
struct Nothing {
    fails: AtomicBool,
}

impl Store for Nothing {
    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(4 * PAGES * MIB as u64)
    }

    fn set_len(&self, _len: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn read(&self, run: ReadRun) {
        run.fill(|_offset, into| {
            into[..8].fill(7);
            Ok(8)
        });
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        let count = batch.len();
        drop(batch);
        let fails = self.fails.load(Ordering::Relaxed);
        completion.complete(if fails { Err(StoreError::NoSpace) } else { Ok(count) });
    }

    fn flush(&self, _kind: FlushKind, completion: FlushCompletion) {
        completion.complete(Ok(()));
    }
}

fn open(config: Config) -> (Mapping, Arc<Nothing>) {
    watch();
    let store = Arc::new(Nothing::default());
    (Mapping::with_config(store.clone(), config.page_size(MIB)).unwrap(), store)
}

/// Writes a byte to a page beyond the end, of which nothing has to be read.
fn touch(mapping: &Mapping, page: u64) -> Result<(), Error> {
    mapping.handle().write_at(&[1], (4 * PAGES + page) * MIB as u64)
}

#[test]
fn a_mapping_in_no_cache_keeps_256_mib_of_pages() {
    let (mapping, _store) = open(Config::new());
    for page in 0..PAGES + 40 {
        drop(mapping.page(page).unwrap());
        assert!(mapping.stats().cached <= PAGES, "{:?}", mapping.stats());
    }
    let stats = mapping.stats();
    assert!(stats.cached > PAGES - 40 && stats.evicted >= 40, "{stats:?}");
    mapping.check().unwrap();
}

#[test]
fn an_unbounded_one_keeps_all_and_so_does_one_without_a_store() {
    let (unbounded, _store) = open(Config::new().unbounded());
    let without = Mapping::memory_backed(Config::new().page_size(MIB)).unwrap();
    for page in 0..PAGES + 40 {
        touch(&unbounded, page).unwrap();
        touch(&without, page).unwrap();
    }
    assert_eq!((unbounded.stats().dirty, without.stats().cached), (PAGES + 40, PAGES + 40));
    unbounded.handle().sync_data().unwrap();
    assert_eq!(unbounded.stats().cached, PAGES + 40);
    assert!(Mapping::memory_backed(Config::new().unbounded()).is_ok());
}

#[test]
fn one_whose_pages_are_all_dirty_writes_itself() {
    let (mapping, _store) = open(Config::new());
    for page in 0..3 * DIRTY {
        touch(&mapping, page).unwrap();
        let stats = mapping.stats();
        assert!(stats.dirty + stats.writeback <= DIRTY && stats.cached <= PAGES, "{stats:?}");
    }
    mapping.handle().sync_data().unwrap();
    assert_eq!(mapping.stats().written, 3 * DIRTY);
    mapping.check().unwrap();
}

#[test]
fn one_whose_store_is_full_tells_its_writers_and_loses_nothing() {
    let (mapping, store) = open(Config::new());
    store.fails.store(true, Ordering::Relaxed);
    (0..DIRTY).for_each(|page| touch(&mapping, page).unwrap());
    let error = touch(&mapping, DIRTY).unwrap_err();
    assert!(matches!(error, Error::Stalled { source: Some(StoreError::NoSpace) }), "{error:?}");
    assert_eq!(mapping.stats().dirty, DIRTY);
    drop(mapping.page(0).unwrap());
    store.fails.store(false, Ordering::Relaxed);
    let handle = mapping.handle();
    handle.check_error().unwrap_err();
    handle.sync_data().unwrap();
    assert_eq!((mapping.stats().dirty, mapping.stats().written), (0, DIRTY));
    touch(&mapping, DIRTY).unwrap();
}

#[test]
fn its_flusher_is_woken_before_the_limit_each_time() {
    let (mapping, _store) = open(Config::new());
    let asleep = FlusherConfig::new().interval(Duration::MAX).background_pages(u64::MAX);
    let flusher = Flusher::start([mapping.clone()], asleep.dirty_expire(Duration::MAX)).unwrap();
    for _ in 0..3 {
        let written = mapping.stats().written;
        // More than a tenth, and less than half of the limit.
        (0..40).for_each(|page| touch(&mapping, page).unwrap());
        eventually("it is woken", || mapping.stats().written > written);
        mapping.handle().sync_data().unwrap();
    }
    flusher.stop();
}

#[test]
fn idle_ones_cost_a_flusher_nothing() {
    let crowd = |count: usize| {
        let open = |_| Mapping::open(MemStore::with_contents(vec![0; PAGE])).unwrap();
        let all: Vec<_> = (0..count).map(open).collect();
        let flusher = Flusher::manual(all.iter().cloned(), FlusherConfig::new());
        (all, flusher)
    };
    let (few, many) = (crowd(10), crowd(1000));
    let least = |flusher: &Flusher| {
        let timed = |_| {
            let begun = Instant::now();
            (0..20).for_each(|_| _ = flusher.step());
            begun.elapsed()
        };
        (0..7).map(timed).min().expect("seven")
    };
    in_one_of_five(|| {
        let (few, many) = (least(&few.1), least(&many.1));
        // By mappings it would be 100 times.
        let well = many < 3 * few + Duration::from_micros(50);
        well.then_some(()).ok_or_else(|| format!("{few:?} and {many:?}"))
    });
}
