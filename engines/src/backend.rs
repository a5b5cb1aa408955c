//! redb's storage, cached by a mapping: all that an engine needs to know of the cache.
//!
//! redb asks for exact reads, for zeros where the storage grows, for errors that are never
//! swallowed, and for one thing that is hard: when `sync_data` returns `Ok`, everything written
//! before is durable. A [`Handle`] promises each of these, so every method that reads or writes is one call.
//! What is done at locks, so that several processes can have a database open, is in `peers`.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use writeback::store::{FlushKind, Store};
use writeback::{Config, FileStore, Handle, Mapping};

use crate::locks::{self, Bounds, Kind, Locks, Wait};
use crate::peers::{self, Peers};

/// A redb database in the file, or the store, below a [`Mapping`].
///
/// A [`Flusher`](writeback::Flusher) may write in the background; commits then find less to write, and in a
/// [`PageCache`](writeback::PageCache), which is bounded, writers rarely wait. Neither needs one.
///
/// The device's errors come out of the commit whose sync is told of them, with their own number and kind
/// (`StorageFull`, if there is no space); redb then asks to be opened again.
///
/// [`open`](Self::open) and [`over_file`](Self::over_file) have the locks of redb's own `FileBackend` on the file, so they and programs with that backend keep each other off, or take turns, in
/// any process. (On a file system without such locks redb opens all the same, and says so in its log: then it is for you to open it once.) [`new`](Self::new)
/// knows no file and keeps off whoever has the same store, the same `Arc`, in this process. Stores that only share their bytes, as clones of a
/// [`MemStore`](writeback::MemStore) do, are not known to be one: give each its own bytes, or have one mapping. Other processes are kept off by the
/// lock of a [`FileStore`]; of redb's own backend only while both use the same kind of lock, which is redb's choice: where those have to share
/// a file, use [`open`](Self::open).
///
/// # Modes
/// Of redb's [modes](redb::ConcurrencyMode) all work on a file. By default a database is opened once at a time, or by readers that keep writers off; who opens it again is refused with
/// [`DatabaseAlreadyOpen`](redb::DatabaseError::DatabaseAlreadyOpen). As `SingleWriter` and `MultiWriter` processes with this backend, and with redb's own, have it open
/// together and find each other's commits. The cache is kept while nobody else commits, and read anew afterwards; the price otherwise is that a commit is written out, though not flushed, up to six times
/// instead of once, and that each begin of a transaction reads 320 bytes of the file. If a process cannot write what it has changed, the others wait until it drops its
/// database; if its device has failed at a flush, until it has dropped the mapping, which a [`Flusher`](writeback::Flusher) also has. A [seal](writeback::hooks::Seal) is of no use in these
/// modes: the header that others write is not sealed, and a page that one process writes while another reads beside it is torn. redb's check of its integrity sees what is cached, and not the file. Without a file these two modes are
/// [`Unsupported`](redb::StorageError::Unsupported): other processes would not see the locks, and threads of this one can share a database.
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
    peers: Peers,
    /// Whether it has changed something since it was closed last.
    changed: AtomicBool,
}

impl Cached {
    /// The storage below `mapping`. Only one database at a time can be open in it, or in another mapping of the same store.
    ///
    /// A database that was changed and closed has closed its mapping as well ([`Mapping::close`]). The next one needs a new mapping,
    /// of any age: what it has cached is read again if another has changed the store since, and refused if it is dirty, or somebody holds it. Of a database that was only read, or
    /// refused, the mapping stays open.
    pub fn new(mapping: &Mapping) -> Self {
        Self::with_locks(mapping, Locks::new(mapping.store(), None))
    }

    pub(crate) fn with_locks(mapping: &Mapping, locks: Locks) -> Self {
        let (peers, changed) = (Peers::default(), AtomicBool::new(false));
        Self { handle: mapping.handle(), locks, peers, changed }
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
        let store = store.keep_copies(false);
        let backend = FileBackend::new(store.file().try_clone()?).map_err(io::Error::other)?;
        let mapping = Mapping::with_config(Arc::new(store), config)?;
        Ok(Self::with_locks(&mapping, Locks::new(mapping.store(), Some(backend))))
    }

    /// The mapping: for a [`Flusher`](writeback::Flusher), or to ask for its statistics. Whoever changes or holds pages of it beside the database keeps that from
    /// being opened, or from going on, when another process has changed the file.
    pub fn mapping(&self) -> &Mapping {
        self.handle.mapping()
    }

    fn lock(&self, bounds: Bounds, kind: Kind, wait: Wait) -> Result<bool, BackendError> {
        let mapping = self.mapping();
        let locked = self.locks.lock(mapping, bounds, kind, wait);
        if !self.locks.are_of_file() || matches!(locked, Ok(false)) {
            return locked;
        }
        let range = locks::range(bounds)?;
        if matches!(locked, Err(BackendError::Unsupported)) && range == locks::ALL {
            // redb goes on without locks.
            peers::renew(mapping)?;
        }
        locked?;
        if let Err(error) = self.peers.take_over(&self.handle, range, kind) {
            self.locks.unlock(bounds)?;
            return Err(error.into());
        }
        Ok(true)
    }

