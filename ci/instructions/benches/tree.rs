//! What `ci/instructions.sh` counts under callgrind: the instructions of each case, by the operation.

use std::hint::black_box;

use instructions::case;
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use tagged_radix::{ArrayVec, Inline, Pinned, RadixTree, Tag, TagSet};

type Tree = RadixTree<Inline>;

const DENSE: u64 = 1 << 16;
const FEW: u64 = 1 << 12;
const T0: Tag = Tag::T0;
const T1: Tag = Tag::T1;

/// Has a result worked out that nobody uses.
fn see<T>(result: T) {
    black_box(result);
}

/// The same with an operation on each of `indices`, all under one guard.
fn each(name: &str, tree: &Tree, indices: &[u64], operation: impl Fn(&Pinned<'_, Inline>, u64)) {
    let pinned = tree.pin();
    case(name, indices.len() as u64, || {
        indices.iter().for_each(|index| operation(&pinned, *index))
    });
}

fn tree_of(indices: impl IntoIterator<Item = u64>) -> Tree {
    indices.into_iter().map(|index| (index, Inline::default())).collect()
}

/// Tags one in a hundred entries.
fn tag_some(tree: &Tree) {
    (0..DENSE).step_by(100).for_each(|index| assert_eq!(tree.pin().set_tag(index, T0), Some(true)));
}

/// `count` indices below `limit`, in no order.
fn below(limit: u64, count: u64) -> Vec<u64> {
    let mut random = SmallRng::seed_from_u64(limit);
    (0..count).map(|_| random.random_range(0..limit)).collect()
}

/// `indices`, in no order.
fn shuffled(indices: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut indices: Vec<u64> = indices.into_iter().collect();
    indices.shuffle(&mut SmallRng::seed_from_u64(5));
    indices
}

fn lookups() {
    let (tree, indices) = (tree_of(0..DENSE), below(DENSE, FEW));
    each("get", &tree, &indices, |p, index| see(p.get(index)));
    each("get_with_tags", &tree, &indices, |p, index| see(p.get_with_tags(index)));
    case("get_guard_each", FEW, || {
        indices.iter().for_each(|index| see(tree.pin().get(*index)));
    });
    let gaps = tree_of((0..DENSE).step_by(2));
    let odd: Vec<u64> = indices.iter().map(|index| index | 1).collect();
    each("get_miss", &gaps, &odd, |p, index| see(p.get(index)));
    let mut random = SmallRng::seed_from_u64(1);
    let sparse: Vec<u64> = (0..FEW).map(|_| random.random()).collect();
    // Runs of 256 at random places.
    let runs: Vec<u64> = sparse.iter().map(|place| place >> 24 & !255).collect();
    let clustered: Vec<u64> = runs.iter().take(64).flat_map(|run| *run..run + 256).collect();
    let some = shuffled(clustered.iter().copied().step_by(4));
    each("get_clustered", &tree_of(clustered), &some, |p, index| see(p.get(index)));
    each("get_sparse", &tree_of(sparse.clone()), &shuffled(sparse), |p, index| {
        black_box(p.get(index));
    });
}

fn tags() {
    let (tree, indices) = (tree_of(0..DENSE), below(DENSE, FEW));
    each("set_clear_clean", &tree, &indices, |p, index| {
        see(p.set_tag(index, T0));
        see(p.clear_tag(index, T0));
    });
    // The summaries of all leaves stand over nothing: what the first walk after that pays a leaf, once.
    let pinned = tree.pin();
    pinned.tag_range(.., T0, TagSet::EMPTY);
    (0..DENSE).for_each(|index| see(pinned.update_tags(index, TagSet::EMPTY, T0)));
    case("walk_in_vain_leaf", DENSE / 64, || see(pinned.count_tagged(.., T0)));
    assert!(!tree.any_tagged(T0));
    // Every leaf keeps an entry with the tag: the first one of each, which the pairs leave alone.
    (0..DENSE).step_by(64).for_each(|index| assert_eq!(tree.pin().set_tag(index, T0), Some(true)));
    let others: Vec<u64> = indices.iter().map(|index| index | 1).collect();
    each("set_clear_among_tagged", &tree, &others, |p, index| {
        see(p.set_tag(index, T0));
        see(p.clear_tag(index, T0));
    });
    let set: Vec<u64> = indices.iter().map(|index| index & !63).collect();
    each("set_again", &tree, &set, |p, index| see(p.set_tag(index, T0)));
}

fn scans() {
    let tree = tree_of(0..DENSE);
    tag_some(&tree);
    let (pinned, tagged) = (tree.pin(), DENSE.div_ceil(100));
    case("iterate", DENSE, || pinned.iter().for_each(see));
    let mut random = SmallRng::seed_from_u64(2);
    let sparse = tree_of((0..DENSE).map(|_| random.random()));
    let lone = sparse.pin();
    case("iterate_sparse", DENSE, || lone.iter().for_each(see));
    case("walk_tagged", tagged, || {
        pinned.range_tagged(.., T0).for_each(see);
    });
    case("gang_lookup", DENSE, || {
        let mut next = Some(0);
        while let Some(start) = next {
            let mut batch = ArrayVec::<_, 16>::new();
            next = black_box(&pinned).gang_lookup(start, &mut batch);
            black_box(batch);
        }
    });
    case("gang_lookup_tagged", tagged, || {
        let mut next = Some(0);
        while let Some(start) = next {
            let mut batch = ArrayVec::<_, 16>::new();
            next = black_box(&pinned).gang_lookup_tagged(start, T0, &mut batch);
            black_box(batch);
        }
    });
    // By the leaf: these work on words of 64 entries.
    pinned.tag_range(.., T0, TagSet::EMPTY);
    case("count_tagged_leaf", DENSE / 64, || see(pinned.count_tagged(.., T0)));
    case("tag_range_if_tagged_leaf", DENSE / 64, || {
        black_box(pinned.tag_range_if_tagged(.., T0, T1, u64::MAX));
    });
}

fn changes() {
    let (tree, order) = (Tree::new(), shuffled(0..DENSE));
    let ascending: Vec<u64> = (0..DENSE).collect();
    each("insert_sequential", &tree, &ascending, |p, index| {
        black_box(p.insert(index, Inline::default()));
    });
    each("insert_over", &tree, &order, |p, index| see(p.insert(index, Inline::default())));
    each("remove", &tree, &order, |p, index| see(p.remove(index)));
    each("insert_random", &tree, &order, |p, index| {
        black_box(p.insert(index, Inline::default()));
    });
}

fn numbers() {
    let tree = Tree::new();
    let ascending: Vec<u64> = (0..3 * DENSE).collect();
    each("absent_sequential", &tree, &ascending, |p, _| {
        black_box(p.insert_at_absent(.., Inline::default()).is_ok());
    });
    let freed = below(3 * DENSE, FEW);
    each("absent_after_remove", &tree, &freed, |p, index| {
        see(p.remove(index));
        black_box(p.insert_at_absent(.., Inline::default()).is_ok());
    });
}

/// A tree does not get slower by what it once held: these come in pairs, which the script holds against each other.
fn histories() {
    let kept: Vec<u64> = shuffled((0..DENSE).filter(|index| index % 4096 < 64));
    let fresh = tree_of(kept.iter().copied());
    let aged = tree_of(0..1 << 20);
    aged.pin().tag_range(.., TagSet::ALL, TagSet::EMPTY);
    aged.pin().retain(|index, _, _| index < DENSE && index % 4096 < 64);
    aged.pin().tag_range(.., TagSet::EMPTY, TagSet::ALL);
    for (tree, age) in [(&fresh, "fresh"), (&aged, "aged")] {
        each(&format!("history_get/{age}"), tree, &kept, |p, index| see(p.get(index)));
        each(&format!("history_set_clear/{age}"), tree, &kept, |p, index| {
            see(p.set_tag(index, T0));
            see(p.clear_tag(index, T0));
        });
        kept.iter().step_by(100).for_each(|index| see(tree.pin().set_tag(*index, T0)));
        let pinned = tree.pin();
        let count = pinned.count_tagged(.., T0);
        case(&format!("history_walk_tagged/{age}"), count, || {
            pinned.range_tagged(.., T0).for_each(see);
        });
    }
}

fn main() {
    lookups();
    tags();
    scans();
    changes();
    numbers();
    histories();
}
