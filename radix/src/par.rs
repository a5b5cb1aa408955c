//! Walks by several threads, with rayon.
//!
//! A guard belongs to its thread, and what it protects borrows from it. rayon cuts a walk in two whenever a thread has nothing
//! to do, hands one half to that thread, and may run any other job on a thread that waits. So no guard is held across a cut,
//! and none while rayon has an item: a piece of the walk pins, turns a batch of entries into items that borrow nothing, lets
//! go of the guard, and only then hands the items on.

use core::fmt;
use core::marker::PhantomData;
use core::ops::RangeBounds;

use rayon::iter::plumbing::{Folder, UnindexedConsumer, UnindexedProducer, bridge_unindexed};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::bounds::inclusive;
use crate::raw::Entry;
use crate::reclaim::pin;
use crate::tag::{TagFilter, TagSet};
use crate::tree::RadixTree;
use crate::value::{CloneValue, Value};

/// How many items are enough for one guard: the rest of their leaf comes on top.
const BATCH: usize = 256;

/// Walks by several threads, with [rayon](https://docs.rs/rayon): needs the feature `rayon`.
///
/// What these return is cut in two, at the first index of a node, whenever a thread has nothing to do; pieces of fewer than 64
/// leaves (4096 indices of a dense tree) are not cut. Each piece pins for itself. A guard belongs to its thread and can neither
/// follow a piece to another thread nor be kept while rayon runs other jobs on this one, so the items cannot borrow from it:
///
/// * as a [`ParallelIterator`], a walk gives *owned copies* of the values, as
///   [`gang_lookup_owned`](RadixTree::gang_lookup_owned) does: another handle for `Arc<T>`, the number for
///   [`Inline`](crate::Inline), the reference for `&'static T`;
/// * [`map_ref`](ParRange::map_ref) takes a function that is shown each value *by reference, under the guard* and returns an item
///   of any type. It serves every kind of value, `Box<T>` too, and costs no copy: the way to count, to sum, to look at one
///   field, or to filter before something is copied.
///
/// No guard is held while an adaptor behind it (`map`, `for_each`, `filter`, ..) runs: those may block, remove entries, or start
/// more parallel work.
///
/// # Concurrency
/// As [`Pinned::range`](crate::Pinned::range) and [`Pinned::range_tagged`](crate::Pinned::range_tagged), for the pieces taken together: every entry that passes during the whole
/// walk is reported, each index at most once, and what is reported was true at one instant of the walk. Indices ascend within
/// a piece, and order-preserving adaptors such as `collect` put the pieces in ascending order.
/// # Complexity
/// As one thread's walk, spread over rayon's threads, and a guard for every 256 items or 1024 leaves, whatever comes first. A cut
/// looks at one or a few nodes and their children.
impl<V: Value + Sync> RadixTree<V> {
    /// All entries, walked by several threads.
    ///
    /// # Concurrency
    /// As [`Pinned::range`](crate::Pinned::range).
    /// # Complexity
    /// As [`Pinned::range`](crate::Pinned::range), shared by the threads.
    ///
    /// # Examples
    /// ```
    /// use rayon::iter::ParallelIterator;
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = (0..100_000).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    /// let sum: u64 = tree.par_iter().map(|(_, value)| value.get()).sum();
    /// assert_eq!(sum, 4_999_950_000);
    /// ```
    pub fn par_iter(&self) -> ParRange<'_, V> {
        self.par_range(..)
    }

    /// The entries in `bounds`, walked by several threads. An empty or inverted range has none.
    ///
    /// # Concurrency
    /// As [`Pinned::range`](crate::Pinned::range).
    /// # Complexity
    /// As [`Pinned::range`](crate::Pinned::range), shared by the threads.
    ///
    /// # Examples
    /// ```
    /// use rayon::iter::ParallelIterator;
    /// use std::sync::Arc;
    /// use tagged_radix::RadixTree;
    ///
    /// let tree: RadixTree<Arc<String>> = (0..9000).map(|i| (i, Arc::new(i.to_string()))).collect();
    /// let found: Vec<(u64, Arc<String>)> = tree.par_range(100..=8000).collect();
    /// assert_eq!(found.len(), 7901);
    /// assert_eq!((found[0].0, found[0].1.as_str()), (100, "100")); // `collect` keeps the order
    /// ```
    pub fn par_range(&self, bounds: impl RangeBounds<u64>) -> ParRange<'_, V> {
        ParRange { tree: self, range: inclusive(&bounds) }
    }

    /// The entries in `bounds` that pass `filter`, with their tags, walked by several threads. An empty or inverted range has
    /// none.
    ///
    /// # Concurrency
    /// As [`Pinned::range_tagged`](crate::Pinned::range_tagged).
    /// # Complexity
    /// As [`Pinned::range_tagged`](crate::Pinned::range_tagged), shared by the threads. A cut divides the nodes that hold what the filter asks for.
    ///
    /// # Examples
    /// ```
    /// use rayon::iter::ParallelIterator;
    /// use tagged_radix::{RadixTree, Tag, TagSet};
    ///
    /// const DIRTY: Tag = Tag::T0;
    /// let tree: RadixTree<Box<String>> = (0..9000).map(|i| (i, Box::new(i.to_string()))).collect();
    /// tree.pin().tag_range(4000..7000, DIRTY, TagSet::EMPTY);
    /// // A `Box` has no owned copy: look at it under the guard.
    /// let digits: usize = tree.par_range_tagged(.., DIRTY).map_ref(|_, value, _| value.len()).sum();
    /// assert_eq!(digits, 3000 * 4);
    /// ```
    pub fn par_range_tagged(
        &self,
        bounds: impl RangeBounds<u64>,
        filter: impl Into<TagFilter>,
    ) -> ParRangeTagged<'_, V> {
        ParRangeTagged { tree: self, range: inclusive(&bounds), filter: filter.into() }
    }
}