    /// The handle, of whoever is about to change something.
    fn changing(&self) -> &Handle {
        // Relaxed: redb closes after all its changes.
        self.changed.store(true, Ordering::Relaxed);
        &self.handle
    }
}

impl Drop for Cached {
    fn drop(&mut self) {
        if *self.changed.get_mut() {
            self.locks.keep(self.mapping());
        }
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
        Ok(self.changing().set_len(len)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(self.handle.sync_data()?)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Ok(self.changing().write_at(data, offset)?)
    }

    /// Saves what is left, takes no more changes, and releases all locks.
    ///
    /// What could not be saved stays in the mapping, for as long as somebody else has a clone of it, and may be written later. The
    /// locks therefore stay as well then, and are gone with the mapping. Without a file a database over the same mapping can be opened; with one,
    /// save it ([`Mapping::close`]), drop it, and open the file.
    ///
    /// redb also closes what it was refused to open, and what it has only read: that has changed nothing, and the mapping goes on for whoever
    /// has it.
    fn close(&self) -> io::Result<()> {
        // Relaxed: as in `changing`.
        let changed = self.changed.load(Ordering::Relaxed);
        if changed {
            self.mapping().clone().close().map_err(|failed| failed.error)?;
            self.changed.store(false, Ordering::Relaxed);
        }
        self.peers.forget();
        self.locks.release(changed.then_some(self.mapping()))
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.lock((start, end), Kind::Exclusive, Wait::No)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.lock((start, end), Kind::Shared, Wait::No)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.lock((start, end), Kind::Exclusive, Wait::Yes).map(drop)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.lock((start, end), Kind::Shared, Wait::Yes).map(drop)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        let range = locks::range((start, end))?;
        let failed = match self.locks.is_exclusive(range) {
            true => self.peers.hand_over(&self.handle, range)?,
            false => None,
        };
        self.locks.unlock((start, end))?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks.query((start, end))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use parking_lot::Mutex;
    use redb::{ConcurrencyMode, Database, DatabaseError, ReadableDatabase, TableDefinition};
    use writeback::store::fault::{Action, Fault, FaultStore, Rule};

    use super::*;

    const ALL: Bounds = (Bound::Unbounded, Bound::Unbounded);
    const NUMBERS: TableDefinition<'_, u64, u64> = TableDefinition::new("numbers");

    /// Over `store`, with the locks of `file`, which has nothing else.
    fn cached(store: &FaultStore, file: &tempfile::NamedTempFile) -> Cached {
        let mapping = Mapping::open(store.clone()).unwrap();
        let backend = FileBackend::new(file.reopen().unwrap()).unwrap();
        Cached::with_locks(&mapping, Locks::new(mapping.store(), Some(backend)))
    }

    fn tries(file: &tempfile::NamedTempFile, bounds: Bounds) -> bool {
        let other = FileBackend::new(file.reopen().unwrap()).unwrap();
        other.try_lock_range(bounds.0, bounds.1).unwrap()
    }

    #[test]
    fn what_could_not_be_saved_keeps_the_locks_of_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let store = FaultStore::new(1);
        let cached = cached(&store, &file);
        assert!(cached.try_lock_range(ALL.0, ALL.1).unwrap());
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

    #[test]
    fn what_could_not_be_handed_over_keeps_its_lock() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let store = FaultStore::new(1);
        let cached = cached(&store, &file);
        let byte = (Bound::Included(locks::WRITER), Bound::Included(locks::WRITER));
        for bounds in [byte, (Bound::Included(0), Bound::Excluded(320)), ALL] {
            cached.lock_range(bounds.0, bounds.1).unwrap();
            cached.write(0, b"abc").unwrap();
            store.inject(Rule::new(Fault::NoSpace).on(Action::Write).persistent());
            let told = cached.unlock_range(bounds.0, bounds.1);
            assert!(
                matches!(&told, Err(BackendError::Io(error)) if error.kind() == io::ErrorKind::StorageFull),
                "{told:?}"
            );
            assert!(!tries(&file, bounds));
            store.heal();
            cached.unlock_range(bounds.0, bounds.1).unwrap();
            assert!(tries(&file, bounds) && store.accepted().starts_with(b"abc"));
        }
    }

    #[test]
    fn what_could_be_made_up_for_is_told_and_keeps_nobody_off() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let store = FaultStore::new(1);
        let cached = cached(&store, &file);
        let byte = (Bound::Included(locks::WRITER), Bound::Included(locks::WRITER));
        for bounds in [byte, (Bound::Included(0), Bound::Excluded(320)), ALL] {
            // It fails in the background, or now.
            for fails_before in [true, false] {
                cached.lock_range(bounds.0, bounds.1).unwrap();
                cached.write(0, b"abc").unwrap();
                store.inject(Rule::new(Fault::NoSpace).on(Action::Write));
                if fails_before {
                    assert!(cached.mapping().write_page(0, writeback::SyncMode::Skip).unwrap());
                    cached.mapping().wait_range(..);
                }
                let told = cached.unlock_range(bounds.0, bounds.1);
                assert!(
                    matches!(&told, Err(BackendError::Io(error)) if error.kind() == io::ErrorKind::StorageFull),
                    "{told:?}"
                );
                assert!(tries(&file, bounds) && store.accepted().starts_with(b"abc"));
                assert_eq!(cached.mapping().stats().dirty, 0);
            }
        }
    }

