//! A real engine: redb over `writeback`, beside redb's own file backend.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use engines::Cached;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use writeback::{FileStore, Flusher, FlusherConfig, Mapping};

use crate::stats::Spread;
use crate::threads::together;

/// What can go wrong: redb, the cache, the system.
pub type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const TABLE: TableDefinition<'_, u64, [u8; VALUE]> = TableDefinition::new("records");
/// Bytes in a value.
const VALUE: usize = 100;
/// Records that a small transaction changes.
const CHANGES: u64 = 10;
/// Records that a range has.
const RANGE: u64 = 100;

/// One who is measured.
#[derive(Debug)]
pub struct Rival {
    /// As tables show it.
    pub name: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    open: fn(File, usize) -> Fallible<Opened>,
}

/// A database, and what must live as long.
struct Opened {
    database: Database,
    _flusher: Option<Flusher>,
}

/// All who are measured. The others are compared with the first.
pub const RIVALS: &[Rival] = &[
    Rival {
        name: "writeback",
        what: "`Cached` over a `FileStore` of which the kernel keeps no copies, with a flusher",
        open: cached,
    },
    Rival { name: "kept", what: "the same with the kernel's copies", open: kept },
    Rival {
        name: "file",
        what: "redb's `FileBackend`: `pread`, `pwrite`, `fdatasync`",
        open: file,
    },
    Rival {
        name: "memory",
        what: "redb's `InMemoryBackend`, a limit: nothing is durable",
        open: memory,
    },
];

fn cached(file: File, cache: usize) -> Fallible<Opened> {
    over(FileStore::from_file(file)?.keep_copies(false), cache)
}

fn kept(file: File, cache: usize) -> Fallible<Opened> {
    over(FileStore::from_file(file)?, cache)
}

fn over(store: FileStore, cache: usize) -> Fallible<Opened> {
    let mapping = Mapping::open(store)?;
    let flusher = Flusher::start([mapping.clone()], FlusherConfig::new())?;
    let database =
        Database::builder().set_cache_size(cache).create_with_backend(Cached::new(&mapping))?;
    Ok(Opened { database, _flusher: Some(flusher) })
}

fn file(file: File, cache: usize) -> Fallible<Opened> {
    let backend = FileBackend::new(file)?;
    let database = Database::builder().set_cache_size(cache).create_with_backend(backend)?;
    Ok(Opened { database, _flusher: None })
}

fn memory(_: File, cache: usize) -> Fallible<Opened> {
    let backend = InMemoryBackend::new();
    let database = Database::builder().set_cache_size(cache).create_with_backend(backend)?;
    Ok(Opened { database, _flusher: None })
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Insert all records into a new database, in order, and commit.
    Load,
    /// Read a random record.
    Read,
    /// Read a hundred records from a random one on.
    Range,
    /// Change ten random records and commit, durable.
    Commit,
    /// Change ten random records and commit, not durable; and a durable commit at the end.
    CommitNone,
    /// Change a tenth of all records, at random, and commit.
    Rewrite,
}

impl Act {
    /// Says in words what is done.
    pub const fn words(self) -> &'static str {
        match self {
            Act::Load => "bulk load, in order, one commit",
            Act::Read => "read a random record",
            Act::Range => "read 100 records in order",
            Act::Commit => "change 10 records, commit (Immediate)",
            Act::CommitNone => "change 10 records, commit (None)",
            Act::Rewrite => "change a tenth of all, one commit",
        }
    }

    /// Names what a figure is the cost of.
    pub const fn unit(self) -> &'static str {
        match self {
            Act::Load | Act::Read | Act::Range | Act::Rewrite => "ns/record",
            Act::Commit | Act::CommitNone => "ns/commit",
        }
    }
}

/// A row: what is done, by how many threads, and how much memory redb has for a cache of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// What is done.
    pub act: Act,
    /// By how many threads.
    pub threads: usize,
    /// Whether redb caches everything itself. If not, it has next to nothing, and the backend does it.
    pub own_cache: bool,
}

impl Row {
    const fn new(act: Act, threads: usize, own_cache: bool) -> Self {
        Self { act, threads, own_cache }
    }
}