impl<'t, V: CloneValue + Sync> IntoParallelIterator for &'t RadixTree<V> {
    type Item = (u64, V);
    type Iter = ParRange<'t, V>;

    fn into_par_iter(self) -> ParRange<'t, V> {
        self.par_iter()
    }
}

/// Entries of a range, walked by several threads: [`RadixTree::par_range`].
///
/// For values that are a [`CloneValue`] it is a [`ParallelIterator`] over `(u64, V)`; others take [`map_ref`](ParRange::map_ref).
///
/// # Examples
/// ```
/// use rayon::iter::ParallelIterator;
/// use tagged_radix::{Inline, ParRange, RadixTree};
///
/// let tree: RadixTree<Inline> = (0..10).filter_map(|i| Some((i, Inline::new(i)?))).collect();
/// let range: ParRange<'_, Inline> = tree.par_range(3..6);
/// assert_eq!(range.count(), 3);
/// ```
pub struct ParRange<'t, V: Value> {
    tree: &'t RadixTree<V>,
    range: Option<(u64, u64)>,
}

/// Entries of a range that pass a filter, with their tags, walked by several threads: [`RadixTree::par_range_tagged`].
///
/// For values that are a [`CloneValue`] it is a [`ParallelIterator`] over `(u64, V, TagSet)`; others take
/// [`map_ref`](ParRangeTagged::map_ref).
///
/// # Examples
/// ```
/// use rayon::iter::ParallelIterator;
/// use tagged_radix::{Inline, ParRangeTagged, RadixTree, Tag};
///
/// let tree: RadixTree<Inline> = (0..10).filter_map(|i| Some((i, Inline::new(i)?))).collect();
/// tree.pin().set_tag(7, Tag::T0);
/// let range: ParRangeTagged<'_, Inline> = tree.par_range_tagged(.., Tag::T0);
/// assert_eq!(range.map(|(index, ..)| index).collect::<Vec<_>>(), [7]);
/// ```
pub struct ParRangeTagged<'t, V: Value> {
    tree: &'t RadixTree<V>,
    range: Option<(u64, u64)>,
    filter: TagFilter,
}

