//! Where nodes live: in boxes, or with the feature `arena` in memory that the crate cuts up itself.
//!
//! An allocator for everybody pays for what a tree has no use for. Nodes are 64 bytes or a few times that and aligned to 64, which costs glibc's a quarter of a
//! full node in padding and headers, and 24 bytes, which costs it 32. Here a *cell* is as large as its node, cells of one size lie side by side, and where
//! there are many, huge pages can lie under them.
//!
//! # How memory is cut
//!
//! | part | what it is |
//! |---|---|
//! | segment | 2 MiB, aligned to that, from the system: a page that describes the slabs, and the slabs |
//! | slab | 36 KiB, of which the last one in a segment has 28: cells of one size, or empty. The least number of pages that the sizes of all kinds of nodes divide |
//! | cell | room for one node: of 24 bytes, or of a multiple of 64 |
//! | depot | all segments, behind one lock |
//! | magazine | up to two *batches* of cells of a size that a thread has at hand; a batch is 4 KiB, or 64 cells of 24 bytes |
//!
//! A thread takes cells from its magazines and puts them there, without a lock or an atomic access. One batch at a time goes to the depot or comes from it, under the lock. So there
//! is nothing here that a model checker would have to play: all that threads share is behind the lock, and whatever one thread did to a cell comes before what the next
//! one does by the lock, or by what hands a node from thread to thread anyway.
//!
//! At its end a thread gives back what it has. Nodes that are made or freed later still, by destructors of other thread-locals, go to the depot one by one.
//!
//! # What goes back
//! A slab that becomes empty serves any size next. Few empty slabs hold memory: what is beyond that goes back to the system at once, where it takes parts
//! ([`Depot`](depot::Depot) says how many). Of segments without a used slab one is kept. So a tree which breathes does not call the system with each breath.
//! A cell in a magazine keeps its slab. A thread that lives has up to 16 full nodes in its magazines, 32, 64 and 128 of the smaller ones: where they come from as many slabs,
//! these are 8.5 MiB. `Guard::flush` gives them back, for its thread.
//!
//! # Huge pages
//! A huge page is resident as a whole. Below [`HUGE_FROM`](depot::HUGE_FROM) segments it is refused, since one that is barely used would be a good part of all, and a tree of some
//! nodes must not take 2 MiB. From there on it is welcome, for the older segments, too, which the system may collapse in its own time.
//!
//! # Fork
//! A child process has only the thread that forked. So whoever forks takes the lock before and releases it after, in parent and child: what the lock guards is then whole in both. What
//! other threads of the parent had in their magazines is lost to the child.
//!
//! # Invariants
//!
//! | name | what holds |
//! |---|---|
//! | A-LOCK | the depot, the headers of segments and the links of free cells in slabs are touched under the lock only |
//! | A-MAPPED | each slab that a list of the depot names is of a segment that is mapped; a segment is unmapped when no cell of it is out, and its slabs have been taken from the lists |
//! | A-CELL | a cell is in one place: in a node's use, in one magazine, free in its slab, or not handed out since the slab was last empty |
//! | A-OWN | a magazine is used by its thread only, and by no call within another one |
//!
//! What is freed is trusted to have come from here, as with any allocator. Addresses are *exposed*: a cell is found again by its address alone, since references to a node do not reach
//! beyond it.

use core::ptr::NonNull;

#[cfg(not(all(feature = "arena", not(any(radix_loom, radix_shuttle, miri)))))]
mod boxes;
#[cfg(all(feature = "arena", not(any(radix_loom, radix_shuttle, miri))))]
mod cells;
#[cfg(all(feature = "arena", not(any(radix_loom, radix_shuttle, miri))))]
mod class;
#[cfg(all(feature = "arena", not(any(radix_loom, radix_shuttle, miri))))]
mod depot;
#[cfg(all(feature = "arena", not(any(radix_loom, radix_shuttle, miri))))]
mod magazine;
#[cfg(all(feature = "arena", not(any(radix_loom, radix_shuttle, miri))))]
mod segment;
#[cfg(all(feature = "arena", not(any(radix_loom, radix_shuttle, miri))))]
mod shared;
#[cfg(all(feature = "arena", not(any(radix_loom, radix_shuttle, miri))))]
mod system;
#[cfg(all(test, feature = "arena", not(any(radix_loom, radix_shuttle, miri))))]
mod tests;

#[cfg(not(all(feature = "arena", not(any(radix_loom, radix_shuttle, miri)))))]
use self::boxes as memory;
#[cfg(all(feature = "arena", not(any(radix_loom, radix_shuttle, miri))))]
use self::cells as memory;

/// Memory for a node that `make` makes.
///
/// As `Box` does, it ends the process, or does what the program has asked for, where there is no memory.
#[inline]
pub(crate) fn place<T>(make: impl FnOnce() -> T) -> NonNull<T> {
    memory::place(make)
}

/// Frees a node's memory.
///
/// # Safety
/// `node` came from [`place`], with this type; no one can reach it any more, and it is freed once.
#[cfg(not(any(radix_loom, radix_shuttle)))]
#[inline]
pub(crate) unsafe fn free<T>(node: NonNull<T>) {
    // SAFETY: the caller's word.
    unsafe { memory::free(node) }
}

/// Gives back what the calling thread has at hand for more nodes.
#[inline]
pub(crate) fn give_back() {
    memory::give_back();
}

/// What the nodes of all trees in this process take, with the [feature `arena`](crate#features).
#[cfg(feature = "arena")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct NodeMemory {
    /// Nodes that are in a tree, or were unlinked and are not freed yet; and what other threads that live have at hand for more.
    pub nodes: usize,
    /// Bytes of these.
    pub node_bytes: usize,
    /// Bytes that hold memory of the system: these, and what is free beside them.
    pub held_bytes: usize,
    /// Bytes of addresses that are set aside: a multiple of 2 MiB.
    pub mapped_bytes: usize,
}

/// Asks what the nodes of all trees in this process take. Where nodes are boxes all the same, as under Miri, it is 0.
///
/// # Concurrency
/// Takes the arena's lock. Gives back what the calling thread has at hand.
///
/// # Examples
/// ```
/// use tagged_radix::{Inline, RadixTree, node_memory};
///
/// let tree: RadixTree<Inline> = (0..100_000).map(|n| (n, Inline::new(n).expect("small"))).collect();
/// let memory = node_memory();
/// assert!(memory.node_bytes as u64 >= tree.stats().bytes);
/// assert!(memory.held_bytes >= memory.node_bytes);
/// ```
#[cfg(feature = "arena")]
pub fn node_memory() -> NodeMemory {
    memory::node_memory()
}
