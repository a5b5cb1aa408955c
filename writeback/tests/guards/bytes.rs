//! What a guard gives, and what becomes of the page.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use writeback::hooks::{Log, Observer, Seal};
use writeback::page::{PageRef, PageTag};
use writeback::store::Store;
use writeback::{Budget, Config, Error, Mapping, SyncMode};

use crate::common::{PAGE, TestStore, Writes, eventually, never, open, open_dirty, page};
use crate::settle;

#[test]
fn a_write_guard_makes_its_page_dirty_when_it_is_taken_and_gives_all_of_it() {
    let (mapping, store) = open(2);
    let page = page(&mapping, 1);
    let mut bytes = page.write().unwrap();
    assert!(page.snapshot().is_dirty() && page.has_tag(PageTag::Dirty));
    assert_eq!((bytes.len(), bytes.page().index()), (PAGE, 1));
    bytes.fill(3);
    assert_eq!(bytes[PAGE - 1], 3);
    drop(bytes);
    assert_eq!(*page.read(), [3; PAGE]);
    settle(&mapping);
    assert_eq!(store.durable()[PAGE..], [3; PAGE]);
}

#[test]
fn a_write_guard_never_lengthens_and_one_of_bytes_does() {
    let store = TestStore::new();
    store.set_len(5).unwrap();
    let mapping = Mapping::open(store.clone()).unwrap();
    let page = page(&mapping, 0);
    assert_eq!(page.write().unwrap().len(), 5);
    assert_eq!((page.read().len(), mapping.len()), (PAGE, 5), "zeros beyond the end can be read");
    page.write_bytes(7..9).unwrap().copy_from_slice(b"xy");
    assert_eq!(mapping.len(), 9);
    assert_eq!(&page.write().unwrap()[..], b"\0\0\0\0\0\0\0xy");
    assert!(matches!(page.write_bytes(1..PAGE + 1), Err(Error::OutOfRange { .. })));
    settle(&mapping);
    assert_eq!(store.durable(), b"\0\0\0\0\0\0\0xy");
}

#[test]
fn blocks_are_dirty_where_the_guard_is() {
    let store = TestStore::new();
    store.set_len(PAGE as u64).unwrap();
    let config = Config::new().block_size(512);
    let mapping = Mapping::with_config(Arc::new(store), config).unwrap();
    let page = page(&mapping, 0);
    drop(page.write_bytes(500..600).unwrap());
    assert_eq!(page.dirty_blocks(), 0b11);
    drop(page.write().unwrap());
    assert_eq!(page.dirty_blocks(), 0xff);
    settle(&mapping);
}

#[test]
fn an_image_that_is_out_does_not_change_while_the_guard_does() {
    let (mapping, store) = open_dirty(1, 1);
    store.writes(Writes::Keep);
    mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
    let page = page(&mapping, 0);
    let mut bytes = page.write().unwrap();
    bytes.fill(2);
    store.release_first(Ok(()));
    assert_eq!(store.accepted(), [1; PAGE]);
    bytes[0] = 3;
    drop(bytes);
    store.writes(Writes::Accept);
    settle(&mapping);
    assert_eq!((store.durable()[0], store.durable()[1]), (3, 2));
}

#[test]
fn a_claim_takes_its_image_when_the_guard_is_gone_with_all_that_was_changed() {
    // No half-changed image, and nothing changed after it that is not dirty.
    let (mapping, store) = open_dirty(1, 1);
    let page = page(&mapping, 0);
    let mut bytes = page.write().unwrap();
    bytes[0] = 2;
    let claim = {
        let mapping = mapping.clone();
        thread::spawn(move || {
            let locked = mapping.page(0).unwrap().lock_state().expect("not cut");
            let claim = locked.clear_dirty_for_io().expect("it is dirty");
            let writeback = claim.start_writeback().expect("not held");
            let first = writeback.image().as_ref()[..2].to_vec();
            writeback.end(Ok(()));
            first
        })
    };
    eventually("it is claimed", || page.snapshot().is_under_writeback());
    never("the image is taken", || claim.is_finished());
    bytes[1] = 2;
    drop(bytes);
    assert_eq!(claim.join().unwrap(), [2, 2]);
    assert!(!page.snapshot().is_dirty());
    drop(store);
}

