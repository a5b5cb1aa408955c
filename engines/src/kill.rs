//! `kill -9` in the middle of commits.
//!
//! A child process commits to a database in a file, and says which transactions it has begun and which
//! commits have returned. The parent kills it at a random moment, opens the database as it was left,
//! and checks that every acknowledged transaction is there, and none in part. Then the next child goes
//! on where this one was stopped.
//!
//! A kill takes the cache with it, which lives in the process: what no sync, and no flusher, had
//! written is gone. It does not take what the kernel was given. So after some kills the power is cut,
//! too: the file, whose changes are [`recorded`], becomes what the device may hold by then. Between the
//! last flush and the cut there may be several processes, one killed after the other, each of which read
//! what the one before had written and never flushed. Whatever one of them read *and then synced* must be there.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redb::{Database, Error, ReadableDatabase};
use writeback::{Mapping, MemStore};

use crate::backend::Cached;
use crate::failure::Failure;
use crate::files;
use crate::history::{History, Level};
use crate::recorded::{self, Recorded};
use crate::session::{self, commit_next, contents, verify};
use crate::team::{Team, wait_for};

/// Threads that commit in the child.
const WRITERS: usize = 3;
/// Room in the cache: for a part of the database.
pub const CACHE_PAGES: Option<u64> = Some(100);
/// How long a child may take to open its database.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// Children killed.
    pub kills: u64,
    /// Of these, before the database was open, that is while it recovered from the kill before.
    pub opening: u64,
    /// Of these, while a transaction was being performed or committed.
    pub amid: u64,
    /// After how many of these the power was cut.
    pub cuts: u64,
    /// Transactions that were not acknowledged as durable and are there all the same, whole.
    pub kept: u64,
    /// The number of the last transaction.
    pub transactions: u64,
}

/// Opens the file at `path`, whose record has been [begun](recorded::begin), as a child does.
///
/// # Errors
/// As the mapping's, and if the file cannot be opened.
pub fn map(path: &Path) -> Result<Mapping, Failure> {
    Ok(Mapping::with_config(Arc::new(Recorded::open(path)?), files::config(CACHE_PAGES)?)?)
}

/// What a child does until it is killed: says what it has found in `mapping`, has the database in it opened by `open`, commits, and
/// says so on standard output.
///
/// # Errors
/// As redb's, and if nobody listens any more.
pub fn child(
    mapping: &Mapping,
    seed: u64,
    open: impl FnOnce(&Mapping) -> Result<Database, Error>,
) -> Result<(), Failure> {
    // A whole line at once, in a single write to the pipe: none is cut by the kill.
    let say = |line: String| io::stdout().lock().write_all(line.as_bytes());
    let number = look(mapping)?;
    // Synced, and so a promise, though no byte was written.
    mapping.handle().sync_data()?;
    say(format!("found {number}\n"))?;
    let _flusher = files::busy_flusher(mapping)?;
    let database = open(mapping)?;
    let number = contents(&database.begin_read().map_err(Error::from)?)?.number;
    let history = Mutex::new(History::at(seed, number));
    say("opened\n".into())?;
    let work = || {
        let mut heard = Ok(());
        let begun = |number| heard = say(format!("begun {number}\n"));
        let transaction = commit_next(&database, &history, begun)?;
        heard?;
        if transaction.level != Level::None {
            say(format!("committed {}\n", transaction.number))?;
        }
        Ok(())
    };
    let team = Team::default();
    thread::scope(|scope| {
        wait_for((0..WRITERS).map(|_| team.member(scope, work)).collect::<Vec<_>>())
    })
}

/// The number of the last transaction in the file below, which is not changed.
fn look(mapping: &Mapping) -> Result<u64, Failure> {
    let mut bytes = vec![0; usize::try_from(mapping.len()).expect("fits into memory")];
    mapping.handle().read_at(&mut bytes, 0)?;
    let database = copy_of(bytes)?;
    Ok(contents(&database.begin_read().map_err(Error::from)?)?.number)
}

/// A database in memory, recovered from what a file held.
fn copy_of(bytes: Vec<u8>) -> Result<Database, Failure> {
    let copy = Mapping::open(MemStore::with_contents(bytes))?;
    Ok(session::open(Cached::new(&copy))?)
}

