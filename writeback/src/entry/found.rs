//! Pages beyond the end, pages that are there, and pages with a tag.

use std::ops::RangeBounds;

use crate::error::{Error, Result};
use crate::index::range::inclusive;
use crate::index::{Walk, walk};
use crate::pages::tag::PageTag;
use crate::rules::core::Mapping;
use crate::rules::page_ref::PageRef;

impl Mapping {
    /// The page at `index`, all of it: lengthens the mapping to the page's end if it ends earlier. A page beyond the end
    /// is zeros, is not read, and becomes dirty.
    ///
    /// Who asks for one page gets the same one as everybody else; to have one alone, count them.
    ///
    /// # Concurrency
    /// As a write of the page.
    ///
    /// # Errors
    /// As [`write_at`](crate::Handle::write_at), and [`page`](Self::page).
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::new())?;
    /// let page = mapping.allocate(3)?;
    /// assert_eq!(mapping.len(), 4 * 4096);
    /// page.write()?.fill(7);
    /// mapping.handle().sync_data()?;
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn allocate(&self, index: u64) -> Result<PageRef> {
        let core = &self.core;
        let size = core.page_size as u64;
        let beyond = Error::OutOfRange { offset: u64::MAX, len: size };
        let end = core.check_span(index.checked_mul(size).ok_or(beyond)?, size)?;
        if core.len() >= end {
            return self.page(index);
        }
        core.admit()?;
        let _told = core.tell_at_end();
        let _admission = core.admit_dirtier(index, true)?;
        let page = core.lengthen_by_page(index, end, core.make_room())?;
        Ok(PageRef::new(self.clone(), page))
    }

    /// The page at `index` if it is cached and has been read; no I/O, and no wait. As [`page`](Self::page) this is a use of
    /// it, where [`cached_page`](Self::cached_page) only looks.
    pub fn try_page(&self, index: u64) -> Option<PageRef> {
        let page = self.cached_page(index)?;
        let state = page.snapshot();
        if !state.is_uptodate() || !state.is_mapped() {
            return None;
        }
        self.core.found(&page);
        Some(page)
    }

    /// The cached pages of a range that have `tag`, in ascending order.
    ///
    /// # Concurrency
    /// Each page had the tag when it was found, and may have it no longer. What gets the tag while the walk goes on is met
    /// or not. Nothing is locked between two pages.
    ///
    /// # Examples
    /// ```
    /// use writeback::page::PageTag;
    /// use writeback::{Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::with_contents(vec![0; 40_960]))?;
    /// mapping.handle().write_at(b"x", 4096)?;
    /// mapping.handle().write_at(b"x", 8 * 4096)?;
    /// let dirty: Vec<_> = mapping.tagged(.., PageTag::Dirty).map(|page| page.index()).collect();
    /// assert_eq!(dirty, [1, 8]);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn tagged(&self, pages: impl RangeBounds<u64>, tag: PageTag) -> Tagged<'_> {
        let walk = inclusive(pages).map(|range| walk(&self.core.tree, range, tag));
        Tagged { mapping: self, walk }
    }
}

/// The pages with a tag: see [`Mapping::tagged`].
#[must_use = "it walks when it is asked for pages"]
pub struct Tagged<'m> {
    mapping: &'m Mapping,
    /// `None`: the range has no pages.
    walk: Option<Walk<'m>>,
}

impl Iterator for Tagged<'_> {
    type Item = PageRef;

    fn next(&mut self) -> Option<PageRef> {
        // Those that are just leaving the index have no tag any more.
        self.walk.as_mut()?.find_map(|(_, page)| PageRef::of_found(self.mapping, page))
    }
}

impl std::fmt::Debug for Tagged<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tagged").finish_non_exhaustive()
    }
}
