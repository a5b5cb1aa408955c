//! What the process takes for cached pages: one byte of memory a byte, whatever was done with them. One test, so that it is alone in its process.

use std::sync::Arc;

use writeback::store::{
    Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch,
};
use writeback::{Config, Mapping, StoreError};

const PAGE: usize = 4096;
const PAGES: u64 = 16_384;
const MIB: u64 = 1 << 20;

/// A store that keeps nothing, so that all memory is the cache's.
#[derive(Debug)]
struct Sevens;

impl Store for Sevens {
    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(PAGES * PAGE as u64)
    }

    fn set_len(&self, _len: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn read(&self, run: ReadRun) {
        run.fill(|_offset, into| {
            into.fill(7);
            Ok(into.len())
        });
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        let count = batch.len();
        drop(batch);
        completion.complete(Ok(count));
    }

    fn flush(&self, _kind: FlushKind, completion: FlushCompletion) {
        completion.complete(Ok(()));
    }
}

/// The resident set, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("pages");
    pages * 4096
}

#[test]
fn a_cached_page_takes_its_bytes_once() {
    if !cfg!(target_os = "linux") {
        println!("resident: the system has no /proc/self/statm");
        return;
    }
    let mut bytes = vec![1; PAGE];
    let before = resident();
    let mapping = Mapping::with_config(Arc::new(Sevens), Config::new()).unwrap();
    let handle = mapping.handle();
    let cached = PAGES * PAGE as u64;
    // A descriptor, its reference counts and an entry of the tree for each page.
    let beside = PAGES * 320 + 4 * MIB;
    let check = |what: &str| {
        let taken = resident() - before;
        println!("{what}: {:.3} bytes a byte", taken as f64 / cached as f64);
        assert!(taken >= cached, "{what}: the pages are not there");
        assert!(taken <= cached * 105 / 100 + beside, "{what}: {} MiB", taken / MIB);
    };
    for page in 0..PAGES {
        handle.read_at(&mut bytes, page * PAGE as u64).unwrap();
        assert_eq!(bytes[PAGE - 1], 7);
    }
    check("read");
    bytes.fill(1);
    for page in 0..PAGES {
        handle.write_at(&bytes, page * PAGE as u64).unwrap();
    }
    check("written");
    handle.sync_data().unwrap();
    check("synced");
}
