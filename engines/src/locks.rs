//! Locks on ranges of a database, with which redb keeps a second opening of it off.
//!
//! redb locks ranges of byte numbers, most of them far behind the end of any file, and tells by them who has the database open. Whoever
//! finds a range taken is refused with [`DatabaseAlreadyOpen`](redb::DatabaseError::DatabaseAlreadyOpen). There are two kinds of locks:
//!
//! * Of a *file*: those of redb's own [`FileBackend`], taken on the open file that the mapping's store writes to as well. They hold against every
//!   process, and are gone with the last duplicate of that open file, so no page is written to the file after they are gone.
//! * Of a *store* that is no file: a table in this process, one for each store, found by the store's address.
//!
//! # The table
//! * A *holder* is one backend. It has ranges, each shared or exclusive. To lock a range that it has already changes its kind.
//! * *Conflict*: ranges of different holders that overlap, and at least one of the two is exclusive. The table never has such a pair: it looks and
//!   enters under one lock.
//! * *All or nothing*: a range is entered whole or not at all, and whoever waits has entered nothing.
//! * *Wake-up*: ranges leave under the same lock, and then everybody who waits looks again. So nobody waits for a range that is free.
//! * A table exists while a holder of it does, and a holder comes with a handle of the store's mapping, so that the store exists for as
//!   long: no other store can have its address.

use std::collections::BTreeMap;
use std::io;
use std::ops::{Bound, RangeInclusive};
use std::sync::{Arc, Weak};

use parking_lot::{Condvar, Mutex};
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use writeback::store::Store;

/// The locks of one backend.
#[derive(Debug)]
pub(crate) enum Locks {
    File(FileBackend),
    Store(Holder),
}

impl Locks {
    /// Of whoever has `store` in this process.
    pub(crate) fn of_store(store: &Arc<dyn Store>) -> Self {
        Self::Store(Holder::of(Arc::as_ptr(store).cast::<()>().addr()))
    }

    /// Locks a range, unless somebody else's lock is in the way, and tells whether it did.
    pub(crate) fn try_lock(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
        kind: Kind,
    ) -> Result<bool, BackendError> {
        match (self, kind) {
            (Self::File(file), Kind::Exclusive) => file.try_lock_range(start, end),
            (Self::File(file), Kind::Shared) => file.try_lock_shared_range(start, end),
            (Self::Store(holder), kind) => Ok(holder.try_lock(range(start, end)?, kind)),
        }
    }

    /// Locks a range, after waiting for everybody whose lock is in the way.
    pub(crate) fn lock(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
        kind: Kind,
    ) -> Result<(), BackendError> {
        match (self, kind) {
            (Self::File(file), Kind::Exclusive) => file.lock_range(start, end),
            (Self::File(file), Kind::Shared) => file.lock_shared_range(start, end),
            (Self::Store(holder), kind) => {
                holder.lock(range(start, end)?, kind);
                Ok(())
            }
        }
    }

    /// Unlocks exactly what was locked as this range.
    pub(crate) fn unlock(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        match self {
            Self::File(file) => file.unlock_range(start, end),
            Self::Store(holder) => {
                holder.unlock(&range(start, end)?);
                Ok(())
            }
        }
    }

    /// Tells whether somebody else has a lock, of either kind, in this range.
    pub(crate) fn query(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        match self {
            Self::File(file) => file.query_lock_range(start, end),
            Self::Store(holder) => Ok(holder.query(&range(start, end)?)),
        }
    }

    /// Unlocks all.
    pub(crate) fn release(&self) -> io::Result<()> {
        match self {
            Self::File(file) => file.close(),
            Self::Store(holder) => {
                holder.release();
                Ok(())
            }
        }
    }
}

/// Whether others may lock the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Shared,
    Exclusive,
}

/// First and last byte: ordered by these, and never empty.
type Range = (u64, u64);

/// # Errors
/// If it is empty.
fn range(start: Bound<u64>, end: Bound<u64>) -> Result<Range, BackendError> {
    let first = match start {
        Bound::Unbounded => Some(0),
        Bound::Included(first) => Some(first),
        Bound::Excluded(before) => before.checked_add(1),
    };
    let last = match end {
        Bound::Unbounded => Some(u64::MAX),
        Bound::Included(last) => Some(last),
        Bound::Excluded(after) => after.checked_sub(1),
    };
    match first.zip(last) {
        Some((first, last)) if first <= last => Ok((first, last)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "a lock of an empty range").into()),
    }
}

