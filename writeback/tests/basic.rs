//! The sequential API: bytes in, bytes out, pages written, lengths kept.

mod common;

use std::sync::Arc;

use common::{PAGE, TestStore, assert_settled, open, open_dirty};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use writeback::page::PageTag;
use writeback::store::Store;
use writeback::{Budget, Config, Error, FileStore, Mapping, MemStore, SyncMode};

fn contents(mapping: &Mapping) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(mapping.len()).unwrap() + 10];
    let count = mapping.handle().read_at(&mut bytes, 0).unwrap();
    bytes.truncate(count);
    bytes
}

/// The mapping against a vector of bytes, whatever is asked of it.
fn behaves_like_a_vector(page_size: usize, seed: u64) {
    let store = MemStore::new();
    let config = Config::new().page_size(page_size);
    let mut mapping = Mapping::with_config(Arc::new(store.clone()), config.clone()).unwrap();
    let mut model: Vec<u8> = Vec::new();
    let mut random = SmallRng::seed_from_u64(seed);
    let span = page_size * 8;
    for _ in 0..600 {
        let handle = mapping.handle();
        let at = random.random_range(0..span);
        let len = random.random_range(0..page_size * 3);
        match random.random_range(0..100) {
            0..45 => {
                let mut bytes = vec![0; len];
                random.fill_bytes(&mut bytes);
                handle.write_at(&bytes, at as u64).unwrap();
                if len > 0 {
                    model.resize(model.len().max(at + len), 0);
                    model[at..at + len].copy_from_slice(&bytes);
                }
            }
            45..80 => {
                let mut bytes = vec![0xEE; len];
                let count = handle.read_at(&mut bytes, at as u64).unwrap();
                let expected = &model[at.min(model.len())..(at + len).min(model.len())];
                assert_eq!(&bytes[..count], expected);
            }
            80..88 => {
                handle.set_len(at as u64).unwrap();
                model.resize(at, 0);
            }
            88..92 => handle.sync_range(at as u64..(at + len) as u64).unwrap(),
            92..96 => drop(mapping.write_cyclic(Budget::pages(3)).unwrap()),
            96..99 => {
                handle.sync_data().unwrap();
                assert!(store.durable() == model, "durable bytes differ");
                assert_settled(&mapping);
            }
            _ => {
                mapping.close().unwrap();
                assert!(store.durable() == model, "saved bytes differ");
                mapping = Mapping::with_config(Arc::new(store.clone()), config.clone()).unwrap();
            }
        }
        assert_eq!(mapping.len(), model.len() as u64);
        mapping.check().unwrap();
    }
    assert!(contents(&mapping) == model, "cached bytes differ");
}

#[test]
fn any_sequence_of_operations_behaves_like_a_vector() {
    crate::common::watch();
    for (page_size, seed) in [(512, 1), (512, 2), (4096, 3), (4096, 4), (16_384, 5)] {
        behaves_like_a_vector(page_size, seed);
    }
}

#[test]
fn reads_are_short_at_the_end_and_empty_beyond_it() {
    let mapping = Mapping::open(MemStore::with_contents(vec![7; PAGE + 10])).unwrap();
    let handle = mapping.handle();
    let mut bytes = [0; 100];
    assert_eq!(handle.read_at(&mut bytes, PAGE as u64 - 5).unwrap(), 15);
    assert_eq!(handle.read_at(&mut bytes, PAGE as u64 + 10).unwrap(), 0);
    assert_eq!(handle.read_at(&mut bytes, u64::MAX).unwrap(), 0);
    assert_eq!(handle.read_at(&mut [], 0).unwrap(), 0);
}

#[test]
fn a_write_beyond_the_end_leaves_zeros_before_it() {
    crate::common::watch();
    let store = MemStore::new();
    let handle = Mapping::open(store.clone()).unwrap().handle();
    handle.write_at(b"abc", 0).unwrap();
    handle.write_at(b"xyz", 3 * PAGE as u64 + 1).unwrap();
    handle.sync_data().unwrap();
    let durable = store.durable();
    assert_eq!(durable.len(), 3 * PAGE + 4);
    assert_eq!((&durable[..3], &durable[3 * PAGE + 1..]), (&b"abc"[..], &b"xyz"[..]));
    assert!(durable[3..=3 * PAGE].iter().all(|byte| *byte == 0));
}

