//! Changes of the entries of a list of indices: one section for each run of the list that lies in one leaf.

use super::ranges::tag_slots;
use super::section::{Op, Section};
use crate::raw::link::locked::LockedLeaf;
use crate::raw::node::index::{bit, offset, prefix};
use crate::tag::TagSet;

impl Op<'_> {
    /// Sets and clears tags of the entries at `indices`. Returns how many entries changed. The list is read outside all
    /// sections.
    pub(crate) fn tag_indices(&mut self, mut indices: &[u64], set: TagSet, clear: TagSet) -> u64 {
        let mut count = 0;
        while let Some(&first) = indices.first() {
            let here = |index: &&u64| prefix(**index, 0) == prefix(first, 0);
            let (run, rest) = indices.split_at(indices.iter().take_while(here).count());
            let slots = run.iter().fold(0, |slots, index| slots | bit(offset(*index, 0)));
            count += self.tag_run(first, TagRun { slots, set, clear: clear - set });
            indices = rest;
        }
        count
    }

    /// Does so in the leaf whose range has `index`, if there is one.
    fn tag_run(&mut self, index: u64, run: TagRun) -> u64 {
        loop {
            let Some(leaf) = self.tree.find_leaf_of_range(index, self.guard) else { return 0 };
            if let Some(count) = self.at(leaf, run) {
                return count;
            }
        }
    }
}

/// Sets and clears tags of the entries in some slots; no tag is in both sets.
#[derive(Clone, Copy)]
struct TagRun {
    slots: u64,
    set: TagSet,
    clear: TagSet,
}

impl<'g> Section<'g> for TagRun {
    /// How many changed.
    type Done = u64;

    #[inline]
    fn run(self, op: &mut Op<'g>, leaf: &impl LockedLeaf<'g>) -> u64 {
        tag_slots(op, leaf, leaf.present() & self.slots, self.set, self.clear)
    }
}
