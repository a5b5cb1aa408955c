//! What is measured: workloads as data.

use crate::contender::{Ability, Filter, Hold, Mark, Task};
use crate::keys::{DataSet, shuffled};
use crate::threads;

/// The operation a figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Look up present keys in random order.
    Lookup,
    /// Look up present keys in random order, each known only when the lookup before is done.
    Chase,
    /// Look up present keys in key order.
    LookupInOrder,
    /// Look up keys at which there is nothing.
    LookupMissing,
    /// Insert all keys in random order.
    Insert,
    /// Insert all keys in key order.
    InsertInOrder,
    /// Remove all keys in random order.
    Remove,
    /// Remove all keys with one call.
    RemoveRange,
    /// Visit all entries.
    Iterate,
    /// Visit 64 entries from a random key on.
    Scan,
    /// Set, then clear, the tag of a random entry that does not have it.
    Pair,
    /// The same by contenders that look whether the entry exists.
    PairChecked,
    /// Set the tag of a quarter of all entries, in random order.
    Set,
    /// Clear the tags that `Set` set, in the same order.
    Clear,
    /// Visit all tagged entries in batches of 16.
    Walk16,
    /// Visit all tagged entries in batches of 256.
    Walk256,
    /// Set a tag of all entries with one call.
    TagRange,
    /// Count the tagged entries, which are all.
    Count,
    /// Give a second tag to all entries with the first, which are all.
    Retag,
    /// Clear the second tag of the upper half of the keys with one call.
    UntagHalf,
    /// Visit all entries with the first tag and without the second, in batches of 256.
    WalkFiltered,
    /// Look up random keys, while another thread changes the index.
    ReadBeside,
    /// Change the index, while another thread looks keys up.
    WriteBeside,
    /// Visit all entries, none of which is in the processor's caches.
    IterateCold,
    /// Build the index; what counts is the memory.
    Bytes,
}

impl Op {
    /// Says in words what is done.
    pub const fn words(self) -> &'static str {
        match self {
            Op::Lookup => "random lookup",
            Op::Chase => "dependent lookup",
            Op::LookupInOrder => "lookup in key order",
            Op::LookupMissing => "lookup of a missing key",
            Op::Insert => "insert, random order",
            Op::InsertInOrder => "insert, key order",
            Op::Remove => "remove, random order",
            Op::RemoveRange => "remove all by range",
            Op::Iterate => "iterate over all",
            Op::Scan => "range scan of 64",
            Op::Pair => "tag set + clear",
            Op::PairChecked => "tag set + clear, if the entry exists",
            Op::Set => "tag a quarter, random order",
            Op::Clear => "untag that quarter",
            Op::Walk16 => "tagged walk, batches of 16",
            Op::Walk256 => "tagged walk, batches of 256",
            Op::TagRange => "tag all by range",
            Op::Count => "count the tagged, all tagged",
            Op::Retag => "tag all that are tagged",
            Op::UntagHalf => "untag half by range",
            Op::WalkFiltered => "walk of tag 1 without tag 2",
            Op::ReadBeside => "random lookup beside a writer",
            Op::WriteBeside => "writer beside a reader",
            Op::IterateCold => "iterate over all, caches cold",
            Op::Bytes => "memory of the process",
        }
    }

    /// Names what a figure is the cost of.
    pub const fn unit(self) -> &'static str {
        match self {
            Op::Scan => "ns/scan",
            Op::Pair | Op::PairChecked => "ns/pair",
            Op::Walk16 | Op::Walk256 | Op::WalkFiltered => "ns/tagged entry",
            Op::RemoveRange
            | Op::Iterate
            | Op::IterateCold
            | Op::TagRange
            | Op::Count
            | Op::Retag
            | Op::UntagHalf => "ns/entry",
            Op::Bytes => "bytes/entry",
            _ => "ns/op",
        }
    }

    /// Names what a contender must be able to do.
    pub const fn ability(self) -> Ability {
        match self {
            Op::Iterate | Op::IterateCold => Ability::Iterate,
            Op::Scan => Ability::Scan,
            Op::RemoveRange => Ability::RemoveRange,
            Op::Pair | Op::PairChecked | Op::Set | Op::Clear | Op::Walk16 | Op::Walk256 => {
                Ability::Tag
            }
            Op::TagRange | Op::Count | Op::Retag | Op::UntagHalf | Op::WalkFiltered => {
                Ability::TagRange
            }
            _ => Ability::Map,
        }
    }

    /// Whether a figure depends on how long a guard is held.
    pub const fn holds(self) -> bool {
        matches!(
            self,
            Op::Lookup
                | Op::LookupInOrder
                | Op::LookupMissing
                | Op::Insert
                | Op::InsertInOrder
                | Op::Remove
                | Op::Pair
                | Op::PairChecked
        )
    }
}