#[test]
fn an_offset_that_overflows_is_an_error_and_writes_nothing() {
    let (mapping, _store) = open(1);
    let handle = mapping.handle();
    for offset in [u64::MAX, u64::MAX - 1, i64::MAX.unsigned_abs(), 1 << 63] {
        let error = handle.write_at(b"abc", offset).unwrap_err();
        assert!(matches!(error, Error::OutOfRange { len: 3, .. }), "{error}");
        assert!(handle.set_len(offset.saturating_add(1)).is_err());
    }
    assert_eq!((mapping.len(), mapping.stats().dirty), (PAGE as u64, 0));
    assert!(matches!(mapping.page(u64::MAX), Err(Error::OutOfRange { .. })));
    assert!(matches!(mapping.page(1), Err(Error::OutOfRange { .. })));
    assert!(mapping.page(0).unwrap().write_with(10..PAGE + 1, |_| ()).is_err());
}

#[test]
fn an_empty_write_changes_nothing() {
    let (mapping, _store) = open(1);
    mapping.handle().write_at(&[], 1 << 40).unwrap();
    assert_eq!((mapping.len(), mapping.stats().cached), (PAGE as u64, 0));
}

#[test]
fn configurations_that_can_not_work_are_refused() {
    for page_size in [0, 1, 256, 1000, 4097, 32 << 20] {
        let opened = Mapping::memory_backed(Config::new().page_size(page_size));
        assert!(matches!(opened, Err(Error::Config { .. })), "{page_size}");
    }
    for page_size in [512, 1024, 4096, 65_536, 1 << 20] {
        Mapping::memory_backed(Config::new().page_size(page_size)).unwrap();
    }
}

#[test]
fn a_whole_page_is_overwritten_without_reading_it() {
    let (mapping, _store) = open(4);
    mapping.handle().write_at(&[1; 2 * PAGE], 0).unwrap();
    mapping.handle().write_at(b"end", 4 * PAGE as u64).unwrap();
    assert_eq!(mapping.stats().read, 0);
    mapping.handle().write_at(b"part", 2 * PAGE as u64).unwrap();
    assert_eq!(mapping.stats().read, 1);
}

#[test]
fn a_page_is_read_if_a_write_leaves_any_of_its_bytes() {
    crate::common::watch();
    let store = MemStore::with_contents(b"0123456789");
    let handle = Mapping::open(store.clone()).unwrap().handle();
    handle.write_at(&[b'x'; 20], 5).unwrap();
    handle.sync_data().unwrap();
    assert_eq!(store.durable(), b"01234xxxxxxxxxxxxxxxxxxxx");
    let handle = Mapping::open(store).unwrap().handle();
    handle.write_at(&[b'y'; 25], 0).unwrap();
    assert_eq!(handle.mapping().stats().read, 0, "none of them is left");
}

#[test]
fn what_is_cut_off_does_not_come_back() {
    let (mapping, store) = open_dirty(3, 9);
    let handle = mapping.handle();
    handle.sync_data().unwrap();
    handle.set_len(PAGE as u64 + 5).unwrap();
    handle.set_len(3 * PAGE as u64).unwrap();
    let mut expected = vec![9; PAGE + 5];
    expected.resize(3 * PAGE, 0);
    assert!(contents(&mapping) == expected, "in the cache");
    handle.sync_all().unwrap();
    assert!(store.durable() == expected, "in the store");
    assert_settled(&mapping);
}

#[test]
fn pages_side_by_side_are_written_in_one_batch() {
    let (mapping, store) = open_dirty(10, 1);
    mapping.handle().sync_data().unwrap();
    assert_eq!(store.batches(), [(0, 10)]);
    let handle = mapping.handle();
    for index in [1, 2, 5, 6, 7, 9_u64] {
        handle.write_at(b"x", index * PAGE as u64).unwrap();
    }
    handle.sync_data().unwrap();
    assert_eq!(store.batches()[1..], [(1, 2), (5, 3), (9, 1)]);
}

