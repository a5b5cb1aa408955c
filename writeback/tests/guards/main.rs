//! Guards: what they promise, and what may be called while one is held.

#[path = "../common/mod.rs"]
mod common;

mod bytes;
mod pages;
mod under;

use std::sync::Arc;

use common::{PAGE, TestStore};
use writeback::store::Store;
use writeback::{Config, Mapping, PageCache};

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
