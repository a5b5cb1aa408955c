//! `get_or_insert_with`: of several calls for one index, one makes the value while the others wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use tagged_radix::RadixTree;

use crate::alone;
use crate::common::within;

type Tree = RadixTree<Box<u64>>;

/// Lets others come as far as they can.
fn linger() {
    thread::sleep(Duration::from_millis(30));
}

#[test]
fn one_value_is_made_for_all_who_want_it() {
    let _alone = alone();
    within(|| {
        for index in [0, 70, 1 << 40] {
            let (tree, made, line) = (Tree::new(), AtomicUsize::new(0), Barrier::new(8));
            thread::scope(|scope| {
                for number in 0..8 {
                    let (tree, made, line) = (&tree, &made, &line);
                    scope.spawn(move || {
                        line.wait();
                        let p = tree.pin();
                        let value = *p.get_or_insert_with(index, || {
                            made.fetch_add(1, SeqCst);
                            linger();
                            Box::new(number)
                        });
                        assert_eq!(p.get(index), Some(&value));
                    });
                }
            });
            assert_eq!(made.load(SeqCst), 1);
        }
    });
}

#[test]
fn when_a_maker_panics_one_who_waits_makes_the_value() {
    let _alone = alone();
    within(|| {
        let (tree, line) = (Tree::new(), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                let call = || {
                    tree.pin().get_or_insert_with(5, || {
                        line.wait();
                        linger();
                        panic!("in the maker")
                    });
                };
                assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
            });
            line.wait();
            assert_eq!(tree.pin().get_or_insert_with(5, || Box::new(2)), &2);
        });
    });
}

#[test]
fn a_maker_may_want_its_own_index() {
    let _alone = alone();
    within(|| {
        let tree = Tree::new();
        let p = tree.pin();
        let value = p.get_or_insert_with(5, || {
            assert_eq!(tree.pin().get_or_insert_with(5, || Box::new(1)), &1);
            Box::new(2)
        });
        assert_eq!(value, &1, "what is inserted first stays");
    });
}

#[test]
fn makers_that_want_the_values_of_each_other_do_not_wait_in_a_circle() {
    let _alone = alone();
    within(|| {
        let (trees, line) = ([Tree::new(), Tree::new()], Barrier::new(2));
        thread::scope(|scope| {
            for (mine, other) in [(0, 1), (1, 0)] {
                let (trees, line) = (&trees, &line);
                scope.spawn(move || {
                    let p = trees[mine].pin();
                    p.get_or_insert_with(5, || {
                        line.wait();
                        let theirs = *trees[other].pin().get_or_insert_with(5, || Box::new(9));
                        // Neither has ended its flight before the other one has come to it.
                        line.wait();
                        Box::new(theirs + 1)
                    });
                });
            }
        });
        assert!(trees.iter().all(|tree| tree.pin().get(5) == Some(&9)));
    });
}

#[test]
fn a_maker_holds_up_nobody_who_wants_another_index() {
    let _alone = alone();
    within(|| {
        let (tree, line) = (Tree::new(), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                tree.pin().get_or_insert_with(5, || {
                    line.wait();
                    // The other call has ended by then, or this would wait for ever.
                    line.wait();
                    Box::new(1)
                });
            });
            line.wait();
            assert_eq!(tree.pin().get_or_insert_with(6, || Box::new(2)), &2);
            line.wait();
        });
    });
}

/// Those who wait for a value that is removed at once are not left waiting, and each call returns what was in the tree.
#[test]
fn values_that_go_at_once_are_made_again() {
    let _alone = alone();
    within(|| {
        let (tree, rounds) = (Tree::new(), if cfg!(miri) { 5 } else { 2000 });
        thread::scope(|scope| {
            for number in 0..3 {
                let tree = &tree;
                scope.spawn(move || {
                    for round in 0..rounds {
                        let p = tree.pin();
                        let value = *p.get_or_insert_with(5, || Box::new(10 * round + number));
                        assert!(value / 10 < rounds && value % 10 < 3);
                        p.remove(5);
                    }
                });
            }
        });
        assert!(tree.is_empty());
    });
}
