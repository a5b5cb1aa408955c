//! Walking from leaf to leaf, in both directions, with whole subtrees passed over by their summaries.
//!
//! A walk remembers the inner nodes on its way, each with the slots that it has not passed yet. Which of these may lead to something
//! it reads anew at each visit, so that most of what is inserted or tagged ahead of it is met. Not all: a slot is passed as a whole, and
//! what comes below it later is not. A walk that was led to a node by a summary, and finds the tag nowhere in it, heals the summary.
//! The nodes may die while it stands in them; that does no harm
//! (rule 5): an entry that is in the tree all the time is below the child that a dead node kept, or was there when the node died.

use arrayvec::ArrayVec;

use super::ahead::{Ahead, Look};
use crate::raw::link::above::Tree;
use crate::raw::link::child::Child;
use crate::raw::link::leaf::Leaf;
use crate::raw::node::edge::Edge;
use crate::raw::node::full::Node;
use crate::raw::node::header::Header;
use crate::raw::node::hint;
use crate::raw::node::index::{self, ALL_SLOTS, LEVELS, bit, highest, lowest};
use crate::raw::node::inner::Inner;
use crate::raw::node::single::Single;
use crate::reclaim::Guard;
use crate::sync::CHECKED;
use crate::tag::{Tag, TagFilter, TagSet};

/// The [pace](Walk::pace) of a scan that looks far ahead.
const LONG: u8 = 1;
/// The pace at which a plain scan begins: one of few entries does not pay for looking far ahead.
const SHORT: u8 = LONG + 24;

/// A position between leaves. It moves in one direction, from leaf to leaf.
///
/// `A` is [`Ahead`] in a walk that can look far ahead, else nothing.
#[derive(Debug)]
pub(crate) struct Walk<'g, A = ()> {
    tree: &'g Tree,
    guard: &'g Guard,
    filter: TagFilter,
    lead: Lead,
    /// 0, unless all slots of the leaves are going to be read. Then how many children it is still to pass until it looks far ahead,
    /// and one more.
    pace: u8,
    /// The inner nodes around the position, from the top down.
    path: ArrayVec<Step<'g, A>, LEVELS>,
}

/// A node on the way of a walk.
#[derive(Debug)]
struct Step<'g, A> {
    node: Inner<'g>,
    /// The slots that the walk has not passed.
    left: u64,
    ahead: A,
}

impl<'g> Walk<'g> {
    #[inline]
    pub(crate) fn new(tree: &'g Tree, filter: TagFilter, guard: &'g Guard) -> Walk<'g> {
        Walk { tree, guard, filter, lead: Lead::of(filter), pace: 0, path: ArrayVec::new() }
    }
}

impl<'g> Walk<'g, Ahead> {
    /// For a caller that reads the entries: of a plain scan, all slots of each leaf.
    #[inline]
    pub(crate) fn of_entries(tree: &'g Tree, filter: TagFilter, guard: &'g Guard) -> Self {
        let pace = if filter.is_any() { SHORT } else { 0 };
        Walk { tree, guard, filter, lead: Lead::of(filter), pace, path: ArrayVec::new() }
    }
}

impl<'g, A: Look> Walk<'g, A> {
    /// Forgets the way, so that the next step starts at the root.
    pub(crate) fn restart(&mut self) {
        self.path.clear();
    }

