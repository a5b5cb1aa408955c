//! Parallel walks with rayon.
//!
//! A guard belongs to its thread, and rayon hands pieces of a walk to any. So each piece pins for itself, takes entries in
//! batches, and lets go of the guard before anybody sees them: no guard is held across a split, nor while the consumer runs.

use core::marker::PhantomData;
use core::ops::RangeBounds;

use rayon::iter::ParallelIterator;
use rayon::iter::plumbing::{Folder, UnindexedConsumer, UnindexedProducer, bridge_unindexed};

use crate::iter::inclusive;
use crate::pinned::Pinned;
use crate::reclaim::pin;
use crate::tag::{TagFilter, TagSet};
use crate::tree::RadixTree;
use crate::value::{CloneValue, Value};

/// Entries taken under one guard.
const BATCH: usize = 256;

impl<V: CloneValue + Sync> RadixTree<V> {
    /// All entries, in parallel, with owned values.
    ///
    /// # Concurrency
    /// As [`par_range_tagged`](RadixTree::par_range_tagged).
    /// # Complexity
    /// That of [`Pinned::iter`] and of cloning the values, shared by the threads. Worth it from some ten thousand entries on.
    ///
    /// # Examples
    /// ```
    /// use rayon::prelude::*;
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = (0..100_000).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    /// let sum: u64 = tree.par_iter().map(|(_, value)| value.get()).sum();
    /// assert_eq!(sum, 99_999 * 100_000 / 2);
    /// ```
    pub fn par_iter(&self) -> impl ParallelIterator<Item = (u64, V)> {
        self.par_range(..)
    }

    /// The entries of a range, in parallel, with owned values.
    ///
    /// # Concurrency
    /// As [`par_range_tagged`](RadixTree::par_range_tagged).
    /// # Complexity
    /// As [`par_iter`](RadixTree::par_iter).
    ///
    /// # Examples
    /// ```
    /// use rayon::prelude::*;
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = (0..100_000).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    /// assert_eq!(tree.par_range(500..).count(), 99_500);
    /// ```
    pub fn par_range(
        &self,
        bounds: impl RangeBounds<u64>,
    ) -> impl ParallelIterator<Item = (u64, V)> {
        let take = |pinned: &Pinned<'_, V>, low, high, batch: &mut Vec<(u64, V)>| {
            let entries = pinned.range(low..=high).take(BATCH);
            batch.extend(entries.map(|(index, value)| (index, V::clone_value(value))));
            batch.last().map(|(index, _)| *index)
        };
        ParWalk {
            tree: self,
            bounds: inclusive(&bounds),
            filter: TagFilter::ANY,
            take,
            items: PhantomData,
        }
    }

    /// The entries of a range that pass `filter`, in parallel, with owned values and their tags.
    ///
    /// # Concurrency
    /// The range is cut at the borders of nodes, and each piece is walked as by [`Pinned::range_tagged`]: every entry that
    /// passes the filter during the whole walk is reported, none twice, and each report was true at one instant. Within a
    /// piece, indices ascend. No guard is held when an entry is handed on: what consumes the walk may block, use the tree,
    /// or start parallel work of its own.
    /// # Complexity
    /// That of [`Pinned::range_tagged`] and of cloning the values, shared by the threads; memory for 256 entries a thread.
    ///
    /// # Examples
    /// ```
    /// use rayon::prelude::*;
    /// use tagged_radix::{Inline, RadixTree, Tag, TagSet};
    ///
    /// const DIRTY: Tag = Tag::T0;
    /// let tree: RadixTree<Inline> = (0..100_000).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    /// tree.pin().tag_range(1000..3000, DIRTY, TagSet::EMPTY);
    /// let mut dirty: Vec<u64> = tree.par_range_tagged(.., DIRTY).map(|(index, ..)| index).collect();
    /// dirty.sort_unstable();
    /// assert!(dirty.into_iter().eq(1000..3000));
    /// ```
    pub fn par_range_tagged(
        &self,
        bounds: impl RangeBounds<u64>,
        filter: impl Into<TagFilter>,
    ) -> impl ParallelIterator<Item = (u64, V, TagSet)> {
        self.par_range_tagged_with(bounds, filter, |index, value, tags| {
            (index, V::clone_value(value), tags)
        })
    }
}

