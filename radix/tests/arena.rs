//! The process's memory, as the system counts it: what nodes take of it with the feature `arena`, and that it goes back.
//!
//! One test, so that it is alone in its process.

#[path = "common/mod.rs"]
mod common;

use std::sync::mpsc;
use std::thread;

use rand::Rng;
use tagged_radix::{Inline, NodeMemory, RadixTree, node_memory, pin};

use common::{rng, watch};

type Tree = RadixTree<Inline>;

const MIB: u64 = 1 << 20;
const SEGMENT: usize = 2 << 20;

/// Resident memory in bytes, counted page by page.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux has it");
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).expect("a line");
    let kib: u64 =
        line.trim().strip_suffix("kB").and_then(|kib| kib.trim().parse().ok()).expect("KiB");
    kib * 1024
}

fn grown(since: u64) -> u64 {
    resident().saturating_sub(since)
}

fn value(index: u64) -> Inline {
    Inline::new(index >> 1).expect("small enough")
}

fn fill(indices: &[u64]) -> Tree {
    let tree = Tree::new();
    for &index in indices {
        tree.pin().insert(index, value(index));
    }
    tree
}

/// Frees what has been retired, and gives back what this thread has at hand.
fn settle() -> NodeMemory {
    // Nobody else is pinned, so each call moves the epoch on.
    (0..2000).for_each(|_| pin().flush());
    node_memory()
}

/// All that is left after all trees are gone: what one keeps for the next one.
fn assert_gone(what: &str, before: u64) {
    let memory = settle();
    println!("{what}: {:.2} MiB left, {memory:?}", grown(before) as f64 / MIB as f64);
    assert_eq!(memory.nodes, 0, "{what}");
    assert_eq!(memory.mapped_bytes, SEGMENT, "{what}: more than one segment is kept");
    assert!(memory.held_bytes <= (4 * 36) << 10, "{what}: {} bytes held", memory.held_bytes);
    assert!(grown(before) <= MIB, "{what}: {} bytes left", grown(before));
}

#[test]
fn resident_memory_is_that_of_the_nodes() {
    if !cfg!(all(target_os = "linux", target_pointer_width = "64", not(miri))) {
        println!("arena: the system does not say what is resident, or takes nothing back in parts");
        return;
    }
    watch();
    let mut random = rng(7);
    let indices: Vec<u64> = (0..800_000).map(|_| random.random()).collect();
    // What is read and written for the first time: code, what a thread has, a list of what is retired.
    drop(fill(&indices[..50]));
    settle();
    let before = resident();

    let few = fill(&(0..1000).collect::<Vec<_>>());
    assert!(grown(before) <= MIB / 2, "a small tree takes {} bytes", grown(before));
    drop(few);
    assert_gone("a small tree", before);

    let tree = fill(&indices);
    settle();
    let (bytes, taken) = (tree.stats().bytes, grown(before));
    println!("random: {:.2} bytes an entry resident", taken as f64 / indices.len() as f64);
    assert!(taken >= bytes, "nodes were not written");
    assert!(taken <= bytes * 108 / 100 + MIB, "{taken} bytes resident for nodes of {bytes}");
    let mapped = node_memory().mapped_bytes as u64;
    assert!(mapped <= bytes * 110 / 100 + 2 * SEGMENT as u64, "{mapped} bytes mapped");

    // Removed by two threads that both live on.
    let (done, is_done) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let (tree, indices) = (&tree, &indices);
        scope.spawn(move || {
            for index in indices.iter().skip(1).step_by(2) {
                tree.pin().remove(*index);
            }
            pin().flush();
            done.send(()).expect("somebody waits");
            _ = may_go.recv();
        });
        for index in indices.iter().step_by(2) {
            tree.pin().remove(*index);
        }
        is_done.recv().expect("removed");
        let memory = settle();
        println!("removed: {:.2} MiB left, {memory:?}", grown(before) as f64 / MIB as f64);
        assert!(tree.is_empty());
        assert_eq!(memory.nodes, 0, "the other thread has given back what it had at hand");
        assert!(grown(before) <= 4 * MIB, "{} bytes left", grown(before));
        drop(go);
    });
    drop(tree);
    assert_gone("random", before);

    // Made by one thread, freed by another one, which lives on.
    let tree = thread::spawn(move || fill(&indices)).join().expect("no panic");
    drop(tree);
    assert_gone("another thread's", before);
}
