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

use std::ops::Range;
use std::sync::Arc;

use crate::buffer::{Image, copy_of, zeroed};
use crate::error::{Result, StoreError};
use crate::hooks::Positions;
use crate::modes::SyncMode;
use crate::page::blocks::BlockMap;
use crate::primitives::OnceLock;
use crate::rules::changes::Ended;
use crate::rules::page_ref::PageRef;
use crate::rules::pieces::Pieces;

/// A page whose lock the caller has: nobody else starts or decides its writeback, or removes it.
/// Readers and writers of the contents are not kept out. Dropping it unlocks.
///
/// # Examples
/// ```
/// use writeback::{Mapping, MemStore};
///
/// let mapping = Mapping::open(MemStore::new())?;
/// mapping.handle().write_at(b"abc", 0)?;
/// let locked = mapping.page(0)?.lock().expect("nobody truncates");
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
    /// # let locked = mapping.page(0)?.lock().expect("nobody truncates");
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
    /// # let locked = mapping.page(0)?.lock().expect("nobody truncates");
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
    /// let locked = mapping.page(0)?.lock().expect("nobody truncates");
    /// assert!(locked.mark_blocks_dirty(2..4)?);
    /// assert_eq!(locked.page().dirty_blocks(), 0b1100);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn mark_blocks_dirty(&self, blocks: Range<usize>) -> Result<bool> {
        self.mark_bytes_dirty(&self.page().check_blocks(&blocks)?)
    }

    fn mark_bytes_dirty(&self, bytes: &Range<usize>) -> Result<bool> {
        let _told = self.page().mapping().shared.tell_at_end();
        // Not as `PageRef` does it, whose caller may have to wait for a writeback.
        let _latch = self.page().contents.write();
        self.page().dirty_under_latch(bytes)
    }

    /// Forgets that the page is dirty, without writing it; returns whether it was. Its changes are
    /// lost unless they are made and marked again. For truncation and invalidation only.
    ///
    /// What a hold has [taken](crate::Hold::take_dirty) is its holder's, and not forgotten.
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
    /// let locked = mapping.page(0)?.lock().expect("nobody truncates");
    /// assert!(locked.cancel_dirty());
    /// assert_eq!(mapping.stats().dirty, 0);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn cancel_dirty(&self) -> bool {
        self.wait_writeback();
        self.page().mapping().shared.cancel_dirty(self.page())
    }

    /// Waits until the page is not under writeback; none can begin while it is locked.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// # let locked = mapping.page(0)?.lock().expect("nobody truncates");
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
    /// # let locked = mapping.page(0)?.lock().expect("nobody truncates");
    /// let claim = locked.clear_dirty_for_io().expect("dirty");
    /// claim.start_writeback().expect("not held").end(Ok(()));
    /// let locked = mapping.page(0)?.lock().expect("nobody truncates");
    /// assert!(locked.clear_dirty_for_io().is_err(), "clean");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn clear_dirty_for_io(self) -> std::result::Result<Claim, Self> {
        let page = self.page();
        if page.snapshot().is_under_writeback() {
            return Err(self);
        }
        let Some(blocks) = page.mapping().shared.clear_dirty_for_io(page) else {
            return Err(self);
        };
        Ok(Claim { page: Some(self.into_page()), blocks })
    }

    /// Takes the page out of the index, dirty or not. Waits for writebacks and other writers.
    pub(crate) fn remove(self) {
        let page = self.page();
        self.wait_writeback();
        while page.mapping().shared.remove(page).is_err() {
            page.wait_for_holds();
        }
    }
}