/// Starts `kills` children with `command`, which must run [`child`] on the database that is [mapped](map) at `path`, with
/// `seed`, and kills them one after the other and cuts the power after some. There is no file at `path`, or an
/// empty one. `tell` is called after each check.
///
/// # Errors
/// [`Failure::Broken`] with the first thing that is lost or damaged.
pub fn run(
    path: &Path,
    seed: u64,
    kills: u64,
    command: impl Fn() -> Command,
    mut tell: impl FnMut(&Report),
) -> Result<Report, Failure> {
    let (mut random, mut history) = (SmallRng::seed_from_u64(seed), History::new(seed));
    let mut report = Report::default();
    recorded::begin(path)?;
    // What must be there, and what may be.
    let (mut durable, mut begun) = (0, 0);
    for kill in 1..=kills {
        // A child that works by turns with one that comes to look at what the first has left.
        let when = match random.random_range(0..8) {
            0 => When::Early,
            _ if kill % 2 == 0 => When::Found,
            _ => When::AtWork,
        };
        let said = kill_one(command(), when, &mut random)?;
        durable = durable.max(said.acknowledged).max(said.found);
        begun = begun.max(said.begun).max(durable);
        let after = check(path, when, &mut random, &mut history, durable..=begun);
        let (after, number) = after.map_err(|failure| failure.during(&format!("kill {kill}")))?;
        report.kills += 1;
        report.opening += u64::from(!said.opened);
        report.amid += u64::from(said.begun > durable);
        report.cuts += u64::from(after == After::PowerCut);
        report.kept += number - durable;
        report.transactions = number;
        if after != After::Untouched {
            // What is there now is all there is, and it is durable.
            (durable, begun) = (number, number);
        }
        tell(&report);
    }
    Ok(report)
}

/// What the next child finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// What a power cut left.
    PowerCut,
    /// A database that was recovered and closed.
    Recovered,
    /// The file as it was when the child was killed.
    Untouched,
}

/// Checks what a child left that was killed then; returns the number of the last transaction in it.
fn check(
    path: &Path,
    killed: When,
    random: &mut SmallRng,
    history: &mut History,
    possible: RangeInclusive<u64>,
) -> Result<(After, u64), Failure> {
    let usual = if killed == When::AtWork { After::Untouched } else { After::PowerCut };
    let any = [After::PowerCut, After::Recovered, After::Untouched, usual, usual, usual];
    let after = any[random.random_range(0..any.len())];
    let number = match after {
        After::PowerCut => {
            let left = recorded::power_cut(path, random)?;
            let number = verify(&mut copy_of(left)?, history, possible);
            number.map_err(|failure| failure.during("the power cut after it"))?
        }
        After::Recovered => {
            let mapping = map(path)?;
            let flusher = files::busy_flusher(&mapping)?;
            let mut database = session::open(Cached::new(&mapping))?;
            let number = verify(&mut database, history, possible)?;
            database.close().map_err(Error::from)?;
            flusher.stop();
            // Before the record becomes too long.
            recorded::begin(path)?;
            number
        }
        After::Untouched => verify(&mut copy_of(fs::read(path)?)?, history, possible)?,
    };
    Ok((after, number))
}

/// What a child said before it was killed.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    /// What it had read when it synced.
    found: u64,
    opened: bool,
    /// The greatest number of a transaction that was begun.
    begun: u64,
    /// The greatest number of a transaction whose commit returned and was durable. All before it are
    /// durable with it.
    acknowledged: u64,
}

/// When a child is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Before it can have opened its database.
    Early,
    /// When it has found out what there is, and has changed little or nothing.
    Found,
    /// When it has worked for a while.
    AtWork,
}

fn kill_one(mut command: Command, when: When, random: &mut SmallRng) -> Result<Said, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().expect("it was piped");
    let (sender, heard) = channel();
    let listener = thread::spawn(move || listen(stdout, &sender));
    let next = || heard.recv_timeout(PATIENCE).is_ok();
    let microseconds = match when {
        When::Early => random.random_range(0..30_000),
        When::Found if next() => random.random_range(0..3_000),
        When::AtWork if next() && next() => random.random_range(0..250_000),
        _ => 0,
    };
    thread::sleep(Duration::from_micros(microseconds));
    child.kill()?;
    let status = child.wait()?;
    let said = listener.join().map_err(|_| Failure::Trouble("listening failed".into()))??;
    if status.code().is_some() {
        let words = last_words(&mut child);
        return Err(Failure::Broken(format!("a child ended by itself, {status}: {words}")));
    }
    Ok(said)
}

/// Tells `heard` when the child has found what there is, and when it has opened it.
fn listen(stdout: ChildStdout, heard: &Sender<()>) -> io::Result<Said> {
    let mut said = Said::default();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        let (word, number) = line.split_once(' ').unwrap_or((&line, ""));
        let number = number.parse().unwrap_or(0);
        match word {
            "found" | "opened" => {
                said.found = said.found.max(number);
                said.opened |= word == "opened";
                // Whoever waits for it may have given up.
                let _ = heard.send(());
            }
            "begun" => said.begun = said.begun.max(number),
            "committed" => said.acknowledged = said.acknowledged.max(number),
            // A test harness has something to say, too.
            _ => {}
        }
    }
    Ok(said)
}

fn last_words(child: &mut Child) -> String {
    let mut text = String::new();
    // What cannot be read is missing from a message.
    let _ = child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut text));
    text.trim().to_owned()
}
