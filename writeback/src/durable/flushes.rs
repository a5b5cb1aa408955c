//! Written is not durable: which writes a successful flush of the store has covered.
//!
//! Every write that ends, well or badly, raises the `written` generation, because a failed write
//! may have reached the device too. A flush covers the generation read *before* it began, and only
//! if it returns `Ok`: a write that ends while a flush is under way waits for the next one. The
//! first flush that fails poisons the mapping for good. This layer does not know pages.
//!
//! A mapping begins with one generation that no flush has covered: what is in the store when it is
//! opened. An earlier process may have written it, or cut it, and been killed before its flush; the
//! kernel then shows these bytes to everybody, and a power cut takes them back. Nobody but the device
//! can tell, so the first flush is never left out.

use std::io;

use crate::counters::Counter;
use crate::error::{Error, Result, StoreError};
use crate::hooks::Order;
use crate::modes::FlushKind;
use crate::primitives::{AtomicU64, Mutex, OnceLock, Ordering};

#[derive(Debug)]
pub(crate) struct Durability {
    written: AtomicU64,
    /// Covered by a flush of any kind, and by one of kind All.
    synced_data: AtomicU64,
    synced_all: AtomicU64,
    /// One flush at a time: who waited for it may find itself covered.
    flushing: Mutex<()>,
    poison: OnceLock<StoreError>,
}

impl Durability {
    /// Of a mapping just opened: no flush has covered what its store holds.
    pub(crate) fn of_opened() -> Self {
        Self::starting_at(1)
    }

    /// Of a mapping without a store: there is nothing to cover.
    pub(crate) fn of_nothing() -> Self {
        Self::starting_at(0)
    }

    fn starting_at(written: u64) -> Self {
        Self {
            written: AtomicU64::new(written),
            synced_data: AtomicU64::new(0),
            synced_all: AtomicU64::new(0),
            flushing: Mutex::new(()),
            poison: OnceLock::default(),
        }
    }

    /// A write, or a change of the store's length, has ended. Before anybody can see that it has.
    pub(crate) fn note_write(&self) {
        // Release: pairs with the load in `flush`; who saw the write end sees this generation.
        self.written.fetch_add(1, Ordering::Release);
    }

    /// How many writes, and changes of the length, no flush has covered yet; what the store held when it
    /// was opened counts as one.
    pub(crate) fn uncovered(&self) -> u64 {
        // The lower one first: it only rises towards the other.
        let synced = self.synced_data.load(Ordering::Acquire);
        self.written.load(Ordering::Acquire) - synced
    }

    pub(crate) fn poison(&self) -> Option<&StoreError> {
        self.poison.get()
    }

    /// `Err` if a flush has failed.
    pub(crate) fn check(&self) -> Result<()> {
        match self.poison() {
            None => Ok(()),
            Some(source) => Err(Error::Poisoned { source: source.clone() }),
        }
    }

    fn covered(&self, kind: FlushKind, generation: u64) -> bool {
        let synced = match kind {
            FlushKind::Data => &self.synced_data,
            FlushKind::All => &self.synced_all,
        };
        synced.load(Ordering::Acquire) >= generation
    }

    /// Makes every write that ended before the call durable; calls `flush`, the store's, only if that needs
    /// it.
    pub(crate) fn flush(
        &self,
        kind: FlushKind,
        order: Option<&Order>,
        flushes: &Counter,
        flush: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<()> {
        self.check()?;
        let wanted = self.written.load(Ordering::Acquire);
        if self.covered(kind, wanted) {
            return Ok(());
        }
        let _one_at_a_time = self.flushing.lock();
        self.check()?;
        if self.covered(kind, wanted) {
            return Ok(());
        }
        // Read before the flush begins: what ends later is not covered by it.
        let covers = self.written.load(Ordering::Acquire);
        if let Some(order) = order {
            // After that: a write that is counted in it has its log position in the book by now. What
            // ends in between is covered, and not known to be.
            order.flush_begins();
        }
        let outcome = self.flush_or_poison(flush);
        outcome.map_err(|source| Error::Flush { source })?;
        flushes.add(1);
        if let Some(order) = order {
            order.flush_succeeded();
        }
        self.synced_data.fetch_max(covers, Ordering::AcqRel);
        if kind == FlushKind::All {
            self.synced_all.fetch_max(covers, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Flushes; if that fails, or panics, nothing is certain any more.
    fn flush_or_poison(
        &self,
        flush: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        struct Poison<'d>(&'d OnceLock<StoreError>);
        impl Drop for Poison<'_> {
            fn drop(&mut self) {
                let panicked = || io::Error::other("the store's flush panicked").into();
                self.0.get_or_init(panicked);
            }
        }
        let poison = Poison(&self.poison);
        if let Err(error) = flush() {
            return Err(poison.0.get_or_init(|| error).clone());
        }
        std::mem::forget(poison);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemStore, Store};

    #[test]
    fn flushes_only_what_is_not_covered() {
        let (durability, store) = (Durability::of_nothing(), MemStore::new());
        let flushes = Counter::default();
        let flush = |kind| {
            durability.flush(kind, None, &flushes, || store.sync(kind)).unwrap();
        };
        flush(FlushKind::All);
        assert_eq!(flushes.get(), 0);
        durability.note_write();
        flush(FlushKind::Data);
        flush(FlushKind::Data);
        assert_eq!(flushes.get(), 1);
        flush(FlushKind::All);
        assert_eq!(flushes.get(), 2, "a data flush does not cover everything");
        flush(FlushKind::Data);
        assert_eq!(flushes.get(), 2, "a full flush covers the data");
    }

    #[test]
    fn the_first_flush_of_each_kind_is_never_left_out() {
        let durability = Durability::of_opened();
        let flushes = Counter::default();
        let flush = |kind| durability.flush(kind, None, &flushes, || Ok(())).unwrap();
        assert_eq!(durability.uncovered(), 1);
        flush(FlushKind::Data);
        flush(FlushKind::Data);
        assert_eq!((flushes.get(), durability.uncovered()), (1, 0));
        flush(FlushKind::All);
        flush(FlushKind::All);
        assert_eq!(flushes.get(), 2);
    }
}
