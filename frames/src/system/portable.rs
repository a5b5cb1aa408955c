//! Segments from the global allocator: for systems without `madvise` as on Linux, for Miri and for loom. Whole segments go back to it; parts do not.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::error::Error;

/// A range of memory of its own, aligned to its length, a power of two; all bytes zero at first (I-BYTES).
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    layout: Layout,
}

/// See [`ticks`](super::ticks).
pub(super) fn ticks() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

/// What memory would be given back in multiples of.
pub(crate) fn page_len() -> usize {
    4096
}

impl Mapping {
    pub(crate) fn new(len: usize) -> Result<Mapping, Error> {
        let refused = Error::System { code: None };
        let layout = Layout::from_size_align(len, len).map_err(|_| refused)?;
        // SAFETY: the layout has a size.
        let start = unsafe { alloc_zeroed(layout) };
        Ok(Mapping { start: NonNull::new(start).ok_or(refused)?, layout })
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.layout.size()
    }

    /// Does nothing: huge pages are the allocator's business.
    pub(crate) fn advise_huge(&self, _welcome: bool) {}

    /// Does nothing, and says so.
    ///
    /// # Safety
    /// As where it does something: the range lies in the mapping, and nobody uses the bytes meanwhile.
    pub(crate) unsafe fn discard(&self, _range: Range<usize>) -> bool {
        false
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and not used any more: no block is out (I-SEGMENT).
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}
