//! The leaf, full or single.

use crate::raw::node::edge::Edge;
use crate::raw::node::full::Node;
use crate::raw::node::index::{self, bit, offset};
use crate::raw::node::single::Single;
use crate::raw::node::word::{Entry, Word};
use crate::reclaim::Guard;
use crate::tag::Tag;

/// A leaf of either kind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leaf<'g> {
    Full(&'g Node),
    Single(&'g Single),
}

impl<'g> Leaf<'g> {
    /// The leaf an edge leads to.
    ///
    /// # Safety
    /// As for [`Child::of`](super::child::Child::of), and the edge leads to a leaf.
    #[inline]
    pub(crate) unsafe fn of(edge: Edge, guard: &'g Guard) -> Leaf<'g> {
        if edge.is_single() {
            // SAFETY: the caller's word, and the line above.
            Leaf::Single(unsafe { Single::of(edge, guard) })
        } else {
            // SAFETY: as above; leaves are full, or singles.
            Leaf::Full(unsafe { Node::of(edge, guard) })
        }
    }

    /// The lowest index that it covers.
    #[inline]
    pub(crate) fn first(self) -> u64 {
        match self {
            Leaf::Full(node) => base_of(node),
            Leaf::Single(single) => single.index(),
        }
    }

    /// The highest index that it covers.
    #[inline]
    pub(crate) fn last(self) -> u64 {
        match self {
            Leaf::Full(node) => base_of(node) | index::span(0),
            Leaf::Single(single) => single.index(),
        }
    }

    /// The index of offset 0: below [`first`](Leaf::first), for most singles.
    #[inline]
    pub(crate) fn base(self) -> u64 {
        match self {
            Leaf::Full(node) => base_of(node),
            Leaf::Single(single) => index::base(index::prefix(single.index(), 0), 0),
        }
    }

    /// The highest index of the leaf's range. A single speaks for all of it: while it is linked, no other index of the range has
    /// an entry. So whoever has read it at one instant has read the whole range, and goes on behind it.
    #[inline]
    pub(crate) fn range_last(self) -> u64 {
        self.base() | index::span(0)
    }

    #[inline]
    pub(crate) fn covers(self, index: u64) -> bool {
        match self {
            Leaf::Full(node) => index::prefix(index, 0) == node.prefix(),
            Leaf::Single(single) => single.index() == index,
        }
    }

    /// The value of `index`, which this leaf covers.
    #[inline]
    pub(crate) fn value_of(self, index: u64) -> Option<Word> {
        match self {
            Leaf::Full(leaf) => leaf.value(offset(index, 0)),
            Leaf::Single(leaf) => leaf.value(),
        }
    }

    /// Has the processor fetch the value of `index`, which this leaf covers. That of a single lies beside its lock.
    #[inline]
    pub(crate) fn prefetch_value(self, index: u64) {
        if let Leaf::Full(leaf) = self {
            leaf.prefetch_slot(offset(index, 0));
        }
    }

    /// The entry of `index`, which this leaf covers, as it was at one instant.
    #[inline]
    pub(crate) fn entry_of(self, index: u64) -> Option<Entry> {
        match self {
            Leaf::Full(leaf) => leaf.at_one_instant(|_| leaf.peek(offset(index, 0))),
            Leaf::Single(leaf) => leaf.entry(),
        }
    }

    /// Whether the entry of `index`, which this leaf covers, has `tag`: to be trusted alone only if so.
    #[inline]
    pub(crate) fn shows_tag(self, index: u64, tag: Tag) -> bool {
        match self {
            Leaf::Full(leaf) => leaf.has_tag(index, tag),
            Leaf::Single(leaf) => leaf.tags().contains(tag),
        }
    }

    /// The offsets that hold something.
    pub(in crate::raw) fn present(self) -> u64 {
        match self {
            Leaf::Full(node) => node.present(),
            Leaf::Single(leaf) => leaf.value().map_or(0, |_| own_bit(leaf)),
        }
    }

    /// The word of `tag`. Of others than those who hold the tree, each bit is read for itself.
    pub(in crate::raw) fn tag_word(self, tag: Tag) -> u64 {
        match self {
            Leaf::Full(node) => node.tags().load(tag),
            Leaf::Single(leaf) if leaf.tags().contains(tag) => own_bit(leaf),
            Leaf::Single(_) => 0,
        }
    }

    /// The offsets that hold something, as it was at one instant.
    #[inline]
    pub(crate) fn occupied(self) -> u64 {
        match self {
            Leaf::Full(leaf) => leaf.at_one_instant(|_| leaf.present()),
            Leaf::Single(_) => self.present(),
        }
    }

    /// Takes the value of `index` out. The caller holds the tree exclusively, which is of no use any more.
    pub(crate) fn take_value(self, index: u64) {
        match self {
            Leaf::Full(leaf) => leaf.slot(offset(index, 0)).set_value(None),
            Leaf::Single(leaf) => leaf.set_value(None),
        }
    }
}

/// The lowest index of a full leaf, whose level need not be asked for.
#[inline]
fn base_of(leaf: &Node) -> u64 {
    index::base(leaf.prefix(), 0)
}

/// The bit that the entry of a single would have in the words of a full leaf.
#[inline]
pub(super) fn own_bit(single: &Single) -> u64 {
    bit(offset(single.index(), 0))
}
