//! Pages in the hands of callers: changed, marked dirty, asked for beyond the end.

use std::ops::Range;

use crate::error::Result;
use crate::rules::page_ref::PageRef;

impl PageRef {
    /// Marks the page dirty, of its blocks those with any of `bytes`, and calls `f` with them; lengthens the mapping if they
    /// end beyond it, unless there are none. [`write_bytes`](Self::write_bytes) with a closure.
    ///
    /// # Concurrency
    /// Readers, other writers and the taking of images wait until `f` returns; a write that is
    /// under way does not, and is not waited for. What `f` may call is in the [table](crate#while-a-guard-is-held).
    /// If it panics, the page stays dirty with what was written.
    ///
    /// # Errors
    /// [`Error::Gone`](crate::Error::Gone) if the page was truncated away, or never read; [`Error::Closed`](crate::Error::Closed) or
    /// [`Error::Poisoned`](crate::Error::Poisoned) if the mapping takes no changes; [`Error::OutOfRange`](crate::Error::OutOfRange) if `bytes` is not
    /// within the page, or ends beyond what the store can hold; [`Error::Reserved`](crate::Error::Reserved) if it touches what the
    /// mapping's [`Seal`](crate::hooks::Seal) keeps for itself; [`Error::Length`](crate::Error::Length) if the mapping is to
    /// be lengthened, the store still has bytes of an earlier cut, and refuses to be cut now. The page
    /// is as it was in each case.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// mapping.page(0)?.write_with(3..5, |bytes| bytes.fill(b'!'))?;
    /// assert_eq!(mapping.len(), 5);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn write_with<R>(&self, bytes: Range<usize>, f: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
        self.dirty_bytes(&bytes).map(|mut guard| f(&mut guard))
    }

    /// Marks the whole page dirty; returns whether it was clean.
    ///
    /// For whoever changed it by other means than [`write`](Self::write); also without the page
    /// lock. Flag, tag and counter change at one instant.
    ///
    /// # Errors
    /// [`Error::Gone`](crate::Error::Gone) if the page was truncated away, [`Error::Closed`](crate::Error::Closed) or
    /// [`Error::Poisoned`](crate::Error::Poisoned) if the mapping takes no changes.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::with_contents(vec![0; 4096]))?;
    /// let page = mapping.page(0)?;
    /// assert!(page.mark_dirty()?);
    /// assert!(!page.mark_dirty()?);
    /// assert_eq!(mapping.stats().dirty, 1);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn mark_dirty(&self) -> Result<bool> {
        self.mark_bytes_dirty(&(0..self.core().page_size))
    }

    /// Marks some of the page's blocks dirty, by number; returns whether the page was clean. Who cannot say
    /// which blocks have changed marks [the whole page](Self::mark_dirty).
    ///
    /// # Errors
    /// As [`mark_dirty`](Self::mark_dirty); [`Error::OutOfRange`](crate::Error::OutOfRange) if the page has no such blocks.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use writeback::{Config, Mapping, MemStore};
    ///
    /// let config = Config::new().block_size(512);
    /// let mapping = Mapping::with_config(Arc::new(MemStore::with_contents([0; 4096])), config)?;
    /// let page = mapping.page(0)?;
    /// assert!(page.mark_blocks_dirty(6..8)?);
    /// assert_eq!(page.dirty_blocks(), 0b1100_0000);
    /// assert!(page.mark_blocks_dirty(7..9).is_err());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn mark_blocks_dirty(&self, blocks: Range<usize>) -> Result<bool> {
        self.mark_bytes_dirty(&self.check_blocks(&blocks)?)
    }
}
