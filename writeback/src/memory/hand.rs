//! A mapping's hands: one evicts, the other takes chances away.
//!
//! A page with a chance has the tag ACCESSED (see [`usage`](crate::accounts::usage)); clean pages without are the *pool*.
//! The **evicting hand** goes up through the index and evicts what is in the pool, and goes by all others
//! without taking anything from them. A scan's pages come in without a chance and stay without, so as long as
//! there are such, nobody else gives anything.
//!
//! When the hand has come round and has found fewer than a part of the mapping's pages ([`POOL`]), too many have
//! been given chances meanwhile, and the **other hand** takes as many away as were missing: one chance from each
//! page that it comes to, until so many pages have none left. These are in the pool from then on, for as long as
//! the evicting hand takes to come to them, and are saved by one use. So the pool's size is measured by what was
//! really found in it, and dirty, locked or kept pages, which the hand cannot evict, are not taken for a part.
//!
//! The other hand goes *down*. Where a program goes through more pages than there is room for, upwards and again
//! and again, a hand that goes the same way takes those that are wanted next, and nothing is ever found; one
//! that comes towards it takes some that are wanted later.
//!
//! Both look at words of 64 entries, and page by page only at what they take. One move is bounded: a hand that
//! has seen many pages and found too few with but one chance takes all that they have from the next ([`LOOKS`]).
//!
//! Why this and not another: the table of `benches/README.md`.

use std::sync::Arc;

use tagged_radix::{ArrayVec, TagFilter, TagSet};

use super::reclaim::{Circumstances, Look, MOVE, decide};
use crate::accounts::givers::WHOLE;
use crate::accounts::outcomes::Outcome;
use crate::index::{BATCH, pages_down};
use crate::pages::Page;
use crate::pages::tag::{DIRTY_TAGS, PageTag};
use crate::primitives::Ordering;
use crate::rules::changes::Spared;
use crate::rules::core::{Core, Member};

/// The pool is to have one of so many pages. A larger one loses what is used evenly, a smaller one what has just
/// become popular.
const POOL: u64 = 16;

/// Most pages that lose their last chance in one move.
const AGE: u64 = 2 * MOVE as u64;

/// Most pages that are looked at for that.
const LOOKS: u64 = 8 * MOVE as u64;

/// A mapping that has given without taking chances away has given so much less.
const CHEAPER: u64 = 16;

/// What one move did.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) evicted: u64,
    /// The evicting hand has come round for the second time in a row and had evicted nothing.
    pub(super) ended: bool,
    /// What has been asked of the mapping by this, in parts of all that it has.
    pub(super) given: u64,
}

/// Clean, and without a chance.
fn in_pool() -> TagFilter {
    TagFilter::none_of(DIRTY_TAGS).and_none_of(PageTag::Writeback).and_none_of(PageTag::Accessed)
}

/// Clean, and with one.
fn with_chances() -> TagFilter {
    TagFilter::all_of(PageTag::Accessed).and_none_of(DIRTY_TAGS).and_none_of(PageTag::Writeback)
}

