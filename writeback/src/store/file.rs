//! A store in a file: positioned vectored writes, real `fdatasync`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::vectored::{SLICES, write_all};
use super::{Completion, FlushKind, Limits, Store, WriteBatch};
use crate::error::StoreError;

/// Bytes in a batch from which on the device is told to begin. Single pages are better left to the
/// kernel, which may merge them.
#[cfg(any(target_os = "linux", target_os = "android"))]
const BEGIN_BYTES: u64 = 256 * 1024;

/// A file as a store.
///
/// Writes are done by the thread that submits them, adjacent pages in one `pwritev`; a short or
/// interrupted call is continued. `flush` is `fdatasync` or `fsync`. A device can be made to begin early
/// ([`begin_early`](Self::begin_early)).
///
/// The cache assumes that nobody else changes the file while it is open.
///
/// # Concurrency
/// Any number of threads; there is no lock.
///
/// # Examples
/// ```
/// use writeback::{FileStore, Mapping};
///
/// let path = std::env::temp_dir().join(format!("writeback-doc-{}", std::process::id()));
/// let handle = Mapping::open(FileStore::create(&path)?)?.handle();
/// handle.write_at(b"hello", 0)?;
/// handle.sync_data()?;
/// assert_eq!(std::fs::read(&path)?, b"hello");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FileStore {
    file: File,
    begin_early: bool,
}

impl FileStore {
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    ///
    /// # Examples
    /// ```
    /// use writeback::FileStore;
    ///
    /// # let path = std::env::temp_dir().join(format!("writeback-doc-open-{}", std::process::id()));
    /// assert!(FileStore::open(&path).is_err(), "there is none");
    /// std::fs::write(&path, b"abc")?;
    /// assert_eq!(FileStore::open(&path)?.file().metadata()?.len(), 3);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).open(path).map(Self::from_file)
    }

    /// Creates a file, or empties the one that is there.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    ///
    /// # Examples
    /// ```
    /// use writeback::FileStore;
    ///
    /// # let path = std::env::temp_dir().join(format!("writeback-doc-create-{}", std::process::id()));
    /// std::fs::write(&path, b"abc")?;
    /// assert_eq!(FileStore::create(&path)?.file().metadata()?.len(), 0);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        options.open(path).map(Self::from_file)
    }

    /// Opens a file, keeping its contents, or creates it.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    ///
    /// # Examples
    /// ```
    /// use writeback::FileStore;
    ///
    /// # let path = std::env::temp_dir().join(format!("writeback-doc-oc-{}", std::process::id()));
    /// assert_eq!(FileStore::open_or_create(&path)?.file().metadata()?.len(), 0);
    /// std::fs::write(&path, b"abc")?;
    /// assert_eq!(FileStore::open_or_create(&path)?.file().metadata()?.len(), 3);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn open_or_create(path: impl AsRef<Path>) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.open(path).map(Self::from_file)
    }

    /// Uses a file that is open for reading and writing, and not for appending.
    ///
    /// # Examples
    /// ```
    /// use std::fs::OpenOptions;
    /// use writeback::FileStore;
    ///
    /// # let path = std::env::temp_dir().join(format!("writeback-doc-ff-{}", std::process::id()));
    /// let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    /// let store = FileStore::from_file(file);
    /// # drop(store);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn from_file(file: File) -> Self {
        Self { file, begin_early: false }
    }

    /// Sets whether the device is told to begin with a long run (256 KiB and more) as soon as the kernel
    /// has it. Off by default; on Linux only.
    ///
    /// The device then works while the next run is being gathered, and a flush has little left to wait
    /// for: good for syncs of much that lies side by side. The price: the kernel drops its own copy of
    /// these pages when they are written, so what is evicted from this cache is read from the device, and a
    /// later write of few of these pages takes the kernel longer.
    ///
    /// # Examples
    /// ```
    /// use writeback::FileStore;
    ///
    /// # let path = std::env::temp_dir().join(format!("writeback-doc-be-{}", std::process::id()));
    /// let store = FileStore::create(&path)?.begin_early(true);
    /// # drop(store);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn begin_early(mut self, yes: bool) -> Self {
        self.begin_early = yes;
        self
    }

    /// The file.
    ///
    /// # Examples
    /// ```
    /// use writeback::FileStore;
    ///
    /// # let path = std::env::temp_dir().join(format!("writeback-doc-file-{}", std::process::id()));
    /// assert_eq!(FileStore::create(&path)?.file().metadata()?.len(), 0);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Writes all of the batch. `Err`: how many bytes were accepted before the error.
    fn write(&self, batch: &WriteBatch) -> Result<(), (u64, StoreError)> {
        write_all(batch.images(), batch.offset(), |slices, at| {
            rustix::io::pwritev(&self.file, slices, at)
        })?;
        self.begin(batch);
        Ok(())
    }

    /// Tells the kernel to begin writing to the device; a hint.
    ///
    /// The advice says that the kernel's own copy is not needed any more, which is so: the cache has
    /// one. Linux then starts to write what is dirty, and drops what is clean.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn begin(&self, batch: &WriteBatch) {
        use rustix::fs::{Advice, fadvise};

        if self.begin_early && batch.len() >= BEGIN_BYTES {
            let len = std::num::NonZeroU64::new(batch.len());
            // Whatever it says, the flush does what is left, and finds what has failed.
            let _ = fadvise(&self.file, batch.offset(), len, Advice::DontNeed);
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn begin(&self, _: &WriteBatch) {
        let _ = self.begin_early;
    }
}

impl Store for FileStore {
    fn limits(&self) -> Limits {
        Limits { batch_pages_max: SLICES, ..Limits::default() }
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        Ok(self.file.set_len(len)?)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, StoreError> {
        let mut done = 0;
        while done < into.len() {
            match self.file.read_at(&mut into[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(done)
    }

    fn submit(&self, batch: WriteBatch, completion: Completion) {
        let (len, written) = (batch.len(), self.write(&batch));
        // First: the pages then have their bytes to themselves again.
        drop(batch);
        match written {
            Ok(()) => completion.complete(Ok(len)),
            Err((accepted, error)) => completion.fail_after(accepted, error),
        }
    }

    fn flush(&self, kind: FlushKind) -> Result<(), StoreError> {
        match kind {
            FlushKind::Data => self.file.sync_data()?,
            FlushKind::All => self.file.sync_all()?,
        }
        Ok(())
    }
}
