//! The tree as its users hold it.

use core::fmt;
use core::marker::PhantomData;
use core::ops::RangeBounds;

use arrayvec::ArrayVec;

use crate::batch::Batch;
use crate::bounds::inclusive;
use crate::check::Violation;
use crate::flight::Flights;
use crate::raw;
use crate::reclaim::{Drops, pin};
use crate::stats::Stats;
use crate::sync::const_unless_checked;
use crate::tag::{Tag, TagFilter};
use crate::value::{CloneValue, Value};

/// A concurrent map from `u64` to values of one word, in which every entry can carry four tags.
///
/// All operations on entries are methods of [`Pinned`](crate::Pinned), which [`pin`](RadixTree::pin) returns. Any number of threads may
/// use all of them at the same time through a shared reference. The tree is `Send` and `Sync` if its values are.
///
/// # Examples
/// ```
/// use tagged_radix::{RadixTree, Tag};
///
/// const DIRTY: Tag = Tag::T0;
/// let tree: RadixTree<Box<&str>> = RadixTree::new();
/// let pinned = tree.pin();
/// pinned.insert(4096, Box::new("page"));
/// pinned.set_tag(4096, DIRTY);
/// assert!(tree.any_tagged(DIRTY));
/// let dirty: Vec<u64> = pinned.range_tagged(.., DIRTY).map(|(index, ..)| index).collect();
/// assert_eq!(dirty, [4096]);
/// ```
pub struct RadixTree<V: Value> {
    raw: raw::Tree,
    flights: Flights,
    values: PhantomData<V>,
}

impl<V: Value> RadixTree<V> {
    const_unless_checked! {
        /// An empty tree. Allocates nothing.
        ///
        /// # Examples
        /// ```
        /// use tagged_radix::{Inline, RadixTree};
        ///
        /// static TREE: RadixTree<Inline> = RadixTree::new();
        /// assert!(TREE.is_empty());
        /// ```
        #[must_use]
        pub const fn new() -> RadixTree<V> {
            RadixTree { raw: raw::Tree::new(), flights: Flights::new(), values: PhantomData }
        }
    }

    /// The number of entries.
    ///
    /// # Concurrency
    /// Counts the 64 entries of a leaf at one instant, leaf after leaf, under the leaf's lock if writers go on in it. Entries that come or go
    /// during the call may be counted or not.
    /// # Complexity
    /// O(leaves): it counts 64 entries at a time. Writers pay nothing for it; there is no counter.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = (0..100).filter_map(|i| Some((i * i, Inline::new(i)?))).collect();
    /// assert_eq!(tree.len(), 100);
    /// ```
    pub fn len(&self) -> u64 {
        self.raw.count(0, u64::MAX, TagFilter::ANY, &pin())
    }

    /// Whether there is no entry.
    ///
    /// # Concurrency
    /// Wait-free, one load. While the last entry is being removed, it may still say no when
    /// [`Pinned::get`](crate::Pinned::get) finds the entry gone already.
    /// # Complexity
    /// O(1).
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// assert!(RadixTree::<Inline>::new().is_empty());
    /// ```
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Whether it may be worth looking for an entry that has `tag`: if false, none has it.
    ///
    /// Stays true after the last entry has lost the tag, until somebody has looked: a walk for the tag over the whole tree that finds none makes this
    /// false, unless a writer or another walk is in the way; then a later one does. So a tag that is set and cleared again and again costs nothing above its entry. To ask whether some entry
    /// *has* the tag, look: `pinned.range_tagged(.., tag).next().is_some()`, or [`count_tagged`](crate::Pinned::count_tagged).
    ///
    /// # Concurrency
    /// Wait-free, one load. Never false while a completed set stands.
    /// # Complexity
    /// O(1).
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree, Tag};
    ///
    /// let tree: RadixTree<Inline> = RadixTree::from_iter([(5, Inline::new(0).unwrap())]);
    /// assert!(!tree.any_tagged(Tag::T1));
    /// tree.pin().set_tag(5, Tag::T1);
    /// assert!(tree.any_tagged(Tag::T1));
    /// tree.pin().clear_tag(5, Tag::T1);
    /// assert_eq!(tree.pin().count_tagged(.., Tag::T1), 0); // looks,
    /// assert!(!tree.any_tagged(Tag::T1)); // and now it is known
    /// ```
    #[inline]
    pub fn any_tagged(&self, tag: Tag) -> bool {
        self.raw.any_tagged(tag)
    }

    /// Counts what the tree consists of: entries, nodes, bytes.
    ///
    /// # Concurrency
    /// Takes no lock. What changes during the call may be counted or not.
    /// # Complexity
    /// O(nodes).
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = RadixTree::from_iter([(u64::MAX, Inline::new(0).unwrap())]);
    /// assert_eq!((tree.stats().leaves(), tree.stats().inner_nodes()), (1, 0));
    /// ```
    pub fn stats(&self) -> Stats {
        self.raw.stats(&pin())
    }

    /// Checks every structural invariant of the tree.
    ///
    /// For tests, fuzzers, and for users who suspect their own unsafe code of writing where it should not.
    ///
    /// # Concurrency
    /// Exact while nobody writes, or walks for a tag, which may lower summaries. Who does so meanwhile can cause a report without a fault.
    /// # Complexity
    /// O(nodes).
    /// # Errors
    /// The first [`Violation`] that it finds.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = (0..1000).filter_map(|i| Some((i << 7, Inline::new(i)?))).collect();
    /// tree.check()?;
    /// # Ok::<(), tagged_radix::Violation>(())
    /// ```
    pub fn check(&self) -> Result<(), Violation> {
        self.raw.check(&pin())
    }

    #[inline]
    pub(crate) fn raw(&self) -> &raw::Tree {
        &self.raw
    }

    /// The values that are being made.
    pub(crate) fn flights(&self) -> &Flights {
        &self.flights
    }

    pub(crate) fn raw_mut(&mut self) -> &mut raw::Tree {
        &mut self.raw
    }
}

