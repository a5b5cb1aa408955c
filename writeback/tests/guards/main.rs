//! Guards: what they promise, and what may be called while one is held.

#[path = "../common/mod.rs"]
mod common;

mod bytes;
mod pages;
mod under;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{PAGE, TestStore, Writes, eventually, never, open, open_dirty, page};
use writeback::hooks::{Log, Observer, Seal};
use writeback::page::{PageRef, PageTag};
use writeback::store::Store;
use writeback::{
    Budget, CacheConfig, Config, Error, Flusher, FlusherConfig, Mapping, MemStore, PageCache,
    Result, SyncMode,
};

/// Syncs, and then nothing is left.
#[track_caller]
fn settle(mapping: &Mapping) {
    mapping.handle().sync_data().unwrap();
    common::assert_settled(mapping);
}

/// A mapping of `pages` pages of zeros in a cache.
fn open_in(cache: &PageCache, pages: usize) -> (Mapping, TestStore) {
    let store = TestStore::new();
    store.set_len((pages * PAGE) as u64).unwrap();
    let config = Config::new().cache(cache);
    (Mapping::with_config(Arc::new(store.clone()), config).unwrap(), store)
}
