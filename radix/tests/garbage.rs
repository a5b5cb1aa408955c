//! Garbage is bounded: what is retired is freed in proportion, however much a guard retires.

#[path = "common/mod.rs"]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::thread;

use tagged_radix::{Inline, RadixTree, pin};

use common::nodes::{CountNodes, live as live_nodes};

#[global_allocator]
static ALLOCATOR: CountNodes = CountNodes;

/// Entries of a tree.
const ENTRIES: u64 = 1000;
/// Rounds of replacing or removing all of them.
const ROUNDS: u64 = 1000;

/// A value that counts how many of its kind are alive.
struct Counted(Arc<AtomicI64>);

impl Counted {
    fn new(alive: &Arc<AtomicI64>) -> Box<Counted> {
        alive.fetch_add(1, SeqCst);
        Box::new(Counted(Arc::clone(alive)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Runs `round` many times; returns the most values that were alive after one.
fn most_alive(alive: &AtomicI64, mut round: impl FnMut(u64)) -> i64 {
    (0..ROUNDS)
        .map(|n| {
            round(n);
            alive.load(SeqCst)
        })
        .max()
        .expect("at least one round")
}

/// One test, so that no other one's guards hold up what is freed here.
#[test]
fn garbage_is_bounded() {
    common::watch();
    replaced_under_one_guard_a_round();
    replaced_under_a_guard_each();
    replaced_under_one_guard_that_is_repinned();
    removed_by_range();
    removed_by_range_and_nothing_else();
    nodes_replaced_by_insertions_and_nothing_else();
    large_values_are_bounded_by_their_bytes();
    // Last: a thread that has ended may still be pinned for a moment, giving away what it had retired, and hold up what comes next.
    replaced_by_two_threads();
}

/// Of values of 64 KiB, four make a collection due.
fn large_values_are_bounded_by_their_bytes() {
    struct Large {
        bytes: [u8; 1 << 16],
        _counted: Counted,
    }
    let (tree, alive): (RadixTree<Box<Large>>, Arc<AtomicI64>) = (RadixTree::new(), Arc::default());
    let large = || Box::new(Large { bytes: [0; 1 << 16], _counted: *Counted::new(&alive) });
    let most = (0..5000_u64).map(|n| {
        tree.pin().insert(n % 4, large());
        alive.load(SeqCst)
    });
    let most = most.max().expect("some");
    assert!(most <= 64, "{most} alive, of 64 KiB each");
    // And where a range is removed at once.
    let most = (0..200_u64).map(|_| {
        for n in 0..4 {
            assert!(tree.pin().insert(n, large()).is_none_or(|old| old.bytes[0] == 0));
        }
        tree.pin().remove_range(..);
        alive.load(SeqCst)
    });
    let most = most.max().expect("some");
    assert!(most <= 64, "{most} alive, of 64 KiB each");
}

/// What stays behind may be a few times what a guard retires, never more and more.
fn bound(retired_by_a_guard: u64) -> i64 {
    // Four bags of a thousand, where guards have no fence.
    let waiting = if cfg!(feature = "asymmetric") { 4096 } else { 2048 };
    i64::try_from(ENTRIES + 4 * retired_by_a_guard + waiting).unwrap()
}

fn replaced_under_one_guard_a_round() {
    let (tree, alive) = (RadixTree::new(), Arc::default());
    let most = most_alive(&alive, |_| {
        let pinned = tree.pin();
        for index in 0..ENTRIES {
            pinned.insert(index, Counted::new(&alive));
        }
    });
    assert!(most <= bound(ENTRIES), "{most} alive");
}

fn replaced_under_a_guard_each() {
    let (tree, alive) = (RadixTree::new(), Arc::default());
    let most = most_alive(&alive, |_| {
        for index in 0..ENTRIES {
            tree.pin().insert(index, Counted::new(&alive));
        }
    });
    assert!(most <= bound(1), "{most} alive");
}

fn replaced_under_one_guard_that_is_repinned() {
    let (tree, alive) = (RadixTree::new(), Arc::default());
    let mut guard = pin();
    let most = most_alive(&alive, |_| {
        for index in 0..ENTRIES {
            tree.with_guard(&guard).insert(index, Counted::new(&alive));
        }
        guard.repin();
    });
    assert!(most <= bound(ENTRIES), "{most} alive");
}

fn removed_by_range() {
    let (tree, alive) = (RadixTree::new(), Arc::default());
    let most = most_alive(&alive, |_| {
        let pinned = tree.pin();
        for index in 0..ENTRIES {
            pinned.insert(index, Counted::new(&alive));
        }
        assert_eq!(pinned.remove_range(..), ENTRIES);
    });
    assert!(most <= bound(256 * 64), "{most} alive");
}

/// No other call of the thread collects.
fn removed_by_range_and_nothing_else() {
    let alive: Arc<AtomicI64> = Arc::default();
    let fill = |_| (0..4096).map(|index| (index, Counted::new(&alive))).collect::<RadixTree<_>>();
    let trees: Vec<_> = (0..64).map(fill).collect();
    let all = alive.load(SeqCst);
    thread::scope(|scope| {
        scope.spawn(|| {
            for tree in &trees {
                assert_eq!(tree.pin().remove_range(..), 4096);
            }
        });
    });
    let left = alive.load(SeqCst);
    assert!(left < all / 2, "{left} of {all} alive");
}

/// An entry in the neighbourhood of a lone one has a full leaf take the place of a compact one.
fn nodes_replaced_by_insertions_and_nothing_else() {
    let before = live_nodes();
    for _ in 0..200 {
        let tree: RadixTree<Inline> = RadixTree::new();
        let pinned = tree.pin();
        for lone in (0..ENTRIES).map(|n| n << 20) {
            pinned.insert(lone, Inline::default());
            pinned.insert(lone + 1, Inline::default());
        }
    }
    let garbage = live_nodes().saturating_sub(before);
    assert!(garbage < 20 * ENTRIES, "{garbage} nodes are left of {}", 200 * ENTRIES);
}

fn replaced_by_two_threads() {
    let (tree, alive) = (RadixTree::new(), Arc::default());
    let churn = |first: u64| {
        for _ in 0..ROUNDS / 4 {
            let pinned = tree.pin();
            for index in first..first + ENTRIES {
                pinned.insert(index, Counted::new(&alive));
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| churn(0));
        churn(1 << 20);
    });
    // A thread that is not scheduled while it is pinned holds up everything; so what can be promised is how fast the rest goes.
    let rest = alive.load(SeqCst) - i64::try_from(2 * ENTRIES).unwrap();
    // A flush frees eight bags. Most are full, but where a thread often collects in vain, because another is not scheduled, a bag has few.
    let flushes = rest / 8 + 8;
    (0..flushes).for_each(|_| pin().flush());
    let left = alive.load(SeqCst);
    // Bags that the other thread had not filled are freed with it.
    assert!(left <= bound(0) + 1000, "{left} alive after {flushes} flushes, {rest} before");
}
