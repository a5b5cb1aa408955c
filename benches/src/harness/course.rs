//! The courses: what a sample is.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Effort, Pool};
use crate::contender::{Ability, CANDIDATES, Contender, Mark, Task};
use crate::garbage;
use crate::memory;
use crate::threads::together;
use crate::workload::{Course, Plan};

/// For each step and each candidate the cost of an operation, round by round.
type Samples = Vec<Vec<Vec<f64>>>;

/// Keys handed to a contender at a time.
const CHUNK: usize = 4096;
/// Keys handed to a thread at a time while another one works until it is told to stop.
const DUEL_CHUNK: usize = 64;

pub(super) fn run(plan: &Plan, pool: &mut Pool, effort: Effort) -> Samples {
    let ability = match plan.row.workload.course {
        Course::Duel { tags: true } => Ability::Tag,
        _ => plan.row.workload.steps[0].ability(),
    };
    match plan.row.workload.course {
        Course::Fresh => return fresh(plan, effort),
        Course::Memory => return bytes(plan),
        Course::Repeat | Course::Cold | Course::Cycle | Course::Duel { .. } => pool.build(ability),
    }
    let able = pool.able(ability);
    for (_, contender) in &able {
        contender.run(Task::Tag(&plan.tagged, true));
    }
    let samples = match plan.row.workload.course {
        Course::Repeat => repeat(plan, &able, effort),
        Course::Cold => cold(plan, &able, effort),
        Course::Duel { .. } => duel(plan, &able, effort),
        _ => cycle(plan, &able, effort),
    };
    for (_, contender) in &able {
        contender.run(Task::Tag(&plan.tagged, false));
    }
    samples
}

fn empty(plan: &Plan) -> Samples {
    vec![vec![Vec::new(); CANDIDATES.len()]; plan.row.workload.steps.len()]
}

/// Has each of `subjects` take a turn in each round, each first as often as the others.
fn rounds<S>(subjects: &[S], effort: Effort, mut turn: impl FnMut(usize, usize, &S)) {
    for round in 0..effort.rounds {
        for offset in 0..subjects.len() {
            let nth = (round + offset) % subjects.len();
            garbage::free();
            turn(round, nth, &subjects[nth]);
        }
    }
}

/// Checks that all contenders give the same answers, so that none is fast by being wrong.
fn agree(plan: &Plan, step: usize, position: usize, found: u64, expected: &mut Option<u64>) {
    let name = CANDIDATES[position].name;
    let words = plan.row.workload.steps[step].words();
    let expected = *expected.get_or_insert(found);
    assert_eq!(found, expected, "{name} disagrees in {words}, {}", plan.row.set);
}

fn nanos(wall: Duration, operations: u64) -> f64 {
    wall.as_secs_f64() * 1e9 / operations.max(1) as f64
}

/// One step cut into pieces that threads take turns in.
struct Pieces<'p> {
    plan: &'p Plan,
    keys: &'p [u64],
    /// Keys in a piece.
    length: usize,
    /// Pieces that are different.
    count: usize,
}

impl<'p> Pieces<'p> {
    fn new(plan: &'p Plan) -> Pieces<'p> {
        let keys = &*plan.keys[0];
        let length = (keys.len() / plan.row.threads).clamp(1, CHUNK);
        Pieces { plan, keys, length, count: (keys.len() / length).max(1) }
    }

    fn run(&self, contender: &dyn Contender, number: usize) -> u64 {
        let start = number % self.count * self.length;
        let keys = self.keys.get(start..start + self.length).unwrap_or_default();
        contender.run(self.plan.task(0, keys))
    }

    fn operations(&self, pieces: usize) -> u64 {
        pieces as u64 * self.plan.whole(0).unwrap_or(self.length as u64)
    }

    /// Finds how many pieces a thread does in a sample: all keys once, or as many as fit; more often, if that is too short.
    fn calibrate(&self, contender: &dyn Contender, effort: Effort) -> usize {
        let start = Instant::now();
        let mut pieces = 0;
        while pieces < self.count && start.elapsed() < effort.sample_max {
            black_box(self.run(contender, pieces));
            pieces += 1;
        }
        let passed = start.elapsed().as_secs_f64().max(1e-9);
        let scale = (effort.sample_min.as_secs_f64() / passed).max(1.0);
        // Far from the limits of either type.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small and positive"
        )]
        let pieces = (pieces as f64 * scale).ceil() as usize;
        pieces.div_ceil(self.plan.row.threads)
    }
}

