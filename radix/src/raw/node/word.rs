//! The words that nodes consist of: slots and tag words. `word` does not know in which node they lie.

use core::ptr::NonNull;

use super::edge::Edge;
use crate::sync::{self, AtomicPtr, AtomicU64, Guarded, Ordering, const_unless_checked};
use crate::tag::{Tag, TagSet};

/// A value as the tree keeps it: one word that is not null.
pub(crate) type Word = NonNull<()>;

/// An entry as one instant saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) value: Word,
    pub(crate) tags: TagSet,
}

/// One word of a node: an edge above level 0, a value at level 0.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Slot(AtomicPtr<()>);

impl Slot {
    const_unless_checked! {
        pub(crate) const fn empty() -> Slot {
            Slot(AtomicPtr::new(core::ptr::null_mut()))
        }
    }

    /// Acquire: E-PUBLISH, what the edge leads to is complete.
    #[inline]
    pub(crate) fn edge(&self) -> Edge {
        Edge::from_word(self.0.load(Ordering::Acquire))
    }

    /// Release: E-PUBLISH.
    #[inline]
    pub(crate) fn set_edge(&self, edge: Edge) {
        self.0.store(edge.word(), Ordering::Release);
    }

    /// Acquire: E-PUBLISH, what the value points to is complete.
    #[inline]
    pub(crate) fn value(&self) -> Option<Word> {
        NonNull::new(self.0.load(Ordering::Acquire))
    }

    /// Release: E-PUBLISH.
    #[inline]
    pub(crate) fn set_value(&self, value: Option<Word>) {
        self.0.store(value.map_or(core::ptr::null_mut(), NonNull::as_ptr), Ordering::Release);
    }

    /// The edge, for the holder of the lock that guards it.
    #[inline]
    pub(in crate::raw) fn edge_guarded(&self) -> Edge {
        Edge::from_word(self.0.load_guarded())
    }

    /// The value, for the holder of the lock that guards it.
    #[inline]
    pub(in crate::raw) fn value_guarded(&self) -> Option<Word> {
        NonNull::new(self.0.load_guarded())
    }
}

/// The four tag words of a node, or of the root, where only bit 0 is used.
#[derive(Debug)]
pub(crate) struct TagWords([AtomicU64; Tag::COUNT]);

impl TagWords {
    const_unless_checked! {
        pub(crate) const fn clear() -> TagWords {
            TagWords(sync::zeros())
        }
    }

    /// Acquire: E-TAG, who sees a bit sees every summary bit above it.
    #[inline]
    pub(crate) fn load(&self, tag: Tag) -> u64 {
        self.0[usize::from(tag.number())].load(Ordering::Acquire)
    }

    /// Release: E-TAG. The caller holds the node's lock.
    #[inline]
    pub(crate) fn store(&self, tag: Tag, word: u64) {
        self.0[usize::from(tag.number())].store(word, Ordering::Release);
    }

    /// The word of `tag`, for the holder of the lock that guards it.
    #[inline]
    pub(in crate::raw) fn load_guarded(&self, tag: Tag) -> u64 {
        self.0[usize::from(tag.number())].load_guarded()
    }

    /// The tags whose word has `bit`.
    #[inline]
    pub(crate) fn at(&self, bit: u64) -> TagSet {
        tags_with(bit, |tag| self.load(tag))
    }

    /// The tags whose word has `bit`, for the holder of the lock that guards the words.
    #[inline]
    pub(in crate::raw) fn at_guarded(&self, bit: u64) -> TagSet {
        tags_with(bit, |tag| self.load_guarded(tag))
    }
}

/// The tags whose word, as `load` gives it, has `bit`.
#[inline]
fn tags_with(bit: u64, load: impl Fn(Tag) -> u64) -> TagSet {
    let mut tags = TagSet::EMPTY;
    for tag in Tag::all() {
        if load(tag) & bit != 0 {
            tags = tags.with(tag);
        }
    }
    tags
}
