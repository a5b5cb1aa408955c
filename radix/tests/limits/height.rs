//! The tree is as small as its entries allow, always.

use rand::seq::SliceRandom;

use crate::common::{BITS, Shape, Tree, add, assert_at_rest, rng, tree_of};
use crate::limits;

#[test]
fn an_empty_tree_has_no_height() {
    crate::common::watch();
    assert_eq!(Shape::of_tree(&Tree::new()), Shape { leaves: 0, inner_nodes: 0, height: 0 });
}

#[test]
fn a_lone_leaf_has_height_one_wherever_it_is() {
    for index in limits() {
        let tree = tree_of([index]);
        assert_eq!(Shape::of_tree(&tree), Shape { leaves: 1, inner_nodes: 0, height: 1 });
    }
}

#[test]
fn height_is_that_of_the_level_where_the_ends_part() {
    let high = 1_u64 << 63;
    for k in 0..64 {
        let tree = tree_of([high, high | 1 << k]);
        let height = match k {
            63 => 1, // one and the same index
            _ => k / BITS + 1,
        };
        assert_eq!(tree.stats().height, height, "bit {k}");
        assert_at_rest(&tree);
    }
}

#[test]
fn height_is_minimal_while_entries_come_and_go_in_any_order() {
    let mut order = limits();
    for seed in 0..4 {
        let mut random = rng(seed);
        let tree = Tree::new();
        let p = tree.pin();
        order.shuffle(&mut random);
        for index in &order {
            add(&p, *index);
            assert_at_rest(&tree);
        }
        order.shuffle(&mut random);
        for index in &order {
            assert_eq!(p.remove(*index), Some(index));
            assert_at_rest(&tree);
        }
    }
}

#[test]
fn height_is_minimal_after_removals_of_ranges() {
    for keep in [0, 1, 63, 64, 4095, 4096, 1 << 40, u64::MAX] {
        let tree = tree_of(limits());
        let p = tree.pin();
        p.remove_range(keep..);
        assert_at_rest(&tree);
        p.remove_range(..keep / 2);
        assert_at_rest(&tree);
        p.retain(|index, _, _| index % 2 == 1);
        assert_at_rest(&tree);
    }
}

#[test]
fn growing_to_the_top_and_back_restores_the_shape() {
    let tree = tree_of([0, 1]);
    let p = tree.pin();
    let before = Shape::of_tree(&tree);
    for high in limits().into_iter().skip(3) {
        add(&p, high);
        assert_at_rest(&tree);
        p.remove(high);
        assert_eq!(Shape::of_tree(&tree), before, "after {high:#x} is gone");
    }
}
