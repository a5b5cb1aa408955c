//! What passes a filter in one leaf, read as a whole before any of it is handed on: no user's code runs while it is read.

use arrayvec::ArrayVec;

use crate::raw::node::full::Node;
use crate::raw::node::index::{FANOUT, bit, lowest};
use crate::raw::node::word::{Entry, Word};
use crate::tag::{Tag, TagFilter, TagSet};

/// What passed in one leaf at one instant.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// The slots.
    slots: u64,
    /// Their values, in order.
    values: ArrayVec<Word, FANOUT>,
    /// The leaf's tag words.
    tags: [u64; Tag::COUNT],
}

impl Passed {
    /// Reads those of `slots` that pass `filter`, as they were at one instant.
    #[inline]
    pub(super) fn read_at_one_instant(&mut self, leaf: &Node, slots: u64, filter: TagFilter) {
        leaf.at_one_instant(|_| self.read(leaf, slots, filter));
    }

    /// What this finds belongs together only under the leaf's version or its lock.
    #[inline]
    pub(super) fn read(&mut self, leaf: &Node, slots: u64, filter: TagFilter) {
        self.slots = 0;
        self.values.clear();
        self.tags = Tag::all().map(|tag| leaf.tags().load(tag));
        let mut rest = leaf.matching(filter) & slots;
        while rest != 0 {
            let offset = lowest(rest);
            if let Some(value) = leaf.value(offset) {
                self.slots |= bit(offset);
                self.values.push(value);
            }
            rest &= rest - 1;
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The number of entries.
    #[cfg(feature = "rayon")]
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Folds what was read of the leaf at `base`.
    #[inline]
    pub(super) fn give<B>(
        &self,
        base: u64,
        init: B,
        mut each: impl FnMut(B, (u64, Entry)) -> B,
    ) -> B {
        let (mut rest, mut result) = (self.slots, init);
        for value in &self.values {
            let offset = lowest(rest);
            rest &= rest - 1;
            let mut tags = TagSet::EMPTY;
            for (tag, word) in Tag::all().into_iter().zip(self.tags) {
                if word & bit(offset) != 0 {
                    tags = tags.with(tag);
                }
            }
            result = each(result, (base + offset as u64, Entry { value: *value, tags }));
        }
        result
    }
}
