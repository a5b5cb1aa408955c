//! Height and node counts while the tree grows and shrinks, and removal of everything.

use crate::common::{
    Shape, T0, Tree, add, add_tagged, assert_at_rest, gang_sweep, indices, tree_of,
};

#[test]
fn height_follows_the_largest_index() {
    // M-4: the shape is minimal after each step.
    let tree = Tree::new();
    let p = tree.pin();
    for index in [42, 1_000_000] {
        add(&p, index);
        assert_at_rest(&tree);
    }
    for index in [1_000_000, 42] {
        p.remove(index);
        assert_at_rest(&tree);
    }
    for index in 0..1000 {
        add(&p, index);
        assert_eq!(Shape::of_tree(&tree), Shape::of(&(0..=index).collect::<Vec<_>>()));
    }
    for index in (0..1000).rev() {
        p.remove(index);
        assert_eq!(Shape::of_tree(&tree), Shape::of(&(0..index).collect::<Vec<_>>()));
    }
    assert_at_rest(&tree);
}

#[test]
fn nodes_are_given_back() {
    // TC-4: an entry far away that comes and goes leaves as many nodes as there were.
    for here in [&[][..], &[0], &[0, 65]] {
        let tree = tree_of(here.iter().copied());
        let p = tree.pin();
        let before = tree.stats();
        for far in [1_000_000, 1 << 45, u64::MAX] {
            add(&p, far);
            p.remove(far);
            assert_eq!(tree.stats(), before);
        }
        assert_at_rest(&tree);
    }
}

#[test]
fn growth_to_the_top_collapses_again() {
    // with an entry at 0 alone or at the start of a bigger run, the last index grows the
    // tree to its full height; when it is gone the old top is on top again.
    for order in 0..15 {
        let tree = tree_of((0..1_u64 << order).step_by(64).chain([0]).skip(usize::from(order > 0)));
        let p = tree.pin();
        let before = Shape::of_tree(&tree);
        add_tagged(&p, u64::MAX, T0);
        assert_eq!(Shape::of_tree(&tree).inner_nodes, before.inner_nodes + 1);
        assert_eq!(p.get(0), Some(&0));
        assert_eq!(p.remove(u64::MAX), Some(&u64::MAX));
        assert_eq!(Shape::of_tree(&tree), before);
        assert_at_rest(&tree);
    }
}

#[test]
fn the_second_entry_gone_leaves_the_first() {
    // 0 and 1, 1 erased; then with the second entry in another leaf.
    for other in [1, 64, 4096] {
        let tree = tree_of([0, other]);
        let p = tree.pin();
        assert_eq!(p.remove(other), Some(&other));
        assert_eq!((p.get(0), p.get(other)), (Some(&0), None));
        assert_eq!(Shape::of_tree(&tree), Shape::of(&[0]));
    }
}

#[test]
fn everything_can_be_erased_while_iterating() {
    // runs of several lengths and the last index; it goes first, the others on the way.
    for length in (0..64).step_by(7).chain([64, 65, 4095, 4096, 4097, 5000]) {
        let tree = tree_of((0..length).chain([u64::MAX]));
        let p = tree.pin();
        assert_eq!(p.remove(u64::MAX), Some(&u64::MAX));
        let mut seen = 0;
        for (index, _) in p.iter() {
            assert_eq!(p.remove(index), Some(&index));
            seen += 1;
        }
        assert_eq!((seen, tree.len()), (length, 0));
        assert_at_rest(&tree);
    }
}

#[test]
fn destroying_empties_any_tree() {
    // an empty tree, each single index below 1000, the last index, and a mix.
    let empty_out = |tree: &Tree, entries| {
        let p = tree.pin();
        assert_eq!(p.remove_range(..), entries);
        assert!(tree.is_empty() && indices(&p).is_empty() && gang_sweep::<8>(&p, 0).is_empty());
        assert_at_rest(tree);
    };
    empty_out(&Tree::new(), 0);
    for index in (0..1000).chain([u64::MAX]) {
        empty_out(&tree_of([index]), 1);
    }
    empty_out(&tree_of((0..5000).chain((0..64).map(|k| u64::MAX >> k)).chain([1 << 63])), 5053);
}
