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
mod told;

use play::play;
use table::Race;

fn run(races: &[Race]) {
    for race in races {
        play(race);
    }
}

table::tests!(run);
