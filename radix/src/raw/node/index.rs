//! Index arithmetic: index to level, offset, prefix and back. Pure functions, no atomics.
//!
//! Nothing here can overflow or shift by the width of the word: the top level's range is wider than 64 bits.

use crate::sync;

/// Bits of the index that one level consumes. Tests shrink it, so that few indices make a tree of many nodes: to 4 with
/// `--cfg radix_stress`, and under a model checker to 1, or 2 with `--cfg radix_wide`.
pub(crate) const BITS: u32 = match (sync::CHECKED, cfg!(radix_wide), cfg!(radix_stress)) {
    (true, true, _) => 2,
    (true, false, _) => 1,
    (false, _, true) => 4,
    (false, _, false) => 6,
};
/// Slots of a node.
pub(crate) const FANOUT: usize = 1 << BITS;
/// Levels that 64 bits of index need: leaves are level 0, the highest node has level `LEVELS - 1`.
pub(crate) const LEVELS: usize = if sync::CHECKED { 3 } else { 64_usize.div_ceil(BITS as usize) };
/// A word with the bit of every slot set.
pub(crate) const ALL_SLOTS: u64 = if FANOUT == 64 { u64::MAX } else { (1 << FANOUT) - 1 };

const _: () = assert!(LEVELS <= 16, "an edge keeps its level in four bits");

/// How far the prefix of a node at `level` is shifted in an index, if that is within the word.
const fn shift(level: u8) -> Option<u32> {
    let shift = BITS * (level as u32 + 1);
    if shift < u64::BITS { Some(shift) } else { None }
}

/// The position of `index` inside a node at `level`.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "masked to the fan-out")]
pub(crate) const fn offset(index: u64, level: u8) -> usize {
    (index >> (BITS * level as u32)) as usize & (FANOUT - 1)
}

/// What all indices of one node at `level` have in common: the index without the bits of this level and below.
#[inline]
pub(crate) const fn prefix(index: u64, level: u8) -> u64 {
    match shift(level) {
        Some(shift) => index >> shift,
        None => 0,
    }
}

/// The lowest index of the node at `level` with `prefix`.
#[inline]
pub(crate) const fn base(prefix: u64, level: u8) -> u64 {
    match shift(level) {
        Some(shift) => prefix << shift,
        None => 0,
    }
}

/// The difference between the highest and the lowest index of a node at `level`.
#[inline]
pub(crate) const fn span(level: u8) -> u64 {
    match shift(level) {
        Some(shift) => (1 << shift) - 1,
        None => u64::MAX,
    }
}

/// The lowest index under the slot at `offset` of the node at `level` with lowest index `base`.
#[allow(
    dead_code,
    reason = "for walks by several threads, for tests, and for the fuzzer, which has this file for itself"
)]
#[inline]
pub(crate) const fn slot_base(base: u64, offset: usize, level: u8) -> u64 {
    base | (offset as u64) << (BITS * level as u32)
}

/// The difference between the highest and the lowest index under one slot of a node at `level`.
#[allow(
    dead_code,
    reason = "for walks by several threads, for tests, and for the fuzzer, which has this file for itself"
)]
#[inline]
pub(crate) const fn slot_span(level: u8) -> u64 {
    if level == 0 { 0 } else { span(level - 1) }
}

/// The level of the lowest node that covers both indices, which must not be in one leaf.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "at most 63 / BITS")]
pub(crate) const fn split_level(a: u64, b: u64) -> u8 {
    debug_assert!(a >> BITS != b >> BITS);
    ((u64::BITS - 1 - (a ^ b).leading_zeros()) / BITS) as u8
}

/// Whether a tree has a place for `index`: always, unless it has been shrunk for a model checker.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "at most 16")]
pub(crate) const fn fits(index: u64) -> bool {
    prefix(index, LEVELS as u8 - 1) == 0
}

/// The bit of a slot in its node's words.
#[inline]
pub(crate) const fn bit(offset: usize) -> u64 {
    1 << offset
}

/// The bits of this slot and all above it.
#[inline]
pub(crate) const fn from(offset: usize) -> u64 {
    ALL_SLOTS << offset & ALL_SLOTS
}

/// The bits of this slot and all below it.
#[inline]
pub(crate) const fn up_to(offset: usize) -> u64 {
    u64::MAX >> (u64::BITS as usize - 1 - offset)
}

/// The lowest slot of a word that is not 0.
#[inline]
pub(crate) const fn lowest(word: u64) -> usize {
    debug_assert!(word != 0);
    word.trailing_zeros() as usize
}

/// The highest slot of a word that is not 0.
#[inline]
pub(crate) const fn highest(word: u64) -> usize {
    debug_assert!(word != 0);
    (u64::BITS - 1 - word.leading_zeros()) as usize
}

/// The bits of those slots of the leaf with lowest index `leaf` that lie in `low..=high`.
#[inline]
pub(crate) const fn leaf_bits(leaf: u64, low: u64, high: u64) -> u64 {
    let last = leaf | span(0);
    if high < leaf || low > last {
        return 0;
    }
    let mut bits = ALL_SLOTS;
    if low > leaf {
        bits &= from(offset(low, 0));
    }
    if high < last {
        bits &= up_to(offset(high, 0));
    }
    bits
}

#[cfg(all(test, not(any(radix_loom, radix_shuttle))))]
mod tests {
    use super::*;

    const TOP: u8 = if cfg!(radix_stress) { 15 } else { 10 };
    const _: () = assert!(TOP as usize == LEVELS - 1);

    #[test]
    fn prefix_and_base_are_inverse_on_every_level() {
        for index in [0, 1, 63, 64, 4095, 4096, 1 << 32, u64::MAX >> 1, u64::MAX - 1, u64::MAX] {
            for level in 0..=TOP {
                let base = base(prefix(index, level), level);
                assert!(base <= index && index - base <= span(level), "{index} at level {level}");
                assert_eq!(prefix(base, level), prefix(index, level));
                let slot = slot_base(base, offset(index, level), level);
                assert!(
                    slot <= index && index - slot <= slot_span(level),
                    "{index} at level {level}"
                );
            }
            assert_eq!(prefix(index, TOP), 0);
        }
    }

    #[test]
    fn split_level_is_the_lowest_that_covers_both() {
        for shift in BITS..64 {
            for other in [0, (1 << shift) - 1] {
                let level = split_level(1 << shift, other);
                assert_eq!(prefix(1 << shift, level), prefix(other, level));
                assert_ne!(prefix(1 << shift, level - 1), prefix(other, level - 1));
            }
        }
    }

    #[test]
    fn leaf_bits_clips_at_both_ends() {
        let leaf = u64::MAX - span(0);
        assert_eq!(leaf_bits(leaf, 0, u64::MAX), ALL_SLOTS);
        assert_eq!(leaf_bits(leaf, u64::MAX, u64::MAX), bit(FANOUT - 1));
        assert_eq!(leaf_bits(leaf, 0, leaf), 1);
        assert_eq!(leaf_bits(leaf, 0, leaf - 1), 0);
        assert_eq!(leaf_bits(0, leaf, u64::MAX), 0);
        assert_eq!(leaf_bits(0, 3, 5), 0b111000);
    }
}
