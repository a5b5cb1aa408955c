//! Every change of a page's DIRTY and WRITEBACK flags, together with the tags that mirror them.
//!
//! Each transition is one section of the index over the page's entry (`Pinned::update`): flag, tag
//! and counter change as one, and the page is checked to be the entry's value first, so nothing is
//! ever done to a page that was truncated away.
//!
//! A section is short, takes no lock and does no I/O. Debug builds check the invariants at its end.
//!
//! A page of several blocks has sets of them beside its flags, which change in the same sections; those
//! that only such pages have, and holds, are in [`blocks`](self::blocks).

mod blocks;

pub(crate) use self::blocks::NoHold;

use std::ops::Range;
use std::sync::Arc;

use tagged_radix::TagSet;

use crate::buffer::Contents;
use crate::index::{Pinned, Slot};
use crate::pages::Page;
use crate::pages::blocks::BlockMap;
use crate::pages::positions::Positions;
use crate::pages::state::{Snapshot, Wake};
use crate::pages::tag::{DIRTY_TAGS, PageTag};
use crate::primitives::Ordering;
use crate::rules::core::{Core, Room};

/// The page is no longer in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// Why a page was not evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spared {
    /// Truncated, or evicted by another.
    Gone,
    /// It has been used since it was chosen.
    Used,
    /// Its state forbids it.
    Busy(Snapshot),
}

/// Another writer holds the page's contents, or has changed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held;

/// How a write of a page has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) ticket: u64,
    /// Of what was new in the image.
    pub(crate) positions: Positions,
    /// Whether anything was handed to the store.
    pub(crate) wrote: bool,
    /// The blocks that failed, which are dirty again.
    pub(crate) failed: BlockMap,
    /// How many of its pieces failed: so many errors have been recorded (I-ERROR-FIRST).
    pub(crate) errors: u64,
}

/// Whether the whole page is dirty already: then marking it is done without a section.
///
/// Flag first, then the tag: the flag is set inside another dirtier's section, and only when the tag is
/// seen has that section taken effect, so that a sync this caller begins next will find the page (two
/// dirtiers, one returning too early). A claim may clear the flag right after it was read; its image is
/// taken later, under the latch the caller holds, and has the caller's bytes in it.
#[inline(never)]
fn is_marked(pinned: &Pinned<'_>, page: &Page) -> bool {
    page.snapshot().is_wholly_dirty()
        && pinned.has_tag(page.index(), PageTag::Dirty.tag())
        && page.snapshot().is_mapped()
}

