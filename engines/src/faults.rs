//! Writes and flushes that fail, and a store that is full.
//!
//! A database is put to work over a [`FaultStore`], then something goes wrong with the store, once or
//! from then on. The next durable commit must fail: at most one that had synced already may still
//! return. Everything acknowledged must be there whatever comes next: a power cut at that moment, or
//! the end of the process and a new start on the store as it is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redb::Error;
use writeback::Mapping;
use writeback::store::fault::{Action, Fault, FaultConfig, FaultStore, Rule};

use crate::backend::Cached;
use crate::cuts::{Left, commit, recover};
use crate::failure::Failure;
use crate::files;
use crate::history::History;
use crate::mark::Mark;
use crate::session::{self, verify};

/// Power cuts after each failure.
const CUTS: u64 = 4;
/// A fault that has not come about after so many transactions never will.
const PATIENCE: u64 = 300;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// One write fails: EIO.
    Write,
    /// Every write fails from some moment on: EIO.
    Writes,
    /// One write is accepted in part.
    ShortWrite,
    /// Nobody says how one write ended.
    LostWrite,
    /// The store is full: ENOSPC.
    Full,
    /// One flush fails: EIO.
    Flush,
    /// The length cannot be changed: EIO.
    Length,
}

impl Trouble {
    /// All there are.
    pub const ALL: [Trouble; 7] = [
        Trouble::Write,
        Trouble::Writes,
        Trouble::ShortWrite,
        Trouble::LostWrite,
        Trouble::Full,
        Trouble::Flush,
        Trouble::Length,
    ];

    fn inject(self, store: &FaultStore, random: &mut SmallRng) {
        let rule = match self {
            Trouble::Write => Rule::new(Fault::Io).on(Action::Write),
            Trouble::Writes => Rule::new(Fault::Io).on(Action::Write).persistent(),
            Trouble::ShortWrite => Rule::new(Fault::Short { accepted: None }),
            Trouble::LostWrite => Rule::new(Fault::Lost),
            Trouble::Flush => Rule::new(Fault::Io).on(Action::Flush),
            Trouble::Length => Rule::new(Fault::Io).on(Action::SetLen).persistent(),
            Trouble::Full => return store.set_capacity(Some(store.accepted().len() as u64 / 2)),
        };
        // It does not grow often.
        let nth = if self == Trouble::Length { 1 } else { random.random_range(1..20) };
        store.inject(rule.nth(nth));
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::Write => "a write fails (EIO)",
            Trouble::Writes => "all writes fail (EIO)",
            Trouble::ShortWrite => "a write is short",
            Trouble::LostWrite => "a write is lost",
            Trouble::Full => "the store is full (ENOSPC)",
            Trouble::Flush => "a flush fails (EIO)",
            Trouble::Length => "the length cannot be set (EIO)",
        })
    }
}

/// What was seen of one kind of trouble.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// Databases that had it.
    pub databases: u64,
    /// Of these, those in which it came about, and was told by a commit that failed.
    pub told: u64,
    /// Power cuts survived after it.
    pub cuts: u64,
    /// Transactions committed before it, over all databases.
    pub transactions: u64,
}

/// Puts `databases` databases into each kind of trouble; `tell` is called after each.
///
/// # Errors
/// [`Failure::Broken`] with the first thing that is lost, damaged, or not told.
pub fn run(
    seed: u64,
    databases: u64,
    mut tell: impl FnMut(Trouble),
) -> Result<Vec<(Trouble, Report)>, Failure> {
    let mut reports = Vec::new();
    for trouble in Trouble::ALL {
        let mut report = Report::default();
        for seed in (0..databases).map(|number| seed.wrapping_add(number)) {
            let one = put_into(trouble, seed, &mut report);
            one.map_err(|failure| failure.during(&format!("seed {seed}, {trouble}")))?;
            report.databases += 1;
            tell(trouble);
        }
        if report.told == 0 {
            return Err(Failure::Broken(format!("{trouble}: it never came about")));
        }
        reports.push((trouble, report));
    }
    Ok(reports)
}