/// How a workload is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// The only step again and again on an index that stays as it is.
    Repeat,
    /// All steps one after the other on an index that has all entries.
    Cycle,
    /// All steps one after the other on an index that is empty at first.
    Fresh,
    /// The first step in one thread and the second in another for some time; the writer changes tags, too, if told so.
    Duel {
        /// Whether each key's tag is set and cleared before it is removed and inserted.
        tags: bool,
    },
    /// The only step once in a round, with other things in the processor's caches.
    Cold,
    /// The only step once, in a process of its own whose memory is looked at.
    Memory,
}

/// How many threads do the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One.
    One,
    /// One, two, four, ... as many as the machine has.
    All,
}

/// A question: what is done, on which entries, under what conditions. Each combination is a [`Row`].
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// The table it is shown in.
    pub section: &'static str,
    /// How it is run.
    pub course: Course,
    /// What is done; each is measured.
    pub steps: &'static [Op],
    /// How long guards are held.
    pub hold: Hold,
    /// The entries.
    pub sets: &'static [DataSet],
    /// The threads.
    pub threads: Threads,
    /// How many of a million entries have the tag throughout, chosen at random.
    pub tagged_ppm: &'static [u32],
}

/// One combination of a workload's conditions.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The question.
    pub workload: &'static Workload,
    /// The entries.
    pub set: DataSet,
    /// The threads.
    pub threads: usize,
    /// How many of a million entries have the tag throughout.
    pub tagged_ppm: u32,
}

const D1K: DataSet = DataSet::Dense(1 << 10);
const D16K: DataSet = DataSet::Dense(1 << 14);
const D64K: DataSet = DataSet::Dense(1 << 16);
const D256K: DataSet = DataSet::Dense(1 << 18);
const D1M: DataSet = DataSet::Dense(1 << 20);
const D4M: DataSet = DataSet::Dense(1 << 22);
const D16M: DataSet = DataSet::Dense(1 << 24);
const CLUSTERED: DataSet = DataSet::Clustered(1 << 12);
const SPARSE: DataSet = DataSet::Sparse(1 << 20);
const STRIDED: DataSet = DataSet::Strided { step: 64, entries: 1 << 16 };
const FAR: DataSet = DataSet::Strided { step: 4096, entries: 1 << 16 };

const MAIN: &[DataSet] = &[D64K, D1M, CLUSTERED, SPARSE];

const LOOKUPS: &str = "Lookups";
const SCANS: &str = "Scans";
const CHANGES: &str = "Insertion and removal";
const TAGS: &str = "Tags";
const WALKS: &str = "Tagged walks";
const RANGES: &str = "Tags of ranges";
const DUELS: &str = "A reader beside a writer";
const MEMORY: &str = "Memory";

const fn repeat(
    section: &'static str,
    step: &'static [Op],
    hold: Hold,
    sets: &'static [DataSet],
    threads: Threads,
) -> Workload {
    Workload { section, course: Course::Repeat, steps: step, hold, sets, threads, tagged_ppm: &[0] }
}

const fn cycle(
    section: &'static str,
    course: Course,
    steps: &'static [Op],
    sets: &'static [DataSet],
    threads: Threads,
) -> Workload {
    Workload { section, course, steps, hold: Hold::Each, sets, threads, tagged_ppm: &[0] }
}

const fn tagged(ppm: &'static [u32], workload: Workload) -> Workload {
    Workload { tagged_ppm: ppm, ..workload }
}

const WALKED: &[u32] = &[100, 1_000, 10_000, 100_000, 1_000_000];
const PAIRED: &[u32] = &[0, 10_000, 500_000];

