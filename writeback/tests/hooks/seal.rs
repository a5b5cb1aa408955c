//! Seals: what is written is sealed and stands still, and what is read is what was sealed there.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use parking_lot::Mutex;
use writeback::hooks::{Crc32c, Seal};
use writeback::store::{Completion, Limits, ReadRun, Store, WriteBatch};
use writeback::{Budget, Config, Error, Mapping, MemStore, StoreError, SyncMode};

use crate::common::{
    LateStore, PAGE, SetOnDrop, TestStore, assert_settled, eventually, pass_on, watch,
};

/// A seal that a test drives. It turns every bit, and reserves what it is told to.
#[derive(Debug, Default)]
struct Inverting {
    reserved: Range<usize>,
    fail: AtomicBool,
    panic: AtomicBool,
    sealed: Mutex<Vec<u64>>,
}

impl Inverting {
    fn judge(&self) -> io::Result<()> {
        assert!(!self.panic.load(Ordering::Relaxed), "told to by the test");
        match self.fail.load(Ordering::Relaxed) {
            true => Err(io::Error::other("no key")),
            false => Ok(()),
        }
    }
}

impl Seal for Inverting {
    fn reserved(&self, _page_size: usize) -> Range<usize> {
        self.reserved.clone()
    }

    fn seal(&self, index: u64, bytes: &mut [u8]) -> io::Result<()> {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
        self.judge()?;
        self.sealed.lock().push(index);
        Ok(())
    }

    fn open(&self, _index: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.judge()?;
        if bytes.iter().any(|byte| *byte != 0) {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
        }
        Ok(())
    }
}

fn sealed(store: impl Store, seal: &Arc<impl Seal>) -> Mapping {
    watch();
    let config = Config::new().seal(Arc::clone(seal) as Arc<dyn Seal>);
    Mapping::with_config(Arc::new(store), config).unwrap()
}

fn checked(store: impl Store) -> Mapping {
    sealed(store, &Arc::new(Crc32c::new()))
}

fn read_page(mapping: &Mapping, index: u64) -> writeback::Result<Vec<u8>> {
    Ok(mapping.page(index)?.read_with(<[u8]>::to_vec))
}

#[test]
fn the_store_has_sealed_pages_and_memory_open_ones() {
    let (store, seal) = (MemStore::new(), Arc::new(Inverting::default()));
    let mapping = sealed(store.clone(), &seal);
    mapping.handle().write_at(b"abc", 0).unwrap();
    mapping.handle().sync_data().unwrap();
    assert_eq!(store.durable()[..5], [!b'a', !b'b', !b'c', 0xff, 0xff]);
    assert_eq!(read_page(&mapping, 0).unwrap()[..4], *b"abc\0", "the live page is as it was");
    let again = sealed(store.after_crash(), &seal);
    assert_eq!(read_page(&again, 0).unwrap(), read_page(&mapping, 0).unwrap());
    assert_eq!(*seal.sealed.lock(), [0]);
}

#[test]
fn with_a_seal_lengths_are_whole_pages() {
    let mapping = checked(MemStore::with_contents([0; 100]));
    let handle = mapping.handle();
    assert_eq!(handle.len(), PAGE as u64, "a page that the store has in part");
    handle.write_at(b"abc", PAGE as u64).unwrap();
    assert_eq!(handle.len(), 2 * PAGE as u64);
    assert!(matches!(handle.set_len(PAGE as u64 + 1), Err(Error::Config { .. })));
    handle.set_len(5 * PAGE as u64).unwrap();
    mapping.page(4).unwrap().write_with(0..1, |bytes| bytes.fill(1)).unwrap();
    handle.sync_data().unwrap();
    handle.set_len(PAGE as u64).unwrap();
    handle.sync_data().unwrap();
    assert_eq!(mapping.store().len().unwrap(), PAGE as u64);
    assert_eq!(mapping.len(), PAGE as u64);
    let far = i64::MAX.unsigned_abs() - 10;
    assert!(matches!(handle.write_at(b"x", far), Err(Error::OutOfRange { .. })));
}

#[test]
fn an_unaligned_store_can_be_written_and_read_again() {
    let store = MemStore::with_contents(vec![0; PAGE + 100]);
    let mapping = checked(store.clone());
    mapping.page(1).unwrap().write_with(0..3, |bytes| bytes.copy_from_slice(b"end")).unwrap();
    mapping.handle().sync_data().unwrap();
    assert_eq!(store.durable().len(), 2 * PAGE);
    assert_eq!(read_page(&checked(store), 1).unwrap()[..4], *b"end\0");
}

