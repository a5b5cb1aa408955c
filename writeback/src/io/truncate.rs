//! Changing the length.
//!
//! Cutting is the one way a dirty page leaves the cache unwritten. It keeps readers that add pages
//! and writers out with the truncate lock, lowers the length first, then takes every page beyond it
//! out, each under its page lock and after its writeback, and only then cuts the store: no write
//! that began before can lengthen it again. A sync may cut it earlier, as soon as the length is lowered; where that could be noticed, because pages
//! are sealed, reads beyond are waited for before. Sync takes no part in that lock; it finds a page gone
//! after locking it.

use std::io;

use tagged_radix::TagFilter;

use crate::error::{Error, Result, StoreError};
use crate::held;
use crate::index::range::Inclusive;
use crate::index::walk;
use crate::io::backing::length_of;
use crate::primitives::{MutexGuard, Ordering};
use crate::rules::core::{Core, Mapping};
use crate::rules::locked::LockedPage;
use crate::rules::page_ref::PageRef;
use crate::wait::now;

/// Marks the store as longer than the mapping, when it is dropped.
struct LeftLonger<'c>(&'c Core);

impl Drop for LeftLonger<'_> {
    fn drop(&mut self) {
        // Under the lock: a sync that makes up for an earlier cut takes the mark off when it is done,
        // and it may have begun before this cut.
        let _cutting = self.0.backing().cutting.lock();
        self.0.store_is_longer.store(true, Ordering::Release);
    }
}

impl Mapping {
    pub(crate) fn set_len(&self, len: u64) -> Result<()> {
        let core = &*self.core;
        held::refuse(core.id(), "`set_len`");
        core.check_process()?;
        core.check_span(0, len)?;
        if len < core.backing().limits.len_min {
            let text = format!("it has at least {} bytes", core.backing().limits.len_min);
            let source = io::Error::new(io::ErrorKind::InvalidInput, text).into();
            return Err(Error::Length { source });
        }
        if core.whole(len) != len {
            return Err(Error::Config {
                reason: "with a seal the length is a whole number of pages",
            });
        }
        let _exclusive = core.truncate_alone();
        core.admit()?;
        if len > core.len() {
            return core.lengthen(len);
        }
        if len == core.len() {
            return core.cut_store();
        }
        if core.sealer.is_some() {
            // A sync may cut the store at the new length at once, and a page that is read meanwhile would be torn: corrupt, by its seal.
            core.reads_ended((core.page_index(len), u64::MAX));
        }
        // First: a page claimed from now on is cut at the new length, and fast writers beyond it give
        // way. The store keeps its bytes until it is cut below, or, should this panic, by the next sync.
        let left_longer = LeftLonger(core);
        core.length.store(len, Ordering::Release);
        self.drop_pages((len.div_ceil(core.page_size as u64), u64::MAX));
        self.clear_tail(len);
        // Last: only now nothing is under way that could lengthen the store again.
        drop(left_longer);
        core.cut_store()
    }

    /// Takes all of these pages out of the cache, each when no write of it is under way and nobody holds it. Tells whether there
    /// were any. The caller has the truncate lock exclusively, so no other comes in.
    pub(crate) fn drop_pages(&self, pages: Inclusive) {
        for (_, page) in walk(&self.core.tree, pages, TagFilter::ANY) {
            let found = PageRef::of_found(self, page);
            if let Some(locked) = found.and_then(|page| page.lock_state()) {
                locked.remove();
            }
        }
    }

    /// Takes those of these pages out of the cache that are clean and that nobody holds, each when no write of it is under way; returns how many stay. The caller has
    /// the truncate lock exclusively, so none comes in.
    fn drop_clean(&self, pages: Inclusive) -> u64 {
        let core = &*self.core;
        let mut stay = 0;
        let stays = |locked: LockedPage| {
            locked.wait_writeback();
            let page = locked.page();
            // Looked at first: to take it out is to wait for its latch, if there is a log.
            page.snapshot().is_dirty() || core.remove(page, false).is_err()
        };
        for (_, page) in walk(&core.tree, pages, TagFilter::ANY) {
            // Before it is locked: it may be locked by a sync that waits for the hold, and the hold may be the caller's.
            let is_held = page.snapshot().is_held();
            let lock = || PageRef::of_found(self, page).and_then(|page| page.lock_state());
            stay += u64::from(is_held || lock().is_some_and(stays));
        }
        stay
    }

    /// Has the pages that have any of these bytes read from the store again; returns how many stay as they are.
    pub(crate) fn read_again(&self, (first, last): Inclusive) -> Result<u64> {
        let core = &*self.core;
        held::refuse(core.id(), "`invalidate`");
        core.check_process()?;
        if core.memory_backed {
            return Ok(0); // Nobody else changes what is nowhere else.
        }
        let _told = core.tell_at_end();
        let _exclusive = core.truncate_alone();
        // What another has written is made durable by the next sync.
        core.durability.note_write();
        Ok(self.drop_clean((core.page_index(first), core.page_index(last))))
    }

