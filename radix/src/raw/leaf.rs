//! The leaf, full or single, and the lock of one of either kind.

use super::Entry;
use super::child::Below;
use super::edge::Edge;
use super::index::{self, bit, offset};
use super::node::{Locked, Node, Word};
use super::single::{LockedSingle, Single};
use crate::reclaim::Guard;
use crate::tag::{Tag, TagSet};

/// A leaf of either kind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leaf<'g> {
    Full(&'g Node),
    Single(&'g Single),
}

impl<'g> Leaf<'g> {
    /// The leaf an edge leads to.
    ///
    /// # Safety
    /// As for [`Child::of`](super::child::Child::of), and the edge leads to a leaf.
    #[inline]
    pub(crate) unsafe fn of(edge: Edge, guard: &'g Guard) -> Leaf<'g> {
        if edge.is_single() {
            // SAFETY: the caller's word, and the line above.
            Leaf::Single(unsafe { Single::of(edge, guard) })
        } else {
            // SAFETY: as above; leaves are full, or singles.
            Leaf::Full(unsafe { Node::of(edge, guard) })
        }
    }

    /// The lowest index that it covers.
    #[inline]
    pub(crate) fn first(self) -> u64 {
        match self {
            Leaf::Full(node) => base_of(node),
            Leaf::Single(single) => single.index(),
        }
    }

    /// The highest index that it covers.
    #[inline]
    pub(crate) fn last(self) -> u64 {
        match self {
            Leaf::Full(node) => base_of(node) | index::span(0),
            Leaf::Single(single) => single.index(),
        }
    }

    /// The index of offset 0: below [`first`](Leaf::first), for most singles.
    #[inline]
    pub(crate) fn base(self) -> u64 {
        match self {
            Leaf::Full(node) => base_of(node),
            Leaf::Single(single) => index::base(index::prefix(single.index(), 0), 0),
        }
    }

    /// The highest index of the leaf's range. A single speaks for all of it: while it is linked, no other index of the range has
    /// an entry. So whoever has read it at one instant has read the whole range, and goes on behind it.
    #[inline]
    pub(crate) fn range_last(self) -> u64 {
        self.base() | index::span(0)
    }

    #[inline]
    pub(crate) fn covers(self, index: u64) -> bool {
        match self {
            Leaf::Full(node) => index::prefix(index, 0) == node.prefix(),
            Leaf::Single(single) => single.index() == index,
        }
    }

    /// The value of `index`, which this leaf covers.
    #[inline]
    pub(crate) fn value_of(self, index: u64) -> Option<Word> {
        match self {
            Leaf::Full(leaf) => leaf.value(offset(index, 0)),
            Leaf::Single(leaf) => leaf.value(),
        }
    }

    /// The entry of `index`, which this leaf covers, as it was at one instant.
    #[inline]
    pub(crate) fn entry_of(self, index: u64) -> Option<Entry> {
        match self {
            Leaf::Full(leaf) => leaf.at_one_instant(|| leaf.peek(offset(index, 0))),
            Leaf::Single(leaf) => leaf.entry(),
        }
    }

    /// Whether the entry of `index`, which this leaf covers, has `tag`: to be trusted alone only if so.
    #[inline]
    pub(crate) fn shows_tag(self, index: u64, tag: Tag) -> bool {
        match self {
            Leaf::Full(leaf) => leaf.has_tag(index, tag),
            Leaf::Single(leaf) => leaf.tags().contains(tag),
        }
    }

    /// The offsets that hold something.
    pub(super) fn present(self) -> u64 {
        match self {
            Leaf::Full(node) => node.present(),
            Leaf::Single(leaf) => leaf.value().map_or(0, |_| own_bit(leaf)),
        }
    }

    /// The word of `tag`, for who holds the whole tree.
    pub(super) fn tag_word(self, tag: Tag) -> u64 {
        match self {
            Leaf::Full(node) => node.tags().load(tag),
            Leaf::Single(leaf) if leaf.tags().contains(tag) => own_bit(leaf),
            Leaf::Single(_) => 0,
        }
    }

    /// The offsets that hold something, as it was at one instant.
    #[inline]
    pub(crate) fn occupied(self) -> u64 {
        match self {
            Leaf::Full(leaf) => leaf.at_one_instant(|| leaf.present()),
            Leaf::Single(_) => self.present(),
        }
    }

    /// Takes the value of `index` out. The caller holds the tree exclusively, which is of no use any more.
    pub(crate) fn take_value(self, index: u64) {
        match self {
            Leaf::Full(leaf) => leaf.slot(offset(index, 0)).set_value(None),
            Leaf::Single(leaf) => leaf.set_value(None),
        }
    }

    #[inline]
    pub(crate) fn lock(self) -> AnyLeaf<'g> {
        match self {
            Leaf::Full(leaf) => AnyLeaf::Full(leaf.lock()),
            Leaf::Single(leaf) => AnyLeaf::Single(leaf.lock()),
        }
    }
}

/// The lowest index of a full leaf, whose level need not be asked for.
#[inline]
fn base_of(leaf: &Node) -> u64 {
    index::base(leaf.prefix(), 0)
}

/// A leaf of either kind, whose lock is held by the owner of this value.
#[derive(Debug)]
pub(crate) enum AnyLeaf<'g> {
    Full(Locked<'g>),
    Single(LockedSingle<'g>),
}

/// A leaf whose lock is held. A single looks like a full leaf in which only the slot of its own index is used.
pub(super) trait LockedLeaf<'g>: Below<'g> {
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
}

impl<'g> LockedLeaf<'g> for Locked<'g> {
    #[inline]
    fn leaf(&self) -> Leaf<'g> {
        Leaf::Full(self.node())
    }

    #[inline]
    fn is_dead(&self) -> bool {
        Locked::is_dead(self)
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
        Locked::word(self, tag)
    }

    #[inline]
    fn set_word(&self, tag: Tag, word: u64) {
        self.node().tags().store(tag, word);
    }

    #[inline]
    fn tags_at(&self, bit: u64) -> TagSet {
        Locked::tags_at(self, bit)
    }

    #[inline]
    fn present(&self) -> u64 {
        Locked::present(self)
    }

    #[inline]
    fn set_present(&self, word: u64) {
        self.node().set_present(word);
    }

    #[inline]
    fn value(&self, offset: usize) -> Option<Word> {
        Locked::value(self, offset)
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
    fn value(&self, offset: usize) -> Option<Word> {
        if own_bit(self) == bit(offset) { LockedSingle::value(self) } else { None }
    }

    #[inline]
    fn set_value(&self, offset: usize, value: Option<Word>) {
        debug_assert!(own_bit(self) == bit(offset), "a single has one entry");
        self.single().set_value(value);
    }
}

/// The bit that the entry of a single would have in the words of a full leaf.
#[inline]
fn own_bit(single: &Single) -> u64 {
    bit(offset(single.index(), 0))
}
