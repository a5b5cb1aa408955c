//! The light fence and the heavy one.

use crate::sync::{Ordering, compiler_fence, fence};

/// Which fences this process has.
pub(super) struct Fences {
    is_asymmetric: bool,
}

impl Fences {
    pub(super) fn new() -> Fences {
        // Called once, too: a filter of system calls may allow the one and not the other.
        Fences { is_asymmetric: membarrier::register() && membarrier::call() }
    }

    #[inline]
    pub(super) fn light(&self) {
        match self.is_asymmetric {
            true => compiler_fence(Ordering::SeqCst),
            false => fence(Ordering::SeqCst),
        }
    }

    /// `false`: the system refuses what it has allowed before.
    pub(super) fn heavy(&self) -> bool {
        // For this thread's own loads before and after it.
        fence(Ordering::SeqCst);
        // In a child process it may have to be registered anew.
        !self.is_asymmetric || membarrier::call() || (membarrier::register() && membarrier::call())
    }
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
mod membarrier {
    use core::ffi::{c_int, c_long, c_uint};

    #[cfg(target_arch = "x86_64")]
    const MEMBARRIER: c_long = 324;
    #[cfg(target_arch = "aarch64")]
    const MEMBARRIER: c_long = 283;
    const PRIVATE_EXPEDITED: c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: c_int = 1 << 4;

    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }

    fn command(command: c_int) -> bool {
        // SAFETY: takes a command, flags and a processor, and touches no memory.
        unsafe { syscall(MEMBARRIER, command, 0 as c_uint, 0 as c_int) == 0 }
    }

    pub(super) fn register() -> bool {
        command(REGISTER_PRIVATE_EXPEDITED)
    }

    pub(super) fn call() -> bool {
        command(PRIVATE_EXPEDITED)
    }
}

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri)
)))]
mod membarrier {
    pub(super) fn register() -> bool {
        false
    }

    pub(super) fn call() -> bool {
        false
    }
}
