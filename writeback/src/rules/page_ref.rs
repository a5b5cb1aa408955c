//! A page in the hands of a caller.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::buffer::{Contents, Image};
use crate::error::{Error, Result};
use crate::hooks::Positions;
use crate::mapping::Mapping;
use crate::page::Page;
use crate::page::keep::Kept;
use crate::page::state::Snapshot;
use crate::page::tag::PageTag;
use crate::primitives::Ordering;
use crate::rules::locked::LockedPage;

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
/// page.write(10..13, |bytes| bytes.copy_from_slice(b"abc"))?;
/// assert_eq!(page.read(|bytes| bytes[10..13].to_vec()), b"abc");
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
        self.mapping.shared.page_offset(self.page.index())
    }

    /// Calls `f` with the contents: all bytes of the page, zeros beyond the end of the mapping, or
    /// no bytes if the page has never been read.
    ///
    /// # Concurrency
    /// Writers of the page wait until `f` returns; `f` must not call the cache.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let sum: u64 = mapping.page(0)?.read(|bytes| bytes.iter().map(|byte| u64::from(*byte)).sum());
    /// assert_eq!(sum, 97 + 98 + 99);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn read<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        self.mapping.shared.used(&self.page);
        f(self.page.contents.read().as_slice())
    }

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
    /// mapping's [`Seal`](crate::Seal) keeps for itself; [`Error::Length`] if the mapping is to
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
        let shared = &*self.mapping.shared;
        let out_of_range = |_| self.out_of_range(&bytes);
        let end = shared.check_span(self.offset(), bytes.end as u64).map_err(out_of_range)?;
        if bytes.start > bytes.end || bytes.end > shared.page_size {
            return Err(self.out_of_range(&bytes));
        }
        if shared.sealer.as_ref().is_some_and(|sealer| sealer.reserves_any_of(&bytes)) {
            let offset = self.offset() + bytes.start as u64;
            return Err(Error::Reserved { offset, len: bytes.len() as u64 });
        }
        // No bytes are within any length.
        let end = if bytes.is_empty() { 0 } else { end };
        let _told = shared.tell_at_end();
        let _admission = shared.admit_dirtier(self.page.index(), true)?;
        loop {
            let lengthening = (end > shared.len()).then(|| shared.truncate.read());
            if lengthening.is_some() {
                shared.prepare_to_lengthen(end)?;
            }
            let growing = shared.tail.growing(lengthening.is_some());
            let mut contents = self.page.contents.write();
            if lengthening.is_none() && end > shared.len() {
                continue; // It was truncated in between.
            }
            self.dirty_under_latch(&bytes)?;
            if lengthening.is_some() {
                // Under the latch: an image with these bytes is cut at a length that has them.
                shared.length.fetch_max(shared.whole(end), Ordering::AcqRel);
            }
            drop(growing);
            return Ok(f(&mut contents.make_mut()[bytes]));
        }
    }

    /// Marks the page dirty. The caller has the latch, under which a closed mapping is seen closed.
    pub(crate) fn dirty_under_latch(&self, bytes: &Range<usize>) -> Result<bool> {
        let shared = &*self.mapping.shared;
        shared.admit()?;
        shared.used(&self.page);
        let gone = Error::Gone { index: self.page.index() };
        if !self.page.snapshot().is_uptodate() {
            return Err(gone);
        }
        shared.mark_dirty(&shared.tree.pin(), &self.page, bytes).map_err(|_| gone)
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
        self.mark_bytes_dirty(&(0..self.mapping.shared.page_size))
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
        let _told = self.mapping.shared.tell_at_end();
        let _admission = self.mapping.shared.admit_dirtier(self.page.index(), true)?;
        let _latch = self.page.contents.write();
        self.dirty_under_latch(bytes)
    }

    /// The bytes of blocks that the page has, at least one.
    pub(crate) fn check_blocks(&self, blocks: &Range<usize>) -> Result<Range<usize>> {
        let division = self.mapping.shared.division;
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
    /// # use writeback::{Mapping, MemStore, PageTag};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// assert!(mapping.page(0)?.has_tag(PageTag::Dirty));
    /// assert!(!mapping.page(0)?.has_tag(PageTag::Writeback));
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn has_tag(&self, tag: PageTag) -> bool {
        self.mapping.shared.tree.pin().has_tag(self.page.index(), tag.tag())
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
    /// let locked = page.lock().expect("nobody truncates");
    /// assert!(page.try_lock().is_none());
    /// drop(locked);
    /// assert!(page.try_lock().is_some());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn lock(&self) -> Option<LockedPage> {
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
    /// let locked = page.try_lock();
    /// assert!(locked.is_some() && page.try_lock().is_none());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn try_lock(&self) -> Option<LockedPage> {
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
    /// mapping.write_page(0, false)?;
    /// mapping.page(0)?.wait_writeback();
    /// assert_eq!(mapping.stats().written, 1);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn wait_writeback(&self) {
        self.page.wait_ticket(self.page.ticket());
    }

    /// Who has the page lock waits until nobody holds any of the page, and nobody holds it again before the
    /// page is unlocked.
    pub(crate) fn wait_for_holds(&self) {
        let Some(sets) = &self.page.blocks else {
            self.page.state.want_release();
            return self.page.wait_while(Snapshot::is_held);
        };
        loop {
            let wanted = self.mapping.shared.want_blocks(&self.page);
            if wanted.is_empty() {
                return;
            }
            self.page.wait_while_held(sets, wanted);
        }
    }

    /// The bytes as they are now, cut at the end of the mapping, or padded with zeros from there to where the
    /// store can be written.
    pub(crate) fn image(&self) -> Image {
        self.image_under(&mut self.page.contents.write())
    }

    /// The image to be written, and the log positions of what is new in it: both of one instant.
    ///
    /// If blocks are left that the write does not have, because they are held or became dirty since, the
    /// page keeps its oldest position: nobody knows which block that is of.
    pub(crate) fn image_for_io(&self) -> (Image, Positions) {
        let shared = &*self.mapping.shared;
        let mut contents = self.page.contents.write();
        let positions = match &shared.order {
            None => Positions::NONE,
            Some(order) if shared.writes_all_blocks(&self.page) => order.take(&self.page.positions),
            Some(_) => self.page.positions.lock().newest_only(),
        };
        (self.image_under(&mut contents), positions)
    }

    fn image_under(&self, contents: &mut Contents) -> Image {
        // The length is read under the latch, after the bytes can no longer change: whoever wrote
        // here raised it under the latch too.
        let within = self.mapping.len().saturating_sub(self.offset());
        let len = usize::try_from(within).unwrap_or(usize::MAX).min(contents.as_slice().len());
        let padded = self.mapping.shared.tail.padded(len);
        // A cut may have lowered the length and not have come to this page yet.
        if contents.as_slice()[len..padded].iter().any(|byte| *byte != 0) {
            contents.make_mut()[len..padded].fill(0);
        }
        Image::new(contents.share(), padded)
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
