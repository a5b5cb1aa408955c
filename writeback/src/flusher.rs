//! The background flusher: decides when which mapping is written back.
//!
//! It does no I/O itself: it calls passes in mode `None`, which go by what they would have to wait
//! for. It never flushes a store; durability is for syncs. Three reasons to write, in this order:
//!
//! * *requested*: somebody asked for so many pages;
//! * *expired*: pages dirty for longer than `dirty_expire`, looked for once an interval;
//! * *background*: a mapping has more dirty pages than `background_pages`, or its cache more debt than
//!   [`throttle`](crate::throttle) allows before it; then it is woken at once.
//!
//! Mappings take turns, a chunk each, so that none waits for another that is dirtied without end. A page whose write fails backs off by itself and a page that is held is declined, so a round that
//! writes nothing is followed by a pause and not by another.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::clock::millis;
use crate::config::FlusherConfig;
use crate::error::{Error, Result};
use crate::mapping::Mapping;
use crate::primitives::{AtomicU64, Condvar, Instant, Mutex, Ordering, thread};
use crate::stats::Counter;
use crate::sync::{Budget, Progress};

/// What one round of a [`Flusher`], or all of them, did.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use writeback::{Flusher, FlusherConfig, Mapping, MemStore};
///
/// let mapping = Mapping::open(MemStore::new())?;
/// let config = FlusherConfig::new().dirty_expire(Duration::ZERO);
/// let flusher = Flusher::manual([mapping.clone()], config);
/// mapping.handle().write_at(&[1; 8192], 0)?;
/// let stats = flusher.step();
/// assert_eq!((stats.rounds, stats.submitted, stats.declined), (1, 2, 0));
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlusherStats {
    /// Rounds.
    pub rounds: u64,
    /// Pages handed to the stores.
    pub submitted: u64,
    /// Pages declined because another writer held them.
    pub declined: u64,
    /// Pages gone by.
    pub skipped: u64,
    /// Pages that had to wait for the log. It was made durable, and they were tried again.
    pub unlogged: u64,
    /// Passes that could not be made, because the mapping is poisoned.
    pub errors: u64,
    /// Rounds that ended in a panic of a store.
    pub panics: u64,
}

#[derive(Debug, Default)]
struct Counters {
    rounds: Counter,
    submitted: Counter,
    declined: Counter,
    skipped: Counter,
    unlogged: Counter,
    errors: Counter,
    panics: Counter,
}

#[derive(Debug, Default)]
struct Signal {
    kicked: bool,
    /// Pages that somebody asked to be written.
    requested: u64,
    /// There is a thread that makes rounds.
    threaded: bool,
    stop: bool,
}

#[derive(Debug)]
struct Inner {
    mappings: Vec<Mapping>,
    config: FlusherConfig,
    counters: Counters,
    signal: Mutex<Signal>,
    changed: Condvar,
}

