//! The end of a tree: its values taken out one by one, and its nodes freed. Nobody else can reach it.

use core::ptr::NonNull;

use super::link::above::Tree;
use super::node::edge::Edge;
use super::node::full::Node;
use super::node::index::FANOUT;
use super::node::inner::Inner;
use super::node::single::Single;
use super::node::word::Word;
use super::read::scan::Scan;
use crate::reclaim::Guard;
use crate::tag::{Tag, TagFilter};

impl Tree {
    /// Frees all nodes and hands every value to `drop_value`. No one else can reach the tree.
    pub(crate) fn clear(&mut self, mut drop_value: impl FnMut(Word)) {
        let top = self.root_edge();
        self.root.slot.0.set_edge(Edge::NULL);
        for tag in Tag::all() {
            self.root.tags.store(tag, 0);
        }
        if !top.is_null() {
            free_below(top, &mut drop_value);
        }
    }
}

/// Frees what lies behind `edge`, which is not null, and all below it.
fn free_below(edge: Edge, drop_value: &mut impl FnMut(Word)) {
    if edge.is_single() {
        let single = NonNull::<Single>::new(edge.single_pointer()).expect("the edge is not null");
        // SAFETY: linked, hence not freed (I-RETIRE); the tree is held exclusively.
        if let Some(value) = unsafe { single.as_ref() }.value() {
            drop_value(value);
        }
        // SAFETY: linked once (I-PARENT), and its parent is about to go; the reference above has ended.
        unsafe { Single::free(single) };
        return;
    }
    let pointer = NonNull::new(edge.pointer()).expect("the edge is not null");
    if edge.level() == 0 {
        let leaf: NonNull<Node> = pointer.cast();
        for offset in 0..FANOUT {
            // SAFETY: as above; the reference ends in this line.
            if let Some(value) = unsafe { leaf.as_ref() }.value(offset) {
                drop_value(value);
            }
        }
        // SAFETY: as above.
        unsafe { Node::free(leaf) };
        return;
    }
    // SAFETY: as above.
    let node = unsafe { Inner::at(pointer) };
    for below in (0..FANOUT).map(|offset| node.edge(offset)) {
        if !below.is_null() {
            free_below(below, drop_value);
        }
    }
    // SAFETY: as above; `node` is not used any more.
    unsafe { Inner::free(pointer) };
}

/// Values of a tree that is held exclusively, taken out in ascending order.
#[derive(Debug)]
pub(crate) struct Drain {
    next: Option<u64>,
}

impl Drain {
    pub(crate) fn new() -> Drain {
        Drain { next: Some(0) }
    }

    /// Takes the next value out of its slot. The tree keeps its nodes, and its words are of no use any more: it may only
    /// be drained further and dropped.
    pub(crate) fn next(&mut self, tree: &mut Tree, guard: &Guard) -> Option<(u64, Word)> {
        let start = self.next?;
        let range = Some((start, u64::MAX));
        let found = Scan::new(tree, range, TagFilter::ANY, guard).next();
        let Some((index, value)) = found else {
            self.next = None;
            return None;
        };
        tree.find_leaf(index, guard)?.take_value(index);
        self.next = index.checked_add(1);
        Some((index, value))
    }
}
