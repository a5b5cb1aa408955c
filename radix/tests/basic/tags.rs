//! Tags of single entries, over ranges, and the sets and filters made of them.

use crate::common::{
    NONE, T0, T1, T2, T3, Tree, add_tagged, assert_at_rest, assert_untagged, tagged, tree_of,
};
use tagged_radix::{Tag, TagFilter, TagRange, TagSet};

#[test]
fn tag_set_is_a_set() {
    let set = TagSet::of(&[T0, T2]);
    assert_eq!(set, TagSet::EMPTY.with(T2).with(T0).with(T0));
    assert_eq!(set, [T2, T0].into_iter().collect());
    assert_eq!((set.len(), set.is_empty(), TagSet::EMPTY.is_empty()), (2, false, true));
    assert!(set.contains(T2) && !set.contains(T1));
    assert_eq!(set.iter().collect::<Vec<_>>(), [T0, T2]);
    assert_eq!(set.without(T0).without(T1), T2.into());
    let other = TagSet::of(&[T2, T3]);
    assert_eq!(set | other, set.union(other));
    assert_eq!(set.union(other), TagSet::of(&[T0, T2, T3]));
    assert_eq!(set & other, set.intersection(other));
    assert_eq!(set.intersection(other), T2.into());
    assert_eq!(set - other, set.difference(other));
    assert_eq!(set.difference(other), T0.into());
    assert_eq!(!set, TagSet::of(&[T1, T3]));
    assert_eq!(!TagSet::EMPTY, TagSet::ALL);
    assert_eq!(TagSet::default(), TagSet::EMPTY);
    assert!(!format!("{set:?}").is_empty());
}

#[test]
fn tags_are_numbered_from_zero() {
    assert_eq!(Tag::all(), [T0, T1, T2, T3]);
    assert_eq!(Tag::all().len(), Tag::COUNT);
    for (number, tag) in (0_u8..).zip(Tag::all()) {
        assert_eq!((tag.number(), Tag::new(number)), (number, Some(tag)));
    }
    assert_eq!((Tag::new(4), Tag::new(255)), (None, None));
}

#[test]
fn filters_ask_for_all_of_some_and_none_of_others() {
    crate::common::watch();
    let filter = TagFilter::all_of(T0).and_all_of(T1).and_none_of(T2);
    assert!(filter.matches(TagSet::of(&[T0, T1])));
    assert!(filter.matches(TagSet::of(&[T0, T1, T3])));
    assert!(!filter.matches(T0.into()));
    assert!(!filter.matches(TagSet::ALL));
    assert!(TagFilter::ANY.matches(NONE) && TagFilter::ANY.matches(TagSet::ALL));
    assert!(TagFilter::none_of(T3).matches(NONE) && !TagFilter::none_of(T3).matches(T3.into()));
    assert!(TagFilter::from(T3).matches(TagSet::ALL) && !TagFilter::from(T3).matches(NONE));
    let never = TagFilter::all_of(T0).and_none_of(T0);
    assert!(!never.matches(NONE) && !never.matches(T0.into()));
}

#[test]
fn set_and_clear_say_whether_they_changed_anything() {
    let tree = tree_of([3]);
    let p = tree.pin();
    assert_eq!(p.set_tag(3, T1), Some(true));
    assert_eq!(p.set_tag(3, T1), Some(false));
    assert_eq!((p.tags(3), p.has_tag(3, T1), p.has_tag(3, T0)), (Some(T1.into()), true, false));
    assert_eq!(p.clear_tag(3, T0), Some(false));
    assert_eq!(p.clear_tag(3, T1), Some(true));
    assert_eq!(p.clear_tag(3, T1), Some(false));
    assert_eq!(p.tags(3), Some(NONE));
    assert_at_rest(&tree);
}

#[test]
fn tags_of_absent_entries_cannot_be_changed() {
    let tree = tree_of([3]);
    let p = tree.pin();
    for absent in [2, 4, 64, u64::MAX] {
        assert_eq!(p.set_tag(absent, T0), None);
        assert_eq!(p.clear_tag(absent, T0), None);
        assert_eq!(p.update_tags(absent, T0, T1), None);
        assert_eq!((p.tags(absent), p.has_tag(absent, T0)), (None, false));
    }
    assert!(!tree.any_tagged(T0));
}

/// A leaf that keeps other entries has no tag left, and takes none, where an entry was.
#[test]
fn tags_of_removed_entries_cannot_be_changed() {
    crate::common::watch();
    let tree = tree_of([0, 1, 2, 64]);
    let p = tree.pin();
    p.update_tags(1, TagSet::of(&[T0, T1]), NONE);
    p.set_tag(2, T0);
    p.remove(1);
    p.remove_range(2..3);
    for index in [1, 2, 3] {
        assert_eq!((p.set_tag(index, T0), p.clear_tag(index, T0)), (None, None), "{index}");
        assert!(p.update_tags(index, T0, T1).is_none(), "{index}");
    }
    assert_untagged(&tree, T0);
    assert_untagged(&tree, T1);
    assert_at_rest(&tree);
}

