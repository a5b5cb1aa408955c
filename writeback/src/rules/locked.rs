//! A page whose lock the caller has, which is where the life of a page under writeout [begins](crate::rules::claim).

use std::ops::Range;

use crate::error::Result;
use crate::rules::claim::Claim;
use crate::rules::page_ref::PageRef;
use crate::wait::now;

/// A page whose lock the caller has: nobody else starts or decides its writeback, or removes it.
/// Readers and writers of the contents are not kept out. Dropping it unlocks.
///
/// # Examples
/// ```
/// use writeback::{Mapping, MemStore};
///
/// let mapping = Mapping::open(MemStore::new())?;
/// mapping.handle().write_at(b"abc", 0)?;
/// let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
/// let claim = locked.clear_dirty_for_io().expect("it is dirty");
/// assert!(!claim.page().snapshot().is_dirty());
/// claim.redirty();
/// assert!(mapping.page(0)?.snapshot().is_dirty());
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it unlocks the page"]
pub struct LockedPage {
    /// `None` once the lock has been handed on.
    page: Option<PageRef>,
}

impl LockedPage {
    /// The page's lock was just taken: is it still part of its mapping?
    pub(crate) fn check(page: PageRef) -> Option<Self> {
        let locked = Self { page: Some(page) };
        locked.page().snapshot().is_mapped().then_some(locked)
    }

    /// The page.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// # let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
    /// assert!(locked.page().snapshot().is_locked());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    #[expect(clippy::missing_panics_doc, reason = "the page is there until self is consumed")]
    pub fn page(&self) -> &PageRef {
        self.page.as_ref().expect("present until consumed")
    }

    /// Hands the page on, locked.
    fn into_page(mut self) -> PageRef {
        self.page.take().expect("present until consumed")
    }

    /// Marks the whole page dirty; returns whether it was clean. As [`PageRef::mark_dirty`], and takes what that
    /// takes: the lock makes no exception.
    ///
    /// # Errors
    /// [`Error::Gone`](crate::Error::Gone) if the page was never read, [`Error::Closed`](crate::Error::Closed)
    /// or [`Error::Poisoned`](crate::Error::Poisoned) if the mapping takes no changes.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// # let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
    /// locked.cancel_dirty();
    /// assert!(locked.mark_dirty()?);
    /// assert!(!locked.mark_dirty()?);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn mark_dirty(&self) -> Result<bool> {
        self.mark_bytes_dirty(&(0..self.page().mapping().page_size()))
    }

    /// As [`mark_dirty`](Self::mark_dirty), but of some of the page's blocks, by number.
    ///
    /// # Errors
    /// As [`mark_dirty`](Self::mark_dirty); [`Error::OutOfRange`](crate::Error::OutOfRange) if the page has
    /// no such blocks.
    ///
    /// # Examples
    /// ```
    /// # use std::sync::Arc;
    /// # use writeback::{Config, Mapping, MemStore};
    /// let config = Config::new().block_size(512);
    /// let mapping = Mapping::with_config(Arc::new(MemStore::with_contents([0; 4096])), config)?;
    /// let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
    /// assert!(locked.mark_blocks_dirty(2..4)?);
    /// assert_eq!(locked.page().dirty_blocks(), 0b1100);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn mark_blocks_dirty(&self, blocks: Range<usize>) -> Result<bool> {
        self.mark_bytes_dirty(&self.page().check_blocks(&blocks)?)
    }

    fn mark_bytes_dirty(&self, bytes: &Range<usize>) -> Result<bool> {
        let _told = self.page().core().tell_at_end();
        // Not as `PageRef` does it, whose caller may have to wait for a writeback.
        let _latch = self.page().latch_alone();
        self.page().dirty_under_latch(bytes)
    }

    /// Forgets that the page is dirty, without writing it; returns whether it was. Its changes are
    /// lost unless they are made and marked again. For truncation and invalidation only.
    ///
    /// What a hold has [taken](crate::page::Hold::take_dirty) is its holder's, and not forgotten.
    ///
    /// # Concurrency
    /// Waits until a writeback of the page has ended.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::new())?;
    /// mapping.handle().write_at(b"abc", 0)?;
    /// let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
    /// assert!(locked.cancel_dirty());
    /// assert_eq!(mapping.stats().dirty, 0);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn cancel_dirty(&self) -> bool {
        self.wait_writeback();
        self.page().core().cancel_dirty(self.page())
    }

    /// Waits until the page is not under writeback; none can begin while it is locked.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// # let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
    /// locked.wait_writeback();
    /// assert!(!locked.page().snapshot().is_under_writeback());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn wait_writeback(&self) {
        self.page().wait_writeback();
    }

    /// Claims the page for writing: clears its DIRTY flag, takes the set of its dirty blocks, and leaves its
    /// DIRTY tag.
    ///
    /// # Errors
    /// Gives the page back if there is nothing to claim: it is clean, or still under writeback (then
    /// [`wait_writeback`](Self::wait_writeback) and try again).
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// # let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
    /// let claim = locked.clear_dirty_for_io().expect("dirty");
    /// claim.start_writeback().expect("not held").end(Ok(()));
    /// let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
    /// assert!(locked.clear_dirty_for_io().is_err(), "clean");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn clear_dirty_for_io(self) -> std::result::Result<Claim, Self> {
        let page = self.page();
        if page.snapshot().is_under_writeback() {
            return Err(self);
        }
        let Some(blocks) = page.core().clear_dirty_for_io(page) else {
            return Err(self);
        };
        Ok(Claim::new(self.into_page(), blocks))
    }

    /// Takes the page out of the index, dirty or not. Waits for writebacks and other writers.
    pub(crate) fn remove(self) {
        let page = self.page();
        self.wait_writeback();
        while page.core().remove(page, true).is_err() {
            now(page.released(page.all_blocks()));
        }
    }
}

impl Drop for LockedPage {
    fn drop(&mut self) {
        if let Some(page) = &self.page {
            page.core().unlock(page);
        }
    }
}
