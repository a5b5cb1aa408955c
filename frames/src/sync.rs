//! The only file that names atomics, locks and threads.
//!
//! With `--cfg frames_loom` and the feature `loom`, loom's take the place of the standard ones. `UnsafeCell` and `Uses` let loom
//! see accesses: it reports two that are not ordered, unless both only read.

#[cfg(not(frames_loom))]
mod standard {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
    pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock};
    pub(crate) use std::thread::yield_now;

    use std::cell::Cell;
    use std::sync::atomic::AtomicUsize;

    /// As the standard one, with the face of loom's.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }

    /// The uses of a block's bytes, which only loom records.
    #[derive(Debug, Default)]
    pub(crate) struct Uses;

    impl Uses {
        #[inline(always)]
        pub(crate) fn read(&self) {}

        #[inline(always)]
        pub(crate) fn write(&self) {}
    }

    /// A number of the calling thread, counted up from zero.
    #[inline]
    pub(crate) fn thread_number() -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
        }
        NUMBER.with(|number| {
            number.get().unwrap_or_else(|| {
                // Relaxed: only to be told apart.
                let own = NEXT.fetch_add(1, Ordering::Relaxed);
                number.set(Some(own));
                own
            })
        })
    }

    /// How many threads can run at a time.
    pub(crate) fn processors() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// The number of this process, by which the child of a fork is told from its parent.
    pub(crate) fn process() -> u32 {
        std::process::id()
    }
}

#[cfg(frames_loom)]
mod loomed {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
    pub(crate) use loom::sync::{Mutex, MutexGuard};
    pub(crate) use loom::thread::yield_now;

    // No model has a fork.
    pub(crate) use std::sync::OnceLock;

    use std::cell::Cell;

    /// The uses of a block's bytes.
    #[derive(Debug)]
    pub(crate) struct Uses(UnsafeCell<()>);

    impl Default for Uses {
        fn default() -> Self {
            Self(UnsafeCell::new(()))
        }
    }

    impl Uses {
        #[track_caller]
        pub(crate) fn read(&self) {
            self.0.with(|_| ());
        }

        #[track_caller]
        pub(crate) fn write(&self) {
            self.0.with_mut(|_| ());
        }
    }

    loom::thread_local! {
        static NUMBER: Cell<usize> = Cell::new(0);
    }

    /// Zero, unless the model says otherwise: it decides which threads share a magazine.
    pub(crate) fn thread_number() -> usize {
        NUMBER.with(Cell::get)
    }

    #[cfg(test)]
    pub(crate) fn set_thread_number(number: usize) {
        NUMBER.with(|own| own.set(number));
    }

    pub(crate) fn processors() -> usize {
        2
    }

    pub(crate) fn process() -> u32 {
        1
    }
}

/// A number that nothing relies on but who wants to know it: left out of the models.
pub(crate) type CounterU64 = std::sync::atomic::AtomicU64;

#[cfg(frames_loom)]
pub(crate) use self::loomed::*;
#[cfg(not(frames_loom))]
pub(crate) use self::standard::*;