impl<'t, V: Value + Sync> ParRange<'t, V> {
    /// What `item` makes of each index and value. It runs under a guard, so it should be short; what it returns may not
    /// borrow from the value.
    ///
    /// # Examples
    /// ```
    /// use rayon::iter::ParallelIterator;
    /// use tagged_radix::RadixTree;
    ///
    /// let tree: RadixTree<Box<u64>> = (0..9000).map(|i| (i, Box::new(i))).collect();
    /// let highest: Option<u64> = tree.par_iter().map_ref(|_, value| *value).max();
    /// assert_eq!(highest, Some(8999));
    /// ```
    ///
    /// A reference cannot leave the guard:
    /// ```compile_fail
    /// use rayon::iter::ParallelIterator;
    /// use tagged_radix::RadixTree;
    ///
    /// let tree: RadixTree<Box<u64>> = RadixTree::new();
    /// let values: Vec<&u64> = tree.par_iter().map_ref(|_, value| value).collect();
    /// ```
    pub fn map_ref<F, T>(self, item: F) -> ParRangeMap<'t, V, F>
    where
        F: Fn(u64, V::Ref<'_>) -> T + Sync + Send,
        T: Send,
    {
        ParRangeMap { walk: self, item }
    }
}

impl<'t, V: Value + Sync> ParRangeTagged<'t, V> {
    /// What `item` makes of each index, value and tags. It runs under a guard, so it should be short; what it returns may not
    /// borrow from the value. It runs once for each entry that is reported, on value and tags of one instant.
    ///
    /// # Examples
    /// ```
    /// use rayon::iter::ParallelIterator;
    /// use tagged_radix::{RadixTree, Tag, TagFilter};
    ///
    /// let tree: RadixTree<Box<u64>> = (0..9000).map(|i| (i, Box::new(i))).collect();
    /// tree.pin().set_tag(70, Tag::T1);
    /// let tagged = tree
    ///     .par_range_tagged(.., TagFilter::ANY)
    ///     .map_ref(|index, _, tags| tags.contains(Tag::T1).then_some(index))
    ///     .find_any(Option::is_some);
    /// assert_eq!(tagged, Some(Some(70)));
    /// ```
    pub fn map_ref<F, T>(self, item: F) -> ParRangeTaggedMap<'t, V, F>
    where
        F: Fn(u64, V::Ref<'_>, TagSet) -> T + Sync + Send,
        T: Send,
    {
        ParRangeTaggedMap { walk: self, item }
    }
}

impl<V: CloneValue + Sync> ParallelIterator for ParRange<'_, V> {
    type Item = (u64, V);

    fn drive_unindexed<C: UnindexedConsumer<Self::Item>>(self, consumer: C) -> C::Result {
        self.map_ref(|index, value| (index, V::clone_value(value))).drive_unindexed(consumer)
    }
}

impl<V: CloneValue + Sync> ParallelIterator for ParRangeTagged<'_, V> {
    type Item = (u64, V, TagSet);

    fn drive_unindexed<C: UnindexedConsumer<Self::Item>>(self, consumer: C) -> C::Result {
        self.map_ref(|index, value, tags| (index, V::clone_value(value), tags))
            .drive_unindexed(consumer)
    }
}

/// What a function makes of the entries of a range, walked by several threads: [`ParRange::map_ref`].
///
/// # Examples
/// ```
/// use rayon::iter::ParallelIterator;
/// use tagged_radix::{ParRangeMap, RadixTree};
///
/// let tree: RadixTree<Box<u64>> = (0..10).map(|i| (i, Box::new(i))).collect();
/// let squares: ParRangeMap<'_, Box<u64>, _> = tree.par_iter().map_ref(|index, value| index * value);
/// assert_eq!(squares.sum::<u64>(), 285);
/// ```
pub struct ParRangeMap<'t, V: Value, F> {
    walk: ParRange<'t, V>,
    item: F,
}

/// What a function makes of the entries of a range that pass a filter, walked by several threads:
/// [`ParRangeTagged::map_ref`].
///
/// # Examples
/// ```
/// use rayon::iter::ParallelIterator;
/// use tagged_radix::{ParRangeTaggedMap, RadixTree, TagFilter};
///
/// let tree: RadixTree<Box<u64>> = (0..10).map(|i| (i, Box::new(i))).collect();
/// let tags: ParRangeTaggedMap<'_, Box<u64>, _> =
///     tree.par_range_tagged(.., TagFilter::ANY).map_ref(|_, _, tags| tags.len());
/// assert_eq!(tags.sum::<usize>(), 0);
/// ```
pub struct ParRangeTaggedMap<'t, V: Value, F> {
    walk: ParRangeTagged<'t, V>,
    item: F,
}

