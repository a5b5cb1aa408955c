//! What became of the pages that reclaim looked at, counted.

use crate::counters::Counter;

/// What becomes of a page: the rows of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Somebody is changing its state.
    Locked,
    /// It is being written: met, and looked at again when the hand comes round.
    Writeback,
    /// It was being written when it was met before: the store does not keep up.
    StillWriteback,
    /// It was used since.
    Used,
    /// It is dirty: met, and left to the flusher, which is woken.
    Deferred,
    /// Somebody has it in hand.
    Kept,
    /// Another writer holds it.
    Held,
    /// Its mapping writes nothing any more.
    NoWriter,
    /// Its write has failed, and is not tried again yet.
    BacksOff,
    /// Its store is congested.
    Congested,
    /// It is written.
    PageOut,
    /// It leaves.
    Evict,
}

/// How often each row of the table was met, as [`CacheStats`](crate::stats::CacheStats) tells it.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use writeback::{CacheConfig, Config, Mapping, MemStore, PageCache};
///
/// let cache = PageCache::new(CacheConfig::new(100))?;
/// let store = Arc::new(MemStore::with_contents(vec![0; 2 * 4096]));
/// let mapping = Mapping::with_config(store, Config::new().cache(&cache))?;
/// let in_hand = mapping.page(0)?;
/// mapping.page(1)?;
/// assert_eq!(cache.evict(2), 1);
/// let reclaim = cache.stats().reclaim;
/// assert_eq!(reclaim.evicted, 1);
/// assert!(reclaim.kept > 0);
/// # drop(in_hand);
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReclaimStats {
    /// Locked: left.
    pub locked: u64,
    /// Under writeback, met for the first time: left.
    pub writeback: u64,
    /// Still under writeback when met again; the store does not keep up. Left, and perhaps waited for.
    pub still_writeback: u64,
    /// Used: left, and spared once less. Counted each time a hand goes by.
    pub used: u64,
    /// Dirty: left to the flusher.
    pub deferred: u64,
    /// In somebody's hands: left.
    pub kept: u64,
    /// Held by another writer: left.
    pub held: u64,
    /// Dirty in a mapping that is poisoned: left.
    pub no_writer: u64,
    /// Dirty, and its last write has failed: left until it is time to try again.
    pub backing_off: u64,
    /// Dirty, and its store is congested: left.
    pub congested: u64,
    /// Dirty, met before, and nothing clean was to be had: written.
    pub paged_out: u64,
    /// Clean and unused: evicted.
    pub evicted: u64,
}

/// The counters behind [`ReclaimStats`].
#[derive(Debug, Default)]
pub(crate) struct Outcomes([Counter; 12]);

impl Outcomes {
    pub(crate) fn count(&self, outcome: Outcome, pages: u64) {
        self.0[outcome as usize].add(pages);
    }

    pub(crate) fn get(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize].get()
    }

    /// Pages that stay for as long as somebody has them.
    pub(crate) fn that_stay(&self) -> u64 {
        [Outcome::Locked, Outcome::Kept, Outcome::Held]
            .map(|outcome| self.get(outcome))
            .iter()
            .sum()
    }

    pub(crate) fn stats(&self) -> ReclaimStats {
        let get = |outcome| self.get(outcome);
        ReclaimStats {
            locked: get(Outcome::Locked),
            writeback: get(Outcome::Writeback),
            still_writeback: get(Outcome::StillWriteback),
            used: get(Outcome::Used),
            deferred: get(Outcome::Deferred),
            kept: get(Outcome::Kept),
            held: get(Outcome::Held),
            no_writer: get(Outcome::NoWriter),
            backing_off: get(Outcome::BacksOff),
            congested: get(Outcome::Congested),
            paged_out: get(Outcome::PageOut),
            evicted: get(Outcome::Evict),
        }
    }
}
