//! Cutting a range of indices in two for those who walk it side by side.

use super::Tree;
use super::child::Child;
use super::index::{self, lowest};
use super::walk::leading_to;
use crate::reclaim::Guard;
use crate::tag::TagFilter;

/// Below this many leaves of one node, a range is not worth cutting.
const LEAST_LEAVES: u32 = 16;

impl Tree {
    /// An index that cuts `low..=high` between two children of the lowest node around all of it, with about as many children that
    /// the filter cares for on both sides; `None` if there is too little to cut. Lies above `low`.
    ///
    /// No more than advice: the tree may have changed when it is used.
    pub(crate) fn cut(&self, low: u64, high: u64, filter: TagFilter, guard: &Guard) -> Option<u64> {
        let mut edge = self.root_edge();
        while !edge.is_null() {
            // SAFETY: not null, and read under `guard`.
            let Child::Node(node) = (unsafe { Child::of(edge, guard) }) else { return None };
            let (level, low, high) = (node.level(), low.max(node.base()), high.min(node.last()));
            if level == 0 || low > high {
                return None;
            }
            let (first, last) = (index::offset(low, level), index::offset(high, level));
            let mut slots = leading_to(node, filter) & index::from(first) & index::up_to(last);
            match slots.count_ones() {
                0 => return None,
                1 => edge = node.edge(lowest(slots)),
                count if level == 1 && count < LEAST_LEAVES => return None,
                count => {
                    for _ in 0..count / 2 {
                        slots &= slots - 1;
                    }
                    return Some(index::slot_base(node.base(), lowest(slots), level));
                }
            }
        }
        None
    }
}
