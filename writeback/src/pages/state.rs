//! A page's state: one atomic word with named transitions.
//!
//! [`PageState`] is the word, [`Snapshot`] what it said at one moment. This file knows what the flags
//! mean and which transitions are legal; it does not know the index, the tags that mirror DIRTY and
//! WRITEBACK, or the counters. Those change together with the flags in
//! [`transition`](crate::rules::changes), the only caller of the transitions that touch them.
//!
//! | flag | meaning | set by | cleared by |
//! |---|---|---|---|
//! | LOCKED | exclusive right to change the page's state (not to read it) | whoever locks | the same |
//! | UPTODATE | memory holds valid contents | the holder of LOCKED, once | never |
//! | DIRTY | memory is newer than what was last handed to the store | any dirtier | the holder of LOCKED |
//! | WRITEBACK | a write is begun and not ended | the holder of LOCKED | the write's end, no lock needed |
//! | ERROR | the last write of this page failed | the write's end | the next successful end |
//! | HELD | another writer (a journal) holds the contents | that writer | the same |
//! | WANTED | a writeback waits for HELD to go and comes next | the claim | the claim |
//! | MAPPED | the page is in the index | born so | the holder of LOCKED, once |
//! | WAITERS | somebody sleeps until this word changes | the sleeper | whoever clears a flag |
//! | BLOCKS | the page has several blocks: what is dirty, held, written and wanted of it is in their sets | born so | never |
//!
//! The rest of the word counts those who have the page in their hands ([`Kept`](crate::pages::keep::Kept)), so
//! that eviction can look at them, and at all that makes a page dirty or busy, in the same step in which
//! it takes MAPPED away: none of it can come between.
//!
//! All transitions are read-modify-write operations with acquire and release ordering, so there is
//! one order of them for each page and each sees what came before it.

use std::fmt;

use crate::primitives::{AtomicU32, Ordering};

const LOCKED: u32 = 1 << 0;
const UPTODATE: u32 = 1 << 1;
const DIRTY: u32 = 1 << 2;
const WRITEBACK: u32 = 1 << 3;
const ERROR: u32 = 1 << 4;
const HELD: u32 = 1 << 5;
const WANTED: u32 = 1 << 6;
const MAPPED: u32 = 1 << 7;
const WAITERS: u32 = 1 << 8;
const BLOCKS: u32 = 1 << 9;
/// One who keeps the page; the bits from here on count them.
const KEPT_ONCE: u32 = 1 << 12;
const KEPT: u32 = !(KEPT_ONCE - 1);

/// What a page's state word said at one moment. It may be out of date by the time it is looked at.
///
/// # Examples
/// ```
/// use writeback::{Mapping, MemStore};
///
/// let mapping = Mapping::open(MemStore::new())?;
/// mapping.handle().write_at(b"abc", 0)?;
/// let state = mapping.page(0)?.snapshot();
/// assert!(state.is_dirty() && state.is_uptodate() && !state.is_under_writeback());
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Snapshot(u32);

