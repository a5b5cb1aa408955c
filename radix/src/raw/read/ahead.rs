//! Looking ahead of a plain scan: what the processor is to fetch before the scan comes to it.
//!
//! The entries of random indices are singles, a few below each small node. Between the edge to such a node and its entries lie two misses,
//! one after the other, and with a look two children ahead inside the node both come too late. So the distance is counted in
//! *cousins*: in each node on its way the scan asks for the first lines of the children some steps ahead; when these lines are there,
//! it looks into the children that are inner nodes, and asks for the grandchildren.
//!
//! What is read here serves for nothing but asking (I-HINT). So the words of slots that are kept here are not brought up to date: a child that has gone
//! meanwhile costs a load, one that has come is fetched when the scan reads it.

use super::walk::{first, without_first};
use crate::raw::node::edge::Edge;
use crate::raw::node::full::Node;
use crate::raw::node::hint;
use crate::raw::node::inner::Inner;
use crate::raw::node::single::Single;
use crate::reclaim::Guard;

/// So many children of a node are asked for beforehand; but two, if they are full nodes, in which a scan spends longer.
const FAR: u8 = 8;
/// So many as soon as a node is entered. The others follow by and by: a short scan asks for few.
const AT_FIRST: u8 = 2;
/// So many inner children of a node are looked into beforehand.
const NEAR: u8 = 4;
/// At most so many of them while one is entered; none at the first, one at the second, as a short scan does not come that far.
const AT_ONCE: u8 = 2;
/// At most so many children are tried for that.
const TRIES: u8 = 8;

/// What a walk keeps of each node on its way for looking ahead: nothing, or [`Ahead`].
pub(crate) trait Look: Copy {
    /// Whether there is something to keep.
    const FAR: bool;
    /// Of a node whose children are not asked for beforehand.
    const NONE: Self;

