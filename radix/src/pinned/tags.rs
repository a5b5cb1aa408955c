//! Operations on tags.

use core::ops::RangeBounds;

use super::Pinned;
use crate::bounds::inclusive;
use crate::tag::{Tag, TagFilter, TagRange, TagSet, TagUpdate};
use crate::value::Value;

impl<V: Value> Pinned<'_, V> {
    /// The tags of the entry at `index`, or `None` if there is no entry.
    ///
    /// # Concurrency
    /// As [`get_with_tags`](Pinned::get_with_tags).
    /// # Complexity
    /// O(height), no allocation.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree, TagSet};
    ///
    /// let tree: RadixTree<Inline> = RadixTree::from_iter([(1, Inline::new(10).unwrap())]);
    /// assert_eq!(tree.pin().tags(1), Some(TagSet::EMPTY));
    /// assert_eq!(tree.pin().tags(2), None);
    /// ```
    pub fn tags(&self, index: u64) -> Option<TagSet> {
        self.tree.raw().tags(index, self.guard())
    }

    /// Whether there is an entry at `index` that has `tag`.
    ///
    /// # Concurrency
    /// Takes effect at one instant between call and return. A tag that is set is found without a retry; that one is not
    /// set is read again when a writer of the same leaf intervenes.
    /// # Complexity
    /// O(height), no allocation.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree, Tag};
    ///
    /// let tree: RadixTree<Inline> = RadixTree::from_iter([(1, Inline::new(10).unwrap())]);
    /// assert!(!tree.pin().has_tag(1, Tag::T0));
    /// ```
    #[inline]
    pub fn has_tag(&self, index: u64, tag: Tag) -> bool {
        self.tree.raw().has_tag(index, tag, self.guard())
    }

    /// Sets `tag` on the entry at `index`; returns whether it was clear before.
    ///
    /// Does nothing and returns `None` if there is no entry.
    ///
    /// # Concurrency
    /// Takes effect at one instant between call and return. A tag that is set already takes no lock. Otherwise locks the
    /// leaf, and the nodes above as far as none of their entries has had the tag since a walk for it last passed by.
    /// # Complexity
    /// O(height), no allocation.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree, Tag};
    ///
    /// let tree: RadixTree<Inline> = RadixTree::from_iter([(1, Inline::new(10).unwrap())]);
    /// let pinned = tree.pin();
    /// assert_eq!(pinned.set_tag(1, Tag::T0), Some(true));
    /// assert_eq!(pinned.set_tag(1, Tag::T0), Some(false));
    /// assert_eq!(pinned.set_tag(2, Tag::T0), None);
    /// ```
    #[inline]
    pub fn set_tag(&self, index: u64, tag: Tag) -> Option<bool> {
        self.told(|op| op.set_tag(index, tag))
    }

    /// Clears `tag` on the entry at `index`; returns whether it was set before.
    ///
    /// Does nothing and returns `None` if there is no entry.
    ///
    /// # Concurrency
    /// Takes effect at one instant between call and return. Locks the leaf alone, also if this was the last entry with the tag: the next walk for
    /// the tag comes to the leaf in vain, once, and [`any_tagged`](crate::RadixTree::any_tagged) stays true until then.
    /// # Complexity
    /// O(height), no allocation.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree, Tag};
    ///
    /// let tree: RadixTree<Inline> = RadixTree::from_iter([(1, Inline::new(10).unwrap())]);
    /// let pinned = tree.pin();
    /// assert_eq!(pinned.clear_tag(1, Tag::T0), Some(false));
    /// assert_eq!(pinned.clear_tag(2, Tag::T0), None);
    /// ```
    #[inline]
    pub fn clear_tag(&self, index: u64, tag: Tag) -> Option<bool> {
        self.told(|op| op.clear_tag(index, tag))
    }

    /// Sets and clears tags of the entry at `index` in one step; a tag in both sets ends up set.
    ///
    /// Does nothing and returns `None` if there is no entry.
    ///
    /// # Concurrency
    /// Takes effect at one instant between call and return: nobody sees one tag gone and the other not yet there.
    /// # Complexity
    /// O(height), no allocation.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree, Tag, TagSet};
    ///
    /// const DIRTY: Tag = Tag::T0;
    /// const WRITEBACK: Tag = Tag::T1;
    /// let tree: RadixTree<Inline> = RadixTree::from_iter([(1, Inline::new(10).unwrap())]);
    /// let pinned = tree.pin();
    /// pinned.set_tag(1, DIRTY);
    /// let update = pinned.update_tags(1, WRITEBACK, DIRTY).unwrap();
    /// assert_eq!((update.before, update.after), (DIRTY.into(), WRITEBACK.into()));
    /// assert_eq!(update.tree_edges.tagged, TagSet::from(WRITEBACK));
    /// ```
    pub fn update_tags(
        &self,
        index: u64,
        set: impl Into<TagSet>,
        clear: impl Into<TagSet>,
    ) -> Option<TagUpdate> {
        self.told(|op| op.update_tags(index, set.into(), clear.into()))
    }

    /// The number of entries in `bounds` that pass `filter`.
    ///
    /// # Concurrency
    /// Counts the 64 entries of a leaf at one instant, leaf after leaf. Every entry that passes during the whole call is
    /// counted, none that never passes is.
    /// # Complexity
    /// O(leaves that have each of the tags asked for, and those that lost the last of one since a walk for it passed by).
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree, Tag, TagFilter};
    ///
    /// let tree: RadixTree<Inline> = (0..100).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    /// let pinned = tree.pin();
    /// pinned.tag_range(10..20, Tag::T0, tagged_radix::TagSet::EMPTY);
    /// assert_eq!(pinned.count_tagged(.., Tag::T0), 10);
    /// assert_eq!(pinned.count_tagged(..15, TagFilter::none_of(Tag::T0)), 10);
    /// ```
    pub fn count_tagged(&self, bounds: impl RangeBounds<u64>, filter: impl Into<TagFilter>) -> u64 {
        let Some((low, high)) = inclusive(&bounds) else { return 0 };
        self.tree.raw().count(low, high, filter.into(), self.guard())
    }

    /// Sets and clears tags of every entry in `bounds`; returns how many entries changed. A tag in both sets ends up set.
    ///
    /// # Concurrency
    /// Changes the 64 entries of a leaf at one instant, leaf after leaf. Every entry that is there during the whole call is
    /// changed.
    /// # Complexity
    /// O(leaves in the range): it works on words of 64 entries.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree, Tag, TagSet};
    ///
    /// let tree: RadixTree<Inline> = (0..100).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    /// let pinned = tree.pin();
    /// assert_eq!(pinned.tag_range(..50, Tag::T0, TagSet::EMPTY), 50);
    /// assert_eq!(pinned.tag_range(.., TagSet::EMPTY, Tag::T0), 50);
    /// ```
    pub fn tag_range(
        &self,
        bounds: impl RangeBounds<u64>,
        set: impl Into<TagSet>,
        clear: impl Into<TagSet>,
    ) -> u64 {
        let Some(range) = inclusive(&bounds) else { return 0 };
        self.told(|op| op.tag_range(range, set.into(), clear.into()))
    }

    /// Sets and clears tags of the entries at `indices`; returns how many changed. A tag in both sets ends up set.
    ///
    /// The form of [`set_tag`](Pinned::set_tag) and [`clear_tag`](Pinned::clear_tag) for many entries: it goes down the tree once for each run of
    /// indices that lie side by side in the list and within the same 64. Best is an ascending list; in any order, and with repetitions, it
    /// does the same with more descents. Indices without an entry are passed over.
    ///
    /// # Concurrency
    /// A run is changed at one instant, run after run, in the order of the list. Locks the leaf of a run, and the nodes above as [`update_tags`](Pinned::update_tags)
    /// does. The list is read outside all locks.
    /// # Complexity
    /// O(height) a run and O(1) an index; no allocation.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree, Tag, TagSet};
    ///
    /// let tree: RadixTree<Inline> = (0..100).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    /// let pinned = tree.pin();
    /// assert_eq!(pinned.tag_indices(&[3, 5, 70, 700], Tag::T0, TagSet::EMPTY), 3);
    /// assert_eq!(pinned.tag_indices(&[5, 6, 70], TagSet::EMPTY, Tag::T0), 2);
    /// assert!(pinned.has_tag(3, Tag::T0));
    /// ```
    pub fn tag_indices(
        &self,
        indices: &[u64],
        set: impl Into<TagSet>,
        clear: impl Into<TagSet>,
    ) -> u64 {
        self.told(|op| op.tag_indices(indices, set.into(), clear.into()))
    }

    /// Sets `to` on the entries in `bounds` that have `from`; stops when `limit` entries have got it (with a limit of 0, at
    /// once).
    ///
    /// The cut of a checkpoint or an `fsync`: mark what is dirty now, then work through the marks, however many entries
    /// others dirty meanwhile.
    ///
    /// # Concurrency
    /// Works on the 64 entries of a leaf at one instant, leaf after leaf. Every entry that has `from` during the whole call
    /// has `to` when it returns, unless another call cleared it; none that gets `from` after the return has it.
    /// # Complexity
    /// O(leaves with an entry that has `from`, and those that lost their last one since a walk passed by): it works on words of 64 entries.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree, Tag, TagSet};
    ///
    /// const DIRTY: Tag = Tag::T0;
    /// const TO_WRITE: Tag = Tag::T2;
    /// let tree: RadixTree<Inline> = (0..100).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    /// let pinned = tree.pin();
    /// pinned.tag_range(40..60, DIRTY, TagSet::EMPTY);
    /// let (mut next, mut marked) = (Some(0), 0);
    /// while let Some(start) = next {
    ///     let done = pinned.tag_range_if_tagged(start.., DIRTY, TO_WRITE, 8);
    ///     (next, marked) = (done.next, marked + done.count);
    /// }
    /// assert_eq!(marked, 20);
    /// ```
    pub fn tag_range_if_tagged(
        &self,
        bounds: impl RangeBounds<u64>,
        from: Tag,
        to: Tag,
        limit: u64,
    ) -> TagRange {
        let Some(range) = inclusive(&bounds) else {
            return TagRange { count: 0, next: None };
        };
        let (count, next) = self.told(|op| op.tag_range_if_tagged(range, (from, to), limit));
        TagRange { count, next }
    }
}
