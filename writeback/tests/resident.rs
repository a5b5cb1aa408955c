//! What the process takes for cached pages: one byte of memory a byte, whatever was done with them and however large they are. One test, so
//! that it is alone in its process.

use std::sync::Arc;

use writeback::store::{Completion, FlushKind, Limits, Store, WriteBatch};
use writeback::{CacheConfig, Config, Mapping, PageCache, StoreError};

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

    fn read(&self, _offset: u64, into: &mut [u8]) -> Result<usize, StoreError> {
        into.fill(7);
        Ok(into.len())
    }

    fn submit(&self, batch: WriteBatch, completion: Completion) {
        let count = batch.len();
        drop(batch);
        completion.complete(Ok(count));
    }

    fn flush(&self, _kind: FlushKind) -> Result<(), StoreError> {
        Ok(())
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
    read_written_and_synced();
    of_all_sizes_in_one_cache();
}

/// Fails unless what was taken since `before` is what is `cached`, and little more.
fn check(what: &str, before: u64, cached: u64) {
    let taken = resident().saturating_sub(before);
    println!("{what}: {:.3} bytes a byte", taken as f64 / cached as f64);
    assert!(taken <= cached * 105 / 100 + 4 * MIB, "{what}: {} MiB", taken / MIB);
}

fn read_written_and_synced() {
    let mut bytes = vec![1; PAGE];
    let before = resident();
    let mapping = Mapping::with_config(Arc::new(Sevens), Config::new()).unwrap();
    let handle = mapping.handle();
    let cached = PAGES * PAGE as u64;
    let check = |what: &str| {
        assert!(resident() - before >= cached, "{what}: the pages are not there");
        check(what, before, cached);
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

/// Pages of one size take the place of those of another, several times over.
fn of_all_sizes_in_one_cache() {
    let before = resident();
    let cache = PageCache::new(CacheConfig::bytes(32 * MIB)).unwrap();
    let open = |size: usize| {
        let config = Config::new().page_size(size).cache(&cache);
        (size, Mapping::with_config(Arc::new(Sevens), config).unwrap())
    };
    let mappings = [4096, 1 << 20, 16_384, 512, 65_536].map(open);
    let mut most = 0;
    for round in 0..3 {
        for (size, mapping) in &mappings {
            let mut bytes = vec![1; *size];
            // Small pages have large descriptors, so that few of them are cached.
            let end = if *size < PAGE { MIB } else { PAGES * PAGE as u64 };
            for at in (0..end).step_by(*size) {
                mapping.handle().read_at(&mut bytes, at).unwrap();
            }
            mapping.handle().write_at(&bytes, 0).unwrap();
            mapping.handle().sync_data().unwrap();
            let cached = cache.stats().cached_bytes;
            assert!(cached <= 32 * MIB, "{cached} bytes are cached");
            check(&format!("round {round}, pages of {size}"), before, 32 * MIB);
            most = most.max(cached);
        }
    }
    assert!(most > 31 * MIB, "{most} bytes were cached at most");
    cache.check().unwrap();
}
