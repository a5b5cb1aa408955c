//! What is asked for: traces made by rule, the same in every run.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::Effort;
use crate::contender::narrow;
use crate::keys::shuffled;

/// Somebody comes for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Which one.
    pub page: u64,
    /// How often it is used, one use right after the other.
    pub uses: u32,
    /// Whether it matters that the page is found.
    pub counts: bool,
}

/// A sequence of visits.
#[derive(Debug)]
pub struct Trace {
    /// As tables show it.
    pub name: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    /// Makes it.
    pub visits: fn(Effort) -> Vec<Visit>,
}

/// All that are measured. C is the capacity.
pub const TRACES: &[Trace] = &[
    Trace { name: "zipf .7", what: "of 10 C pages", visits: |effort| zipf(effort, 0.7) },
    Trace { name: "zipf .99", what: "of 10 C pages", visits: |effort| zipf(effort, 0.99) },
    Trace {
        name: "zipf and scan",
        what: "zipf .99, and between two visits a page of a scan is read in 64 pieces; the scan's visits do not count",
        visits: |effort| with_scan(effort, 1, 1),
    },
    Trace {
        name: "zipf and scans",
        what: "zipf .99, interrupted by scans of 2 C pages in 64 pieces each, which do not count",
        visits: |effort| with_scan(effort, 2 * effort.capacity, 2 * effort.capacity),
    },
    Trace {
        name: "B-tree",
        what: "descents of four levels, 64 children each, to leaves by zipf .8; three uses a page",
        visits: descents,
    },
    Trace {
        name: "loop",
        what: "1.25 C pages, from first to last, again and again",
        visits: round_and_round,
    },
    Trace {
        name: "moving zipf",
        what: "zipf .99, each page one rank up every 100 visits, the first becomes the last",
        visits: |effort| moving(effort, 100),
    },
    Trace {
        name: "fast zipf",
        what: "the same every 20 visits",
        visits: |effort| moving(effort, 20),
    },
];

fn once(page: u64) -> Visit {
    Visit { page, uses: 1, counts: true }
}

/// Ranks by a zipf distribution.
struct Zipf {
    /// How probable it is that the rank is this one or a lower one.
    cumulated: Vec<f64>,
    random: SmallRng,
}

impl Zipf {
    fn new(count: u64, exponent: f64) -> Self {
        let mut sum = 0.0;
        let add = |rank: u64| {
            sum += (rank as f64).powf(-exponent);
            sum
        };
        let mut cumulated: Vec<f64> = (1..=count).map(add).collect();
        cumulated.iter_mut().for_each(|part| *part /= sum);
        Self { cumulated, random: SmallRng::seed_from_u64(1) }
    }

    fn rank(&mut self) -> usize {
        let at: f64 = self.random.random();
        self.cumulated.partition_point(|part| *part < at).min(self.cumulated.len() - 1)
    }
}

/// Pages in an order that has nothing to do with their numbers.
fn scattered(effort: Effort) -> Vec<u64> {
    shuffled((0..10 * effort.capacity).collect(), 7)
}

fn zipf(effort: Effort, exponent: f64) -> Vec<Visit> {
    let (pages, mut ranks) = (scattered(effort), Zipf::new(10 * effort.capacity, exponent));
    (0..effort.visits).map(|_| once(pages[ranks.rank()])).collect()
}

/// After `between` visits, `length` pages of a scan.
fn with_scan(effort: Effort, between: u64, length: u64) -> Vec<Visit> {
    let mut visits = Vec::with_capacity(effort.visits);
    let mut scanned = 10 * effort.capacity;
    for (number, visit) in (1..).zip(zipf(Effort { visits: effort.visits / 2, ..effort }, 0.99)) {
        visits.push(visit);
        if number % between == 0 {
            let scan = scanned..scanned + length;
            scanned = scan.end;
            visits.extend(scan.map(|page| Visit { page, uses: 64, counts: false }));
        }
    }
    visits
}

fn descents(effort: Effort) -> Vec<Visit> {
    let (leaves, mut ranks) = (scattered(effort), Zipf::new(10 * effort.capacity, 0.8));
    let mut visits = Vec::with_capacity(effort.visits);
    // The pages of a level come one after the other, level after level, as those of a file written once.
    let (second, third) = (1, 1 + leaves.len() as u64 / 4096 + 1);
    let fourth = third + leaves.len() as u64 / 64 + 1;
    for _ in 0..effort.visits / 4 {
        let leaf = leaves[ranks.rank()];
        let path = [0, second + leaf / 4096, third + leaf / 64, fourth + leaf];
        visits.extend(path.map(|page| Visit { page, uses: 3, counts: true }));
    }
    visits
}

fn round_and_round(effort: Effort) -> Vec<Visit> {
    let length = effort.capacity * 5 / 4;
    (0..length).cycle().take(effort.visits).map(once).collect()
}

/// The ranks go on by one page every `still` visits.
fn moving(effort: Effort, still: usize) -> Vec<Visit> {
    let (pages, mut ranks) = (scattered(effort), Zipf::new(10 * effort.capacity, 0.99));
    let count = narrow(10 * effort.capacity);
    (0..effort.visits).map(|number| once(pages[(ranks.rank() + number / still) % count])).collect()
}
