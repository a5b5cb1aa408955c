//! The promise P-RANGE: `tag_range_if_tagged` takes all that had the tag throughout, nothing that got
//! it later, and each leaf at one instant.

use rand::Rng;

use crate::common::{
    NONE, Race, T0, T1, T2, Tree, add_tagged, assert_at_rest, rng, stress_time, tagged, tree_of,
};
use tagged_radix::TagFilter;

/// Entries of one owner: two of eight neighbours, over three leaves and one at the top.
fn owned(owner: u64) -> Vec<u64> {
    let low = (0..192).filter(|index| index / 2 % 4 == owner);
    low.chain([u64::MAX - 1 - 2 * owner, (1 << 40) + 2 * owner]).collect()
}

#[test]
fn all_that_had_the_tag_throughout_is_taken() {
    // Each thread tags its own entries, cuts, and looks at its own; the others tag,
    // cut, insert and remove beside it. Each uses the whole range and a tag of its own to copy to.
    let tree = Tree::new();
    let worker = |owner: u64, to| {
        let (tree, mut random, mine) = (&tree, rng(owner), owned(owner));
        move |_| {
            let p = tree.pin();
            let mut had = Vec::new();
            for index in &mine {
                if random.random() {
                    p.insert(*index, Box::new(*index));
                    p.update_tags(*index, T0, to);
                    had.push(*index);
                } else {
                    p.remove(*index);
                }
            }
            let (mut start, limit) = (Some(0), if random.random() { u64::MAX } else { 5 });
            while let Some(from) = start {
                start = p.tag_range_if_tagged(from.., T0, to, limit).next;
            }
            assert!(had.iter().all(|index| p.has_tag(*index, to)), "one was passed over");
            for index in &mine {
                if !had.contains(index) {
                    add_tagged(&p, *index, T0);
                    assert!(!p.has_tag(*index, to), "{index} got the tag too late");
                }
            }
            p.tag_range(.., NONE, to);
        }
    };
    Race::new(2 * stress_time()).repeat(worker(0, T1)).repeat(worker(1, T2)).run();
    let mut random = rng(9);
    let other = |_| {
        let p = tree.pin();
        let index = owned(1)[random.random_range(0..40)];
        p.insert_tagged(index, Box::new(index), T0.into());
        p.clear_tag(index, T0);
        p.remove(index);
    };
    Race::new(stress_time()).repeat(worker(0, T1)).repeat(worker(2, T2)).repeat(other).run();
    assert_at_rest(&tree);
}

#[test]
fn a_leaf_is_taken_at_one_instant() {
    // The tag is passed on between two entries of a leaf. Set before it is cleared: one of the
    // two has it at any time, and a cut finds it. Cleared before it is set: never both.
    for (first, second) in [(0, 63), (5, 6), (u64::MAX - 1, u64::MAX)] {
        let tree = tree_of([first, second, 1 << 40]);
        tree.pin().set_tag(first, T0);
        let overlapping = |_| {
            let p = tree.pin();
            for (to, from) in [(second, first), (first, second)] {
                p.set_tag(to, T0);
                p.clear_tag(from, T0);
            }
        };
        let cut = |least: u64, most: u64| {
            let tree = &tree;
            move |_| {
                let p = tree.pin();
                let count = p.tag_range_if_tagged(.., T0, T1, u64::MAX).count;
                assert!((least..=most).contains(&count), "{count} were taken");
                assert_eq!(tagged(&p, T1).len() as u64, count);
                p.tag_range(.., NONE, T1);
            }
        };
        Race::new(stress_time() / 4).repeat(overlapping).repeat(cut(1, 2)).run();
        let apart = |_| {
            let p = tree.pin();
            for (to, from) in [(second, first), (first, second)] {
                p.clear_tag(from, T0);
                p.set_tag(to, T0);
            }
        };
        Race::new(stress_time() / 4).repeat(apart).repeat(cut(0, 1)).run();
        assert_at_rest(&tree);
    }
}

#[test]
fn a_cut_loses_to_no_removal_and_no_replacement() {
    // What is replaced keeps both tags, what is removed keeps none.
    let tree = tree_of(0..130);
    let replace = |turn: u64| {
        let p = tree.pin();
        let index = 2 * (turn % 65);
        p.set_tag(index, T0);
        p.insert(index, Box::new(index));
        assert!(p.has_tag(index, T0), "replacing keeps the tag");
    };
    let remove = |turn: u64| {
        let p = tree.pin();
        let index = 2 * (turn % 65) + 1;
        p.remove(index);
        assert_eq!(p.tags(index), None);
        p.insert(index, Box::new(index));
        assert_eq!(p.tags(index), Some(NONE), "nothing of the old entry is left");
        p.set_tag(index, T0);
    };
    let cut = |_| {
        let p = tree.pin();
        p.tag_range_if_tagged(.., T0, T1, u64::MAX);
        let without = p.range_tagged(.., TagFilter::all_of(T1).and_none_of(T0));
        assert_eq!(without.count(), 0, "the second tag comes with the first");
    };
    // An entry may be removed between its copy and a test, so the odd ones stay as they are.
    Race::new(stress_time()).repeat(replace).repeat(cut).run();
    Race::new(stress_time() / 2).repeat(remove).run();
    assert_at_rest(&tree);
}
