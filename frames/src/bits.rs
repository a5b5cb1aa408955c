//! A set of small numbers, with the smallest at hand.

use crate::error::Error;

/// A set of numbers below some bound.
#[derive(Debug, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
    /// No word before this one has a bit set.
    from: usize,
}

const WORD: usize = u64::BITS as usize;

impl Bits {
    /// Room for the numbers below `bound`; what is new is not in the set.
    pub(crate) fn reach(&mut self, bound: usize) -> Result<(), Error> {
        let words = bound.div_ceil(WORD);
        if words > self.words.len() {
            self.words.try_reserve(words - self.words.len())?;
            self.words.resize(words, 0);
        }
        Ok(())
    }

    /// The numbers below `bound`, all of them or none.
    pub(crate) fn below(bound: usize, all: bool) -> Result<Bits, Error> {
        let mut bits = Bits::default();
        bits.reach(bound)?;
        if all {
            (0..bound).for_each(|number| bits.insert(number));
        }
        Ok(bits)
    }

    #[inline]
    pub(crate) fn contains(&self, number: usize) -> bool {
        self.words[number / WORD] & 1 << (number % WORD) != 0
    }

    #[inline]
    pub(crate) fn insert(&mut self, number: usize) {
        self.words[number / WORD] |= 1 << (number % WORD);
        self.from = self.from.min(number / WORD);
    }

    #[inline]
    pub(crate) fn remove(&mut self, number: usize) {
        self.words[number / WORD] &= !(1 << (number % WORD));
    }

    /// Takes all numbers out.
    pub(crate) fn clear(&mut self) {
        self.words.fill(0);
    }

    /// The smallest number of the set.
    #[inline]
    pub(crate) fn first(&mut self) -> Option<usize> {
        while let Some(word) = self.words.get(self.from) {
            if *word != 0 {
                return Some(self.from * WORD + word.trailing_zeros() as usize);
            }
            self.from += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_the_smallest_after_any_change() {
        let mut bits = Bits::below(130, true).unwrap();
        for number in 0..130 {
            assert_eq!(bits.first(), Some(number));
            bits.remove(number);
        }
        assert_eq!(bits.first(), None);
        bits.insert(129);
        assert_eq!(bits.first(), Some(129));
        bits.insert(64);
        assert_eq!(bits.first(), Some(64));
        bits.reach(1000).unwrap();
        assert!(bits.contains(64) && !bits.contains(999));
    }
}
