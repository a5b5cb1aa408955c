//! What a guard keeps, and for how long: all that was retired since it was made, until it is dropped or repinned, and not
//! longer. Tests of one binary, run one at a time, since any other's guard would keep this one's garbage.

#[path = "common/mod.rs"]
mod common;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard};

use rand::Rng;
use tagged_radix::{Guard, RadixTree, pin};

use common::nodes::{CountNodes, live as live_nodes};
use common::{Ledger, Race, Tracked, assert_at_rest, rng, stress_time};

#[global_allocator]
static ALLOCATOR: CountNodes = CountNodes;

type Tree = RadixTree<Box<Tracked>>;

fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(|failed| failed.into_inner())
}

/// Indices in some leaves that are neighbours and in some that are far apart.
fn index(random: &mut impl Rng) -> u64 {
    random.random_range(0..150) << (30 * random.random_range(0..2))
}

/// Replaces or removes some entry under a guard of its own; returns whether that retired a value.
fn change(tree: &Tree, ledger: &'static Ledger, random: &mut impl Rng) -> bool {
    let (p, at) = (tree.pin(), index(random));
    match random.random_range(0..3) {
        0 => p.remove(at).is_some(),
        _ => p.insert(at, Box::new(ledger.value(at, 0))).is_some(),
    }
}

/// Threads that change the tree for a while. Returns how many values they retired.
fn churn(tree: &Tree, ledger: &'static Ledger) -> u64 {
    let retired = AtomicU64::new(0);
    let worker = |seed| {
        let (retired, mut random) = (&retired, rng(seed));
        move |_| {
            retired.fetch_add(change(tree, ledger, &mut random).into(), SeqCst);
        }
    };
    let race = Race::new(stress_time() / 2).repeat(worker(1)).repeat(worker(2));
    race.repeat(|_| pin().flush()).run();
    retired.into_inner()
}

/// A tree with some entries, none retired.
fn filled(ledger: &'static Ledger) -> Tree {
    let tree = Tree::new();
    let mut random = rng(9);
    for _ in 0..300 {
        let at = index(&mut random);
        tree.pin().get_or_insert_with(at, || Box::new(ledger.value(at, 0)));
    }
    tree
}

/// Allocations of a node's size that the test harness may keep meanwhile; garbage is many times as much. Once a test has failed, what
/// backtraces keep is more than that.
const OTHERS: u64 = 20;

/// Runs `step` until only the values and nodes of the tree are left; returns how often.
fn steps_to_free(tree: &Tree, ledgers: [&Ledger; 2], mut step: impl FnMut()) -> u64 {
    let stats = tree.stats();
    let (values, nodes) = (tree.len(), stats.leaves() + stats.inner_nodes());
    let mut steps = 0;
    let kept = || ledgers.iter().map(|ledger| ledger.live()).sum::<u64>();
    while kept() > values || live_nodes() > nodes + OTHERS {
        step();
        steps += 1;
        assert!(
            steps < 10_000_000,
            "left for good: {} values, of which the tree has {values}; {} nodes, of which it has {nodes}",
            kept(),
            live_nodes()
        );
    }
    steps
}

/// Holds a guard while others churn, lets go of it in `let_go`, and asserts that then everything is freed in few steps.
fn sit(let_go: impl FnOnce(Guard, &Tree, [&'static Ledger; 2]) -> u64, garbage_a_step: u64) {
    let _alone = alone();
    let (before, after) = (Ledger::new(), Ledger::new());
    let tree = filled(before);
    let nodes_before = live_nodes();
    let guard = pin();
    let retired = churn(&tree, after);
    assert_eq!((before.dropped(), after.dropped()), (0, 0), "of {retired} values under a guard");
    assert_eq!(before.live() + after.live(), tree.len() + retired, "more than what was retired");
    let garbage_nodes = live_nodes().saturating_sub(nodes_before);
    assert!(garbage_nodes <= 2 * retired, "{garbage_nodes} nodes after {retired} changes");
    let steps = let_go(guard, &tree, [before, after]);
    println!("{retired} values, {garbage_nodes} nodes, {steps} steps");
    assert!(
        steps <= (retired + garbage_nodes) / garbage_a_step + 1000,
        "{steps} steps for {retired} values"
    );
    assert_at_rest(&tree);
    drop(tree);
    after.settle(0);
    before.settle(0);
}

#[test]
fn nothing_is_freed_under_a_guard_and_all_when_it_is_dropped() {
    let flush = |guard: Guard, tree: &Tree, ledgers: [&'static Ledger; 2]| {
        drop(guard);
        steps_to_free(tree, ledgers, || pin().flush())
    };
    sit(flush, 64);
}

#[test]
fn nothing_is_freed_under_a_guard_and_all_when_threads_go_on_pinning() {
    let go_on = |guard: Guard, tree: &Tree, ledgers: [&'static Ledger; 2]| {
        drop(guard);
        steps_to_free(tree, ledgers, || drop(pin()))
    };
    sit(go_on, 1);
}

#[test]
fn nothing_is_freed_under_a_guard_and_all_when_it_is_repinned() {
    let repin = |mut guard: Guard, tree: &Tree, ledgers: [&'static Ledger; 2]| {
        steps_to_free(tree, ledgers, || {
            guard.repin();
            guard.flush();
        })
    };
    sit(repin, 64);
}

#[test]
fn little_is_kept_while_guards_are_short() {
    let _alone = alone();
    let ledger = Ledger::new();
    let tree = Tree::new();
    let (retired, most) = (AtomicU64::new(0), AtomicU64::new(0));
    let worker = |seed| {
        let (tree, retired, mut random) = (&tree, &retired, rng(seed));
        move |_| {
            retired.fetch_add(change(tree, ledger, &mut random).into(), SeqCst);
        }
    };
    let watch = |_| {
        most.fetch_max(ledger.live(), SeqCst);
        std::thread::yield_now();
    };
    let race = Race::new(2 * stress_time()).repeat(worker(1)).repeat(worker(2)).repeat(worker(3));
    race.repeat(watch).run();
    let (retired, most) = (retired.into_inner(), most.into_inner());
    println!("{retired} retired, {most} at most");
    // A thread that loses the processor under its guard holds up the others' garbage for as long: hence so generous.
    assert!(most < retired / 2 + 20_000, "{most} values of garbage of {retired}");
    ledger.settle(tree.len());
}
