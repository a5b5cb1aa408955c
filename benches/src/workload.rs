//! What is measured: workloads as data.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use crate::contender::{Contender, Hold};

/// Indices handed to a contender at a time; an untimed guard or lock is taken at most once per chunk.
pub const CHUNK: usize = 4096;

const SEED: u64 = 0x7461_6773;

/// The operation a workload repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Look up a random index that is present and read its value.
    Lookup,
    /// Set, then clear, the tag of a random entry that does not have it, if there is such an entry.
    SetClear,
    /// The same by contenders that can do without looking whether there is such an entry.
    BlindSetClear,
    /// Visit all tagged entries in index order, in batches, reading index and value.
    Walk,
}

/// One question: an operation, on how many entries, under what conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// What is repeated.
    pub op: Op,
    /// Whether each operation pays for its own guard or lock.
    pub hold: Hold,
    /// Entries at the indices `0..entries`, inserted in random order.
    pub entries: u64,
    /// How many of a thousand entries have the tag, chosen at random.
    pub tagged_per_mille: usize,
    /// Threads doing the same on disjoint parts of the indices.
    pub threads: usize,
}

const fn row(
    op: Op,
    hold: Hold,
    entries: u64,
    tagged_per_mille: usize,
    threads: usize,
) -> Workload {
    Workload { op, hold, entries, tagged_per_mille, threads }
}

const SMALL: u64 = 1 << 16;
const LARGE: u64 = 1 << 20;

/// All workloads, those on the same entries next to each other.
pub const WORKLOADS: &[Workload] = &[
    row(Op::Lookup, Hold::Chunk, SMALL, 0, 1),
    row(Op::Lookup, Hold::Chunk, SMALL, 0, 2),
    row(Op::Lookup, Hold::Each, SMALL, 0, 1),
    row(Op::Lookup, Hold::Each, SMALL, 0, 2),
    row(Op::SetClear, Hold::Chunk, SMALL, 10, 1),
    row(Op::SetClear, Hold::Each, SMALL, 10, 1),
    row(Op::SetClear, Hold::Each, SMALL, 10, 2),
    row(Op::BlindSetClear, Hold::Each, SMALL, 10, 1),
    row(Op::Lookup, Hold::Chunk, LARGE, 0, 1),
    row(Op::Lookup, Hold::Chunk, LARGE, 0, 2),
    row(Op::Lookup, Hold::Each, LARGE, 0, 1),
    row(Op::Lookup, Hold::Each, LARGE, 0, 2),
    row(Op::SetClear, Hold::Chunk, LARGE, 10, 1),
    row(Op::SetClear, Hold::Each, LARGE, 10, 1),
    row(Op::SetClear, Hold::Each, LARGE, 10, 2),
    row(Op::BlindSetClear, Hold::Each, LARGE, 10, 1),
    row(Op::BlindSetClear, Hold::Each, LARGE, 10, 2),
    row(Op::Walk, Hold::Each, LARGE, 1, 1),
    row(Op::Walk, Hold::Each, LARGE, 100, 1),
];

impl Workload {
    /// Says in words what is measured.
    pub fn title(&self) -> String {
        let size = match self.entries {
            n if n.is_multiple_of(1 << 20) => format!("{}M", n >> 20),
            n => format!("{}K", n >> 10),
        };
        match self.op {
            Op::Lookup => format!("lookup, {}, {size} entries", self.hold),
            Op::SetClear => format!("tag set + clear, {}, {size} entries", self.hold),
            Op::BlindSetClear => format!("blind tag set + clear, {}, {size} entries", self.hold),
            Op::Walk => {
                let (whole, tenths) = (self.tagged_per_mille / 10, self.tagged_per_mille % 10);
                format!("tagged walk, {whole}.{tenths} % of {size} tagged")
            }
        }
    }

    /// Names what one nanosecond figure is the cost of.
    pub fn unit(&self) -> &'static str {
        match self.op {
            Op::Lookup => "ns/lookup",
            Op::SetClear | Op::BlindSetClear => "ns/pair",
            Op::Walk => "ns/tagged entry",
        }
    }

    /// Counts the operations in a chunk, which are what a figure is per.
    pub const fn operations_per_chunk(&self) -> u64 {
        match self.op {
            Op::Lookup | Op::SetClear | Op::BlindSetClear => CHUNK as u64,
            Op::Walk => self.entries * self.tagged_per_mille as u64 / 1000,
        }
    }

    /// Chooses, always in the same way, which entries are tagged and in which order the others are asked for.
    pub fn plan(&self) -> Plan {
        let mut order = shuffled(self.entries, SEED + 1);
        let mut asked = order.split_off(order.len() * self.tagged_per_mille / 1000);
        asked.truncate(asked.len() / CHUNK * CHUNK);
        Plan { workload: *self, tagged: order, asked }
    }
}

/// A workload with its indices drawn.
#[derive(Debug)]
pub struct Plan {
    /// The question.
    pub workload: Workload,
    /// Indices that have the tag throughout.
    pub tagged: Vec<u64>,
    asked: Vec<u64>,
}

impl Plan {
    /// Runs the operation on the chunk numbered `number` (counted round and round); returns a checksum of what was seen.
    pub fn run_chunk(&self, contender: &dyn Contender, number: usize) -> u64 {
        let start = number % (self.asked.len() / CHUNK) * CHUNK;
        let indices = &self.asked[start..start + CHUNK];
        match self.workload.op {
            Op::Lookup => contender.lookup(indices, self.workload.hold),
            Op::SetClear => contender.set_clear(indices, self.workload.hold, true),
            Op::BlindSetClear => contender.set_clear(indices, self.workload.hold, false),
            Op::Walk => contender.walk(),
        }
    }
}

/// Lists the indices `0..entries` in the random order in which they are inserted.
pub fn insert_order(entries: u64) -> Vec<u64> {
    shuffled(entries, SEED)
}

fn shuffled(entries: u64, seed: u64) -> Vec<u64> {
    let mut indices: Vec<u64> = (0..entries).collect();
    indices.shuffle(&mut SmallRng::seed_from_u64(seed));
    indices
}