/// Writes mappings back in the background, on a thread of its own or driven by [`step`](Self::step).
///
/// Dropping it stops the thread and waits for it; what is dirty then stays dirty.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use writeback::{Flusher, FlusherConfig, Mapping, MemStore};
///
/// let mapping = Mapping::open(MemStore::new())?;
/// let config = FlusherConfig::new().interval(Duration::from_millis(5)).dirty_expire(Duration::ZERO);
/// let flusher = Flusher::start([mapping.clone()], config)?;
/// mapping.handle().write_at(&[1; 8192], 0)?;
/// while mapping.stats().written < 2 {
///     std::thread::yield_now();
/// }
/// assert_eq!(flusher.stop().submitted, 2);
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it stops it"]
pub struct Flusher {
    inner: Arc<Inner>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Flusher {
    /// Starts a thread that writes back `mappings`. A mapping is to have one flusher; if it gets
    /// another, that is the one it wakes.
    ///
    /// # Errors
    /// [`Error::Thread`] if there is no thread to be had.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Flusher, FlusherConfig, Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::new())?;
    /// let flusher = Flusher::start([mapping], FlusherConfig::new())?;
    /// drop(flusher); // stops the thread
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn start(
        mappings: impl IntoIterator<Item = Mapping>,
        config: FlusherConfig,
    ) -> Result<Self> {
        let mut flusher = Self::manual(mappings, config);
        let inner = Arc::clone(&flusher.inner);
        inner.signal.lock().threaded = true;
        let spawned = thread::Builder::new().name("writeback".into()).spawn(move || inner.run());
        flusher.thread = Some(spawned.map_err(|error| Error::Thread(Arc::new(error)))?);
        Ok(flusher)
    }

    /// A flusher without a thread: [`step`](Self::step) makes its rounds.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use writeback::{Clock, Config, Flusher, FlusherConfig, Mapping, MemStore};
    ///
    /// let clock = Clock::manual();
    /// let config = Config::new().clock(clock.clone());
    /// let mapping = Mapping::with_config(Arc::new(MemStore::new()), config)?;
    /// let flusher = Flusher::manual([mapping.clone()], FlusherConfig::new());
    /// mapping.handle().write_at(b"abc", 0)?;
    /// assert_eq!(flusher.step().submitted, 0);
    /// clock.advance(Duration::from_secs(31));
    /// assert_eq!(flusher.step().submitted, 1);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn manual(mappings: impl IntoIterator<Item = Mapping>, config: FlusherConfig) -> Self {
        let inner = Arc::new(Inner {
            mappings: mappings.into_iter().collect(),
            config,
            counters: Counters::default(),
            signal: Mutex::new(Signal::default()),
            changed: Condvar::new(),
        });
        for mapping in &inner.mappings {
            let above = inner.config.background_pages;
            mapping.shared.kick.register(above, Arc::downgrade(&inner));
            mapping.shared.kick_taken();
        }
        Self { inner, thread: None }
    }

    /// Makes one round now, on this thread, and returns what it did.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use writeback::{Flusher, FlusherConfig, Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::new())?;
    /// let config = FlusherConfig::new().dirty_expire(Duration::ZERO);
    /// let flusher = Flusher::manual([mapping.clone()], config);
    /// mapping.handle().write_at(&[1; 8192], 0)?;
    /// assert_eq!(flusher.step().submitted, 2);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn step(&self) -> FlusherStats {
        self.inner.round()
    }

    /// Has the thread make a round soon, whatever the time.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Flusher, FlusherConfig, Mapping, MemStore};
    ///
    /// let flusher = Flusher::start([Mapping::open(MemStore::new())?], FlusherConfig::new())?;
    /// flusher.kick();
    /// while flusher.stats().rounds == 0 {
    ///     std::thread::yield_now();
    /// }
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn kick(&self) {
        self.inner.kick();
    }

    /// Has the next round write so many pages, whatever their age, and has the thread make it soon.
    /// Requests add up. Pages that are busy or back off are left, so there may be fewer.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Flusher, FlusherConfig, Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::new())?;
    /// let flusher = Flusher::manual([mapping.clone()], FlusherConfig::new());
    /// mapping.handle().write_at(&[1; 8 * 4096], 0)?;
    /// flusher.request(3);
    /// assert_eq!(flusher.step().submitted, 3);
    /// assert_eq!(flusher.step().submitted, 0);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn request(&self, pages: u64) {
        let mut signal = self.inner.signal.lock();
        signal.requested = signal.requested.saturating_add(pages);
        drop(signal);
        self.inner.kick();
    }

    /// What all rounds did.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use writeback::{Flusher, FlusherConfig, Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::new())?;
    /// let config = FlusherConfig::new().dirty_expire(Duration::ZERO);
    /// let flusher = Flusher::manual([mapping], config);
    /// flusher.step();
    /// assert_eq!(flusher.stats().rounds, 1);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn stats(&self) -> FlusherStats {
        let counters = &self.inner.counters;
        FlusherStats {
            rounds: counters.rounds.get(),
            submitted: counters.submitted.get(),
            declined: counters.declined.get(),
            skipped: counters.skipped.get(),
            unlogged: counters.unlogged.get(),
            errors: counters.errors.get(),
            panics: counters.panics.get(),
        }
    }

    /// Stops the thread after the page it is at, waits for it, and returns what all rounds did.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Flusher, FlusherConfig, Mapping, MemStore};
    ///
    /// let flusher = Flusher::start([Mapping::open(MemStore::new())?], FlusherConfig::new())?;
    /// assert_eq!(flusher.stop().panics, 0);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn stop(mut self) -> FlusherStats {
        self.join();
        self.stats()
    }

    fn join(&mut self) {
        self.inner.signal.lock().stop = true;
        self.inner.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // `run` catches panics, so there is nothing to learn from the result.
            let _ = thread.join();
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.join();
    }
}

