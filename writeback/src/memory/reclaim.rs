//! Which page gives up its place.
//!
//! Each mapping's index is a clock. A hand asks the index for entries without the tags DIRTY, WRITEBACK, TOWRITE
//! and ACCESSED, which the index decides for 64 entries at a time, and only what is left is looked at page by
//! page. A tag says where to look and no more: whether the page may go is decided in the section that removes it
//! ([`Core::evict`](crate::rules::core::Core)). Which pages have ACCESSED, and when they lose it, is said in
//! [`usage`](crate::accounts::usage) and [`hand`](super::hand). Mappings give in proportion to what they have, where they give what has
//! been used.
//!
//! Where too few pages are clean, the dirty ones are looked at too, in the same order. What becomes of a page
//! is one function of what is seen of it and of the circumstances, [`decide`]: the table by which Linux's
//! `shrink_list` and `pageout` went, `may_write_to_queue` (the store's congestion) included. Nothing is
//! written while a lock or a latch is held, and nothing is waited for: a page is claimed in mode `Skip`.

use std::collections::HashMap;
use std::sync::Arc;

use crate::accounts::givers::Givers;
use crate::accounts::outcomes::Outcome;
use crate::accounts::whole_pages;
use crate::held;
use crate::index::range::ALL;
use crate::index::walk;
use crate::modes::{Budget, SyncMode};
use crate::pages::Page;
use crate::pages::state::Snapshot;
use crate::pages::tag::PageTag;
use crate::primitives::Ordering;
use crate::rules::core::{Cache, Core, Mapping, Member};
use crate::rules::pass::Pass;

/// Most pages that are looked at in one move of a hand.
pub(super) const MOVE: usize = 32;

/// So often a hand may come round a mapping and evict nothing, before reclaim gives up: what it found may have
/// been used again in between, or have been dirty.
const ROUNDS: u32 = 3;

/// Most dirty pages that one reclaim looks at in a mapping.
const PAGE_OUT: u64 = 256;

/// So many bytes are evicted at a time where much has to be.
const PORTION: u64 = 1 << 20;

/// A look at so many pages that somebody has, and no other, is cheap enough to be repeated for each page that comes in.
const CHEAP: u64 = 256;

/// Of those beyond, so many spare one of the looks that follow.
const SPARED: u64 = 16;

/// How much is to be evicted.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// So many pages, whatever their size.
    Pages(u64),
    /// Pages of so many bytes together, or somewhat more.
    Bytes(u64),
}

impl Wanted {
    /// How many pages of a mapping that is, if each weighs so much.
    fn in_pages(self, weight: u64) -> u64 {
        match self {
            Self::Pages(pages) => pages,
            Self::Bytes(bytes) => bytes.div_ceil(weight),
        }
    }

    fn got(&mut self, pages: u64, weight: u64) {
        match self {
            Self::Pages(wanted) => *wanted = wanted.saturating_sub(pages),
            Self::Bytes(wanted) => *wanted = wanted.saturating_sub(pages * weight),
        }
    }

    fn is_met(self) -> bool {
        matches!(self, Self::Pages(0) | Self::Bytes(0))
    }
}

/// What is seen of a page, without a lock. It may be out of date.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    pub(super) locked: bool,
    pub(super) under_writeback: bool,
    pub(super) used: bool,
    pub(super) dirty: bool,
    pub(super) kept: bool,
    pub(super) held: bool,
    /// Its last write failed, and it is not time for the next.
    pub(super) backs_off: bool,
    /// Reclaim has met it before, dirty or under writeback, and it has not been used since.
    pub(super) met_before: bool,
}

/// What reclaim knows besides the page.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Circumstances {
    /// For a flusher, which may write; or for a thread that needs a page, and has no flusher.
    may_write: bool,
    /// No clean page was left where the hand looked.
    all_dirty: bool,
    /// The store asks for no more writes than must be.
    congested: bool,
    /// The mapping takes no more writes: it is poisoned.
    no_writer: bool,
}

