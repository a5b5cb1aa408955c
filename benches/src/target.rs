//! What the first contender is meant to reach, compared with what was measured.

use crate::contender::{BARE, FLAT, Hold};
use crate::harness::Outcome;
use crate::keys::DataSet;
use crate::stats::Spread;
use crate::workload::Op;

/// A bound on the first contender's cost.
#[derive(Debug)]
pub struct Target {
    /// What is bounded, in words.
    pub title: &'static str,
    /// The bound: what is measured must not be more.
    pub limit: f64,
    /// The bound's unit.
    pub unit: &'static str,
    figure: Figure,
    applies: fn(&Outcome) -> bool,
}

/// What is compared with the bound, in each row to which the target applies.
#[derive(Clone, Copy, Debug)]
enum Figure {
    /// The cost itself.
    Cost,
    /// The cost over that of this contender, round by round.
    Over(&'static str),
    /// The cost with two threads over that with one.
    Scaling,
}

/// What became of a target.
#[derive(Debug)]
pub struct Verdict {
    /// The target.
    pub target: &'static Target,
    /// The highest figure and where it was measured.
    pub worst: Option<(f64, String)>,
}

impl Verdict {
    /// Whether the target is met; `None` if nothing was measured.
    pub fn met(&self) -> Option<bool> {
        self.worst.as_ref().map(|(worst, _)| *worst <= self.target.limit)
    }
}

fn dense(row: &Outcome) -> bool {
    matches!(row.set, DataSet::Dense(_))
}

fn large(row: &Outcome) -> bool {
    row.set.entries() >= 1 << 20
}

fn is(row: &Outcome, op: Op) -> bool {
    row.op == op && row.hold == Hold::Each
}

fn lookup_dense(row: &Outcome) -> bool {
    is(row, Op::Lookup) && dense(row)
}

fn lookup_elsewhere(row: &Outcome) -> bool {
    is(row, Op::Lookup) && !dense(row)
}

const fn over(
    title: &'static str,
    limit: f64,
    peer: &'static str,
    applies: fn(&Outcome) -> bool,
) -> Target {
    Target { title, limit, unit: "×", figure: Figure::Over(peer), applies }
}

const fn scaling(title: &'static str, applies: fn(&Outcome) -> bool) -> Target {
    Target { title, limit: 1.0, unit: "×", figure: Figure::Scaling, applies }
}

const fn cost(
    title: &'static str,
    limit: f64,
    unit: &'static str,
    applies: fn(&Outcome) -> bool,
) -> Target {
    Target { title, limit, unit, figure: Figure::Cost, applies }
}

/// All targets. Where a target is about several rows, the worst counts.
pub const TARGETS: &[Target] = &[
    over("lookup, guard each, dense, over congee", 1.0, "congee", lookup_dense),
    over("lookup, guard each, dense, over papaya", 1.0, "papaya", lookup_dense),
    over("lookup, guard each, dense, over dashmap", 1.0, "dashmap", lookup_dense),
    over("lookup, guard each, other sets, over congee", 1.0, "congee", lookup_elsewhere),
    over("lookup, guard each, other sets, over papaya", 1.0, "papaya", lookup_elsewhere),
    over("lookup, guard each, other sets, over dashmap", 1.0, "dashmap", lookup_elsewhere),
    over("lookup, one guard, dense 64K, over the bare tree", 2.0, BARE, |row| {
        row.op == Op::Lookup
            && row.hold == Hold::Chunk
            && row.set == DataSet::Dense(1 << 16)
            && row.threads == 1
    }),
    over("dependent lookup, dense 64K and 1M, over the bare tree", 1.1, BARE, |row| {
        row.op == Op::Chase && matches!(row.set, DataSet::Dense(..=0x10_0000))
    }),
    over("insert in key order, dense, over congee", 1.0, "congee", |row| {
        is(row, Op::InsertInOrder) && dense(row)
    }),
    over("insert in random order, dense, over congee", 1.0, "congee", |row| {
        is(row, Op::Insert) && dense(row)
    }),
    over("remove in random order, dense, over congee", 1.0, "congee", |row| {
        is(row, Op::Remove) && dense(row)
    }),
    over("insert in key order, other sets, over congee", 1.0, "congee", |row| {
        is(row, Op::InsertInOrder) && !dense(row)
    }),
    over("insert in random order, other sets, over congee", 1.0, "congee", |row| {
        is(row, Op::Insert) && !dense(row)
    }),
    over("remove in random order, other sets, over congee", 1.0, "congee", |row| {
        is(row, Op::Remove) && !dense(row)
    }),
    scaling("insert in key order, 1M, two threads over one", |row| {
        is(row, Op::InsertInOrder) && large(row)
    }),
    scaling("insert in random order, 1M, two threads over one", |row| {
        is(row, Op::Insert) && large(row)
    }),
    scaling("remove in random order, 1M, two threads over one", |row| {
        is(row, Op::Remove) && large(row)
    }),
    scaling("tag set + clear, none tagged, two threads over one", |row| {
        is(row, Op::Pair) && row.tagged_ppm == 0
    }),
    scaling("tag set + clear, 1 % or 50 % tagged, two threads over one", |row| {
        is(row, Op::Pair) && row.tagged_ppm > 0
    }),
    over("tagged walk, up to 10 % tagged, over the three-level bitmap", 2.0, FLAT, |row| {
        matches!(row.op, Op::Walk16 | Op::Walk256) && row.tagged_ppm <= 100_000
    }),
    cost("tag all that are tagged, 1M", 0.5, "ns/entry", |row| row.op == Op::Retag && large(row)),
    cost("memory, dense", 9.2, "bytes/entry", |row| row.op == Op::Bytes && dense(row)),
    cost("memory, clustered", 9.3, "bytes/entry", |row| {
        row.op == Op::Bytes && matches!(row.set, DataSet::Clustered(_))
    }),
    cost("memory, sparse", 64.0, "bytes/entry", |row| {
        row.op == Op::Bytes && matches!(row.set, DataSet::Sparse(_))
    }),
];

impl Target {
    fn figure(&self, row: &Outcome, all: &[Outcome]) -> Option<f64> {
        match self.figure {
            Figure::Cost => Some(Spread::of(row.ours())?.median),
            Figure::Over(peer) => Some(Spread::of_ratios(row.ours(), row.of(peer)?)?.median),
            Figure::Scaling => {
                let same = |one: &&Outcome| {
                    let conditions = (one.op, one.hold, one.set, one.tagged_ppm, one.threads);
                    conditions == (row.op, row.hold, row.set, row.tagged_ppm, 1)
                };
                let alone = Spread::of(all.iter().find(same)?.ours())?;
                (row.threads == 2).then_some(Spread::of(row.ours())?.median / alone.median)
            }
        }
    }
}

/// Compares what was measured with all targets.
pub fn check(outcomes: &[Outcome]) -> Vec<Verdict> {
    let verdict = |target: &'static Target| {
        let rows = outcomes.iter().filter(|row| (target.applies)(row));
        let figures = rows.filter_map(|row| Some((target.figure(row, outcomes)?, row)));
        let worst = figures.max_by(|one, other| one.0.total_cmp(&other.0));
        let place = |row: &Outcome| match row.tagged_ppm {
            0 => format!("{}, {} threads", row.set, row.threads),
            ppm => format!(
                "{}, {} threads, {} % tagged",
                row.set,
                row.threads,
                f64::from(ppm) / 10_000.0
            ),
        };
        Verdict { target, worst: worst.map(|(figure, row)| (figure, place(row))) }
    };
    TARGETS.iter().map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::CANDIDATES;

