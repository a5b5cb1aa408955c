//! A page being written, until its write has ended.

use std::io;
use std::sync::Arc;

use crate::buffer::Image;
use crate::error::StoreError;
use crate::pages::blocks::BlockMap;
use crate::pages::positions::Positions;
use crate::pages::state::Wake;
use crate::primitives::OnceLock;
use crate::rules::changes::Ended;
use crate::rules::page_ref::{Latched, PageRef};
use crate::rules::pieces::Whole;

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
/// let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
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
    /// `None` once it has been handed over, or the write has ended.
    image: Option<Image>,
    /// Where it begins in the page, and how many bytes it has.
    within: usize,
    len: usize,
    /// The write has not ended.
    open: bool,
    pub(crate) positions: Positions,
    /// Why there is no image: however the write ends, it has failed.
    pub(crate) unsealed: Option<Arc<io::Error>>,
    /// What it writes.
    pub(crate) blocks: BlockMap,
    /// The writeback that this is a piece of, if there are others.
    pub(crate) whole: Option<Arc<Whole>>,
    /// Where somebody looks for how this very write ended.
    pub(crate) verdict: Option<Arc<Verdict>>,
}

/// What one write failed with; there, if it failed, before the write can be seen to have ended.
pub(crate) type Verdict = OnceLock<StoreError>;

impl Writeback {
    /// The writeback with `ticket` has begun; the caller has the page lock, and perhaps the latch, which are released here.
    #[inline]
    pub(super) fn begun(page: PageRef, ticket: u64, blocks: BlockMap, latch: Latched<'_>) -> Self {
        // Clear, then take the image: never the other way round.
        let (image, positions) = page.image_for_io(latch);
        page.core().unlock(&page);
        let mut writeback = Self::new(page, ticket, image, positions, blocks);
        writeback.seal();
        writeback
    }

    #[inline]
    fn new(
        page: PageRef,
        ticket: u64,
        image: Image,
        positions: Positions,
        blocks: BlockMap,
    ) -> Self {
        let (within, len, image) = (image.within(), image.len(), Some(image));
        let (unsealed, whole, verdict) = (None, None, None);
        let open = true;
        Self { page, ticket, image, within, len, open, positions, unsealed, blocks, whole, verdict }
    }

    /// One of several pieces of this write: it writes these blocks, whose image this is.
    pub(super) fn piece(&self, blocks: BlockMap, image: Image, whole: &Arc<Whole>) -> Self {
        let mut piece = Self::new(self.page.clone(), self.ticket, image, self.positions, blocks);
        piece.whole = Some(Arc::clone(whole));
        piece.verdict.clone_from(&self.verdict);
        piece
    }

    /// Writes this, and no more.
    pub(super) fn set_image(&mut self, image: Image) {
        (self.within, self.len) = (image.within(), image.len());
        self.image = Some(image);
    }

    /// The pieces answer for it now.
    pub(super) fn become_pieces(mut self) {
        self.image = None;
        self.open = false;
    }

    /// The image, for a batch, which alone has it from now on.
    pub(crate) fn hand_over(&mut self) -> Image {
        self.image.take().expect("handed over once")
    }

    /// How many bytes it writes.
    pub(crate) fn len(&self) -> usize {
        self.len
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
    /// # let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
    /// # let claim = locked.clear_dirty_for_io().expect("dirty");
    /// # let writeback = claim.start_writeback().expect("not held");
    /// assert_eq!(writeback.offset(), 0);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn offset(&self) -> u64 {
        self.page.offset() + self.within as u64
    }

    /// What to write: the page, or the part of it that this is a piece for, as it was when it was claimed or
    /// later, cut at the end of the mapping (padded with zeros, if the store has an
    /// [alignment](crate::store::Limits::alignment)), and [sealed](crate::hooks::Seal). Empty if the page lies beyond the end;
    /// then there is nothing to write. Empty, too, if it could not be sealed: then the write fails, however it
    /// is [ended](Self::end).
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// # let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
    /// # let claim = locked.clear_dirty_for_io().expect("dirty");
    /// # let writeback = claim.start_writeback().expect("not held");
    /// assert_eq!(writeback.image().as_ref(), b"abc");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    #[expect(clippy::missing_panics_doc, reason = "the image is there until self is consumed")]
    pub fn image(&self) -> &Image {
        self.image.as_ref().expect("present until it is handed over")
    }