/// The contenders able, by position.
type Able<'c> = [(usize, &'c dyn Contender)];

fn repeat(plan: &Plan, able: &Able<'_>, effort: Effort) -> Samples {
    let pieces = Pieces::new(plan);
    let mut expected = None;
    let calibrate = |&(position, contender): &(usize, &dyn Contender)| {
        agree(plan, 0, position, pieces.run(contender, 0), &mut expected);
        pieces.calibrate(contender, effort)
    };
    let each: Vec<usize> = able.iter().map(calibrate).collect();
    let mut samples = empty(plan);
    let threads = plan.row.threads;
    rounds(able, effort, |round, nth, &(position, contender)| {
        let first = round * each[nth];
        let pass = each[nth].min(pieces.count.div_ceil(threads));
        let run = |thread: usize, count: usize| {
            for number in first..first + count {
                black_box(pieces.run(contender, number * threads + thread));
            }
        };
        let (wall, _) =
            together(threads, |thread| run(thread, pass), |thread| run(thread, each[nth]));
        samples[0][position].push(nanos(wall, pieces.operations(each[nth] * threads)));
    });
    samples
}

/// Bytes that take the place of all else in the processor's caches.
const COLD_BYTES: usize = 128 << 20;

/// Runs the step once in each round, when the caches hold nothing of any index.
fn cold(plan: &Plan, able: &Able<'_>, effort: Effort) -> Samples {
    let (mut samples, mut expected) = (empty(plan), None);
    let mut other = vec![0_u8; COLD_BYTES];
    rounds(able, effort, |_, _, &(position, contender)| {
        other.iter_mut().step_by(64).for_each(|byte| *byte = byte.wrapping_add(1));
        black_box(&mut other);
        let start = Instant::now();
        let found = contender.run(plan.task(0, &plan.keys[0]));
        let wall = start.elapsed();
        agree(plan, 0, position, found, &mut expected);
        samples[0][position].push(nanos(wall, plan.whole(0).unwrap_or(1)));
    });
    samples
}

/// Runs each step once, all threads on equal parts of the keys, and adds to `samples`.
fn steps(
    plan: &Plan,
    contender: &dyn Contender,
    position: usize,
    samples: &mut Samples,
    expected: &mut [Option<u64>],
) {
    for (step, op) in plan.row.workload.steps.iter().enumerate() {
        if !CANDIDATES[position].takes_part(op.ability(), plan.row.set) {
            continue;
        }
        let keys = &plan.keys[step];
        // What is about all entries, and no key in particular, is one call of one thread.
        let whole = plan.whole(step);
        if whole.is_some() && plan.row.threads > 1 {
            continue;
        }
        let threads = plan.row.threads;
        let share = keys.len().div_ceil(threads).max(1);
        let work = |thread: usize| {
            let keys = keys.chunks(share).nth(thread).unwrap_or_default();
            let chunks = keys.chunks(CHUNK).map(|keys| contender.run(plan.task(step, keys)));
            if whole.is_some() {
                contender.run(plan.task(step, &[]))
            } else {
                chunks.fold(0, u64::wrapping_add)
            }
        };
        let (wall, sums) = together(threads, |_| (), work);
        let sum = sums.into_iter().fold(0, u64::wrapping_add);
        agree(plan, step, position, sum, &mut expected[step]);
        samples[step][position].push(nanos(wall, whole.unwrap_or(keys.len() as u64)));
    }
}

