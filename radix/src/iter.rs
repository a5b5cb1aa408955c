//! Iterators over entries.

use core::fmt;
use core::iter::FusedIterator;
use core::marker::PhantomData;
use core::ops::RangeBounds;

use crate::bounds::inclusive;
use crate::raw::Tree;
use crate::raw::drop::Drain;
use crate::raw::read::scan::Scan;
use crate::reclaim::{Guard, pin};
use crate::tag::{TagFilter, TagSet};
use crate::tree::RadixTree;
use crate::value::Value;

/// Entries of a range in ascending order, or from its end in descending order: [`Pinned::range`](crate::Pinned::range).
///
/// # Examples
/// ```
/// use tagged_radix::{Inline, RadixTree, Range};
///
/// let tree: RadixTree<Inline> = (0..10).filter_map(|i| Some((i, Inline::new(i)?))).collect();
/// let pinned = tree.pin();
/// let range: Range<'_, Inline> = pinned.range(3..6);
/// assert!(range.rev().map(|(index, _)| index).eq([5, 4, 3]));
/// ```
pub struct Range<'p, V: Value> {
    scan: Scan<'p>,
    values: PhantomData<V>,
}

/// Entries of a range that pass a filter, with their tags: [`Pinned::range_tagged`](crate::Pinned::range_tagged).
///
/// # Examples
/// ```
/// use tagged_radix::{Inline, RadixTree, RangeTagged, Tag};
///
/// let tree: RadixTree<Inline> = (0..10).filter_map(|i| Some((i, Inline::new(i)?))).collect();
/// let pinned = tree.pin();
/// pinned.set_tag(7, Tag::T0);
/// let mut range: RangeTagged<'_, Inline> = pinned.range_tagged(.., Tag::T0);
/// assert_eq!(range.next().map(|(index, _, tags)| (index, tags.len())), Some((7, 1)));
/// ```
pub struct RangeTagged<'p, V: Value> {
    scan: Scan<'p>,
    values: PhantomData<V>,
}

impl<'p, V: Value> Range<'p, V> {
    #[inline]
    pub(crate) fn new(
        tree: &'p Tree,
        bounds: &impl RangeBounds<u64>,
        guard: &'p Guard,
    ) -> Range<'p, V> {
        let scan = Scan::new(tree, inclusive(bounds), TagFilter::ANY, guard);
        Range { scan, values: PhantomData }
    }
}

impl<'p, V: Value> RangeTagged<'p, V> {
    #[inline]
    pub(crate) fn new(
        tree: &'p Tree,
        bounds: &impl RangeBounds<u64>,
        filter: TagFilter,
        guard: &'p Guard,
    ) -> RangeTagged<'p, V> {
        RangeTagged { scan: Scan::new(tree, inclusive(bounds), filter, guard), values: PhantomData }
    }
}

impl<'p, V: Value> Iterator for Range<'p, V> {
    type Item = (u64, V::Ref<'p>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (index, word) = self.scan.next()?;
        // SAFETY: read from this tree under the guard that the scan borrows.
        Some((index, unsafe { V::as_ref(word) }))
    }

    /// A leaf at a time: faster than a loop over [`next`](Iterator::next), as are `for_each`, `sum` and others that use it.
    #[inline]
    fn fold<B, F: FnMut(B, Self::Item) -> B>(self, init: B, mut each: F) -> B {
        // SAFETY: read from this tree under the guard that the scan borrows.
        self.scan
            .fold(init, |result, (index, word)| each(result, (index, unsafe { V::as_ref(word) })))
    }
}

impl<V: Value> DoubleEndedIterator for Range<'_, V> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let (index, word) = self.scan.next_back()?;
        // SAFETY: read from this tree under the guard that the scan borrows.
        Some((index, unsafe { V::as_ref(word) }))
    }
}

impl<'p, V: Value> Iterator for RangeTagged<'p, V> {
    type Item = (u64, V::Ref<'p>, TagSet);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (index, entry) = self.scan.next_entry()?;
        // SAFETY: read from this tree under the guard that the scan borrows.
        Some((index, unsafe { V::as_ref(entry.value) }, entry.tags))
    }

    /// A leaf at a time: faster than a loop over [`next`](Iterator::next), as are `for_each`, `sum` and others that use it. All that
    /// passes in a leaf of 64 neighbours is read at one instant, before `each` gets the first of it.
    #[inline]
    fn fold<B, F: FnMut(B, Self::Item) -> B>(self, init: B, mut each: F) -> B {
        self.scan.fold_entries(init, |result, (index, entry)| {
            // SAFETY: read from this tree under the guard that the scan borrows.
            each(result, (index, unsafe { V::as_ref(entry.value) }, entry.tags))
        })
    }
}

impl<V: Value> DoubleEndedIterator for RangeTagged<'_, V> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let (index, entry) = self.scan.next_back_entry()?;
        // SAFETY: read from this tree under the guard that the scan borrows.
        Some((index, unsafe { V::as_ref(entry.value) }, entry.tags))
    }
}

impl<V: Value> FusedIterator for Range<'_, V> {}
impl<V: Value> FusedIterator for RangeTagged<'_, V> {}

impl<V: Value> fmt::Debug for Range<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Range").finish_non_exhaustive()
    }
}

impl<V: Value> fmt::Debug for RangeTagged<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RangeTagged").finish_non_exhaustive()
    }
}

/// The entries of a tree that is no more, in ascending order, as values: the `IntoIterator` of [`RadixTree`].
///
/// # Examples
/// ```
/// use tagged_radix::RadixTree;
///
/// let tree: RadixTree<Box<char>> = RadixTree::from_iter([(2, Box::new('b')), (1, Box::new('a'))]);
/// assert_eq!(tree.into_iter().collect::<Vec<_>>(), [(1, Box::new('a')), (2, Box::new('b'))]);
/// ```
pub struct IntoIter<V: Value> {
    tree: RadixTree<V>,
    drain: Drain,
}

impl<V: Value> IntoIterator for RadixTree<V> {
    type Item = (u64, V);
    type IntoIter = IntoIter<V>;

    fn into_iter(self) -> IntoIter<V> {
        IntoIter::new(self)
    }
}

impl<V: Value> IntoIter<V> {
    pub(crate) fn new(tree: RadixTree<V>) -> IntoIter<V> {
        IntoIter { tree, drain: Drain::new() }
    }
}

impl<V: Value> Iterator for IntoIter<V> {
    type Item = (u64, V);

    fn next(&mut self) -> Option<(u64, V)> {
        let (index, word) = self.drain.next(self.tree.raw_mut(), &pin())?;
        // SAFETY: the word was in a slot, so it has not been taken back; `drain` has taken it out.
        Some((index, unsafe { V::from_word(word) }))
    }
}

impl<V: Value> FusedIterator for IntoIter<V> {}

impl<V: Value> fmt::Debug for IntoIter<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntoIter").finish_non_exhaustive()
    }
}
