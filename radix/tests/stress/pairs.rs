//! Every pair of operations on the same few indices, with a third thread scanning.

use crate::common::{Ledger, Race, rng, stress_time};
use crate::field::Field;
use crate::kinds::{Kind, READS, WRITES};

type Named = (&'static str, Kind);

/// Runs two operations against each other, on a tree with sentinels apart and among them.
fn fight(ledger: &'static Ledger, one: Named, other: Named, seed: u64) {
    for among in [false, true] {
        let field = Field::new(ledger, among);
        let repeat = |kind: Kind, seed| {
            let (field, mut random) = (&field, rng(seed));
            move |_| {
                let mut p = field.tree.pin();
                (0..16).for_each(|_| kind(field, &mut p, &mut random));
            }
        };
        let names = format!("{} against {}", one.0, other.0);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            Race::new(stress_time() / 150)
                .repeat(repeat(one.1, 2 * seed))
                .repeat(repeat(other.1, 2 * seed + 1))
                .repeat(|turn| field.watch(turn))
                .run();
            field.assert_intact();
        }));
        assert!(caught.is_ok(), "{names}, sentinels among what is fought over: {among}");
    }
}

fn all(pairs: impl Iterator<Item = (Named, Named)>) {
    let ledger = Ledger::new();
    for ((one, other), seed) in pairs.zip(0..) {
        fight(ledger, one, other, seed);
    }
    assert!(ledger.made() > 1_000, "the threads did something");
    ledger.settle(0);
}

#[test]
fn every_pair_of_writes() {
    let pairs = WRITES
        .iter()
        .enumerate()
        .flat_map(|(n, one)| WRITES[n..].iter().map(|other| (*one, *other)));
    all(pairs);
}

#[test]
fn every_write_against_every_read() {
    all(WRITES.iter().flat_map(|one| READS.iter().map(|other| (*one, *other))));
}

#[test]
fn all_operations_at_once() {
    let ledger = Ledger::new();
    let field = Field::new(ledger, false);
    let mix = |seed| {
        let (field, mut random) = (&field, rng(seed));
        move |turn: u64| {
            let mut p = field.tree.pin();
            for n in 0..16 {
                let at = usize::try_from(turn * 16 + n + seed).unwrap();
                let (_, kind) =
                    if n % 4 == 0 { READS[at % READS.len()] } else { WRITES[at % WRITES.len()] };
                kind(field, &mut p, &mut random);
            }
        }
    };
    Race::new(2 * stress_time())
        .repeat(mix(1))
        .repeat(mix(2))
        .repeat(mix(3))
        .repeat(|turn| field.watch(turn))
        .run();
    field.assert_intact();
    drop(field);
    ledger.settle(0);
}
