//! Scans while entries come and go.

use std::sync::Arc;

use rand::Rng;

use crate::common::{
    Ledger, NONE, Race, T0, T1, Tracked, Tree, add_tagged, assert_at_rest, assert_untagged, rng,
    stress_time,
};
use tagged_radix::{Pinned, RadixTree, TagFilter};

const INDICES: u64 = 100;

/// Scans from entry to entry, sometimes letting go of the guard in between; checks order, items
/// and tags.
fn scan(tree: &RadixTree<Arc<Tracked>>, filter: TagFilter, seed: u64) {
    let (mut random, mut start) = (rng(seed), Some(0));
    while let Some(from) = start {
        let p = tree.pin();
        start = None;
        let mut last = None;
        for (index, value, tags) in p.range_tagged(from.., filter) {
            assert!(
                index >= from && last.is_none_or(|last| index > last),
                "{index} after {last:?}"
            );
            assert!(index < INDICES && filter.matches(tags));
            assert!(value.stamp_at(index) < u64::MAX);
            last = Some(index);
            if random.random_ratio(1, 50) {
                start = Some(index + 1);
                break;
            }
        }
        drop(p);
        tagged_radix::pin().flush();
    }
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "there are no threads")]
fn five_threads_on_a_hundred_indices() {
    // IT-1, order 0: tagged inserts, random erases, a tagged and a plain scan that pause now and
    // then, and copies of the tag in batches of ten.
    let ledger = Ledger::new();
    let tree = RadixTree::new();
    let insert = |turn| {
        let (p, index) = (tree.pin(), turn % INDICES);
        p.insert(index, Arc::new(ledger.value(index, turn)));
        p.set_tag(index, T0);
    };
    let mut random = rng(1);
    let erase = |_| {
        tree.pin().remove(random.random_range(0..INDICES));
    };
    let copy = |_| {
        let mut start = Some(0);
        while let Some(from) = start {
            let done = tree.pin().tag_range_if_tagged(from..INDICES, T0, T1, 10);
            assert!(done.count <= 10 && (done.count == 10 || done.next.is_none()));
            assert!(done.next.is_none_or(|next| next > from));
            start = done.next;
        }
    };
    Race::new(stress_time() * 2)
        .repeat(insert)
        .repeat(erase)
        .repeat(|seed| scan(&tree, T0.into(), seed))
        .repeat(|seed| scan(&tree, TagFilter::ANY, seed))
        .repeat(copy)
        .run();
    assert_at_rest(&tree);
    drop(tree);
    ledger.settle(0);
}

/// All reports of a scan that is resumed after each entry.
fn resumed(p: &mut Pinned<'_, Box<u64>>) -> Vec<u64> {
    let (mut found, mut start) = (Vec::new(), Some(0));
    while let Some(from) = start {
        let next = p.range_tagged(from.., T0).next().map(|(index, ..)| index);
        found.extend(next);
        start = next.and_then(|index| index.checked_add(1));
        p.repin();
    }
    found
}

/// Asserts that a scan reported each of `always` exactly once, in order, and else only `sometimes`.
fn assert_scan(found: &[u64], always: &[u64], sometimes: u64) {
    assert!(found.is_sorted_by(|a, b| a < b), "{found:?}");
    let (seen, others): (Vec<u64>, Vec<u64>) =
        found.iter().partition(|index| always.contains(index));
    assert_eq!(seen, always, "what is always there is reported");
    assert!(others.iter().all(|index| *index < sometimes), "{others:?}");
}

/// Entries below 100 come, are tagged, and go, while scans look for those that stay.
fn scans_never_end_early(always: &[u64], step: u64) {
    let tree = Tree::new();
    always.iter().for_each(|index| add_tagged(&tree.pin(), *index, T0));
    let throb = |_| {
        let p = tree.pin();
        for index in (0..INDICES).map(|n| n * step) {
            p.insert(index, Box::new(index));
            p.set_tag(index, T0);
        }
        for index in (0..INDICES).map(|n| n * step) {
            p.remove(index);
        }
    };
    let sometimes = INDICES * step;
    let look = |turn| {
        let mut p = tree.pin();
        let found: Vec<_> = match turn % 4 {
            0 => p.range_tagged(.., T0).map(|(index, ..)| index).collect(),
            1 => p.iter().map(|(index, _)| index).collect(),
            2 => resumed(&mut p),
            _ => {
                let mut back: Vec<_> =
                    p.range_tagged(.., T0).rev().map(|(index, ..)| index).collect();
                back.reverse();
                back
            }
        };
        assert_scan(&found, always, sometimes);
        assert!(p.count_tagged(.., T0) >= always.len() as u64);
    };
    Race::new(stress_time()).repeat(throb).repeat(look).run();
    assert_at_rest(&tree);
    let p = tree.pin();
    assert_scan(&p.range_tagged(.., T0).map(|(index, ..)| index).collect::<Vec<_>>(), always, 0);
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "there are no threads")]
fn scans_never_end_early_in_one_subtree() {
    // IT-2: the entry that stays is in the leaf next to those that come and go.
    scans_never_end_early(&[100], 1);
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "there are no threads")]
fn scans_never_end_early_across_subtrees() {
    // IT-2, extended: others stay in other leaves and other subtrees of the top, up to its end.
    scans_never_end_early(&[100, 4096, 300_000, 1 << 40, u64::MAX], 1);
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "there are no threads")]
fn scans_never_end_early_while_leaves_come_and_go() {
    // IT-2, extended: each entry that comes and goes has a leaf of its own.
    scans_never_end_early(&[64 * 100 + 1, 300_000, u64::MAX], 64);
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "there are no threads")]
fn scans_never_end_early_while_the_top_comes_and_goes() {
    // IT-2, extended: what comes and goes makes the tree grow and collapse around what stays.
    let tree = Tree::new();
    add_tagged(&tree.pin(), 1 << 20, T0);
    let throb = |_| {
        for index in [0, 1 << 21, 1 << 30, 1 << 50, u64::MAX] {
            add_tagged(&tree.pin(), index, T0);
        }
        for index in [u64::MAX, 0, 1 << 50, 1 << 21, 1 << 30] {
            assert_eq!(tree.pin().remove(index), Some(&index));
        }
    };
    let look = |turn| {
        let mut p = tree.pin();
        let found = if turn % 2 == 0 {
            resumed(&mut p)
        } else {
            p.iter().map(|(index, _)| index).collect()
        };
        assert!(found.is_sorted_by(|a, b| a < b), "{found:?}");
        assert!(found.contains(&(1 << 20)), "{found:?}");
        assert!(tree.any_tagged(T0));
    };
    Race::new(stress_time()).repeat(throb).repeat(look).repeat(look).run();
    assert_at_rest(&tree);
    assert_eq!(tree.pin().update_tags(1 << 20, NONE, T0).map(|update| update.after), Some(NONE));
    assert_untagged(&tree, T0);
}
