//! Which guards this thread has: what it must not wait for.
//!
//! A guard is a content latch that the caller keeps for as long as it likes, and calls the cache meanwhile. What such a
//! call may wait for depends on it (access rule 14), so every guard is noted here, by the thread that has it, for as long as it
//! lives: guards do not go to other threads. Debug builds find calls here that would wait for their own thread.
//!
//! Knows of mappings and pages only the numbers that they are told apart by.

use std::cell::Cell;
use std::fmt::Write as _;
use std::marker::PhantomData;

use crate::primitives::local;

/// So many guards of a thread are known one by one; of more it is known that they are there.
const KNOWN: usize = 16;

/// A guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Guard {
    mapping: usize,
    page: u64,
    writes: bool,
}

/// The guards of one thread.
struct Held {
    known: [Cell<Guard>; KNOWN],
    known_count: Cell<usize>,
    others: Cell<usize>,
}

impl Held {
    const fn none() -> Self {
        Self {
            known: [const { Cell::new(Guard { mapping: 0, page: 0, writes: false }) }; KNOWN],
            known_count: Cell::new(0),
            others: Cell::new(0),
        }
    }

    fn known(&self) -> impl Iterator<Item = Guard> + '_ {
        self.known[..self.known_count.get()].iter().map(Cell::get)
    }

    fn add(&self, guard: Guard) {
        let count = self.known_count.get();
        match self.known.get(count) {
            Some(free) => {
                free.set(guard);
                self.known_count.set(count + 1);
            }
            None => self.others.set(self.others.get() + 1),
        }
    }

    fn remove(&self, guard: Guard) {
        // The one taken last is let go of first, more often than not.
        let count = self.known_count.get();
        match self.known[..count].iter().rposition(|known| known.get() == guard) {
            Some(at) => {
                self.known[at].set(self.known[count - 1].get());
                self.known_count.set(count - 1);
            }
            None => self.others.set(self.others.get() - 1),
        }
    }
}

local! {
    static HELD: Held = Held::none();
}

/// This thread has a guard, until this is dropped.
///
/// It is one thread's: so are the latches' guards.
#[derive(Debug)]
pub(crate) struct Noted(Guard, PhantomData<*const ()>);

impl Noted {
    #[inline]
    pub(crate) fn new(mapping: usize, page: u64, writes: bool) -> Self {
        let guard = Guard { mapping, page, writes };
        HELD.with(|held| held.add(guard));
        Self(guard, PhantomData)
    }
}

impl Drop for Noted {
    #[inline]
    fn drop(&mut self) {
        HELD.with(|held| held.remove(self.0));
    }
}

/// Whether this thread has any guard, of whatever mapping.
#[inline]
pub(crate) fn any() -> bool {
    HELD.with(|held| held.known_count.get() + held.others.get() > 0)
}

/// Whether it has one of this mapping, or may have.
pub(crate) fn any_of(mapping: usize) -> bool {
    any()
        && HELD.with(|held| {
            held.others.get() > 0 || held.known().any(|guard| guard.mapping == mapping)
        })
}

/// Whether it has one of this page, or may have: then another one for reading must not wait behind those who wait
/// for the first.
#[inline]
pub(crate) fn is_held(mapping: usize, page: u64) -> bool {
    any()
        && HELD.with(|held| {
            let same = |guard: Guard| (guard.mapping, guard.page) == (mapping, page);
            held.others.get() > 0 || held.known().any(same)
        })
}

/// In debug builds: `call` may wait for what has a page of this mapping latched.
///
/// # Panics
/// If this thread has.
#[inline]
#[track_caller]
pub(crate) fn refuse(mapping: usize, call: &str) {
    if cfg!(debug_assertions) && any() {
        HELD.with(|held| held.refuse(call, |guard| guard.mapping == mapping));
    }
}

/// In debug builds: `call` latches this page, to change it or to read it.
///
/// # Panics
/// If this thread has a guard of it that excludes that.
#[inline]
#[track_caller]
pub(crate) fn refuse_page(mapping: usize, page: u64, writes: bool, call: &str) {
    if cfg!(debug_assertions) && any() {
        let excludes = |guard: Guard| {
            (guard.mapping, guard.page) == (mapping, page) && (writes || guard.writes)
        };
        HELD.with(|held| held.refuse(call, excludes));
    }
}

impl Held {
    #[cold]
    #[track_caller]
    fn refuse(&self, call: &str, waits_for: impl Fn(Guard) -> bool) {
        let mut names = String::new();
        for guard in self.known().filter(|guard| waits_for(*guard)) {
            let kind = if guard.writes { "write" } else { "read" };
            let comma = if names.is_empty() { "" } else { ", " };
            let _ = write!(names, "{comma}a {kind} guard of page {}", guard.page);
        }
        assert!(names.is_empty(), "{call} would wait for its own thread, which has {names}");
    }
}

#[cfg(test)]
#[cfg(not(any(writeback_loom, writeback_shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn guards_are_known_until_they_are_let_go_of_in_whatever_order() {
        assert!(!any() && !any_of(1) && !is_held(1, 7));
        let first = Noted::new(1, 7, false);
        let second = Noted::new(2, 8, true);
        let again = Noted::new(1, 7, false);
        drop(first);
        assert!(any_of(1) && any_of(2) && is_held(1, 7) && is_held(2, 8) && !is_held(1, 8));
        drop(again);
        assert!(any() && !any_of(1) && any_of(2));
        drop(second);
        assert!(!any());
    }

    #[test]
    fn of_more_guards_than_are_known_it_is_known_that_there_are_some() {
        let many: Vec<_> = (0..2 * KNOWN as u64).map(|page| Noted::new(1, page, false)).collect();
        assert!(any_of(2) && is_held(2, 1), "who knows");
        // The first are those that are known.
        let mut rest = many.into_iter();
        rest.by_ref().take(KNOWN).for_each(drop);
        assert!(any_of(2));
        drop(rest);
        assert!(!any());
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(
        expected = "`sync` would wait for its own thread, which has a read guard of page 7"
    )]
    fn what_is_held_is_named() {
        let _held = Noted::new(1, 7, false);
        refuse(2, "`sync`");
        refuse_page(1, 7, false, "`read`");
        refuse(1, "`sync`");
    }
}
