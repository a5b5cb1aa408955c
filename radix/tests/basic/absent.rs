//! Insertion at the lowest absent index.

use std::collections::BTreeSet;

use rand::Rng;

use crate::common::{NONE, T0, Tree, add, assert_at_rest, rng, tree_of};

/// Inserts at the lowest absent index of a range that has one.
fn alloc(tree: &Tree, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
    tree.pin().insert_at_absent(range, Box::new(7)).ok()
}

#[test]
fn numbers_are_given_out_in_order_and_again_when_they_are_free() {
    let tree = Tree::new();
    for expected in 0..10_000 {
        assert_eq!(alloc(&tree, 0..=u64::MAX), Some(expected));
    }
    let p = tree.pin();
    for freed in [9_999, 4_096, 4_095, 64, 63, 1, 0] {
        assert!(p.remove(freed).is_some());
        assert_eq!(p.next_absent(0), Some(freed));
        assert_eq!(alloc(&tree, 0..=u64::MAX), Some(freed));
        assert_eq!(p.next_absent(0), Some(10_000));
    }
    assert_eq!(alloc(&tree, 0..=u64::MAX), Some(10_000));
    tree.check().unwrap();
}

#[test]
fn a_range_has_no_more_than_its_indices() {
    let tree = tree_of([3, 5]);
    let found: Vec<_> = std::iter::from_fn(|| alloc(&tree, 2..=6)).collect();
    assert_eq!(found, [2, 4, 6]);
    assert_eq!(alloc(&tree, 4..=4), None);
    assert_eq!(alloc(&tree, u64::MAX - 1..=u64::MAX), Some(u64::MAX - 1));
    assert_eq!(alloc(&tree, u64::MAX - 1..=u64::MAX), Some(u64::MAX));
    assert_eq!(alloc(&tree, u64::MAX - 1..=u64::MAX), None);
    let (p, empty) = (tree.pin(), 6..6);
    assert_eq!(*p.insert_at_absent(empty, Box::new(8)).unwrap_err().value, 8);
    assert_at_rest(&tree);
}

/// Every call that removes, from a tree whose leaves and nodes are all marked.
#[test]
fn whatever_removes_an_entry_takes_its_marks_away() {
    type Removal = fn(&Tree, u64);
    let removals: [Removal; 6] = [
        |tree, index| assert!(tree.pin().remove(index).is_some()),
        |tree, index| assert!(tree.pin().remove_if(index, |_, _| true).is_ok()),
        |tree, index| assert!(tree.pin().update(index, |slot| slot.remove()).is_some()),
        |tree, index| assert_eq!(tree.pin().remove_range(index..=index), 1),
        |tree, index| assert_eq!(tree.pin().retain(|at, _, _| at != index), 1),
        |tree, index| {
            tree.pin().insert_tagged(index, Box::new(1), T0.into());
            tree.pin().remove(index);
        },
    ];
    for base in [0, 5 << 40] {
        // As many as a group of the node above the lowest inner ones takes.
        let last = base + 8 * 4096 - 1;
        let (tree, whole) = (tree_of(base..=last), base..=last);
        for removal in removals {
            for _ in 0..4 {
                // Each call marks one level more.
                assert_eq!(alloc(&tree, whole.clone()), None);
            }
            for index in [base, base + 63, base + 4095, base + 4096, base + 20_000, last] {
                removal(&tree, index);
                tree.check().unwrap();
                assert_eq!(tree.pin().first_absent(whole.clone()), Some(index));
                assert_eq!(alloc(&tree, whole.clone()), Some(index));
            }
        }
        tree.pin().remove_range(base + 100..base + 30_000);
        tree.check().unwrap();
        assert_eq!(alloc(&tree, whole), Some(base + 100));
        tree.pin().remove_range(..);
        assert_at_rest(&tree);
    }
}

#[test]
fn the_lowest_absent_index_is_found_whatever_comes_and_goes() {
    let mut random = rng(4);
    let (tree, mut model) = (Tree::new(), BTreeSet::new());
    let p = tree.pin();
    for turn in 0..6_000_u64 {
        let (low, high) = (random.random_range(0..5000), random.random_range(0..6000));
        match random.random_range(0..8) {
            0..5 => {
                let low = if random.random() { 0 } else { low };
                let expected = (low..=high).find(|index| !model.contains(index));
                assert_eq!(alloc(&tree, low..=high), expected, "turn {turn}: {low}..={high}");
                model.extend(expected);
            }
            5 => {
                assert_eq!(p.remove(low).is_some(), model.remove(&low));
            }
            6 => {
                if model.insert(low) {
                    add(&p, low);
                }
            }
            _ => {
                let expected = (low..=high).find(|index| !model.contains(index));
                assert_eq!(p.first_absent(low..=high), expected);
            }
        }
        if turn.is_multiple_of(600) {
            tree.check().unwrap();
            let (from, to) = (low, low + 700);
            p.remove_range(from..to);
            model.retain(|index| !(from..to).contains(index));
        }
    }
    assert_at_rest(&tree);
}

#[test]
fn tags_stay_as_they_are_where_others_are_inserted() {
    let tree = tree_of(0..64);
    let p = tree.pin();
    p.tag_range(.., T0, NONE);
    assert_eq!(alloc(&tree, 0..=100), Some(64));
    assert_eq!((p.tags(63), p.tags(64)), (Some(T0.into()), Some(NONE)));
    assert_at_rest(&tree);
}
