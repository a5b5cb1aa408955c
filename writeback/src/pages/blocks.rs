//! Blocks: the parts of a page that are dirty, held and written each by itself.
//!
//! A [`BlockMap`] is a set of a page's blocks, [`Blocks`] the sets that a page of several blocks has. They
//! change in sections of the index (see [`transition`](crate::rules::changes)), together with the page's flags,
//! so that the flags are always what the sets say; but *wanted*, which is the lock holder's, is emptied when
//! the page is unlocked:
//!
//! | set | meaning | page's flag | set by | cleared by |
//! |---|---|---|---|---|
//! | dirty | memory is newer than what was last handed to the store | if any, then DIRTY | any dirtier | a claim, or a hold that writes |
//! | held | another writer has the contents | any <=> HELD | that writer | the same |
//! | taken | its holder is to write what was dirty of it | any, then HELD | that writer | the same |
//! | writing | a write is begun and not ended | if any, then WRITEBACK | the start of the write | the end of the page's last piece |
//! | wanted | a writeback waits here, and no new hold comes before it | none | who has the page lock | the same |
//!
//! DIRTY over no dirty block is legal: a page was declined because of a block that only looked clean, or a
//! hold writes what was dirty. A sync then comes, waits for the hold, and finds nothing or something to write.
//!
//! A page of one block has none of these: its flags say it all. This file does not know pages.

use std::ops::Range;

use crate::primitives::{AtomicU64, Ordering};

/// Most blocks in a page.
pub(crate) const BLOCKS_MAX: usize = 64;

/// A set of blocks of one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockMap(u64);

impl BlockMap {
    pub(crate) const NONE: Self = Self(0);
    /// The first block; all of a page that has one.
    pub(crate) const ONE: Self = Self(1);

    /// The first `count` blocks.
    const fn first(count: usize) -> Self {
        if count >= BLOCKS_MAX { Self(u64::MAX) } else { Self((1 << count) - 1) }
    }

    /// These blocks; none if `end` is not above `start`.
    pub(crate) fn of(Range { start, end }: Range<usize>) -> Self {
        Self::first(end).without(Self::first(start))
    }

    /// One bit a block, the lowest for the first.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) const fn contains(self, other: Self) -> bool {
        other.without(self).is_empty()
    }

    /// All blocks up to the lowest of these; none if there are none.
    pub(crate) const fn up_to_lowest(self) -> Self {
        if self.is_empty() { Self::NONE } else { Self(self.0 ^ (self.0 - 1)) }
    }

    /// The blocks that lie side by side, as ranges, in ascending order.
    pub(crate) fn runs(self) -> impl Iterator<Item = Range<usize>> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let start = left.trailing_zeros();
            let end = start + left.checked_shr(start)?.trailing_ones();
            let run = start as usize..end as usize;
            left &= !Self::first(run.end).0;
            Some(run)
        })
    }
}

/// A set of blocks that sections change.
#[derive(Debug)]
pub(crate) struct BlockWord(AtomicU64);

impl BlockWord {
    fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    // Relaxed throughout: sections of one page come one after the other, and each sees what those before it
    // did. Who looks outside of one does so under the content latch, which the claim that clears `dirty`
    // takes after it did so (`mark_dirty`); or has announced itself as a sleeper in the page's state word,
    // which the waker changes after the set.

