//! Finding the leaf of an index, and reading what is there without a lock.

use crate::raw::link::above::Tree;
use crate::raw::link::leaf::Leaf;
use crate::raw::node::edge::Edge;
use crate::raw::node::full::Node;
use crate::raw::node::index::{self, offset, prefix};
use crate::raw::node::inner::Inner;
use crate::raw::node::word::{Entry, Word};
use crate::reclaim::Guard;
use crate::tag::{Tag, TagSet};

impl Tree {
    /// The leaf that covers `index`.
    ///
    /// One dependent load a level. Where no edge skips, the way of dense indices, little is between two loads: the levels are
    /// constants, so that an edge needs no more than a comparison, and its bits are subtracted by the next load.
    #[inline]
    pub(crate) fn find_leaf<'g>(&'g self, index: u64, guard: &'g Guard) -> Option<Leaf<'g>> {
        self.find(index, guard, Some)
    }

    /// What `found` makes of the leaf that covers `index`. It is compiled twice, for the way of dense indices with a full leaf.
    #[inline(always)]
    fn find<'g, R>(
        &'g self,
        index: u64,
        guard: &'g Guard,
        found: impl Fn(Leaf<'g>) -> Option<R>,
    ) -> Option<R> {
        let top = self.root_edge();
        let leaf = match top.plain_level() {
            Some(1) => self.find_leaf_below::<1>(top, index, guard),
            Some(2) => self.find_leaf_below::<2>(top, index, guard),
            Some(3) => self.find_leaf_below::<3>(top, index, guard),
            _ => Err(self.find_leaf_elsewhere(top, index, guard)),
        };
        match leaf {
            Ok(leaf) => found(Leaf::Full(leaf)),
            Err(leaf) => found(leaf?),
        }
    }

    /// The leaf that covers `index`, below a top at `LEVEL` (1 to 3) to which `edge` leads without SKIP: a full one if no edge
    /// skips, else what there is.
    #[inline(always)]
    fn find_leaf_below<'g, const LEVEL: u8>(
        &'g self,
        mut edge: Edge,
        index: u64,
        guard: &'g Guard,
    ) -> Result<&'g Node, Option<Leaf<'g>>> {
        if prefix(index, LEVEL) != 0 {
            return Err(None);
        }
        if LEVEL >= 3 {
            edge = descend::<3>(edge, index, guard);
            if !edge.leads_to(2) {
                return Err(self.find_leaf_by_skips(edge, index, guard));
            }
        }
        if LEVEL >= 2 {
            edge = descend::<2>(edge, index, guard);
            if !edge.leads_to(1) {
                return Err(self.find_leaf_by_skips(edge, index, guard));
            }
        }
        edge = descend::<1>(edge, index, guard);
        if !edge.leads_to(0) {
            return Err(self.find_leaf_by_skips(edge, index, guard));
        }
        // SAFETY: it leads to a leaf without SKIP, and was read under `guard`.
        Ok(unsafe { Node::of_plain(edge, 0, guard) })
    }

    /// The leaf that covers `index`, below a top of any level.
    #[inline(never)]
    fn find_leaf_elsewhere<'g>(
        &'g self,
        mut edge: Edge,
        index: u64,
        guard: &'g Guard,
    ) -> Option<Leaf<'g>> {
        if edge.ends_or_skips() {
            return self.find_leaf_by_skips(edge, index, guard);
        }
        let mut level = edge.level();
        if prefix(index, level) != 0 {
            return None;
        }
        while level > 0 {
            // SAFETY: not null, and read under `guard`.
            edge = unsafe { Node::of(edge, guard) }.edge(offset(index, level));
            level -= 1;
            if edge.ends_or_skips() {
                return self.find_leaf_by_skips(edge, index, guard);
            }
        }
        // SAFETY: not null, and read under `guard`.
        Some(Leaf::Full(unsafe { Node::of(edge, guard) }))
    }

    /// Goes on from an edge that is null, skips or leads to a small node. Every level is taken from its edge, and the leaf's prefix is compared, or
    /// the single's index.
    #[inline(never)]
    fn find_leaf_by_skips<'g>(
        &'g self,
        mut edge: Edge,
        index: u64,
        guard: &'g Guard,
    ) -> Option<Leaf<'g>> {
        loop {
            if !edge.is_full() {
                if edge.is_single() {
                    break;
                }
            } else if edge.level() == 0 {
                if edge.is_null() {
                    return None;
                }
                break;
            }
            // SAFETY: to an inner node, and read under `guard`.
            edge = unsafe { Inner::step(edge, index, guard) };
        }
        // SAFETY: to a leaf, and read under `guard`.
        let leaf = unsafe { Leaf::of(edge, guard) };
        leaf.covers(index).then_some(leaf)
    }

    /// The leaf whose range has `index`: a single may be of another index there. If there is none, no index of that range has an
    /// entry.
    pub(crate) fn find_leaf_of_range<'g>(
        &'g self,
        index: u64,
        guard: &'g Guard,
    ) -> Option<Leaf<'g>> {
        let mut edge = self.root_edge();
        while edge.leads_to_inner() {
            // SAFETY: to an inner node, and read under `guard`.
            edge = unsafe { Inner::step(edge, index, guard) };
        }
        if edge.is_null() {
            return None;
        }
        // SAFETY: to a leaf, and read under `guard`.
        let leaf = unsafe { Leaf::of(edge, guard) };
        (leaf.base() == index::base(prefix(index, 0), 0)).then_some(leaf)
    }

    /// The value at `index`. Wait-free.
    #[inline]
    pub(crate) fn get(&self, index: u64, guard: &Guard) -> Option<Word> {
        self.find(index, guard, |leaf| leaf.value_of(index))
    }

    /// The value and the tags at `index`, as they were at one instant.
    pub(crate) fn entry(&self, index: u64, guard: &Guard) -> Option<Entry> {
        self.find(index, guard, |leaf| leaf.entry_of(index))
    }

    /// Whether the entry at `index` has `tag`. A set bit is trusted alone, a clear one is validated.
    #[inline]
    pub(crate) fn has_tag(&self, index: u64, tag: Tag, guard: &Guard) -> bool {
        let Some(leaf) = self.find_leaf(index, guard) else { return false };
        leaf.shows_tag(index, tag)
            || match leaf {
                Leaf::Full(leaf) => leaf.at_one_instant(|_| leaf.has_tag(index, tag)),
                Leaf::Single(leaf) => leaf.entry().is_some_and(|entry| entry.tags.contains(tag)),
            }
    }

    /// The tags at `index`, as they were at one instant.
    pub(crate) fn tags(&self, index: u64, guard: &Guard) -> Option<TagSet> {
        self.entry(index, guard).map(|entry| entry.tags)
    }
}

/// One step down from a node at `LEVEL`, to which `edge` leads without SKIP.
#[inline(always)]
fn descend<const LEVEL: u8>(edge: Edge, index: u64, guard: &Guard) -> Edge {
    // SAFETY: it leads to a node at `LEVEL` without SKIP, and was read under `guard`.
    unsafe { Node::of_plain(edge, LEVEL, guard) }.edge(offset(index, LEVEL))
}
