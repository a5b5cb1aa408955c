//! The store: what a mapping calls, and how it is opened.

mod leaving;
mod options;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use writeback::store::{
    Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch,
};
use writeback::{FileStore, StoreError};

use crate::drive::Engine;
use crate::flight::{Below, Flight};
use crate::refused::Refused;
use crate::ring::Registered;
use crate::system;
use leaving::Held;

pub use options::UringOptions;

/// A file as a store, read and written through `io_uring`, with direct I/O (`O_DIRECT`).
///
/// Calls do not wait: `read`, `write` and `flush` return when the store's thread has been told, and end on that thread, in any order. What can be a store, locks, the folder's sync, block
/// devices, holes, the padded tail of direct I/O: all as [`DirectStore`](writeback::DirectStore), and done by a [`FileStore`] in it; so are changes of the length and of
/// allocation, which do wait.
///
/// # Concurrency
/// Any number of threads; they share a lock for the time that it takes to put something into a queue. Dropping it waits until all has ended that was asked for, and the file is not
/// locked any more then. Should the last reference to it go on a store's thread, with the end of something, it does not wait, and the file's lock ends soon after.
///
/// Whoever opens a file that another store of this process has waits, ten seconds at most, until all has ended that the store had been asked for by then, reads ahead too: the last
/// reference may go with that. A store that is not dropped by then is in use. Of a process that is killed the kernel keeps the file and its lock until it has taken down the
/// ring and what was under way has ended (27 to 112 ms were seen); so whoever finds that another process has the file is told after a second, and not at once.
///
/// The ring is for one process. In a child made by `fork`, what is asked of the store is an error; and the child has the file and its lock, also when it has dropped the store, until it ends or calls
/// `exec`. It should not open others: what another thread was about at the moment of the fork stays so there.
///
/// Whoever is told of an end should not wait in that call, for all others wait too; on that thread a file that is in use is refused at once. The folder's sync, once in the life of a store whose file
/// is new, is done there as well. The thread takes the process's signals, as any other: they are to be blocked before the store is opened by whoever wants them elsewhere.
///
/// Should the kernel take nothing any more, as when a filter of system calls that is set later forbids it, all ends with its error, but what the kernel has by then: that stays for ever, with its
/// pages, and the file is open and locked as long as the process lives.
///
/// # Examples
/// ```
/// use writeback::Mapping;
/// use writeback_uring::UringStore;
///
/// # let folder = tempfile::tempdir_in(".")?;
/// # if UringStore::probe().is_err() { return Ok(()) }
/// let path = folder.path().join("pages");
/// let store = match UringStore::create(&path) {
///     Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return Ok(()),
///     created => created?,
/// };
/// let handle = Mapping::open(store)?.handle();
/// handle.write_at(&[7; 100_000], 0)?;
/// handle.sync_data()?;
/// assert_eq!(std::fs::read(&path)?, [7; 100_000]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UringStore {
    /// First: it ends what is under way before the file is closed.
    engine: Engine,
    file: Arc<Held>,
    registered: Arc<Mutex<Registered>>,
    alignment: usize,
}

impl Below for Arc<Held> {
    fn len(&self) -> Result<u64, StoreError> {
        Store::len(&***self)
    }

    fn sync_name(&self) -> io::Result<()> {
        FileStore::sync_name(self)
    }
}

impl UringStore {
    fn new(engine: Engine, file: Arc<Held>, registered: Arc<Mutex<Registered>>) -> Self {
        let alignment = file.limits().alignment;
        Self { engine, file, registered, alignment }
    }

    /// Opens an existing file for reading and writing, as [`FileStore::open`].
    ///
    /// # Errors
    /// As [`FileStore::open`]; [`Refused`] as an [`io::Error`], if there is no ring; of kind
    /// [`Unsupported`](io::ErrorKind::Unsupported) where there is no direct I/O; and if no thread can be started.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::options().open(path)
    }

    /// Creates a file, or empties the one that is there, as [`FileStore::create`].
    ///
    /// # Errors
    /// As [`FileStore::create`] and [`open`](Self::open). If there is no ring nothing has changed.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::options().create(path)
    }

    /// Opens a file, keeping its contents, or creates it, as [`FileStore::open_or_create`].
    ///
    /// # Errors
    /// As [`FileStore::open_or_create`] and [`open`](Self::open).
    pub fn open_or_create(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::options().open_or_create(path)
    }

    /// Uses a file that was opened with `O_DIRECT`, as [`FileStore::from_file`].
    ///
    /// # Errors
    /// As [`FileStore::from_file`] and [`open`](Self::open), and of kind [`InvalidInput`](io::ErrorKind::InvalidInput) if it was opened without.
    pub fn from_file(file: File) -> io::Result<Self> {
        Self::options().from_file(file)
    }

    /// Opens it in another way than usual.
    pub fn options() -> UringOptions {
        UringOptions::new()
    }

    /// Tells whether the kernel gives this process a ring.
    ///
    /// # Errors
    /// Why not.
    pub fn probe() -> Result<(), Refused> {
        system::probe()
    }

    /// Returns what is registered with the ring by now. Memory that the cache takes later is registered after some calls.
    pub fn registered(&self) -> Registered {
        self.registered.lock().clone()
    }

    /// The file.
    pub fn file(&self) -> &File {
        self.file.file()
    }
}

impl Store for UringStore {
    fn limits(&self) -> Limits {
        self.file.limits()
    }

    fn len(&self) -> Result<u64, StoreError> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.file.set_len(len)
    }

    fn read(&self, run: ReadRun) {
        self.engine.submit(Flight::read(run, self.alignment));
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        self.engine.submit(Flight::write(batch, completion, self.alignment));
    }

    fn is_congested(&self) -> bool {
        self.engine.is_congested()
    }

    fn flush(&self, kind: FlushKind, completion: FlushCompletion) {
        self.engine.submit(Flight::flush(kind, completion));
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        self.file.allocate(offset, len)
    }

    fn punch(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        self.file.punch(offset, len)
    }

    fn zero(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        self.file.zero(offset, len)
    }

    fn next_data(&self, offset: u64) -> Result<Option<u64>, StoreError> {
        self.file.next_data(offset)
    }

    fn next_hole(&self, offset: u64) -> Result<Option<u64>, StoreError> {
        self.file.next_hole(offset)
    }
}
