//! Short races: two or three threads run a few calls each on a small tree, many times over, and
//! each history is checked for linearizability and against the scan contract.

mod call;
#[path = "../common/mod.rs"]
mod common;
mod effect;
mod monitor;
mod play;
mod stamp;
mod table;

use play::play;
use table::Race;

fn run(races: &[Race]) {
    for race in races {
        play(race);
    }
}

#[test]
fn tags_against_tags() {
    run(table::TAGS);
}

#[test]
fn tags_against_removal_and_insertion() {
    run(table::REMOVAL);
}

#[test]
fn new_leaf_unlink_and_splice() {
    run(table::LEAVES);
}

#[test]
fn split_and_new_top() {
    run(table::SPLITS);
}

#[test]
fn range_tagging_and_resumed_scans() {
    run(table::RANGES);
}

#[test]
fn inner_nodes_with_room() {
    run(table::WIDE);
}

#[test]
fn longer_mixes() {
    run(table::MIXES);
}