    /// Takes over the length of the store, unless this mapping has something to write where either ends; returns its length then.
    ///
    /// The store is asked twice, each time when what this mapping has padded it with is cut off. A write of a page that is dropped may lengthen it in between;
    /// afterwards there is no page behind, nor a write of one, and nobody brings one in.
    pub(crate) fn take_len_of_store(&self) -> Result<u64> {
        let core = &*self.core;
        held::refuse(core.id(), "`refresh_len`");
        core.check_process()?;
        if core.memory_backed {
            return Ok(core.len());
        }
        let _told = core.tell_at_end();
        // Who appends has looked at the length, and goes on from there.
        let _no_append = core.backing().appending.lock();
        let _exclusive = core.truncate_alone();
        core.admit()?;
        let len = core.len();
        let mut stored = core.len_of_store()?;
        while stored != len {
            // In the page in which the shorter one ends there are zeros behind it, or what is cut off.
            let first = core.page_index(stored.min(len));
            let stay = self.drop_clean((first, if stored < len { u64::MAX } else { first }));
            if stay > 0 {
                // Pages that are clean may be missing behind one that stays. The store is lengthened and never cut here: no write of this
                // mapping reaches behind its end.
                if core.len_of_store()? < len {
                    core.lengthen(len)?;
                }
                break;
            }
            let before = std::mem::replace(&mut stored, core.len_of_store()?);
            if stored >= before {
                core.length.store(stored, Ordering::Release);
                core.durability.note_write();
                break;
            }
        }
        Ok(core.len())
    }

    /// Clears what the last page has beyond `len`, once nobody writes it.
    fn clear_tail(&self, len: u64) {
        let within = len % self.core.page_size as u64;
        let Some(page) = PageRef::cached(self, self.core.page_index(len)) else { return };
        if within == 0 {
            return;
        }
        // If it is being read, it gets what the store has beyond; this waits for that.
        let Some(locked) =
            page.lock_state().filter(|locked| locked.page().snapshot().is_uptodate())
        else {
            return;
        };
        // A write that is under way has an image cut at the old length, and so may whoever holds what is cut.
        locked.wait_writeback();
        let from = usize::try_from(within).expect("less than a page");
        now(locked.page().released(self.core.division.touched(&(from..self.core.page_size))));
        page.contents.write().make_mut()[from..].fill(0);
    }
}

impl Core {
    /// Waits until none of these pages is being read in. The caller has the truncate lock exclusively, so no other read of one begins.
    pub(crate) fn reads_ended(&self, pages: Inclusive) {
        for (_, page) in walk(&self.tree, pages, TagFilter::ANY) {
            page.wait_while(|state| state.is_locked() && !state.is_uptodate());
        }
    }

    /// The store's length, without what this mapping has padded it with. No sync changes it before another write of the last page ends.
    fn len_of_store(&self) -> Result<u64> {
        self.settle_length()?;
        let whole = self.sealer.is_some().then_some(self.page_size);
        length_of(&*self.backing().store, self.len_max, whole)
    }

    fn lengthen(&self, len: u64) -> Result<()> {
        self.prepare_to_lengthen(len)?;
        let _one_at_a_time = self.backing().cutting.lock();
        // First: should this fail, or panic, nobody knows how long the store is, and a sync that says that
        // everything is durable must not leave the length in doubt.
        self.store_is_longer.store(true, Ordering::Release);
        let lengthened = self.backing().store.set_len(len);
        if lengthened.as_ref().is_err_and(StoreError::is_refusal) {
            self.store_is_longer.store(false, Ordering::Release);
        }
        lengthened.map_err(|source| Error::Length { source })?;
        self.durability.note_write();
        self.length.fetch_max(len, Ordering::AcqRel);
        self.store_is_longer.store(false, Ordering::Release);
        Ok(())
    }

    /// Makes up for a cut that failed: cuts the store at the mapping's length if it is longer. Done by
    /// whoever lengthens and by every sync, until it succeeds.
    pub(crate) fn cut_store(&self) -> Result<()> {
        self.cut_under(&self.backing().cutting.lock())
    }

    /// Sets the store's length right, for a sync that is about to flush it: makes up for a cut that failed,
    /// and takes away what writes were padded with that have ended.
    pub(crate) fn settle_length(&self) -> Result<()> {
        let cutting = self.backing().cutting.lock();
        self.settle_under(&cutting, true).unwrap_or(Ok(()))
    }

    /// As [`settle_length`](Self::settle_length); `None` if it would have to wait for another who changes the length.
    pub(crate) fn try_settle_length(&self) -> Option<Result<()>> {
        let cutting = self.backing().cutting.try_lock()?;
        self.settle_under(&cutting, false)
    }

    fn settle_under(&self, cutting: &MutexGuard<'_, ()>, waits: bool) -> Option<Result<()>> {
        if let Err(error) = self.cut_under(cutting) {
            return Some(Err(error));
        }
        let trimmed = self.tail.trim(waits, || {
            // Nobody raises it meanwhile. Whoever lowers it sets the store's length after this.
            let set = self.backing().store.set_len(self.len());
            self.durability.note_write();
            set
        });
        Some(trimmed?.map_err(|source| Error::Length { source }))
    }

    fn cut_under(&self, _one_at_a_time: &MutexGuard<'_, ()>) -> Result<()> {
        if !self.store_is_longer.load(Ordering::Acquire) {
            return Ok(());
        }
        // Nobody lengthens the mapping while `store_is_longer` is set.
        let cut = self.backing().store.set_len(self.len());
        self.durability.note_write();
        cut.map_err(|source| Error::Length { source })?;
        self.store_is_longer.store(false, Ordering::Release);
        Ok(())
    }
}