impl Inner {
    fn run(&self) {
        let mut last_round = Instant::now();
        loop {
            let mut signal = self.signal.lock();
            let next_round = last_round + self.config.interval;
            while !signal.stop && !signal.kicked && Instant::now() < next_round {
                self.changed.wait_until(&mut signal, next_round);
            }
            if signal.stop {
                return;
            }
            signal.kicked = false;
            drop(signal);
            let done = self.round();
            last_round = Instant::now();
            if done.submitted == 0 {
                // Nothing could be written: do not let a kick for every dirtied page make it spin.
                self.pause();
            }
        }
    }

    /// Waits a little; ends early only to stop.
    fn pause(&self) {
        let until = Instant::now() + self.config.interval.min(Duration::from_millis(100));
        let mut signal = self.signal.lock();
        while !signal.stop && Instant::now() < until {
            self.changed.wait_until(&mut signal, until);
        }
    }

    fn kick(&self) {
        let mut signal = self.signal.lock();
        if !signal.kicked {
            signal.kicked = true;
            drop(signal);
            self.changed.notify_all();
        }
    }

    fn stopping(&self) -> bool {
        self.signal.lock().stop
    }

    fn round(&self) -> FlusherStats {
        let mut done = FlusherStats { rounds: 1, ..FlusherStats::default() };
        let requested = std::mem::take(&mut self.signal.lock().requested);
        self.write_requested(requested, &mut done);
        for mapping in &self.mappings {
            // What is dirtied from now on kicks again; what was before is seen below.
            mapping.shared.kick_taken();
            let now_ms = mapping.shared.clock.now_ms();
            if let Some(dirty_by_ms) = now_ms.checked_sub(millis(self.config.dirty_expire)) {
                self.pass(&mut done, mapping, || mapping.write_expired(dirty_by_ms));
            }
        }
        self.write_background(&mut done);
        for member in self.mappings.iter().filter_map(|mapping| mapping.shared.member.as_ref()) {
            let reclaimed = catch_unwind(AssertUnwindSafe(|| member.cache.reclaim_ahead()));
            done.panics += u64::from(reclaimed.is_err());
        }
        let counters = &self.counters;
        counters.rounds.add(done.rounds);
        counters.submitted.add(done.submitted);
        counters.declined.add(done.declined);
        counters.skipped.add(done.skipped);
        counters.unlogged.add(done.unlogged);
        counters.errors.add(done.errors);
        counters.panics.add(done.panics);
        done
    }

    fn write_requested(&self, pages: u64, done: &mut FlusherStats) {
        let target = done.submitted.saturating_add(pages);
        self.take_turns(done, |_, submitted| target.saturating_sub(submitted));
    }

