//! Benchmarks of `tagged-radix` against what people use today, measured side by side.
//!
//! * [`workload`]: what is measured, as data. A new question is a new row there.
//! * [`contender`]: who is measured. A new peer is a new file there.
//! * [`harness`]: how: all contenders in turn within each round, medians, ratios of the same round.
//! * [`table`]: the result as a Markdown table.
//!
//! The binary `baseline` runs all rows on all contenders; the criterion bench `micro` takes the single-threaded rows.

pub mod contender;
pub mod harness;
pub mod table;
pub mod workload;

/// The examples of the workspace's README, run as doctests.
#[doc = include_str!("../../README.md")]
#[cfg(doctest)]
pub struct WorkspaceReadme;
