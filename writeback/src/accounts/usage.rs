//! What counts as use of a page, and how often.
//!
//! Eviction wants to know which pages will be wanted again, and takes those for it that have been. This is the
//! one place that says what "used" is: [`Core::used`](crate::rules::core::Core) is called wherever a page's bytes are asked for, read
//! or changed, whichever way: by a handle, by `Mapping::page`, or by a `PageRef` whatever it came from. Looking
//! (`cached_page`, `has_tag`, `snapshot`) is no use, nor is what writeback does with a page (claims, images).
//!
//! # A burst counts once
//!
//! Who reads a page in pieces of 64 bytes needs it once, and not 64 times. So time is cut into *turns*, and a
//! page is used in a turn or is not:
//!
//! 1. A turn is over when so many pages have come into the cache: a part of its capacity ([`Turns`](crate::accounts::turns::Turns)). Not when
//!    so much time has passed: eviction is driven by what comes in, so a burst is short if little has come in
//!    meanwhile, on a fast machine and on a slow one, and a machine that stands still does not age its pages.
//!    Nor is it a number of uses, which says more of how small the pieces are than of how long it took.
//! 2. A page comes in for somebody, and what it came in for is not a reason to keep it: uses in the turn in
//!    which it came in and in the next do not count. (Two, because it may have come in at the end of one.) A
//!    scan, in however small pieces, by handle or by page, leaves no page behind that looks used. Those who
//!    read a page together with a scan, from other threads, would have to bring in a 64th of the cache before
//!    the scan is through with the page, for it to look used. A page that was read ahead has come in for its first use, whenever that is: the first that
//!    would count does not, and what follows is as if it had come in then.
//! 3. In every other turn the first use counts, and no further one.
//!
//! A page remembers the turn in which its use last counted; one that comes in, the turn after that. The rule is
//! then one comparison: a use counts if its turn is *later* than the page's. If it is the same, nothing is
//! written: that is the hot path, two loads and a branch.
//!
//! # What a use is worth
//!
//! Each use that counts gives the page a *chance*, up to [`CHANCES`]; the hand that takes them away
//! (`hand`, in [`memory`](crate::memory)) takes one at a time. A page with a chance has the tag ACCESSED and is not
//! evicted. A page that comes in soon after it was evicted ([`Ghosts`](crate::accounts::ghosts::Ghosts)) has one from the
//! beginning: that it was wanted again is known already.
//!
//! # Concurrency
//! No lock and nothing to wait for; the words are hints, and all accesses to them relaxed: policy reads them,
//! correctness does not. Two threads that use a page at the same time may give it one chance or two. What is
//! promised is the *last look*: a use that counts ends with the tag set, by an operation of the index; eviction
//! looks at the tag in the section that removes the page. So the use is before the section, and the page is
//! spared, or after it, and finds no page there. And a hand that takes a page's last chance makes its next use
//! count, in the same turn or not.

use crate::primitives::{HintU32, Ordering};

/// Most chances a page has. With one, a page that was used a hundred times is not told from one that was used
/// twice; with more, pages that were popular once stay for long (the traces of `benches --bin hits`: three win
/// half a point where popularity does not change, and lose one where it does).
const CHANCES: u32 = 2;

/// In the word of a page's chances: it was read ahead, and has not been used since.
const AHEAD: u32 = 1 << 31;

/// What a page knows of its use.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// The turn in which a use last counted, or up to which none does.
    turn: HintU32,
    /// How often the hand goes by the page before it can be evicted.
    chances: HintU32,
    /// Whether reclaim has met the page, busy or dirty, and it was not used since.
    met: HintU32,
}

impl Usage {
    /// The page comes in, in turn `now`; it is `known` if it left not long ago.
    pub(crate) fn come_in(&self, now: u32, known: bool) {
        self.turn.store(now.wrapping_add(1), Ordering::Relaxed);
        self.chances.store(u32::from(known), Ordering::Relaxed);
    }

    /// The page has come in before anybody wanted it.
    pub(crate) fn read_ahead(&self) {
        self.chances.fetch_or(AHEAD, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_of(&self, turn: u32) -> bool {
        self.turn.load(Ordering::Relaxed) == turn
    }

    /// A use in turn `now`; tells whether it counts.
    pub(crate) fn count(&self, now: u32) -> bool {
        let ahead = now.wrapping_sub(self.turn.load(Ordering::Relaxed));
        // Turns begin anew after 2^32: what is less than half of that behind is behind.
        if ahead == 0 || ahead > u32::MAX / 2 {
            return false;
        }
        let chances = self.chances.load(Ordering::Relaxed);
        if chances & AHEAD != 0 {
            self.come_in(now, chances != AHEAD);
            return false;
        }
        self.turn.store(now, Ordering::Relaxed);
        self.chances.store((chances + 1).min(CHANCES), Ordering::Relaxed);
        self.met.store(0, Ordering::Relaxed);
        true
    }

    /// The hand goes by, in turn `now`, and takes a chance away; tells whether it was the last.
    pub(crate) fn take_chance(&self, now: u32) -> bool {
        let chances = self.chances.load(Ordering::Relaxed);
        let left = (chances & !AHEAD).saturating_sub(1);
        self.chances.store(chances & AHEAD | left, Ordering::Relaxed);
        if left == 0 {
            self.take_all(now);
        }
        left == 0
    }

    /// Takes all chances away; the next use counts, be it in this turn.
    pub(crate) fn take_all(&self, now: u32) {
        self.chances.store(0, Ordering::Relaxed);
        self.turn.store(now.wrapping_sub(1), Ordering::Relaxed);
    }

    /// Reclaim meets the page; returns whether it has before.
    pub(crate) fn meet(&self) -> bool {
        self.met.swap(1, Ordering::Relaxed) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_counts_once_a_turn_and_not_while_the_page_comes_in() {
        let usage = Usage::default();
        usage.come_in(7, false);
        assert!(!usage.count(7) && !usage.count(8), "one burst with coming in");
        assert!(usage.count(9) && !usage.count(9));
        assert!(usage.count(10));
    }

    #[test]
    fn turns_that_begin_anew_change_nothing() {
        let usage = Usage::default();
        usage.come_in(u32::MAX, false);
        assert!(!usage.count(u32::MAX) && !usage.count(0));
        assert!(usage.count(1));
    }

    #[test]
    fn chances_are_taken_one_by_one_and_the_next_use_counts() {
        let usage = Usage::default();
        usage.come_in(1, false);
        (3..9).for_each(|turn| assert!(usage.count(turn)));
        assert!(!usage.take_chance(8), "it had two");
        assert!(usage.take_chance(8));
        assert!(usage.count(8), "in the same turn");
        usage.come_in(20, true);
        assert!(usage.take_chance(21), "who is known has one chance");
    }
}
