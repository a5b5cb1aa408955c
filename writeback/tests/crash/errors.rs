//! Who is told of what: the stories that file systems are tested with, and what became of them.

use std::sync::Arc;

use parking_lot::Mutex;
use writeback::page::Writeback;
use writeback::store::fault::{Action, Fault, FaultConfig, FaultStore, Rule};
use writeback::store::{Completion, FlushKind, Store, WriteBatch};
use writeback::{Config, Error, Handle, Mapping, StoreError, SyncMode};

use crate::common::pass_on;
use crate::driver::{open, read_all};

const PAGE: usize = 4096;

/// `count` handles, each of which has written a page of its own.
fn writers(count: u8) -> (FaultStore, Mapping, Vec<Handle>, Vec<u8>) {
    let store = FaultStore::new(1);
    let mapping = open(&store, PAGE);
    let handles: Vec<_> = (0..count).map(|_| mapping.handle()).collect();
    let bytes: Vec<u8> = (0..count).flat_map(|byte| [byte + 1; PAGE]).collect();
    for (handle, page) in handles.iter().zip(bytes.chunks(PAGE)) {
        handle.write_at(page, u64::from(page[0] - 1) * PAGE as u64).unwrap();
    }
    (store, mapping, handles, bytes)
}

fn assert_all_is_durable(store: &FaultStore, mapping: &Mapping, bytes: &[u8]) {
    for seed in 0..20 {
        assert!(read_all(&store.crash_clone(seed), PAGE) == bytes);
    }
    let stats = mapping.stats();
    assert_eq!((stats.dirty, stats.writeback), (0, 0));
    mapping.check().unwrap();
}

/// As generic/441 of fstests: N descriptors write, the device fails, all syncs fail once, then none.
#[test]
fn every_handle_is_told_once_of_a_device_that_failed_for_a_moment() {
    crate::common::watch();
    let (store, mapping, handles, bytes) = writers(10);
    store.inject(Rule::new(Fault::Io).on(Action::Write).persistent());
    assert!(matches!(handles[3].sync_data(), Err(Error::Write { .. })));
    store.heal();
    for (at, handle) in handles.iter().enumerate() {
        let result = handle.sync_data();
        assert_eq!(result.is_err(), at != 3, "handle {at}: {result:?}");
    }
    for handle in &handles {
        handle.sync_data().unwrap();
        handle.check_error().unwrap();
    }
    assert_all_is_durable(&store, &mapping, &bytes);
}

/// The same with a device that goes on failing: each attempt is an error of its own, which all are told.
#[test]
fn every_sync_fails_while_the_device_does_and_each_handle_once_more_at_most() {
    crate::common::watch();
    let (store, mapping, handles, bytes) = writers(10);
    store.inject(Rule::new(Fault::Io).on(Action::Write).persistent());
    for handle in handles.iter().chain(&handles) {
        assert!(matches!(handle.sync_data(), Err(Error::Write { .. })), "not written yet");
        assert_eq!(mapping.stats().dirty, 10, "kept");
    }
    store.heal();
    let last = handles.len() - 1;
    for (at, handle) in handles.iter().enumerate() {
        // The last one to fail has been told of the latest error, the others not.
        assert_eq!(handle.sync_data().is_err(), at != last);
        handle.sync_data().unwrap();
    }
    assert_all_is_durable(&store, &mapping, &bytes);
}

/// As generic/442, where the descriptors are of one device: each syncs its own bytes only.
#[test]
fn handles_that_sync_ranges_of_their_own_are_told_of_each_other() {
    crate::common::watch();
    let (store, mapping, handles, bytes) = writers(6);
    store.inject(Rule::new(Fault::Io).on(Action::Write).touching(0..1));
    let range = |at: usize| (at * PAGE) as u64..((at + 1) * PAGE) as u64;
    assert!(handles[0].sync_range(range(0)).is_err());
    for (at, handle) in handles.iter().enumerate().skip(1) {
        assert!(matches!(handle.sync_range(range(at)), Err(Error::Write { .. })), "handle {at}");
    }
    for (at, handle) in handles.iter().enumerate() {
        handle.sync_range(range(at)).unwrap();
    }
    assert_all_is_durable(&store, &mapping, &bytes);
}

