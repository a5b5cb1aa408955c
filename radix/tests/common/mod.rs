//! Helpers shared by the integration tests: values that notice misuse, threads that stop
//! together, the shape a set of indices must have, and checks of a tree at rest.
#![allow(dead_code, unused_imports, reason = "each test binary uses its own part of the helpers")]

pub(crate) mod nodes;
pub(crate) mod race;
pub(crate) mod shape;
pub(crate) mod tracked;
pub(crate) mod watchdog;

use std::fmt::Debug;

use rand::{SeedableRng, rngs::SmallRng};
use tagged_radix::{ArrayVec, Pinned, RadixTree, Tag, TagFilter, TagSet, Value};

pub(crate) use race::{Clock, Race, StartLine, stress_time};
pub(crate) use shape::{BITS, Shape};
pub(crate) use tracked::{Ledger, Tracked, drain};
pub(crate) use watchdog::{SetOnDrop, watch, watch_for, within};

pub(crate) const T0: Tag = Tag::T0;
pub(crate) const T1: Tag = Tag::T1;
pub(crate) const T2: Tag = Tag::T2;
pub(crate) const T3: Tag = Tag::T3;
pub(crate) const NONE: TagSet = TagSet::EMPTY;

/// A tree whose values are their own indices.
pub(crate) type Tree = RadixTree<Box<u64>>;

/// The tree that holds exactly `indices`, each with itself as its value.
pub(crate) fn tree_of(indices: impl IntoIterator<Item = u64>) -> Tree {
    watch();
    indices.into_iter().map(|i| (i, Box::new(i))).collect()
}

/// Inserts `index` with itself as its value.
pub(crate) fn add(p: &Pinned<'_, Box<u64>>, index: u64) {
    watch();
    assert_eq!(p.insert(index, Box::new(index)), None, "{index} was absent");
}

/// Inserts `index` with itself as its value and the tags `tags`.
pub(crate) fn add_tagged(p: &Pinned<'_, Box<u64>>, index: u64, tags: impl Into<TagSet>) {
    let old = p.insert_tagged(index, Box::new(index), tags.into());
    assert_eq!(old, None, "{index} was absent");
}

/// All indices of the tree in the order a scan reports them, each value checked.
pub(crate) fn indices(p: &Pinned<'_, Box<u64>>) -> Vec<u64> {
    watch();
    let check = |(index, value): (u64, &u64)| {
        assert_eq!(index, *value);
        index
    };
    p.iter().map(check).collect()
}

/// All indices that match `filter` in the order a scan reports them, each report checked.
pub(crate) fn tagged(p: &Pinned<'_, Box<u64>>, filter: impl Into<TagFilter>) -> Vec<u64> {
    let filter = filter.into();
    p.range_tagged(.., filter)
        .map(|(index, value, tags)| {
            assert_eq!(index, *value);
            assert!(filter.matches(tags), "{index} has {tags:?}");
            index
        })
        .collect()
}

/// Indices gathered by gang lookups of `N` from `start` on to the end.
pub(crate) fn gang_sweep<const N: usize>(p: &Pinned<'_, Box<u64>>, start: u64) -> Vec<u64> {
    gang_sweep_tagged::<N>(p, start, TagFilter::ANY)
}

/// Indices that match `filter` gathered by gang lookups of `N` from `start` on to the end.
pub(crate) fn gang_sweep_tagged<const N: usize>(
    p: &Pinned<'_, Box<u64>>,
    start: u64,
    filter: impl Into<TagFilter>,
) -> Vec<u64> {
    let filter = filter.into();
    let (mut out, mut from) = (Vec::new(), Some(start));
    while let Some(start) = from {
        let mut batch = ArrayVec::<_, N>::new();
        from = p.gang_lookup_tagged(start, filter, &mut batch);
        assert!(from.is_none() || batch.is_full(), "stopped before the end");
        for (index, value) in batch {
            assert!(index >= start && from.is_none_or(|next| index < next));
            assert_eq!(index, *value);
            out.push(index);
        }
    }
    out
}

/// Asserts that no entry has `tag`, and that the root flag says so when somebody has looked.
pub(crate) fn assert_untagged<V: Value>(tree: &RadixTree<V>, tag: Tag) {
    assert_eq!(tree.pin().count_tagged(.., tag), 0, "{tag:?}");
    assert!(!tree.any_tagged(tag), "{tag:?} is told of, and looked for in vain");
}

/// Asserts that a tree no one writes to is sound, of minimal shape, and exact in its summaries once walks have passed.
pub(crate) fn assert_at_rest<V: Value>(tree: &RadixTree<V>) {
    watch();
    if let Err(violation) = tree.check() {
        panic!("{violation}");
    }
    let p = tree.pin();
    let entries: Vec<_> =
        p.range_tagged(.., TagFilter::ANY).map(|(index, _, tags)| (index, tags)).collect();
    assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
    let indices: Vec<_> = entries.iter().map(|e| e.0).collect();
    assert!(p.iter().map(|e| e.0).eq(indices.iter().copied()), "both scans agree");
    for tag in Tag::all() {
        let with: Vec<_> = entries.iter().filter(|e| e.1.contains(tag)).map(|e| e.0).collect();
        assert!(tree.any_tagged(tag) || with.is_empty(), "{tag:?}");
        assert!(p.range_tagged(.., tag).map(|e| e.0).eq(with.iter().copied()), "{tag:?}");
        assert_eq!(tree.any_tagged(tag), !with.is_empty(), "{tag:?}, after a walk");
    }
    assert_eq!(tree.stats().stale_summaries, 0, "walks have passed");
    assert_eq!(tree.check(), Ok(()), "and broken nothing");
    assert_eq!(tree.len(), indices.len() as u64);
    assert_eq!(tree.is_empty(), indices.is_empty());
    assert_eq!(Shape::of_tree(tree), Shape::of(&indices));
}

/// A small random number generator; the same seed gives the same numbers.
pub(crate) fn rng(seed: u64) -> SmallRng {
    watch();
    SmallRng::seed_from_u64(seed)
}

/// Asserts that two sequences are equal, naming the first difference instead of printing all.
pub(crate) fn assert_same<T: PartialEq + Debug>(found: &[T], expected: &[T]) {
    let differ = found.iter().zip(expected).position(|(a, b)| a != b);
    if let Some(at) = differ {
        panic!("item {at}: found {:?}, expected {:?}", found[at], expected[at]);
    }
    assert_eq!(found.len(), expected.len(), "number of items");
}