impl Drop for LockedPage {
    fn drop(&mut self) {
        if let Some(page) = &self.page {
            page.mapping().shared.unlock(page);
        }
    }
}

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
/// let locked = mapping.page(0).unwrap().lock().unwrap();
/// let claim = locked.clear_dirty_for_io().unwrap();
/// claim.redirty();
/// claim.redirty(); // error: use of moved value
/// ```
///
/// # Examples
/// ```
/// use writeback::{Mapping, MemStore, PageTag};
///
/// let mapping = Mapping::open(MemStore::new())?;
/// mapping.handle().write_at(b"abc", 0)?;
/// let locked = mapping.page(0)?.lock().expect("nobody truncates");
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
    /// The page.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// # let locked = mapping.page(0)?.lock().expect("nobody truncates");
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
    /// # let locked = mapping.page(0)?.lock().expect("nobody truncates");
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
    /// # let locked = mapping.page(0)?.lock().expect("nobody truncates");
    /// # let claim = locked.clear_dirty_for_io().expect("dirty");
    /// claim.wait_released(); // nobody holds it: returns at once
    /// assert!(claim.start_writeback().is_ok());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn wait_released(&self) {
        self.page().wait_for_holds();
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
    /// let locked = mapping.page(0)?.lock().expect("nobody truncates");
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
        let shared = &self.page().mapping().shared;
        let Ok(ticket) = shared.start_writeback(self.page()) else {
            return Err(self);
        };
        let page = self.page.take().expect("present until decided");
        let blocks = page.all_blocks();
        Ok(Writeback::begun(page, ticket, blocks))
    }

    /// Puts what is dirty of the page under writeback and releases the page lock: one piece for each run of
    /// dirty blocks that lie side by side, to be written and ended each by itself, in any order. The page's
    /// writeback ends with the last of them. None if nothing dirty lies within the mapping. Blocks that became
    /// dirty since the claim come along.
    ///
    /// If a block of the page is held, mode `None` leaves those that are, and the page is dirty again,
    /// whether or not they seemed to be; if that leaves nothing to write, nothing is begun.
    ///
    /// # Errors
    /// In mode `All`, gives the claim back if any of the page is held: [`redirty`](Self::redirty) it, or
    /// [`wait_released`](Self::wait_released) and try again. In mode `None`, only if the page is one block.
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
    /// let locked = mapping.page(0)?.lock().expect("nobody truncates");
    /// let claim = locked.clear_dirty_for_io().expect("it is dirty");
    /// let pieces = claim.start_blocks(SyncMode::All).expect("nobody holds any");
    /// let written: Vec<_> = pieces.iter().map(|piece| (piece.offset(), piece.image().len())).collect();
    /// assert_eq!(written, [(0, 4096), (8192, 4096)]);
    /// pieces.into_iter().for_each(|piece| piece.end(Ok(())));
    /// assert!(!mapping.page(0)?.snapshot().is_dirty());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn start_blocks(self, mode: SyncMode) -> std::result::Result<Vec<Writeback>, Self> {
        self.start_pieces(mode).map(|(pieces, _)| pieces)
    }

    /// As [`start_blocks`](Self::start_blocks); also tells whether the page was declined in part or whole.
    pub(crate) fn start_pieces(
        mut self,
        mode: SyncMode,
    ) -> std::result::Result<(Vec<Writeback>, bool), Self> {
        let page = self.page();
        let shared = &page.mapping().shared;
        let Ok(begun) = shared.start_blocks(page, self.blocks, mode == SyncMode::All) else {
            return Err(self);
        };
        let division = shared.division;
        let page = self.page.take().expect("present until decided");
        let Some(ticket) = begun.ticket else {
            page.mapping().shared.unlock(&page);
            return Ok((Vec::new(), true));
        };
        let writeback = Writeback::begun(page, ticket, begun.blocks);
        Ok((writeback.into_pieces(division), begun.declined))
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
    /// # let locked = mapping.page(0)?.lock().expect("nobody truncates");
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
            let shared = &page.mapping().shared;
            shared.redirty(page, self.blocks);
            shared.unlock(page);
        }
    }
}

