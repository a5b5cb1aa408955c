//! Who waits for a latch, and how.

use crate::barrier::{self, Seen};
use crate::sync::{AtomicU32, Ordering, Queue, spin};

/// In the count of those that wait: one reader, one writer.
const READER: u32 = 1;
const WRITER: u32 = 1 << 16;
/// Of either; more do not sleep but ask again and again. Half of what there is room for, since they are counted before they are refused.
const MOST: u32 = WRITER / 2;

/// What a waiting thread wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Reader,
    Writer,
}

impl Kind {
    fn count(self) -> u32 {
        if self == Self::Writer { WRITER } else { READER }
    }

    /// How many of its sort the count has.
    fn among(self, count: u32) -> u32 {
        if self == Self::Writer { count / WRITER } else { count % WRITER }
    }
}

/// The threads that wait for one latch.
pub(super) struct Waiters {
    count: AtomicU32,
    queue: Queue,
}

impl Waiters {
    pub(super) fn new() -> Self {
        Self { count: AtomicU32::new(0), queue: Queue::new() }
    }

    /// Whether anybody sleeps or is about to.
    #[inline]
    pub(super) fn exist(&self) -> bool {
        // Relaxed: a barrier is before it.
        self.count.load(Ordering::Relaxed) != 0
    }

    /// Whether any of them is a writer.
    #[inline]
    pub(super) fn has_writers(&self) -> bool {
        // Relaxed: whoever waits on account of it looks again in the queue.
        self.count.load(Ordering::Relaxed) >= WRITER
    }

    /// Wakes those in front; now and then gives them the latch by `hand_over` (see [`Queue::wake`]).
    #[cold]
    pub(super) fn wake(&self, hand_over: impl FnOnce(Option<u32>) -> bool) {
        self.queue.wake(self.address(), hand_over);
    }

    /// Returns when `enter` has succeeded; sleeps while `blocked`.
    #[cold]
    pub(super) fn wait(&self, kind: Kind, enter: impl Fn() -> bool, blocked: impl Fn() -> bool) {
        let polite = kind == Kind::Reader;
        for round in 0..spin::ROUNDS {
            spin::pause(round);
            if !(polite && self.has_writers()) && enter() {
                return;
            }
        }
        if !self.register(kind) {
            while !enter() {
                spin::pause(spin::ROUNDS);
            }
            return;
        }
        // Once is enough: whoever ends after it finds the count raised.
        let patience = (barrier::heavy() == Seen::Perhaps).then_some(spin::LOOK_AGAIN);
        loop {
            let must_sleep = || blocked() || (polite && self.has_writers());
            let handed =
                self.queue.sleep(self.address(), kind != Kind::Writer, must_sleep, patience);
            // Whoever else waits: a reader may have been woken in place of a writer.
            if handed || enter() {
                break;
            }
        }
        // Before it ends: a reader that sleeps on account of this writer is seen by that end.
        self.count.fetch_sub(kind.count(), Ordering::Relaxed);
    }

    /// Whether there was room for one more in the count.
    fn register(&self, kind: Kind) -> bool {
        // Relaxed: a heavy barrier comes next. One read-modify-write, not a load and a swap: of these, loom would overlook some
        // interleavings with the loads of others.
        let before = self.count.fetch_add(kind.count(), Ordering::Relaxed);
        if kind.among(before) < MOST {
            return true;
        }
        self.count.fetch_sub(kind.count(), Ordering::Relaxed);
        false
    }

    /// By which the queue of this latch is found.
    fn address(&self) -> usize {
        std::ptr::from_ref(&self.count).addr()
    }
}
