//! What the tests share.
#![allow(dead_code, reason = "no test uses all of it")]

pub(crate) mod gate;
pub(crate) mod history;
pub(crate) mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

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

/// How many keys the database has under `prefix`.
pub(crate) fn keys(store: &ObjectPages, prefix: &'static str) -> usize {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut found = runtime.block_on(store.db().scan_prefix(prefix, ..)).unwrap();
    std::iter::from_fn(|| runtime.block_on(found.next()).unwrap()).count()
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
