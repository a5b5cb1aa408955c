//! Written is not durable: which writes a successful flush of the store has covered.
//!
//! Every write that ends, well or badly, raises the `written` generation, because a failed write
//! may have reached the device too. A flush covers the generation read *before* it began, and only
//! if it returns `Ok`: a write that ends while a flush is under way waits for the next one. The
//! first flush that fails poisons the mapping for good. This layer does not know pages.
//!
//! One flush is under way at a time. It is *begun* by whoever finds that it needs one and that there is none, and it is *ended* by its completion, on whatever
//! thread: that books what it has covered, or poisons, then lets the next one begin, and wakes all who wait. Each of these looks again, in this
//! order: whether the mapping is poisoned, whether it is covered now, whether there is another flush under way; else it begins one itself. So a flush
//! whose beginner has gone is ended like any other, and ten thousand who wait for one are covered by the next. The end wakes only those who have
//! said that they wait, under the lock under which they found the flush under way.
//!
//! A mapping begins with one generation that no flush has covered: what is in the store when it is
//! opened. An earlier process may have written it, or cut it, and been killed before its flush; the
//! kernel then shows these bytes to everybody, and a power cut takes them back. Nobody but the device
//! can tell, so the first flush is never left out.

use std::future::Future;

use crate::counters::Counter;
use crate::error::{Error, Result, StoreError};
use crate::hooks::Order;
use crate::modes::FlushKind;
use crate::primitives::{AtomicU64, CHECKED, Mutex, OnceLock, Ordering};
use crate::wait;

#[derive(Debug)]
pub(crate) struct Durability {
    written: AtomicU64,
    /// Covered by a flush of any kind, and by one of kind All.
    synced_data: AtomicU64,
    synced_all: AtomicU64,
    /// One flush at a time: who waited for it may find itself covered.
    flushing: Mutex<UnderWay>,
    poison: OnceLock<StoreError>,
}

#[derive(Debug, Default)]
struct UnderWay {
    flush: bool,
    /// Somebody waits for it to end.
    waited: bool,
    /// Somebody who waits wants one of kind All: the next one is, whoever begins it.
    all_wanted: bool,
}

/// What is to be done about a flush.
#[derive(Debug)]
pub(crate) enum Begin {
    /// Nothing: what was wanted is durable.
    Covered,
    /// Another is under way.
    Wait,
    /// The caller has begun it.
    Begun(Flush),
}

/// A flush that was begun, and is to be [ended](Durability::end).
#[derive(Debug)]
#[must_use = "no other flush begins before it is ended"]
pub(crate) struct Flush {
    pub(crate) kind: FlushKind,
    covers: u64,
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
            flushing: Mutex::new(UnderWay::default()),
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

    /// What a flush has to cover that is to make everything durable that has ended by now.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Begins a flush, if it takes one to have what is `wanted`; the caller asks the store for it, and sees to it that it is [ended](Self::end).
    pub(crate) fn begin(
        &self,
        kind: FlushKind,
        wanted: u64,
        order: Option<&Order>,
    ) -> Result<Begin> {
        self.check()?;
        if self.covered(kind, wanted) {
            return Ok(Begin::Covered);
        }
        let mut under_way = self.flushing.lock();
        self.check()?;
        if self.covered(kind, wanted) {
            return Ok(Begin::Covered);
        }
        if std::mem::replace(&mut under_way.flush, true) {
            under_way.all_wanted |= kind == FlushKind::All;
            return Ok(Begin::Wait);
        }
        let all = std::mem::take(&mut under_way.all_wanted);
        drop(under_way);
        let kind = if all { FlushKind::All } else { kind };
        // Read before the flush begins: what ends later is not covered by it.
        let covers = self.written.load(Ordering::Acquire);
        if let Some(order) = order {
            // After that: a write that is counted in it has its log position in the book by now. What
            // ends in between is covered, and not known to be.
            order.flush_begins();
        }
        Ok(Begin::Begun(Flush { kind, covers }))
    }

