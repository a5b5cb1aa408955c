//! One run from an empty file to its verdict.

use std::fs::File;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Builder, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::HumanCount;
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use writeback::{Config, FileStore, Flusher, FlusherConfig, Mapping};

use super::Fallible;
use super::actors;
use super::ledger::Ledger;
use super::outcome::{Outcome, latencies, memory_most, time};
use super::progress::{Progress, say};
use super::syncer::Syncer;
use super::target::Target;
use super::witness::{VersionOf, Witness};
use super::workload::Workload;

/// What to run.
pub(crate) struct Plan<'a> {
    pub(crate) label: &'a str,
    pub(crate) workload: &'a dyn Workload,
    pub(crate) version_of: VersionOf,
    pub(crate) config: Config,
    pub(crate) page_size: usize,
    pub(crate) length: Duration,
    pub(crate) writers: u16,
    pub(crate) syncers: u16,
    pub(crate) seed: u64,
}

/// A number that all threads add to.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    // Relaxed: nothing is decided by these numbers while they change.
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the threads of a run have done.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) writes: Counter,
    pub(crate) reads: Counter,
    pub(crate) syncs: Counter,
    /// Declined by the reclaimer; the cache counts its own.
    pub(crate) declined: Counter,
    pub(crate) checked: Counter,
    pub(crate) read_again: Counter,
    missed: Counter,
    misread: Counter,
}

impl Counters {
    fn is_wrong(&self) -> bool {
        self.missed.get() + self.misread.get() > 0
    }
}

/// How many missed pages are described.
const DETAILS_MAX: usize = 10;

/// After so long without anything moving, a run is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// What all threads of a run share.
pub(crate) struct Run<'a> {
    pub(crate) workload: &'a dyn Workload,
    pub(crate) mapping: Mapping,
    pub(crate) store: Arc<Witness>,
    pub(crate) ledger: Ledger,
    pub(crate) counters: Counters,
    seed: u64,
    latency_us: Mutex<Histogram<u64>>,
    time_up: AtomicBool,
    stopped: AtomicBool,
    failure: Mutex<Option<Box<dyn std::error::Error + Send + Sync>>>,
    details: Mutex<Vec<String>>,
}

impl<'a> Run<'a> {
    fn new(plan: &Plan<'a>, file: File) -> Fallible<Self> {
        let pages = plan.workload.pages();
        // On Windows a lock would keep out those who look past the cache, too.
        let store = FileStore::options().lock(cfg!(unix)).from_file(file)?;
        let store = Arc::new(Witness::new(store, pages, plan.page_size, plan.version_of));
        Ok(Self {
            workload: plan.workload,
            mapping: Mapping::with_config(store.clone(), plan.config.clone())?,
            store,
            ledger: Ledger::new(pages),
            counters: Counters::default(),
            seed: plan.seed,
            latency_us: Mutex::new(latencies()),
            time_up: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            failure: Mutex::new(None),
            details: Mutex::new(Vec::new()),
        })
    }

    /// First byte of `page`.
    pub(crate) fn offset(&self, page: usize) -> u64 {
        page as u64 * self.mapping.page_size() as u64
    }

    /// The page that a writer is to change next.
    pub(crate) fn next_page(&self, rng: &mut SmallRng) -> Option<usize> {
        let time_up = self.time_up.load(Ordering::Relaxed);
        if self.stopping() { None } else { self.workload.next(rng, time_up) }
    }