/// The decision table.
pub(super) fn decide(page: Look, at: Circumstances) -> Outcome {
    if page.locked {
        return Outcome::Locked;
    }
    if page.under_writeback {
        return if page.met_before { Outcome::StillWriteback } else { Outcome::Writeback };
    }
    if page.used {
        return Outcome::Used;
    }
    if page.dirty && !(at.may_write && at.all_dirty && page.met_before) {
        return Outcome::Deferred;
    }
    if page.kept {
        return Outcome::Kept;
    }
    if page.held {
        return Outcome::Held;
    }
    if !page.dirty {
        return Outcome::Evict;
    }
    match at {
        Circumstances { no_writer: true, .. } => Outcome::NoWriter,
        _ if page.backs_off => Outcome::BacksOff,
        Circumstances { congested: true, .. } => Outcome::Congested,
        _ => Outcome::PageOut,
    }
}

impl Cache {
    /// Takes a place when all are taken: evicts, and if there is nothing to evict, takes one more.
    ///
    /// Nothing clean may be left. Then pages of the mapping that needs the place are written, and of no other: its
    /// own store is the only one that a thread of this mapping may have to wait for.
    #[cold]
    pub(crate) fn make_room(&self, needs: &Member) {
        let weight = needs.account.weight;
        if self.is_in_vain() {
            return self.take_place_anyway(weight);
        }
        if self.evict_for_one(weight) {
            return;
        }
        // First met, then written. Not by a thread with a guard: what it writes, or waits for, may need the page
        // that it has latched.
        let rounds = if held::any() { 0 } else { 2 };
        for _ in 0..rounds {
            let busy = needs.mapping().is_some_and(|mapping| mapping.page_out(self, true));
            if self.evict_for_one(weight) {
                return;
            }
            let under_way = || needs.mapping().is_some_and(|mapping| mapping.is_being_written());
            if busy && under_way() {
                self.throttle.wait_for_an_end(&needs.account);
            }
        }
        if !self.evict_for_one(weight) {
            self.take_place_anyway(weight);
        }
    }

    /// Takes a place, if need be by evicting, or beyond the capacity. Of those who come here there may be any number while all pages are being read: so
    /// nobody looks again where another has found nothing, before a read ends or much more is beyond the capacity.
    pub(super) fn take_room_at_once(&self, weight: u64) {
        if self.take_place(weight) {
            return;
        }
        if self.is_in_vain() {
            return self.take_place_anyway(weight);
        }
        // Relaxed, here and below: a hint. Out of date, it costs a look, or a page that is evicted later.
        let (in_vain, beyond) = (self.room_in_vain.load(Ordering::Relaxed), self.beyond());
        if in_vain > 0 && (in_vain..=in_vain * 2).contains(&beyond.max(1)) {
            return self.take_place_anyway(weight);
        }
        let taken = self.evict_for_one(weight);
        let found = if taken { 0 } else { self.beyond().max(1) };
        self.room_in_vain.store(found, Ordering::Relaxed);
        if !taken {
            self.take_place_anyway(weight);
        }
    }

    /// Takes a place, if need be by evicting.
    pub(super) fn take_room_if_any(&self, weight: u64) -> bool {
        self.take_place(weight) || self.evict_for_one(weight)
    }

    /// Takes a place of that weight after evicting some, more than needed, so that not every page that comes in has to
    /// be made room for.
    fn evict_for_one(&self, weight: u64) -> bool {
        let mut let_go = Vec::new();
        let mut hands = self.hands.lock();
        // Whoever had them before has made room for others too.
        if self.take_place(weight) {
            return true;
        }
        let beyond = self.beyond();
        let wanted = Wanted::Bytes(beyond + self.ahead().max(weight));
        self.evict_under(&mut hands, wanted, &mut let_go);
        let taken = self.take_place(weight);
        drop(hands);
        taken
    }