fn cycle(plan: &Plan, able: &Able<'_>, effort: Effort) -> Samples {
    let mut samples = empty(plan);
    let mut expected = vec![None; plan.keys.len()];
    rounds(able, effort, |_, _, &(position, contender)| {
        steps(plan, contender, position, &mut samples, &mut expected);
        if CANDIDATES[position].abilities.contains(&Ability::TagRange) && plan.whole(0).is_some() {
            contender.run(Task::TagRange(Mark::Dirty, false, 0));
            contender.run(Task::TagRange(Mark::ToWrite, false, 0));
        }
    });
    samples
}

fn takers(plan: &Plan) -> Vec<usize> {
    let first = plan.row.workload.steps[0].ability();
    let takes_part = |position: &usize| CANDIDATES[*position].takes_part(first, plan.row.set);
    (0..CANDIDATES.len()).filter(takes_part).collect()
}

fn fresh(plan: &Plan, effort: Effort) -> Samples {
    let mut samples = empty(plan);
    let mut expected = vec![None; plan.keys.len()];
    rounds(&takers(plan), effort, |_, _, &position| {
        let contender = (CANDIDATES[position].build)(plan.row.set.key_bits());
        steps(plan, &*contender, position, &mut samples, &mut expected);
    });
    samples
}

fn bytes(plan: &Plan) -> Samples {
    let mut samples = empty(plan);
    for position in takers(plan) {
        // The program of the tests is another one.
        let taken = match cfg!(test) {
            true => Ok(plan.row.set.entries()),
            false => memory::taken_for(position, plan.row.set.key_bits(), &plan.keys[0]),
        };
        let bytes = taken.unwrap_or_else(|error| panic!("{error}"));
        samples[0][position].push(bytes as f64 / plan.row.set.entries() as f64);
    }
    samples
}

fn duel(plan: &Plan, able: &Able<'_>, effort: Effort) -> Samples {
    let mut samples = empty(plan);
    rounds(able, effort, |_, _, &(position, contender)| {
        let stop = AtomicBool::new(false);
        let work = |step: usize| {
            let (start, mut operations) = (Instant::now(), 0);
            for keys in plan.keys[step].chunks(DUEL_CHUNK).cycle() {
                let checksum = black_box(contender.run(plan.task(step, keys)));
                operations += if step == 0 { keys.len() as u64 } else { checksum };
                // Relaxed: nothing else is told by it.
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            nanos(start.elapsed(), operations)
        };
        let costs = thread::scope(|scope| {
            let workers = [0, 1].map(|step| scope.spawn(move || work(step)));
            thread::sleep(2 * effort.sample_max);
            stop.store(true, Ordering::Relaxed);
            workers.map(|worker| worker.join().expect("a bench thread panicked"))
        });
        for (step, cost) in costs.into_iter().enumerate() {
            samples[step][position].push(cost);
        }
    });
    samples
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{GROWTH, Op, WORKLOADS};

    #[test]
    fn contenders_agree_on_every_workload() {
        let effort = Effort {
            rounds: 1,
            sample_min: Duration::ZERO,
            sample_max: Duration::from_micros(100),
            entries_max: 1 << 10,
        };
        let mut pool = Pool::default();
        for workload in WORKLOADS.iter().chain(GROWTH) {
            for row in workload.rows(effort.entries_max) {
                let outcomes = super::super::measure(row, &mut pool, effort);
                assert!(outcomes.len() <= workload.steps.len());
                let whole = |op: Op| op == Op::RemoveRange && row.threads > 1;
                for outcome in outcomes.into_iter().filter(|outcome| !whole(outcome.op)) {
                    assert!(!outcome.ours().is_empty(), "{}", row.title());
                }
            }
        }
    }
}
