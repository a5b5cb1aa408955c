//! That a root flag rose is told to the call that made it rise, once; that it fell, to a call that changes the tree.

use crate::common::{NONE, T0, T1, T2, T3, Tree, add, add_tagged, assert_untagged};
use tagged_radix::{ArrayVec, Pinned, TagFilter, TagSet, TreeEdges};

fn edges(tagged: impl Into<TagSet>, untagged: impl Into<TagSet>) -> (TagSet, TagSet) {
    (tagged.into(), untagged.into())
}

fn of(edges: TreeEdges) -> (TagSet, TagSet) {
    assert_eq!(edges.is_empty(), edges.tagged.is_empty() && edges.untagged.is_empty());
    (edges.tagged, edges.untagged)
}

fn taken(p: &Pinned<'_, Box<u64>>) -> (TagSet, TagSet) {
    let found = of(p.take_edges());
    assert!(p.take_edges().is_empty(), "told once");
    found
}

#[test]
fn first_set_is_told_and_the_next_one_after_a_look() {
    let tree = Tree::new();
    let p = tree.pin();
    add(&p, 1);
    add(&p, 5000);
    assert_eq!(taken(&p), edges(NONE, NONE));
    p.set_tag(1, T0);
    assert_eq!(taken(&p), edges(T0, NONE));
    p.set_tag(5000, T0);
    p.set_tag(5000, T0);
    p.clear_tag(1, T0);
    assert_eq!(taken(&p), edges(NONE, NONE), "5000 has it still");
    p.clear_tag(5000, T0);
    p.clear_tag(5000, T0);
    p.set_tag(1, T0);
    p.clear_tag(1, T0);
    assert_eq!(taken(&p), edges(NONE, NONE), "nobody has looked");
    assert!(tree.any_tagged(T0));
    assert_untagged(&tree, T0);
    assert_eq!(taken(&p), edges(NONE, NONE), "whoever looks has changed no entry");
    p.set_tag(1, T0);
    assert_eq!(taken(&p), edges(T0, NONE));
    p.clear_tag(1, T0);
    p.tag_range(.., NONE, T0);
    assert_eq!(taken(&p), edges(NONE, T0), "a change of a range looks for itself");
    assert!(!tree.any_tagged(T0));
}

