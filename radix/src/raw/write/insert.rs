//! Insertion: into a leaf, of a new leaf, beside a single.

use super::change::{Change, NewValue};
use super::grow::split;
use super::section::{Op, Section};
use super::spare::{Spare, fill_leaf, is_inner_right_below};
use crate::raw::link::above::{Above, Below, Tree};
use crate::raw::link::child::Child;
use crate::raw::link::leaf::Leaf;
use crate::raw::link::locked::LockedLeaf;
use crate::raw::node::edge::Edge;
use crate::raw::node::full::Node;
use crate::raw::node::index::{self, bit, offset};
use crate::raw::node::inner::Inner;
use crate::raw::node::single::{LockedSingle, Single};
use crate::raw::node::word::{Entry, Word};
use crate::reclaim::Guard;
use crate::tag::TagSet;

/// What is to be inserted: the value, and the tags that the entry gets besides those that it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Insertion {
    pub(crate) index: u64,
    pub(crate) entry: Entry,
    /// Whether it takes the place of an entry that is there.
    pub(crate) overwrite: bool,
}

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

/// The slot of a node (`None`: the root) that holds nothing, or a node or single that does not cover an index.
#[derive(Clone, Copy)]
pub(super) struct Gap<'g> {
    pub(super) above: Option<Inner<'g>>,
    pub(super) below: Edge,
}

