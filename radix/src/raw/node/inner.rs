//! The inner node, full or small, and the guard of its lock. `inner` does not know what tags mean nor how nodes hang together.
//!
//! A small node has *places* where a full one has slots: lines of seven, each a cache line that begins with the offsets of
//! its places, a byte each. A place is given to an offset when the offset's first edge is stored, and belongs to it as
//! long as the node lives (I-PLACE). So a lookup searches and loads without looking again, and in one cache line: which places a
//! line has may grow behind its back, but none changes hands.

use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;

use super::edge::Edge;
use super::full::Node;
use super::header::Header;
use super::index::{self, FANOUT, bit, lowest};
use super::lock::VersionLock;
use super::places::{FEWEST_LINES, FREE, Line, MORE, MOST_LINES, PLACES, free_place, place_in};
use super::word::Slot;
use crate::arena;
use crate::reclaim::Guard;
use crate::sync::{self, AtomicU64, Guarded, Ordering};
use crate::tag::Tag;

/// A small node of so many lines.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Small<const LINES: usize> {
    header: Header,
    lines: [Line; LINES],
}

/// Where the lines begin, however many there are.
const LINES_AT: usize = core::mem::offset_of!(Small<1>, lines);

const _: () = assert!(sync::CHECKED || size_of::<Small<1>>() == 128 && LINES_AT == 64);
const _: () = assert!(size_of::<Small<3>>() < size_of::<Node>() || FANOUT < 64);
const _: () = assert!(PLACES * FEWEST_LINES as usize >= 2 && FANOUT < FREE as usize);

/// An inner node of either kind.
///
/// It is a pointer to the header with the right to what follows, which a reference to the header would not have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inner<'g> {
    header: NonNull<Header>,
    life: PhantomData<&'g Header>,
}

/// How large a new inner node is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::raw) enum Size {
    /// So many lines of places.
    Lines(u8),
    /// A slot for each offset.
    Full,
}

impl Size {
    /// Enough for the two children of a new node.
    pub(in crate::raw) const FEWEST: Size = Size::Lines(FEWEST_LINES);

    /// Enough for so many children.
    fn for_children(children: usize) -> Size {
        let fits = |lines: u8| children <= PLACES * usize::from(lines);
        let lines = [FEWEST_LINES, MOST_LINES].into_iter().find(|lines| fits(*lines));
        lines.map_or(Size::Full, Size::Lines)
    }
}

/// An inner node that nobody else knows. It is freed if it is not linked.
#[derive(Debug)]
pub(in crate::raw) struct NewInner(NonNull<Header>);

impl NewInner {
    /// An inner node around `index`, *born locked*: whoever links it unlocks it when all that names it is stored.
    pub(in crate::raw) fn new(size: Size, level: u8, index: u64) -> NewInner {
        fn small<const LINES: usize>(level: u8, index: u64) -> NonNull<Header> {
            let node = arena::place(|| Small::<LINES> {
                #[expect(clippy::cast_possible_truncation, reason = "at most MOST_LINES")]
                header: Header::new(level, LINES as u8, index, VersionLock::locked()),
                lines: core::array::from_fn(|line| Line::new(line + 1 < LINES)),
            });
            node.cast()
        }
        NewInner(match size {
            Size::Full => Node::new(level, index, VersionLock::locked()).cast(),
            Size::Lines(1) => small::<1>(level, index),
            Size::Lines(2) => small::<2>(level, index),
            Size::Lines(_) => small::<3>(level, index),
        })
    }

    /// Whether it is one of this size for this level.
    pub(in crate::raw) fn is(&self, size: Size, level: u8) -> bool {
        self.size() == size && self.header().level() == level
    }

    pub(in crate::raw) fn size(&self) -> Size {
        match self.header().lines() {
            0 => Size::Full,
            lines => Size::Lines(lines),
        }
    }

    fn header(&self) -> &Header {
        // SAFETY: made in `new`, and not freed before `self` is dropped.
        unsafe { self.0.as_ref() }
    }

    /// Gives the node to who is about to link it.
    #[inline]
    pub(in crate::raw) fn link<'g>(self, guard: &'g Guard) -> LockedInner<'g> {
        let _ = guard;
        let node = core::mem::ManuallyDrop::new(self).0;
        // SAFETY: not linked yet, so nobody frees it; and who unlinks it needs its lock, which we hold, so it is not retired
        // before the guard was made (I-RETIRE).
        LockedInner(unsafe { Inner::at(node) })
    }
}

impl Drop for NewInner {
    fn drop(&mut self) {
        // SAFETY: made in `new` and linked nowhere, or `link` would have taken it.
        unsafe { Inner::free(self.0) };
    }
}

