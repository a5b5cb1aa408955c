//! Stores of files beside each other, each below a mapping: what their reads and writes cost, and what memory they take.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rustix::fs::{Advice, fadvise};
use writeback::page::Image;
use writeback::store::{Completion, FlushKind, Store, Threads, WriteBatch};
use writeback::{
    CacheConfig, Config, DirectStore, FileStore, Handle, Mapping, PageCache, StoreError,
};
use writeback_uring::UringStore;

use crate::pages::PAGE;
use crate::stats::Spread;
use crate::threads::together;

/// Bytes in the buffers of sequential reads and writes.
const RUN: usize = 1 << 20;
/// Pages that are written between two syncs, or by how many threads cold pages are read at once.
const DEPTH: usize = 32;

/// What can go wrong: the cache, the system.
pub type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// One who is measured.
#[derive(Debug)]
pub struct Rival {
    /// As tables show it.
    pub name: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    open: fn(&Path, &PageCache) -> io::Result<Arc<dyn Store>>,
}

impl Rival {
    /// Whether it can be had: where the kernel gives no ring, nothing is measured of those which need one.
    pub fn is_here(&self) -> bool {
        !self.name.starts_with("uring") || UringStore::probe().is_ok()
    }
}

/// All who are measured. The others are compared with the first.
pub const RIVALS: &[Rival] = &[
    Rival {
        name: "dropped",
        what: "`FileStore` with `keep_copies(false)`",
        open: |path, _| Ok(Arc::new(FileStore::open_or_create(path)?.keep_copies(false))),
    },
    Rival {
        name: "file",
        what: "`FileStore`",
        open: |path, _| Ok(Arc::new(FileStore::open_or_create(path)?)),
    },
    Rival {
        name: "file, threads",
        what: "`Threads` over `FileStore`, 8 calls at a time, reads tried first",
        open: |path, _| {
            Ok(Arc::new(Threads::new(FileStore::open_or_create(path)?, 8).try_reads(true)))
        },
    },
    Rival {
        name: "direct",
        what: "`DirectStore`",
        open: |path, _| Ok(Arc::new(DirectStore::open_or_create(path)?)),
    },
    Rival {
        name: "uring",
        what: "`UringStore`, with the cache's memory registered",
        open: |path, cache| Ok(Arc::new(UringStore::options().memory(cache).open_or_create(path)?)),
    },
    Rival {
        name: "uring, plain",
        what: "`UringStore`, with no memory registered",
        open: |path, _| Ok(Arc::new(UringStore::open_or_create(path)?)),
    },
];

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Write a new file from start to end, 1 MiB at a time, and sync.
    Load,
    /// Write all of it again, and sync.
    Rewrite,
    /// Write all of it past the cache: batches of 1 MiB to the store itself, eight at a time, and flush.
    Batches,
    /// Write 32 random pages, sync; again and again.
    SyncRandom,
    /// Write one random page, sync; again and again.
    Commit,
    /// Read all of it, 1 MiB at a time, from the device.
    Scan,
    /// Read random pages from the device.
    Read,
    /// The same by one thread that reads 32 of them ahead, and then has them.
    Ahead,
}

/// A row: what is done, by how many threads.
pub type Row = (Act, usize);

/// All that is measured, in this order, on one file.
pub const ROWS: &[Row] = &[
    (Act::Load, 1),
    (Act::Rewrite, 1),
    (Act::Batches, 1),
    (Act::SyncRandom, 1),
    (Act::Commit, 1),
    (Act::Scan, 1),
    (Act::Read, 1),
    (Act::Read, DEPTH),
    (Act::Ahead, 1),
];

impl Act {
    /// Says in words what is done.
    pub const fn words(self) -> &'static str {
        match self {
            Act::Load => "write a new file, 1 MiB at a time, and sync",
            Act::Rewrite => "write all of it again, and sync",
            Act::Batches => "write all of it without the cache, and flush",
            Act::SyncRandom => "write 32 random pages and sync",
            Act::Commit => "write one random page and sync",
            Act::Scan => "read all, 1 MiB at a time, cold",
            Act::Read => "read a random page, cold",
            Act::Ahead => "read 32 random pages ahead, cold",
        }
    }
}

/// Nanoseconds that a page took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// On the clock.
    pub wall: f64,
    /// Of the processors, in this process and in its calls of the system. What the kernel's own threads do is not seen.
    pub cpu: f64,
}

/// What was measured of a rival.
#[derive(Debug, Default)]
pub struct Outcome {
    /// For each of [`ROWS`], round by round.
    pub costs: Vec<Vec<Cost>>,
    /// Bytes of memory for each byte of the file when all of it is cached and durable, of this cache and of the kernel, round by round.
    pub memory: Vec<(f64, f64)>,
}

impl Outcome {
    /// A row's figures of one kind.
    pub fn spread(&self, row: usize, of: fn(&Cost) -> f64) -> Option<Spread> {
        Spread::of(&self.figures(row, of))
    }

