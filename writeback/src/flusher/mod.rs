//! The background flusher: decides when which mapping is written back.
//!
//! It does no I/O itself: it calls passes in mode `Skip`, which leave out what they would have to wait
//! for. It never flushes a store; durability is for syncs. Four reasons to write, in this order:
//!
//! * *requested*: somebody asked for so many pages;
//! * *expired*: pages dirty for longer than `dirty_expire`, looked for once an interval;
//! * *background*: a mapping has more dirty pages than `background_pages`, or much of a debt that is more than its
//!   cache [allows](crate::accounts::debt) before the flusher is woken;
//! * *reclaim*: a cache has no room, and no clean page to give up.
//!
//! What a round is and how mappings take turns is in [`rounds`], what is done with one mapping in [`jobs`], which threads make it in [`threads`]. A store that lets a
//! thread wait, or for ever, holds up its own mapping and no other.

mod config;
mod jobs;
mod rounds;
mod threads;

use std::fmt;
use std::sync::Arc;

pub use self::config::FlusherConfig;
use self::rounds::Inner;
use crate::counters::Counter;
use crate::error::Result;
use crate::rules::core::Mapping;

/// What rounds of a [`Flusher`] did: one, or all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlusherStats {
    /// Rounds.
    pub rounds: u64,
    /// Pages handed to the stores.
    pub submitted: u64,
    /// Pages declined because another writer held them.
    pub declined: u64,
    /// Pages left out.
    pub skipped: u64,
    /// Pages that had to wait for the log. It was made durable, and they were tried again.
    pub unlogged: u64,
    /// Passes that could not be made, because the mapping is poisoned.
    pub errors: u64,
    /// Passes that ended in a panic of a store or a hook.
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

/// How a [`Flusher`] ended, and what it left.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Stopped {
    /// What all rounds did.
    pub stats: FlusherStats,
    /// Pages of its mappings that are dirty or under writeback now.
    pub unwritten: u64,
    /// The mappings whose store has not let go of a thread within [`FlusherConfig::stop_max`]. The thread ends when
    /// the store lets it, and keeps the mapping until then.
    pub blocked: Vec<Mapping>,
    /// A thread had ended before by a fault of this crate. Writers have done its work since.
    pub died: bool,
}

/// Writes mappings back in the background, on threads of its own or driven by [`step`](Self::step).
///
/// It begins with one thread, and has more while stores let it wait: a store that is slow, or never answers, holds up
/// its own mapping and no other. Idle mappings cost it nothing.
///
/// A mapping may have several flushers; each does what its configuration says. Dropping one stops it, as
/// [`stop`](Self::stop) does; what is dirty then stays dirty.
///
/// After a `fork` the child has none of its threads: there [`is_running`](Self::is_running) is `false`, and dropping
/// it does not wait.
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
/// let stopped = flusher.stop();
/// assert_eq!((stopped.stats.submitted, stopped.unwritten), (2, 0));
/// # Ok::<(), writeback::Error>(())
/// ```
#[must_use = "dropping it stops it"]
pub struct Flusher {
    inner: Arc<Inner>,
}

impl Flusher {
    /// Starts a flusher with a thread of its own that writes back `mappings`.
    ///
    /// # Errors
    /// [`Error::Thread`](crate::Error::Thread) if there is no thread to be had.
    pub fn start(
        mappings: impl IntoIterator<Item = Mapping>,
        config: FlusherConfig,
    ) -> Result<Self> {
        let flusher = Self::manual(mappings, config);
        flusher.inner.start()?;
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
        let inner = Inner::new(config);
        // Before anything is added: a panicking iterator must leave nothing behind.
        let flusher = Self { inner };
        mappings.into_iter().for_each(|mapping| flusher.add(mapping));
        flusher
    }

    /// Writes back `mapping` too, from now on. Does nothing if it does so already.
    ///
    /// # Complexity
    /// O(log n) in the mappings.
    pub fn add(&self, mapping: Mapping) {
        self.inner.add(mapping);
    }

    /// Writes back `mapping` no longer and lets go of it; returns whether it did write it back.
    ///
    /// # Concurrency
    /// Does not wait: a thread that is just writing pages of it goes on to the end of its chunk.
    pub fn remove(&self, mapping: &Mapping) -> bool {
        self.inner.remove(mapping)
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

    /// Has a thread make a round soon, whatever the time.
    pub fn kick(&self) {
        self.inner.kick();
    }

    /// Has the next round write so many pages, whatever their age, and has a thread make it soon.
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
        self.inner.request(pages);
    }

    /// What all rounds did.
    pub fn stats(&self) -> FlusherStats {
        self.inner.counters.stats()
    }

    /// Tells whether threads of this process make its rounds: it was started here, was not stopped, and has
    /// not died.
    pub fn is_running(&self) -> bool {
        self.inner.has_threads()
    }

    /// Stops the threads after the pages they are at, waits for them for [`FlusherConfig::stop_max`] at most, and
    /// tells what is left.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Flusher, FlusherConfig, Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::new())?;
    /// let flusher = Flusher::start([mapping.clone()], FlusherConfig::new())?;
    /// mapping.handle().write_at(b"abc", 0)?;
    /// let stopped = flusher.stop();
    /// assert!(stopped.blocked.is_empty() && !stopped.died);
    /// assert_eq!(stopped.unwritten, 1, "it was not dirty for long enough");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn stop(self) -> Stopped {
        let ended = self.inner.stop(self.inner.config.stop_max);
        if !self.inner.is_own_process() {
            return Stopped { stats: self.stats(), ..Stopped::default() };
        }
        let state = self.inner.locked();
        let mappings = state.tasks.values().map(|task| &task.mapping);
        let unwritten = mappings.map(|mapping| mapping.core.unsaved()).sum();
        let blocked = if ended { Vec::new() } else { state.at_work() };
        let died = state.died;
        drop(state);
        Stopped { stats: self.stats(), unwritten, blocked, died }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.inner.stop(self.inner.config.stop_max);
        // In a fork nothing is touched: a thread that is not there may have had the lock.
        if self.inner.is_own_process() {
            self.inner.remove_all();
        }
    }
}

impl fmt::Debug for Flusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stats, running) = (self.stats(), self.is_running());
        f.debug_struct("Flusher").field("stats", &stats).field("running", &running).finish()
    }
}

impl Counters {
    fn add(&self, stats: &FlusherStats) {
        self.rounds.add(stats.rounds);
        self.submitted.add(stats.submitted);
        self.declined.add(stats.declined);
        self.skipped.add(stats.skipped);
        self.unlogged.add(stats.unlogged);
        self.errors.add(stats.errors);
        self.panics.add(stats.panics);
    }

    fn stats(&self) -> FlusherStats {
        FlusherStats {
            rounds: self.rounds.get(),
            submitted: self.submitted.get(),
            declined: self.declined.get(),
            skipped: self.skipped.get(),
            unlogged: self.unlogged.get(),
            errors: self.errors.get(),
            panics: self.panics.get(),
        }
    }
}