#[test]
fn every_walk_for_a_tag_heals() {
    crate::common::watch();
    type Walk = fn(&Tree, &Pinned<'_, Box<u64>>);
    let walks: [(&str, Walk); 9] = [
        ("a small batch", |_, p| {
            assert_eq!(p.gang_lookup_tagged(0, T0, &mut ArrayVec::<_, 4>::new()), None)
        }),
        ("a large batch", |_, p| {
            assert_eq!(p.gang_lookup_tagged(0, T0, &mut ArrayVec::<_, 256>::new()), None)
        }),
        ("entries of a range", |_, p| {
            assert_eq!(p.gang_lookup_range(.., T0, 9, &mut Vec::new()), None)
        }),
        ("an iterator", |_, p| assert!(p.range_tagged(.., T0).next().is_none())),
        ("one from the end", |_, p| assert!(p.range_tagged(.., T0).next_back().is_none())),
        ("all at once", |_, p| p.range_tagged(.., T0).for_each(drop)),
        ("a count", |_, p| assert_eq!(p.count_tagged(.., T0), 0)),
        ("a copy", |_, p| assert_eq!(p.tag_range_if_tagged(.., T0, T1, 9).count, 0)),
        ("a cursor", |tree, _| assert!(tree.cursor().next_tagged(T0).is_none())),
    ];
    let tree = Tree::new();
    let p = tree.pin();
    // Leaves of two entries and more, and of one, in nodes with others and alone.
    for index in [1, 2, 70, 5000, 1 << 40, (1 << 40) + 1, u64::MAX] {
        add(&p, index);
    }
    for (name, walk) in walks {
        for index in [1, 70, 5000, (1 << 40) + 1, u64::MAX] {
            p.set_tag(index, T0);
            p.clear_tag(index, T0);
        }
        assert!(tree.any_tagged(T0), "{name}: nobody has looked");
        walk(&tree, &p);
        assert!(!tree.any_tagged(T0), "{name}");
        assert_eq!(tree.stats().stale_summaries, 0, "{name}");
    }
}

#[test]
fn edges_gather_until_they_are_taken() {
    crate::common::watch();
    let tree = Tree::new();
    let p = tree.pin();
    add_tagged(&p, 1, T0);
    p.set_tag(1, T1);
    p.tag_range(.., NONE, T1);
    assert_eq!(taken(&p), edges(TagSet::of(&[T0, T1]), T1));
}

#[test]
fn update_tags_tells_its_own_edges() {
    crate::common::watch();
    let tree = Tree::new();
    let p = tree.pin();
    add_tagged(&p, 1, T0);
    p.take_edges();
    let update = p.update_tags(1, T1, T0).unwrap();
    assert_eq!(of(update.tree_edges), edges(T1, NONE));
    let update = p.update_tags(1, T1, T0).unwrap();
    assert!(update.tree_edges.is_empty());
}

#[test]
fn edges_of_other_handles_are_not_told() {
    crate::common::watch();
    let tree = Tree::new();
    let (p, other) = (tree.pin(), tree.pin());
    add_tagged(&p, 1, T0);
    assert!(other.take_edges().is_empty());
    other.remove(1);
    assert_eq!(taken(&p), edges(T0, NONE));
    assert_eq!(taken(&other), edges(NONE, T0));
}

#[test]
fn every_call_that_changes_tags_tells_its_edges() {
    crate::common::watch();
    let tree = Tree::new();
    let p = tree.pin();
    let both = TagSet::of(&[T0, T1]);
    p.insert_tagged(1, Box::new(1), both);
    assert_eq!(taken(&p), edges(both, NONE), "insert_tagged");
    p.insert(1, Box::new(2));
    assert_eq!(taken(&p), edges(NONE, NONE), "insert");
    p.insert_tagged(1, Box::new(2), T2.into());
    assert_eq!(taken(&p), edges(T2, NONE), "insert_tagged over an entry");
    p.update(1, |slot| {
        slot.set(T3);
        slot.clear(both);
    });
    assert_eq!(taken(&p), edges(T3, NONE), "update");
    p.update(1, |slot| slot.remove());
    assert_eq!(taken(&p), edges(NONE, TagSet::ALL), "update that removes the last of a leaf");
    assert!(p.try_insert_tagged(1, Box::new(1), T0.into()).is_ok());
    assert_eq!(taken(&p), edges(T0, NONE), "try_insert_tagged");
    p.tag_range_if_tagged(.., T0, T1, 5);
    assert_eq!(taken(&p), edges(T1, NONE), "tag_range_if_tagged");
    p.tag_range(.., T2, both);
    assert_eq!(taken(&p), edges(T2, both), "tag_range");
    assert!(p.remove_if(1, |_, _| true).is_ok());
    assert_eq!(taken(&p), edges(NONE, T2), "remove_if");
    add_tagged(&p, 1, T0);
    add_tagged(&p, 9000, T1);
    p.take_edges();
    p.remove_range(0..10);
    assert_eq!(taken(&p), edges(NONE, T0), "remove_range");
    p.retain(|_, _, tags| TagFilter::none_of(T1).matches(tags));
    assert_eq!(taken(&p), edges(NONE, T1), "retain");
}

#[test]
fn insertions_leave_no_summary_over_nothing() {
    let tree = Tree::new();
    let p = tree.pin();
    // Beside each comes one with the tag: in a new top, between two nodes, in the same leaf.
    for index in [0, 1 << 40, 1 << 20, 1 << 30, 1, 64] {
        add(&p, index);
        add_tagged(&p, index + 4096, T0);
        assert_eq!(tree.stats().stale_summaries, 0, "{index}");
    }
    p.clear_tag(4096 + 64, T0);
    assert!(tree.stats().stale_summaries > 0);
    assert_eq!(p.count_tagged(.., T0), 5);
    assert_eq!(tree.stats().stale_summaries, 0, "a walk has passed");
}
