//! Bits for the keys, and two levels of summaries over them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::contender::narrow;

const LEVELS: usize = 3;

/// A set of small numbers: a word for 64 of them, and at each further level a bit for each word that is not 0.
///
/// Two threads that change one word at the same time may leave its summary bit clear.
pub(super) struct Bitmap([Vec<AtomicU64>; LEVELS]);

const fn bit(position: u64) -> u64 {
    1 << (position % 64)
}

impl Bitmap {
    /// Makes an empty one for numbers of that many bits.
    pub(super) fn new(key_bits: u32) -> Bitmap {
        Bitmap([1, 2, 3].map(|level| {
            let words = 1_u64 << key_bits.saturating_sub(6 * level);
            (0..words).map(|_| AtomicU64::new(0)).collect()
        }))
    }

    /// The words of the lowest level.
    pub(super) fn words(&self) -> &[AtomicU64] {
        &self.0[0]
    }

    /// Adds `number`; returns whether it was not there.
    #[inline]
    pub(super) fn insert(&self, number: u64) -> bool {
        let mut position = number;
        for (level, words) in self.0.iter().enumerate() {
            let old = words[narrow(position / 64)].fetch_or(bit(position), Ordering::AcqRel);
            if level == 0 && old & bit(position) != 0 {
                return false;
            }
            if old != 0 {
                return true;
            }
            position /= 64;
        }
        true
    }

    /// Takes `number` out; returns whether it was there.
    #[inline]
    pub(super) fn remove(&self, number: u64) -> bool {
        let mut position = number;
        for (level, words) in self.0.iter().enumerate() {
            let old = words[narrow(position / 64)].fetch_and(!bit(position), Ordering::AcqRel);
            if level == 0 && old & bit(position) == 0 {
                return false;
            }
            if old & !bit(position) != 0 {
                return true;
            }
            position /= 64;
        }
        true
    }

    /// Adds all numbers of the bits `mask` of word `word`; returns which were not there.
    pub(super) fn insert_word(&self, word: usize, mask: u64) -> u64 {
        let old = self.0[0][word].fetch_or(mask, Ordering::AcqRel);
        if old == 0 && mask != 0 {
            self.0[1][word / 64].fetch_or(bit(word as u64), Ordering::AcqRel);
            let above = word / 64;
            self.0[2][above / 64].fetch_or(bit(above as u64), Ordering::AcqRel);
        }
        mask & !old
    }

    /// Takes the numbers of the bits `mask` of word `word` out.
    pub(super) fn remove_word(&self, word: usize, mask: u64) {
        let (mut word, mut mask) = (word, mask);
        for words in &self.0 {
            let old = words[word].fetch_and(!mask, Ordering::AcqRel);
            if old & !mask != 0 {
                return;
            }
            (word, mask) = (word / 64, bit(word as u64));
        }
    }

    /// Finds the first word from `word` on that is not 0.
    #[inline]
    pub(super) fn next_word(&self, word: usize) -> Option<usize> {
        self.next_at(0, word)
    }

    fn next_at(&self, level: usize, from: usize) -> Option<usize> {
        let words = self.0.get(level)?;
        if level + 1 == LEVELS {
            let found =
                words.get(from..)?.iter().position(|word| word.load(Ordering::Acquire) != 0);
            return found.map(|found| from + found);
        }
        let summaries = &self.0[level + 1];
        let summary = summaries.get(from / 64)?.load(Ordering::Acquire) & u64::MAX << (from % 64);
        if summary != 0 {
            return Some(from / 64 * 64 + summary.trailing_zeros() as usize);
        }
        let above = self.next_at(level + 1, from / 64 + 1)?;
        let summary = summaries[above].load(Ordering::Acquire);
        (summary != 0).then(|| above * 64 + summary.trailing_zeros() as usize)
    }
}
