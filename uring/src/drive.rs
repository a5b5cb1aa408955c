//! The store's thread: it hands flights to the kernel, takes their ends, and goes on with those that have not ended.
//!
//! Everything is ended here, with no lock: tasks are woken in that call, and the last reference to the store may go with it, which then does not wait
//! for this thread, nor for another store's: that may be waiting for this one. What somebody who is told of an end does with a panic concerns nobody else. If the kernel takes nothing
//! any more, what it has stays as it is, for ever (I-PINNED), and all else ends with its error, also what was noted and never handed over.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use writeback::StoreError;

use crate::flight::{Below, End, Flight, Flights};
use crate::progress::Progress;
use crate::queue::{Found, Queue, Wake};
use crate::ring::Ring;

/// How many flights are noted, at the most, before the kernel gets them: those that come one by one are handed over together.
const TOGETHER: usize = 16;

thread_local! {
    static IS_A_STORES: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is a store's: then somebody is being told of an end, and all else that has ended waits.
pub(crate) fn is_on_a_stores_thread() -> bool {
    IS_A_STORES.get()
}

/// What callers and the thread have in common.
pub(crate) struct Shared {
    queue: Queue<Flight>,
    below: Box<dyn Below>,
    /// Flights that have not ended.
    under_way: AtomicUsize,
    /// How many of them the kernel has at a time.
    places: u32,
    progress: Arc<Progress>,
    /// The process that has the thread.
    process: u32,
    /// Why the kernel takes nothing any more.
    broken: OnceLock<StoreError>,
}

impl Shared {
    pub(crate) fn new(
        waker: Box<dyn Wake>,
        below: Box<dyn Below>,
        places: u32,
        progress: Arc<Progress>,
    ) -> Arc<Self> {
        Arc::new(Self {
            queue: Queue::new(waker),
            below,
            under_way: AtomicUsize::new(0),
            places,
            progress,
            process: process::id(),
            broken: OnceLock::new(),
        })
    }

    fn is_here(&self) -> bool {
        self.process == process::id()
    }

    fn submit(&self, flight: Flight) {
        if !self.is_here() {
            let text = "the ring belongs to the process that this one was forked from";
            return flight.end(End::failed(io::Error::other(text).into()));
        }
        if flight.is_out_of_reach() {
            let error = io::Error::from_raw_os_error(libc::EINVAL);
            return flight.end(End::failed(error.into()));
        }
        self.progress.asked();
        // Relaxed: a number that somebody is told, and nothing hangs on it.
        self.under_way.fetch_add(1, Ordering::Relaxed);
        if let Err(flight) = self.queue.push(flight) {
            self.end(flight, End::failed(self.why()));
        }
    }

    fn end(&self, flight: Flight, end: End) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        // The hook has told of it.
        let _ = contain(|| flight.end(end));
        self.progress.ended();
    }

    fn why(&self) -> StoreError {
        self.broken.get().cloned().unwrap_or(StoreError::Lost)
    }
}

/// A thread with a ring. Dropped, it waits until all has ended; but not on a store's thread, and not in a process that was forked since.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    /// `None` once it is not waited for.
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// `thread` [drives](drive).
    pub(crate) fn new(shared: Arc<Shared>, thread: JoinHandle<()>) -> Self {
        Self { shared, thread: Some(thread) }
    }

    pub(crate) fn submit(&self, flight: Flight) {
        self.shared.submit(flight);
    }

    /// Whether three quarters of what the kernel has at a time are under way.
    pub(crate) fn is_congested(&self) -> bool {
        self.under_way() * 4 >= self.shared.places as usize * 3
    }

    fn under_way(&self) -> usize {
        self.shared.under_way.load(Ordering::Relaxed)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if !self.shared.is_here() {
            return mem::forget(thread);
        }
        self.shared.progress.dropped();
        self.shared.queue.close();
        if !is_on_a_stores_thread() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("under_way", &self.under_way()).finish_non_exhaustive()
    }
}

struct Driver<'s, R> {
    /// Neither it nor the flights are dropped but in the end: what the kernel has stays, also after a panic.
    ring: ManuallyDrop<R>,
    flights: ManuallyDrop<Flights>,
    shared: &'s Shared,
    waiting: VecDeque<Flight>,
    /// Ends that were taken out of the ring and not looked at.
    ends: Vec<(u64, i32)>,
    /// Flights that the kernel does not have, and that cannot go on.
    stranded: Vec<u64>,
    /// Whether the kernel takes nothing any more.
    is_broken: bool,
}

