//! The one way to change an entry: raise, change; and to lower, for those who do.

use super::section::{Op, Section};
use crate::raw::link::above::{Above, Below};
use crate::raw::link::locked::LockedLeaf;
use crate::raw::node::index::{bit, offset};
use crate::raw::node::word::{Entry, Word};
use crate::tag::{Tag, TagSet, TagUpdate};

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

impl Change {
    /// Another value, or none, and the tags that come of it.
    pub(crate) fn of(value: NewValue) -> Change {
        Change { value, set: TagSet::EMPTY, clear: TagSet::EMPTY }
    }
}

impl<'g> Op<'g> {
    /// Makes the bits above `child` set. The caller holds `child`, whose word for `tag` is 0.
    ///
    /// Most often they are: another entry had the tag before, and nobody has looked since.
    #[inline(never)]
    pub(super) fn raise(&mut self, child: &impl Below<'g>, tag: Tag) {
        if !child.is_raised(self.tree, self.guard, tag) {
            self.raise_locked(child, tag);
        }
    }

    fn raise_locked(&mut self, child: &impl Below<'g>, tag: Tag) {
        let above = child.lock_parent(self.tree, self.guard);
        let offset = above.offset(child.place());
        self.set_above(&above, offset, tag);
    }

    /// Sets bit `offset` of the word of `above`, after all bits above it: ancestors first.
    pub(super) fn set_above(&mut self, above: &Above<'g>, offset: usize, tag: Tag) {
        let word = above.word(tag);
        if word & bit(offset) != 0 {
            return;
        }
        if word == 0 {
            match above {
                Above::Root(_) => self.told.tagged = self.told.tagged.with(tag),
                Above::Node(node) => self.raise(node, tag),
            }
        }
        above.tags().store(tag, word | bit(offset));
    }

    /// Clears the bits above `child`, upward while words become 0. The caller holds `child`, whose word for `tag` is 0,
    /// and has changed all it wants to change: ancestors last.
    fn lower(&mut self, child: &impl Below<'g>, tag: Tag) {
        let above = child.lock_parent(self.tree, self.guard);
        let offset = above.offset(child.place());
        self.clear_above(&above, offset, tag);
    }

    /// Clears bit `offset` of the word of `above`, and then the bits above it if the word became 0. The caller holds what lies in the slot,
    /// or has just unlinked it.
    pub(super) fn clear_above(&mut self, above: &Above<'g>, offset: usize, tag: Tag) {
        let (word, bit) = (above.word(tag), bit(offset));
        if word & bit == 0 {
            return;
        }
        above.tags().store(tag, word & !bit);
        if word == bit {
            match above {
                Above::Root(_) => self.told.untagged = self.told.untagged.with(tag),
                Above::Node(node) => self.lower(node, tag),
            }
        }
    }

    /// The first step of a change: raises those of `set` that no entry of the leaf has yet.
    #[inline(always)]
    pub(super) fn raise_all(&mut self, leaf: &impl LockedLeaf<'g>, set: TagSet) {
        // Removals raise nothing, and need not call for that.
        if !set.is_empty() {
            self.raise_each(leaf, set);
        }
    }

    fn raise_each(&mut self, leaf: &impl LockedLeaf<'g>, set: TagSet) {
        for tag in set {
            if leaf.word(tag) == 0 {
                self.raise(leaf, tag);
            }
        }
    }

    /// The last step of a change of many entries: lowers those of `tags` that no entry of the leaf has.
    ///
    /// A change of one entry leaves the summaries to the next walk: the entry beside it may get the tag before that.
    #[inline]
    pub(super) fn lower_all(&mut self, leaf: &impl LockedLeaf<'g>, tags: TagSet) {
        for tag in tags {
            if leaf.word(tag) == 0 && leaf.looks_raised(self.tree, self.guard, tag) {
                self.lower(leaf, tag);
            }
        }
    }

    /// Changes the entry of `index` in a locked leaf, which covers the index. Without a value the leaf is left as it is, empty
    /// perhaps.
    pub(super) fn change(&mut self, leaf: &impl LockedLeaf<'g>, index: u64, change: Change) {
        let offset = offset(index, 0);
        let bit = bit(offset);
        let has = leaf.tags_at(bit);
        let (set, clear) = match change.value {
            NewValue::Remove => (TagSet::EMPTY, has),
            NewValue::Keep | NewValue::Store(_) => {
                (change.set - has, has & (change.clear - change.set))
            }
        };
        self.raise_all(leaf, set);
        leaf.clear_bits(clear, bit);
        match change.value {
            NewValue::Keep => {}
            NewValue::Store(value) => leaf.fill(offset, value),
            NewValue::Remove => {
                leaf.set_value(offset, None);
                leaf.set_present(leaf.present() & !bit);
            }
        }
        leaf.set_bits(set, bit);
    }

    /// The same, and unlinks the leaf if that has become empty.
    #[inline]
    fn change_and_unlink(&mut self, leaf: &impl LockedLeaf<'g>, index: u64, change: Change) {
        if change.value == NewValue::Remove && leaf.is_solid() {
            return self.remove_from_solid(leaf, index);
        }
        self.change(leaf, index, change);
        if change.value == NewValue::Remove {
            self.unlink_if_empty(leaf);
        }
    }

    /// Removes an entry from a leaf that is marked as solid: the marks go first (I-SOLID).
    #[cold]
    #[inline(never)]
    fn remove_from_solid(&mut self, leaf: &impl LockedLeaf<'g>, index: u64) {
        self.clear_solid(leaf);
        self.change(leaf, index, Change::of(NewValue::Remove));
    }

