//! Parallel walks find what sequential ones find, each entry once, also while others write.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use proptest::prelude::*;
use rayon::prelude::*;
use tagged_radix::{Inline, RadixTree, Tag, TagFilter, TagSet};

type Tree = RadixTree<Inline>;

fn value(index: u64) -> Inline {
    Inline::new(index >> 1).expect("below 2^63")
}

fn tree_of(indices: impl IntoIterator<Item = u64>) -> Tree {
    indices.into_iter().map(|index| (index, value(index))).collect()
}

/// Trees of every kind: nothing, one entry, dense, clustered, far apart, strided, both ends.
fn trees() -> Vec<Tree> {
    let clusters = (0..40_u64).flat_map(|n| (0..256).map(move |i| (n * n) << 20 | i));
    let random = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    vec![
        tree_of([]),
        tree_of([u64::MAX]),
        tree_of(0..20_000),
        tree_of(clusters),
        tree_of((1..8_000).map(random)),
        tree_of((0..5_000).map(|i| i * 64)),
        tree_of([0, 1, u64::MAX - 1, u64::MAX]),
    ]
}

fn sorted<T: Send + Ord>(items: impl ParallelIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items
}

#[test]
fn a_parallel_walk_is_the_sequential_one_in_another_order() {
    for tree in trees() {
        let expected: Vec<_> = tree.pin().iter().map(|(index, v)| (index, v.get())).collect();
        let found = sorted(tree.par_iter().map(|(index, v)| (index, v.get())));
        assert_eq!(found, expected);
    }
}

#[test]
fn items_ascend_within_a_piece_and_order_is_kept_when_collected() {
    // rayon concatenates pieces in the order of the cuts, which ascends.
    for tree in trees() {
        let found: Vec<u64> = tree.par_iter().map(|(index, _)| index).collect();
        assert!(found.is_sorted());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn ranges_and_filters_are_kept(
        entries in prop::collection::btree_map(
            prop_oneof![0..9_000_u64, any::<u64>(), (0..60_u32).prop_map(|n| 1 << n)], 0..16_u8, 0..600,
        ),
        low in 0..10_000_u64, width in prop_oneof![0..10_000_u64, Just(u64::MAX)], all in 0..16_u8, none in 0..16_u8,
    ) {
        let entries: BTreeMap<u64, u8> = entries;
        let set = |bits: u8| Tag::all().into_iter().filter(|tag| bits >> tag.number() & 1 == 1).collect::<TagSet>();
        let tree = Tree::new();
        for (&index, &bits) in &entries {
            tree.pin().insert_tagged(index, value(index), set(bits));
        }
        let filter = TagFilter::all_of(set(all)).and_none_of(set(none));
        let range = low..=low.saturating_add(width);
        let pinned = tree.pin();
        let expected: Vec<_> =
            pinned.range_tagged(range.clone(), filter).map(|(index, v, tags)| (index, v.get(), tags.len())).collect();
        let found = tree.par_range_tagged(range.clone(), filter);
        prop_assert_eq!(sorted(found.map(|(index, v, tags)| (index, v.get(), tags.len()))), &expected[..]);
        let mapped = tree.par_range_tagged_with(range.clone(), filter, |index, v, tags| (index, v.get(), tags.len()));
        prop_assert_eq!(sorted(mapped), expected);
        prop_assert_eq!(tree.par_range(range.clone()).count(), pinned.range(range).count());
    }
}

#[test]
fn what_stays_is_found_once_while_the_rest_comes_and_goes() {
    const SPAN: u64 = 30_000;
    let tree = tree_of((0..SPAN).step_by(3));
    tree.pin().tag_range(.., Tag::T1, TagSet::EMPTY);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut at = 1_u64;
            while !done.load(Relaxed) {
                at = (at * 7 + 3) % SPAN;
                if !at.is_multiple_of(3) {
                    tree.pin().insert_tagged(at, value(at), Tag::T1.into());
                    tree.pin().remove((at * 5) % SPAN / 3 * 3 + 1);
                }
            }
        });
        for round in 0..60 {
            let found = if round % 2 == 0 {
                sorted(tree.par_iter().map(|(index, _)| index))
            } else {
                sorted(tree.par_range_tagged(.., Tag::T1).map(|(index, ..)| index))
            };
            assert!(found.is_sorted_by(|a, b| a < b), "an index is reported twice");
            let stayed = found.iter().filter(|index| *index % 3 == 0).count() as u64;
            assert_eq!(stayed, SPAN / 3);
        }
        done.store(true, Relaxed);
    });
}

#[test]
fn the_consumer_may_change_the_tree_and_wait() {
    let tree = tree_of(0..10_000);
    tree.par_iter().for_each(|(index, _)| {
        if index % 2 == 0 {
            tree.pin().remove(index);
        }
        // A guard held here would keep this from ever going on.
        if index == 5_000 {
            let inner: u64 = tree.par_range(..100).map(|(index, _)| index % 2).sum();
            assert!(inner >= 50);
        }
    });
    assert_eq!(tree.len(), 5_000);
}

#[test]
fn a_panic_of_the_consumer_or_the_map_reaches_the_caller() {
    let tree: RadixTree<Arc<u64>> = (0..10_000).map(|index| (index, Arc::new(index))).collect();
    let fails = |index: u64| assert!(index != 7_000, "seven thousand");
    let consumer = || tree.par_iter().for_each(|(index, _)| fails(index));
    assert!(catch_unwind(AssertUnwindSafe(consumer)).is_err());
    let map = || {
        tree.par_range_tagged_with(.., TagFilter::ANY, |index, _, _| fails(index)).count();
    };
    assert!(catch_unwind(AssertUnwindSafe(map)).is_err());
    assert_eq!(tree.par_iter().count(), 10_000);
}

#[test]
fn a_walk_that_is_cut_short_ends_early() {
    let tree = tree_of(0..200_000);
    let looked_at = AtomicU64::new(0);
    let found = tree.par_iter().find_any(|_| {
        looked_at.fetch_add(1, Relaxed);
        true
    });
    assert!(found.is_some());
    assert!(looked_at.into_inner() < 200_000 / 2);
}
