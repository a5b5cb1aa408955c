//! Threads against each other: every pair of operations, each promise of the crate, and the
//! lives of values.

#[path = "../common/mod.rs"]
mod common;
mod field;
mod kinds;
mod lives;
mod order;
mod pairs;
mod promises;
mod range_tagging;
