//! What an edge leads to, an inner node or a leaf.

use super::leaf::Leaf;
use crate::raw::node::edge::Edge;
use crate::raw::node::header::Header;
use crate::raw::node::inner::Inner;
use crate::reclaim::Guard;
use crate::tag::Tag;

/// What an edge leads to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Child<'g> {
    Inner(Inner<'g>),
    Leaf(Leaf<'g>),
}

impl<'g> Child<'g> {
    /// The target of an edge.
    ///
    /// # Safety
    /// `edge` is not null and was read, while `guard` was held, from a node reached under the same guard or from the
    /// root; or the caller holds the tree exclusively.
    #[inline]
    pub(crate) unsafe fn of(edge: Edge, guard: &'g Guard) -> Child<'g> {
        if edge.leads_to_inner() {
            // SAFETY: the caller's word, and what the edge says (I-EDGE).
            Child::Inner(unsafe { Inner::of(edge, guard) })
        } else {
            // SAFETY: as above.
            Child::Leaf(unsafe { Leaf::of(edge, guard) })
        }
    }

    #[inline]
    pub(crate) fn level(self) -> u8 {
        match self {
            Child::Inner(node) => node.level(),
            Child::Leaf(_) => 0,
        }
    }

    /// The lowest index that it covers.
    #[inline]
    pub(crate) fn first(self) -> u64 {
        match self {
            Child::Inner(node) => node.base(),
            Child::Leaf(leaf) => leaf.first(),
        }
    }

    /// The highest index that it covers.
    #[inline]
    pub(crate) fn last(self) -> u64 {
        match self {
            Child::Inner(node) => node.last(),
            Child::Leaf(leaf) => leaf.last(),
        }
    }

    /// What every node begins with; a single has no such thing.
    #[inline]
    pub(in crate::raw) fn header(self) -> Option<&'g Header> {
        match self {
            Child::Inner(node) => Some(node.header()),
            Child::Leaf(Leaf::Full(node)) => Some(node),
            Child::Leaf(Leaf::Single(_)) => None,
        }
    }

    /// Stores what the child knows of its parent: a single, nothing. The caller holds the parent's lock, or nobody else knows
    /// the child.
    #[inline]
    pub(in crate::raw) fn set_parent(self, parent: *mut Header) {
        if let Some(header) = self.header() {
            header.set_parent(parent);
        }
    }

    /// The word of `tag`. Of others than those who hold the tree, each bit is read for itself.
    pub(in crate::raw) fn tag_word(self, tag: Tag) -> u64 {
        match self {
            Child::Inner(node) => node.tags().load(tag),
            Child::Leaf(leaf) => leaf.tag_word(tag),
        }
    }

    /// The offsets that hold something.
    pub(in crate::raw) fn present(self) -> u64 {
        match self {
            Child::Inner(node) => node.present(),
            Child::Leaf(leaf) => leaf.present(),
        }
    }

    /// Whether it has been unlinked, for who holds the whole tree.
    pub(in crate::raw) fn died(self) -> bool {
        match self {
            Child::Leaf(Leaf::Single(leaf)) => leaf.died(),
            node => node.header().is_some_and(Header::died),
        }
    }

    pub(in crate::raw) fn is_locked(self) -> bool {
        match self {
            Child::Leaf(Leaf::Single(leaf)) => leaf.is_locked(),
            node => node.header().is_some_and(Header::is_locked),
        }
    }
}
