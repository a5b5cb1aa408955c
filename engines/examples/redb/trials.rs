//! What can be tried, and what the user is told of it.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engines::faults::{self, Trouble};
use engines::files::{self, Opened};
use engines::history::History;
use engines::session::{self, verify};
use engines::work::{self, Counts};
use engines::{Cached, Failure, cuts, kill};
use indicatif::{HumanBytes, HumanCount};
use redb::Database;
use redb::backends::FileBackend;
use tempfile::TempDir;
use writeback::stats::Stats;

use crate::progress::Progress;
use crate::{Faults, KillLoop, PowerCuts, Work};

/// Where a database is.
struct Place {
    path: PathBuf,
    /// Removed with it, if it is ours.
    _folder: Option<TempDir>,
}

impl Place {
    fn choose(file: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = file else {
            let folder = tempfile::tempdir()?;
            return Ok(Self { path: folder.path().join("database"), _folder: Some(folder) });
        };
        let name = path.display();
        match path.metadata() {
            Ok(there) if !there.is_file() => {
                Err(Failure::Trouble(format!("cannot use {name}: not a regular file")))
            }
            Ok(there) if there.len() > 0 => {
                Err(Failure::Trouble(format!("{name} exists and is not empty")))
            }
            _ => Ok(Self { path: path.to_owned(), _folder: None }),
        }
    }

    fn lock(&self) -> Result<File, Failure> {
        files::lock(&self.path)
    }
}

/// One line of a table for people.
fn line(name: &str, value: impl ToString) -> String {
    format!("  {name:<42} {}\n", value.to_string())
}

/// Several threads at work on a file; then the file without the cache.
pub(crate) fn work(options: &Work) -> Result<String, Failure> {
    let place = Place::choose(options.file.as_deref())?;
    let plan = work::Plan {
        seed: options.seed,
        writers: options.writers,
        readers: options.readers,
        length: options.seconds,
        round: Duration::from_secs(1),
    };
    let counts = Counts::default();
    let (number, stats) = work_on(place.lock()?, options.cache_pages, &plan, &counts)?;
    let bytes = place.path.metadata()?.len();
    let records = reread(place.lock()?, plan.seed, number)?;
    let count = |of: &AtomicU64| HumanCount(of.load(Ordering::Relaxed));
    Ok([
        format!("On {}, cached by writeback:\n\n", place.path.display()),
        line("transactions committed, durable at once", count(&counts.durable)),
        line("transactions committed, not durable", count(&counts.not_durable)),
        line("transactions aborted", count(&counts.aborted)),
        line("savepoints gone back to", count(&counts.restored)),
        line("snapshots compared from end to end", count(&counts.snapshots)),
        line("integrity checks passed", count(&counts.checks)),
        line("compactions", count(&counts.compactions)),
        line("pages written to the file", HumanCount(stats.written)),
        line("pages read from the file", HumanCount(stats.read)),
        line("times the file was flushed", HumanCount(stats.flushes)),
        line("size of the file at the end", HumanBytes(bytes)),
        line("records in it", HumanCount(records)),
        "\nEvery snapshot, and the database after each round, held what its transactions had left, no more\n\
         and no less. Opened again without the cache, by redb's own file backend, the file does too.\n"
            .to_owned(),
    ]
    .concat())
}

fn work_on(
    file: File,
    cache_pages: u64,
    plan: &work::Plan,
    counts: &Counts,
) -> Result<(u64, Stats), Failure> {
    let opened = files::open(file, Some(cache_pages))?;
    let Opened { mut database, mapping, flusher } = opened;
    let total = u64::try_from(plan.length.as_millis()).unwrap_or(u64::MAX);
    let mut progress = Progress::new("redb", total);
    let number = work::run(&mut database, plan, counts, || {
        let elapsed = u64::try_from(progress.elapsed().as_millis()).unwrap_or(u64::MAX);
        progress.show(elapsed.min(total), || {
            let count = |of: &AtomicU64| HumanCount(of.load(Ordering::Relaxed));
            format!(
                "{} durable commits, {} others, {} snapshots compared, {} checks passed",
                count(&counts.durable),
                count(&counts.not_durable),
                count(&counts.snapshots),
                count(&counts.checks),
            )
        });
    })?;
    database.close().map_err(redb::Error::from)?;
    flusher.stop();
    Ok((number, mapping.stats()))
}