    /// Evicts as much as images take beyond the capacity. If that cannot be, nobody tries again before it is worth it.
    #[cold]
    pub(crate) fn make_up_for_images(&self) {
        let mut let_go = Vec::new();
        let mut hands = self.hands.lock();
        // Relaxed, here and below: a hint, and the hands are locked.
        let in_vain = self.images_in_vain.load(Ordering::Relaxed);
        let beyond = self.beyond();
        if beyond > 0 && (in_vain == 0 || beyond > in_vain + self.ahead()) {
            let (_, is_met) = self.evict_under(&mut hands, Wanted::Bytes(beyond), &mut let_go);
            self.images_in_vain.store(if is_met { 0 } else { beyond }, Ordering::Relaxed);
        } else if beyond < in_vain {
            self.images_in_vain.store(beyond, Ordering::Relaxed);
        }
        drop(hands);
    }

    /// Evicts what is beyond the capacity, as much of it as can be; others come in between.
    pub(crate) fn shrink(&self) {
        loop {
            let beyond = self.beyond();
            if beyond == 0 || self.is_in_vain() {
                return;
            }
            if self.evict_wanted(Wanted::Bytes(beyond.min(PORTION))).0 == 0 {
                return;
            }
        }
    }

    /// Whether to look for pages to evict would be in vain, as far as is known: not long ago there were many, and somebody kept each, or read it in.
    fn is_in_vain(&self) -> bool {
        // Relaxed: a hint. One look more or less.
        let one_less = |left: u64| left.checked_sub(1);
        self.kept_in_vain.load(Ordering::Relaxed) > 0
            && self
                .kept_in_vain
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
                .is_ok()
    }

    /// How many bytes are to be free before they are asked for.
    fn ahead(&self) -> u64 {
        whole_pages((self.capacity() / 8).clamp(1, MOVE as u64 * self.page()))
    }

    /// What a flusher does, so that others need not: evicts if there are few free places. Returns whether there
    /// still are, so that pages have to be written first.
    pub(crate) fn reclaim_ahead(&self) -> bool {
        // Where that is less than a page, one that is kept free is one that is missed.
        let ahead = Some(self.ahead()).filter(|ahead| *ahead >= self.page()).unwrap_or(0);
        let wanted = (self.held() + ahead).saturating_sub(self.capacity());
        let (_, is_met) = self.evict_wanted(Wanted::Bytes(wanted));
        !is_met
    }

    /// Evicts up to `pages` pages; returns how many.
    pub(crate) fn evict(&self, pages: u64) -> u64 {
        let (evicted, _) = self.evict_wanted(Wanted::Pages(pages));
        evicted
    }

    /// Evicts up to what is wanted; returns how many pages, and whether that was all.
    fn evict_wanted(&self, wanted: Wanted) -> (u64, bool) {
        let mut let_go = Vec::new();
        let mut hands = self.hands.lock();
        let evicted = self.evict_under(&mut hands, wanted, &mut let_go);
        drop(hands);
        evicted
    }

    /// As [`evict_wanted`](Self::evict_wanted). The mappings that were looked at are kept in `let_go` until the hands are free: the
    /// last reference to one drops its store, and what that does is the user's affair.
    fn evict_under(
        &self,
        givers: &mut Givers,
        mut wanted: Wanted,
        let_go: &mut Vec<Mapping>,
    ) -> (u64, bool) {
        let (mut evicted, stay_before) = (0, self.outcomes.that_stay());
        // How often a hand came to the end, of each mapping that did; and those that came there too often.
        let (mut rounds, mut done) = (HashMap::<_, u32>::new(), Vec::new());
        while !wanted.is_met() {
            let Some((given, core)) = self.next_giver(givers) else { break };
            let mapping = Mapping { core };
            let weight = mapping.core.page_size as u64;
            let moved = mapping.core.move_hand(wanted.in_pages(weight));
            evicted += moved.evicted;
            wanted.got(moved.evicted, weight);
            let given = given + moved.given;
            let ended = rounds.entry(Arc::as_ptr(&mapping.core)).or_default();
            *ended += u32::from(moved.ended);
            if *ended < ROUNDS {
                put_back(givers, given, &mapping);
                let_go.push(mapping);
            } else {
                done.push((given, mapping));
            }
        }
        for (given, mapping) in done {
            put_back(givers, given, &mapping);
            let_go.push(mapping);
        }
        // So each page that somebody has is looked at a few times for nothing, however many there are; and when their owners let go of many of them,
        // some more come in before that is found out.
        let stay = self.outcomes.that_stay() - stay_before;
        let in_vain = if evicted == 0 { stay.saturating_sub(CHEAP) / SPARED } else { 0 };
        self.kept_in_vain.store(in_vain, Ordering::Relaxed);
        (evicted, wanted.is_met())
    }
}

