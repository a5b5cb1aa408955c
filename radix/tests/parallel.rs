//! Parallel walks: what one thread's walk finds, the pieces of several find together.

#[path = "common/mod.rs"]
mod common;

use std::collections::BTreeSet;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::thread;

use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::common::{SetOnDrop, T0, T1, T2, T3, Tree, assert_at_rest, indices, tagged, tree_of};
use tagged_radix::{ArcRef, Inline, RadixTree, Tag, TagFilter, TagSet};

/// More threads than most machines for tests have: walks are cut more often.
static POOL: LazyLock<ThreadPool> =
    LazyLock::new(|| ThreadPoolBuilder::new().num_threads(4).build().expect("threads can be had"));

type Bounds = (Bound<u64>, Bound<u64>);
type Report = (u64, u64, TagSet);

const ALL: Bounds = (Bound::Unbounded, Bound::Unbounded);

fn sequential(tree: &Tree, bounds: Bounds, filter: TagFilter) -> Vec<Report> {
    let p = tree.pin();
    p.range_tagged(bounds, filter).map(|(index, value, tags)| (index, *value, tags)).collect()
}

fn parallel(tree: &Tree, bounds: Bounds, filter: TagFilter) -> Vec<Report> {
    let walk = tree.par_range_tagged(bounds, filter);
    POOL.install(|| walk.map_ref(|index, value, tags| (index, *value, tags)).collect())
}

fn assert_same(tree: &Tree, bounds: Bounds, filter: TagFilter) {
    assert_eq!(parallel(tree, bounds, filter), sequential(tree, bounds, filter));
    let plain: Vec<u64> =
        POOL.install(|| tree.par_range(bounds).map_ref(|index, _| index).collect());
    assert!(plain.into_iter().eq(tree.pin().range(bounds).map(|(index, _)| index)));
}

fn random(seed: u64, count: usize) -> impl Iterator<Item = u64> {
    let mut random = SmallRng::seed_from_u64(seed);
    (0..count).map(move |_| random.random())
}

/// A lone entry at every level beside one run of neighbours.
fn spine() -> impl Iterator<Item = u64> {
    (0..20_000).chain((15..64).map(|bit| 1 << bit)).chain([u64::MAX])
}

fn trees() -> Vec<(&'static str, Tree)> {
    let clusters = random(3, 60).flat_map(|at| (at & !255)..=(at | 255));
    vec![
        ("empty", tree_of([])),
        ("one", tree_of([77])),
        ("highest", tree_of([u64::MAX])),
        ("ends", tree_of([0, u64::MAX])),
        ("dense", tree_of(0..30_000)),
        ("dense at the end", tree_of(u64::MAX - 20_000..=u64::MAX)),
        ("sparse", tree_of(random(1, 3000).collect::<BTreeSet<_>>())),
        ("clustered", tree_of(clusters.collect::<BTreeSet<_>>())),
        ("spine", tree_of(spine())),
    ]
}

#[test]
fn parallel_walks_find_what_one_thread_finds() {
    let filters = [
        TagFilter::ANY,
        T0.into(),
        T3.into(),
        TagFilter::all_of(T0).and_none_of(T1),
        TagFilter::none_of(T0),
        TagFilter::all_of(T1).and_none_of(T1),
    ];
    for (name, tree) in trees() {
        println!("{name}");
        let all = indices(&tree.pin());
        for (at, index) in all.iter().enumerate() {
            if at % 100 == 7 {
                tree.pin().set_tag(*index, T0);
            }
            if at % 3 == 0 {
                tree.pin().set_tag(*index, T1);
            }
        }
        let middle = all.get(all.len() / 2).copied().unwrap_or(5);
        let bounds = [
            ALL,
            (Bound::Included(middle), Bound::Unbounded),
            (Bound::Excluded(middle), Bound::Unbounded),
            (Bound::Unbounded, Bound::Excluded(middle)),
            (Bound::Included(100), Bound::Included(10_000)),
            (Bound::Included(u64::MAX), Bound::Included(u64::MAX)),
            (Bound::Included(9), Bound::Excluded(9)),
            (Bound::Excluded(u64::MAX), Bound::Unbounded),
        ];
        for bounds in bounds {
            for filter in filters {
                assert_same(&tree, bounds, filter);
            }
        }
    }
}

#[test]
fn pieces_ascend_and_are_several() {
    for (name, tree) in [("dense", tree_of(0..100_000)), ("spine", tree_of(spine()))] {
        let walk = tree.par_iter().map_ref(|index, _| index);
        let pieces: Vec<Vec<u64>> = POOL.install(|| {
            let gather = |mut piece: Vec<u64>, index| {
                piece.push(index);
                piece
            };
            walk.fold(Vec::new, gather).collect()
        });
        assert!(pieces.len() > 2, "{name}: {} pieces", pieces.len());
        let longest = pieces.iter().map(Vec::len).max().unwrap_or(0);
        let total = pieces.iter().map(Vec::len).sum::<usize>();
        assert!(longest * 4 <= total * 3, "{name}: one piece has {longest} of {total}");
        assert!(pieces.into_iter().flatten().eq(indices(&tree.pin())));
    }
}

