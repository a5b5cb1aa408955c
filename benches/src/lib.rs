//! Measures `tagged-radix` and `writeback` beside what people use today: workloads and contenders as data, one harness, one report.

pub mod contender;
pub mod engine;
pub mod garbage;
pub mod harness;
pub mod hits;
pub mod json;
pub mod keys;
pub mod latency;
pub mod machine;
pub mod memory;
pub mod pages;
pub mod plot;
pub mod resident;
pub mod stats;
pub mod table;
pub mod target;
pub mod threads;
pub mod workload;
