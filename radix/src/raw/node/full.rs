//! The full node: layout, allocation, the guard of its lock. `full` does not know what tags mean nor how nodes hang together.

use core::ops::Deref;
use core::ptr::NonNull;

use super::edge::Edge;
use super::header::Header;
use super::hint;
use super::index::{FANOUT, bit, offset};
use super::lock::VersionLock;
use super::word::{Entry, Slot, Word};
use crate::arena;
use crate::reclaim::Guard;
use crate::sync;
use crate::tag::Tag;

/// A full node: a header, then a slot for each offset. Leaves and inner nodes alike.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Node {
    header: Header,
    slots: [Slot; FANOUT],
}

const _: () = assert!(align_of::<Node>() == 64, "an edge keeps six bits of a node's address");
const _: () = assert!(sync::CHECKED || size_of::<Node>() == 64 + size_of::<Slot>() * FANOUT);

impl Node {
    /// Bytes a full node takes.
    pub(crate) const BYTES: usize = size_of::<Node>();

    pub(in crate::raw) fn new(level: u8, index: u64, lock: VersionLock) -> NonNull<Node> {
        arena::place(|| Node {
            header: Header::new(level, 0, index, lock),
            slots: core::array::from_fn(|_| Slot::empty()),
        })
    }

    /// An empty leaf for `index` and its neighbours.
    pub(crate) fn leaf(index: u64) -> NonNull<Node> {
        Node::new(0, index, VersionLock::unlocked())
    }

    /// Frees the memory of a node.
    ///
    /// # Safety
    /// `node` came from this module, no one can reach it any more, and it is freed once.
    pub(crate) unsafe fn free(node: NonNull<Node>) {
        // SAFETY: under a checker, too, the memory is still there.
        #[cfg(any(radix_loom, radix_shuttle))]
        unsafe {
            node.as_ref().end(node.as_ptr());
        }
        // SAFETY: `new` had it placed; sole access and "once" are the caller's word.
        #[cfg(not(any(radix_loom, radix_shuttle)))]
        unsafe {
            arena::free(node);
        }
    }

    /// The full node an edge leads to.
    ///
    /// # Safety
    /// `edge` leads to a full node, and was read, while `guard` was held, from a node reached under the same guard or from
    /// the root; or the caller holds the tree exclusively.
    #[inline]
    pub(crate) unsafe fn of(edge: Edge, guard: &Guard) -> &Node {
        let _ = guard;
        // SAFETY: the node was complete when the edge was stored (I-PUBLISH) and has been retired, if at all, after
        // it was linked nowhere (I-RETIRE), so not before the guard was made: it stays until the guard is gone.
        let node: &Node = unsafe { &*edge.pointer() };
        node.alive();
        node
    }

    /// The node an edge leads to, if it leads to `level` without SKIP.
    ///
    /// # Safety
    /// As for [`Node::of`], and [`edge.leads_to(level)`](Edge::leads_to).
    #[inline]
    pub(crate) unsafe fn of_plain(edge: Edge, level: u8, guard: &Guard) -> &Node {
        let _ = guard;
        // SAFETY: as in `of`; the bits of the edge are `level`, so this is the same pointer.
        let node: &Node = unsafe { &*edge.plain_pointer(level) };
        node.alive();
        node
    }

    /// Frees the node once nobody can stand in it any more.
    ///
    /// # Safety
    /// The caller has just unlinked the node, and nobody else retires it.
    pub(crate) unsafe fn retire(&self, guard: &Guard) {
        let node = NonNull::from(self);
        let free = move || {
            // SAFETY: unlinked and retired by the caller (I-RETIRE); this runs once, when no guard is left under which
            // the node could have been found.
            unsafe { Node::free(node) }
        };
        // SAFETY: freeing touches nothing but the node, and may happen on any thread.
        unsafe { guard.retire(free) }
    }

    #[inline]
    pub(crate) fn slot(&self, offset: usize) -> &Slot {
        self.alive();
        &self.slots[offset & (FANOUT - 1)]
    }

    /// The edge at `offset`.
    #[inline]
    pub(crate) fn edge(&self, offset: usize) -> Edge {
        let edge = self.slot(offset).edge();
        self.alive();
        edge
    }

    /// The value at `offset`.
    #[inline]
    pub(crate) fn value(&self, offset: usize) -> Option<Word> {
        let value = self.slot(offset).value();
        self.alive();
        value
    }

    /// Has the processor fetch the slot at `offset`.
    #[inline]
    pub(in crate::raw) fn prefetch_slot(&self, offset: usize) {
        hint::prefetch(&raw const self.slots[offset & (FANOUT - 1)]);
    }

    /// Has the processor fetch all slots of the full leaf that an edge leads to.
    #[inline]
    pub(in crate::raw) fn prefetch_slots(edge: Edge) {
        let leaf = edge.word().cast::<u8>();
        for line in 1..Node::BYTES / 64 {
            hint::prefetch(leaf.wrapping_byte_add(64 * line));
        }
    }

    /// What the slot and the tag words of a leaf say about one offset. They belong together only under the version or
    /// the lock.
    #[inline]
    pub(in crate::raw) fn peek(&self, offset: usize) -> Option<Entry> {
        let value = self.value(offset)?;
        Some(Entry { value, tags: self.tags().at(bit(offset)) })
    }

    /// What the word of `tag` says about `index`, which this leaf covers.
    #[inline]
    pub(in crate::raw) fn has_tag(&self, index: u64, tag: Tag) -> bool {
        self.tags().load(tag) & bit(offset(index, 0)) != 0
    }

    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_> {
        self.acquire();
        Locked(self)
    }

    /// The same, if nobody holds the lock.
    pub(in crate::raw) fn lock_now(&self) -> Option<Locked<'_>> {
        self.acquire_now().then(|| Locked(self))
    }
}

impl Deref for Node {
    type Target = Header;

    #[inline]
    fn deref(&self) -> &Header {
        &self.header
    }
}

/// A full leaf whose lock is held by the owner of this value.
#[derive(Debug)]
pub(crate) struct Locked<'g>(&'g Node);

impl<'g> Locked<'g> {
    /// The leaf, for longer than the lock is held.
    #[inline]
    pub(crate) fn node(&self) -> &'g Node {
        self.0
    }
}

impl Deref for Locked<'_> {
    type Target = Node;

    #[inline]
    fn deref(&self) -> &Node {
        self.0
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        self.release();
    }
}
