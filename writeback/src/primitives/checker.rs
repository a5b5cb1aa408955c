//! A model checker's primitives, in the shape of those that they stand in for.
//!
//! Loom's and shuttle's locks are shaped like `std`'s; the wrappers here make them look like
//! `parking_lot`'s: no poisoning, and a condition variable that takes its guard by reference.
//!
//! Time stands still: [`Instant::now`] is always the same instant, and a wait with a time-out is a wait
//! without one. So a wake-up that the code relies on and that gets lost is a deadlock here, which a
//! checker reports, and not a delay. Models that need time move a manual clock.

use std::fmt;
use std::ops::{Add, Deref, DerefMut};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
use std::time::Duration;

#[cfg(writeback_loom)]
use loom as library;
#[cfg(writeback_shuttle)]
use shuttle as library;

#[cfg(writeback_loom)]
mod turns;

pub(crate) use self::library::sync::atomic::Ordering;
#[cfg(writeback_shuttle)]
pub(crate) use self::library::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
pub(crate) use self::library::sync::{RwLockReadGuard, RwLockWriteGuard};
pub(crate) use self::library::thread;
#[cfg(writeback_loom)]
pub(crate) use self::turns::{AtomicBool, AtomicU32, AtomicU64};

/// What a [`Counter`](crate::counters::Counter) is made of. Under loom a word that it does not look at:
/// nothing is decided by a counter, and each access would multiply the executions.
#[cfg(writeback_loom)]
pub(crate) type CounterU64 = std::sync::atomic::AtomicU64;
#[cfg(writeback_shuttle)]
pub(crate) type CounterU64 = AtomicU64;

/// Defines an array that every execution gets anew, when it first looks at it.
macro_rules! static_array {
    (static $name:ident: [$element:ty; $len:expr] of $make:expr;) => {
        $crate::primitives::checker::lazy_static! {
            static ref $name: [$element; $len] = std::array::from_fn(|_| $make);
        }
    };
}
pub(crate) use static_array;

/// Defines a value that each thread of an execution has of its own.
macro_rules! local {
    (static $name:ident: $type:ty = $value:expr;) => {
        $crate::primitives::checker::library_thread_local! {
            static $name: $type = $value;
        }
    };
}
pub(crate) use local;

pub(crate) use self::library::thread_local as library_thread_local;

pub(crate) use self::library::lazy_static;

/// As parking_lot's locks: a panic of who has one does not matter to the next.
fn unpoisoned<G>(locked: LockResult<G>) -> G {
    locked.unwrap_or_else(PoisonError::into_inner)
}

/// The same, of a lock that may be taken.
fn unpoisoned_if_free<G>(locked: TryLockResult<G>) -> Option<G> {
    match locked {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// In the shape of `parking_lot::Mutex`.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(library::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(library::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(unpoisoned(self.0.lock())))
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        unpoisoned_if_free(self.0.try_lock()).map(|guard| MutexGuard(Some(guard)))
    }
}

/// In the shape of `parking_lot::MutexGuard`.
#[must_use]
pub(crate) struct MutexGuard<'m, T>(
    /// `None` only within [`Condvar::wait`].
    Option<library::sync::MutexGuard<'m, T>>,
);

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("locked")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("locked")
    }
}

/// In the shape of `parking_lot::Condvar`.
#[derive(Debug, Default)]
pub(crate) struct Condvar(library::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(library::sync::Condvar::new())
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let locked = guard.0.take().expect("locked");
        guard.0 = Some(unpoisoned(self.0.wait(locked)));
    }

    /// Time stands still: waits until it is notified.
    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _deadline: Instant) {
        self.wait(guard);
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// The content latch, whose own protocol has models in `page-frames`.
pub(crate) type Latch<T> = RwLock<T>;
pub(crate) type LatchReadGuard<'l, T> = RwLockReadGuard<'l, T>;
pub(crate) type LatchWriteGuard<'l, T> = RwLockWriteGuard<'l, T>;

/// In the shape of `parking_lot::RwLock`.
#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(library::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(library::sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        unpoisoned(self.0.read())
    }

    /// Nobody waits behind those who wait for the lock here.
    pub(crate) fn read_recursive(&self) -> RwLockReadGuard<'_, T> {
        self.read()
    }

    /// Under loom it may wait all the same: for another who got the lock in the moment of trying.
    pub(crate) fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        unpoisoned_if_free(self.0.try_read())
    }

    pub(crate) fn try_read_recursive(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.try_read()
    }

    /// A hint, which models go without.
    #[expect(clippy::unused_self, reason = "in the shape of another")]
    pub(crate) fn is_locked(&self) -> bool {
        false
    }

    /// As [`is_locked`](Self::is_locked).
    #[expect(clippy::unused_self, reason = "in the shape of another")]
    pub(crate) fn is_locked_exclusive(&self) -> bool {
        false
    }

    pub(crate) fn write(&self) -> LatchWriteGuard<'_, T> {
        unpoisoned(self.0.write())
    }

    pub(crate) fn try_write(&self) -> Option<LatchWriteGuard<'_, T>> {
        unpoisoned_if_free(self.0.try_write())
    }
}

/// In the shape of `std::sync::OnceLock`, with the moment at which it is filled in the model.
pub(crate) struct OnceLock<T> {
    filled: AtomicBool,
    filling: Mutex<()>,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) fn get(&self) -> Option<&T> {
        // Acquire: as `std`'s.
        if self.filled.load(Ordering::Acquire) { self.value.get() } else { None }
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        let _one_at_a_time = self.filling.lock();
        let value = self.value.get_or_init(make);
        self.filled.store(true, Ordering::Release);
        value
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self {
            filled: AtomicBool::new(false),
            filling: Mutex::new(()),
            value: std::sync::OnceLock::new(),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

/// The one instant there is, and those that lie ahead of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        Self(Duration::ZERO)
    }

    pub(crate) fn duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub(crate) fn checked_add(self, by: Duration) -> Option<Self> {
        self.0.checked_add(by).map(Self)
    }

    pub(crate) fn elapsed(self) -> Duration {
        Duration::ZERO
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0 + by)
    }
}