/// The mapping comes again, unless it has no page left.
fn put_back(givers: &mut Givers, given: u64, mapping: &Mapping) {
    if let Some(member) = &*mapping.core.member {
        member.put_back(givers, given, &mapping.core.counters.cached);
    }
}

impl Mapping {
    /// Pages may be clean now that were beyond what there is room for.
    pub(crate) fn give_up_beyond(&self) {
        if let Some(member) = &*self.core.member
            && member.cache.beyond() > 0
        {
            member.cache.shrink();
        }
    }

    /// For a flusher: if its cache has no room and no clean page, writes pages that nobody has used lately.
    /// Returns whether any was, or was being written.
    pub(crate) fn page_out_if_short(&self) -> bool {
        let cache = self.core.member.as_ref().map(|member| &member.cache);
        let short = cache.filter(|cache| cache.reclaim_ahead());
        short.is_some_and(|cache| self.page_out(cache, false))
    }

    fn is_being_written(&self) -> bool {
        self.core.counters.writeback.get() > 0
    }

    /// Nothing clean is left: looks at what is dirty or under writeback of this mapping. Returns whether a write is
    /// under way whose end will make room.
    pub(crate) fn page_out(&self, cache: &Cache, foreground: bool) -> bool {
        let core = &*self.core;
        let at = Circumstances {
            may_write: !foreground || !core.kick.has_flusher(),
            all_dirty: true,
            congested: core.backing().store.is_congested(),
            no_writer: core.check_store().is_err(),
        };
        let mut pass = Pass::new(self, SyncMode::Skip, Budget::pages(PAGE_OUT));
        let (mut busy, mut deferred) = (false, false);
        for tag in [PageTag::Writeback, PageTag::Dirty] {
            for page in self.first_pages(tag) {
                let mut look = Look::of(core, page.snapshot(), &page, core.clock.now_ms());
                look.used = core.tree.pin().has_tag(page.index(), PageTag::Accessed.tag());
                look.met_before = page.usage.meet();
                let outcome = decide(look, at);
                cache.outcomes.count(outcome, 1);
                busy |= matches!(outcome, Outcome::Writeback | Outcome::StillWriteback);
                deferred |= outcome == Outcome::Deferred;
                if outcome == Outcome::PageOut {
                    pass.visit(page);
                }
            }
        }
        pass.finish();
        if deferred {
            core.kick.wake();
        }
        busy || pass.progress.submitted > 0
    }

    /// Up to [`PAGE_OUT`] pages with `tag`, from where the hand stands on.
    fn first_pages(&self, tag: PageTag) -> impl Iterator<Item = Arc<Page>> {
        let tree = &self.core.tree;
        let hand =
            self.core.member.as_ref().map_or(0, |member| member.hand.load(Ordering::Relaxed));
        // Once to the end and, if that was not all, once from the beginning.
        let again = (hand > 0).then(|| walk(tree, ALL, tag));
        let pages = walk(tree, (hand, u64::MAX), tag).chain(again.into_iter().flatten());
        let pages = pages.map(|(_, page)| page);
        pages.take(usize::try_from(PAGE_OUT).unwrap_or(usize::MAX))
    }
}

