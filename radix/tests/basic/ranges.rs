//! Ranges in both directions, plain and tagged, and changes of whole ranges.

use std::ops::Bound::{Excluded, Included, Unbounded};

use crate::common::{NONE, T0, T1, T2, Tree, add_tagged, assert_at_rest, indices, tagged, tree_of};
use tagged_radix::{TagFilter, TagSet};

const SPARSE: [u64; 8] = [0, 5, 63, 64, 200, 4096, 300_000, 1 << 55];

#[test]
fn range_reports_what_is_inside_its_bounds() {
    let tree = tree_of(SPARSE);
    let p = tree.pin();
    let found = |bounds| p.range(bounds).map(|(index, _)| index).collect::<Vec<_>>();
    assert_eq!(found((Unbounded, Unbounded)), SPARSE);
    assert_eq!(found((Included(5), Included(64))), [5, 63, 64]);
    assert_eq!(found((Excluded(5), Excluded(64))), [63]);
    assert_eq!(found((Included(6), Excluded(4097))), [63, 64, 200, 4096]);
    assert_eq!(found((Excluded(4096), Unbounded)), [300_000, 1 << 55]);
    assert_eq!(found((Unbounded, Excluded(5))), [0]);
    assert_eq!(indices(&p), SPARSE);
}

#[test]
fn empty_and_inverted_ranges_are_empty() {
    let tree = tree_of(SPARSE);
    let p = tree.pin();
    let inverted = (Included(64), Included(5));
    for bounds in [
        inverted,
        (Excluded(5), Excluded(5)),
        (Included(5), Excluded(5)),
        (Included(6), Excluded(63)),
    ] {
        assert_eq!(p.range(bounds).next(), None);
        assert_eq!(p.range(bounds).next_back(), None);
        assert_eq!(p.range_tagged(bounds, TagFilter::ANY).count(), 0);
        assert_eq!(p.count_tagged(bounds, TagFilter::ANY), 0);
        assert_eq!(p.tag_range(bounds, T0, T1), 0);
        assert_eq!(p.remove_range(bounds), 0);
        let done = p.tag_range_if_tagged(bounds, T0, T1, 5);
        assert_eq!((done.count, done.next), (0, None));
    }
}

#[test]
fn range_goes_backwards_and_meets_in_the_middle() {
    let tree = tree_of(SPARSE);
    let p = tree.pin();
    let back: Vec<_> = p.iter().rev().map(|(index, _)| index).collect();
    assert!(back.iter().rev().eq(SPARSE.iter()));
    for front_first in 0..=SPARSE.len() {
        let mut range = p.iter();
        let mut found: Vec<_> = range.by_ref().take(front_first).map(|(index, _)| index).collect();
        let mut back: Vec<_> = range.by_ref().rev().map(|(index, _)| index).collect();
        assert_eq!((range.next(), range.next_back()), (None, None));
        back.reverse();
        found.extend(back);
        assert_eq!(found, SPARSE);
    }
}

#[test]
fn range_from_both_ends_within_a_leaf() {
    let tree = tree_of(10..20);
    let p = tree.pin();
    let mut range = p.range(11..=18);
    assert_eq!(range.next(), Some((11, &11)));
    assert_eq!(range.next_back(), Some((18, &18)));
    assert_eq!(range.next_back(), Some((17, &17)));
    assert_eq!(range.by_ref().map(|(index, _)| index).collect::<Vec<_>>(), [12, 13, 14, 15, 16]);
    assert_eq!((range.next_back(), range.next()), (None, None));
}

