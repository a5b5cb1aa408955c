//! What the process takes for cached pages: one byte of memory a byte, whatever was done with them and however large they are. One test, so
//! that it is alone in its process.
//!
//! * `WRITEBACK_CHURN_SECONDS`: how long pages come and go, 1 if it is not set.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use writeback::store::{
    Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch,
};
use writeback::{Budget, CacheConfig, Config, Mapping, PageCache, StoreError, SyncMode};

const PAGE: usize = 4096;
const PAGES: u64 = 16_384;
const MIB: u64 = 1 << 20;

/// A store that keeps nothing, so that all memory is the cache's; but for writes, until they are to end.
#[derive(Debug, Default)]
struct Sevens {
    keeps_writes: AtomicBool,
    kept: Mutex<Vec<(WriteBatch, Completion)>>,
}

impl Sevens {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn end_writes(&self) {
        self.keeps_writes.store(false, Ordering::Relaxed);
        let kept = std::mem::take(&mut *self.kept.lock().expect("no panic under it"));
        kept.into_iter().for_each(|(batch, completion)| self.write(batch, completion));
    }
}

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
        if self.keeps_writes.load(Ordering::Relaxed) {
            return self.kept.lock().expect("no panic under it").push((batch, completion));
        }
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
    read_written_and_synced();
    of_all_sizes_in_one_cache();
    changed_while_it_is_written();
    resized();
    churned();
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
    let mapping = Mapping::with_config(Sevens::new(), Config::new()).unwrap();
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
        (size, Mapping::with_config(Sevens::new(), config).unwrap())
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

/// A quarter of what is cached is being written and has changed since, so that it is there twice.
fn changed_while_it_is_written() {
    let before = resident();
    let pages = 32 * MIB / PAGE as u64;
    let config = CacheConfig::bytes(32 * MIB).dirty_pages_max(pages).dirty_pages_background(pages);
    let cache = PageCache::new(config).unwrap();
    let store = Sevens::new();
    let mapping = Mapping::with_config(store.clone(), Config::new().cache(&cache)).unwrap();
    let write = |pages, byte| {
        for page in 0..pages {
            mapping.handle().write_at(&[byte; PAGE], page * PAGE as u64).unwrap();
        }
    };
    write(pages, 1);
    mapping.handle().sync_data().unwrap();
    check("before it is changed", before, 32 * MIB);
    store.keeps_writes.store(true, Ordering::Relaxed);
    write(pages / 4, 2);
    mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
    write(pages / 4, 3);
    let image_bytes = cache.stats().image_bytes;
    assert_eq!(image_bytes, 8 * MIB, "all that is being written has changed");
    check("changed while it is written", before, 32 * MIB);
    store.end_writes();
    mapping.handle().sync_data().unwrap();
    check("synced again", before, 32 * MIB);
    cache.check().unwrap();
}

/// Memory comes with the capacity and goes with it: at once where pages are clean, after the sync where they are dirty.
fn resized() {
    let before = resident();
    let pages = 64 * MIB / PAGE as u64;
    let config = CacheConfig::bytes(64 * MIB).dirty_pages_max(pages).dirty_pages_background(pages);
    let cache = PageCache::new(config).unwrap();
    let mapping = Mapping::with_config(Sevens::new(), Config::new().cache(&cache)).unwrap();
    let mut bytes = vec![0; 4 * PAGE];
    let read_all = |bytes: &mut [u8]| {
        for at in (0..64 * MIB).step_by(bytes.len()) {
            mapping.handle().read_at(bytes, at).unwrap();
        }
    };
    for round in 0..3 {
        read_all(&mut bytes);
        assert!(resident() - before >= 60 * MIB, "the pages are not there");
        cache.resize(16 * MIB).unwrap();
        check(&format!("clean, smaller, {round}"), before, 16 * MIB);
        read_all(&mut bytes);
        check(&format!("read again, {round}"), before, 16 * MIB);
        cache.resize(64 * MIB).unwrap();
        for at in (0..64 * MIB).step_by(bytes.len()) {
            mapping.handle().write_at(&bytes, at).unwrap();
        }
        cache.resize(16 * MIB).unwrap();
        assert_eq!(cache.stats().dirty, pages, "none is lost");
        mapping.handle().sync_data().unwrap();
        check(&format!("dirty, smaller and synced, {round}"), before, 16 * MIB);
        cache.resize(64 * MIB).unwrap();
    }
    cache.check().unwrap();
}

/// Pages of several sizes are read, written, synced, changed while they are written and evicted at random, for long.
fn churned() {
    let seconds = std::env::var("WRITEBACK_CHURN_SECONDS").map_or(1, |text| text.parse().unwrap());
    let (begun, all) = (Instant::now(), Duration::from_secs(seconds));
    let before = resident();
    let cache = PageCache::new(CacheConfig::bytes(32 * MIB).pause_max(Duration::ZERO)).unwrap();
    let open = |size: usize| {
        let config = Config::new().page_size(size).cache(&cache);
        Mapping::with_config(Sevens::new(), config).unwrap()
    };
    let mappings = [4096, 16_384, 65_536].map(open);
    let is_early = || begun.elapsed() < all + Duration::from_secs(120);
    let work = |seed: u64| {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut bytes = vec![7; 65_536];
        // Fewer pages that come and go show little, and it may take long to have as many.
        while begun.elapsed() < all || is_early() && cache.stats().reclaim.evicted <= 1000 {
            let mapping = &mappings[random.random_range(0..mappings.len())];
            let size = mapping.page_size();
            let at = random.random_range(0..64 * MIB / size as u64) * size as u64;
            match random.random_range(0..4096) {
                0 => mapping.handle().sync_data().unwrap(),
                1..1500 => mapping.handle().write_at(&bytes[..size], at).unwrap(),
                _ => _ = mapping.handle().read_at(&mut bytes[..size], at).unwrap(),
            }
        }
    };
    let (mut most, mut marks) = (0, 0);
    thread::scope(|scope| {
        let workers = [1, 2].map(|seed| scope.spawn(move || work(seed)));
        while !workers.iter().all(|worker| worker.is_finished()) {
            let taken = resident().saturating_sub(before);
            most = most.max(taken);
            if begun.elapsed() * 5 >= all * marks {
                marks += 1;
                check(&format!("after {:.0?}", begun.elapsed()), before, 32 * MIB);
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    println!("churned: {:.3} bytes a byte at most", most as f64 / (32 * MIB) as f64);
    check("churned", before, 32 * MIB);
    cache.check().unwrap();
    let stats = cache.stats();
    println!("{} evicted, {} written", stats.reclaim.evicted, stats.written);
    assert!(stats.reclaim.evicted > 1000, "{stats:?}");
    cache.resize(8 * MIB).unwrap();
    for mapping in &mappings {
        mapping.handle().sync_data().unwrap();
    }
    check("made small", before, 8 * MIB);
}
