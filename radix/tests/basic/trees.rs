//! Whole trees: making, walking and dropping them, handles, numbers.

use std::collections::BTreeSet;
use std::thread;

use crate::common::{BITS, Ledger, T0, Tree, add, add_tagged, assert_at_rest, indices, tree_of};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tagged_radix::{Inline, RadixTree, Tag, pin};

const POINTERS_64: bool = cfg!(target_pointer_width = "64");

static SHARED: Tree = Tree::new();

#[test]
fn a_tree_can_be_a_static() {
    crate::common::watch();
    let p = SHARED.pin();
    assert!(p.insert(1, Box::new(1)).is_none());
    assert_eq!(SHARED.len(), 1);
}

#[test]
fn len_and_is_empty_follow_the_entries() {
    crate::common::watch();
    let tree = Tree::default();
    assert!(tree.is_empty());
    for index in 0..200 {
        tree.pin().insert(index * 50, Box::new(index));
        assert_eq!((tree.len(), tree.is_empty()), (index + 1, false));
    }
    assert_eq!(tree.pin().remove_range(..), 200);
    assert_eq!((tree.len(), tree.is_empty()), (0, true));
}

#[test]
fn stats_count_nodes_and_bytes() {
    let tree = tree_of([0, 1 << BITS, 1 << (2 * BITS)]);
    let stats = tree.stats();
    assert_eq!((stats.entries, stats.leaves(), stats.inner_nodes(), stats.height), (3, 3, 2, 3));
    assert_eq!((stats.full_leaves, stats.compact_leaves), (0, 3));
    assert!(stats.bytes >= 2 * 64 + 3 * 24);
    let ratio = stats.bytes_per_entry() * 3.0 / f64::from(u32::try_from(stats.bytes).unwrap());
    assert!((ratio - 1.0).abs() < 1e-9);
    let empty = Tree::new().stats();
    assert_eq!(
        (empty.entries, empty.leaves(), empty.inner_nodes(), empty.height, empty.bytes),
        (0, 0, 0, 0, 0)
    );
    assert!(empty.bytes_per_entry().is_finite());
}

#[test]
fn an_entry_without_neighbours_takes_a_compact_leaf() {
    let tree = tree_of([1 << 40]);
    let pinned = tree.pin();
    assert_eq!((tree.stats().compact_leaves, tree.stats().bytes), (1, 24));
    // A neighbour makes it a full leaf, with the tags that it had.
    pinned.set_tag(1 << 40, Tag::T1);
    pinned.insert_tagged((1 << 40) + 1, Box::new(7), Tag::T2.into());
    let stats = tree.stats();
    assert_eq!((stats.compact_leaves, stats.full_leaves, stats.entries), (0, 1, 2));
    assert_eq!(pinned.tags(1 << 40), Some(Tag::T1.into()));
    assert_eq!(pinned.tags((1 << 40) + 1), Some(Tag::T2.into()));
    assert_eq!(tree.check(), Ok(()));
    // It stays one until it is empty.
    pinned.remove(1 << 40);
    assert_eq!(tree.stats().full_leaves, 1);
    pinned.remove((1 << 40) + 1);
    assert_eq!(tree.stats().leaves(), 0);
    assert!(!tree.any_tagged(Tag::T1) && !tree.any_tagged(Tag::T2));
}

#[test]
fn an_inner_node_takes_room_as_its_children_come() {
    // Far from index 0, so that the node is not the top of dense indices. Every entry is alone in its leaf.
    let at = |child: u64| 9 << 40 | child << (2 * BITS);
    let tree = tree_of([at(0), at(1)]);
    let pinned = tree.pin();
    let bytes_of_node = || {
        let stats = tree.stats();
        assert_eq!((stats.inner_nodes(), tree.check()), (1, Ok(())));
        stats.bytes - 24 * stats.compact_leaves
    };
    let mut sizes = vec![bytes_of_node()];
    for child in 2..1 << BITS {
        add_tagged(&pinned, at(child), T0);
        sizes.push(bytes_of_node());
    }
    sizes.dedup();
    if BITS == 6 {
        assert_eq!(sizes, if POINTERS_64 { [128, 256, 576] } else { [104, 184, 320] });
    }
    assert_eq!((tree.stats().full_inner_nodes, tree.stats().compact_inner_nodes), (1, 0));
    // It stays as large as it is, until it goes with its last child but one.
    (1..1 << BITS).for_each(|child| assert!(pinned.remove(at(child)).is_some()));
    assert_eq!((tree.stats().inner_nodes(), tree.check()), (0, Ok(())));
    pinned.insert(at(5), Box::new(5));
    assert_eq!(bytes_of_node(), sizes[0]);
}

