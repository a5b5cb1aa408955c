//! An allocator that counts the tree's nodes. A test binary that asks it declares it its global allocator. With the feature `arena` nodes do not come from
//! there: the crate itself says how many there are, and other threads that live may have a few at hand.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Full nodes are the only things here that are aligned to just one cache line, compact leaves the only ones of their size.
fn is_node(layout: Layout) -> bool {
    layout.align() == 64 || (layout.size(), layout.align()) == (24, 8)
}

static MADE: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);

pub(crate) struct CountNodes;

// SAFETY: hands every call on to the system's allocator and only counts.
unsafe impl GlobalAlloc for CountNodes {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_node(layout) {
            MADE.fetch_add(1, SeqCst);
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if is_node(layout) {
            FREED.fetch_add(1, SeqCst);
        }
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Nodes made so far, where the allocator sees them.
pub(crate) fn made() -> u64 {
    MADE.load(SeqCst)
}

/// Nodes that live now.
#[cfg(any(not(feature = "arena"), miri))]
pub(crate) fn live() -> u64 {
    // In this order the difference is never below zero.
    let freed = FREED.load(SeqCst);
    made() - freed
}

/// Nodes that live now.
#[cfg(all(feature = "arena", not(miri)))]
pub(crate) fn live() -> u64 {
    tagged_radix::node_memory().nodes as u64
}
