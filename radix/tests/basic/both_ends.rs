//! Ranges that end at the edges of leaves and nodes, for every operation that takes one; and iterators that are taken from both
//! ends, and then to the end in every way.

use std::collections::{BTreeMap, VecDeque};

use rand::Rng;
use tagged_radix::{RadixTree, Tag, TagFilter, TagSet};

use crate::common::{NONE, T0, T1, Tree, assert_at_rest, rng, tree_of};

/// Indices at the edges of leaves, of the nodes above, and of all indices.
const EDGES: [u64; 17] =
    [0, 1, 62, 63, 64, 65, 127, 128, 129, 191, 192, 193, 4095, 4096, 4097, u64::MAX - 64, u64::MAX];

/// Full leaves, compact ones, and both beside each other.
fn index_sets() -> [Vec<u64>; 4] {
    let lone = |at: &u64| [0, 63].contains(&(at % 64));
    [
        (0..200).chain(4090..4100).chain(u64::MAX - 70..=u64::MAX).collect(),
        EDGES.into_iter().filter(lone).collect(),
        vec![0, 64, 128, 192, 4096, 1 << 40],
        (0..64).chain([128]).chain(190..195).chain([4096, u64::MAX]).collect(),
    ]
}

/// The entries of every range between two edges.
fn each_range(mut check: impl FnMut(&[u64], u64, u64, Vec<u64>)) {
    for indices in index_sets() {
        for (at, low) in EDGES.into_iter().enumerate() {
            for high in EDGES.into_iter().skip(at) {
                let within = indices.iter().copied().filter(|index| (low..=high).contains(index));
                check(&indices, low, high, within.collect());
            }
        }
    }
}

#[test]
fn reads_of_a_range_take_both_of_its_ends() {
    each_range(|indices, low, high, within| {
        let tree = tree_of(indices.iter().copied());
        let p = tree.pin();
        p.tag_range(.., T0, NONE);
        assert!(p.range(low..=high).map(|(index, _)| index).eq(within.iter().copied()));
        let back = p.range(low..=high).rev().map(|(index, _)| index);
        assert!(back.eq(within.iter().rev().copied()));
        for filter in [TagFilter::ANY, T0.into()] {
            let tagged = p.range_tagged(low..=high, filter).map(|(index, ..)| index);
            assert!(tagged.eq(within.iter().copied()));
            let back = p.range_tagged(low..=high, filter).rev().map(|(index, ..)| index);
            assert!(back.eq(within.iter().rev().copied()));
            assert_eq!(p.count_tagged(low..=high, filter), within.len() as u64);
        }
    });
}

#[test]
fn changes_of_a_range_take_both_of_its_ends_and_no_more() {
    let with = |tree: &Tree, tag: Tag| -> Vec<u64> {
        tree.pin().range_tagged(.., tag).map(|(index, ..)| index).collect()
    };
    each_range(|indices, low, high, within| {
        let tree = tree_of(indices.iter().copied());
        let p = tree.pin();
        assert_eq!(p.tag_range(low..=high, T0, NONE), within.len() as u64, "{low}..={high}");
        assert_eq!(with(&tree, T0), within);
        assert_eq!(p.tag_range(low..=high, T0, T0), 0, "what is set and cleared is set");
        p.tag_range(.., T0, NONE);
        let copied = p.tag_range_if_tagged(low..=high, T0, T1, u64::MAX);
        assert_eq!((copied.count, copied.next), (within.len() as u64, None), "{low}..={high}");
        assert_eq!(with(&tree, T1), within);
        assert_eq!(p.remove_range(low..=high), within.len() as u64, "{low}..={high}");
        assert!(p.iter().all(|(index, _)| !within.contains(&index)));
        assert_eq!(tree.len(), (indices.len() - within.len()) as u64);
        assert_at_rest(&tree);
    });
}

