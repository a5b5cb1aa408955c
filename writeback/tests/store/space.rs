//! Room given back, taken ahead and looked for, in stores that can do that and in those that cannot.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use writeback::hooks::Crc32c;
use writeback::store::fault::FaultStore;
use writeback::store::{Completion, Store, WriteBatch};
use writeback::{
    CacheConfig, Config, Error, Handle, Mapping, MemStore, PageCache, StoreError, SyncMode,
};

use crate::pass_on::pass_on;
use crate::{contents, within};

pub(crate) const PAGE: u64 = 4096;

/// Writes that have not ended.
type Kept = Vec<(WriteBatch, Completion)>;

/// Bytes in memory. Writes can be kept, and changes of the room refused.
#[derive(Debug, Clone, Default)]
struct Keeping {
    inner: MemStore,
    keeps: Arc<Mutex<Option<Kept>>>,
    /// Punches that fail from now on, after so many that succeed.
    fails_after: Arc<Mutex<Option<u32>>>,
    /// A punch that has begun does not end while this is locked.
    gate: Arc<Mutex<()>>,
    /// Once it has punched, the kept writes end and this cache evicts what is clean.
    evicts: Arc<Mutex<Option<PageCache>>>,
}

impl Keeping {
    fn release(&self) {
        let kept = self.keeps.lock().take().unwrap();
        kept.into_iter().for_each(|(batch, completion)| self.inner.write(batch, completion));
    }
}

impl Store for Keeping {
    pass_on!(inner: limits, len, set_len, read, flush);

    fn write(&self, batch: WriteBatch, completion: Completion) {
        match &mut *self.keeps.lock() {
            Some(kept) => kept.push((batch, completion)),
            None => self.inner.write(batch, completion),
        }
    }

    fn punch(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        drop(self.gate.lock());
        match &mut *self.fails_after.lock() {
            Some(0) => return Err(io::Error::from_raw_os_error(5).into()),
            Some(more) => *more -= 1,
            None => {}
        }
        self.inner.punch(offset, len)?;
        if let Some(cache) = self.evicts.lock().take() {
            self.release();
            cache.evict(u64::MAX);
        }
        Ok(())
    }
}

fn keeping(pages: u64) -> (Keeping, Mapping) {
    let store = Keeping::default();
    let mapping = Mapping::open(store.clone()).unwrap();
    mapping.handle().write_at(&vec![1; usize::try_from(pages * PAGE).unwrap()], 0).unwrap();
    (store, mapping)
}

#[test]
fn whole_pages_are_dropped_unwritten_and_the_rest_is_written_as_zeros() {
    within(|| {
        let store = MemStore::new();
        let mapping = Mapping::open(store.clone()).unwrap();
        let handle = mapping.handle();
        handle.write_at(&[1; 4 * 4096], 0).unwrap();
        handle.punch(100..3 * PAGE).unwrap();
        assert_eq!(mapping.stats().dirty, 2);
        let mut expected = vec![1; 4 * 4096];
        expected[100..3 * 4096].fill(0);
        assert_eq!(contents(&handle), expected);
        handle.sync_data().unwrap();
        assert_eq!(store.durable(), expected);
        assert_eq!(
            (handle.next_hole(0).unwrap(), handle.next_data(PAGE).unwrap()),
            (Some(PAGE), Some(3 * PAGE))
        );
        mapping.check().unwrap();
    });
}

#[test]
fn the_last_page_counts_as_whole_where_the_mapping_ends_and_the_length_stays() {
    within(|| {
        let store = MemStore::new();
        let handle = Mapping::open(store.clone()).unwrap().handle();
        handle.write_at(&[1; 5000], 0).unwrap();
        handle.sync_data().unwrap();
        handle.punch(PAGE..).unwrap();
        assert_eq!(
            (handle.len(), handle.next_hole(0).unwrap(), handle.next_data(PAGE).unwrap()),
            (5000, Some(PAGE), None)
        );
        handle.zero(..).unwrap();
        assert_eq!(contents(&handle), [0; 5000]);
        assert_eq!(
            (handle.next_data(0).unwrap(), handle.next_hole(0).unwrap()),
            (Some(0), Some(5000))
        );
        handle.punch(6000..).unwrap();
        handle.sync_data().unwrap();
        assert_eq!(store.durable(), [0; 5000]);
        // Part of the only page.
        handle.write_at(&[2; 200], 0).unwrap();
        handle.set_len(200).unwrap();
        handle.punch(50..1000).unwrap();
        assert_eq!(contents(&handle), [[2; 50].as_slice(), &[0; 150]].concat());
        assert_eq!(handle.len(), 200);
    });
}

