//! A latch: a lock for the bytes of a frame, by many readers or one writer.
//!
//! [`Latch`] has the face of the usual reader-writer lock, without poisoning. What is different is the end of a [`LatchWriteGuard`]: a plain store.
//! Other locks end with an atomic read-modify-write, because they keep the mark "somebody waits" in the word that says
//! "taken". Such an instruction waits until all earlier stores of the processor have reached its cache. After a change of bytes that lay in
//! nobody's cache that is a miss of a hundred nanoseconds, longer than all the rest of a small write; here it overlaps with what comes next.
//!
//! # Protocol
//!
//! Two words. The *lock word* is zero, or `WRITER`, or the number of readers. **Nobody changes it while it is `WRITER`** but the writer, who can
//! therefore end by storing zero. The *count* says how many threads are about to sleep, readers and writers apart.
//!
//! | who | does, in this order |
//! |---|---|
//! | takes it | compare-and-swap of the lock word: from zero to `WRITER`, or from so many readers to one more; now and then one who ends takes it for those it wakes |
//! | ends | sets the lock word free; **light barrier**; looks at the count; if it is not zero, wakes |
//! | waits | raises the count; **heavy barrier**; looks at the lock word under the queue's lock, and sleeps if it is still taken; when it has the latch, lowers the count |
//!
//! **L-ALONE** While the lock word is `WRITER`, only the thread that made it so reaches the value; while it is a number of readers, nobody changes the
//! value. Every reference to the value relies on it.
//!
//! *Nobody sleeps on.* Either of the two must see the other, as in Dekker's algorithm. The usual fence between the store and the load of the one who
//! ends is what was to be saved. Instead, the heavy barrier (file `barrier.rs`) has every running thread of the process execute a fence. If the one who ends has stored
//! before that fence, the waiter's look finds the word free. If not, its look at the count comes after the fence, and finds the waiter. In
//! that case it takes the queue's lock: either the waiter is in the queue and is woken, or it comes to the queue's lock later, and finds the word free.
//!
//! *Who is woken*: the first of the queue; if it is a reader, all readers of the queue. A thread that is woken takes part in the race for the latch again; whoever wins it
//! wakes others when it ends. So there is always somebody who will wake those that sleep: one who has the latch, or one who was woken and will have it. A thread
//! that takes the latch again and again would always win that race, so an end that wakes *hands* them the latch now and then, about every half millisecond,
//! under the queue's lock, if it finds the word still free.
//!
//! *Writers before new readers*: a reader goes to sleep if a writer waits, also while the latch is free; that writer wakes it when it ends. One that is woken does not look at
//! waiting writers before it tries, since it may have been woken in place of one. What such a reader looks at is the count, not the lock word. Still it is not
//! forgotten: it raised the count before it looked; the writer that it saw there lowers the count later, *before it ends*, and every thread that raises the writers'
//! count enters and ends. That end finds the count raised: it is one word. [`Latch::read_recursive`] does not look at them either,
//! unless there is a writer in the latch: then its thread is not among the readers.
//!
//! *Order*: what was done under the latch happens before what the next one does. The stores that end it are `Release`, the swaps that take it `Acquire`; a reader's
//! decrement continues the release sequence of the readers before it.

mod wait;

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use self::wait::{Kind, Waiters};
use crate::barrier;
use crate::sync::{AtomicU32, Ordering, UnsafeCell};

/// The lock word of a latch with a writer. Less than that is the number of readers.
const WRITER: u32 = 1 << 31;

