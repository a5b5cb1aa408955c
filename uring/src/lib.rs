//! Files for the page cache [`writeback`], read and written through Linux's `io_uring`.
//!
//! [`UringStore`] is a file past the kernel's cache, as [`DirectStore`](writeback::DirectStore) is, whose calls do not wait: reads, writes
//! and flushes are handed to the kernel, many at a time, and end on a thread of the store's own.
//!
//! ```
//! use writeback::Mapping;
//! use writeback_uring::UringStore;
//!
//! # let folder = tempfile::tempdir_in(".")?;
//! # if UringStore::probe().is_err() { return Ok(()) }
//! let path = folder.path().join("pages");
//! let handle = match UringStore::create(&path) {
//!     // The kernel has no io_uring, or the file system no direct I/O.
//!     Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return Ok(()),
//!     created => Mapping::open(created?)?.handle(),
//! };
//! handle.write_at(b"hello", 0)?;
//! handle.sync_data()?;
//! assert_eq!(std::fs::read(&path)?, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Use it when
//! * many pages are read at once from a fast device, by several threads, by tasks or ahead: one thread's reads then take as long as the slowest;
//! * syncs find many single dirty pages, which the device takes side by side;
//! * the memory of a second copy in the kernel is too dear.
//!
//! # Do not use it when
//! * one thread reads one page after the other: each read goes over the store's thread, and takes two switches of threads more than `pread`;
//! * the kernel's cache is the larger one, or the system forbids `io_uring`, as many container runtimes do: [`UringStore::probe`] tells.
//!
//! # What it needs
//! Linux 5.13, and 5.19 for memory that is [registered](UringOptions::memory); on other systems the crate compiles and every constructor says [`Unsupported`](std::io::ErrorKind::Unsupported). Why the kernel refuses is
//! said by [`Refused`].
//!
//! # How it works
//! A call leaves what it is given, as a *flight*, in a queue, and wakes the store's thread if that sleeps. The thread alone has the ring. It takes what there is, keeps as many
//! flights with the kernel as the ring has [entries](UringOptions::entries), goes on with those that ended short, and ends the others. `flight` knows what a flight owns, `span`
//! what is left of it, `queue` how the thread is woken, `progress` whether the store may be going, `drive` the order of all that. `ring` says what a ring does; `system` alone speaks with the kernel's.
//!
//! # What unsafe code relies on
//! * **I-PINNED**: the bytes and the array of slices that an entry handed to the kernel points to belong to a flight. It has them since before the entry was pushed, nobody else reaches
//!   them, and it keeps them until the entry's end was taken out of the ring; or until the entry was taken back, which the kernel has not seen then, and does not: nobody enters that ring
//!   any more. A thread that can wait for neither leaks the flight.
//! * **I-REGISTERED**: memory that is registered with a ring stays where it is for as long as the ring exists: the [`Regions`](page_frames::Regions) that it was found in are dropped after the ring.
//! * **I-ALONE**: a ring belongs to one thread, which alone pushes, enters and reaps.

#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "nobody has a ring there"))]

mod drive;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(all(test, not(uring_loom)))]
mod fake;
mod flight;
#[cfg(target_os = "linux")]
mod memory;
mod progress;
mod queue;
mod refused;
mod ring;
mod span;
mod store;
mod sync;
#[cfg(target_os = "linux")]
mod system;

#[cfg(not(target_os = "linux"))]
use elsewhere as system;
pub use refused::Refused;
pub use ring::Registered;
pub use store::{UringOptions, UringStore};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