/// Calls it; `None` if it panicked. What it panicked with is a foreign value, whose drop may panic in turn, and so on; what does so too often is kept for ever.
fn contain<R>(call: impl FnOnce() -> R) -> Option<R> {
    let mut panic = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(value) => return Some(value),
        Err(panic) => panic,
    };
    for _ in 0..4 {
        match catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            Ok(()) => return None,
            Err(next) => panic = next,
        }
    }
    mem::forget(panic);
    None
}

/// What the thread does: all that is in the queue, until the queue is closed.
pub(crate) fn drive<R: Ring>(ring: R, shared: &Shared) {
    IS_A_STORES.set(true);
    let mut driver = Driver {
        ring: ManuallyDrop::new(ring),
        flights: ManuallyDrop::new(Flights::new(shared.places)),
        shared,
        waiting: VecDeque::new(),
        ends: Vec::new(),
        stranded: Vec::new(),
        is_broken: false,
    };
    let error = match contain(|| driver.run()) {
        Some(Ok(())) => None,
        Some(Err(error)) => Some(error),
        None => Some(io::Error::other("the thread of the ring has panicked")),
    };
    if let Some(error) = error {
        let _ = shared.broken.set(error.into());
        let _ = contain(|| driver.give_up());
    }
    shared.queue.close();
    let Driver { ring, flights, mut waiting, .. } = driver;
    while shared.queue.take(&mut waiting) == Found::Some {}
    waiting.into_iter().for_each(|flight| shared.end(flight, End::failed(shared.why())));
    if flights.is_empty() {
        drop(ManuallyDrop::into_inner(ring));
        drop(ManuallyDrop::into_inner(flights));
    }
}

impl<R: Ring> Driver<'_, R> {
    fn run(&mut self) -> io::Result<()> {
        let mut launched = 0;
        loop {
            let found = self.shared.queue.take(&mut self.waiting);
            launched += self.launch()?;
            let is_full = self.flights.is_full();
            if found == Found::Some && launched < TOGETHER && !is_full {
                // More may have come meanwhile.
                continue;
            }
            if found == Found::Closed && self.waiting.is_empty() && self.flights.is_empty() {
                return Ok(());
            }
            self.ring.enter(is_full || found != Found::Some)?;
            launched = 0;
            self.land()?;
        }
    }

    /// Notes what waits, as far as there are places; tells how many flights those are.
    fn launch(&mut self) -> io::Result<usize> {
        let mut launched = 0;
        while !self.flights.is_full()
            && let Some(flight) = self.waiting.pop_front()
        {
            if flight.call().is_none() {
                // Of no bytes.
                self.shared.end(flight, End::default());
                continue;
            }
            let key = self.flights.insert(flight);
            self.push(key)?;
            launched += 1;
        }
        Ok(launched)
    }

    fn push(&mut self, key: u64) -> io::Result<()> {
        loop {
            let call = self.flights.get_mut(key).and_then(|flight| flight.call());
            let call = call.expect("it has not ended");
            // SAFETY: I-PINNED: the flight has its bytes and slices, which lie elsewhere than itself, and stays in its place until its end is taken.
            if unsafe { self.ring.push(key, call) } {
                return Ok(());
            }
            if let Err(error) = self.ring.enter(false) {
                self.stranded.push(key);
                return Err(error);
            }
        }
    }

    /// Takes what has ended. What is left if that fails is taken the next time.
    fn land(&mut self) -> io::Result<()> {
        self.ring.reap(&mut self.ends);
        self.ends.reverse();
        while let Some((key, result)) = self.ends.pop() {
            let Some(flight) = self.flights.get_mut(key) else { continue };
            match flight.advance(result, &*self.shared.below) {
                None if self.is_broken => self.stranded.push(key),
                None => self.push(key)?,
                Some(end) => {
                    let flight = self.flights.remove(key).expect("it was there");
                    self.shared.end(flight, end);
                }
            }
        }
        Ok(())
    }

    /// Ends all that the kernel does not have, once it takes nothing any more.
    fn give_up(&mut self) {
        self.is_broken = true;
        // What has ended has.
        let _ = self.land();
        self.ring.take_back(&mut self.stranded);
        for key in mem::take(&mut self.stranded) {
            if let Some(flight) = self.flights.remove(key) {
                self.shared.end(flight, End::failed(self.shared.why()));
            }
        }
    }
}