/// A value that many may read or one may change.
///
/// Two words of four bytes beside the value. On Linux, the end of a writer does not wait for its stores to reach the cache, once there has been
/// a [`Pool`](crate::Pool) or a thread that had to wait; elsewhere it has a fence. See the [module](self).
///
/// # Concurrency
/// Waiting threads sleep. A reader waits behind a waiting writer, and from time to time an end hands the latch to a thread that waits, so that threads
/// which take it again and again do not keep others out; there is no bound to how often others come first, and readers by
/// [`read_recursive`](Self::read_recursive) that overlap without end keep writers out. Fewer than 32,768 readers and as many writers may wait. A thread that
/// waits for a latch that it has itself waits for ever; `read_recursive` does not wait beside its own reads.
/// A guard stays on its thread. On Linux a thread that is about to sleep calls `membarrier(2)`, which interrupts the processors that run the process:
/// latches are for short use. A latch that other threads used when a process forked must not be used in the child.
///
/// The end of a guard still touches the latch when others can have it already: to have the latch is no leave to free it. Borrows see to that.
///
/// # Examples
/// ```
/// use page_frames::Latch;
///
/// let latch = Latch::new([0; 64]);
/// latch.write()[5] = 7;
/// assert_eq!(latch.read()[5], 7);
/// assert_eq!(latch.into_inner()[5], 7);
/// ```
pub struct Latch<T> {
    word: AtomicU32,
    waiters: Waiters,
    value: UnsafeCell<T>,
}

// SAFETY: whoever has the latch, or owns it, has the value (L-ALONE); it goes from thread to thread as a value that is sent.
unsafe impl<T: Send> Send for Latch<T> {}
// SAFETY: readers on several threads share the value; a writer may take it out.
unsafe impl<T: Send + Sync> Sync for Latch<T> {}

impl<T> Latch<T> {
    /// A latch that nobody has.
    pub fn new(value: T) -> Self {
        Self { word: AtomicU32::new(0), waiters: Waiters::new(), value: UnsafeCell::new(value) }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }

    /// The value, which nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: the only reference to the latch, so there is no guard.
        self.value.with_mut(|value| unsafe { &mut *value })
    }

    /// Takes the latch with other readers. Waits while there is a writer, or while one waits.
    ///
    /// # Panics
    /// With 2<sup>31</sup> readers at a time.
    #[inline]
    pub fn read(&self) -> LatchReadGuard<'_, T> {
        if !self.has_waiting_writers() && self.enter() {
            return LatchReadGuard::new(self);
        }
        self.read_slowly()
    }

    /// As [`read`](Self::read), but takes no account of waiting writers: for a thread that may be a reader already.
    ///
    /// # Panics
    /// With 2<sup>31</sup> readers at a time.
    #[inline]
    pub fn read_recursive(&self) -> LatchReadGuard<'_, T> {
        if self.enter() {
            return LatchReadGuard::new(self);
        }
        self.read_slowly()
    }

    /// Takes the latch if [`read`](Self::read) would not wait.
    ///
    /// # Panics
    /// With 2<sup>31</sup> readers at a time.
    #[inline]
    pub fn try_read(&self) -> Option<LatchReadGuard<'_, T>> {
        (!self.has_waiting_writers() && self.enter()).then(|| LatchReadGuard::new(self))
    }

    /// Takes the latch if [`read_recursive`](Self::read_recursive) would not wait.
    ///
    /// # Panics
    /// With 2<sup>31</sup> readers at a time.
    #[inline]
    pub fn try_read_recursive(&self) -> Option<LatchReadGuard<'_, T>> {
        self.enter().then(|| LatchReadGuard::new(self))
    }

    /// Takes the latch alone; waits while anybody has it.
    #[inline]
    pub fn write(&self) -> LatchWriteGuard<'_, T> {
        if !self.enter_alone() {
            self.waiters.wait(Kind::Writer, || self.enter_alone(), || self.is_taken());
        }
        LatchWriteGuard::new(self)
    }

    /// Takes the latch alone, if nobody has it.
    #[inline]
    pub fn try_write(&self) -> Option<LatchWriteGuard<'_, T>> {
        self.enter_alone().then(|| LatchWriteGuard::new(self))
    }

    /// Whether anybody has the latch; out of date when it is read.
    pub fn is_locked(&self) -> bool {
        self.is_taken()
    }

    /// Whether a writer has the latch; out of date when it is read.
    pub fn is_locked_exclusive(&self) -> bool {
        self.has_writer()
    }

    #[cold]
    fn read_slowly(&self) -> LatchReadGuard<'_, T> {
        self.waiters.wait(Kind::Reader, || self.enter(), || self.has_writer());
        LatchReadGuard::new(self)
    }

    /// One reader more, if there is no writer.
    #[inline]
    fn enter(&self) -> bool {
        // A guess. Not a load first: it would save nothing where nobody is, and see `Waiters::register`.
        let mut word = 0;
        loop {
            assert!(word < WRITER - 1, "too many readers of one latch");
            let swapped = self.word.compare_exchange_weak(
                word,
                word + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return true,
                Err(now) if now & WRITER != 0 => return false,
                Err(now) => word = now,
            }
        }
    }

    #[inline]
    fn enter_alone(&self) -> bool {
        self.word.compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    // Relaxed, here and below: what matters of their place in time, the barriers see to.
    fn has_writer(&self) -> bool {
        self.word.load(Ordering::Relaxed) & WRITER != 0
    }

    fn is_taken(&self) -> bool {
        self.word.load(Ordering::Relaxed) != 0
    }

    #[inline]
    fn has_waiting_writers(&self) -> bool {
        self.waiters.has_writers()
    }

    /// One reader less.
    #[inline]
    fn leave(&self) {
        if self.word.fetch_sub(1, Ordering::Release) == 1 {
            self.ended();
        }
    }

    #[inline]
    fn leave_alone(&self) {
        // Nobody else changes a word that is `WRITER`.
        self.word.store(0, Ordering::Release);
        self.ended();
    }

    /// The latch has just been set free.
    #[inline]
    fn ended(&self) {
        barrier::light();
        if self.waiters.exist() {
            self.waiters.wake(|readers| self.hand_over(readers));
        }
    }

    /// Takes the latch for so many readers, or for a writer, who have been woken and will not take it themselves. Whether it was free.
    fn hand_over(&self, readers: Option<u32>) -> bool {
        let word = readers.unwrap_or(WRITER);
        self.word.compare_exchange(0, word, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }
}

impl<T: Default> Default for Latch<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Latch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Latch");
        match self.try_read_recursive() {
            Some(value) => shown.field("value", &*value).finish(),
            None => shown.finish_non_exhaustive(),
        }
    }
}

