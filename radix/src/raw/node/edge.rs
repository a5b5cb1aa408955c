//! The edge: a tagged pointer to a node. The only place with pointer-bit arithmetic.
//!
//! Nodes are aligned to 64 bytes; the low six bits of an edge to a node say what a reader must know about its target before it
//! reads it: four bits its level, one bit SKIP, and one that is clear in an edge to a full node. It is set where the target is
//! compact: then SKIP, which is not needed there (behind such an edge the index is compared always), tells a small node, which has a
//! level, from a single, which has none and is aligned to less. `edge` does not know what it
//! leads to: whoever follows it says so.

use core::ptr::NonNull;

use super::index;

const COMPACT: usize = 0b00_0001;
const SKIP: usize = 0b00_0010;
const SMALL: usize = COMPACT | SKIP;
const LEVEL: usize = 0b11_1100;
const LEVEL_SHIFT: u32 = LEVEL.trailing_zeros();
const BITS: usize = LEVEL | SMALL;

/// An edge as read from a slot, or the lack of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Edge(*mut ());

impl Edge {
    pub(crate) const NULL: Edge = Edge(core::ptr::null_mut());

    /// An edge to a full node, which lies at `level`.
    #[inline]
    pub(crate) fn full<T>(node: NonNull<T>, level: u8, skip: bool) -> Edge {
        Edge::with(node, level, if skip { SKIP } else { 0 })
    }

    /// An edge to a small node, which lies at `level`.
    #[inline]
    pub(crate) fn small<T>(node: NonNull<T>, level: u8) -> Edge {
        Edge::with(node, level, SMALL)
    }

    #[inline]
    fn with<T>(node: NonNull<T>, level: u8, kind: usize) -> Edge {
        let bits = usize::from(level) << LEVEL_SHIFT | kind;
        debug_assert!(bits & !BITS == 0 && node.addr().get() & BITS == 0);
        Edge(node.as_ptr().cast::<()>().map_addr(|address| address | bits))
    }

    /// The edge to `single`.
    #[inline]
    pub(crate) fn single<T>(single: NonNull<T>) -> Edge {
        Edge(single.as_ptr().cast::<()>().map_addr(|address| address | COMPACT))
    }

    /// Whether the target is a single.
    #[inline]
    pub(crate) fn is_single(self) -> bool {
        self.0.addr() & SMALL == COMPACT
    }

    /// Whether the target is a small node.
    #[inline]
    pub(crate) fn is_small(self) -> bool {
        self.0.addr() & SMALL == SMALL
    }

    /// Whether the target is an inner node, full or small.
    #[inline]
    pub(crate) fn leads_to_inner(self) -> bool {
        if self.is_full() { self.level() > 0 } else { self.is_small() }
    }

    /// Whether the target is a full node; so is that of null.
    #[inline]
    pub(crate) fn is_full(self) -> bool {
        self.0.addr() & COMPACT == 0
    }

    /// The target of an edge to a single.
    #[inline]
    pub(crate) fn single_pointer<T>(self) -> *mut T {
        debug_assert!(self.is_single());
        self.0.map_addr(|address| address & !COMPACT).cast()
    }

    /// The edge in a word that `word` gave.
    #[inline]
    pub(crate) const fn from_word(word: *mut ()) -> Edge {
        Edge(word)
    }

    /// What a slot holds for this edge.
    #[inline]
    pub(crate) const fn word(self) -> *mut () {
        self.0
    }

    #[inline]
    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// The level of the target, which is a node.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "four bits")]
    pub(crate) fn level(self) -> u8 {
        debug_assert!(!self.is_single());
        ((self.0.addr() & LEVEL) >> LEVEL_SHIFT) as u8
    }

    /// The position of `index` in the target, which is an inner node.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "masked to the fan-out")]
    pub(crate) fn offset(self, index: u64) -> usize {
        let level = self.0.addr() & LEVEL;
        // Level times bits, without the level.
        let shift = match index::BITS {
            6 => level + level / 2,
            bits => (level >> LEVEL_SHIFT) * bits as usize,
        };
        (index >> shift) as usize & (index::FANOUT - 1)
    }

    /// Whether the edge is null, or its target is a leaf, if it is no compact one.
    #[inline]
    pub(crate) fn is_leaf_or_null(self) -> bool {
        self.0.addr() & LEVEL == 0
    }

    /// The level of the target, if that is a full node and the edge does not skip; 0 also for null.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "four bits")]
    pub(crate) fn plain_level(self) -> Option<u8> {
        let bits = self.0.addr() & BITS;
        (bits & !LEVEL == 0).then_some((bits >> LEVEL_SHIFT) as u8)
    }

    /// Whether the edge leads to a full node at `level` and does not skip.
    #[inline]
    pub(crate) fn leads_to(self, level: u8) -> bool {
        self.0.addr() & BITS == usize::from(level) << LEVEL_SHIFT && (level > 0 || !self.is_null())
    }

    /// The target of an edge that [leads to](Edge::leads_to) `level`: with a constant level, the subtraction becomes part of
    /// the access.
    #[inline]
    pub(crate) fn plain_pointer<T>(self, level: u8) -> *mut T {
        debug_assert!(self.leads_to(level));
        self.0.wrapping_byte_sub(usize::from(level) << LEVEL_SHIFT).cast()
    }

    /// Whether the target may not cover all indices that lead here.
    #[inline]
    pub(crate) fn skips(self) -> bool {
        self.0.addr() & SMALL != 0
    }

    /// The target, which is a node.
    #[inline]
    pub(crate) fn pointer<T>(self) -> *mut T {
        debug_assert!(!self.is_single());
        self.0.map_addr(|address| address & !BITS).cast()
    }
}

#[cfg(all(test, not(any(radix_loom, radix_shuttle))))]
mod tests {
    use super::*;

    /// Something that is aligned as a node is.
    #[repr(align(64))]
    struct Aligned;

    #[test]
    fn an_edge_gives_back_what_it_was_made_of() {
        let node = NonNull::from(&Aligned);
        for level in 0..16 {
            for skip in [false, true] {
                let edge = Edge::full(node, level, skip);
                assert!(!edge.is_null() && edge.is_full() && !edge.is_single() && !edge.is_small());
                assert_eq!(
                    (edge.pointer(), edge.level(), edge.skips()),
                    (node.as_ptr(), level, skip)
                );
            }
            let edge = Edge::small(node, level);
            assert!(edge.is_small() && edge.skips() && !edge.is_full() && !edge.is_single());
            assert_eq!((edge.pointer(), edge.level()), (node.as_ptr(), level));
            assert!(edge.plain_level().is_none() && !edge.leads_to(level));
        }
        assert!(Edge::NULL.is_null());
    }
}
