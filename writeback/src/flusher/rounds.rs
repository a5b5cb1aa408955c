//! What a flusher does in a round: which mappings it looks at, and when. What it writes of each is in [`jobs`](super::jobs).
//!
//! A mapping that has had a dirty page since the flusher looked last is *active*; only those are looked at, so
//! that idle ones cost nothing. It becomes active with its first dirty page, and is taken off by the round that finds
//! it without one. Both happen under the lock of [`State`]: the page is counted before the lock is taken, and
//! the count is looked at under it, so no mapping with a dirty page is left out.
//!
//! Of each active mapping a round makes a [`Job`], which is done chunk by chunk; after a chunk the job goes to the end
//! of the line, so mappings take turns. A job is in the hands of one thread, and of a mapping there is at most one job.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::jobs::Job;
use super::{Counters, FlusherConfig, FlusherStats};
use crate::accounts::kick::{Attends, Flushes};
use crate::panics::contain;
use crate::primitives::{Condvar, HintU32, HintU64, Instant, Mutex, MutexGuard, Ordering, thread};
use crate::rules::core::{Cache, Mapping};

/// A mapping of which nothing could be written is left alone for so long, or an interval, if that is less.
const REST: Duration = Duration::from_millis(100);

/// The shortest interval: a flusher must not use a processor up.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// What a flusher's threads and its owner share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(super) config: FlusherConfig,
    pub(super) counters: Counters,
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    /// The process whose threads make the rounds; zero: there were none.
    pub(super) process: HintU32,
    /// Not zero: the threads have been stopped, or have died. A hint.
    pub(super) stopped: HintU32,
}

/// A mapping that a flusher has.
#[derive(Debug)]
pub(crate) struct Task {
    flusher: Weak<Inner>,
    number: u64,
    pub(super) mapping: Mapping,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// A round is to be made although it is not time.
    pub(super) kicked: bool,
    /// Pages that somebody asked to be written, by the next round.
    requested: u64,
    pub(super) stop: bool,
    /// A thread has ended otherwise than by `stop`.
    pub(super) died: bool,
    /// All mappings, by number, and their numbers by address.
    pub(super) tasks: BTreeMap<u64, Arc<Task>>,
    numbers: HashMap<usize, u64>,
    next_number: u64,
    /// The caches that mappings share, and how many mappings are in each.
    caches: Vec<(Arc<Cache>, usize)>,
    active: BTreeMap<u64, Activity>,
    pub(super) ready: VecDeque<Job>,
    /// Jobs in hand of threads, by the numbers of their mappings.
    pub(super) working: BTreeMap<u64, Working>,
    /// When the next round is due; `None`: never.
    pub(super) next_round: Option<Instant>,
    /// Until then a kick makes no round: there was nothing to do in the one before.
    pub(super) quiet_until: Option<Instant>,
    /// When one of the mappings that rested in the last round has done so for long enough: nobody else may come to kick for it.
    pub(super) rested: Option<Instant>,
    pub(super) idle: usize,
    pub(super) alive: usize,
    pub(super) threads: Vec<thread::JoinHandle<()>>,
}

/// An active mapping.
#[derive(Debug, Default)]
struct Activity {
    /// There is a job.
    busy: bool,
    /// There was a reason for another since it was made; and it was time.
    again: bool,
    timed: bool,
    rests_until: Option<Instant>,
}

/// A job in the hands of a thread.
#[derive(Debug)]
pub(super) struct Working {
    /// When it gave a sign of life last.
    pub(super) sign: Instant,
    /// What had become of the mapping's pages then.
    pub(super) progress: u64,
}

/// A round on one thread. However it ends, none of its mappings stays busy.
struct Round<'i> {
    inner: &'i Arc<Inner>,
    jobs: VecDeque<Job>,
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        let mut state = self.inner.state.lock();
        for job in &self.jobs {
            self.inner.finish(&mut state, job, Instant::now());
        }
    }
}

impl Task {
    /// As of the caches that are shared, in each round: its mapping's own cache asks again from now on.
    fn own_kick_taken(&self) {
        if let Some(member) = &*self.mapping.core.member
            && member.cache.of_one
        {
            member.cache.throttle.kick_taken();
        }
    }
}

impl Attends for Task {
    fn enlist(&self) {
        let Some(flusher) = self.flusher.upgrade().filter(|flusher| flusher.is_own_process())
        else {
            return;
        };
        let mut state = flusher.state.lock();
        // It may have asked in vain, when it had no dirty page.
        self.own_kick_taken();
        if state.tasks.contains_key(&self.number) {
            state.active.entry(self.number).or_default();
        }
    }

    fn has_threads(&self) -> bool {
        self.flusher.upgrade().is_some_and(|flusher| flusher.has_threads())
    }

    fn kick(&self) {
        if let Some(flusher) = self.flusher.upgrade() {
            flusher.kick();
        }
    }
}