/// Lookups that return owned values: no guard outlives the call, so the caller may block or wait as it likes.
impl<V: CloneValue> RadixTree<V> {
    /// An owned copy of the value at `index`.
    ///
    /// # Concurrency
    /// As [`Pinned::get`](crate::Pinned::get).
    /// # Complexity
    /// O(height), and a guard.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use tagged_radix::RadixTree;
    ///
    /// let tree: RadixTree<Arc<u32>> = RadixTree::from_iter([(8, Arc::new(64))]);
    /// let value: Option<Arc<u32>> = tree.get_owned(8);
    /// assert_eq!(value.as_deref(), Some(&64));
    /// ```
    pub fn get_owned(&self, index: u64) -> Option<V> {
        self.pin().get(index).map(V::clone_value)
    }

    /// Fills `batch` with entries in ascending order from `start` on, as owned values.
    ///
    /// Returns the index to go on from, or `None` if there is nothing more; when the last entry just fills the batch, it may
    /// be told only by the next call. The batch is not cleared first; one without room gives back `Some(start)`.
    ///
    /// # Concurrency
    /// As [`Pinned::gang_lookup`](crate::Pinned::gang_lookup).
    /// # Complexity
    /// As [`Pinned::gang_lookup`](crate::Pinned::gang_lookup), and a guard.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use tagged_radix::{ArrayVec, RadixTree};
    ///
    /// let tree: RadixTree<Arc<u64>> = (0..10).map(|i| (i, Arc::new(i))).collect();
    /// let mut batch = ArrayVec::<(u64, Arc<u64>), 4>::new();
    /// let (mut next, mut seen) = (Some(0), 0);
    /// while let Some(start) = next {
    ///     next = tree.gang_lookup_owned(start, &mut batch);
    ///     seen += batch.drain(..).count();
    /// }
    /// assert_eq!(seen, 10);
    /// ```
    pub fn gang_lookup_owned<const N: usize>(
        &self,
        start: u64,
        batch: &mut ArrayVec<(u64, V), N>,
    ) -> Option<u64> {
        self.gang_lookup_tagged_owned(start, TagFilter::ANY, batch)
    }

    /// Fills `batch` with entries that pass `filter`, in ascending order from `start` on, as owned values.
    ///
    /// Returns the index to go on from, or `None` if there is nothing more; when the last such entry just fills the batch, it
    /// may be told only by the next call. The batch is not cleared first; one without room gives back `Some(start)`.
    ///
    /// # Concurrency
    /// As [`Pinned::gang_lookup_tagged`](crate::Pinned::gang_lookup_tagged). When a writer intervenes, some copies may be made and dropped again. No lock is held
    /// while a copy is made or dropped.
    /// # Complexity
    /// As [`Pinned::gang_lookup_tagged`](crate::Pinned::gang_lookup_tagged), and a guard.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use tagged_radix::{ArrayVec, RadixTree, Tag};
    ///
    /// const DIRTY: Tag = Tag::T0;
    /// let tree: RadixTree<Arc<u64>> = (0..10).map(|i| (i, Arc::new(i))).collect();
    /// tree.pin().set_tag(6, DIRTY);
    /// let mut batch = ArrayVec::<(u64, Arc<u64>), 16>::new();
    /// assert_eq!(tree.gang_lookup_tagged_owned(0, DIRTY, &mut batch), None);
    /// assert_eq!(batch[0].0, 6);
    /// ```
    pub fn gang_lookup_tagged_owned<const N: usize>(
        &self,
        start: u64,
        filter: impl Into<TagFilter>,
        batch: &mut ArrayVec<(u64, V), N>,
    ) -> Option<u64> {
        let guard = pin();
        let item = |index, word| {
            // SAFETY: the word was read from this tree under `guard`, and what leaves the tree is dropped only when no
            // guard is left that could see it.
            (index, V::clone_value(unsafe { V::as_ref(word) }))
        };
        self.raw.gang_lookup(start, filter.into(), batch, item, &guard)
    }