/// All that is measured.
pub const ROWS: &[Row] = &[
    Row::new(Act::Load, 1, true),
    Row::new(Act::Load, 1, false),
    Row::new(Act::Read, 1, true),
    Row::new(Act::Read, 1, false),
    Row::new(Act::Read, 2, false),
    Row::new(Act::Range, 1, false),
    Row::new(Act::Commit, 1, true),
    Row::new(Act::Commit, 1, false),
    Row::new(Act::CommitNone, 1, true),
    Row::new(Act::CommitNone, 1, false),
    Row::new(Act::Rewrite, 1, true),
    Row::new(Act::Rewrite, 1, false),
];

/// What was measured.
#[derive(Debug)]
pub struct Outcome {
    /// What was done.
    pub row: Row,
    /// For each of [`RIVALS`] what it cost, round by round, in nanoseconds.
    pub samples: Vec<Vec<f64>>,
}

impl Outcome {
    /// By how many times the rival at `position` costs more than the first, compared round by round.
    pub fn ratio(&self, position: usize) -> Option<Spread> {
        Spread::of_ratios(&self.samples[position], &self.samples[0])
    }
}

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds, each with one sample of each rival.
    pub rounds: usize,
    /// Records in a database, of some 120 bytes.
    pub records: u64,
    /// Small commits in a sample.
    pub commits: u64,
}

/// Bytes that redb gets for its cache: more than there are, or about none.
const fn cache(own: bool) -> usize {
    if own { 1 << 30 } else { 1 << 18 }
}

/// Measures all rivals in turn for each of `rows`, each on a file of its own in `folder`; `progress` is called before each row.
///
/// # Errors
/// If redb, the cache or the system has one.
///
/// # Panics
/// If a rival finds other records than were written.
pub fn measure(
    folder: &Path,
    rows: &[Row],
    effort: Effort,
    mut progress: impl FnMut(Row),
) -> Fallible<Vec<Outcome>> {
    let open = |rival: &'static Rival, own_cache| -> Fallible<_> {
        let mut subject = Subject::open(rival, folder, own_cache, effort)?;
        subject.load()?;
        Ok(subject)
    };
    let open_all = |own_cache| RIVALS.iter().map(move |rival| open(rival, own_cache));
    let mut with = open_all(true).collect::<Fallible<Vec<_>>>()?;
    let mut without = open_all(false).collect::<Fallible<Vec<_>>>()?;
    let mut outcomes = Vec::new();
    for &row in rows {
        progress(row);
        let subjects = if row.own_cache { &mut with } else { &mut without };
        let mut samples = vec![Vec::new(); RIVALS.len()];
        for round in 0..effort.rounds {
            for offset in 0..RIVALS.len() {
                let position = (round + offset) % RIVALS.len();
                samples[position].push(subjects[position].sample(row, round as u64)?);
            }
        }
        outcomes.push(Outcome { row, samples });
    }
    for subject in with.iter_mut().chain(&mut without) {
        subject.check()?;
    }
    Ok(outcomes)
}

/// A rival at work on its file.
struct Subject<'f> {
    rival: &'static Rival,
    folder: &'f Path,
    own_cache: bool,
    effort: Effort,
    opened: Opened,
}

fn new_file(rival: &Rival, folder: &Path, own_cache: bool) -> Fallible<File> {
    let path = folder.join(format!("{}-{own_cache}", rival.name));
    // A new one, and not the old one emptied: whoever has that open has another.
    let _ = fs::remove_file(&path);
    Ok(OpenOptions::new().read(true).write(true).create_new(true).open(path)?)
}

fn value(number: u64) -> [u8; VALUE] {
    let mut bytes = [0; VALUE];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = number.to_le_bytes()[place % 8];
    }
    bytes
}

impl<'f> Subject<'f> {
    fn open(
        rival: &'static Rival,
        folder: &'f Path,
        own_cache: bool,
        effort: Effort,
    ) -> Fallible<Self> {
        let opened = (rival.open)(new_file(rival, folder, own_cache)?, cache(own_cache))?;
        Ok(Self { rival, folder, own_cache, effort, opened })
    }

