//! Calls on lists of indices, and on ranges into batches of any kind.

use std::sync::Arc;

use rand::Rng;
use rand::seq::SliceRandom;

use crate::common::{NONE, T0, T1, Tree, add, assert_at_rest, rng, tagged, tree_of};
use tagged_radix::{ArrayVec, RadixTree, TagFilter, TagSet};

#[test]
fn a_list_is_tagged_where_there_are_entries() {
    let tree = tree_of([0, 1, 5, 63, 64, 130, 70_000]);
    let p = tree.pin();
    // A lone entry (130) is found by another index of its 64.
    assert_eq!(p.tag_indices(&[1, 2, 63, 64, 128, 130, 131, 5_000, 70_000, u64::MAX], T0, NONE), 5);
    assert_eq!(tagged(&p, T0), [1, 63, 64, 130, 70_000]);
    assert_eq!(p.tag_indices(&[1, 2, 63], T0, NONE), 0, "they have it");
    assert_eq!(
        p.tag_indices(&[70_064], T1, NONE),
        0,
        "the way ends at 70 000, same place in its 64"
    );
    assert_eq!(p.tag_indices(&[0, 1, 64], T1, TagSet::of(&[T0, T1])), 3, "in both sets: set");
    assert_eq!((tagged(&p, T0), tagged(&p, T1)), (vec![63, 130, 70_000], vec![0, 1, 64]));
    assert_eq!(p.tag_indices(&[], TagSet::ALL, NONE), 0);
    assert_eq!(p.tag_indices(&[63, 130, 70_000, 9], NONE, T0), 3);
    assert!(!tree.any_tagged(T0));
    assert_eq!(p.take_edges().untagged, T0.into());
    assert_eq!(Tree::new().pin().tag_indices(&[0, u64::MAX], T0, NONE), 0);
    assert_at_rest(&tree);
}

#[test]
fn a_list_in_any_order_tags_the_same() {
    let mut random = rng(16);
    let all: Vec<u64> = (0..500).map(|_| random.random_range(0..3000)).collect();
    let tree = tree_of(all.iter().copied().filter(|index| index % 3 > 0));
    let mut there: Vec<_> = all.iter().copied().filter(|index| index % 3 > 0).collect();
    there.sort_unstable();
    there.dedup();
    let p = tree.pin();
    let mut list = all;
    for _ in 0..5 {
        list.shuffle(&mut random);
        assert_eq!(
            p.tag_indices(&list, T1, NONE),
            there.len() as u64,
            "setting twice changes once"
        );
        assert_eq!(tagged(&p, T1), there);
        list.sort_unstable();
        assert_eq!(p.tag_indices(&list, NONE, T1), there.len() as u64);
        assert!(!tree.any_tagged(T1));
    }
    assert_at_rest(&tree);
}

#[test]
fn a_range_fills_batches_of_every_kind() {
    let tree = tree_of((0..200).map(|n| n * 3));
    let p = tree.pin();
    let expected: Vec<_> = (0..200).map(|n| n * 3).filter(|n| (10..=400).contains(n)).collect();
    for max in [1, 2, 7, 64, 65, 1000] {
        let (mut found, mut next) = (Vec::new(), Some(10));
        while let Some(start) = next {
            let before = found.len();
            next = p.gang_lookup_range(start..=400, TagFilter::ANY, max, &mut found);
            assert!(found.len() - before <= max);
            assert!(next.is_none_or(|next| next <= 400 && found.len() - before == max));
        }
        assert!(found.iter().map(|(index, _)| *index).eq(expected.iter().copied()), "{max}");
        let mut slots = vec![None; max];
        p.gang_lookup_range(10..=400, TagFilter::ANY, usize::MAX, &mut slots[..]);
        let found: Vec<_> = slots.iter().map_while(|slot| slot.map(|entry| entry.0)).collect();
        assert_eq!(found, expected[..max.min(expected.len())]);
    }
    let mut batch = ArrayVec::<_, 4>::new();
    assert_eq!(p.gang_lookup_range(.., TagFilter::ANY, 3, &mut batch), Some(9));
    assert_eq!(p.gang_lookup_range(100..101, TagFilter::ANY, 3, &mut batch), None, "none there");
    assert_eq!(batch.len(), 3);
}

