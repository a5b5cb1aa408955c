//! Anonymous mappings.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::time::Duration;

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use rustix::thread::{MembarrierCommand, membarrier};

use crate::error::Error;

/// A range of memory of its own, aligned to its length, a power of two; all bytes zero at first (I-BYTES).
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

/// What memory is given back in multiples of.
pub(crate) fn page_len() -> usize {
    rustix::param::page_size()
}

/// Whether [`barrier`] may be called in this process from now on.
pub(crate) fn register_barrier() -> bool {
    membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
}

/// Has every running thread of the process execute a fence; false if the system refused. Registers once more if need be, in the child of a fork.
pub(crate) fn barrier() -> bool {
    let order = || membarrier(MembarrierCommand::PrivateExpedited).is_ok();
    order() || (register_barrier() && order())
}

/// See [`start_writing`](super::start_writing).
#[cfg(target_os = "linux")]
pub(super) fn start_writing(file: &std::fs::File, offset: u64, len: u64) {
    use std::ffi::{c_int, c_uint};
    use std::os::fd::{AsRawFd, RawFd};

    const SYNC_FILE_RANGE_WRITE: c_uint = 2;

    // As glibc, musl and others declare it.
    unsafe extern "C" {
        safe fn sync_file_range(file: RawFd, offset: i64, len: i64, flags: c_uint) -> c_int;
    }

    // 0 would be all that follows.
    if let (Ok(offset), Ok(len @ 1..)) = (offset.try_into(), len.try_into()) {
        // Whatever it says: a flush does what is left.
        let _ = sync_file_range(file.as_raw_fd(), offset, len, SYNC_FILE_RANGE_WRITE);
    }
}

/// See [`ticks`](super::ticks).
#[inline]
pub(super) fn ticks() -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: it writes a time there, and nothing elsewhere.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, time.as_mut_ptr()) };
    // SAFETY: a time, or zeros should it have refused, which are one, too.
    let time = unsafe { time.assume_init() };
    // Never negative, and below a second.
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}

fn map(len: usize) -> Result<NonNull<u8>, Error> {
    let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new mapping at an address of the system's choice touches nothing that exists.
    let start = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), len, access, flags) };
    let start = start.map_err(|error| Error::System { code: Some(error.raw_os_error()) })?;
    NonNull::new(start.cast()).ok_or(Error::System { code: None })
}

/// Unmaps a range of a mapping.
///
/// # Safety
/// The range is mapped, its bounds are those of pages, and nobody uses it any more.
unsafe fn unmap(start: *mut u8, len: usize) {
    if len > 0 {
        // SAFETY: the caller's promise.
        let result = unsafe { rustix::mm::munmap(start.cast(), len) };
        // It can only fail where it would have to split a mapping and there are too many: then the memory stays mapped, unused.
        debug_assert!(matches!(result, Ok(()) | Err(Errno::NOMEM)), "{result:?}");
    }
}

impl Mapping {
    pub(crate) fn new(len: usize) -> Result<Mapping, Error> {
        let start = map(len)?;
        // Newer kernels align mappings of this length by themselves.
        if start.addr().get().is_multiple_of(len) {
            return Ok(Mapping { start, len });
        }
        // SAFETY: just mapped, and known to nobody.
        unsafe { unmap(start.as_ptr(), len) };
        let wide = map(len.checked_mul(2).ok_or(Error::System { code: None })?)?;
        let before = wide.addr().get().next_multiple_of(len) - wide.addr().get();
        // SAFETY: `before` is at most `len`, half of what was mapped.
        let start = unsafe { wide.add(before) };
        // SAFETY: what lies before the aligned part, known to nobody.
        unsafe { unmap(wide.as_ptr(), before) };
        // SAFETY: what lies behind it; with the part before, it makes up the other half.
        unsafe { unmap(start.as_ptr().wrapping_add(len), len - before) };
        Ok(Mapping { start, len })
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Tells the system whether huge pages are welcome. A hint: if it is not taken, nothing is wrong.
    pub(crate) fn advise_huge(&self, welcome: bool) {
        let advice = if welcome { Advice::LinuxHugepage } else { Advice::LinuxNoHugepage };
        // SAFETY: neither advice changes what the memory holds.
        let _ = unsafe { rustix::mm::madvise(self.start.as_ptr().cast(), self.len, advice) };
    }

    /// Gives the memory under `range` back to the system; returns whether it did, and all is zero there now.
    ///
    /// # Safety
    /// The range lies in the mapping, its bounds are multiples of [`page_len`], and nobody uses the bytes meanwhile.
    pub(crate) unsafe fn discard(&self, range: Range<usize>) -> bool {
        let start = self.start.as_ptr().wrapping_add(range.start);
        // SAFETY: the caller's promise; private anonymous memory is zero when it is touched again (I-BYTES).
        unsafe { rustix::mm::madvise(start.cast(), range.len(), Advice::LinuxDontNeed) }.is_ok()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: its own; the owner of a mapping drops it when no block is out (I-SEGMENT).
        unsafe { unmap(self.start.as_ptr(), self.len) };
    }
}
