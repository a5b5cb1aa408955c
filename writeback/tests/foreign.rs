//! The memory of a page cache is bounded, whoever else in the process holds a guard of crossbeam-epoch. One test alone in this
//! binary, since it counts the bytes of the whole process. Its file is a hole, which there is not on Windows.
#![cfg(unix)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;

use writeback::{CacheConfig, Config, FileStore, Mapping, PageCache};

static BYTES: AtomicU64 = AtomicU64::new(0);

struct CountBytes;

// SAFETY: every call is passed on to the system's allocator, with what it asks for.
unsafe impl GlobalAlloc for CountBytes {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size() as u64, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: CountBytes = CountBytes;

#[test]
fn a_foreign_guard_does_not_unbound_the_memory_of_a_cache() {
    let ((held, is_held), (go, may_go)) = (mpsc::channel(), mpsc::channel::<()>());
    let other = thread::spawn(move || {
        let _guard = crossbeam_epoch::pin();
        held.send(()).expect("the test waits");
        may_go.recv().expect("the test goes on");
    });
    is_held.recv().expect("held");
    let cache = PageCache::new(CacheConfig::new(100)).expect("a size that can be");
    let file = tempfile::NamedTempFile::new().expect("a file");
    // A hole: it is read as zeros and takes no room.
    file.as_file().set_len(1 << 40).expect("a hole");
    let store = FileStore::open(file.path()).expect("it is there");
    let mapping =
        Mapping::with_config(Arc::new(store), Config::new().cache(&cache)).expect("a new mapping");
    let handle = mapping.handle();
    let read = |pages: std::ops::Range<u64>| {
        for page in pages {
            handle.read_at(&mut [0; 8], page << 20).expect("a page of zeros");
        }
        BYTES.load(Relaxed)
    };
    let warm = read(0..2_000);
    let after = read(2_000..15_000);
    assert!(cache.stats().reclaim.evicted > 14_000, "pages came and went");
    assert!(after < warm + (2 << 20), "{warm} bytes after 2,000 misses, {after} after 15,000");
    go.send(()).expect("it waits");
    other.join().expect("no panic");
}
