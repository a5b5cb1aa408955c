//! Closures and iterators that panic, and what they leave behind.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tagged_radix::RadixTree;

use crate::alone;
use crate::common::{Ledger, Tracked, assert_at_rest, within};

type Tree = RadixTree<Box<Tracked>>;

/// A tree with the entries 0 to 69, and where its values are counted.
fn tree() -> (Tree, &'static Ledger) {
    let ledger = Ledger::new();
    ((0..70).map(|n| (n, Box::new(ledger.value(n, 0)))).collect(), ledger)
}

/// Asserts that `call` panics, that the tree is as it was then, and that nothing but its entries is left of all values.
fn changes_nothing(call: impl FnOnce(&Tree, &'static Ledger)) {
    let _alone = alone();
    let (tree, ledger) = tree();
    assert!(catch_unwind(AssertUnwindSafe(|| call(&tree, ledger))).is_err(), "it is to panic");
    assert_at_rest(&tree);
    for (index, value) in &tree.pin() {
        assert_eq!(value.stamp_at(index), 0, "the value of {index}");
    }
    ledger.settle(70);
    // No lock is held.
    tree.pin().remove_range(..);
    ledger.settle(0);
}

#[test]
fn a_section_that_panics_changes_nothing_and_loses_no_value() {
    changes_nothing(|tree, ledger| {
        tree.pin().update(5, |slot| {
            slot.replace(Box::new(ledger.value(5, 1)));
            slot.set(tagged_radix::Tag::T0);
            panic!("in the section");
        });
    });
}

#[test]
fn a_predicate_that_panics_changes_nothing_and_loses_no_value() {
    changes_nothing(|tree, ledger| {
        let new = Box::new(ledger.value(5, 1));
        let _ = tree.pin().replace_if(5, new, |_, _| panic!("in the predicate")).map(|_| ());
    });
    changes_nothing(|tree, _| {
        let _ = tree.pin().remove_if(5, |_, _| panic!("in the predicate")).map(|_| ());
    });
    changes_nothing(|tree, _| {
        tree.pin().retain(|_, _, _| panic!("in the predicate"));
    });
    changes_nothing(|tree, _| {
        tree.pin().get_or_insert_with(70, || panic!("in the maker"));
    });
}

#[test]
fn a_value_that_is_made_in_vain_is_dropped() {
    let _alone = alone();
    let (tree, ledger) = tree();
    let p = tree.pin();
    let made = p.get_or_insert_with(70, || {
        tree.pin().insert(70, Box::new(ledger.value(70, 1)));
        Box::new(ledger.value(70, 2))
    });
    assert_eq!((made.stamp_at(70), ledger.live()), (1, 71));
}

/// Values of `numbers`, and then a panic.
fn then_panic(
    ledger: &'static Ledger,
    numbers: std::ops::Range<u64>,
) -> impl Iterator<Item = (u64, Box<Tracked>)> {
    let end = numbers.end;
    (numbers.start..end + 1).map(move |n| {
        assert!(n < end, "the iterator panics");
        (n, Box::new(ledger.value(n, 0)))
    })
}

#[test]
fn what_an_iterator_gave_before_it_panicked_is_in_the_tree() {
    let _alone = alone();
    let (tree, ledger) = tree();
    let call = || (&tree).extend(then_panic(ledger, 70..170));
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    assert_eq!(tree.len(), 170);
    ledger.settle(170);
}

#[test]
fn a_tree_that_is_not_completed_is_dropped_with_what_the_iterator_gave() {
    let _alone = alone();
    let ledger = Ledger::new();
    let call = || then_panic(ledger, 0..170).collect::<Tree>();
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    assert_eq!(ledger.made(), 170);
    ledger.settle(0);
}

/// An iterator that goes on after its end, as one of a channel does.
struct Resumes(u64);

impl Iterator for Resumes {
    type Item = (u64, Box<u64>);

    fn next(&mut self) -> Option<(u64, Box<u64>)> {
        self.0 += 1;
        (self.0 != 65 && self.0 < 130).then(|| (self.0, Box::new(self.0)))
    }
}

#[test]
fn an_iterator_is_not_asked_again_after_its_end() {
    let _alone = alone();
    let tree: RadixTree<Box<u64>> = Resumes(0).collect();
    assert_eq!(tree.len(), 64, "a batch ends where the iterator does");
    let tree: RadixTree<Box<u64>> = Resumes(1).collect();
    assert_eq!(tree.len(), 63);
}

static NOSY: RadixTree<Box<u64>> = RadixTree::new();

/// Uses the tree when it is dropped.
struct Nosy(u64);

impl Drop for Nosy {
    fn drop(&mut self) {
        NOSY.pin().insert(self.0, Box::new(self.0));
    }
}

#[test]
fn a_section_that_does_not_run_is_dropped_without_the_leafs_lock() {
    let _alone = alone();
    within(|| {
        NOSY.pin().insert(1, Box::new(1));
        NOSY.pin().insert(2, Box::new(2));
        // 0: in the leaf, which is there; 64: no leaf.
        for index in [0, 64] {
            let nosy = Nosy(index);
            assert!(NOSY.pin().update(index, move |_| drop(nosy)).is_none());
            assert!(NOSY.pin().contains(index));
        }
    });
}
