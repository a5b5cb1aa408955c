//! The races of writeback under shuttle: the real page cache over the real tree, both visible to the
//! checker, under schedules that are random, driven by priorities, or stall a thread for long.
//!
//! Needs `--cfg writeback_shuttle --cfg radix_shuttle --cfg radix_all_tags` and the feature `shuttle`.
//! The tree has two slots a node then, and notices when a freed node is used; the library checks its
//! invariants at the end of every section (debug assertions on). One race a test; its first line is
//! the claim. What each race is judged by is in `world`.
//!
//! * `WRITEBACK_SCHEDULES`: schedules for each race (default 1000).
//! * `WRITEBACK_SEED`: plays this program of a mix only, to replay one of its schedules.
//! * `CHECKER_FAIL_FAST=1`: the first failure ends the process.
#![cfg(all(writeback_shuttle, feature = "shuttle"))]

mod claims;
mod cuts;
mod device;
mod durable;
mod errors;
mod guards;
mod late;
mod ledger;
mod log;
mod memory;
mod mixes;
mod play;
mod program;
mod stall;
mod syncs;
mod tail;
mod waits;
mod world;