#[test]
fn a_punch_that_waits_for_a_cut_lengthens_nothing() {
    let (store, mapping) = keeping(6);
    let gate = store.gate.lock();
    let call = |call: fn(Handle) -> writeback::Result<()>| {
        let handle = mapping.handle();
        let called = thread::spawn(move || call(handle));
        // Where it waits: in the store, for that one, and for both.
        thread::sleep(std::time::Duration::from_millis(50));
        called
    };
    let first = call(|handle| handle.punch(2 * PAGE..3 * PAGE));
    let cut = call(|handle| handle.set_len(PAGE + 100));
    let second = call(|handle| handle.punch(50..6 * PAGE - 50));
    let third = call(|handle| handle.zero(3 * PAGE + 5..3 * PAGE + 6));
    drop(gate);
    [first, cut, second, third].into_iter().for_each(|call| call.join().unwrap().unwrap());
    // One after the other, in whichever order: no more is written than what is left.
    assert_eq!(mapping.len(), PAGE + 100);
    assert!(mapping.stats().dirty <= 2, "{:?}", mapping.stats());
    let len = usize::try_from(PAGE + 100).unwrap();
    let mut bytes = vec![7; len];
    assert_eq!(mapping.handle().read_at(&mut bytes, 0).unwrap(), len);
    assert!(bytes[..50] == [1; 50] && bytes[50..].iter().all(|byte| *byte == 0));
    mapping.handle().sync_all().unwrap();
    mapping.check().unwrap();
}

#[test]
fn a_cut_that_comes_when_a_punch_has_cleared_its_pages_is_not_undone() {
    for _ in 0..20 {
        let (store, mapping) = keeping(6);
        let gate = store.gate.lock();
        let punch = thread::spawn({
            let handle = mapping.handle();
            move || handle.punch(PAGE + 50..6 * PAGE - 50)
        });
        thread::sleep(std::time::Duration::from_millis(5));
        let cut = thread::spawn({
            let handle = mapping.handle();
            move || handle.set_len(100)
        });
        thread::sleep(std::time::Duration::from_millis(5));
        drop(gate);
        punch.join().unwrap().unwrap();
        cut.join().unwrap().unwrap();
        // It waits while the punch clears whole pages, and comes before or after the rest is written.
        assert_eq!(mapping.len(), 100);
        assert!(mapping.stats().cached <= 1);
        mapping.handle().sync_all().unwrap();
        assert_eq!(store.len().unwrap(), 100);
        mapping.check().unwrap();
    }
}

#[test]
fn the_store_becomes_as_long_as_the_mapping_though_all_is_punched() {
    within(|| {
        for len in [3 * PAGE, 3 * PAGE - 1, 3 * PAGE + 1] {
            let store = MemStore::new();
            let handle = Mapping::open(store.clone()).unwrap().handle();
            handle.write_at(&vec![1; usize::try_from(len).unwrap()], 0).unwrap();
            handle.punch(..).unwrap();
            assert_eq!(handle.mapping().stats().dirty, 1, "the last page");
            handle.sync_data().unwrap();
            assert!(store.durable() == vec![0; usize::try_from(len).unwrap()]);
            handle.punch(..).unwrap();
            assert_eq!((handle.next_data(0).unwrap(), store.len().unwrap()), (None, len));
        }
    });
}

#[test]
fn a_sealed_page_that_is_punched_is_zeros_and_what_the_seal_keeps_is_not_touched() {
    within(|| {
        let store = MemStore::new();
        let config = Config::new().seal(Arc::new(Crc32c::new()));
        let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
        let (handle, payload) = (mapping.handle(), mapping.payload());
        for page in 0..3 {
            handle.write_at(&vec![1; payload.len()], page * PAGE + payload.start as u64).unwrap();
        }
        assert!(matches!(handle.punch(..2 * PAGE - 1), Err(Error::Reserved { .. })));
        assert_eq!(mapping.stats().dirty, 3, "nothing has changed");
        handle.punch(PAGE..).unwrap();
        handle.sync_data().unwrap();
        let read = |page: u64| {
            mapping.page(page).unwrap().read_with(|bytes| bytes[payload.clone()].to_vec())
        };
        assert_eq!([read(0)[0], read(1)[0], read(2)[0]], [1, 0, 0]);
        drop(handle);
        let config = Config::new().seal(Arc::new(Crc32c::new()));
        let again = Mapping::with_config(Arc::new(store), config).unwrap();
        assert!((0..3).all(|page| again.page(page).is_ok()), "all pages open");
    });
}