#[test]
fn an_inner_node_whose_children_come_and_go_does_not_grow_for_good() {
    let at = |child: u64| 9 << 40 | child << (2 * BITS);
    let tree = tree_of([at(0), at(1)]);
    let pinned = tree.pin();
    for turn in 0..1000 {
        let child = 2 + turn * 5 % ((1 << BITS) - 2);
        add(&pinned, at(child));
        assert_eq!(pinned.remove(at(child)), Some(at(child)).as_ref());
        assert_eq!((tree.stats().compact_inner_nodes, tree.check()), (1, Ok(())));
    }
    assert_eq!(tree.stats().bytes - 2 * 24, if POINTERS_64 { 128 } else { 104 });
}

#[test]
fn inner_nodes_above_full_ones_become_full() {
    // The way to a dense range that was filled in no order, far from index 0, beside another entry: no small nodes are left.
    let tree = tree_of([1 << 60]);
    let pinned = tree.pin();
    let (base, step) = (1_u64 << 40, 4093);
    (0..1 << 14).for_each(|i| add(&pinned, base + i * step % (1 << 14)));
    let stats = tree.stats();
    assert_eq!((stats.compact_inner_nodes, tree.check()), (0, Ok(())));
    assert_eq!(stats.compact_leaves, 1);
}

#[test]
#[cfg_attr(radix_stress, ignore = "nodes have fewer slots there")]
fn a_small_node_over_full_leaves_becomes_full_when_it_has_no_place_left() {
    let tree = tree_of([1 << 60]);
    let pinned = tree.pin();
    (0..7 * 64).for_each(|i| add(&pinned, (1 << 40) + i));
    assert_eq!(tree.stats().full_inner_nodes, 1, "the top; seven children have their places");
    add(&pinned, (1 << 40) + 7 * 64);
    assert_eq!(tree.stats().full_inner_nodes, 2);
}

