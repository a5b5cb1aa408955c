//! The threads of a flusher.
//!
//! All threads do the same: they wait until a round is due or a job is ready, begin the round, do a chunk of the
//! job. None is more than the others, so none that is blocked is missed. What must not happen is that all of them are
//! blocked in the stores of sick mappings: so a thread that goes into a store and leaves nobody behind starts another, as
//! long as there is more than one mapping, and so does whoever adds a mapping or kicks, if that had failed.
//!
//! At most `threads_max` threads are in stores that answer. One that has given no sign of life for [`BLOCKED`] does not count as
//! one of them; then another takes its place, so a store that never answers costs a thread and no time of
//! the other mappings.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use super::FlusherStats;
use super::jobs::Job;
use super::rounds::{Inner, State, Working};
use crate::error::{Error, Result};
use crate::panics::{contain, discard};
use crate::primitives::{CHECKED, Instant, MutexGuard, Ordering, thread};
use crate::rules::core::Mapping;

/// A thread is taken for blocked that has been in one store for so long, with nothing becoming of any page.
const BLOCKED: Duration = Duration::from_millis(100);

/// How soon it is looked again whether one is, while jobs wait.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// An idle thread that is not needed goes after so long.
const LINGER: Duration = Duration::from_secs(5);

/// Threads that are kept although they are idle.
const SPARE: usize = 2;

/// Counts a thread out, however it ends.
struct Alive<'i> {
    inner: &'i Inner,
    /// It was stopped, or is not needed.
    orderly: bool,
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        let mut state = self.inner.locked();
        state.alive -= 1;
        state.died |= !self.orderly;
        if state.died || state.alive == 0 {
            self.inner.stopped.store(1, Ordering::Relaxed);
        }
        drop(state);
        self.inner.changed.notify_all();
    }
}

impl Inner {
    /// Starts the first thread.
    pub(super) fn start(self: &Arc<Self>) -> Result<()> {
        let mut state = self.locked();
        state.next_round = Instant::now().checked_add(self.config.interval);
        state.kicked = self.has_reason(&state);
        self.process.store(std::process::id(), Ordering::Relaxed);
        self.spawn(&mut state).map_err(|error| Error::Thread(Arc::new(error)))
    }

    fn spawn(self: &Arc<Self>, state: &mut State) -> std::io::Result<()> {
        state.alive += 1;
        // Those that have ended; one that is not joined keeps its stack.
        #[cfg(not(any(writeback_loom, writeback_shuttle)))]
        state.threads.retain(|thread| !thread.is_finished());
        let inner = Arc::clone(self);
        let spawned = thread::Builder::new().name("writeback".into()).spawn(move || inner.run());
        match spawned {
            Ok(thread) => state.threads.push(thread),
            Err(error) => {
                state.alive -= 1;
                return Err(error);
            }
        }
        Ok(())
    }

    fn run(self: Arc<Self>) {
        let mut alive = Alive { inner: &self, orderly: false };
        let mut idle_since = None;
        let mut state = self.locked();
        while !state.stop {
            let now = Instant::now();
            if state.round_is_due(now) {
                let timed = state.next_round.is_some_and(|due| due <= now);
                let jobs = self.begin_round(&mut state, timed, now);
                state.ready.extend(jobs);
                if state.idle > 0 {
                    self.changed.notify_all();
                }
                drop(state);
                self.reclaim(&mut FlusherStats::default());
                state = self.locked();
            } else if let Some(job) = state.next_job(self.config.threads_max, now) {
                idle_since = None;
                state = self.work(state, job);
            } else if state.idle >= SPARE
                && idle_since.is_some_and(|since| now.duration_since(since) >= LINGER)
            {
                break;
            } else {
                idle_since.get_or_insert(now);
                state.idle += 1;
                let deadline = state.deadline(now);
                self.wait(&mut state, deadline);
                state.idle -= 1;
            }
        }
        alive.orderly = true;
        drop(state);
    }

    fn wait(&self, state: &mut MutexGuard<'_, State>, until: Option<Instant>) {
        match until {
            Some(until) => _ = self.changed.wait_until(state, until),
            None => self.changed.wait(state),
        }
    }