impl Flushes for Inner {
    fn kick(self: Arc<Self>) {
        Inner::kick(&self);
    }
}

impl Task {
    fn as_attends(self: &Arc<Self>) -> Weak<dyn Attends> {
        let task: Weak<Self> = Arc::downgrade(self);
        task
    }

    /// A number that changes when anything becomes of a page that was to be written.
    pub(super) fn progress(&self) -> u64 {
        let counters = &self.mapping.core.counters;
        counters.written.get() + counters.write_errors.get() + counters.skipped.get()
    }
}

/// Of an interval, a point in time; `None`: never.
pub(super) fn after(now: Instant, interval: Duration) -> Option<Instant> {
    now.checked_add(interval.max(INTERVAL_MIN))
}

impl Inner {
    pub(super) fn new(config: FlusherConfig) -> Arc<Self> {
        Arc::new(Self {
            config,
            counters: Counters::default(),
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            process: HintU32::new(0),
            stopped: HintU32::new(0),
        })
    }

    /// Writes the mapping from now on, if it does not already.
    pub(super) fn add(self: &Arc<Self>, mapping: Mapping) {
        let mut state = self.state.lock();
        let number = state.next_number;
        let address = Arc::as_ptr(&mapping.core).addr();
        if state.numbers.contains_key(&address) {
            return;
        }
        state.next_number += 1;
        let task = Arc::new(Task { flusher: Arc::downgrade(self), number, mapping });
        state.numbers.insert(address, number);
        state.tasks.insert(number, Arc::clone(&task));
        let new_cache = task.mapping.core.member.as_ref().and_then(|member| {
            let cache = &member.cache;
            if cache.of_one {
                return Some(Arc::clone(cache)); // Idle mappings are to cost rounds nothing.
            }
            match state.caches.iter_mut().find(|(other, _)| Arc::ptr_eq(other, cache)) {
                Some((_, mappings)) => *mappings += 1,
                None => {
                    state.caches.push((Arc::clone(cache), 1));
                    return Some(Arc::clone(cache));
                }
            }
            None
        });
        if let Some(cache) = new_cache {
            cache.flushers.add(self.as_flushes());
            // Somebody may have asked before, in vain. What there is now is looked at below.
            cache.throttle.kick_taken();
        }
        drop(state);
        // The mapping's lock comes before this flusher's.
        task.mapping.core.kick.register(self.config.background_pages, task.as_attends());
        if task.mapping.core.counters.dirty.get() > 0 {
            task.enlist();
        }
        if !self.has_threads() {
            return;
        }
        // It may be over its limit already; and the only thread may be in another's store.
        if self.is_over_background(&task.mapping) {
            self.kick();
        } else {
            self.spawn_if_needed(&mut self.state.lock());
        }
    }

    /// Whether a mapping needs a round at once.
    pub(super) fn has_reason(&self, state: &State) -> bool {
        let mut tasks = state.active.keys().filter_map(|number| state.tasks.get(number));
        tasks.any(|task| self.is_over_background(&task.mapping))
    }

    /// Writes the mapping no more, but for what a thread is just at.
    pub(super) fn remove(self: &Arc<Self>, mapping: &Mapping) -> bool {
        let mut state = self.state.lock();
        let address = Arc::as_ptr(&mapping.core).addr();
        let Some(number) = state.numbers.remove(&address) else { return false };
        let task = state.tasks.remove(&number);
        state.active.remove(&number);
        // Dropped below, without the lock, as the mapping is: it may be the last reference to a store.
        let (jobs, others) = state.ready.drain(..).partition(|job| job.number == number);
        state.ready = others;
        let caches = &mut state.caches;
        let member = mapping.core.member.as_ref();
        let own = member.map(|member| &member.cache).filter(|cache| cache.of_one);
        let mut last_of = own.map(Arc::clone);
        if let Some(member) = member
            && let Some(at) = caches.iter().position(|(cache, _)| Arc::ptr_eq(cache, &member.cache))
        {
            caches[at].1 -= 1;
            if caches[at].1 == 0 {
                last_of = Some(caches.swap_remove(at).0);
            }
        }
        if let Some(cache) = &last_of {
            cache.flushers.remove(&self.as_flushes());
        }
        drop(state);
        drop::<VecDeque<Job>>(jobs);
        if let Some(task) = task {
            mapping.core.kick.unregister(&task.as_attends());
        }
        true
    }

    /// Lets go of all mappings.
    pub(super) fn remove_all(self: &Arc<Self>) {
        let tasks = self.state.lock().tasks.clone();
        for task in tasks.into_values() {
            self.remove(&task.mapping);
        }
    }

    fn as_flushes(self: &Arc<Self>) -> Weak<dyn Flushes> {
        let flusher: Weak<Self> = Arc::downgrade(self);
        flusher
    }

