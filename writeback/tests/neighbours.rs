//! A mapping whose store is sick hurts itself and no other in its cache: not their writers, not their readers, not their
//! syncs, with a flusher and without.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use parking_lot::Mutex;
use writeback::store::Store;
use writeback::{
    Budget, CacheConfig, Config, Error, Flusher, FlusherConfig, Handle, Mapping, MemStore,
    PageCache, StoreError, SyncMode,
};

fn cache() -> PageCache {
    let config = CacheConfig::new(1000).dirty_pages_max(100);
    // Long enough for a thread of the flusher to be run again on a busy machine.
    PageCache::new(config.stall_max(Duration::from_secs(2))).unwrap()
}

fn open_in(cache: &PageCache) -> (Mapping, TestStore) {
    let store = TestStore::new();
    let config = Config::new().cache(cache);
    (Mapping::with_config(Arc::new(store.clone()), config).unwrap(), store)
}

/// A flusher that wakes often and writes all it finds.
fn eager() -> FlusherConfig {
    FlusherConfig::new().interval(Duration::from_millis(5)).dirty_expire(Duration::ZERO)
}

/// Writes page after page until told to stop, and tells the first error.
fn write_all_it_can(handle: &Handle, stop: &AtomicBool, told: &Mutex<Option<Error>>) {
    for page in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if let Err(error) = handle.write_at(&[1; PAGE], page % 5000 * PAGE as u64) {
            told.lock().get_or_insert(error);
        }
    }
}

/// Ten times what may be dirty, written, read and synced.
fn work(mapping: &Mapping) {
    let handle = mapping.handle();
    for page in 0..1000 {
        handle.write_at(&[2; PAGE], page * PAGE as u64).unwrap();
    }
    handle.sync_data().unwrap();
    let mut bytes = [0; PAGE];
    for page in 0..1000 {
        handle.read_at(&mut bytes, page * PAGE as u64).unwrap();
        assert_eq!(bytes, [2; PAGE]);
    }
    handle.check_error().unwrap();
}

/// How long the work takes beside a mapping that does nothing.
fn beside_nobody() -> Duration {
    let cache = cache();
    let ((_idle, _), (mapping, _store)) = (open_in(&cache), open_in(&cache));
    let begun = Instant::now();
    work(&mapping);
    begun.elapsed()
}

/// Works beside a mapping whose store is sick and whose writers write all they can; returns what they were told, and with
/// `until_told` not before they were.
fn beside(sickness: Writes, with_flusher: bool, until_told: bool) -> Option<Error> {
    let cache = cache();
    let ((sick, sick_store), (mapping, _store)) = (open_in(&cache), open_in(&cache));
    sick_store.writes(sickness.clone());
    let flusher =
        with_flusher.then(|| Flusher::start([sick.clone(), mapping.clone()], eager()).unwrap());
    let (stop, told) = (AtomicBool::new(false), Mutex::new(None));
    thread::scope(|scope| {
        let writer = scope.spawn(|| write_all_it_can(&sick.handle(), &stop, &told));
        eventually("its share is used up", || {
            cache.stats().debt >= 80 || cache.stats().paused > 20 || cache.stats().stalled > 20
        });
        // The limit leaves a tenth of it, so there are more and smaller batches; nothing is waited for.
        in_one_of_five(|| {
            let begun = Instant::now();
            work(&mapping);
            let took = begun.elapsed();
            let alone = beside_nobody();
            let well = took < 10 * alone + Duration::from_secs(1);
            well.then_some(()).ok_or_else(|| format!("{took:?} beside {sickness:?}, with a flusher: {with_flusher}, and {alone:?} alone"))
        });
        eventually("its writer is told", || !until_told || told.lock().is_some());
        stop.store(true, Ordering::Relaxed);
        sick_store.writes(Writes::Accept);
        let unstick = || (0..sick_store.kept()).for_each(|_| sick_store.release_first(Ok(())));
        eventually("the sick one's writer is let go", || {
            unstick();
            writer.is_finished()
        });
    });
    drop(flusher);
    let _ = sick.handle().sync_data();
    cache.check().unwrap();
    told.into_inner()
}

