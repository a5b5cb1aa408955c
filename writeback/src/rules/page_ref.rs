//! A page in the hands of a caller.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::buffer::{Contents, Image};
use crate::error::{Error, Result};
use crate::held;
use crate::pages::Page;
use crate::pages::blocks::BlockMap;
use crate::pages::keep::Kept;
use crate::pages::positions::Positions;
use crate::pages::tag::PageTag;
use crate::primitives::LatchWriteGuard;
use crate::rules::core::{Core, Mapping};
use crate::rules::locked::LockedPage;

/// The latch of a page, alone, if the caller has it.
pub(crate) type Latched<'p> = Option<LatchWriteGuard<'p, Contents>>;

/// A reference to a cached page. Keeps the page in memory: it is not evicted while somebody has one.
/// But it may be truncated away at any time, and what would change it then says so.
///
/// Dereferences to [`Page`] for its index and state. Cloning one panics if there are a million of one page.
///
/// # Examples
/// ```
/// use writeback::{Mapping, MemStore};
///
/// let mapping = Mapping::open(MemStore::with_contents(vec![0; 4096]))?;
/// let page = mapping.page(0)?;
/// page.write_with(10..13, |bytes| bytes.copy_from_slice(b"abc"))?;
/// assert_eq!(page.read_with(|bytes| bytes[10..13].to_vec()), b"abc");
/// assert!(page.snapshot().is_dirty());
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Clone)]
pub struct PageRef {
    mapping: Mapping,
    page: Kept,
}

impl PageRef {
    pub(crate) fn new(mapping: Mapping, page: Kept) -> Self {
        Self { mapping, page }
    }

    /// A page that was just found in the index. `None`: it is leaving it.
    pub(crate) fn of_found(mapping: &Mapping, page: Arc<Page>) -> Option<Self> {
        Some(Self { page: Kept::new(page)?, mapping: mapping.clone() })
    }

    /// The page at `index` of the mapping, if it is cached.
    pub(crate) fn cached(mapping: &Mapping, index: u64) -> Option<Self> {
        let page = mapping.core.tree.get_owned(index)?;
        Self::of_found(mapping, page)
    }

    #[inline]
    pub(crate) fn core(&self) -> &Core {
        &self.mapping.core
    }