impl Core {
    /// Moves the hands on: evicts up to `wanted` of up to [`MOVE`] pages, and takes chances away if that is due.
    ///
    /// The caller has the hands to itself.
    pub(super) fn move_hand(&self, wanted: u64) -> Moved {
        let Some(member) = &*self.member else {
            return Moved { evicted: 0, ended: true, given: 0 };
        };
        let cached = self.counters.cached.get().max(1);
        // A small mapping gives a part in one turn, as a large one does, and not all that it has. That bounds what is
        // evicted, not what loses its chances: reclaim gives up after a few rounds in vain, so these must get on.
        let asked = wanted;
        let wanted = asked.min(cached.div_ceil(POOL));
        let mut found = ArrayVec::<(u64, Arc<Page>), MOVE>::new();
        // Relaxed, here and below: hints, and the hands are locked.
        let start = member.hand.load(Ordering::Relaxed);
        let mut next = self.tree.gang_lookup_tagged_owned(start, in_pool(), &mut found);
        if let Some((index, _)) = usize::try_from(wanted).ok().and_then(|at| found.get(at)) {
            next = Some(*index);
            found.truncate(usize::try_from(wanted).unwrap_or(MOVE));
        }
        member.hand.store(next.unwrap_or(0), Ordering::Relaxed);
        let evicted = self.evict_found(member, &found);
        let since_start = member.yielded.fetch_add(evicted, Ordering::Relaxed) + evicted;
        let came_round = next.is_none();
        let in_vain = came_round && since_start == 0;
        if came_round {
            let pool = (self.counters.cached.get() / POOL).max(1);
            let missing = pool.saturating_sub(since_start);
            let at_once = if in_vain { asked.min(AGE) } else { 0 };
            member.missing.store(missing.max(at_once), Ordering::Relaxed);
            member.yielded.store(0, Ordering::Relaxed);
        }
        let looks = self.take_chances(member);
        // The first time it has only now been seen to that there is something the next time.
        let ended = in_vain && member.in_vain.load(Ordering::Relaxed);
        if came_round {
            member.in_vain.store(in_vain, Ordering::Relaxed);
        }
        if in_vain && looks == 0 {
            // What has a chance is dirty. Nothing else is left, so that its turn to be written has come.
            let used = self.tree.pin().tag_range(.., TagSet::EMPTY, PageTag::Accessed);
            member.cache.outcomes.count(Outcome::Used, used);
        }
        let given = given(found.len() as u64, looks, cached);
        Moved { evicted, ended, given }
    }

    /// Evicts those that may go; returns how many.
    fn evict_found(&self, member: &Member, found: &[(u64, Arc<Page>)]) -> u64 {
        let cache = &*member.cache;
        let mut evicted = 0;
        for (index, page) in found {
            let outcome = match self.evict(page) {
                Ok(()) => Outcome::Evict,
                Err(Spared::Gone) => continue,
                Err(Spared::Used) => Outcome::Used,
                Err(Spared::Busy(state)) => {
                    decide(Look::of(self, state, page, 0), Circumstances::default())
                }
            };
            cache.outcomes.count(outcome, 1);
            if outcome == Outcome::Evict {
                cache.ghosts.add(member.number, *index);
                evicted += 1;
            }
        }
        evicted
    }

    /// Takes chances away, until as many pages have none as are missing in the pool or fit into one move; returns
    /// how many it looked at.
    fn take_chances(&self, member: &Member) -> u64 {
        let missing = member.missing.load(Ordering::Relaxed);
        let wanted = missing.min(AGE);
        let (mut taken, mut looks, mut came_round) = (0, 0, false);
        while taken < wanted && looks < LOOKS {
            let mut found = ArrayVec::<(u64, Arc<Page>), BATCH>::new();
            let start = member.other_hand.load(Ordering::Relaxed);
            let mut next = pages_down(&self.tree, start, with_chances(), &mut found);
            for (index, page) in found {
                if taken == wanted {
                    next = Some(index);
                    break;
                }
                // A move is not to be the longer the more they are used.
                let all = looks + wanted >= LOOKS + taken;
                taken += u64::from(self.take_chance(member, index, &page, all));
                looks += 1;
            }
            member.other_hand.store(next.unwrap_or(u64::MAX), Ordering::Relaxed);
            if next.is_none() && std::mem::replace(&mut came_round, true) {
                break;
            }
        }
        member.cache.outcomes.count(Outcome::Used, looks);
        // If there is nobody to take from, none are missing.
        let left = if looks == 0 { 0 } else { missing.saturating_sub(taken) };
        member.missing.store(left, Ordering::Relaxed);
        looks
    }

    /// Takes a chance, or `all`, from a page; tells whether it has none left.
    fn take_chance(&self, member: &Member, index: u64, page: &Page, all: bool) -> bool {
        let now = member.cache.turns.now();
        if all {
            page.usage.take_all(now);
        } else if !page.usage.take_chance(now) {
            return false;
        }
        // Should the page have been replaced, the other has lost its chance.
        self.tree.pin().clear_tag(index, PageTag::Accessed.tag()) == Some(true)
    }
}

/// What a mapping has given, in parts of the pages that it `cached` before: those that have given least are asked
/// next. Where there is something in the pool, a scan perhaps, more is taken than where chances must be taken for it.
fn given(found: u64, looks: u64, cached: u64) -> u64 {
    let weight = if looks == 0 { 1 } else { CHEAPER };
    ((found + looks).max(1) * weight * WHOLE / cached).max(1)
}
