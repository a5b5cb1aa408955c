//! The whole-tree checker, one function per invariant, and the statistics that come from the same traversal.

use super::link::above::Tree;
use super::link::child::Child;
use super::link::leaf::Leaf;
use super::node::edge::Edge;
use super::node::full::Node;
use super::node::group;
use super::node::index::{self, FANOUT, bit};
use super::node::inner::Inner;
use super::node::single::Single;
use crate::check::{Invariant, Violation};
use crate::reclaim::Guard;
use crate::stats::Stats;
use crate::tag::Tag;

/// One link of the tree, with what both ends say about it.
struct Link<'g> {
    /// `None` is the root.
    parent: Option<Inner<'g>>,
    offset: usize,
    edge: Edge,
    child: Child<'g>,
}

/// A check of one link and its child.
type Check = fn(&Tree, &Link<'_>) -> Result<(), String>;

const CHECKS: [(Invariant, Check); 12] = [
    (Invariant::Edge, edge_matches_target),
    (Invariant::Prefix, child_lies_in_its_slot),
    (Invariant::Parent, parent_field_is_exact),
    (Invariant::Dead, linked_nodes_are_alive),
    (Invariant::Lock, locks_are_free),
    (Invariant::Place, places_are_sound),
    (Invariant::Present, present_bits_are_exact),
    (Invariant::Branch, inner_nodes_branch),
    (Invariant::Solid, solid_bits_are_true),
    (Invariant::TagUp, tags_have_summaries),
    (Invariant::TagDown, summaries_have_children),
    (Invariant::TagOccupied, tags_sit_on_entries),
];

impl Tree {
    /// Checks every invariant that can be seen from outside. Exact only while nobody writes, or walks for a tag.
    pub(crate) fn check(&self, guard: &Guard) -> Result<(), Violation> {
        if self.root_edge().is_null() {
            for tag in Tag::all() {
                if self.any_tagged(tag) {
                    let detail = format!("root flag {tag:?} is set and the tree is empty");
                    return Err(Violation::new(Invariant::TagDown, detail));
                }
            }
        }
        if Tag::all().iter().any(|&tag| self.root.tags.load(tag) > 1) {
            let detail = "a root flag has more than one bit".to_string();
            return Err(Violation::new(Invariant::TagDown, detail));
        }
        if self.root.lock.is_locked() {
            return Err(Violation::new(Invariant::Lock, "the root is locked".to_string()));
        }
        self.visit(guard, &mut |link| {
            for (invariant, check) in CHECKS {
                check(self, link).map_err(|detail| Violation::new(invariant, detail))?;
            }
            Ok(())
        })
    }

    /// What the tree consists of, counted while others may write.
    pub(crate) fn stats(&self, guard: &Guard) -> Stats {
        let mut stats = Stats::default();
        let counted: Result<(), Violation> = self.visit(guard, &mut |link| {
            if link.parent.is_none() {
                stats.height = u32::from(link.child.level()) + 1;
            }
            stats.stale_summaries +=
                Tag::all().iter().filter(|tag| is_stale(self, link, **tag)).count() as u64;
            let (counter, bytes) = match link.child {
                Child::Leaf(Leaf::Single(_)) => (&mut stats.compact_leaves, Single::BYTES),
                Child::Leaf(Leaf::Full(_)) => (&mut stats.full_leaves, Node::BYTES),
                Child::Inner(node) if node.is_full() => (&mut stats.full_inner_nodes, node.bytes()),
                Child::Inner(node) => (&mut stats.compact_inner_nodes, node.bytes()),
            };
            *counter += 1;
            stats.bytes += bytes as u64;
            if let Child::Leaf(leaf) = link.child {
                stats.entries += u64::from(leaf.present().count_ones());
            }
            Ok(())
        });
        debug_assert!(counted.is_ok(), "counting finds no fault");
        stats
    }

    /// Shows every link to `see`, parents before children.
    fn visit<'g>(
        &'g self,
        guard: &'g Guard,
        see: &mut dyn FnMut(&Link<'g>) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let mut todo = vec![(None, 0, self.root_edge())];
        while let Some((parent, offset, edge)) = todo.pop() {
            if edge.is_null() {
                continue;
            }
            // SAFETY: not null, and read under `guard`.
            let child = unsafe { Child::of(edge, guard) };
            see(&Link { parent, offset, edge, child })?;
            if let Child::Inner(node) = child {
                todo.extend((0..FANOUT).map(|offset| (Some(node), offset, node.edge(offset))));
            }
        }
        Ok(())
    }
}

fn fail_unless(holds: bool, link: &Link<'_>, what: &str) -> Result<(), String> {
    if holds {
        return Ok(());
    }
    Err(format!("{what} (node of level {} from index {})", link.child.level(), link.child.first()))
}

fn edge_matches_target(_: &Tree, link: &Link<'_>) -> Result<(), String> {
    let Some(child) = link.child.header() else { return Ok(()) };
    let skip = link.parent.map_or(child.prefix() != 0, |parent| child.level() + 1 < parent.level());
    let small = child.lines() > 0;
    let (edge, level) = (link.edge, child.level());
    fail_unless(edge.level() == level, link, "an edge has another level than its target")?;
    fail_unless(edge.is_small() == small, link, "an edge says the wrong kind of its target")?;
    fail_unless(edge.skips() == (skip || small), link, "an edge has the wrong SKIP bit")
}

fn child_lies_in_its_slot(_: &Tree, link: &Link<'_>) -> Result<(), String> {
    let Some(parent) = link.parent else { return Ok(()) };
    let base = link.child.first();
    let inside = parent.covers(base) && index::offset(base, parent.level()) == link.offset;
    fail_unless(link.child.level() < parent.level(), link, "a child is not below its parent")?;
    fail_unless(inside, link, "a child lies outside its slot")
}

fn parent_field_is_exact(_: &Tree, link: &Link<'_>) -> Result<(), String> {
    let Some(child) = link.child.header() else { return Ok(()) };
    let expected = link.parent.map_or(core::ptr::null_mut(), |node| node.pointer().as_ptr());
    fail_unless(child.parent() == expected, link, "a child names another parent")
}

fn linked_nodes_are_alive(_: &Tree, link: &Link<'_>) -> Result<(), String> {
    fail_unless(!link.child.died(), link, "a dead node is linked")
}

fn locks_are_free(_: &Tree, link: &Link<'_>) -> Result<(), String> {
    fail_unless(!link.child.is_locked(), link, "a node is locked")
}

fn places_are_sound(_: &Tree, link: &Link<'_>) -> Result<(), String> {
    let Child::Inner(node) = link.child else { return Ok(()) };
    fail_unless(node.places_are_sound(), link, "an offset has two places, or a free place an edge")
}

fn present_bits_are_exact(_: &Tree, link: &Link<'_>) -> Result<(), String> {
    let child = link.child;
    let occupied = |&offset: &usize| match child {
        Child::Inner(node) => !node.edge(offset).is_null(),
        Child::Leaf(Leaf::Full(leaf)) => leaf.value(offset).is_some(),
        Child::Leaf(single) => single.present() & bit(offset) != 0,
    };
    let word = (0..FANOUT).filter(occupied).fold(0, |word, offset| word | bit(offset));
    fail_unless(child.present() == word, link, "present bits differ from the slots")
}

fn solid_bits_are_true(_: &Tree, link: &Link<'_>) -> Result<(), String> {
    let solid = link.child.header().map_or(0, |header| header.solid());
    let claimed = (0..FANOUT).filter(|&offset| solid & group::of(offset) != 0);
    let slots = claimed.fold(0, |word, offset| word | bit(offset));
    fail_unless(slots & !link.child.present() == 0, link, "a solid bit is set over an empty slot")?;
    let whole = link.child.level() > 0 || solid == 0 || solid == group::ALL;
    fail_unless(whole, link, "a leaf is marked as solid in part")?;
    let Some(parent) = link.parent else { return Ok(()) };
    let holds = parent.solid() & group::of(link.offset) == 0
        || link.edge.leads_to(parent.level() - 1) && solid == group::ALL;
    fail_unless(holds, link, "a solid bit is set over a child that is not solid")
}

fn inner_nodes_branch(_: &Tree, link: &Link<'_>) -> Result<(), String> {
    let least = if link.child.level() == 0 { 1 } else { 2 };
    fail_unless(link.child.present().count_ones() >= least, link, "a node has too few children")
}

/// Whether the summary bit of `tag` above the child is set.
fn summary_above(tree: &Tree, link: &Link<'_>, tag: Tag) -> bool {
    match link.parent {
        Some(parent) => parent.tags().load(tag) & bit(link.offset) != 0,
        None => tree.any_tagged(tag),
    }
}

fn tags_have_summaries(tree: &Tree, link: &Link<'_>) -> Result<(), String> {
    let lacks = |&tag: &Tag| link.child.tag_word(tag) != 0 && !summary_above(tree, link, tag);
    fail_unless(!Tag::all().iter().any(lacks), link, "a summary bit is missing above a tag")
}

/// Whether the summary bit of `tag` above the child stands over nothing.
fn is_stale(tree: &Tree, link: &Link<'_>, tag: Tag) -> bool {
    link.child.tag_word(tag) == 0 && summary_above(tree, link, tag)
}

fn summaries_have_children(_: &Tree, link: &Link<'_>) -> Result<(), String> {
    let Child::Inner(node) = link.child else { return Ok(()) };
    let astray = Tag::all().iter().any(|&tag| node.tags().load(tag) & !node.present() != 0);
    fail_unless(!astray, link, "a summary bit stands over an empty slot")
}

fn tags_sit_on_entries(_: &Tree, link: &Link<'_>) -> Result<(), String> {
    let Child::Leaf(child) = link.child else { return Ok(()) };
    let stray = Tag::all().iter().any(|&tag| child.tag_word(tag) & !child.present() != 0);
    fail_unless(!stray, link, "a tag bit stands on an empty slot")
}
