//! Numbers: each says what it is documented to say, and is not another's; ranges and budgets to the page.

use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use writeback::hooks::{Log, Observer, Seal};
use writeback::stats::Progress;
use writeback::store::Store;
use writeback::{
    Budget, CacheConfig, Clock, Config, Error, Flusher, FlusherConfig, Mapping, PageCache,
    StoreError, SyncMode,
};

use crate::common::*;

fn write(mapping: &Mapping, page: u64) {
    mapping.handle().write_at(&[1; PAGE], page * PAGE as u64).unwrap();
}

fn background(mapping: &Mapping) -> Progress {
    mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap()
}

/// A log that is durable as far as it was asked to be.
#[derive(Debug, Default)]
struct Journal(AtomicU64);

impl Log for Journal {
    fn durable(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn ensure(&self, upto: u64) -> io::Result<()> {
        self.0.fetch_max(upto, Ordering::Relaxed);
        Ok(())
    }
}

#[derive(Debug)]
struct Clumsy;

impl Observer for Clumsy {
    fn dirtied(&self, _pages: u64) {
        std::panic::panic_any("told to by the test");
    }
}

#[test]
fn each_number_of_a_mapping_is_its_own() {
    let (store, clock) = (TestStore::new(), Clock::manual());
    store.set_len(40 * PAGE as u64 - 7).unwrap();
    let cache = PageCache::new(CacheConfig::new(1000)).unwrap();
    let config = Config::new().clock(clock.clone()).cache(&cache).observer(Arc::new(Clumsy));
    let config = config.log(Arc::new(Journal::default()));
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    let handle = mapping.handle();
    // Read: eleven whole pages, and one in part. Evicted: ten of them.
    handle.read_at(&mut [0; 11 * PAGE], 0).unwrap();
    handle.read_at(&mut [0], 39 * PAGE as u64).unwrap();
    assert_eq!(cache.evict(10), 10);
    clock.advance(Duration::from_secs(3));
    // Dirtied: nine, one at a time; written: five, of which three have an end that comes late.
    (20..29).for_each(|page| write(&mapping, page));
    assert_eq!(
        mapping.write_range(20..22, SyncMode::Wait, Budget::UNLIMITED).unwrap().submitted,
        2
    );
    handle.sync_range(20 * PAGE as u64..22 * PAGE as u64).unwrap();
    store.writes(Writes::Keep);
    (22..25).for_each(|page| _ = mapping.write_page(page, SyncMode::Skip).unwrap());
    clock.advance(Duration::from_secs(8));
    // Failed: two, one after the other; declined, skipped and left for the log.
    store.writes(Writes::Fail(StoreError::NoSpace));
    (25..27).for_each(|page| _ = mapping.write_page(page, SyncMode::Skip).unwrap());
    store.writes(Writes::Accept);
    let (locked, hold) = (page(&mapping, 27).lock_state().unwrap(), mapping.hold_page(28).unwrap());
    handle.write_logged_at(b"x", 30 * PAGE as u64, 1).unwrap();
    handle.write_logged_at(b"x", 32 * PAGE as u64, 2).unwrap();
    let progress = background(&mapping);
    // Three that are being written are clean and not met; two back off and one is locked.
    let seen = (progress.submitted, progress.declined, progress.skipped, progress.unlogged);
    assert_eq!(seen, (0, 1, 3, 2));
    drop((locked, hold));
    let stats = mapping.stats();
    // Two that were read in for a part of them to be written.
    assert_eq!((stats.read, stats.bytes_read), (14, 14 * PAGE as u64 - 7));
    assert_eq!((stats.evicted, stats.cached), (10, 14 - 10 + 9));
    assert_eq!((stats.dirtied, stats.dirty, stats.writeback), (11, 6, 3));
    assert_eq!((stats.written, stats.bytes_written), (2, 2 * PAGE as u64));
    assert_eq!((stats.write_errors, stats.flushes), (2, 1));
    assert_eq!((stats.declined, stats.skipped, stats.unlogged, stats.log_waits), (1, 3, 2, 0));
    assert_eq!(stats.oldest_writeback, Some(Duration::from_secs(8)));
    // The writes that failed, for nobody knows how much of them came.
    assert_eq!((stats.unflushed, stats.observer_panics, stats.poisoned), (2, 11, false));
    assert_eq!((stats.corrupt, stats.seal_errors), (0, 0));
    let total = cache.stats();
    assert_eq!((total.dirty, total.writeback, total.written, total.debt), (6, 3, 2, 9));
    (0..3).for_each(|_| store.release_first(Ok(())));
    handle.check_error().unwrap_err();
    handle.sync_data().unwrap();
    let stats = mapping.stats();
    // Pages 30 and 32 are two batches.
    assert_eq!((stats.log_waits, stats.unflushed, stats.oldest_writeback), (2, 0, None));
    assert_settled(&mapping);
    cache.check().unwrap();
}

#[derive(Debug, Default)]
struct Picky {
    seals: AtomicBool,
    opens: AtomicBool,
}

impl Seal for Picky {
    fn seal(&self, _index: u64, _bytes: &mut [u8]) -> io::Result<()> {
        if self.seals.load(Ordering::Relaxed) { Err(io::Error::other("no")) } else { Ok(()) }
    }

