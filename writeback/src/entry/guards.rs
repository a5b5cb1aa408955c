//! Guards: a page's bytes in place, for as long as the caller likes.
//!
//! A guard has the content latch, and is [noted](crate::held) by its thread. A page is marked dirty when a write guard is taken,
//! under the latch, and images are taken under the latch: so whoever claims the page while the guard is there takes
//! its image when the guard is gone, with all that was changed; and a panic that drops the guard leaves the page dirty.

use std::fmt;
use std::ops::{Deref, DerefMut, Range};

use crate::buffer::Contents;
use crate::error::{Error, Result};
use crate::held::{self, Noted};
use crate::hooks::Reserved;
use crate::primitives::{LatchReadGuard, LatchWriteGuard};
use crate::rules::page_ref::PageRef;
use crate::rules::telling::AtEnd;

/// The bytes of a page, for reading. Nobody changes them while this exists.
///
/// They are those that are the caller's ([`Mapping::payload`](crate::Mapping::payload)): all of the page, unless there is a seal. Beyond
/// the end of the mapping they are zeros. A page that was never read ([`cached_page`](crate::Mapping::cached_page) can find
/// such) has none.
///
/// It borrows from the [`PageRef`]. To go from page to page with a guard of the one before, keep the references in a place that
/// outlives the guards: example `btree` does, an array of `OnceCell`s.
///
/// # Concurrency
/// Writers of the page wait. What this thread may call meanwhile is in the [table](crate#while-a-guard-is-held).
///
/// # Examples
/// ```
/// use writeback::{Mapping, MemStore};
///
/// let mapping = Mapping::open(MemStore::with_contents(b"hello"))?;
/// let page = mapping.page(0)?;
/// let bytes = page.read();
/// assert_eq!(&bytes[..5], b"hello");
/// assert!(page.try_write().is_err());
/// # Ok::<(), writeback::Error>(())
/// ```
///
/// It stays with its thread:
/// ```compile_fail,E0277
/// # let mapping = writeback::Mapping::open(writeback::MemStore::with_contents(b"hello")).unwrap();
/// # let page = mapping.page(0).unwrap();
/// let bytes = page.read();
/// std::thread::scope(|scope| _ = scope.spawn(move || bytes.len()));
/// ```
// Fields are dropped in this order: the latch is free before the thread is said to have none, and that before observers are told.
#[must_use = "dropping it lets go of the bytes"]
pub struct PageReadGuard<'p> {
    /// `None`: the page has no bytes yet. Who reads them in waits for nobody who looks at none.
    contents: Option<LatchReadGuard<'p, Contents>>,
    bytes: Range<usize>,
    page: &'p PageRef,
    _noted: Option<Noted>,
    _told: AtEnd<'p>,
}

impl PageReadGuard<'_> {
    /// The page.
    pub fn page(&self) -> &PageRef {
        self.page
    }

    /// With what is the seal's.
    fn all(&self) -> &[u8] {
        self.contents.as_ref().map_or(&[], |contents| contents.as_slice())
    }
}

impl Deref for PageReadGuard<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.all()[self.bytes.clone()]
    }
}

impl fmt::Debug for PageReadGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PageReadGuard").field(self.page).finish()
    }
}

/// The bytes of a page, or some of them, for change: the page is dirty from the moment that this is taken.
///
/// The bytes are those that are the caller's ([`Mapping::payload`](crate::Mapping::payload)), within the length of the mapping. To change
/// a part only, which may reach beyond the end, there is [`write_bytes`](PageRef::write_bytes).
///
/// Dropping it in a panic leaves the page dirty, with what was written. A page that is cut away while this exists is gone,
/// and what is written here with it.
///
/// # Concurrency
/// Readers and other writers of the page wait, and so does whoever takes its image to write it, a sync
/// for one; a write that is under way has an image of its own, and goes on. What this thread may call meanwhile is in the
/// [table](crate#while-a-guard-is-held).
///
/// # Examples
/// ```
/// use writeback::{Mapping, MemStore};
///
/// let store = MemStore::with_contents(vec![0; 4096]);
/// let mapping = Mapping::open(store.clone())?;
/// let page = mapping.page(0)?;
/// let mut bytes = page.write()?;
/// bytes[..3].copy_from_slice(b"abc");
/// bytes.reverse();
/// drop(bytes);
/// mapping.handle().sync_data()?;
/// assert_eq!(&store.durable()[4093..], b"cba");
/// # Ok::<(), writeback::Error>(())
/// ```
#[must_use = "dropping it lets go of the bytes"]
pub struct PageWriteGuard<'p> {
    /// Of the log; the page's latch guards that it is let go of.
    reserved: Option<Reserved<'p>>,
    contents: LatchWriteGuard<'p, Contents>,
    bytes: Range<usize>,
    page: &'p PageRef,
    _noted: Noted,
    _told: AtEnd<'p>,
}

