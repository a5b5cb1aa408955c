//! The only file that names atomics, locks and threads.
//!
//! With `--cfg frames_loom` and the feature `loom`, loom's take the place of the standard ones. `UnsafeCell` and `Uses` let loom
//! see accesses: it reports two that are not ordered, unless both only read.

#[cfg(not(frames_loom))]
mod standard {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, compiler_fence, fence};
    pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock};
    pub(crate) use std::thread::yield_now;

    use std::cell::Cell;
    use std::sync::atomic::AtomicUsize;
    use std::time::{Duration, Instant};

    use parking_lot_core::{
        DEFAULT_UNPARK_TOKEN, FilterOp, ParkResult, ParkToken, UnparkResult, UnparkToken,
    };

    /// As the standard one, with the face of loom's.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        pub(crate) fn into_inner(self) -> T {
            self.0.into_inner()
        }

        #[inline(always)]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
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

    /// Threads that sleep, in the queues of `parking_lot_core`, which are found by address.
    #[derive(Debug)]
    pub(crate) struct Queue;

    const READER: ParkToken = ParkToken(0);
    const WRITER: ParkToken = ParkToken(1);
    /// Whoever wakes up with it has what it waited for.
    const HANDED: UnparkToken = UnparkToken(1);

    impl Queue {
        pub(crate) const fn new() -> Self {
            Self
        }

        /// Sleeps until it is woken, or for `patience`, if `blocked` is true under the queue's lock. Whether it was handed what it waits for.
        pub(crate) fn sleep(
            &self,
            address: usize,
            is_reader: bool,
            blocked: impl Fn() -> bool,
            patience: Option<Duration>,
        ) -> bool {
            let token = if is_reader { READER } else { WRITER };
            let end = patience.map(|patience| Instant::now() + patience);
            // SAFETY: the address is that of a word of a latch that the caller has borrowed, so no other queue has it; the closures
            // do not panic and use no queue.
            let result =
                unsafe { parking_lot_core::park(address, blocked, || {}, |_, _| {}, token, end) };
            result == ParkResult::Unparked(HANDED)
        }

        /// Wakes the first, and if that is a reader, all readers. Now and then it calls `hand_over`, under the queue's lock, with how many readers
        /// these are, or `None` for a writer: whether they have been given what they wait for.
        pub(crate) fn wake(&self, address: usize, hand_over: impl FnOnce(Option<u32>) -> bool) {
            let first = Cell::new(None);
            let choose = |token| match first.get() {
                None => {
                    first.set(Some(token));
                    FilterOp::Unpark
                }
                Some(READER) if token == READER => FilterOp::Unpark,
                Some(READER) => FilterOp::Skip,
                Some(_) => FilterOp::Stop,
            };
            let decide = |woken: UnparkResult| {
                let readers = || u32::try_from(woken.unparked_threads).unwrap_or(u32::MAX);
                let readers = (first.get() == Some(READER)).then(readers);
                let handed = woken.unparked_threads > 0 && woken.be_fair && hand_over(readers);
                if handed { HANDED } else { DEFAULT_UNPARK_TOKEN }
            };
            // SAFETY: as in `sleep`.
            unsafe {
                parking_lot_core::unpark_filter(address, choose, decide);
            }
        }
    }

    /// How long to hope for a latch before sleeping.
    pub(crate) mod spin {
        use std::time::Duration;

        /// Tries before sleeping.
        pub(crate) const ROUNDS: u32 = 10;
        /// Rounds in which the processor is not given to others.
        const BUSY: u32 = 6;
        /// How long somebody sleeps who may not be seen.
        pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(1);

        pub(crate) fn pause(round: u32) {
            if round < BUSY {
                (0..1 << round).for_each(|_| std::hint::spin_loop());
            } else {
                std::thread::yield_now();
            }
        }
    }

    /// A hint that no checker looks at.
    pub(crate) type HintBool = AtomicBool;

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

    /// How many threads could run at a time when this was first asked: the answer takes some thirty system calls.
    pub(crate) fn processors() -> usize {
        static PROCESSORS: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
        *PROCESSORS
            .get_or_init(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
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
    pub(crate) use std::sync::atomic::compiler_fence;

    // No model has a fork.
    pub(crate) use std::sync::OnceLock;

    use std::cell::Cell;

    /// Threads that sleep.
    pub(crate) struct Queue {
        state: Mutex<Sleepers>,
        woken: loom::sync::Condvar,
    }

    #[derive(Default)]
    struct Sleepers {
        next: u32,
        /// By number, and whether it is a reader.
        queue: std::collections::VecDeque<(u32, bool)>,
        /// Those that were woken with what they waited for.
        handed: Vec<u32>,
    }

    std::thread_local! {
        /// Whether whoever is woken is handed what it waits for.
        static HANDS_OVER: Cell<bool> = const { Cell::new(false) };
    }

    #[cfg(test)]
    pub(crate) fn set_hands_over(yes: bool) {
        HANDS_OVER.set(yes);
    }

    impl Queue {
        pub(crate) fn new() -> Self {
            Self { state: Mutex::new(Sleepers::default()), woken: loom::sync::Condvar::new() }
        }

        pub(crate) fn sleep(
            &self,
            _address: usize,
            is_reader: bool,
            blocked: impl Fn() -> bool,
            _patience: Option<std::time::Duration>,
        ) -> bool {
            let mut state = self.state.lock().unwrap();
            if !blocked() {
                return false;
            }
            let own = state.next;
            state.next += 1;
            state.queue.push_back((own, is_reader));
            while state.queue.iter().any(|(other, _)| *other == own) {
                state = self.woken.wait(state).unwrap();
            }
            state.handed.contains(&own)
        }

        pub(crate) fn wake(&self, _address: usize, hand_over: impl FnOnce(Option<u32>) -> bool) {
            let mut state = self.state.lock().unwrap();
            let Some(&(first, is_reader)) = state.queue.front() else { return };
            let woken: Vec<u32> = state
                .queue
                .iter()
                .filter(|(number, reads)| if is_reader { *reads } else { *number == first })
                .map(|(number, _)| *number)
                .collect();
            state.queue.retain(|(number, _)| !woken.contains(number));
            let readers = is_reader.then(|| u32::try_from(woken.len()).unwrap());
            if HANDS_OVER.get() && hand_over(readers) {
                state.handed.extend(woken);
            }
            drop(state);
            self.woken.notify_all();
        }
    }

    pub(crate) mod spin {
        pub(crate) const ROUNDS: u32 = 0;
        pub(crate) const LOOK_AGAIN: std::time::Duration = std::time::Duration::ZERO;

        pub(crate) fn pause(_round: u32) {
            loom::thread::yield_now();
        }
    }

    /// Not a part of the models.
    pub(crate) type HintBool = std::sync::atomic::AtomicBool;

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
