//! Page caches: `writeback` beside what people use today, on the same file.

mod cached;
mod kernel;
mod mapped;
mod sharded;
mod sink;

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::contender::narrow;
use crate::keys::shuffled;
use crate::stats::Spread;
use crate::threads::together;

pub(crate) use sink::Sink;
pub use sink::{Overhead, overhead};

/// Bytes in a page.
pub const PAGE: usize = 4096;
/// Bytes in the buffers of sequential writes.
const RUN: usize = 1 << 20;

/// A file that is read and written at offsets, and made durable.
pub trait Pages: Sync {
    /// Reads all of `buf`, which lies in the file.
    ///
    /// # Errors
    /// As the system's.
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
    /// The byte at `offset`, where it is kept if that can be.
    ///
    /// # Errors
    /// As the system's.
    fn look(&self, offset: u64) -> io::Result<u8> {
        let mut byte = [0; 1];
        self.read(offset, &mut byte)?;
        Ok(byte[0])
    }
    /// Writes all of `buf`, within the file.
    ///
    /// # Errors
    /// As the system's.
    fn write(&self, offset: u64, buf: &[u8]) -> io::Result<()>;
    /// Returns when all that was written before is durable.
    ///
    /// # Errors
    /// As the system's.
    fn sync(&self) -> io::Result<()>;
}

/// One who is measured.
#[derive(Debug)]
pub struct Rival {
    /// As tables show it.
    pub name: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    /// Whether it keeps pages itself; otherwise only the system does.
    own_cache: bool,
    open: fn(File) -> io::Result<Box<dyn Pages>>,
}

/// All who are measured. The others are compared with the first.
pub const RIVALS: &[Rival] = &[
    Rival {
        name: "writeback",
        what: "`Mapping` over a `FileStore`",
        own_cache: true,
        open: cached::open,
    },
    Rival {
        name: "pwrite",
        what: "`pread`, `pwrite` and `fdatasync`",
        own_cache: false,
        open: kernel::open,
    },
    Rival {
        name: "mmap",
        what: "a shared mapping and `msync`",
        own_cache: false,
        open: mapped::open,
    },
    Rival {
        name: "dropped",
        what: "`writeback` with `FileStore::keep_copies(false)`",
        own_cache: true,
        open: cached::open_dropped,
    },
    Rival {
        name: "dashmap",
        what: "a `DashMap` of pages, a `Mutex<BTreeSet>` of dirty ones, `pwrite` and `fdatasync`",
        own_cache: true,
        open: sharded::open,
    },
];

/// What is done to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Change 64 bytes of a random page, again and again.
    Update,
    /// Write a random page.
    Write,
    /// Read a random page.
    Read,
    /// Read 64 bytes of a random page.
    ReadLittle,
    /// Look at a byte of a random page, where it is kept: with a guard, if there are guards.
    Look,
    /// Write the whole file from start to end, 1 MiB at a time, and sync.
    Sequential,
    /// Write random pages, an eighth of all, and sync.
    Random,
    /// Sync the whole file when all of it is dirty. Who has no cache writes it first, in that time.
    SyncAll,
    /// Sync random pages, an eighth of all. Who has no cache writes them first, in that time.
    SyncRandom,
    /// Write one random page and sync; eight times.
    Commit,
}

impl Act {
    /// Says in words what is done.
    pub const fn words(self) -> &'static str {
        match self {
            Act::Update => "update 64 bytes, cached",
            Act::Write => "write 4 KiB, cached",
            Act::Read => "read 4 KiB, cached",
            Act::ReadLittle => "read 64 bytes, cached",
            Act::Look => "look at a byte in place, cached",
            Act::Sequential => "write all, 1 MiB at a time, and sync",
            Act::Random => "write an eighth of the pages, at random, and sync",
            Act::SyncAll => "sync all, written before",
            Act::SyncRandom => "sync an eighth, written before",
            Act::Commit => "write one page and sync",
        }
    }

    /// Names what a figure is the cost of.
    pub const fn unit(self) -> &'static str {
        match self {
            Act::Update | Act::Write | Act::Read | Act::ReadLittle | Act::Look => "ns/op",
            Act::Sequential | Act::Random | Act::SyncAll | Act::SyncRandom => "ns/page",
            Act::Commit => "ns/sync",
        }
    }
}

