//! The view of one entry inside [`Pinned::update`](crate::Pinned::update).

use core::fmt;

use crate::tag::TagSet;
use crate::value::Value;

/// What a section wants to become of the value.
pub(crate) enum Pending<V> {
    Keep,
    Replace(V),
    Remove,
}

/// One entry inside the section of [`Pinned::update`](crate::Pinned::update): a copy of its tags to work on, and what is to
/// become of its value.
///
/// Nothing that is done to a slot is visible to anybody before the section ends; then all of it takes effect at one
/// instant.
///
/// # Examples
/// ```
/// use tagged_radix::{Inline, RadixTree, Tag, TagSet};
///
/// let tree: RadixTree<Inline> = RadixTree::from_iter([(9, Inline::new(1).unwrap())]);
/// let pinned = tree.pin();
/// pinned.set_tag(9, Tag::T0);
/// // Hand the entry over from one tag to another, and count it.
/// let before = pinned.update(9, |slot| {
///     let count = slot.value().get();
///     slot.set(Tag::T1);
///     slot.clear(Tag::T0);
///     slot.replace(Inline::new(count + 1).unwrap());
///     count
/// });
/// assert_eq!(before, Some(1));
/// assert_eq!(pinned.tags(9), Some(TagSet::from(Tag::T1)));
/// assert_eq!(pinned.get(9).unwrap().get(), 2);
/// ```
pub struct Slot<'s, V: Value> {
    pub(crate) value: V::Ref<'s>,
    pub(crate) tags: TagSet,
    pub(crate) pending: &'s mut Pending<V>,
}

impl<'s, V: Value> Slot<'s, V> {
    /// The value that the entry had when the section began.
    ///
    /// # Examples
    /// ```
    /// # use tagged_radix::{Inline, RadixTree};
    /// let tree: RadixTree<Inline> = RadixTree::from_iter([(9, Inline::new(1).unwrap())]);
    /// assert_eq!(tree.pin().update(9, |slot| slot.value().get()), Some(1));
    /// ```
    #[inline]
    pub fn value(&self) -> V::Ref<'s> {
        self.value
    }

    /// The tags that the entry has now, and will have if nothing more is done.
    ///
    /// # Examples
    /// ```
    /// # use tagged_radix::{Inline, RadixTree, Tag};
    /// let tree: RadixTree<Inline> = RadixTree::from_iter([(9, Inline::new(1).unwrap())]);
    /// let tagged = tree.pin().update(9, |slot| {
    ///     slot.set(Tag::T0);
    ///     slot.tags().contains(Tag::T0)
    /// });
    /// assert_eq!(tagged, Some(true));
    /// ```
    #[inline]
    pub fn tags(&self) -> TagSet {
        self.tags
    }

    /// Sets these tags.
    ///
    /// # Examples
    /// ```
    /// # use tagged_radix::{Inline, RadixTree, Tag};
    /// let tree: RadixTree<Inline> = RadixTree::from_iter([(9, Inline::new(1).unwrap())]);
    /// tree.pin().update(9, |slot| slot.set(Tag::T3));
    /// assert!(tree.any_tagged(Tag::T3));
    /// ```
    #[inline]
    pub fn set(&mut self, tags: impl Into<TagSet>) {
        self.tags = self.tags | tags.into();
    }

    /// Clears these tags.
    ///
    /// # Examples
    /// ```
    /// # use tagged_radix::{Inline, RadixTree, Tag, TagSet};
    /// let tree: RadixTree<Inline> = RadixTree::new();
    /// tree.pin().insert_tagged(9, Inline::new(1).unwrap(), Tag::T3.into());
    /// tree.pin().update(9, |slot| slot.clear(TagSet::ALL));
    /// assert_eq!(tree.pin().tags(9), Some(TagSet::EMPTY));
    /// ```
    #[inline]
    pub fn clear(&mut self, tags: impl Into<TagSet>) {
        self.tags = self.tags - tags.into();
    }

    /// Has the entry's value replaced, and keeps its tags. Undoes [`remove`](Slot::remove). Returns the value that an
    /// earlier call in the same section gave, if there was one.
    ///
    /// # Examples
    /// ```
    /// # use tagged_radix::RadixTree;
    /// let tree: RadixTree<Box<u32>> = RadixTree::from_iter([(9, Box::new(1))]);
    /// let earlier = tree.pin().update(9, |slot| {
    ///     slot.replace(Box::new(2));
    ///     slot.replace(Box::new(3))
    /// });
    /// assert_eq!(earlier, Some(Some(Box::new(2))));
    /// assert_eq!(tree.pin().get(9), Some(&3));
    /// ```
    #[inline]
    pub fn replace(&mut self, value: V) -> Option<V> {
        match core::mem::replace(self.pending, Pending::Replace(value)) {
            Pending::Replace(earlier) => Some(earlier),
            Pending::Keep | Pending::Remove => None,
        }
    }

    /// Has the entry removed, with its tags. Undoes [`replace`](Slot::replace), and returns the value that was given there.
    ///
    /// # Examples
    /// ```
    /// # use tagged_radix::RadixTree;
    /// let tree: RadixTree<Box<u32>> = RadixTree::from_iter([(9, Box::new(0))]);
    /// tree.pin().update(9, |slot| {
    ///     if *slot.value() == 0 {
    ///         slot.remove();
    ///     }
    /// });
    /// assert!(tree.is_empty());
    /// ```
    #[inline]
    pub fn remove(&mut self) -> Option<V> {
        match core::mem::replace(self.pending, Pending::Remove) {
            Pending::Replace(earlier) => Some(earlier),
            Pending::Keep | Pending::Remove => None,
        }
    }
}

impl<V: Value> fmt::Debug for Slot<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("tags", &self.tags).finish_non_exhaustive()
    }
}
