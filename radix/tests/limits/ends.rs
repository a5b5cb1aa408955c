//! Index 0 and `u64::MAX`: nothing wraps, nothing is passed over.

use std::ops::Bound::{Excluded, Included, Unbounded};

use crate::common::{
    NONE, T0, T1, Tree, add_tagged, assert_at_rest, gang_sweep, gang_sweep_tagged, indices, tagged,
    tree_of,
};
use tagged_radix::{ArrayVec, TagFilter};

const MAX: u64 = u64::MAX;

#[test]
fn both_ends_can_be_held_at_once() {
    let tree = tree_of([0, MAX]);
    let p = tree.pin();
    assert_at_rest(&tree);
    assert_eq!(indices(&p), [0, MAX]);
    assert_eq!((p.next(1), p.prev(MAX - 1)), (Some((MAX, &MAX)), Some((0, &0))));
    assert_eq!((p.next_absent(0), p.prev_absent(MAX)), (Some(1), Some(MAX - 1)));
    assert_eq!((p.next_absent(MAX), p.prev_absent(0)), (None, None), "no index lies beyond");
    let mut range = p.iter();
    assert_eq!((range.next_back(), range.next()), (Some((MAX, &MAX)), Some((0, &0))));
    assert_eq!((range.next_back(), range.next()), (None, None));
}

#[test]
fn nothing_lies_beyond_the_ends() {
    let tree = tree_of([0, 1, MAX - 1, MAX]);
    let p = tree.pin();
    p.tag_range(.., T0, NONE);
    for bounds in
        [(Excluded(MAX), Unbounded), (Unbounded, Excluded(0)), (Excluded(MAX), Included(MAX))]
    {
        assert_eq!((p.range(bounds).next(), p.range(bounds).next_back()), (None, None));
        assert!(p.range_tagged(bounds, T0).next().is_none());
        assert_eq!(p.count_tagged(bounds, T0), 0);
        assert_eq!(p.tag_range(bounds, T1, T0), 0);
        let done = p.tag_range_if_tagged(bounds, T0, T1, MAX);
        assert_eq!((done.count, done.next), (0, None));
        assert_eq!(p.remove_range(bounds), 0);
    }
    assert_eq!(tree.len(), 4);
}

#[test]
fn the_last_index_is_inside_ranges_that_include_it() {
    for bounds in
        [(Included(MAX), Unbounded), (Included(MAX), Included(MAX)), (Excluded(MAX - 1), Unbounded)]
    {
        let tree = tree_of([MAX - 1, MAX]);
        let p = tree.pin();
        assert_eq!(p.range(bounds).collect::<Vec<_>>(), [(MAX, &MAX)]);
        assert_eq!(p.tag_range(bounds, T0, NONE), 1);
        assert_eq!(p.tag_range_if_tagged(bounds, T0, T1, 5).count, 1);
        assert_eq!(p.range_tagged(bounds, T1).rev().count(), 1);
        assert_eq!(p.remove_range(bounds), 1);
        assert_eq!(indices(&p), [MAX - 1]);
        assert_at_rest(&tree);
    }
}

#[test]
fn runs_up_to_the_last_index_are_walked_to_their_end() {
    let run = || MAX - 200..=MAX;
    let tree = tree_of(run());
    let p = tree.pin();
    assert!(indices(&p).into_iter().eq(run()));
    assert!(p.iter().rev().map(|(index, _)| index).eq(run().rev()));
    assert!(gang_sweep::<7>(&p, 0).into_iter().eq(run()));
    assert!(gang_sweep::<64>(&p, MAX - 63).into_iter().eq(MAX - 63..=MAX));
    assert_eq!(p.next_absent(MAX - 200), None);
    assert_eq!(p.prev_absent(MAX), Some(MAX - 201));
    p.tag_range(MAX - 99.., T0, NONE);
    assert!(gang_sweep_tagged::<9>(&p, 0, T0).into_iter().eq(MAX - 99..=MAX));
    assert_eq!(p.count_tagged(MAX.., T0), 1);
    assert_eq!(p.remove_range(MAX - 100..), 101);
    assert!(indices(&p).into_iter().eq(MAX - 200..=MAX - 101));
    assert_eq!(p.next_absent(MAX - 150), Some(MAX - 100));
    assert_at_rest(&tree);
}

#[test]
fn runs_from_zero_are_walked_to_their_start() {
    let tree = tree_of(0..200);
    let p = tree.pin();
    assert_eq!((p.prev_absent(199), p.next_absent(0)), (None, Some(200)));
    assert!(p.range(..=150).rev().map(|(index, _)| index).eq((0..=150).rev()));
    p.remove(0);
    assert_eq!((p.prev_absent(199), p.prev(0)), (Some(0), None));
}

#[test]
fn lookups_at_the_last_index_end() {
    let tree = tree_of([5, MAX]);
    let p = tree.pin();
    let mut one = ArrayVec::<_, 1>::new();
    assert_eq!(p.gang_lookup(6, &mut one), None, "nothing can follow");
    assert_eq!(one[..], [(MAX, &MAX)]);
    let mut none = ArrayVec::<_, 0>::new();
    assert_eq!(p.gang_lookup(MAX, &mut none), Some(MAX));
    p.set_tag(MAX, T0);
    let mut one = ArrayVec::<_, 1>::new();
    assert_eq!(p.gang_lookup_tagged(MAX, T0, &mut one), None);
    assert_eq!(one.len(), 1);
}

#[test]
fn range_tagging_resumes_up_to_the_last_index() {
    let tree = Tree::new();
    let p = tree.pin();
    for index in (MAX - 130..=MAX).chain([0]) {
        add_tagged(&p, index, T0);
    }
    let (mut start, mut sum) = (Some(0), 0);
    for _ in 0..200 {
        let Some(first) = start else { break };
        let done = p.tag_range_if_tagged(first.., T0, T1, 1);
        sum += done.count;
        start = done.next;
    }
    assert_eq!((sum, start), (132, None), "it ends");
    assert_eq!(tagged(&p, TagFilter::all_of(T0).and_none_of(T1)), []);
    assert_at_rest(&tree);
}

#[test]
fn a_limit_that_is_reached_at_the_last_index_ends_the_range() {
    crate::common::watch();
    let tree = Tree::new();
    let p = tree.pin();
    add_tagged(&p, MAX, T0);
    let done = p.tag_range_if_tagged(.., T0, T1, 1);
    assert_eq!((done.count, done.next), (1, None));
    let done = p.tag_range_if_tagged(MAX.., T0, T1, 0);
    assert_eq!((done.count, done.next), (0, Some(MAX)));
}
