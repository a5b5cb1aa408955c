//! What can go wrong: [`StoreError`] below the cache, [`Error`] above it.

use std::io;
use std::sync::Arc;

use crate::Mapping;

/// The result of an operation on the cache.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a [`Store`](crate::Store) reports.
///
/// Cheap to clone, because one failed write may have to be told to many handles.
///
/// # Examples
/// ```
/// use std::io;
/// use writeback::StoreError;
///
/// assert!(matches!(StoreError::from(io::Error::from(io::ErrorKind::StorageFull)), StoreError::NoSpace));
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store has no room for the write (`ENOSPC`, `EDQUOT`, `EFBIG`).
    #[error("no space left on the store")]
    NoSpace,
    /// Any other failure of the device or the operating system.
    #[error("{0}")]
    Io(Arc<io::Error>),
    /// The store accepted fewer bytes than it was given.
    #[error("short write: {accepted} of {expected} bytes")]
    ShortWrite {
        /// How many bytes were handed over.
        expected: u64,
        /// How many of them, from the front, were accepted.
        accepted: u64,
    },
    /// The log could not be made durable, so a page whose change it has was not written.
    #[error("the log could not be made durable: {0}")]
    Log(Arc<io::Error>),
    /// The page could not be sealed, so it was not written.
    #[error("the page could not be sealed: {0}")]
    Seal(Arc<io::Error>),
    /// A write was begun and nobody ever said how it ended.
    #[error("the write was lost: its completion was dropped")]
    Lost,
}

impl StoreError {
    /// Tells whether a change of the length that ended so has changed nothing, for certain: it was refused, not
    /// begun.
    pub(crate) fn is_refusal(&self) -> bool {
        use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};

        match self {
            StoreError::NoSpace => true,
            StoreError::Io(error) => {
                matches!(
                    error.kind(),
                    InvalidInput | PermissionDenied | ReadOnlyFilesystem | Unsupported
                )
            }
            _ => false,
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => StoreError::NoSpace,
            _ => StoreError::Io(Arc::new(error)),
        }
    }
}

/// What an operation on the cache reports.
///
/// # Examples
/// ```
/// use writeback::{Error, MemStore, Mapping};
///
/// let handle = Mapping::open(MemStore::new())?.handle();
/// let error = handle.write_at(b"x", u64::MAX).unwrap_err();
/// assert!(matches!(error, Error::OutOfRange { .. }));
/// assert!(!error.is_no_space());
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A page could not be read; nothing was changed and the next access tries again.
    #[error("reading page {index} failed: {source}")]
    Read {
        /// The page's index.
        index: u64,
        /// What the store said.
        source: StoreError,
    },
    /// What the store has is not what was sealed there (see [`Seal`](crate::Seal)). The next access tries
    /// again.
    #[error("page {index} is corrupt: {source}")]
    Corrupt {
        /// The page's index.
        index: u64,
        /// What the seal said.
        source: Arc<io::Error>,
    },
    /// A page written since this handle's last report did not reach the store. It is still
    /// in memory, still dirty, and will be written again.
    #[error("writing back failed: {source}")]
    Write {
        /// What the store said.
        source: StoreError,
    },
    /// The store's flush failed: nothing written since the last successful one is known to
    /// be durable. The mapping is poisoned from now on.
    #[error("the store's flush failed: {source}")]
    Flush {
        /// What the store said.
        source: StoreError,
    },
    /// The store's length could not be read or changed.
    #[error("the store's length could not be read or set: {source}")]
    Length {
        /// What the store said.
        source: StoreError,
    },
    /// An earlier flush failed. Reads are still served; open the store again to go on.
    #[error("an earlier flush failed and what it covered may be lost: {source}")]
    Poisoned {
        /// What the failed flush said.
        source: StoreError,
    },
    /// The mapping is closed, or closing, and takes no more changes.
    #[error("the mapping is closed")]
    Closed,
    /// The page was truncated away while the caller held a reference to it.
    #[error("page {index} is no longer part of the mapping")]
    Gone {
        /// The page's index.
        index: u64,
    },
    /// The offset and length do not fit into what the store can address, or the page lies
    /// beyond the end.
    #[error("{len} bytes at offset {offset} are out of range")]
    OutOfRange {
        /// First byte asked for.
        offset: u64,
        /// Number of bytes asked for.
        len: u64,
    },
    /// The cache has as many dirty pages as it may, and for some time none of them could be written: their
    /// writes have failed, or others hold them. Nothing was changed; what is dirty stays so.
    #[error("the cache is full of pages that cannot be written{}", reason(.source))]
    Stalled {
        /// Why the last of them that failed did; `None` if none has.
        source: Option<StoreError>,
    },
    /// The cache has as many dirty pages as it may, and the call was not to wait. Nothing was changed.
    #[error("the cache has as many dirty pages as it may")]
    WouldBlock,
    /// A write touches bytes that the mapping's [`Seal`](crate::Seal) keeps for itself. Nothing was written.
    #[error("{len} bytes at offset {offset} touch what the seal keeps for itself")]
    Reserved {
        /// First byte to be written.
        offset: u64,
        /// Number of bytes to be written.
        len: u64,
    },
    /// The configuration is not usable.
    #[error("configuration: {reason}")]
    Config {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The process was forked after the mapping was opened, and this is the child: writes of the parent's threads that
    /// were under way end in the parent only, and both would write to the same store. Nothing was written.
    #[error("the mapping belongs to the process that this one was forked from")]
    Forked,
    /// The background thread could not be started.
    #[error("starting the flusher's thread failed: {0}")]
    Thread(Arc<io::Error>),
}

