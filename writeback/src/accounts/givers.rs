//! Whose hand moves next.
//!
//! Mappings give in proportion to what they have: each counts what has been asked of it, in parts of all
//! that it has, and the one with the least is next. Only mappings that have pages take part, so that those that are
//! idle cost nothing.
//!
//! A mapping is put on the list of *newcomers* by the thread that adds its first page, and is taken out of turn
//! by the one that finds it without a page. Whether it is listed changes under the lock of that list only: the first
//! page is counted before the lock is taken, and the count is looked at under it, so no mapping that has a page is left out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::primitives::{HintU32, Mutex, Ordering};

/// All that has been asked of a mapping, in parts of this.
pub(crate) const WHOLE: u64 = 1 << 20;

/// So many newcomers are kept, whether they are still there or not.
const FORGET: usize = 64;

/// The mappings that have pages, in order.
#[derive(Debug, Default)]
pub(crate) struct Givers {
    /// What has been asked of it, and the mapping's number.
    next: BinaryHeap<Reverse<(u64, u64)>>,
    /// What has been asked of the mapping that was next last: so much is taken to have been asked of newcomers.
    floor: u64,
}

impl Givers {
    pub(crate) fn pop(&mut self, newcomers: &Newcomers) -> Option<(u64, u64)> {
        for number in std::mem::take(&mut *newcomers.0.lock()) {
            self.next.push(Reverse((self.floor, number)));
        }
        let Reverse((given, number)) = self.next.pop()?;
        self.floor = self.floor.max(given);
        Some((given, number))
    }

    pub(crate) fn push(&mut self, given: u64, number: u64) {
        self.next.push(Reverse((given, number)));
    }
}

/// Mappings that have got their first page.
#[derive(Debug, Default)]
pub(crate) struct Newcomers(Mutex<Vec<u64>>);

/// Whether a mapping is a newcomer or has its turn; changed under the newcomers' lock.
#[derive(Debug, Default)]
pub(crate) struct Listed(HintU32);

impl Newcomers {
    /// The mapping has a page, and had none before.
    pub(crate) fn enlist(&self, number: u64, listed: &Listed) {
        let mut newcomers = self.0.lock();
        // Relaxed, here and below: the lock orders them.
        if listed.0.swap(1, Ordering::Relaxed) == 0 {
            newcomers.push(number);
        }
    }

    /// If most of them are gone, forgets those that are not `alive`, of whom there are so many: nothing may have been
    /// evicted for long.
    pub(crate) fn forget(&self, count: usize, alive: impl Fn(u64) -> bool) {
        let mut newcomers = self.0.lock();
        if newcomers.len() > FORGET + 2 * count {
            newcomers.retain(|number| alive(*number));
        }
    }

    /// The mapping seems to have no page; `true`: it has none, and is out of turn.
    pub(crate) fn strike(&self, listed: &Listed, has_pages: impl Fn() -> bool) -> bool {
        let _newcomers = self.0.lock();
        let has_pages = has_pages();
        listed.0.store(has_pages.into(), Ordering::Relaxed);
        !has_pages
    }
}

#[cfg(all(test, not(any(writeback_loom, writeback_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_has_given_least_is_next_and_newcomers_have_no_credit() {
        let (mut givers, newcomers) = (Givers::default(), Newcomers::default());
        let listed = [(); 3].map(|()| Listed::default());
        newcomers.enlist(0, &listed[0]);
        newcomers.enlist(1, &listed[1]);
        newcomers.enlist(1, &listed[1]);
        assert_eq!(givers.pop(&newcomers), Some((0, 0)));
        givers.push(50, 0);
        assert_eq!(givers.pop(&newcomers), Some((0, 1)));
        givers.push(20, 1);
        assert_eq!(givers.pop(&newcomers), Some((20, 1)));
        newcomers.enlist(2, &listed[2]);
        assert_eq!(givers.pop(&newcomers), Some((20, 2)));
        assert_eq!(givers.pop(&newcomers), Some((50, 0)));
        assert_eq!(givers.pop(&newcomers), None, "each once");
    }

    #[test]
    fn a_mapping_without_pages_is_struck_off_and_comes_again() {
        let (mut givers, newcomers) = (Givers::default(), Newcomers::default());
        let listed = Listed::default();
        newcomers.enlist(7, &listed);
        assert_eq!(givers.pop(&newcomers), Some((0, 7)));
        assert!(!newcomers.strike(&listed, || true), "it has got a page meanwhile");
        newcomers.enlist(7, &listed);
        assert_eq!(givers.pop(&newcomers), None, "it has its turn already");
        assert!(newcomers.strike(&listed, || false));
        newcomers.enlist(7, &listed);
        assert_eq!(givers.pop(&newcomers), Some((0, 7)));
    }
}