impl<'g> Inner<'g> {
    /// Frees the memory of an inner node.
    ///
    /// # Safety
    /// `node` came from this module, no one can reach it any more, and it is freed once.
    pub(in crate::raw) unsafe fn free(node: NonNull<Header>) {
        /// # Safety
        /// As for [`Inner::free`], and the node has so many lines.
        unsafe fn small<const LINES: usize>(node: NonNull<Header>) {
            let node = node.cast::<Small<LINES>>();
            // SAFETY: under a checker, too, the memory is still there.
            #[cfg(any(radix_loom, radix_shuttle))]
            unsafe {
                node.as_ref().header.end(node.as_ptr());
            }
            // SAFETY: `new` had it placed; sole access and "once" are the caller's word.
            #[cfg(not(any(radix_loom, radix_shuttle)))]
            unsafe {
                arena::free(node);
            }
        }
        /// # Safety
        /// As for [`Inner::free`], and the node is full.
        unsafe fn full(node: NonNull<Header>) {
            // SAFETY: the caller's word.
            unsafe { Node::free(node.cast()) };
        }
        // SAFETY: it has not been freed; the reference ends in this line.
        let free = match unsafe { node.as_ref() }.lines() {
            0 => full,
            1 => small::<1>,
            2 => small::<2>,
            _ => small::<3>,
        };
        // SAFETY: the caller's word; the node was made with as many lines.
        unsafe { free(node) };
    }