#[test]
fn reserved_bytes_can_not_be_written_and_read_as_zeros() {
    for (seal, payload) in [(Crc32c::new(), 0..PAGE - 4), (Crc32c::new().at_start(), 4..PAGE)] {
        let (store, seal) = (MemStore::new(), Arc::new(seal));
        let mapping = sealed(store.clone(), &seal);
        assert_eq!(mapping.payload(), payload);
        let handle = mapping.handle();
        let page = vec![1; PAGE];
        for (from, len) in [(0, PAGE), (payload.start, PAGE), (payload.end, 1), (PAGE - 1, 2)] {
            if from < payload.start || from + len > payload.end {
                let told = handle.write_at(&page[..len], from as u64);
                assert!(matches!(told, Err(Error::Reserved { .. })), "{from} {len}: {told:?}");
            }
        }
        assert_eq!((mapping.len(), mapping.stats().dirty), (0, 0), "nothing was written");
        handle.write_at(&page[payload.clone()], payload.start as u64).unwrap();
        let told = mapping.page(0).unwrap().write_with(0..PAGE, |_| ());
        assert!(matches!(told, Err(Error::Reserved { .. })), "{told:?}");
        handle.sync_data().unwrap();
        let mut expected = vec![0; PAGE];
        expected[payload].fill(1);
        assert_eq!(read_page(&mapping, 0).unwrap(), expected);
        assert_eq!(read_page(&sealed(store, &seal), 0).unwrap(), expected);
    }
}

#[test]
fn a_seal_that_reserves_the_middle_or_all_is_refused() {
    for reserved in [1..2, 0..PAGE, PAGE - 1..PAGE + 1, 0..PAGE + 1] {
        let seal = Inverting { reserved, ..Inverting::default() };
        let config = Config::new().seal(Arc::new(seal));
        let opened = Mapping::with_config(Arc::new(MemStore::new()), config);
        assert!(matches!(opened, Err(Error::Config { .. })));
    }
    let config = Config::new().seal(Arc::new(Crc32c::new()));
    assert!(matches!(Mapping::memory_backed(config), Err(Error::Config { .. })));
}

/// A store that lies.
#[derive(Debug, Clone, Default)]
struct Liar {
    inner: MemStore,
    /// The next write goes so many bytes beside.
    beside: Arc<Mutex<u64>>,
    /// This bit of the page that is read next is turned.
    turned: Arc<Mutex<Option<usize>>>,
}

impl Store for Liar {
    pass_on!(inner: len, set_len, flush);

    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn read(&self, run: ReadRun) {
        run.fill(|offset, into| {
            let count = self.inner.read_at(offset, into)?;
            if let Some(bit) = self.turned.lock().take() {
                into[bit / 8] ^= 1 << (bit % 8);
            }
            Ok(count)
        });
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        let offset = batch.offset() + std::mem::take(&mut *self.beside.lock());
        let bytes: Vec<u8> =
            batch.images().iter().flat_map(|image| image.as_ref().to_vec()).collect();
        let mut stored = self.inner.accepted();
        let at = usize::try_from(offset).unwrap();
        stored.resize(stored.len().max(at + bytes.len()), 0);
        stored[at..at + bytes.len()].copy_from_slice(&bytes);
        self.inner.replace(stored);
        completion.complete(Ok(batch.len()));
    }
}

trait Replace {
    fn replace(&self, bytes: Vec<u8>);
}

impl Replace for MemStore {
    /// Through a mapping of its own, for want of another way.
    fn replace(&self, bytes: Vec<u8>) {
        let handle = Mapping::open(self.clone()).unwrap().handle();
        handle.write_at(&bytes, 0).unwrap();
        handle.sync_data().unwrap();
    }
}

fn is_corrupt<T: std::fmt::Debug>(outcome: &writeback::Result<T>, page: u64) -> bool {
    matches!(outcome, Err(Error::Corrupt { index, .. }) if *index == page)
}

