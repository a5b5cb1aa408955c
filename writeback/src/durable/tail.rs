//! The tail: what lies between the end of a mapping and the next place where its store can be written.
//!
//! A store with an alignment takes whole multiples of it and nothing else, so the image of the last page
//! is padded with zeros, and the write leaves the store longer than the mapping. That harms nobody
//! who reads through the cache, and each sync sets the store's length right before its flush: after the
//! writes that it waited for, and once for all of them, however many there were.
//!
//! # The rule
//! The store's length may be set to the mapping's only while the mapping cannot grow. Else a page beyond
//! could become dirty, be written and be clean, all between the look at the length and the cut, which would take
//! it away. So whoever raises the mapping's length does that while [`growing`](Tail::growing), and the cut is made
//! while nobody is. No store, page lock or truncate is waited for while growing, so that a sync does not
//! wait for a device that is stuck in a read. A latch is, and with it a thread that has a guard, which may wait for the page lock of a page that is missing. So
//! nobody waits to grow with a page lock: who cannot grow at once lets go of the lock, waits, and begins again.
//!
//! A padded write that is under way during the cut lengthens the store again when it ends. It is counted when
//! it has ended, and before anybody can see that; so the next sync finds that there is something to
//! cut, and so does every sync that waited for that write.

use crate::error::StoreError;
use crate::held;
use crate::primitives::{AtomicU64, Ordering, RwLock, RwLockReadGuard};

#[derive(Debug)]
pub(crate) struct Tail {
    alignment: u64,
    /// How many writes have ended beyond the end of the mapping.
    padded: AtomicU64,
    /// How many of them had when the store's length was last set right. Changed by one thread at a time.
    trimmed: AtomicU64,
    /// Held shared by whoever raises the length, exclusively while the store is cut.
    growth: RwLock<()>,
}

/// Keeps the store from being cut, if the store pads and the mapping grows.
pub(crate) type Growing<'t> = Option<RwLockReadGuard<'t, ()>>;

impl Tail {
    pub(crate) fn new(alignment: usize) -> Self {
        Self {
            alignment: alignment.max(1) as u64,
            padded: AtomicU64::new(0),
            trimmed: AtomicU64::new(0),
            growth: RwLock::new(()),
        }
    }

    fn pads(&self) -> bool {
        self.alignment > 1
    }

    /// Up to where a page is written that has `len` bytes. At most the page size, which is a multiple of the
    /// alignment.
    pub(crate) fn padded(&self, len: usize) -> usize {
        if !self.pads() {
            return len;
        }
        len.next_multiple_of(usize::try_from(self.alignment).expect("at most a page"))
    }

    /// The greatest length of which the last byte can be written.
    pub(crate) fn len_max(&self, store_len_max: u64) -> u64 {
        store_len_max - store_len_max % self.alignment
    }

    /// To be kept while the mapping's length is raised, if it is: acquired before the content latch, and not waited for with a page lock.
    pub(crate) fn growing(&self, grows: bool) -> Growing<'_> {
        // A thread with a guard does not wait behind a cut that waits for somebody who waits for the guard.
        let grow = || if held::any() { self.growth.read_recursive() } else { self.growth.read() };
        (grows && self.pads()).then(grow)
    }

    /// As [`growing`](Self::growing), for whoever has a page lock; `None` if it would have to wait.
    pub(crate) fn try_growing(&self, grows: bool) -> Option<Growing<'_>> {
        if !(grows && self.pads()) {
            return Some(None);
        }
        let growth =
            if held::any() { self.growth.try_read_recursive() } else { self.growth.try_read() };
        growth.map(Some)
    }

    /// A write that ends at `end` is over, however it went, and nobody has seen that yet. `len` looks at the
    /// mapping's length.
    pub(crate) fn note_ended(&self, end: u64, len: impl FnOnce() -> u64) {
        // Should the mapping be cut after the look, the cut comes after this write and acts on it.
        if self.pads() && end > len() {
            // Release: whoever sees the write end sees this.
            self.padded.fetch_add(1, Ordering::Release);
        }
    }

    /// Has `set_len` set the store's length to the mapping's, if a padded write has ended since that was last done.
    /// The caller has the lock under which lengths are set. `None` if somebody is growing, unless this `waits` for that.
    pub(crate) fn trim(
        &self,
        waits: bool,
        set_len: impl FnOnce() -> Result<(), StoreError>,
    ) -> Option<Result<(), StoreError>> {
        // Before the cut: a write that ends later is not covered by it.
        let padded = self.padded.load(Ordering::Acquire);
        if padded == self.trimmed.load(Ordering::Relaxed) {
            return Some(Ok(()));
        }
        let _nobody_grows = if waits { self.growth.write() } else { self.growth.try_write()? };
        let set = set_len();
        if set.is_ok() {
            self.trimmed.store(padded, Ordering::Relaxed);
        }
        Some(set)
    }
}

#[cfg(test)]
#[cfg(not(any(writeback_loom, writeback_shuttle)))]
mod tests {
    use super::*;
    use crate::primitives::thread;

    #[test]
    fn lengths_are_padded_to_the_alignment_and_not_beyond_a_page() {
        let tail = Tail::new(512);
        let padded = [0, 1, 511, 512, 513, 4096].map(|len| tail.padded(len));
        assert_eq!(padded, [0, 512, 512, 512, 1024, 4096]);
        assert_eq!((tail.len_max(1000), tail.len_max(1024)), (512, 1024));
        assert_eq!((Tail::new(0).padded(7), Tail::new(1).len_max(u64::MAX)), (7, u64::MAX));
    }

    #[test]
    fn a_thread_with_a_guard_grows_in_front_of_a_cut_that_waits() {
        crate::watchdog::watch();
        let tail = Tail::new(512);
        tail.note_ended(512, || 0);
        let grows = tail.growing(true);
        thread::scope(|scope| {
            let cutter = scope.spawn(|| tail.trim(true, || Ok(())));
            // It waits when those who have no guard cannot grow.
            while scope.spawn(|| tail.try_growing(true).is_some()).join().unwrap() {
                thread::yield_now();
            }
            let _held = held::Noted::new(1, 1, false);
            drop(tail.try_growing(true).expect("it has a guard"));
            drop(tail.growing(true));
            drop(grows);
            cutter.join().unwrap().expect("it waits").unwrap();
        });
    }

    #[test]
    fn the_store_is_cut_once_for_all_that_was_padded_and_again_if_that_fails() {
        crate::watchdog::watch();
        let tail = Tail::new(512);
        let cuts = std::cell::Cell::new(0);
        let trim = |well: bool| {
            let set_len = || {
                cuts.set(cuts.get() + 1);
                if well { Ok(()) } else { Err(StoreError::Lost) }
            };
            tail.trim(true, set_len).expect("it waits")
        };
        tail.note_ended(512, || 512);
        trim(true).unwrap();
        assert_eq!(cuts.get(), 0);
        tail.note_ended(512, || 100);
        tail.note_ended(1024, || 600);
        trim(false).unwrap_err();
        trim(true).unwrap();
        trim(true).unwrap();
        assert_eq!(cuts.get(), 2);
        // Who does not wait comes again.
        tail.note_ended(512, || 100);
        let growing = tail.growing(true);
        assert!(tail.trim(false, || Ok(())).is_none());
        drop(growing);
        assert!(tail.trim(false, || Ok(())).is_some_and(|set| set.is_ok()));
    }
}
