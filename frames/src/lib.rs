//! Memory in blocks, for page caches.
//!
//! A [`Pool`] hands out *frames*: blocks of 2<sup>9</sup> to 2<sup>24</sup> bytes, each aligned to its own size. A frame is owned;
//! dropping it, on whatever thread, gives its memory back to the pool. What all frames take together has a limit in bytes.
//!
//! ```
//! use page_frames::{Limit, Pool};
//!
//! let pool = Pool::new(64 << 20);
//! let mut frame = pool.zeroed(4096, Limit::Keep)?;
//! frame[..5].copy_from_slice(b"hello");
//! let image = frame.into_shared(); // cheap to clone, never changes
//! let other = image.clone();
//! assert_eq!(&other[..5], b"hello");
//! # Ok::<(), page_frames::Error>(())
//! ```
//!
//! | type | is | can be written |
//! |---|---|---|
//! | [`Frame`] | a block with one owner | always |
//! | [`SharedFrame`] | one of several owners of a block that does not change | no |
//! | [`CowFrame`] | a block whose owner gives out images of it | after a copy, if an image is still out |
//!
//! # What it costs
//! A frame takes its size and four bytes, no more: [`Frame`] itself is two words. Taking a frame and giving it back is an atomic exchange and a store
//! on a line of the thread's own. A pool keeps up to 752 KiB of free frames in each of its *magazines*, of which it has as many as the machine
//! has processors (rounded up to a power of two), whatever the number of threads; these are found again before anybody is told
//! that the limit is reached. The figures of `benches/frames.rs` are in the README.
//!
//! # Why not an allocator that exists
//! What was looked at in 2026, and what it lacks. The global allocator and its kin (`mimalloc`, `tikv-jemallocator`, `talc`): an aligned
//! allocation takes up to twice the size asked for (measured with glibc: 8,197 bytes for a page of 4,096), there is no limit for one user
//! and no list of the regions for `io_uring`; the arenas of jemalloc and mimalloc come near, in C, for the whole process, behind calls that
//! change with each major version. `bump-scope`, `slabmalloc`, `buddy_system_allocator`: not shared between threads, or behind one lock, and they give
//! nothing back to the system. `sharded-slab`: for values of one type. `memmap2`, `mmap-rs`: a mapping, not blocks; a pool would be as long.
//! `store-io-buf`: near in spirit, but one arena of fixed classes, which neither grows nor shrinks.
//!
//! # How memory is laid out
//! A *segment* is 2 MiB (or one frame, if that is larger), aligned to its size, mapped when it is needed and cut into blocks of one *class*, which is a size.
//! All that is known of a segment lies outside it, so that frames of 2 MiB do not waste a second segment. A segment
//! all of whose blocks are free serves any class. One that is free in part does not, but its free blocks need not keep memory: before the pool
//! maps a segment that would take it above its limit, and in [`Pool::trim`] and [`Pool::resize`], the system gets back what
//! lies under free blocks. So pages of 4 KiB scattered over all segments are no obstacle for frames of 16 KiB; what they cost is
//! address space and, until they are dense again, huge pages. Free blocks are taken from the oldest segment that has one,
//! so that the youngest become empty.
//!
//! Huge pages are advised for a class's second segment and the following ones: the memory of a small pool grows by small pages.
//!
//! Memory is zero when it is mapped and whenever the system gave it back; the pool remembers of which blocks that is true, so
//! [`Pool::zeroed`] clears only what was used. [`Pool::frame`] hands out what is there: zeros, or what an earlier frame of the same pool left.
//!
//! # Who owns a block
//! Every block is in exactly one place: free in its segment (a bit, guarded by the lock of the *center*), in a magazine (guarded by the magazine's flag), or out as a frame.
//!
//! ```text
//!             refill, a batch            pop
//!    center ─────────────────> magazine ─────> Frame <────> CowFrame ──share──> SharedFrame
//!    (lock) <───────────────── (flag)   <─────   │                                  │ last of them
//!             overflow, drain            push    └──────────────────────────────────┘
//! ```
//!
//! A magazine's flag is only tried: a thread that finds it taken uses the neighbour, and then the center. Frames above 64 KiB have no
//! magazine. Closing (the last [`Pool`] is dropped) marks every magazine and empties it; from then on blocks go to the center, and a segment
//! that becomes whole is unmapped. Each segment holds a reference to the pool's inner part, which goes with the last of them.
//!
//! # Invariants
//! * **I-ONE** A block that is out has one owner: one `Frame`, or one `CowFrame` and its `SharedFrame`s, or several `SharedFrame`s. A block
//!   is handed out only by the thread that cleared its bit, or took it from a magazine, in a critical section. (`Central::take`, `Shelf::pop`;
//!   relied on by all that touches bytes.)
//! * **I-ALIVE** While a block of it is out or in a magazine, a segment is mapped and described, and so is its pool. Only a segment whose bits
//!   are all set is retired. (`Central::retire`; relied on by `Block`.)
//! * **I-BLOCK** The word of a `Block` is the address of a block of its segment, of the segment's class, with flags in the nine bits that alignment leaves free.
//! * **I-BYTES** All bytes of a mapped segment are initialized: the system gives zeros. (`system`; relied on by every slice.)
//! * **I-ALONE** A `Frame`, or a `CowFrame` that is not marked shared, is the only one to reach its bytes. The count of a block says how many
//!   owners it has, and is meaningful only while it is shared. (`frame`.)
//! * **I-SHELF** What a magazine holds is touched only by the thread that set its flag. After it cleared the flag, a thread that has no block and no
//!   reference of its own touches nothing of the pool any more. (`Shard::try_with`, `give_back`.)
//!
//! # Orderings
//! | name | writer | reader | what becomes visible |
//! |---|---|---|---|
//! | E-SHELF | the flag's Release store in `Shard` | its Acquire compare-and-swap | what the magazine holds, and the last uses of those blocks' bytes |
//! | E-CENTER | unlocking the center | locking it | bits and lists, and the last uses of free blocks' bytes |
//! | E-COUNT | the Release decrement of a count, by each owner that goes | the Acquire fence of the last, the Acquire load of one that finds itself alone | that the others read no more |
//!
//! Increments of a count are Relaxed: they are made by an owner, so the count cannot fall to zero meanwhile, and the new owner gets to know of the block by other means.
//!
//! # What is not known here
//! What a frame holds, who may write when, and what to evict. This crate has no latch: put a frame into a lock of yours, which then gives out
//! `&[u8]` and `&mut [u8]`.
//!
//! # How it is checked
//! Models under loom (`--cfg frames_loom`, feature `loom`: `models`), in which every use of a block's bytes is a tracked access; a model of the pool under
//! proptest and a fuzzer; a stress test that writes patterns; mutants. Under Miri segments are small and come from
//! `std::alloc`; the tests are meant to pass there.

mod bits;
mod block;
mod central;
mod error;
mod frame;
mod pool;
mod segment;
mod shard;
mod size;
mod sync;
mod system;

#[cfg(all(test, frames_loom))]
mod models;

pub use error::Error;
pub use frame::{CowFrame, Frame, SharedFrame};
pub use pool::{Limit, Pool, Region, Regions, Stats};
pub use size::{FRAME_LEN_MAX, FRAME_LEN_MIN};
