//! Removal: of an entry, of an empty leaf, and the splice of a node with one child.

use arrayvec::ArrayVec;

use super::child::{Below, Child};
use super::edge::Edge;
use super::index::{FANOUT, bit, leaf_bits, lowest};
use super::inner::LockedInner;
use super::leaf::{AnyLeaf, LockedLeaf};
use super::node::Word;
use super::tags::Entries;
use super::walk::Walk;
use super::{Above, Change, Entry, NewValue, Tree};
use crate::reclaim::Guard;
use crate::tag::{Tag, TagFilter, TagSet, TreeEdges};

/// Removing, as a change.
pub(crate) const REMOVE: Change =
    Change { value: NewValue::Remove, set: TagSet::EMPTY, clear: TagSet::EMPTY };

impl Tree {
    /// Removes the entry at `index` and returns its value.
    pub(crate) fn remove(&self, index: u64, told: &mut TreeEdges, guard: &Guard) -> Option<Word> {
        let (_, removed) = self.update(index, |_| (REMOVE, ()), told, guard)?;
        removed
    }

    /// Replaces or removes the entry at `index` if it is still `expected`; returns the value that left, or what is there.
    pub(crate) fn change_if(
        &self,
        index: u64,
        expected: Entry,
        change: Change,
        told: &mut TreeEdges,
        guard: &Guard,
    ) -> Result<Word, Option<Entry>> {
        match self.lock_leaf(index, guard).ok_or(None)? {
            AnyLeaf::Full(leaf) => self.change_if_in(&leaf, index, expected, change, told, guard),
            AnyLeaf::Single(leaf) => self.change_if_in(&leaf, index, expected, change, told, guard),
        }
    }

