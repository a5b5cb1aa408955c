//! A handle: the mapping as a file, and one reader of its errors.

mod bytes;
pub(crate) mod stream;
pub(crate) mod tasks;

use std::ops::RangeBounds;

use crate::durable::errors::Cursor;
use crate::error::{Error, Result};
use crate::hooks::trace;
use crate::index::range::{Inclusive, inclusive};
use crate::io::ahead::Sequence;
use crate::modes::{Advice, FlushKind};
use crate::primitives::Mutex;
use crate::rules::core::Mapping;
use crate::wait::now;

/// A file-like view of a [`Mapping`].
///
/// Each handle is told of each write error once, by its next sync or
/// [`check_error`](Self::check_error), whichever thread's I/O met it. All handles of a mapping see
/// the same bytes.
///
/// # Concurrency
/// Any number of threads may use one handle, or several, at once. Reads and writes are atomic within
/// a page, not across pages. Of several syncs that run at once on one handle each reports an
/// error that was recorded since it began.
///
/// # Examples
/// ```
/// use writeback::{Mapping, MemStore};
///
/// let handle = Mapping::open(MemStore::new())?.handle();
/// handle.write_at(b"hello world", 0)?;
/// let mut word = [0; 5];
/// assert_eq!(handle.read_at(&mut word, 6)?, 5);
/// assert_eq!(&word, b"world");
/// handle.sync_data()?;
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug)]
pub struct Handle {
    mapping: Mapping,
    cursor: Mutex<Cursor>,
    pub(crate) sequence: Sequence,
}

/// Another handle of the mapping, which is told of the errors that this one was not told of yet.
impl Clone for Handle {
    fn clone(&self) -> Self {
        let (mapping, cursor) = (self.mapping.clone(), Mutex::new(*self.cursor.lock()));
        Self { mapping, cursor, sequence: self.sequence.advised_alike() }
    }
}

impl Handle {
    pub(crate) fn new(mapping: Mapping) -> Self {
        let cursor = Mutex::new(mapping.core.errors.sample());
        Self { mapping, cursor, sequence: Sequence::new(Advice::Normal) }
    }

