//! Memory from the system, in pieces as large as a segment: mapped where that can be undone in part, else from `std::alloc`. And three calls besides: a
//! fence of all threads, one that has a file written, and a look at the clock.

use std::time::Duration;

#[cfg(all(any(target_os = "linux", target_os = "android"), not(any(miri, frames_loom))))]
#[path = "system/linux.rs"]
mod native;
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(any(miri, frames_loom)))))]
#[path = "system/portable.rs"]
mod native;

pub(crate) use self::native::{Mapping, page_len};

// SAFETY: a mapping is a range of addresses that it owns; who reaches the bytes is ruled by I-OWNER.
unsafe impl Send for Mapping {}
// SAFETY: as above; through a shared reference nothing of the mapping changes.
unsafe impl Sync for Mapping {}

#[cfg(all(any(target_os = "linux", target_os = "android"), not(any(miri, frames_loom))))]
pub(crate) use self::native::{barrier, register_barrier};

/// Nobody's threads but the caller's can be made to execute a fence.
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(any(miri, frames_loom)))))]
pub(crate) fn register_barrier() -> bool {
    false
}

/// As [`register_barrier`].
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(any(miri, frames_loom)))))]
pub(crate) fn barrier() -> bool {
    false
}

/// Has the system begin to write a part of a file to its device, and waits for none of it.
///
/// A flush that comes later has less to wait for then; what was not begun it writes itself, and it tells what has failed. Only that is begun which the
/// system has when this is called.
///
/// Here, beside memory, because no safe library has the call that keeps the system's own copy: `sync_file_range(2)` with `SYNC_FILE_RANGE_WRITE`. A hint: on systems
/// other than Linux it does nothing, nor where the system refuses it, as of what is no file or device.
///
/// # Concurrency
/// Takes no lock of this crate. It may wait for room in the device's queue.
///
/// # Examples
/// ```
/// # let path = std::env::temp_dir().join(format!("page-frames-doc-{}", std::process::id()));
/// let file = std::fs::File::create(&path)?;
/// # std::fs::write(&path, [1; 5000])?;
/// page_frames::start_writing(&file, 0, 5000);
/// file.sync_data()?;
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn start_writing(file: &std::fs::File, offset: u64, len: u64) {
    #[cfg(all(target_os = "linux", not(any(miri, frames_loom))))]
    native::start_writing(file, offset, len);
    #[cfg(not(all(target_os = "linux", not(any(miri, frames_loom)))))]
    let _ = (file, offset, len);
}

/// The time that the system's last tick brought, since some moment that does not change while the process runs. It never goes back.
///
/// Four nanoseconds, where the exact time ([`Instant`](std::time::Instant)) takes twenty: for what is stamped often and compared in seconds. A tick is one to ten milliseconds
/// on Linux, by `CLOCK_MONOTONIC_COARSE`; on other systems it is as exact as an `Instant`, and as dear.
///
/// Here, beside memory, because no safe library that is light has it.
///
/// # Concurrency
/// Takes no lock.
///
/// # Examples
/// ```
/// let before = page_frames::ticks();
/// assert!(page_frames::ticks() >= before);
/// ```
#[inline]
pub fn ticks() -> Duration {
    native::ticks()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_zero_also_after_it_was_discarded() {
        let len = 1 << 16;
        for advice in [false, true] {
            let mapping = Mapping::new(len).unwrap();
            mapping.advise_huge(advice);
            let start = mapping.start().as_ptr();
            assert_eq!(start.addr() % len, 0);
            // SAFETY: nobody else has the mapping.
            let bytes = unsafe { std::slice::from_raw_parts_mut(start, len) };
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(7);
            let part = page_len()..len - page_len();
            // SAFETY: `bytes` is not used across the call.
            let zero = unsafe { mapping.discard(part.clone()) };
            // SAFETY: as above.
            let bytes = unsafe { std::slice::from_raw_parts(start, len) };
            assert!(bytes[part.clone()].iter().all(|byte| *byte == if zero { 0 } else { 7 }));
            assert!((bytes[part.start - 1], bytes[part.end]) == (7, 7));
        }
    }

    #[test]
    fn what_the_system_refuses_is_an_error() {
        assert!(matches!(Mapping::new(usize::MAX / 2 + 1), Err(crate::Error::System { .. })));
    }
}