#[test]
fn range_tagged_reports_value_and_tags_of_what_matches() {
    crate::common::watch();
    let tree = Tree::new();
    let p = tree.pin();
    for (index, tags) in [
        (0, TagSet::of(&[T0])),
        (63, TagSet::of(&[T0, T1])),
        (64, TagSet::of(&[T1])),
        (9000, TagSet::EMPTY),
    ] {
        add_tagged(&p, index, tags);
    }
    let found: Vec<_> =
        p.range_tagged(.., T1).map(|(index, value, tags)| (index, *value, tags)).collect();
    assert_eq!(found, [(63, 63, TagSet::of(&[T0, T1])), (64, 64, T1.into())]);
    assert_eq!(tagged(&p, TagFilter::all_of(TagSet::of(&[T0, T1]))), [63]);
    assert_eq!(tagged(&p, TagFilter::all_of(T0).and_none_of(T1)), [0]);
    assert_eq!(tagged(&p, TagFilter::none_of(T1)), [0, 9000]);
    assert_eq!(tagged(&p, TagFilter::none_of(TagSet::ALL)), [9000]);
    assert_eq!(tagged(&p, TagFilter::ANY), [0, 63, 64, 9000]);
    assert_eq!(tagged(&p, T2), []);
    assert_eq!(tagged(&p, TagFilter::all_of(T0).and_none_of(T0)), []);
}

#[test]
fn range_tagged_goes_backwards_and_meets_in_the_middle() {
    let tree = tree_of(0..1000);
    let p = tree.pin();
    let with: Vec<_> = (0..1000).filter(|index| index % 7 == 3).collect();
    with.iter().for_each(|index| assert_eq!(p.set_tag(*index, T2), Some(true)));
    let back: Vec<_> = p.range_tagged(.., T2).rev().map(|(index, ..)| index).collect();
    assert!(back.iter().rev().eq(with.iter()));
    let mut range = p.range_tagged(60..=133, T2);
    let mut ends = Vec::new();
    while let Some((front, ..)) = range.next() {
        ends.push((front, range.next_back().map(|(index, ..)| index)));
    }
    assert_eq!(ends[..2], [(66, Some(129)), (73, Some(122))]);
    assert_eq!(ends.len(), 5);
    assert_eq!(range.next_back().map(|(index, ..)| index), None);
}

#[test]
fn what_is_tagged_behind_a_scan_is_not_reported() {
    let tree = tree_of([5, 70, 5000]);
    let p = tree.pin();
    p.set_tag(70, T0);
    let mut up = p.range_tagged(.., T0).map(|(index, ..)| index);
    let mut down = p.range_tagged(.., T0).rev().map(|(index, ..)| index);
    assert_eq!((up.next(), down.next()), (Some(70), Some(70)));
    p.set_tag(5, T0);
    p.set_tag(5000, T0);
    assert_eq!((up.next(), up.next()), (Some(5000), None));
    assert_eq!((down.next(), down.next()), (Some(5), None));
    assert_eq!(tagged(&p, T0), [5, 70, 5000]);
}

/// The index at which a scan begins is above slots of one node, and says nothing of the next.
#[test]
fn a_scan_begins_outside_of_the_nodes_that_it_meets() {
    let tree = tree_of([0, 130, 5000, 5100, 9000, 9001]);
    let p = tree.pin();
    let up = |low| p.range(low..).map(|(index, _)| index).collect::<Vec<_>>();
    assert_eq!(up(1000), [5000, 5100, 9000, 9001]);
    assert_eq!(up(5000), [5000, 5100, 9000, 9001]);
    assert_eq!(up(130), [130, 5000, 5100, 9000, 9001]);
    assert_eq!(up(1), [130, 5000, 5100, 9000, 9001]);
    let down = |high| p.range(..=high).rev().map(|(index, _)| index).collect::<Vec<_>>();
    assert_eq!(down(8300), [5100, 5000, 130, 0]);
    assert_eq!(down(5000), [5000, 130, 0]);
    assert_eq!(down(9000), [9000, 5100, 5000, 130, 0]);
    assert_eq!(down(129), [0]);
}

#[test]
fn an_entry_alone_in_a_tree_is_reported_once() {
    let tree = tree_of([7]);
    let p = tree.pin();
    p.set_tag(7, T0);
    assert!(p.range(..).map(|(index, _)| index).take(3).eq([7]));
    assert!(p.range(..).rev().map(|(index, _)| index).take(3).eq([7]));
    assert!(p.range_tagged(.., T0).map(|(index, ..)| index).take(3).eq([7]));
}

