//! Where pages come from and go to.
//!
//! A [`Store`] knows offsets and bytes; it does not know what a page's state is. The cache hands it
//! a [`WriteBatch`], which owns its bytes, and a [`Completion`], which owns the pages' fate: whoever
//! has it ends the write, at once or later, on any thread, in any order. A completion that is
//! dropped ends the write as [`StoreError::Lost`]; no page stays under writeback for ever because a
//! store forgot it.

mod batch;
#[cfg(feature = "fault")]
pub mod fault;
mod file;
mod memory;
mod null;
mod open;
mod sparse;
mod vectored;

use std::fmt::Debug;

pub(crate) use batch::EndOfWrite;
pub use batch::{Completion, WriteBatch};
pub use file::FileStore;
pub use memory::MemStore;
pub(crate) use null::NullStore;
pub use open::FileOptions;

use crate::error::StoreError;
pub use crate::modes::FlushKind;

/// What a store can take.
///
/// # Examples
/// ```
/// use writeback::MemStore;
/// use writeback::store::Store;
///
/// assert!(MemStore::new().limits().batch_pages_max > 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Most pages in one [`WriteBatch`]. At least 1.
    pub batch_pages_max: usize,
    /// Where writes and reads have to begin and end, as those of direct I/O: at multiples of so many bytes. A power
    /// of two, of which the page size must be a multiple, and the block size, if there is one. Memory is aligned so too, up to
    /// 4096 bytes. At most 1: anywhere.
    ///
    /// The image of the last page is then padded with zeros. The store becomes longer than the mapping by that,
    /// until the next sync sets its length right, before it flushes: [`Store::set_len`] takes any length. A crash before that may
    /// leave the zeros behind the end, and nothing else.
    pub alignment: usize,
    /// Least length in bytes: nothing shorter is ever [asked for](Store::set_len). 0, unless the store has a
    /// length that cannot be changed, as a device has.
    pub len_min: u64,
    /// Greatest length in bytes. A store that is longer is not opened; a write beyond is refused, as is
    /// [`Handle::set_len`](crate::Handle::set_len).
    pub len_max: u64,
}

impl Default for Limits {
    /// 256 pages, no alignment, offsets up to `i64::MAX`.
    fn default() -> Self {
        Self { batch_pages_max: 256, alignment: 1, len_min: 0, len_max: i64::MAX.unsigned_abs() }
    }
}

