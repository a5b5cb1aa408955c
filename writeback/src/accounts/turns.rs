//! The time of a cache, which passes as pages come in; what it is for is said in [`usage`](crate::accounts::usage).

use crate::accounts::whole_pages;
use crate::primitives::{HintU32, HintU64, Ordering};

/// So many turns pass while as much comes in as there is room for.
const TURNS: u64 = 64;

/// The time of a cache: how many bytes of pages have come in.
#[derive(Debug)]
pub(crate) struct Turns {
    now: Now,
    admitted: HintU64,
    /// How many bytes come in during one turn.
    length: HintU64,
}

/// Alone in its lines of the processor's cache: everybody reads it all the time, and it changes rarely.
#[derive(Debug)]
#[repr(align(128))]
struct Now(HintU32);

/// Of a turn, in a cache of so many bytes.
fn length(capacity: u64) -> u64 {
    whole_pages(capacity / TURNS).max(1)
}

impl Turns {
    /// For a cache of so many bytes.
    pub(crate) fn new(capacity: u64) -> Self {
        let length = HintU64::new(length(capacity));
        Self { now: Now(HintU32::new(1)), admitted: HintU64::new(0), length }
    }

    /// The cache has so many bytes from now on.
    pub(crate) fn resize(&self, capacity: u64) {
        self.length.store(length(capacity), Ordering::Relaxed);
    }

    /// How many bytes come in during one.
    pub(crate) fn length(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn now(&self) -> u32 {
        self.now.0.load(Ordering::Relaxed)
    }

    /// A page of so many bytes has come in. However many, one turn ends by it at most.
    pub(crate) fn admit(&self, bytes: u64) {
        let before = self.admitted.fetch_add(bytes, Ordering::Relaxed);
        let length = self.length.load(Ordering::Relaxed);
        if before.wrapping_add(bytes) / length != before / length {
            self.now.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_ends_when_a_part_of_the_cache_has_come_in() {
        let turns = Turns::new(64 * 10 * 4096);
        (0..9).for_each(|_| turns.admit(4096));
        assert_eq!(turns.now(), 1);
        turns.admit(4096);
        assert_eq!(turns.now(), 2);
        (0..19).for_each(|_| turns.admit(2048));
        assert_eq!(turns.now(), 2, "pages of half the size, twice as many");
        turns.admit(2048);
        assert_eq!(turns.now(), 3);
        let small = Turns::new(3 * 4096);
        small.admit(4096);
        assert_eq!(small.now(), 2);
    }
}