    /// How far the [log](crate::hooks::Log) has to be durable before the image is handed to any store; `None`:
    /// nothing in it was logged. For who does the I/O himself: a pass sees to it.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// # let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
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
    /// # let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
    /// # let claim = locked.clear_dirty_for_io().expect("dirty");
    /// # let writeback = claim.start_writeback().expect("not held");
    /// writeback.end(Ok(()));
    /// assert!(!mapping.page(0)?.snapshot().is_dirty());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn end(mut self, result: std::result::Result<(), StoreError>) {
        let result = self.unsealed.take().map_or(result, |error| Err(StoreError::Seal(error)));
        let failed = result.is_err();
        if let Err(error) = result {
            // I-ERROR-FIRST: recorded before anybody can see that the write is over.
            self.judge(&error);
            self.page.core().errors.record(error, 1);
        }
        let wake = self.finish(failed);
        self.page.wake(wake);
        self.page.core().tell_counts();
    }

    /// Ends writes that were one to the store: `accepted` bytes from the front, then `error` came.
    ///
    /// The error is recorded once for all its pages, before any of them is seen to have ended: who
    /// waits for some of them and is told is not told again when the others end.
    ///
    /// Returns how many ended well.
    pub(crate) fn end_batch(mut writebacks: Vec<Self>, accepted: u64, error: StoreError) -> u64 {
        let mut end = 0;
        let within = |writeback: &Self| {
            end += writeback.len as u64;
            end <= accepted
        };
        let well = writebacks.iter().map(within).take_while(|within| *within).count();
        if let Some(first) = writebacks.get(well) {
            let errors = &first.page.core().errors;
            writebacks[well..].iter().for_each(|failed| failed.judge(&error));
            errors.record(error, (writebacks.len() - well) as u64);
        }
        let all = writebacks.iter_mut().enumerate();
        let wakes: Vec<_> = all.map(|(at, writeback)| writeback.finish(at >= well)).collect();
        // Not before: a waker may run what waits for all of them.
        writebacks.iter().zip(wakes).for_each(|(writeback, wake)| writeback.page.wake(wake));
        well as u64
    }

    /// Seals the image: a copy of it, because the page has these bytes too.
    fn seal(&mut self) {
        let core = &self.page.core();
        let (Some(sealer), Some(image)) = (&core.sealer, &self.image) else { return };
        if image.is_empty() {
            return;
        }
        let (image, sealed) = image.changed(|bytes| sealer.seal(self.page.index(), bytes));
        if let Err(error) = sealed {
            core.counters.seal_errors.add(1);
            self.unsealed = Some(Arc::new(error));
        }
        self.set_image(image);
    }

    /// `verdict` is to tell what it fails with, if it does.
    pub(crate) fn tell(&mut self, verdict: Option<&Arc<Verdict>>) {
        self.verdict = verdict.cloned();
    }

    fn judge(&self, error: &StoreError) {
        if let Some(verdict) = &self.verdict {
            verdict.get_or_init(|| error.clone());
        }
    }

    /// Those who wait are to be woken, when all is done that is to be done at the end.
    pub(crate) fn finish(&mut self, failed: bool) -> Wake {
        if !std::mem::replace(&mut self.open, false) {
            return Wake::default();
        }
        let image = self.image.take();
        let core = &self.page.core();
        if !failed {
            core.counters.bytes_written.add(self.len as u64);
        }
        // Also if it failed: nobody knows how much of it reached the store.
        core.note_ended(&self.page, self.within, self.len);
        let failed = if failed { self.blocks } else { BlockMap::NONE };
        let ended = match &self.whole {
            None => Some((failed, u64::from(!failed.is_empty()))),
            Some(whole) => whole.end_one(failed),
        };
        let wake = ended.map(|(failed, errors)| {
            let (ticket, positions, wrote) = (self.ticket, self.positions, self.len > 0);
            let ended = Ended { ticket, positions, wrote, failed, errors };
            self.page.core().end_writeback(&self.page, ended)
        });
        drop(image);
        self.page.image_gone();
        wake.unwrap_or_default()
    }
}

impl Drop for Writeback {
    fn drop(&mut self) {
        if self.open {
            let error = self.unsealed.take().map_or(StoreError::Lost, StoreError::Seal);
            self.judge(&error);
            self.page.core().errors.record(error, 1);
            let wake = self.finish(true);
            self.page.wake(wake);
            self.page.core().tell_counts();
        }
    }
}
