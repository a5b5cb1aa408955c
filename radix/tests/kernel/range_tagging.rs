//! Copies of one tag to another over ranges, against a model.

use std::collections::BTreeMap;

use rand::{Rng, rngs::SmallRng};

use crate::common::{T0, T1, T2, Tree, add, add_tagged, assert_at_rest, assert_same, rng, tagged};
use tagged_radix::{Pinned, Tag};

/// Entries of one round.
const ENTRIES: u64 = 8_000;

/// Random entries, half of them tagged, with some forced to stand at the ends of the range.
fn fill(
    p: &Pinned<'_, Box<u64>>,
    ends: &[u64],
    space: u64,
    random: &mut SmallRng,
) -> BTreeMap<u64, bool> {
    let mut entries = BTreeMap::new();
    let forced = random.random::<u8>();
    let at_ends =
        ends.iter().enumerate().filter(|(n, _)| forced >> n & 1 == 1).map(|(_, end)| *end);
    let top = u64::MAX - space;
    let anywhere: Vec<_> = (0..ENTRIES).map(|_| random.random_range(0..space)).collect();
    // Half of the space lies at the bottom, half at the top.
    let anywhere = anywhere.into_iter().map(|at| if at % 2 == 0 { at } else { top + at });
    for index in at_ends.chain(anywhere) {
        let with = random.random();
        if entries.contains_key(&index) {
            continue;
        }
        if with {
            add_tagged(p, index, T0)
        } else {
            add(p, index)
        }
        entries.insert(index, with);
    }
    entries
}

fn chosen(tree: &Tree, tag: Tag) -> Vec<u64> {
    tagged(&tree.pin(), tag)
}

/// One round: a copy in one call, and one in small batches with the handle let go of between.
fn round(start: u64, end: u64, space: u64, random: &mut SmallRng) {
    let tree = Tree::new();
    let ends = [Some(start), start.checked_sub(1), Some(end), end.checked_add(1)];
    let ends: Vec<_> = ends.into_iter().flatten().collect();
    let entries = fill(&tree.pin(), &ends, space, random);
    let inside = |index: u64| start <= index && index <= end;
    let expected: Vec<_> =
        entries.iter().filter(|(i, with)| **with && inside(**i)).map(|(i, _)| *i).collect();

    let done = tree.pin().tag_range_if_tagged(start..=end, T0, T1, u64::MAX);
    assert_eq!((done.count, done.next), (expected.len() as u64, None));
    assert_same(&chosen(&tree, T1), &expected);

    let (mut sum, mut next) = (0, Some(start));
    while let Some(from) = next {
        let limit = random.random_range(1..200);
        let batch = tree.pin().tag_range_if_tagged(from..=end, T0, T2, limit);
        assert!(batch.count == limit || batch.next.is_none());
        (sum, next) = (sum + batch.count, batch.next);
    }
    assert_eq!(sum, done.count);
    assert_same(&chosen(&tree, T2), &expected);
    assert_at_rest(&tree);
}

#[test]
fn copies_of_tags_match_a_model() {
    // M-5: random entries and ranges, one in ten inverted; entries stand at the ends or beside.
    let mut random = rng(5);
    for turn in 0..24 {
        let space = 1 << random.random_range(13..40);
        let (low, high) = (random.random_range(0..space), random.random_range(0..space));
        let (low, high) = (low.min(high), low.max(high));
        match turn % 10 {
            9 => round(high, low, space, &mut random),
            8 => round(low, u64::MAX, space, &mut random),
            7 => round(u64::MAX - high, u64::MAX - low, space, &mut random),
            _ => round(low, high, space, &mut random),
        }
    }
}

#[test]
fn copies_of_tags_at_the_top_end() {
    // M-5, 5.B-9: a range that ends with the last index, in batches of one.
    let tree = Tree::new();
    for index in u64::MAX - 99..=u64::MAX {
        add_tagged(&tree.pin(), index, T0);
    }
    let (mut next, mut calls) = (Some(u64::MAX - 49), 0);
    while let Some(from) = next {
        next = tree.pin().tag_range_if_tagged(from.., T0, T1, 1).next;
        calls += 1;
        assert!(calls <= 51, "it must end");
    }
    assert!(chosen(&tree, T1).into_iter().eq(u64::MAX - 49..=u64::MAX));
    assert_at_rest(&tree);
}