#[test]
fn small_trees_are_not_cut() {
    let tree = tree_of(0..if cfg!(radix_stress) { 16 } else { 4096 });
    let pieces =
        POOL.install(|| tree.par_iter().map_ref(|_, _| ()).fold(|| 0, |n, ()| n + 1).count());
    assert_eq!(pieces, 1);
}

#[test]
fn owned_items_for_values_that_can_be_cloned() {
    let numbers: RadixTree<Inline> = (0..9000).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    assert_eq!((&numbers).into_par_iter().count(), 9000);
    assert_eq!(numbers.par_iter().map(|(index, value)| index + value.get()).max(), Some(2 * 8999));

    static WORDS: [&str; 2] = ["even", "odd"];
    let words: RadixTree<&'static &'static str> =
        (0..9000).map(|i| (i, &WORDS[usize::from(i % 2 == 1)])).collect();
    assert_eq!(words.par_range(..5000).filter(|(_, word)| **word == "odd").count(), 2500);

    let handles: RadixTree<Arc<u64>> = (0..9000).map(|i| (i, Arc::new(i))).collect();
    handles.pin().tag_range(8000.., T2, TagSet::EMPTY);
    let owned: Vec<(u64, Arc<u64>, TagSet)> = handles.par_range_tagged(.., T2).collect();
    drop(handles);
    assert_eq!(owned.len(), 1000);
    assert!(
        owned.iter().all(|(index, value, tags)| index == &**value && *tags == TagSet::from(T2))
    );
    let lent: RadixTree<Arc<u64>> = (0..10).map(|i| (i, Arc::new(i))).collect();
    assert_eq!(lent.par_iter().map_ref(|_, value| *ArcRef::get(value)).sum::<u64>(), 45);
}

#[test]
fn an_item_is_found_early_and_the_walk_ends() {
    let (tree, made) = (tree_of(0..200_000), AtomicUsize::new(0));
    let walk = tree.par_iter().map_ref(|index, _| {
        made.fetch_add(1, Relaxed);
        index
    });
    assert!(POOL.install(|| walk.find_any(|index| *index < 50_000)).is_some());
    assert!(made.into_inner() < 200_000);
}

#[test]
fn a_panic_in_user_code_reaches_the_caller() {
    let tree = tree_of(0..50_000);
    for place in ["under the guard", "behind it"] {
        let walk = tree.par_range_tagged(.., TagFilter::ANY).map_ref(|index, _, _| {
            assert!(place != "under the guard" || index != 33_333, "as the test wants it");
            index
        });
        let run = || POOL.install(|| walk.for_each(|index| assert!(index != 33_333)));
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err(), "{place}");
        assert_at_rest(&tree);
        assert_same(&tree, ALL, TagFilter::ANY);
    }
}

/// Counts the drops of values.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn no_guard_is_held_behind_the_walk() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let tree: RadixTree<Box<Counted>> =
        (0..100).map(|i| (i, Box::new(Counted(Arc::clone(&dropped))))).collect();
    let pool = ThreadPoolBuilder::new().num_threads(1).build().expect("a thread can be had");
    pool.install(|| {
        tree.par_iter().map_ref(|index, _| index).for_each(|index| {
            let before = dropped.load(Relaxed);
            tree.pin().remove(index);
            // Other tests pin as well, for a moment each.
            while dropped.load(Relaxed) == before {
                tagged_radix::pin().flush();
                thread::yield_now();
            }
        });
    });
    assert_eq!(dropped.load(Relaxed), 100);
}

#[test]
fn a_walk_can_start_another() {
    let tree = tree_of(0..20_000);
    let sum = POOL.install(|| {
        let outer = tree.par_range(..8).map_ref(|index, _| index);
        outer.map(|_| tree.par_iter().map_ref(|_, value| *value).sum::<u64>()).sum::<u64>()
    });
    assert_eq!(sum, 8 * (20_000 * 19_999 / 2));
}

#[test]
fn what_stays_is_reported_once_while_others_write() {
    // An entry that passes during the whole walk is in exactly one piece.
    let tree: Tree = RadixTree::new();
    let spread = |i: u64| if i % 512 < 256 { i } else { i << 40 };
    let stay: BTreeSet<u64> = (0..40_000).step_by(4).map(spread).collect();
    for index in &stay {
        tree.pin().insert_tagged(*index, Box::new(*index), T0.into());
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 1..=2 {
            let (tree, done) = (&tree, &done);
            scope.spawn(move || {
                let mut random = SmallRng::seed_from_u64(writer);
                while !done.load(Relaxed) {
                    let (mine, any) = (
                        random.random_range(0..10_000) * 4 + writer,
                        random.random_range(0..40_000),
                    );
                    let p = tree.pin();
                    if random.random() {
                        p.insert_tagged(spread(mine), Box::new(spread(mine)), T0.into());
                    } else {
                        p.remove(spread(mine));
                    }
                    p.update_tags(spread(any), T1, T2);
                    p.update_tags(spread(any), T2, T1);
                }
            });
        }
        // Also when a walk is wrong: the writers must not go on for ever.
        let _ends = SetOnDrop(&done);
        for _ in 0..if cfg!(debug_assertions) { 20 } else { 100 } {
            for filter in [TagFilter::all_of(T0), TagFilter::ANY] {
                let found = parallel(&tree, ALL, filter);
                assert!(found.is_sorted_by(|a, b| a.0 < b.0), "ascending, each once");
                assert!(
                    found
                        .iter()
                        .all(|(index, value, tags)| index == value && filter.matches(*tags))
                );
                let indices: BTreeSet<u64> = found.into_iter().map(|(index, ..)| index).collect();
                assert!(indices.is_superset(&stay));
            }
        }
    });
    assert_at_rest(&tree);
}

