//! Sequential behaviour of every public function.

mod absent;
mod batches;
mod both_ends;
#[path = "../common/mod.rs"]
mod common;
mod cursor;
mod edges;
mod entries;
mod lists;
mod lonely;
mod neighbours;
mod ranges;
mod reentrant;
mod sections;
mod tags;
mod trees;
mod values;
