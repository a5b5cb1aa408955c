//! What an edge leads to, a node or a single, and the lock of a leaf of either kind.

use core::ptr::NonNull;

use super::edge::Edge;
use super::index::{self, bit, offset};
use super::node::{Locked, Node, Word};
use super::single::{LockedSingle, Single};
use super::{Above, Entry, Tree};
use crate::reclaim::Guard;
use crate::sync::Backoff;
use crate::tag::{Tag, TagSet};

/// What an edge leads to. As a leaf, the node is one of level 0.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Child<'g> {
    Node(&'g Node),
    Single(&'g Single),
}

impl<'g> Child<'g> {
    /// The target of an edge.
    ///
    /// # Safety
    /// As for [`Node::of`].
    #[inline]
    pub(crate) unsafe fn of(edge: Edge, guard: &'g Guard) -> Child<'g> {
        if edge.is_single() {
            // SAFETY: the caller's word, and the line above.
            Child::Single(unsafe { Single::of(edge, guard) })
        } else {
            // SAFETY: the caller's word.
            Child::Node(unsafe { Node::of(edge, guard) })
        }
    }

    #[inline]
    pub(crate) fn level(self) -> u8 {
        match self {
            Child::Node(node) => node.level(),
            Child::Single(_) => 0,
        }
    }

    /// The lowest index that it covers.
    #[inline]
    pub(crate) fn first(self) -> u64 {
        match self {
            Child::Node(node) => node.base(),
            Child::Single(single) => single.index(),
        }
    }

    /// The highest index that it covers.
    #[inline]
    pub(crate) fn last(self) -> u64 {
        match self {
            Child::Node(node) => node.last(),
            Child::Single(single) => single.index(),
        }
    }

    /// The index of offset 0: below [`first`](Child::first), for most singles.
    #[inline]
    pub(crate) fn base(self) -> u64 {
        match self {
            Child::Node(node) => node.base(),
            Child::Single(single) => index::base(index::prefix(single.index(), 0), 0),
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
            Child::Node(node) => node.covers(index),
            Child::Single(single) => single.index() == index,
        }
    }

    /// Stores what the child knows of its parent: a single, nothing. The caller holds the parent's lock, or nobody else knows
    /// the child.
    #[inline]
    pub(super) fn set_parent(self, parent: *mut Node) {
        if let Child::Node(node) = self {
            node.set_parent(parent);
        }
    }
}

/// Of leaves.
impl<'g> Child<'g> {
    /// The value of `index`, which this leaf covers.
    #[inline]
    pub(crate) fn value_of(self, index: u64) -> Option<Word> {
        match self {
            Child::Node(leaf) => leaf.value(offset(index, 0)),
            Child::Single(leaf) => leaf.value(),
        }
    }

    /// The entry of `index`, which this leaf covers, as it was at one instant.
    #[inline]
    pub(crate) fn entry_of(self, index: u64) -> Option<Entry> {
        match self {
            Child::Node(leaf) => leaf.at_one_instant(|| leaf.peek(offset(index, 0))),
            Child::Single(leaf) => leaf.entry(),
        }
    }

    /// Whether the entry of `index`, which this leaf covers, has `tag`: to be trusted alone only if so.
    #[inline]
    pub(crate) fn shows_tag(self, index: u64, tag: Tag) -> bool {
        match self {
            Child::Node(leaf) => leaf.has_tag(index, tag),
            Child::Single(leaf) => leaf.tags().contains(tag),
        }
    }

    /// The offsets that hold something.
    pub(super) fn present(self) -> u64 {
        match self {
            Child::Node(node) => node.present(),
            Child::Single(leaf) => leaf.value().map_or(0, |_| own_bit(leaf)),
        }
    }

    /// The word of `tag`, for who holds the whole tree.
    pub(super) fn tag_word(self, tag: Tag) -> u64 {
        match self {
            Child::Node(node) => node.tags().load(tag),
            Child::Single(leaf) if leaf.tags().contains(tag) => own_bit(leaf),
            Child::Single(_) => 0,
        }
    }

    /// Whether it has been unlinked, for who holds the whole tree.
    pub(super) fn died(self) -> bool {
        match self {
            Child::Node(node) => node.died(),
            Child::Single(leaf) => leaf.died(),
        }
    }

    pub(super) fn is_locked(self) -> bool {
        match self {
            Child::Node(node) => node.is_locked(),
            Child::Single(leaf) => leaf.is_locked(),
        }
    }

    /// The offsets that hold something, as it was at one instant.
    #[inline]
    pub(crate) fn occupied(self) -> u64 {
        match self {
            Child::Node(leaf) => leaf.at_one_instant(|| leaf.present()),
            Child::Single(_) => self.present(),
        }
    }

    /// Takes the value of `index` out. The caller holds the tree exclusively, which is of no use any more.
    pub(crate) fn take_value(self, index: u64) {
        match self {
            Child::Node(leaf) => leaf.slot(offset(index, 0)).set_value(None),
            Child::Single(leaf) => leaf.set_value(None),
        }
    }

    #[inline]
    pub(crate) fn lock(self) -> AnyLeaf<'g> {
        match self {
            Child::Node(leaf) => AnyLeaf::Full(leaf.lock()),
            Child::Single(leaf) => AnyLeaf::Single(leaf.lock()),
        }
    }
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
    fn child(&self) -> Child<'g>;

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
        self.child().base()
    }

    #[inline]
    fn range_last(&self) -> u64 {
        self.child().range_last()
    }
}

