//! Which page gives up its place.
//!
//! Each mapping's index is a clock with one hand. The hand asks the index for entries without the tags
//! DIRTY, WRITEBACK, TOWRITE and ACCESSED, which the index decides for 64 entries at a time; what it passes
//! over loses ACCESSED, a word at a time too, and so has its second chance until the hand comes round again.
//! Only what is left is looked at page by page. A tag says where to look and no more: whether the page may
//! go is decided in the section that removes it ([`Shared::evict`]).
//!
//! A page that was read in and not used since has no ACCESSED tag: one pass over a large file costs such
//! pages their places, and not those that are used again and again.
//!
//! Mappings give in proportion to what they have.

use std::sync::Arc;

use tagged_radix::{ArrayVec, TagFilter, TagSet};

use crate::cache::Inner;
use crate::page::Page;
use crate::primitives::{MutexGuard, Ordering};
use crate::shared::Shared;
use crate::tag::{DIRTY_TAGS, PageTag};

/// Most pages that are looked at in one move of a hand.
const MOVE: usize = 32;

/// So often a hand may come to the end of its mapping before reclaim gives up: once from where it stood,
/// once to take second chances away, and once to use them up.
const ROUNDS: u32 = 3;

/// What one move of a hand did.
#[derive(Debug)]
struct Moved {
    evicted: u64,
    ended: bool,
}

impl Inner {
    /// Takes a place when all are taken: evicts, or if there is nothing to evict, takes one more.
    #[cold]
    pub(crate) fn make_room(&self) {
        let hands = self.hands.lock();
        // Whoever had them before has made room for others too.
        if self.take_place() {
            return;
        }
        let beyond = self.places().saturating_sub(self.config.capacity_pages);
        let ahead = (self.config.capacity_pages / 8).clamp(1, MOVE as u64);
        self.evict_under(&hands, beyond + ahead);
        drop(hands);
        if !self.take_place() {
            self.take_place_anyway();
        }
    }

    /// Evicts up to `wanted` pages; returns how many.
    pub(crate) fn evict(&self, wanted: u64) -> u64 {
        self.evict_under(&self.hands.lock(), wanted)
    }

    fn evict_under(&self, _hands: &MutexGuard<'_, ()>, wanted: u64) -> u64 {
        let mut members: Vec<_> = self.members().into_iter().map(|mapping| (mapping, 0)).collect();
        let mut evicted = 0;
        while evicted < wanted {
            let moving = members.iter_mut().filter(|(_, rounds)| *rounds < ROUNDS);
            let Some((mapping, rounds)) = moving.min_by_key(|(mapping, _)| mapping.given()) else {
                break;
            };
            let moved = mapping.shared.move_hand(wanted - evicted);
            evicted += moved.evicted;
            *rounds += u32::from(moved.ended);
        }
        self.evicted.add(evicted);
        evicted
    }
}

impl Shared {
    /// Moves the hand on, over up to [`MOVE`] pages that might be evicted, and evicts up to `wanted`.
    fn move_hand(&self, wanted: u64) -> Moved {
        let Some(member) = &self.member else { return Moved { evicted: 0, ended: true } };
        let unused = TagFilter::none_of(DIRTY_TAGS)
            .and_none_of(PageTag::Writeback)
            .and_none_of(PageTag::Accessed);
        // Relaxed, here and below: hints, and the hands are locked.
        let start = member.hand.load(Ordering::Relaxed);
        let mut found = ArrayVec::<(u64, Arc<Page>), MOVE>::new();
        let mut next = self.tree.gang_lookup_tagged_owned(start, unused, &mut found);
        if let Some((index, _)) = usize::try_from(wanted).ok().and_then(|at| found.get(at)) {
            next = Some(*index);
            found.truncate(usize::try_from(wanted).unwrap_or(MOVE));
        }
        member.hand.store(next.unwrap_or(0), Ordering::Relaxed);
        // First the second chances, then the evictions: who uses a page from now on saves it.
        member.next_turn();
        let last = next.map_or(u64::MAX, |next| next - 1);
        let used = self.tree.pin().tag_range(start..=last, TagSet::EMPTY, PageTag::Accessed);
        let looked_at = used + found.len() as u64;
        let evicted = found.iter().filter(|(_, page)| self.evict(page).is_ok()).count() as u64;
        let part = (looked_at.max(1) << 20) / self.counters.cached.get().max(1);
        member.given.fetch_add(part, Ordering::Relaxed);
        Moved { evicted, ended: next.is_none() }
    }
}