/// Who writes to a store from which nothing comes is not told anything for so long, and then that it stalls.
fn is_patient(told: Option<Error>) -> bool {
    told.is_none_or(|error| matches!(error, Error::Stalled { source: None }))
}

#[test]
fn a_store_that_is_full_hurts_its_own_mapping_only() {
    for with_flusher in [false, true] {
        let told = beside(Writes::Fail(StoreError::NoSpace), with_flusher, true);
        assert!(told.as_ref().is_some_and(Error::is_no_space), "{told:?}");
    }
}

#[test]
fn a_slow_store_hurts_its_own_mapping_only() {
    for with_flusher in [false, true] {
        let told = beside(Writes::Slow(Duration::from_millis(20)), with_flusher, false);
        assert!(told.is_none(), "{told:?}");
    }
}

#[test]
fn a_store_that_never_answers_hurts_its_own_mapping_only() {
    for with_flusher in [false, true] {
        assert!(is_patient(beside(Writes::Keep, with_flusher, false)));
    }
}

#[test]
fn a_store_that_does_not_return_from_submit_hurts_its_own_mapping_only() {
    for with_flusher in [false, true] {
        assert!(is_patient(beside(Writes::Block, with_flusher, false)));
    }
}

#[test]
fn a_store_that_forgets_writes_hurts_its_own_mapping_only() {
    for with_flusher in [false, true] {
        let told = beside(Writes::Drop, with_flusher, true);
        assert!(matches!(told, Some(Error::Stalled { source: Some(_) })), "{told:?}");
    }
}

#[test]
fn more_sick_stores_than_threads_leave_the_flusher_for_the_others() {
    let cache = cache();
    let sick: Vec<_> = (0..6).map(|_| open_in(&cache)).collect();
    let (mapping, _store) = open_in(&cache);
    for (mapping, store) in &sick {
        store.writes(Writes::Block);
        mapping.handle().write_at(&[1; PAGE], 0).unwrap();
    }
    let all = sick.iter().map(|(mapping, _)| mapping.clone()).chain([mapping.clone()]);
    let config = eager().threads_max(2).stop_max(Duration::from_millis(100));
    let flusher = Flusher::start(all, config).unwrap();
    eventually("all are in it", || sick.iter().all(|(_, store)| store.batches().len() == 1));
    mapping.handle().write_at(&[2; PAGE], 0).unwrap();
    eventually("the healthy one is written", || mapping.stats().written == 1);
    let stopped = flusher.stop();
    assert_eq!((stopped.blocked.len(), stopped.unwritten, stopped.died), (6, 6, false));
    for (mapping, store) in &sick {
        assert!(stopped.blocked.iter().any(|other| Arc::ptr_eq(other.store(), mapping.store())));
        store.writes(Writes::Accept);
    }
    for (mapping, _) in &sick {
        eventually("it has been let go", || mapping.stats().written == 1);
    }
}

#[test]
fn a_mapping_that_is_added_while_the_only_thread_is_stuck_is_written() {
    let cache = cache();
    let ((sick, sick_store), (mapping, _store)) = (open_in(&cache), open_in(&cache));
    sick_store.writes(Writes::Block);
    sick.handle().write_at(&[1; PAGE], 0).unwrap();
    let flusher = Flusher::start([sick.clone()], eager()).unwrap();
    eventually("it is stuck", || sick_store.batches().len() == 1);
    flusher.add(mapping.clone());
    mapping.handle().write_at(&[2; PAGE], 0).unwrap();
    eventually("the other is written", || mapping.stats().written == 1);
    sick_store.writes(Writes::Accept);
    assert_eq!(flusher.stop().stats.panics, 0);
}