    /// Does a chunk of the job without the lock.
    fn work<'i>(
        self: &'i Arc<Self>,
        mut state: MutexGuard<'i, State>,
        mut job: Job,
    ) -> MutexGuard<'i, State> {
        let progress = state.tasks.get(&job.number).map_or(0, |task| task.progress());
        state.working.insert(job.number, Working { sign: Instant::now(), progress });
        self.spawn_if_needed(&mut state);
        drop(state);
        // It catches what stores and hooks do; what is left is a fault of this crate, and must not keep the
        // mapping's job for ever.
        let served = std::panic::catch_unwind(AssertUnwindSafe(|| {
            self.serve(&mut job, &mut FlusherStats::default())
        }));
        let number = job.number;
        let mut state = self.locked();
        // The job of a mapping that was taken away may have the last reference to it, and to its store: then this thread is at work until that is dropped. (One that is taken
        // away in the next few instructions is not seen.)
        let is_last = !state.tasks.contains_key(&number);
        if !is_last || matches!(served, Ok(true)) {
            state.working.remove(&number);
        }
        if let Ok(true) = served {
            state.ready.push_back(job);
        } else {
            self.finish(&mut state, &job, Instant::now());
            drop(state); // A store must not be dropped under it.
            if contain(|| drop(job)).is_none() {
                self.count(&mut FlusherStats::default(), |stats| stats.panics += 1);
            }
            state = self.locked();
            if is_last {
                state.working.remove(&number);
            }
            if let Err(panic) = served {
                drop(state);
                std::panic::resume_unwind(panic);
            }
        }
        if state.idle > 0 && !state.ready.is_empty() {
            self.changed.notify_all();
        }
        state
    }

    /// Starts a thread if all are in stores and there are mappings for another. If there is none to be had, those that
    /// there are go on.
    pub(super) fn spawn_if_needed(self: &Arc<Self>, state: &mut State) {
        let all_work = state.alive > 0 && state.alive == state.working.len();
        // Those that are at work may be at mappings that were taken away.
        let is_one_idle = || state.tasks.keys().any(|number| !state.working.contains_key(number));
        if all_work && !state.stop && is_one_idle() {
            let _ = self.spawn(state);
        }
    }

    /// Ends the threads, and waits for those that end in time; returns whether all did.
    pub(super) fn stop(&self, within: Duration) -> bool {
        if !self.is_own_process() {
            return true; // The threads are those of another process.
        }
        let mut state = self.locked();
        if std::mem::replace(&mut state.stop, true) {
            return state.alive == 0; // That was waited for.
        }
        let until = Instant::now().checked_add(within);
        self.stopped.store(1, Ordering::Relaxed);
        self.changed.notify_all();
        while state.alive > 0 && until.is_none_or(|until| CHECKED || Instant::now() < until) {
            self.wait(&mut state, until);
        }
        let ended = state.alive == 0;
        let threads = std::mem::take(&mut state.threads);
        let jobs = std::mem::take(&mut state.ready);
        drop(state);
        let _ = contain(|| drop(jobs)); // Without the lock, as above.
        if ended {
            // What they ended with is counted already. They hold no lock of this flusher any more.
            threads.into_iter().filter_map(|thread| thread.join().err()).for_each(discard);
        }
        ended
    }

    /// Whether this process started the threads, if there are any: a fork has none of them.
    pub(super) fn is_own_process(&self) -> bool {
        let process = self.process.load(Ordering::Relaxed);
        process == 0 || process == std::process::id()
    }
}

impl State {
    fn round_is_due(&self, now: Instant) -> bool {
        let kicked = self.kicked && self.quiet_until.is_none_or(|until| until <= now);
        kicked || [self.next_round, self.rested].into_iter().flatten().any(|due| due <= now)
    }

    /// A job, if one is ready and not too many are in hand.
    fn next_job(&mut self, threads_max: usize, now: Instant) -> Option<Job> {
        let State { working, tasks, .. } = self;
        for (number, working) in working.iter_mut() {
            let progress = tasks.get(number).map_or(working.progress, |task| task.progress());
            if std::mem::replace(&mut working.progress, progress) != progress {
                working.sign = now;
            }
        }
        let answers = |working: &&Working| now.duration_since(working.sign) < BLOCKED;
        if working.values().filter(answers).count() < threads_max {
            self.ready.pop_front()
        } else {
            None
        }
    }

    /// When there may be something to do without anybody saying so.
    fn deadline(&self, now: Instant) -> Option<Instant> {
        let kick = self.quiet_until.filter(|_| self.kicked);
        let blocked = (!self.ready.is_empty()).then(|| now + LOOK_AGAIN);
        let linger = (self.idle > SPARE).then(|| now + LINGER);
        [self.next_round, self.rested, kick, blocked, linger].into_iter().flatten().min()
    }

    /// The mappings in whose stores threads are.
    pub(super) fn at_work(&self) -> Vec<Mapping> {
        let tasks = self.working.keys().filter_map(|number| self.tasks.get(number));
        tasks.map(|task| task.mapping.clone()).collect()
    }
}

#[cfg(all(test, not(any(writeback_loom, writeback_shuttle))))]
mod tests {
    use super::*;
    use crate::flusher::FlusherConfig;

    #[test]
    fn who_rests_while_another_is_written_is_looked_at_afterwards() {
        let config = FlusherConfig::new().interval(Duration::MAX);
        let (inner, now) = (Inner::new(config), Instant::now());
        let mappings = [(); 2].map(|()| Mapping::open(crate::MemStore::new()).expect("it opens"));
        for mapping in &mappings {
            mapping.handle().write_at(b"abc", 0).expect("it is written");
            inner.add(mapping.clone());
        }
        let mut state = inner.locked();
        let mut jobs = inner.begin_round(&mut state, false, now);
        jobs[1].submitted = 1; // Of the other nothing could be written.
        jobs.iter().for_each(|job| inner.finish(&mut state, job, now));
        assert_eq!(inner.begin_round(&mut state, false, now).len(), 1, "a kick for the second");
        let due = state.rested.expect("the first rests");
        assert!(!state.round_is_due(now) && state.round_is_due(due));
        assert_eq!(state.deadline(now), Some(due));
        let jobs = inner.begin_round(&mut state, false, due);
        assert_eq!((jobs.len(), state.rested), (1, None));
    }

    #[test]
    fn a_thread_that_dies_is_told() {
        let inner = Inner::new(FlusherConfig::new());
        inner.process.store(std::process::id(), Ordering::Relaxed);
        for (orderly, left) in [(true, 1), (false, 0)] {
            inner.locked().alive += 1 + left;
            assert!(inner.has_threads());
            drop(Alive { inner: &inner, orderly });
        }
        assert!(inner.locked().died && !inner.has_threads());
        inner.locked().alive = 0;
    }
}
