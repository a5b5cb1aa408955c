//! How it is measured: contenders in turn within each round, figures compared only within a round.
//!
//! A machine's speed drifts from second to second (neighbours, caches, clocks). Contenders measured in the same
//! round meet the same drift, so the ratio of two contenders is taken round by round and its median reported.

mod course;
mod pool;

use std::time::Duration;

use crate::contender::{CANDIDATES, Hold};
use crate::keys::DataSet;
use crate::stats::Spread;
use crate::workload::{Op, Row};

pub use pool::Pool;

/// How long and how often to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds, each with one sample of each contender.
    pub rounds: usize,
    /// A sample takes at least as long, where the work can be repeated.
    pub sample_min: Duration,
    /// A sample that is not through all keys by then is as long as this.
    pub sample_max: Duration,
    /// Sets have no more entries.
    pub entries_max: u64,
}

impl Effort {
    /// Enough for figures to publish.
    pub const FULL: Effort = Effort {
        rounds: 7,
        sample_min: Duration::from_millis(10),
        sample_max: Duration::from_millis(50),
        entries_max: u64::MAX,
    };
    /// Enough to see that it works.
    pub const QUICK: Effort = Effort {
        rounds: 3,
        sample_min: Duration::from_micros(500),
        sample_max: Duration::from_millis(3),
        entries_max: 1 << 14,
    };
}

/// What was measured for one step of a row.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The table it is shown in.
    pub section: &'static str,
    /// What was done.
    pub op: Op,
    /// Whether the writer beside a reader changed tags, too.
    pub tags: bool,
    /// How long guards were held.
    pub hold: Hold,
    /// The entries.
    pub set: DataSet,
    /// The threads.
    pub threads: usize,
    /// How many of a million entries had the tag throughout.
    pub tagged_ppm: u32,
    /// For each of [`CANDIDATES`] what an operation cost, round by round; none if it cannot do this.
    pub samples: Vec<Vec<f64>>,
}

impl Outcome {
    /// The samples of the contender of that name.
    pub fn of(&self, name: &str) -> Option<&[f64]> {
        let position = CANDIDATES.iter().position(|candidate| candidate.name == name)?;
        Some(&*self.samples[position]).filter(|samples| !samples.is_empty())
    }

    /// The first contender's samples.
    pub fn ours(&self) -> &[f64] {
        &self.samples[0]
    }

    /// By how many times the contender at `position` costs more than the first, compared round by round.
    pub fn ratio(&self, position: usize) -> Option<Spread> {
        Spread::of_ratios(&self.samples[position], self.ours())
    }

    /// Says in words what was measured.
    pub fn title(&self) -> String {
        let mut title = self.op.words().to_owned();
        if self.op.holds() {
            title += &format!(", {}", self.hold);
        }
        if self.tags {
            title += ", tags too";
        }
        title
    }
}

/// Measures a row: an outcome a step that any contender did.
///
/// # Panics
/// If two contenders disagree about what they saw.
pub fn measure(row: Row, pool: &mut Pool, effort: Effort) -> Vec<Outcome> {
    let plan = row.plan(pool.keys(row.set));
    let samples = course::run(&plan, pool, effort);
    let steps = row.workload.steps.iter().zip(samples);
    let outcome = |(&op, samples)| Outcome {
        section: row.workload.section,
        op,
        tags: row.workload.course == crate::workload::Course::Duel { tags: true },
        hold: row.workload.hold,
        set: row.set,
        threads: row.threads,
        tagged_ppm: row.tagged_ppm,
        samples,
    };
    steps.map(outcome).filter(|outcome| !outcome.ours().is_empty()).collect()
}
