//! The races, on the real code, under shuttle: random and priority-driven schedules, every history checked for
//! linearizability and against the scan contract, every access to a freed node noticed.
//!
//! Needs `--cfg radix_shuttle` and the feature `shuttle`; with `--cfg radix_wide` it plays the races of fan-out 4, without
//! those of fan-out 2. `TAGGED_RADIX_SCHEDULES` is the number of schedules for each race.
#![cfg(all(radix_shuttle, feature = "shuttle"))]

#[path = "../races/call.rs"]
mod call;
#[path = "../races/effect.rs"]
mod effect;
mod mixes;
#[path = "../races/monitor.rs"]
mod monitor;
mod play;
#[path = "../races/stamp.rs"]
mod stamp;
#[path = "../races/table.rs"]
mod table;
#[path = "../races/told.rs"]
mod told;

mod common {
    /// Bits of an index that one level of the tree takes.
    pub(crate) const BITS: u32 = if cfg!(radix_wide) { 2 } else { 1 };
}

use play::play;
use table::{Fan, Race};

fn run(races: &'static [Race]) {
    let wide = cfg!(radix_wide);
    for race in races.iter().filter(|race| matches!(race.fan, Fan::Four) == wide) {
        play(race);
    }
}

table::tests!(run);
