//! Reading and writing bytes through the cache.
//!
//! Each access first tries the *fast path*: the page is cached, valid and within the length, so all
//! it needs is the index and the page's content latch. Whatever it checks it checks under the latch,
//! because truncate changes a page's membership and tail under the latch too. Everything else goes
//! the *slow path*: shared hold of the truncate lock, page lock, store; of reads in [`runs`](super::runs).
//!
//! Nothing here writes to the store, and no index guard is held while anything is waited for but a
//! latch.

use std::sync::Arc;
use std::time::Duration;

use page_frames::Frame;

use super::ahead::Sequence;
use crate::buffer::Contents;
use crate::error::{Error, Result, StoreError};
use crate::held;
use crate::hooks::ReadEvent;
use crate::index::Pinned;
use crate::pages::Page;
use crate::pages::keep::Kept;
use crate::pages::state::Snapshot;
use crate::primitives::{LatchReadGuard, Mutex, MutexGuard};
use crate::rules::core::{Core, Room};
use crate::store;
use crate::wait;

/// The part of an access that lies in one page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) index: u64,
    pub(crate) within: usize,
    pub(crate) len: usize,
    /// First byte of the mapping after it.
    pub(crate) end: u64,
    /// Of the log's record of the change.
    pub(crate) position: Option<u64>,
    /// It must not lengthen the mapping.
    pub(crate) stays: bool,
}

/// What became of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    Yes,
    /// Somebody changes the page, or is about to.
    Busy,
    /// It is not cached, or was just cut away.
    Missing,
}

/// The bytes of a piece that a thread writes for a task; `None`: the task is gone.
pub(crate) type Wanted = Mutex<Option<Box<[u8]>>>;

/// What became of a write of a task, which waits for nothing.
pub(crate) enum Tried {
    Done,
    /// The page has to be read before.
    Missing,
    /// Somebody has the lock of the page, which has no contents.
    Busy(Kept),
    /// Somebody has the page's latch.
    Latched,
    /// The mapping is being cut.
    Cut,
    /// The mapping cannot grow: the store is being cut, or has to be before.
    Growing,
    /// There is no room for a dirty page.
    Full,
    /// The page has gone meanwhile.
    Gone,
}

impl Core {
    /// The end of `len` bytes from `offset`, if the store can address it.
    pub(crate) fn check_span(&self, offset: u64, len: u64) -> Result<u64> {
        let end = offset.checked_add(len).filter(|end| *end <= self.len_max);
        end.ok_or(Error::OutOfRange { offset, len })
    }

    /// The piece of `len` bytes from `offset` that lies in the first page of them.
    pub(crate) fn piece(&self, offset: u64, len: usize) -> Piece {
        let mask = self.page_size - 1;
        #[expect(clippy::cast_possible_truncation, reason = "masked to below the page size")]
        let within = offset as usize & mask;
        let len = len.min(self.page_size - within);
        let (index, end) = (self.page_index(offset), offset + len as u64);
        Piece { index, within, len, end, position: None, stays: false }
    }

    /// The page was asked for, and is there: a hit, and a use.
    #[inline]
    pub(crate) fn found(&self, page: &Page) {
        self.counters.hits.count();
        self.used(page);
    }

    /// By a handle, whose `sequence` says whether that is a use.
    #[inline]
    fn found_by(&self, sequence: &Sequence, page: &Page) {
        self.counters.hits.count();
        self.used_if(page, || sequence.is_use());
    }

    pub(crate) fn read_cached(&self, piece: Piece, into: &mut [u8], by: &Sequence) -> bool {
        let pinned = self.tree.pin();
        match pinned.get(piece.index) {
            Some(page) if page.snapshot().is_uptodate() => {
                self.found_by(by, &page);
                self.copy_out(&page, piece, into)
            }
            _ => false,
        }
    }