impl Snapshot {
    /// Somebody has the page lock.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let state = mapping.page(0)?.snapshot();
    /// assert!(!state.is_locked());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn is_locked(self) -> bool {
        self.0 & LOCKED != 0
    }

    /// The contents in memory are valid.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let state = mapping.page(0)?.snapshot();
    /// assert!(state.is_uptodate());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn is_uptodate(self) -> bool {
        self.0 & UPTODATE != 0
    }

    /// The contents are newer than what was last handed to the store.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let state = mapping.page(0)?.snapshot();
    /// assert!(state.is_dirty());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn is_dirty(self) -> bool {
        self.0 & DIRTY != 0
    }

    /// A write of the page has begun and has not ended.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let state = mapping.page(0)?.snapshot();
    /// assert!(!state.is_under_writeback());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn is_under_writeback(self) -> bool {
        self.0 & WRITEBACK != 0
    }

    /// The last write of the page failed.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let state = mapping.page(0)?.snapshot();
    /// assert!(!state.has_error());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn has_error(self) -> bool {
        self.0 & ERROR != 0
    }

    /// Another writer holds the contents (see [`Hold`](crate::page::Hold)).
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let state = mapping.page(0)?.snapshot();
    /// assert!(!state.is_held());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn is_held(self) -> bool {
        self.0 & HELD != 0
    }

    /// The page belongs to its mapping; `false` once it has been truncated away or evicted.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let state = mapping.page(0)?.snapshot();
    /// assert!(state.is_mapped());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn is_mapped(self) -> bool {
        self.0 & MAPPED != 0
    }

    /// The page is dirty, and it is one block: whoever changes any of it need not say more.
    pub(crate) fn is_wholly_dirty(self) -> bool {
        self.0 & (DIRTY | BLOCKS) == DIRTY
    }

    /// A hold has to wait: for another, for a write, or for a writeback that comes first.
    pub(crate) fn refuses_hold(self) -> bool {
        self.is_mapped() && self.0 & (HELD | WRITEBACK | WANTED) != 0
    }

    /// Somebody has the page in hand (see [`PageRef`](crate::page::PageRef)), so that it is not evicted.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let page = mapping.page(0)?;
    /// assert!(page.snapshot().is_kept());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn is_kept(self) -> bool {
        self.0 & KEPT != 0
    }

    /// Nobody uses the page and there is nothing in it that the store has not accepted.
    fn is_evictable(self) -> bool {
        self.is_mapped() && self.0 & (KEPT | LOCKED | HELD | WANTED | DIRTY | WRITEBACK) == 0
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (LOCKED, "LOCKED"),
            (UPTODATE, "UPTODATE"),
            (DIRTY, "DIRTY"),
            (WRITEBACK, "WRITEBACK"),
            (ERROR, "ERROR"),
            (HELD, "HELD"),
            (WANTED, "WANTED"),
            (MAPPED, "MAPPED"),
            (WAITERS, "WAITERS"),
            (BLOCKS, "BLOCKS"),
        ];
        let mut set = f.debug_set();
        for (bit, name) in names {
            if self.0 & bit != 0 {
                set.entry(&format_args!("{name}"));
            }
        }
        if self.is_kept() {
            set.entry(&format_args!("KEPT {}", self.0 / KEPT_ONCE));
        }
        set.finish()
    }
}

/// Somebody may sleep until what was just changed; call [`Page::wake`](crate::pages::Page).
#[derive(Debug, Default)]
#[must_use = "sleepers must be woken"]
pub(crate) struct Wake(bool);

impl Wake {
    pub(crate) fn is_needed(&self) -> bool {
        self.0
    }
}

/// The atomic state word.
pub(crate) struct PageState(AtomicU32);

impl PageState {
    /// A page as it enters the index: locked by its creator, without contents.
    pub(crate) fn new(has_blocks: bool) -> Self {
        let blocks = if has_blocks { BLOCKS } else { 0 };
        Self(AtomicU32::new(LOCKED | MAPPED | blocks))
    }

    pub(crate) fn load(&self) -> Snapshot {
        Snapshot(self.0.load(Ordering::Acquire))
    }

    fn set(&self, bits: u32) -> Snapshot {
        Snapshot(self.0.fetch_or(bits, Ordering::AcqRel))
    }

    fn clear(&self, bits: u32) -> Snapshot {
        Snapshot(self.0.fetch_and(!bits, Ordering::AcqRel))
    }

