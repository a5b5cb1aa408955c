//! Old bugs, with threads.

use std::sync::Arc;

use crate::common::{
    Ledger, Race, T0, Tree, add, add_tagged, assert_at_rest, drain, stress_time, tree_of,
};
use tagged_radix::{ArrayVec, RadixTree};

#[test]
#[cfg_attr(target_family = "wasm", ignore = "there are no threads")]
fn lookups_end_while_the_tree_collapses() {
    // a reader must not spin on a place in a node that is gone.
    let ledger = Ledger::new();
    let tree = RadixTree::new();
    let turn = |stamp| {
        let p = tree.pin();
        p.insert(0, Arc::new(ledger.value(0, stamp)));
        p.insert(1, Arc::new(ledger.value(1, stamp)));
        assert!(p.remove(1).is_some());
        assert!(p.remove(0).is_some());
    };
    let look = |_| {
        let mut batch = ArrayVec::<_, 10>::new();
        assert_eq!(tree.gang_lookup_owned(0, &mut batch), None);
        assert!(batch.len() <= 2 && batch.is_sorted_by(|a, b| a.0 < b.0));
        batch.iter().for_each(|(index, value)| assert!(value.stamp_at(*index) < u64::MAX));
    };
    Race::new(stress_time()).repeat(turn).repeat(look).repeat(look).run();
    assert_at_rest(&tree);
    drop(tree);
    ledger.settle(0);
}

/// The entries around which the tree grows while it is walked, in the order of the walk.
fn assert_walk(seen: &[u64], first: u64, ahead: u64) {
    // What is inserted during a scan may be reported or not.
    assert!(*seen == [first] || *seen == [first, ahead], "{seen:?}");
}

#[test]
fn iteration_goes_on_while_the_tree_grows_around_it() {
    // on the first visit the tree grows; plain and tagged.
    for ahead in [1, 63, 64, 4096, u64::MAX] {
        let tree = tree_of([0]);
        let p = tree.pin();
        p.set_tag(0, T0);
        let grow = |index: &u64| {
            if *index == 0 {
                add_tagged(&p, ahead, T0);
            }
        };
        let seen: Vec<_> = p.range_tagged(.., T0).map(|(index, ..)| index).inspect(grow).collect();
        assert_walk(&seen, 0, ahead);
        p.remove(ahead);
        let seen: Vec<_> = p.iter().map(|(index, _)| index).inspect(grow).collect();
        assert_walk(&seen, 0, ahead);
        assert_at_rest(&tree);
    }
}

#[test]
fn backward_iteration_goes_on_while_the_tree_grows_around_it() {
    // R-3, the other way: the tree grows below the first entry that is visited.
    for ahead in [u64::MAX - 1, u64::MAX - 64, 1 << 40, 5, 0] {
        let tree = tree_of([u64::MAX]);
        let p = tree.pin();
        let grow = |index: &u64| {
            if *index == u64::MAX {
                add(&p, ahead);
            }
        };
        let seen: Vec<_> = p.iter().rev().map(|(index, _)| index).inspect(grow).collect();
        assert_walk(&seen, u64::MAX, ahead);
        assert_at_rest(&tree);
    }
}

#[test]
fn iteration_that_is_resumed_reaches_what_was_inserted() {
    // with a fresh start after each entry, also the last, the new entry must be found.
    for ahead in [1, 63, 64, 4096, u64::MAX] {
        let tree = tree_of([0]);
        let mut p = tree.pin();
        p.set_tag(0, T0);
        let (mut seen, mut start) = (Vec::new(), Some(0));
        while let Some((index, ..)) = start.and_then(|from| p.range_tagged(from.., T0).next()) {
            if index == 0 {
                add_tagged(&p, ahead, T0);
            }
            seen.push(index);
            start = index.checked_add(1);
            p.repin();
        }
        assert_eq!(seen, [0, ahead]);
        assert_at_rest(&tree);
    }
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "there are no threads")]
fn an_entry_that_stays_is_always_found() {
    // 0 is always there while 1, or an entry that grows the tree, comes and goes.
    for toggled in [1, 64, 1 << 30, u64::MAX] {
        let tree = Tree::new();
        add_tagged(&tree.pin(), 0, T0);
        let toggle = |_| {
            let p = tree.pin();
            add(&p, toggled);
            assert_eq!(p.remove(toggled), Some(&toggled));
        };
        let look = |_| {
            let p = tree.pin();
            assert_eq!(p.get(0), Some(&0));
            assert_eq!(p.get_with_tags(0), Some((&0, T0.into())));
            assert_eq!((p.first(), p.has_tag(0, T0)), (Some((0, &0)), true));
            assert!(p.range_tagged(.., T0).map(|(index, ..)| index).eq([0]));
        };
        Race::new(stress_time() / 2).repeat(toggle).repeat(look).run();
        assert_at_rest(&tree);
    }
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "there are no threads")]
fn next_always_finds_the_anchor_or_what_comes_before_it() {
    // ID-10: the anchor above what is toggled, and the other way round.
    for (anchor, toggled) in [(100_000, 0), (0, 100_000), (u64::MAX, 5), (5, u64::MAX)] {
        let tree = tree_of([anchor]);
        let toggle = |_| {
            let p = tree.pin();
            add(&p, toggled);
            assert_eq!(p.remove(toggled), Some(&toggled));
        };
        let look = |_| {
            let p = tree.pin();
            let (index, value) = p.next(0).expect("the anchor is there");
            assert!(index == anchor || index == toggled, "{index}");
            assert_eq!(index, *value);
            let (index, value) = p.prev(u64::MAX).expect("the anchor is there");
            assert!(index == anchor || index == toggled, "{index}");
            assert_eq!(index, *value);
            assert_eq!(p.next(anchor).map(|(index, _)| index), Some(anchor));
            assert_eq!(p.prev(anchor).map(|(index, _)| index), Some(anchor));
        };
        Race::new(stress_time() / 2).repeat(toggle).repeat(look).run();
        assert_at_rest(&tree);
    }
}

#[test]
fn nodes_and_values_of_collapsing_trees_are_freed() {
    // TC-4 and R-1 together: what was retired meanwhile is gone after a grace period.
    let ledger = Ledger::new();
    let tree = RadixTree::new();
    for stamp in 0..2000 {
        let p = tree.pin();
        p.insert(1_000_000, Box::new(ledger.value(1_000_000, stamp)));
        assert_eq!(p.remove(1_000_000).map(|value| value.stamp_at(1_000_000)), Some(stamp));
    }
    drain(|| ledger.live() == 0);
    ledger.settle(0);
    assert_at_rest(&tree);
}