/// Opens the file with redb's own backend; returns how many records it holds.
fn reread(file: File, seed: u64, number: u64) -> Result<u64, Failure> {
    let backend = FileBackend::new(file).map_err(redb::Error::from)?;
    let database = Database::builder().create_with_backend(backend);
    let mut history = History::new(seed);
    let mut database = database.map_err(redb::Error::from)?;
    let found = verify(&mut database, &mut history, number..=number);
    found.map_err(|failure| failure.during("the file, read without the cache"))?;
    Ok(history.print(number).unwrap_or_default().records)
}

/// What is killed.
pub(crate) fn child(path: &Path, seed: u64) -> Result<String, Failure> {
    kill::child(&kill::map(path)?, seed, |mapping| session::open(Cached::new(mapping)))?;
    Ok(String::new())
}

/// `kill -9`, again and again.
pub(crate) fn kill_loop(options: &KillLoop) -> Result<String, Failure> {
    let place = Place::choose(options.file.as_deref())?;
    let program = env::current_exe()?;
    let command = || {
        let mut command = Command::new(&program);
        command.arg("child").arg(&place.path).arg(options.seed.to_string());
        command
    };
    let mut progress = Progress::new("kill-loop", options.kills);
    let report = kill::run(&place.path, options.seed, options.kills, command, |report| {
        progress.show(report.kills, || {
            let (kills, transactions) = (report.kills, HumanCount(report.transactions));
            format!("{kills} of {} kills survived, {transactions} transactions", options.kills)
        });
    })?;
    drop(progress);
    Ok([
        format!("A process that commits to {}, killed and killed again:\n\n", place.path.display()),
        line("kills (SIGKILL) survived", report.kills),
        line("  while a transaction was under way", report.amid),
        line("  while it was recovering from the last", report.opening),
        line("  and the power cut after that", report.cuts),
        line("transactions committed", HumanCount(report.transactions)),
        line("transactions there that were not promised", report.kept),
        "\nAfter every kill and every power cut redb found the database sound, with every transaction whose commit had returned\n\
         and been durable, or that a process had read and synced, and none in part.\n"
            .to_owned(),
    ]
    .concat())
}

/// Power cuts.
pub(crate) fn power_cuts(options: &PowerCuts) -> Result<String, Failure> {
    let plan = cuts::Plan { seed: options.seed, cuts: options.clones, every: 16 };
    let mut progress = Progress::new("power-cuts", plan.cuts);
    let tell = |report: &cuts::Report| {
        progress.show(report.cuts, || {
            format!(
                "{} of {} power cuts survived, {} databases",
                report.cuts,
                plan.cuts,
                report.databases + 1
            )
        });
    };
    let report = cuts::run(&plan, Cached::new, tell)?;
    drop(progress);
    Ok([
        "A database on a store in memory, copied as a power cut would leave it:\n\n".to_owned(),
        line("power cuts survived", report.cuts),
        line("  and again, while it recovered from one", report.again),
        line("  while a transaction was under way", report.amid),
        line("transactions committed", HumanCount(report.transactions)),
        line("transactions there that were not promised", report.kept),
        line("operations of the stores, begun or ended", HumanCount(report.events)),
        line("databases", report.databases),
        "\nAfter every cut redb found the database sound, with every transaction whose commit had returned\n\
         and been durable, and none in part; and went on from there.\n"
            .to_owned(),
    ]
    .concat())
}

/// A store that fails.
pub(crate) fn faults(options: &Faults) -> Result<String, Failure> {
    let total = options.databases * Trouble::ALL.len() as u64;
    let mut progress = Progress::new("faults", total);
    let mut done = 0;
    let reports = faults::run(options.seed, options.databases, |trouble| {
        done += 1;
        progress.show(done, || format!("{done} of {total} databases: {trouble}"));
    })?;
    drop(progress);
    let mut text = "Databases on a store in memory that fails:\n\n".to_owned();
    let (mut commits, mut cuts) = (0, 0);
    for (trouble, report) in reports {
        let failed = format!("{} of {} made a commit fail", report.told, report.databases);
        text += &line(&trouble.to_string(), failed);
        (commits, cuts) = (commits + report.transactions, cuts + report.cuts);
    }
    text += &line("transactions committed", HumanCount(commits));
    text += &line("power cuts survived after that", HumanCount(cuts));
    text += "\nEach fault made a commit fail, at the latest the next durable one. After it, with the power cut and\n\
             without, redb found the database sound, with every transaction whose commit had returned and\n\
             been durable, and none in part.\n";
    Ok(text)
}