/// The memory of a tree with an entry at `index(i)` for each `i` below `count`.
fn bytes_per_entry(count: u64, index: impl Fn(u64) -> u64) -> f64 {
    let tree: RadixTree<Inline> = (0..count).map(|i| (index(i), Inline::new(i).unwrap())).collect();
    let stats = tree.stats();
    println!("{stats:?}: {:.1} bytes an entry", stats.bytes_per_entry());
    assert_eq!(stats.entries, count);
    stats.bytes_per_entry()
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "there are no threads")]
fn a_million_lonely_indices_take_the_bytes_that_are_documented() {
    crate::common::watch();
    let count = if cfg!(radix_chaos) { 1 << 14 } else { 1 << 20 };
    // The products of an odd factor are distinct and as far from each other as can be.
    let even = || bytes_per_entry(count, |i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    // Random ones come close to each other now and then, and each such pair needs a node of its own above it.
    let random = || {
        let mut rng = SmallRng::seed_from_u64(1);
        let indices: Vec<u64> = (0..count).map(|_| rng.random()).collect();
        bytes_per_entry(count, |i| indices[usize::try_from(i).unwrap()])
    };
    // Runs of 256 below 2^40.
    let clustered = || {
        let mut rng = SmallRng::seed_from_u64(2);
        let starts: BTreeSet<u64> =
            (0..count / 256).map(|_| rng.random_range(0..1 << 32)).collect();
        let runs: Vec<u64> = starts.iter().flat_map(|run| run * 256..(run + 1) * 256).collect();
        bytes_per_entry(runs.len() as u64, |i| runs[usize::try_from(i).unwrap()])
    };
    // They take some seconds each, of one thread.
    let (even, random, clustered) = thread::scope(|scope| {
        let (random, clustered) = (scope.spawn(random), scope.spawn(clustered));
        (even(), random.join().unwrap(), clustered.join().unwrap())
    });
    if count == 1 << 20 && BITS == 6 && POINTERS_64 {
        assert!((9.5..9.8).contains(&clustered), "{clustered}");
        assert!((40.0..41.0).contains(&even), "{even}");
        assert!((54.0..55.0).contains(&random), "{random}");
    }
}

#[test]
fn collecting_and_extending_insert_and_later_values_win() {
    let mut tree: Tree =
        [(1, Box::new(10)), (2, Box::new(20)), (1, Box::new(11))].into_iter().collect();
    tree.extend([(3, Box::new(30)), (2, Box::new(21))]);
    (&tree).extend([(4, Box::new(40))]);
    let p = tree.pin();
    let found: Vec<_> = p.into_iter().map(|(index, value)| (index, *value)).collect();
    assert_eq!(found, [(1, 11), (2, 21), (3, 30), (4, 40)]);
    assert_at_rest(&tree);
}

#[test]
fn into_iter_gives_entries_in_order_and_drops_the_rest() {
    crate::common::watch();
    let ledger = Ledger::new();
    let tree: RadixTree<_> =
        (0..200).map(|n| (n * 31, Box::new(ledger.value(n * 31, n)))).collect();
    let mut entries = tree.into_iter();
    for n in 0..100 {
        let (index, value) = entries.next().unwrap();
        assert_eq!((index, value.stamp_at(index)), (n * 31, n));
    }
    drop(entries);
    ledger.settle(0);
    assert_eq!(ledger.made(), 200);
}

#[test]
fn dropping_a_tree_drops_its_values_once() {
    crate::common::watch();
    let ledger = Ledger::new();
    let tree: RadixTree<_> =
        (0..1000).map(|n| (n << 20, Box::new(ledger.value(n << 20, n)))).collect();
    tree.pin().remove_range(..500 << 20);
    assert_eq!(tree.len(), 500);
    drop(tree);
    ledger.settle(0);
    assert_eq!(ledger.made(), 1000);
}

#[test]
fn debug_shows_the_entries() {
    let text = format!("{:?}", tree_of([7, 4242]));
    assert!(text.contains("4242") && text.contains('7'), "{text}");
    assert!(!format!("{:?}", Tree::new()).is_empty());
}

#[test]
fn handles_share_the_tree() {
    crate::common::watch();
    let tree = Tree::new();
    let (one, other) = (tree.pin(), tree.pin());
    one.insert(1, Box::new(1));
    assert_eq!(other.get(1), Some(&1));
    assert!(std::ptr::eq(one.tree(), other.tree()));
}

#[test]
fn one_guard_serves_many_trees() {
    let (first, second) = (tree_of([1]), tree_of([2]));
    let guard = pin();
    let (p, q) = (first.with_guard(&guard), second.with_guard(&guard));
    let (one, two) = (p.remove(1).unwrap(), q.remove(2).unwrap());
    drop((first.pin(), second.pin()));
    assert_eq!((*one, *two), (1, 2));
}

#[test]
fn repin_keeps_the_handle_usable() {
    let tree = tree_of(0..100);
    let mut p = tree.pin();
    for index in 0..100 {
        assert_eq!(p.remove(index), Some(&index));
        p.repin();
    }
    assert!(tree.is_empty());
    let guard = pin();
    let mut lent = tree.with_guard(&guard);
    lent.insert(1, Box::new(1));
    lent.repin();
    assert_eq!(lent.get(1), Some(&1));
}

#[test]
fn repin_lets_go_of_what_was_removed() {
    crate::common::watch();
    let ledger = Ledger::new();
    let tree = RadixTree::new();
    let mut p = tree.pin();
    for n in 0..1000 {
        p.insert(0, Box::new(ledger.value(0, n)));
    }
    let deadline = std::time::Instant::now() + crate::common::watchdog::patience();
    while ledger.live() > 1 {
        assert!(std::time::Instant::now() < deadline, "{} values alive", ledger.live());
        p.repin();
        pin().flush();
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    assert_eq!(p.get(0).map(|value| value.stamp_at(0)), Some(999));
}

#[test]
fn guards_can_be_repinned_and_flushed() {
    let mut guard = pin();
    guard.flush();
    guard.repin();
    let tree = tree_of([1]);
    assert_eq!(tree.with_guard(&guard).get(1), Some(&1));
}

#[test]
fn check_accepts_a_sound_tree() {
    let tree = Tree::new();
    assert!(tree.check().is_ok());
    let p = tree.pin();
    for n in 0..64 {
        add_tagged(&p, 1 << n, T0);
        assert!(tree.check().is_ok());
    }
    assert_eq!(indices(&p).len(), 64);
}
