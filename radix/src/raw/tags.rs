//! Tag words, and the one way to change an entry: raise, change, lower.

use super::index::{bit, offset};
use super::node::{Locked, Word};
use super::{Above, Entry, Tree};
use crate::reclaim::Guard;
use crate::tag::{Tag, TagSet, TagUpdate, TreeEdges};

/// What happens to an entry's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NewValue {
    Keep,
    Store(Word),
    Remove,
}

/// One change of one entry. A tag in both sets ends up set. Removing drops all tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    pub(crate) value: NewValue,
    pub(crate) set: TagSet,
    pub(crate) clear: TagSet,
}

impl Tree {
    /// Locks the node that links to `child`, whose lock the caller holds (rule 3).
    #[inline]
    pub(super) fn lock_parent<'g>(&'g self, child: &Locked<'g>, guard: &'g Guard) -> Above<'g> {
        loop {
            let parent = child.parent();
            // SAFETY: read from a node reached under `guard`.
            let above = unsafe { Above::lock(self, parent, guard) };
            if child.parent() == parent {
                return above;
            }
        }
    }

    /// Makes the bits above `child` set. The caller holds `child`, whose words for `tags` are 0.
    pub(super) fn raise<'g>(
        &'g self,
        child: &Locked<'g>,
        tags: TagSet,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) {
        let above = self.lock_parent(child, guard);
        let offset = above.offset(child.base());
        self.set_above(&above, offset, tags, told, guard);
    }

    /// Sets bit `offset` of the words of `above`, after all bits above it: ancestors first.
    pub(super) fn set_above<'g>(
        &'g self,
        above: &Above<'g>,
        offset: usize,
        tags: TagSet,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) {
        let words = above.tags();
        let new: TagSet = tags.iter().filter(|&tag| words.load(tag) & bit(offset) == 0).collect();
        let first: TagSet = new.iter().filter(|&tag| words.load(tag) == 0).collect();
        if !first.is_empty() {
            match above {
                Above::Root(_) => told.tagged = told.tagged | first,
                Above::Node(node) => self.raise(node, first, told, guard),
            }
        }
        for tag in new {
            words.store(tag, words.load(tag) | bit(offset));
        }
    }

    /// Clears the bits above `child`, upward while words become 0. The caller holds `child`, whose words for `tags`
    /// are 0, and has changed all it wants to change: ancestors last.
    pub(super) fn lower<'g>(
        &'g self,
        child: &Locked<'g>,
        tags: TagSet,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) {
        let above = self.lock_parent(child, guard);
        let bit = bit(above.offset(child.base()));
        let words = above.tags();
        let mut last = TagSet::EMPTY;
        for tag in tags {
            let word = words.load(tag);
            if word & bit != 0 {
                words.store(tag, word & !bit);
                if word == bit {
                    last = last.with(tag);
                }
            }
        }
        if !last.is_empty() {
            match &above {
                Above::Root(_) => told.untagged = told.untagged | last,
                Above::Node(node) => self.lower(node, last, told, guard),
            }
        }
    }

    /// Changes the entry of `index` in `leaf`, which the caller has locked and which covers the index.
    pub(super) fn change<'g>(
        &'g self,
        leaf: &Locked<'g>,
        index: u64,
        change: Change,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) {
        let offset = offset(index, 0);
        let bit = bit(offset);
        let has = leaf.tags().at(bit);
        let (set, clear) = match change.value {
            NewValue::Remove => (TagSet::EMPTY, has),
            NewValue::Keep | NewValue::Store(_) => {
                (change.set - has, has & (change.clear - change.set))
            }
        };
        self.raise_for(leaf, set, told, guard);
        let emptied = leaf.clear_bits(clear, bit);
        match change.value {
            NewValue::Keep => {}
            NewValue::Store(value) => {
                let present = leaf.present();
                if present & bit == 0 {
                    leaf.set_present(present | bit);
                }
                leaf.slot(offset).set_value(Some(value));
            }
            NewValue::Remove => {
                leaf.slot(offset).set_value(None);
                leaf.set_present(leaf.present() & !bit);
            }
        }
        leaf.set_bits(set, bit);
        if !emptied.is_empty() {
            self.lower(leaf, emptied, told, guard);
        }
    }

    /// The first step of a change: raises those of `set` that no entry of the leaf has yet.
    #[inline]
    pub(super) fn raise_for<'g>(
        &'g self,
        leaf: &Locked<'g>,
        set: TagSet,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) {
        let fresh: TagSet = set.iter().filter(|&tag| leaf.tags().load(tag) == 0).collect();
        if !fresh.is_empty() {
            self.raise(leaf, fresh, told, guard);
        }
    }

    /// Sets and clears tags of the entry at `index`; a tag in both sets ends up set. `None` if there is no entry.
    pub(crate) fn update_tags(
        &self,
        index: u64,
        set: TagSet,
        clear: TagSet,
        guard: &Guard,
    ) -> Option<TagUpdate> {
        let leaf = self.lock_leaf(index, guard)?;
        let Entry { tags: before, .. } = leaf.entry(index)?;
        let after = (before - clear) | set;
        let mut tree_edges = TreeEdges::default();
        if after != before {
            let change = Change { value: NewValue::Keep, set, clear };
            self.change(&leaf, index, change, &mut tree_edges, guard);
        }
        Some(TagUpdate { before, after, tree_edges })
    }

    /// Sets `tag` on the entry at `index`; whether it was clear before. A tag that is set already takes no lock.
    #[inline]
    pub(crate) fn set_tag(
        &self,
        index: u64,
        tag: Tag,
        told: &mut TreeEdges,
        guard: &Guard,
    ) -> Option<bool> {
        let leaf = self.find_leaf(index, guard)?;
        if leaf.tags().load(tag) & bit(offset(index, 0)) != 0 {
            return Some(false);
        }
        let update = self.update_tags(index, tag.into(), TagSet::EMPTY, guard)?;
        told.add(update.tree_edges);
        Some(!update.before.contains(tag))
    }

    /// Runs `section` on a copy of the entry and applies its outcome, all in one section of the leaf.
    ///
    /// Returns what `section` returned and the value that left the tree, if one did. Nothing is applied if `section`
    /// panics.
    pub(crate) fn update<R>(
        &self,
        index: u64,
        section: impl FnOnce(Entry) -> (Change, R),
        told: &mut TreeEdges,
        guard: &Guard,
    ) -> Option<(R, Option<Word>)> {
        let leaf = self.lock_leaf(index, guard)?;
        let entry = leaf.entry(index)?;
        let (change, result) = section(entry);
        self.change(&leaf, index, change, told, guard);
        let left = (change.value != NewValue::Keep).then_some(entry.value);
        if change.value == NewValue::Remove {
            self.unlink_if_empty(&leaf, guard);
        }
        Some((result, left))
    }
}

impl Locked<'_> {
    /// The entry of `index`, which this leaf covers.
    #[inline]
    pub(super) fn entry(&self, index: u64) -> Option<Entry> {
        let offset = offset(index, 0);
        let value = self.slot(offset).value()?;
        Some(Entry { value, tags: self.tags().at(bit(offset)) })
    }

    /// Clears `bits` in the words of `tags`; which words became 0 by that.
    #[inline]
    pub(super) fn clear_bits(&self, tags: TagSet, bits: u64) -> TagSet {
        let mut emptied = TagSet::EMPTY;
        for tag in tags {
            let word = self.tags().load(tag);
            if word & bits != 0 {
                self.tags().store(tag, word & !bits);
                if word & !bits == 0 {
                    emptied = emptied.with(tag);
                }
            }
        }
        emptied
    }

    /// Sets `bits` in the words of `tags`. The summaries have been raised.
    #[inline]
    pub(super) fn set_bits(&self, tags: TagSet, bits: u64) {
        for tag in tags {
            self.tags().store(tag, self.tags().load(tag) | bits);
        }
    }
}