    /// What one operation cost, in nanoseconds.
    fn sample(&mut self, row: Row, seed: u64) -> Fallible<f64> {
        let (records, commits) = (self.effort.records, self.effort.commits);
        if row.act == Act::Load {
            *self = Self::open(self.rival, self.folder, self.own_cache, self.effort)?;
        }
        let start = Instant::now();
        let (wall, operations) = match row.act {
            Act::Load => {
                self.load()?;
                (start.elapsed(), records)
            }
            Act::Read | Act::Range => {
                let warm_up =
                    |thread: usize| drop(black_box(self.read(row.act, seed + thread as u64)));
                let work = |thread: usize| self.read(row.act, seed + 100 + thread as u64);
                let (wall, read) = together(row.threads, warm_up, work);
                (wall, read.into_iter().sum::<Fallible<u64>>()?)
            }
            Act::Commit => {
                for commit in 0..commits / 10 {
                    self.change(CHANGES, seed * commits + commit, Durability::Immediate)?;
                }
                (start.elapsed(), commits / 10)
            }
            Act::CommitNone => {
                for commit in 1..commits {
                    self.change(CHANGES, seed * commits + commit, Durability::None)?;
                }
                self.change(CHANGES, seed * commits, Durability::Immediate)?;
                (start.elapsed(), commits)
            }
            Act::Rewrite => {
                self.change(records / 10, seed, Durability::Immediate)?;
                (start.elapsed(), records / 10)
            }
        };
        Ok(wall.as_secs_f64() * 1e9 / operations as f64)
    }

    fn load(&mut self) -> Fallible<()> {
        let change = self.opened.database.begin_write()?;
        let mut table = change.open_table(TABLE)?;
        for key in 0..self.effort.records {
            table.insert(key, value(key))?;
        }
        drop(table);
        Ok(change.commit()?)
    }

    /// Changes so many random records and commits.
    fn change(&self, count: u64, seed: u64, durability: Durability) -> Fallible<()> {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut change = self.opened.database.begin_write()?;
        change.set_durability(durability)?;
        let mut table = change.open_table(TABLE)?;
        for _ in 0..count {
            // What a record holds stays a multiple of its key.
            let key = random.random_range(0..self.effort.records);
            table.insert(key, value(key * random.random_range(1..1 << 20)))?;
        }
        drop(table);
        Ok(change.commit()?)
    }

    /// Reads, and returns how many records.
    fn read(&self, act: Act, seed: u64) -> Fallible<u64> {
        let mut random = SmallRng::seed_from_u64(seed);
        let records = self.effort.records;
        let table = self.opened.database.begin_read()?.open_table(TABLE)?;
        let (count, span) = match act {
            Act::Range => (self.effort.commits, RANGE.min(records)),
            _ => (self.effort.commits * 10, 1),
        };
        let mut sum = 0;
        for _ in 0..count {
            let key = random.random_range(0..=records - span);
            if act == Act::Range {
                for record in table.range(key..key + span)? {
                    sum += u64::from(record?.1.value()[0]);
                }
            } else {
                let record = table.get_owned(key)?.ok_or("a record is missing")?;
                sum += u64::from(record.value()[0]);
            }
        }
        black_box(sum);
        Ok(count * span)
    }

    /// Reads all records: nobody is fast by keeping nothing.
    fn check(&mut self) -> Fallible<()> {
        assert!(self.opened.database.check_integrity()?, "{}", self.rival.name);
        let table = self.opened.database.begin_read()?.open_table(TABLE)?;
        let mut count = 0;
        for record in table.iter()? {
            let (key, bytes) = record?;
            let (key, bytes) = (key.value(), bytes.value());
            let number = u64::from_le_bytes(*bytes.first_chunk().ok_or("too short")?);
            let right = key == 0 && number == 0 || key > 0 && number.is_multiple_of(key);
            assert!(right && bytes == value(number), "{}, record {key}", self.rival.name);
            count += 1;
        }
        assert_eq!(count, self.effort.records, "{}", self.rival.name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rival_does_everything() {
        let folder = tempfile::tempdir().expect("a folder");
        let effort = Effort { rounds: 1, records: 500, commits: 20 };
        let outcomes = measure(folder.path(), ROWS, effort, |_| ()).expect("a device that works");
        assert_eq!(outcomes.len(), ROWS.len());
        for outcome in outcomes {
            let samples = outcome.samples.iter().flatten();
            assert_eq!(samples.filter(|&&cost| cost > 0.0).count(), RIVALS.len());
        }
    }
}