#[test]
fn a_range_ends_within_a_leaf_and_within_an_entry_that_is_alone() {
    let tree = tree_of([1, 2, 3, 200, 5000, u64::MAX]);
    let p = tree.pin();
    p.tag_range(.., T0, NONE);
    for filter in [TagFilter::ANY, T0.into()] {
        let found = |range: std::ops::RangeInclusive<u64>| {
            let mut batch = Vec::new();
            assert_eq!(p.gang_lookup_range(range, filter, 100, &mut batch), None);
            batch.into_iter().map(|(index, _)| index).collect::<Vec<_>>()
        };
        assert_eq!(found(2..=2), [2]);
        assert_eq!(found(2..=199), [2, 3]);
        assert_eq!(found(2..=200), [2, 3, 200]);
        assert_eq!(found(4..=5000), [200, 5000]);
        assert_eq!(found(5001..=u64::MAX), [u64::MAX]);
        let (above, below) = (6, 5);
        assert_eq!(found(above..=below), [0; 0], "an empty range");
    }
    let mut batch = Vec::new();
    let next = p.gang_lookup_range(3.., T0, 1, &mut batch);
    assert!(next.is_some_and(|next| (4..=200).contains(&next)));
    assert_eq!(p.gang_lookup_range(3..=3, T0, 1, &mut batch), None, "the range is done");
    assert_eq!(p.gang_lookup_range(3.., T0, 0, &mut batch), Some(3), "nothing is wanted");
    assert_eq!(batch.len(), 2);
}

#[test]
fn a_batch_of_slots_is_filled_from_its_first_gap() {
    let tree = tree_of(0..10);
    let p = tree.pin();
    let mut slots = [None; 5];
    slots[0] = Some((77, p.get(9).unwrap()));
    assert_eq!(p.gang_lookup_range(4..6, TagFilter::ANY, 9, &mut slots), None);
    assert_eq!(slots, [Some((77, &9)), Some((4, &4)), Some((5, &5)), None, None]);
    assert_eq!(p.gang_lookup_range(.., TagFilter::ANY, 9, &mut slots), Some(2));
    assert_eq!(slots[3..], [Some((0, &0)), Some((1, &1))]);
    assert_eq!(p.gang_lookup_range(3.., TagFilter::ANY, 9, &mut slots), Some(3), "no room");
}

#[test]
fn owned_batches_outlive_their_guard() {
    let tree: RadixTree<Arc<u64>> = (0..100).map(|n| (n, Arc::new(n))).collect();
    let mut batch = vec![(7, Arc::new(7))];
    assert_eq!(tree.gang_lookup_range_owned(30..90, TagFilter::ANY, 5, &mut batch), Some(35));
    tree.pin().remove_range(..);
    assert!(batch.into_iter().map(|(_, value)| *value).eq([7, 30, 31, 32, 33, 34]));
    let mut slots: [Option<(u64, Arc<u64>)>; 2] = [None, None];
    assert_eq!(tree.gang_lookup_range_owned(.., T0, 5, &mut slots), None);
}

#[test]
fn absent_indices_are_sought_within_a_range() {
    let tree = tree_of((0..300).chain([400, u64::MAX]));
    let p = tree.pin();
    assert_eq!((p.first_absent(..300), p.last_absent(..300)), (None, None));
    assert_eq!((p.first_absent(5..=300), p.last_absent(5..=300)), (Some(300), Some(300)));
    assert_eq!((p.first_absent(..), p.last_absent(..)), (Some(300), Some(u64::MAX - 1)));
    assert_eq!((p.first_absent(400..=400), p.last_absent(400..=400)), (None, None), "alone");
    assert_eq!((p.first_absent(399..=400), p.last_absent(399..=400)), (Some(399), Some(399)));
    assert_eq!((p.first_absent(400..), p.last_absent(..=400)), (Some(401), Some(399)));
    assert_eq!((p.first_absent(u64::MAX..), p.last_absent(u64::MAX..)), (None, None));
    assert_eq!((p.first_absent(7..7), p.last_absent(7..7)), (None, None), "an empty range");
    p.remove(150);
    assert_eq!((p.first_absent(..150), p.first_absent(151..300)), (None, None));
    assert_eq!((p.first_absent(100..200), p.last_absent(100..200)), (Some(150), Some(150)));
    add(&p, 150);
    assert_eq!(p.first_absent(100..200), None);
}
