//! Ranges of every form: empty, inverted, of one index, with excluded and open ends, across the
//! borders of nodes.

use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::ops::RangeBounds;

use crate::common::{NONE, T0, T1, assert_at_rest, indices, tree_of};
use tagged_radix::TagFilter;

/// Ends of ranges around the borders of nodes of two sizes, and the ends of all.
const ENDS: [u64; 14] =
    [0, 1, 62, 63, 64, 65, 4094, 4095, 4096, 4097, 262_143, 262_144, u64::MAX - 1, u64::MAX];

fn bounds() -> impl Iterator<Item = (Bound<u64>, Bound<u64>)> {
    let ends =
        || ENDS.into_iter().flat_map(|end| [Included(end), Excluded(end)]).chain([Unbounded]);
    ends().flat_map(move |from| ends().map(move |to| (from, to)))
}

#[test]
fn scans_report_exactly_what_is_inside() {
    let tree = tree_of(ENDS);
    let p = tree.pin();
    p.tag_range(.., T0, NONE);
    for bounds in bounds() {
        let expected: Vec<_> = ENDS.into_iter().filter(|index| bounds.contains(index)).collect();
        let found: Vec<_> = p.range(bounds).map(|(index, _)| index).collect();
        assert_eq!(found, expected, "{bounds:?}");
        let mut back: Vec<_> = p.range(bounds).rev().map(|(index, _)| index).collect();
        back.reverse();
        assert_eq!(back, expected, "{bounds:?} backwards");
        assert!(p.range_tagged(bounds, T0).map(|e| e.0).eq(expected.iter().copied()), "{bounds:?}");
        assert!(p.range_tagged(bounds, T0).rev().map(|e| e.0).eq(expected.iter().rev().copied()));
        assert_eq!(p.count_tagged(bounds, TagFilter::none_of(T1)), expected.len() as u64);
    }
}

#[test]
fn range_changes_touch_exactly_what_is_inside() {
    for bounds in bounds() {
        let tree = tree_of(ENDS);
        let p = tree.pin();
        let (inside, outside): (Vec<_>, Vec<_>) =
            ENDS.into_iter().partition(|index| bounds.contains(index));
        assert_eq!(p.tag_range(bounds, T0, NONE), inside.len() as u64);
        assert!(
            ENDS.iter().all(|index| p.has_tag(*index, T0) == inside.contains(index)),
            "{bounds:?}"
        );
        p.tag_range(.., T0, NONE);
        let done = p.tag_range_if_tagged(bounds, T0, T1, u64::MAX);
        assert_eq!((done.count, done.next), (inside.len() as u64, None), "{bounds:?}");
        assert!(
            ENDS.iter().all(|index| p.has_tag(*index, T1) == inside.contains(index)),
            "{bounds:?}"
        );
        assert_eq!(p.remove_range(bounds), inside.len() as u64);
        assert_eq!(indices(&p), outside, "{bounds:?}");
        assert_at_rest(&tree);
    }
}

#[test]
fn limits_cut_at_borders_of_nodes() {
    for limit in [0, 1, 63, 64, 65, 127, 128, 129, 200, u64::MAX] {
        let tree = tree_of(0..200);
        let p = tree.pin();
        p.tag_range(.., T0, NONE);
        let done = p.tag_range_if_tagged(.., T0, T1, limit);
        let count = limit.min(200);
        assert_eq!(done.count, count);
        assert!(p.range_tagged(.., T1).map(|e| e.0).eq(0..count), "limit {limit}");
        match done.next {
            Some(next) if count < 200 => assert_eq!(next, count, "limit {limit}"),
            next => assert!(count == 200 && next.is_none_or(|next| next >= 200), "limit {limit}"),
        }
        assert_at_rest(&tree);
    }
}