/// A page being written. Whoever does the I/O owns it and ends it, on any thread; it holds no lock.
/// Dropping it ends it as [`StoreError::Lost`], which leaves the page dirty.
///
/// # Examples
/// ```
/// use writeback::{Mapping, MemStore};
///
/// let mapping = Mapping::open(MemStore::new())?;
/// let handle = mapping.handle();
/// handle.write_at(b"abc", 0)?;
/// let locked = mapping.page(0)?.lock().expect("nobody truncates");
/// let claim = locked.clear_dirty_for_io().expect("it is dirty");
/// drop(claim.start_writeback().expect("nobody holds it"));
/// assert!(handle.check_error().is_err());
/// assert!(mapping.page(0)?.snapshot().is_dirty());
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a writeback reports the page as lost"]
pub struct Writeback {
    pub(crate) page: PageRef,
    pub(crate) ticket: u64,
    /// `None` once it has ended.
    pub(crate) image: Option<Image>,
    pub(crate) positions: Positions,
    /// Why there is no image: however the write ends, it has failed.
    pub(crate) unsealed: Option<StoreError>,
    /// What it writes.
    pub(crate) blocks: BlockMap,
    /// The writeback that this is a piece of, if there are others.
    pub(crate) whole: Option<Arc<Pieces>>,
    /// Where somebody looks for how this very write ended.
    pub(crate) verdict: Option<Arc<Verdict>>,
}

/// What one write failed with; there, if it failed, before the write can be seen to have ended.
pub(crate) type Verdict = OnceLock<StoreError>;

impl Writeback {
    /// The writeback with `ticket` has begun; the caller has the page lock, which is released here.
    fn begun(page: PageRef, ticket: u64, blocks: BlockMap) -> Self {
        // Clear, then take the image: never the other way round.
        let (image, positions) = page.image_for_io();
        page.mapping().shared.unlock(&page);
        let image = Some(image);
        let (unsealed, whole, verdict) = (None, None, None);
        let mut writeback =
            Self { page, ticket, image, positions, unsealed, blocks, whole, verdict };
        writeback.seal();
        writeback
    }

