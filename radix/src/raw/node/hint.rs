//! What the processor is told beforehand. Nothing that the program can see depends on it (I-HINT).

/// Has the processor fetch the cache line at an address, which need not lead anywhere.
#[inline]
pub(in crate::raw) fn prefetch<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(any(radix_loom, radix_shuttle, miri))))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        // SAFETY: a prefetch gives nothing to the program and does not fault, wherever the pointer points (I-HINT).
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    // Elsewhere there is no stable way to say it.
    #[cfg(not(all(target_arch = "x86_64", not(any(radix_loom, radix_shuttle, miri)))))]
    let _ = address;
}
