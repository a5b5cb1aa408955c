//! What can go wrong: [`StoreError`] below the cache, [`Error`] above it.

use std::io;
use std::sync::Arc;

use crate::errno::Errno;

/// The result of an operation on the cache.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a [`Store`](crate::store::Store) reports.
///
/// Cheap to clone, because one failed write may have to be told to many handles.
///
/// # Examples
/// ```
/// use std::io;
/// use writeback::StoreError;
///
/// assert!(StoreError::from(io::Error::from(io::ErrorKind::StorageFull)).is_no_space());
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store has no room for the write. For stores that are no file: what the operating system says is kept
    /// as [`Io`](Self::Io), and [`is_no_space`](Self::is_no_space) knows both.
    #[error("no space left on the store")]
    NoSpace,
    /// The store cannot do that: the operation is one that stores need not have. What the operating system says is
    /// kept as [`Io`](Self::Io), and [`is_unsupported`](Self::is_unsupported) knows both.
    #[error("the store does not support it")]
    Unsupported,
    /// What the device or the operating system said.
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
    /// A read, a write or a flush was begun and nobody ever said how it ended.
    #[error("it was lost: its completion was dropped")]
    Lost,
    /// Another writer has opened what the store is on, and this one is shut out for good (`ESTALE`): what it had not
    /// flushed is nowhere. For stores that several machines can reach. Open it again to go on from what the other one has
    /// flushed, which shuts that one out.
    #[error("another writer has opened this store")]
    Fenced,
}

impl StoreError {
    /// Tells whether a change of the length that ended so has changed nothing, for certain: it was refused, not
    /// begun.
    pub(crate) fn is_refusal(&self) -> bool {
        use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};

        let refused = |kind| {
            matches!(kind, InvalidInput | PermissionDenied | ReadOnlyFilesystem | Unsupported)
        };
        self.is_no_space()
            || self.is_unsupported()
            || matches!(self, StoreError::Io(error) if refused(error.kind()))
    }

    /// Tells whether the store was full, or its owner's share of it, or the file as long as it may be (`ENOSPC`,
    /// `EDQUOT`, `EFBIG`). Truncating, or freeing space elsewhere, may help.
    pub fn is_no_space(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self.kind(), Some(StorageFull | QuotaExceeded | FileTooLarge))
    }

    /// Tells whether the store, or what it is on, cannot do what it was asked for (`EOPNOTSUPP`, `ENOSYS`).
    pub fn is_unsupported(&self) -> bool {
        self.kind() == Some(io::ErrorKind::Unsupported)
    }

    /// The operating system's number of the error, if there is one.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            StoreError::NoSpace => Some(Errno::NOSPC.raw_os_error()),
            StoreError::Unsupported => Some(Errno::OPNOTSUPP.raw_os_error()),
            StoreError::Fenced => Some(Errno::STALE.raw_os_error()),
            _ => self.io().and_then(io::Error::raw_os_error),
        }
    }

    fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            StoreError::NoSpace => Some(io::ErrorKind::StorageFull),
            StoreError::Unsupported => Some(io::ErrorKind::Unsupported),
            StoreError::Fenced => Some(io::ErrorKind::StaleNetworkFileHandle),
            _ => self.io().map(io::Error::kind),
        }
    }

    fn io(&self) -> Option<&io::Error> {
        match self {
            StoreError::Io(error) | StoreError::Log(error) | StoreError::Seal(error) => Some(error),
            StoreError::NoSpace
            | StoreError::Unsupported
            | StoreError::ShortWrite { .. }
            | StoreError::Lost
            | StoreError::Fenced => None,
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        StoreError::Io(Arc::new(error))
    }
}

