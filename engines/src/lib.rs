//! A storage engine on top of `writeback`, and what it must survive there.
//!
//! [`Cached`] is the whole adapter: [redb](https://www.redb.org) with its pages in a
//! [`Mapping`](writeback::Mapping) instead of the kernel's page cache. The rest puts it to the test:
//!
//! * [`history`]: a sequence of transactions, each a function of its number, and so what the
//!   database must hold after the first so many of them.
//! * [`session`]: performs them on a database, and looks at what a database holds.
//! * [`work`]: several threads, snapshots, savepoints, integrity checks and compactions.
//! * [`kill`]: `kill -9` in the middle of commits, again and again, and power cuts after some of them, in a file whose
//!   changes are [`recorded`].
//! * [`cuts`]: power cuts at any write, flush or change of the length.
//! * [`faults`]: writes and flushes that fail, and a store that is full.
//!
//! Each of the last four ends in a report, or in a [`Failure`] that says what was lost.
#![forbid(unsafe_code)]

pub mod backend;
pub mod cuts;
pub mod failure;
pub mod faults;
pub mod files;
#[cfg(doctest)]
mod guides;
pub mod history;
pub mod kill;
mod locks;
pub mod mark;
mod peers;
pub mod recorded;
pub mod session;
mod team;
pub mod work;

pub use backend::Cached;
pub use failure::Failure;
