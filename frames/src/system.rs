//! Memory from the system, in pieces as large as a segment: mapped where that can be undone in part, else from `std::alloc`.

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
