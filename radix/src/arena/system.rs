//! Memory from the system. It is zero nowhere for certain, and nobody asks.
//!
//! On Linux it is mapped rather than allocated: glibc's allocator, having freed one large block, takes the next ones from its heap, whose memory comes back only from the top.

#[cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub(super) use self::linux::{advise_huge, discard, map, unmap};
#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
pub(super) use self::portable::{advise_huge, discard, map, unmap};

#[cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod linux {
    use core::ffi::{c_int, c_void};
    use core::ptr::{self, NonNull};

    // The same on all architectures above.
    const READ_WRITE: c_int = 1 | 2;
    const PRIVATE_ANONYMOUS: c_int = 2 | 0x20;
    const FAILED: usize = usize::MAX;
    const DONTNEED: c_int = 4;
    const HUGEPAGE: c_int = 14;
    const NOHUGEPAGE: c_int = 15;

    unsafe extern "C" {
        fn mmap(
            at: *mut c_void,
            len: usize,
            access: c_int,
            flags: c_int,
            file: c_int,
            offset: i64,
        ) -> *mut c_void;
        fn munmap(at: *mut c_void, len: usize) -> c_int;
        fn madvise(at: *mut c_void, len: usize, advice: c_int) -> c_int;
    }

    fn map_anywhere(len: usize) -> Option<NonNull<u8>> {
        // SAFETY: a new mapping at an address of the system's choice touches nothing that exists.
        let at = unsafe { mmap(ptr::null_mut(), len, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0) };
        if at.addr() == FAILED { None } else { NonNull::new(at.cast()) }
    }

    /// # Safety
    /// The range is mapped, and nobody uses it any more.
    pub(in super::super) unsafe fn unmap(at: NonNull<u8>, len: usize) {
        if len > 0 {
            // SAFETY: the caller's word. It fails only where the process has too many mappings: then it stays, unused.
            let _ = unsafe { munmap(at.as_ptr().cast(), len) };
        }
    }

    /// Memory of its own, aligned to its length, a power of two.
    pub(in super::super) fn map(len: usize) -> Option<NonNull<u8>> {
        let at = map_anywhere(len)?;
        // Newer kernels align mappings of this length by themselves.
        if at.addr().get().is_multiple_of(len) {
            return Some(at);
        }
        // SAFETY: just mapped, and known to nobody.
        unsafe { unmap(at, len) };
        let wide = map_anywhere(2 * len)?;
        let before = wide.addr().get().next_multiple_of(len) - wide.addr().get();
        // SAFETY: `before` is less than `len`, half of what was mapped.
        let at = unsafe { wide.add(before) };
        // SAFETY: what lies before the aligned part, known to nobody.
        unsafe { unmap(wide, before) };
        // SAFETY: the end of the aligned part is within what was mapped, or at its end.
        let end = unsafe { at.add(len) };
        // SAFETY: what lies behind; with the part before it makes up the other half.
        unsafe { unmap(end, len - before) };
        Some(at)
    }

    /// Tells the system whether huge pages are welcome. A hint: if it is not taken, nothing is wrong.
    pub(in super::super) fn advise_huge(at: NonNull<u8>, len: usize, welcome: bool) {
        let advice = if welcome { HUGEPAGE } else { NOHUGEPAGE };
        // SAFETY: neither advice changes what memory holds.
        let _ = unsafe { madvise(at.as_ptr().cast(), len, advice) };
    }

    /// Gives the memory under a range back, whose addresses stay; returns whether it did.
    ///
    /// # Safety
    /// The range is within one mapping, and nobody uses what it holds.
    pub(in super::super) unsafe fn discard(at: NonNull<u8>, len: usize) -> bool {
        // SAFETY: the caller's word. Where pages are larger than the range's alignment the system refuses.
        unsafe { madvise(at.as_ptr().cast(), len, DONTNEED) == 0 }
    }
}

#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
mod portable {
    use core::alloc::Layout;
    use core::ptr::NonNull;

    fn layout(len: usize) -> Option<Layout> {
        Layout::from_size_align(len, len).ok()
    }

    /// Memory of its own, aligned to its length, a power of two.
    pub(in super::super) fn map(len: usize) -> Option<NonNull<u8>> {
        // SAFETY: the length is not zero.
        NonNull::new(unsafe { std::alloc::alloc(layout(len)?) })
    }

    /// # Safety
    /// `map` returned it for that length, and nobody uses it any more.
    pub(in super::super) unsafe fn unmap(at: NonNull<u8>, len: usize) {
        if let Some(layout) = layout(len) {
            // SAFETY: the caller's word.
            unsafe { std::alloc::dealloc(at.as_ptr(), layout) };
        }
    }

    pub(in super::super) fn advise_huge(_at: NonNull<u8>, _len: usize, _welcome: bool) {}

    /// # Safety
    /// None is needed: it does nothing.
    pub(in super::super) unsafe fn discard(_at: NonNull<u8>, _len: usize) -> bool {
        false
    }
}