#[test]
fn a_mapping_that_takes_the_place_of_one_that_is_stuck_is_written() {
    let cache = cache();
    let ((sick, sick_store), (mapping, _store)) = (open_in(&cache), open_in(&cache));
    sick_store.writes(Writes::Block);
    sick.handle().write_at(&[1; PAGE], 0).unwrap();
    let flusher = Flusher::start([sick.clone()], eager()).unwrap();
    eventually("it is stuck", || sick_store.batches().len() == 1);
    assert!(flusher.remove(&sick));
    flusher.add(mapping.clone());
    mapping.handle().write_at(&[2; PAGE], 0).unwrap();
    eventually("the other is written", || mapping.stats().written == 1);
    sick_store.writes(Writes::Accept);
    assert_eq!(flusher.stop().stats.panics, 0);
}

/// A store that asks its flusher for something when it is dropped, as one does that counts what is left.
#[derive(Debug)]
struct Nosy(MemStore, Arc<parking_lot::Mutex<Option<Flusher>>>);

impl Drop for Nosy {
    fn drop(&mut self) {
        if let Some(flusher) = &*self.1.lock() {
            flusher.kick();
        }
    }
}

impl Store for Nosy {
    pass_on!(0: limits, len, set_len, read);

    fn write(&self, batch: writeback::store::WriteBatch, completion: writeback::store::Completion) {
        thread::sleep(Duration::from_micros(200));
        self.0.write(batch, completion);
    }

    fn flush(
        &self,
        kind: writeback::store::FlushKind,
        completion: writeback::store::FlushCompletion,
    ) {
        self.0.flush(kind, completion);
    }
}

#[test]
fn the_last_reference_to_a_mapping_is_let_go_without_a_lock() {
    let flusher = Arc::new(parking_lot::Mutex::new(None));
    let config = FlusherConfig::new().interval(Duration::from_millis(1));
    let config = config.dirty_expire(Duration::ZERO).chunk_pages(1).background_pages(0);
    let (other, _) = open_in(&cache());
    *flusher.lock() = Some(Flusher::start([other], config).unwrap());
    for _ in 0..100 {
        let store = Nosy(MemStore::new(), Arc::clone(&flusher));
        let mapping = Mapping::open(store).unwrap();
        let with = |act: &dyn Fn(&Flusher)| act(flusher.lock().as_ref().expect("running"));
        with(&|flusher| flusher.add(mapping.clone()));
        mapping.handle().write_at(&[1; 4 * PAGE], 0).unwrap();
        thread::sleep(Duration::from_micros(500));
        with(&|flusher| _ = flusher.remove(&mapping));
        drop(mapping);
    }
    let flusher = flusher.lock().take().expect("running");
    assert!(!flusher.stop().died);
}

/// A store whose drop panics, with something whose drop panics.
#[derive(Debug)]
struct Sore(TestStore);

impl Drop for Sore {
    fn drop(&mut self) {
        struct Worse;
        impl Drop for Worse {
            fn drop(&mut self) {
                panic!("of what was panicked with");
            }
        }
        std::panic::panic_any(Worse);
    }
}

impl Store for Sore {
    pass_on!(0: limits, len, set_len, read, write, flush);
}

#[test]
fn a_store_whose_drop_panics_does_not_end_the_flusher_of_the_others() {
    let (other, _store) = open_in(&cache());
    let store = TestStore::new();
    store.writes(Writes::Block);
    let mapping = Mapping::open(Sore(store.clone())).unwrap();
    mapping.handle().write_at(&[1; PAGE], 0).unwrap();
    let flusher = Flusher::start([other.clone(), mapping.clone()], eager()).unwrap();
    eventually("its thread is in the store", || store.batches().len() == 1);
    assert!(flusher.remove(&mapping));
    drop(mapping); // The flusher's thread has the last reference.
    store.writes(Writes::Accept);
    eventually("it is dropped", || flusher.stats().panics == 1);
    other.handle().write_at(&[2; PAGE], 0).unwrap();
    eventually("the other is written", || other.stats().written == 1);
    assert!(!flusher.stop().died);
}

