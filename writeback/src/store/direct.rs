//! A file that is read and written past the kernel's page cache.

use std::fs::File;
use std::io;
use std::path::Path;

use super::{
    Completion, FileOptions, FileStore, FlushCompletion, FlushKind, Limits, ReadRun, Store,
    WriteBatch,
};
use crate::error::StoreError;

/// A file as a store, with direct I/O (`O_DIRECT`): the bytes go between this cache and the device, and the kernel keeps no second copy
/// of them. That is what the file system makes of it: some take direct I/O and go through the kernel's cache all the same, as tmpfs does, btrfs
/// for files with checksums, and ext4 for what it keeps within an inode.
///
/// It is a [`FileStore`] in all else: what can be a store, locks, the folder's sync, block devices. Good where this cache is large, and for
/// evenly timed syncs, since the kernel has nothing left to write in them. Less good where evicted pages are soon wanted again, or where
/// much is read or written by one thread: every call waits for the device, where the kernel would read ahead and write behind.
///
/// Writes and reads are whole multiples of [`Limits::alignment`]: of a file 4096 bytes unless it wants more, of a block device what that
/// has as its sector, mostly 512. The page size has to be a multiple of it too. The file's last page is padded with zeros until the next sync
/// sets the length right. After a crash between the two the file has the padded length, and whoever opens it again finds the zeros. On Linux only; elsewhere, and on
/// file systems that have no direct I/O, opening says [`Unsupported`](io::ErrorKind::Unsupported).
///
/// Where a limit on the size of files (`RLIMIT_FSIZE`) lies within a block, the kernel refuses the page that goes beyond it as
/// [`InvalidInput`](io::ErrorKind::InvalidInput), and not as too large.
///
/// # Concurrency
/// As [`FileStore`]. Whoever reads the file through the kernel's cache meanwhile sees what was flushed; nobody may change it, by a
/// memory map neither, which the kernel would write over what is here.
///
/// # Examples
/// ```
/// use writeback::{DirectStore, Mapping};
///
/// # let folder = tempfile::tempdir_in(".")?;
/// let path = folder.path().join("pages");
/// let store = match DirectStore::create(&path) {
///     Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return Ok(()),
///     created => created?,
/// };
/// let handle = Mapping::open(store)?.handle();
/// handle.write_at(b"hello", 0)?;
/// handle.sync_data()?;
/// assert_eq!(std::fs::read(&path)?, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct DirectStore(FileStore);

impl DirectStore {
    /// Opens an existing file for reading and writing, as [`FileStore::open`].
    ///
    /// # Errors
    /// As [`FileStore::open`], and of kind [`Unsupported`](io::ErrorKind::Unsupported) where there is no direct I/O.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::options().open(path).map(Self)
    }

    /// Creates a file, or empties the one that is there, as [`FileStore::create`].
    ///
    /// # Errors
    /// As [`FileStore::create`] and [`open`](Self::open).
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::options().create(path).map(Self)
    }

    /// Opens a file, keeping its contents, or creates it, as [`FileStore::open_or_create`].
    ///
    /// # Errors
    /// As [`FileStore::open_or_create`] and [`open`](Self::open).
    pub fn open_or_create(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::options().open_or_create(path).map(Self)
    }

    /// Uses a file that was opened with `O_DIRECT`, as [`FileStore::from_file`].
    ///
    /// # Errors
    /// As [`FileStore::from_file`], and of kind [`InvalidInput`](io::ErrorKind::InvalidInput) if it was opened without.
    pub fn from_file(file: File) -> io::Result<Self> {
        Self::options().from_file(file).map(Self)
    }

    /// The options of a [`FileStore`] with [direct I/O](FileOptions::direct), which make the same store without this name.
    pub fn options() -> FileOptions {
        FileStore::options().direct(true)
    }

    /// The file.
    pub fn file(&self) -> &File {
        self.0.file()
    }
}

impl Store for DirectStore {
    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn len(&self) -> Result<u64, StoreError> {
        self.0.len()
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.0.set_len(len)
    }

    fn read(&self, run: ReadRun) {
        self.0.read(run);
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        self.0.write(batch, completion);
    }

    fn flush(&self, kind: FlushKind, completion: FlushCompletion) {
        self.0.flush(kind, completion);
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        self.0.allocate(offset, len)
    }

    fn punch(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        self.0.punch(offset, len)
    }

    fn zero(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        self.0.zero(offset, len)
    }

    fn next_data(&self, offset: u64) -> Result<Option<u64>, StoreError> {
        self.0.next_data(offset)
    }

    fn next_hole(&self, offset: u64) -> Result<Option<u64>, StoreError> {
        self.0.next_hole(offset)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Its name as well.
    #[test]
    fn a_flush_is_one_of_the_file() {
        let folder = tempfile::tempdir_in(".").unwrap();
        let store = match DirectStore::create(folder.path().join("file")) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return,
            created => created.unwrap(),
        };
        store.sync(FlushKind::Data).unwrap();
        assert!(!store.0.is_name_durable());
        store.sync(FlushKind::All).unwrap();
        assert!(store.0.is_name_durable());
    }
}
