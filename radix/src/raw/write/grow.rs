//! New inner nodes: the growth of a small one, and the split of an edge.

use crate::raw::link::above::{Above, Below};
use crate::raw::link::child::Child;
use crate::raw::node::index::bit;
use crate::raw::node::inner::{Inner, LockedInner, NewInner, Size};
use crate::reclaim::Guard;
use crate::tag::{Tag, TagSet};

use super::section::Op;

impl<'g> Op<'g> {
    /// Puts a copy, which has more room and which nobody knows yet, in the place of a locked node. Returns the copy, locked.
    pub(super) fn grow(&mut self, node: LockedInner<'g>, copy: NewInner) -> LockedInner<'g> {
        // Born locked, and unlocked by the caller, when its edge and the `parent` of all children are stored.
        let copy = copy.link(self.guard);
        let above = node.lock_parent(self.tree, self.guard);
        copy.copy(&node);
        copy.set_parent(above.name());
        for offset in copy.children() {
            // SAFETY: a slot whose present bit is set holds an edge while the node is locked; read under `guard`.
            let child = unsafe { Child::of(copy.edge(offset), self.guard) };
            child.set_parent(copy.pointer().as_ptr());
        }
        node.set_dead();
        above.set_edge(above.offset(node.base()), above.edge_to(Child::Inner(copy.node())));
        // SAFETY: the line above unlinked it, by the holder of both locks (I-RETIRE).
        unsafe { node.retire(self.guard) };
        copy
    }

    /// Makes a small node full, unless it is dead.
    #[cold]
    pub(super) fn widen(&mut self, node: Inner<'g>) {
        let full = NewInner::new(Size::Full, node.level(), node.base());
        let node = node.lock();
        if !node.is_dead() {
            self.grow(node, full);
        }
    }
}

/// Puts `inner` between `above` and `child`, and a leaf beside the child. The summaries have been raised.
#[inline]
pub(super) fn split(
    above: &Above<'_>,
    offset: usize,
    (child, kept): (Child<'_>, TagSet),
    inner: NewInner,
    (leaf, index, tags): (Child<'_>, u64, TagSet),
    guard: &Guard,
) {
    // Born locked, and unlocked at the end of this function, when both its edge and the child's `parent` are stored.
    let inner = Above::Node(inner.link(guard));
    let Above::Node(node) = &inner else { unreachable!("made in the line above") };
    leaf.set_parent(inner.name());
    node.set_parent(above.name());
    let (child_offset, leaf_offset) = (inner.offset(child.first()), inner.offset(index));
    node.set_present(bit(child_offset) | bit(leaf_offset));
    for tag in Tag::all() {
        // The child's bits are copied from its old parent, never computed from the child.
        let mut word = if kept.contains(tag) { bit(child_offset) } else { 0 };
        if tags.contains(tag) {
            word |= bit(leaf_offset);
        }
        node.tags().store(tag, word);
    }
    node.set_edge(child_offset, inner.edge_to(child));
    node.set_edge(leaf_offset, inner.edge_to(leaf));
    child.set_parent(inner.name());
    above.set_edge(offset, above.edge_to(Child::Inner(node.node())));
}