/// What is measured, and by how many threads.
pub const ACTS: &[(Act, usize)] = &[
    (Act::Update, 1),
    (Act::Update, 2),
    (Act::Write, 1),
    (Act::Write, 2),
    (Act::Read, 1),
    (Act::Read, 2),
    (Act::ReadLittle, 1),
    (Act::ReadLittle, 2),
    (Act::Look, 1),
    (Act::Look, 2),
    (Act::Sequential, 1),
    (Act::SyncAll, 1),
    (Act::Random, 1),
    (Act::SyncRandom, 1),
    (Act::Commit, 1),
];

/// What was measured.
#[derive(Debug)]
pub struct Outcome {
    /// What was done.
    pub act: Act,
    /// By how many threads.
    pub threads: usize,
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
    /// Pages of the file: a multiple of 256.
    pub pages: u64,
}

/// Measures all rivals in turn, each on a file of its own in `folder`; `progress` is called before each row.
///
/// # Errors
/// If the system has one.
///
/// # Panics
/// If a rival reads other bytes than were written.
pub fn measure(
    folder: &Path,
    effort: Effort,
    mut progress: impl FnMut(Act, usize),
) -> io::Result<Vec<Outcome>> {
    let open = |rival: &Rival| -> io::Result<_> {
        let path = folder.join(format!("pages-{}", rival.name));
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        file.set_len(effort.pages * PAGE as u64)?;
        let pages = (rival.open)(file)?;
        // Every page is cached, and has its place on the device.
        write_all(&*pages, effort.pages, 0)?;
        pages.sync()?;
        Ok(pages)
    };
    let rivals = RIVALS.iter().map(open).collect::<io::Result<Vec<_>>>()?;
    let mut outcomes = Vec::new();
    for &(act, threads) in ACTS {
        progress(act, threads);
        let mut samples = vec![Vec::new(); rivals.len()];
        for round in 0..effort.rounds {
            for offset in 0..rivals.len() {
                let position = (round + offset) % rivals.len();
                let subject = Subject {
                    pages: &*rivals[position],
                    count: effort.pages,
                    own_cache: RIVALS[position].own_cache,
                };
                samples[position].push(subject.sample(act, threads, round as u64)?);
            }
        }
        outcomes.push(Outcome { act, threads, samples });
    }
    rivals.iter().try_for_each(|pages| check(&**pages, effort.pages))?;
    Ok(outcomes)
}

/// A rival at work on its file.
struct Subject<'p> {
    pages: &'p dyn Pages,
    /// Pages of the file.
    count: u64,
    own_cache: bool,
}

impl Subject<'_> {
    /// What one operation cost, in nanoseconds.
    fn sample(&self, act: Act, threads: usize, seed: u64) -> io::Result<f64> {
        let all: Vec<u64> = shuffled((0..self.count).collect(), seed);
        let eighth = &all[..all.len() / 8];
        let write_eighth = || self.write_pages(eighth, seed);
        let write_all = || write_all(self.pages, self.count, seed);
        let (wall, operations) = match act {
            Act::Update | Act::Write | Act::Read | Act::ReadLittle | Act::Look => {
                let share = all.len() / threads;
                let work =
                    |thread: usize| repeat(self.pages, act, &all[thread * share..][..share], seed);
                let (wall, results) = together(threads, |_| (), work);
                results.into_iter().collect::<io::Result<Vec<()>>>()?;
                self.pages.sync()?;
                (wall, PASSES * (share * threads) as u64)
            }
            Act::Sequential => (self.synced(false, write_all)?, self.count),
            Act::SyncAll => (self.synced(self.own_cache, write_all)?, self.count),
            Act::Random => (self.synced(false, write_eighth)?, eighth.len() as u64),
            Act::SyncRandom => (self.synced(self.own_cache, write_eighth)?, eighth.len() as u64),
            Act::Commit => {
                let start = Instant::now();
                for number in &all[..8] {
                    self.write_pages(&[*number], seed)?;
                    self.pages.sync()?;
                }
                (start.elapsed(), 8)
            }
        };
        Ok(wall.as_secs_f64() * 1e9 / operations as f64)
    }

    /// The time of `write`, unless it is done `before`, and of a sync.
    fn synced(&self, before: bool, write: impl Fn() -> io::Result<()>) -> io::Result<Duration> {
        if before {
            write()?;
        }
        let start = Instant::now();
        if !before {
            write()?;
        }
        self.pages.sync()?;
        Ok(start.elapsed())
    }

    fn write_pages(&self, numbers: &[u64], seed: u64) -> io::Result<()> {
        let page = [low_byte(seed); PAGE];
        numbers.iter().try_for_each(|number| self.pages.write(number * PAGE as u64, &page))
    }
}