    pub(super) fn has_threads(&self) -> bool {
        // Relaxed: hints.
        let process = self.process.load(Ordering::Relaxed);
        process != 0 && self.stopped.load(Ordering::Relaxed) == 0 && process == std::process::id()
    }

    pub(super) fn kick(self: &Arc<Self>) {
        if !self.is_own_process() {
            return;
        }
        let mut state = self.state.lock();
        self.spawn_if_needed(&mut state);
        if !std::mem::replace(&mut state.kicked, true) {
            drop(state);
            self.changed.notify_all();
        }
    }

    pub(super) fn request(self: &Arc<Self>, pages: u64) {
        let mut state = self.state.lock();
        state.requested = state.requested.saturating_add(pages);
        state.quiet_until = None;
        state.kicked = true;
        self.spawn_if_needed(&mut state);
        drop(state);
        self.changed.notify_all();
    }

    fn rest(&self) -> Duration {
        self.config.interval.clamp(INTERVAL_MIN, REST)
    }

    /// Makes jobs of all active mappings. `timed`: it is time, and not only that somebody kicked.
    pub(super) fn begin_round(
        &self,
        state: &mut State,
        timed: bool,
        now: Instant,
    ) -> VecDeque<Job> {
        self.counters.rounds.add(1);
        for (cache, _) in &state.caches {
            // What is dirtied from now on kicks again; what was before is seen below.
            cache.throttle.kick_taken();
        }
        if timed {
            state.next_round = after(now, self.config.interval);
        }
        state.kicked = false;
        state.quiet_until = None;
        let pages = std::mem::take(&mut state.requested);
        let State { active, tasks, .. } = state;
        let (mut jobs, mut rests_until, mut some_are_busy) = (VecDeque::new(), None, false);
        let must = timed || pages > 0;
        let requested = Arc::new(HintU64::new(pages));
        active.retain(|number, activity| {
            tasks.get(number).into_iter().for_each(|task| task.own_kick_taken());
            if activity.busy {
                some_are_busy = true;
                activity.again = true;
                activity.timed |= timed;
                return true;
            }
            let Some(task) =
                tasks.get(number).filter(|task| task.mapping.core.counters.dirty.get() > 0)
            else {
                return false;
            };
            if let Some(until) = activity.rests_until.filter(|until| *until > now && !must) {
                rests_until = Some(rests_until.map_or(until, |other: Instant| other.min(until)));
            } else {
                activity.busy = true;
                let timed = std::mem::take(&mut activity.timed) || timed;
                jobs.push_back(Job::new(*number, task, timed, &requested));
            }
            true
        });
        state.rested = rests_until;
        if jobs.is_empty() {
            // Otherwise a kick for every dirtied page would make a round.
            state.quiet_until = rests_until.or_else(|| after(now, self.rest()));
            // Those are looked at again, and asked then.
            if some_are_busy {
                state.requested = pages;
            }
        }
        jobs
    }

    /// The job is done. Its mapping is looked at again if there was a reason meanwhile.
    pub(super) fn finish(&self, state: &mut State, job: &Job, now: Instant) {
        let Some(activity) = state.active.get_mut(&job.number) else { return };
        activity.busy = false;
        activity.rests_until = if job.submitted == 0 { after(now, self.rest()) } else { None };
        // Nobody else may come to say that there is still too much.
        let again = std::mem::take(&mut activity.again);
        if again || self.is_over_background(&job.task.mapping) {
            state.kicked = true;
            self.changed.notify_all();
        }
    }

    /// A round on this thread, from its beginning to its end.
    pub(super) fn round(self: &Arc<Self>) -> FlusherStats {
        let mut done = FlusherStats { rounds: 1, ..FlusherStats::default() };
        let mut state = self.state.lock();
        let jobs = self.begin_round(&mut state, true, Instant::now());
        drop(state);
        let mut round = Round { inner: self, jobs };
        self.reclaim(&mut done);
        while let Some(job) = round.jobs.front_mut() {
            let more = self.serve(job, &mut done);
            let Some(job) = round.jobs.pop_front() else { break };
            if more {
                round.jobs.push_back(job);
            } else {
                self.finish(&mut self.state.lock(), &job, Instant::now());
            }
        }
        self.reclaim(&mut done);
        done
    }

    /// Makes room in the caches, so that others need not.
    pub(super) fn reclaim(&self, done: &mut FlusherStats) {
        let caches: Vec<_> =
            self.state.lock().caches.iter().map(|(cache, _)| Arc::clone(cache)).collect();
        for cache in caches {
            let reclaimed = contain(|| cache.reclaim_ahead());
            self.count(done, |stats| stats.panics += u64::from(reclaimed.is_none()));
        }
    }

    /// Counts for the round and for all of them.
    pub(super) fn count(&self, done: &mut FlusherStats, change: impl Fn(&mut FlusherStats)) {
        let mut one = FlusherStats::default();
        change(&mut one);
        self.counters.add(&one);
        change(done);
    }

    pub(super) fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