/// All workloads.
pub const WORKLOADS: &[Workload] = &[
    repeat(
        LOOKUPS,
        &[Op::Lookup],
        Hold::Each,
        &[D1K, D16K, D64K, D256K, D1M, D4M, D16M, CLUSTERED, SPARSE, STRIDED, FAR],
        Threads::All,
    ),
    repeat(
        LOOKUPS,
        &[Op::Lookup],
        Hold::Chunk,
        &[D1K, D16K, D64K, D256K, D1M, D4M, D16M, CLUSTERED, SPARSE, STRIDED, FAR],
        Threads::All,
    ),
    repeat(
        LOOKUPS,
        &[Op::Chase],
        Hold::Chunk,
        &[D64K, D1M, D16M, CLUSTERED, SPARSE, STRIDED, FAR],
        Threads::One,
    ),
    repeat(LOOKUPS, &[Op::LookupInOrder], Hold::Each, MAIN, Threads::One),
    repeat(LOOKUPS, &[Op::LookupInOrder], Hold::Chunk, MAIN, Threads::One),
    repeat(
        LOOKUPS,
        &[Op::LookupMissing],
        Hold::Each,
        &[D64K, D1M, CLUSTERED, SPARSE, STRIDED],
        Threads::One,
    ),
    repeat(
        SCANS,
        &[Op::Iterate],
        Hold::Each,
        &[D64K, D1M, CLUSTERED, SPARSE, STRIDED],
        Threads::One,
    ),
    cycle(SCANS, Course::Cold, &[Op::IterateCold], &[D1M, CLUSTERED, SPARSE], Threads::One),
    repeat(SCANS, &[Op::Scan], Hold::Each, &[D64K, D1M, CLUSTERED, SPARSE, STRIDED], Threads::One),
    cycle(CHANGES, Course::Fresh, &[Op::InsertInOrder, Op::RemoveRange], MAIN, Threads::All),
    cycle(
        CHANGES,
        Course::Fresh,
        &[Op::Insert, Op::Remove],
        &[D64K, D1M, CLUSTERED, SPARSE, STRIDED],
        Threads::All,
    ),
    Workload {
        hold: Hold::Chunk,
        ..cycle(CHANGES, Course::Fresh, &[Op::Insert, Op::Remove], &[D1M], Threads::All)
    },
    tagged(PAIRED, repeat(TAGS, &[Op::Pair], Hold::Each, &[D64K, D1M], Threads::All)),
    tagged(PAIRED, repeat(TAGS, &[Op::Pair], Hold::Chunk, &[D64K, D1M], Threads::One)),
    tagged(&[10_000], repeat(TAGS, &[Op::PairChecked], Hold::Each, &[D64K, D1M], Threads::All)),
    tagged(PAIRED, cycle(TAGS, Course::Cycle, &[Op::Set, Op::Clear], &[D1M], Threads::One)),
    tagged(WALKED, repeat(WALKS, &[Op::Walk16], Hold::Each, &[D1M], Threads::One)),
    tagged(WALKED, repeat(WALKS, &[Op::Walk256], Hold::Each, &[D1M], Threads::One)),
    cycle(
        RANGES,
        Course::Cycle,
        &[Op::TagRange, Op::Count, Op::Retag, Op::UntagHalf, Op::WalkFiltered],
        &[D1M],
        Threads::One,
    ),
    cycle(
        DUELS,
        Course::Duel { tags: false },
        &[Op::ReadBeside, Op::WriteBeside],
        &[D1M],
        Threads::One,
    ),
    tagged(
        &[10_000],
        cycle(
            DUELS,
            Course::Duel { tags: true },
            &[Op::ReadBeside, Op::WriteBeside],
            &[D1M],
            Threads::One,
        ),
    ),
    cycle(
        MEMORY,
        Course::Memory,
        &[Op::Bytes],
        &[D64K, D1M, CLUSTERED, SPARSE, STRIDED, FAR],
        Threads::One,
    ),
];

const G: &[DataSet] = &[D1K, D16K, D64K, D256K, D1M, D4M, D16M, DataSet::Dense(1 << 26)];

/// How costs grow from 1K to 64M entries.
pub const GROWTH: &[Workload] = &[
    repeat(LOOKUPS, &[Op::Lookup], Hold::Each, G, Threads::All),
    cycle(CHANGES, Course::Fresh, &[Op::Insert], G, Threads::All),
    tagged(&[10_000], repeat(TAGS, &[Op::Pair], Hold::Each, G, Threads::All)),
    tagged(&[10_000], repeat(WALKS, &[Op::Walk256], Hold::Each, G, Threads::One)),
];

impl Workload {
    /// Lists the combinations, with sets of at most `entries_max` entries.
    pub fn rows(&'static self, entries_max: u64) -> Vec<Row> {
        let mut sets: Vec<DataSet> = self.sets.iter().map(|set| set.at_most(entries_max)).collect();
        sets.dedup();
        let threads = match self.threads {
            Threads::One => vec![1],
            Threads::All => threads::counts(),
        };
        let with_tags = |set, threads| {
            self.tagged_ppm.iter().map(move |&tagged_ppm| Row {
                workload: self,
                set,
                threads,
                tagged_ppm,
            })
        };
        let with_threads = |set| threads.iter().flat_map(move |&threads| with_tags(set, threads));
        sets.into_iter().flat_map(with_threads).collect()
    }
}