impl PageWriteGuard<'_> {
    /// The page.
    pub fn page(&self) -> &PageRef {
        self.page
    }

    /// The change, or a part of it, has a record at `position` in the [log](crate::hooks::Log): the page is not
    /// written before the log is durable up to there. Can be called for several records, before the bytes are changed or after.
    ///
    /// The log is not to be truncated beyond what is appended to it while this guard exists and is not said to be logged
    /// ([`oldest_unwritten`](crate::Mapping::oldest_unwritten)), as in [`write_logged`](PageRef::write_logged).
    ///
    /// # Errors
    /// [`Error::Config`] if the mapping has no log or `position` is `u64::MAX`.
    pub fn log_at(&mut self, position: u64) -> Result<()> {
        self.page.core().order()?;
        if position == u64::MAX {
            return Err(Error::Config { reason: "u64::MAX is not a log position" });
        }
        if let Some(reserved) = &mut self.reserved {
            reserved.note(position);
        }
        Ok(())
    }

    /// The log is held from where it was durable before the latch was taken.
    fn reserving(mut self, floor: Option<u64>) -> Self {
        let page = self.page;
        if let (Ok(order), Some(floor)) = (page.core().order(), floor) {
            self.reserved = Some(Reserved::new(order, &page.positions, floor));
        }
        self
    }
}

impl Deref for PageWriteGuard<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.contents.as_slice()[self.bytes.clone()]
    }
}

impl DerefMut for PageWriteGuard<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.contents.make_mut()[self.bytes.clone()]
    }
}

impl fmt::Debug for PageWriteGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PageWriteGuard").field(self.page).field(&self.bytes).finish()
    }
}

/// Which bytes are to be changed.
#[derive(Debug, Clone, Copy)]
enum Part<'b> {
    /// The caller's, as far as the mapping goes.
    Whole,
    /// These, and the mapping goes as far as this.
    Bytes(&'b Range<usize>, u64),
}