    fn outcome(threads: usize, ours: f64, congee: f64) -> Outcome {
        let mut samples = vec![Vec::new(); CANDIDATES.len()];
        samples[0] = vec![ours];
        let place = CANDIDATES.iter().position(|candidate| candidate.name == "congee");
        samples[place.expect("a candidate")] = vec![congee];
        let (set, hold) = (DataSet::Dense(1 << 20), Hold::Each);
        Outcome {
            section: "",
            op: Op::Insert,
            tags: false,
            hold,
            set,
            threads,
            tagged_ppm: 0,
            samples,
        }
    }

    #[test]
    fn the_worst_row_counts() {
        let verdicts = check(&[outcome(1, 10.0, 20.0), outcome(2, 15.0, 10.0)]);
        let of =
            |title: &str| verdicts.iter().find(|verdict| verdict.target.title.starts_with(title));
        let over = of("insert in random order, dense, over").expect("a target");
        assert_eq!(
            (over.worst.as_ref().map(|worst| worst.0), over.met()),
            (Some(1.5), Some(false))
        );
        let scaling = of("insert in random order, 1M, two").expect("a target");
        assert_eq!(scaling.worst.as_ref().map(|worst| worst.0), Some(1.5));
        assert_eq!(of("memory, dense").expect("a target").met(), None);
    }
}
