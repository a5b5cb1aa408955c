//! Insertion: into a leaf, of a new leaf, the split of an edge, and the growth of a small node.

use core::ptr::NonNull;

use super::child::{Below, Child};
use super::edge::Edge;
use super::index::{self, FANOUT, bit, offset};
use super::inner::{Inner, LockedInner, NewInner, Size};
use super::leaf::{Leaf, LockedLeaf};
use super::node::{Node, Word};
use super::single::{LockedSingle, Single};
use super::tags::Entries;
use super::{Above, COMPACT, Change, Entry, NewValue, Tree};
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
    /// This full leaf covers it.
    Leaf(&'g Node),
    /// This single is of it.
    Single(&'g Single),
    /// The place of this single: a full leaf must hold both.
    Near(&'g Single),
    /// The slot of this node (`None`: the root) holds nothing, or a node or single that does not cover it.
    Gap { above: Option<Inner<'g>>, below: Edge },
    /// This small node lies right above a full one: it is to be full, too.
    Narrow(Inner<'g>),
}

/// Nodes allocated outside the locks, kept over retries, freed if unused.
#[derive(Default)]
struct Spare {
    single: Option<NonNull<Single>>,
    leaf: Option<NonNull<Node>>,
    /// For a split.
    inner: Option<NewInner>,
    /// For a node that has no room.
    copy: Option<NewInner>,
}

impl Drop for Spare {
    fn drop(&mut self) {
        if let Some(leaf) = self.leaf {
            // SAFETY: made for this insertion and never linked.
            unsafe { Node::free(leaf) };
        }
        if let Some(single) = self.single {
            // SAFETY: as above.
            unsafe { Single::free(single) };
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
        // Nearly always among dense indices.
        if let Some(Leaf::Full(leaf)) = self.find_leaf(index, guard)
            && let Some(done) =
                self.insert_into(&leaf.lock(), index, value, tags, overwrite, told, guard)
        {
            return done;
        }
        self.insert_anywhere(index, value, tags, overwrite, told, guard)
    }

    /// The same, wherever the index belongs.
    #[inline(never)]
    fn insert_anywhere(
        &self,
        index: u64,
        value: Word,
        tags: TagSet,
        overwrite: bool,
        told: &mut TreeEdges,
        guard: &Guard,
    ) -> Inserted {
        let mut spare = Spare::default();
        loop {
            let done = match self.find_place(index, guard) {
                Place::Leaf(leaf) => {
                    self.insert_into(&leaf.lock(), index, value, tags, overwrite, told, guard)
                }
                Place::Single(single) => {
                    self.insert_into(&single.lock(), index, value, tags, overwrite, told, guard)
                }
                Place::Near(single) => {
                    spare.leaf.get_or_insert_with(|| Node::leaf(index));
                    self.insert_near(&single.lock(), index, value, tags, &mut spare, told, guard)
                }
                Place::Narrow(node) => {
                    self.widen(node, guard);
                    None
                }
                Place::Gap { above, below } => {
                    spare.prepare(index, Entry { value, tags }, above, below, guard);
                    self.insert_leaf(above, below, index, value, tags, &mut spare, told, guard)
                }
            };
            if let Some(done) = done {
                // Nodes may have been retired.
                guard.settle();
                return done;
            }
        }
    }

    /// Descends as far as nodes cover `index`. The prefix of every node behind a SKIP edge is compared.
    fn find_place<'g>(&'g self, index: u64, guard: &'g Guard) -> Place<'g> {
        let mut above: Option<Inner<'_>> = None;
        let mut below = self.root_edge();
        while !below.is_null() {
            if below.is_single() {
                // SAFETY: not null, and read under `guard`.
                let single = unsafe { Single::of(below, guard) };
                if single.index() == index {
                    return Place::Single(single);
                } else if single.is_near(index) {
                    return Place::Near(single);
                }
                break;
            }
            if below.level() == 0 {
                // SAFETY: not null, to a full node, and read under `guard`.
                let leaf = unsafe { Node::of(below, guard) };
                if (below.skips() || above.is_none()) && !leaf.covers(index) {
                    break;
                }
                return Place::Leaf(leaf);
            }
            // SAFETY: to an inner node, and read under `guard`.
            let node = unsafe { Inner::of(below, guard) };
            if (below.skips() || above.is_none()) && !node.covers(index) {
                break;
            }
            let next = node.edge(offset(index, node.level()));
            if below.is_small() && is_inner_right_below(next, node.level()) {
                return Place::Narrow(node);
            }
            (above, below) = (Some(node), next);
        }
        Place::Gap { above, below }
    }

    /// Inserts into a leaf that covers `index`; `None` if it is dead.
    #[expect(clippy::too_many_arguments, reason = "one step of `insert`, with its arguments")]
    #[inline]
    fn insert_into<'g>(
        &'g self,
        leaf: &impl LockedLeaf<'g>,
        index: u64,
        value: Word,
        tags: TagSet,
        overwrite: bool,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) -> Option<Inserted> {
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
            self.change(leaf, index, change, told, guard);
        }
        Some(old.map_or(Inserted::New, Inserted::Replaced))
    }

    /// Replaces a single by a full leaf that holds its entry and the new one; `None` if it is dead.
    #[expect(clippy::too_many_arguments, reason = "one step of `insert`, with its arguments")]
    fn insert_near<'g>(
        &'g self,
        single: &LockedSingle<'g>,
        index: u64,
        value: Word,
        tags: TagSet,
        spare: &mut Spare,
        told: &mut TreeEdges,
        guard: &'g Guard,
    ) -> Option<Inserted> {
        if single.is_dead() {
            return None;
        }
        let leaf = spare.leaf.take().expect("prepared");
        // SAFETY: not linked yet, so nobody frees it.
        let leaf = unsafe { leaf.as_ref() };
        let old =
            single.value().expect("I-BRANCH: a single that is alive and unlocked has its entry");
        fill_leaf(leaf, single.index(), Entry { value: old, tags: single.tags() });
        fill_leaf(leaf, index, Entry { value, tags });
        let above = single.lock_parent(self, guard);
        let offset = above.offset(index);
        leaf.set_parent(above.name());
        for tag in tags {
            self.set_above(&above, offset, tag, told, guard);
        }
        single.set_dead();
        above.set_edge(offset, above.edge_to(Child::Leaf(Leaf::Full(leaf))));
        // SAFETY: the line above unlinked it, by the holder of both locks (I-RETIRE).
        unsafe { single.single().retire(guard) };
        Some(Inserted::New)
    }

    /// Links a new leaf into a gap; `None` if the gap is no longer what it was (rule 4).
    #[expect(clippy::too_many_arguments, reason = "one step of `insert`, with its arguments")]
    fn insert_leaf<'g>(
        &'g self,
        above: Option<Inner<'g>>,
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
        if above.is_dead() || above.edge(offset) != below {
            return None;
        }
        let above = match above {
            Above::Node(node) if !node.has_room(offset) => {
                // Without a spare, or with one of another size, the node has changed since `prepare` saw it.
                let (size, level) = (node.size_of_copy(), node.level());
                let copy = spare.copy.take_if(|copy| copy.is(size, level))?;
                Above::Node(self.grow(node, copy, guard))
            }
            above => above,
        };
        let leaf = spare.take_leaf(index, Entry { value, tags });
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
            let child = unsafe { Child::of(below, guard) };
            split(&above, offset, (child, kept), inner, (leaf, index, tags), guard);
        }
        Some(Inserted::New)
    }

    /// Puts a copy, which has more room and which nobody knows yet, in the place of a locked node. Returns the copy, locked.
    fn grow<'g>(
        &'g self,
        node: LockedInner<'g>,
        copy: NewInner,
        guard: &'g Guard,
    ) -> LockedInner<'g> {
        // Born locked, and unlocked by the caller, when its edge and the `parent` of all children are stored.
        let copy = copy.link(guard);
        let above = node.lock_parent(self, guard);
        copy.copy(&node);
        copy.set_parent(above.name());
        for offset in copy.children() {
            // SAFETY: a slot whose present bit is set holds an edge while the node is locked; read under `guard`.
            let child = unsafe { Child::of(copy.edge(offset), guard) };
            child.set_parent(copy.pointer().as_ptr());
        }
        node.set_dead();
        above.set_edge(above.offset(node.base()), above.edge_to(Child::Inner(copy.node())));
        // SAFETY: the line above unlinked it, by the holder of both locks (I-RETIRE).
        unsafe { node.retire(guard) };
        copy
    }

    /// Makes a small node full, unless it is dead.
    #[cold]
    fn widen(&self, node: Inner<'_>, guard: &Guard) {
        let full = NewInner::new(Size::Full, node.level(), node.base());
        let node = node.lock();
        if !node.is_dead() {
            self.grow(node, full, guard);
        }
    }
}