#[test]
fn update_tags_sets_and_clears_at_once_and_set_wins() {
    let tree = Tree::new();
    let p = tree.pin();
    add_tagged(&p, 3, TagSet::of(&[T0, T1]));
    let update = p.update_tags(3, TagSet::of(&[T1, T2]), TagSet::of(&[T0, T1])).unwrap();
    assert_eq!((update.before, update.after), (TagSet::of(&[T0, T1]), TagSet::of(&[T1, T2])));
    assert_eq!(p.tags(3), Some(update.after));
    assert_at_rest(&tree);
}

#[test]
fn tags_of_neighbours_are_independent() {
    let tree = tree_of([0, 1, 63, 64, 4096]);
    let p = tree.pin();
    for (index, tag) in [(0, T0), (1, T1), (63, T2), (64, T3), (4096, T0)] {
        p.set_tag(index, tag);
        assert_at_rest(&tree);
    }
    assert_eq!(tagged(&p, T0), [0, 4096]);
    p.clear_tag(0, T0);
    assert_eq!((tagged(&p, T0), tagged(&p, T1), tagged(&p, T3)), (vec![4096], vec![1], vec![64]));
    assert_at_rest(&tree);
}

/// Entries 0..256 whose tags are the bits of their indices, shifted by two.
fn numbered() -> Tree {
    let tree = Tree::new();
    let p = tree.pin();
    for index in 0_u8..=255 {
        let tags = Tag::all().into_iter().filter(|tag| index >> (tag.number() + 2) & 1 == 1);
        add_tagged(&p, index.into(), tags.collect::<TagSet>());
    }
    drop(p);
    tree
}

#[test]
fn count_tagged_counts_what_a_scan_reports() {
    crate::common::watch();
    let tree = numbered();
    let p = tree.pin();
    assert_eq!(p.count_tagged(.., TagFilter::ANY), 256);
    assert_eq!(p.count_tagged(.., T0), 128);
    assert_eq!(p.count_tagged(4..8, T0), 4);
    assert_eq!(p.count_tagged(2..=4, T0), 1);
    assert_eq!(p.count_tagged(.., TagFilter::all_of(TagSet::ALL)), 16);
    assert_eq!(p.count_tagged(.., TagFilter::none_of(TagSet::ALL)), 16);
    assert_eq!(p.count_tagged(100.., TagFilter::all_of(T3).and_none_of(T0)), 44);
    assert_eq!(p.count_tagged(..100, TagFilter::all_of(T0).and_none_of(T0)), 0);
}

#[test]
fn tag_range_changes_the_range_and_counts_the_changed() {
    let tree = numbered();
    let p = tree.pin();
    assert_eq!(p.tag_range(60..=67, T0, NONE), 4, "60 to 63 have it");
    assert_eq!(p.tag_range(60..=67, T0, NONE), 0);
    assert_eq!(p.tag_range(.., NONE, TagSet::of(&[T0, T1])), 192 + 4);
    assert!(!tree.any_tagged(T0) && !tree.any_tagged(T1) && tree.any_tagged(T2));
    assert_eq!(p.tag_range(300.., T0, NONE), 0);
    assert_eq!(p.tag_range(.., T1, T1), 256, "set wins over clear");
    assert_at_rest(&tree);
}

#[test]
fn tag_range_if_tagged_copies_within_the_range() {
    let tree = tree_of(0..200);
    let p = tree.pin();
    for index in [10, 63, 64, 150, 199] {
        p.set_tag(index, T0);
    }
    p.set_tag(64, T1);
    let done = p.tag_range_if_tagged(11..199, T0, T1, u64::MAX);
    assert_eq!((done.count, done.next), (2, None), "64 had it before");
    assert_eq!(tagged(&p, T1), [63, 64, 150]);
    assert_eq!(tagged(&p, T0), [10, 63, 64, 150, 199], "the first tag stays");
    assert_at_rest(&tree);
}

#[test]
fn tag_range_if_tagged_stops_at_the_limit_and_goes_on() {
    let tree = Tree::new();
    let p = tree.pin();
    let from: Vec<_> = (0..300).map(|n| n * 3).collect();
    from.iter().for_each(|index| add_tagged(&p, *index, T0));
    let (mut start, mut batches) = (Some(0), Vec::new());
    while let Some(first) = start {
        let TagRange { count, next, .. } = p.tag_range_if_tagged(first..=899, T0, T1, 7);
        assert!(next.is_none() || count == 7);
        let sum = batches.iter().sum::<u64>() + count;
        assert_eq!(tagged(&p, T1), from[..usize::try_from(sum).unwrap()], "in ascending order");
        batches.push(count);
        start = next;
        assert_at_rest(&tree);
    }
    assert_eq!(batches.iter().sum::<u64>(), 300);
    assert!((43..=44).contains(&batches.len()));
}

#[test]
fn tag_range_if_tagged_with_limit_zero_does_nothing() {
    crate::common::watch();
    let tree = Tree::new();
    let p = tree.pin();
    add_tagged(&p, 5, T0);
    let done = p.tag_range_if_tagged(3.., T0, T1, 0);
    assert_eq!((done.count, done.next), (0, Some(3)));
    assert!(!tree.any_tagged(T1));
}

#[test]
fn tag_range_if_tagged_onto_itself_changes_nothing() {
    crate::common::watch();
    let tree = Tree::new();
    let p = tree.pin();
    add_tagged(&p, 5, T0);
    let done = p.tag_range_if_tagged(.., T0, T0, 10);
    assert_eq!((done.count, done.next), (0, None));
    assert_eq!(tagged(&p, T0), [5]);
}