/// Who has what of one store.
#[derive(Debug, Default)]
struct Table {
    held: Mutex<Held>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    holders: u64,
    ranges: BTreeMap<(u64, Range), Kind>,
}

impl Held {
    /// Tells whether another than `holder` has something in `range` that `kind` does not go with.
    fn conflicts(&self, holder: u64, range: &Range, kind: Kind) -> bool {
        self.ranges.iter().any(|((other, held), of_held)| {
            let overlaps = held.0 <= range.1 && range.0 <= held.1;
            let exclusive = kind == Kind::Exclusive || *of_held == Kind::Exclusive;
            *other != holder && overlaps && exclusive
        })
    }
}

/// The tables of this process, by their stores' addresses.
static TABLES: Mutex<BTreeMap<usize, Weak<Table>>> = Mutex::new(BTreeMap::new());

/// One who locks ranges of a store.
#[derive(Debug)]
pub(crate) struct Holder {
    table: Arc<Table>,
    number: u64,
}

impl Holder {
    fn of(address: usize) -> Self {
        let mut tables = TABLES.lock();
        tables.retain(|_, table| table.strong_count() > 0);
        let known = tables.get(&address).and_then(Weak::upgrade);
        let table = known.unwrap_or_default();
        tables.insert(address, Arc::downgrade(&table));
        drop(tables);
        let mut held = table.held.lock();
        held.holders += 1;
        let number = held.holders;
        drop(held);
        Self { table, number }
    }

    fn try_lock(&self, range: Range, kind: Kind) -> bool {
        let mut held = self.table.held.lock();
        let free = !held.conflicts(self.number, &range, kind);
        if free {
            self.enter(&mut held, range, kind);
        }
        free
    }

    fn lock(&self, range: Range, kind: Kind) {
        let mut held = self.table.held.lock();
        while held.conflicts(self.number, &range, kind) {
            self.table.released.wait(&mut held);
        }
        self.enter(&mut held, range, kind);
    }

    fn enter(&self, held: &mut Held, range: Range, kind: Kind) {
        let before = held.ranges.insert((self.number, range), kind);
        if before == Some(Kind::Exclusive) && kind == Kind::Shared {
            self.table.released.notify_all();
        }
    }

    fn unlock(&self, range: &Range) {
        self.table.held.lock().ranges.remove(&(self.number, *range));
        self.table.released.notify_all();
    }

    fn query(&self, range: &Range) -> bool {
        self.table.held.lock().conflicts(self.number, range, Kind::Exclusive)
    }

    fn release(&self) {
        let all: RangeInclusive<_> = (self.number, (0, 0))..=(self.number, (u64::MAX, u64::MAX));
        self.table.held.lock().ranges.extract_if(all, |_, _| true).for_each(drop);
        self.table.released.notify_all();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTE: (Bound<u64>, Bound<u64>) = (Bound::Included(7), Bound::Included(7));

    #[test]
    fn ranges_are_those_that_redb_means() {
        use Bound::{Excluded, Included, Unbounded};

        let of = |start, end| range(start, end).ok();
        assert_eq!(of(Unbounded, Unbounded), Some((0, u64::MAX)));
        assert_eq!(of(Excluded(3), Excluded(5)), Some((4, 4)));
        assert_eq!(of(Included(3), Included(5)), Some((3, 5)));
        for (start, end) in [
            (Excluded(4), Excluded(5)),
            (Included(5), Included(4)),
            (Unbounded, Excluded(0)),
            (Excluded(u64::MAX), Unbounded),
        ] {
            let told = range(start, end).unwrap_err();
            assert!(
                matches!(told, BackendError::Io(error) if error.kind() == io::ErrorKind::InvalidInput)
            );
        }
    }

    #[test]
    fn a_table_is_gone_with_its_last_holder() {
        let (first, second) = (Holder::of(1), Holder::of(1));
        assert!(first.try_lock((7, 7), Kind::Exclusive) && !second.try_lock((7, 7), Kind::Shared));
        let table = Arc::downgrade(&first.table);
        drop((first, second));
        assert!(table.upgrade().is_none());
        assert!(Holder::of(1).try_lock((7, 7), Kind::Exclusive));
    }

    #[test]
    fn another_store_has_locks_of_its_own() {
        let (first, second) = (Locks::Store(Holder::of(2)), Locks::Store(Holder::of(3)));
        for locks in [first, second] {
            assert!(matches!(locks.try_lock(BYTE.0, BYTE.1, Kind::Exclusive), Ok(true)));
            // Until it is dropped.
            std::mem::forget(locks);
        }
    }
}