    /// Everybody is to come to an end.
    pub(crate) fn stopping(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// A sync has returned, after so long.
    pub(crate) fn synced(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.latency_us.lock().saturating_record(us);
        self.counters.syncs.add(1);
    }

    /// A page was dirtied before a sync and is not in the file, or not as it should be.
    pub(crate) fn missed(&self, detail: String) {
        self.counters.missed.add(1);
        self.detail(detail);
    }

    /// A read through the cache did not return what it should.
    pub(crate) fn misread(&self, page: usize, fault: &str) {
        self.counters.misread.add(1);
        self.detail(format!("page {page} read through the cache: {fault}"));
    }

    fn detail(&self, detail: String) {
        let mut details = self.details.lock();
        if details.len() < DETAILS_MAX {
            details.push(detail);
        }
    }

    /// A generator of its own for each thread; the same ones in every run with the same seed.
    fn rng(&self, stream: u64) -> SmallRng {
        SmallRng::seed_from_u64(self.seed.wrapping_add(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Keeps what a thread returned, or has all others stop too.
    fn settle<T>(&self, result: Fallible<T>) -> Option<T> {
        match result {
            Ok(value) => return Some(value),
            Err(error) => _ = self.failure.lock().get_or_insert(error),
        }
        self.stop();
        None
    }

    /// Writes the whole file through the cache, in pieces that keep to no page, and syncs it.
    fn load(&self) -> Fallible<()> {
        let handle = self.mapping.handle();
        let mut page = vec![0; self.mapping.page_size()];
        let (mut waiting, mut at) = (Vec::new(), 0);
        for index in 0..self.ledger.pages() {
            let bytes = &mut page[..self.workload.page_len(index)];
            self.workload.fill(index, 0, bytes)?;
            waiting.extend_from_slice(bytes);
            if index % 16 == 15 || index + 1 == self.ledger.pages() {
                for piece in waiting.chunks(5003) {
                    handle.write_at(piece, at)?;
                    at += piece.len() as u64;
                }
                waiting.clear();
            }
        }
        Ok(handle.sync_all()?)
    }

    /// Saves everything, and checks everything once more when all is quiet. Returns what the cache
    /// finds wrong with itself.
    fn finish(&self, reader: File) -> Fallible<Option<String>> {
        self.mapping.clone().close().map_err(|failed| failed.error)?;
        Syncer::new(self, "the end".into(), reader).check_all()?;
        Ok(self.mapping.check().err().map(|violation| violation.to_string()))
    }

    fn progress(&self) -> String {
        let (counters, stats) = (&self.counters, self.mapping.stats());
        let (p50, p99) = {
            let latency_us = self.latency_us.lock();
            (latency_us.value_at_quantile(0.5), latency_us.value_at_quantile(0.99))
        };
        format!(
            "{} missed of {} checked; {} syncs, p50 {}, p99 {}; {} pages changed; {} cached, {} dirty, {} % hits",
            HumanCount(counters.missed.get()),
            HumanCount(counters.checked.get()),
            HumanCount(counters.syncs.get()),
            time(p50),
            time(p99),
            HumanCount(counters.writes.get()),
            HumanCount(stats.cached),
            HumanCount(stats.dirty),
            100 * stats.hits / (stats.hits + stats.misses).max(1),
        )
    }

    fn declined(&self) -> u64 {
        self.counters.declined.get() + self.mapping.stats().declined
    }
}

/// Runs `plan` on `target`.
///
/// `Err`: it could not be run to its end. A missed page is no error but part of the outcome.
pub(crate) fn conduct(plan: &Plan<'_>, target: Target) -> Fallible<Outcome> {
    let mut readers = target.readers;
    let last_reader = readers.pop().expect("one more than there are syncers");
    let run = Run::new(plan, target.file)?;
    run.load()?;

    let some_pages = (run.ledger.pages() / 4) as u64;
    let often = FlusherConfig::new()
        .interval(Duration::from_millis(20))
        .dirty_expire(Duration::from_millis(50))
        .background_pages(some_pages);
    let flusher = Flusher::start([run.mapping.clone()], often)?;
    let seconds = if run.ledger.pages() == 0 { 0.0 } else { act(&run, plan, readers)? };
    let flushed = flusher.stop();

    let failure = run.failure.lock().take();
    let end = failure.map_or(Ok(()), Err).and_then(|()| run.finish(last_reader));
    let violation = match end {
        Ok(None) if flushed.stats.panics > 0 => Some("the flusher panicked".to_owned()),
        Ok(violation) => violation,
        // That pages were missed is worse than that the run did not come to its end.
        Err(error) if run.counters.is_wrong() => Some(error.to_string()),
        Err(error) => return Err(error),
    };
    Ok(Outcome {
        seconds,
        writes: run.counters.writes.get(),
        reads: run.counters.reads.get(),
        syncs: run.counters.syncs.get(),
        fdatasyncs: run.store.fdatasyncs(),
        latency_us: run.latency_us.lock().clone(),
        declined: run.declined(),
        checked: run.counters.checked.get(),
        read_again: run.counters.read_again.get(),
        missed: run.counters.missed.get(),
        misread: run.counters.misread.get(),
        details: std::mem::take(&mut *run.details.lock()),
        violation,
        stats: run.mapping.stats(),
        memory_most: memory_most(),
    })
}

/// Has all threads do their work; returns for how many seconds the writers ran.
fn act<'a>(run: &'a Run<'a>, plan: &Plan<'_>, readers: Vec<File>) -> Fallible<f64> {
    thread::scope(|scope| {
        let begun = Instant::now();
        let cast = Cast::assemble(scope, run, plan, readers);
        let cast = cast.inspect_err(|_| run.stop())?;
        let mut progress = Progress::new(plan.label, plan.length);
        let mut watchdog = Watchdog { last: None, since: begun };
        let mut seconds = None;
        loop {
            thread::sleep(Duration::from_millis(20));
            if begun.elapsed() >= plan.length {
                run.time_up.store(true, Ordering::Relaxed);
            }
            if cast.writers.iter().all(ScopedJoinHandle::is_finished) {
                seconds.get_or_insert(begun.elapsed().as_secs_f64());
                run.stop();
                if cast.others.iter().all(ScopedJoinHandle::is_finished) {
                    return Ok(seconds.unwrap_or_default());
                }
            }
            progress.show(|| run.progress());
            watchdog.look(run);
        }
    })
}

/// The threads of a run.
struct Cast<'scope> {
    writers: Vec<ScopedJoinHandle<'scope, ()>>,
    others: Vec<ScopedJoinHandle<'scope, ()>>,
}

impl<'scope> Cast<'scope> {
    fn assemble<'a: 'scope>(
        scope: &'scope Scope<'scope, '_>,
        run: &'a Run<'a>,
        plan: &Plan<'_>,
        readers: Vec<File>,
    ) -> Fallible<Self> {
        let mut streams = 0..;
        let mut rng = || run.rng(streams.next().expect("few threads"));
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send + 'scope>| {
            Builder::new().name(name.into()).spawn_scoped(scope, work)
        };
        let (mut writers, mut others) = (Vec::new(), Vec::new());
        for number in 1..=plan.writers {
            let rng = rng();
            let work = move || _ = run.settle(actors::writer(run, rng));
            writers.push(spawn(&format!("writer {number}"), Box::new(work))?);
        }
        let (journal, reclaimer) = (rng(), rng());
        let work = move || _ = run.settle(actors::journal(run, journal));
        others.push(spawn("journal", Box::new(work))?);
        let work = move || _ = run.settle(actors::reclaimer(run, reclaimer));
        others.push(spawn("reclaimer", Box::new(work))?);
        for (number, reader) in (1..=plan.syncers).zip(readers) {
            let name = format!("syncer {number}");
            let (syncer, rng) = (Syncer::new(run, name.clone(), reader), rng());
            let work = move || {
                _ = run.settle(syncer.run(rng));
            };
            others.push(spawn(&name, Box::new(work))?);
        }
        Ok(Self { writers, others })
    }
}

/// Ends a run in which nothing moves any more: a cache that waits for ever has failed too.
struct Watchdog {
    last: Option<[u64; 4]>,
    since: Instant,
}

impl Watchdog {
    fn look(&mut self, run: &Run<'_>) {
        let counters = &run.counters;
        let written = run.mapping.stats().written;
        let now = [counters.writes.get(), counters.syncs.get(), counters.checked.get(), written];
        if self.last.replace(now) != Some(now) {
            self.since = Instant::now();
        } else if self.since.elapsed() >= STUCK_AFTER {
            say(&format!("stuck: nothing has moved for {STUCK_AFTER:?}; {:?}", run.mapping));
            process::exit(1);
        }
    }
}