    /// An inner node, for its maker or by a `parent` field.
    ///
    /// # Safety
    /// It came from this module, and is not freed within the lifetime.
    #[inline]
    pub(in crate::raw) unsafe fn at(header: NonNull<Header>) -> Inner<'g> {
        let inner = Inner { header, life: PhantomData };
        inner.alive();
        inner
    }

    /// The inner node an edge leads to.
    ///
    /// # Safety
    /// As for [`Node::of`], and the edge leads to an inner node, full or small.
    #[inline]
    pub(crate) unsafe fn of(edge: Edge, guard: &'g Guard) -> Inner<'g> {
        let _ = guard;
        // SAFETY: the edge is not null.
        let header = unsafe { NonNull::new_unchecked(edge.pointer()) };
        // SAFETY: as in `Node::of`.
        unsafe { Inner::at(header) }
    }

    /// One step down: the edge for `index` in the inner node an edge leads to. By the edge alone it knows what lies there, and
    /// does not touch the header.
    ///
    /// # Safety
    /// As for [`Inner::of`].
    #[inline]
    pub(in crate::raw) unsafe fn step(edge: Edge, index: u64, guard: &Guard) -> Edge {
        let offset = index::offset(index, edge.level());
        if edge.is_full() {
            // SAFETY: the caller's word, and the line above.
            return unsafe { Node::of(edge, guard) }.edge(offset);
        }
        // SAFETY: the caller's word.
        let node = unsafe { Inner::of(edge, guard) };
        // SAFETY: the edge says so (I-EDGE).
        unsafe { node.small_edge(offset) }
    }

    /// The name of this node in a child's `parent` field, and in an edge.
    #[inline]
    pub(in crate::raw) fn pointer(self) -> NonNull<Header> {
        self.header
    }

    /// The header, for as long as the node lives.
    #[inline]
    pub(in crate::raw) fn header(self) -> &'g Header {
        // SAFETY: it is not freed within the lifetime (`at`).
        unsafe { self.header.as_ref() }
    }

    #[inline]
    pub(in crate::raw) fn is_full(self) -> bool {
        self.header().lines() == 0
    }

    /// Bytes this node takes.
    pub(in crate::raw) fn bytes(self) -> usize {
        match self.header().lines() {
            0 => Node::BYTES,
            lines => LINES_AT + size_of::<Line>() * usize::from(lines),
        }
    }

    /// The node, if it is full.
    #[inline]
    pub(in crate::raw) fn as_full(self) -> Option<&'g Node> {
        self.is_full().then(|| self.full())
    }

    #[inline]
    fn full(self) -> &'g Node {
        debug_assert!(self.is_full());
        // SAFETY: a node without lines was made as a `Node`, and lives as long as `self` may.
        unsafe { self.header.cast::<Node>().as_ref() }
    }

    /// # Safety
    /// The node has more lines than `number`.
    #[inline]
    unsafe fn line(self, number: usize) -> &'g Line {
        // SAFETY: the lines are part of the node, for which the pointer was made, and the caller's word.
        let line = unsafe { self.header.byte_add(LINES_AT + number * size_of::<Line>()) };
        // SAFETY: as above; it is a line, and lives as long as the node does.
        unsafe { line.cast::<Line>().as_ref() }
    }

    /// The lines of a small node.
    fn lines(self) -> impl Iterator<Item = &'g Line> {
        // SAFETY: below the number of lines.
        (0..usize::from(self.header().lines())).map(move |number| unsafe { self.line(number) })
    }

    /// The place that belongs to `offset` in a small node.
    ///
    /// The lines are found by what they say themselves: a lookup does not touch the header. Nor does it need the words of two
    /// lines to belong together, since a place never changes hands.
    ///
    /// # Safety
    /// The node is small.
    #[inline]
    unsafe fn place(self, offset: usize, load: impl Fn(&AtomicU64) -> u64) -> Option<&'g Slot> {
        let mut number = 0;
        loop {
            // SAFETY: a small node has a line, and the one before said that there is another.
            let line = unsafe { self.line(number) };
            let offsets = load(&line.offsets);
            if let Some(place) = place_in(offsets, offset) {
                return Some(&line.places[place]);
            }
            if offsets & MORE == 0 {
                return None;
            }
            number += 1;
        }
    }

    /// The edge at `offset` of a small node.
    ///
    /// # Safety
    /// The node is small.
    #[inline]
    pub(in crate::raw) unsafe fn small_edge(self, offset: usize) -> Edge {
        self.alive();
        // SAFETY: the caller's word. Acquire: E-PLACE.
        let place = unsafe { self.place(offset, |word| word.load(Ordering::Acquire)) };
        let edge = place.map_or(Edge::NULL, Slot::edge);
        self.alive();
        edge
    }

    /// The edge at `offset`; null if that has no place.
    #[inline]
    pub(crate) fn edge(self, offset: usize) -> Edge {
        if self.is_full() {
            self.full().edge(offset)
        } else {
            // SAFETY: it is small.
            unsafe { self.small_edge(offset) }
        }
    }

    /// Hands `visit` the children of a small node, each with its offset, in no order; null where there is none.
    #[inline]
    pub(in crate::raw) fn small_children(self, mut visit: impl FnMut(usize, Edge)) {
        for line in self.lines() {
            // Acquire: E-PLACE.
            let mut offsets = line.offsets.load(Ordering::Acquire);
            for place in &line.places {
                let offset = (offsets & 0xff) as u8;
                if offset == FREE {
                    return;
                }
                visit(usize::from(offset), place.edge());
                offsets >>= 8;
            }
        }
    }

    /// How large a copy is to be that takes this node's place, with one child more. More than that if children have gone, since
    /// others come and go then; a place that has been given away is not given back but by such a copy.
    pub(in crate::raw) fn size_of_copy(self) -> Size {
        let (children, places) = (self.present().count_ones() as usize, self.places_given());
        if self.is_dense() {
            return Size::Full;
        }
        Size::for_children(if children < places { children * 5 / 4 + 2 } else { children + 1 })
    }

    /// Whether all children are full leaves right below this node. Then there will be more soon, most likely, and lookups that
    /// meet full nodes only are the fastest.
    fn is_dense(self) -> bool {
        let leaf = |offset: usize| self.edge(offset).leads_to(0);
        self.level() == 1 && !sync::CHECKED && children(self.present()).all(leaf)
    }

    /// How many places of a small node belong to an offset.
    fn places_given(self) -> usize {
        let given =
            |line: &Line| free_place(line.offsets.load(Ordering::Acquire)).unwrap_or(PLACES);
        self.lines().map(given).sum()
    }

    /// Whether `offset` has a slot here, or there is a place left. Without the lock, a hint.
    pub(in crate::raw) fn has_room(self, offset: usize) -> bool {
        let Some(last) = self.header().lines().checked_sub(1) else { return true };
        let load = |word: &AtomicU64| word.load(Ordering::Acquire);
        // SAFETY: below the number of lines.
        let last = unsafe { self.line(usize::from(last)) };
        // Places are given in their order.
        last.has_room(load(&last.offsets))
            // SAFETY: a node with lines is small.
            || unsafe { self.place(offset, load) }.is_some()
    }

    /// Whether no two places belong to one offset, and none without an edge lies before one that is free.
    pub(in crate::raw) fn places_are_sound(self) -> bool {
        let mut seen = 0_u64;
        self.lines().all(|line| {
            let offsets = line.offsets.load(Ordering::Acquire);
            let given = free_place(offsets).unwrap_or(PLACES);
            (0..PLACES).all(|place| {
                let offset = offsets >> (8 * place) & 0xff;
                let fresh = offset < FANOUT as u64 && seen >> offset & 1 == 0;
                if place >= given {
                    return offset == u64::from(FREE) && line.places[place].edge().is_null();
                }
                seen |= u64::from(fresh) << (offset & 63);
                fresh
            })
        })
    }

    /// Frees the node once nobody can stand in it any more.
    ///
    /// # Safety
    /// The caller has just unlinked the node, and nobody else retires it.
    pub(in crate::raw) unsafe fn retire(self, guard: &Guard) {
        let node = self.header;
        let free = move || {
            // SAFETY: unlinked and retired by the caller (I-RETIRE); this runs once, when no guard is left under which
            // the node could have been found.
            unsafe { Inner::free(node) }
        };
        // SAFETY: freeing touches nothing but the node, and may happen on any thread.
        unsafe { guard.retire(free) }
    }

    #[inline]
    pub(crate) fn lock(self) -> LockedInner<'g> {
        self.acquire();
        LockedInner(self)
    }

    /// The same, if nobody holds the lock.
    pub(in crate::raw) fn lock_now(self) -> Option<LockedInner<'g>> {
        self.acquire_now().then(|| LockedInner(self))
    }
}