#[test]
fn a_guard_that_is_dropped_in_a_panic_leaves_the_page_dirty_with_what_was_written() {
    let (mapping, store) = open(1);
    let page = page(&mapping, 0);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut bytes = page.write().unwrap();
        bytes[0] = 7;
        panic!("in the middle of a change");
    }));
    assert!(panicked.is_err());
    assert!(page.snapshot().is_dirty());
    assert_eq!(page.read()[0], 7, "the latch is free");
    settle(&mapping);
    assert_eq!(store.durable()[0], 7);
}

#[test]
fn a_page_that_is_gone_can_be_read_and_not_changed() {
    let (mapping, _store) = open_dirty(2, 1);
    let page = page(&mapping, 1);
    mapping.handle().set_len(PAGE as u64).unwrap();
    assert!(matches!(page.write(), Err(Error::Gone { index: 1 })));
    assert!(matches!(page.try_write(), Err(Error::Gone { index: 1 })));
    assert_eq!(page.read()[0], 1);
    settle(&mapping);
}

#[test]
fn a_page_that_was_never_read_has_no_bytes_and_keeps_no_reader_waiting() {
    let (mapping, store) = open(1);
    store.fail_read(true);
    mapping.page(0).unwrap_err();
    store.fail_read(false);
    let empty = mapping.cached_page(0).unwrap();
    let nothing = empty.read();
    assert!(nothing.is_empty());
    assert!(matches!(empty.write_bytes(0..1), Err(Error::Gone { .. })));
    // Reading it in needs the latch.
    assert_eq!(mapping.page(0).unwrap().read().len(), PAGE);
    drop(nothing);
    settle(&mapping);
}

#[test]
fn a_closed_or_poisoned_mapping_gives_no_write_guard() {
    let (mapping, store) = open_dirty(1, 1);
    let page = page(&mapping, 0);
    store.fail_flush(true);
    mapping.handle().sync_data().unwrap_err();
    assert!(matches!(page.write(), Err(Error::Poisoned { .. })));
    assert_eq!(page.read()[0], 1);

    let (mapping, _store) = open_dirty(1, 1);
    let page = crate::common::page(&mapping, 0);
    mapping.close().unwrap();
    assert!(matches!(page.write(), Err(Error::Closed)));
}

#[test]
fn close_waits_for_a_write_guard_and_saves_what_it_has_changed() {
    let (mapping, store) = open_dirty(1, 1);
    let page = page(&mapping, 0);
    let mut bytes = page.write().unwrap();
    let closer = {
        let mapping = mapping.clone();
        thread::spawn(move || mapping.close().map_err(|failed| failed.error))
    };
    never("somebody has the page", || closer.is_finished());
    bytes[9] = 9;
    drop(bytes);
    closer.join().unwrap().unwrap();
    assert_eq!(store.durable()[9], 9);
}

#[test]
fn who_tries_does_not_wait() {
    let (mapping, _store) = open(1);
    let page = page(&mapping, 0);
    let elsewhere = |act: fn(&PageRef) -> bool| {
        let page = page.clone();
        thread::spawn(move || act(&page)).join().unwrap()
    };
    let can_read = |page: &PageRef| page.try_read().is_some();
    let can_write = |page: &PageRef| match page.try_write() {
        Ok(_) => true,
        Err(Error::WouldBlock) => false,
        Err(error) => panic!("{error}"),
    };
    assert!(elsewhere(can_read) && elsewhere(can_write));
    let read = page.read();
    assert!(elsewhere(can_read) && !elsewhere(can_write));
    drop(read);
    let write = page.write().unwrap();
    assert!(!elsewhere(can_read) && !elsewhere(can_write));
    drop(write);
    assert!(can_read(&page) && can_write(&page));
}

/// Reserves the first eight bytes of a page.
#[derive(Debug)]
struct Numbered;

