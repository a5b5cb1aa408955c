//! redb's storage, cached by a mapping: all that an engine needs to know of the cache.
//!
//! redb asks for exact reads, for zeros where the storage grows, for errors that are never
//! swallowed, and for one thing that is hard: when `sync_data` returns `Ok`, everything written
//! before is durable. A [`Handle`] promises each of these, so every method is one call.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use writeback::store::{FlushKind, Store};
use writeback::{Config, FileStore, Handle, Mapping};

use crate::locks::{self, Kind, Locks};

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
/// of redb's own `FileBackend` on the file, so they and programs with that backend keep each other off, in any process. (On a file system
/// without such locks redb opens all the same, and says so in its log: then it is for you to open it once.) [`new`](Self::new)
/// knows no file and keeps off whoever has the same store, the same `Arc`, in this process. Stores that only share their bytes, as clones of a
/// [`MemStore`](writeback::MemStore) do, are not known to be one: give each its own bytes, or have one mapping. Other processes are kept off by the
/// lock of a [`FileStore`]; of redb's own backend only while both use the same kind of lock, which is redb's choice: where those have to share
/// a file, use [`open`](Self::open).
///
/// Exclusive writers, and readers that keep writers off, are the modes that work. redb's other
/// [modes](redb::ConcurrencyMode) are refused as [`Unsupported`](redb::StorageError::Unsupported): a cache does not see what another one writes.
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
    handle: OnceLock<Handle>,
    /// What it is made of when it is needed first. Gone only when there is a handle, and changed under this lock.
    early: Mutex<Option<(Mapping, Config)>>,
    locks: Locks,
    /// Whether it has changed something since it was closed last.
    changed: AtomicBool,
}

impl Cached {
    /// The storage below `mapping`. Only one database at a time can be open in it, or in another mapping of the same store.
    ///
    /// A database that was changed and closed has closed its mapping as well ([`Mapping::close`]). The next one needs a new mapping,
    /// which is opened when the one before is closed: what was opened earlier and has pages, or another length than the store, is
    /// refused. Of a database that was only read, or refused, the mapping stays open.
    pub fn new(mapping: &Mapping) -> Self {
        Self::with_locks(mapping, Locks::new(mapping.store(), None))
    }

    fn with_locks(mapping: &Mapping, locks: Locks) -> Self {
        let (early, changed) = (Mutex::new(None), AtomicBool::new(false));
        Self { handle: OnceLock::from(mapping.handle()), early, locks, changed }
    }

    /// The storage in the file at `path`, which is created if there is none, cached as `config` says. The file's name is durable afterwards.
    ///
    /// # Errors
    /// If it cannot be opened or synced, or cannot be a store (see [`FileStore::open_or_create`]).
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
        // Without the store's own lock: see `over`.
        let store = FileStore::options().lock(false).open_or_create(path)?;
        // redb never asks for the file's name to be durable.
        store.sync(FlushKind::All).map_err(locks::told)?;
        Self::over(store, config)
    }

    /// The storage in a file that is open for reading and writing, as [`open`](Self::open). Its name is not made durable.
    ///
    /// The locks belong to the open file, as those of [`FileOptions::lock`](writeback::store::FileOptions::lock) do: its duplicates are not refused.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn over_file(file: File, config: Config) -> io::Result<Self> {
        Self::over(FileStore::options().lock(false).from_file(file)?, config)
    }

    /// redb's locks are all that this file has. With those of the store on the same open file, redb would release both as one; with
    /// those of a store on another, it would be refused by them.
    fn over(store: FileStore, config: Config) -> io::Result<Self> {
        // A load, then commits of few pages.
        let store = store.begin_early(true);
        let backend = FileBackend::new(store.file().try_clone()?).map_err(io::Error::other)?;
        let mapping = Mapping::with_config(Arc::new(store), config.clone())?;
        let locks = Locks::new(mapping.store(), Some(backend));
        let (early, changed) = (Mutex::new(Some((mapping, config))), AtomicBool::new(false));
        Ok(Self { handle: OnceLock::new(), early, locks, changed })
    }

    /// The mapping: for a [`Flusher`](writeback::Flusher), or to ask for its statistics.
    ///
    /// If it is asked for before the database is open, and somebody else changes the file between, then opening is refused, with an error
    /// that says so.
    #[expect(clippy::missing_panics_doc, reason = "it does not")]
    pub fn mapping(&self) -> &Mapping {
        let mut early = self.early.lock();
        if let Some((mapping, _)) = early.take() {
            self.handle.get_or_init(|| mapping.handle());
        }
        drop(early);
        self.handle.get().expect("it is there when what it is made of is not").mapping()
    }

    /// For redb, which has its locks: nobody else changes the file from now on, so a mapping shows it if it is made now.
    fn handle(&self) -> io::Result<&Handle> {
        if let Some(handle) = self.handle.get() {
            return Ok(handle);
        }
        let mut early = self.early.lock();
        if let Some((before, config)) = &*early {
            let mapping = Mapping::with_config(Arc::clone(before.store()), config.clone())?;
            self.locks.opened(&mapping);
            self.handle.get_or_init(|| mapping.handle());
            *early = None;
        }
        Ok(self.handle.get().expect("it is there when what it is made of is not"))
    }

    fn try_lock(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
        kind: Kind,
    ) -> Result<bool, BackendError> {
        let mapping = self.handle.get().map(Handle::mapping);
        let locked = self.locks.try_lock(mapping, start, end, kind)?;
        // Relaxed: redb locks before it changes anything.
        if let Some(mapping) = mapping
            && locked
            && self.locks.are_of_file()
            && !self.changed.load(Ordering::Relaxed)
        {
            // In the meantime another process may have had it, or another mapping.
            locks::check_fresh(mapping)?;
        }
        Ok(locked)
    }

    /// The handle, of whoever is about to change something.
    fn changing(&self) -> io::Result<&Handle> {
        // Relaxed: redb closes after all its changes.
        self.changed.store(true, Ordering::Relaxed);
        self.handle()
    }
}

impl Drop for Cached {
    fn drop(&mut self) {
        if *self.changed.get_mut()
            && let Some(handle) = self.handle.get()
        {
            self.locks.keep(handle.mapping());
        }
    }
}

// The locks that are waited for are unsupported, as the trait has them: see `locks`.
impl StorageBackend for Cached {
    fn len(&self) -> io::Result<u64> {
        Ok(self.handle()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        // A handle stops at the end; redb wants all of it or an error.
        match self.handle()?.read_at(out, offset)? {
            count if count == out.len() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Ok(self.changing()?.set_len(len)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(self.handle()?.sync_data()?)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Ok(self.changing()?.write_at(data, offset)?)
    }

    /// Saves what is left, takes no more changes, and releases all locks.
    ///
    /// What could not be saved stays in the mapping, for as long as somebody else has a clone of it, and may be written later. The
    /// locks therefore stay as well then, and are gone with the mapping; only a database over the same one can be opened.
    ///
    /// redb also closes what it was refused to open, and what it has only read: that has changed nothing, and the mapping goes on for whoever
    /// has it.
    fn close(&self) -> io::Result<()> {
        // Relaxed: as in `changing`.
        if !self.changed.load(Ordering::Relaxed) {
            return self.locks.release(None);
        }
        let mapping = self.handle()?.mapping();
        mapping.clone().close().map_err(|failed| failed.error)?;
        self.changed.store(false, Ordering::Relaxed);
        self.locks.release(Some(mapping))
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
        let backend = FileBackend::new(file.reopen().unwrap()).unwrap();
        let locks = Locks::new(mapping.store(), Some(backend));
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