impl PageRef {
    /// Waits until nobody changes the page, and gives its bytes.
    #[inline]
    pub fn read(&self) -> PageReadGuard<'_> {
        self.core().used(self);
        self.reading(self.core().latch(self))
    }

    /// As [`read`](Self::read), but does not wait: `None` if somebody changes the page, or waits to.
    pub fn try_read(&self) -> Option<PageReadGuard<'_>> {
        self.core().used(self);
        self.contents.try_read().map(|contents| self.reading(contents))
    }

    #[inline]
    fn reading<'p>(&'p self, contents: LatchReadGuard<'p, Contents>) -> PageReadGuard<'p> {
        let core = self.core();
        let is_empty = contents.as_slice().is_empty();
        let bytes = if is_empty { 0..0 } else { core.payload() };
        PageReadGuard {
            contents: (!is_empty).then_some(contents),
            bytes,
            page: self,
            _noted: (!is_empty).then(|| Noted::new(core.id(), self.index(), false)),
            _told: core.tell_at_end(),
        }
    }

    /// Calls `f` with the contents: all bytes of the page, what is the seal's included, zeros beyond the end of
    /// the mapping, or no bytes if the page has never been read. [`read`](Self::read) with a closure.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let sum: u64 = mapping.page(0)?.read_with(|bytes| bytes.iter().map(|byte| u64::from(*byte)).sum());
    /// assert_eq!(sum, 97 + 98 + 99);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn read_with<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        f(self.read().all())
    }

    /// Waits until nobody reads or changes the page, marks all of it dirty, and gives its bytes, which never
    /// lengthens the mapping.
    ///
    /// # Concurrency
    /// First waits for room for a dirty page, as [`write_at`](crate::Handle::write_at) does; a thread that has a guard
    /// already is let in over the limit instead (see [`wait_for_room`](crate::Mapping::wait_for_room)).
    ///
    /// # Errors
    /// [`Error::Gone`] if the page was truncated away, or never read; [`Error::Closed`] or
    /// [`Error::Poisoned`] if the mapping takes no changes; [`Error::Stalled`] if there is no room for dirty pages and none
    /// can be written. The page is as it was in each case.
    pub fn write(&self) -> Result<PageWriteGuard<'_>> {
        let floor = self.log_floor();
        self.dirty(Part::Whole, true).map(|(_, guard)| guard.reserving(floor))
    }

    /// As [`write`](Self::write), but does not wait, for room or for who has the page.
    ///
    /// # Errors
    /// As [`write`](Self::write), and [`Error::WouldBlock`].
    pub fn try_write(&self) -> Result<PageWriteGuard<'_>> {
        let floor = self.log_floor();
        self.dirty(Part::Whole, false).map(|(_, guard)| guard.reserving(floor))
    }

    /// As [`write`](Self::write), of a part of the page: of its blocks those with any of `bytes` are marked
    /// dirty. Lengthens the mapping if they end beyond it, unless there are none.
    ///
    /// # Errors
    /// As [`write_with`](Self::write_with), and [`Error::WouldBlock`] if the mapping is to be lengthened while it is being cut,
    /// and this thread has a guard that the cut may wait for.
    pub fn write_bytes(&self, bytes: Range<usize>) -> Result<PageWriteGuard<'_>> {
        let floor = self.log_floor();
        self.dirty_bytes(&bytes).map(|guard| guard.reserving(floor))
    }

    /// How far the log is durable. Asked before the latch is taken; what is appended later is beyond it.
    fn log_floor(&self) -> Option<u64> {
        Some(self.core().order.as_ref()?.durable())
    }

    /// Marks these bytes dirty, once they are known to be the caller's.
    pub(crate) fn dirty_bytes(&self, bytes: &Range<usize>) -> Result<PageWriteGuard<'_>> {
        let core = self.core();
        let out_of_range = |_| self.out_of_range(bytes);
        let end = core.check_span(self.offset(), bytes.end as u64).map_err(out_of_range)?;
        if bytes.start > bytes.end || bytes.end > core.page_size {
            return Err(self.out_of_range(bytes));
        }
        if core.sealer.as_ref().is_some_and(|sealer| sealer.reserves_any_of(bytes)) {
            let offset = self.offset() + bytes.start as u64;
            return Err(Error::Reserved { offset, len: bytes.len() as u64 });
        }
        // No bytes are within any length.
        let end = if bytes.is_empty() { 0 } else { end };
        self.dirty(Part::Bytes(bytes, end), true).map(|(_, guard)| guard)
    }

    /// Marks what has these bytes dirty, and no more; tells whether the page was clean.
    pub(crate) fn mark_bytes_dirty(&self, bytes: &Range<usize>) -> Result<bool> {
        self.dirty(Part::Bytes(bytes, 0), true).map(|(was_clean, _)| was_clean)
    }

    /// The way to dirty a page in hand: told of at the end, admitted, latched, marked dirty, in this order, and then
    /// the caller has it, and whether it was clean.
    fn dirty(&self, part: Part<'_>, may_wait: bool) -> Result<(bool, PageWriteGuard<'_>)> {
        let core = self.core();
        if may_wait {
            held::refuse_page(core.id(), self.index(), true, "a change of the page");
        }
        let told = core.tell_at_end();
        let _admission = core.admit_dirtier(self.index(), may_wait)?;
        let end = if let Part::Bytes(_, end) = part { end } else { 0 };
        loop {
            let no_truncate = if end > core.len() { Some(core.no_truncate()?) } else { None };
            let growth = match &no_truncate {
                Some(_) => Some(core.prepare_to_lengthen(end)?.begin()),
                None => None,
            };
            let contents = match may_wait {
                true => self.contents.write(),
                false => self.contents.try_write().ok_or(Error::WouldBlock)?,
            };
            if growth.is_none() && end > core.len() {
                continue; // It was truncated in between.
            }
            let bytes = match part {
                Part::Bytes(bytes, _) => bytes.clone(),
                Part::Whole => self.bytes_within()?,
            };
            let was_clean = self.dirty_under_latch(&bytes)?;
            if let Some(growth) = growth {
                growth.end();
            }
            let noted = Noted::new(core.id(), self.index(), true);
            let guard = PageWriteGuard {
                reserved: None,
                contents,
                bytes,
                page: self,
                _noted: noted,
                _told: told,
            };
            return Ok((was_clean, guard));
        }
    }

    /// The caller's bytes of the page, within the length. The caller has the latch: a cut that lowers the length now comes to
    /// the page's bytes afterwards.
    fn bytes_within(&self) -> Result<Range<usize>> {
        let core = self.core();
        let within = core.len().saturating_sub(self.offset());
        let bytes = core.payload();
        let end = usize::try_from(within).unwrap_or(usize::MAX).min(bytes.end);
        if within == 0 {
            return Err(Error::Gone { index: self.index() });
        }
        Ok(bytes.start.min(end)..end)
    }

    fn out_of_range(&self, bytes: &Range<usize>) -> Error {
        let offset = self.offset().saturating_add(bytes.start as u64);
        Error::OutOfRange { offset, len: bytes.len() as u64 }
    }
}