    pub(crate) fn get(&self) -> BlockMap {
        BlockMap(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, map: BlockMap) {
        self.0.store(map.0, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, map: BlockMap) {
        self.set(self.get().with(map));
    }

    pub(crate) fn remove(&self, map: BlockMap) {
        self.set(self.get().without(map));
    }

    /// Empties it; returns what was in it.
    pub(crate) fn take(&self) -> BlockMap {
        let map = self.get();
        self.set(BlockMap::NONE);
        map
    }
}

/// The sets of a page of several blocks.
#[derive(Debug)]
pub(crate) struct Blocks {
    pub(crate) all: BlockMap,
    pub(crate) dirty: BlockWord,
    pub(crate) held: BlockWord,
    pub(crate) taken: BlockWord,
    pub(crate) writing: BlockWord,
    pub(crate) wanted: BlockWord,
    /// The last write that has left out nothing that was dirty.
    pub(crate) complete: AtomicU64,
}

impl Blocks {
    /// Of a page of `count` blocks; none of its own if that is one.
    pub(crate) fn new(count: usize) -> Option<Box<Self>> {
        let new = || Self {
            all: BlockMap::first(count),
            dirty: BlockWord::new(),
            held: BlockWord::new(),
            taken: BlockWord::new(),
            writing: BlockWord::new(),
            wanted: BlockWord::new(),
            complete: AtomicU64::new(0),
        };
        (count > 1).then(|| Box::new(new()))
    }

    /// A hold of `blocks` has to wait.
    pub(crate) fn refuse_hold(&self, blocks: BlockMap) -> bool {
        self.held.get().with(self.writing.get()).with(self.wanted.get()).meets(blocks)
    }
}

/// How a mapping's pages are divided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Division {
    /// Bytes in a block, as a power of two.
    shift: u32,
    /// Blocks in a page.
    pub(crate) count: usize,
}

impl Division {
    /// Of pages of `page_size` bytes into blocks of `block_size`, both powers of two.
    pub(crate) fn new(page_size: usize, block_size: usize) -> Self {
        Self { shift: block_size.trailing_zeros(), count: page_size / block_size }
    }

    pub(crate) fn block_size(self) -> usize {
        1 << self.shift
    }

    /// The blocks that these bytes of a page touch.
    pub(crate) fn touched(self, bytes: &Range<usize>) -> BlockMap {
        if bytes.is_empty() {
            return BlockMap::NONE;
        }
        BlockMap::of(bytes.start >> self.shift..((bytes.end - 1) >> self.shift) + 1)
    }

    /// The bytes of a page that these blocks have.
    pub(crate) fn bytes(self, blocks: &Range<usize>) -> Range<usize> {
        blocks.start << self.shift..blocks.end << self.shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_has_the_blocks_of_its_range() {
        assert_eq!(BlockMap::of(0..64), BlockMap(u64::MAX));
        assert_eq!(BlockMap::of(63..64), BlockMap(1 << 63));
        assert_eq!(BlockMap::of(2..5), BlockMap(0b1_1100));
        assert_eq!(BlockMap::of(5..5), BlockMap::NONE);
        assert_eq!(BlockMap::of(64..64), BlockMap::NONE);
    }

    #[test]
    fn runs_are_what_lies_side_by_side() {
        let runs = |map| BlockMap(map).runs().collect::<Vec<_>>();
        assert!(runs(0).is_empty());
        assert_eq!(runs(0b1101_0110), [1..3, 4..5, 6..8]);
        assert_eq!(BlockMap(u64::MAX).runs().next(), Some(0..64));
        assert_eq!(runs(1 << 63 | 1), [0..1, 63..64]);
    }

    #[test]
    fn what_is_up_to_the_lowest_has_it() {
        assert_eq!(BlockMap(0b10100).up_to_lowest(), BlockMap(0b111));
        assert_eq!(BlockMap(1 << 63).up_to_lowest(), BlockMap(u64::MAX));
        assert_eq!(BlockMap::NONE.up_to_lowest(), BlockMap::NONE);
    }

    #[test]
    fn bytes_and_blocks_are_converted_both_ways() {
        let division = Division::new(4096, 512);
        assert_eq!((division.count, division.block_size()), (8, 512));
        assert_eq!(division.touched(&(511..513)), BlockMap::of(0..2));
        assert_eq!(division.touched(&(512..1024)), BlockMap::of(1..2));
        assert_eq!(division.touched(&(512..512)), BlockMap::NONE);
        assert_eq!(division.touched(&(0..4096)), BlockMap::of(0..8));
        assert_eq!(division.bytes(&(2..4)), 1024..2048);
        assert_eq!(Division::new(4096, 4096).touched(&(7..9)), BlockMap::of(0..1));
    }

    #[test]
    fn a_page_of_one_block_has_no_sets() {
        assert!(Blocks::new(1).is_none());
        assert_eq!(Blocks::new(64).map(|blocks| blocks.all), Some(BlockMap(u64::MAX)));
    }
}
