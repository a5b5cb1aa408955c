//! Looking for an index without an entry.
//!
//! What is known to be solid is passed over: groups of slots by the solid byte of their node, children by their own. Groups of solid
//! children are told to the caller, who may mark them.

use crate::raw::link::above::Tree;
use crate::raw::link::leaf::Leaf;
use crate::raw::node::edge::Edge;
use crate::raw::node::full::Node;
use crate::raw::node::group;
use crate::raw::node::index::{self, from, leaf_bits, offset, prefix};
use crate::raw::node::inner::Inner;
use crate::reclaim::Guard;

/// What a search has found occupied, and not marked so.
#[derive(Clone, Copy, Debug)]
pub(in crate::raw) struct Unmarked<'g> {
    pub(in crate::raw) node: Inner<'g>,
    /// Children of the group around this slot are solid, or some of them.
    pub(in crate::raw) offset: usize,
}

/// Where a search for an absent index comes to. All indices before it have entries.
#[derive(Clone, Copy, Debug)]
pub(in crate::raw) enum Spot<'g> {
    /// The index has no entry.
    Absent(u64),
    /// The index lies in this leaf, of which nothing is known.
    Leaf(&'g Node, u64),
    /// Look on from there, if there is anything.
    Behind(Option<u64>),
}

/// Whether an edge leads, without SKIP, to a full node at `level` that is solid.
#[inline]
pub(in crate::raw) fn is_solid(edge: Edge, level: u8, guard: &Guard) -> bool {
    // SAFETY: it leads to a full node, and was read under `guard`.
    edge.leads_to(level) && unsafe { Node::of_plain(edge, level, guard) }.solid() == group::ALL
}

impl Tree {
    /// Goes down to `index`, or to the first index above it that is not known to have an entry.
    #[inline]
    pub(in crate::raw) fn spot<'g>(
        &'g self,
        mut index: u64,
        guard: &'g Guard,
        found: &mut impl FnMut(Unmarked<'g>),
    ) -> Spot<'g> {
        let mut edge = self.root_edge();
        while edge.leads_to_inner() {
            // The level is taken from the edge: what is loaded from a node, even what never changes, is loaded anew each time.
            let level = edge.level();
            // SAFETY: to an inner node, and read under `guard`.
            let node = unsafe { Inner::of(edge, guard) };
            let prefix = prefix(index, level);
            if prefix != node.prefix() {
                return Spot::Absent(index);
            }
            let here = offset(index, level);
            let Some(open) = first_open(node, level, here, guard, found) else {
                return Spot::Behind(node.last().checked_add(1));
            };
            if open != here {
                index = index::slot_base(index::base(prefix, level), open, level);
            }
            edge = node.edge(open);
        }
        if edge.is_null() {
            return Spot::Absent(index);
        }
        // SAFETY: to a leaf, and read under `guard`.
        match unsafe { Leaf::of(edge, guard) } {
            leaf if leaf.base() != index::base(prefix(index, 0), 0) => Spot::Absent(index),
            Leaf::Full(leaf) => Spot::Leaf(leaf, index),
            single @ Leaf::Single(_) => absent_in(single, index),
        }
    }

    /// The lowest index of `low..=high` without an entry. It marks nothing.
    pub(crate) fn first_absent(&self, (low, high): (u64, u64), guard: &Guard) -> Option<u64> {
        let mut next = Some(low);
        while let Some(index) = next.filter(|index| *index <= high) {
            let spot = match self.spot(index, guard, &mut |_| {}) {
                Spot::Leaf(leaf, index) => absent_in(Leaf::Full(leaf), index),
                spot => spot,
            };
            match spot {
                Spot::Absent(absent) | Spot::Leaf(_, absent) => {
                    return Some(absent).filter(|absent| *absent <= high);
                }
                Spot::Behind(behind) => next = behind,
            }
        }
        None
    }

    /// The highest index of `low..=high` without an entry.
    pub(crate) fn last_absent(&self, (low, high): (u64, u64), guard: &Guard) -> Option<u64> {
        let mut index = high;
        while index >= low {
            let Some(leaf) = self.find_leaf(index, guard) else { return Some(index) };
            let absent = !leaf.occupied() & leaf_bits(leaf.base(), low, index);
            if absent != 0 {
                return Some(leaf.base() + index::highest(absent) as u64);
            }
            index = leaf.base().checked_sub(1)?;
        }
        None
    }
}

/// The first index of a leaf, from `index` on, that has no entry, as it was at one instant.
fn absent_in(leaf: Leaf<'_>, index: u64) -> Spot<'_> {
    match !leaf.occupied() & from(offset(index, 0)) {
        0 => Spot::Behind(leaf.range_last().checked_add(1)),
        absent => Spot::Absent(leaf.base() + index::lowest(absent) as u64),
    }
}

/// The first slot from `offset` on that is not known to be occupied as a whole.
#[inline]
fn first_open<'g>(
    node: Inner<'g>,
    level: u8,
    mut offset: usize,
    guard: &'g Guard,
    found: &mut impl FnMut(Unmarked<'g>),
) -> Option<usize> {
    let open = group::ALL & !node.solid();
    let full = node.as_full();
    loop {
        offset = group::first(open, offset)?;
        let end = group::around(offset).end;
        let edge_at = |slot| full.map_or_else(|| node.edge(slot), |full| full.edge(slot));
        while offset < end && is_solid(edge_at(offset), level - 1, guard) {
            offset += 1;
        }
        if offset < end {
            return Some(offset);
        }
        found(Unmarked { node, offset: end - 1 });
    }
}
