//! What the trees of the races hold: a number that tells values apart, and whether the value is still there.
//!
//! Natively a value that was dropped too early is for the sanitizers to find. Under a checker the memory of all values is kept
//! until the execution ends, and whoever reads one that was dropped panics.

use std::sync::Arc;
#[cfg(any(radix_loom, radix_shuttle))]
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Under loom in an atomic, which loom panics about if it is read by who cannot know that it has been made.
#[cfg(radix_loom)]
type Number = loom::sync::atomic::AtomicU64;
#[cfg(not(radix_loom))]
type Number = u64;

#[derive(Debug)]
pub(crate) struct Stamp {
    number: Number,
    /// Not seen by the checker: it adds no interleavings.
    #[cfg(any(radix_loom, radix_shuttle))]
    alive: AtomicBool,
}

impl Stamp {
    pub(crate) fn get(&self) -> u64 {
        #[cfg(any(radix_loom, radix_shuttle))]
        assert!(self.alive.load(SeqCst), "a value is read after it was dropped");
        // SAFETY: nobody stores to it; loom panics if it was made later than this or is made at the same time.
        #[cfg(radix_loom)]
        return unsafe { self.number.unsync_load() };
        #[cfg(not(radix_loom))]
        self.number
    }
}

#[cfg(not(any(radix_loom, radix_shuttle)))]
impl Stamp {
    pub(crate) fn new(number: u64) -> Arc<Stamp> {
        Arc::new(Stamp { number })
    }
}

#[cfg(any(radix_loom, radix_shuttle))]
mod kept {
    use std::cell::RefCell;
    use std::sync::Weak;

    use super::*;

    thread_local! {
        /// Values of the execution that this thread of the operating system runs. They keep the memory, not the values.
        static MADE: RefCell<Vec<Weak<Stamp>>> = const { RefCell::new(Vec::new()) };
    }

    impl Stamp {
        pub(crate) fn new(number: u64) -> Arc<Stamp> {
            let stamp =
                Arc::new(Stamp { number: Number::from(number), alive: AtomicBool::new(true) });
            MADE.with(|made| made.borrow_mut().push(Arc::downgrade(&stamp)));
            stamp
        }
    }

    impl Drop for Stamp {
        fn drop(&mut self) {
            self.alive.store(false, SeqCst);
        }
    }

    /// Runs one execution of a model; panics if a value is left behind, too.
    pub(crate) fn execution(test: impl FnOnce()) {
        MADE.with(|made| made.borrow_mut().clear());
        tagged_radix::checker::execution(test);
        let left = MADE.with(|made| made.borrow().iter().filter(|v| v.strong_count() > 0).count());
        assert_eq!(left, 0, "values are left behind");
    }
}

#[cfg(any(radix_loom, radix_shuttle))]
pub(crate) use self::kept::execution;
