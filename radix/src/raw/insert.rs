//! Insertion: into a leaf, of a new leaf, and the split of an edge.

use core::ptr::NonNull;

use super::edge::Edge;
use super::index::{self, bit, offset};
use super::node::{Node, Word};
use super::{Above, Change, NewValue, Tree};
use crate::reclaim::Guard;
use crate::tag::{Tag, TagSet, TreeEdges};

/// What became of an insertion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Inserted {
    /// There was no entry; now there is.
    New,
    /// This value was replaced.
    Replaced(Word),
    /// Nothing changed: there is an entry with this value.
    Occupied(Word),
}

/// Where an index belongs.
enum Place<'g> {
    /// This leaf covers it.
    Leaf(&'g Node),
    /// The slot of this node (`None`: the root) holds nothing, or a node that does not cover it.
    Gap { above: Option<&'g Node>, below: Edge },
}

/// Nodes allocated outside the locks, kept over retries, freed if unused.
#[derive(Default)]
struct Spare {
    leaf: Option<NonNull<Node>>,
    inner: Option<NonNull<Node>>,
}

impl Drop for Spare {
    fn drop(&mut self) {
        for node in self.leaf.into_iter().chain(self.inner) {
            // SAFETY: made for this insertion and never linked.
            unsafe { Node::free(node) };
        }
    }
}

impl Tree {
    /// Puts `value` at `index` and adds `tags` to those of the entry. An entry that is there is kept as it is unless
    /// `overwrite`.
    pub(crate) fn insert(
        &self,
        index: u64,
        value: Word,
        tags: TagSet,
        overwrite: bool,
        told: &mut TreeEdges,
        guard: &Guard,
    ) -> Inserted {
        debug_assert!(index::fits(index), "beyond the highest index");
        let mut spare = Spare::default();
        loop {
            let done = match self.find_place(index, guard) {
                Place::Leaf(leaf) => {
                    self.insert_into(leaf, index, value, tags, overwrite, told, guard)
                }
                Place::Gap { above, below } => {
                    spare.prepare(index, below, guard);
                    self.insert_leaf(above, below, index, value, tags, &mut spare, told, guard)
                }
            };
            if let Some(done) = done {
                return done;
            }
        }
    }

    /// Descends as far as nodes cover `index`. The prefix of every node behind a SKIP edge is compared.
    fn find_place<'g>(&'g self, index: u64, guard: &'g Guard) -> Place<'g> {
        let mut above: Option<&Node> = None;
        let mut below = self.root_edge();
        while !below.is_null() {
            // SAFETY: not null, and read under `guard`.
            let node = unsafe { Node::of(below, guard) };
            if (below.skips() || above.is_none()) && !node.covers(index) {
                break;
            }
            if below.level() == 0 {
                return Place::Leaf(node);
            }
            above = Some(node);
            below = node.edge(offset(index, node.level()));
        }
        Place::Gap { above, below }
    }

    /// Inserts into a leaf that covers `index`; `None` if it is dead.
    #[expect(clippy::too_many_arguments, reason = "one step of `insert`, with its arguments")]
    #[inline]
    fn insert_into<'g>(
        &'g self,
        leaf: &'g Node,
        index: u64,
        value: Word,
        tags: TagSet,
        overwrite: bool,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) -> Option<Inserted> {
        let leaf = leaf.lock();
        if leaf.is_dead() {
            return None;
        }
        let old = leaf.value(offset(index, 0));
        if let (Some(value), false) = (old, overwrite) {
            return Some(Inserted::Occupied(value));
        }
        if tags.is_empty() {
            leaf.fill(offset(index, 0), value);
        } else {
            let change = Change { value: NewValue::Store(value), set: tags, clear: TagSet::EMPTY };
            self.change(&leaf, index, change, told, guard);
        }
        Some(old.map_or(Inserted::New, Inserted::Replaced))
    }

    /// Links a new leaf into a gap; `None` if the gap is no longer what it was (rule 4).
    #[expect(clippy::too_many_arguments, reason = "one step of `insert`, with its arguments")]
    fn insert_leaf<'g>(
        &'g self,
        above: Option<&'g Node>,
        below: Edge,
        index: u64,
        value: Word,
        tags: TagSet,
        spare: &mut Spare,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) -> Option<Inserted> {
        let above = match above {
            None => Above::lock_root(&self.root),
            Some(node) => Above::Node(node.lock()),
        };
        let offset = above.offset(index);
        let dead = matches!(&above, Above::Node(node) if node.is_dead());
        if dead || above.edge(offset) != below {
            return None;
        }
        let leaf = spare.leaf.take().expect("prepared");
        fill_leaf(leaf, index, value, tags);
        // What the child below had, before the bits for the new leaf are added.
        let kept = above.tags().at_guarded(bit(offset));
        for tag in tags {
            self.set_above(&above, offset, tag, told, guard);
        }
        if below.is_null() {
            link_leaf(&above, offset, leaf);
        } else {
            let inner = spare.inner.take().expect("prepared");
            // SAFETY: the slot still holds the edge, so its target is linked; read under `guard`.
            let child = unsafe { Node::of(below, guard) };
            split(&above, offset, (child, kept), inner, (leaf, index, tags));
        }
        Some(Inserted::New)
    }
}

