//! Any sequence of operations gives what an ordered map would give, and leaves a sound tree.

#[path = "../common/mod.rs"]
mod common;
#[path = "../ops/mod.rs"]
mod ops;
mod strategy;

use proptest::prelude::*;
use tagged_radix::RadixTree;

use common::Shape;
use ops::{Op, Session, Territory, assert_matches};

/// Runs the operations one by one, comparing results and, after each, the whole tree.
fn run(ops: &[Op]) {
    common::watch();
    let tree = RadixTree::new();
    let mut session = Session::new(&tree, Territory::Whole);
    for op in ops {
        session.step(*op);
        assert_matches(&tree, &session.model);
        let indices: Vec<_> = session.model.entries.keys().copied().collect();
        assert_eq!(Shape::of_tree(&tree), Shape::of(&indices), "shape of {indices:x?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn is_an_ordered_map(ops in strategy::ops(strategy::any_key())) {
        run(&ops);
    }

    #[test]
    fn is_an_ordered_map_within_a_few_leaves(ops in strategy::ops(strategy::dense_key())) {
        run(&ops);
    }

    #[test]
    fn is_an_ordered_map_around_powers_of_64(ops in strategy::ops(strategy::near_key())) {
        run(&ops);
    }

    #[test]
    fn as_an_ordered_map_small_nodes_grow_and_go(ops in strategy::tide(strategy::fork_key())) {
        run(&ops);
    }

    #[test]
    fn is_an_ordered_map_at_the_top(ops in strategy::ops(strategy::top_key())) {
        run(&ops);
    }
}
