//! Memory in blocks, for page caches.
//!
//! A [`Pool`] hands out *frames*: blocks of 2<sup>9</sup> to 2<sup>24</sup> bytes, each aligned to its own size. A frame is owned. Dropping it, on
//! whatever thread, returns its memory to the pool. The bytes of all frames together have a limit, which can be changed at any time.
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
//! | type | what it is | can be written |
//! |---|---|---|
//! | [`Frame`] | a block with one owner | always |
//! | [`SharedFrame`] | one of several owners of a block that does not change | no |
//! | [`CowFrame`] | a block whose owner gives out images of it | in place, or after a copy if an image is still out |
//!
//! # Use it when
//! * a program keeps many blocks of a few sizes, as a page cache or a buffer pool does, and their memory must have a bound;
//! * blocks must be aligned to their size, for direct I/O;
//! * blocks of different sizes share one bound and come and go for a long time;
//! * the memory must go back to the system when the bound is lowered.
//!
//! # Do not use it when
//! * sizes are arbitrary, or below 512 bytes: a general allocator does that;
//! * blocks live and die together: an arena is simpler.
//!
//! In a child process made by `fork`, frames can be read, written, taken and dropped: what the child takes comes from memory of its own, since
//! a thread that is not there may have the pool's lock, and nothing of the parent's pool goes back before the process ends. `Pool`'s other calls,
//! its `Debug` and the end of [`Regions`] may wait there for ever.
//!
//! This crate has no policy: decide yourself what to evict. Put a frame into a lock, which then gives out `&[u8]` and `&mut [u8]`: [`Latch`] is one whose
//! writer does not wait, when it ends, until its stores have reached the processor's cache.
//!
//! # What it costs
//! A frame takes its size and four bytes more; [`Frame`] itself is two words. To take a frame and to return it is an atomic exchange and a store
//! on a cache line that threads rarely share. A pool keeps up to 752 KiB of free frames in the *magazines* of each processor (up to 64 of them); a thread
//! that meets the limit finds these before it is refused. Figures are in the README.
//!
//! | operation | waits for | allocates | calls the system |
//! |---|---|---|---|
//! | take, return a frame up to 64 KiB | nobody, most of the time; the depot's lock when a magazine is empty or full: once in 4 to 32 calls up to 16 KiB, once in one or two above | no | to give memory back, near the limit |
//! | take, return a larger one | the depot's lock | no | the same |
//! | take one at the limit | the magazines' flags, one after the other, and the lock | no | may discard memory |
//! | the same, when a segment is missing | the depot's lock | what describes 2 MiB | maps it, may discard memory elsewhere |
//! | share, clone, drop an image | nobody | no | no |
//! | [`Pool::resize`], [`Pool::trim`], [`Pool::stats`] | the magazines' flags, one after the other, and the lock | no | the first two: for each segment and gap |
//!
//! The depot's lock is held for less than a microsecond, but for calls of the system: mapping a segment, or discarding what is free, near the limit
//! in all segments.
//!
//! # Memory
//! Memory comes in segments of 2 MiB or more, with huge pages where that is worth it. On Linux and Android memory can go back to the system in parts. Elsewhere
//! segments come from `std::alloc` and go back as a whole.
//!
//! Memory is zero when it is new. The pool remembers which free blocks are, so [`Pool::zeroed`] clears only what was used. [`Pool::frame`] hands out
//! what is there: zeros, or what an earlier frame of the same pool left. Frames of one pool should therefore belong to those who may see each other's data.
//!
//! # Why not an allocator that exists
//! What was looked at in 2026, and what it lacks. The global allocator and its kin (`mimalloc`, `tikv-jemallocator`, `talc`): an aligned
//! allocation takes up to twice the size asked for (measured with glibc: 8,197 bytes for a page of 4,096), there is no limit for one user
//! and no list of the regions for `io_uring`. The arenas of jemalloc and mimalloc come near, in C, for the whole process, behind calls that
//! change with each major version. `bump-scope`, `slabmalloc`, `buddy_system_allocator`: not shared between threads, or behind one lock, and they give
//! nothing back to the system. `sharded-slab`: for values of one type. `memmap2`, `mmap-rs`: a mapping, not blocks.
//! `store-io-buf`: near in spirit, but one arena of fixed classes, which neither grows nor shrinks.
//!
//! # How it is checked
//! Models of all races under loom (`src/models.rs` and `src/latch_models.rs`), in which each use of a block's bytes is an access that loom tracks; a random test against a simple model of
//! a pool, and a fuzzer; stress tests that write patterns from many threads; measurements of the process's memory; mutants. Under Miri segments are small and come from `std::alloc`.
//!
#![doc = include_str!("PROTOCOL.md")]

mod barrier;
mod bits;
mod blocks;
mod error;
mod frame;
pub mod latch;
mod pool;
mod regions;
mod size;
mod sync;
mod system;

#[cfg(all(test, frames_loom))]
mod latch_models;
#[cfg(all(test, frames_loom))]
mod models;

pub use blocks::Limit;
pub use error::Error;
pub use frame::{CowFrame, Frame, SharedFrame};
pub use latch::Latch;
pub use pool::{Pool, Stats};
pub use regions::{Region, Regions};
pub use size::{FRAME_LEN_MAX, FRAME_LEN_MIN, LIMIT_DEFAULT};
pub use system::{start_writing, ticks};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