/// Where an index belongs.
enum Place<'g> {
    /// This full leaf covers it.
    Leaf(&'g Node),
    /// This single is of it.
    Single(&'g Single),
    /// The place of this single: a full leaf must hold both.
    Near(&'g Single),
    Gap(Gap<'g>),
    /// This small node lies right above a full one: it is to be full, too.
    Narrow(Inner<'g>),
}

impl<'g> Section<'g> for Insertion {
    type Done = Inserted;

    /// The leaf covers the index.
    #[inline]
    fn run(self, op: &mut Op<'g>, leaf: &impl LockedLeaf<'g>) -> Inserted {
        let Insertion { index, entry: Entry { value, tags }, overwrite } = self;
        if tags.is_empty() {
            return put(leaf, index, value, overwrite);
        }
        let old = leaf.value(offset(index, 0));
        if let (Some(value), false) = (old, overwrite) {
            return Inserted::Occupied(value);
        }
        let change = Change { value: NewValue::Store(value), set: tags, clear: TagSet::EMPTY };
        op.change(leaf, index, change);
        old.map_or(Inserted::New, Inserted::Replaced)
    }
}

/// Puts a value into a locked leaf, and leaves the tags as they are.
#[inline]
#[expect(single_use_lifetimes, reason = "an anonymous lifetime may not stand in `impl Trait` yet")]
fn put<'g>(leaf: &impl LockedLeaf<'g>, index: u64, value: Word, overwrite: bool) -> Inserted {
    let done = match leaf.value(offset(index, 0)) {
        Some(value) if !overwrite => return Inserted::Occupied(value),
        Some(old) => Inserted::Replaced(old),
        None => Inserted::New,
    };
    leaf.fill(offset(index, 0), value);
    done
}

impl Tree {
    /// Puts a value into the full leaf that covers `index`; `None` if there is no such leaf. The short way of [`Op::insert`] where
    /// no tags are set: nearly always enough among dense indices.
    #[inline]
    pub(crate) fn put(
        &self,
        index: u64,
        value: Word,
        overwrite: bool,
        guard: &Guard,
    ) -> Option<Inserted> {
        let Leaf::Full(leaf) = self.find_leaf(index, guard)? else { return None };
        let leaf = leaf.lock();
        (!leaf.is_dead()).then(|| put(&leaf, index, value, overwrite))
    }
}

impl<'g> Op<'g> {
    /// Inserts wherever the index belongs.
    pub(crate) fn insert(&mut self, insertion: Insertion) -> Inserted {
        debug_assert!(index::fits(insertion.index), "beyond the highest index");
        let mut spare = Spare::default();
        loop {
            let done = match self.find_place(insertion.index) {
                Place::Leaf(leaf) => self.at(Leaf::Full(leaf), insertion),
                Place::Single(single) => self.at(Leaf::Single(single), insertion),
                Place::Near(single) => {
                    spare.leaf.get_or_insert_with(|| Node::leaf(insertion.index));
                    self.insert_near(&single.lock(), insertion, &mut spare)
                }
                Place::Narrow(node) => {
                    self.widen(node);
                    None
                }
                Place::Gap(gap) => {
                    spare.prepare(insertion, gap, self.guard);
                    self.insert_leaf(gap, insertion, &mut spare)
                }
            };
            if let Some(done) = done {
                // Nodes may have been retired.
                self.guard.settle();
                return done;
            }
        }
    }

    /// Descends as far as nodes cover `index`. The prefix of every node behind a SKIP edge is compared.
    fn find_place(&self, index: u64) -> Place<'g> {
        let mut above: Option<Inner<'g>> = None;
        let mut below = self.tree.root_edge();
        while !below.is_null() {
            if below.is_single() {
                // SAFETY: not null, and read under the guard.
                let single = unsafe { Single::of(below, self.guard) };
                if single.index() == index {
                    return Place::Single(single);
                } else if single.is_near(index) {
                    return Place::Near(single);
                }
                break;
            }
            if below.level() == 0 {
                // SAFETY: not null, to a full node, and read under the guard.
                let leaf = unsafe { Node::of(below, self.guard) };
                if (below.skips() || above.is_none()) && !leaf.covers(index) {
                    break;
                }
                return Place::Leaf(leaf);
            }
            // SAFETY: to an inner node, and read under the guard.
            let node = unsafe { Inner::of(below, self.guard) };
            if (below.skips() || above.is_none()) && !node.covers(index) {
                break;
            }
            let next = node.edge(offset(index, node.level()));
            if below.is_small() && is_inner_right_below(next, node.level()) {
                return Place::Narrow(node);
            }
            (above, below) = (Some(node), next);
        }
        Place::Gap(Gap { above, below })
    }

    /// Replaces a single by a full leaf that holds its entry and the new one; `None` if it is dead.
    fn insert_near(
        &mut self,
        single: &LockedSingle<'g>,
        Insertion { index, entry, .. }: Insertion,
        spare: &mut Spare,
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
        fill_leaf(leaf, index, entry);
        let above = single.lock_parent(self.tree, self.guard);
        let offset = above.offset(index);
        leaf.set_parent(above.name());
        for tag in entry.tags {
            self.set_above(&above, offset, tag);
        }
        single.set_dead();
        above.set_edge(offset, above.edge_to(Child::Leaf(Leaf::Full(leaf))));
        // SAFETY: the line above unlinked it, by the holder of both locks (I-RETIRE).
        unsafe { single.single().retire(self.guard) };
        Some(Inserted::New)
    }

    /// Links a new leaf into a gap; `None` if the gap is no longer what it was (rule 4).
    fn insert_leaf(
        &mut self,
        Gap { above, below }: Gap<'g>,
        insertion: Insertion,
        spare: &mut Spare,
    ) -> Option<Inserted> {
        let Insertion { index, entry: Entry { tags, .. }, .. } = insertion;
        let above = match above {
            None => Above::lock_root(&self.tree.root),
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
                Above::Node(self.grow(node, copy))
            }
            above => above,
        };
        let leaf = spare.take_leaf(insertion);
        // What the child below had, before the bits for the new leaf are added.
        let kept = above.tags().at_guarded(bit(offset));
        for tag in tags {
            self.set_above(&above, offset, tag);
        }
        if below.is_null() {
            link_leaf(&above, offset, leaf);
        } else {
            let inner = spare.inner.take().expect("prepared");
            // SAFETY: the slot still holds the edge, so its target is linked; read under the guard.
            let child = unsafe { Child::of(below, self.guard) };
            split(&above, offset, (child, kept), inner, (leaf, index, tags), self.guard);
        }
        Some(Inserted::New)
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
