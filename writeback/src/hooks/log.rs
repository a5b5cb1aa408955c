//! Write-ahead order: what an engine tells the cache of its log, and the cache the engine.

use std::fmt::{self, Debug};
use std::io;
use std::sync::Arc;

use super::Order;
use crate::pages::positions::Positions;
use crate::primitives::Mutex;

/// An engine's write-ahead log, as far as the cache has to know it.
///
/// The engine describes every change in its log and tells the cache the record's *position*
/// ([`PageRef::write_logged`](crate::page::PageRef::write_logged)). A page image is handed to the store only when the log is durable up to
/// the newest position in it, so that after a crash there is no change in the store that the log does not
/// have. The other way round, [`Mapping::oldest_unwritten`](crate::Mapping::oldest_unwritten) tells from where on the log is still needed.
///
/// Positions are numbers that name records and grow from record to record, beginning with 1: serial
/// numbers, or the byte offsets, plus 1, where records *begin*. 0 is before every record; `u64::MAX` is
/// none.
///
/// # Who waits for the log
/// Mode [`Wait`](crate::SyncMode::Wait), and with it every sync, calls [`ensure`](Self::ensure) once for each
/// batch, with the greatest position in it. Mode [`Skip`](crate::SyncMode::Skip) goes by what would make it
/// wait: it leaves such a page dirty, counts it in [`Progress::unlogged`](crate::stats::Progress::unlogged) and calls
/// [`request`](Self::request) once, at its end; only if a page is changed between this look and the taking
/// of its image it calls `ensure`. A [`Flusher`](crate::Flusher), which is in nobody's way, calls `ensure`
/// for what its passes left, and comes again.
///
/// # Errors
/// A log that cannot be made durable fails the batch as a store would: its pages stay dirty, every handle is
/// told of [`StoreError::Log`](crate::StoreError::Log), and background writeback backs off. A panic counts
/// as an error.
///
/// # Concurrency
/// Called from any number of threads at once, perhaps with the lock of a page that is about to be written. None of the methods may call
/// the mapping, or wait for it to write, flush or truncate anything.
///
/// # Examples
/// ```
/// use std::io;
/// use std::sync::Arc;
/// use parking_lot::Mutex;
/// use writeback::{Config, Mapping, MemStore};
/// use writeback::hooks::Log;
///
/// /// Records in memory, and how many of them are durable.
/// #[derive(Debug, Default)]
/// struct Journal(Mutex<(Vec<String>, u64)>);
///
/// impl Journal {
///     fn append(&self, record: &str) -> u64 {
///         let records = &mut self.0.lock().0;
///         records.push(record.to_owned());
///         records.len() as u64
///     }
/// }
///
/// impl Log for Journal {
///     fn durable(&self) -> u64 { self.0.lock().1 }
///     fn ensure(&self, _upto: u64) -> io::Result<()> {
///         let mut journal = self.0.lock();
///         journal.1 = journal.0.len() as u64; // a real one syncs its file here
///         Ok(())
///     }
/// }
///
/// let journal = Arc::new(Journal::default());
/// let config = Config::new().log(journal.clone());
/// let mapping = Mapping::with_config(Arc::new(MemStore::with_contents([0; 4096])), config)?;
/// mapping.page(0)?.write_logged(0..5, |change| {
///     let position = journal.append("hello at 0"); // first the record,
///     change.at(position).copy_from_slice(b"hello"); // then the bytes
/// })?;
/// assert_eq!((journal.durable(), mapping.oldest_unwritten()), (0, Some(1)));
/// mapping.handle().sync_data()?;
/// assert_eq!((journal.durable(), mapping.oldest_unwritten()), (1, None));
/// # Ok::<(), writeback::Error>(())
/// ```
pub trait Log: Send + Sync + Debug + 'static {
    /// A position up to which the log is durable, that record included; 0 if none is. May be lower than
    /// the truth, and never goes back. Asked often: should cost no more than a load.
    fn durable(&self) -> u64;

    /// Makes the log durable up to `upto`, that record included; waits as long as it takes.
    ///
    /// # Errors
    /// If it is not certain that it is.
    fn ensure(&self, upto: u64) -> io::Result<()>;

    /// Asks for [`ensure`](Self::ensure) without waiting for it. Does nothing unless implemented.
    fn request(&self, upto: u64) {
        let _ = upto;
    }
}

/// A change of a page that has to be logged first: the bytes are there for who names a position.
///
/// # Examples
/// See [`PageRef::write_logged`](crate::page::PageRef::write_logged).
pub struct LoggedChange<'c> {
    reserved: Reserved<'c>,
    bytes: &'c mut [u8],
}

/// A change of a page that may be logged: holds the bound until the page does.
///
/// Made, used and dropped under the page's content latch, exclusively.
pub(crate) struct Reserved<'c> {
    order: &'c Order,
    page: &'c Mutex<Positions>,
    floor: Option<u64>,
}

impl<'c> Reserved<'c> {
    /// The record will be beyond `floor`.
    pub(crate) fn new(order: &'c Order, page: &'c Mutex<Positions>, floor: u64) -> Self {
        let floor = order.reserve(page, floor).then_some(floor);
        Self { order, page, floor }
    }

    /// The record is at `position`.
    pub(crate) fn note(&mut self, position: u64) {
        self.order.note(self.page, position);
        self.release();
    }

    fn release(&mut self) {
        if let Some(floor) = self.floor.take() {
            self.order.release(floor);
        }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

impl<'c> LoggedChange<'c> {
    pub(crate) fn new(
        order: &'c Order,
        page: &'c Mutex<Positions>,
        bytes: &'c mut [u8],
        floor: u64,
    ) -> Self {
        Self { reserved: Reserved::new(order, page, floor), bytes }
    }

    /// The bytes as they are.
    ///
    /// # Examples
    /// See [`PageRef::write_logged`](crate::page::PageRef::write_logged).
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// The bytes, to be changed as the record at `position` says. Can be called for several records.
    ///
    /// # Panics
    /// If `position` is `u64::MAX`.
    ///
    /// # Examples
    /// See [`PageRef::write_logged`](crate::page::PageRef::write_logged).
    pub fn at(&mut self, position: u64) -> &mut [u8] {
        assert!(position < u64::MAX, "u64::MAX is not a log position");
        self.reserved.note(position);
        self.bytes
    }
}

impl Debug for LoggedChange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoggedChange({} bytes)", self.bytes.len())
    }
}

/// Keeps [`Mapping::oldest_unwritten`](crate::Mapping::oldest_unwritten) from going beyond what was durable in the log when it was made.
///
/// For changes that are logged first and made later, in several pages or outside
/// [`PageRef::write_logged`](crate::page::PageRef::write_logged): take it before the record is appended, and drop it when all pages have been
/// changed.
///
/// # Examples
/// See [`Mapping::hold_log`](crate::Mapping::hold_log).
#[derive(Debug)]
#[must_use = "dropping it lets the log be truncated"]
pub struct LogHold {
    order: Arc<Order>,
    position: u64,
}

impl LogHold {
    /// Holds the bound where the log is durable now.
    pub(crate) fn new(order: &Arc<Order>) -> Self {
        let position = order.durable();
        order.hold(position);
        Self { order: Arc::clone(order), position }
    }
}

impl Drop for LogHold {
    fn drop(&mut self) {
        self.order.release(self.position);
    }
}
