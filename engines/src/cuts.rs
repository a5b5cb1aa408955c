//! Power cuts, at any write, flush or change of the length.
//!
//! Several threads commit to a database over a [`FaultStore`], which is copied, as a power cut would
//! leave it, before and after its operations: what was flushed is there, the rest is in part, torn at
//! sectors and in any order. Each copy is opened as redb opens a database after a crash, through a
//! cache of its own, and must hold every transaction that was acknowledged before the cut, and none
//! in part; then it must go on from there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redb::{Database, Error, StorageBackend};
use writeback::Mapping;
use writeback::store::fault::{FaultConfig, FaultStore};

use crate::backend::Cached;
use crate::failure::Failure;
use crate::files;
use crate::history::{History, Level, Transaction};
use crate::mark::Mark;
use crate::session::{self, commit_next, verify};
use crate::team::{Team, wait_for};

/// Threads that commit.
const WRITERS: usize = 2;
/// A database gets so many transactions, then there is a new one.
const TRANSACTIONS: u64 = 100;
/// Cuts that wait to be looked at.
const WAITING: usize = 8;
/// While a database recovers from a power cut, there is another at one in so many events.
const AGAIN: u32 = 250;
/// There are never so many of these.
const AGAIN_MOST: usize = 1000;

/// Where to cut.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Where all random choices start.
    pub seed: u64,
    /// How many power cuts.
    pub cuts: u64,
    /// There is one at one in so many events, by chance. 1: at every event.
    pub every: u32,
}

/// What was seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// Power cuts survived.
    pub cuts: u64,
    /// Of these, while a transaction was being performed or committed.
    pub amid: u64,
    /// Further ones, in a database that recovers from the one before or has just done so.
    pub again: u64,
    /// Transactions that were not acknowledged as durable and are there all the same, whole.
    pub kept: u64,
    /// What happened to the stores: begins and ends of their operations.
    pub events: u64,
    /// Transactions, over all databases.
    pub transactions: u64,
    /// Databases.
    pub databases: u64,
}

/// Cuts the power of databases whose storage is made by `backend`; `tell` is called after each check.
///
/// # Errors
/// [`Failure::Broken`] with the first thing that is lost or damaged.
pub fn run<B: StorageBackend>(
    plan: &Plan,
    backend: impl Fn(&Mapping) -> B,
    mut tell: impl FnMut(&Report),
) -> Result<Report, Failure> {
    let mut report = Report::default();
    while report.cuts < plan.cuts {
        let seed = plan.seed.wrapping_add(report.databases);
        let life = life(plan, seed, &backend, &mut report, &mut tell);
        life.map_err(|failure| failure.during(&format!("seed {seed}")))?;
        report.databases += 1;
    }
    Ok(report)
}

/// One database, from its creation to a clean end.
fn life<B: StorageBackend>(
    plan: &Plan,
    seed: u64,
    backend: impl Fn(&Mapping) -> B,
    report: &mut Report,
    tell: &mut impl FnMut(&Report),
) -> Result<(), Failure> {
    // Half of the stores accept writes at once, the others late and in another order.
    let config = FaultConfig::new(seed).queued(seed.is_multiple_of(2)).keep_log(false);
    let store = FaultStore::with_config(config);
    let _deliverer = store.deliver_in_background();
    // And half of each have a cache that the database does not fit into.
    let cache_pages = (seed / 2).is_multiple_of(2).then_some(50);
    let mapping = Mapping::with_config(Arc::new(store.clone()), files::config(cache_pages)?)?;
    let flusher = files::busy_flusher(&mapping)?;
    let mut database = session::open(backend(&mapping))?;
    let mut history = Mutex::new(History::new(seed));
    let (sender, cuts) = sync_channel(WAITING);
    // Before this there is no database that could be lost.
    let mark = Arc::new(Mark::default());
    let events = cut_power(&store, &mark, seed, plan.every, sender);
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
    report.events += events.load(Ordering::Relaxed);
    database.close().map_err(Error::from)?;
    flusher.stop();
    Ok(())
}

