//! The only room that names `crossbeam-epoch`: pinning, and retiring what has been unlinked.
//!
//! With the feature `asymmetric` epochs of this crate's own take its place.
//! Under a model checker an oracle takes its place, which notices when something freed is used.

use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

mod drops;
#[cfg(any(
    all(feature = "asymmetric", not(any(radix_loom, radix_shuttle))),
    all(test, radix_loom)
))]
#[cfg_attr(radix_loom, allow(dead_code, reason = "the models do not call all of it"))]
mod epochs;
#[cfg(any(radix_loom, radix_shuttle))]
pub(crate) mod oracle;
#[cfg(not(any(radix_loom, radix_shuttle)))]
mod thread;

#[cfg(any(radix_loom, radix_shuttle))]
use self::oracle as thread;
use self::thread::Pin;

pub(crate) use self::drops::{Doomed, Drops};
use crate::arena;

/// A pin of the current thread to the current epoch: what a lock-free reader found stays in memory while it lives.
///
/// Made by [`pin`]. A guard is cheap to keep and not free to make (about 7 ns, a full memory fence; a fifth of that and none
/// with the [feature `asymmetric`](crate#features)): hold one over a burst of operations with [`RadixTree::with_guard`](crate::RadixTree::with_guard) rather than making one for each.
/// While any guard lives, nothing that was unlinked after it was made is freed, by any thread; so let go of it, or
/// call [`repin`](Guard::repin), in long loops and before anything that blocks.
///
/// A guard belongs to its thread (it is not `Send`) and serves every tree. It has nothing to do with the guards of
/// crossbeam-epoch's other users: the trees have a collector of their own.
///
/// # Drops of values
/// A value that was removed or replaced is dropped by any thread that pins or retires something, right after its last guard
/// is gone: under no guard and no lock of this crate, so the drop may block, and may use trees. A panic of it goes no
/// further than to the panic hook: the call that happens to run the drop has nothing to do with it, and all other values
/// are dropped as if there were none. Only values that are dropped with their tree are dropped in the call of the one who drops
/// the tree, who gets the first panic when all of them are dropped.
///
/// # Fork
/// A child process made by `fork` on a thread that holds no guard frees what it retires as its parent does, also if
/// other threads of the parent held guards. What was retired before stays in the child's memory. Forked under a guard, or by
/// a drop that a [`repin`](Guard::repin) runs, it frees nothing while another thread's guard of that moment would have lived, which is for ever.
/// As with any lock, a child must not change a tree that other threads may have been changing at that moment; reading it
/// is safe and does not wait, but for reads that are repeated when a writer intervenes.
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
pub struct Guard(ManuallyDrop<Pin>);

/// Pins the current thread and returns the guard.
///
/// # Concurrency
/// Takes no lock. Pinning while the thread is pinned already costs about a nanosecond. Every 128th time or so that a thread
/// pins, and once for every 256 objects or 256 KiB that it retires, it frees some garbage, of any tree; when its last guard is gone, it
/// drops the values that were in it, whoever removed them. With the [feature `asymmetric`](crate#features) it is every 1024th time if
/// the thread has retired anything, and every 2048th otherwise, and 1024 objects in place of 256.
///
/// # Examples
/// ```
/// let guard = tagged_radix::pin();
/// drop(guard);
/// ```
#[inline]
#[must_use = "the thread is pinned only while the guard lives"]
pub fn pin() -> Guard {
    Guard(ManuallyDrop::new(thread::pin()))
}

impl Guard {
    /// Moves the pin to the current epoch, so that what was retired before can be freed.
    ///
    /// Takes `&mut self`: no reference obtained under the guard can outlive the call. It does nothing while another
    /// guard of the same thread lives. It costs as much as making a guard.
    /// In destructors of thread-locals that run when the thread's own registration has ended, guards of a thread know nothing of each other: one is moved on though
    /// another lives, values are dropped though another lives, and a fork counts as one under a guard.
    ///
    /// # Examples
    /// ```
    /// let mut guard = tagged_radix::pin();
    /// guard.repin();
    /// ```
    #[inline]
    pub fn repin(&mut self) {
        thread::repin(&mut self.0);
    }