    /// Books how a flush has ended; the next one begins when it is [over](Self::over). If it failed, nothing is certain any more.
    pub(crate) fn end(
        &self,
        flush: &Flush,
        outcome: std::result::Result<(), StoreError>,
        order: Option<&Order>,
        flushes: &Counter,
    ) -> Result<()> {
        if let Err(error) = outcome {
            let source = self.poison.get_or_init(|| error).clone();
            return Err(Error::Flush { source });
        }
        flushes.add(1);
        if let Some(order) = order {
            order.flush_succeeded();
        }
        self.synced_data.fetch_max(flush.covers, Ordering::AcqRel);
        if flush.kind == FlushKind::All {
            self.synced_all.fetch_max(flush.covers, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Lets the next flush begin, and wakes whoever waits for that. Called with no lock.
    pub(crate) fn over(&self, _booked: Flush) {
        let mut under_way = self.flushing.lock();
        under_way.flush = false;
        let waited = std::mem::take(&mut under_way.waited);
        drop(under_way);
        if waited {
            wait::wake_all(self.key());
        }
    }

    /// Waits until no flush is under way, or `or` something else is true that becomes so before one is over.
    pub(crate) fn idle(
        &self,
        or: impl Fn() -> bool + Unpin + Send,
    ) -> impl Future<Output = ()> + Send {
        wait::until(self.key(), move || self.announce_until_idle() || or())
    }

    /// Announces and looks, under the lock that the end of a flush takes.
    fn announce_until_idle(&self) -> bool {
        let mut under_way = self.flushing.lock();
        under_way.waited = true;
        !under_way.flush
    }

    fn key(&self) -> u64 {
        if CHECKED { u64::MAX - 1 } else { std::ptr::from_ref(self).addr() as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemStore, Store};

    fn flush(
        durability: &Durability,
        kind: FlushKind,
        flushes: &Counter,
        ask: impl FnOnce() -> std::result::Result<(), StoreError>,
    ) -> Result<()> {
        match durability.begin(kind, durability.written(), None)? {
            Begin::Covered => Ok(()),
            Begin::Wait => panic!("none is under way"),
            Begin::Begun(flush) => {
                let outcome = durability.end(&flush, ask(), None, flushes);
                durability.over(flush);
                outcome
            }
        }
    }

    #[test]
    fn flushes_only_what_is_not_covered() {
        let (durability, store) = (Durability::of_nothing(), MemStore::new());
        let flushes = Counter::default();
        let flush = |kind| {
            super::tests::flush(&durability, kind, &flushes, || store.sync(kind)).unwrap();
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
    fn who_waits_for_everything_is_not_kept_waiting_by_who_wants_the_data() {
        let (durability, flushes) = (Durability::of_opened(), Counter::default());
        let begin = |kind| durability.begin(kind, durability.written(), None).unwrap();
        let end = |flush: Flush| {
            durability.end(&flush, Ok(()), None, &flushes).unwrap();
            durability.over(flush);
        };
        let Begin::Begun(first) = begin(FlushKind::Data) else { panic!("it is needed") };
        assert!(matches!(begin(FlushKind::All), Begin::Wait));
        durability.note_write();
        end(first);
        let Begin::Begun(second) = begin(FlushKind::Data) else { panic!("it is needed") };
        end(second);
        assert!(matches!(begin(FlushKind::All), Begin::Covered), "the second was of its kind");
        durability.note_write();
        let Begin::Begun(third) = begin(FlushKind::Data) else { panic!("it is needed") };
        assert_eq!(third.kind, FlushKind::Data, "nobody waits for more");
        end(third);
    }

    #[test]
    fn the_first_flush_of_each_kind_is_never_left_out() {
        let durability = Durability::of_opened();
        let flushes = Counter::default();
        let flush = |kind| super::tests::flush(&durability, kind, &flushes, || Ok(())).unwrap();
        assert_eq!(durability.uncovered(), 1);
        flush(FlushKind::Data);
        flush(FlushKind::Data);
        assert_eq!((flushes.get(), durability.uncovered()), (1, 0));
        flush(FlushKind::All);
        flush(FlushKind::All);
        assert_eq!(flushes.get(), 2);
    }

    #[test]
    fn one_flush_is_under_way_at_a_time_and_its_end_wakes_those_who_wait() {
        let (durability, flushes) = (Durability::of_opened(), Counter::default());
        let begin = || durability.begin(FlushKind::Data, durability.written(), None);
        let Ok(Begin::Begun(first)) = begin() else { panic!("it is needed") };
        // What ends now is not covered by it.
        durability.note_write();
        assert!(matches!(begin(), Ok(Begin::Wait)));
        crate::primitives::thread::scope(|scope| {
            let waiter = scope.spawn(|| wait::now(durability.idle(|| false)));
            durability.end(&first, Ok(()), None, &flushes).unwrap();
            assert!(matches!(begin(), Ok(Begin::Wait)), "it is not over");
            durability.over(first);
            waiter.join().unwrap();
        });
        let Ok(Begin::Begun(second)) = begin() else { panic!("it is needed") };
        durability.end(&second, Err(StoreError::Lost), None, &flushes).unwrap_err();
        durability.over(second);
        assert!(matches!(begin(), Err(Error::Poisoned { .. })));
        assert_eq!(flushes.get(), 1);
    }
}
