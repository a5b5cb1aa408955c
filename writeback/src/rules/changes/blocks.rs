//! The transitions that pages of several blocks have of their own, and holds.

use super::Held;
use crate::pages::Page;
use crate::pages::blocks::BlockMap;
use crate::pages::tag::{DIRTY_TAGS, PageTag};
use crate::primitives::Ordering;
use crate::rules::core::Core;

/// Why blocks cannot be held now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoHold {
    /// Somebody has them, or comes first.
    Busy,
    /// The page is no longer in the index.
    Gone,
}

/// A write of blocks was begun, or not: all that there were are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begun {
    /// The writeback's ticket, if there is one.
    pub(crate) ticket: Option<u64>,
    /// What is written.
    pub(crate) blocks: BlockMap,
    /// The page is dirty again, because something of it is held.
    pub(crate) declined: bool,
}

impl Core {
    /// As [`start_writeback`](Self::start_writeback), of a page of several blocks: those of the claimed that nobody holds are under writeback.
    ///
    /// If anything of the page is held it is declined: `Err` if all or nothing is asked for. Else the page
    /// is dirty again, in the same section; also if what is held was not claimed, since it may look clean
    /// because its holder writes it at this moment. DIRTY stays, and with it TOWRITE.
    pub(crate) fn start_blocks(
        &self,
        page: &Page,
        claimed: BlockMap,
        all_or_nothing: bool,
    ) -> Result<Begun, Held> {
        let Some(sets) = &page.blocks else {
            return self.start_writeback(page).map(|ticket| Begun {
                ticket: Some(ticket),
                blocks: claimed,
                declined: false,
            });
        };
        page.set_writeback_since_ms(self.clock.now_ms());
        let started = self.section(&self.tree.pin(), page, |slot| {
            let held = sets.held.get();
            let declined = !held.is_empty();
            if declined && all_or_nothing {
                return Err(Held);
            }
            // What became dirty since the claim comes along: it is in the image, which is yet to be taken. A
            // hold that failed to write has made its blocks dirty while the claim waited for it.
            let redirtied = page.state.clear_dirty();
            let claimed = claimed.with(page.take_dirty_blocks());
            let blocks = claimed.without(held);
            let writes = !declined || !blocks.is_empty();
            self.count(|counters| {
                counters.dirty.sub(redirtied.into());
                counters.writeback.add(writes.into());
            });
            let first = declined && self.count_dirty();
            if declined {
                page.add_dirty_blocks(claimed.without(blocks));
                page.state.set_dirty();
                slot.set(PageTag::Dirty);
            }
            let ticket = writes.then(|| {
                page.state.begin_writeback_of_blocks();
                sets.writing.add(blocks);
                slot.set(PageTag::Writeback);
                page.next_ticket()
            });
            if !declined {
                slot.clear(DIRTY_TAGS);
                // Release: who sees it sees the ticket.
                sets.complete.store(page.ticket(), Ordering::Release);
            }
            // A page is charged for once while it is dirty, and once while it is being written.
            let (charged, owed) = (1 + i8::from(redirtied), i8::from(declined) + i8::from(writes));
            if owed > charged {
                self.member.charge();
            }
            Ok((Begun { ticket, blocks, declined }, charged > owed, first))
        });
        debug_assert!(started.is_ok(), "a claimed page left the index: {page:?}");
        let (begun, discharges, first) = started.unwrap_or(Err(Held))?;
        self.tell_flushers(first);
        if discharges {
            self.member.discharge(1);
        } else if begun.ticket.is_none() {
            self.member.claim_given_up();
        }
        Ok(begun)
    }

    /// Whether the write that has begun has all that is to be written of the page. The caller has the latch,
    /// so that nothing becomes dirty meanwhile; and who holds blocks may yet give back what he had taken.
    pub(crate) fn writes_all_blocks(&self, page: &Page) -> bool {
        let Some(sets) = &page.blocks else { return true };
        let all = self.section(&self.tree.pin(), page, |_| {
            sets.dirty.get().is_empty() && sets.taken.get().is_empty()
        });
        all == Ok(true)
    }

    /// Who has the page lock waits for holds of some of a page's several blocks: returns the lowest of these that is held,
    /// and all of them up to it, or none if none is.
    ///
    /// From now on nobody holds those anew before the page is unlocked. The blocks above can still be held,
    /// by a holder of lower ones too: it takes them in ascending order, and so does who waits here, so that
    /// they never wait for each other. What is waited for rises with every call.
    pub(crate) fn want_blocks(&self, page: &Page, of: BlockMap) -> BlockMap {
        let wanted = self.section(&self.tree.pin(), page, |_| {
            let sets = page.blocks.as_ref()?;
            let wanted = sets.held.get().and(of).up_to_lowest().and(of);
            sets.wanted.add(wanted);
            Some(wanted)
        });
        wanted.ok().flatten().unwrap_or(BlockMap::NONE)
    }

    /// Takes `blocks` of the page for another writer than writeback.
    pub(crate) fn try_hold(&self, page: &Page, blocks: BlockMap) -> Result<(), NoHold> {
        let Some(sets) = &page.blocks else {
            return page.state.try_hold().map_err(|state| match state.is_mapped() {
                true => NoHold::Busy,
                false => NoHold::Gone,
            });
        };
        let held = self.section(&self.tree.pin(), page, |_| {
            if sets.refuse_hold(blocks) {
                return Err(NoHold::Busy);
            }
            sets.held.add(blocks);
            page.state.hold_block();
            Ok(())
        });
        held.unwrap_or(Err(NoHold::Gone))
    }

    /// The holder takes it upon itself to write what is dirty of `blocks`: returns what that is. The page
    /// stays dirty, so that a sync comes by and waits.
    pub(crate) fn take_held_blocks(&self, page: &Page, blocks: BlockMap) -> BlockMap {
        let taken = self.section(&self.tree.pin(), page, |_| {
            let sets = page.blocks.as_ref()?;
            let taken = sets.dirty.get().without(sets.all.without(blocks));
            sets.dirty.remove(taken);
            sets.taken.add(taken);
            Some(taken)
        });
        taken.ok().flatten().unwrap_or(BlockMap::NONE)
    }

    /// Ends a hold of `blocks`; those in `unwritten`, which the holder had taken, are dirty again.
    pub(crate) fn release_hold(&self, page: &Page, blocks: BlockMap, unwritten: BlockMap) {
        let Some(sets) = &page.blocks else {
            return page.wake(page.state.release_hold());
        };
        let released = self.section(&self.tree.pin(), page, |slot| {
            let mut first = false;
            if !unwritten.is_empty() {
                sets.dirty.add(unwritten);
                slot.set(PageTag::Dirty);
                if page.state.set_dirty() {
                    first = self.count_dirty();
                    self.member.charge();
                }
            }
            sets.held.remove(blocks);
            sets.taken.remove(blocks);
            if sets.held.get().is_empty() {
                page.state.release_last_block();
            }
            first
        });
        self.tell_flushers(released == Ok(true));
        debug_assert!(released.is_ok(), "a held page left the index: {page:?}");
        page.wake(page.state.take_sleepers());
    }
}
