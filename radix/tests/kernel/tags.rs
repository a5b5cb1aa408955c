//! Tags through growth, shrinking, removal and copies.

use crate::common::{
    NONE, T0, T1, T2, T3, Tree, add, add_tagged, assert_at_rest, assert_untagged,
    gang_sweep_tagged, indices, tagged, tree_of,
};
use tagged_radix::{Tag, TagFilter, TagSet};

#[test]
fn one_tagged_entry_at_zero() {
    // TC-1
    let tree = Tree::new();
    let p = tree.pin();
    add_tagged(&p, 0, T0);
    assert_eq!(gang_sweep_tagged::<32>(&p, 0, T0), [0]);
    assert_eq!(gang_sweep_tagged::<32>(&p, 1, T0), []);
    let done = p.tag_range_if_tagged(0..=10, T0, T1, 10);
    assert_eq!(done.count, 1);
    assert_eq!(gang_sweep_tagged::<32>(&p, 0, T1), [0]);
    assert_eq!(p.clear_tag(0, T0), Some(true));
    assert_eq!(gang_sweep_tagged::<32>(&p, 0, T0), []);
    assert_at_rest(&tree);
}

#[test]
fn tags_survive_growth_and_shrinking() {
    // TC-2: also with the far entry at the very top.
    for far in [1_000_000, u64::MAX] {
        let tree = Tree::new();
        let p = tree.pin();
        add_tagged(&p, 43, T0);
        add(&p, far);
        assert!(p.has_tag(43, T0), "after growth");
        add_tagged(&p, 0, T0);
        p.remove(far);
        assert!(p.has_tag(43, T0), "after shrinking");
        assert_at_rest(&tree);
        p.remove(43);
        assert_eq!((p.has_tag(43, T0), p.tags(43)), (false, None));
        assert!(p.has_tag(0, T0));
        assert_at_rest(&tree);
    }
}

#[test]
fn tags_of_a_leaf_that_stays_are_told_apart() {
    // TC-3: also across the border of an inner node, and at the top.
    for first in [64, 4096, u64::MAX - 1] {
        let tree = tree_of([first, first + 1]);
        let p = tree.pin();
        p.update_tags(first, TagSet::of(&[T0, T1]), NONE);
        p.set_tag(first + 1, T0);
        p.remove(first + 1);
        p.clear_tag(first, T1);
        assert_eq!((tagged(&p, T0), tagged(&p, T1)), (vec![first], vec![]));
        assert_eq!((p.has_tag(first, T0), p.has_tag(first, T1)), (true, false));
        assert_at_rest(&tree);
    }
}

#[test]
fn a_new_entry_has_no_tag_of_an_old_one() {
    // TC-5: for each of 10 000 indices and both tags.
    let tree = Tree::new();
    let p = tree.pin();
    for (tag, other) in [(T0, T1), (T1, T0)] {
        for index in 0..10_000 {
            assert_eq!((p.get(index), p.has_tag(index, tag)), (None, false));
            add(&p, index);
            assert!(!p.has_tag(index, tag));
            assert_eq!(p.set_tag(index, tag), Some(true));
            assert!(p.has_tag(index, tag));
            assert_eq!(p.tag_range_if_tagged(.., tag, other, u64::MAX).count, 1);
            assert_eq!(p.remove(index), Some(&index));
            add(&p, index);
            assert_eq!(p.tags(index), Some(NONE), "{index} came back");
            assert_eq!((p.remove(index), p.remove(index)), (Some(&index), None));
        }
    }
    assert_at_rest(&tree);
}

#[test]
fn marks_stay_with_their_entries() {
    // X-4a: every fourth index below 16 384.
    let tree = Tree::new();
    let p = tree.pin();
    for index in (0..16_384).step_by(4) {
        assert_eq!((p.set_tag(index, T0), p.has_tag(index, T0)), (None, false), "absent");
        add(&p, index);
        assert_eq!(p.tags(index), Some(NONE), "storing sets no tag");
        assert_eq!(p.set_tag(index, T0), Some(true));
        assert!(!p.has_tag(index + 1, T0) && !p.has_tag(index, T1));
        assert_eq!(p.insert(index, Box::new(index)), Some(&index));
        assert_eq!(p.tags(index), Some(T0.into()), "replacing keeps it");
        p.remove(index);
        assert_eq!((p.has_tag(index, T0), p.set_tag(index, T0)), (false, None));
    }
    assert!(tree.is_empty());
    assert_at_rest(&tree);
}

#[test]
fn marks_can_be_reset_while_iterating_over_them() {
    // 1000 entries from 3500 on, all with two tags; each loses them when it is visited.
    let tree = tree_of(3500..4500);
    let p = tree.pin();
    assert_eq!(p.tag_range(.., TagSet::of(&[T0, T2]), NONE), 1000);
    assert_eq!(
        (p.count_tagged(.., T0), p.count_tagged(.., T1), p.count_tagged(.., T2)),
        (1000, 0, 1000)
    );
    let mut visited = 0;
    for (index, _, tags) in p.range_tagged(.., T0) {
        assert_eq!(tags, TagSet::of(&[T0, T2]));
        assert_eq!(p.update_tags(index, NONE, TagSet::ALL).map(|update| update.before), Some(tags));
        assert_eq!(
            (p.has_tag(index, T0), p.tags(index)),
            (false, Some(NONE)),
            "both queries agree"
        );
        visited += 1;
    }
    assert_eq!(visited, 1000);
    Tag::all().into_iter().for_each(|tag| assert_untagged(&tree, tag));
    assert_at_rest(&tree);
}

#[test]
fn copying_nothing_leaves_no_tag_anywhere() {
    // the copy has nothing to copy; growth and removal then must not find its tag.
    let tree = tree_of(0..64);
    let p = tree.pin();
    p.set_tag(63, T0);
    assert_eq!(p.tag_range_if_tagged(0..=62, T0, T1, 1 << 20).count, 0);
    assert!(!tree.any_tagged(T1));
    add(&p, 64);
    assert!(!tree.any_tagged(T1), "growth copies what is not there");
    p.clear_tag(63, T0);
    for index in (0..64).rev() {
        p.remove(index);
        assert_at_rest(&tree);
    }
    assert_eq!(gang_sweep_tagged::<1>(&p, 1, T1), []);
    assert_eq!(indices(&p), [64]);
}

#[test]
fn four_tags_never_mix() {
    // TC-3 with all four tags, over three leaves and both ends.
    let all = [0, 1, 63, 64, 5000, u64::MAX];
    let tree = tree_of(all);
    let p = tree.pin();
    for (number, tag) in (0_u64..).zip([T0, T1, T2, T3]) {
        let with: Vec<_> = all.into_iter().filter(|index| index % 4 >= number).collect();
        with.iter().for_each(|index| assert_eq!(p.set_tag(*index, tag), Some(true)));
        assert_eq!(tagged(&p, tag), with);
        assert_eq!(p.count_tagged(.., TagFilter::none_of(tag)), (all.len() - with.len()) as u64);
        assert_at_rest(&tree);
    }
    for (number, tag) in (0_u64..).zip([T0, T1, T2, T3]) {
        let with = all.into_iter().filter(|index| index % 4 >= number).count();
        assert_eq!(p.tag_range(.., NONE, tag), with as u64);
        assert!(!tree.any_tagged(tag));
        assert_at_rest(&tree);
    }
}