#[test]
fn ranges_without_their_ends_and_empty_ones() {
    use std::ops::Bound::{Excluded, Included, Unbounded};

    let tree = tree_of(EDGES);
    let p = tree.pin();
    let of = |bounds| p.range(bounds).map(|(index, _)| index).collect::<Vec<u64>>();
    assert_eq!(of((Excluded(64), Excluded(128))), [65, 127]);
    assert_eq!(of((Excluded(u64::MAX - 64), Unbounded)), [u64::MAX]);
    assert_eq!(of((Unbounded, Excluded(1))), [0]);
    assert!(of((Excluded(u64::MAX), Unbounded)).is_empty());
    assert!(of((Unbounded, Excluded(0))).is_empty());
    assert!(of((Excluded(64), Excluded(65))).is_empty());
    assert!(of((Included(65), Excluded(65))).is_empty());
    assert!(of((Included(65), Included(64))).is_empty());
}

/// Takes an iterator from both ends at random, and then to its end in one of several ways, beside a queue that says what must
/// come.
fn both_ends<I>(mut iter: I, mut queue: VecDeque<u64>, random: &mut impl Rng)
where
    I: DoubleEndedIterator<Item = u64>,
{
    for _ in 0..random.random_range(0..queue.len() + 3) {
        match random.random_range(0..8) {
            0..3 => assert_eq!(iter.next(), queue.pop_front()),
            3..6 => assert_eq!(iter.next_back(), queue.pop_back()),
            6 => {
                let skip = random.random_range(0..5);
                let expected = queue.get(skip).copied();
                queue.drain(..(skip + 1).min(queue.len()));
                assert_eq!(iter.nth(skip), expected);
            }
            _ => {
                let skip = random.random_range(0..5);
                let expected = queue.iter().rev().nth(skip).copied();
                queue.truncate(queue.len().saturating_sub(skip + 1));
                assert_eq!(iter.nth_back(skip), expected);
            }
        }
        let (least, most) = iter.size_hint();
        assert!(least <= queue.len() && most.is_none_or(|most| most >= queue.len()));
    }
    match random.random_range(0..6) {
        0 => assert_eq!(iter.count(), queue.len()),
        1 => assert_eq!(iter.last(), queue.back().copied()),
        2 => assert!(iter.rev().eq(queue.into_iter().rev())),
        3 => {
            assert!(iter.by_ref().eq(queue) && iter.next().is_none() && iter.next_back().is_none())
        }
        _ => {
            let mut seen = Vec::new();
            iter.for_each(|index| seen.push(index));
            assert_eq!(seen, Vec::from(queue));
        }
    }
}

#[test]
fn an_iterator_taken_from_both_ends_gives_each_entry_once() {
    let mut random = rng(18);
    for indices in index_sets() {
        let tree = tree_of(indices.iter().copied());
        let p = tree.pin();
        for index in indices.iter().step_by(2) {
            p.set_tag(*index, T0);
        }
        for _ in 0..if cfg!(miri) { 20 } else { 600 } {
            let (low, high) =
                (EDGES[random.random_range(0..17)], EDGES[random.random_range(0..17)]);
            let within = |step| {
                let all = indices.iter().copied().step_by(step);
                all.filter(|index| (low..=high).contains(index)).collect()
            };
            both_ends(p.range(low..=high).map(|(index, _)| index), within(1), &mut random);
            let any = p.range_tagged(low..=high, TagFilter::ANY).map(|(index, ..)| index);
            both_ends(any, within(1), &mut random);
            let tagged = p.range_tagged(low..=high, T0).map(|(index, ..)| index);
            both_ends(tagged, within(2), &mut random);
        }
    }
}

#[test]
fn fold_goes_on_where_both_ends_have_been() {
    let tree = tree_of(0..256);
    let p = tree.pin();
    let mut range = p.range(..).map(|(index, _)| index);
    // Both ends are in the middle of leaves; then in the same one.
    assert_eq!(
        (range.next(), range.next_back(), range.nth_back(9)),
        (Some(0), Some(255), Some(245))
    );
    let mut same = p.range(64..128).map(|(index, _)| index);
    assert_eq!((same.next(), same.next_back(), same.next_back()), (Some(64), Some(127), Some(126)));
    assert!(range.fold(1, |next, index| if next == index { next + 1 } else { 0 }) == 245);
    assert!(same.fold(65, |next, index| if next == index { next + 1 } else { 0 }) == 126);
}