impl<V: Value + Sync> RadixTree<V> {
    /// What `map` makes of the entries of a range that pass `filter`, in parallel: for values that cannot be cloned, or need
    /// not be.
    ///
    /// # Concurrency
    /// As [`par_range_tagged`](RadixTree::par_range_tagged). `map` runs under a guard, outside all locks, once for each entry
    /// that is reported; what consumes its results runs under none.
    /// # Complexity
    /// As [`par_range_tagged`](RadixTree::par_range_tagged), without the cloning.
    ///
    /// # Examples
    /// ```
    /// use rayon::prelude::*;
    /// use tagged_radix::{RadixTree, TagFilter};
    ///
    /// let tree: RadixTree<Box<String>> = (0..10_000).map(|i| (i, Box::new(i.to_string()))).collect();
    /// let longest =
    ///     tree.par_range_tagged_with(.., TagFilter::ANY, |_, name, _| name.len()).max();
    /// assert_eq!(longest, Some(4));
    /// ```
    pub fn par_range_tagged_with<T, F>(
        &self,
        bounds: impl RangeBounds<u64>,
        filter: impl Into<TagFilter>,
        map: F,
    ) -> impl ParallelIterator<Item = T>
    where
        T: Send,
        F: Fn(u64, V::Ref<'_>, TagSet) -> T + Sync + Send + Clone,
    {
        let filter = filter.into();
        let take = move |pinned: &Pinned<'_, V>, low, high, batch: &mut Vec<T>| {
            let mut last = None;
            for (index, value, tags) in pinned.range_tagged(low..=high, filter).take(BATCH) {
                batch.push(map(index, value, tags));
                last = Some(index);
            }
            last
        };
        ParWalk { tree: self, bounds: inclusive(&bounds), filter, take, items: PhantomData }
    }
}

/// A parallel walk. `take` puts the first [`BATCH`] entries of a range into a batch and returns the index of the last of them.
struct ParWalk<'t, V: Value, T, F> {
    tree: &'t RadixTree<V>,
    bounds: Option<(u64, u64)>,
    filter: TagFilter,
    take: F,
    items: PhantomData<fn() -> T>,
}

impl<V, T, F> ParallelIterator for ParWalk<'_, V, T, F>
where
    V: Value + Sync,
    T: Send,
    F: Fn(&Pinned<'_, V>, u64, u64, &mut Vec<T>) -> Option<u64> + Sync + Send,
{
    type Item = T;

    fn drive_unindexed<C: UnindexedConsumer<T>>(self, consumer: C) -> C::Result {
        let ParWalk { tree, bounds, filter, take, items } = self;
        bridge_unindexed(Piece { tree, bounds, filter, take: &take, items }, consumer)
    }
}

/// A part of the range, for one thread.
struct Piece<'p, V: Value, T, F> {
    tree: &'p RadixTree<V>,
    bounds: Option<(u64, u64)>,
    filter: TagFilter,
    take: &'p F,
    items: PhantomData<fn() -> T>,
}

impl<V, T, F> UnindexedProducer for Piece<'_, V, T, F>
where
    V: Value + Sync,
    T: Send,
    F: Fn(&Pinned<'_, V>, u64, u64, &mut Vec<T>) -> Option<u64> + Sync,
{
    type Item = T;

    fn split(self) -> (Self, Option<Self>) {
        let Some((low, high)) = self.bounds else { return (self, None) };
        let cut = self.tree.raw().cut(low, high, self.filter, &pin());
        let Some(cut) = cut else { return (self, None) };
        let upper = Piece { bounds: Some((cut, high)), ..self };
        (Piece { bounds: Some((low, cut - 1)), ..upper }, Some(upper))
    }

    fn fold_with<C: Folder<T>>(self, mut folder: C) -> C {
        let Some((mut low, high)) = self.bounds else { return folder };
        let mut batch = Vec::with_capacity(BATCH);
        while !folder.full() {
            let last = (self.take)(&self.tree.pin(), low, high, &mut batch);
            let full = batch.len() == BATCH;
            folder = folder.consume_iter(batch.drain(..));
            match last {
                Some(last) if full && last < high => low = last + 1,
                _ => break,
            }
        }
        folder
    }
}

impl<V: Value, T, F> Clone for Piece<'_, V, T, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V: Value, T, F> Copy for Piece<'_, V, T, F> {}