    /// Latches the page's bytes for reading.
    #[inline]
    pub(crate) fn latch<'p>(&self, page: &'p Page) -> LatchReadGuard<'p, Contents> {
        if held::is_held(self.id(), page.index()) {
            held::refuse_page(self.id(), page.index(), false, "reading the page");
            // Not behind a writer who waits for this thread.
            return page.contents.read_recursive();
        }
        page.contents.read()
    }

    fn refuse_to_write(&self, page: &Page) {
        held::refuse_page(self.id(), page.index(), true, "writing to the page");
    }

    /// As [`read_cached`](Self::read_cached), but does not wait for who changes the page.
    pub(crate) fn try_read_cached(&self, piece: Piece, into: &mut [u8], by: &Sequence) -> Copied {
        let pinned = self.tree.pin();
        let Some(page) = pinned.get(piece.index).filter(|page| page.snapshot().is_uptodate())
        else {
            return Copied::Missing;
        };
        self.found_by(by, &page);
        // This thread's own guard is no reason to come again.
        let contents = match held::is_held(self.id(), page.index()) {
            true => Some(self.latch(&page)),
            false => page.contents.try_read(),
        };
        match contents {
            None => Copied::Busy,
            Some(contents) if self.copy_from(&contents, &page, piece, into) => Copied::Yes,
            Some(_) => Copied::Missing,
        }
    }

    /// Copies from a valid page; `false` if it was truncated or evicted.
    pub(crate) fn copy_out(&self, page: &Page, piece: Piece, into: &mut [u8]) -> bool {
        self.copy_from(&self.latch(page), page, piece, into)
    }

    /// The same, for whoever has the latch, under which eviction empties what it has taken out.
    fn copy_from(&self, contents: &Contents, page: &Page, piece: Piece, into: &mut [u8]) -> bool {
        if !page.snapshot().is_mapped() || self.len() < piece.end {
            return false;
        }
        into.copy_from_slice(&contents.as_slice()[piece.within..piece.within + piece.len]);
        true
    }

    /// Writes to a page that is cached, valid and stays within the length. `false`: it is not.
    pub(crate) fn write_cached(&self, piece: Piece, from: &[u8]) -> bool {
        let pinned = self.tree.pin();
        let Some(page) = pinned.get(piece.index) else {
            return false;
        };
        if !page.snapshot().is_uptodate() {
            return false;
        }
        self.found(&page);
        self.refuse_to_write(&page);
        let mut contents = page.contents.write();
        // `closed` and the length are looked at under the latch: who closes passes through every
        // latch afterwards, and who truncates cuts the page's contents, or removes it, under it.
        if self.len() < piece.end || !self.admits() {
            return false;
        }
        self.copy_in(&pinned, &page, &mut contents, piece, from)
    }

    /// As [`write_cached`](Self::write_cached), but does not wait for who has the page's latch.
    pub(crate) fn try_write_cached(&self, piece: Piece, from: &[u8]) -> Copied {
        let pinned = self.tree.pin();
        let Some(page) = pinned.get(piece.index).filter(|page| page.snapshot().is_uptodate())
        else {
            return Copied::Missing;
        };
        self.refuse_to_write(&page);
        let Some(mut contents) = page.contents.try_write() else { return Copied::Busy };
        let stays = self.len() >= piece.end && self.admits();
        if !stays || !self.copy_in(&pinned, &page, &mut contents, piece, from) {
            return Copied::Missing;
        }
        self.found(&page);
        Copied::Yes
    }

    /// Marks the page dirty and copies into it. `false`: it was truncated away or evicted.
    ///
    /// Dirty first, bytes second: both under the latch, which an image is taken under too, so their
    /// order cannot be seen, and a page that is gone is left alone.
    #[inline]
    fn copy_in(
        &self,
        pinned: &Pinned<'_>,
        page: &Page,
        contents: &mut Contents,
        piece: Piece,
        from: &[u8],
    ) -> bool {
        let bytes = piece.within..piece.within + piece.len;
        if self.mark_dirty(pinned, page, &bytes).is_err() {
            return false;
        }
        if let (Some(order), Some(position)) = (&self.order, piece.position) {
            order.note(&page.positions, position);
        }
        contents.make_mut()[bytes].copy_from_slice(from);
        true
    }

    #[cold]
    pub(crate) fn write_slow(&self, piece: Piece, from: &[u8], room: Room<'_>) -> Result<()> {
        let copy_in = |(): &(), pinned: &Pinned<'_>, page: &Page, contents: &mut Contents| {
            self.copy_in(pinned, page, contents, piece, from)
        };
        self.change_slow(piece, from.len(), room, || Some(()), copy_in).map(drop)
    }

    /// Writes a piece, cached or not, if it is still `wanted` when all is there that has to be waited for.
    pub(crate) fn write_wanted(&self, piece: Piece, wanted: &Wanted, room: Room<'_>) -> Result<()> {
        // As by `write_cached`: who waits for the latch of a cached page keeps no cut waiting.
        let pinned = self.tree.pin();
        if let Some(page) = pinned.get(piece.index).filter(|page| page.snapshot().is_uptodate()) {
            self.refuse_to_write(&page);
            let mut contents = page.contents.write();
            // Under the latch: whoever takes the bytes away waits for the copy, and no longer.
            let bytes = wanted.lock();
            let Some(from) = bytes.as_deref() else { return Ok(()) };
            if self.len() >= piece.end
                && self.admits()
                && self.copy_in(&pinned, &page, &mut contents, piece, from)
            {
                return Ok(());
            }
        }
        drop(pinned);
        let is_wanted = || Some(wanted.lock()).filter(|bytes| bytes.is_some());
        let copy_in = |bytes: &MutexGuard<'_, Option<Box<[u8]>>>,
                       pinned: &Pinned<'_>,
                       page: &Page,
                       contents: &mut Contents| {
            bytes.as_ref().is_some_and(|from| self.copy_in(pinned, page, contents, piece, from))
        };
        self.change_slow(piece, piece.len, room, is_wanted, copy_in).map(drop)
    }

    /// As [`write_slow`](Self::write_slow), but waits for nothing, and has nothing read.
    #[cold]
    pub(crate) fn try_write_slow(
        &self,
        piece: Piece,
        from: &[u8],
        mut room: Room<'_>,
    ) -> Result<Tried> {
        let Some(_no_truncate) = self.no_truncate_of(false)? else { return Ok(Tried::Cut) };
        self.admit()?;
        // Nobody but a cut of the mapping makes it so.
        if self.has_to_cut_before(piece.end) && !held::any_of(self.id()) {
            return Ok(Tried::Growing);
        }
        let to_lengthen = self.prepare_to_lengthen(piece.end)?;
        let (page, lock) = match self.find_or_try_lock(piece.index, &mut room) {
            Found::Valid(page) => (page, None),
            Found::Busy(page) => return Ok(Tried::Busy(page)),
            Found::Locked(page) => {
                let lock = PageLock { core: self, page };
                (lock.page.clone(), Some(lock))
            }
        };
        if lock.is_some() && !self.is_overwritten(piece, from.len()) {
            return Ok(Tried::Missing);
        }
        let Some(growth) = to_lengthen.try_begin() else { return Ok(Tried::Growing) };
        let pinned = self.tree.pin();
        self.refuse_to_write(&page);
        let Some(mut contents) = page.contents.try_write() else { return Ok(Tried::Latched) };
        if lock.is_some() {
            *contents = Contents::from(self.frames.zeroed(self.page_size));
            page.state.set_uptodate();
        }
        if !self.copy_in(&pinned, &page, &mut contents, piece, from) {
            return Ok(Tried::Gone);
        }
        growth.end();
        Ok(Tried::Done)
    }

    /// The page at `index`, dirty; lengthens the mapping to `end`, which lies in it, if it ends earlier.
    pub(crate) fn lengthen_by_page(&self, index: u64, end: u64, room: Room<'_>) -> Result<Kept> {
        let whole = 0..self.page_size;
        let nothing = Piece { index, within: 0, len: 0, end, position: None, stays: false };
        let dirty = |(): &(), pinned: &Pinned<'_>, page: &Page, _: &mut Contents| {
            self.mark_dirty(pinned, page, &whole).is_ok()
        };
        self.change_slow(nothing, 0, room, || Some(()), dirty)
    }

    /// The way to change a page that is not cached, or beyond the end; `len` bytes of it are going to be
    /// overwritten. `change` marks it dirty, under the latch, or finds that it is gone. Should `is_wanted` say no, under the latch, too, the page
    /// stays as it is, without contents if it has none: it has those that are to be overwritten only together with what overwrites them.
    fn change_slow<W>(
        &self,
        piece: Piece,
        len: usize,
        mut room: Room<'_>,
        is_wanted: impl Fn() -> Option<W>,
        change: impl Fn(&W, &Pinned<'_>, &Page, &mut Contents) -> bool,
    ) -> Result<Kept> {
        // Observers are told of a read when nothing is locked any more.
        let mut told = None;
        let _no_truncate = self.no_truncate()?;
        self.admit()?;
        if piece.stays && self.len() < piece.end {
            return Err(Error::OutOfRange { offset: piece.end, len: 0 });
        }
        let to_lengthen = self.prepare_to_lengthen(piece.end)?;
        // From one turn to the next: the page, so that it is not evicted, which has taken the room that there was for one; and what the
        // store had, which nobody changes while the page is empty and cannot be truncated.
        let (mut _kept, mut first) = (None, None);
        loop {
            let (page, lock) = self.find_or_lock(piece.index, &mut room);
            if lock.is_none() {
                first = None;
            } else if first.is_none() {
                first = Some(self.first_contents(piece, len, &mut told)?);
            }
            let growth = match (to_lengthen.try_begin(), lock.is_some()) {
                (Some(growth), _) => growth,
                (None, false) => to_lengthen.begin(),
                (None, true) => {
                    // Not with the page lock: see the rule of `tail`.
                    drop(lock);
                    _kept = Some(page);
                    drop(to_lengthen.begin());
                    continue;
                }
            };
            let pinned = self.tree.pin();
            self.refuse_to_write(&page);
            let mut contents = page.contents.write();
            let Some(wanted) = is_wanted() else {
                drop(contents);
                return Ok(page);
            };
            if let Some(bytes) = first.take() {
                // Valid and dirty under one latch: nobody sees the one without the other.
                *contents = Contents::from(bytes);
                page.state.set_uptodate();
            }
            if change(&wanted, &pinned, &page, &mut contents) {
                // Wanted until the mapping is as long as that, too.
                growth.end();
                drop(contents);
                return Ok(page);
            }
        }
    }

    /// The page at `index`: valid, or else locked by the caller and without contents.
    fn find_or_lock(&self, index: u64, room: &mut Room<'_>) -> (Kept, Option<PageLock<'_>>) {
        loop {
            match self.find_or_try_lock(index, room) {
                Found::Valid(page) => return (page, None),
                Found::Locked(page) => {
                    // In this order: if there are too many references to it, it is unlocked.
                    let lock = PageLock { core: self, page };
                    return (lock.page.clone(), Some(lock));
                }
                Found::Busy(page) => wait::now(page.until(|state| has_been_read(state, &|| false))),
            }
        }
    }

    /// The page at `index`, new if there was none. The caller has the truncate lock.
    pub(super) fn find_or_try_lock(&self, index: u64, room: &mut Room<'_>) -> Found {
        loop {
            let found = match self.tree.get_owned(index) {
                Some(page) => Err(page),
                None => self.insert_locked(index, room),
            };
            let is_new = found.is_ok();
            let (Ok(page) | Err(page)) = found;
            let Some(page) = Kept::new(page) else {
                // Just being taken out, in a section that this one waits for.
                self.tree.pin().update(index, |_| ());
                continue;
            };
            if page.snapshot().is_uptodate() {
                self.found(&page);
                return Found::Valid(page);
            }
            if !is_new && !page.state.try_lock() {
                return Found::Busy(page);
            }
            let state = page.snapshot();
            // Looked up, then locked: it may have been removed, or filled, in between.
            if state.is_mapped() && !state.is_uptodate() {
                return Found::Locked(page);
            }
            self.unlock(&page);
            if state.is_mapped() {
                return Found::Valid(page);
            }
        }
    }

    /// Whether the `len` bytes that are about to be written leave nothing in the page of what the store has of it.
    fn is_overwritten(&self, piece: Piece, len: usize) -> bool {
        let valid = self.valid(piece.index, self.len());
        let all = if self.sealer.is_some() { self.payload() } else { 0..valid };
        valid == 0 || (piece.within <= all.start && piece.within + len >= all.end)
    }

    /// The first contents of a page. Read from the store, unless there is nothing in it that the
    /// `len` bytes the caller is about to write would leave. A read is told of when `told` is dropped.
    fn first_contents<'s>(
        &'s self,
        piece: Piece,
        len: usize,
        told: &mut Option<ToldOfRead<'s>>,
    ) -> Result<Frame> {
        let (index, offset) = (piece.index, self.page_offset(piece.index));
        let valid = self.valid(index, self.len());
        if self.is_overwritten(piece, len) {
            return Ok(self.frames.zeroed(self.page_size));
        }
        let bytes = self.frames.to_fill(self.page_size);
        self.counters.misses.add(1);
        let began = self.observers.now();
        let mut filled = store::wait::read(&*self.backing().store, offset, vec![bytes]);
        *told = began.map(|began| ToldOfRead {
            core: self,
            read: ReadEvent { first_page: index, pages: 1, bytes: filled.count },
            took: began.elapsed(),
            error: filled.error.clone(),
        });
        let (bytes, count) = match (filled.buffers.pop(), filled.error) {
            (Some(bytes), None) => (bytes, filled.count),
            (_, error) => {
                return Err(Error::Read { index, source: error.unwrap_or(StoreError::Lost) });
            }
        };
        self.first_read(index, bytes, count, valid)
    }

    /// How many bytes of a page lie before the end of a mapping of so many bytes.
    pub(super) fn valid(&self, index: u64, len: u64) -> usize {
        let valid = len.saturating_sub(self.page_offset(index)).min(self.page_size as u64);
        usize::try_from(valid).expect("at most the page size")
    }

    /// The bytes of a page of which the store had the first `count`, and the first `valid` were before the mapping's end when it
    /// was asked: it may have old bytes behind, which are zeros although the mapping may have become longer since.
    pub(super) fn first_read(
        &self,
        index: u64,
        mut bytes: Frame,
        count: u64,
        valid: usize,
    ) -> Result<Frame> {
        self.counters.read.add(1);
        self.counters.bytes_read.add(count);
        let count = usize::try_from(count).expect("at most a page").min(valid);
        // Beyond the mapping's end, and the store's, there are zeros.
        bytes[count..].fill(0);
        if let Some(sealer) = &self.sealer {
            sealer.open(index, &mut bytes).map_err(|error| {
                self.counters.corrupt.add(1);
                Error::Corrupt { index, source: Arc::new(error) }
            })?;
        }
        Ok(bytes)
    }
}

/// What there is of a page.
pub(super) enum Found {
    Valid(Kept),
    /// By the caller, and it has no contents.
    Locked(Kept),
    /// Somebody has the lock of the page, which has no contents.
    Busy(Kept),
}

/// Whether nobody reads the page in any more, or that is `over` for this caller: it is valid, whoever has its lock, or unlocked.
pub(crate) fn has_been_read(state: Snapshot, over: &impl Fn() -> bool) -> bool {
    !state.is_locked() || state.is_uptodate() || over()
}

/// The page lock while the first contents are fetched; released also if the store panics.
struct PageLock<'s> {
    core: &'s Core,
    page: Kept,
}

impl Drop for PageLock<'_> {
    fn drop(&mut self) {
        self.core.unlock(&self.page);
    }
}

/// A read that observers are told of when this is dropped.
struct ToldOfRead<'s> {
    core: &'s Core,
    read: ReadEvent,
    took: Duration,
    error: Option<StoreError>,
}

impl Drop for ToldOfRead<'_> {
    fn drop(&mut self) {
        let Self { read, took, .. } = *self;
        let outcome = || self.error.as_ref().map_or(Ok(()), Err);
        self.core.observers.tell(|observer| observer.read(read, took, outcome()));
    }
}
