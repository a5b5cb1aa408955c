//! Observers: who is told what a mapping does.
//!
//! Without one nothing here costs more than a look at an empty list: no time is taken, nothing is counted
//! twice. This layer knows when to tell and of what; it does not know what is done with it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use crate::counters::{Counter, Counters};
use crate::error::{Error, StoreError};
use crate::modes::FlushKind;
use crate::panics::contain;
use crate::primitives::{AtomicU64, Instant, Ordering};

/// Is told what a mapping does, for metrics and traces. Every method does nothing unless implemented.
///
/// # Concurrency
/// Called from whichever thread does what is told of, several at once, after the fact. No latch is held and
/// no section of the index is open, but whoever waits for that thread waits for the observer too: it should
/// be quick, and must not call the mapping. A panic is caught, and counted in
/// [`Stats::observer_panics`](crate::stats::Stats::observer_panics).
///
/// A mapping has its observer: one that has the mapping, too, keeps both for ever, and a [`WeakMapping`](crate::WeakMapping) does not.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::time::Duration;
/// use writeback::{Config, Mapping, MemStore, StoreError};
/// use writeback::hooks::{Observer, WriteEvent};
///
/// #[derive(Debug, Default)]
/// struct Bytes(AtomicU64);
///
/// impl Observer for Bytes {
///     fn written(&self, write: WriteEvent, _took: Duration, outcome: Result<(), &StoreError>) {
///         if outcome.is_ok() {
///             self.0.fetch_add(write.bytes, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let bytes = Arc::new(Bytes::default());
/// let config = Config::new().observer(bytes.clone());
/// let handle = Mapping::with_config(Arc::new(MemStore::new()), config)?.handle();
/// handle.write_at(&[1; 10_000], 0)?;
/// handle.sync_data()?;
/// assert_eq!(bytes.0.load(Ordering::Relaxed), 10_000);
/// # Ok::<(), writeback::Error>(())
/// ```
pub trait Observer: Send + Sync + Debug + 'static {
    /// So many clean pages have become dirty since this was last told.
    fn dirtied(&self, pages: u64) {
        let _ = pages;
    }

    /// So many pages were evicted since this was last told. If another mapping of the same cache wanted the
    /// room, it is told with what this mapping does next.
    fn evicted(&self, pages: u64) {
        let _ = pages;
    }

    /// Pages were asked for so often since this was last told: found in memory, and not found and read. See
    /// [`Stats::hits`](crate::stats::Stats::hits).
    fn looked_up(&self, hits: u64, misses: u64) {
        let _ = (hits, misses);
    }

    /// The store is done with a read, so long after it was asked. `Err`: at least one of its pages was not read.
    fn read(&self, read: ReadEvent, took: Duration, outcome: Result<(), &StoreError>) {
        let _ = (read, took, outcome);
    }

    /// A batch is about to be handed to the store.
    fn submitted(&self, write: WriteEvent) {
        let _ = write;
    }

    /// The store is done with a batch, so long after it was handed over. `Err`: at least one of its pages was
    /// not written. Not told of a [`Writeback`](crate::page::Writeback) that the engine writes itself.
    fn written(&self, write: WriteEvent, took: Duration, outcome: Result<(), &StoreError>) {
        let _ = (write, took, outcome);
    }

    /// A flush of the store has ended. Syncs that another's flush covers are not told of here.
    fn flushed(&self, kind: FlushKind, took: Duration, outcome: Result<(), &Error>) {
        let _ = (kind, took, outcome);
    }

    /// A sync of a handle has ended, as it ended.
    fn synced(&self, took: Duration, outcome: Result<(), &Error>) {
        let _ = (took, outcome);
    }

    /// Errors were recorded for the handles, so many since this was last told, and this is the latest.
    fn failed(&self, error: &StoreError, errors: u64) {
        let _ = (error, errors);
    }

    /// A writer was held up for so long, because there were too many dirty pages.
    fn held_up(&self, took: Duration) {
        let _ = took;
    }
}

/// A batch of pages on its way to the store, as an [`Observer`] is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteEvent {
    /// Index of the first page.
    pub first_page: u64,
    /// How many pages, side by side.
    pub pages: u64,
    /// How many bytes they have together.
    pub bytes: u64,
}

/// A run of pages that were read from the store, as an [`Observer`] is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadEvent {
    /// Index of the first page.
    pub first_page: u64,
    /// How many pages, side by side: the one that was asked for, and those behind it that were read ahead.
    pub pages: u64,
    /// How many bytes of them the store had.
    pub bytes: u64,
}

/// The observers of a mapping, and how much they have been told of what is counted elsewhere.
#[derive(Debug)]
pub(crate) struct Observers {
    all: Vec<Arc<dyn Observer>>,
    dirtied: AtomicU64,
    evicted: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) panics: Counter,
}

impl Observers {
    pub(crate) fn new(
        #[cfg_attr(not(feature = "tracing"), expect(unused_mut, reason = "by that feature"))]
        mut all: Vec<Arc<dyn Observer>>,
    ) -> Self {
        #[cfg(feature = "tracing")]
        all.push(Arc::new(super::trace::Events));
        let told = || AtomicU64::new(0);
        Self {
            all,
            dirtied: told(),
            evicted: told(),
            hits: told(),
            misses: told(),
            failed: told(),
            panics: Counter::default(),
        }
    }

    pub(crate) fn any(&self) -> bool {
        !self.all.is_empty()
    }

    /// The time, if anybody wants to know.
    pub(crate) fn now(&self) -> Option<Instant> {
        self.any().then(Instant::now)
    }

    /// Tells all of them.
    pub(crate) fn tell(&self, event: impl Fn(&dyn Observer)) {
        for observer in &self.all {
            if contain(|| event(&**observer)).is_none() {
                self.panics.add(1);
            }
        }
    }

    /// Tells all of them what has been counted since they were last told.
    pub(crate) fn tell_counts(&self, counters: &Counters) {
        let dirtied = untold(&self.dirtied, counters.dirtied.get());
        if dirtied > 0 {
            self.tell(|observer| observer.dirtied(dirtied));
        }
        let evicted = untold(&self.evicted, counters.evicted.get());
        if evicted > 0 {
            self.tell(|observer| observer.evicted(evicted));
        }
        let hits = untold(&self.hits, counters.hits.get());
        let misses = untold(&self.misses, counters.misses.get());
        if hits + misses > 0 {
            self.tell(|observer| observer.looked_up(hits, misses));
        }
    }

    /// Tells all of them how long something took that began then.
    pub(crate) fn tell_since(
        &self,
        began: Option<Instant>,
        event: impl Fn(&dyn Observer, Duration),
    ) {
        if let Some(began) = began {
            let took = began.elapsed();
            self.tell(|observer| event(observer, took));
        }
    }
}

/// How much of `counted` has not been told; it has been then. Each is told by one caller.
pub(crate) fn untold(told: &AtomicU64, counted: u64) -> u64 {
    // Relaxed: what is told of is not reached through it. Mostly there is nothing new, and then nothing is written.
    match told.load(Ordering::Relaxed) < counted {
        true => counted.saturating_sub(told.fetch_max(counted, Ordering::Relaxed)),
        false => 0,
    }
}
