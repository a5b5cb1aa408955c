//! Nodes that an insertion has ready before it takes a lock, and of which kind they are to be.

use core::ptr::NonNull;

use super::insert::{Gap, Insertion};
use crate::raw::link::child::Child;
use crate::raw::link::leaf::Leaf;
use crate::raw::node::edge::Edge;
use crate::raw::node::full::Node;
use crate::raw::node::index::{self, FANOUT, bit, offset};
use crate::raw::node::inner::{Inner, NewInner, Size};
use crate::raw::node::single::Single;
use crate::raw::node::word::Entry;
use crate::reclaim::Guard;

/// Whether a new leaf for one entry is a [single](Single), and new inner nodes are [small](crate::raw::node::inner::Small). Under a
/// checker only with `--cfg radix_compact`: the few entries that it has would hardly ever make full leaves.
pub(crate) const COMPACT: bool = !crate::sync::CHECKED || cfg!(radix_compact);

/// Nodes allocated outside the locks, kept over retries, freed if unused.
#[derive(Default)]
pub(super) struct Spare {
    single: Option<NonNull<Single>>,
    pub(super) leaf: Option<NonNull<Node>>,
    /// For a split.
    pub(super) inner: Option<NewInner>,
    /// For a node that has no room.
    pub(super) copy: Option<NewInner>,
}

impl Drop for Spare {
    fn drop(&mut self) {
        if let Some(leaf) = self.leaf {
            // SAFETY: made for this insertion and never linked.
            unsafe { Node::free(leaf) };
        }
        if let Some(single) = self.single {
            // SAFETY: as above.
            unsafe { Single::free(single) };
        }
    }
}

impl Spare {
    /// Has the nodes ready that filling a gap over `below` takes.
    #[inline]
    pub(super) fn prepare(
        &mut self,
        Insertion { index, entry, .. }: Insertion,
        Gap { above, below }: Gap<'_>,
        guard: &Guard,
    ) {
        if COMPACT && !above.is_some_and(|above| is_beside_full_leaf(above, index)) {
            self.single.get_or_insert_with(|| Single::new(index, entry));
        } else {
            self.leaf.get_or_insert_with(|| Node::leaf(index));
        }
        if !below.is_null() {
            // SAFETY: not null, and read under `guard`.
            let child = unsafe { Child::of(below, guard) };
            let level = index::split_level(index, child.first());
            let size =
                if is_to_be_full(above, below, level, index) { Size::Full } else { Size::FEWEST };
            make_inner(&mut self.inner, size, level, index);
        } else if let Some(above) = above
            && !above.has_room(offset(index, above.level()))
        {
            make_inner(&mut self.copy, above.size_of_copy(), above.level(), index);
        }
    }

    /// The leaf for a gap, with its first entry in it.
    #[inline]
    pub(super) fn take_leaf<'g>(&mut self, Insertion { index, entry, .. }: Insertion) -> Child<'g> {
        if let Some(single) = self.single.take() {
            // SAFETY: not linked yet, so nobody frees it.
            return Child::Leaf(Leaf::Single(unsafe { single.as_ref() }));
        }
        let leaf = self.leaf.take().expect("prepared");
        // SAFETY: as above.
        let leaf = unsafe { leaf.as_ref() };
        fill_leaf(leaf, index, entry);
        Child::Leaf(Leaf::Full(leaf))
    }
}

/// Has an inner node ready for `index` at a level; one that was made for another place is freed.
#[inline]
fn make_inner(spare: &mut Option<NewInner>, size: Size, level: u8, index: u64) {
    if !spare.as_ref().is_some_and(|old| old.is(size, level)) {
        *spare = Some(NewInner::new(size, level, index));
    }
}

/// Whether a new inner node over what `below` leads to is to be full: as the top of dense indices, or right above such a node.
/// Lookups that meet full nodes only are the fastest.
fn is_to_be_full(above: Option<Inner<'_>>, below: Edge, level: u8, index: u64) -> bool {
    // Not under a checker: small tops can grow, too.
    let top = above.is_none() && index::prefix(index, level) == 0 && !crate::sync::CHECKED;
    !COMPACT || top || is_inner_right_below(below, level)
}

/// Whether an edge leads to a full inner node at the level below `level`.
pub(super) fn is_inner_right_below(edge: Edge, level: u8) -> bool {
    level > 1 && edge.is_full() && !edge.is_null() && edge.level() == level - 1
}

/// Whether a full leaf lies right before or behind the range of `index`. Then the range will have more entries soon, most likely.
fn is_beside_full_leaf(above: Inner<'_>, index: u64) -> bool {
    let at = offset(index, 1);
    let before = at.checked_sub(1);
    let behind = Some(at + 1).filter(|&at| at < FANOUT);
    above.level() == 1 && before.into_iter().chain(behind).any(|at| above.edge(at).leads_to(0))
}

/// Gives a leaf that nobody knows yet an entry.
#[inline]
pub(super) fn fill_leaf(leaf: &Node, index: u64, Entry { value, tags }: Entry) {
    let offset = offset(index, 0);
    leaf.set_present(leaf.present() | bit(offset));
    leaf.slot(offset).set_value(Some(value));
    for tag in tags {
        leaf.tags().store(tag, leaf.tags().load(tag) | bit(offset));
    }
}
