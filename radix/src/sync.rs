//! The only file that names atomics, spin hints and threads.
//!
//! Everything else writes `crate::sync::...`, so that a model checker's primitives can take the place of the
//! standard ones without a change anywhere else.

pub(crate) use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

/// Waits a moment for another thread that holds a lock: spins at first, then gives the processor away.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    step: u32,
}

impl Backoff {
    /// Below this step a wait doubles its number of spins; from there on it yields to the scheduler.
    const SPIN_STEPS: u32 = 6;

    #[inline]
    pub(crate) fn wait(&mut self) {
        if self.step < Self::SPIN_STEPS {
            for _ in 0..1_u32 << self.step {
                core::hint::spin_loop();
            }
            self.step += 1;
        } else {
            std::thread::yield_now();
        }
    }
}