#[test]
fn a_write_that_is_under_way_does_not_bring_old_bytes_back() {
    within(|| {
        let (store, mapping) = keeping(3);
        *store.keeps.lock() = Some(Vec::new());
        mapping.write_page(1, SyncMode::Skip).unwrap();
        let puncher = thread::spawn({
            let handle = mapping.handle();
            move || handle.punch(PAGE..2 * PAGE)
        });
        thread::sleep(std::time::Duration::from_millis(20));
        assert!(!puncher.is_finished(), "it waits for the write");
        store.release();
        puncher.join().unwrap().unwrap();
        assert_eq!(contents(&mapping.handle())[4096..8192], [0; 4096]);
        mapping.handle().sync_data().unwrap();
        assert_eq!(store.inner.durable()[4096..8192], [0; 4096]);
    });
}

#[test]
fn a_page_that_is_evicted_when_its_write_has_ended_does_not_bring_old_bytes_back() {
    within(|| {
        let store = Keeping::default();
        let cache = PageCache::new(CacheConfig::new(64)).unwrap();
        let config = Config::new().cache(&cache);
        let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
        mapping.handle().write_at(&[1; 3 * 4096], 0).unwrap();
        mapping.handle().sync_data().unwrap();
        mapping.handle().write_at(&[2; 4096], PAGE).unwrap();
        *store.keeps.lock() = Some(Vec::new());
        mapping.write_page(1, SyncMode::Skip).unwrap();
        *store.evicts.lock() = Some(cache.clone());
        mapping.handle().punch(PAGE..2 * PAGE).unwrap();
        assert!(store.evicts.lock().is_none() && mapping.stats().evicted > 0);
        assert_eq!(contents(&mapping.handle())[4096..8192], [0; 4096]);
        mapping.handle().sync_data().unwrap();
        assert_eq!(store.inner.durable()[4096..8192], [0; 4096]);
    });
}

#[test]
fn whoever_holds_a_page_and_writes_it_does_not_bring_old_bytes_back() {
    within(|| {
        let store = Keeping::default();
        let config = Config::new().block_size(512);
        let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
        mapping.handle().write_at(&[1; 3 * 4096], 0).unwrap();
        let mut hold = mapping.hold_blocks(1, 0..8).unwrap();
        let puncher = thread::spawn({
            let handle = mapping.handle();
            move || handle.punch(PAGE..2 * PAGE)
        });
        thread::sleep(std::time::Duration::from_millis(20));
        assert!(hold.take_dirty() && !puncher.is_finished());
        store.inner.write_at(hold.offset(), hold.image().as_ref()).unwrap();
        hold.written();
        puncher.join().unwrap().unwrap();
        assert_eq!(contents(&mapping.handle())[4096..8192], [0; 4096]);
        mapping.handle().sync_data().unwrap();
        assert_eq!(store.inner.durable()[4096..8192], [0; 4096]);
    });
}

#[test]
fn a_store_that_cannot_or_fails_leaves_everything_in_the_cache() {
    within(|| {
        let mapping = Mapping::open(FaultStore::new(1)).unwrap();
        let handle = mapping.handle();
        handle.write_at(&[1; 3 * 4096], 0).unwrap();
        let unsupported = |told: Result<(), Error>| match told {
            Err(Error::Space { source }) => source.is_unsupported(),
            _ => false,
        };
        assert!(unsupported(handle.punch(..)) && unsupported(handle.zero(100..)));
        assert!(unsupported(handle.allocate(..PAGE)));
        assert!(unsupported(handle.next_data(0).map(drop)));
        let errno = io::Error::from(handle.punch(..).unwrap_err()).kind();
        assert_eq!(errno, io::ErrorKind::Unsupported);
        assert_eq!((mapping.stats().dirty, contents(&handle)), (3, vec![1; 3 * 4096]));

        let (store, mapping) = keeping(2);
        *store.fails_after.lock() = Some(0);
        let told = mapping.handle().punch(..).unwrap_err();
        assert_eq!(told.raw_os_error(), Some(5), "{told}");
        assert_eq!((mapping.stats().dirty, contents(&mapping.handle())), (2, vec![1; 8192]));
        mapping.handle().sync_data().unwrap();
        assert_eq!(store.inner.durable(), [1; 8192]);
        // If it fails once the pages are gone, that is told, too.
        mapping.handle().write_at(&[2; 8192], 0).unwrap();
        *store.fails_after.lock() = Some(1);
        assert!(matches!(mapping.handle().punch(..), Err(Error::Space { .. })));
        *store.fails_after.lock() = None;
        mapping.handle().punch(..).unwrap();
        assert_eq!(contents(&mapping.handle()), [0; 8192]);
    });
}

