//! No node is leaked: an allocator that counts the tree's nodes says how many live. One test
//! alone in this binary, so that no other makes nodes.

#[path = "common/mod.rs"]
mod common;

use std::sync::LazyLock;

use rand::Rng;

use common::nodes::{self, CountNodes, made};
use common::{Race, T0, Tree, assert_at_rest, drain, rng, stress_time};

#[global_allocator]
static ALLOCATOR: CountNodes = CountNodes;

/// Nodes that live, without what the test harness has of their size from the start: this one waits while its only test runs.
fn live() -> u64 {
    static OTHERS: LazyLock<u64> = LazyLock::new(nodes::live);
    let others = *OTHERS;
    nodes::live() - others
}

/// Waits until the nodes that live are those the tree has.
fn assert_nodes_are_those_of(tree: &Tree) {
    assert_at_rest(tree);
    let stats = tree.stats();
    let linked = stats.leaves() + stats.inner_nodes();
    drain(|| live() <= linked);
    assert_eq!(live(), linked, "nodes that live and nodes that are linked");
}

/// Random indices that share leaves and inner nodes, or grow the tree to its top.
fn index(random: &mut impl Rng) -> u64 {
    random.random_range(0..4) << (6 * random.random_range(0..11))
}

#[test]
#[cfg_attr(target_pointer_width = "32", ignore = "others have the size of a node")]
fn no_node_is_leaked_or_freed_twice() {
    let tree = Tree::new();
    assert_eq!(live(), 0, "an empty tree needs no node");
    tree.pin().insert(0, Box::new(0));
    assert_eq!(live(), 1, "the allocator sees the nodes");
    tree.pin().insert(u64::MAX, Box::new(0));
    assert_nodes_are_those_of(&tree);
    let churn = |seed| {
        let (tree, mut random) = (&tree, rng(seed));
        move |_| {
            let (p, at) = (tree.pin(), index(&mut random));
            match random.random_range(0..6) {
                0 => {
                    p.insert(at, Box::new(at));
                }
                1 => {
                    p.insert_tagged(at, Box::new(at), T0.into());
                }
                2 => {
                    p.try_insert(at, Box::new(at)).ok();
                }
                3 => {
                    p.remove_range(at..=at.saturating_add(1 << 20));
                }
                _ => {
                    p.remove(at);
                }
            }
        }
    };
    for _ in 0..3 {
        Race::new(stress_time() / 2).repeat(churn(1)).repeat(churn(2)).repeat(churn(3)).run();
        assert_nodes_are_those_of(&tree);
    }
    assert!(cfg!(feature = "arena") || made() > 1000, "nodes came and went");
    for at in 0..100 {
        tree.pin().insert(at << 30, Box::new(at));
    }
    assert_nodes_are_those_of(&tree);
    drop(tree);
    drain(|| live() == 0);
    let consumed: Tree = (0..100).map(|at| (at << 30, Box::new(at))).collect();
    let mut entries = consumed.into_iter();
    assert_eq!(entries.next().map(|(at, _)| at), Some(0));
    drop(entries);
    drain(|| live() == 0);
}