    /// The mapping it belongs to.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// let handle = Mapping::open(MemStore::new())?.handle();
    /// handle.write_at(b"abc", 0)?;
    /// assert_eq!(handle.mapping().stats().dirty, 1);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Length in bytes.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// let handle = Mapping::open(MemStore::new())?.handle();
    /// handle.write_at(b"abc", 10)?;
    /// assert_eq!(handle.len(), 13);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn len(&self) -> u64 {
        self.mapping.len()
    }

    /// Tells whether the length is zero.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// let handle = Mapping::open(MemStore::new())?.handle();
    /// assert!(handle.is_empty());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads into `buf` from `offset` on; returns how many bytes, fewer than asked for only at the
    /// end, none beyond it. Where pages are missing that go on from those that this handle missed before, it reads ahead: with one read of the store up to
    /// 1 MiB, or a 64th of the cache ([`advise`](Self::advise)). So each reader of a sequence should have a handle of its own.
    ///
    /// # Concurrency
    /// A cached page costs a look-up and its latch, shared. Otherwise waits for the store, and for a
    /// truncate.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Corrupt`]; what is in `buf` then is of no use.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let handle = Mapping::open(MemStore::with_contents(b"hello"))?.handle();
    /// let mut buf = [0; 8];
    /// assert_eq!(handle.read_at(&mut buf, 3)?, 2);
    /// assert_eq!(handle.read_at(&mut buf, 5)?, 0);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.mapping.read_at(buf, offset, &self.sequence)
    }

    /// Writes all of `buf` at `offset`, lengthening the mapping if it ends earlier. Readers see it
    /// when this returns; nothing else is promised before a sync.
    ///
    /// # Concurrency
    /// Never waits for a write that is under way: the store has an image of its own. A cached page
    /// costs a look-up and its latch; otherwise waits for a page to be read, and for a truncate. In a
    /// [`PageCache`](crate::PageCache) it pauses when there are many dirty pages, and waits for some to be
    /// written when there are as many as there may be.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the bytes do not fit into what the store can hold, [`Error::Reserved`];
    /// [`Error::Read`] or [`Error::Corrupt`] if a page written in part could not be read, [`Error::Closed`],
    /// [`Error::Poisoned`], [`Error::Stalled`] if there is no room for dirty pages and none can be written, or
    /// [`Error::Length`] if the mapping must grow and an earlier cut of the store still fails, or it is still not as long as
    /// [`Mapping::refresh_len`] was to make it.
    ///
    /// Nothing was written, unless the error is [`Error::Partial`]: that tells how many bytes from the front were,
    /// before one of those came. It can only come where `buf` reaches over several pages.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let handle = Mapping::open(MemStore::new())?.handle();
    /// handle.write_at(b"end", 10_000)?;
    /// assert_eq!(handle.len(), 10_003);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.mapping.core.write_at(buf, offset)
    }

    /// As [`write_at`](Self::write_at), but does not wait for room for dirty pages: stops there, and returns
    /// how many bytes it has written.
    ///
    /// # Concurrency
    /// It may still have to read a page, and wait for who reads it or for a truncate.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at), and [`Error::WouldBlock`] if it can write nothing at all. Room that is
    /// missing later on is no error: it returns what it has written.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use writeback::{CacheConfig, Config, Error, Mapping, MemStore, PageCache};
    ///
    /// let cache = PageCache::new(CacheConfig::new(100).dirty_pages_max(2))?;
    /// let mapping = Mapping::with_config(Arc::new(MemStore::new()), Config::new().cache(&cache))?;
    /// let handle = mapping.handle();
    /// assert_eq!(handle.try_write_at(&[1; 3 * 4096], 0)?, 2 * 4096);
    /// assert!(matches!(handle.try_write_at(b"more", 2 * 4096), Err(Error::WouldBlock)));
    /// handle.write_at(b"more", 2 * 4096)?; // has a page written first
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn try_write_at(&self, buf: &[u8], offset: u64) -> Result<usize> {
        self.mapping.core.try_write_at(buf, offset)
    }

    /// As [`write_at`](Self::write_at), for a change that has a record at `position` in the [log](crate::hooks::Log).
    ///
    /// # Concurrency
    /// As [`write_at`](Self::write_at). The log is not to be truncated beyond `position` while the call
    /// lasts; for the time between the appending of the record and the call there is
    /// [`Mapping::hold_log`].
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at); [`Error::Config`] if the mapping has no log or `position` is
    /// `u64::MAX`.
    ///
    /// # Examples
    /// See [`Mapping::hold_log`].
    pub fn write_logged_at(&self, buf: &[u8], offset: u64, position: u64) -> Result<()> {
        self.mapping.core.write_logged(buf, offset, position)
    }

    /// Cuts the mapping, or lengthens it with zeros. Pages beyond the new end are dropped, written or
    /// not. Durable after the next sync.
    ///
    /// # Concurrency
    /// Keeps out all other changes of the length and all reads and writes of pages that are not
    /// cached; waits for locked pages, writes under way and holds of blocks beyond the new end, or with it in them.
    ///
    /// # Errors
    /// [`Error::Length`] if the store refuses, as a device does that has its size. A mapping that was to be lengthened is as it was; one
    /// that was cut stays cut, the store is cut by the next sync, and the sync tells if it cannot.
    /// [`Error::OutOfRange`], [`Error::Closed`], [`Error::Poisoned`]; [`Error::Config`] if the mapping has a
    /// [`Seal`](crate::hooks::Seal) and `len` is not a whole number of pages.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let handle = Mapping::open(MemStore::with_contents(b"hello"))?.handle();
    /// handle.set_len(2)?;
    /// handle.set_len(4)?;
    /// let mut buf = [9; 8];
    /// assert_eq!(handle.read_at(&mut buf, 0)?, 4);
    /// assert_eq!(&buf[..4], b"he\0\0");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn set_len(&self, len: u64) -> Result<()> {
        self.mapping.set_len(len)
    }

    /// Makes every byte written before the call durable, as `fdatasync`.
    ///
    /// `Ok`: they are, or a truncate dropped them, and so is all that the store held when it was opened,
    /// whoever had written it; and no write of this mapping has failed since this
    /// handle was last told of one. `Err`: take none of the bytes since the last `Ok` for durable.
    /// They are still in memory and a later sync writes them again.
    ///
    /// # Concurrency
    /// Waits for locked and held pages, for writes under way whoever began them, and for the store.
    /// Writers are not kept out, and it ends however fast they dirty pages.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Flush`] or [`Error::Poisoned`]; [`Error::Length`] if an earlier cut
    /// of the store still fails.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// let store = MemStore::new();
    /// let handle = Mapping::open(store.clone())?.handle();
    /// handle.write_at(b"abc", 0)?;
    /// handle.sync_data()?;
    /// assert_eq!(store.durable(), b"abc");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn sync_data(&self) -> Result<()> {
        self.sync((0, u64::MAX), FlushKind::Data)
    }

    /// As [`sync_data`](Self::sync_data), with everything else the store keeps, as `fsync`. Of a
    /// [`FileStore`](crate::FileStore) that may have made the file, its name too.
    ///
    /// # Errors
    /// As [`sync_data`](Self::sync_data).
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// let store = MemStore::new();
    /// let handle = Mapping::open(store.clone())?.handle();
    /// handle.write_at(b"abc", 0)?;
    /// handle.sync_all()?;
    /// assert_eq!(store.durable(), b"abc");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn sync_all(&self) -> Result<()> {
        self.sync((0, u64::MAX), FlushKind::All)
    }

    /// As [`sync_data`](Self::sync_data), for the pages that `bytes` touches. A range without bytes asks
    /// for nothing and is always `Ok`.
    ///
    /// # Errors
    /// As [`sync_data`](Self::sync_data); also errors of pages outside the range.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let store = MemStore::new();
    /// let handle = Mapping::open(store.clone())?.handle();
    /// handle.write_at(&[1; 8192], 0)?;
    /// handle.sync_range(0..4096)?;
    /// assert_eq!(store.durable(), [1; 4096]);
    /// assert_eq!(handle.mapping().stats().dirty, 1);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn sync_range(&self, bytes: impl RangeBounds<u64>) -> Result<()> {
        self.pages_of(bytes).map_or(Ok(()), |pages| self.sync(pages, FlushKind::Data))
    }

    fn pages_of(&self, bytes: impl RangeBounds<u64>) -> Option<Inclusive> {
        let core = &self.mapping.core;
        let (first, last) = inclusive(bytes)?;
        Some((core.page_index(first), core.page_index(last)))
    }

    fn sync(&self, pages: Inclusive, kind: FlushKind) -> Result<()> {
        let _span = trace::sync(kind);
        now(self.synced(pages, kind))
    }

    /// A sync. Dropped before its end, it has told nothing: the next one does.
    async fn synced(&self, pages: Inclusive, kind: FlushKind) -> Result<()> {
        // From where this sync looks for errors. Not where the handle stands when it ends: another
        // sync of the same handle may report the error first, and both must.
        let since = *self.cursor.lock();
        let observers = &self.mapping.core.observers;
        let began = observers.now();
        let outcome = self.mapping.sync_pages(pages, kind).await;
        self.mapping.give_up_beyond();
        let outcome = self.advance(since, outcome);
        let result = outcome.as_ref().copied();
        observers.tell_since(began, |observer, took| observer.synced(took, result));
        outcome
    }

    /// Reports a write error that this handle has not been told of, without any I/O.
    ///
    /// # Errors
    /// [`Error::Write`], once for each error; [`Error::Poisoned`] always after a failed flush.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let handle = Mapping::open(MemStore::new())?.handle();
    /// assert!(handle.check_error().is_ok());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn check_error(&self) -> Result<()> {
        let since = *self.cursor.lock();
        let outcome = self.mapping.core.durability.check();
        self.advance(since, outcome)
    }

    /// Reports what was recorded since `since`, and moves the handle's cursor on to it.
    fn advance(&self, since: Cursor, outcome: Result<()>) -> Result<()> {
        let (now, error) = self.mapping.core.errors.check(since);
        let mut cursor = self.cursor.lock();
        *cursor = (*cursor).max(now);
        drop(cursor);
        match (outcome, error) {
            (Err(poisoned), _) if poisoned.is_poisoned() => Err(poisoned),
            (_, Some(source)) => Err(Error::Write { source }),
            (outcome, None) => outcome,
        }
    }
}
