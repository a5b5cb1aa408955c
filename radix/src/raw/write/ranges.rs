//! Changes of all entries of a range, leaf after leaf: removal and tags.

use core::cell::Cell;

use arrayvec::ArrayVec;

use super::section::{Op, Section};
use crate::raw::link::locked::LockedLeaf;
use crate::raw::node::index::{FANOUT, leaf_bits, lowest};
use crate::raw::node::word::Word;
use crate::tag::{Tag, TagFilter, TagSet};

/// Both ends included.
type IndexRange = (u64, u64);

impl Op<'_> {
    /// Removes all entries in a range and hands their values to `removed`, leaf by leaf, outside all sections. Returns
    /// their number.
    pub(crate) fn remove_range(
        &mut self,
        range: IndexRange,
        mut removed: impl FnMut(ArrayVec<Word, FANOUT>),
    ) -> u64 {
        let mut count = 0;
        let section = |at| Remove { range: (at, range.1) };
        self.for_leaves(range, TagFilter::ANY, section, |values, next| {
            count += values.len() as u64;
            removed(values);
            (next, false)
        });
        count
    }

    /// Sets and clears tags of all entries in a range. Returns how many entries changed.
    pub(crate) fn tag_range(&mut self, range: IndexRange, set: TagSet, clear: TagSet) -> u64 {
        let mut count = 0;
        let section = |at| TagEntries { range: (at, range.1), set, clear: clear - set };
        self.for_leaves(range, TagFilter::ANY, section, |changed, next| {
            count += changed;
            (next, false)
        });
        count
    }

    /// Sets `to` on entries of a range that have `from`, at most `limit` of them. Returns how many got it and where to go on.
    pub(crate) fn tag_range_if_tagged(
        &mut self,
        range: IndexRange,
        (from, to): (Tag, Tag),
        limit: u64,
    ) -> (u64, Option<u64>) {
        if limit == 0 {
            return (0, Some(range.0));
        }
        let count = Cell::new(0);
        let section = |at| CopyTag { range: (at, range.1), from, to, room: limit - count.get() };
        let rest = self.for_leaves(range, from.into(), section, |(taken, next), _| {
            count.set(count.get() + taken);
            (next, count.get() >= limit)
        });
        (count.get(), rest)
    }
}

/// Removes the entries of a range.
struct Remove {
    range: IndexRange,
}

impl<'g> Section<'g> for Remove {
    type Done = ArrayVec<Word, FANOUT>;

    /// Tags, slots, present, and only then lower.
    fn run(self, op: &mut Op<'g>, leaf: &impl LockedLeaf<'g>) -> Self::Done {
        let bits = leaf_bits(leaf.base(), self.range.0, self.range.1);
        let mut values = ArrayVec::new();
        leaf.clear_bits(TagSet::ALL, bits);
        let mut rest = leaf.present() & bits;
        if rest != 0 && leaf.is_solid() {
            op.clear_solid(leaf);
        }
        while rest != 0 {
            let offset = lowest(rest);
            values.extend(leaf.value(offset));
            leaf.set_value(offset, None);
            rest &= rest - 1;
        }
        leaf.set_present(leaf.present() & !bits);
        if leaf.present() == 0 {
            op.unlink_if_empty(leaf);
        } else {
            op.lower_all(leaf, TagSet::ALL);
        }
        values
    }
}

/// Sets and clears tags of the entries of a range; no tag is in both sets.
struct TagEntries {
    range: IndexRange,
    set: TagSet,
    clear: TagSet,
}

impl<'g> Section<'g> for TagEntries {
    /// How many changed.
    type Done = u64;

    #[inline]
    fn run(self, op: &mut Op<'g>, leaf: &impl LockedLeaf<'g>) -> u64 {
        let bits = leaf.present() & leaf_bits(leaf.base(), self.range.0, self.range.1);
        tag_slots(op, leaf, bits, self.set, self.clear)
    }
}

/// Sets and clears tags of the entries in slots that are occupied; no tag is in both sets. How many changed.
#[inline]
pub(super) fn tag_slots<'g>(
    op: &mut Op<'g>,
    leaf: &impl LockedLeaf<'g>,
    bits: u64,
    set: TagSet,
    clear: TagSet,
) -> u64 {
    let gain = |tag: Tag| bits & !leaf.word(tag);
    let loss = |tag: Tag| bits & leaf.word(tag);
    let set: TagSet = set.iter().filter(|&tag| gain(tag) != 0).collect();
    let changed = set.iter().fold(0, |word, tag| word | gain(tag))
        | clear.iter().fold(0, |word, tag| word | loss(tag));
    op.raise_all(leaf, set);
    leaf.clear_bits(clear, bits);
    leaf.set_bits(set, bits);
    op.lower_all(leaf, clear);
    u64::from(changed.count_ones())
}

/// Sets `to` on the entries of a range that have `from`, at most `room` of them.
struct CopyTag {
    range: IndexRange,
    from: Tag,
    to: Tag,
    room: u64,
}

impl<'g> Section<'g> for CopyTag {
    /// How many got it, and where to go on.
    type Done = (u64, Option<u64>);

    #[inline]
    fn run(self, op: &mut Op<'g>, leaf: &impl LockedLeaf<'g>) -> Self::Done {
        let (from, old) = (leaf.word(self.from), leaf.word(self.to));
        let new = from & !old & leaf_bits(leaf.base(), self.range.0, self.range.1);
        let taken = lowest_bits(new, self.room);
        if taken != 0 {
            op.raise_all(leaf, self.to.into());
            leaf.set_bits(self.to.into(), taken);
        }
        let next = match new & !taken {
            0 => leaf.range_last().checked_add(1),
            rest => Some(leaf.base() + lowest(rest) as u64),
        };
        (taken.count_ones().into(), next)
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
