//! Power cuts, at any write, flush or change of the length.
//!
//! Several threads commit to a database over a store in memory, which is copied, as a power cut would
//! leave it, before and after its operations. Each copy is opened as redb opens a database after
//! a crash, through a cache of its own, and must hold every transaction that was acknowledged before
//! the cut, and none in part; then it must go on from there.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use redb::{Database, Error, StorageBackend};
use writeback::{Config, Mapping};

use crate::backend::Cached;
use crate::failure::Failure;
use crate::files::busy_flusher;
use crate::history::{History, Level};
use crate::session::{self, commit_next, verify};
use crate::tap::{Left, Mark, PowerCut, Tap};
use crate::team::{Team, wait_for};

/// Threads that commit.
const WRITERS: usize = 2;
/// A database gets so many transactions, then there is a new one.
const TRANSACTIONS: u64 = 150;
/// Cuts that wait to be looked at.
const WAITING: usize = 8;

/// Where to cut.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Where all random choices start.
    pub seed: u64,
    /// How many power cuts.
    pub cuts: u64,
    /// There is one at one in so many events, by chance.
    pub every: u32,
}

/// What was seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// Power cuts survived.
    pub cuts: u64,
    /// Of these, while a transaction was being performed or committed.
    pub amid: u64,
    /// Transactions that were not acknowledged as durable and are there all the same, whole.
    pub kept: u64,
    /// Transactions, over all databases.
    pub transactions: u64,
    /// Databases.
    pub databases: u64,
}

/// Cuts the power of databases whose storage is made by `backend`, over a store made by `store` from a seed; `tell` is called after
/// each check.
///
/// # Errors
/// [`Failure::Broken`] with the first thing that is lost or damaged.
pub fn run<S: PowerCut, B: StorageBackend>(
    plan: &Plan,
    store: impl Fn(u64) -> S,
    backend: impl Fn(&Mapping) -> B,
    mut tell: impl FnMut(&Report),
) -> Result<Report, Failure> {
    let mut report = Report::default();
    while report.cuts < plan.cuts {
        let seed = plan.seed.wrapping_add(report.databases);
        let during = |failure: Failure| failure.during(&format!("seed {seed}"));
        life(plan, seed, store(seed), &backend, &mut report, &mut tell).map_err(during)?;
        report.databases += 1;
    }
    Ok(report)
}

/// One database, from its creation to a clean end.
fn life<S: PowerCut, B: StorageBackend>(
    plan: &Plan,
    seed: u64,
    store: S,
    backend: impl Fn(&Mapping) -> B,
    report: &mut Report,
    tell: &mut impl FnMut(&Report),
) -> Result<(), Failure> {
    let (sender, cuts) = sync_channel(WAITING);
    let mark = Arc::new(Mark::default());
    let tap = Arc::new(Tap::new(store, mark.clone(), seed, plan.every, sender));
    let mapping = Mapping::with_config(tap.clone(), Config::new())?;
    let flusher = busy_flusher(&mapping)?;
    let mut database = session::open(backend(&mapping))?;
    let mut history = Mutex::new(History::new(seed));
    // Before this there is no database that could be lost.
    tap.open();
    let team = Team::default();
    thread::scope(|scope| {
        let work = || work(&database, &history, &mark, &team);
        let writers: Vec<_> = (0..WRITERS).map(|_| team.member(scope, work)).collect();
        let done = || writers.iter().all(|writer| writer.is_finished());
        let looked = look(&cuts, plan, seed, report, tell, &done);
        team.stop();
        // Whoever waits to send another one need not.
        drop(cuts);
        wait_for(writers).and(looked)
    })?;
    let number = history.get_mut().number();
    verify(&mut database, history.get_mut(), number..=number)?;
    report.transactions += number;
    flusher.stop();
    Ok(database.close().map_err(Error::from)?)
}

fn work(
    database: &Database,
    history: &Mutex<History>,
    mark: &Mark,
    team: &Team,
) -> Result<(), Failure> {
    let transaction = commit_next(database, history, |number| mark.begin(number))?;
    if transaction.level != Level::None {
        mark.acknowledge(transaction.number);
    }
    if transaction.number >= TRANSACTIONS {
        team.stop();
    }
    Ok(())
}

/// Looks at what the cuts leave, until there are enough of them or nobody works any more.
fn look(
    cuts: &Receiver<Left>,
    plan: &Plan,
    seed: u64,
    report: &mut Report,
    tell: &mut impl FnMut(&Report),
    done: &impl Fn() -> bool,
) -> Result<(), Failure> {
    let mut history = History::new(seed);
    while report.cuts < plan.cuts {
        let left = match cuts.recv_timeout(Duration::from_millis(20)) {
            Ok(left) => left,
            Err(_) if done() => return Ok(()),
            Err(_) => continue,
        };
        let Left { store, event, acknowledged, begun } = left;
        let check = recover(store, &mut history, acknowledged, begun);
        let number = check.map_err(|failure| failure.during(&format!("cut at event {event}")))?;
        report.cuts += 1;
        report.amid += u64::from(begun > acknowledged);
        report.kept += number - acknowledged;
        tell(report);
    }
    Ok(())
}

/// Opens what a cut left, checks it, and goes on with it.
fn recover(
    store: Arc<dyn writeback::Store>,
    history: &mut History,
    acknowledged: u64,
    begun: u64,
) -> Result<u64, Failure> {
    let mapping = Mapping::with_config(store, Config::new())?;
    let mut database = session::open(Cached::new(&mapping))?;
    let number = verify(&mut database, history, acknowledged..=begun)?;
    let mut next = Mutex::new(History::at(history.seed(), number));
    for _ in 0..2 {
        commit_next(&database, &next, |_| ())?;
    }
    let gone_on = verify(&mut database, next.get_mut(), number + 2..=number + 2);
    gone_on.map_err(|failure| failure.during("after going on"))?;
    database.close().map_err(Error::from)?;
    Ok(number)
}
