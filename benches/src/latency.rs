//! How long single operations take: the tail, which means hide.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::contender::{Ability, CANDIDATES};
use crate::garbage;
use crate::harness::Pool;
use crate::keys::{DataSet, shuffled};
use crate::threads::{self, together};

/// The longest time that is told from longer ones, in nanoseconds: ten seconds.
const LONGEST: u64 = 10_000_000_000;

/// Percentiles of single operations, in nanoseconds; reading the clock is part of each.
#[derive(Clone, Debug)]
pub struct Latency {
    /// The contender.
    pub name: &'static str,
    /// Whether tags are set and cleared; otherwise keys are looked up.
    pub tags: bool,
    /// The entries.
    pub set: DataSet,
    /// The threads.
    pub threads: usize,
    /// Operations timed.
    pub count: u64,
    /// Half took no longer.
    pub p50: u64,
    /// 99 % took no longer.
    pub p99: u64,
    /// 99.9 % took no longer.
    pub p999: u64,
    /// None took longer.
    pub max: u64,
}

/// Measures lookups and tag changes of all contenders, each for about `time`.
pub fn measure(set: DataSet, time: Duration, pool: &mut Pool) -> Vec<Latency> {
    let keys = shuffled(pool.keys(set).to_vec(), 1);
    let mut latencies = Vec::new();
    for tags in [false, true] {
        let ability = if tags { Ability::Tag } else { Ability::Map };
        pool.build(ability);
        for threads in threads::counts() {
            for (position, contender) in pool.able(ability) {
                garbage::free();
                let work = |thread: usize| {
                    let mut histogram = new_histogram();
                    let start = Instant::now();
                    // Threads ask for different keys.
                    let share = keys.len() / threads;
                    for chunk in keys[thread * share..][..share].chunks(4096).cycle() {
                        contender.latencies(chunk, tags, &mut histogram);
                        if start.elapsed() > time {
                            break;
                        }
                    }
                    histogram
                };
                let (_, histograms) = together(threads, |_| (), work);
                let mut all = new_histogram();
                for histogram in histograms {
                    all += histogram;
                }
                latencies.push(summary(&all, CANDIDATES[position].name, tags, set, threads));
            }
        }
    }
    latencies
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds and digits are in order")
}

fn summary(
    all: &Histogram<u64>,
    name: &'static str,
    tags: bool,
    set: DataSet,
    threads: usize,
) -> Latency {
    Latency {
        name,
        tags,
        set,
        threads,
        count: all.len(),
        p50: all.value_at_quantile(0.5),
        p99: all.value_at_quantile(0.99),
        p999: all.value_at_quantile(0.999),
        max: all.max(),
    }
}