impl<V, F, T> ParallelIterator for ParRangeMap<'_, V, F>
where
    V: Value + Sync,
    F: Fn(u64, V::Ref<'_>) -> T + Sync + Send,
    T: Send,
{
    type Item = T;

    fn drive_unindexed<C: UnindexedConsumer<T>>(self, consumer: C) -> C::Result {
        let ParRange { tree, range } = self.walk;
        let read = |range: (u64, u64), batch: &mut Vec<T>| {
            let guard = pin();
            let item = |index, word| {
                // SAFETY: read from this tree under `guard`; the item, which outlives it, cannot borrow from the value.
                batch.push((self.item)(index, unsafe { V::as_ref(word) }));
            };
            tree.raw().read_piece(range, BATCH, item, &guard)
        };
        bridge_unindexed(Piece::new(tree, range, TagFilter::ANY, &read), consumer)
    }
}

impl<V, F, T> ParallelIterator for ParRangeTaggedMap<'_, V, F>
where
    V: Value + Sync,
    F: Fn(u64, V::Ref<'_>, TagSet) -> T + Sync + Send,
    T: Send,
{
    type Item = T;

    fn drive_unindexed<C: UnindexedConsumer<T>>(self, consumer: C) -> C::Result {
        let ParRangeTagged { tree, range, filter } = self.walk;
        let read = |range: (u64, u64), batch: &mut Vec<T>| {
            let guard = pin();
            let item = |index, entry: Entry| {
                // SAFETY: read from this tree under `guard`; the item, which outlives it, cannot borrow from the value.
                batch.push((self.item)(index, unsafe { V::as_ref(entry.value) }, entry.tags));
            };
            tree.raw().read_piece_tagged(range, BATCH, filter, item, &guard)
        };
        bridge_unindexed(Piece::new(tree, range, filter, &read), consumer)
    }
}

/// A part of a walk that one thread does: `range`, both ends included, or nothing. Holds no guard.
struct Piece<'w, V: Value, R, T> {
    tree: &'w RadixTree<V>,
    range: Option<(u64, u64)>,
    filter: TagFilter,
    /// Adds items to a batch, under a guard of its own; returns the index to go on from.
    read: &'w R,
    items: PhantomData<fn() -> T>,
}

impl<'w, V: Value, R, T> Piece<'w, V, R, T> {
    fn new(
        tree: &'w RadixTree<V>,
        range: Option<(u64, u64)>,
        filter: TagFilter,
        read: &'w R,
    ) -> Piece<'w, V, R, T> {
        Piece { tree, range, filter, read, items: PhantomData }
    }
}

impl<V, R, T> UnindexedProducer for Piece<'_, V, R, T>
where
    V: Value + Sync,
    R: Fn((u64, u64), &mut Vec<T>) -> Option<u64> + Sync,
    T: Send,
{
    type Item = T;

    fn split(mut self) -> (Self, Option<Self>) {
        let Some((low, high)) = self.range else { return (self, None) };
        let Some(middle) = self.tree.raw().middle(low, high, self.filter, &pin()) else {
            return (self, None);
        };
        self.range = Some((low, middle - 1));
        let upper = Piece { range: Some((middle, high)), ..self };
        (self, Some(upper))
    }

    fn fold_with<F: Folder<T>>(self, mut folder: F) -> F {
        let (mut batch, mut rest) = (Vec::new(), self.range);
        while let Some((low, high)) = rest.filter(|_| !folder.full()) {
            rest = (self.read)((low, high), &mut batch).map(|next| (next, high));
            folder = folder.consume_iter(batch.drain(..));
        }
        folder
    }
}

macro_rules! debug {
    ($($name:ident $(, $function:ident)?;)*) => { $(
        impl<V: Value $(, $function)?> fmt::Debug for $name<'_, V $(, $function)?> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )* };
}

debug! {
    ParRange;
    ParRangeTagged;
    ParRangeMap, F;
    ParRangeTaggedMap, F;
}