/// A backing store: a file, a device, a piece of memory.
///
/// # Concurrency
/// Every method may be called from any number of threads at once, and a store must not call the
/// cache from within one, except to complete a write. The cache never has two writes of one page
/// under way, reads a page only while no write of it is under way, and sets the length one call at a
/// time, cutting it only when no write beyond is under way. (To make up for a cut that failed it may cut
/// earlier; then it cuts again when none is. And if the store has an [alignment](Limits::alignment), a sync
/// sets the length whatever is under way: a write may be padded beyond it, or of a page that is being cut away. Then it is set
/// again when these have ended.)
///
/// # One mapping a store
/// A store is for one mapping at a time, and one cache. Two mappings over one store, or over two stores of the same
/// bytes, do not see each other: each overwrites with its pages what the other has written, and both their
/// syncs say `Ok`. Nothing can notice that but a lock at the store's own level, as [`FileStore`] has.
///
/// A store whose bytes are in another mapping calls the cache from within, against the rule above. It works, in one
/// [`PageCache`](crate::PageCache) and in two, because whoever waits for room in the lower mapping waits for that mapping's
/// store only. A store over its own mapping waits for itself.
///
/// # Examples
/// A store that counts what goes through it:
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use writeback::{Config, Mapping, MemStore, StoreError};
/// use writeback::store::{Completion, FlushKind, Limits, Store, WriteBatch};
///
/// #[derive(Debug, Default)]
/// struct Counting { inner: MemStore, bytes: AtomicU64 }
///
/// impl Store for Counting {
///     fn limits(&self) -> Limits { self.inner.limits() }
///     fn len(&self) -> Result<u64, StoreError> { self.inner.len() }
///     fn set_len(&self, len: u64) -> Result<(), StoreError> { self.inner.set_len(len) }
///     fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, StoreError> { self.inner.read(offset, into) }
///     fn submit(&self, batch: WriteBatch, completion: Completion) {
///         self.bytes.fetch_add(batch.len(), Ordering::Relaxed);
///         self.inner.submit(batch, completion);
///     }
///     fn flush(&self, kind: FlushKind) -> Result<(), StoreError> { self.inner.flush(kind) }
/// }
///
/// let store = Arc::new(Counting::default());
/// let handle = Mapping::with_config(store.clone(), Config::new())?.handle();
/// handle.write_at(&[7; 10_000], 0)?;
/// handle.sync_data()?;
/// assert_eq!(store.bytes.load(Ordering::Relaxed), 10_000);
/// # Ok::<(), writeback::Error>(())
/// ```
pub trait Store: Send + Sync + Debug + 'static {
    /// What it can take. Asked once, when the mapping is opened.
    ///
    /// # Examples
    /// ```
    /// # use writeback::MemStore;
    /// # use writeback::store::{FlushKind, Store};
    /// let store = MemStore::with_contents(b"abc");
    /// assert!(store.limits().len_max > 1 << 40);
    /// ```
    fn limits(&self) -> Limits;

    /// Its length in bytes. Asked once, when the mapping is opened.
    ///
    /// # Errors
    /// Whatever keeps it from knowing.
    ///
    /// # Examples
    /// ```
    /// # use writeback::MemStore;
    /// # use writeback::store::{FlushKind, Store};
    /// let store = MemStore::with_contents(b"abc");
    /// assert_eq!(store.len()?, 3);
    /// # Ok::<(), writeback::StoreError>(())
    /// ```
    fn len(&self) -> Result<u64, StoreError>;

    /// Tells whether its length is zero.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    ///
    /// # Examples
    /// ```
    /// # use writeback::MemStore;
    /// # use writeback::store::{FlushKind, Store};
    /// let store = MemStore::with_contents(b"abc");
    /// assert!(!store.is_empty()?);
    /// # Ok::<(), writeback::StoreError>(())
    /// ```
    fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.len()? == 0)
    }

    /// Cuts it or lengthens it with zeros. Durable with the next flush.
    ///
    /// # Errors
    /// If the length is unchanged.
    ///
    /// # Examples
    /// ```
    /// # use writeback::MemStore;
    /// # use writeback::store::{FlushKind, Store};
    /// let store = MemStore::with_contents(b"abc");
    /// store.set_len(2)?;
    /// assert_eq!(store.accepted(), b"ab");
    /// # Ok::<(), writeback::StoreError>(())
    /// ```
    fn set_len(&self, len: u64) -> Result<(), StoreError>;

    /// Reads into all of `into`; fewer bytes, or none, only where the store ends.
    ///
    /// # Errors
    /// If the bytes could not be read; what is in `into` then is not used.
    ///
    /// # Examples
    /// ```
    /// # use writeback::MemStore;
    /// # use writeback::store::{FlushKind, Store};
    /// let store = MemStore::with_contents(b"abc");
    /// let mut bytes = [0; 10];
    /// assert_eq!(store.read(1, &mut bytes)?, 2);
    /// # Ok::<(), writeback::StoreError>(())
    /// ```
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, StoreError>;

    /// Begins to write `batch`, lengthening the store if it ends earlier.
    ///
    /// Returns at once or when it is done, as it likes; `completion` may be used before or after.
    /// Accepted bytes must be seen by every `read` begun after the completion.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use parking_lot::Mutex;
    /// use writeback::{Config, Mapping, StoreError};
    /// use writeback::store::{Completion, FlushKind, Limits, Store, WriteBatch};
    ///
    /// /// Keeps what it is given until it is told to write it.
    /// #[derive(Debug, Default)]
    /// struct Lazy(Mutex<Vec<(WriteBatch, Completion)>>);
    ///
    /// impl Store for Lazy {
    ///     fn limits(&self) -> Limits { Limits::default() }
    ///     fn len(&self) -> Result<u64, StoreError> { Ok(0) }
    ///     fn set_len(&self, _: u64) -> Result<(), StoreError> { Ok(()) }
    ///     fn read(&self, _: u64, _: &mut [u8]) -> Result<usize, StoreError> { Ok(0) }
    ///     fn submit(&self, batch: WriteBatch, completion: Completion) {
    ///         self.0.lock().push((batch, completion));
    ///     }
    ///     fn flush(&self, _: FlushKind) -> Result<(), StoreError> { Ok(()) }
    /// }
    ///
    /// let store = Arc::new(Lazy::default());
    /// let mapping = Mapping::with_config(store.clone(), Config::new())?;
    /// mapping.handle().write_at(&[1; 8192], 0)?;
    /// mapping.write_page(0, writeback::SyncMode::Skip)?;
    /// mapping.write_page(1, writeback::SyncMode::Skip)?;
    /// assert_eq!(mapping.stats().writeback, 2);
    /// for (batch, completion) in store.0.lock().drain(..) {
    ///     completion.complete(Ok(batch.len()));
    /// }
    /// assert_eq!(mapping.stats().written, 2);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    fn submit(&self, batch: WriteBatch, completion: Completion);

    /// Tells whether it would rather not be given writes that can wait, because it has many already.
    ///
    /// Asked by reclaim before it writes a dirty page to have its memory; if so, the page stays, and other
    /// memory is looked for. Syncs, flushers and writers at the limit of dirty pages take no notice.
    ///
    /// # Examples
    /// ```
    /// # use writeback::MemStore;
    /// # use writeback::store::Store;
    /// assert!(!MemStore::new().is_congested());
    /// ```
    fn is_congested(&self) -> bool {
        false
    }

    /// Makes every write completed before the call durable, and every `set_len` returned from.
    ///
    /// # Errors
    /// If that is not certain. The cache never asks again to cover the same writes: it poisons
    /// the mapping, because after a failed flush a device may have dropped what it held.
    ///
    /// # Examples
    /// ```
    /// # use writeback::MemStore;
    /// # use writeback::store::{FlushKind, Store};
    /// let store = MemStore::with_contents(b"abc");
    /// store.set_len(1)?;
    /// store.flush(FlushKind::Data)?;
    /// assert_eq!(store.durable(), b"a");
    /// # Ok::<(), writeback::StoreError>(())
    /// ```
    fn flush(&self, kind: FlushKind) -> Result<(), StoreError>;
}