impl Error {
    /// Tells whether the store was full. Truncating or freeing space elsewhere may help; the
    /// pages are kept and written again.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Error, StoreError};
    ///
    /// assert!(Error::Write { source: StoreError::NoSpace }.is_no_space());
    /// assert!(!Error::Closed.is_no_space());
    /// ```
    pub fn is_no_space(&self) -> bool {
        matches!(self.source_error(), Some(StoreError::NoSpace))
    }

    /// Tells whether the mapping can no longer promise anything (see [`Error::Poisoned`]).
    ///
    /// # Examples
    /// ```
    /// use writeback::{Error, StoreError};
    ///
    /// assert!(Error::Flush { source: StoreError::Lost }.is_poisoned());
    /// assert!(!Error::Write { source: StoreError::Lost }.is_poisoned());
    /// ```
    pub fn is_poisoned(&self) -> bool {
        matches!(self, Error::Poisoned { .. } | Error::Flush { .. })
    }

    pub(crate) fn source_error(&self) -> Option<&StoreError> {
        match self {
            Error::Read { source, .. }
            | Error::Write { source }
            | Error::Flush { source }
            | Error::Length { source }
            | Error::Poisoned { source } => Some(source),
            Error::Stalled { source } => source.as_ref(),
            _ => None,
        }
    }
}

/// For the end of a message.
fn reason(source: &Option<StoreError>) -> String {
    source.as_ref().map(|source| format!(": {source}")).unwrap_or_default()
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match (&error, error.source_error()) {
            (_, Some(StoreError::NoSpace)) => io::ErrorKind::StorageFull,
            (_, Some(StoreError::Io(source))) => source.kind(),
            (Error::WouldBlock, _) => io::ErrorKind::WouldBlock,
            (Error::Stalled { source: None }, _) => io::ErrorKind::TimedOut,
            (Error::OutOfRange { .. } | Error::Reserved { .. } | Error::Config { .. }, _) => {
                io::ErrorKind::InvalidInput
            }
            (Error::Corrupt { .. }, _) => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// [`Mapping::close`] did not save everything.
///
/// The mapping is handed back, open again and with every unsaved page still in it: free some
/// space and close it again, read the pages out, or drop it and lose them knowingly.
///
/// # Examples
/// ```
/// use writeback::{FileStore, Mapping};
///
/// # let path = std::env::temp_dir().join(format!("writeback-doc-ro-{}", std::process::id()));
/// # std::fs::write(&path, b"old")?;
/// let read_only = FileStore::from_file(std::fs::File::open(&path)?);
/// let mapping = Mapping::open(read_only)?;
/// mapping.handle().write_at(b"new", 0)?;
/// let failed = mapping.close().expect_err("it cannot be written");
/// assert_eq!(failed.unsaved_pages, 1);
/// let mut bytes = [0; 3];
/// failed.mapping.handle().read_at(&mut bytes, 0)?; // still here
/// assert_eq!(&bytes, b"new");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[error("closing failed with {unsaved_pages} pages unsaved: {error}")]
pub struct CloseError {
    /// Why.
    pub error: Error,
    /// How many pages are dirty or not known to be written.
    pub unsaved_pages: u64,
    /// The mapping, for whoever wants to save them.
    pub mapping: Mapping,
}