    /// Until no mapping is over its limit; not for ever, lest expired pages wait.
    fn write_background(&self, done: &mut FlusherStats) {
        let until = Instant::now() + self.config.interval;
        let background = self.config.background_pages;
        self.take_turns(done, |mapping, _| {
            let dirty = mapping.dirty();
            let is_over = dirty > background || (dirty > 0 && mapping.shared.is_in_debt());
            if !is_over {
                return 0;
            }
            if Instant::now() >= until {
                self.kick();
                return 0;
            }
            u64::MAX
        });
    }

    /// Writes a chunk of each mapping in turn, or the pages that `wanted` says, until it wants no more of any,
    /// or nothing can be written.
    fn take_turns(&self, done: &mut FlusherStats, wanted: impl Fn(&Mapping, u64) -> u64) {
        // Twice nothing: once round the mapping and nothing could be written.
        let mut without_progress = vec![0; self.mappings.len()];
        loop {
            let mut ended = true;
            for (mapping, without_progress) in self.mappings.iter().zip(&mut without_progress) {
                if self.stopping() {
                    return;
                }
                let pages = wanted(mapping, done.submitted).min(self.config.chunk_pages);
                if pages == 0 || *without_progress == 2 {
                    continue;
                }
                ended = false;
                let budget = Budget::pages(pages);
                let submitted = self.pass(done, mapping, || mapping.write_cyclic(budget));
                *without_progress = if submitted == 0 { *without_progress + 1 } else { 0 };
            }
            if ended {
                return;
            }
        }
    }

    /// Makes a pass, and another if the log had to be made durable first; returns how many pages were
    /// submitted.
    fn pass(
        &self,
        done: &mut FlusherStats,
        mapping: &Mapping,
        write: impl Fn() -> Result<Progress>,
    ) -> u64 {
        let first = self.add(done, &write);
        // Here nothing is held that anybody waits for.
        if first.log_wanted == 0 || !mapping.shared.ensure_log(first.log_wanted) {
            return first.submitted;
        }
        first.submitted + self.add(done, &write).submitted
    }

    /// Makes a pass and adds up what it did.
    ///
    /// A store that panics must not end the flusher of all the others. Whatever the pass had in its hands
    /// is redirtied, or reported as lost, by the drops on the way.
    fn add(&self, done: &mut FlusherStats, pass: impl FnOnce() -> Result<Progress>) -> Progress {
        let progress = match catch_unwind(AssertUnwindSafe(pass)) {
            Ok(Ok(progress)) => progress,
            Ok(Err(_)) => {
                done.errors += 1;
                return Progress::default();
            }
            Err(_) => {
                done.panics += 1;
                return Progress::default();
            }
        };
        done.submitted += progress.submitted;
        done.declined += progress.declined;
        done.skipped += progress.skipped;
        done.unlogged += progress.unlogged;
        progress
    }
}

/// How a mapping wakes its flusher.
#[derive(Debug)]
pub(crate) struct Kick {
    above: AtomicU64,
    flusher: Mutex<Weak<Inner>>,
}

impl Default for Kick {
    fn default() -> Self {
        Self { above: AtomicU64::new(u64::MAX), flusher: Mutex::new(Weak::new()) }
    }
}

impl Kick {
    fn register(&self, above: u64, flusher: Weak<Inner>) {
        *self.flusher.lock() = flusher;
        // Relaxed: a hint; a kick that is missed is made up for by the next round.
        self.above.store(above, Ordering::Relaxed);
    }

    /// A page became dirty and there are `dirty` now.
    pub(crate) fn consider(&self, dirty: u64) {
        if dirty > self.above.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Whether there is a flusher that works by itself.
    pub(crate) fn has_flusher(&self) -> bool {
        let flusher = self.flusher.lock().upgrade();
        flusher.is_some_and(|flusher| {
            let signal = flusher.signal.lock();
            signal.threaded && !signal.stop
        })
    }

    #[cold]
    pub(crate) fn wake(&self) {
        match self.flusher.lock().upgrade() {
            Some(flusher) => flusher.kick(),
            None => self.above.store(u64::MAX, Ordering::Relaxed),
        }
    }
}