/// A row's keys, drawn: always the same.
#[derive(Debug)]
pub struct Plan {
    /// The conditions.
    pub row: Row,
    /// The keys that have the tag throughout.
    pub tagged: Vec<u64>,
    /// For each step the keys it is about, in order; none for a step that is about all entries.
    pub keys: Vec<Vec<u64>>,
}

impl Row {
    /// Says what tells the row from others: section, operations, data set, threads, tags.
    pub fn title(&self) -> String {
        let steps: Vec<&str> = self.workload.steps.iter().map(|step| step.words()).collect();
        let Row { set, threads, tagged_ppm, .. } = self;
        let Workload { section, hold, .. } = self.workload;
        let percent = f64::from(*tagged_ppm) / 10_000.0;
        let steps = steps.join(" / ");
        format!("{section}: {steps}, {hold}, {set}, {threads} thread(s), {percent} % tagged")
    }

    /// Draws the keys, out of `all` keys of the set.
    pub fn plan(self, all: &[u64]) -> Plan {
        let mut tagged = shuffled(all.to_vec(), 1);
        let share = all.len() as u64 * u64::from(self.tagged_ppm) / 1_000_000;
        let asked = tagged.split_off(usize::try_from(share).unwrap_or(usize::MAX));
        let keys = self.workload.steps.iter().map(|step| match step {
            Op::Insert | Op::Bytes => shuffled(all.to_vec(), 2),
            Op::Remove => shuffled(all.to_vec(), 3),
            Op::InsertInOrder | Op::LookupInOrder => all.to_vec(),
            Op::LookupMissing => self.set.missing(),
            Op::Set | Op::Clear => asked[..all.len() / 4].to_vec(),
            Op::WriteBeside => shuffled(asked.clone(), 4),
            Op::Lookup | Op::Chase | Op::Scan | Op::Pair | Op::PairChecked | Op::ReadBeside => {
                asked.clone()
            }
            Op::RemoveRange | Op::Iterate | Op::IterateCold | Op::Walk16 | Op::Walk256 => {
                Vec::new()
            }
            Op::TagRange | Op::Count | Op::Retag | Op::UntagHalf | Op::WalkFiltered => Vec::new(),
        });
        Plan { row: self, keys: keys.collect(), tagged }
    }
}

impl Plan {
    /// The operation numbered `step` on `keys`.
    pub fn task<'k>(&self, step: usize, keys: &'k [u64]) -> Task<'k> {
        let hold = self.row.workload.hold;
        match self.row.workload.steps[step] {
            Op::Lookup | Op::LookupInOrder | Op::LookupMissing => Task::Lookup(keys, hold),
            Op::ReadBeside => Task::Lookup(keys, Hold::Each),
            Op::Chase => Task::Chase(keys),
            Op::Insert | Op::InsertInOrder | Op::Bytes => Task::Insert(keys, hold),
            Op::Remove => Task::Remove(keys, hold),
            Op::RemoveRange => Task::RemoveRange,
            Op::Iterate | Op::IterateCold => Task::Iterate,
            Op::Scan => Task::Scan(keys),
            Op::Pair => Task::Pair(keys, hold, false),
            Op::PairChecked => Task::Pair(keys, hold, true),
            Op::Set => Task::Tag(keys, true),
            Op::Clear => Task::Tag(keys, false),
            Op::Walk16 => Task::Walk16(Filter::Dirty),
            Op::Walk256 => Task::Walk256(Filter::Dirty),
            Op::TagRange => Task::TagRange(Mark::Dirty, true, 0),
            Op::Count => Task::Count,
            Op::Retag => Task::Retag,
            Op::UntagHalf => Task::TagRange(Mark::ToWrite, false, self.row.set.entries() / 2),
            Op::WalkFiltered => Task::Walk256(Filter::DirtyOnly),
            Op::WriteBeside => {
                Task::Churn(keys, self.row.workload.course == Course::Duel { tags: true })
            }
        }
    }

    /// Counts what the figure of a step is per, if the step is about all entries.
    pub fn whole(&self, step: usize) -> Option<u64> {
        match self.row.workload.steps[step] {
            Op::Walk16 | Op::Walk256 => Some(self.tagged.len() as u64),
            Op::UntagHalf | Op::WalkFiltered => Some(self.row.set.entries() / 2),
            Op::RemoveRange
            | Op::Iterate
            | Op::IterateCold
            | Op::TagRange
            | Op::Count
            | Op::Retag => Some(self.row.set.entries()),
            _ => None,
        }
    }
}