    /// Adds entries in `bounds` that pass `filter` to `batch`, in ascending order, at most `max`, as owned values.
    ///
    /// # Concurrency
    /// As [`Pinned::gang_lookup_range`](crate::Pinned::gang_lookup_range). No lock is held while a copy is made.
    /// # Complexity
    /// As [`Pinned::gang_lookup_range`](crate::Pinned::gang_lookup_range), and a guard.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use tagged_radix::{RadixTree, TagFilter};
    ///
    /// let tree: RadixTree<Arc<u64>> = (0..10).map(|i| (i, Arc::new(i))).collect();
    /// let mut batch: Vec<(u64, Arc<u64>)> = Vec::new();
    /// assert_eq!(tree.gang_lookup_range_owned(4..8, TagFilter::ANY, 100, &mut batch), None);
    /// assert_eq!(batch.len(), 4);
    /// ```
    pub fn gang_lookup_range_owned(
        &self,
        bounds: impl RangeBounds<u64>,
        filter: impl Into<TagFilter>,
        max: usize,
        batch: &mut (impl Batch<(u64, V)> + ?Sized),
    ) -> Option<u64> {
        let range = inclusive(&bounds)?;
        let (mut filled, max) = (batch.filled(), max.min(batch.room()));
        let guard = pin();
        let put = |index, word| {
            // SAFETY: the word was read from this tree under `guard`, and what leaves the tree is dropped only when no
            // guard is left that could see it.
            batch.put(filled, (index, V::clone_value(unsafe { V::as_ref(word) })));
            filled += 1;
        };
        self.raw.gang_lookup_range(range, filter.into(), max, put, &guard)
    }
}

impl<V: Value> Default for RadixTree<V> {
    fn default() -> RadixTree<V> {
        RadixTree::new()
    }
}

impl<V: Value> Drop for RadixTree<V> {
    fn drop(&mut self) {
        let mut drops = Drops::default();
        self.raw.clear(|word| {
            if core::mem::needs_drop::<V>() {
                drops.run(|| {
                    // SAFETY: the word was in a slot, so it has not been taken back; `clear` takes it out of the tree.
                    drop(unsafe { V::from_word(word) });
                });
            }
        });
        drops.finish();
    }
}

impl<V: Value> fmt::Debug for RadixTree<V>
where
    for<'g> V::Ref<'g>: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alternate = f.alternate();
        let (mut map, mut next) = (f.debug_map(), Some(0));
        while let Some(start) = next {
            let Some((index, text)) = self.entry_text(start, alternate) else { break };
            map.entry(&index, &format_args!("{text}"));
            next = index.checked_add(1);
        }
        map.finish()
    }
}

impl<V: Value> RadixTree<V>
where
    for<'g> V::Ref<'g>: fmt::Debug,
{
    /// The first entry from `start` on, its value and tags as a text: what is printed to may take its time, and no guard is held
    /// meanwhile.
    fn entry_text(&self, start: u64, alternate: bool) -> Option<(u64, String)> {
        let pinned = self.pin();
        let (index, value, tags) = pinned.range_tagged(start.., TagFilter::ANY).next()?;
        let entry = (value, tags);
        Some((index, if alternate { format!("{entry:#?}") } else { format!("{entry:?}") }))
    }
}

impl<V: Value> FromIterator<(u64, V)> for RadixTree<V> {
    fn from_iter<I: IntoIterator<Item = (u64, V)>>(entries: I) -> RadixTree<V> {
        let (tree, mut entries) = (RadixTree::new(), entries.into_iter().fuse());
        loop {
            // Nobody sees the tree yet. No guard is held while the iterator is asked: it may take its time.
            let batch: ArrayVec<(u64, V), 64> = entries.by_ref().take(64).collect();
            if batch.is_empty() {
                return tree;
            }
            let pinned = tree.pin();
            for (index, value) in batch {
                pinned.insert(index, value);
            }
        }
    }
}

impl<V: Value> Extend<(u64, V)> for RadixTree<V> {
    fn extend<I: IntoIterator<Item = (u64, V)>>(&mut self, entries: I) {
        (&*self).extend(entries);
    }
}

impl<V: Value> Extend<(u64, V)> for &RadixTree<V> {
    fn extend<I: IntoIterator<Item = (u64, V)>>(&mut self, entries: I) {
        for (index, value) in entries {
            // A guard each: the next entry may be long in coming.
            self.pin().insert(index, value);
        }
    }
}