impl Seal for Numbered {
    fn reserved(&self, _page_size: usize) -> std::ops::Range<usize> {
        0..8
    }

    fn seal(&self, _index: u64, bytes: &mut [u8]) -> std::io::Result<()> {
        bytes[..8].fill(0xff);
        Ok(())
    }

    fn open(&self, _index: u64, _bytes: &mut [u8]) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn guards_give_the_bytes_that_are_not_the_seals() {
    let config = Config::new().seal(Arc::new(Numbered));
    let mapping = Mapping::with_config(Arc::new(TestStore::new()), config).unwrap();
    mapping.handle().write_at(b"payload", 8).unwrap();
    let page = page(&mapping, 0);
    assert_eq!(&page.read()[..7], b"payload");
    let mut bytes = page.write().unwrap();
    assert_eq!(bytes.len(), mapping.payload().len());
    bytes[..3].copy_from_slice(b"PAY");
    drop(bytes);
    assert_eq!(page.read_with(|all| all[8..15].to_vec()), b"PAYload");
    assert!(matches!(page.write_bytes(7..9), Err(Error::Reserved { .. })));
    mapping.handle().sync_data().unwrap();
}

/// A log that is durable as far as it was asked to be.
#[derive(Debug, Default)]
struct Journal {
    end: AtomicU64,
    durable: AtomicU64,
}

impl Log for Journal {
    fn durable(&self) -> u64 {
        self.durable.load(Ordering::SeqCst)
    }

    fn ensure(&self, upto: u64) -> std::io::Result<()> {
        self.durable.fetch_max(upto, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn a_change_under_a_guard_can_be_logged() {
    let journal = Arc::new(Journal::default());
    let append = || journal.end.fetch_add(1, Ordering::SeqCst) + 1;
    let (store, config) = (TestStore::new(), Config::new().log(journal.clone()));
    store.set_len(PAGE as u64).unwrap();
    let mapping = Mapping::with_config(Arc::new(store), config).unwrap();
    let page = page(&mapping, 0);

    let mut bytes = page.write().unwrap();
    assert_eq!(mapping.oldest_unwritten(), Some(0), "held while a record may be appended");
    let (first, second) = (append(), append());
    bytes[0] = 1;
    bytes.log_at(second).unwrap();
    bytes.log_at(first).unwrap();
    assert!(matches!(bytes.log_at(u64::MAX), Err(Error::Config { .. })));
    drop(bytes);
    assert_eq!((page.log_position(), mapping.oldest_unwritten()), (Some(second), Some(first)));
    mapping.handle().sync_data().unwrap();
    assert_eq!((journal.durable(), mapping.oldest_unwritten()), (second, None));

    drop(page.write().unwrap());
    assert_eq!(mapping.oldest_unwritten(), None, "nothing was logged");
    let (mapping, _store) = open(1);
    let page = crate::common::page(&mapping, 0);
    assert!(matches!(page.write().unwrap().log_at(1), Err(Error::Config { .. })));
}

/// Notes how many pages it was told of.
#[derive(Debug, Default)]
struct Told(AtomicU64);

impl Observer for Told {
    fn dirtied(&self, pages: u64) {
        self.0.fetch_add(pages, Ordering::SeqCst);
    }
}

#[test]
fn observers_are_told_when_the_last_guard_is_gone() {
    // No hook is called under a latch.
    let told = Arc::new(Told::default());
    let store = TestStore::new();
    store.set_len(3 * PAGE as u64).unwrap();
    let config = Config::new().observer(told.clone());
    let mapping = Mapping::with_config(Arc::new(store), config).unwrap();
    let (one, other) = (page(&mapping, 0), page(&mapping, 1));
    let first = one.read();
    let second = other.write().unwrap();
    mapping.handle().write_at(b"x", 2 * PAGE as u64).unwrap();
    drop(second);
    assert_eq!(told.0.load(Ordering::SeqCst), 0);
    drop(first);
    assert_eq!(told.0.load(Ordering::SeqCst), 2);
}