impl<'g> LockedLeaf<'g> for Locked<'g> {
    #[inline]
    fn child(&self) -> Child<'g> {
        Child::Node(self.node())
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
    fn child(&self) -> Child<'g> {
        Child::Single(self.single())
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

/// A locked leaf or node: what has a parent to be locked.
pub(super) trait Below<'g> {
    /// An index that it covers.
    fn place(&self) -> u64;

    /// Locks the node that links to it (rule 3).
    fn lock_parent(&self, tree: &'g Tree, guard: &'g Guard) -> Above<'g>;
}

impl<'g> Below<'g> for Locked<'g> {
    #[inline]
    fn place(&self) -> u64 {
        self.base()
    }

    #[inline]
    fn lock_parent(&self, tree: &'g Tree, guard: &'g Guard) -> Above<'g> {
        loop {
            let parent = self.parent();
            // SAFETY: read from a node reached under `guard`.
            let above = unsafe { Above::lock(tree, parent, guard) };
            if self.parent() == parent {
                return above;
            }
        }
    }
}

impl<'g> Below<'g> for LockedSingle<'g> {
    #[inline]
    fn place(&self) -> u64 {
        self.index()
    }

    /// The node above is the one whose slot holds the edge: no other slot of a live node does (I-PARENT), and it stays there
    /// while the node is locked.
    fn lock_parent(&self, tree: &'g Tree, guard: &'g Guard) -> Above<'g> {
        let edge = Edge::single(NonNull::from(self.single()));
        let mut backoff = Backoff::default();
        loop {
            if let Some(above) = tree.find_edge(edge, self.index(), guard) {
                let above = match above {
                    None => Above::lock_root(&tree.root),
                    Some(node) => Above::Node(node.lock()),
                };
                if !above.is_dead() && above.edge(above.offset(self.index())) == edge {
                    return above;
                }
            }
            // A split or a splice is moving the single.
            backoff.wait();
        }
    }
}

impl Tree {
    /// The node whose slot for `index` holds `edge` (`None`: the root), if the way down leads there.
    fn find_edge<'g>(
        &'g self,
        edge: Edge,
        index: u64,
        guard: &'g Guard,
    ) -> Option<Option<&'g Node>> {
        let (mut above, mut below) = (None, self.root_edge());
        while below != edge {
            if below.is_null() || below.is_single() || below.level() == 0 {
                return None;
            }
            // SAFETY: not null, not to a single, and read under `guard`.
            let node = unsafe { Node::of(below, guard) };
            above = Some(node);
            below = node.edge(offset(index, node.level()));
        }
        Some(above)
    }
}
