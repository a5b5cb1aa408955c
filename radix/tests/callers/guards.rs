//! Guards: those of others keep nothing of ours, and ours are not held while others' code runs.

use std::fmt::{self, Write as _};
use std::sync::mpsc;
use std::thread;

use tagged_radix::{RadixTree, Tag, TagSet, pin};

use crate::common::{Ledger, Tracked, drain, within};
use crate::{FEW, alone, most_alive_while_replacing};

/// Asserts that garbage is freed while another thread is in the middle of `wait`, which is given what to call in order to wait.
fn frees_during(wait: impl FnOnce(Box<dyn FnMut() + Send>) + Send + 'static) {
    let _alone = alone();
    within(move || {
        let ((begun, has_begun), (go, may_go)) = (mpsc::channel(), mpsc::channel::<()>());
        let waiting = Box::new(move || {
            begun.send(()).ok();
            may_go.recv().ok();
        });
        let thread = thread::spawn(move || wait(waiting));
        has_begun.recv().expect("it waits");
        let most = most_alive_while_replacing();
        drop(go);
        thread.join().expect("no panic");
        assert!(most < FEW, "{most} values alive meanwhile");
    });
}

#[test]
fn a_guard_of_another_user_of_the_epochs_keeps_nothing() {
    frees_during(|mut wait| {
        let _guard = crossbeam_epoch::pin();
        wait();
    });
}

#[test]
fn a_guard_of_ours_keeps_nothing_of_another_user_of_the_epochs() {
    let _alone = alone();
    let _guard = pin();
    thread::spawn(|| {
        let ledger = Ledger::new();
        crossbeam_epoch::pin().defer(move || drop(ledger.value(0, 0)));
        drain(|| {
            crossbeam_epoch::pin().flush();
            ledger.dropped() == 1
        });
    })
    .join()
    .expect("no panic");
}

#[test]
fn our_own_guard_keeps_what_is_retired_after_it() {
    let _alone = alone();
    let _guard = pin();
    let most = thread::spawn(most_alive_while_replacing).join().expect("no panic");
    assert_eq!(most, 100_000, "all of it, as documented");
}

/// Entries up to one before which it waits, once.
fn slow(mut wait: Box<dyn FnMut() + Send>) -> impl Iterator<Item = (u64, Box<u64>)> {
    (0..100).map(move |n| {
        if n == 70 {
            wait();
        }
        (n, Box::new(n))
    })
}

#[test]
fn no_guard_is_held_while_extend_asks_its_iterator() {
    frees_during(|wait| {
        let tree = RadixTree::new();
        (&tree).extend(slow(wait));
        assert_eq!(tree.len(), 100);
    });
    frees_during(|wait| {
        let mut tree = RadixTree::new();
        tree.extend(slow(wait));
        assert_eq!(tree.len(), 100);
    });
}

#[test]
fn no_guard_is_held_while_a_new_tree_asks_its_iterator() {
    frees_during(|wait| {
        let tree: RadixTree<Box<u64>> = slow(wait).collect();
        assert_eq!(tree.len(), 100);
    });
}

#[test]
fn what_extend_was_given_is_in_the_tree_before_it_asks_for_more() {
    let _alone = alone();
    let tree: RadixTree<Box<u64>> = RadixTree::new();
    let entries = (0..200).map(|n| {
        assert_eq!(tree.len(), n, "entries in the tree");
        (n, Box::new(n))
    });
    (&tree).extend(entries);
}

#[test]
fn no_guard_is_held_between_the_entries_that_are_consumed() {
    frees_during(|mut wait| {
        let tree: RadixTree<Box<u64>> = (0..100).map(|n| (n, Box::new(n))).collect();
        for (index, _) in tree {
            if index == 50 {
                wait();
            }
        }
    });
}

/// Waits while it writes the entry of 50.
struct SlowText(Box<dyn FnMut() + Send>);

impl fmt::Write for SlowText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.starts_with("(50, ") {
            (self.0)();
        }
        Ok(())
    }
}

#[test]
fn no_guard_is_held_while_a_printed_tree_is_written() {
    frees_during(|wait| {
        let tree: RadixTree<Box<u64>> = (0..100).map(|n| (n, Box::new(n))).collect();
        write!(SlowText(wait), "{tree:?}").expect("nothing fails");
    });
}

#[test]
fn a_tree_is_printed_as_a_map() {
    let _alone = alone();
    let tree: RadixTree<Box<u64>> =
        [0, 50, u64::MAX].into_iter().map(|n| (n, Box::new(n))).collect();
    tree.pin().set_tag(50, Tag::T1);
    assert_eq!(
        format!("{tree:?}"),
        format!("{{0: (0, {{}}), 50: (50, {{T1}}), {0}: ({0}, {{}})}}", u64::MAX)
    );
    let map = std::collections::BTreeMap::from([(7, (Box::new("a"), TagSet::EMPTY))]);
    let tree: RadixTree<Box<&str>> = RadixTree::from_iter([(7, Box::new("a"))]);
    assert_eq!(format!("{tree:#?}"), format!("{map:#?}"));
}

#[test]
fn what_was_retired_beside_a_guard_is_freed_soon_after_it() {
    let _alone = alone();
    let (ledger, tree) = (Ledger::new(), RadixTree::new());
    let replace = |times: u64| {
        for n in 0..times {
            tree.pin().insert(n % 64, Box::new(ledger.value(n % 64, 0)));
        }
    };
    thread::scope(|scope| {
        let _guard = pin();
        scope.spawn(|| replace(200_000)).join().expect("no panic");
        assert_eq!(ledger.live(), 200_000);
    });
    // A collection frees more than what is retired for it.
    replace(300_000);
    assert!(ledger.live() < FEW, "{} alive", ledger.live());
}

#[test]
fn a_guard_that_is_repinned_beside_another_keeps_what_that_sees() {
    let _alone = alone();
    let ledger = Ledger::new();
    let tree: RadixTree<Box<Tracked>> = [(0, Box::new(ledger.value(0, 7)))].into_iter().collect();
    let (first, mut second) = (tree.pin(), pin());
    let seen = first.get(0).expect("inserted");
    tree.pin().remove(0);
    for _ in 0..20 {
        second.repin();
        second.flush();
        thread::scope(|scope| scope.spawn(|| pin().flush()).join()).expect("no panic");
    }
    assert_eq!((ledger.dropped(), seen.stamp_at(0)), (0, 7));
    drop((first, second));
    ledger.settle(0);
}