/// How often each page is asked for in a sample of cached operations.
const PASSES: u64 = 16;

fn repeat(pages: &dyn Pages, act: Act, numbers: &[u64], seed: u64) -> io::Result<()> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut page = [low_byte(seed); PAGE];
    for _ in 0..PASSES {
        for number in numbers {
            let start = number * PAGE as u64;
            let mut place = || start + rng.random_range(0..PAGE as u64 / 64) * 64;
            match act {
                Act::Update => pages.write(place(), &page[..64])?,
                Act::ReadLittle => {
                    pages.read(place(), &mut page[..64])?;
                    black_box(&page);
                }
                Act::Look => _ = black_box(pages.look(place())?),
                Act::Read => {
                    pages.read(start, &mut page)?;
                    black_box(&page);
                }
                _ => pages.write(start, &page)?,
            }
        }
    }
    Ok(())
}

fn write_all(pages: &dyn Pages, count: u64, seed: u64) -> io::Result<()> {
    let run = vec![low_byte(seed); RUN];
    let runs = count * PAGE as u64 / RUN as u64;
    (0..runs).try_for_each(|number| pages.write(number * RUN as u64, &run))
}

/// Reads what was written just before: nobody is fast by writing nothing.
fn check(pages: &dyn Pages, count: u64) -> io::Result<()> {
    for number in (0..count).step_by(7) {
        let written = [low_byte(number * 31); 64];
        let mut read = [0; 64];
        pages.write(number * PAGE as u64 + 64, &written)?;
        pages.read(number * PAGE as u64 + 64, &mut read)?;
        assert_eq!(read, written, "page {number}");
        assert_eq!(pages.look(number * PAGE as u64 + 127)?, written[63], "page {number}");
    }
    pages.sync()
}

fn low_byte(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

/// The page of an offset, and where in it the offset is.
fn place(offset: u64) -> (u64, usize) {
    (offset / PAGE as u64, narrow(offset % PAGE as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rival_does_everything() {
        let folder = tempfile::tempdir().expect("a folder");
        let effort = Effort { rounds: 1, pages: 256 };
        let outcomes = measure(folder.path(), effort, |_, _| ()).expect("a device that works");
        assert_eq!(outcomes.len(), ACTS.len());
        for outcome in outcomes {
            let samples = outcome.samples.iter().flatten();
            assert_eq!(samples.filter(|&&cost| cost > 0.0).count(), RIVALS.len());
            assert_eq!(outcome.ratio(0).map(|ratio| ratio.median), Some(1.0));
        }
    }

    #[test]
    fn what_is_synced_is_in_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        for rival in RIVALS {
            let path = folder.path().join(rival.name);
            std::fs::write(&path, vec![0; 2 * PAGE]).expect("a file");
            let file = OpenOptions::new().read(true).write(true).open(&path).expect("a file");
            let pages = (rival.open)(file).expect("it opens");
            pages.write(100, &[1; 64]).expect("it writes");
            pages.write(PAGE as u64, &[2; PAGE]).expect("it writes");
            pages.sync().expect("it syncs");
            let bytes = std::fs::read(&path).expect("a file");
            assert_eq!(bytes[100..164], [1; 64], "{}", rival.name);
            assert_eq!(bytes[PAGE..], [2; PAGE], "{}", rival.name);
            assert!(bytes[..100].iter().all(|&byte| byte == 0), "{}", rival.name);
        }
    }
}
