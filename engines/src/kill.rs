//! `kill -9` in the middle of commits.
//!
//! A child process commits to a database in a file, and says which transactions it has begun and which
//! commits have returned. The parent kills it at a random moment, opens the database as it was left,
//! and checks that every acknowledged transaction is there, and none in part. Then the next child goes
//! on where this one was stopped.
//!
//! A kill takes the cache with it, which lives in the process: what no sync, and no flusher, had
//! written is gone. It does not take what the kernel was given: that is what [`cuts`](crate::cuts) are for.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redb::{Error, ReadableDatabase};
use writeback::{Mapping, MemStore};

use crate::backend::Cached;
use crate::failure::Failure;
use crate::files::{self, Opened};
use crate::history::{History, Level};
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
    /// Transactions that were not acknowledged as durable and are there all the same, whole.
    pub kept: u64,
    /// The number of the last transaction.
    pub transactions: u64,
}

/// What a child does until it is killed: commits, and says so on standard output.
///
/// # Errors
/// As redb's, and if nobody listens any more.
pub fn child(opened: &Opened, seed: u64) -> Result<(), Failure> {
    let database = &opened.database;
    let number = contents(&database.begin_read().map_err(Error::from)?)?.number;
    let history = Mutex::new(History::at(seed, number));
    // A whole line at once, in a single write to the pipe: none is cut by the kill.
    let say = |line: String| io::stdout().lock().write_all(line.as_bytes());
    say("opened\n".into())?;
    let work = || {
        let mut heard = Ok(());
        let begun = |number| heard = say(format!("begun {number}\n"));
        let transaction = commit_next(database, &history, begun)?;
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

/// Starts `kills` children with `command`, which must run [`child`] on the database at `path`, with `seed`, and kills them one after
/// the other. There is no file at `path`, or an empty one. `tell` is called after each check.
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
    for kill in 0..kills {
        let said = kill_one(command(), &mut random)?;
        let acknowledged = said.acknowledged.max(report.transactions);
        let begun = said.begun.max(acknowledged);
        // By turns in the file itself, and in a copy: then the next child recovers it.
        let number = if kill % 2 == 0 {
            let mut opened = files::open(files::lock(path)?, CACHE_PAGES)?;
            verify(&mut opened.database, &mut history, acknowledged..=begun)
        } else {
            let copy = Mapping::open(MemStore::with_contents(fs::read(path)?))?;
            let mut database = session::open(Cached::new(&copy))?;
            verify(&mut database, &mut history, acknowledged..=begun)
        };
        let number = number.map_err(|failure| failure.during(&format!("kill {}", kill + 1)))?;
        report.kills += 1;
        report.opening += u64::from(!said.opened);
        report.amid += u64::from(begun > acknowledged);
        report.kept += number - acknowledged;
        report.transactions = number;
        tell(&report);
    }
    Ok(report)
}

/// What a child said before it was killed.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    opened: bool,
    /// The greatest number of a transaction that was begun.
    begun: u64,
    /// The greatest number of a transaction whose commit returned and was durable. All before it are
    /// durable with it.
    acknowledged: u64,
}

/// Lets one child work for a while and kills it; one in eight before it can have opened its database.
fn kill_one(mut command: Command, random: &mut SmallRng) -> Result<Said, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().expect("it was piped");
    let (sender, opened) = channel();
    let listener = thread::spawn(move || listen(stdout, &sender));
    if random.random_ratio(1, 8) {
        thread::sleep(Duration::from_micros(random.random_range(0..30_000)));
    } else if opened.recv_timeout(PATIENCE).is_ok() {
        thread::sleep(Duration::from_micros(random.random_range(0..250_000)));
    }
    child.kill()?;
    let status = child.wait()?;
    let said = listener.join().map_err(|_| Failure::Trouble("listening failed".into()))??;
    if status.code().is_some() {
        let words = last_words(&mut child);
        return Err(Failure::Broken(format!("a child ended by itself, {status}: {words}")));
    }
    Ok(said)
}

fn listen(stdout: ChildStdout, opened: &Sender<()>) -> io::Result<Said> {
    let mut said = Said::default();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        let (word, number) = line.split_once(' ').unwrap_or((&line, ""));
        let number = number.parse().unwrap_or(0);
        match word {
            "opened" => {
                said.opened = true;
                // Whoever waits for it may have given up.
                let _ = opened.send(());
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
