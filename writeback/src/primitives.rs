//! Atomics, locks, threads and time: the only place that names them, with `checker` below it.
//!
//! Everything else writes `crate::primitives::...`, so that a model checker's primitives can take the
//! place of the real ones without a change anywhere else. Each checker needs a cfg, for which there are
//! crates, and a feature, which brings the checker in:
//!
//! | build | cfg | feature | primitives | index |
//! |---|---|---|---|---|
//! | normal | | | `parking_lot`'s locks, the latch of `page-frames`, the rest from `std` | the tree |
//! | shuttle | `writeback_shuttle`, `radix_shuttle`, `radix_all_tags` | `shuttle` | shuttle's | the tree, visible to shuttle |
//! | loom | `writeback_loom` | `loom` | loom's | the tree, behind one lock (see [`index`](crate::index)) |
//!
//! Without a cfg nothing here costs anything: the names are those types. Reference counts
//! (`std::sync::Arc`) are the same in every build; their protocol is not this crate's.

#[cfg(not(any(writeback_loom, writeback_shuttle)))]
mod standard {
    pub(crate) use std::sync::OnceLock;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
    pub(crate) use std::thread;
    pub(crate) use std::time::Instant;

    pub(crate) use page_frames::latch::{Latch, LatchReadGuard, LatchWriteGuard};
    pub(crate) use parking_lot::{
        Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
    };

    pub(crate) type CounterU64 = AtomicU64;

    /// Defines a static array, each of its elements made by the same expression.
    macro_rules! static_array {
        (static $name:ident: [$element:ty; $len:expr] of $make:expr;) => {
            static $name: [$element; $len] = [const { $make }; $len];
        };
    }
    pub(crate) use static_array;

    /// Defines a value that each thread has of its own.
    macro_rules! local {
        (static $name:ident: $type:ty = $value:expr;) => {
            thread_local! {
                static $name: $type = const { $value };
            }
        };
    }
    pub(crate) use local;
}

#[cfg(any(writeback_loom, writeback_shuttle))]
pub(crate) mod checker;

/// A word that no checker looks at: a hint about when or where to go on, which correctness does not
/// depend on. Left out of the models, where each access would multiply the schedules.
pub(crate) type HintU64 = std::sync::atomic::AtomicU64;
/// As [`HintU64`].
pub(crate) type HintU32 = std::sync::atomic::AtomicU32;
/// As [`HintU64`].
pub(crate) type HintBool = std::sync::atomic::AtomicBool;
/// As [`HintU64`]: what is made once.
pub(crate) type HintOnce<T> = std::sync::OnceLock<T>;

#[cfg(any(writeback_loom, writeback_shuttle))]
pub(crate) use self::checker::{
    AtomicBool, AtomicU32, AtomicU64, Condvar, CounterU64, Instant, Latch, LatchReadGuard,
    LatchWriteGuard, Mutex, MutexGuard, OnceLock, Ordering, RwLock, RwLockReadGuard,
    RwLockWriteGuard, local, static_array, thread,
};
#[cfg(not(any(writeback_loom, writeback_shuttle)))]
pub(crate) use self::standard::{
    AtomicBool, AtomicU32, AtomicU64, Condvar, CounterU64, Instant, Latch, LatchReadGuard,
    LatchWriteGuard, Mutex, MutexGuard, OnceLock, Ordering, RwLock, RwLockReadGuard,
    RwLockWriteGuard, local, static_array, thread,
};

/// How many threads could run at a time when this was first asked: the answer takes some thirty system calls.
pub(crate) fn processors() -> usize {
    static PROCESSORS: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *PROCESSORS
        .get_or_init(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// Whether something stays true though others get the processor a few times, and so is more than a moment's work. A checker's other
/// schedules have its end as well.
pub(crate) fn lasts(so: impl Fn() -> bool) -> bool {
    const PATIENCE: u32 = if CHECKED { 0 } else { 64 };
    let still = |_| {
        thread::yield_now();
        so()
    };
    so() && (0..PATIENCE).all(still)
}

/// Whether a model checker runs this build. Then things are identified by what is the same in every
/// run, so that a schedule can be replayed, and tables are small.
pub(crate) const CHECKED: bool = cfg!(any(writeback_loom, writeback_shuttle));