impl Spare {
    /// Has the nodes ready that filling a gap over `below` takes.
    fn prepare(&mut self, index: u64, below: Edge, guard: &Guard) {
        self.leaf.get_or_insert_with(|| Node::leaf(index));
        if below.is_null() {
            return;
        }
        // SAFETY: not null, and read under `guard`.
        let child = unsafe { Node::of(below, guard) };
        let level = index::split_level(index, child.base());
        // SAFETY: made for this insertion and not linked.
        if let Some(old) = self.inner.take_if(|old| unsafe { old.as_ref() }.level() != level) {
            // SAFETY: as above; taken out of `self`, so freed once.
            unsafe { Node::free(old) };
        }
        self.inner.get_or_insert_with(|| Node::inner(level, index));
    }
}

/// Gives a leaf that nobody knows yet its first entry.
fn fill_leaf(leaf: NonNull<Node>, index: u64, value: Word, tags: TagSet) {
    // SAFETY: not linked yet, so nobody frees it.
    let leaf = unsafe { leaf.as_ref() };
    let offset = offset(index, 0);
    leaf.set_present(bit(offset));
    leaf.slot(offset).set_value(Some(value));
    for tag in tags {
        leaf.tags().store(tag, bit(offset));
    }
}

/// Links a leaf into an empty slot. The summaries have been raised.
fn link_leaf(above: &Above<'_>, offset: usize, leaf: NonNull<Node>) {
    // SAFETY: not linked yet, so nobody frees it.
    let leaf = unsafe { leaf.as_ref() };
    leaf.set_parent(above.name());
    if let Above::Node(node) = above {
        // Before the edge (I-PRESENT): a lookup that finds the entry, then a scan that does not, would fit no order.
        node.set_present(node.present() | bit(offset));
    }
    above.slot(offset).set_edge(above.edge_to(leaf));
}

/// Puts `inner` between `above` and `child`, and a leaf beside the child. The summaries have been raised.
fn split(
    above: &Above<'_>,
    offset: usize,
    (child, kept): (&Node, TagSet),
    inner: NonNull<Node>,
    (leaf, index, tags): (NonNull<Node>, u64, TagSet),
) {
    // SAFETY: not linked yet, so nobody frees it.
    let leaf = unsafe { leaf.as_ref() };
    // SAFETY: as above; and it stays while we hold its lock, since whoever unlinks it needs that.
    let inner = unsafe { inner.as_ref() };
    // Born locked, and unlocked at the end of this function, when both its edge and the child's `parent` are stored.
    let inner = Above::Node(inner.born_locked());
    let Above::Node(node) = &inner else { unreachable!("made in the line above") };
    leaf.set_parent(inner.name());
    node.set_parent(above.name());
    let (child_offset, leaf_offset) = (inner.offset(child.base()), inner.offset(index));
    node.set_present(bit(child_offset) | bit(leaf_offset));
    for tag in Tag::all() {
        // The child's bits are copied from its old parent, never computed from the child.
        let mut word = if kept.contains(tag) { bit(child_offset) } else { 0 };
        if tags.contains(tag) {
            word |= bit(leaf_offset);
        }
        node.tags().store(tag, word);
    }
    node.slot(child_offset).set_edge(inner.edge_to(child));
    node.slot(leaf_offset).set_edge(inner.edge_to(leaf));
    child.set_parent(inner.name());
    above.slot(offset).set_edge(above.edge_to(node));
}