    /// Sets and clears in one step, if `allowed`.
    fn change(
        &self,
        set: u32,
        clear: u32,
        allowed: impl Fn(Snapshot) -> bool,
    ) -> Result<Snapshot, Snapshot> {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                allowed(Snapshot(word)).then_some((word | set) & !clear)
            })
            .map(Snapshot)
            .map_err(Snapshot)
    }

    pub(crate) fn try_lock(&self) -> bool {
        !self.set(LOCKED).is_locked()
    }

    pub(crate) fn unlock(&self) -> Wake {
        let before = self.clear(LOCKED | WANTED | WAITERS);
        debug_assert!(before.is_locked(), "unlocking an unlocked page: {before:?}");
        Wake::from(before)
    }

    /// The contents are valid from now on.
    pub(crate) fn set_uptodate(&self) {
        let before = self.set(UPTODATE);
        debug_assert!(before.is_locked() && !before.is_uptodate(), "bad read end: {before:?}");
    }

    /// Returns whether the page was clean.
    pub(crate) fn set_dirty(&self) -> bool {
        let before = self.set(DIRTY);
        debug_assert!(before.is_mapped() && before.is_uptodate(), "bad dirty: {before:?}");
        !before.is_dirty()
    }

    /// Returns whether the page was dirty.
    pub(crate) fn clear_dirty(&self) -> bool {
        let before = self.clear(DIRTY);
        debug_assert!(before.is_locked() && !before.is_under_writeback(), "bad clear: {before:?}");
        before.is_dirty()
    }

    /// Sets WRITEBACK unless another writer holds the contents. `Err`: it does.
    pub(crate) fn begin_writeback(&self) -> Result<Snapshot, Snapshot> {
        let before = self.change(WRITEBACK, WANTED, |now| !now.is_held())?;
        debug_assert!(before.is_locked() && !before.is_under_writeback(), "bad start: {before:?}");
        Ok(before)
    }

    /// As [`begin_writeback`](Self::begin_writeback), of a page of several blocks: of those that are written, none is held (the sets say so).
    pub(crate) fn begin_writeback_of_blocks(&self) -> Snapshot {
        let before = self.set(WRITEBACK);
        debug_assert!(before.is_locked() && !before.is_under_writeback(), "bad start: {before:?}");
        before
    }

    /// The claim waits for HELD to go, and no other hold may come before it.
    pub(crate) fn want_release(&self) {
        let before = self.set(WANTED);
        debug_assert!(before.is_locked(), "only a claim may want a release: {before:?}");
    }

    /// A failed write leaves the page dirty. Returns whether it was clean.
    ///
    /// Wakes nobody: that is for [`Page::finish_ticket`](crate::pages::Page), once the tags are seen changed too.
    pub(crate) fn end_writeback(&self, failed: bool) -> bool {
        let (set, clear) = if failed { (ERROR | DIRTY, WRITEBACK) } else { (0, ERROR | WRITEBACK) };
        let (Ok(before) | Err(before)) = self.change(set, clear, |_| true);
        debug_assert!(before.is_under_writeback(), "ending no writeback: {before:?}");
        failed && !before.is_dirty()
    }

    /// `Err`: not now, or no longer (see [`Snapshot::refuses_hold`]).
    pub(crate) fn try_hold(&self) -> Result<(), Snapshot> {
        let free = |now: Snapshot| now.is_mapped() && !now.refuses_hold();
        self.change(HELD, 0, free).map(|_| ())
    }

    pub(crate) fn release_hold(&self) -> Wake {
        let before = self.clear(HELD | WAITERS);
        debug_assert!(before.is_held(), "releasing what is not held: {before:?}");
        Wake::from(before)
    }

    /// A block of the page is held now.
    pub(crate) fn hold_block(&self) {
        let before = self.set(HELD);
        debug_assert!(before.is_mapped(), "a page that is gone is held: {before:?}");
    }

    /// The last block of the page that was held is not any more.
    pub(crate) fn release_last_block(&self) {
        let before = self.clear(HELD);
        debug_assert!(before.is_held(), "releasing what is not held: {before:?}");
    }

    /// The page leaves the index, clean. `Err`: another writer holds it.
    pub(crate) fn detach(&self) -> Result<Snapshot, Snapshot> {
        let before = self.change(0, MAPPED | DIRTY, |now| !now.is_held())?;
        debug_assert!(
            before.is_locked() && before.is_mapped() && !before.is_under_writeback(),
            "bad removal: {before:?}"
        );
        Ok(before)
    }

    /// The page leaves the index, clean and unused. `Err`: not now.
    pub(crate) fn evict(&self) -> Result<(), Snapshot> {
        self.change(0, MAPPED, Snapshot::is_evictable).map(|_| ())
    }

    /// The page is in one more pair of hands. `false`: it has left the index.
    pub(crate) fn keep(&self) -> bool {
        let kept = self.keep_anyway().is_mapped();
        if !kept {
            self.let_go();
        }
        kept
    }

    /// As [`keep`](Self::keep), for a page that is kept already, mapped or not.
    pub(crate) fn keep_anyway(&self) -> Snapshot {
        let before = self.0.fetch_add(KEPT_ONCE, Ordering::AcqRel);
        if before & KEPT == KEPT {
            self.let_go();
            panic!("more than {} references to one page", KEPT / KEPT_ONCE);
        }
        Snapshot(before)
    }

    pub(crate) fn let_go(&self) {
        // Release: what was done with the page is before its eviction.
        self.0.fetch_sub(KEPT_ONCE, Ordering::Release);
    }

    /// Announces a sleeper and reads the word in one step.
    pub(crate) fn announce(&self) -> Snapshot {
        self.set(WAITERS)
    }

    /// Takes announced sleepers off the word, to wake them.
    pub(crate) fn take_sleepers(&self) -> Wake {
        Wake::from(self.clear(WAITERS))
    }
}

impl From<Snapshot> for Wake {
    fn from(before: Snapshot) -> Self {
        Wake(before.0 & WAITERS != 0)
    }
}
