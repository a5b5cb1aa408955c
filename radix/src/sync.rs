//! The only file that names atomics, locks, spin hints and threads.
//!
//! Everything else writes `crate::sync::...`, so that a model checker's primitives can take the place of the
//! standard ones without a change anywhere else: loom's with `--cfg radix_loom` and the feature `loom`, shuttle's with
//! `--cfg radix_shuttle` and the feature `shuttle`. With `--cfg radix_chaos` the standard ones hesitate now and then.
//! Without any of them nothing here costs anything.

#[cfg(not(any(radix_loom, radix_shuttle)))]
mod native {
    pub(crate) use core::hint::spin_loop;
    pub(crate) use core::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering,
    };
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::thread::yield_now;
    pub(crate) use std::thread_local;

    /// For what is shared beside the trees, where no hesitation is of use.
    pub(crate) use self::AtomicPtr as GlobalPtr;
}

#[cfg(not(any(radix_loom, radix_shuttle)))]
mod primitives {
    #[cfg(radix_chaos)]
    pub(crate) use crate::sync::chaos::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64};
    pub(crate) use crate::sync::native::Ordering;
    #[cfg(not(radix_chaos))]
    pub(crate) use crate::sync::native::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64};

    use crate::sync::native::{self, spin_loop, yield_now};

    pub(crate) const fn zeros<const N: usize>() -> [AtomicU64; N] {
        [const { AtomicU64::new(0) }; N]
    }

    /// A byte that never changes; see [`Constant`].
    #[derive(Debug)]
    pub(crate) struct ConstantByte(native::AtomicU8);

    /// A word that never changes.
    ///
    /// It is kept in an atomic all the same, for what the language says about pointers: a node may be freed through a pointer
    /// made from a shared reference only if every byte of it may change while the reference lives.
    #[derive(Debug)]
    pub(crate) struct Constant(native::AtomicU64);

    impl ConstantByte {
        pub(crate) const fn new(value: u8) -> ConstantByte {
            ConstantByte(native::AtomicU8::new(value))
        }

        /// Relaxed: it never changes.
        #[inline]
        pub(crate) fn get(&self) -> u8 {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Constant {
        pub(crate) fn new(value: u64) -> Constant {
            Constant(native::AtomicU64::new(value))
        }

        /// Relaxed: it never changes.
        #[inline]
        pub(crate) fn get(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    pub(crate) fn pause(step: u32) {
        /// Below this step a wait doubles its number of spins; from there on it yields to the scheduler.
        const SPIN_STEPS: u32 = 6;
        if step < SPIN_STEPS {
            for _ in 0..1_u32 << step {
                spin_loop();
            }
        } else {
            yield_now();
        }
    }
}

#[cfg(any(radix_loom, radix_shuttle))]
mod primitives {
    #[cfg(radix_loom)]
    use loom as checker;
    #[cfg(radix_shuttle)]
    use shuttle as checker;

    #[cfg(radix_loom)]
    pub(crate) use crate::sync::loomed::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64};
    #[cfg(radix_shuttle)]
    pub(crate) use checker::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64};
    pub(crate) use checker::sync::atomic::{Ordering, fence};
    pub(crate) use checker::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use checker::thread_local;

    pub(crate) fn zeros<const N: usize>() -> [AtomicU64; N] {
        core::array::from_fn(|_| AtomicU64::new(0))
    }

    /// A byte that never changes: of no interest to a checker.
    #[derive(Debug)]
    pub(crate) struct ConstantByte(u8);

    /// A word that never changes.
    #[derive(Debug)]
    pub(crate) struct Constant(u64);

    impl ConstantByte {
        pub(crate) const fn new(value: u8) -> ConstantByte {
            ConstantByte(value)
        }

        pub(crate) fn get(&self) -> u8 {
            self.0
        }
    }

    impl Constant {
        pub(crate) fn new(value: u64) -> Constant {
            Constant(value)
        }

        pub(crate) fn get(&self) -> u64 {
            self.0
        }
    }

    pub(crate) fn pause(_step: u32) {
        checker::thread::yield_now();
    }
}

#[cfg(all(radix_chaos, not(any(radix_loom, radix_shuttle))))]
mod chaos;
#[cfg(radix_loom)]
mod loomed;

/// Loads for the holder of the lock that guards a word: nobody stores to it meanwhile, and whoever did came before. So they
/// need no ordering; loom checks that this is so, and adds no interleavings for them.
pub(crate) trait Guarded {
    type Value;

    /// What the word holds. The caller holds the lock that guards it.
    fn load_guarded(&self) -> Self::Value;
}

#[cfg(not(radix_loom))]
macro_rules! guarded {
    ($($atomic:ty => $value:ty $(, $t:ident)?;)*) => { $(
        impl$(<$t>)? Guarded for $atomic {
            type Value = $value;

            #[inline]
            fn load_guarded(&self) -> $value {
                // Relaxed: E-LOCK orders it.
                self.load(Ordering::Relaxed)
            }
        }
    )* };
}

#[cfg(not(radix_loom))]
guarded! {
    AtomicBool => bool;
    AtomicU8 => u8;
    AtomicU32 => u32;
    AtomicU64 => u64;
    AtomicPtr<T> => *mut T, T;
}

pub(crate) use self::primitives::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Constant, ConstantByte, Ordering, zeros,
};

#[cfg(not(any(radix_loom, radix_shuttle)))]
pub(crate) use self::native::{Condvar, GlobalPtr, Mutex, MutexGuard, thread_local};
#[cfg(any(radix_loom, radix_shuttle))]
pub(crate) use self::primitives::{Condvar, Mutex, MutexGuard, thread_local};
pub(crate) use std::thread::panicking;

/// For the oracle: the tree itself has no fences.
#[cfg(any(radix_loom, radix_shuttle))]
pub(crate) use self::primitives::fence;
#[cfg(all(feature = "asymmetric", not(any(radix_loom, radix_shuttle))))]
pub(crate) use core::sync::atomic::{compiler_fence, fence};

/// Whether a model checker runs this build. Then nodes have few slots, levels and tags.
pub(crate) const CHECKED: bool = cfg!(any(radix_loom, radix_shuttle));

/// A function that is `const` unless a checker's atomics, which cannot be made in a constant, stand in.
macro_rules! const_unless_checked {
    ($(#[$attribute:meta])* $visibility:vis const fn $name:ident() -> $result:ty $body:block) => {
        #[cfg(not(any(radix_loom, radix_shuttle)))]
        $(#[$attribute])*
        $visibility const fn $name() -> $result $body

        #[cfg(any(radix_loom, radix_shuttle))]
        $(#[$attribute])*
        $visibility fn $name() -> $result $body
    };
}

pub(crate) use const_unless_checked;

/// Waits a moment for another thread that holds a lock: spins at first, then gives the processor away.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    step: u32,
}

impl Backoff {
    #[inline]
    pub(crate) fn wait(&mut self) {
        self::primitives::pause(self.step);
        self.step = self.step.saturating_add(1);
    }
}

/// For unit tests under loom.
#[cfg(all(test, radix_loom))]
pub(crate) use loom::{model::Builder, thread};
