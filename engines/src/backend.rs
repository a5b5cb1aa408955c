//! redb's storage, cached by a mapping: all that an engine needs to know of the cache.
//!
//! redb asks for exact reads, for zeros where the storage grows, for errors that are never
//! swallowed, and for one thing that is hard: when `sync_data` returns `Ok`, everything written
//! before is durable. A [`Handle`] promises each of these, so every method is one call.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use writeback::{Config, FileStore, Handle, Mapping};

use crate::locks::{Kind, Locks};

/// A redb database in the file, or the store, below a [`Mapping`].
///
/// A [`Flusher`](writeback::Flusher) may write in the background; commits then find less to write, and in a
/// [`PageCache`](writeback::PageCache), which is bounded, writers rarely wait. Neither needs one.
///
/// The device's errors come out of the commit whose sync is told of them, with their own number and kind
/// (`StorageFull`, if there is no space); redb then asks to be opened again.
///
/// A database is opened once at a time: who opens it again is refused with
/// [`DatabaseAlreadyOpen`](redb::DatabaseError::DatabaseAlreadyOpen). [`open`](Self::open) and [`over_file`](Self::over_file) have the locks
/// of redb's own `FileBackend` on the file, so they and programs with that backend keep each other off, in any process. [`new`](Self::new)
/// knows no file and keeps off whoever has the same store in this process; other processes are then kept off by the lock of
/// a [`FileStore`].
///
/// # Examples
/// ```
/// use engines::Cached;
/// use redb::{Database, ReadableDatabase, TableDefinition};
/// use writeback::{Mapping, MemStore};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// const NAMES: TableDefinition<u64, &str> = TableDefinition::new("names");
///
/// let store = MemStore::new(); // or a FileStore
/// let mapping = Mapping::open(store.clone())?;
/// let database = Database::builder().create_with_backend(Cached::new(&mapping))?;
/// let change = database.begin_write()?;
/// change.open_table(NAMES)?.insert(7, "seven")?;
/// change.commit()?; // durable, or an error
///
/// let recovered = Mapping::open(store.after_crash())?;
/// let database = Database::builder().create_with_backend(Cached::new(&recovered))?;
/// let names = database.begin_read()?.open_table(NAMES)?;
/// assert_eq!(names.get_owned(7)?.expect("it was committed").value(), "seven");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Cached {
    /// Its own, so that each error of a write in the background fails a commit of this database.
    handle: Handle,
    locks: Locks,
    /// Whether the last lock it asked for is somebody else's, who has the database open.
    refused: AtomicBool,
}

impl Cached {
    /// The storage below `mapping`. Only one database at a time can be open in it, or in another mapping of the same store.
    pub fn new(mapping: &Mapping) -> Self {
        Self::with_locks(mapping, Locks::of_store(mapping.store()))
    }

    fn with_locks(mapping: &Mapping, locks: Locks) -> Self {
        Self { handle: mapping.handle(), locks, refused: AtomicBool::new(false) }
    }

    /// The storage in the file at `path`, which is created if there is none, cached as `config` says.
    ///
    /// # Errors
    /// If it cannot be opened, or cannot be a store (see [`FileStore::from_file`]).
    ///
    /// # Examples
    /// ```
    /// use engines::Cached;
    /// use redb::{Database, DatabaseError};
    /// use writeback::Config;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("database");
    /// let open = || {
    ///     let backend = Cached::open(&path, Config::new()).expect("a file that can be opened");
    ///     Database::builder().create_with_backend(backend)
    /// };
    /// let database = open()?;
    /// assert!(matches!(open(), Err(DatabaseError::DatabaseAlreadyOpen)));
    /// drop(database);
    /// open()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(path: impl AsRef<Path>, config: Config) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        Self::over_file(file, config)
    }

    /// The storage in a file that is open for reading and writing, as [`open`](Self::open).
    ///
    /// The locks belong to the open file, as those of [`FileOptions::lock`](writeback::store::FileOptions::lock) do: its duplicates are not refused.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn over_file(file: File, config: Config) -> io::Result<Self> {
        // redb's locks are all that this file has. With those of the store on the same open file, redb would release both as one; with
        // those of a store on another, it would be refused by them.
        let store = FileStore::options().lock(false).from_file(file.try_clone()?)?;
        // A load, then commits of few pages.
        let store = store.begin_early(true);
        let mapping = Mapping::with_config(Arc::new(store), config)?;
        let backend = FileBackend::new(file).map_err(io::Error::other)?;
        Ok(Self::with_locks(&mapping, Locks::File(backend)))
    }

    /// The mapping: for a [`Flusher`](writeback::Flusher), or to ask for its statistics.
    pub fn mapping(&self) -> &Mapping {
        self.handle.mapping()
    }

    fn try_lock(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
        kind: Kind,
    ) -> Result<bool, BackendError> {
        let locked = self.locks.try_lock(start, end, kind)?;
        // Relaxed: it is closed by whoever opens it, after that.
        self.refused.store(!locked, Ordering::Relaxed);
        Ok(locked)
    }
}

impl StorageBackend for Cached {
    fn len(&self) -> io::Result<u64> {
        Ok(self.handle.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        // A handle stops at the end; redb wants all of it or an error.
        match self.handle.read_at(out, offset)? {
            count if count == out.len() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Ok(self.handle.set_len(len)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(self.handle.sync_data()?)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Ok(self.handle.write_at(data, offset)?)
    }

    /// Saves what is left, takes no more changes, and releases all locks.
    ///
    /// What could not be saved stays in the mapping, for as long as somebody else has a clone of it, and may be written later. The
    /// locks of a file therefore stay as well then, and are gone with the mapping.
    ///
    /// redb also closes what it was refused to open: that has changed nothing, and the mapping goes on for whoever has it.
    fn close(&self) -> io::Result<()> {
        // Relaxed: as in `try_lock`.
        if self.refused.load(Ordering::Relaxed) {
            return self.locks.release();
        }
        let saved = self.handle.mapping().clone().close().map_err(|failed| failed.error);
        if saved.is_ok() || matches!(self.locks, Locks::Store(_)) {
            self.locks.release()?;
        }
        Ok(saved?)
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.try_lock(start, end, Kind::Exclusive)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.try_lock(start, end, Kind::Shared)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks.lock(start, end, Kind::Exclusive)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks.lock(start, end, Kind::Shared)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks.unlock(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks.query(start, end)
    }
}

#[cfg(test)]
mod tests {
    use redb::{Database, DatabaseError};
    use writeback::store::fault::{Action, Fault, FaultStore, Rule};

    use super::*;

    #[test]
    fn what_could_not_be_saved_keeps_the_locks_of_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let store = FaultStore::new(1);
        let mapping = Mapping::open(store.clone()).unwrap();
        let locks = Locks::File(FileBackend::new(file.reopen().unwrap()).unwrap());
        let cached = Cached::with_locks(&mapping, locks);
        assert!(cached.try_lock_range(Bound::Unbounded, Bound::Unbounded).unwrap());
        cached.write(0, b"abc").unwrap();
        store.inject(Rule::new(Fault::NoSpace).on(Action::Write).persistent());
        cached.close().unwrap_err();
        let open = || {
            let other = FileBackend::new(file.reopen().unwrap()).unwrap();
            Database::builder().create_with_backend(other)
        };
        assert!(matches!(open(), Err(DatabaseError::DatabaseAlreadyOpen)));
        store.heal();
        cached.close().unwrap();
        open().unwrap();
    }
}
