//! Every call on one index, on its value and its tags together, takes effect at one instant:
//! histories of several threads on few indices are recorded and checked index by index.

#[path = "../common/mod.rs"]
mod common;
mod history;
mod wing_gong;

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use common::{Clock, Race, StartLine, Tree, assert_at_rest, rng, stress_time};
use history::{Player, Record};

/// Calls of one thread in one round.
const CALLS: usize = 8;
/// Rounds played in a row by the same threads.
const BATCH: usize = 32;

struct Round {
    tree: Tree,
    start: StartLine,
    now: AtomicU64,
    records: Mutex<Vec<Record>>,
}

impl Round {
    fn run(&self, indices: &[u64], thread: u64, threads: usize, clock: &Clock, seed: u64) {
        let mut player = Player::new(&self.tree, &self.now, thread, rng(seed));
        self.start.wait(threads, clock);
        for _ in 0..CALLS {
            player.call(indices);
        }
        self.records.lock().unwrap().extend(player.records);
    }

    fn check(&self, indices: &[u64], context: &str) {
        let records = self.records.lock().unwrap();
        for index in indices {
            let mut history: Vec<_> =
                records.iter().filter(|r| r.index == *index).cloned().collect();
            history.sort_by_key(|record| record.begin);
            if let Err(fit) = wing_gong::check(&history) {
                panic!("{context}: at most {fit} calls on {index} fit together: {history:#?}");
            }
        }
        assert_at_rest(&self.tree);
    }
}

/// Plays rounds on fresh trees until the time is over.
fn play(name: &str, threads: usize, indices: &[u64]) {
    let start = Instant::now();
    for turn in 0_u64.. {
        let round = |_| Round {
            tree: Tree::new(),
            start: StartLine::default(),
            now: AtomicU64::new(0),
            records: Mutex::default(),
        };
        let rounds: Vec<_> = (0..BATCH).map(round).collect();
        let mut race = Race::new(stress_time());
        for thread in 0..threads as u64 {
            let rounds = &rounds;
            race = race.thread(move |clock| {
                for (round, n) in rounds.iter().zip(0..) {
                    let seed = (turn * BATCH as u64 + n) * 8 + thread;
                    round.run(indices, thread, threads, clock, seed);
                }
            });
        }
        race.run();
        rounds.iter().for_each(|round| round.check(indices, &format!("{name}, turn {turn}")));
        if start.elapsed() >= stress_time() {
            break;
        }
    }
}

#[test]
fn one_index_four_threads() {
    play("one index", 4, &[7]);
}

#[test]
fn two_indices_of_one_leaf() {
    play("one leaf", 3, &[0, 63]);
}

#[test]
fn three_indices_that_share_a_leaf_and_split_edges() {
    play("leaf and edges", 3, &[64, 65, 300_000]);
}

#[test]
fn four_indices_side_by_side_in_two_leaves() {
    play("side by side", 4, &[62, 63, 64, 65]);
}

#[test]
fn both_ends_of_the_range() {
    play("both ends", 3, &[0, u64::MAX]);
}

#[test]
fn three_leaves_whose_parent_comes_and_goes() {
    play("three leaves", 4, &[0, 64, 1 << 40]);
}
