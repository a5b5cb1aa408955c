//! Where pages come from and go to.
//!
//! A [`Store`] knows offsets and bytes; it does not know what a page's state is. The cache asks it to read, to write and to
//! flush. Each of these is begun by a call and ended by a *completion*, which may come before the call returns or
//! later, on any thread, and in any order among those that are under way.
//!
//! | asked for | handed over | ended by |
//! |---|---|---|
//! | [`read`](Store::read) | a [`ReadRun`]: the buffers of pages that lie side by side | the run itself, which takes its buffers back |
//! | [`write`](Store::write) | a [`WriteBatch`]: images that lie side by side | a [`Completion`] |
//! | [`flush`](Store::flush) | a [`FlushKind`] | a [`FlushCompletion`] |
//!
//! # The protocol
//!
//! * *Once.* To end something consumes what it is ended by, so nothing ends twice, and what has ended has no buffer
//!   left that a store could write to.
//! * *Always.* Whoever drops what it should have ended ends it as [`StoreError::Lost`]: no page stays under writeback, no reader and
//!   no sync waits because a store forgot something. A lost read is told to the reader, and the next one asks again. A lost
//!   write leaves its pages dirty. A lost flush is a flush that failed: the mapping is poisoned. Only what a store
//!   keeps and never ends is waited for, by those who need it.
//! * *With nothing in hand.* An end that comes late finds its page as it was. A read has the page lock from before it begins until the bytes are in the page:
//!   so a page that is being read is neither cut away, nor evicted, nor written by the cache,
//!   and whoever else wants it waits for that lock, and then finds it read, or asks the store again if the read failed.
//! * *What covers what.* A flush covers the writes whose completion came before the flush was *begun*, and every change of the
//!   length and of allocation that returned before. When it ends does not matter.
//! * *Ending is easy.* To end a flush takes two locks in turn, under which nobody waits; to end a read puts its bytes into pages that nobody else can be in; to end a write takes no page lock and no
//!   latch. So a store may end everything on one thread of its own, and that thread may be slow, but it is never stuck in the cache.
//! * *With no lock of its own.* Who ends something has none of the store's locks: tasks that wait for the end are woken in that call, and the last reference to the mapping, and
//!   to the store, may go with it.
//!
//! A store that blocks does its work in the call, and ends what it was asked for by one line: [`ReadRun::fill`],
//! [`Completion::complete`] and [`FlushCompletion::complete_with`]. [`Threads`] has such a store called by threads of its own.

mod batch;
mod copies;
mod direct;
mod ends;
#[cfg(feature = "fault")]
pub mod fault;
mod file;
mod kept;
mod memory;
mod null;
mod open;
mod ready;
mod run;
mod space;
mod sparse;
mod system;
mod threads;
mod vectored;
pub(crate) mod wait;

use std::fmt::Debug;