#[test]
fn bit_rot_is_seen_and_the_page_can_be_read_when_it_is_gone() {
    let store = Liar::default();
    let first = checked(store.clone());
    for page in 0..3 {
        first.handle().write_at(&[7; 100], page * PAGE as u64).unwrap();
    }
    first.handle().sync_data().unwrap();
    let mapping = checked(store.clone());
    let handle = mapping.handle();
    for bit in [0, 99 * 8 + 7, 2000 * 8, PAGE * 8 - 1] {
        *store.turned.lock() = Some(bit);
        let told = handle.read_at(&mut [0; 8], PAGE as u64);
        assert!(is_corrupt(&told, 1), "bit {bit}: {told:?}");
        assert!(!mapping.cached_page(1).unwrap().snapshot().is_uptodate());
        assert!(mapping.cached_page(1).unwrap().try_lock_state().is_some(), "no lock is kept");
    }
    *store.turned.lock() = Some(9);
    let told = handle.write_at(b"part", PAGE as u64);
    assert!(
        is_corrupt(&told, 1),
        "a page is not changed on the grounds of what it is not: {told:?}"
    );
    assert_eq!((mapping.stats().corrupt, mapping.stats().dirty), (5, 0));
    let mut bytes = [0; 100];
    handle.read_at(&mut bytes, PAGE as u64).unwrap();
    assert_eq!(bytes, [7; 100], "re-read");
    assert_eq!(io::Error::from(told.unwrap_err()).kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_corrupt_page_can_be_overwritten_as_a_whole() {
    for seal in [Crc32c::new(), Crc32c::new().at_start()] {
        let (store, seal) = (MemStore::with_contents([3; 2 * PAGE]), Arc::new(seal));
        let mapping = sealed(store.clone(), &seal);
        let (handle, payload) = (mapping.handle(), mapping.payload());
        assert!(is_corrupt(&read_page(&mapping, 1), 1));
        let at = (PAGE + payload.start) as u64;
        assert!(is_corrupt(&handle.write_at(&vec![9; payload.len() - 1], at), 1));
        handle.write_at(&vec![9; payload.len()], at).unwrap();
        handle.sync_data().unwrap();
        let again = sealed(store.after_crash(), &seal);
        assert!(read_page(&again, 1).unwrap()[payload].iter().all(|byte| *byte == 9));
        assert!(is_corrupt(&read_page(&again, 0), 0));
    }
}

#[test]
fn a_misdirected_write_is_seen_where_it_went() {
    let store = Liar::default();
    let first = checked(store.clone());
    for page in 0..3_u8 {
        first.handle().write_at(&[page + 1; 100], u64::from(page) * PAGE as u64).unwrap();
    }
    first.handle().sync_data().unwrap();
    *store.beside.lock() = PAGE as u64;
    first.handle().write_at(b"astray", PAGE as u64).unwrap();
    first.handle().sync_data().unwrap();
    let mapping = checked(store);
    assert!(is_corrupt(&read_page(&mapping, 2), 2));
    assert_eq!(read_page(&mapping, 1).unwrap()[..100], [2; 100], "a lost write is not seen");
    assert_eq!(read_page(&mapping, 0).unwrap()[..100], [1; 100]);
}

#[test]
fn pages_never_written_are_zeros() {
    let store = MemStore::new();
    let mapping = checked(store.clone());
    let handle = mapping.handle();
    handle.set_len(4 * PAGE as u64).unwrap();
    handle.write_at(b"x", 2 * PAGE as u64).unwrap();
    handle.sync_data().unwrap();
    let again = checked(store.after_crash());
    for page in [0, 1, 3] {
        assert_eq!(read_page(&again, page).unwrap(), vec![0; PAGE]);
    }
    let strict = sealed(store, &Arc::new(Crc32c::new().reject_zeros()));
    assert!(is_corrupt(&read_page(&strict, 3), 3));
    read_page(&strict, 2).unwrap();
}

#[test]
fn a_seal_that_fails_or_panics_loses_nothing_and_keeps_no_lock() {
    for panics in [false, true] {
        let (store, seal) = (MemStore::new(), Arc::new(Inverting::default()));
        let mapping = sealed(store.clone(), &seal);
        let (one, other) = (mapping.handle(), mapping.handle());
        one.write_at(b"abc", 0).unwrap();
        let switch = if panics { &seal.panic } else { &seal.fail };
        switch.store(true, Ordering::Relaxed);
        for handle in [&one, &one, &other] {
            let told = handle.sync_data();
            assert!(matches!(told, Err(Error::Write { source: StoreError::Seal(_) })), "{told:?}");
        }
        mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
        let page = mapping.page(0).unwrap();
        assert!(page.try_lock_state().is_some() && page.snapshot().is_dirty());
        assert!(matches!(mapping.write_page(0, SyncMode::Wait), Err(Error::Write { .. })));
        assert_eq!((store.writes(), mapping.stats().dirty, mapping.stats().writeback), (0, 1, 0));
        assert!(mapping.stats().seal_errors >= 4);
        assert_eq!(read_page(&mapping, 0).unwrap()[..4], *b"abc\0");
        switch.store(false, Ordering::Relaxed);
        let _told = (one.check_error(), other.check_error());
        one.sync_data().unwrap();
        assert_eq!(store.durable()[0], !b'a');
        // Reads fail the same way.
        let again = sealed(store, &seal);
        switch.store(true, Ordering::Relaxed);
        assert!(is_corrupt(&read_page(&again, 0), 0));
        assert!(again.cached_page(0).unwrap().try_lock_state().is_some());
        switch.store(false, Ordering::Relaxed);
        assert_eq!(read_page(&again, 0).unwrap()[..4], *b"abc\0");
        again.check().unwrap();
    }
}

#[test]
fn a_page_that_could_not_be_sealed_fails_however_its_write_is_ended() {
    let seal = Arc::new(Inverting::default());
    let mapping = sealed(MemStore::new(), &seal);
    let handle = mapping.handle();
    handle.write_at(b"abc", 0).unwrap();
    seal.fail.store(true, Ordering::Relaxed);
    for end_well in [true, false] {
        let claim = mapping.page(0).unwrap().lock_state().unwrap().clear_dirty_for_io().unwrap();
        let writeback = claim.start_writeback().unwrap();
        assert!(writeback.image().is_empty());
        if end_well {
            writeback.end(Ok(()));
        } else {
            drop(writeback);
        }
        let told = handle.check_error();
        assert!(matches!(told, Err(Error::Write { source: StoreError::Seal(_) })), "{told:?}");
        assert!(mapping.page(0).unwrap().snapshot().is_dirty());
    }
}

#[test]
fn a_sealed_image_stands_still_while_a_writer_goes_on() {
    let (inner, done) = (MemStore::new(), AtomicBool::new(false));
    let mapping = checked(LateStore::new(inner.clone(), 1));
    let (mapping, done) = (&mapping, &done);
    thread::scope(|scope| {
        for page in 0..4_u64 {
            scope.spawn(move || {
                let _ends = SetOnDrop(done);
                let handle = mapping.handle();
                for turn in 0..2000_u32 {
                    let bytes = [u8::try_from(turn % 251).unwrap(); 4000];
                    handle.write_at(&bytes, page * PAGE as u64).unwrap();
                }
            });
        }
        while !done.load(Ordering::Relaxed) {
            mapping.handle().sync_data().unwrap();
            // What the store has at any time opens, whole.
            let stored = checked(MemStore::with_contents(inner.durable()));
            for page in 0..stored.len() / PAGE as u64 {
                let bytes = read_page(&stored, page).unwrap();
                assert!(bytes[..4000].iter().all(|byte| *byte == bytes[0]), "torn");
            }
        }
    });
    mapping.handle().sync_data().unwrap();
    mapping.check().unwrap();
}

#[test]
fn the_image_that_is_sealed_is_not_the_page() {
    // A seal that fails has spoiled its copy, and a writer's bytes are not in it.
    let (store, seal) = (TestStore::new(), Arc::new(Inverting::default()));
    let mapping = sealed(store.clone(), &seal);
    mapping.handle().write_at(&[5; PAGE], 0).unwrap();
    store.writes(crate::common::Writes::Keep);
    mapping.write_page(0, SyncMode::Skip).unwrap();
    eventually("kept", || store.kept() == 1);
    assert_eq!(read_page(&mapping, 0).unwrap(), [5; PAGE], "readers see the page open");
    mapping.handle().write_at(&[6; PAGE], 0).unwrap();
    store.release_first(Ok(()));
    assert_eq!(store.accepted(), [!5; PAGE]);
    store.writes(crate::common::Writes::Accept);
    mapping.handle().sync_data().unwrap();
    assert_eq!(store.durable(), [!6; PAGE]);
    drop(mapping);
}

#[test]
fn without_a_seal_pages_are_stored_as_they_are() {
    crate::common::watch();
    let mapping = Mapping::open(MemStore::new()).unwrap();
    assert_eq!(mapping.payload(), 0..PAGE);
    mapping.handle().write_at(&[1; PAGE + 1], 0).unwrap();
    mapping.handle().sync_data().unwrap();
    assert_eq!(mapping.store().len().unwrap(), PAGE as u64 + 1);
    assert_settled(&mapping);
}