    /// The leaf of `index` or the first one above it that may hold something the filter asks for. The index is above those of
    /// the leaf before.
    #[inline]
    pub(crate) fn next_leaf(&mut self, index: u64) -> Option<Leaf<'g>> {
        self.advance::<true>(index)
    }

    /// The leaf of `index` or the first one below it that may hold something the filter asks for. The index is below those of
    /// the leaf before.
    #[inline]
    pub(crate) fn prev_leaf(&mut self, index: u64) -> Option<Leaf<'g>> {
        self.advance::<false>(index)
    }

    /// Folds the singles that come next in the node where the walk found its last leaf, up to the first child that is none or lies
    /// above `high`. Returns the last of them, too. For walks upward that let every entry pass.
    #[inline]
    pub(super) fn fold_singles<B>(
        &mut self,
        high: u64,
        init: B,
        mut each: impl FnMut(B, &'g Single) -> B,
    ) -> (B, Option<&'g Single>) {
        let (mut result, mut last) = (init, None);
        let Some(step) = self.path.last_mut() else { return (result, last) };
        let node = step.node;
        loop {
            // Read anew each time, as in `advance`.
            let slots = node.present() & step.left;
            if slots == 0 {
                return (result, last);
            }
            let edge = node.edge(lowest(slots));
            if !edge.is_single() {
                return (result, last);
            }
            // SAFETY: to a single, and read under the walk's guard.
            let single = unsafe { Single::of(edge, self.guard) };
            if single.index() > high {
                return (result, last);
            }
            step.left &= !index::up_to(lowest(slots));
            step.ahead.pass::<true>(node);
            result = each(result, single);
            last = Some(single);
        }
    }

    #[inline]
    fn advance<const UP: bool>(&mut self, mut index: u64) -> Option<Leaf<'g>> {
        loop {
            let child = match self.path.last_mut() {
                None => Some(self.top()?).filter(|top| reaches::<UP>(*top, index)),
                Some(step) => {
                    let node = step.node;
                    let slots = self.lead.slots(&node) & step.left;
                    if slots == 0 {
                        self.path.pop();
                        if self.path.is_empty() {
                            // There may be a new top, with more behind this one.
                            index = behind::<UP>(node, index)?;
                        }
                        continue;
                    }
                    let offset = first::<UP>(slots);
                    step.left &= if UP { !index::up_to(offset) } else { !index::from(offset) };
                    if A::FAR && self.pace == LONG {
                        step.ahead.pass::<UP>(node);
                    } else {
                        let beyond = without_first::<UP>(without_first::<UP>(slots));
                        fetch_ahead::<UP>(node, beyond, A::FAR && self.pace > 0);
                        if A::FAR && self.pace > 0 {
                            self.quicken();
                        }
                    }
                    let child = self.child(node.edge(offset));
                    match child.filter(|child| reaches::<UP>(*child, index)) {
                        None => continue,
                        child => child,
                    }
                }
            };
            match child? {
                Child::Leaf(leaf) => return Some(leaf),
                Child::Inner(node) => {
                    if self.lead.is_in_vain(node) {
                        heal(self.tree, Child::Inner(node), self.filter.all, self.guard);
                    }
                    self.enter::<UP>(node, index);
                }
            }
        }
    }

    /// Heals above a leaf that lacks a tag which is asked for. For callers that have found nothing in it: they know that already, and
    /// in a leaf with something a look would be for nothing.
    #[inline]
    pub(crate) fn heal_if_in_vain(&self, leaf: Leaf<'g>) {
        if self.filter.all.iter().any(|tag| leaf.tag_word(tag) == 0) {
            heal(self.tree, Child::Leaf(leaf), self.filter.all, self.guard);
        }
    }

    /// Goes down to `node`, to visit what it has from `index` on.
    #[inline]
    fn enter<const UP: bool>(&mut self, node: Inner<'g>, index: u64) {
        let mut left = ALL_SLOTS;
        if node.covers(index) {
            let here = index::offset(index, node.level());
            left = if UP { index::from(here) } else { index::up_to(here) };
        }
        let slots = self.lead.slots(&node) & left;
        let mut ahead = A::NONE;
        if A::FAR && self.pace == LONG {
            let looked = self
                .path
                .last_mut()
                .is_some_and(|above| above.ahead.descend::<UP>(above.node, above.left, self.guard));
            ahead = A::enter::<UP>(node, slots, looked, self.guard);
        } else {
            let whole = A::FAR && self.pace > 0;
            fetch_ahead::<UP>(node, slots, whole);
            fetch_ahead::<UP>(node, without_first::<UP>(slots), whole);
        }
        self.path.push(Step { node, left, ahead });
    }

    /// Counts a child that a plain scan passes. With enough of them it begins to look far ahead, in all nodes on its way.
    #[inline]
    fn quicken(&mut self) {
        if self.pace > LONG + 1 {
            self.pace -= 1;
        } else if !CHECKED {
            self.look_far();
        }
    }

    #[inline(never)]
    fn look_far(&mut self) {
        self.pace = LONG;
        for step in &mut self.path {
            step.ahead = A::of(step.node, step.left);
        }
    }

    /// The top node, unless a root flag says that the filter finds nothing below it.
    fn top(&self) -> Option<Child<'g>> {
        if self.filter.all.iter().any(|tag| !self.tree.any_tagged(tag)) {
            return None;
        }
        self.child(self.tree.root_edge())
    }

    #[inline]
    fn child(&self, edge: Edge) -> Option<Child<'g>> {
        // SAFETY: not null, and read under the walk's guard.
        (!edge.is_null()).then(|| unsafe { Child::of(edge, self.guard) })
    }
}

