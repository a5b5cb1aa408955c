//! Several threads at work on one database.
//!
//! *Writers* commit the transactions of a history, and now and then abort one. *Readers* take a snapshot,
//! read all of it and compare it with what the history says of its last transaction: a snapshot that shows
//! half a transaction, or a later one, is an error. Between rounds, when nobody is at work, the
//! database is checked and compacted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redb::{Database, Error, ReadableDatabase};

use crate::failure::Failure;
use crate::history::{History, Level, Savepoint, Transaction};
use crate::session::{Contents, abort_next, commit_next, contents, verify};
use crate::team::{Team, wait_for};

/// Who works, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Where the history starts.
    pub seed: u64,
    /// Threads that commit.
    pub writers: u16,
    /// Threads that read snapshots.
    pub readers: u16,
    /// How long all of it takes, about.
    pub length: Duration,
    /// Time between two checks.
    pub round: Duration,
}

/// What was done so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Commits that were durable when they returned.
    pub durable: AtomicU64,
    /// Commits with `Durability::None`.
    pub not_durable: AtomicU64,
    /// Transactions performed and aborted.
    pub aborted: AtomicU64,
    /// Savepoints that were gone back to.
    pub restored: AtomicU64,
    /// Snapshots read from end to end and found right.
    pub snapshots: AtomicU64,
    /// Integrity checks passed.
    pub checks: AtomicU64,
    /// Compactions.
    pub compactions: AtomicU64,
}

/// One more. Relaxed: only for people to look at.
fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counts {
    fn committed(&self, transaction: &Transaction) {
        match transaction.level {
            Level::None => count(&self.not_durable),
            _ => count(&self.durable),
        }
        if transaction.savepoint == Savepoint::Restore {
            count(&self.restored);
        }
    }
}

/// Works on `database`, which is new, as planned; `tell` is called several times a second. Returns the number
/// of the last transaction.
///
/// # Errors
/// The first thing that went wrong.
pub fn run(
    database: &mut Database,
    plan: &Plan,
    counts: &Counts,
    mut tell: impl FnMut(),
) -> Result<u64, Failure> {
    let history = Mutex::new(History::new(plan.seed));
    let begun = Instant::now();
    while begun.elapsed() < plan.length {
        let left = plan.length.saturating_sub(begun.elapsed());
        round(database, &history, plan, counts, plan.round.min(left), &mut tell)?;
        let number = history.lock().number();
        verify(database, &mut history.lock(), number..=number)?;
        count(&counts.checks);
        compact(database, &history, counts)?;
    }
    let number = history.lock().number();
    verify(database, &mut history.lock(), number..=number)
}

/// Lets all threads work for `length`.
fn round(
    database: &Database,
    history: &Mutex<History>,
    plan: &Plan,
    counts: &Counts,
    length: Duration,
    tell: &mut impl FnMut(),
) -> Result<(), Failure> {
    let team = Team::default();
    thread::scope(|scope| {
        let writer = |_| team.member(scope, || write(database, history, counts));
        let reader = |_| team.member(scope, || look(database, history, counts));
        let writers = (0..plan.writers).map(writer);
        let members: Vec<_> = writers.chain((0..plan.readers).map(reader)).collect();
        let begun = Instant::now();
        while begun.elapsed() < length && !team.is_stopped() {
            thread::sleep(Duration::from_millis(50));
            tell();
        }
        team.stop();
        wait_for(members)
    })
}

fn write(database: &Database, history: &Mutex<History>, counts: &Counts) -> Result<(), Failure> {
    let transaction = commit_next(database, history, |_| ())?;
    counts.committed(&transaction);
    if transaction.number.is_multiple_of(20) {
        abort_next(database, history)?;
        count(&counts.aborted);
    }
    Ok(())
}

fn look(database: &Database, history: &Mutex<History>, counts: &Counts) -> Result<(), Failure> {
    let snapshot = database.begin_read().map_err(Error::from)?;
    let Contents { number, print } = contents(&snapshot)?;
    match history.lock().print(number) {
        Some(expected) if expected == print => count(&counts.snapshots),
        _ => return Err(Failure::Broken(format!("a snapshot is not transaction {number}"))),
    }
    Ok(())
}

/// Compacts, once there is no savepoint that forbids it.
fn compact(
    database: &mut Database,
    history: &Mutex<History>,
    counts: &Counts,
) -> Result<(), Failure> {
    while history.lock().has_savepoint() {
        counts.committed(&commit_next(database, history, |_| ())?);
    }
    database.compact().map_err(Error::from)?;
    count(&counts.compactions);
    Ok(())
}
