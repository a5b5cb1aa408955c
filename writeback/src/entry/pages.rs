//! Pages in the hands of callers: found or read in, changed, marked dirty.

use std::ops::Range;

use crate::buffer::Contents;
use crate::error::{Error, Result};
use crate::rules::page_ref::PageRef;

impl PageRef {
    /// Marks the page dirty, of its blocks those with any of `bytes`, and calls `f` with them; lengthens the mapping if they
    /// end beyond it, unless there are none.
    ///
    /// # Concurrency
    /// Readers, other writers and the taking of images wait until `f` returns; a write that is
    /// under way does not, and is not waited for. `f` must not call the cache. If it panics, the
    /// page stays dirty with what was written.
    ///
    /// # Errors
    /// [`Error::Gone`] if the page was truncated away, or never read; [`Error::Closed`] or
    /// [`Error::Poisoned`] if the mapping takes no changes; [`Error::OutOfRange`] if `bytes` is not
    /// within the page, or ends beyond what the store can hold; [`Error::Reserved`] if it touches what the
    /// mapping's [`Seal`](crate::hooks::Seal) keeps for itself; [`Error::Length`] if the mapping is to
    /// be lengthened, the store still has bytes of an earlier cut, and refuses to be cut now. The page
    /// is as it was in each case.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// mapping.page(0)?.write(3..5, |bytes| bytes.fill(b'!'))?;
    /// assert_eq!(mapping.len(), 5);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn write<R>(&self, bytes: Range<usize>, f: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
        self.change(bytes, f)
    }

    /// Marks the page dirty and calls `f` with those of its bytes, under the latch.
    pub(crate) fn change<R>(
        &self,
        bytes: Range<usize>,
        f: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<R> {
        let core = self.core();
        let out_of_range = |_| self.out_of_range(&bytes);
        let end = core.check_span(self.offset(), bytes.end as u64).map_err(out_of_range)?;
        if bytes.start > bytes.end || bytes.end > core.page_size {
            return Err(self.out_of_range(&bytes));
        }
        if core.sealer.as_ref().is_some_and(|sealer| sealer.reserves_any_of(&bytes)) {
            let offset = self.offset() + bytes.start as u64;
            return Err(Error::Reserved { offset, len: bytes.len() as u64 });
        }
        // No bytes are within any length.
        let end = if bytes.is_empty() { 0 } else { end };
        self.dirty(&bytes, end, |_, contents| f(&mut contents.make_mut()[bytes.clone()]))
    }

    /// The way to dirty a page in hand: told of at the end, admitted, latched, marked dirty, in this order, and then
    /// `f` is called under the latch, with whether the page was clean. Lengthens the mapping to `end`, if it ends earlier.
    fn dirty<R>(
        &self,
        bytes: &Range<usize>,
        end: u64,
        f: impl FnOnce(bool, &mut Contents) -> R,
    ) -> Result<R> {
        let core = self.core();
        let _told = core.tell_at_end();
        let _admission = core.admit_dirtier(self.index(), true)?;
        loop {
            let no_truncate = (end > core.len()).then(|| core.backing().truncate.read());
            let growth = match &no_truncate {
                Some(_) => Some(core.prepare_to_lengthen(end)?.begin()),
                None => None,
            };
            let mut contents = self.contents.write();
            if growth.is_none() && end > core.len() {
                continue; // It was truncated in between.
            }
            let was_clean = self.dirty_under_latch(bytes)?;
            if let Some(growth) = growth {
                growth.end();
            }
            return Ok(f(was_clean, &mut contents));
        }
    }

    fn out_of_range(&self, bytes: &Range<usize>) -> Error {
        let offset = self.offset().saturating_add(bytes.start as u64);
        Error::OutOfRange { offset, len: bytes.len() as u64 }
    }

    /// Marks the whole page dirty; returns whether it was clean.
    ///
    /// For whoever changed it by other means than [`write`](Self::write); also without the page
    /// lock. Flag, tag and counter change at one instant.
    ///
    /// # Errors
    /// [`Error::Gone`] if the page was truncated away, [`Error::Closed`] or [`Error::Poisoned`] if
    /// the mapping takes no changes.
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
    /// As [`mark_dirty`](Self::mark_dirty); [`Error::OutOfRange`] if the page has no such blocks.
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

    fn mark_bytes_dirty(&self, bytes: &Range<usize>) -> Result<bool> {
        self.dirty(bytes, 0, |was_clean, _| was_clean)
    }
}
