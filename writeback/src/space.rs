//! What a handle can do about the room that its bytes take, in the store and in memory.

use std::ops::RangeBounds;

use crate::error::Result;
use crate::handle::Handle;
use crate::index::range::inclusive;
use crate::io::space::Clear;
use crate::modes::Advice;

/// # The room that bytes take
/// What a store need not have: each of these is [`Error::Space`](crate::Error::Space) with an
/// [unsupported](crate::StoreError::is_unsupported) operation where it has not. [`FileStore`](crate::FileStore) has them on Linux, as far as the
/// file system does, and so has [`MemStore`](crate::MemStore).
impl Handle {
    /// Makes these bytes zeros and gives the room that they take back to the store. The length stays. Durable after the next sync.
    ///
    /// Pages that lie wholly within them leave the cache, written or not; of others what does is written as zeros, and so is the last page if it has
    /// never been written. Up to the next sync a crash may leave what was there before.
    ///
    /// # Concurrency
    /// As [`set_len`](Self::set_len) cutting these pages away. Not atomic: a reader may find some of them zeros already. To a sync at the same time
    /// the bytes are dropped. What is cut away meanwhile stays away.
    ///
    /// # Errors
    /// [`Error::Space`](crate::Error::Space): nothing has changed if the store does not support it; otherwise each byte is zero, as it was, or
    /// as it was at any time since the last sync. [`Error::Reserved`](crate::Error::Reserved) if the bytes are not whole pages and the others touch
    /// what a seal keeps; nothing has changed. And what [`write_at`](Self::write_at) says, of bytes that are not whole pages: all others are zeros then.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let handle = Mapping::open(MemStore::with_contents([7; 3 * 4096]))?.handle();
    /// handle.punch(4000..2 * 4096)?;
    /// let mut bytes = [9; 100];
    /// handle.read_at(&mut bytes, 3990)?;
    /// assert_eq!(bytes[..12], [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0]);
    /// assert_eq!(handle.next_hole(0)?, Some(4096));
    /// assert_eq!(handle.next_data(4096)?, Some(2 * 4096));
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn punch(&self, bytes: impl RangeBounds<u64>) -> Result<()> {
        inclusive(bytes).map_or(Ok(()), |bytes| self.mapping().clear(bytes, Clear::Punch))
    }

    /// Makes these bytes zeros, as [`punch`](Self::punch) does, but keeps the room for them, or takes it.
    ///
    /// # Errors
    /// As [`punch`](Self::punch).
    pub fn zero(&self, bytes: impl RangeBounds<u64>) -> Result<()> {
        inclusive(bytes).map_or(Ok(()), |bytes| self.mapping().clear(bytes, Clear::Zero))
    }

    /// Takes room in the store for these bytes, so that no write of them fails because it is full. Neither they nor the length change.
    /// Durable after the next sync. A cut gives back what lies behind the new end; over a store with an [alignment](crate::store::Limits::alignment) so does
    /// a sync, when the last page that was written does not end with the mapping.
    ///
    /// # Errors
    /// [`Error::Space`](crate::Error::Space): some of the room may be taken. [`Error::OutOfRange`](crate::Error::OutOfRange) if the store cannot
    /// hold them, as for a range without an end; [`Error::Closed`](crate::Error::Closed), [`Error::Poisoned`](crate::Error::Poisoned).
    pub fn allocate(&self, bytes: impl RangeBounds<u64>) -> Result<()> {
        inclusive(bytes).map_or(Ok(()), |bytes| self.mapping().core.allocate(bytes))
    }

    /// Tells where the first byte is, at `offset` or after it, that may be other than zero. `None`: there is none up to the end.
    ///
    /// # Concurrency
    /// Waits for nothing but the store. What others change meanwhile may be seen or not.
    ///
    /// # Errors
    /// [`Error::Space`](crate::Error::Space).
    pub fn next_data(&self, offset: u64) -> Result<Option<u64>> {
        self.mapping().core.next_data(offset)
    }

    /// Tells where the first byte is, at `offset` or after it, that takes no room in the store, or will take none when everything is written. It is zero. The end
    /// counts as one; `None` only behind it.
    ///
    /// # Concurrency
    /// As [`next_data`](Self::next_data).
    ///
    /// # Errors
    /// [`Error::Space`](crate::Error::Space).
    pub fn next_hole(&self, offset: u64) -> Result<Option<u64>> {
        self.mapping().core.next_hole(offset)
    }

    /// Reads the pages of these bytes that are not cached, so that they are when they are wanted: up to 1 MiB of missing pages with one
    /// read of the store, up to half of what the [`PageCache`](crate::PageCache) has room for.
    ///
    /// # Concurrency
    /// Asks the store for all of them and then waits, so a store that ends reads later has them all under way together. Not to wait at all:
    /// [`read_ahead`](Self::read_ahead).
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at): the pages before the one in question are cached.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::with_contents([7; 100_000]))?;
    /// mapping.handle().prefetch(50_000..)?;
    /// assert_eq!(mapping.stats().cached, 13);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn prefetch(&self, bytes: impl RangeBounds<u64>) -> Result<()> {
        inclusive(bytes).map_or(Ok(()), |bytes| self.mapping().prefetch(bytes))
    }

    /// Begins to read the pages of these bytes that are not cached, and does not wait for them: as [`prefetch`](Self::prefetch), but as far as
    /// there is room without waiting, and without a word of what fails. Whoever comes to such a page waits for its read, or asks again.
    ///
    /// # Concurrency
    /// Waits for nothing but the store's calls: of a store that blocks, for the reads. A cut of the mapping waits for the reads of pages that it takes away.
    /// Under a guard it may be called as `prefetch` may.
    pub fn read_ahead(&self, bytes: impl RangeBounds<u64>) {
        if let Some(bytes) = inclusive(bytes) {
            self.mapping().read_ahead(bytes);
        }
    }

    /// Tells what is going to be done with these bytes. [`Sequential`](Advice::Sequential), [`Random`](Advice::Random), [`NoReuse`](Advice::NoReuse)
    /// and [`Normal`](Advice::Normal) are about all that this handle reads from now on, whichever bytes are named, and about clones that are made of it. Of the
    /// first two the later one stands, `NoReuse` may stand beside it, and `Normal` ends all three.
    ///
    /// # Concurrency
    /// [`WillNeed`](Advice::WillNeed) as [`read_ahead`](Self::read_ahead); the others wait for nothing. [`DontNeed`](Advice::DontNeed) looks at each
    /// cached page that lies within the bytes.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Advice, Mapping, MemStore};
    ///
    /// let handle = Mapping::open(MemStore::with_contents([7; 100_000]))?.handle();
    /// handle.advise(.., Advice::WillNeed);
    /// assert_eq!(handle.mapping().stats().cached, 25);
    /// handle.advise(50_000.., Advice::DontNeed);
    /// assert_eq!(handle.mapping().stats().cached, 13);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn advise(&self, bytes: impl RangeBounds<u64>, advice: Advice) {
        match (advice, inclusive(bytes)) {
            (Advice::WillNeed, Some(bytes)) => self.mapping().read_ahead(bytes),
            (Advice::DontNeed, Some(bytes)) => self.mapping().let_go(bytes),
            (Advice::WillNeed | Advice::DontNeed, None) => {}
            (pattern, _) => self.sequence.advise(pattern),
        }
    }
}