    /// The page.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// # let locked = mapping.page(0)?.lock().expect("nobody truncates");
    /// # let claim = locked.clear_dirty_for_io().expect("dirty");
    /// # let writeback = claim.start_writeback().expect("not held");
    /// assert!(writeback.page().snapshot().is_under_writeback());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn page(&self) -> &PageRef {
        &self.page
    }

    /// Where the image goes, in bytes.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// # let locked = mapping.page(0)?.lock().expect("nobody truncates");
    /// # let claim = locked.clear_dirty_for_io().expect("dirty");
    /// # let writeback = claim.start_writeback().expect("not held");
    /// assert_eq!(writeback.offset(), 0);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn offset(&self) -> u64 {
        self.page.offset() + self.image().within() as u64
    }

    /// What to write: the page, or the part of it that this is a piece for, as it was when it was claimed or
    /// later, cut at the end of the mapping (padded with zeros, if the store has an
    /// [alignment](crate::Limits::alignment)), and [sealed](crate::Seal). Empty if the page lies beyond the end;
    /// then there is nothing to write. Empty, too, if it could not be sealed: then the write fails, however it
    /// is [ended](Self::end).
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// # let locked = mapping.page(0)?.lock().expect("nobody truncates");
    /// # let claim = locked.clear_dirty_for_io().expect("dirty");
    /// # let writeback = claim.start_writeback().expect("not held");
    /// assert_eq!(writeback.image().as_ref(), b"abc");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    #[expect(clippy::missing_panics_doc, reason = "the image is there until self is consumed")]
    pub fn image(&self) -> &Image {
        self.image.as_ref().expect("present until ended")
    }

    /// How far the [log](crate::Log) has to be durable before the image is handed to any store; `None`:
    /// nothing in it was logged. For who does the I/O himself: a pass sees to it.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// # let locked = mapping.page(0)?.lock().expect("nobody truncates");
    /// # let claim = locked.clear_dirty_for_io().expect("dirty");
    /// # let writeback = claim.start_writeback().expect("not held");
    /// assert_eq!(writeback.log_position(), None);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn log_position(&self) -> Option<u64> {
        self.positions.newest()
    }

    /// The write is over. On error the page is dirty again and the error is recorded for every
    /// handle, both before anybody can see that the write is over.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// # let locked = mapping.page(0)?.lock().expect("nobody truncates");
    /// # let claim = locked.clear_dirty_for_io().expect("dirty");
    /// # let writeback = claim.start_writeback().expect("not held");
    /// writeback.end(Ok(()));
    /// assert!(!mapping.page(0)?.snapshot().is_dirty());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn end(mut self, result: std::result::Result<(), StoreError>) {
        let result = self.unsealed.take().map_or(result, Err);
        let failed = result.is_err();
        if let Err(error) = result {
            // I12: recorded before anybody can see that the write is over.
            self.judge(&error);
            self.page.mapping().shared.errors.record(error, 1);
        }
        self.finish(failed);
        self.page.mapping().shared.tell_counts();
    }

    /// Ends writes that were one to the store: `accepted` bytes from the front, then `error` came.
    ///
    /// The error is recorded once for all its pages, before any of them is seen to have ended: who
    /// waits for some of them and is told is not told again when the others end.
    ///
    /// Returns how many ended well.
    pub(crate) fn end_batch(writebacks: Vec<Self>, accepted: u64, error: StoreError) -> u64 {
        let mut end = 0;
        let within = |writeback: &Self| {
            end += writeback.image().len() as u64;
            end <= accepted
        };
        let well = writebacks.iter().map(within).take_while(|within| *within).count();
        if let Some(first) = writebacks.get(well) {
            let errors = &first.page.mapping().shared.errors;
            writebacks[well..].iter().for_each(|failed| failed.judge(&error));
            errors.record(error, (writebacks.len() - well) as u64);
        }
        for (at, mut writeback) in writebacks.into_iter().enumerate() {
            writeback.finish(at >= well);
        }
        well as u64
    }

    /// Seals the image: a copy of it, because the page has these bytes too.
    fn seal(&mut self) {
        let shared = &self.page.mapping().shared;
        let (Some(sealer), Some(image)) = (&shared.sealer, &self.image) else { return };
        if image.is_empty() {
            return;
        }
        let mut bytes = copy_of(image.as_ref());
        if let Err(error) = sealer.seal(self.page.index(), &mut bytes) {
            shared.counters.seal_errors.add(1);
            self.unsealed = Some(StoreError::Seal(Arc::new(error)));
            bytes = zeroed(0);
        }
        let len = bytes.len();
        self.image = Some(Image::new(Arc::new(bytes), len));
    }

    /// The same, and `verdict` is to tell what it fails with, if it does.
    pub(crate) fn telling(mut self, verdict: Option<&Arc<Verdict>>) -> Self {
        self.verdict = verdict.cloned();
        self
    }

    fn judge(&self, error: &StoreError) {
        if let Some(verdict) = &self.verdict {
            verdict.get_or_init(|| error.clone());
        }
    }

    pub(crate) fn finish(&mut self, failed: bool) {
        let Some(image) = self.image.take() else { return };
        let shared = &self.page.mapping().shared;
        if !failed {
            shared.counters.bytes_written.add(image.len() as u64);
        }
        // Also if it failed: nobody knows how much of it reached the store.
        shared.note_ended(&self.page, &image);
        let failed = if failed { self.blocks } else { BlockMap::NONE };
        let ended = match &self.whole {
            None => Some((failed, u64::from(!failed.is_empty()))),
            Some(whole) => whole.end_one(failed),
        };
        if let Some((failed, errors)) = ended {
            let (ticket, positions, wrote) = (self.ticket, self.positions, !image.is_empty());
            let ended = Ended { ticket, positions, wrote, failed, errors };
            self.page.mapping().shared.end_writeback(&self.page, ended);
        }
        drop(image);
        self.page.image_gone();
    }
}

impl Drop for Writeback {
    fn drop(&mut self) {
        if self.image.is_some() {
            let error = self.unsealed.take().unwrap_or(StoreError::Lost);
            self.judge(&error);
            self.page.mapping().shared.errors.record(error, 1);
            self.finish(true);
            self.page.mapping().shared.tell_counts();
        }
    }
}