/// One database, from its creation to its trouble and what comes after.
fn put_into(trouble: Trouble, seed: u64, report: &mut Report) -> Result<(), Failure> {
    let mut random = SmallRng::seed_from_u64(seed);
    let config = FaultConfig::new(seed).queued(seed.is_multiple_of(2)).keep_log(false);
    let store = FaultStore::with_config(config);
    let _deliverer = store.deliver_in_background();
    let cache_pages = (seed / 2).is_multiple_of(2).then_some(50);
    let mapping = Mapping::with_config(Arc::new(store.clone()), files::config(cache_pages)?)?;
    let flusher = files::busy_flusher(&mapping)?;
    let database = session::open(Cached::new(&mapping))?;
    let (mark, history) = (Arc::new(Mark::default()), Mutex::new(History::new(seed)));
    let at_fault = watch(&store, &mark);
    let healthy = random.random_range(5..30);
    let error = (0..PATIENCE).find_map(|number| {
        if number == healthy {
            trouble.inject(&store, &mut random);
        }
        commit(&database, &history, &mark).err()
    });
    report.transactions += mark.begun();
    let at_fault = at_fault.load(Ordering::Acquire);
    check_told(trouble, error.as_ref(), mark.commits(), at_fault)?;
    report.told += u64::from(error.is_some());

    let mut history = History::new(seed);
    let (acknowledged, begun) = (mark.acknowledged(), mark.begun());
    for cut in 0..CUTS {
        let store = store.crash_clone(random.random());
        store.set_capacity(None);
        let after = recover(Left { store, event: cut, acknowledged, begun }, &mut history, None);
        after.map_err(|failure| failure.during(&format!("power cut {cut} after it")))?;
        report.cuts += 1;
    }
    drop(database); // it has failed; closing it does as well, perhaps
    flusher.stop();
    drop(mapping);
    store.heal();
    store.set_capacity(None);
    restart(&store, &mut history, acknowledged, begun)
        .map_err(|failure| failure.during("a new start after it"))
}

/// Notes how many commits were acknowledged when the first fault came about: `u64::MAX` before that.
fn watch(store: &FaultStore, mark: &Arc<Mark>) -> Arc<AtomicU64> {
    let at_fault = Arc::new(AtomicU64::new(u64::MAX));
    let (noted, mark) = (at_fault.clone(), mark.clone());
    store.on_event(move |_, event| {
        if event.fault.is_some() {
            noted.fetch_min(mark.commits(), Ordering::AcqRel);
        }
    });
    at_fault
}

/// A fault that came about must be told by the commit that is under way then, or else by the next one;
/// and nothing may be told that did not come about.
fn check_told(
    trouble: Trouble,
    error: Option<&Error>,
    commits: u64,
    at_fault: u64,
) -> Result<(), Failure> {
    let broken = |text: String| Err(Failure::Broken(text));
    // Of a store that is full no event says that it is.
    let (unknown, none) = (trouble == Trouble::Full, at_fault == u64::MAX);
    match error {
        None if none => Ok(()),
        None => broken("no commit has failed".into()),
        Some(error) if none && !unknown => broken(format!("{error}, but nothing went wrong")),
        Some(Error::Io(error)) => {
            let full = error.kind() == std::io::ErrorKind::StorageFull;
            if full != (trouble == Trouble::Full) {
                return broken(format!("it was told as: {error}"));
            }
            match commits.saturating_sub(at_fault) {
                0 | 1 => Ok(()),
                more => broken(format!("{more} commits were acknowledged after it")),
            }
        }
        Some(error) => broken(format!("it was told as: {error}")),
    }
}

/// Opens the database on the store as it is, as after the end of the process.
fn restart(
    store: &FaultStore,
    history: &mut History,
    acknowledged: u64,
    begun: u64,
) -> Result<(), Failure> {
    let mapping = Mapping::open(store.clone())?;
    let mut database = session::open(Cached::new(&mapping))?;
    verify(&mut database, history, acknowledged..=begun)?;
    Ok(())
}