/// Lowers the bits that have led to a child without the tags in vain, so that the next walk passes by.
#[cold]
#[inline(never)]
fn heal(tree: &Tree, child: Child<'_>, tags: TagSet, guard: &Guard) {
    for tag in tags {
        if child.tag_word(tag) == 0 {
            tree.heal(child, tag, guard);
        }
    }
}

/// Whether a child has indices from `index` on in the direction of the walk.
#[inline]
fn reaches<const UP: bool>(child: Child<'_>, index: u64) -> bool {
    if UP { child.last() >= index } else { child.first() <= index }
}

/// Where a walk that looks for `index` goes on behind a node; `None` if there is nothing.
#[inline]
fn behind<const UP: bool>(node: Inner<'_>, index: u64) -> Option<u64> {
    if UP {
        node.last().checked_add(1).map(|next| next.max(index))
    } else {
        node.base().checked_sub(1).map(|next| next.min(index))
    }
}

/// The slot that a walk visits first.
#[inline]
pub(super) fn first<const UP: bool>(slots: u64) -> usize {
    if UP { lowest(slots) } else { highest(slots) }
}

/// The slots behind that one.
#[inline]
pub(super) fn without_first<const UP: bool>(slots: u64) -> u64 {
    if UP {
        slots & slots.wrapping_sub(1)
    } else if slots == 0 {
        0
    } else {
        slots & !bit(highest(slots))
    }
}

/// Has the processor fetch the child that a walk through `slots` meets first: the line that it begins with, and all of a full leaf
/// whose slots a plain scan reads one after the other. It is called two steps ahead, which is enough for the lines to be there
/// in time, and seldom too early.
#[inline]
fn fetch_ahead<const UP: bool>(node: Inner<'_>, slots: u64, whole: bool) {
    // A model checker would take the load of the edge for one more step.
    if CHECKED || slots == 0 {
        return;
    }
    let edge = node.edge(first::<UP>(slots));
    hint::prefetch(edge.word());
    if whole && edge.leads_to(0) {
        Node::prefetch_slots(edge);
    }
}

/// What a filter says about the slots of inner nodes, made once for a walk: nearly all walks ask for one tag, or for all entries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lead {
    All,
    One(Tag),
    Many(TagSet),
}

impl Lead {
    #[inline]
    pub(super) fn of(filter: TagFilter) -> Lead {
        match filter.all.only() {
            Some(tag) => Lead::One(tag),
            None if filter.all.is_empty() => Lead::All,
            None => Lead::Many(filter.all),
        }
    }

    /// Whether a node, to which summaries have led, lacks a tag that is asked for. A hint: one load is no answer (rule 5, *Remove*).
    #[inline]
    fn is_in_vain(self, node: Inner<'_>) -> bool {
        match self {
            Lead::All => false,
            Lead::One(tag) => node.tags().load(tag) == 0,
            Lead::Many(tags) => tags.iter().any(|tag| node.tags().load(tag) == 0),
        }
    }

    /// The slots of an inner node that may lead to something the filter asks for.
    #[inline]
    pub(super) fn slots(self, node: &Header) -> u64 {
        match self {
            Lead::All => node.present(),
            Lead::One(tag) => node.tags().load(tag),
            Lead::Many(tags) => of_all(node, tags),
        }
    }
}

/// The slots whose bit is set for each of these tags.
#[inline(never)]
fn of_all(node: &Header, tags: TagSet) -> u64 {
    tags.iter().fold(ALL_SLOTS, |word, tag| word & node.tags().load(tag))
}

impl Node {
    /// The slots of this leaf that pass the filter. Their bits belong together only under the version or the lock,
    /// unless the filter lets every entry pass.
    #[inline]
    pub(crate) fn matching(&self, filter: TagFilter) -> u64 {
        match filter.one() {
            Some(tag) => self.tags().load(tag),
            None if filter.is_any() => self.present(),
            None => self.matching_many(filter),
        }
    }

    #[inline(never)]
    fn matching_many(&self, filter: TagFilter) -> u64 {
        let mut word = if filter.all.is_empty() { self.present() } else { ALL_SLOTS };
        for tag in Tag::all() {
            if filter.all.contains(tag) {
                word &= self.tags().load(tag);
            }
            if filter.none.contains(tag) {
                word &= !self.tags().load(tag);
            }
        }
        word
    }
}