/// What an operation on the cache reports.
///
/// # Examples
/// ```
/// use writeback::{Error, Mapping, MemStore};
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
    /// A page could not be read; it is as it was, and the next access tries again.
    #[error("reading page {index} failed: {source}")]
    Read {
        /// The page's index.
        index: u64,
        /// What the store said.
        source: StoreError,
    },
    /// What the store has is not what was sealed there (see [`Seal`](crate::hooks::Seal)). The next access tries
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
    /// The store could not allocate, punch or zero, or tell where it has data. What that leaves is said at the
    /// [`Handle`](crate::Handle)'s methods.
    #[error("the store's space could not be changed or looked at: {source}")]
    Space {
        /// What the store said.
        source: StoreError,
    },
    /// An earlier flush failed. Reads are still served, of evicted pages perhaps with what they had before; open the store again to go on.
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
    /// The offset and length do not fit into what the store can hold (`EFBIG`), or the page lies
    /// beyond the end. Nothing was changed.
    #[error("{len} bytes at offset {offset} are out of range")]
    OutOfRange {
        /// First byte asked for.
        offset: u64,
        /// Number of bytes asked for.
        len: u64,
    },
    /// The cache has as many dirty pages as it may, and for some time none of them could be written: their
    /// writes have failed, or others hold them. The page that there was no room for is as it was; what is dirty
    /// stays so.
    #[error("the cache is full of pages that cannot be written{}", reason(.source))]
    Stalled {
        /// Why the last of them that failed did; `None` if none has.
        source: Option<StoreError>,
    },
    /// The call would have had to wait, and was not to, or must not: for room for a dirty page, for who has a page's bytes, or,
    /// in a thread that has a [guard](crate#while-a-guard-is-held), for a cut that may be waiting for that guard. Nothing was changed.
    #[error("the call would have had to wait")]
    WouldBlock,
    /// A write of several pages failed after some of them had been written: those from the front, which are
    /// dirty like any other and can be read. What comes after them is as it was.
    ///
    /// Whatever this type says of errors it says of `source`, if it is that. A write that fails at once is told
    /// by that error itself.
    #[error("{source}, after {written} bytes had been written")]
    Partial {
        /// How many bytes from the front of the buffer were written; at least one.
        written: u64,
        /// What went wrong then.
        source: Box<Error>,
    },
    /// A write touches bytes that the mapping's [`Seal`](crate::hooks::Seal) keeps for itself. Nothing was written.
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
    /// Tells whether the store was full (see [`StoreError::is_no_space`]). Truncating or freeing space elsewhere
    /// may help; the pages are kept and written again.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Error, StoreError};
    ///
    /// assert!(Error::Write { source: StoreError::NoSpace }.is_no_space());
    /// assert!(!Error::Closed.is_no_space());
    /// ```
    pub fn is_no_space(&self) -> bool {
        self.source_error().is_some_and(StoreError::is_no_space)
    }

    /// The operating system's number of the error that this comes from, if there is one; `EFBIG` for
    /// [`OutOfRange`](Self::OutOfRange). That of an [`io::Error`] made of this is the same.
    ///
    /// # Examples
    /// ```
    /// use std::io;
    /// use writeback::Error;
    ///
    /// let quota_exceeded = io::Error::from_raw_os_error(122);
    /// let error = Error::Write { source: quota_exceeded.into() };
    /// assert_eq!(error.raw_os_error(), Some(122));
    /// assert_eq!(io::Error::from(error).raw_os_error(), Some(122));
    /// ```
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Error::Partial { source, .. } => source.raw_os_error(),
            Error::OutOfRange { .. } => Some(Errno::FBIG.raw_os_error()),
            Error::Corrupt { source, .. } | Error::Thread(source) => source.raw_os_error(),
            _ => self.source_error().and_then(StoreError::raw_os_error),
        }
    }

    /// What a call comes to that had written so many bytes when this went wrong.
    pub(crate) fn after(self, written: usize) -> Self {
        match written {
            0 => self,
            written => Error::Partial { written: written as u64, source: Box::new(self) },
        }
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
        match self {
            Error::Partial { source, .. } => source.is_poisoned(),
            other => matches!(other, Error::Poisoned { .. } | Error::Flush { .. }),
        }
    }

    pub(crate) fn source_error(&self) -> Option<&StoreError> {
        match self {
            Error::Read { source, .. }
            | Error::Write { source }
            | Error::Flush { source }
            | Error::Length { source }
            | Error::Space { source }
            | Error::Poisoned { source } => Some(source),
            Error::Stalled { source } => source.as_ref(),
            Error::Partial { source, .. } => source.source_error(),
            _ => None,
        }
    }
}

/// For the end of a message.
fn reason(source: &Option<StoreError>) -> String {
    source.as_ref().map(|source| format!(": {source}")).unwrap_or_default()
}

impl Error {
    fn kind(&self) -> io::ErrorKind {
        match (self, self.source_error()) {
            (Error::Partial { source, .. }, _) => source.kind(),
            (Error::WouldBlock, _) => io::ErrorKind::WouldBlock,
            (Error::Stalled { source: None }, _) => io::ErrorKind::TimedOut,
            (Error::Reserved { .. } | Error::Config { .. }, _) => io::ErrorKind::InvalidInput,
            (Error::Corrupt { .. }, _) => io::ErrorKind::InvalidData,
            (_, source) => source.and_then(StoreError::kind).unwrap_or(io::ErrorKind::Other),
        }
    }
}

impl From<Error> for io::Error {
    /// The operating system's own error, if there is one to be told: it has its number, and no room for
    /// anything else. Otherwise one of the kind that fits, from which this one can be
    /// [taken out](io::Error::into_inner).
    fn from(error: Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::new(error.kind(), error),
        }
    }
}
