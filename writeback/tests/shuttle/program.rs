//! Random programs: a few calls for each of a few threads. Made from a seed, so the same in every schedule
//! that is replayed.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::ledger::PLACES;

/// What a thread does with a claim.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// Writes the page, unless it is held.
    Write,
    /// Puts it back.
    Redirty,
    /// Forgets it.
    Drop,
    /// Starts a writeback and forgets that.
    Lose,
    /// Starts a writeback that fails.
    Fail,
}

/// One call. Pages are by index; a place is the thread's own in that page.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Write(u64),
    WriteThroughPage(u64),
    MarkDirty(u64),
    MarkDirtyLocked(u64),
    Read(u64),
    Sync,
    SyncPages(u64, u64),
    Background,
    Cyclic(u64),
    WritePage(u64, bool),
    Flusher,
    Claim(u64, Outcome),
    Hold(u64),
    Wait,
    CheckError,
    FailWrite,
    /// To so many places.
    SetLen(u64),
}

/// What may happen in a program besides reads, writes, writeback and syncs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) failures: bool,
    pub(crate) cuts: bool,
}

#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) pages: u64,
    /// Threads of the device; 0: it writes at once.
    pub(crate) late: usize,
    pub(crate) threads: Vec<Vec<Op>>,
}

impl Program {
    pub(crate) fn new(seed: u64, kind: Kind) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let pages = random.random_range(1..=4);
        let late = random.random_range(0..=2);
        let threads = random.random_range(3..=4);
        let threads = (0..threads).map(|_| thread(&mut random, pages, kind)).collect();
        Self { pages, late, threads }
    }
}

fn thread(random: &mut SmallRng, pages: u64, kind: Kind) -> Vec<Op> {
    let count = random.random_range(2..=4);
    (0..count).map(|_| op(random, pages, kind)).collect()
}

fn op(random: &mut SmallRng, pages: u64, kind: Kind) -> Op {
    let page = random.random_range(0..pages);
    match random.random_range(0..100) {
        0..22 => Op::Write(page),
        22..28 => Op::WriteThroughPage(page),
        28..31 => Op::MarkDirty(page),
        31..34 => Op::MarkDirtyLocked(page),
        34..39 => Op::Read(page),
        39..55 => Op::Sync,
        55..59 => Op::SyncPages(page, random.random_range(page..pages)),
        59..66 => Op::Background,
        66..70 => Op::Cyclic(random.random_range(1..=2)),
        70..75 => Op::WritePage(page, random.random_bool(0.5)),
        75..77 => Op::Flusher,
        77..84 => Op::Claim(page, outcome(random, kind)),
        84..89 => Op::Hold(page),
        89..91 => Op::Wait,
        91..93 => Op::CheckError,
        93..96 if kind.failures => Op::FailWrite,
        93..100 if kind.cuts => Op::SetLen(random.random_range(0..=pages * PLACES)),
        _ => Op::Sync,
    }
}

fn outcome(random: &mut SmallRng, kind: Kind) -> Outcome {
    match random.random_range(0..6) {
        0..3 => Outcome::Write,
        3 => Outcome::Redirty,
        4 if kind.failures => Outcome::Fail,
        5 if kind.failures => Outcome::Lose,
        _ => Outcome::Drop,
    }
}