#[test]
fn a_write_that_never_ends_leaves_the_other_pages() {
    let cache = cache();
    let (mapping, store) = open_in(&cache);
    store.writes(Writes::Keep);
    mapping.handle().write_at(&[1; PAGE], 0).unwrap();
    mapping.write_page(0, SyncMode::Skip).unwrap();
    store.writes(Writes::Accept);
    for page in 1..300 {
        mapping.handle().write_at(&[1; PAGE], page * PAGE as u64).unwrap();
    }
    assert!(mapping.stats().written >= 190 && store.kept() == 1);
    store.release_first(Ok(()));
}

#[test]
fn a_flush_that_does_not_end_holds_up_its_own_mapping_only() {
    let cache = cache();
    let ((sick, sick_store), (mapping, _store)) = (open_in(&cache), open_in(&cache));
    let flusher = Flusher::start([sick.clone(), mapping.clone()], eager()).unwrap();
    sick.handle().write_at(&[1; PAGE], 0).unwrap();
    sick_store.block_flush(true);
    thread::scope(|scope| {
        let syncer = scope.spawn(|| sick.handle().sync_data());
        eventually("it is in its flush", || sick_store.flushes_begun() == 1);
        // If it waited, then for what comes after it.
        work(&mapping);
        sick_store.block_flush(false);
        syncer.join().unwrap().unwrap();
    });
    flusher.stop();
}

#[test]
fn a_reader_that_needs_room_does_not_enter_another_store() {
    // All that is cached is dirty, of another mapping, and its store does not return.
    let config = CacheConfig::new(100).dirty_pages_max(100).pause_max(Duration::ZERO);
    let cache = PageCache::new(config).unwrap();
    let ((sick, sick_store), (mapping, store)) = (open_in(&cache), open_in(&cache));
    sick_store.writes(Writes::Block);
    (0..88).for_each(|page| sick.handle().write_at(&[1; PAGE], page * PAGE as u64).unwrap());
    store.set_len(300 * PAGE as u64).unwrap();
    mapping.handle().set_len(300 * PAGE as u64).unwrap();
    // What is not dirty is in hand, so that nothing at all can be evicted.
    let _in_hand: Vec<_> = (0..12).map(|page| mapping.page(page).unwrap()).collect();
    for page in 0..300 {
        mapping.handle().read_at(&mut [0; PAGE], page * PAGE as u64).unwrap();
    }
    assert!(sick_store.batches().is_empty());
    assert!(cache.stats().cached <= 101, "{:?}", cache.stats());
    sick_store.writes(Writes::Accept);
}

#[test]
fn a_mapping_that_owes_nothing_is_never_refused() {
    // A limit of one page, and that page is another mapping's, for ever.
    let config = CacheConfig::new(10).dirty_pages_max(1).stall_max(Duration::from_millis(20));
    let cache = PageCache::new(config).unwrap();
    let stuck: Vec<_> = (0..5).map(|_| open_in(&cache)).collect();
    for (mapping, store) in &stuck {
        store.writes(Writes::Keep);
        mapping.handle().write_at(&[1; PAGE], 0).unwrap();
        mapping.write_page(0, SyncMode::Skip).unwrap();
    }
    let (mapping, _store) = open_in(&cache);
    for page in 0..5 {
        mapping.handle().write_at(&[1; PAGE], page * PAGE as u64).unwrap();
    }
    mapping.handle().sync_data().unwrap();
    for (_, store) in &stuck {
        store.release_first(Ok(()));
    }
    cache.check().unwrap();
}

