//! Operations on more than one entry.

use core::ops::RangeBounds;

use arrayvec::ArrayVec;

use super::Pinned;
use crate::batch::Batch;
use crate::bounds::inclusive;
use crate::iter::{Range, RangeTagged};
use crate::raw::NewValue;
use crate::tag::{TagFilter, TagSet};
use crate::value::Value;

impl<V: Value> Pinned<'_, V> {
    /// The entry with the lowest index.
    ///
    /// # Concurrency
    /// As [`range`](Pinned::range).
    /// # Complexity
    /// O(height), no allocation.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::RadixTree;
    ///
    /// let tree: RadixTree<Box<char>> = RadixTree::from_iter([(5, Box::new('a')), (70, Box::new('b'))]);
    /// assert_eq!(tree.pin().first(), Some((5, &'a')));
    /// ```
    pub fn first(&self) -> Option<(u64, V::Ref<'_>)> {
        self.range(..).next()
    }

    /// The entry with the highest index.
    ///
    /// # Concurrency
    /// As [`range`](Pinned::range).
    /// # Complexity
    /// O(height), no allocation.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::RadixTree;
    ///
    /// let tree: RadixTree<Box<char>> = RadixTree::from_iter([(5, Box::new('a')), (70, Box::new('b'))]);
    /// assert_eq!(tree.pin().last(), Some((70, &'b')));
    /// ```
    pub fn last(&self) -> Option<(u64, V::Ref<'_>)> {
        self.range(..).next_back()
    }

    /// The first entry at or above `index`.
    ///
    /// # Concurrency
    /// As [`range`](Pinned::range).
    /// # Complexity
    /// O(height), no allocation.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::RadixTree;
    ///
    /// let tree: RadixTree<Box<char>> = RadixTree::from_iter([(5, Box::new('a')), (70, Box::new('b'))]);
    /// let pinned = tree.pin();
    /// assert_eq!(pinned.next(5), Some((5, &'a')));
    /// assert_eq!(pinned.next(6), Some((70, &'b')));
    /// assert_eq!(pinned.next(71), None);
    /// ```
    pub fn next(&self, index: u64) -> Option<(u64, V::Ref<'_>)> {
        self.range(index..).next()
    }

    /// The last entry at or below `index`.
    ///
    /// # Concurrency
    /// As [`range`](Pinned::range).
    /// # Complexity
    /// O(height), no allocation.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::RadixTree;
    ///
    /// let tree: RadixTree<Box<char>> = RadixTree::from_iter([(5, Box::new('a')), (70, Box::new('b'))]);
    /// let pinned = tree.pin();
    /// assert_eq!(pinned.prev(69), Some((5, &'a')));
    /// assert_eq!(pinned.prev(4), None);
    /// ```
    pub fn prev(&self, index: u64) -> Option<(u64, V::Ref<'_>)> {
        self.range(..=index).next_back()
    }

    /// The entries in `bounds`, in ascending order, and from the end in descending order. An empty or inverted range has
    /// none.
    ///
    /// # Concurrency
    /// Wait-free for each entry. Not a snapshot: every entry that is there during the whole scan is reported, each index at
    /// most once, and what is reported was there at one instant of the scan. The body of the loop may change the tree.
    /// # Complexity
    /// O(height) to start, then O(1) an entry and O(nodes) for the nodes in the range.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = (0..100).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    /// let pinned = tree.pin();
    /// let mut range = pinned.range(10..=12).map(|(index, _)| index);
    /// assert_eq!((range.next(), range.next_back(), range.next()), (Some(10), Some(12), Some(11)));
    /// assert_eq!(range.next_back(), None);
    /// ```
    pub fn range(&self, bounds: impl RangeBounds<u64>) -> Range<'_, V> {
        Range::new(self.tree.raw(), &bounds, self.guard())
    }

    /// All entries, in ascending order, and from the end in descending order.
    ///
    /// # Concurrency
    /// As [`range`](Pinned::range).
    /// # Complexity
    /// As [`range`](Pinned::range).
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = (0..100).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    /// assert_eq!(tree.pin().iter().count(), 100);
    /// ```
    pub fn iter(&self) -> Range<'_, V> {
        self.range(..)
    }

    /// The entries in `bounds` that pass `filter`, with their tags, in ascending order, and from the end in descending
    /// order. An empty or inverted range has none.
    ///
    /// # Concurrency
    /// Not a snapshot: every entry that passes during the whole scan is reported, each index at most once, and the value
    /// and tags that are reported were those of the entry at one instant of the scan. An entry is read again when a writer
    /// of its leaf intervenes; after a few repetitions the scan waits for the leaf's lock. The body of the loop may change the
    /// tree. `for_each`, `fold` and what uses them read a leaf at once: what their closure does to the next entries of that leaf
    /// comes too late to be seen.
    /// # Complexity
    /// O(height) to start, then O(1) an entry and O(nodes) for the nodes with an entry that has all the tags asked for.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree, Tag, TagFilter};
    ///
    /// let tree: RadixTree<Inline> = (0..100).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    /// let pinned = tree.pin();
    /// pinned.set_tag(3, Tag::T0);
    /// pinned.set_tag(99, Tag::T0);
    /// pinned.set_tag(99, Tag::T1);
    /// let filter = TagFilter::all_of(Tag::T0).and_none_of(Tag::T1);
    /// let found: Vec<u64> = pinned.range_tagged(.., filter).map(|(index, ..)| index).collect();
    /// assert_eq!(found, [3]);
    /// ```
    pub fn range_tagged(
        &self,
        bounds: impl RangeBounds<u64>,
        filter: impl Into<TagFilter>,
    ) -> RangeTagged<'_, V> {
        RangeTagged::new(self.tree.raw(), &bounds, filter.into(), self.guard())
    }

    /// Fills `batch` with entries in ascending order from `start` on.
    ///
    /// Returns the index to go on from, or `None` if there is nothing more; when the last entry just fills the batch, it may
    /// be told only by the next call. The batch is not cleared first; one without room gives back `Some(start)`.
    ///
    /// # Concurrency
    /// As [`range`](Pinned::range). Going on under another guard keeps what is said there.
    /// # Complexity
    /// O(height) to start, then as [`range`](Pinned::range); no allocation.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{ArrayVec, Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = (0..10).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    /// let pinned = tree.pin();
    /// let mut batch = ArrayVec::<(u64, Inline), 4>::new();
    /// assert_eq!(pinned.gang_lookup(3, &mut batch), Some(7));
    /// assert_eq!(batch[3].0, 6);
    /// ```
    pub fn gang_lookup<'p, const N: usize>(
        &'p self,
        start: u64,
        batch: &mut ArrayVec<(u64, V::Ref<'p>), N>,
    ) -> Option<u64> {
        self.gang_lookup_tagged(start, TagFilter::ANY, batch)
    }

    /// Fills `batch` with entries that pass `filter`, in ascending order from `start` on.
    ///
    /// Returns the index to go on from, or `None` if there is nothing more; when the last such entry just fills the batch, it
    /// may be told only by the next call. The batch is not cleared first; one without room gives back `Some(start)`.
    ///
    /// # Concurrency
    /// As [`range_tagged`](Pinned::range_tagged), with all entries of one leaf read at one instant. Going on under another
    /// guard keeps what is said there.
    /// # Complexity
    /// O(height) to start, then as [`range_tagged`](Pinned::range_tagged); no allocation.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{ArrayVec, Inline, RadixTree, Tag};
    ///
    /// let tree: RadixTree<Inline> = (0..10).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    /// let pinned = tree.pin();
    /// pinned.set_tag(5, Tag::T0);
    /// let mut batch = ArrayVec::<(u64, Inline), 16>::new();
    /// assert_eq!(pinned.gang_lookup_tagged(0, Tag::T0, &mut batch), None);
    /// assert_eq!(batch.len(), 1);
    /// ```
    pub fn gang_lookup_tagged<'p, const N: usize>(
        &'p self,
        start: u64,
        filter: impl Into<TagFilter>,
        batch: &mut ArrayVec<(u64, V::Ref<'p>), N>,
    ) -> Option<u64> {
        let item = |index, word| {
            // SAFETY: read from the tree under this guard.
            (index, unsafe { self.value(word) })
        };
        self.tree.raw().gang_lookup(start, filter.into(), batch, item, self.guard())
    }

    /// Adds entries in `bounds` that pass `filter` to `batch`, in ascending order, at most `max`.
    ///
    /// A batch is a `Vec`, an [`ArrayVec`], or a slice of [`Option`]s: see [`Batch`]. Returns the index to go on from, or `None` if
    /// the range has nothing more; when the last such entry is just the last that was wanted, it may be told only by the next call.
    /// With a `max` of 0, or a batch without room, it gives back the start of the range.
    ///
    /// # Concurrency
    /// As [`range`](Pinned::range) with [`TagFilter::ANY`], else as [`range_tagged`](Pinned::range_tagged), with all entries of one leaf read
    /// at one instant. Going on under another guard keeps what is said there.
    /// # Complexity
    /// O(height) to start, then as [`range`](Pinned::range) or [`range_tagged`](Pinned::range_tagged). Allocates only what a `Vec` does.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree, Tag, TagFilter};
    ///
    /// let tree: RadixTree<Inline> = (0..10).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    /// let pinned = tree.pin();
    /// let mut batch = Vec::new();
    /// assert_eq!(pinned.gang_lookup_range(2..7, TagFilter::ANY, 3, &mut batch), Some(5));
    /// assert_eq!(pinned.gang_lookup_range(5..7, TagFilter::ANY, 3, &mut batch), None);
    /// assert!(batch.iter().map(|(index, _)| *index).eq(2..7));
    /// pinned.set_tag(4, Tag::T0);
    /// let mut slots = [None; 8];
    /// assert_eq!(pinned.gang_lookup_range(..9, Tag::T0, usize::MAX, &mut slots), None);
    /// assert!(slots[0].is_some_and(|(index, _)| index == 4) && slots[1].is_none());
    /// ```
    pub fn gang_lookup_range<'p>(
        &'p self,
        bounds: impl RangeBounds<u64>,
        filter: impl Into<TagFilter>,
        max: usize,
        batch: &mut (impl Batch<(u64, V::Ref<'p>)> + ?Sized),
    ) -> Option<u64> {
        let range = inclusive(&bounds)?;
        let (mut filled, max) = (batch.filled(), max.min(batch.room()));
        let put = |index, word| {
            // SAFETY: read from the tree under this guard.
            batch.put(filled, (index, unsafe { self.value(word) }));
            filled += 1;
        };
        self.tree.raw().gang_lookup_range(range, filter.into(), max, put, self.guard())
    }

    /// Removes all entries in `bounds`, with their tags; returns how many.
    ///
    /// # Concurrency
    /// Removes entry after entry, in ascending order. Every entry that is there during the whole call is removed.
    /// # Complexity
    /// O(leaves in the range), and the entries' drops.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = (0..100).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    /// assert_eq!(tree.pin().remove_range(90..), 10);
    /// assert_eq!(tree.len(), 90);
    /// ```
    pub fn remove_range(&self, bounds: impl RangeBounds<u64>) -> u64 {
        let Some(range) = inclusive(&bounds) else { return 0 };
        let removed = |words| {
            // SAFETY: `remove_range` has just taken them out of the tree.
            unsafe { self.retire_all(words) };
        };
        self.told(|op| op.remove_range(range, removed))
    }

    /// Removes the entries of which `keep` says no; returns how many.
    ///
    /// # Concurrency
    /// `keep` runs outside all locks, on value and tags of one instant. The entry is removed only if it has not changed by
    /// then; if it has, `keep` is asked again.
    /// # Complexity
    /// O(entries), and O(height) for each that is removed.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = (0..100).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    /// assert_eq!(tree.pin().retain(|index, _, _| index % 3 == 0), 66);
    /// ```
    pub fn retain(&self, mut keep: impl FnMut(u64, V::Ref<'_>, TagSet) -> bool) -> u64 {
        let mut removed = 0;
        for (index, value, tags) in self.range_tagged(.., TagFilter::ANY) {
            if keep(index, value, tags) {
                continue;
            }
            let expected = crate::raw::Entry { value: V::ref_word(value), tags };
            // The word is compared, and the one from the slot is retired.
            let gone = match self.change_if(index, expected, NewValue::Remove) {
                Ok(word) => {
                    // SAFETY: the change has just taken it out of the tree.
                    unsafe { self.retire(word) };
                    true
                }
                Err(_) => self.remove_if(index, |value, tags| !keep(index, value, tags)).is_ok(),
            };
            removed += u64::from(gone);
        }
        removed
    }
}