pub(crate) use batch::EndOfWrite;
pub use batch::{Completion, WriteBatch};
pub use direct::DirectStore;
pub(crate) use ends::{BeingTold, Ends};
pub use file::FileStore;
pub use memory::MemStore;
pub(crate) use null::NullStore;
pub use open::FileOptions;
pub use run::{FlushCompletion, ReadRun};
pub use threads::Threads;

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
    /// Most pages in one [`WriteBatch`]. At least 1. Of large pages there are fewer: 64 MiB at the most, or one.
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
/// cache from within one, except to end what it was asked for. The cache never has two writes of one page
/// under way, nor a read and a write, nor two reads, and sets the length one call at a
/// time, cutting it only when no write beyond is under way. (To make up for a cut that failed it may cut
/// earlier; then it cuts again when none is. And if the store has an [alignment](Limits::alignment), a sync
/// sets the length whatever is under way: a write may be padded beyond it, or of a page that is being cut away. Then it is set
/// again when these have ended.)
///
/// # What a store need not have
/// [`allocate`](Self::allocate), [`punch`](Self::punch), [`zero`](Self::zero), [`next_data`](Self::next_data) and [`next_hole`](Self::next_hole)
/// say [`StoreError::Unsupported`] unless they are written; [`Handle`](crate::Handle) has them for programs. A store over a store has to
/// pass them on.
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
/// use writeback::store::{Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch};
///
/// #[derive(Debug, Default)]
/// struct Counting { inner: MemStore, bytes: AtomicU64 }
///
/// impl Store for Counting {
///     fn limits(&self) -> Limits { self.inner.limits() }
///     fn len(&self) -> Result<u64, StoreError> { self.inner.len() }
///     fn set_len(&self, len: u64) -> Result<(), StoreError> { self.inner.set_len(len) }
///     fn read(&self, run: ReadRun) { self.inner.read(run) }
///     fn write(&self, batch: WriteBatch, completion: Completion) {
///         self.bytes.fetch_add(batch.len(), Ordering::Relaxed);
///         self.inner.write(batch, completion);
///     }
///     fn flush(&self, kind: FlushKind, completion: FlushCompletion) { self.inner.flush(kind, completion) }
/// }
///
/// let store = Arc::new(Counting::default());
/// let handle = Mapping::with_config(store.clone(), Config::new())?.handle();
/// handle.write_at(&[7; 10_000], 0)?;
/// handle.sync_data()?;
/// assert_eq!(store.bytes.load(Ordering::Relaxed), 10_000);
/// # Ok::<(), writeback::Error>(())
/// ```
/// A store that blocks, here one that has its bytes behind a lock:
/// ```
/// use std::sync::Mutex;
/// use writeback::StoreError;
/// use writeback::store::{Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch};
///
/// #[derive(Debug, Default)]
/// struct Bytes(Mutex<Vec<u8>>);
///
/// impl Bytes {
///     fn get(&self, offset: u64, into: &mut [u8]) -> Result<usize, StoreError> {
///         let bytes = self.0.lock().unwrap();
///         let rest = bytes.get(offset as usize..).unwrap_or(&[]);
///         let count = rest.len().min(into.len());
///         into[..count].copy_from_slice(&rest[..count]);
///         Ok(count)
///     }
///     fn put(&self, batch: &WriteBatch) -> Result<u64, StoreError> {
///         let (mut bytes, start) = (self.0.lock().unwrap(), batch.offset() as usize);
///         let new: Vec<u8> = batch.images().iter().flat_map(|image| image.as_ref()).copied().collect();
///         let end = bytes.len().max(start + new.len());
///         bytes.resize(end, 0);
///         bytes[start..start + new.len()].copy_from_slice(&new);
///         Ok(batch.len())
///     }
/// }
///
/// impl Store for Bytes {
///     fn limits(&self) -> Limits { Limits::default() }
///     fn len(&self) -> Result<u64, StoreError> { Ok(self.0.lock().unwrap().len() as u64) }
///     fn set_len(&self, len: u64) -> Result<(), StoreError> { Ok(self.0.lock().unwrap().resize(len as usize, 0)) }
///     fn read(&self, run: ReadRun) { run.fill(|offset, into| self.get(offset, into)) }
///     fn write(&self, batch: WriteBatch, completion: Completion) { completion.complete(self.put(&batch)) }
///     fn flush(&self, _: FlushKind, completion: FlushCompletion) { completion.complete(Ok(())) }
/// }
///
/// let handle = writeback::Mapping::open(Bytes::default())?.handle();
/// handle.write_at(b"hello", 3)?;
/// handle.sync_data()?;
/// assert_eq!(handle.mapping().store().len()?, 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
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

    /// Its length in bytes: as writes that have ended, [`set_len`](Self::set_len) and others have made it. Asked when the mapping is opened, and by
    /// [`refresh_len`](crate::Mapping::refresh_len).
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

    /// Begins to read `run`: into all of its buffers, or fewer bytes, or none, only where the store ends.
    ///
    /// Returns at once or when it is done, as it likes; `run` is [ended](ReadRun::complete) before or after, on any thread.
    /// A store that blocks hands it a function: [`run.fill(..)`](ReadRun::fill).
    fn read(&self, run: ReadRun);

    /// Reads `run` if that takes no waiting, as of bytes that are in memory, and ends it before it returns. Otherwise gives it back,
    /// to be [read](Self::read); its buffers may have been written to.
    ///
    /// [`Threads`] can ask for it before a thread is called. A store over a store may pass it on.
    ///
    /// # Errors
    /// The run, if it is not all there at once, or if that cannot be said: always, unless the store has it.
    ///
    /// # Examples
    /// ```
    /// use writeback::MemStore;
    /// use writeback::store::{ReadRun, Store};
    ///
    /// let store = MemStore::with_contents([7; 512]);
    /// let run = ReadRun::new(0, 512, 1, |bytes, _| assert_eq!(bytes, [7; 512]));
    /// // This store cannot say, so it is to be read as ever.
    /// if let Err(run) = store.try_read(run) {
    ///     store.read(run);
    /// }
    /// ```
    fn try_read(&self, run: ReadRun) -> Result<(), ReadRun> {
        Err(run)
    }

    /// Begins to write `batch`, lengthening the store if it ends earlier.
    ///
    /// Returns at once or when it is done, as it likes; `completion` may be used before or after, on any thread.
    /// Accepted bytes must be seen by every `read` begun after the completion.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use parking_lot::Mutex;
    /// use writeback::{Config, Mapping, StoreError};
    /// use writeback::store::{Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch};
    ///
    /// /// Keeps what it is given until it is told to write it.
    /// #[derive(Debug, Default)]
    /// struct Lazy(Mutex<Vec<(WriteBatch, Completion)>>);
    ///
    /// impl Store for Lazy {
    ///     fn limits(&self) -> Limits { Limits::default() }
    ///     fn len(&self) -> Result<u64, StoreError> { Ok(0) }
    ///     fn set_len(&self, _: u64) -> Result<(), StoreError> { Ok(()) }
    ///     fn read(&self, run: ReadRun) { run.complete(Ok(0)) }
    ///     fn write(&self, batch: WriteBatch, completion: Completion) {
    ///         self.0.lock().push((batch, completion));
    ///     }
    ///     fn flush(&self, _: FlushKind, completion: FlushCompletion) { completion.complete(Ok(())) }
    /// }
    ///
    /// let store = Arc::new(Lazy::default());
    /// let mapping = Mapping::with_config(store.clone(), Config::new())?;
    /// mapping.handle().write_at(&[1; 8192], 0)?;
    /// mapping.write_page(0, writeback::SyncMode::Skip)?;
    /// mapping.write_page(1, writeback::SyncMode::Skip)?;
    /// assert_eq!(mapping.stats().writeback, 2);
    /// let kept = std::mem::take(&mut *store.0.lock());
    /// for (batch, completion) in kept {
    ///     completion.complete(Ok(batch.len()));
    /// }
    /// assert_eq!(mapping.stats().written, 2);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    fn write(&self, batch: WriteBatch, completion: Completion);

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

    /// Begins to make durable every write completed before the call, and every `set_len` returned from.
    ///
    /// Returns at once or when it is done, as it likes; `completion` may be used before or after, on any thread.
    /// It is told `Ok` only if that is certain. The cache never asks again to cover the same writes: it poisons
    /// the mapping, because after a failed flush a device may have dropped what it held.
    fn flush(&self, kind: FlushKind, completion: FlushCompletion);

    /// Takes room for these bytes, so that a later write of them does not fail because the store is full. Changes neither
    /// bytes nor the length, also where the bytes lie beyond it. Durable with the next flush.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`], unless the store has it; whatever keeps it from that. Some of the room may be taken then.
    fn allocate(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        let _ = (offset, len);
        Err(StoreError::Unsupported)
    }

    /// Makes these bytes zeros, and gives the room that they take back. The length stays, also if they reach beyond it.
    /// Durable with the next flush.
    ///
    /// The cache asks for whole pages, of which it reads none meanwhile. A write of some of them may be under way; then it asks again when that has
    /// ended. Afterwards it reads the pages from the store.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate). Each byte then is as it was, or zero.
    fn punch(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        let _ = (offset, len);
        Err(StoreError::Unsupported)
    }

    /// Makes these bytes zeros, as [`punch`](Self::punch) does, but keeps or takes the room for them.
    ///
    /// # Errors
    /// As [`punch`](Self::punch).
    fn zero(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        let _ = (offset, len);
        Err(StoreError::Unsupported)
    }

    /// Where the first byte is, at `offset` or after it, that may be other than zero. `None`: up to the end there is none.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    fn next_data(&self, offset: u64) -> Result<Option<u64>, StoreError> {
        let _ = offset;
        Err(StoreError::Unsupported)
    }

    /// Where the first byte is, at `offset` or after it, that the store has no room for, and that is zero. The end of the store is such a
    /// place; `None` only if `offset` lies behind it.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    fn next_hole(&self, offset: u64) -> Result<Option<u64>, StoreError> {
        let _ = offset;
        Err(StoreError::Unsupported)
    }

    /// Reads into all of `into` and waits until that has ended; returns how many bytes, which are fewer only where the
    /// store ends. For tests and for stores over stores; there is no reason to write it anew.
    ///
    /// # Errors
    /// What the read ended with, even if some bytes came before it.
    ///
    /// # Panics
    /// If `into` has more than 16 MiB.
    ///
    /// # Examples
    /// ```
    /// # use writeback::MemStore;
    /// # use writeback::store::{FlushKind, Store};
    /// let store = MemStore::new();
    /// store.write_at(1, b"abc")?;
    /// store.sync(FlushKind::Data)?;
    /// let mut bytes = [0; 10];
    /// assert_eq!(store.read_at(0, &mut bytes)?, 4);
    /// assert_eq!(&bytes[..4], b"\0abc");
    /// assert_eq!(store.durable(), b"\0abc");
    /// # Ok::<(), writeback::StoreError>(())
    /// ```
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, StoreError> {
        wait::read_bytes(self, offset, into)
    }

    /// Writes all of `bytes` and waits until that has ended, as [`read_at`](Self::read_at) does.
    ///
    /// # Errors
    /// What the write ended with, even if some bytes were accepted before it.
    ///
    /// # Panics
    /// If there are more than 16 MiB.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        wait::write(self, WriteBatch::new(0, offset, vec![bytes.into()]))
    }

    /// Flushes and waits until that has ended, as [`read_at`](Self::read_at) does.
    ///
    /// # Errors
    /// What the flush ended with.
    fn sync(&self, kind: FlushKind) -> Result<(), StoreError> {
        wait::flush(self, kind)
    }
}
