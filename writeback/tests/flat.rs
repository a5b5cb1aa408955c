//! A file twenty times the cache is read and written at random, and memory stays flat.
//!
//! The only test of its process, because it counts what the process allocates.

#[path = "common/watchdog.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of the helpers")]
mod watchdog;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use writeback::{
    CacheConfig, Config, FileStore, Flusher, FlusherConfig, Handle, Mapping, PageCache,
};

/// Counts the bytes that are allocated now, and the most there ever were.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator, with what it asks for.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let before = ALLOCATED.fetch_add(layout.size(), Relaxed);
        MOST.fetch_max(before + layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PAGE: usize = 4096;
const CAPACITY: usize = 128;
const PAGES: usize = 20 * CAPACITY;
const THREADS: usize = 4;
const ROUNDS: usize = 2_500;

/// What a page holds in `version`: which page it is and which version, and a byte of the version's to its end.
fn fill(bytes: &mut [u8], page: usize, version: u32) {
    let word = (page as u64) << 32 | u64::from(version);
    bytes.fill(word.to_le_bytes()[0]);
    bytes[..8].copy_from_slice(&word.to_le_bytes());
}

/// Reads a page, which must be `version` from end to end.
fn check(handle: &Handle, page: usize, version: u32, bytes: &mut [u8]) {
    let count = handle.read_at(bytes, (page * PAGE) as u64).unwrap();
    assert_eq!(count, PAGE);
    let mut expected = [0; PAGE];
    if version > 0 {
        fill(&mut expected, page, version);
    }
    assert!(*bytes == expected, "page {page} is not version {version}: {:?}", &bytes[..8]);
}

/// Each thread has pages of its own, so it knows what they hold.
fn work(handle: &Handle, thread: usize, versions: &mut [u32]) {
    let mut random = SmallRng::seed_from_u64(thread as u64);
    let mut bytes = [0; PAGE];
    for _ in 0..ROUNDS {
        let at = random.random_range(0..versions.len());
        let page = at * THREADS + thread;
        if random.random_ratio(1, 3) {
            versions[at] += 1;
            fill(&mut bytes, page, versions[at]);
            handle.write_at(&bytes, (page * PAGE) as u64).unwrap();
        } else {
            check(handle, page, versions[at], &mut bytes);
        }
    }
}

#[test]
fn a_file_twenty_times_the_cache_takes_no_more_memory_than_the_cache() {
    watchdog::watch();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pages");
    std::fs::File::create(&path).unwrap().set_len((PAGES * PAGE) as u64).unwrap();
    let cache = PageCache::new(CacheConfig::new(CAPACITY as u64)).unwrap();
    let store = Arc::new(FileStore::open(&path).unwrap());
    let mapping = Mapping::with_config(store, Config::new().cache(&cache)).unwrap();
    let config = FlusherConfig::new()
        .interval(Duration::from_millis(5))
        .dirty_expire(Duration::from_millis(5))
        .background_pages(CAPACITY as u64 / 10);
    let flusher = Flusher::start([mapping.clone()], config).unwrap();
    let before = ALLOCATED.load(Relaxed);
    MOST.store(before, Relaxed);

    let versions = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (handle, versions) = (mapping.handle(), &versions);
            scope.spawn(move || {
                let mut own = vec![0; PAGES / THREADS];
                work(&handle, thread, &mut own);
                versions.lock().unwrap().push((thread, own));
            });
        }
    });
    let most = MOST.load(Relaxed) - before;
    let stats = cache.stats();
    eprintln!("at most {} KiB for {} KiB of pages; {stats:?}", most >> 10, (CAPACITY * PAGE) >> 10);
    assert!(stats.cached <= CAPACITY as u64 + stats.overcommitted, "{stats:?}");

    flusher.stop();
    mapping.handle().sync_data().unwrap();
    cache.evict(PAGES as u64);
    let mut bytes = [0; PAGE];
    for (thread, own) in versions.into_inner().unwrap() {
        for (at, version) in own.into_iter().enumerate() {
            check(&mapping.handle(), at * THREADS + thread, version, &mut bytes);
        }
    }
    mapping.check().unwrap();
    cache.check().unwrap();
    // The pages, as many images again at the most, and what the index, its garbage and others need. Where frames come from the
    // allocator, which is what is counted, they come by two megabytes.
    let frames = if cfg!(target_os = "linux") { 2 * CAPACITY * PAGE } else { 2 << 20 };
    assert!(most < frames + (1 << 20), "{most} bytes for {CAPACITY} pages");
}