    /// By how many times the figures of a row exceed those of `first`, compared round by round.
    pub fn ratio(&self, first: &Outcome, row: usize, of: fn(&Cost) -> f64) -> Option<Spread> {
        Spread::of_ratios(&self.figures(row, of), &first.figures(row, of))
    }

    fn figures(&self, row: usize, of: fn(&Cost) -> f64) -> Vec<f64> {
        self.costs[row].iter().map(of).collect()
    }
}

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds, each with one sample of each rival.
    pub rounds: usize,
    /// Pages in a file. A multiple of 256.
    pub pages: usize,
    /// Random pages that are read or written in a sample; a quarter of them, with a sync each.
    pub random: usize,
}

/// Measures all rivals in turn, each on a file of its own in `folder`; `progress` is called before each round.
///
/// # Errors
/// If the cache or the system has one.
///
/// # Panics
/// If a rival reads other bytes than were written.
pub fn measure(
    folder: &Path,
    effort: Effort,
    mut progress: impl FnMut(usize),
) -> Fallible<Vec<Outcome>> {
    let new = |_: &Rival| Outcome { costs: vec![Vec::new(); ROWS.len()], memory: Vec::new() };
    let mut outcomes: Vec<Outcome> = RIVALS.iter().map(new).collect();
    // One for all, so that none pays for new memory; there is room for all that is dirty.
    let room = CacheConfig::bytes(4 * (effort.pages * PAGE) as u64);
    let cache = PageCache::new(room)?;
    for round in 0..effort.rounds {
        progress(round);
        for offset in 0..RIVALS.len() {
            let position = (round + offset) % RIVALS.len();
            let path = folder.join(RIVALS[position].name);
            let (rival, cache, round) = (&RIVALS[position], cache.clone(), round as u64);
            if !rival.is_here() {
                continue;
            }
            let subject = Subject { rival, path, effort, cache, round };
            subject.measure(&mut outcomes[position])?;
            fs::remove_file(subject.path)?;
        }
    }
    Ok(outcomes)
}

/// A rival with a file that is not there yet.
struct Subject {
    rival: &'static Rival,
    path: PathBuf,
    effort: Effort,
    cache: PageCache,
    round: u64,
}

impl Subject {
    fn map(&self) -> Fallible<Mapping> {
        Ok(Mapping::with_config(
            (self.rival.open)(&self.path, &self.cache)?,
            Config::new().cache(&self.cache),
        )?)
    }

    fn measure(&self, outcome: &mut Outcome) -> Fallible<()> {
        let mut mapping = self.map()?;
        for (row, &(act, threads)) in ROWS.iter().enumerate() {
            if act == Act::Batches {
                mapping.close().map_err(|failed| failed.error)?;
                outcome.costs[row].push(self.write_batches()?);
                mapping = self.map()?;
                continue;
            }
            if matches!(act, Act::Scan | Act::Read | Act::Ahead) {
                mapping.close().map_err(|failed| failed.error)?;
                self.forget()?;
                mapping = self.map()?;
            }
            let (cpu, start) = (cpu()?, Instant::now());
            let (wall, pages) = self.act(&mapping, act, threads)?;
            let wall = wall.unwrap_or(start.elapsed());
            outcome.costs[row].push(cost(wall, self::cpu()? - cpu, pages));
            if act == Act::Rewrite {
                let bytes = (self.effort.pages * PAGE) as f64;
                let here = self.cache.stats().cached_bytes as f64 / bytes;
                outcome.memory.push((here, self.in_kernel()? as f64 / bytes));
            }
        }
        mapping.close().map_err(|failed| failed.error)?;
        Ok(())
    }

    /// Does it; returns for how many pages, and how long that took, unless it is all of the time.
    fn act(
        &self,
        mapping: &Mapping,
        act: Act,
        threads: usize,
    ) -> Fallible<(Option<Duration>, usize)> {
        let (handle, Effort { pages, random, .. }) = (mapping.handle(), self.effort);
        let mut rng = SmallRng::seed_from_u64(self.round);
        let mut any = || rng.random_range(0..pages);
        match act {
            Act::Load | Act::Rewrite => {
                let mut run = vec![0; RUN];
                for first in (0..pages).step_by(RUN / PAGE) {
                    for (number, page) in run.chunks_mut(PAGE).enumerate() {
                        fill(page, first + number);
                    }
                    handle.write_at(&run, offset(first))?;
                }
                handle.sync_data()?;
                Ok((None, pages))
            }
            Act::SyncRandom | Act::Commit => {
                let count = if act == Act::Commit { 1 } else { DEPTH };
                let syncs = (random / 4 / count).max(1);
                for _ in 0..syncs {
                    (0..count).try_for_each(|_| write(&handle, any()))?;
                    handle.sync_data()?;
                }
                Ok((None, syncs * count))
            }
            Act::Scan => {
                let mut run = vec![0; RUN];
                for first in (0..pages).step_by(RUN / PAGE) {
                    handle.read_at(&mut run, offset(first))?;
                    run.chunks(PAGE)
                        .enumerate()
                        .for_each(|(number, page)| check(page, first + number));
                }
                Ok((None, pages))
            }
            Act::Ahead => Ok((None, self.read_ahead(&handle)?)),
            Act::Batches => unreachable!("no mapping does that"),
            Act::Read => {
                let each = random / threads;
                let read = |thread: usize| {
                    let mut rng = SmallRng::seed_from_u64(self.round << 8 | thread as u64);
                    (0..each).try_for_each(|_| read(&handle, rng.random_range(0..pages)))
                };
                let (wall, read) = together(threads, |_| (), read);
                read.into_iter().collect::<Fallible<()>>()?;
                Ok((Some(wall), each * threads))
            }
        }
    }

