//! Values are dropped once, none is forgotten, and none while someone may see it.

use std::sync::Arc;

use rand::Rng;

use crate::common::{Ledger, NONE, Race, T0, Tracked, assert_at_rest, drain, rng, stress_time};
use tagged_radix::{ArcRef, RadixTree, pin};

const INDICES: u64 = 130;

/// One random change of one entry; all that can make a value leave the tree, or be refused.
fn change(tree: &RadixTree<Box<Tracked>>, ledger: &'static Ledger, random: &mut impl Rng) {
    let p = tree.pin();
    let index = random.random_range(0..INDICES);
    let value = || Box::new(ledger.value(index, 1));
    match random.random_range(0..9) {
        0 => {
            p.insert(index, value());
        }
        1 => {
            p.try_insert(index, value()).ok();
        }
        2 => {
            p.replace_if(index, value(), |_, tags| tags == NONE).ok();
        }
        3 => {
            p.update(index, |slot| {
                slot.replace(value());
                slot.replace(value());
                slot.set(T0);
            });
        }
        4 => {
            p.update(index, |slot| {
                slot.replace(value());
                slot.remove();
            });
        }
        5 => {
            if let Some(current) = p.get(index) {
                p.compare_exchange(index, current, value()).ok();
            }
        }
        6 => {
            p.remove_range(index..index + 3);
        }
        7 => {
            p.get_or_insert_with(index, value).stamp_at(index);
        }
        _ => {
            if let Some(old) = p.remove(index) {
                old.stamp_at(index);
            }
        }
    }
}

#[test]
fn values_are_dropped_once_and_none_is_forgotten() {
    let ledger = Ledger::new();
    let tree = RadixTree::new();
    let writer = |seed| {
        let (tree, mut random) = (&tree, rng(seed));
        move |_| change(tree, ledger, &mut random)
    };
    let reader = |_| {
        let p = tree.pin();
        let held: Vec<_> = p.iter().collect();
        std::thread::yield_now();
        held.iter().for_each(|(index, value)| assert_eq!(value.stamp_at(*index), 1));
    };
    Race::new(2 * stress_time()).repeat(writer(1)).repeat(writer(2)).repeat(reader).run();
    assert_at_rest(&tree);
    assert!(ledger.made() > 1000);
    ledger.settle(tree.len());
    drop(tree);
    ledger.settle(0);
}

#[test]
fn what_a_guard_may_see_is_kept() {
    // The counter of an `Arc` tells whether the tree let go of a value, without touching what
    // may be freed: the test owns every value it stores.
    let values: Vec<_> = (0..2_000_u64).map(Arc::new).collect();
    let tree = RadixTree::new();
    let writer = |turn| {
        let at = usize::try_from(turn % 2_000).unwrap();
        tree.pin().insert(turn % 7, Arc::clone(&values[at]));
        if turn % 5 == 0 {
            tree.pin().remove(turn % 7);
        }
        pin().flush();
    };
    let reader = |_| {
        let p = tree.pin();
        let held: Vec<ArcRef<'_, u64>> = (0..7).filter_map(|index| p.get(index)).collect();
        for _ in 0..3 {
            std::thread::yield_now(); // the writer replaces them meanwhile
        }
        for value in held {
            let owner = &values[usize::try_from(*value).unwrap()];
            assert!(Arc::strong_count(owner) >= 2, "{} was let go of while a guard saw it", *value);
        }
    };
    Race::new(stress_time()).repeat(writer).repeat(reader).repeat(reader).run();
    drop(tree);
    drain(|| values.iter().all(|value| Arc::strong_count(value) == 1));
}

#[test]
fn a_held_guard_keeps_what_it_saw_through_any_churn() {
    let ledger = Ledger::new();
    let tree: RadixTree<_> =
        (0..INDICES).map(|index| (index, Box::new(ledger.value(index, 7)))).collect();
    {
        let p = tree.pin();
        let held: Vec<_> = p.iter().collect();
        let mut random = rng(3);
        let churn = |_| change(&tree, ledger, &mut random);
        Race::new(stress_time() / 2).repeat(churn).repeat(|_| pin().flush()).run();
        assert!(
            held.iter().all(|(index, value)| value.stamp_at(*index) == 7),
            "all are readable still"
        );
        assert_eq!(held.len(), 130);
        assert!(ledger.live() > 130, "others were made meanwhile");
    }
    ledger.settle(tree.len());
    drop(tree);
    ledger.settle(0);
}

#[test]
fn values_given_back_belong_to_the_caller() {
    let ledger = Ledger::new();
    let tree = RadixTree::new();
    let fight = |_| {
        let p = tree.pin();
        let mut value = Box::new(ledger.value(5, 0));
        // Whoever loses the place gets the value back, whole, and may try again.
        for _ in 0..4 {
            match p.try_insert(5, value) {
                Ok(stored) => {
                    stored.stamp_at(5);
                    p.remove(5);
                    return;
                }
                Err(error) => value = error.value,
            }
            value.stamp_at(5);
        }
    };
    Race::new(stress_time() / 2).repeat(fight).repeat(fight).repeat(fight).run();
    ledger.settle(tree.len());
    drop(tree);
    ledger.settle(0);
}