impl Look {
    pub(super) fn of(core: &Core, state: Snapshot, page: &Page, now_ms: u64) -> Self {
        Self {
            locked: state.is_locked(),
            under_writeback: state.is_under_writeback(),
            dirty: state.is_dirty(),
            kept: state.is_kept(),
            held: state.is_held(),
            backs_off: core.backs_off(page, state, now_ms),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flusher's second look at what is dirty, where nothing clean is left.
    const SECOND: Circumstances =
        Circumstances { may_write: true, all_dirty: true, congested: false, no_writer: false };
    const CLEAN: Look = Look {
        locked: false,
        under_writeback: false,
        used: false,
        dirty: false,
        kept: false,
        held: false,
        backs_off: false,
        met_before: false,
    };
    const DIRTY: Look = Look { dirty: true, met_before: true, ..CLEAN };

    #[test]
    fn shrink_list_goes_by_a_locked_page() {
        assert_eq!(decide(Look { locked: true, ..DIRTY }, SECOND), Outcome::Locked);
    }

    #[test]
    fn shrink_list_meets_a_page_under_writeback_and_finds_it_again() {
        let first = Look { under_writeback: true, dirty: true, ..CLEAN };
        assert_eq!(decide(first, SECOND), Outcome::Writeback);
        let again = Look { met_before: true, ..first };
        assert_eq!(decide(again, SECOND), Outcome::StillWriteback);
    }

    #[test]
    fn shrink_list_keeps_what_was_used() {
        assert_eq!(decide(Look { used: true, ..DIRTY }, SECOND), Outcome::Used);
        assert_eq!(decide(Look { used: true, ..CLEAN }, SECOND), Outcome::Used);
    }

    #[test]
    fn shrink_list_leaves_a_dirty_page_to_the_flusher() {
        let foreground = Circumstances { may_write: false, ..SECOND };
        assert_eq!(decide(DIRTY, foreground), Outcome::Deferred);
        let some_are_clean = Circumstances { all_dirty: false, ..SECOND };
        assert_eq!(decide(DIRTY, some_are_clean), Outcome::Deferred);
        let first = Look { met_before: false, ..DIRTY };
        assert_eq!(decide(first, SECOND), Outcome::Deferred);
    }

    #[test]
    fn pageout_keeps_a_page_with_references() {
        assert_eq!(decide(Look { kept: true, ..DIRTY }, SECOND), Outcome::Kept);
    }

    #[test]
    fn pageout_keeps_a_page_that_another_writer_holds() {
        assert_eq!(decide(Look { held: true, ..DIRTY }, SECOND), Outcome::Held);
    }

    #[test]
    fn pageout_gives_up_where_there_is_no_writer() {
        let poisoned = Circumstances { no_writer: true, congested: true, ..SECOND };
        assert_eq!(decide(Look { backs_off: true, ..DIRTY }, poisoned), Outcome::NoWriter);
    }

    #[test]
    fn pageout_waits_for_a_failed_page_to_be_due() {
        assert_eq!(decide(Look { backs_off: true, ..DIRTY }, SECOND), Outcome::BacksOff);
    }

    #[test]
    fn may_write_to_queue_says_no_to_a_congested_store() {
        let congested = Circumstances { congested: true, ..SECOND };
        assert_eq!(decide(DIRTY, congested), Outcome::Congested);
        assert_eq!(decide(CLEAN, congested), Outcome::Evict, "clean pages cost it nothing");
    }

    #[test]
    fn pageout_writes_a_dirty_page_that_is_met_again_where_nothing_is_clean() {
        assert_eq!(decide(DIRTY, SECOND), Outcome::PageOut);
    }

    #[test]
    fn shrink_list_frees_a_clean_page_that_nobody_uses() {
        assert_eq!(decide(CLEAN, SECOND), Outcome::Evict);
        assert_eq!(decide(CLEAN, Circumstances::default()), Outcome::Evict);
        assert_eq!(decide(Look { kept: true, ..CLEAN }, SECOND), Outcome::Kept);
        assert_eq!(decide(Look { held: true, ..CLEAN }, SECOND), Outcome::Held);
    }
}