#[test]
fn the_budget_bounds_background_writeback_and_not_a_full_pass() {
    let (mapping, _store) = open_dirty(10, 1);
    let background =
        |pages| mapping.write_range(2.., SyncMode::Skip, Budget::pages(pages)).unwrap();
    assert_eq!(background(3).submitted, 3);
    assert_eq!(background(0).submitted, 0);
    assert_eq!(mapping.stats().dirty, 7);
    let all = mapping.write_range(..9, SyncMode::Wait, Budget::pages(1)).unwrap();
    assert_eq!(all.submitted, 6);
    #[expect(clippy::reversed_empty_ranges, reason = "that is the point")]
    let nothing = mapping.write_range(9..2, SyncMode::Wait, Budget::UNLIMITED).unwrap();
    assert_eq!(nothing.submitted, 0);
    assert!(mapping.page(9).unwrap().has_tag(PageTag::Dirty));
}

#[test]
fn cyclic_passes_go_round() {
    let (mapping, store) = open_dirty(5, 1);
    let handle = mapping.handle();
    let pass = |pages| mapping.write_cyclic(Budget::pages(pages)).unwrap().submitted;
    assert_eq!(pass(3), 3);
    handle.write_at(b"x", 0).unwrap();
    assert_eq!(pass(3), 2, "ends at the end, without starting over");
    assert_eq!(pass(3), 1, "the next one starts at the beginning");
    assert_eq!(store.batches(), [(0, 3), (3, 2), (0, 1)]);
}

#[test]
fn one_page_can_be_written_by_itself() {
    let (mapping, store) = open_dirty(3, 1);
    assert!(mapping.write_page(1, SyncMode::Wait).unwrap());
    assert!(!mapping.write_page(1, SyncMode::Wait).unwrap(), "clean");
    assert!(!mapping.write_page(77, SyncMode::Wait).unwrap(), "not cached");
    assert!(mapping.write_page(2, SyncMode::Skip).unwrap());
    assert_eq!(store.batches(), [(1, 1), (2, 1)]);
    let hold = mapping.hold_page(0).unwrap();
    assert!(!mapping.write_page(0, SyncMode::Skip).unwrap(), "held");
    drop(hold);
    assert_eq!(mapping.stats().dirty, 1);
}

#[test]
fn sync_range_writes_the_pages_it_touches_and_no_others() {
    let (mapping, store) = open_dirty(6, 1);
    mapping.handle().sync_range(PAGE as u64 + 7..3 * PAGE as u64 + 1).unwrap();
    assert_eq!(store.batches(), [(1, 3)]);
    mapping.handle().sync_range(5..5).unwrap();
    assert_eq!(mapping.stats().dirty, 3);
}

#[test]
fn a_sync_writes_more_pages_than_it_tags_in_one_go() {
    crate::common::watch();
    let (size, pages) = (512, 9_000);
    let store = MemStore::new();
    let config = Config::new().page_size(size);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    mapping.handle().write_at(&vec![3; pages * size], 0).unwrap();
    mapping.handle().sync_data().unwrap();
    assert!(store.durable() == vec![3; pages * size]);
    assert_settled(&mapping);
}

#[test]
fn nothing_is_flushed_twice() {
    let (mapping, store) = open_dirty(1, 1);
    let handle = mapping.handle();
    handle.sync_data().unwrap();
    handle.sync_data().unwrap();
    assert_eq!(store.flushes_begun(), 1);
    handle.sync_all().unwrap();
    assert_eq!(store.flushes_begun(), 2, "a data flush does not cover everything");
    handle.sync_all().unwrap();
    handle.set_len(10).unwrap();
    handle.sync_data().unwrap();
    assert_eq!(store.flushes_begun(), 3, "a new length is to be flushed");
}