#[test]
fn the_tags_of_an_entry_are_read_at_one_instant() {
    // Each entry has one of two tags throughout, never both.
    let tree: Tree = RadixTree::new();
    for index in 0..256 {
        tree.pin().insert_tagged(index, Box::new(index), T1.into());
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let p = tree.pin();
            while !done.load(Relaxed) {
                for index in 0..256 {
                    p.update_tags(index, T2, T1);
                    p.update_tags(index, T1, T2);
                }
            }
        });
        let _ends = SetOnDrop(&done);
        for _ in 0..5_000 {
            for (index, _, tags) in parallel(&tree, ALL, TagFilter::ANY) {
                assert_ne!(tags.contains(T1), tags.contains(T2), "{index}: {tags:?}");
            }
        }
    });
    assert_at_rest(&tree);
}

fn index() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..20_000_u64,
        2 => (0..64_u32, 0..200_u64).prop_map(|(bit, low)| (1 << bit) | low),
        2 => any::<u64>(),
        1 => (0..500_u64).prop_map(|below| u64::MAX - below),
    ]
}

fn bound() -> impl Strategy<Value = Bound<u64>> {
    prop_oneof![
        Just(Bound::Unbounded),
        index().prop_map(Bound::Included),
        index().prop_map(Bound::Excluded)
    ]
}

fn tags() -> impl Strategy<Value = TagSet> {
    proptest::collection::vec(0..4_u8, 0..3)
        .prop_map(|tags| tags.into_iter().filter_map(Tag::new).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 96 } else { 400 }))]

    #[test]
    fn any_range_and_filter(
        runs in proptest::collection::vec((index(), 1..600_u64, tags()), 0..40),
        lone in proptest::collection::vec((index(), tags()), 0..400),
        bounds in (bound(), bound()),
        all in tags(),
        none in tags(),
    ) {
        let tree = Tree::new();
        let runs = runs.into_iter().flat_map(|(at, length, tags)| {
            (at..at.saturating_add(length)).map(move |index| (index, tags))
        });
        for (index, tags) in runs.chain(lone) {
            tree.pin().insert_tagged(index, Box::new(index), tags);
        }
        let filter = TagFilter::all_of(all).and_none_of(none);
        for filter in [TagFilter::ANY, filter] {
            prop_assert_eq!(parallel(&tree, bounds, filter), sequential(&tree, bounds, filter));
        }
        let plain: Vec<u64> = POOL.install(|| tree.par_range(bounds).map_ref(|_, value| *value).collect());
        prop_assert!(plain.into_iter().eq(tree.pin().range(bounds).map(|(index, _)| index)));
        prop_assert!(tagged(&tree.pin(), filter).len() >= parallel(&tree, bounds, filter).len());
    }
}

#[test]
fn a_walk_takes_both_ends_of_its_range_wherever_they_lie() {
    let edges =
        [0, 1, 63, 64, 65, 127, 128, 129, 191, 192, 193, 4095, 4096, 4097, 12_288, u64::MAX];
    let lone = edges.into_iter().filter(|at| at % 64 == 0 || at % 64 == 63);
    for tree in
        [tree_of(0..20_000), tree_of(lone), tree_of(random(4, 500).collect::<BTreeSet<_>>())]
    {
        for index in tree.pin().iter().map(|(index, _)| index).step_by(2) {
            tree.pin().set_tag(index, T0);
        }
        for low in edges {
            for high in edges.into_iter().filter(|high| *high >= low) {
                let bounds = (Bound::Included(low), Bound::Included(high));
                assert_same(&tree, bounds, TagFilter::ANY);
                assert_same(&tree, bounds, T0.into());
            }
        }
    }
}

#[test]
fn a_guard_is_let_go_of_after_some_hundred_items() {
    let tree = tree_of(0..20_000);
    let (ahead, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let pool = ThreadPoolBuilder::new().num_threads(1).build().expect("a thread can be had");
    let items = tree.par_iter().map_ref(|index, _| {
        most.fetch_max(ahead.fetch_add(1, Relaxed) + 1, Relaxed);
        index
    });
    pool.install(|| {
        items.for_each(|_| {
            ahead.fetch_sub(1, Relaxed);
        })
    });
    let most = most.into_inner();
    assert!((256..256 + 64).contains(&most), "{most} items were made under one guard");
}
