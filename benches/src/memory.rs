//! Counts the bytes that are allocated, while asked to.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::garbage;

/// The system's allocator, with a count of bytes.
#[derive(Debug)]
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// Relaxed: a count, read when nobody allocates any more.
static ON: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicI64 = AtomicI64::new(0);

#[inline]
fn count(bytes: usize, sign: i64) {
    if ON.load(Ordering::Relaxed) {
        BYTES.fetch_add(sign * bytes.cast_signed() as i64, Ordering::Relaxed);
    }
}

// SAFETY: all is done by `System`, with the same arguments.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, 1);
        count(layout.size(), -1);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// Says what `build` made, and how many bytes were allocated by it and not freed: exactly what was asked for, without what the
/// allocator adds. One call at a time.
pub fn allocated_by<T>(build: impl FnOnce() -> T) -> (T, i64) {
    ON.store(true, Ordering::Relaxed);
    garbage::free();
    let before = BYTES.load(Ordering::Relaxed);
    let made = build();
    garbage::free();
    ON.store(false, Ordering::Relaxed);
    (made, BYTES.load(Ordering::Relaxed) - before)
}

/// How much memory the machine can still give, in bytes; `None` where that is not known.
pub fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_counted() {
        let (kept, bytes) = allocated_by(|| vec![0_u8; 1 << 30]);
        // Other tests allocate meanwhile, but not that much.
        assert!(bytes > kept.len() as i64 / 2, "{bytes}");
    }
}