#[test]
fn what_comes_behind_the_top_of_a_scan_is_reported() {
    let low = tree_of([5, 70]);
    let p = low.pin();
    let mut up = p.range(..).map(|(index, _)| index);
    assert_eq!(up.next(), Some(5));
    p.insert(1 << 30, Box::new(1 << 30));
    assert_eq!((up.next(), up.next(), up.next()), (Some(70), Some(1 << 30), None));
    let high = tree_of([(1 << 30) + 5, (1 << 30) + 70]);
    let p = high.pin();
    let mut down = p.range(..).rev().map(|(index, _)| index);
    assert_eq!(down.next(), Some((1 << 30) + 70));
    p.insert(5, Box::new(5));
    assert_eq!((down.next(), down.next(), down.next()), (Some((1 << 30) + 5), Some(5), None));
}

#[test]
fn remove_range_removes_and_counts() {
    let tree = tree_of(SPARSE);
    let p = tree.pin();
    p.set_tag(64, T0);
    assert_eq!(p.remove_range(63..=4096), 4);
    assert_eq!(indices(&p), [0, 5, 300_000, 1 << 55]);
    assert!(!tree.any_tagged(T0));
    assert_at_rest(&tree);
    assert_eq!(p.remove_range(6..=299_999), 0);
    assert_eq!(p.remove_range(..), 4);
    assert!(tree.is_empty());
    assert_at_rest(&tree);
}

#[test]
fn retain_asks_for_each_entry_once_in_order() {
    let tree = tree_of(0..300);
    let p = tree.pin();
    p.tag_range(100..200, T1, TagSet::EMPTY);
    let mut asked = Vec::new();
    let removed = p.retain(|index, value, tags| {
        assert_eq!((index, tags.contains(T1)), (*value, (100..200).contains(&index)));
        asked.push(index);
        tags.contains(T1) && index % 2 == 0
    });
    assert_eq!(removed, 250);
    assert!(asked.into_iter().eq(0..300));
    assert!(indices(&p).into_iter().eq((100..200).step_by(2)));
    assert_eq!(tagged(&p, T1).len(), 50);
    assert_at_rest(&tree);
}

#[test]
fn a_range_may_be_changed_while_it_is_walked() {
    let tree = tree_of(0..500);
    let p = tree.pin();
    for (index, _) in p.iter() {
        assert_eq!(p.remove(index), Some(&index));
    }
    assert!(tree.is_empty());
    assert_at_rest(&tree);
}

/// What passes in a leaf is read before the first of it is handed on; the leaves behind it are read when the fold comes there.
#[test]
fn a_tagged_fold_takes_a_leaf_at_a_time() {
    let tree = tree_of([0, 1, 2, 64, 65, 128]);
    let p = tree.pin();
    p.tag_range(.., T0, NONE);
    let mut seen = Vec::new();
    p.range_tagged(.., T0).for_each(|(index, value, tags)| {
        assert_eq!((index, tags), (*value, T0.into()));
        seen.push(index);
        p.clear_tag(index + 1, T0);
        p.clear_tag(index + 64, T0);
    });
    assert_eq!(seen, [0, 1, 2, 128]);
}

#[test]
fn a_tagged_fold_goes_on_where_steps_have_come() {
    let tree = tree_of((0..200).chain([300, 1 << 30]));
    let p = tree.pin();
    p.tag_range(10..=300, T0, NONE);
    p.tag_range(100..=110, T1, NONE);
    let without = TagFilter::all_of(T0).and_none_of(T1);
    for (filter, first, gap) in
        [(TagFilter::ANY, 5, 0..=0), (T0.into(), 10, 0..=0), (without, 10, 100..=110)]
    {
        let all: Vec<u64> =
            (first..200).chain([300]).filter(|index| !gap.contains(index)).collect();
        for (front, back) in [(0, 0), (1, 0), (3, 2), (60, 0), (70, 70), (all.len(), 1)] {
            let mut scan = p.range_tagged(5..=300, filter);
            let mut found: Vec<u64> = scan.by_ref().take(front).map(|(index, ..)| index).collect();
            let mut last: Vec<u64> =
                scan.by_ref().rev().take(back).map(|(index, ..)| index).collect();
            scan.for_each(|(index, ..)| found.push(index));
            found.extend(last.drain(..).rev());
            assert_eq!(found, all, "{front} from the front, {back} from behind");
        }
    }
}
