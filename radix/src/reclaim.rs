//! The only file that names `crossbeam-epoch`: pinning, and retiring what has been unlinked.
//!
//! Under a model checker an oracle takes its place, which notices when something freed is used.

use core::fmt;

#[cfg(not(any(radix_loom, radix_shuttle)))]
use crossbeam_epoch as epoch;

#[cfg(any(radix_loom, radix_shuttle))]
use self::oracle as epoch;

mod debt;
#[cfg(any(radix_loom, radix_shuttle))]
pub(crate) mod oracle;

#[cfg(any(radix_loom, radix_shuttle))]
use self::oracle::Pin;
#[cfg(not(any(radix_loom, radix_shuttle)))]
use crossbeam_epoch::Guard as Pin;

/// A pin of the current thread to the current epoch: what a lock-free reader found stays in memory while it lives.
///
/// Made by [`pin`]. A guard is cheap to keep and not free to make (about 7 ns, a full memory fence): hold one over a
/// burst of operations with [`RadixTree::with_guard`](crate::RadixTree::with_guard) rather than making one for each.
/// While any guard lives, nothing that was unlinked after it was made is freed, by any thread; so let go of it, or
/// call [`repin`](Guard::repin), in long loops and before anything that blocks.
///
/// A guard belongs to its thread (it is not `Send`) and serves every tree.
///
/// # Examples
/// ```
/// use tagged_radix::{Inline, RadixTree};
///
/// let tree: RadixTree<Inline> = RadixTree::new();
/// let mut guard = tagged_radix::pin();
/// for index in 0..1000 {
///     let value = Inline::new(index).expect("below 2^63");
///     tree.with_guard(&guard).insert(index, value);
///     guard.repin();
/// }
/// assert_eq!(tree.len(), 1000);
/// ```
pub struct Guard(Pin);

/// Pins the current thread and returns the guard.
///
/// # Concurrency
/// Takes no lock. Pinning while the thread is pinned already costs about a nanosecond. Every 128th time or so that a thread
/// pins, and once for every 256 objects that it retires, it frees some garbage, of any tree: that runs the drops of values
/// that were removed, whoever removed them.
///
/// # Examples
/// ```
/// let guard = tagged_radix::pin();
/// drop(guard);
/// ```
#[inline]
#[must_use = "the thread is pinned only while the guard lives"]
pub fn pin() -> Guard {
    Guard(epoch::pin())
}

impl Guard {
    /// Moves the pin to the current epoch, so that what was retired before can be freed.
    ///
    /// Takes `&mut self`: no reference obtained under the guard can outlive the call. It does nothing while another
    /// guard of the same thread lives. It costs as much as making a guard.
    ///
    /// # Examples
    /// ```
    /// let mut guard = tagged_radix::pin();
    /// guard.repin();
    /// ```
    #[inline]
    pub fn repin(&mut self) {
        // Unpin and pin, with the fence that pinning has. `crossbeam_epoch::Guard::repin` has none: in the language's memory
        // model (and on processors that reorder loads) a load after it may still find what was unlinked before the
        // epoch that it moves to, and which that epoch does not protect.
        self.0.repin_after(|| ());
    }

    /// Hands over what this thread has retired, so that any thread may free it, and tries to free some garbage now.
    ///
    /// There is no need to call it: threads do this by themselves every so often. It serves those who want memory
    /// back soon after a burst of removals. It runs the drops of removed values, so it has no place in a section of
    /// [`Pinned::update`](crate::Pinned::update).
    ///
    /// # Examples
    /// ```
    /// tagged_radix::pin().flush();
    /// ```
    pub fn flush(&self) {
        self.0.flush();
    }

    /// Runs `free` once no guard that exists now is left.
    ///
    /// # Safety
    /// `free` must be sound to run once, at any later time, on any thread.
    #[inline]
    pub(crate) unsafe fn defer<F: FnOnce()>(&self, free: F) {
        // SAFETY: the caller passes on that `free` may run later and anywhere, hence also that what it captured does
        // not borrow from a frame that may be gone by then.
        unsafe { self.0.defer_unchecked(free) }
        debt::count();
    }

    /// Collects garbage if this thread has retired so much that it is due. Runs the drops of values: outside all sections.
    #[inline]
    pub(crate) fn settle(&self) {
        if debt::is_due() {
            debt::collect(self);
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

/// Running a model under a checker; only in builds for one.
#[cfg(any(radix_loom, radix_shuttle))]
pub mod checker {
    use super::oracle;

    /// Runs `test` as the body of one execution, and checks that all nodes are freed at its end, and once.
    ///
    /// # Panics
    /// If they are not, or `test` panics.
    pub fn execution(test: impl FnOnce()) {
        oracle::begin();
        test();
        oracle::finish();
    }
}