    /// It is made up for before others may lengthen the file, or they are kept off.
    #[test]
    fn a_cut_that_has_failed_cuts_off_nothing_of_others() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let store = FaultStore::new(1);
        let cached = cached(&store, &file);
        let byte = (Bound::Included(locks::WRITER), Bound::Included(locks::WRITER));
        cached.lock_range(byte.0, byte.1).unwrap();
        cached.set_len(10_000).unwrap();
        store.inject(Rule::new(Fault::Io).on(Action::SetLen).persistent());
        cached.set_len(20_000).unwrap_err();
        assert_eq!(store.len().unwrap(), 10_000);
        cached.unlock_range(byte.0, byte.1).unwrap_err();
        assert!(!tries(&file, byte));
        store.heal();
        cached.unlock_range(byte.0, byte.1).unwrap();
        store.set_len(30_000).unwrap();
        cached.sync_data().unwrap();
        cached.close().unwrap();
        assert_eq!(store.len().unwrap(), 30_000);
    }

    /// A page that comes with another may have a header that is there only for a moment.
    #[test]
    fn a_header_that_was_read_in_between_is_not_kept() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let store = FaultStore::new(1);
        store.write_at(0, &[1; 10_000]).unwrap();
        let cached = cached(&store, &file);
        let header = (Bound::Included(0), Bound::Excluded(320));
        let mut byte = [0];
        cached.lock_shared_range(header.0, header.1).unwrap();
        cached.unlock_range(header.0, header.1).unwrap();
        cached.mapping().invalidate(..).unwrap();
        store.write_at(0, &[2; 320]).unwrap();
        cached.read(1000, &mut byte).unwrap();
        store.write_at(0, &[1; 320]).unwrap();
        cached.lock_shared_range(header.0, header.1).unwrap();
        cached.read(0, &mut byte).unwrap();
        assert_eq!(byte, [1]);
    }

    /// The header's page is one among others: it may be evicted, and is new when others are not.
    #[test]
    fn what_goes_with_an_earlier_header_is_not_kept() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let store = FaultStore::new(1);
        store.write_at(0, &[1; 10_000]).unwrap();
        let cached = cached(&store, &file);
        let header = (Bound::Included(0), Bound::Excluded(320));
        for round in 1..3 {
            cached.lock_shared_range(header.0, header.1).unwrap();
            let mut byte = [0];
            cached.read(9000, &mut byte).unwrap();
            assert_eq!(byte, [round]);
            cached.unlock_range(header.0, header.1).unwrap();
            store.write_at(0, &[round + 1; 10_000]).unwrap();
            assert_eq!(cached.mapping().invalidate(..320).unwrap(), 0);
            cached.read(0, &mut byte).unwrap();
        }
    }

    /// Two that take turns in one store: whenever the power goes, what they have committed is there.
    #[test]
    fn a_power_cut_between_peers_loses_no_commit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let store = FaultStore::new(1);
        let open = || {
            let mut builder = Database::builder();
            builder.set_concurrency_mode(ConcurrencyMode::MultiWriter).set_cache_size(200_000);
            builder.create_with_backend(cached(&store, &file)).unwrap()
        };
        let databases = [open(), open()];
        let cuts = Arc::new(Mutex::new(Vec::new()));
        let committed = Arc::new(AtomicU64::new(0));
        let (kept, looked_at) = (Arc::clone(&cuts), Arc::clone(&committed));
        store.on_event(move |store, _| {
            let committed = looked_at.load(Ordering::Relaxed);
            kept.lock().push((committed, store.crash_clone(committed)));
        });
        for number in 1..=20 {
            let turn = if number % 2 == 0 { &databases[0] } else { &databases[1] };
            let change = turn.begin_write().unwrap();
            change.open_table(NUMBERS).unwrap().insert(number, number).unwrap();
            change.commit().unwrap();
            committed.store(number, Ordering::Relaxed);
        }
        let cuts = std::mem::take(&mut *cuts.lock());
        assert!(cuts.len() > 200, "{}", cuts.len());
        for (committed, left) in cuts {
            let mapping = Mapping::open(left).unwrap();
            let mut database =
                Database::builder().create_with_backend(Cached::new(&mapping)).unwrap();
            assert!(database.check_integrity().unwrap());
            let read = database.begin_read().unwrap();
            for number in 1..=committed {
                let table = read.open_table(NUMBERS).unwrap();
                assert!(table.get(number).unwrap().is_some(), "{number} of {committed}");
            }
        }
    }
}
