//! Summaries that stand over nothing: lowered by the walks that come upon them.
//!
//! It is the lowering of a writer, by another hand and by the same locks, child before parent. But it waits for none: a walk is a
//! reader, and what it leaves standing costs the next one a visit.

use super::above::{Above, Below, Tree};
use super::child::Child;
use super::leaf::Leaf;
use super::locked::LockedLeaf;
use crate::raw::node::index::bit;
use crate::reclaim::Guard;
use crate::tag::Tag;

impl Tree {
    /// Clears the bits of `tag` above `child`, upward while words become 0, if nothing below it has the tag and no lock has to be
    /// waited for.
    #[cold]
    pub(in crate::raw) fn heal(&self, child: Child<'_>, tag: Tag, guard: &Guard) {
        match child {
            Child::Inner(node) => {
                if let Some(node) = node.lock_now()
                    && !node.is_dead()
                    && node.tags().load_guarded(tag) == 0
                {
                    self.heal_above(&node, tag, guard);
                }
            }
            Child::Leaf(Leaf::Full(leaf)) => self.heal_leaf(leaf.lock_now(), tag, guard),
            Child::Leaf(Leaf::Single(leaf)) => self.heal_leaf(leaf.lock_now(), tag, guard),
        }
    }

    fn heal_leaf<'g>(&'g self, leaf: Option<impl LockedLeaf<'g>>, tag: Tag, guard: &'g Guard) {
        // The word is looked at under the lock: somebody may have set the tag since the walk did.
        if let Some(leaf) = leaf.filter(|leaf| !leaf.is_dead() && leaf.word(tag) == 0) {
            self.heal_above(&leaf, tag, guard);
        }
    }

    /// The caller holds `child`, which is alive and whose word for `tag` is 0.
    fn heal_above<'g>(&'g self, child: &impl Below<'g>, tag: Tag, guard: &'g Guard) {
        let Some(above) = child.lock_parent_now(self, guard) else { return };
        let bit = bit(above.offset(child.place()));
        let word = above.word(tag);
        if word & bit == 0 {
            return;
        }
        above.tags().store(tag, word & !bit);
        if word == bit
            && let Above::Node(node) = &above
        {
            self.heal_above(node, tag, guard);
        }
    }
}
