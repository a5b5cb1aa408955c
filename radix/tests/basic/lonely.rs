//! Scans over entries without neighbours, below nodes of several levels: they look ahead of themselves into nodes that they have not
//! reached.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::Rng;

use crate::common::{SetOnDrop, Tree, add, assert_at_rest, assert_same, gang_sweep, rng, tree_of};

/// For so long a race goes on, if it has not had its rounds before.
const ENOUGH: Duration = Duration::from_secs(2);

/// Nodes of small nodes of lone entries, nodes with more children than a small one has room for, some leaves among them.
fn spread() -> BTreeSet<u64> {
    let few = if cfg!(miri) { 2 } else { 12 };
    let mut random = rng(16);
    let deep = (0..few * few * few)
        .map(|i| (i % few) << 50 | (i / few % few) << 31 | (i / few / few) << 13);
    let wide = (0..if cfg!(miri) { 30 } else { 300 }).map(|i| 1 << 60 | i << 12);
    let runs = (0..few).flat_map(|i| (0..70).map(move |k| 1 << 61 | i << 20 | k));
    let lone = (0..few * few).map(|_| random.random());
    deep.chain(wide).chain(runs).chain(lone).collect()
}

#[test]
fn scans_of_lone_entries_report_each_of_a_range() {
    let set = spread();
    let all: Vec<u64> = set.iter().copied().collect();
    let tree = tree_of(all.iter().copied());
    let p = tree.pin();
    assert_same(&gang_sweep::<128>(&p, 0), &all);
    let mut random = rng(17);
    for _ in 0..if cfg!(miri) { 4 } else { 200 } {
        let mut end = || {
            let (near, step) = (all[random.random_range(0..all.len())], random.random_range(0..3));
            near.saturating_add(step).saturating_sub(1)
        };
        let (a, b) = (end(), end());
        let (low, high) = (a.min(b), a.max(b));
        let within: Vec<u64> = set.range(low..=high).copied().collect();
        let mut folded = Vec::new();
        p.range(low..=high).for_each(|(index, value)| folded.push(index + (index - *value)));
        assert_same(&folded, &within);
        let mut scan = p.range(low..=high);
        let mut steps: Vec<u64> = scan.by_ref().take(3).map(|(index, _)| index).collect();
        let last = scan.next_back().map(|(index, _)| index);
        scan.for_each(|(index, _)| steps.push(index));
        steps.extend(last);
        assert_same(&steps, &within);
        let mut back: Vec<u64> = Vec::new();
        for (index, _) in p.range(low..=high).rev() {
            back.push(index);
        }
        back.reverse();
        assert_same(&back, &within);
    }
}

/// Even slots of a node have an entry. Those that come in the odd ones, each behind the place where the scan is, are met.
#[test]
fn what_is_put_behind_a_fold_of_lone_entries_is_reported() {
    let tree = tree_of((0..5).map(|i| (2 * i) << 12));
    let (p, mut seen) = (tree.pin(), Vec::new());
    p.iter().for_each(|(index, _)| {
        seen.push(index >> 12);
        if index >> 12 & 1 == 0 {
            add(&tree.pin(), index + (1 << 12));
        }
    });
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
}

/// Nodes ahead of a scan grow, are split and spliced out, and singles become leaves, while it looks into them.
#[test]
#[cfg_attr(target_family = "wasm", ignore = "there are no threads")]
fn scans_look_ahead_into_nodes_that_change() {
    let (few, rounds) = if cfg!(miri) { (3, 3) } else { (10, 300) };
    let kept: Vec<u64> = (0..few * few * few)
        .map(|i| (i % few) << 50 | (i / few % few) << 31 | (i / few / few) << 13)
        .collect::<BTreeSet<u64>>()
        .into_iter()
        .collect();
    let tree: Tree = tree_of(kept.iter().copied());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = rng(18);
            while !stop.load(Ordering::Relaxed) {
                // Beside a kept entry, a node or two above it, or far from it.
                let near = kept[random.random_range(0..kept.len())];
                let index = near ^ 1 << [0, 3, 6, 12, 20, 36, 44, 55][random.random_range(0..8)];
                let p = tree.pin();
                if kept.binary_search(&index).is_err() && p.insert(index, Box::new(index)).is_some()
                {
                    p.remove(index);
                }
            }
        });
        let stop = SetOnDrop(&stop);
        let is_kept = |index: &u64| kept.binary_search(index).is_ok();
        let begun = Instant::now();
        // Where everything takes fifty times as long, some rounds must do.
        for round in (0..rounds).take_while(|round| *round < 4 || begun.elapsed() < ENOUGH) {
            let (p, mut found) = (tree.pin(), Vec::new());
            if round % 2 == 0 {
                p.iter()
                    .for_each(|(index, value)| found.extend((index == *value).then_some(index)));
            } else {
                found.extend(p.iter().rev().map(|(index, _)| index));
                found.reverse();
            }
            assert!(found.is_sorted_by(|a, b| a < b));
            found.retain(is_kept);
            assert_same(&found, &kept);
        }
        drop(stop);
    });
    assert_at_rest(&tree);
}