impl Deref for Inner<'_> {
    type Target = Header;

    #[inline]
    fn deref(&self) -> &Header {
        self.header()
    }
}

impl<'g> From<&'g Node> for Inner<'g> {
    #[inline]
    fn from(node: &'g Node) -> Inner<'g> {
        Inner { header: NonNull::from(node).cast(), life: PhantomData }
    }
}

/// The offsets in a present word.
fn children(mut present: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let offset = (present != 0).then(|| lowest(present))?;
        present &= !bit(offset);
        Some(offset)
    })
}

/// An inner node whose lock is held by the owner of this value.
#[derive(Debug)]
pub(crate) struct LockedInner<'g>(Inner<'g>);

impl<'g> LockedInner<'g> {
    /// The node, for longer than the lock is held.
    #[inline]
    pub(in crate::raw) fn node(&self) -> Inner<'g> {
        self.0
    }

    /// The slot of `offset`, if that has one.
    #[inline]
    fn slot(&self, offset: usize) -> Option<&'g Slot> {
        if self.0.is_full() {
            Some(self.0.full().slot(offset))
        } else {
            // SAFETY: it is small.
            unsafe { self.0.place(offset, Guarded::load_guarded) }
        }
    }

    /// Stores an edge. Of a small node, the offset has a place or there is [room](Inner::has_room) for one.
    #[inline]
    pub(in crate::raw) fn set_edge(&self, offset: usize, edge: Edge) {
        self.slot(offset).unwrap_or_else(|| self.give_place(offset)).set_edge(edge);
    }

    /// Gives `offset` a place, the first that is free.
    fn give_place(&self, offset: usize) -> &'g Slot {
        for line in self.0.lines() {
            let offsets = line.offsets.load_guarded();
            if let Some(place) = free_place(offsets) {
                let byte = 8 * place;
                // Release: E-PLACE. Before the edge (I-PLACE).
                line.offsets.store(
                    offsets & !(u64::from(FREE) << byte) | (offset as u64) << byte,
                    Ordering::Release,
                );
                return &line.places[place];
            }
        }
        unreachable!("whoever stores an edge has made room for it");
    }

    /// Copies all that `node` holds into this one, which has room for it, and which nobody else knows. Places without an edge
    /// stay behind.
    pub(in crate::raw) fn copy(&self, node: &LockedInner<'_>) {
        self.set_present(node.present());
        for tag in Tag::all() {
            self.tags().store(tag, node.tags().load_guarded(tag));
        }
        for offset in node.children() {
            let slot =
                if self.0.is_full() { self.0.full().slot(offset) } else { self.give_place(offset) };
            slot.set_edge(node.edge(offset));
        }
    }

    /// The offsets that have a child.
    pub(in crate::raw) fn children(&self) -> impl Iterator<Item = usize> + use<> {
        children(self.present())
    }
}

/// What the node holds. These hide the methods of [`Inner`] and [`Header`] with the same names: the holder of the lock needs no
/// ordering.
impl LockedInner<'_> {
    #[inline]
    pub(in crate::raw) fn present(&self) -> u64 {
        self.present_guarded()
    }

    #[inline]
    pub(in crate::raw) fn edge(&self, offset: usize) -> Edge {
        self.slot(offset).map_or(Edge::NULL, Slot::edge_guarded)
    }

    /// Whether the node has been unlinked.
    #[inline]
    pub(in crate::raw) fn is_dead(&self) -> bool {
        self.died_guarded()
    }
}

impl<'g> Deref for LockedInner<'g> {
    type Target = Inner<'g>;

    #[inline]
    fn deref(&self) -> &Inner<'g> {
        &self.0
    }
}

impl Drop for LockedInner<'_> {
    #[inline]
    fn drop(&mut self) {
        self.release();
    }
}
