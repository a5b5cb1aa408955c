//! Update sections over one entry.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::common::{Ledger, NONE, T0, T1, T2, Tree, assert_at_rest, assert_untagged, tree_of};
use tagged_radix::{RadixTree, TagSet};

#[test]
fn update_returns_what_the_section_returns() {
    let tree = tree_of([3]);
    let p = tree.pin();
    assert_eq!(p.update(3, |slot| *slot.value() + 1), Some(4));
    assert_eq!(p.update(4, |_| ()), None);
    assert_eq!(p.get_with_tags(3), Some((&3, NONE)), "a section that only looks changes nothing");
}

#[test]
fn update_changes_value_and_tags() {
    let tree = Tree::new();
    let p = tree.pin();
    p.insert_tagged(3, Box::new(1), TagSet::of(&[T0, T1]));
    p.update(3, |slot| {
        assert_eq!(slot.tags(), TagSet::of(&[T0, T1]));
        slot.set(T2);
        slot.clear(TagSet::of(&[T0, T1]));
        slot.set(T1);
        assert_eq!(slot.tags(), TagSet::of(&[T1, T2]), "as the outcome stands now");
        assert!(slot.replace(Box::new(2)).is_none());
    });
    assert_eq!(p.get_with_tags(3), Some((&2, TagSet::of(&[T1, T2]))));
    assert_untagged(&tree, T0);
    assert_at_rest(&tree);
}

#[test]
fn update_gives_back_a_value_replaced_within_the_section() {
    let tree = tree_of([3]);
    let p = tree.pin();
    p.update(3, |slot| {
        assert!(slot.replace(Box::new(10)).is_none());
        assert_eq!(slot.replace(Box::new(11)), Some(Box::new(10)));
    });
    assert_eq!(p.get(3), Some(&11));
}

#[test]
fn update_can_remove_the_entry() {
    let tree = Tree::new();
    let p = tree.pin();
    p.insert_tagged(3, Box::new(1), T0.into());
    p.insert_tagged(4, Box::new(1), T1.into());
    let value = p.update(3, |slot| {
        slot.set(T2);
        slot.remove();
        *slot.value()
    });
    assert_eq!(value, Some(1));
    assert_eq!(p.get(3), None);
    assert_untagged(&tree, T0);
    assert_eq!((tree.any_tagged(T1), tree.any_tagged(T2)), (true, false));
    p.insert(3, Box::new(5));
    assert_eq!(p.tags(3), Some(NONE));
    assert_at_rest(&tree);
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "a panic ends the process")]
fn update_that_panics_applies_nothing_and_unlocks() {
    let ledger = Ledger::new();
    let tree = RadixTree::new();
    let p = tree.pin();
    p.insert_tagged(3, Box::new(ledger.value(3, 1)), T0.into());
    let section = || {
        p.update(3, |slot| {
            slot.set(T1);
            slot.clear(T0);
            slot.replace(Box::new(ledger.value(3, 2)));
            slot.remove();
            resume_unwind(Box::new("thrown"));
        })
    };
    let thrown = catch_unwind(AssertUnwindSafe(section)).unwrap_err();
    assert_eq!(thrown.downcast_ref(), Some(&"thrown"));
    let (value, tags) = p.get_with_tags(3).unwrap();
    assert_eq!((value.stamp_at(3), tags), (1, T0.into()));
    assert_eq!(p.set_tag(3, T2), Some(true), "the lock was released");
    assert_at_rest(&tree);
    drop(p);
    ledger.settle(1);
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "a panic ends the process")]
fn predicates_that_panic_apply_nothing_and_unlock() {
    let tree = tree_of([3, 4]);
    let p = tree.pin();
    let throw = || -> bool { resume_unwind(Box::new("thrown")) };
    assert_thrown(|| p.remove_if(3, |_, _| throw()).ok());
    assert_thrown(|| p.replace_if(3, Box::new(9), |_, _| throw()).ok());
    assert_thrown(|| p.retain(|_, _, _| throw()));
    assert_thrown(|| p.get_or_insert_with(5, || Box::new(u64::from(throw()))));
    assert_eq!(p.get_with_tags(3), Some((&3, NONE)));
    assert_eq!(p.insert(3, Box::new(30)), Some(&3), "the lock was released");
    assert_eq!(p.get(5), None);
    assert_at_rest(&tree);
}

fn assert_thrown<R>(call: impl FnOnce() -> R) {
    let thrown = catch_unwind(AssertUnwindSafe(call)).err().expect("a panic");
    assert_eq!(thrown.downcast_ref(), Some(&"thrown"));
}

#[test]
fn what_a_section_takes_back_it_is_given() {
    let tree: RadixTree<Box<u64>> = RadixTree::from_iter([(1, Box::new(10))]);
    let p = tree.pin();
    let (first, earlier) =
        p.update(1, |slot| (slot.replace(Box::new(11)), slot.remove())).expect("there is an entry");
    assert_eq!((first, earlier), (None, Some(Box::new(11))));
    assert_eq!(p.get(1), None);
    p.insert(1, Box::new(10));
    let (removed, again) =
        p.update(1, |slot| (slot.remove(), slot.replace(Box::new(12)))).expect("there is an entry");
    assert_eq!((removed, again), (None, None));
    assert_eq!(p.get(1), Some(&12));
}