    fn open(&self, _index: u64, _bytes: &mut [u8]) -> io::Result<()> {
        if self.opens.load(Ordering::Relaxed) { Err(io::Error::other("no")) } else { Ok(()) }
    }
}

#[test]
fn what_could_not_be_sealed_or_opened_is_counted_apart() {
    let (store, seal) = (TestStore::new(), Arc::new(Picky::default()));
    store.set_len(4 * PAGE as u64).unwrap();
    let config = Config::new().seal(seal.clone());
    let mapping = Mapping::with_config(Arc::new(store), config).unwrap();
    seal.opens.store(true, Ordering::Relaxed);
    (1..4).for_each(|index| assert!(matches!(mapping.page(index), Err(Error::Corrupt { .. }))));
    write(&mapping, 0);
    seal.seals.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        mapping.handle().sync_data().unwrap_err();
    }
    let stats = mapping.stats();
    assert_eq!((stats.corrupt, stats.seal_errors, stats.written), (3, 2, 0));
}

#[test]
fn bytes_of_writes_that_failed_are_not_counted_as_written() {
    let (mapping, store) = open_dirty(3, 1);
    store.writes(Writes::Short(PAGE as u64 + 100));
    mapping.handle().sync_data().unwrap_err();
    assert_eq!(mapping.stats().bytes_written, PAGE as u64);
    store.writes(Writes::Accept);
    mapping.handle().sync_data().unwrap();
    assert_eq!(mapping.stats().bytes_written, 3 * PAGE as u64);
}

#[test]
fn each_number_of_a_flusher_is_its_own() {
    let (log, clock) = (Arc::new(Journal::default()), Clock::manual());
    let store = TestStore::new();
    store.set_len(10 * PAGE as u64).unwrap();
    let config = Config::new().log(log).clock(clock);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    (0..6).for_each(|page| write(&mapping, page));
    (6..8).for_each(|page| {
        mapping.handle().write_logged_at(b"x", page * PAGE as u64, 1 + page).unwrap();
    });
    let hold = mapping.hold_page(0).unwrap();
    let locks: Vec<_> = (1..4).map(|index| page(&mapping, index).lock_state().unwrap()).collect();
    let config = FlusherConfig::new().background_pages(1000).dirty_expire(Duration::ZERO);
    let flusher = Flusher::manual([mapping.clone()], config);
    let done = flusher.step();
    // Twice round: once to find that the log is to be waited for.
    let seen = (done.submitted, done.declined, done.skipped, done.unlogged);
    assert_eq!(seen, (4, 2, 6, 2));
    assert_eq!((done.rounds, done.errors, done.panics), (1, 0, 0));
    assert_eq!(flusher.step().submitted, 0);
    let all = flusher.stats();
    let seen = (all.rounds, all.submitted, all.declined, all.skipped, all.unlogged);
    assert_eq!(seen, (2, 4, 3, 9, 2));
    drop((hold, locks));
    assert_eq!(flusher.step().submitted, 4);
    assert_settled(&mapping);
}

