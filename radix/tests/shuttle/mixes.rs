//! Programs that nobody thought of: three threads, a few calls each, drawn from all there are.

use std::fmt::Write as _;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::play::{play_for, schedules};
use crate::table::{Fan, Race};

/// Programs in one run; they share the schedules of ten races.
const PROGRAMS: u64 = 200;
/// From this seed on, half of the calls are drawn from [`NEWER`]. Those before stay what they were: mutants are known by them.
const WITH_NEWER: u64 = 120;
/// Calls that came later. Their ranges are short: the monitor follows a sweep over every subset of all indices.
const NEWER: &[&str] = &[
    "gather T",
    "mark A i i i",
    if cfg!(radix_wide) { "alloc 4 5" } else { "alloc 0 7" },
    "alloc 0 3",
    "alloc 0 3",
    "remove i",
];

/// Calls, with `i` for an index and `T` for a tag, as often as they are to be drawn.
const CALLS: &[&str] = &[
    "get i",
    "entry i",
    "has i T",
    "any T",
    "scan",
    "scan T",
    "resume T",
    "gang T",
    "insert i",
    "insert i",
    "insert i T",
    "insert i T",
    "remove i",
    "remove i",
    "remove i",
    "set i T",
    "set i T",
    "set i T",
    "clear i T",
    "clear i T",
    "update i A B",
    "update i B A new",
    "swap i",
    "drop i T",
    "make i",
    "copy A B",
    "paint B A",
    "absent i",
    "back T",
    "sweep",
];

/// The indices that are drawn. With four slots a node they are to need small inner nodes of every size.
const INDICES: [u64; 8] =
    if cfg!(radix_wide) { [0, 1, 4, 8, 12, 16, 20, 32] } else { [0, 1, 2, 3, 4, 5, 6, 7] };

fn word(pattern: &str, random: &mut SmallRng) -> String {
    pattern
        .split(' ')
        .map(|word| match word {
            "i" => INDICES.choose(random).expect("eight").to_string(),
            "T" => (*["A", "B"].choose(random).expect("two tags")).to_owned(),
            word => word.to_owned(),
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// The race of a seed. It lives as long as the process: schedulers ask for that.
fn race(seed: u64) -> &'static Race {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut entries = String::new();
    for index in INDICES {
        if random.random_bool(0.4) {
            let tags = *["", ":A", ":B", ":AB"].choose(&mut random).expect("four");
            write!(entries, "{index}{tags} ").expect("a string takes everything");
        }
    }
    let threads: Vec<&'static str> = (0..3)
        .map(|_| {
            let calls: Vec<_> = (0..random.random_range(1..=3))
                .map(|_| {
                    let newer = seed >= WITH_NEWER && random.random();
                    let calls = if newer { NEWER } else { CALLS };
                    word(calls.choose(&mut random).expect("some"), &mut random)
                })
                .collect();
            &*calls.join("; ").leak()
        })
        .collect();
    let name = format!("mix {seed}: {entries}| {threads:?}").leak();
    let fan = if cfg!(radix_wide) { Fan::Four } else { Fan::Two };
    Box::leak(Box::new(Race { name, fan, entries: entries.leak(), threads: threads.leak() }))
}

#[test]
fn random_mixes() {
    let share = (schedules() * 10).div_ceil(usize::try_from(PROGRAMS).expect("few"));
    (0..PROGRAMS).for_each(|seed| play_for(race(seed), share));
}