/// What a power cut left, and what must be in it.
pub(crate) struct Left {
    pub(crate) store: FaultStore,
    /// Counted from 1.
    pub(crate) event: u64,
    /// Transactions up to this one were acknowledged as durable before the cut.
    pub(crate) acknowledged: u64,
    /// Transactions after this one were begun after the cut.
    pub(crate) begun: u64,
}

/// From now on one in `every` events is a power cut, by chance; what is left is sent to `left`. `mark` says how far
/// the workers are. Returns the number of events so far.
fn cut_power(
    store: &FaultStore,
    mark: &Arc<Mark>,
    seed: u64,
    every: u32,
    left: SyncSender<Left>,
) -> Arc<AtomicU64> {
    let events = Arc::new(AtomicU64::new(0));
    let (looked_at, count) = (mark.clone(), events.clone());
    let random = Mutex::new(SmallRng::seed_from_u64(seed));
    store.on_event(move |store, _| {
        let event = count.fetch_add(1, Ordering::Relaxed) + 1;
        let (cut, seed) = {
            let mut random = random.lock();
            (random.random_ratio(1, every), random.random())
        };
        if cut {
            // In this order: what is acknowledged before the copy is made must be in it, and what
            // is in it was begun before.
            let acknowledged = looked_at.acknowledged();
            let store = store.crash_clone(seed);
            let begun = looked_at.begun();
            // Nobody may want more of them.
            let _ = left.send(Left { store, event, acknowledged, begun });
        }
    });
    events
}

fn work(
    database: &Database,
    history: &Mutex<History>,
    mark: &Mark,
    team: &Team,
) -> Result<(), Failure> {
    let transaction = commit(database, history, mark)?;
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
        let Left { event, acknowledged, begun, .. } = left;
        let (number, again) = recover(left, &mut history, Some(seed ^ event))
            .map_err(|failure| failure.during(&format!("power cut at event {event}")))?;
        report.cuts += 1;
        report.again += again;
        report.amid += u64::from(begun > acknowledged);
        report.kept += number - acknowledged;
        tell(report);
    }
    Ok(())
}

/// Opens what a power cut left, checks it, and goes on with it. Meanwhile the power is cut again, if there is a
/// seed for that. Returns the number of the last transaction in it, and how often the power was cut.
///
/// # Errors
/// [`Failure::Broken`] if it is not what it must be, or what a second cut left is not.
pub(crate) fn recover(
    left: Left,
    history: &mut History,
    again: Option<u64>,
) -> Result<(u64, u64), Failure> {
    let Left { store, acknowledged, begun, .. } = left;
    let (sender, cuts) = sync_channel(AGAIN_MOST);
    let mark = Arc::new(Mark::default());
    mark.begin(begun);
    mark.acknowledge(acknowledged);
    if let Some(seed) = again {
        cut_power(&store, &mark, seed, AGAIN, sender);
    }
    let mapping = Mapping::open(store)?;
    let mut database = session::open(Cached::new(&mapping))?;
    let number = verify(&mut database, history, acknowledged..=begun)?;
    // It has been looked at: it must stay.
    mark.acknowledge(number);
    let mut next = Mutex::new(History::at(history.seed(), number));
    for _ in 0..2 {
        commit(&database, &next, &mark)?;
    }
    let gone_on = verify(&mut database, next.get_mut(), number + 2..=number + 2);
    gone_on.map_err(|failure| failure.during("after going on"))?;
    database.close().map_err(Error::from)?;
    let mut count = 0;
    for left in cuts.try_iter() {
        let event = left.event;
        recover(left, history, None)
            .map_err(|failure| failure.during(&format!("power cut again, at event {event}")))?;
        count += 1;
    }
    Ok((number, count))
}

/// Commits the next transaction, and marks how far that is.
pub(crate) fn commit(
    database: &Database,
    history: &Mutex<History>,
    mark: &Mark,
) -> Result<Transaction, Error> {
    let transaction = commit_next(database, history, |number| mark.begin(number))?;
    if transaction.level != Level::None {
        mark.acknowledge(transaction.number);
    }
    Ok(transaction)
}
