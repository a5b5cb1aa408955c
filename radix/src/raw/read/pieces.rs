//! Walks in pieces: where to cut a range in two, so that two threads can walk it, and how to read a piece, some leaves under
//! one guard.
//!
//! A cut is advice. Any index between the two ends divides the entries of a range into those below and those not below, so
//! nothing here has to be validated: what writers change meanwhile makes halves uneven, and no entry is lost or met twice.

use super::passed::Passed;
use super::walk::{Lead, Walk};
use crate::raw::link::above::Tree;
use crate::raw::link::child::Child;
use crate::raw::link::leaf::Leaf;
use crate::raw::node::edge::Edge;
use crate::raw::node::index::{self, FANOUT, highest, leaf_bits, lowest};
use crate::raw::node::inner::Inner;
use crate::raw::node::word::{Entry, Word};
use crate::reclaim::Guard;
use crate::tag::TagFilter;

/// Fewest leaves that are worth a piece of their own: dense, they hold 4096 indices. Less where tests shrink the nodes, so
/// that small trees are cut as well.
const PIECE_LEAVES: u64 = if FANOUT == 64 { 64 } else { 2 };

/// Most leaves that are read under one guard, also where hardly an entry of theirs passes.
const GUARD_LEAVES: usize = 1024;

/// The part of a range that is to be cut, and what its walk looks for.
#[derive(Clone, Copy, Debug)]
struct Part {
    low: u64,
    high: u64,
    filter: TagFilter,
}

impl Part {
    /// The slots of an inner node that lead to indices of the part and may lead to something the filter asks for.
    fn slots(&self, node: Inner<'_>) -> u64 {
        let (low, high) = (self.low.max(node.base()), self.high.min(node.last()));
        if low > high {
            return 0;
        }
        let level = node.level();
        let within =
            index::from(index::offset(low, level)) & index::up_to(index::offset(high, level));
        Lead::of(self.filter).slots(&node) & within
    }

    /// About how many leaves of the part lie behind an edge.
    ///
    /// Exact for a leaf and for the lowest inner nodes. Higher up, the first and the last child are looked into, one of which
    /// often holds more than the others, and those between are taken to be as the middle one.
    fn leaves_behind(&self, edge: Edge, guard: &Guard) -> u64 {
        if edge.is_null() {
            return 0;
        }
        // SAFETY: not null, and read under `guard` from a node reached under it.
        let node = match unsafe { Child::of(edge, guard) } {
            Child::Inner(node) => node,
            Child::Leaf(_) => return 1,
        };
        let slots = self.slots(node);
        let children = u64::from(slots.count_ones());
        if children == 0 || node.level() == 1 {
            return children;
        }
        let behind = |offset| self.leaves_behind(node.edge(offset), guard);
        let first = behind(lowest(slots));
        let last = if children > 1 { behind(highest(slots)) } else { 0 };
        let between = match children.saturating_sub(2) {
            0 => 0,
            count => behind(median(slots)).saturating_mul(count),
        };
        first.saturating_add(last).saturating_add(between)
    }

    /// Where the slots of `node` are best cut, and the slot that is worth more than three quarters of them, if there is one.
    fn weigh(&self, node: Inner<'_>, guard: &Guard) -> Weighed {
        let (mut weights, mut slots) = ([0_u64; FANOUT], self.slots(node));
        let (mut total, mut heaviest) = (0_u64, 0);
        while slots != 0 {
            let offset = lowest(slots);
            slots &= slots - 1;
            weights[offset] = self.leaves_behind(node.edge(offset), guard);
            total = total.saturating_add(weights[offset]);
            if weights[offset] > weights[heaviest] {
                heaviest = offset;
            }
        }
        let (mut below, mut last, mut cut) = (0_u64, 0, None);
        for (offset, weight) in weights.into_iter().enumerate().filter(|(_, weight)| *weight > 0) {
            if below > 0 && (cut.is_none() || below - last / 2 <= total / 2) {
                cut = Some(index::slot_base(node.base(), offset, node.level()));
            }
            (below, last) = (below.saturating_add(weight), weight);
        }
        let heavy = (weights[heaviest] > total - total / 4).then_some(heaviest);
        Weighed { total, cut, heavy }
    }
}