#[test]
fn a_punch_is_flushed_by_the_next_sync_though_no_page_is_dirty() {
    within(|| {
        let store = MemStore::with_contents([1; 8192]);
        let handle = Mapping::open(store.clone()).unwrap().handle();
        handle.sync_data().unwrap();
        handle.punch(..PAGE).unwrap();
        handle.sync_data().unwrap();
        assert_eq!(store.durable()[..4097], [[0; 4096].as_slice(), &[1]].concat());
    });
}

/// What happens in a punch, once it is done; its answer.
type Then = Box<dyn FnOnce() -> Result<(), StoreError> + Send>;

/// Bytes in memory; each punch takes the next of what is to happen.
#[derive(Default)]
struct Eventful {
    inner: MemStore,
    next: Mutex<Vec<Then>>,
}

impl fmt::Debug for Eventful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Store for Eventful {
    pass_on!(inner: limits, len, set_len, read, write, flush);

    fn punch(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        self.inner.punch(offset, len)?;
        self.next.lock().pop().map_or(Ok(()), |then| then())
    }
}

/// A mapping of two pages over such a store, written and synced.
fn eventful() -> (Arc<Eventful>, Mapping) {
    let store = Arc::new(Eventful::default());
    let mapping = Mapping::with_config(store.clone(), Config::new()).unwrap();
    mapping.handle().write_at(&[1; 8192], 0).unwrap();
    mapping.handle().sync_data().unwrap();
    (store, mapping)
}

#[test]
fn a_punch_that_failed_when_it_had_done_its_work_is_flushed_too() {
    within(|| {
        let (store, mapping) = eventful();
        let handle = mapping.handle();
        store.next.lock().push(Box::new(|| Err(io::Error::from_raw_os_error(5).into())));
        handle.punch(..PAGE).unwrap_err();
        drop(mapping);
        handle.sync_data().unwrap();
        assert_eq!(store.inner.durable()[..4097], [[0; 4096].as_slice(), &[1]].concat());
    });
}

#[test]
fn a_sync_while_pages_are_dropped_makes_durable_what_has_taken_their_place() {
    within(|| {
        let (store, mapping) = eventful();
        let handle = mapping.handle();
        handle.write_at(&[2; 4096], 0).unwrap();
        let (other, durable) = (handle.clone(), store.inner.clone());
        // The second time, when the page is gone.
        *store.next.lock() = vec![
            Box::new(move || {
                thread::spawn(move || other.sync_data().unwrap()).join().unwrap();
                assert_eq!(durable.durable()[..4096], [0; 4096], "neither these nor the old ones");
                Ok(())
            }),
            Box::new(|| Ok(())),
        ];
        handle.punch(..PAGE).unwrap();
        assert!(store.next.lock().is_empty());
    });
}

#[test]
fn pages_that_are_to_be_written_are_data() {
    within(|| {
        let store = MemStore::new();
        let mapping = Mapping::open(store.clone()).unwrap();
        let handle = mapping.handle();
        handle.set_len(8 * PAGE).unwrap();
        handle.write_at(b"x", 2 * PAGE + 7).unwrap();
        handle.write_at(b"x", 3 * PAGE).unwrap();
        let look = || {
            let data =
                [0, 2 * PAGE + 7, 3 * PAGE, 4 * PAGE].map(|at| handle.next_data(at).unwrap());
            let hole = [0, 2 * PAGE + 7, 3 * PAGE, 8 * PAGE, 9 * PAGE]
                .map(|at| handle.next_hole(at).unwrap());
            (data, hole)
        };
        let expected = (
            [Some(2 * PAGE), Some(2 * PAGE + 7), Some(3 * PAGE), None],
            [Some(0), Some(4 * PAGE), Some(4 * PAGE), Some(8 * PAGE), None],
        );
        assert_eq!(look(), expected, "dirty");
        mapping.write_page(2, SyncMode::Wait).unwrap();
        let claim = mapping.page(3).unwrap().lock_state().unwrap().clear_dirty_for_io().unwrap();
        let writeback = claim.start_writeback().unwrap();
        assert_eq!(look(), expected, "one written, one under writeback");
        drop(writeback);
        handle.sync_data().unwrap_err();
        handle.sync_data().unwrap();
        assert_eq!(look(), expected, "in the store");
    });
}
