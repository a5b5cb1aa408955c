//! One call that changes the tree, and the two ways by which it comes to a leaf: by an index, or by a walk over a range.

use crate::raw::link::above::Tree;
use crate::raw::link::leaf::Leaf;
use crate::raw::link::locked::LockedLeaf;
use crate::raw::node::full::Locked;
use crate::raw::node::single::LockedSingle;
use crate::raw::read::walk::Walk;
use crate::reclaim::Guard;
use crate::tag::{TagFilter, TreeEdges};

/// One call that changes the tree.
#[derive(Debug)]
pub(crate) struct Op<'g> {
    pub(super) tree: &'g Tree,
    pub(super) guard: &'g Guard,
    /// The changes of root flags that it has made.
    pub(crate) told: TreeEdges,
}

/// A leaf of either kind that is locked, and alive.
enum Live<'g> {
    Full(Locked<'g>),
    Single(LockedSingle<'g>),
}

/// What a call does to one leaf, full or single, while the leaf is locked and alive.
pub(super) trait Section<'g> {
    type Done;

    fn run(self, op: &mut Op<'g>, leaf: &impl LockedLeaf<'g>) -> Self::Done;
}

impl<'g> Op<'g> {
    #[inline]
    pub(crate) fn new(tree: &'g Tree, guard: &'g Guard) -> Op<'g> {
        Op { tree, guard, told: TreeEdges::default() }
    }

    /// Runs a section of this leaf; `None` if it is dead.
    #[inline]
    pub(super) fn at<S: Section<'g>>(&mut self, leaf: Leaf<'g>, section: S) -> Option<S::Done> {
        match leaf {
            Leaf::Full(leaf) => self.locked(&leaf.lock(), section),
            Leaf::Single(leaf) => self.locked(&leaf.lock(), section),
        }
    }

    #[inline]
    fn locked<S: Section<'g>>(
        &mut self,
        leaf: &impl LockedLeaf<'g>,
        section: S,
    ) -> Option<S::Done> {
        (!leaf.is_dead()).then(|| section.run(self, leaf))
    }

    /// Runs a section of the live leaf that covers `index`; `None` if there is no such leaf.
    #[inline]
    pub(super) fn in_leaf<S: Section<'g>>(&mut self, index: u64, section: S) -> Option<S::Done> {
        match self.lock_leaf(index)? {
            Live::Full(leaf) => Some(section.run(self, &leaf)),
            Live::Single(leaf) => Some(section.run(self, &leaf)),
        }
    }

    /// Locks the live leaf that covers `index`.
    #[inline]
    fn lock_leaf(&self, index: u64) -> Option<Live<'g>> {
        loop {
            match self.tree.find_leaf(index, self.guard)? {
                Leaf::Full(leaf) => {
                    let leaf = leaf.lock();
                    if !leaf.is_dead() {
                        return Some(Live::Full(leaf));
                    }
                }
                Leaf::Single(leaf) => {
                    let leaf = leaf.lock();
                    if !leaf.is_dead() {
                        return Some(Live::Single(leaf));
                    }
                }
            }
        }
    }

    /// Runs a section of each leaf of `low..=high` that may hold something `filter` asks for, in ascending order, until there is
    /// enough; returns where to go on, if the range is not done.
    ///
    /// `section` makes the section of a leaf that is reached at an index. `done` is given, outside all sections, what the
    /// section returned and the index behind the leaf; it returns where to go on, and whether that is enough.
    #[inline]
    pub(super) fn for_leaves<S: Section<'g>>(
        &mut self,
        (low, high): (u64, u64),
        filter: TagFilter,
        section: impl Fn(u64) -> S,
        mut done: impl FnMut(S::Done, Option<u64>) -> (Option<u64>, bool),
    ) -> Option<u64> {
        let (mut walk, mut at) = (Walk::new(self.tree, filter, self.guard), low);
        loop {
            let leaf = walk.next_leaf(at).filter(|leaf| leaf.first() <= high)?;
            walk.heal_if_in_vain(leaf);
            let Some(result) = self.at(leaf, section(at)) else {
                walk.restart();
                continue;
            };
            let (next, enough) = done(result, leaf.range_last().checked_add(1));
            at = next.filter(|next| *next <= high)?;
            if enough {
                return Some(at);
            }
        }
    }
}
