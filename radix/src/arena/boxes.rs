//! Each node in a box.

use core::ptr::NonNull;

#[inline]
pub(super) fn place<T>(make: impl FnOnce() -> T) -> NonNull<T> {
    NonNull::from(Box::leak(Box::new(make())))
}

/// It has nothing.
pub(super) fn give_back() {}

#[cfg(feature = "arena")]
pub(super) fn node_memory() -> super::NodeMemory {
    super::NodeMemory::default()
}

#[cfg(not(any(radix_loom, radix_shuttle)))]
#[inline]
pub(super) unsafe fn free<T>(node: NonNull<T>) {
    // SAFETY: `place` made it with `Box`; sole access and "once" are the caller's word.
    drop(unsafe { Box::from_raw(node.as_ptr()) });
}