#[test]
fn a_range_is_the_pages_that_it_names_and_no_others() {
    type Case = ((Bound<u64>, Bound<u64>), &'static [u64]);
    let ranges: [Case; 7] = [
        ((Bound::Included(1), Bound::Included(2)), &[1, 2]),
        ((Bound::Included(1), Bound::Excluded(2)), &[1]),
        ((Bound::Excluded(1), Bound::Included(3)), &[2, 3]),
        ((Bound::Excluded(3), Bound::Unbounded), &[4, 5]),
        ((Bound::Unbounded, Bound::Excluded(1)), &[0]),
        ((Bound::Included(2), Bound::Excluded(2)), &[]),
        ((Bound::Unbounded, Bound::Unbounded), &[0, 1, 2, 3, 4, 5]),
    ];
    for mode in [SyncMode::Skip, SyncMode::Wait] {
        for (range, expected) in ranges {
            let (mapping, _store) = open_dirty(6, 1);
            let progress = mapping.write_range(range, mode, Budget::UNLIMITED).unwrap();
            assert_eq!(progress.submitted, expected.len() as u64);
            let is_clean = |index: &u64| !page(&mapping, *index).snapshot().is_dirty();
            let clean: Vec<_> = (0..6).filter(is_clean).collect();
            assert_eq!(clean, expected, "{range:?}");
        }
    }
}

#[test]
fn a_wait_is_for_the_writes_of_its_range() {
    let (mapping, store) = open_dirty(4, 1);
    store.writes(Writes::Keep);
    (0..4).for_each(|page| _ = mapping.write_page(page, SyncMode::Skip).unwrap());
    store.release_first(Ok(()));
    store.release_first(Ok(()));
    mapping.wait_range(0..2);
    mapping.wait_range(..=1);
    let waiter = thread::spawn({
        let mapping = mapping.clone();
        move || mapping.wait_range(1..=2)
    });
    never("page 2 is being written", || waiter.is_finished());
    store.release_first(Ok(()));
    waiter.join().unwrap();
    store.release_first(Ok(()));
    mapping.wait_range(..);
    assert_settled(&mapping);
}

#[test]
fn a_budget_is_of_pages_tried_and_the_next_pass_goes_on_after_them() {
    let (mapping, store) = open_dirty(8, 1);
    let hold = mapping.hold_page(1).unwrap();
    let locked = page(&mapping, 2).lock_state().unwrap();
    // Pages 0 and 1, which is held; page 2 costs nothing and is not reached.
    let progress = mapping.write_cyclic(Budget::pages(2)).unwrap();
    assert_eq!((progress.submitted, progress.declined, progress.skipped), (1, 1, 0));
    let progress = mapping.write_cyclic(Budget::pages(3)).unwrap();
    assert_eq!((progress.submitted, progress.declined, progress.skipped), (3, 0, 1));
    assert_eq!(store.batches(), [(0, 1), (3, 3)]);
    assert_eq!(mapping.write_cyclic(Budget::pages(0)).unwrap().submitted, 0);
    drop((hold, locked));
    assert_eq!(mapping.write_cyclic(Budget::UNLIMITED).unwrap().submitted, 2);
    assert_eq!(store.batches()[2..], [(6, 2)], "from where it stopped to the end");
    assert_eq!(mapping.write_cyclic(Budget::UNLIMITED).unwrap().submitted, 2);
    assert_eq!(store.batches()[3..], [(1, 2)], "and from the beginning");
    assert_settled(&mapping);
}

#[test]
fn a_page_is_old_enough_and_due_at_the_very_millisecond() {
    let (clock, store) = (Clock::manual(), TestStore::new());
    let config = Config::new().clock(clock.clone()).block_size(PAGE / 4);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    clock.advance(Duration::from_secs(100));
    mapping.handle().write_at(&[1], 0).unwrap();
    assert_eq!(mapping.oldest_dirty_age(), Some(Duration::ZERO));
    let config = FlusherConfig::new().dirty_expire(Duration::from_secs(10));
    let flusher = Flusher::manual([mapping.clone()], config.background_pages(1000));
    clock.advance(Duration::from_millis(9_999));
    write(&mapping, 0); // its other blocks, too
    assert_eq!(flusher.step().submitted, 0);
    assert_eq!(mapping.oldest_dirty_age(), Some(Duration::from_millis(9_999)), "as old as ever");
    // A claim that is given up makes it no younger; as long as it is open the page is not dirty.
    let claim = page(&mapping, 0).lock_state().unwrap().clear_dirty_for_io().unwrap();
    assert_eq!(mapping.oldest_dirty_age(), None);
    claim.redirty();
    clock.advance(Duration::from_millis(1));
    assert_eq!(flusher.step().submitted, 1);
    assert_eq!(mapping.oldest_dirty_age(), None);
}

#[test]
fn a_batch_has_as_many_pages_as_the_store_takes() {
    let (mapping, store) = open_dirty(600, 1);
    mapping.handle().sync_data().unwrap();
    let most = store.limits().batch_pages_max;
    assert_eq!(
        store.batches(),
        [(0, most), (most as u64, most), (2 * most as u64, 600 - 2 * most)]
    );
}