#[test]
fn who_joins_a_sick_mapping_that_had_the_whole_limit_has_a_share() {
    let cache = cache();
    let (sick, sick_store) = open_in(&cache);
    sick_store.writes(Writes::Keep);
    let handle = sick.handle();
    while cache.stats().debt < 100 {
        handle.write_at(&[1; PAGE], sick.stats().dirtied * PAGE as u64).unwrap();
    }
    sick.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
    let (mapping, store) = open_in(&cache);
    // Nobody writes, and so many are dirtied all the same.
    for page in 0..9 {
        mapping.handle().write_at(&[2; PAGE], page * PAGE as u64).unwrap();
    }
    assert_eq!((mapping.stats().dirty, store.batches().len()), (9, 0));
    assert_eq!(mapping.handle().try_write_at(&[2; 10 * PAGE], 9 * PAGE as u64).unwrap(), PAGE);
    assert_eq!(cache.stats().debt, 110, "a tenth more than all may owe");
    work(&mapping);
    (0..sick_store.kept()).for_each(|_| sick_store.release_first(Ok(())));
    cache.check().unwrap();
}

#[test]
fn who_owes_nothing_goes_on_where_dirty_pages_fill_the_cache() {
    // As above, and there is no room for a first page of anybody.
    let config = CacheConfig::new(4).dirty_pages_max(4).stall_max(Duration::from_millis(20));
    let cache = PageCache::new(config).unwrap();
    let stuck: Vec<_> = (0..4).map(|_| open_in(&cache)).collect();
    for (mapping, store) in &stuck {
        store.writes(Writes::Keep);
        mapping.handle().write_at(&[1; PAGE], 0).unwrap();
        mapping.write_page(0, SyncMode::Skip).unwrap();
    }
    let (mapping, _store) = open_in(&cache);
    for page in 0..3 {
        mapping.handle().write_at(&[1; PAGE], page * PAGE as u64).unwrap();
    }
    for (_, store) in &stuck {
        store.release_first(Ok(()));
    }
    cache.check().unwrap();
}

/// A store that is a mapping itself, as a disk image on a file is.
#[derive(Debug)]
struct Stacked(Handle);

impl Store for Stacked {
    fn limits(&self) -> writeback::store::Limits {
        writeback::store::Limits::default()
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(self.0.len())
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.0.set_len(len).map_err(|error| std::io::Error::from(error).into())
    }

    fn read(&self, run: writeback::store::ReadRun) {
        run.fill(|offset, into| {
            self.0.read_at(into, offset).map_err(|error| std::io::Error::from(error).into())
        });
    }

    fn write(&self, batch: writeback::store::WriteBatch, completion: writeback::store::Completion) {
        let mut at = batch.offset();
        for image in batch.images() {
            if let Err(error) = self.0.write_at(image.as_ref(), at) {
                return completion.complete(Err(std::io::Error::from(error).into()));
            }
            at += image.len() as u64;
        }
        completion.complete(Ok(batch.len()));
    }

    fn flush(&self, _: writeback::store::FlushKind, completion: writeback::store::FlushCompletion) {
        completion.complete_with(|| {
            self.0.sync_data().map_err(|error| std::io::Error::from(error).into())
        });
    }
}

#[test]
fn a_mapping_on_a_mapping_of_the_same_cache_does_not_wait_for_itself() {
    for with_flusher in [false, true] {
        let cache = PageCache::new(CacheConfig::new(64)).unwrap();
        let (lower, store) = open_in(&cache);
        let config = Config::new().cache(&cache);
        let upper = Mapping::with_config(Arc::new(Stacked(lower.handle())), config).unwrap();
        let _flusher =
            with_flusher.then(|| Flusher::start([upper.clone(), lower.clone()], eager()).unwrap());
        thread::scope(|scope| {
            for thread in 0..4_u8 {
                let handle = upper.handle();
                scope.spawn(move || {
                    for n in 0..200_u64 {
                        let offset = (n * 4 + u64::from(thread)) * PAGE as u64;
                        handle.write_at(&[thread + 1; PAGE], offset).unwrap();
                    }
                    handle.sync_data().unwrap();
                });
            }
        });
        let durable = store.durable();
        for (page, bytes) in durable.chunks(PAGE).enumerate() {
            assert!(bytes.iter().all(|byte| usize::from(*byte) == page % 4 + 1), "page {page}");
        }
        assert_eq!(durable.len(), 800 * PAGE);
    }
}