#[test]
fn a_memory_backed_mapping_moves_flags_and_writes_nothing() {
    crate::common::watch();
    let mapping = Mapping::memory_backed(Config::new()).unwrap();
    let handle = mapping.handle();
    handle.write_at(&[5; 3 * PAGE], 0).unwrap();
    handle.sync_all().unwrap();
    assert_eq!(mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED).unwrap().submitted, 0);
    assert_eq!(mapping.write_cyclic(Budget::UNLIMITED).unwrap().submitted, 0);
    assert!(!mapping.write_page(0, SyncMode::Wait).unwrap());
    let page = mapping.page(1).unwrap();
    assert!(page.snapshot().is_dirty() && page.has_tag(PageTag::Dirty));
    let claim = page.lock_state().unwrap().clear_dirty_for_io().unwrap();
    claim.start_writeback().unwrap().end(Ok(()));
    assert!(!page.snapshot().is_dirty() && !page.has_tag(PageTag::Dirty));
    assert!(mapping.page(2).unwrap().lock_state().unwrap().cancel_dirty());
    let stats = mapping.stats();
    assert_eq!((stats.dirty, stats.writeback, stats.dirtied, stats.written), (0, 0, 0, 0));
    handle.set_len(PAGE as u64 + 1).unwrap();
    assert_eq!(contents(&mapping), vec![5; PAGE + 1]);
    mapping.check().unwrap();
    mapping.close().unwrap();
}

#[test]
fn a_file_holds_what_was_synced() {
    crate::common::watch();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pages");
    let mut expected = vec![0; 700 * PAGE + 123];
    SmallRng::seed_from_u64(9).fill_bytes(&mut expected);
    let mapping = Mapping::open(FileStore::create(&path).unwrap()).unwrap();
    let handle = mapping.handle();
    handle.write_at(&expected, 0).unwrap();
    handle.sync_data().unwrap();
    assert!(std::fs::read(&path).unwrap() == expected, "past the cache");
    handle.set_len(5 * PAGE as u64 + 1).unwrap();
    expected.truncate(5 * PAGE + 1);
    mapping.close().unwrap();
    assert!(std::fs::read(&path).unwrap() == expected, "after the cut");
    drop(handle);

    let mapping = Mapping::open(FileStore::open(&path).unwrap()).unwrap();
    assert!(contents(&mapping) == expected, "read again");
    drop(mapping);
    assert!(!Mapping::open(FileStore::open_or_create(&path).unwrap()).unwrap().is_empty());
    assert_eq!(FileStore::create(&path).unwrap().len().unwrap(), 0);
}

#[test]
fn writers_are_refused_after_close_and_readers_are_not() {
    let (mapping, _store) = open_dirty(2, 8);
    let (handle, page) = (mapping.handle(), mapping.page(0).unwrap());
    mapping.close().unwrap();
    assert!(matches!(handle.write_at(b"x", 0), Err(Error::Closed)));
    assert!(matches!(handle.write_at(b"x", 1 << 20), Err(Error::Closed)));
    assert!(matches!(handle.set_len(0), Err(Error::Closed)));
    assert!(matches!(page.mark_dirty(), Err(Error::Closed)));
    assert!(matches!(page.write_with(0..1, |_| ()), Err(Error::Closed)));
    let mut bytes = [0; 3];
    assert_eq!(handle.read_at(&mut bytes, 0).unwrap(), 3);
    assert_eq!(bytes, [8; 3]);
    handle.sync_all().unwrap();
}

#[test]
fn an_empty_store_is_an_empty_mapping() {
    let mapping = Mapping::open(TestStore::new()).unwrap();
    assert!(mapping.is_empty() && mapping.handle().is_empty());
    mapping.handle().sync_all().unwrap();
    mapping.handle().set_len(0).unwrap();
    let mut stats = mapping.stats();
    // An earlier process may have emptied it.
    assert_eq!(std::mem::take(&mut stats.flushes), 1);
    assert_eq!(stats, writeback::stats::Stats::default());
    assert!(mapping.store().is_empty().unwrap());
}

#[test]
fn a_write_of_no_bytes_lengthens_nothing() {
    crate::common::watch();
    let mapping = Mapping::open(MemStore::new()).unwrap();
    let handle = mapping.handle();
    handle.write_at(b"abc", 0).unwrap();
    handle.write_at(&[], 9).unwrap();
    mapping.page(0).unwrap().write_with(9..9, |_| ()).unwrap();
    assert_eq!(mapping.len(), 3);
}
