//! Locks on ranges of a database, with which redb keeps a second opening of it off, or takes turns with it.
//!
//! redb locks ranges of byte numbers, most of them far behind the end of any file, and tells by them who has the database open. Whoever
//! finds a range taken is refused with [`DatabaseAlreadyOpen`](redb::DatabaseError::DatabaseAlreadyOpen), or waits. Where they are locked:
//!
//! * *On the file*, if the mapping was made for one: by redb's own [`FileBackend`], on the open file that the mapping's store writes to as
//!   well. They hold against every process, and are gone with the last duplicate of that open file, so no page is written to the file after they are gone.
//! * *In the table* of the store, one in this process for each store: there always, and without a file only there. What is locked on a file as well is entered when it is,
//!   for those who come without a file.
//!
//! # Modes
//! Locks on a file are all that redb asks for, and all its modes work ([`peers`](crate::peers): what others change meanwhile). Without a file only those modes do in which
//! nobody has the database open while it is changed by another: exclusive writers, and readers that keep writers off. The bytes that redb locks in its other modes, and all locks
//! that are waited for, which only those modes ask for, are *unsupported* there; redb then refuses to open.
//!
//! # The table
//! * A *holder* is one backend. It has ranges, each shared or exclusive. To lock a range that it has already changes its kind.
//! * *Conflict*: ranges of different holders that overlap, and at least one of the two is exclusive. The table never has such a pair: it looks and
//!   enters under one lock.
//! * *All or nothing*: a range is entered whole or not at all.
//! * *Of a file*: of such a store only the one backend can lock anything that has the locks on the file. Others, which have a mapping from it, would lock nothing
//!   that other processes see. They are refused, with an error that says so.
//! * *Unsaved*: a mapping whose backend has written and was not closed, or could not save, may write later. It keeps all other mappings of the store off
//!   for as long as it exists, until a backend of it is closed in full.
//! * *Stale*: whoever gets an exclusive lock may change the store, and what other mappings of it have is out of date then. Such a mapping is
//!   [renewed](crate::peers::renew) when it comes to lock something, and refused if it cannot be, because pages of it are dirty or held.
//! * A table is found by its store's address, and is there while the store is: until it is gone the address is no other store's.

use std::collections::BTreeMap;
use std::io;
use std::ops::{Bound, RangeInclusive};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use writeback::store::Store;
use writeback::{Mapping, StoreError, WeakMapping};

use crate::peers::{check_generation, renew};

/// The first of the bytes that redb locks in the modes in which several have a database open that one of them changes: whoever has it changes something.
pub(crate) const WRITER: u64 = 1 << 62;
/// Of the byte of the writer, of that of a shared writer, and of that of a shared reader.
const MODE_BYTES: RangeInclusive<u64> = WRITER..=WRITER + 2;

/// The locks of one backend.
#[derive(Debug)]
pub(crate) struct Locks {
    holder: Holder,
    file: Option<FileBackend>,
}

impl Locks {
    /// In the table of `store`, and on `file`, if there is one.
    pub(crate) fn new(store: &Arc<dyn Store>, file: Option<FileBackend>) -> Self {
        Self { holder: Holder::of(store, file.is_some()), file }
    }

    /// Locks a range for a backend of `mapping`, unless somebody else's lock is in the way, and tells whether it did; or waits until
    /// it is gone.
    ///
    /// # Errors
    /// If the range, or waiting for it, is unsupported, or the mapping is stale and cannot be renewed.
    pub(crate) fn lock(
        &self,
        mapping: &Mapping,
        bounds: Bounds,
        kind: Kind,
        wait: Wait,
    ) -> Result<bool, BackendError> {
        let range = range(bounds)?;
        let Some(file) = &self.file else {
            let is_of_mode = range.0 == range.1 && MODE_BYTES.contains(&range.0);
            if is_of_mode || wait == Wait::Yes {
                return Err(BackendError::Unsupported);
            }
            return Ok(self.holder.try_lock(mapping, range, kind)?);
        };
        check_generation(range)?;
        // As redb has them: its backend knows some of them by their ends.
        let (start, end) = bounds;
        let locked = match (kind, wait) {
            (Kind::Exclusive, Wait::No) => file.try_lock_range(start, end)?,
            (Kind::Shared, Wait::No) => file.try_lock_shared_range(start, end)?,
            (Kind::Exclusive, Wait::Yes) => file.lock_range(start, end).map(|()| true)?,
            (Kind::Shared, Wait::Yes) => file.lock_shared_range(start, end).map(|()| true)?,
        };
        if locked {
            self.holder.enter(range, kind);
        }
        Ok(locked)
    }

