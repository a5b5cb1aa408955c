//! What the tests share.
#![allow(dead_code, reason = "no test uses all of it")]

pub(crate) mod history;
pub(crate) mod server;

use std::sync::Arc;

use writeback::StoreError;
use writeback::store::Store;
use writeback_objects::object_store::ObjectStore;
use writeback_objects::object_store::memory::InMemory;
use writeback_objects::{ObjectOptions, ObjectPages};

pub(crate) const CHUNK: usize = 4096;

pub(crate) fn bucket() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

/// So little is kept in memory that much is spilled.
pub(crate) fn spilling() -> ObjectOptions {
    ObjectPages::options().staging_bytes(64 << 10)
}

pub(crate) fn contents(store: &ObjectPages) -> Vec<u8> {
    read_all(store).unwrap()
}

pub(crate) fn read_all(store: &ObjectPages) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![0xee; usize::try_from(store.len()?).unwrap() + CHUNK];
    let count = store.read_at(0, &mut bytes)?;
    bytes.truncate(count);
    Ok(bytes)
}
