//! Tag words, and the one way to change an entry: raise, change, lower.

use super::child::Below;
use super::index::{bit, offset};
use super::leaf::{AnyLeaf, LockedLeaf};
use super::node::Word;
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
    /// Makes the bits above `child` set. The caller holds `child`, whose word for `tag` is 0.
    pub(super) fn raise<'g>(
        &'g self,
        child: &impl Below<'g>,
        tag: Tag,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) {
        let above = child.lock_parent(self, guard);
        let offset = above.offset(child.place());
        self.set_above(&above, offset, tag, told, guard);
    }

    /// Sets bit `offset` of the word of `above`, after all bits above it: ancestors first.
    pub(super) fn set_above<'g>(
        &'g self,
        above: &Above<'g>,
        offset: usize,
        tag: Tag,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) {
        let word = above.word(tag);
        if word & bit(offset) != 0 {
            return;
        }
        if word == 0 {
            match above {
                Above::Root(_) => told.tagged = told.tagged.with(tag),
                Above::Node(node) => self.raise(node, tag, told, guard),
            }
        }
        above.tags().store(tag, word | bit(offset));
    }

    /// Clears the bits above `child`, upward while words become 0. The caller holds `child`, whose word for `tag` is 0,
    /// and has changed all it wants to change: ancestors last.
    pub(super) fn lower<'g>(
        &'g self,
        child: &impl Below<'g>,
        tag: Tag,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) {
        let above = child.lock_parent(self, guard);
        let bit = bit(above.offset(child.place()));
        let word = above.word(tag);
        if word & bit == 0 {
            return;
        }
        above.tags().store(tag, word & !bit);
        if word == bit {
            match &above {
                Above::Root(_) => told.untagged = told.untagged.with(tag),
                Above::Node(node) => self.lower(node, tag, told, guard),
            }
        }
    }

    /// The last step of a change: lowers these tags, of which no entry of the leaf is left.
    #[inline]
    pub(super) fn lower_all<'g>(
        &'g self,
        leaf: &impl LockedLeaf<'g>,
        emptied: TagSet,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) {
        for tag in emptied {
            self.lower(leaf, tag, told, guard);
        }
    }

    /// Changes the entry of `index` in `leaf`, which the caller has locked and which covers the index.
    pub(super) fn change<'g>(
        &'g self,
        leaf: &impl LockedLeaf<'g>,
        index: u64,
        change: Change,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) {
        let offset = offset(index, 0);
        let bit = bit(offset);
        let has = leaf.tags_at(bit);
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
            NewValue::Store(value) => leaf.fill(offset, value),
            NewValue::Remove => {
                leaf.set_value(offset, None);
                leaf.set_present(leaf.present() & !bit);
            }
        }
        leaf.set_bits(set, bit);
        self.lower_all(leaf, emptied, told, guard);
    }

    /// The first step of a change: raises those of `set` that no entry of the leaf has yet.
    #[inline]
    pub(super) fn raise_for<'g>(
        &'g self,
        leaf: &impl LockedLeaf<'g>,
        set: TagSet,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) {
        for tag in set {
            if leaf.word(tag) == 0 {
                self.raise(leaf, tag, told, guard);
            }
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
        match self.lock_leaf(index, guard)? {
            AnyLeaf::Full(leaf) => self.update_tags_in(&leaf, index, set, clear, guard),
            AnyLeaf::Single(leaf) => self.update_tags_in(&leaf, index, set, clear, guard),
        }
    }

    #[inline]
    fn update_tags_in<'g>(
        &'g self,
        leaf: &impl LockedLeaf<'g>,
        index: u64,
        set: TagSet,
        clear: TagSet,
        guard: &'g Guard,
    ) -> Option<TagUpdate> {
        let Entry { tags: before, .. } = leaf.entry(index)?;
        let after = (before - clear) | set;
        let mut tree_edges = TreeEdges::default();
        if after != before {
            let change = Change { value: NewValue::Keep, set, clear };
            self.change(leaf, index, change, &mut tree_edges, guard);
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
        loop {
            let leaf = self.find_leaf(index, guard)?;
            if leaf.shows_tag(index, tag) {
                return Some(false);
            }
            match leaf.lock() {
                AnyLeaf::Full(leaf) if !leaf.is_dead() => {
                    return self.set_tag_in(&leaf, index, tag, told, guard);
                }
                AnyLeaf::Single(leaf) if !leaf.is_dead() => {
                    return self.set_tag_in(&leaf, index, tag, told, guard);
                }
                AnyLeaf::Full(_) | AnyLeaf::Single(_) => {}
            }
        }
    }

    #[inline]
    fn set_tag_in<'g>(
        &'g self,
        leaf: &impl LockedLeaf<'g>,
        index: u64,
        tag: Tag,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) -> Option<bool> {
        let bit = bit(offset(index, 0));
        leaf.value(offset(index, 0))?;
        let word = leaf.word(tag);
        if word & bit != 0 {
            return Some(false);
        }
        if word == 0 {
            self.raise(leaf, tag, told, guard);
        }
        leaf.set_word(tag, word | bit);
        Some(true)
    }

    /// Clears `tag` on the entry at `index`; whether it was set before.
    #[inline]
    pub(crate) fn clear_tag(
        &self,
        index: u64,
        tag: Tag,
        told: &mut TreeEdges,
        guard: &Guard,
    ) -> Option<bool> {
        match self.lock_leaf(index, guard)? {
            AnyLeaf::Full(leaf) => self.clear_tag_in(&leaf, index, tag, told, guard),
            AnyLeaf::Single(leaf) => self.clear_tag_in(&leaf, index, tag, told, guard),
        }
    }

    #[inline]
    fn clear_tag_in<'g>(
        &'g self,
        leaf: &impl LockedLeaf<'g>,
        index: u64,
        tag: Tag,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) -> Option<bool> {
        let bit = bit(offset(index, 0));
        leaf.value(offset(index, 0))?;
        let word = leaf.word(tag);
        if word & bit == 0 {
            return Some(false);
        }
        leaf.set_word(tag, word & !bit);
        if word == bit {
            self.lower(leaf, tag, told, guard);
        }
        Some(true)
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
        match self.lock_leaf(index, guard)? {
            AnyLeaf::Full(leaf) => self.update_in(&leaf, index, section, told, guard),
            AnyLeaf::Single(leaf) => self.update_in(&leaf, index, section, told, guard),
        }
    }

    #[inline]
    fn update_in<'g, R>(
        &'g self,
        leaf: &impl LockedLeaf<'g>,
        index: u64,
        section: impl FnOnce(Entry) -> (Change, R),
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) -> Option<(R, Option<Word>)> {
        let entry = leaf.entry(index)?;
        let (change, result) = section(entry);
        self.change(leaf, index, change, told, guard);
        let left = (change.value != NewValue::Keep).then_some(entry.value);
        if change.value == NewValue::Remove {
            self.unlink_if_empty(leaf, guard);
        }
        Some((result, left))
    }
}

