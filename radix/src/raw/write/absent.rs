//! The lowest absent index for an insertion, and the solid bits that make it quick to find.

use super::insert::{Inserted, Insertion};
use super::section::{Op, Section};
use crate::raw::link::above::{Above, Below};
use crate::raw::link::leaf::Leaf;
use crate::raw::link::locked::LockedLeaf;
use crate::raw::node::group;
use crate::raw::node::index::{ALL_SLOTS, from, lowest, offset};
use crate::raw::node::word::{Entry, Word};
use crate::raw::read::absent::{Spot, Unmarked, is_solid};
use crate::reclaim::Guard;
use crate::tag::TagSet;

impl<'g> Op<'g> {
    /// Puts a value at the lowest index of a range that has no entry; returns the index. What it finds to be solid on its way is
    /// marked so.
    pub(crate) fn insert_at_absent(&mut self, (low, high): (u64, u64), value: Word) -> Option<u64> {
        let (tree, guard) = (self.tree, self.guard);
        let mut next = Some(low);
        while let Some(index) = next.filter(|index| *index <= high) {
            let outcome = match tree.spot(index, guard, &mut |found| mark_group(found, guard)) {
                // In the middle, where the range begins, every call comes by here. At its first index it is marked, and passed over from then on.
                Spot::Leaf(leaf, index)
                    if offset(index, 0) != 0 && is_full_behind(Leaf::Full(leaf), index) =>
                {
                    Err(Leaf::Full(leaf).range_last().checked_add(1))
                }
                Spot::Leaf(leaf, index) => {
                    let section = FillLowest { index, high, value };
                    self.at(Leaf::Full(leaf), section).unwrap_or(Err(Some(index)))
                }
                Spot::Absent(index) if index <= high => self.try_put(index, value),
                Spot::Absent(_) => Err(None),
                Spot::Behind(next) => Err(next),
            };
            match outcome {
                Ok(index) => return Some(index),
                Err(behind) => next = behind,
            }
        }
        None
    }

    /// Inserts where there was no entry, and no full leaf most likely; where to look on, if there is an entry now.
    fn try_put(&mut self, index: u64, value: Word) -> Result<u64, Option<u64>> {
        let entry = Entry { value, tags: TagSet::EMPTY };
        match self.insert(Insertion { index, entry, overwrite: false }) {
            Inserted::New | Inserted::Replaced(_) => Ok(index),
            Inserted::Occupied(_) => Err(index.checked_add(1)),
        }
    }

    /// Has no solid bit left above a locked leaf that is solid, nor in it: an entry is about to go.
    #[cold]
    #[inline(never)]
    pub(super) fn clear_solid(&mut self, leaf: &impl LockedLeaf<'g>) {
        let above = leaf.lock_parent(self.tree, self.guard);
        self.clear_group(&above, leaf.place());
        // While the parent is locked: else another could find the leaf solid and set the bit again.
        leaf.set_solid(false);
    }

    /// Clears the bit of the group in which `place` lies, after all bits above it: ancestors first.
    fn clear_group(&mut self, above: &Above<'g>, place: u64) {
        let Above::Node(node) = above else { return };
        let (groups, bit) = (node.solid_guarded(), group::of(above.offset(place)));
        if groups == group::ALL {
            // Locked until the bit is cleared, for the same reason.
            let higher = node.lock_parent(self.tree, self.guard);
            self.clear_group(&higher, node.place());
            node.set_solid(groups & !bit);
        } else if groups & bit != 0 {
            node.set_solid(groups & !bit);
        }
    }
}

/// Whether a leaf has an entry at every index from this one on, and could not be marked as solid, at one instant.
#[inline]
fn is_full_behind(leaf: Leaf<'_>, index: u64) -> bool {
    let absent = !leaf.occupied();
    absent != 0 && absent & from(offset(index, 0)) == 0
}

/// Fills the lowest empty slot of a full leaf from an index on, and marks the leaf if it is solid.
struct FillLowest {
    index: u64,
    high: u64,
    value: Word,
}

impl<'g> Section<'g> for FillLowest {
    /// The index, or where to look on.
    type Done = Result<u64, Option<u64>>;

    #[inline]
    fn run(self, _op: &mut Op<'g>, leaf: &impl LockedLeaf<'g>) -> Self::Done {
        let present = leaf.present();
        let mut done = Err(leaf.range_last().checked_add(1));
        let empty = !present & from(offset(self.index, 0));
        if empty != 0 {
            let slot = lowest(empty);
            let index = leaf.base() + slot as u64;
            if index > self.high {
                return Err(None);
            }
            leaf.fill(slot, self.value);
            done = Ok(index);
        }
        if leaf.present() == ALL_SLOTS && !leaf.is_solid() {
            leaf.set_solid(true);
        }
        done
    }
}

/// Sets the bit of the group around a slot, if all children in it are solid. Small nodes have no groups.
#[cold]
fn mark_group(Unmarked { node, offset }: Unmarked<'_>, guard: &Guard) {
    let level = node.level();
    let mut slots = group::around(offset);
    // A look without the lock first: most often some child in front of the search is not solid.
    if !node.is_full() || !slots.clone().all(|slot| is_solid(node.edge(slot), level - 1, guard)) {
        return;
    }
    let node = node.lock();
    if !node.is_dead() && slots.all(|slot| is_solid(node.edge(slot), level - 1, guard)) {
        node.set_solid(node.solid_guarded() | group::of(offset));
    }
}
