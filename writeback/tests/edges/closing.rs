//! Closing: `Ok` means that all is saved, and that nothing comes after it.

use std::sync::Arc;
use std::thread;

use writeback::{Config, Error, Flusher, FlusherConfig, Mapping, StoreError, SyncMode};

use crate::common::*;

/// A mapping with one dirty page whose close has written it, in vain, and waits for its flush.
fn closing() -> (Mapping, TestStore, thread::JoinHandle<Result<(), Error>>) {
    let (mapping, store) = open_dirty(1, 7);
    store.writes(Writes::Fail(StoreError::NoSpace));
    store.block_flush(true);
    let closer = close(&mapping);
    eventually("it flushes", || store.flushes_begun() == 1);
    store.writes(Writes::Accept);
    (mapping, store, closer)
}

fn close(mapping: &Mapping) -> thread::JoinHandle<Result<(), Error>> {
    let mapping = mapping.clone();
    thread::spawn(move || mapping.close().map_err(|failed| failed.error))
}

#[test]
fn what_another_writes_well_during_the_flush_is_flushed_before_the_close_is_over() {
    let (mapping, store, closer) = closing();
    assert!(mapping.write_page(0, SyncMode::Wait).unwrap(), "its write had failed");
    store.block_flush(false);
    closer.join().unwrap().unwrap();
    assert!(store.durable() == [7; PAGE], "closed, and not durable");
    assert_eq!(mapping.stats().unflushed, 0);
    assert_settled(&mapping);
}

#[test]
fn a_page_that_somebody_has_claimed_is_not_saved() {
    let (mapping, store, closer) = closing();
    let claim = page(&mapping, 0).lock_state().unwrap().clear_dirty_for_io().expect("dirty");
    store.block_flush(false);
    assert!(matches!(closer.join().unwrap(), Err(Error::Write { .. })));
    claim.redirty();
    mapping.close().map_err(|failed| failed.error).unwrap();
    assert!(store.durable() == [7; PAGE]);
}

#[test]
fn a_claimed_page_counts_as_not_saved() {
    let (mapping, store) = open_dirty(3, 7);
    store.fail_flush(true);
    let flusher = Flusher::start([mapping.clone()], FlusherConfig::new()).unwrap();
    let claim = page(&mapping, 0).lock_state().unwrap().clear_dirty_for_io().expect("dirty");
    assert_eq!(flusher.stop().unwritten, 3);
    claim.redirty();
    // Its flush fails: all pages are written, and one is dirty again.
    page(&mapping, 1).write_with(0..1, |bytes| bytes.fill(1)).unwrap();
    let failed = mapping.close().unwrap_err();
    assert!(failed.error.is_poisoned() || matches!(failed.error, Error::Flush { .. }));
    assert_eq!(failed.unsaved_pages, 0);
}

#[test]
fn a_close_that_fails_lets_nobody_in_whom_another_close_keeps_out() {
    let (mapping, store, closer) = closing();
    store.writes(Writes::Keep);
    // The page is dirty, and this writes it.
    let other = close(&mapping);
    eventually("the other has written", || store.kept() == 1);
    store.block_flush(false);
    assert!(matches!(closer.join().unwrap(), Err(Error::Write { .. })));
    assert!(matches!(mapping.handle().write_at(b"late", 0), Err(Error::Closed)));
    store.release_first(Ok(()));
    other.join().unwrap().unwrap();
    assert!(matches!(mapping.handle().write_at(b"late", 0), Err(Error::Closed)));
    assert!(store.durable() == [7; PAGE]);
}

#[test]
fn a_close_that_fails_alone_lets_writers_in_again() {
    let (mapping, store) = open_dirty(1, 7);
    store.writes(Writes::Fail(StoreError::NoSpace));
    let failed = mapping.close().unwrap_err();
    assert_eq!(failed.unsaved_pages, 1);
    store.writes(Writes::Accept);
    failed.mapping.handle().write_at(&[8; PAGE], 0).unwrap();
    failed.mapping.close().map_err(|failed| failed.error).unwrap();
    assert!(store.durable() == [8; PAGE]);
}

#[test]
fn a_cut_waits_for_who_holds_what_it_cuts_of_the_last_page_and_for_nobody_else() {
    let store = TestStore::new();
    let config = Config::new().page_size(4 * PAGE).block_size(PAGE);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    let handle = mapping.handle();
    handle.write_at(&[7; 4 * PAGE], 0).unwrap();
    let mut hold = mapping.hold_blocks(0, 1..2).unwrap();
    assert!(hold.take_dirty());
    let image = hold.image();
    let in_front = mapping.hold_blocks(0, 0..1).unwrap();
    let cutter = thread::spawn({
        let handle = mapping.handle();
        move || handle.set_len(5000)
    });
    eventually("the cut has begun", || mapping.len() == 5000);
    never("the cut ends", || cutter.is_finished());
    store.put_beyond(hold.offset(), image.as_ref());
    hold.written();
    cutter.join().unwrap().unwrap();
    drop(in_front);
    handle.sync_data().unwrap();
    assert_eq!(store.durable().len(), 5000, "what was cut is back");
    // What is cut away is zeros when the mapping is longer again.
    handle.write_at(&[9], 9000).unwrap();
    handle.sync_data().unwrap();
    let durable = store.durable();
    assert!(durable[..5000] == [7; 5000] && durable[5000..9000].iter().all(|byte| *byte == 0));
    assert_settled(&mapping);
}