/// What is done to the entries of a locked leaf.
pub(super) trait Entries<'g>: LockedLeaf<'g> {
    /// The entry of `index`, which this leaf covers.
    #[inline]
    fn entry(&self, index: u64) -> Option<Entry> {
        let offset = offset(index, 0);
        let value = self.value(offset)?;
        Some(Entry { value, tags: self.tags_at(bit(offset)) })
    }

    /// Puts a value into a slot of a leaf: the present bit first.
    #[inline]
    fn fill(&self, offset: usize, value: Word) {
        let present = self.present();
        if present & bit(offset) == 0 {
            self.set_present(present | bit(offset));
        }
        self.set_value(offset, Some(value));
    }

    /// Clears `bits` in the words of `tags`; which words became 0 by that.
    #[inline]
    fn clear_bits(&self, tags: TagSet, bits: u64) -> TagSet {
        let mut emptied = TagSet::EMPTY;
        for tag in tags {
            let word = self.word(tag);
            if word & bits != 0 {
                self.set_word(tag, word & !bits);
                if word & !bits == 0 {
                    emptied = emptied.with(tag);
                }
            }
        }
        emptied
    }

    /// Sets `bits` in the words of `tags`. The summaries have been raised.
    #[inline]
    fn set_bits(&self, tags: TagSet, bits: u64) {
        for tag in tags {
            self.set_word(tag, self.word(tag) | bits);
        }
    }
}

impl<'g, L: LockedLeaf<'g>> Entries<'g> for L {}
