//! How it is measured: contenders in turn within each round, figures compared only within a round.
//!
//! A machine's speed drifts from second to second (neighbours, caches, clocks). Contenders measured in the same
//! round meet the same drift, so the ratio of two contenders is taken round by round and its median reported.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::contender::{CANDIDATES, Contender};
use crate::workload::{Plan, Workload, insert_order};

/// How long and how often to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds, each with one sample of each contender.
    pub rounds: usize,
    /// About how long one sample takes.
    pub sample: Duration,
}

impl Effort {
    /// Enough for figures to publish: under two minutes for all workloads.
    pub const FULL: Effort = Effort { rounds: 21, sample: Duration::from_millis(50) };
    /// Enough to see that it works: a few seconds for all workloads.
    pub const QUICK: Effort = Effort { rounds: 5, sample: Duration::from_millis(5) };
}

/// What was measured for one workload.
#[derive(Debug)]
pub struct Outcome {
    /// The question.
    pub workload: Workload,
    /// For each of [`CANDIDATES`] the nanoseconds an operation, round by round.
    pub samples: Vec<Vec<f64>>,
}

/// Median and range of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The smallest sample.
    pub min: f64,
    /// The middle sample.
    pub median: f64,
    /// The largest sample.
    pub max: f64,
}

impl Spread {
    /// Sorts `samples` and picks.
    ///
    /// # Panics
    /// If there are no samples.
    pub fn of(mut samples: Vec<f64>) -> Spread {
        samples.sort_by(f64::total_cmp);
        Spread {
            min: samples[0],
            median: samples[samples.len() / 2],
            max: samples[samples.len() - 1],
        }
    }
}

impl Outcome {
    /// Summarizes the contender at `position`, in nanoseconds an operation.
    pub fn cost(&self, position: usize) -> Spread {
        Spread::of(self.samples[position].clone())
    }

    /// Summarizes by how many times the contender at `position` costs more than the first, compared round by round.
    pub fn ratio(&self, position: usize) -> Spread {
        let rounds = self.samples[position].iter().zip(&self.samples[0]);
        Spread::of(rounds.map(|(theirs, ours)| theirs / ours).collect())
    }
}

/// Runs `workloads` on all contenders, telling `progress` of each outcome as it comes.
///
/// # Panics
/// If two contenders disagree about what they saw.
pub fn run(
    workloads: &[Workload],
    effort: Effort,
    mut progress: impl FnMut(&Outcome),
) -> Vec<Outcome> {
    let same_entries = workloads.chunk_by(|one, next| one.entries == next.entries);
    let mut outcomes = Vec::new();
    for group in same_entries {
        let indices = insert_order(group[0].entries);
        let contenders: Vec<_> =
            CANDIDATES.iter().map(|candidate| (candidate.build)(&indices)).collect();
        for workload in group {
            let outcome = measure(&workload.plan(), &contenders, effort);
            progress(&outcome);
            outcomes.push(outcome);
        }
    }
    outcomes
}

fn measure(plan: &Plan, contenders: &[Box<dyn Contender>], effort: Effort) -> Outcome {
    contenders.iter().for_each(|contender| contender.tag_all(&plan.tagged, true));
    assert_agreement(plan, contenders);
    let chunks: Vec<usize> =
        contenders.iter().map(|contender| calibrate(plan, &**contender, effort)).collect();
    let mut samples = vec![Vec::with_capacity(effort.rounds); contenders.len()];
    for round in 0..effort.rounds {
        for turn in 0..contenders.len() {
            // Each goes first as often as the others: none always runs on the caches another one left.
            let position = (round + turn) % contenders.len();
            let first = round * chunks[position];
            let range = first..first + chunks[position];
            samples[position].push(sample(plan, &*contenders[position], range));
        }
    }
    contenders.iter().for_each(|contender| contender.tag_all(&plan.tagged, false));
    Outcome { workload: plan.workload, samples }
}

/// Checks that all contenders give the same answers, so that none is fast by being wrong.
fn assert_agreement(plan: &Plan, contenders: &[Box<dyn Contender>]) {
    let expected = plan.run_chunk(&*contenders[0], 0);
    for (candidate, contender) in CANDIDATES.iter().zip(contenders) {
        let found = plan.run_chunk(&**contender, 0);
        assert_eq!(found, expected, "{} disagrees in {}", candidate.name, plan.workload.title());
    }
}

/// Warms the contender up and finds how many chunks a thread can do in the time of a sample.
fn calibrate(plan: &Plan, contender: &dyn Contender, effort: Effort) -> usize {
    let start = Instant::now();
    let mut chunks = 0;
    while start.elapsed() < effort.sample {
        black_box(plan.run_chunk(contender, chunks));
        chunks += 1;
    }
    chunks
}

/// Has each thread run as many chunks as `chunks` is long; returns wall time over all operations, in nanoseconds.
fn sample(plan: &Plan, contender: &dyn Contender, chunks: Range<usize>) -> f64 {
    let threads = plan.workload.threads;
    let operations = (threads * chunks.len()) as f64 * plan.workload.operations_per_chunk() as f64;
    let wall = if threads == 1 {
        let (start, end) = timed(plan, contender, chunks, 1, 0);
        end - start
    } else {
        let barrier = Barrier::new(threads);
        let spans: Vec<(Instant, Instant)> = thread::scope(|scope| {
            let spawn = |thread| {
                let (barrier, chunks) = (&barrier, chunks.clone());
                scope.spawn(move || {
                    barrier.wait();
                    timed(plan, contender, chunks, threads, thread)
                })
            };
            let handles: Vec<_> = (0..threads).map(spawn).collect();
            let join = |handle: thread::ScopedJoinHandle<'_, _>| {
                handle.join().expect("a bench thread panicked")
            };
            handles.into_iter().map(join).collect()
        });
        let start = spans.iter().map(|span| span.0).min();
        let end = spans.iter().map(|span| span.1).max();
        end.zip(start).map_or(Duration::ZERO, |(end, start)| end - start)
    };
    wall.as_secs_f64() * 1e9 / operations
}

/// Runs every `threads`-th chunk, so that threads never ask for the same index at the same time.
fn timed(
    plan: &Plan,
    contender: &dyn Contender,
    chunks: Range<usize>,
    threads: usize,
    thread: usize,
) -> (Instant, Instant) {
    let start = Instant::now();
    for chunk in chunks {
        black_box(plan.run_chunk(contender, chunk * threads + thread));
    }
    (start, Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::WORKLOADS;

    #[test]
    fn spread_picks_the_middle() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.0, 3.0));
    }

    #[test]
    fn contenders_agree_on_every_workload() {
        let effort = Effort { rounds: 1, sample: Duration::ZERO };
        let small = WORKLOADS.iter().map(|&workload| Workload { entries: 1 << 14, ..workload });
        let outcomes = run(&small.collect::<Vec<_>>(), effort, |_| ());
        assert_eq!(outcomes.len(), WORKLOADS.len());
    }
}