    /// Of a node whose children in `left` are still to come.
    fn of(node: Inner<'_>, left: u64) -> Self;

    /// Begins with the children in `slots` of a node that a plain scan enters. `looked`: the node has been looked into.
    fn enter<const UP: bool>(node: Inner<'_>, slots: u64, looked: bool, guard: &Guard) -> Self;

    /// Goes on as the scan passes a child.
    fn pass<const UP: bool>(&mut self, node: Inner<'_>);

    /// Goes on as the scan enters a child, an inner node; `left` are the slots behind it. Whether the child has been looked into.
    fn descend<const UP: bool>(&mut self, node: Inner<'_>, left: u64, guard: &Guard) -> bool;
}

/// For walks that look no further than two children ahead.
impl Look for () {
    const FAR: bool = false;
    const NONE: () = ();

    fn of(_: Inner<'_>, _: u64) {}

    fn enter<const UP: bool>(_: Inner<'_>, _: u64, _: bool, _: &Guard) {}

    fn pass<const UP: bool>(&mut self, _: Inner<'_>) {}

    fn descend<const UP: bool>(&mut self, _: Inner<'_>, _: u64, _: &Guard) -> bool {
        false
    }
}

/// What a plain scan has done beforehand about the children of a node on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    /// The children that have not been asked for.
    far: u64,
    /// The children that have not been looked into, nor found to be leaves.
    near: u64,
    /// How many children are still to be asked for beyond one for each that is passed.
    extra: u8,
    /// How many inner children ahead have been looked into.
    lead: u8,
    /// How many may be looked into when the next one is entered.
    at_once: u8,
}

impl Look for Ahead {
    const FAR: bool = true;
    const NONE: Ahead = Ahead { far: 0, near: 0, extra: 0, lead: 0, at_once: 0 };

    fn of(node: Inner<'_>, left: u64) -> Ahead {
        let far = node.present() & left;
        // Right above the leaves there is nothing to look into.
        let near = if node.level() > 1 { far } else { 0 };
        Ahead { far, near, extra: FAR - AT_FIRST, lead: 0, at_once: 0 }
    }

    #[inline(never)]
    fn enter<const UP: bool>(node: Inner<'_>, slots: u64, looked: bool, guard: &Guard) -> Ahead {
        let mut ahead = Ahead::of(node, slots);
        if looked && node.level() > 1 {
            ahead.go_on::<UP>(node, slots, guard);
        } else {
            ahead.ask::<UP>(node, AT_FIRST);
        }
        ahead
    }

    #[inline]
    fn pass<const UP: bool>(&mut self, node: Inner<'_>) {
        if self.far != 0 {
            self.ask_more::<UP>(node);
        }
    }

    #[inline(never)]
    fn descend<const UP: bool>(&mut self, node: Inner<'_>, left: u64, guard: &Guard) -> bool {
        let looked = self.lead > 0;
        self.lead -= u8::from(looked);
        self.near &= left;
        if self.at_once > 0 {
            self.look::<UP>(node, self.at_once, guard);
        }
        self.at_once = AT_ONCE.min(self.at_once + 1);
        looked
    }
}

impl Ahead {
    /// The same for a node that has been looked into: the scan is long.
    fn go_on<const UP: bool>(&mut self, node: Inner<'_>, slots: u64, guard: &Guard) {
        if node.is_full() {
            (self.near, self.extra) = (slots, 0);
            self.ask::<UP>(node, FAR);
        } else {
            // All its children have been asked for.
            self.far = 0;
            node.small_children(|offset, edge| self.near |= u64::from(edge.is_small()) << offset);
            self.near &= slots;
        }
        self.at_once = AT_ONCE;
        self.look::<UP>(node, NEAR, guard);
    }

    #[inline(never)]
    fn ask_more<const UP: bool>(&mut self, node: Inner<'_>) {
        if self.ask::<UP>(node, 1) && self.extra > 0 {
            self.extra -= 1;
            self.ask::<UP>(node, 1);
        }
    }

    /// Asks for the next children, `count` of them if there are as many; whether the last one was compact.
    #[inline]
    fn ask<const UP: bool>(&mut self, node: Inner<'_>, count: u8) -> bool {
        let mut compact = false;
        for _ in 0..count {
            if self.far == 0 {
                break;
            }
            let edge = node.edge(first::<UP>(self.far));
            self.far = without_first::<UP>(self.far);
            fetch(edge);
            compact = !edge.is_full();
        }
        compact
    }

    /// Looks into the inner nodes among the next children, at most `at_once`.
    #[inline(never)]
    fn look<const UP: bool>(&mut self, node: Inner<'_>, at_once: u8, guard: &Guard) {
        let (mut looked, mut tries) = (0, TRIES);
        while self.near != 0 && self.lead < NEAR && looked < at_once && tries > 0 {
            let edge = node.edge(first::<UP>(self.near));
            self.near = without_first::<UP>(self.near);
            tries -= 1;
            if edge.leads_to_inner() {
                // SAFETY: to an inner node, and read under `guard`.
                let child = unsafe { Inner::of(edge, guard) };
                look_into::<UP>(child);
                (self.lead, looked) = (self.lead + 1, looked + 1);
            }
        }
    }
}

/// Asks for what an inner node leads to: of a small one for all, since its places are in no order; of a full one for the first. Of a
/// full leaf the first line is enough: the others are asked for within the node, in time.
fn look_into<const UP: bool>(node: Inner<'_>) {
    if !node.is_full() {
        return node.small_children(|_, edge| fetch_first(edge));
    }
    let mut rest = node.present();
    for _ in 0..FAR {
        if rest == 0 {
            break;
        }
        fetch_first(node.edge(first::<UP>(rest)));
        rest = without_first::<UP>(rest);
    }
}

/// Has the processor fetch what an edge leads to; all of a full leaf, whose slots the scan reads one after the other.
#[inline]
fn fetch(edge: Edge) {
    fetch_first(edge);
    if edge.leads_to(0) {
        Node::prefetch_slots(edge);
    }
}

/// Has the processor fetch what is read first of what an edge leads to: the header, and of a small node the first places; of a single
/// all of it, which may lie in two lines.
#[inline]
fn fetch_first(edge: Edge) {
    if edge.is_null() {
        return;
    }
    let target = edge.word().cast::<u8>();
    hint::prefetch(target);
    if !edge.is_full() {
        let last = if edge.is_single() { Single::BYTES - 2 } else { 64 };
        hint::prefetch(target.wrapping_byte_add(last));
    }
}
