//! Loom's atomics, each with a turn that its accesses take.
//!
//! Loom remembers one last access of a word. A thread that loads it and then stores to it thereby hides
//! that another thread's earlier load races with its store, and loom never tries them the other way
//! round: whole races would be played once. The turn is an object without contents that every access
//! touches first. Its touches all depend on each other, so that remembering the last one is enough; and
//! they order nothing in memory, so that loads may still return old values.

use std::fmt;

use loom::sync::Condvar;
use loom::sync::atomic::{self, Ordering};

/// What the accesses of one word take in turns: a condition variable for which nobody waits.
struct Turn(Condvar);

impl Turn {
    fn new() -> Self {
        Self(Condvar::new())
    }

    fn take(&self) {
        self.0.notify_one();
    }
}

/// Words with these operations, each of which takes the turn first.
macro_rules! words {
    ($($name:ident: $value:ty { $($op:ident($($arg:ident: $arg_type:ty),*) -> $out:ty;)* })*) => { $(
        pub(crate) struct $name {
            turn: Turn,
            word: atomic::$name,
        }

        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                Self { turn: Turn::new(), word: atomic::$name::new(value) }
            }

            $(
                #[track_caller]
                pub(crate) fn $op(&self, $($arg: $arg_type),*) -> $out {
                    self.turn.take();
                    self.word.$op($($arg),*)
                }
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new(<$value>::default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )* };
}

words! {
    AtomicBool: bool {
        load(order: Ordering) -> bool;
        store(value: bool, order: Ordering) -> ();
        swap(value: bool, order: Ordering) -> bool;
    }
    AtomicU32: u32 {
        load(order: Ordering) -> u32;
        fetch_add(value: u32, order: Ordering) -> u32;
        fetch_sub(value: u32, order: Ordering) -> u32;
        fetch_or(bits: u32, order: Ordering) -> u32;
        fetch_and(bits: u32, order: Ordering) -> u32;
        compare_exchange(now: u32, new: u32, success: Ordering, failure: Ordering) -> Result<u32, u32>;
    }
    AtomicU64: u64 {
        load(order: Ordering) -> u64;
        store(value: u64, order: Ordering) -> ();
        fetch_add(value: u64, order: Ordering) -> u64;
        fetch_sub(value: u64, order: Ordering) -> u64;
        fetch_max(value: u64, order: Ordering) -> u64;
        fetch_or(bits: u64, order: Ordering) -> u64;
        fetch_and(bits: u64, order: Ordering) -> u64;
    }
}

impl AtomicU32 {
    /// As `std`'s: a load, then compare-exchanges until one succeeds.
    #[track_caller]
    pub(crate) fn fetch_update(
        &self,
        success: Ordering,
        failure: Ordering,
        mut change: impl FnMut(u32) -> Option<u32>,
    ) -> Result<u32, u32> {
        let mut now = self.load(failure);
        while let Some(new) = change(now) {
            match self.compare_exchange(now, new, success, failure) {
                Ok(before) => return Ok(before),
                Err(other) => now = other,
            }
        }
        Err(now)
    }
}
