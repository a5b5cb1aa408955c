//! A leaf, full or single, whose lock is held: one face for both.

use super::above::Below;
use super::leaf::{Leaf, own_bit};
use crate::raw::node::full::Locked;
use crate::raw::node::group;
use crate::raw::node::index::{bit, offset};
use crate::raw::node::single::LockedSingle;
use crate::raw::node::word::{Entry, Word};
use crate::reclaim::Guard;
use crate::tag::{Tag, TagSet};

/// A leaf whose lock is held. A single looks like a full leaf in which only the slot of its own index is used.
pub(in crate::raw) trait LockedLeaf<'g>: Below<'g> {
    /// The leaf, for longer than the lock is held.
    fn leaf(&self) -> Leaf<'g>;

    /// Whether the leaf has been unlinked.
    fn is_dead(&self) -> bool;

    /// Marks the leaf dead. The caller also holds the lock of the node above (I-DEAD).
    fn set_dead(&self);

    /// Frees the leaf once nobody can stand in it any more.
    ///
    /// # Safety
    /// The caller has just unlinked it, and nobody else retires it.
    unsafe fn retire(&self, guard: &Guard);

    /// The word of `tag`.
    fn word(&self, tag: Tag) -> u64;

    /// Release: E-TAG.
    fn set_word(&self, tag: Tag, word: u64);

    /// The tags whose word has `bit`.
    fn tags_at(&self, bit: u64) -> TagSet;

    fn present(&self) -> u64;

    /// Nothing for a single, whose value says as much.
    fn set_present(&self, word: u64);

    /// Whether every slot is occupied, and a bit may say so above (I-SOLID): never of a single.
    fn is_solid(&self) -> bool;

    /// Says that every slot is occupied, or that it need not be. Of a full leaf.
    fn set_solid(&self, solid: bool);

    fn value(&self, offset: usize) -> Option<Word>;

    /// Release: E-PUBLISH.
    fn set_value(&self, offset: usize, value: Option<Word>);

    #[inline]
    fn base(&self) -> u64 {
        self.leaf().base()
    }

    #[inline]
    fn range_last(&self) -> u64 {
        self.leaf().range_last()
    }

    /// Whether there is an entry at `offset`, without a look at its slot. The present bit says it to the holder of the lock
    /// (I-PRESENT).
    #[inline]
    fn has(&self, offset: usize) -> bool {
        self.present() & bit(offset) != 0
    }

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

    /// Clears `bits` in the words of `tags`.
    #[inline]
    fn clear_bits(&self, tags: TagSet, bits: u64) {
        for tag in tags {
            let word = self.word(tag);
            if word & bits != 0 {
                self.set_word(tag, word & !bits);
            }
        }
    }

    /// Sets `bits` in the words of `tags`. The summaries have been raised.
    #[inline]
    fn set_bits(&self, tags: TagSet, bits: u64) {
        for tag in tags {
            self.set_word(tag, self.word(tag) | bits);
        }
    }
}

impl<'g> LockedLeaf<'g> for Locked<'g> {
    #[inline]
    fn leaf(&self) -> Leaf<'g> {
        Leaf::Full(self.node())
    }

    #[inline]
    fn is_dead(&self) -> bool {
        self.died_guarded()
    }

    #[inline]
    fn set_dead(&self) {
        self.node().set_dead();
    }

    unsafe fn retire(&self, guard: &Guard) {
        // SAFETY: the caller's word.
        unsafe { self.node().retire(guard) }
    }

    #[inline]
    fn word(&self, tag: Tag) -> u64 {
        self.tags().load_guarded(tag)
    }

    #[inline]
    fn set_word(&self, tag: Tag, word: u64) {
        self.node().tags().store(tag, word);
    }

    #[inline]
    fn tags_at(&self, bit: u64) -> TagSet {
        self.tags().at_guarded(bit)
    }

    #[inline]
    fn present(&self) -> u64 {
        self.present_guarded()
    }

    #[inline]
    fn set_present(&self, word: u64) {
        self.node().set_present(word);
    }

    #[inline]
    fn is_solid(&self) -> bool {
        self.solid_guarded() != 0
    }

    #[inline]
    fn set_solid(&self, solid: bool) {
        self.node().set_solid(if solid { group::ALL } else { 0 });
    }

    #[inline]
    fn value(&self, offset: usize) -> Option<Word> {
        self.slot(offset).value_guarded()
    }

    #[inline]
    fn set_value(&self, offset: usize, value: Option<Word>) {
        self.node().slot(offset).set_value(value);
    }
}

impl<'g> LockedLeaf<'g> for LockedSingle<'g> {
    #[inline]
    fn leaf(&self) -> Leaf<'g> {
        Leaf::Single(self.single())
    }

    #[inline]
    fn is_dead(&self) -> bool {
        LockedSingle::is_dead(self)
    }

    #[inline]
    fn set_dead(&self) {
        LockedSingle::set_dead(self);
    }

    unsafe fn retire(&self, guard: &Guard) {
        // SAFETY: the caller's word.
        unsafe { self.single().retire(guard) }
    }

    #[inline]
    fn word(&self, tag: Tag) -> u64 {
        if self.tags().contains(tag) { own_bit(self) } else { 0 }
    }

    #[inline]
    fn set_word(&self, tag: Tag, word: u64) {
        debug_assert!(word & !own_bit(self) == 0, "a single has one entry");
        let tags = self.tags();
        self.single().set_tags(if word == 0 { tags.without(tag) } else { tags.with(tag) });
    }

    #[inline]
    fn tags_at(&self, bit: u64) -> TagSet {
        if own_bit(self) & bit != 0 { self.tags() } else { TagSet::EMPTY }
    }

    #[inline]
    fn present(&self) -> u64 {
        LockedSingle::value(self).map_or(0, |_| own_bit(self))
    }

    #[inline]
    fn set_present(&self, _word: u64) {}

    #[inline]
    fn is_solid(&self) -> bool {
        false
    }

    #[inline]
    fn set_solid(&self, _solid: bool) {}

    #[inline]
    fn value(&self, offset: usize) -> Option<Word> {
        if own_bit(self) == bit(offset) { LockedSingle::value(self) } else { None }
    }

    #[inline]
    fn set_value(&self, offset: usize, value: Option<Word>) {
        debug_assert!(own_bit(self) == bit(offset), "a single has one entry");
        self.single().set_value(value);
    }
}
