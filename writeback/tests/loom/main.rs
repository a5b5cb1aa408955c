//! The page cache under loom: two or three threads, few calls each, in every interleaving with at most so many
//! preemptions (`LOOM_MAX_PREEMPTIONS`, default 2; with `LOOM_QUICK` one in the longest models, and some of the executions with two), and with every value that the memory orderings let a load return.
//!
//! Needs `--cfg writeback_loom` and the feature `loom`. One race a test; its first line is the claim. The tree below the
//! cache is one lock here, so what orders memory is the page's words and that lock; the store (`disk`) orders nothing, so
//! that what it may rely on has to come from the cache. Pages have 512 bytes, all the same: a page's version.
//!
//! Not modelled: time, which stands still.
//!
//! * `CHECKER_FAIL_FAST=1`: the first failure ends the process.
#![cfg(all(writeback_loom, feature = "loom"))]

mod disk;
mod model;
mod world;

mod blocks;
mod claims;
mod cuts;
mod durable;
mod errors;
mod guards;
mod late;
mod locks;
mod memory;
mod peers;
mod redirty;
mod runs;
mod space;
mod stalls;
mod syncs;
mod tail;
mod tasks;
mod threads;
mod waits;
mod writes;
