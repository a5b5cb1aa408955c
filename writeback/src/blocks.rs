//! Another writer: someone else than writeback who may have a page's contents to itself.
//!
//! The seed of this crate is a journal that held a buffer of a page while a flusher and a sync both
//! met it. Here the whole page is the unit; parts of a page would get bits of their own in this
//! file and nowhere else, because all that the rest asks is "held?" and "wait until released".
//!
//! A hold and a writeback of the same page exclude each other: the HELD and WRITEBACK flags are in
//! one word, and each is set only while the other is clear. A writeback that waits is next (WANTED),
//! so a journal that takes a page again and again cannot keep a sync waiting for ever.

use crate::buffer::Image;
use crate::error::Result;
use crate::mapping::Mapping;
use crate::page_ref::PageRef;
use crate::state::Snapshot;

/// The right of one writer, such as a journal, to a page's contents: no writeback of the page starts
/// until it is dropped. Background writeback leaves the page dirty and goes on; a sync waits.
///
/// The contents can still be read and changed through handles; take an [`image`](Self::image) for
/// something that does not change.
///
/// # Concurrency
/// A thread that has a hold must not call what may wait for the page or for a truncation: syncs,
/// `set_len`, another hold out of ascending order, reads or writes of pages that are not cached.
///
/// # Examples
/// ```
/// use writeback::{Budget, Mapping, MemStore, SyncMode};
///
/// let mapping = Mapping::open(MemStore::new())?;
/// mapping.handle().write_at(b"abc", 0)?;
/// let hold = mapping.hold(0)?;
/// let progress = mapping.write_range(.., SyncMode::None, Budget::UNLIMITED)?;
/// assert_eq!((progress.submitted, progress.declined), (0, 1));
/// drop(hold);
/// let progress = mapping.write_range(.., SyncMode::None, Budget::UNLIMITED)?;
/// assert_eq!((progress.submitted, progress.declined), (1, 0));
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it releases the page"]
pub struct Hold {
    page: PageRef,
}

impl Hold {
    /// The index of the page.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let hold = mapping.hold(0)?;
    /// assert_eq!(hold.index(), 0);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn index(&self) -> u64 {
        self.page.index()
    }

    /// The page.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let hold = mapping.hold(0)?;
    /// assert!(hold.page().snapshot().is_held());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn page(&self) -> &PageRef {
        &self.page
    }

    /// The contents as they are now, cut at the end of the mapping.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let hold = mapping.hold(0)?;
    /// assert_eq!(hold.image().as_ref(), b"abc");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn image(&self) -> Image {
        self.page.image()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.page.wake(self.page.state.release_hold());
    }
}

impl Mapping {
    /// Takes the contents of the page at `index` for another writer than writeback; reads the page
    /// in if it is not cached.
    ///
    /// # Concurrency
    /// Waits while another hold has it, a write of it is under way, or a writeback waits for it.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let hold = mapping.hold(0)?;
    /// // ... log the page's contents ...
    /// drop(hold);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn hold(&self, index: u64) -> Result<Hold> {
        loop {
            let page = self.page(index)?;
            match page.state.try_hold() {
                Ok(()) => return Ok(Hold { page }),
                Err(_) => page.wait_while(Snapshot::refuses_hold),
            }
        }
    }

    /// As [`hold`](Self::hold), but returns `None` rather than waiting for whoever has the page.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::with_contents(b"abc"))?;
    /// let hold = mapping.try_hold(0)?.expect("it is free");
    /// assert!(mapping.try_hold(0)?.is_none());
    /// drop(hold);
    /// assert!(mapping.try_hold(0)?.is_some());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn try_hold(&self, index: u64) -> Result<Option<Hold>> {
        loop {
            let page = self.page(index)?;
            match page.state.try_hold() {
                Ok(()) => return Ok(Some(Hold { page })),
                Err(state) if state.is_mapped() => return Ok(None),
                Err(_) => {}
            }
        }
    }
}
