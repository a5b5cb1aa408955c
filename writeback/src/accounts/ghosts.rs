//! Which pages left the cache not long ago.
//!
//! A page that comes in again soon after it was evicted should not have been: it is not one of a scan's. To
//! know it again takes no page and no index, only a trace: sixteen bits of a hash, in one of the places that
//! another part of the hash names. Each place is a word with the last four traces; a new one pushes the oldest
//! out, so a trace stays for as long as about as many pages are evicted as the cache has room for. That is two
//! to four bytes for each page of the capacity. One stranger in sixteen thousand is taken for an acquaintance, which
//! costs it a chance too many.
//!
//! # Concurrency
//! Only who moves the hands adds traces, one thread at a time; anybody may look. All accesses are relaxed:
//! hints. So is the number of words, which changes when the cache is resized: then all is forgotten.

use crate::primitives::{HintOnce, HintU64, Ordering};

/// Bits of a trace.
const BITS: u32 = 16;

/// Most words: with these, four million pages are remembered, in 8 MiB.
const WORDS_MAX: u64 = 1 << 20;

/// So many chunks have as many words, and one more.
const CHUNKS: usize = WORDS_MAX.trailing_zeros() as usize + 1;

/// Traces of the pages that were evicted last.
#[derive(Debug)]
pub(crate) struct Ghosts {
    /// How many words there are to be.
    count: HintU64,
    /// Twice as many words in each as in the one before, so that there can be more at any time. Made when the first page is evicted whose
    /// trace belongs there: a cache that never is full needs none.
    chunks: [HintOnce<Box<[HintU64]>>; CHUNKS],
}

impl Ghosts {
    pub(crate) fn new(capacity_pages: u64) -> Self {
        let count = HintU64::new(count(capacity_pages));
        Self { count, chunks: [const { HintOnce::new() }; CHUNKS] }
    }

    /// The cache has room for so many pages from now on.
    pub(crate) fn resize(&self, capacity_pages: u64) {
        self.count.store(count(capacity_pages), Ordering::Relaxed);
    }

    /// The page has been evicted. The caller has the hands to itself.
    pub(crate) fn add(&self, mapping: u64, index: u64) {
        let (chunk, place, trace) = self.find(mapping, index);
        let words = || (0..1_u64 << chunk).map(|_| HintU64::new(0)).collect();
        if let Some(word) = self.chunks[chunk].get_or_init(words).get(place) {
            let others = word.load(Ordering::Relaxed) << BITS;
            word.store(others | trace, Ordering::Relaxed);
        }
    }

    /// Tells whether the page was evicted not long ago.
    pub(crate) fn knows(&self, mapping: u64, index: u64) -> bool {
        let (chunk, place, trace) = self.find(mapping, index);
        let word = self.chunks[chunk].get().and_then(|words| words.get(place));
        let Some(word) = word.map(|word| word.load(Ordering::Relaxed)) else { return false };
        (0..u64::BITS / BITS).any(|at| (word >> (at * BITS)) & ((1 << BITS) - 1) == trace)
    }

    /// The chunk and the place of a page's trace, and the trace, which is not zero.
    fn find(&self, mapping: u64, index: u64) -> (usize, usize, u64) {
        let hash = mix(mix(mapping) ^ index);
        let count = self.count.load(Ordering::Relaxed);
        let word = (u128::from(hash) * u128::from(count)) >> u64::BITS;
        // The first chunk has one word, the second two, and so on.
        let number = usize::try_from(word).unwrap_or(0) + 1;
        let chunk = number.ilog2() as usize;
        let trace = (hash & ((1 << BITS) - 1)).max(1);
        (chunk, number - (1 << chunk), trace)
    }
}

/// Words for so many pages.
fn count(capacity_pages: u64) -> u64 {
    (capacity_pages / u64::from(u64::BITS / BITS)).clamp(1, WORDS_MAX)
}

/// Spreads the bits of `word`: the end of `SplitMix64`.
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_left_is_known_until_as_many_have_left_as_there_is_room_for() {
        let ghosts = Ghosts::new(4000);
        assert!(!ghosts.knows(0, 5), "nobody has left");
        (0..2000).for_each(|index| ghosts.add(0, index));
        let known =
            |pages: std::ops::Range<u64>| pages.filter(|index| ghosts.knows(0, *index)).count();
        assert!(known(0..2000) > 1900, "{}", known(0..2000));
        assert!(known(2000..12_000) < 20, "{}", known(2000..12_000));
        (10_000..22_000).for_each(|index| ghosts.add(0, index));
        assert!(known(0..2000) < 50, "{}", known(0..2000));
    }

    #[test]
    fn more_are_known_where_there_is_more_room() {
        let ghosts = Ghosts::new(4);
        let known = |ghosts: &Ghosts| (0..1000).filter(|index| ghosts.knows(0, *index)).count();
        (0..1000).for_each(|index| ghosts.add(0, index));
        assert!(known(&ghosts) <= 8, "{}", known(&ghosts));
        ghosts.resize(4000);
        (0..1000).for_each(|index| ghosts.add(0, index));
        assert!(known(&ghosts) > 950, "{}", known(&ghosts));
        ghosts.resize(u64::MAX);
        ghosts.add(1, 7);
        assert!(ghosts.knows(1, 7));
    }

    #[test]
    fn the_same_page_of_another_mapping_is_another_page() {
        let ghosts = Ghosts::new(4000);
        let (one, other) = (0, 1);
        (0..1000).for_each(|index| ghosts.add(one, index));
        let known = (0..1000).filter(|index| ghosts.knows(other, *index)).count();
        assert!(known < 10, "{known}");
    }
}