    /// Hands over what this thread has retired, so that any thread may free it, and tries to free some garbage now.
    ///
    /// There is no need to call it: threads do this by themselves every so often. It serves those who want memory
    /// back soon after a burst of removals. Values that it finds are dropped when the thread's last guard is gone. With the [feature `arena`](crate#features)
    /// it also gives back the memory that the thread has at hand for nodes.
    ///
    /// # Examples
    /// ```
    /// tagged_radix::pin().flush();
    /// ```
    pub fn flush(&self) {
        self.0.flush();
        arena::give_back();
    }

    /// Runs `call` once no guard that exists now is left: the way to free what is found through a tree, and is not a value in it.
    ///
    /// # Concurrency
    /// It runs once, as the [drop of a value](Guard#drops-of-values) that is removed now would: on any thread, under no guard and no lock of this
    /// crate, a little later; its panic goes no further. As of values, what is left when the process ends is not run. Takes no lock.
    /// # Complexity
    /// O(1), and now and then it frees some garbage. Allocates room for the closure. It counts as one object, whatever it frees: who defers the end of
    /// something large calls [`flush`](Guard::flush) now and then.
    ///
    /// # Examples
    /// ```
    /// use std::sync::mpsc;
    ///
    /// let (sender, receiver) = mpsc::channel();
    /// let guard = tagged_radix::pin();
    /// guard.defer(move || sender.send("nobody looks any more").unwrap());
    /// assert!(receiver.try_recv().is_err());
    /// drop(guard);
    /// let told = std::iter::repeat_with(|| {
    ///     tagged_radix::pin().flush();
    ///     receiver.try_recv()
    /// });
    /// assert_eq!(told.flatten().next(), Some("nobody looks any more"));
    /// ```
    pub fn defer<F: FnOnce() + Send + 'static>(&self, call: F) {
        /// # Safety
        /// `word` is that of a boxed `F`, and this is the only time that it is taken back.
        unsafe fn run<F: FnOnce()>(word: NonNull<()>) {
            // SAFETY: the caller's word.
            let call = unsafe { Box::from_raw(word.cast::<F>().as_ptr()) };
            call();
        }
        let word = NonNull::from(Box::leak(Box::new(call))).cast();
        let free = move || {
            // SAFETY: the word of the box, of which this is the only owner, and which may change threads.
            drop_unpinned(unsafe { Doomed::new(word, run::<F>) });
        };
        // SAFETY: the closure is `Send + 'static`, and runs once.
        unsafe { self.retire(free) }
        self.settle();
    }

    /// Counts bytes that are freed with what was just retired.
    #[inline]
    pub(crate) fn count_bytes(&self, bytes: usize) {
        thread::count_bytes(bytes);
    }

    /// Runs `free` once no guard that exists now is left. It must not panic, nor call user's code: that is for
    /// [`drop_unpinned`].
    ///
    /// # Safety
    /// `free` must be sound to run once, at any later time, on any thread.
    #[inline]
    pub(crate) unsafe fn retire<F: FnOnce()>(&self, free: F) {
        // SAFETY: the caller passes on that `free` may run later and anywhere, hence also that what it captured does
        // not borrow from a frame that may be gone by then.
        unsafe { self.0.defer_unchecked(free) }
        thread::count_retired();
    }

    /// Collects garbage if this thread has retired so much that it is due.
    #[inline]
    pub(crate) fn settle(&self) {
        if thread::is_due() {
            thread::collect(&self.0);
        }
    }
}

impl Drop for Guard {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: dropped here, and `self` is gone then.
        unsafe { ManuallyDrop::drop(&mut self.0) };
        thread::settle_unpinned();
    }
}

/// Drops a value that nobody can see any more as soon as this thread is not pinned. For what is [retired](Guard::retire).
pub(crate) fn drop_unpinned(value: Doomed) {
    thread::drop_unpinned(value);
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

/// Running a model under a checker; only in builds for one.
#[cfg(any(radix_loom, radix_shuttle))]
pub mod checker {
    use crate::reclaim::oracle;

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
