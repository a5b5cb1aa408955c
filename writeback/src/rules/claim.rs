//! The life of a page under writeout, in types: `LockedPage -> Claim -> Writeback`.
//!
//! ```text
//!                clear_dirty_for_io            start_writeback             end(result)
//!  LockedPage ----------------------> Claim ----------------------> Writeback ----------> clean
//!      ^                                |   (page lock released)        |                   or
//!      |          redirty, or dropped   |                               | dropped:        dirty
//!      +-------- and unlocked ----------+                               +-- Lost -->     + error
//! ```
//!
//! Between the first arrow and the second the page's DIRTY flag is clear and its tag is set. That
//! disagreement lives in a [`Claim`] and nowhere else, and a claim owns the page lock: whoever finds
//! the page by its tag waits for the lock and then sees how it was decided. Neither value can be
//! copied, and dropping one, also in a panic, decides it on the safe side.

use crate::modes::SyncMode;
use crate::pages::blocks::BlockMap;
use crate::rules::page_ref::{Latched, PageRef};
use crate::rules::writeback::Writeback;
use crate::wait::now;

/// A locked page that is about to be written: its DIRTY flag is clear, its DIRTY tag still set, so
/// that a sync finds it and waits.
///
/// A claim is decided exactly once: [`start_writeback`](Self::start_writeback) or
/// [`redirty`](Self::redirty). Dropping it redirties. It can be sent to another thread.
///
/// It cannot be copied, and not be used after it was decided:
/// ```compile_fail,E0382
/// # let mapping = writeback::Mapping::open(writeback::MemStore::new()).unwrap();
/// # mapping.handle().write_at(b"abc", 0).unwrap();
/// let locked = mapping.page(0).unwrap().lock_state().unwrap();
/// let claim = locked.clear_dirty_for_io().unwrap();
/// claim.redirty();
/// claim.redirty(); // error: use of moved value
/// ```
///
/// # Examples
/// ```
/// use writeback::{Mapping, MemStore};
/// use writeback::page::PageTag;
///
/// let mapping = Mapping::open(MemStore::new())?;
/// mapping.handle().write_at(b"abc", 0)?;
/// let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
/// let claim = locked.clear_dirty_for_io().expect("it is dirty");
/// assert!(claim.page().has_tag(PageTag::Dirty));
/// drop(claim); // not decided: the page is dirty again
/// assert_eq!(mapping.stats().dirty, 1);
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a claim makes the page dirty again"]
pub struct Claim {
    /// `None` once decided.
    page: Option<PageRef>,
    /// What was dirty of it.
    blocks: BlockMap,
}

impl Claim {
    /// The page, whose lock the caller has, was claimed with these blocks.
    pub(super) fn new(page: PageRef, blocks: BlockMap) -> Self {
        Self { page: Some(page), blocks }
    }

    /// The page.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// # let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
    /// # let claim = locked.clear_dirty_for_io().expect("dirty");
    /// assert_eq!(claim.page().index(), 0);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    #[expect(clippy::missing_panics_doc, reason = "the page is there until self is consumed")]
    pub fn page(&self) -> &PageRef {
        self.page.as_ref().expect("present until decided")
    }