/// Reads the value of a [`Latch`] until it is dropped.
#[must_use = "the latch is free again as soon as this is dropped"]
pub struct LatchReadGuard<'l, T> {
    latch: &'l Latch<T>,
    /// Stays on its thread, so that who asks for a latch can know which it has.
    stays: PhantomData<*const ()>,
}

// SAFETY: what it lends to other threads is `&T`.
unsafe impl<T: Sync> Sync for LatchReadGuard<'_, T> {}

impl<'l, T> LatchReadGuard<'l, T> {
    /// Of a latch that the caller has entered as a reader.
    #[inline]
    fn new(latch: &'l Latch<T>) -> Self {
        Self { latch, stays: PhantomData }
    }
}

impl<T> Deref for LatchReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: L-ALONE: while this reader is counted, nobody changes the value.
        self.latch.value.with(|value| unsafe { &*value })
    }
}

impl<T> Drop for LatchReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.latch.leave();
    }
}

impl<T: fmt::Debug> fmt::Debug for LatchReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Reads and changes the value of a [`Latch`] until it is dropped.
#[must_use = "the latch is free again as soon as this is dropped"]
pub struct LatchWriteGuard<'l, T> {
    latch: &'l Latch<T>,
    /// Stays on its thread, so that who asks for a latch can know which it has.
    stays: PhantomData<*const ()>,
}

// SAFETY: what it lends to other threads is `&T`.
unsafe impl<T: Sync> Sync for LatchWriteGuard<'_, T> {}

impl<'l, T> LatchWriteGuard<'l, T> {
    /// Of a latch that the caller has entered alone.
    #[inline]
    fn new(latch: &'l Latch<T>) -> Self {
        Self { latch, stays: PhantomData }
    }
}

impl<T> Deref for LatchWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: L-ALONE: only through this guard can anybody change the value.
        self.latch.value.with(|value| unsafe { &*value })
    }
}

impl<T> DerefMut for LatchWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: L-ALONE: nobody else can reach the value, and this guard is borrowed alone.
        self.latch.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T> Drop for LatchWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.latch.leave_alone();
    }
}

impl<T: fmt::Debug> fmt::Debug for LatchWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