impl Spare {
    /// Has the nodes ready that filling a gap over `below` takes.
    fn prepare(
        &mut self,
        index: u64,
        entry: Entry,
        above: Option<Inner<'_>>,
        below: Edge,
        guard: &Guard,
    ) {
        if COMPACT && !above.is_some_and(|above| is_beside_full_leaf(above, index)) {
            self.single.get_or_insert_with(|| Single::new(index, entry));
        } else {
            self.leaf.get_or_insert_with(|| Node::leaf(index));
        }
        if !below.is_null() {
            // SAFETY: not null, and read under `guard`.
            let child = unsafe { Child::of(below, guard) };
            let level = index::split_level(index, child.first());
            let size =
                if is_to_be_full(above, below, level, index) { Size::Full } else { Size::FEWEST };
            make_inner(&mut self.inner, size, level, index);
        } else if let Some(above) = above
            && !above.has_room(offset(index, above.level()))
        {
            make_inner(&mut self.copy, above.size_of_copy(), above.level(), index);
        }
    }

    /// The leaf for a gap, with its first entry in it.
    fn take_leaf<'g>(&mut self, index: u64, entry: Entry) -> Child<'g> {
        if let Some(single) = self.single.take() {
            // SAFETY: not linked yet, so nobody frees it.
            return Child::Leaf(Leaf::Single(unsafe { single.as_ref() }));
        }
        let leaf = self.leaf.take().expect("prepared");
        // SAFETY: as above.
        let leaf = unsafe { leaf.as_ref() };
        fill_leaf(leaf, index, entry);
        Child::Leaf(Leaf::Full(leaf))
    }
}

