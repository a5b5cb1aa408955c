//! Values that are made where none is: by one of those who want them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tagged_radix::RadixTree;

use crate::model::explore;
use crate::stamp::Stamp;

type Tree = RadixTree<Arc<Stamp>>;

/// Wants the value at `index`, and counts if it makes it.
fn want(tree: &Tree, index: u64, made: &AtomicUsize) -> u64 {
    let make = || Stamp::new(10 * index + made.fetch_add(1, Relaxed) as u64);
    tree.pin().get_or_insert_with(index, make).get()
}

/// Runs both on one tree, at the same time.
fn both(
    name: &str,
    one: impl Fn(&Tree, &AtomicUsize) + Copy + Send + Sync + 'static,
    other: impl Fn(&Tree, &AtomicUsize) + Copy + Send + Sync + 'static,
    at_most: usize,
) {
    explore(name, move || {
        let (tree, made) = (Arc::new(Tree::new()), Arc::new(AtomicUsize::new(0)));
        let shared = (Arc::clone(&tree), Arc::clone(&made));
        let thread = loom::thread::spawn(move || one(&shared.0, &shared.1));
        other(&tree, &made);
        thread.join().expect("loom stops at the first panic");
        tree.check().unwrap_or_else(|violation| panic!("{violation}"));
        assert!((1..=at_most).contains(&made.load(Relaxed)), "made {made:?} times");
    });
}

/// Of two that want a value one makes it, and both get it.
#[test]
fn want_vs_want() {
    let call = |tree: &Tree, made: &AtomicUsize| assert_eq!(want(tree, 0, made), 0);
    both("want_vs_want", call, call, 1);
}

/// A value that goes at once is made again, by whoever has waited in vain, too.
#[test]
fn want_vs_want_and_remove() {
    let call = |tree: &Tree, made: &AtomicUsize| assert!(want(tree, 0, made) < 2);
    let remove = move |tree: &Tree, made: &AtomicUsize| {
        call(tree, made);
        tree.pin().remove(0);
    };
    both("want_vs_want_and_remove", call, remove, 2);
}

/// Two makers that want each other's value do not wait for each other.
#[test]
fn want_vs_want_in_a_circle() {
    fn nested(tree: &Tree, index: u64, made: &AtomicUsize) {
        let make = || {
            want(tree, 1 - index, made);
            Stamp::new(100 + index)
        };
        tree.pin().get_or_insert_with(index, make).get();
    }
    both("want_vs_want_in_a_circle", |t, m| nested(t, 0, m), |t, m| nested(t, 1, m), 2);
}
