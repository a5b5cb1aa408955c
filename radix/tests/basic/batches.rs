//! Gang lookups into batches, borrowed and owned.

use std::sync::Arc;

use crate::common::{T0, T1, Tree, gang_sweep, gang_sweep_tagged, tree_of};
use tagged_radix::{ArrayVec, RadixTree, TagFilter, TagSet};

#[test]
fn gang_lookup_fills_the_batch_in_order() {
    let tree = tree_of([1, 2, 70, 5000]);
    let p = tree.pin();
    let mut batch = ArrayVec::<_, 3>::new();
    let next = p.gang_lookup(2, &mut batch);
    assert_eq!(batch[..], [(2, &2), (70, &70), (5000, &5000)]);
    assert!(next.is_none_or(|next| next > 5000));
    let mut batch = ArrayVec::<_, 4>::new();
    assert_eq!(p.gang_lookup(2, &mut batch), None, "room was left");
    assert_eq!(batch.len(), 3);
    let mut batch = ArrayVec::<_, 2>::new();
    let next = p.gang_lookup(0, &mut batch).unwrap();
    assert!((3..=70).contains(&next), "{next} is before what comes next");
}

#[test]
fn gang_lookup_adds_to_what_the_batch_has() {
    let tree = tree_of(0..10);
    let p = tree.pin();
    let mut batch = ArrayVec::<_, 4>::new();
    batch.push((77, p.get(9).unwrap()));
    assert_eq!(p.gang_lookup(0, &mut batch), Some(3));
    assert_eq!(batch[..], [(77, &9), (0, &0), (1, &1), (2, &2)]);
    assert_eq!(p.gang_lookup(5, &mut batch), Some(5), "without room nothing is done");
    assert_eq!(batch.len(), 4);
}

#[test]
fn batches_without_room_stay_where_they_are() {
    let (full, empty) = (tree_of(0..10), Tree::new());
    let (p, none) = (full.pin(), empty.pin());
    let mut batch = ArrayVec::<_, 0>::new();
    for start in [0, 9, 10, u64::MAX] {
        assert_eq!(p.gang_lookup(start, &mut batch), Some(start));
        assert_eq!(p.gang_lookup_tagged(start, T0, &mut batch), Some(start));
        assert_eq!(none.gang_lookup(start, &mut batch), Some(start));
    }
    let owned: RadixTree<Arc<u64>> = [(1, Arc::new(1))].into_iter().collect();
    let mut batch = ArrayVec::<_, 0>::new();
    assert_eq!(owned.gang_lookup_owned(1, &mut batch), Some(1));
    assert_eq!(owned.gang_lookup_tagged_owned(u64::MAX, T0, &mut batch), Some(u64::MAX));
}

#[test]
fn sweeps_of_any_size_give_all_entries() {
    let all: Vec<_> = (0..400).map(|n| n * n).collect();
    let tree = tree_of(all.iter().copied());
    let p = tree.pin();
    assert_eq!(gang_sweep::<1>(&p, 0), all);
    assert_eq!(gang_sweep::<7>(&p, 0), all);
    assert_eq!(gang_sweep::<64>(&p, 0), all);
    assert_eq!(gang_sweep::<512>(&p, 0), all);
    assert_eq!(gang_sweep::<16>(&p, 101), all[11..]);
    assert_eq!(gang_sweep::<16>(&p, 400 * 400), []);
}

#[test]
fn tagged_sweeps_give_what_matches() {
    let tree = tree_of(0..1000);
    let p = tree.pin();
    p.tag_range(100..900, T0, TagSet::EMPTY);
    p.tag_range(500..600, T1, TagSet::EMPTY);
    let without: Vec<_> = (100..500).chain(600..900).collect();
    let filter = TagFilter::all_of(T0).and_none_of(T1);
    assert_eq!(gang_sweep_tagged::<5>(&p, 0, filter), without);
    assert_eq!(gang_sweep_tagged::<64>(&p, 0, filter), without);
    assert!(gang_sweep_tagged::<100>(&p, 550, T1).into_iter().eq(550..600));
    assert_eq!(gang_sweep_tagged::<3>(&p, 600, T1), []);
}

#[test]
fn owned_batches_outlive_the_tree() {
    crate::common::watch();
    let tree: RadixTree<Arc<u64>> = (0..100).map(|index| (index, Arc::new(index))).collect();
    tree.pin().tag_range(50..60, T0, TagSet::EMPTY);
    let one = tree.get_owned(7);
    assert_eq!(tree.get_owned(100), None);
    let (mut all, mut with) = (ArrayVec::<_, 128>::new(), ArrayVec::<_, 8>::new());
    assert_eq!(tree.gang_lookup_owned(0, &mut all), None);
    assert_eq!(tree.gang_lookup_tagged_owned(0, T0, &mut with), Some(58));
    drop(tree);
    assert_eq!(one.as_deref(), Some(&7));
    assert!(all.iter().map(|(index, value)| (*index, **value)).eq((0..100).map(|i| (i, i))));
    assert!(with.iter().map(|(index, _)| *index).eq(50..58));
}