/// What lies below one node.
struct Weighed {
    total: u64,
    cut: Option<u64>,
    heavy: Option<usize>,
}

/// The middle one of the slots in a word that is not 0.
fn median(word: u64) -> usize {
    let mut rest = word;
    for _ in 0..word.count_ones() / 2 {
        rest &= rest - 1;
    }
    lowest(rest)
}

impl Tree {
    /// Hands the entries of `low..=high` to `sink`, in ascending order, until it has had `enough` and the leaf is done; returns
    /// the index to go on from, if the range is not done. Each slot is trusted alone.
    #[inline]
    pub(crate) fn read_piece(
        &self,
        (low, high): (u64, u64),
        enough: usize,
        mut sink: impl FnMut(u64, Word),
        guard: &Guard,
    ) -> Option<u64> {
        self.read_leaves((low, high), enough, TagFilter::ANY, guard, |leaf, slots| {
            let leaf = match leaf {
                Leaf::Full(leaf) => leaf,
                Leaf::Single(single) => {
                    let value = single.value().map(|value| sink(single.index(), value));
                    return usize::from(value.is_some());
                }
            };
            let (mut rest, mut count) = (leaf.present() & slots, 0);
            while rest != 0 {
                let offset = lowest(rest);
                if let Some(value) = leaf.value(offset) {
                    sink(leaf.base() + offset as u64, value);
                    count += 1;
                }
                rest &= rest - 1;
            }
            count
        })
    }

    /// The same for the entries that pass `filter`, each leaf read at one instant. `sink` runs once for each, in no section.
    #[inline]
    pub(crate) fn read_piece_tagged(
        &self,
        (low, high): (u64, u64),
        enough: usize,
        filter: TagFilter,
        mut sink: impl FnMut(u64, Entry),
        guard: &Guard,
    ) -> Option<u64> {
        let mut passed = Passed::default();
        self.read_leaves((low, high), enough, filter, guard, |leaf, slots| {
            let leaf = match leaf {
                Leaf::Full(leaf) => leaf,
                Leaf::Single(single) => {
                    let entry = single.entry().filter(|entry| filter.matches(entry.tags));
                    return usize::from(entry.map(|entry| sink(single.index(), entry)).is_some());
                }
            };
            passed.read_at_one_instant(leaf, slots, filter);
            passed.give(leaf.base(), (), |(), (index, entry)| sink(index, entry));
            passed.len()
        })
    }

    /// Has `read` read the leaves of `low..=high`: it is given a leaf and the slots within the range, and returns how many
    /// entries it has handed on.
    #[inline]
    fn read_leaves(
        &self,
        (low, high): (u64, u64),
        enough: usize,
        filter: TagFilter,
        guard: &Guard,
        mut read: impl FnMut(Leaf<'_>, u64) -> usize,
    ) -> Option<u64> {
        let (mut walk, mut at, mut count) = (Walk::new(self, filter, guard), low, 0);
        for _ in 0..GUARD_LEAVES {
            let leaf = walk.next_leaf(at).filter(|leaf| leaf.first() <= high)?;
            let read = read(leaf, leaf_bits(leaf.base(), at, high));
            if read == 0 {
                walk.heal_if_in_vain(leaf);
            }
            count += read;
            at = leaf.range_last().checked_add(1).filter(|next| *next <= high)?;
            if count >= enough {
                break;
            }
        }
        Some(at)
    }

    /// An index above `low` and not above `high`, the first one of a node, that divides the walk of `low..=high` into two of
    /// about the same length; `None` if it is not worth dividing.
    pub(crate) fn middle(
        &self,
        low: u64,
        high: u64,
        filter: TagFilter,
        guard: &Guard,
    ) -> Option<u64> {
        if filter.all.iter().any(|tag| !self.any_tagged(tag)) {
            return None;
        }
        let part = Part { low, high, filter };
        let (mut edge, mut cut) = (self.root_edge(), None);
        while edge.leads_to_inner() {
            // SAFETY: to an inner node, and read under `guard`, from the root or a node reached under it.
            let node = unsafe { Inner::of(edge, guard) };
            let weighed = part.weigh(node, guard);
            if weighed.total < 2 * PIECE_LEAVES {
                break;
            }
            cut = weighed.cut.or(cut);
            let Some(heavy) = weighed.heavy else { break };
            edge = node.edge(heavy);
        }
        debug_assert!(cut.is_none_or(|cut| low < cut && cut <= high));
        cut
    }
}

#[cfg(all(test, not(any(radix_loom, radix_shuttle, radix_stress))))]
mod tests {
    use super::*;
    use crate::reclaim::pin;
    use crate::tag::{Tag, TagSet};
    use crate::{Inline, RadixTree};

