//! The lines of a small node: which place belongs to which offset. `places` does not know what is kept in them.

use super::index::{FANOUT, lowest};
use super::word::Slot;
use crate::sync::{self, AtomicU64};

/// Places of a line: with the word of their offsets they fill a cache line. Few under a checker, whose nodes are to grow, too.
pub(super) const PLACES: usize = if sync::CHECKED { 1 } else { 7 };
/// Lines of a new small node, which has two children.
pub(super) const FEWEST_LINES: u8 = if sync::CHECKED { 2 } else { 1 };
/// Lines of a small node that has grown. There is one step between the smallest and a full node: with more, a node that fills up
/// is copied more often than the bytes are worth that this saves.
pub(super) const MOST_LINES: u8 = match FANOUT {
    64 | 4 => 3,
    _ => 2,
};

/// A byte of a word of offsets for each place.
const EACH: u64 = 0x0001_0101_0101_0101;
/// The byte of a place that belongs to no offset.
pub(super) const FREE: u8 = 0xff;
/// In the highest byte: another line follows.
pub(super) const MORE: u64 = 1 << 63;

/// Some places of a small node.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Line {
    /// The offsets of the places, a byte each, and whether another line follows. Guarded by the node's lock; a byte that is not
    /// free never changes.
    pub(super) offsets: AtomicU64,
    pub(super) places: [Slot; PLACES],
}

impl Line {
    /// Whether the last place is free.
    #[inline]
    pub(super) fn has_room(&self, offsets: u64) -> bool {
        offsets >> (8 * (self.places.len() - 1)) & 0xff == u64::from(FREE)
    }

    pub(super) fn new(more: bool) -> Line {
        let free = (EACH * FREE as u64) | if more { MORE } else { 0 };
        Line { offsets: AtomicU64::new(free), places: core::array::from_fn(|_| Slot::empty()) }
    }
}

/// Which place of a line belongs to `offset`: the lowest byte that is 0 in what differs.
#[inline]
pub(super) fn place_in(offsets: u64, offset: usize) -> Option<usize> {
    let differ = offsets ^ (offset as u64).wrapping_mul(EACH);
    let equal = differ.wrapping_sub(EACH) & !differ & EACH << 7;
    (equal != 0).then(|| lowest(equal) / 8)
}

/// Which place of a line is the first that belongs to no offset.
#[inline]
pub(super) fn free_place(offsets: u64) -> Option<usize> {
    place_in(offsets, usize::from(FREE)).filter(|&place| place < PLACES)
}