    /// The mapping it belongs to.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// assert_eq!(mapping.page(0)?.mapping().len(), 3);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Where it begins, in bytes.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// mapping.handle().set_len(10_000)?;
    /// assert_eq!(mapping.page(2)?.offset(), 8192);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn offset(&self) -> u64 {
        self.mapping.core.page_offset(self.page.index())
    }

    /// Marks the page dirty. The caller has the latch, under which a closed mapping is seen closed.
    #[inline]
    pub(crate) fn dirty_under_latch(&self, bytes: &Range<usize>) -> Result<bool> {
        let core = &*self.mapping.core;
        core.admit()?;
        core.used(&self.page);
        let gone = Error::Gone { index: self.page.index() };
        if !self.page.snapshot().is_uptodate() {
            return Err(gone);
        }
        core.mark_dirty(&core.tree.pin(), &self.page, bytes).map_err(|_| gone)
    }

    /// The bytes of blocks that the page has, at least one.
    pub(crate) fn check_blocks(&self, blocks: &Range<usize>) -> Result<Range<usize>> {
        let division = self.mapping.core.division;
        if blocks.is_empty() || blocks.end > division.count {
            let size = division.block_size() as u64;
            let offset = self.offset().saturating_add((blocks.start as u64).saturating_mul(size));
            return Err(Error::OutOfRange {
                offset,
                len: (blocks.len() as u64).saturating_mul(size),
            });
        }
        Ok(division.bytes(blocks))
    }

    /// Tells whether the index has `tag` at this page's place.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # use writeback::page::PageTag;
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// assert!(mapping.page(0)?.has_tag(PageTag::Dirty));
    /// assert!(!mapping.page(0)?.has_tag(PageTag::Writeback));
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn has_tag(&self, tag: PageTag) -> bool {
        self.mapping.core.tree.pin().has_tag(self.page.index(), tag.tag())
    }

    /// Waits for the page lock. `None`: the page was truncated away.
    ///
    /// # Concurrency
    /// Take several page locks in ascending order of index only, and call nothing of this mapping
    /// while holding one but what [`LockedPage`] offers.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::with_contents(vec![0; 4096]))?;
    /// let page = mapping.page(0)?;
    /// let locked = page.lock_state().expect("nobody truncates");
    /// assert!(page.try_lock_state().is_none());
    /// drop(locked);
    /// assert!(page.try_lock_state().is_some());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn lock_state(&self) -> Option<LockedPage> {
        held::refuse(self.core().id(), "`lock_state`");
        self.page.lock();
        LockedPage::check(self.clone())
    }

    /// Takes the page lock if it is free. `None`: it is not, or the page was truncated away.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let page = mapping.page(0)?;
    /// let locked = page.try_lock_state();
    /// assert!(locked.is_some() && page.try_lock_state().is_none());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn try_lock_state(&self) -> Option<LockedPage> {
        if !self.page.state.try_lock() {
            return None;
        }
        LockedPage::check(self.clone())
    }

    /// Waits until the writeback begun last, if any, has ended; not for one begun after the call.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// mapping.write_page(0, writeback::SyncMode::Skip)?;
    /// mapping.page(0)?.wait_writeback();
    /// assert_eq!(mapping.stats().written, 1);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn wait_writeback(&self) {
        held::refuse(self.core().id(), "`wait_writeback`");
        self.page.wait_ticket(self.page.ticket());
    }

    /// Who has the page lock waits until nobody holds any of these blocks. What was waited for nobody holds again before the
    /// page is unlocked.
    pub(crate) async fn released(&self, blocks: BlockMap) {
        let Some(sets) = &self.page.blocks else {
            self.page.state.want_release();
            return self.page.until(|state| !state.is_held()).await;
        };
        loop {
            let wanted = self.mapping.core.want_blocks(&self.page, blocks);
            if wanted.is_empty() {
                return;
            }
            self.page.blocks_released(sets, wanted).await;
        }
    }

    /// The bytes as they are now, cut at the end of the mapping, or padded with zeros from there to where the
    /// store can be written.
    pub(crate) fn image(&self) -> Image {
        self.image_under(&mut self.latch_alone())
    }

    /// The image to be written, and the log positions of what is new in it: both of one instant.
    ///
    /// If blocks are left that the write does not have, because they are held or became dirty since, the
    /// page keeps its oldest position: nobody knows which block that is of.
    pub(crate) fn image_for_io(&self, latch: Latched<'_>) -> (Image, Positions) {
        let core = &*self.mapping.core;
        let mut contents = latch.unwrap_or_else(|| self.latch_alone());
        let positions = match &core.order {
            None => Positions::NONE,
            Some(order) if core.writes_all_blocks(&self.page) => order.take(&self.page.positions),
            Some(_) => self.page.positions.lock().newest_only(),
        };
        (self.image_under(&mut contents), positions)
    }

    /// Latches the page, for who has its lock or takes its image.
    pub(crate) fn latch_alone(&self) -> LatchWriteGuard<'_, Contents> {
        held::refuse_page(self.core().id(), self.index(), true, "latching the page");
        self.page.contents.write()
    }

    fn image_under(&self, contents: &mut Contents) -> Image {
        // The length is read under the latch, after the bytes can no longer change: whoever wrote
        // here raised it under the latch too.
        let within = self.mapping.core.len().saturating_sub(self.offset());
        let len = usize::try_from(within).unwrap_or(usize::MAX).min(contents.as_slice().len());
        let padded = self.mapping.core.tail.padded(len);
        // A cut may have lowered the length and not have come to this page yet.
        if contents.as_slice()[len..padded].iter().any(|byte| *byte != 0) {
            contents.make_mut()[len..padded].fill(0);
        }
        contents.share(padded)
    }
}

impl Deref for PageRef {
    type Target = Page;

    fn deref(&self) -> &Page {
        &self.page
    }
}

impl fmt::Debug for PageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PageRef").field(&*self.page).finish()
    }
}
