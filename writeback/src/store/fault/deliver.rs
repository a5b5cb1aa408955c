//! When what has begun ends: delivered one by one, on a thread of their own, or never.

use std::any::Any;
use std::sync::Arc;

use super::plan::Fault;
use super::{FaultStore, State};
use crate::primitives::{AtomicBool, Ordering, thread};

impl FaultStore {
    /// How many operations have begun and not ended, stuck and slow ones among them.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::FaultStore;
    ///
    /// assert_eq!(FaultStore::new(1).pending(), 0);
    /// ```
    pub fn pending(&self) -> usize {
        self.0.state.lock().queue.len()
    }

    /// How many reads, flushes and `set_len`s are stuck now.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::{Action, Fault, FaultStore, Rule};
    /// use writeback::store::{FlushKind, Store};
    ///
    /// let store = FaultStore::new(1);
    /// store.inject(Rule::new(Fault::Stuck).on(Action::Flush));
    /// std::thread::scope(|scope| {
    ///     let flush = scope.spawn(|| store.sync(FlushKind::Data));
    ///     while store.stuck_calls() == 0 {
    ///         std::thread::yield_now();
    ///     }
    ///     store.release_stuck();
    ///     flush.join().expect("no panic")
    /// })?;
    /// # Ok::<(), writeback::StoreError>(())
    /// ```
    pub fn stuck_calls(&self) -> usize {
        let state = self.0.state.lock();
        state.stuck_calls + state.queue.stuck_calls()
    }

    /// Lets go of everything that is stuck: changes of the length go on, reads and flushes end now, on this thread, and
    /// writes, and whatever else is [queued](Self::queue), when they are delivered next.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::{Action, Fault, FaultStore, Rule};
    /// use writeback::Mapping;
    ///
    /// let store = FaultStore::new(1);
    /// let mapping = Mapping::open(store.clone())?;
    /// mapping.handle().write_at(b"abc", 0)?;
    /// store.inject(Rule::new(Fault::Stuck).on(Action::Write));
    /// mapping.write_page(0, writeback::SyncMode::Skip)?;
    /// assert_eq!((store.pending(), store.deliver_all()), (1, 0));
    /// store.release_stuck();
    /// assert_eq!((store.deliver_all(), store.pending()), (1, 0));
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn release_stuck(&self) {
        let mut state = self.0.state.lock();
        let queued = state.queued;
        let released = state.queue.release_stuck(|action| queued[action as usize]);
        state.releases += 1;
        drop(state);
        self.0.changed.notify_all();
        released.into_iter().for_each(|pending| self.finish(pending));
    }

    /// Ends one of the operations that are due, chosen by the seed, on this thread. `false`: none is.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::FaultStore;
    ///
    /// assert!(!FaultStore::new(1).deliver_one(), "none has begun");
    /// ```
    pub fn deliver_one(&self) -> bool {
        let mut state = self.0.state.lock();
        let State { queue, random, .. } = &mut *state;
        let due = queue.take_due(self.0.clock.now_ms(), random);
        drop(state);
        let some = due.is_some();
        due.into_iter().for_each(|pending| self.finish(pending));
        some
    }

    /// Ends all operations that are due, in an order that the seed makes; returns how many.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::{FaultConfig, FaultStore};
    /// use writeback::{Budget, Mapping, SyncMode};
    ///
    /// let store = FaultStore::with_config(FaultConfig::new(1).queued(true).batch_pages_max(1));
    /// let mapping = Mapping::open(store.clone())?;
    /// mapping.handle().write_at(&[1; 5 * 4096], 0)?;
    /// mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED)?;
    /// assert_eq!(store.deliver_all(), 5);
    /// mapping.handle().sync_data()?; // nothing is left to write, only to flush
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn deliver_all(&self) -> usize {
        std::iter::from_fn(|| self.deliver_one().then_some(())).count()
    }

    /// Ends operations on a thread of its own as soon as they are due, until the [`Deliverer`] is dropped.
    ///
    /// # Panics
    /// If there is no thread to be had.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::{FaultConfig, FaultStore};
    /// use writeback::Mapping;
    ///
    /// let store = FaultStore::with_config(FaultConfig::new(1).queued(true));
    /// let handle = Mapping::open(store.clone())?.handle();
    /// handle.write_at(&[1; 10_000], 0)?;
    /// let deliverer = store.deliver_in_background();
    /// handle.sync_data()?; // waits for it
    /// drop(deliverer);
    /// assert_eq!(store.durable(), [1; 10_000]);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn deliver_in_background(&self) -> Deliverer {
        let stop = Arc::new(AtomicBool::new(false));
        let (store, stopped) = (self.clone(), Arc::clone(&stop));
        let thread = Some(thread::spawn(move || store.deliver_until(&stopped)));
        Deliverer { store: self.clone(), stop, thread }
    }

    fn deliver_until(&self, stop: &AtomicBool) {
        loop {
            let mut state = self.0.state.lock();
            while !stop.load(Ordering::Acquire) && !state.queue.any_due(self.0.clock.now_ms()) {
                self.0.changed.wait(&mut state);
            }
            drop(state);
            if stop.load(Ordering::Acquire) {
                return;
            }
            self.deliver_one();
        }
    }

    /// Forgets everything that has begun and not ended: each is told that it is lost. Returns how many there were.
    ///
    /// A mapping and what is under way of it, reads and writes and flushes, keep each other in memory; this ends that, too.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::{FaultConfig, FaultStore};
    /// use writeback::Mapping;
    ///
    /// let store = FaultStore::with_config(FaultConfig::new(1).queued(true));
    /// let mapping = Mapping::open(store.clone())?;
    /// mapping.handle().write_at(b"abc", 0)?;
    /// mapping.write_page(0, writeback::SyncMode::Skip)?;
    /// assert_eq!(store.lose_pending(), 1);
    /// assert!(mapping.handle().check_error().is_err());
    /// assert_eq!(mapping.stats().dirty, 1);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn lose_pending(&self) -> usize {
        let lost = std::mem::take(&mut self.0.state.lock().queue).into_all();
        let count = lost.len();
        for mut pending in lost {
            pending.fault = Some(Fault::Lost);
            self.finish(pending);
        }
        count
    }
}

/// Ends operations on its own thread, as they become due, until it is dropped. What is not due then waits
/// on.
///
/// # Examples
/// ```
/// use writeback::store::fault::FaultStore;
///
/// let store = FaultStore::new(1);
/// let deliverer = store.deliver_in_background();
/// drop(deliverer); // stops it and waits for its thread
/// ```
#[must_use = "dropping it stops it"]
#[derive(Debug)]
pub struct Deliverer {
    store: FaultStore,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Deliverer {
    /// Stops it and waits for its thread, as dropping it does.
    ///
    /// # Panics
    /// As its thread did, if it did: in a hook, or in the cache.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::FaultStore;
    ///
    /// FaultStore::new(1).deliver_in_background().stop();
    /// ```
    pub fn stop(mut self) {
        if let Err(panic) = self.join() {
            std::panic::resume_unwind(panic);
        }
    }

    fn join(&mut self) -> Result<(), Box<dyn Any + Send>> {
        self.stop.store(true, Ordering::Release);
        // With the lock: the thread has seen it, or sleeps by now.
        drop(self.store.0.state.lock());
        self.store.0.changed.notify_all();
        self.thread.take().map_or(Ok(()), thread::JoinHandle::join)
    }
}

impl Drop for Deliverer {
    fn drop(&mut self) {
        // A panic of the thread is for who asks: `stop`.
        let _ = self.join();
    }
}