    #[inline]
    fn change_if_in<'g>(
        &'g self,
        leaf: &impl LockedLeaf<'g>,
        index: u64,
        expected: Entry,
        change: Change,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) -> Result<Word, Option<Entry>> {
        let entry = leaf.entry(index).ok_or(None)?;
        if entry != expected {
            return Err(Some(entry));
        }
        self.change(leaf, index, change, told, guard);
        if change.value == NewValue::Remove {
            self.unlink_if_empty(leaf, guard);
        }
        Ok(entry.value)
    }

    /// Removes all entries in `low..=high` and hands their values to `removed`, leaf by leaf, outside all sections. Returns
    /// their number.
    pub(crate) fn remove_range(
        &self,
        low: u64,
        high: u64,
        mut removed: impl FnMut(ArrayVec<Word, FANOUT>),
        told: &mut TreeEdges,
        guard: &Guard,
    ) -> u64 {
        let (mut walk, mut at, mut count) = (Walk::new(self, TagFilter::ANY, guard), low, 0);
        while let Some(leaf) = walk.next_leaf(at).filter(|leaf| leaf.first() <= high) {
            let mut values = ArrayVec::<Word, FANOUT>::new();
            let last = leaf.range_last();
            let alive = match leaf.lock() {
                AnyLeaf::Full(leaf) => self.remove_in(&leaf, (at, high), &mut values, told, guard),
                AnyLeaf::Single(leaf) => {
                    self.remove_in(&leaf, (at, high), &mut values, told, guard)
                }
            };
            if !alive {
                walk.restart();
                continue;
            }
            count += values.len() as u64;
            removed(values);
            match last.checked_add(1) {
                Some(next) if next <= high => at = next,
                _ => break,
            }
        }
        count
    }

    /// Removes the entries of a locked leaf that lie in a range; false if it is dead.
    fn remove_in<'g>(
        &'g self,
        leaf: &impl LockedLeaf<'g>,
        (low, high): (u64, u64),
        values: &mut ArrayVec<Word, FANOUT>,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) -> bool {
        if leaf.is_dead() {
            return false;
        }
        self.remove_bits(leaf, leaf_bits(leaf.base(), low, high), values, told, guard);
        self.unlink_if_empty(leaf, guard);
        true
    }

    /// Removes the entries at `bits` of a locked leaf: tags, slots, present, and only then lower.
    fn remove_bits<'g>(
        &'g self,
        leaf: &impl LockedLeaf<'g>,
        bits: u64,
        values: &mut ArrayVec<Word, FANOUT>,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) {
        let emptied = leaf.clear_bits(TagSet::ALL, bits);
        let mut rest = leaf.present() & bits;
        while rest != 0 {
            let offset = lowest(rest);
            values.extend(leaf.value(offset));
            leaf.set_value(offset, None);
            rest &= rest - 1;
        }
        leaf.set_present(leaf.present() & !bits);
        self.lower_all(leaf, emptied, told, guard);
    }

    /// Unlinks and retires a locked leaf if it has become empty.
    #[inline]
    pub(super) fn unlink_if_empty<'g>(&'g self, leaf: &impl LockedLeaf<'g>, guard: &'g Guard) {
        if leaf.present() == 0 && !leaf.is_dead() {
            self.unlink(leaf, guard);
        }
    }

    #[cold]
    fn unlink<'g>(&'g self, leaf: &impl LockedLeaf<'g>, guard: &'g Guard) {
        let above = leaf.lock_parent(self, guard);
        let offset = above.offset(leaf.place());
        // Not before the parent is locked (I-DEAD): a splice of the parent would link a dead leaf.
        leaf.set_dead();
        above.set_edge(offset, Edge::NULL);
        // SAFETY: unlinked in the line above, by the holder of both locks (I-RETIRE).
        unsafe { leaf.retire(guard) };
        let Above::Node(node) = &above else { return };
        let present = node.present() & !bit(offset);
        node.set_present(present);
        if present.is_power_of_two() {
            self.splice(node, lowest(present), guard);
        }
    }

    /// Takes out a locked node whose only child is the one at `offset`.
    fn splice<'g>(&'g self, node: &LockedInner<'g>, offset: usize, guard: &'g Guard) {
        // SAFETY: a slot whose present bit is set holds an edge while the node is locked; read under `guard`.
        let child = unsafe { Child::of(node.edge(offset), guard) };
        let above = node.lock_parent(self, guard);
        node.set_dead();
        child.set_parent(above.name());
        above.set_edge(above.offset(node.base()), above.edge_to(child));
        // SAFETY: the line above unlinked it, by the holder of both locks (I-RETIRE).
        unsafe { node.node().retire(guard) };
    }

    /// In every leaf of `low..=high`: sets and clears tags of all entries. Returns how many entries changed.
    pub(crate) fn tag_range(
        &self,
        low: u64,
        high: u64,
        set: TagSet,
        clear: TagSet,
        told: &mut TreeEdges,
        guard: &Guard,
    ) -> u64 {
        let clear = clear - set;
        let (mut walk, mut at, mut count) = (Walk::new(self, TagFilter::ANY, guard), low, 0);
        while let Some(leaf) = walk.next_leaf(at).filter(|leaf| leaf.first() <= high) {
            let changed = match leaf.lock() {
                AnyLeaf::Full(leaf) => self.tag_in(&leaf, (at, high), set, clear, told, guard),
                AnyLeaf::Single(leaf) => self.tag_in(&leaf, (at, high), set, clear, told, guard),
            };
            let Some(changed) = changed else {
                walk.restart();
                continue;
            };
            count += changed;
            match leaf.range_last().checked_add(1) {
                Some(next) if next <= high => at = next,
                _ => break,
            }
        }
        count
    }

    /// Sets and clears tags of the entries of a locked leaf that lie in a range; how many changed, or `None` if it is dead.
    #[inline]
    fn tag_in<'g>(
        &'g self,
        leaf: &impl LockedLeaf<'g>,
        (low, high): (u64, u64),
        set: TagSet,
        clear: TagSet,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) -> Option<u64> {
        if leaf.is_dead() {
            return None;
        }
        let bits = leaf.present() & leaf_bits(leaf.base(), low, high);
        let gain = |tag: Tag| bits & !leaf.word(tag);
        let loss = |tag: Tag| bits & leaf.word(tag);
        let set: TagSet = set.iter().filter(|&tag| gain(tag) != 0).collect();
        let changed = set.iter().fold(0, |word, tag| word | gain(tag))
            | clear.iter().fold(0, |word, tag| word | loss(tag));
        self.raise_for(leaf, set, told, guard);
        let emptied = leaf.clear_bits(clear, bits);
        leaf.set_bits(set, bits);
        self.lower_all(leaf, emptied, told, guard);
        Some(u64::from(changed.count_ones()))
    }

    /// Sets `to` on entries of `low..=high` that have `from`, at most `limit` of them. Returns how many got it and
    /// where to go on.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the public function, and two")]
    pub(crate) fn tag_range_if_tagged(
        &self,
        low: u64,
        high: u64,
        from: Tag,
        to: Tag,
        limit: u64,
        told: &mut TreeEdges,
        guard: &Guard,
    ) -> (u64, Option<u64>) {
        let (mut walk, mut at, mut count) = (Walk::new(self, from.into(), guard), low, 0);
        while count < limit {
            let Some(leaf) = walk.next_leaf(at).filter(|leaf| leaf.first() <= high) else {
                return (count, None);
            };
            let (range, room) = ((at, high), limit - count);
            let done = match leaf.lock() {
                AnyLeaf::Full(leaf) => self.copy_in(&leaf, range, (from, to), room, told, guard),
                AnyLeaf::Single(leaf) => self.copy_in(&leaf, range, (from, to), room, told, guard),
            };
            let Some((taken, next)) = done else {
                walk.restart();
                continue;
            };
            count += taken;
            match next {
                Some(next) if next <= high => at = next,
                _ => return (count, None),
            }
        }
        (count, Some(at))
    }

    /// Sets `to` on the entries of a locked leaf that lie in a range and have `from`, at most `room` of them. How many got it and
    /// where to go on, or `None` if the leaf is dead.
    #[inline]
    fn copy_in<'g>(
        &'g self,
        leaf: &impl LockedLeaf<'g>,
        (low, high): (u64, u64),
        (from, to): (Tag, Tag),
        room: u64,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) -> Option<(u64, Option<u64>)> {
        if leaf.is_dead() {
            return None;
        }
        let (from, old) = (leaf.word(from), leaf.word(to));
        let new = from & !old & leaf_bits(leaf.base(), low, high);
        let taken = lowest_bits(new, room);
        if taken != 0 {
            self.raise_for(leaf, to.into(), told, guard);
            leaf.set_bits(to.into(), taken);
        }
        let next = match new & !taken {
            0 => leaf.range_last().checked_add(1),
            rest => Some(leaf.base() + lowest(rest) as u64),
        };
        Some((taken.count_ones().into(), next))
    }
}

/// The lowest `limit` bits of a word that are set.
fn lowest_bits(mut word: u64, limit: u64) -> u64 {
    let all = word;
    if u64::from(word.count_ones()) <= limit {
        return all;
    }
    for _ in 0..limit {
        word &= word - 1;
    }
    all & !word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_bits_takes_no_more_than_asked() {
        assert_eq!(lowest_bits(0b1011_0100, 2), 0b0001_0100);
        assert_eq!(lowest_bits(0b1011_0100, 0), 0);
        assert_eq!(lowest_bits(u64::MAX, 64), u64::MAX);
        assert_eq!(lowest_bits(0, 5), 0);
    }
}