/// What `retain` is asked, by index, in order.
type Asked = BTreeMap<u64, Vec<(u64, TagSet)>>;

/// Runs `retain` on the entries 0 to 2; `change` changes an entry while `retain` first asks about 1. Entries are to go if their
/// value is odd.
fn retain_while(change: impl Fn(&Tree)) -> (Vec<(u64, u64)>, u64, Asked) {
    let tree = tree_of(0..3);
    let mut asked = Asked::new();
    let removed = tree.pin().retain(|index, value, tags| {
        let before = asked.entry(index).or_default();
        before.push((*value, tags));
        if index == 1 && before.len() == 1 {
            change(&tree);
        }
        value % 2 == 0
    });
    assert_at_rest(&tree);
    (tree.pin().iter().map(|(index, value)| (index, *value)).collect(), removed, asked)
}

#[test]
fn retain_asks_again_about_an_entry_that_changes_under_it() {
    let all_kept = |asked: &Asked| asked[&0].len() == 1 && asked[&2].len() == 1;
    // Another tag: asked again, with it, and removed all the same.
    let (left, removed, asked) =
        retain_while(|tree| assert_eq!(tree.pin().set_tag(1, T0), Some(true)));
    assert_eq!((left.as_slice(), removed), (&[(0, 0), (2, 2)][..], 1));
    assert_eq!(asked[&1], [(1, NONE), (1, T0.into())]);
    assert!(all_kept(&asked));
    // Another value, which is to stay.
    let (left, removed, asked) =
        retain_while(|tree| assert!(tree.pin().insert(1, Box::new(8)).is_some()));
    assert_eq!((left.as_slice(), removed), (&[(0, 0), (1, 8), (2, 2)][..], 0));
    assert_eq!(asked[&1], [(1, NONE), (8, NONE)]);
    assert!(all_kept(&asked));
    // Another value, which is to go, too.
    let (left, removed, asked) =
        retain_while(|tree| assert!(tree.pin().insert(1, Box::new(9)).is_some()));
    assert_eq!((left.as_slice(), removed), (&[(0, 0), (2, 2)][..], 1));
    assert_eq!(asked[&1], [(1, NONE), (9, NONE)]);
    // Gone already: nobody is asked, and it is not counted.
    let (left, removed, asked) = retain_while(|tree| assert!(tree.pin().remove(1).is_some()));
    assert_eq!((left.as_slice(), removed), (&[(0, 0), (2, 2)][..], 0));
    assert_eq!(asked[&1], [(1, NONE)]);
}

#[test]
fn a_condition_is_asked_again_if_the_entry_changes_under_it() {
    let tree: RadixTree<Box<u64>> = tree_of(0..3);
    let p = tree.pin();
    let mut asked = Vec::new();
    let replaced = p.replace_if(1, Box::new(7), |value, tags| {
        asked.push((*value, tags));
        if asked.len() == 1 {
            tree.pin().insert_tagged(1, Box::new(5), T0.into());
        }
        true
    });
    assert_eq!(replaced.ok().copied(), Some(5));
    assert_eq!(asked, [(1, NONE), (5, T0.into())]);
    assert_eq!(p.get_with_tags(1), Some((&7, T0.into())));
    asked.clear();
    let removed = p.remove_if(1, |value, tags| {
        asked.push((*value, tags));
        if asked.len() == 1 {
            tree.pin().set_tag(1, T1);
        }
        true
    });
    assert_eq!(removed.ok(), Some(&7));
    assert_eq!(asked, [(7, T0.into()), (7, TagSet::of(&[T0, T1]))]);
    let gone = p.replace_if(2, Box::new(7), |_, _| tree.pin().remove(2).is_some());
    let error = gone.expect_err("nothing is left to replace");
    assert_eq!((*error.value, error.current), (7, None));
    // What comes between the look and the insertion stays.
    let made = p.get_or_insert_with(9, || {
        tree.pin().insert(9, Box::new(1));
        Box::new(2)
    });
    assert_eq!((*made, p.get(9)), (1, Some(&1)));
}
