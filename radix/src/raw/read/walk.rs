//! Walking from leaf to leaf, in both directions, with whole subtrees passed over by their summaries.
//!
//! A walk remembers the inner nodes on its way. They may die while it stands in them; that does no harm (rule 5): an
//! entry that is in the tree all the time is below the child that a dead node kept, or was there when the node died.

use arrayvec::ArrayVec;

use crate::raw::link::above::Tree;
use crate::raw::link::child::Child;
use crate::raw::link::leaf::Leaf;
use crate::raw::node::edge::Edge;
use crate::raw::node::full::Node;
use crate::raw::node::header::Header;
use crate::raw::node::hint;
use crate::raw::node::index::{self, ALL_SLOTS, LEVELS, highest, lowest};
use crate::raw::node::inner::Inner;
use crate::reclaim::Guard;
use crate::tag::{Tag, TagFilter};

/// A position between leaves.
#[derive(Debug)]
pub(crate) struct Walk<'g> {
    tree: &'g Tree,
    guard: &'g Guard,
    filter: TagFilter,
    path: ArrayVec<Inner<'g>, LEVELS>,
}

/// Where a descent goes on.
enum Step<'g> {
    /// This leaf is next.
    Leaf(Leaf<'g>),
    /// Go on with this index.
    Beyond(u64),
    /// Nothing at all in this direction.
    End,
}

impl<'g> Walk<'g> {
    #[inline]
    pub(crate) fn new(tree: &'g Tree, filter: TagFilter, guard: &'g Guard) -> Walk<'g> {
        Walk { tree, guard, filter, path: ArrayVec::new() }
    }

    /// Forgets the way, so that the next step starts at the root.
    pub(crate) fn restart(&mut self) {
        self.path.clear();
    }

    /// The leaf of `index` or the first one above it that may hold something the filter asks for.
    #[inline]
    pub(crate) fn next_leaf(&mut self, mut index: u64) -> Option<Leaf<'g>> {
        loop {
            match self.step_up(index) {
                Step::Leaf(leaf) => return Some(leaf),
                Step::Beyond(next) => index = next,
                Step::End => return None,
            }
        }
    }

    /// The leaf of `index` or the first one below it that may hold something the filter asks for.
    #[inline]
    pub(crate) fn prev_leaf(&mut self, mut index: u64) -> Option<Leaf<'g>> {
        loop {
            match self.step_down(index) {
                Step::Leaf(leaf) => return Some(leaf),
                Step::Beyond(next) => index = next,
                Step::End => return None,
            }
        }
    }

    fn step_up(&mut self, index: u64) -> Step<'g> {
        let Some(node) = self.node_around(index) else {
            let Some(top) = self.top() else { return Step::End };
            return if top.last() < index {
                Step::End
            } else {
                self.enter(top, index.max(top.first()))
            };
        };
        let level = node.level();
        let here = index::offset(index, level);
        let candidates = leading_to(&node, self.filter) & index::from(here);
        if candidates == 0 {
            self.path.pop();
            return node.last().checked_add(1).map_or(Step::End, Step::Beyond);
        }
        let offset = lowest(candidates);
        prefetch(node, candidates, |word| word & word.wrapping_sub(1), lowest);
        let base = index::slot_base(node.base(), offset, level);
        match self.child(node.edge(offset)) {
            // The first slot holds `index` itself; a child that ends below it is passed over, with its slot.
            Some(child) if child.last() >= index => self.enter(child, index.max(child.first())),
            _ => (base | index::slot_span(level)).checked_add(1).map_or(Step::End, Step::Beyond),
        }
    }

    fn step_down(&mut self, index: u64) -> Step<'g> {
        let Some(node) = self.node_around(index) else {
            let Some(top) = self.top() else { return Step::End };
            return if top.first() > index {
                Step::End
            } else {
                self.enter(top, index.min(top.last()))
            };
        };
        let level = node.level();
        let here = index::offset(index, level);
        let candidates = leading_to(&node, self.filter) & index::up_to(here);
        if candidates == 0 {
            self.path.pop();
            return node.base().checked_sub(1).map_or(Step::End, Step::Beyond);
        }
        let offset = highest(candidates);
        prefetch(node, candidates, without_highest, highest);
        let base = index::slot_base(node.base(), offset, level);
        match self.child(node.edge(offset)) {
            Some(child) if child.first() <= index => self.enter(child, index.min(child.last())),
            _ => base.checked_sub(1).map_or(Step::End, Step::Beyond),
        }
    }

    /// The lowest node of the way that covers `index`; those below it are forgotten.
    #[inline]
    fn node_around(&mut self, index: u64) -> Option<Inner<'g>> {
        while let Some(&node) = self.path.last() {
            if node.covers(index) {
                return Some(node);
            }
            self.path.pop();
        }
        None
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

    /// Goes down to `child`, to go on with `index` in it.
    #[inline]
    fn enter(&mut self, child: Child<'g>, index: u64) -> Step<'g> {
        match child {
            Child::Inner(node) => {
                self.path.push(node);
                Step::Beyond(index)
            }
            Child::Leaf(leaf) => Step::Leaf(leaf),
        }
    }
}

/// Has the processor fetch the first line of a child that a walk through `slots` meets soon: two steps on, which is enough for the
/// line to be there in time, and seldom too early.
#[inline]
fn prefetch(
    node: Inner<'_>,
    slots: u64,
    without_first: impl Fn(u64) -> u64,
    first: impl Fn(u64) -> usize,
) {
    // A model checker would take the load of the edge for one more step.
    if crate::sync::CHECKED {
        return;
    }
    let rest = without_first(without_first(slots));
    if rest != 0 {
        hint::prefetch(node.edge(first(rest)).word());
    }
}

#[inline]
fn without_highest(word: u64) -> u64 {
    if word == 0 { 0 } else { word & !index::bit(highest(word)) }
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