#[test]
fn a_full_store_is_told_as_such_and_room_makes_it_good() {
    crate::common::watch();
    let (store, mapping, handles, bytes) = writers(4);
    store.set_capacity(Some(2 * PAGE as u64));
    let full = handles[0].sync_data().unwrap_err();
    assert!(full.is_no_space(), "{full}");
    assert_eq!(std::io::Error::from(full).kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(mapping.stats().dirty, 2, "what found no room is kept");
    assert!(handles[1].sync_data().unwrap_err().is_no_space());
    assert!(!mapping.is_poisoned());
    // Cutting the file makes room: what is left fits.
    handles[0].set_len(2 * PAGE as u64).unwrap();
    handles.iter().for_each(|handle| drop(handle.check_error()));
    handles[0].sync_data().unwrap();
    assert_all_is_durable(&store, &mapping, &bytes[..2 * PAGE]);
    // So does a larger device.
    handles[0].write_at(&bytes[2 * PAGE..], 2 * PAGE as u64).unwrap();
    assert!(handles[0].sync_data().unwrap_err().is_no_space());
    store.set_capacity(None);
    handles[0].sync_data().unwrap();
    assert_all_is_durable(&store, &mapping, &bytes);
}

#[test]
fn closing_keeps_what_it_could_not_save_until_it_can() {
    crate::common::watch();
    let (store, mapping, handles, bytes) = writers(5);
    drop(handles);
    store.inject(
        Rule::new(Fault::Io).on(Action::Write).touching(PAGE as u64..2 * PAGE as u64).persistent(),
    );
    let failed = mapping.close().unwrap_err();
    assert!(matches!(failed.error, Error::Write { source: StoreError::Io(_) }));
    let failed = failed.mapping.close().unwrap_err();
    assert!(failed.unsaved_pages >= 1);
    let mut found = vec![0; bytes.len()];
    failed.mapping.handle().read_at(&mut found, 0).unwrap();
    assert!(found == bytes, "nothing is lost");
    store.heal();
    let mapping = failed.mapping.clone();
    failed.mapping.close().unwrap();
    assert_all_is_durable(&store, &mapping, &bytes);
}

#[test]
fn after_a_failed_flush_none_that_succeeds_makes_a_sync_succeed() {
    crate::common::watch();
    let (store, mapping, handles, bytes) = writers(2);
    handles[0].sync_data().unwrap();
    handles[0].write_at(&[9; PAGE], 0).unwrap();
    store.inject(Rule::new(Fault::Io).on(Action::Flush));
    assert!(matches!(handles[0].sync_data(), Err(Error::Flush { .. })));
    // The device would succeed now, and has nothing left to do: what it was to flush is gone.
    store.sync(FlushKind::All).unwrap();
    let lost = (0..50).filter(|seed| store.crash_clone(*seed).accepted() == bytes).count();
    assert!(lost > 0, "the story needs a device that forgets");
    let flushes = store.operations(Action::Flush);
    for handle in &handles {
        assert!(matches!(handle.sync_data(), Err(Error::Poisoned { .. })));
        assert!(matches!(handle.sync_all(), Err(Error::Poisoned { .. })));
        assert!(matches!(handle.sync_range(..1), Err(Error::Poisoned { .. })));
        assert!(matches!(handle.write_at(b"x", 0), Err(Error::Poisoned { .. })));
    }
    let mut found = vec![0; 2 * PAGE];
    assert_eq!(handles[1].read_at(&mut found, 0).unwrap(), 2 * PAGE);
    assert_eq!((found[0], found[PAGE]), (9, 2), "reads are served");
    let failed = mapping.close().unwrap_err();
    assert!(failed.error.is_poisoned());
    assert_eq!(store.operations(Action::Flush), flushes, "it is not tried again");
    failed.mapping.check().unwrap();
}

/// Out of contract: no cache can notice. That the store can do it is what engines test checksums with.
#[test]
fn a_flush_that_lies_is_believed() {
    crate::common::watch();
    let (store, _mapping, handles, bytes) = writers(1);
    store.inject(Rule::new(Fault::Lie));
    handles[0].sync_data().unwrap();
    assert!((0..50).any(|seed| store.crash_clone(seed).accepted() != bytes));
}

/// Ends another write, badly, when one that was handed to it has ended.
#[derive(Debug)]
struct EndsAnother {
    store: FaultStore,
    other: Mutex<Option<Writeback>>,
}

impl Store for EndsAnother {
    pass_on!(store: limits, len, set_len, read, flush);

    fn write(&self, batch: WriteBatch, completion: Completion) {
        self.store.write(batch, completion);
        if let Some(other) = self.other.lock().take() {
            other.end(Err(std::io::Error::other("of another page").into()));
        }
    }
}

#[test]
fn who_writes_one_page_is_told_what_became_of_that_page() {
    crate::common::watch();
    let store = FaultStore::with_config(FaultConfig::new(1).contents([0; 2 * PAGE]));
    let store = Arc::new(EndsAnother { store, other: Mutex::new(None) });
    let mapping = Mapping::with_config(Arc::<EndsAnother>::clone(&store), Config::new()).unwrap();
    mapping.handle().write_at(&[1; 2 * PAGE], 0).unwrap();
    let begin = |index| {
        let locked = mapping.page(index).unwrap().lock_state().unwrap();
        locked.clear_dirty_for_io().unwrap().start_writeback().unwrap()
    };
    *store.other.lock() = Some(begin(1));
    store.store.inject(Rule::new(Fault::NoSpace).on(Action::Write));
    let error = mapping.write_page(0, SyncMode::Wait).unwrap_err();
    assert!(error.is_no_space(), "the other page's error came later: {error}");
    *store.other.lock() = Some(begin(1));
    assert!(mapping.write_page(0, SyncMode::Wait).unwrap(), "its own write went well");
    let handle = mapping.handle();
    assert!(handle.check_error().is_err(), "who asks for the mapping's errors is told");
    handle.sync_data().unwrap();
}

#[test]
fn a_locked_page_takes_no_change_that_the_mapping_does_not_take() {
    crate::common::watch();
    let (store, mapping, handles, _) = writers(1);
    handles[0].sync_data().unwrap();
    let page = mapping.page(0).unwrap();
    mapping.clone().close().unwrap();
    let locked = page.lock_state().unwrap();
    assert!(matches!(locked.mark_dirty(), Err(Error::Closed)), "nobody would save it");
    assert_eq!(mapping.stats().dirty, 0);
    drop(locked);

    let mapping = open(&store, PAGE);
    let handle = mapping.handle();
    handle.write_at(b"x", 0).unwrap();
    store.inject(Rule::new(Fault::Io).on(Action::Flush));
    handle.sync_data().unwrap_err();
    let locked = mapping.page(0).unwrap().lock_state().unwrap();
    assert!(locked.mark_dirty().unwrap_err().is_poisoned());
    assert_eq!(mapping.stats().dirty, 0);
}