    fn tree_of(indices: impl IntoIterator<Item = u64>) -> RadixTree<Inline> {
        indices.into_iter().map(|index| (index, Inline::default())).collect()
    }

    fn middle(tree: &RadixTree<Inline>, low: u64, high: u64, filter: TagFilter) -> Option<u64> {
        tree.raw().middle(low, high, filter, &pin())
    }

    #[test]
    fn a_cut_is_at_a_node_and_halves_the_leaves() {
        let tree = tree_of(0..1 << 16);
        assert_eq!(middle(&tree, 0, u64::MAX, TagFilter::ANY), Some(1 << 15));
        assert_eq!(middle(&tree, 0, (1 << 15) - 1, TagFilter::ANY), Some(1 << 14));
        assert_eq!(middle(&tree, 4096, 3 * 4096 - 1, TagFilter::ANY), Some(2 * 4096));
        assert_eq!(middle(&tree, 2000, 12_000, TagFilter::ANY), Some(2 * 4096));
    }

    #[test]
    fn what_is_small_is_not_cut() {
        assert_eq!(middle(&tree_of([]), 0, u64::MAX, TagFilter::ANY), None);
        assert_eq!(middle(&tree_of([u64::MAX]), 0, u64::MAX, TagFilter::ANY), None);
        assert_eq!(middle(&tree_of(0..4096), 0, u64::MAX, TagFilter::ANY), None);
        let tree = tree_of(0..1 << 16);
        assert_eq!(middle(&tree, 0, 8 * 1000, TagFilter::ANY), None);
        assert_eq!(middle(&tree, 4000, 5000, TagFilter::ANY), None);
        assert_eq!(middle(&tree, 1 << 20, u64::MAX, TagFilter::ANY), None);
    }

    #[test]
    fn a_tagged_walk_is_cut_where_its_entries_are() {
        let tree = tree_of(0..1 << 18);
        tree.pin().tag_range((3 << 16).., Tag::T1, TagSet::EMPTY);
        let tagged = TagFilter::all_of(Tag::T1);
        assert_eq!(middle(&tree, 0, u64::MAX, tagged), Some((3 << 16) + (1 << 15)));
        assert_eq!(middle(&tree, 0, u64::MAX, TagFilter::all_of(Tag::T0)), None);
        assert_eq!(middle(&tree, 0, (3 << 16) - 1, tagged), None);
    }

    #[test]
    fn lone_entries_beside_many_do_not_attract_the_cut() {
        let tree = tree_of((0..1 << 16).chain((17..64).map(|bit| 1 << bit)));
        assert_eq!(middle(&tree, 0, u64::MAX, TagFilter::ANY), Some(1 << 15));
        let high = u64::MAX - (1 << 16);
        let tree = tree_of((high..u64::MAX).chain((17..63).map(|bit| 1 << bit)));
        let cut = middle(&tree, 0, u64::MAX, TagFilter::ANY).expect("a thousand leaves can be cut");
        assert!(cut > high + (1 << 14) && cut < high + (3 << 14), "{cut}");
    }

    #[test]
    fn cuts_of_cuts_reach_small_pieces_and_lose_nothing() {
        let tree = tree_of((0..20_000_u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        let (mut pieces, mut done, mut entries) = (vec![(0, u64::MAX)], 0, 0);
        while let Some((low, high)) = pieces.pop() {
            match middle(&tree, low, high, TagFilter::ANY) {
                Some(cut) => {
                    assert!(low < cut && cut <= high);
                    pieces.extend([(low, cut - 1), (cut, high)]);
                }
                None => {
                    (done, entries) = (done + 1, entries + tree.pin().range(low..=high).count());
                }
            }
        }
        assert_eq!(entries, 20_000);
        assert!((20..2000).contains(&done), "{done} pieces");
    }
}