    /// Tells whether another writer holds the contents now, so that a writeback cannot start.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// # let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
    /// # let claim = locked.clear_dirty_for_io().expect("dirty");
    /// assert!(!claim.is_held());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn is_held(&self) -> bool {
        self.page().snapshot().is_held()
    }

    /// Waits until no other writer holds any of the page. None takes it again before this claim is
    /// decided; of a page of several blocks, none takes a block that was waited for.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// # let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
    /// # let claim = locked.clear_dirty_for_io().expect("dirty");
    /// claim.wait_released(); // nobody holds it: returns at once
    /// assert!(claim.start_writeback().is_ok());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn wait_released(&self) {
        now(self.page().released(self.page().all_blocks()));
    }

    /// Puts the whole page under writeback, dirty or not, takes its image and releases the page lock. To
    /// write only what is dirty there is [`start_blocks`](Self::start_blocks).
    ///
    /// Flag and tag agree again at that instant: the WRITEBACK tag is set, and if nobody dirtied the
    /// page since it was claimed, the DIRTY tag goes.
    ///
    /// # Errors
    /// Gives the claim back if another writer holds the contents: [`redirty`](Self::redirty) it, or
    /// [`wait_released`](Self::wait_released) and try again.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::new())?;
    /// mapping.handle().write_at(b"abc", 0)?;
    /// let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
    /// let claim = locked.clear_dirty_for_io().expect("it is dirty");
    /// let writeback = claim.start_writeback().expect("nobody holds it");
    /// assert_eq!(writeback.image().as_ref(), b"abc");
    /// mapping.handle().write_at(b"xyz", 0)?; // does not wait, and is not in the image
    /// writeback.end(Ok(()));
    /// assert_eq!(mapping.stats().dirty, 1);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    #[expect(clippy::missing_panics_doc, reason = "the page is there until self is consumed")]
    pub fn start_writeback(mut self) -> std::result::Result<Writeback, Self> {
        let core = &self.page().core();
        let Ok(ticket) = core.start_writeback(self.page()) else {
            return Err(self);
        };
        let page = self.page.take().expect("present until decided");
        let blocks = page.all_blocks();
        Ok(Writeback::begun(page, ticket, blocks, None))
    }

    /// Puts what is dirty of the page under writeback and releases the page lock: one piece for each run of
    /// dirty blocks that lie side by side, to be written and ended each by itself, in any order. The page's
    /// writeback ends with the last of them. None if nothing dirty lies within the mapping. Blocks that became
    /// dirty since the claim come along.
    ///
    /// If a block of the page is held, mode `Skip` leaves those that are, and the page is dirty again,
    /// whether or not they seemed to be; if that leaves nothing to write, nothing is begun.
    ///
    /// # Errors
    /// In mode `Wait`, gives the claim back if any of the page is held: [`redirty`](Self::redirty) it, or
    /// [`wait_released`](Self::wait_released) and try again. In mode `Skip`, only if the page is one block.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use writeback::{Config, Mapping, MemStore, SyncMode};
    ///
    /// let config = Config::new().page_size(16_384).block_size(4096);
    /// let mapping = Mapping::with_config(Arc::new(MemStore::new()), config)?;
    /// mapping.handle().write_at(&[1; 16_384], 0)?;
    /// mapping.handle().sync_data()?;
    /// mapping.handle().write_at(&[2; 10], 0)?;
    /// mapping.handle().write_at(&[2; 10], 9000)?;
    /// let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
    /// let claim = locked.clear_dirty_for_io().expect("it is dirty");
    /// let pieces = claim.start_blocks(SyncMode::Wait).expect("nobody holds any");
    /// let written: Vec<_> = pieces.iter().map(|piece| (piece.offset(), piece.image().len())).collect();
    /// assert_eq!(written, [(0, 4096), (8192, 4096)]);
    /// pieces.into_iter().for_each(|piece| piece.end(Ok(())));
    /// assert!(!mapping.page(0)?.snapshot().is_dirty());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn start_blocks(self, mode: SyncMode) -> std::result::Result<Vec<Writeback>, Self> {
        let mut pieces = Vec::new();
        self.start_pieces(mode, None, |piece| pieces.push(piece)).map(|_| pieces)
    }

    /// As [`start_blocks`](Self::start_blocks), calling `each` with the pieces, when the caller's latch, if it has it, is free; tells whether the page
    /// was declined, in part or whole.
    pub(super) fn start_pieces(
        mut self,
        mode: SyncMode,
        latch: Latched<'_>,
        each: impl FnMut(Writeback),
    ) -> std::result::Result<bool, Self> {
        let page = self.page();
        let core = page.core();
        let Ok(begun) = core.start_blocks(page, self.blocks, mode == SyncMode::Wait) else {
            return Err(self);
        };
        let division = core.division;
        let page = self.page.take().expect("present until decided");
        let Some(ticket) = begun.ticket else {
            drop(latch);
            page.core().unlock(&page);
            return Ok(true);
        };
        let writeback = Writeback::begun(page, ticket, begun.blocks, latch);
        writeback.into_pieces(division, each);
        Ok(begun.declined)
    }

    /// Gives the claim up: the page is dirty again, as old as before, and unlocked.
    ///
    /// The one right answer to everything that keeps the page from being written now, whoever is to
    /// blame and whether or not the caller thinks there is anything to write.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// # let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
    /// # let claim = locked.clear_dirty_for_io().expect("dirty");
    /// claim.redirty();
    /// assert!(mapping.page(0)?.snapshot().is_dirty());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn redirty(self) {
        drop(self);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(page) = &self.page {
            let core = &page.core();
            core.redirty(page, self.blocks);
            core.unlock(page);
        }
    }
}
