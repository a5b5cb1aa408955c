//! The time of a cache, which passes as pages come in; what it is for is said in [`usage`](crate::accounts::usage).

use crate::primitives::{HintU32, HintU64, Ordering};

/// So many turns pass while as many pages come in as there is room for.
const TURNS: u64 = 64;

/// The time of a cache: how many pages have come in.
#[derive(Debug)]
pub(crate) struct Turns {
    now: Now,
    admitted: HintU64,
    /// How many pages come in during one turn.
    length: u64,
}

/// Alone in its lines of the processor's cache: everybody reads it all the time, and it changes rarely.
#[derive(Debug)]
#[repr(align(128))]
struct Now(HintU32);

impl Turns {
    pub(crate) fn new(capacity_pages: u64) -> Self {
        let length = (capacity_pages / TURNS).max(1);
        Self { now: Now(HintU32::new(1)), admitted: HintU64::new(0), length }
    }

    #[inline]
    pub(crate) fn now(&self) -> u32 {
        self.now.0.load(Ordering::Relaxed)
    }

    /// A page has come in.
    pub(crate) fn admit(&self) {
        let before = self.admitted.fetch_add(1, Ordering::Relaxed);
        if (before + 1).is_multiple_of(self.length) {
            self.now.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_ends_when_a_part_of_the_cache_has_come_in() {
        let turns = Turns::new(64 * 10);
        (0..9).for_each(|_| turns.admit());
        assert_eq!(turns.now(), 1);
        turns.admit();
        assert_eq!(turns.now(), 2);
        let small = Turns::new(3);
        small.admit();
        assert_eq!(small.now(), 2);
    }
}
