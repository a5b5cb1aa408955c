//! Atomics for loom, each with a turn that its accesses take.
//!
//! loom remembers one last access of an object. A thread that loads a word and then stores to it thereby hides from loom that
//! another thread's earlier load races with its store, and loom never tries them the other way round: most models of a
//! structure that descends, locks and stores would end after one execution. The turn is an object without contents that
//! every access touches first. Touches of one turn all depend on each other, so remembering the last of them is enough; and they
//! order nothing in memory, so loom still lets loads return old values.

use core::fmt;

use loom::sync::Condvar;
use loom::sync::atomic;

use super::{Guarded, Ordering};

/// What the accesses of one word take in turns: a condition variable for which nobody waits.
struct Turn(Condvar);

impl Turn {
    fn new() -> Turn {
        Turn(Condvar::new())
    }

    fn take(&self) {
        self.0.notify_one();
    }
}

macro_rules! atomics {
    ($($name:ident: $value:ty $(, $t:ident)?;)*) => { $(
        pub(crate) struct $name$(<$t>)? {
            turn: Turn,
            word: atomic::$name$(<$t>)?,
        }

        impl$(<$t>)? $name$(<$t>)? {
            pub(crate) fn new(value: $value) -> Self {
                Self { turn: Turn::new(), word: atomic::$name::new(value) }
            }

            #[track_caller]
            pub(crate) fn load(&self, order: Ordering) -> $value {
                self.turn.take();
                self.word.load(order)
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $value, order: Ordering) {
                self.turn.take();
                self.word.store(value, order);
            }

            #[allow(dead_code, reason = "not of every kind")]
            #[track_caller]
            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                self.turn.take();
                self.word.swap(value, order)
            }

            #[allow(dead_code, reason = "not of every kind")]
            #[track_caller]
            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.turn.take();
                self.word.compare_exchange(current, new, success, failure)
            }
        }

        impl$(<$t>)? fmt::Debug for $name$(<$t>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )* };
}

atomics! {
    AtomicBool: bool;
    AtomicU8: u8;
    AtomicU32: u32;
    AtomicU64: u64;
    AtomicPtr: *mut T, T;
}

macro_rules! guarded {
    ($($name:ident: $value:ty $(, $t:ident)?;)*) => { $(
        impl$(<$t>)? Guarded for $name$(<$t>)? {
            type Value = $value;

            #[track_caller]
            fn load_guarded(&self) -> $value {
                // SAFETY: loom panics if a store does not come before this load or after it; its memory stays valid.
                unsafe { self.word.unsync_load() }
            }
        }
    )* };
}

guarded! {
    AtomicBool: bool;
    AtomicU8: u8;
    AtomicU64: u64;
    AtomicPtr: *mut T, T;
}

/// For a word that is itself the lock. loom looks at a compare-exchange as a store first and as an acquisition of what it reads
/// second, and so would take an unsynchronized load by the last holder for a race.
impl Guarded for AtomicU32 {
    type Value = u32;

    #[track_caller]
    fn load_guarded(&self) -> u32 {
        self.word.load(Ordering::Relaxed)
    }
}

impl AtomicU32 {
    #[track_caller]
    pub(crate) fn compare_exchange_weak(
        &self,
        current: u32,
        new: u32,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u32, u32> {
        self.turn.take();
        self.word.compare_exchange_weak(current, new, success, failure)
    }
}
