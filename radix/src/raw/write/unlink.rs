//! Unlinking: of an empty leaf, and the splice of a node that is left with one child.

use super::section::Op;
use crate::raw::link::above::{Above, Below};
use crate::raw::link::child::Child;
use crate::raw::link::locked::LockedLeaf;
use crate::raw::node::edge::Edge;
use crate::raw::node::index::{bit, lowest};
use crate::raw::node::inner::LockedInner;

impl<'g> Op<'g> {
    /// Unlinks and retires a locked leaf if it has become empty.
    #[inline]
    pub(super) fn unlink_if_empty(&mut self, leaf: &impl LockedLeaf<'g>) {
        if leaf.present() == 0 && !leaf.is_dead() {
            self.unlink(leaf);
        }
    }

    #[cold]
    fn unlink(&mut self, leaf: &impl LockedLeaf<'g>) {
        let above = leaf.lock_parent(self.tree, self.guard);
        let offset = above.offset(leaf.place());
        // Not before the parent is locked (I-DEAD): a splice of the parent would link a dead leaf.
        leaf.set_dead();
        above.set_edge(offset, Edge::NULL);
        // SAFETY: unlinked in the line above, by the holder of both locks (I-RETIRE).
        unsafe { leaf.retire(self.guard) };
        // Stale ones too: no walk would come here to heal them.
        for tag in above.tags().at_guarded(bit(offset)) {
            self.clear_above(&above, offset, tag);
        }
        let Above::Node(node) = &above else { return };
        let present = node.present() & !bit(offset);
        node.set_present(present);
        if present.is_power_of_two() {
            self.splice(node, lowest(present));
        }
    }

    /// Takes out a locked node whose only child is the one at `offset`.
    fn splice(&mut self, node: &LockedInner<'g>, offset: usize) {
        // SAFETY: a slot whose present bit is set holds an edge while the node is locked; read under `guard`.
        let child = unsafe { Child::of(node.edge(offset), self.guard) };
        let above = node.lock_parent(self.tree, self.guard);
        node.set_dead();
        child.set_parent(above.name());
        above.set_edge(above.offset(node.base()), above.edge_to(child));
        // SAFETY: the line above unlinked it, by the holder of both locks (I-RETIRE).
        unsafe { node.node().retire(self.guard) };
    }
}