    /// The same bytes as by [`Act::Rewrite`], and no copies of them on the way.
    fn write_batches(&self) -> Fallible<Cost> {
        const UNDER_WAY: usize = 8;
        let store = (self.rival.open)(&self.path, &self.cache)?;
        let mut page = [0; PAGE];
        let image = |number: usize| {
            fill(&mut page, number);
            Image::from(&page[..])
        };
        let images: Vec<_> = (0..self.effort.pages).map(image).collect();
        let (tell, told) = channel::<Option<StoreError>>();
        let (cpu, start) = (cpu()?, Instant::now());
        for _ in 0..UNDER_WAY {
            tell.send(None)?;
        }
        for (number, images) in images.chunks(RUN / PAGE).enumerate() {
            if let Some(error) = told.recv()? {
                return Err(error.into());
            }
            let tell = tell.clone();
            let first = number * RUN / PAGE;
            let batch = WriteBatch::new(first as u64, offset(first), images.to_vec());
            store.write(
                batch,
                Completion::new(RUN as u64, move |_, error| {
                    // Nobody wants it who has met an error.
                    let _ = tell.send(error);
                }),
            );
        }
        for _ in 0..UNDER_WAY {
            if let Some(error) = told.recv()? {
                return Err(error.into());
            }
        }
        store.sync(FlushKind::Data)?;
        Ok(cost(start.elapsed(), self::cpu()? - cpu, self.effort.pages))
    }

    /// Reads random pages, 32 at a time.
    fn read_ahead(&self, handle: &Handle) -> Fallible<usize> {
        let mut rng = SmallRng::seed_from_u64(self.round << 8 | 0xff);
        let rounds = (self.effort.random / DEPTH).max(1);
        for _ in 0..rounds {
            let pages: [usize; DEPTH] =
                std::array::from_fn(|_| rng.random_range(0..self.effort.pages));
            for page in pages {
                handle.read_ahead(offset(page)..offset(page + 1));
            }
            pages.into_iter().try_for_each(|page| read(handle, page))?;
        }
        Ok(rounds * DEPTH)
    }

    /// Has the kernel forget the file's bytes.
    fn forget(&self) -> io::Result<()> {
        let file = File::open(&self.path)?;
        file.sync_all()?;
        Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
    }

    /// How many of the file's bytes the kernel has in memory.
    fn in_kernel(&self) -> Fallible<u64> {
        let mut fincore = Command::new("fincore");
        fincore.args(["--bytes", "--noheadings", "--output", "RES"]).arg(&self.path);
        Ok(String::from_utf8(fincore.output()?.stdout)?.trim().parse()?)
    }
}

fn cost(wall: Duration, cpu: Duration, pages: usize) -> Cost {
    let of_each = |time: Duration| time.as_secs_f64() * 1e9 / pages as f64;
    Cost { wall: of_each(wall), cpu: of_each(cpu) }
}

fn offset(page: usize) -> u64 {
    (page * PAGE) as u64
}

fn fill(page: &mut [u8], number: usize) {
    page.fill(1);
    page[..8].copy_from_slice(&number.to_le_bytes());
}

fn check(page: &[u8], number: usize) {
    assert!(page[..8] == number.to_le_bytes() && page[PAGE - 1] == 1, "page {number}");
}

fn write(handle: &Handle, number: usize) -> Fallible<()> {
    let mut page = [0; PAGE];
    fill(&mut page, number);
    Ok(handle.write_at(&page, offset(number))?)
}

fn read(handle: &Handle, number: usize) -> Fallible<()> {
    let mut page = [0; PAGE];
    handle.read_at(&mut page, offset(number))?;
    check(&page, number);
    Ok(())
}

/// Time of the processors that this process has taken, its calls of the system with it; in hundredths of a second.
fn cpu() -> Fallible<Duration> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let fields = text.rsplit_once(')').ok_or("a name in brackets")?.1;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks = ticks.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_store_does_everything() {
        // What is in memory only may have no direct I/O.
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder");
        let effort = Effort { rounds: 1, pages: 512, random: 256 };
        let outcomes = measure(folder.path(), effort, |_| ()).expect("a device that works");
        for (_, outcome) in RIVALS.iter().zip(outcomes).filter(|(rival, _)| rival.is_here()) {
            assert!(outcome.costs.iter().all(|costs| costs.len() == 1 && costs[0].wall > 0.0));
            assert_eq!(outcome.memory.len(), 1);
        }
    }
}
