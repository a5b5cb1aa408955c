//! Searches forward and backward, from everywhere.

use rand::Rng;

use crate::common::{T0, T1, Tree, add, add_tagged, assert_at_rest, indices, rng, tagged, tree_of};
use tagged_radix::{Pinned, TagFilter};

fn next(p: &Pinned<'_, Box<u64>>, index: u64) -> Option<u64> {
    p.next(index).map(|(found, value)| {
        assert_eq!(found, *value);
        found
    })
}

fn prev(p: &Pinned<'_, Box<u64>>, index: u64) -> Option<u64> {
    p.prev(index).map(|(found, value)| {
        assert_eq!(found, *value);
        found
    })
}

fn next_tagged(p: &Pinned<'_, Box<u64>>, index: u64) -> Option<u64> {
    p.range_tagged(index.., T0).next().map(|(found, ..)| found)
}

#[test]
fn pairs_are_found_from_everywhere() {
    crate::common::watch();
    // every pair below 100, both tagged, searched for from every place.
    for far in 0..100 {
        for near in 0..far {
            let tree = Tree::new();
            let p = tree.pin();
            add_tagged(&p, near, T0);
            add_tagged(&p, far, T0);
            for from in 0..101 {
                let expected = [near, far].into_iter().find(|index| *index >= from);
                assert_eq!((next(&p, from), next_tagged(&p, from)), (expected, expected));
            }
            p.remove(near);
            assert_eq!((tree.any_tagged(T0), next_tagged(&p, 0)), (true, Some(far)));
            p.remove(far);
            assert!(!tree.any_tagged(T0) && tree.is_empty());
        }
    }
}

#[test]
fn iteration_is_complete_after_each_append() {
    // an empty tree is iterated over zero times.
    let tree = Tree::new();
    let p = tree.pin();
    assert_eq!(p.iter().count(), 0);
    for index in 0..1024 {
        add(&p, index);
        assert!(indices(&p).into_iter().eq(0..=index));
    }
}

#[test]
fn tagged_searches_past_their_end_find_nothing() {
    crate::common::watch();
    // searches whose start lies above their end, while the tree grows.
    let tree = Tree::new();
    let p = tree.pin();
    for grown in 0..60 {
        for start in 0..=grown + 1 {
            for end in 0..start {
                assert!(p.range_tagged(start..=end, T0).next().is_none());
                assert!(p.range_tagged(start..end, T0).next_back().is_none());
                assert_eq!(p.range(start..=end).next(), None);
            }
            assert_eq!(next_tagged(&p, start), (start < grown).then_some(start));
        }
        add_tagged(&p, grown, T0);
    }
    assert_eq!(tagged(&p, T1), []);
}

#[test]
fn the_last_index_is_found_once_and_nothing_after_it() {
    crate::common::watch();
    //
    let tree = Tree::new();
    let p = tree.pin();
    add_tagged(&p, u64::MAX, T0);
    for from in [0, 1, 1 << 63, u64::MAX - 1, u64::MAX] {
        assert_eq!((next(&p, from), next_tagged(&p, from)), (Some(u64::MAX), Some(u64::MAX)));
        let mut range = p.range(from..);
        assert_eq!((range.next(), range.next()), (Some((u64::MAX, &u64::MAX)), None));
    }
    assert_eq!(p.range_tagged(.., TagFilter::ANY).count(), 1);
}

#[test]
fn stepping_around_one_or_two_entries() {
    // nothing, only 0, only the last index, 0 and another.
    let empty = Tree::new();
    assert_eq!((next(&empty.pin(), 0), prev(&empty.pin(), u64::MAX)), (None, None));
    for only in [0, u64::MAX] {
        let tree = tree_of([only]);
        let p = tree.pin();
        assert_eq!((next(&p, 0), prev(&p, u64::MAX)), (Some(only), Some(only)));
        assert_eq!(next(&p, 1), Some(only).filter(|only| *only > 0));
        assert_eq!(prev(&p, u64::MAX - 1), Some(only).filter(|only| *only < u64::MAX));
    }
    for other in [1, 2, 3, 9, 63, 64, 65, 127, 4095, 4096, 1 << 20] {
        let tree = tree_of([0, other]);
        let p = tree.pin();
        let steps = [0, 1, other / 2, other - 1, other, other + 1, other * 4];
        for at in steps {
            let ahead = if at == 0 { Some(0) } else { Some(other).filter(|other| *other >= at) };
            assert_eq!(next(&p, at), ahead, "from {at}, other {other}");
            let behind = if at >= other { other } else { 0 };
            assert_eq!(prev(&p, at), Some(behind), "from {at}, other {other}");
            let absent = if at == 0 || at == other { at + 1 } else { at };
            let absent = if absent == other { other + 1 } else { absent };
            assert_eq!(p.next_absent(at), Some(absent), "from {at}, other {other}");
        }
    }
}

#[test]
fn stepping_through_a_dense_run_with_and_without_a_hole() {
    // 65 536 entries there and back, then with 2^8 to 2^15 gone.
    let tree = tree_of(0..1 << 16);
    let p = tree.pin();
    let forward = |from| std::iter::successors(next(&p, from), |at| next(&p, at + 1));
    let backward = |from| std::iter::successors(prev(&p, from), |at| prev(&p, at.checked_sub(1)?));
    assert!(forward(0).eq(0..1 << 16));
    assert!(backward(u64::MAX).eq((0..1 << 16).rev()));
    assert_eq!((p.next_absent(0), p.prev_absent((1 << 16) - 1)), (Some(1 << 16), None));
    assert_eq!(p.remove_range(1 << 8..1 << 15), (1 << 15) - (1 << 8));
    assert!(forward(0).eq((0..1 << 8).chain(1 << 15..1 << 16)));
    assert!(backward(u64::MAX).eq((0..1 << 8).chain(1 << 15..1 << 16).rev()));
    assert_eq!(
        (p.next_absent(0), p.prev_absent((1 << 16) - 1)),
        (Some(1 << 8), Some((1 << 15) - 1))
    );
    assert_at_rest(&tree);
}

#[test]
fn holes_are_found_across_borders_of_nodes() {
    // 5.B-10: the first hole at and around the borders of nodes, in both directions.
    for base in [0, 1 << 40, u64::MAX - 8191] {
        let tree = tree_of(base..=base + 8191);
        let p = tree.pin();
        let mut random = rng(10);
        let near = [62, 63, 64, 65, 4094, 4095, 4096, 4097];
        for hole in near.into_iter().chain((0..20).map(|_| random.random_range(1..8191))) {
            p.remove(base + hole);
            assert_eq!(p.next_absent(base), Some(base + hole));
            assert_eq!(p.prev_absent(base + 8191), Some(base + hole));
            add(&p, base + hole);
        }
        assert_eq!(p.next_absent(base), base.checked_add(8192));
        assert_eq!(p.prev_absent(base + 8191), base.checked_sub(1));
    }
}
