//! Finding the leaf of an index, and reading what is there without a lock.

use crate::raw::link::above::Tree;
use crate::raw::link::leaf::Leaf;
use crate::raw::node::edge::Edge;
use crate::raw::node::full::Node;
use crate::raw::node::index::{self, offset, prefix};
use crate::raw::node::inner::Inner;
use crate::raw::node::single::Single;
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
        self.find(
            index,
            guard,
            |leaf| Some(Leaf::Full(leaf)),
            |edge| self.find_leaf_from(edge, index, guard),
        )
    }

    /// What `found` makes of the leaf that covers `index`, if the way is that of dense indices with a full leaf; else what `elsewhere` makes of
    /// the edge where that way ends.
    #[inline(always)]
    fn find<'g, R>(
        &'g self,
        index: u64,
        guard: &'g Guard,
        found: impl FnOnce(&'g Node) -> Option<R>,
        elsewhere: impl FnOnce(Edge) -> Option<R>,
    ) -> Option<R> {
        let top = self.root_edge();
        let leaf = match top.plain_level() {
            Some(1) => self.find_leaf_below::<1>(top, index, guard),
            Some(2) => self.find_leaf_below::<2>(top, index, guard),
            Some(3) => self.find_leaf_below::<3>(top, index, guard),
            _ => Err(top),
        };
        match leaf {
            Ok(leaf) => found(leaf),
            Err(edge) => elsewhere(edge),
        }
    }

    /// The leaf that covers `index`, below a top at `LEVEL` (1 to 3) to which `edge` leads without SKIP: a full one if no edge
    /// skips, else the edge that is another, or leads nowhere.
    #[inline(always)]
    fn find_leaf_below<'g, const LEVEL: u8>(
        &'g self,
        mut edge: Edge,
        index: u64,
        guard: &'g Guard,
    ) -> Result<&'g Node, Edge> {
        if prefix(index, LEVEL) != 0 {
            return Err(Edge::NULL);
        }
        if LEVEL >= 3 {
            edge = descend::<3>(edge, index, guard);
            if !edge.leads_to(2) {
                return Err(edge);
            }
        }
        if LEVEL >= 2 {
            edge = descend::<2>(edge, index, guard);
            if !edge.leads_to(1) {
                return Err(edge);
            }
        }
        edge = descend::<1>(edge, index, guard);
        if !edge.leads_to(0) {
            return Err(edge);
        }
        // SAFETY: it leads to a leaf without SKIP, and was read under `guard`.
        Ok(unsafe { Node::of_plain(edge, 0, guard) })
    }

    /// The leaf that covers `index`, from an edge of any kind on.
    #[inline(never)]
    fn find_leaf_from<'g>(&'g self, edge: Edge, index: u64, guard: &'g Guard) -> Option<Leaf<'g>> {
        find_by_edges(edge, index, guard, Some)
    }

    /// The value at `index`, from an edge of any kind on. Out of line: it would be in the way of dense indices.
    #[inline(never)]
    fn get_from(&self, edge: Edge, index: u64, guard: &Guard) -> Option<Word> {
        find_by_edges(edge, index, guard, |leaf| leaf.value_of(index))
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
        self.find(
            index,
            guard,
            |leaf| leaf.value(offset(index, 0)),
            |edge| self.get_from(edge, index, guard),
        )
    }

    /// The value and the tags at `index`, as they were at one instant.
    pub(crate) fn entry(&self, index: u64, guard: &Guard) -> Option<Entry> {
        self.find(
            index,
            guard,
            |leaf| Leaf::Full(leaf).entry_of(index),
            |edge| self.find_leaf_from(edge, index, guard)?.entry_of(index),
        )
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

/// Goes down from an edge of any kind. What lies behind each is known by the edge alone, and the leaf's prefix, or the single's index, is compared
/// always: so it does not matter which edges skip, nor whether the top covers the index.
#[inline(always)]
fn find_by_edges<'g, R>(
    mut edge: Edge,
    index: u64,
    guard: &'g Guard,
    found: impl Fn(Leaf<'g>) -> Option<R>,
) -> Option<R> {
    loop {
        if edge.is_full() {
            if edge.is_leaf_or_null() {
                break;
            }
            // SAFETY: to a full node, above the leaves, and read under `guard`.
            edge = unsafe { Node::of(edge, guard) }.edge(edge.offset(index));
        } else if edge.is_single() {
            // SAFETY: to a single, and read under `guard`.
            let single = unsafe { Single::of(edge, guard) };
            return if single.index() == index { found(Leaf::Single(single)) } else { None };
        } else {
            // SAFETY: to a small node, and read under `guard`.
            let node = unsafe { Inner::of(edge, guard) };
            // SAFETY: the edge says so (I-EDGE).
            edge = unsafe { node.small_edge(edge.offset(index)) };
        }
    }
    if edge.is_null() {
        return None;
    }
    // SAFETY: to a full leaf, and read under `guard`.
    let leaf = unsafe { Node::of(edge, guard) };
    if Leaf::Full(leaf).covers(index) { found(Leaf::Full(leaf)) } else { None }
}