/// Has an inner node ready for `index` at a level; one that was made for another place is freed.
fn make_inner(spare: &mut Option<NewInner>, size: Size, level: u8, index: u64) {
    if !spare.as_ref().is_some_and(|old| old.is(size, level)) {
        *spare = Some(NewInner::new(size, level, index));
    }
}

/// Whether a new inner node over what `below` leads to is to be full: as the top of dense indices, or right above such a node.
/// Lookups that meet full nodes only are the fastest.
fn is_to_be_full(above: Option<Inner<'_>>, below: Edge, level: u8, index: u64) -> bool {
    // Not under a checker: small tops can grow, too.
    let top = above.is_none() && index::prefix(index, level) == 0 && !crate::sync::CHECKED;
    !COMPACT || top || is_inner_right_below(below, level)
}

/// Whether an edge leads to a full inner node at the level below `level`.
fn is_inner_right_below(edge: Edge, level: u8) -> bool {
    level > 1 && edge.is_full() && !edge.is_null() && edge.level() == level - 1
}

/// Whether a full leaf lies right before or behind the range of `index`. Then the range will have more entries soon, most likely.
fn is_beside_full_leaf(above: Inner<'_>, index: u64) -> bool {
    let at = offset(index, 1);
    let before = at.checked_sub(1);
    let behind = Some(at + 1).filter(|&at| at < FANOUT);
    above.level() == 1 && before.into_iter().chain(behind).any(|at| above.edge(at).leads_to(0))
}

/// Gives a leaf that nobody knows yet an entry.
fn fill_leaf(leaf: &Node, index: u64, Entry { value, tags }: Entry) {
    let offset = offset(index, 0);
    leaf.set_present(leaf.present() | bit(offset));
    leaf.slot(offset).set_value(Some(value));
    for tag in tags {
        leaf.tags().store(tag, leaf.tags().load(tag) | bit(offset));
    }
}

/// Links a leaf into an empty slot. The summaries have been raised.
fn link_leaf(above: &Above<'_>, offset: usize, leaf: Child<'_>) {
    leaf.set_parent(above.name());
    if let Above::Node(node) = above {
        // Before the edge (I-PRESENT): a lookup that finds the entry, then a scan that does not, would fit no order.
        node.set_present(node.present() | bit(offset));
    }
    above.set_edge(offset, above.edge_to(leaf));
}

/// Puts `inner` between `above` and `child`, and a leaf beside the child. The summaries have been raised.
fn split(
    above: &Above<'_>,
    offset: usize,
    (child, kept): (Child<'_>, TagSet),
    inner: NewInner,
    (leaf, index, tags): (Child<'_>, u64, TagSet),
    guard: &Guard,
) {
    // Born locked, and unlocked at the end of this function, when both its edge and the child's `parent` are stored.
    let inner = Above::Node(inner.link(guard));
    let Above::Node(node) = &inner else { unreachable!("made in the line above") };
    leaf.set_parent(inner.name());
    node.set_parent(above.name());
    let (child_offset, leaf_offset) = (inner.offset(child.first()), inner.offset(index));
    node.set_present(bit(child_offset) | bit(leaf_offset));
    for tag in Tag::all() {
        // The child's bits are copied from its old parent, never computed from the child.
        let mut word = if kept.contains(tag) { bit(child_offset) } else { 0 };
        if tags.contains(tag) {
            word |= bit(leaf_offset);
        }
        node.tags().store(tag, word);
    }
    node.set_edge(child_offset, inner.edge_to(child));
    node.set_edge(leaf_offset, inner.edge_to(leaf));
    child.set_parent(inner.name());
    above.set_edge(offset, above.edge_to(Child::Inner(node.node())));
}