    /// Sets `tag` on the entry at `index`; whether it was clear before. A tag that is set already takes no lock.
    ///
    /// It does not read the slot, but has it fetched: who tags an entry works with it, most often, and would wait for the slot
    /// then, behind the locked instructions of this.
    #[inline]
    pub(crate) fn set_tag(&mut self, index: u64, tag: Tag) -> Option<bool> {
        loop {
            let leaf = self.tree.find_leaf(index, self.guard)?;
            if leaf.shows_tag(index, tag) {
                return Some(false);
            }
            leaf.prefetch_value(index);
            if let Some(done) = self.at(leaf, SetTag { index, tag }) {
                return done;
            }
        }
    }

    /// Clears `tag` on the entry at `index`; whether it was set before.
    #[inline]
    pub(crate) fn clear_tag(&mut self, index: u64, tag: Tag) -> Option<bool> {
        self.in_leaf(index, ClearTag { index, tag })?
    }

    /// Sets and clears tags of the entry at `index`; a tag in both sets ends up set. `None` if there is no entry.
    pub(crate) fn update_tags(
        &mut self,
        index: u64,
        set: TagSet,
        clear: TagSet,
    ) -> Option<TagUpdate> {
        let (before, after) = self.in_leaf(index, UpdateTags { index, set, clear })??;
        Some(TagUpdate { before, after, tree_edges: self.told })
    }

    /// Removes the entry at `index` and returns its value.
    pub(crate) fn remove(&mut self, index: u64) -> Option<Word> {
        let (_, removed) = self.update(index, |_| (Change::of(NewValue::Remove), ()))?;
        removed
    }

    /// Runs `section` on a copy of the entry and applies its outcome, all in one section of the leaf.
    ///
    /// Returns what `section` returned and the value that left the tree, if one did. Nothing is applied if `section`
    /// panics.
    pub(crate) fn update<R>(
        &mut self,
        index: u64,
        section: impl FnOnce(Entry) -> (Change, R),
    ) -> Option<(R, Option<Word>)> {
        self.in_leaf(index, Update { index, section })?
    }

    /// Replaces or removes the entry at `index` if it is still `expected`; returns the value that left, or what is there.
    pub(crate) fn change_if(
        &mut self,
        index: u64,
        expected: Entry,
        change: Change,
    ) -> Result<Word, Option<Entry>> {
        self.in_leaf(index, ChangeIf { index, expected, change }).ok_or(None)?
    }
}

struct SetTag {
    index: u64,
    tag: Tag,
}

impl<'g> Section<'g> for SetTag {
    type Done = Option<bool>;

    #[inline]
    fn run(self, op: &mut Op<'g>, leaf: &impl LockedLeaf<'g>) -> Option<bool> {
        let offset = offset(self.index, 0);
        if !leaf.has(offset) {
            return None;
        }
        let (word, bit) = (leaf.word(self.tag), bit(offset));
        if word & bit != 0 {
            return Some(false);
        }
        if word == 0 {
            op.raise(leaf, self.tag);
        }
        leaf.set_word(self.tag, word | bit);
        Some(true)
    }
}

struct ClearTag {
    index: u64,
    tag: Tag,
}

impl<'g> Section<'g> for ClearTag {
    type Done = Option<bool>;

    #[inline]
    fn run(self, _op: &mut Op<'g>, leaf: &impl LockedLeaf<'g>) -> Option<bool> {
        let offset = offset(self.index, 0);
        if !leaf.has(offset) {
            return None;
        }
        let (word, bit) = (leaf.word(self.tag), bit(offset));
        if word & bit == 0 {
            return Some(false);
        }
        leaf.set_word(self.tag, word & !bit);
        Some(true)
    }
}

struct UpdateTags {
    index: u64,
    set: TagSet,
    clear: TagSet,
}

impl<'g> Section<'g> for UpdateTags {
    /// The tags before and after.
    type Done = Option<(TagSet, TagSet)>;

    #[inline]
    fn run(self, op: &mut Op<'g>, leaf: &impl LockedLeaf<'g>) -> Self::Done {
        let offset = offset(self.index, 0);
        if !leaf.has(offset) {
            return None;
        }
        let before = leaf.tags_at(bit(offset));
        let after = (before - self.clear) | self.set;
        if after != before {
            let change = Change { value: NewValue::Keep, set: self.set, clear: self.clear };
            op.change(leaf, self.index, change);
        }
        Some((before, after))
    }
}

struct Update<F> {
    index: u64,
    section: F,
}

impl<'g, R, F: FnOnce(Entry) -> (Change, R)> Section<'g> for Update<F> {
    type Done = Option<(R, Option<Word>)>;

    #[inline]
    fn run(self, op: &mut Op<'g>, leaf: &impl LockedLeaf<'g>) -> Self::Done {
        let entry = leaf.entry(self.index)?;
        let (change, result) = (self.section)(entry);
        op.change_and_unlink(leaf, self.index, change);
        Some((result, (change.value != NewValue::Keep).then_some(entry.value)))
    }
}

struct ChangeIf {
    index: u64,
    expected: Entry,
    change: Change,
}

impl<'g> Section<'g> for ChangeIf {
    type Done = Result<Word, Option<Entry>>;

    #[inline]
    fn run(self, op: &mut Op<'g>, leaf: &impl LockedLeaf<'g>) -> Self::Done {
        let entry = leaf.entry(self.index).ok_or(None)?;
        if entry != self.expected {
            return Err(Some(entry));
        }
        op.change_and_unlink(leaf, self.index, self.change);
        Ok(entry.value)
    }
}