    /// Unlocks exactly what was locked as this range.
    pub(crate) fn unlock(&self, bounds: Bounds) -> Result<(), BackendError> {
        let range = range(bounds)?;
        if let Some(file) = &self.file {
            file.unlock_range(bounds.0, bounds.1)?;
        }
        self.holder.unlock(&range);
        Ok(())
    }

    /// Tells whether this range was locked so that nobody else can lock the same.
    pub(crate) fn is_exclusive(&self, range: Range) -> bool {
        self.holder.kind_of(range) == Some(Kind::Exclusive)
    }

    /// Tells whether somebody else has a lock, of either kind, in this range.
    pub(crate) fn query(&self, bounds: Bounds) -> Result<bool, BackendError> {
        let range = range(bounds)?;
        match &self.file {
            Some(file) => file.query_lock_range(bounds.0, bounds.1),
            None => Ok(self.holder.query(&range)),
        }
    }

    /// Unlocks all. With `saved`, which has nothing left to write, others need not be kept off by it.
    pub(crate) fn release(&self, saved: Option<&Mapping>) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.close()?;
        }
        self.holder.release(saved);
        Ok(())
    }

    /// Tells whether other processes are kept off as well.
    pub(crate) fn are_of_file(&self) -> bool {
        self.file.is_some()
    }

    /// Keeps other mappings off for as long as `unsaved` exists.
    pub(crate) fn keep(&self, unsaved: &Mapping) {
        self.holder.table.held.lock().unsaved = Some(unsaved.downgrade());
    }
}

/// Whether to wait for somebody else's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    No,
    Yes,
}

/// Whether others may lock the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Shared,
    Exclusive,
}

/// As redb names a range.
pub(crate) type Bounds = (Bound<u64>, Bound<u64>);

/// First and last byte: ordered by these, and never empty.
pub(crate) type Range = (u64, u64);

pub(crate) const ALL: Range = (0, u64::MAX);

/// # Errors
/// If it is empty.
pub(crate) fn range((start, end): Bounds) -> Result<Range, BackendError> {
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

/// With its own number, if it has one.
pub(crate) fn told(error: StoreError) -> io::Error {
    match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::other(error),
    }
}

/// Who has what of one store.
#[derive(Debug, Default)]
struct Table {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    holders: u64,
    ranges: BTreeMap<(u64, Range), Kind>,
    /// The mappings that show what the store has: the one that had an exclusive lock last, and those that were as new afterwards. `None`: nobody
    /// had one yet.
    current: Option<Vec<WeakMapping>>,
    /// The mapping that may write later although nobody has it open.
    unsaved: Option<WeakMapping>,
    /// Whether the store's locks are those of a file.
    is_of_file: bool,
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

    /// Renews `mapping` if another has changed the store since it was opened.
    ///
    /// # Errors
    /// If it cannot be renewed.
    fn make_current(&mut self, mapping: &Mapping) -> io::Result<()> {
        let (Some(current), weak) = (&mut self.current, mapping.downgrade()) else { return Ok(()) };
        if !current.contains(&weak) {
            renew(mapping)?;
            current.retain(|other| other.upgrade().is_some());
            current.push(weak);
        }
        Ok(())
    }

    /// Tells whether another mapping than `mapping` has something left to write.
    fn is_kept_from(&mut self, mapping: &WeakMapping) -> bool {
        self.unsaved.take_if(|unsaved| unsaved.upgrade().is_none());
        self.unsaved.as_ref().is_some_and(|unsaved| unsaved != mapping)
    }
}

/// The tables of this process, by their stores' addresses, which are taken while they are here.
static TABLES: Mutex<BTreeMap<usize, OfStore>> = Mutex::new(BTreeMap::new());

type OfStore = (Weak<dyn Store>, Arc<Table>);

/// One who locks ranges of a store.
#[derive(Debug)]
pub(crate) struct Holder {
    table: Arc<Table>,
    number: u64,
}

