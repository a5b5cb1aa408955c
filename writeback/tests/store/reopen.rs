//! A mapping does not know who wrote what its store holds, nor whether that was flushed: an earlier process may have been
//! killed before its sync. What is read, and then synced, is durable.

use std::path::Path;

use writeback::store::fault::{Action, FaultConfig, FaultStore};
use writeback::store::{FlushKind, Store};
use writeback::{Budget, FileStore, Handle, Mapping, MemStore, Result, SyncMode};

use crate::common_files::reopened;
use crate::within;

/// A store with what a process left that wrote 8192 bytes, cut them to 5000, and was killed before it flushed.
fn abandoned(seed: u64) -> FaultStore {
    let store = FaultStore::with_config(FaultConfig::new(seed).contents([1; 3000]));
    let first = Mapping::open(store.clone()).unwrap();
    first.handle().write_at(&[7; 8192], 0).unwrap();
    first.write_range(.., SyncMode::Wait, Budget::UNLIMITED).unwrap();
    first.wait_range(..);
    first.handle().set_len(5000).unwrap();
    assert_eq!(store.operations(Action::Flush), 0);
    store
}

/// Whatever the power cut is like, the bytes are there.
fn assert_durable(store: &FaultStore, bytes: &[u8]) {
    for seed in 0..100 {
        assert!(store.crash_clone(seed).accepted() == bytes, "lost by power cut {seed}");
    }
}

fn first_sync_covers(sync: impl Fn(&Handle) -> Result<()>) {
    let store = abandoned(1);
    let handle = Mapping::open(store.clone()).unwrap().handle();
    assert_eq!(handle.mapping().stats().unflushed, 1);
    let mut bytes = [0; 8192];
    assert_eq!(handle.read_at(&mut bytes, 0).unwrap(), 5000);
    sync(&handle).unwrap();
    assert_eq!(store.operations(Action::Flush), 1);
    assert_durable(&store, &[7; 5000]);
    // Once is enough.
    assert_eq!(handle.mapping().stats().unflushed, 0);
    sync(&handle).unwrap();
    assert_eq!(store.operations(Action::Flush), 1);
}

#[test]
fn a_sync_covers_what_an_earlier_process_left_unflushed() {
    first_sync_covers(Handle::sync_data);
    first_sync_covers(Handle::sync_all);
    first_sync_covers(|handle| handle.sync_range(0..1));
}

#[test]
fn closing_covers_what_an_earlier_process_left_unflushed() {
    let store = abandoned(2);
    Mapping::open(store.clone()).unwrap().close().unwrap();
    assert_eq!(store.operations(Action::Flush), 1);
    assert_durable(&store, &[7; 5000]);
}

#[test]
fn a_sync_covers_an_earlier_cut_also_to_nothing() {
    let store = MemStore::with_contents([1; 5000]);
    store.set_len(0).unwrap();
    let mapping = Mapping::open(store.clone()).unwrap();
    assert!(mapping.is_empty());
    mapping.handle().sync_data().unwrap();
    assert_eq!(store.durable(), b"");
}

#[test]
fn a_sync_of_data_does_not_cover_all_that_an_earlier_process_left() {
    let store = abandoned(3);
    let handle = Mapping::open(store.clone()).unwrap().handle();
    handle.sync_data().unwrap();
    handle.sync_all().unwrap();
    handle.sync_all().unwrap();
    assert_eq!(store.operations(Action::Flush), 2);
}

/// Nothing is written, and yet there is something to flush: the file, which may be new or have been cut, and its name.
#[test]
fn an_empty_file_is_flushed_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "to be cut").unwrap();
    let opens: [fn(&Path) -> std::io::Result<FileStore>; 3] = [
        |path| FileStore::create(path),
        |path| FileStore::open(path),
        |path| FileStore::open_or_create(path),
    ];
    for open in opens {
        let mapping = Mapping::open(reopened(|| open(&path))).unwrap();
        mapping.handle().sync_all().unwrap();
        assert_eq!(mapping.stats().flushes, 1);
        within(move || mapping.close().unwrap());
    }
}

#[test]
fn a_mapping_without_a_store_has_nothing_to_flush() {
    let mapping = Mapping::memory_backed(writeback::Config::new()).unwrap();
    assert_eq!(mapping.stats().unflushed, 0);
    mapping.handle().sync_all().unwrap();
    assert_eq!(mapping.stats().flushes, 0);
}

/// As a store is used by itself.
#[test]
fn a_file_store_is_flushed_as_often_as_it_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::create(folder.path().join("file")).unwrap();
    for kind in [FlushKind::Data, FlushKind::All, FlushKind::All] {
        store.sync(kind).unwrap();
    }
}
