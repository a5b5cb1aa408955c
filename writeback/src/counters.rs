//! Counters of a mapping.

use std::cell::Cell;
use std::time::Duration;

use crate::primitives::{CounterU64, HintU64, Ordering, local};

/// What a mapping holds and has done, as [`Mapping::stats`](crate::Mapping::stats) tells it.
///
/// Each number is exact, but for `hits`; all of them together are not one instant.
///
/// # Examples
/// ```
/// use writeback::{Mapping, MemStore};
///
/// let mapping = Mapping::open(MemStore::new())?;
/// mapping.handle().write_at(b"abc", 0)?;
/// assert_eq!(mapping.stats().dirty, 1);
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Pages in memory.
    pub cached: u64,
    /// Pages whose DIRTY flag is set now.
    pub dirty: u64,
    /// Pages under writeback now.
    pub writeback: u64,
    /// How often a clean page became dirty.
    pub dirtied: u64,
    /// Pages written successfully.
    pub written: u64,
    /// Bytes of those pages, as they were handed to the store.
    pub bytes_written: u64,
    /// Pages claimed and redirtied, because another writer held them.
    pub declined: u64,
    /// Pages a background pass went by: locked, under writeback or backing off.
    pub skipped: u64,
    /// Pages a background pass redirtied, because the log was not durable up to their newest change.
    pub unlogged: u64,
    /// How often the log had to be made durable for pages to be written.
    pub log_waits: u64,
    /// How often a page was asked for by its index or by bytes in it, to read or to change them, and was in memory. Use of a page in hand is
    /// none. Each thread counts for itself and hands on 61 at a time, so this lags behind by up to so many a thread, and what a
    /// thread had left when it ended is lost.
    pub hits: u64,
    /// How often such a page had to be read first.
    pub misses: u64,
    /// Pages read from the store, also ahead of those that wanted them.
    pub read: u64,
    /// Bytes of those pages that the store had.
    pub bytes_read: u64,
    /// Pages evicted to make room in the [`PageCache`](crate::PageCache).
    pub evicted: u64,
    /// Pages read that did not open (see [`Seal`](crate::hooks::Seal)).
    pub corrupt: u64,
    /// Pages that could not be sealed.
    pub seal_errors: u64,
    /// Failed page writes.
    pub write_errors: u64,
    /// Successful flushes of the store.
    pub flushes: u64,
    /// How long the oldest of the writes that are under way has been, by the mapping's clock. A device
    /// that is stuck shows here; the write is not ended for that, since the device may still do it.
    pub oldest_writeback: Option<Duration>,
    /// Writes and changes of the store's length, also failed ones, that no successful flush has covered yet.
    /// What the store held when it was opened counts as one: nobody knows whether it is durable.
    pub unflushed: u64,
    /// Calls of an [`Observer`](crate::hooks::Observer) that panicked.
    pub observer_panics: u64,
    /// Whether a flush failed (see [`Error::Poisoned`](crate::Error::Poisoned)).
    pub poisoned: bool,
}

/// A number that threads count up and down. Changed in the same section as what it counts.
#[derive(Debug, Default)]
pub(crate) struct Counter(CounterU64);

impl Counter {
    // Relaxed throughout: the sections that change a page order the changes for that page, and
    // nothing is decided by comparing two counters.

    /// Returns what it was before.
    pub(crate) fn add(&self, count: u64) -> u64 {
        self.0.fetch_add(count, Ordering::Relaxed)
    }

    pub(crate) fn sub(&self, count: u64) {
        let before = self.0.fetch_sub(count, Ordering::Relaxed);
        debug_assert!(before >= count, "I-COUNT: a counter fell below zero");
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Hits that a thread has counted and not handed on. A prime: calls that take turns among a few mappings are counted for all of them in proportion.
const LOT: u32 = 61;

local! {
    static LOT_BEGUN: Cell<u32> = Cell::new(0);
}

/// Counts pages that were found, on the way of every read: one line of memory that all threads write to would cost more than the rest of it.
#[derive(Debug, Default)]
pub(crate) struct Hits(HintU64);

impl Hits {
    #[inline]
    pub(crate) fn count(&self) {
        LOT_BEGUN.with(|begun| {
            begun.set(begun.get() + 1);
            if begun.get() == LOT {
                begun.set(0);
                self.0.fetch_add(u64::from(LOT), Ordering::Relaxed);
            }
        });
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) cached: Counter,
    pub(crate) dirty: Counter,
    pub(crate) writeback: Counter,
    pub(crate) dirtied: Counter,
    pub(crate) written: Counter,
    pub(crate) bytes_written: Counter,
    pub(crate) declined: Counter,
    pub(crate) skipped: Counter,
    pub(crate) unlogged: Counter,
    pub(crate) hits: Hits,
    pub(crate) misses: Counter,
    pub(crate) read: Counter,
    pub(crate) bytes_read: Counter,
    pub(crate) evicted: Counter,
    pub(crate) corrupt: Counter,
    pub(crate) seal_errors: Counter,
    pub(crate) write_errors: Counter,
    pub(crate) flushes: Counter,
}

impl Counters {
    pub(crate) fn stats(&self, poisoned: bool) -> Stats {
        Stats {
            cached: self.cached.get(),
            dirty: self.dirty.get(),
            writeback: self.writeback.get(),
            dirtied: self.dirtied.get(),
            written: self.written.get(),
            bytes_written: self.bytes_written.get(),
            declined: self.declined.get(),
            skipped: self.skipped.get(),
            unlogged: self.unlogged.get(),
            log_waits: 0,
            hits: self.hits.get(),
            misses: self.misses.get(),
            read: self.read.get(),
            bytes_read: self.bytes_read.get(),
            evicted: self.evicted.get(),
            corrupt: self.corrupt.get(),
            seal_errors: self.seal_errors.get(),
            write_errors: self.write_errors.get(),
            flushes: self.flushes.get(),
            oldest_writeback: None,
            unflushed: 0,
            observer_panics: 0,
            poisoned,
        }
    }
}