impl Holder {
    fn of(store: &Arc<dyn Store>, has_file: bool) -> Self {
        let address = Arc::as_ptr(store).cast::<()>().addr();
        let mut tables = TABLES.lock();
        tables.retain(|_, (store, _)| store.strong_count() > 0);
        let new = || (Arc::downgrade(store), Arc::default());
        let table = Arc::clone(&tables.entry(address).or_insert_with(new).1);
        drop(tables);
        let mut held = table.held.lock();
        held.holders += 1;
        held.is_of_file |= has_file;
        let number = held.holders;
        drop(held);
        Self { table, number }
    }

    /// Of a backend without a file.
    fn try_lock(&self, mapping: &Mapping, range: Range, kind: Kind) -> io::Result<bool> {
        let weak = mapping.downgrade();
        let mut held = self.table.held.lock();
        if held.is_kept_from(&weak) || held.conflicts(self.number, &range, kind) {
            return Ok(false);
        }
        if held.is_of_file {
            let why = "the locks of this database are those of its file: open the file";
            return Err(io::Error::other(why));
        }
        held.make_current(mapping)?;
        if kind == Kind::Exclusive {
            held.current = Some(vec![weak]);
        }
        held.ranges.insert((self.number, range), kind);
        Ok(true)
    }

    /// What was locked on the file.
    fn enter(&self, range: Range, kind: Kind) {
        self.table.held.lock().ranges.insert((self.number, range), kind);
    }

    fn kind_of(&self, range: Range) -> Option<Kind> {
        self.table.held.lock().ranges.get(&(self.number, range)).copied()
    }

    fn unlock(&self, range: &Range) {
        self.table.held.lock().ranges.remove(&(self.number, *range));
    }

    fn query(&self, range: &Range) -> bool {
        self.table.held.lock().conflicts(self.number, range, Kind::Exclusive)
    }

    fn release(&self, saved: Option<&Mapping>) {
        let all: RangeInclusive<_> = (self.number, (0, 0))..=(self.number, (u64::MAX, u64::MAX));
        let mut held = self.table.held.lock();
        let saved = saved.map(Mapping::downgrade);
        held.unsaved.take_if(|unsaved| Some(&*unsaved) == saved.as_ref());
        held.ranges.extract_if(all, |_, _| true).for_each(drop);
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.release(None);
    }
}

#[cfg(test)]
mod tests {
    use writeback::MemStore;

    use super::*;

    #[test]
    fn ranges_are_those_that_redb_means() {
        use Bound::{Excluded, Included, Unbounded};

        let of = |start, end| range((start, end)).ok();
        assert_eq!(of(Unbounded, Unbounded), Some((0, u64::MAX)));
        assert_eq!(of(Excluded(3), Excluded(5)), Some((4, 4)));
        assert_eq!(of(Included(3), Included(5)), Some((3, 5)));
        for (start, end) in [
            (Excluded(4), Excluded(5)),
            (Included(5), Included(4)),
            (Unbounded, Excluded(0)),
            (Excluded(u64::MAX), Unbounded),
        ] {
            let told = range((start, end)).unwrap_err();
            assert!(
                matches!(told, BackendError::Io(error) if error.kind() == io::ErrorKind::InvalidInput)
            );
        }
    }

    fn store() -> Arc<dyn Store> {
        Arc::new(MemStore::new())
    }

    fn tries(holder: &Holder) -> bool {
        holder.try_lock(&Mapping::open(MemStore::new()).unwrap(), (7, 7), Kind::Exclusive).unwrap()
    }

    #[test]
    fn a_table_is_gone_with_its_store_and_its_last_holder() {
        let store = store();
        let (first, second) = (Holder::of(&store, false), Holder::of(&store, false));
        assert!(tries(&first) && !tries(&second));
        drop(second);
        let table = Arc::downgrade(&first.table);
        drop(store);
        // Which looks for the tables that nobody needs.
        Holder::of(&self::store(), false);
        assert!(table.upgrade().is_some());
        drop(first);
        Holder::of(&self::store(), false);
        assert!(table.upgrade().is_none());
    }

    /// The memory of a store that is gone may be that of the next one.
    #[test]
    fn another_store_has_locks_of_its_own() {
        let mut held = Vec::new();
        for _ in 0..1000 {
            let store = store();
            let holder = Holder::of(&store, false);
            assert!(tries(&holder));
            drop(store);
            held.push(holder);
        }
    }
}
