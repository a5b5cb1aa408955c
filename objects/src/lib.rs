//! A store for [`writeback`] on object storage: S3, Google Cloud Storage, Azure, a folder, or anything else that [`object_store`] speaks to.
//!
//! A folder is durable only as `LocalFileSystem::new_with_prefix(folder)?.with_fsync(true)`: without that it does not sync files, and `Ok` of a flush says nothing.
//!
//! [`ObjectPages`] keeps pages as keys of a [slatedb] database. A flush is one write that is durable as a whole or not at all: after a crash the
//! store is as some flush left it, and nothing between two. Whoever opens it shuts out whoever had it open before, who is told
//! so by [`StoreError::Fenced`](writeback::StoreError::Fenced). [Checkpoints](ObjectPages::checkpoint) and [clones](ObjectPages::clone_to)
//! copy nothing.
//!
//! | what | where it is until the flush | after it |
//! |---|---|---|
//! | written | in memory, up to [`staging_bytes`](ObjectOptions::staging_bytes) | a key of its own |
//! | written, and too much for that | spilled: put into the database, where nobody looks for it | there; a key of the run says so |
//! | cut off, punched | in memory | a key of the run says that it is zeros; what was there is swept up |
//!
//! What it costs and how it fails is in `docs/guides/object-store.md` of the repository.
//!
//! # Features
//! `aws`, `gcp` and `azure` are those of [`object_store`]. Without any there are its stores in memory, in a folder, and your own.

#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod ahead;
mod error;
mod flush;
mod garbage;
mod history;
mod keys;
mod layer;
mod open;
mod options;
mod pages;
mod read;
mod runs;
mod spill;
mod sweep;

pub use slatedb::object_store;

pub use error::OpenError;
pub use options::ObjectOptions;
pub use pages::ObjectPages;
pub use slatedb;
pub use uuid;