impl Core {
    fn section<R>(
        &self,
        pinned: &Pinned<'_>,
        page: &Page,
        change: impl FnOnce(&mut Slot<'_>) -> R,
    ) -> Result<R, Gone> {
        let outcome = pinned.update(page.index(), |slot| {
            if !std::ptr::eq(&raw const *slot.value(), page) {
                return Err(Gone);
            }
            let outcome = change(slot);
            #[cfg(debug_assertions)]
            self.assert_invariants(page, slot.tags(), false);
            Ok(outcome)
        });
        outcome.unwrap_or(Err(Gone))
    }

    #[cfg(debug_assertions)]
    fn assert_invariants(&self, page: &Page, tags: TagSet, unlocking: bool) {
        let state = page.snapshot();
        if !state.is_mapped() {
            return;
        }
        let key = page.index();
        let seen = crate::rules::invariants::Seen { page, key, state, tags };
        let checked = if unlocking { seen.check_before_unlock() } else { seen.check() };
        if let Err(violation) = checked {
            panic!("{violation}");
        }
    }

    /// Puts a new page into the index, locked. `Err`: the page that is there already.
    pub(crate) fn insert_locked(
        &self,
        index: u64,
        room: &mut Room<'_>,
    ) -> Result<Arc<Page>, Arc<Page>> {
        let page = Arc::new(Page::new(index, self.division.count));
        let known = self.member.comes_in(index, &page.usage);
        let tags = if known { PageTag::Accessed.into() } else { TagSet::EMPTY };
        match self.tree.pin().try_insert_tagged(index, Arc::clone(&page), tags) {
            Ok(_) => {
                room.take();
                let first = self.counters.cached.add(1) == 0;
                self.member.came_in(first);
                Ok(page)
            }
            Err(occupied) => Err(occupied.current.into()),
        }
    }

    /// The page is dirty from now on, or those of its blocks that have any of `bytes`. Returns whether
    /// the page was clean.
    ///
    /// The caller holds the content latch for writing, and has checked that the page has contents.
    #[inline]
    pub(crate) fn mark_dirty(
        &self,
        pinned: &Pinned<'_>,
        page: &Page,
        bytes: &Range<usize>,
    ) -> Result<bool, Gone> {
        if is_marked(pinned, page) {
            return Ok(false);
        }
        self.mark_dirty_slow(pinned, page, self.division.touched(bytes))
    }

    #[cold]
    fn mark_dirty_slow(
        &self,
        pinned: &Pinned<'_>,
        page: &Page,
        blocks: BlockMap,
    ) -> Result<bool, Gone> {
        // As `is_marked`, by another function of the index: that one is compiled into `is_marked` only as long
        // as nobody else calls it.
        let tagged =
            || pinned.tags(page.index()).is_some_and(|tags| tags.contains(PageTag::Dirty.tag()));
        if page.blocks_are_dirty(blocks) && tagged() && page.snapshot().is_mapped() {
            return Ok(false);
        }
        let now_ms = self.clock.now_ms();
        let (newly_dirty, first) = self.section(pinned, page, |slot| {
            page.add_dirty_blocks(blocks);
            let newly_dirty = page.state.set_dirty();
            slot.set(PageTag::Dirty);
            if !newly_dirty {
                return (false, false);
            }
            page.set_first_dirty_ms(now_ms);
            let first = self.count_dirty();
            self.count(|counters| _ = counters.dirtied.add(1));
            // After it is counted: a debt that is more than what is dirty is one that is being paid.
            self.member.charge();
            (true, first)
        })?;
        if newly_dirty {
            self.tell_flushers(first);
            self.kick.consider(self.counters.dirty.get());
            self.member.consider_kick();
        }
        Ok(newly_dirty)
    }

    /// Clears the flag and leaves the tag: a claim begins, of the blocks that are returned. `None`: the
    /// page was clean.
    ///
    /// The caller holds the page lock and resolves the claim by `start_writeback` or `redirty` before unlocking. Until
    /// then the tag says more than the flag, so that a sync finds the page and waits for its lock.
    pub(crate) fn clear_dirty_for_io(&self, page: &Page) -> Option<BlockMap> {
        let claimed = self.section(&self.tree.pin(), page, |slot| {
            if !page.state.clear_dirty() {
                // The lock is held and no claim is open: a tag left over is stale.
                slot.clear(DIRTY_TAGS);
                return None;
            }
            self.count(|counters| counters.dirty.sub(1));
            Some(page.take_dirty_blocks())
        });
        claimed.unwrap_or(None)
    }

    /// The claim of `blocks` is given up and the page is dirty again, as old as before; also if there
    /// are none.
    pub(crate) fn redirty(&self, page: &Page, blocks: BlockMap) {
        let redirtied = self.section(&self.tree.pin(), page, |slot| {
            page.add_dirty_blocks(blocks);
            slot.set(PageTag::Dirty);
            let was_clean = page.state.set_dirty();
            (was_clean, was_clean && self.count_dirty())
        });
        debug_assert!(redirtied.is_ok(), "a claimed page left the index: {page:?}");
        let (was_clean, first) = redirtied.unwrap_or_default();
        self.tell_flushers(first);
        // The page owes again what the claim owed, or has been charged again meanwhile.
        if was_clean { self.member.claim_given_up() } else { self.member.discharge(1) }
    }

    /// The page is under writeback as a whole; returns the ticket. Flag and tag are brought together
    /// again: if nobody dirtied the page since the claim, its DIRTY and TOWRITE tags go.
    pub(crate) fn start_writeback(&self, page: &Page) -> Result<u64, Held> {
        page.set_writeback_since_ms(self.clock.now_ms());
        let started = self.section(&self.tree.pin(), page, |slot| {
            let before = page.state.begin_writeback().map_err(|_| Held)?;
            let ticket = page.next_ticket();
            if let Some(sets) = &page.blocks {
                sets.writing.add(sets.all);
                // Release: who sees it sees the ticket.
                sets.complete.store(ticket, Ordering::Release);
            }
            slot.set(PageTag::Writeback);
            if !before.is_dirty() {
                slot.clear(DIRTY_TAGS);
            }
            self.count(|counters| _ = counters.writeback.add(1));
            Ok(ticket)
        });
        debug_assert!(started.is_ok(), "a claimed page left the index: {page:?}");
        started.unwrap_or(Err(Held))
    }

    /// The write is over, all its pieces are; if any failed the page is dirty again, and the errors have
    /// been recorded (I-ERROR-FIRST). Those who wait are woken by the caller, when it is through with all that it ends.
    pub(crate) fn end_writeback(&self, page: &Page, ended: Ended) -> Wake {
        let Ended { ticket, positions, wrote, failed: blocks, errors } = ended;
        let failed = !blocks.is_empty();
        self.note_outcome(page, failed);
        // Also before: a sync that finds no WRITEBACK tag any more must find the generation that
        // tells it to flush. A failed write counts too: nobody knows how much reached the device.
        // Nor what a hold has written instead, and whose log positions end with this write.
        let to_flush = wrote || page.blocks.is_some() && positions.oldest().is_some();
        let generation = || {
            if to_flush {
                self.durability.note_write();
            }
        };
        match &self.order {
            None => generation(),
            Some(order) if failed => {
                generation();
                order.failed(&page.positions, positions);
            }
            Some(order) if to_flush => order.written(positions, generation),
            Some(order) => order.dropped(positions),
        }
        let ended = self.section(&self.tree.pin(), page, |slot| {
            let newly_dirty = page.state.end_writeback(failed);
            if let Some(sets) = &page.blocks {
                sets.writing.take();
                sets.dirty.add(blocks);
            }
            if failed {
                slot.set(PageTag::Dirty);
            }
            slot.clear(PageTag::Writeback);
            self.count(|counters| counters.writeback.sub(1));
            (newly_dirty, newly_dirty && self.count_dirty())
        });
        debug_assert!(ended.is_ok(), "a page under writeback left the index: {page:?}");
        if wrote {
            self.count(|counters| match failed {
                true => _ = counters.write_errors.add(1),
                false => _ = counters.written.add(1),
            });
            if !failed {
                self.member.count_written();
            }
        }
        let wake = page.finish_ticket(ticket);
        let (newly_dirty, first) = ended.unwrap_or_default();
        self.tell_flushers(first);
        // The page owes again what the write owed; or is clean, or has been charged again meanwhile.
        if newly_dirty {
            self.member.nudge_writers()
        } else {
            self.member.discharge(1)
        }
        for _ in 0..errors {
            self.errors.ended();
        }
        wake
    }

    /// Forgets that the page is dirty, without writing it. The caller holds the page lock and
    /// has waited for its writeback. Returns whether anything was dirty.
    ///
    /// What a hold has taken to write it is not dirty, and not forgotten: the page stays dirty over it, so that
    /// a sync waits for the holder.
    pub(crate) fn cancel_dirty(&self, page: &Page) -> bool {
        let latch = self.order.as_ref().map(|_| page.contents.write());
        let cancelled = self.section(&self.tree.pin(), page, |slot| {
            let dirty = page.take_dirty_blocks();
            if page.blocks.as_ref().is_some_and(|sets| !sets.taken.get().is_empty()) {
                return (!dirty.is_empty(), false);
            }
            slot.clear(DIRTY_TAGS);
            let was_dirty = page.state.clear_dirty();
            if was_dirty {
                self.count(|counters| counters.dirty.sub(1));
            }
            (was_dirty, was_dirty)
        });
        let (was_dirty, is_clean_now) = cancelled.unwrap_or((false, false));
        if is_clean_now {
            self.forget_positions(page);
        }
        drop(latch);
        if is_clean_now {
            self.member.discharge(1);
        }
        was_dirty
    }

    /// The page's changes are not to be written. The caller has the content latch, if there is a log.
    fn forget_positions(&self, page: &Page) {
        match &self.order {
            None => {}
            Some(order) if page.blocks.is_none() => order.forget(&page.positions),
            // A hold may have written some of them, which are durable with the next flush and not before.
            Some(order) => {
                let positions = order.take(&page.positions);
                if positions.oldest().is_some() {
                    order.written(positions, || self.durability.note_write());
                }
            }
        }
    }

    /// Takes the page out of the index, dirty or not, or only if it is clean. The caller holds the page lock
    /// and has waited for its writeback.
    pub(crate) fn remove(&self, page: &Page, dirty_too: bool) -> Result<(), Held> {
        // Under the latch nobody who has found the page in its place notes a log position afterwards.
        let latch = self.order.as_ref().map(|_| page.contents.write());
        let removed = self.section(&self.tree.pin(), page, |slot| {
            if !dirty_too && page.snapshot().is_dirty() {
                return Err(Held);
            }
            let before = page.state.detach().map_err(|_| Held)?;
            page.take_dirty_blocks();
            if before.is_dirty() {
                self.count(|counters| counters.dirty.sub(1));
            }
            self.uncount_cached();
            slot.remove();
            Ok(before.is_dirty())
        });
        debug_assert!(removed.is_ok(), "a locked page left the index: {page:?}");
        if let (Some(order), Ok(Ok(_))) = (&self.order, removed) {
            order.forget(&page.positions);
        }
        drop(latch);
        if removed.unwrap_or(Ok(false))? {
            self.member.discharge(1);
        }
        Ok(())
    }

    /// Takes the page out of the index if it is clean and nobody uses it, and frees its contents.
    ///
    /// References, flags and lock are looked at in one step with the removal, inside the section. So
    /// whoever found the page before has kept it, and it stays; or has not, and finds out under the latch
    /// that it is gone; and who makes it dirty does so before, and it stays, or finds no entry.
    pub(crate) fn evict(&self, page: &Page) -> Result<(), Spared> {
        let evicted = self.section(&self.tree.pin(), page, |slot| {
            if slot.tags().contains(PageTag::Accessed.tag()) {
                return Err(Spared::Used);
            }
            page.state.evict().map_err(Spared::Busy)?;
            self.uncount_cached();
            self.counters.evicted.add(1);
            slot.remove();
            Ok(())
        });
        evicted.unwrap_or(Err(Spared::Gone))?;
        // Now, and not when the last reader has left the index: memory is what this is about.
        // Not by waiting for whoever has the latch: the last one who has the page frees it as well.
        let latch = page.contents.try_write();
        drop(latch.map(|mut contents| std::mem::replace(&mut *contents, Contents::empty())));
        Ok(())
    }

    fn uncount_cached(&self) {
        self.counters.cached.sub(1);
        self.member.give_back();
    }

    /// Unlocks the page. A claim must have been resolved by now.
    pub(crate) fn unlock(&self, page: &Page) {
        page.wake(self.unlock_quietly(page));
    }

    /// As [`unlock`](Self::unlock), for who has others to unlock before anybody is woken.
    pub(crate) fn unlock_quietly(&self, page: &Page) -> Wake {
        #[cfg(debug_assertions)]
        self.tree.pin().update(page.index(), |slot| {
            if std::ptr::eq(&raw const *slot.value(), page) {
                self.assert_invariants(page, slot.tags(), true);
            }
        });
        page.unlock()
    }

    /// Counts, unless this is a memory-backed mapping.
    /// In the section that makes a page dirty: counts it, and returns whether no page was before.
    fn count_dirty(&self) -> bool {
        !self.memory_backed && self.counters.dirty.add(1) == 0
    }

    /// After a section in which a page became dirty, the `first` of its mapping or not: flushers that had
    /// nothing to do with the mapping look at it again.
    fn tell_flushers(&self, first: bool) {
        if first {
            self.kick.enlist();
        }
    }

    fn count(&self, change: impl FnOnce(&crate::counters::Counters)) {
        if !self.memory_backed {
            change(&self.counters);
        }
    }
}
