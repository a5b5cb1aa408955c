//! What an edge leads to, an inner node or a leaf, and the way from there to the node above.

use core::ptr::NonNull;

use super::edge::Edge;
use super::inner::{Inner, LockedInner};
use super::leaf::Leaf;
use super::node::{Header, Locked};
use super::single::LockedSingle;
use super::{Above, Tree};
use crate::reclaim::Guard;
use crate::sync::Backoff;
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
    pub(super) fn header(self) -> Option<&'g Header> {
        match self {
            Child::Inner(node) => Some(node.header()),
            Child::Leaf(Leaf::Full(node)) => Some(node),
            Child::Leaf(Leaf::Single(_)) => None,
        }
    }

    /// Stores what the child knows of its parent: a single, nothing. The caller holds the parent's lock, or nobody else knows
    /// the child.
    #[inline]
    pub(super) fn set_parent(self, parent: *mut Header) {
        if let Some(header) = self.header() {
            header.set_parent(parent);
        }
    }

    /// The word of `tag`, for who holds the whole tree.
    pub(super) fn tag_word(self, tag: Tag) -> u64 {
        match self {
            Child::Inner(node) => node.tags().load(tag),
            Child::Leaf(leaf) => leaf.tag_word(tag),
        }
    }

    /// The offsets that hold something.
    pub(super) fn present(self) -> u64 {
        match self {
            Child::Inner(node) => node.present(),
            Child::Leaf(leaf) => leaf.present(),
        }
    }

    /// Whether it has been unlinked, for who holds the whole tree.
    pub(super) fn died(self) -> bool {
        match self {
            Child::Leaf(Leaf::Single(leaf)) => leaf.died(),
            node => node.header().is_some_and(Header::died),
        }
    }

    pub(super) fn is_locked(self) -> bool {
        match self {
            Child::Leaf(Leaf::Single(leaf)) => leaf.is_locked(),
            node => node.header().is_some_and(Header::is_locked),
        }
    }
}

/// A locked leaf or node: what has a parent to be locked.
pub(super) trait Below<'g> {
    /// An index that it covers.
    fn place(&self) -> u64;

    /// Locks the node that links to it (rule 3).
    fn lock_parent(&self, tree: &'g Tree, guard: &'g Guard) -> Above<'g>;
}

impl<'g> Below<'g> for Locked<'g> {
    #[inline]
    fn place(&self) -> u64 {
        self.base()
    }

    #[inline]
    fn lock_parent(&self, tree: &'g Tree, guard: &'g Guard) -> Above<'g> {
        lock_parent(self, tree, guard)
    }
}

impl<'g> Below<'g> for LockedInner<'g> {
    #[inline]
    fn place(&self) -> u64 {
        self.base()
    }

    #[inline]
    fn lock_parent(&self, tree: &'g Tree, guard: &'g Guard) -> Above<'g> {
        lock_parent(self, tree, guard)
    }
}

/// Locks what the `parent` field of a locked node names.
#[inline]
fn lock_parent<'g>(locked: &Header, tree: &'g Tree, guard: &'g Guard) -> Above<'g> {
    loop {
        let parent = locked.parent();
        // SAFETY: read from a node reached under `guard`.
        let above = unsafe { Above::lock(tree, parent, guard) };
        if locked.parent() == parent {
            return above;
        }
    }
}

impl<'g> Below<'g> for LockedSingle<'g> {
    #[inline]
    fn place(&self) -> u64 {
        self.index()
    }

    /// The node above is the one whose slot holds the edge: no other slot of a live node does (I-PARENT), and it stays there
    /// while the node is locked.
    fn lock_parent(&self, tree: &'g Tree, guard: &'g Guard) -> Above<'g> {
        let edge = Edge::single(NonNull::from(self.single()));
        let mut backoff = Backoff::default();
        loop {
            if let Some(above) = tree.find_edge(edge, self.index(), guard) {
                let above = match above {
                    None => Above::lock_root(&tree.root),
                    Some(node) => Above::Node(node.lock()),
                };
                if !above.is_dead() && above.edge(above.offset(self.index())) == edge {
                    return above;
                }
            }
            // A split or a splice is moving the single.
            backoff.wait();
        }
    }
}

impl Tree {
    /// The node whose slot for `index` holds `edge` (`None`: the root), if the way down leads there.
    fn find_edge<'g>(
        &'g self,
        edge: Edge,
        index: u64,
        guard: &'g Guard,
    ) -> Option<Option<Inner<'g>>> {
        let (mut above, mut below) = (None, self.root_edge());
        while below != edge {
            if !below.leads_to_inner() {
                return None;
            }
            // SAFETY: to an inner node, and read under `guard`.
            above = Some(unsafe { Inner::of(below, guard) });
            // SAFETY: as above.
            below = unsafe { Inner::step(below, index, guard) };
        }
        Some(above)
    }
}
