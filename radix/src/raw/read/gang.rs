//! Gang lookups over a range, with a greatest number that is known at run time.

use arrayvec::ArrayVec;

use super::ahead::Look;
use super::scan::matching_value;
use super::walk::Walk;
use crate::raw::link::above::Tree;
use crate::raw::link::leaf::Leaf;
use crate::raw::node::full::Node;
use crate::raw::node::index::{FANOUT, leaf_bits};
use crate::raw::node::word::Word;
use crate::reclaim::Guard;
use crate::tag::TagFilter;

impl Tree {
    /// Hands entries of `low..=high` that pass the filter to `sink`, at most `max`, in ascending order; where to go on, or
    /// `None` if the range is done. `sink` may be the user's code: it runs in no section.
    pub(crate) fn gang_lookup_range(
        &self,
        (low, high): (u64, u64),
        filter: TagFilter,
        max: usize,
        mut sink: impl FnMut(u64, Word),
        guard: &Guard,
    ) -> Option<u64> {
        // A small batch is full before it comes to the next leaf.
        if max < FANOUT {
            gather(Walk::new(self, filter, guard), (low, high), filter, max, &mut sink)
        } else {
            gather(Walk::of_entries(self, filter, guard), (low, high), filter, max, &mut sink)
        }
    }
}

/// Hands entries of `low..=high` to `sink` as `walk` goes from leaf to leaf, at most `max`.
fn gather<A: Look>(
    mut walk: Walk<'_, A>,
    (low, high): (u64, u64),
    filter: TagFilter,
    max: usize,
    sink: &mut impl FnMut(u64, Word),
) -> Option<u64> {
    let (mut at, mut room) = (low, max);
    while room > 0 {
        let leaf = walk.next_leaf(at).filter(|leaf| leaf.first() <= high)?;
        let left = room;
        let mut counted = |index, value| {
            room -= 1;
            sink(index, value);
        };
        let next = match leaf {
            Leaf::Full(node) => {
                take_of_leaf(node, leaf_bits(node.base(), at, high), filter, left, &mut counted)
            }
            Leaf::Single(single) => {
                if let Some((index, value)) = matching_value(single, filter) {
                    counted(index, value);
                }
                None
            }
        };
        if room == left {
            walk.heal_if_in_vain(leaf);
        }
        at = match next {
            Some(offset) => leaf.base() + offset as u64,
            None => leaf.range_last().checked_add(1).filter(|next| *next <= high)?,
        };
    }
    Some(at)
}

/// Hands on what some slots of a leaf have that passes the filter, at most `room` entries; the offset to go on from, if there
/// are more. All were there at one instant, unless the filter lets every entry pass: then each slot is trusted alone.
fn take_of_leaf(
    leaf: &Node,
    slots: u64,
    filter: TagFilter,
    room: usize,
    sink: &mut impl FnMut(u64, Word),
) -> Option<usize> {
    if filter.is_any() {
        return leaf.take(slots, filter, room, sink);
    }
    let mut taken = ArrayVec::<_, FANOUT>::new();
    let next = leaf.at_one_instant(|_| {
        taken.clear();
        leaf.take(slots, filter, room, |index, value| taken.push((index, value)))
    });
    taken.into_iter().for_each(|(index, value)| sink(index, value));
    next
}
