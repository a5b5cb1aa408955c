//! Walking from leaf to leaf, in both directions, with whole subtrees passed over by their summaries.
//!
//! A walk remembers the inner nodes on its way, each with the slots that it has not passed yet. Which of these may lead to something
//! it reads anew at each visit, so that most of what is inserted or tagged ahead of it is met. Not all: a slot is passed as a whole, and
//! what comes below it later is not. The nodes may die while it stands in them; that does no harm
//! (rule 5): an entry that is in the tree all the time is below the child that a dead node kept, or was there when the node died.

use arrayvec::ArrayVec;

use crate::raw::link::above::Tree;
use crate::raw::link::child::Child;
use crate::raw::link::leaf::Leaf;
use crate::raw::node::edge::Edge;
use crate::raw::node::full::Node;
use crate::raw::node::header::Header;
use crate::raw::node::hint;
use crate::raw::node::index::{self, ALL_SLOTS, LEVELS, bit, highest, lowest};
use crate::raw::node::inner::Inner;
use crate::reclaim::Guard;
use crate::tag::{Tag, TagFilter};

/// A position between leaves. It moves in one direction, from leaf to leaf.
#[derive(Debug)]
pub(crate) struct Walk<'g> {
    tree: &'g Tree,
    guard: &'g Guard,
    filter: TagFilter,
    /// Whether all slots of the leaves are going to be read.
    whole: bool,
    /// The inner nodes around the position, from the top down, and the slots of each that it has not passed.
    path: ArrayVec<(Inner<'g>, u64), LEVELS>,
}

impl<'g> Walk<'g> {
    #[inline]
    pub(crate) fn new(tree: &'g Tree, filter: TagFilter, guard: &'g Guard) -> Walk<'g> {
        Walk { tree, guard, filter, whole: false, path: ArrayVec::new() }
    }

    /// For a caller that reads the entries: of a plain scan, all slots of each leaf.
    #[inline]
    pub(crate) fn of_entries(tree: &'g Tree, filter: TagFilter, guard: &'g Guard) -> Walk<'g> {
        Walk { whole: filter.is_any(), ..Walk::new(tree, filter, guard) }
    }

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

    #[inline]
    fn advance<const UP: bool>(&mut self, mut index: u64) -> Option<Leaf<'g>> {
        loop {
            let child = match self.path.last_mut() {
                None => Some(self.top()?).filter(|top| reaches::<UP>(*top, index)),
                Some((node, left)) => {
                    let (node, slots) = (*node, leading_to(node, self.filter) & *left);
                    if slots == 0 {
                        self.path.pop();
                        if self.path.is_empty() {
                            // There may be a new top, with more behind this one.
                            index = behind::<UP>(node, index)?;
                        }
                        continue;
                    }
                    let offset = first::<UP>(slots);
                    *left &= if UP { !index::up_to(offset) } else { !index::from(offset) };
                    fetch_ahead::<UP>(
                        node,
                        without_first::<UP>(without_first::<UP>(slots)),
                        self.whole,
                    );
                    let child = self.child(node.edge(offset));
                    match child.filter(|child| reaches::<UP>(*child, index)) {
                        None => continue,
                        child => child,
                    }
                }
            };
            match child? {
                Child::Leaf(leaf) => return Some(leaf),
                Child::Inner(node) => self.enter::<UP>(node, index),
            }
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
        let slots = leading_to(&node, self.filter) & left;
        fetch_ahead::<UP>(node, slots, self.whole);
        fetch_ahead::<UP>(node, without_first::<UP>(slots), self.whole);
        self.path.push((node, left));
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
fn first<const UP: bool>(slots: u64) -> usize {
    if UP { lowest(slots) } else { highest(slots) }
}

#[inline]
fn without_first<const UP: bool>(slots: u64) -> u64 {
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
    if crate::sync::CHECKED || slots == 0 {
        return;
    }
    let edge = node.edge(first::<UP>(slots));
    hint::prefetch(edge.word());
    if whole && edge.leads_to(0) {
        let leaf = edge.word().cast::<u8>();
        for line in 1..Node::BYTES / 64 {
            hint::prefetch(leaf.wrapping_byte_add(64 * line));
        }
    }
}

/// The slots of an inner node that may lead to something the filter asks for.
#[inline]
pub(super) fn leading_to(node: &Header, filter: TagFilter) -> u64 {
    if filter.all.is_empty() {
        return node.present();
    }
    filter.all.iter().fold(ALL_SLOTS, |word, tag| word & node.tags().load(tag))
}

impl Node {
    /// The slots of this leaf that pass the filter. Their bits belong together only under the version or the lock,
    /// unless the filter lets every entry pass.
    #[inline]
    pub(crate) fn matching(&self, filter: TagFilter) -> u64 {
        if filter.is_any() {
            return self.present();
        }
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
