//! A store whose calls block, made one that waits in no thread of its callers.
//!
//! What is asked for goes into a queue, and threads take it from there. There are none at first; one is started when none is free to take what is asked for, and ends when it has had nothing to do
//! for [`IDLE`].
//!
//! # Calls and ends
//! A thread that has called the store tells how that ended, which may run anything: a waker may wait for something else that this store is asked for. So a thread counts as one that calls the store
//! until the call has returned, and not while it tells the end; before it does that it sees to it that another takes what is left in the queue.
//!
//! Whoever hears of an end may close the mapping, and open the file that was under it anew, and then its lock must be gone. So a thread
//! keeps an end that comes within the call ([`Kept`]), lets go of the store, and then passes it on. Threads that have nothing to do have the queue, and not the store.
//!
//! If reads are tried first, one that the store can end without waiting is ended by whoever asks for it, as by a store without threads, and none of this knows of it.
//!
//! # Invariants
//! Whenever the lock is free:
//!
//! | name | what holds |
//! |---|---|
//! | T-TAKEN | for each job in the queue, but for as many as there may not be calls now, there is a thread that was called for it and has not looked at the queue since (`called`); if no thread could be started, there is one that will look at the queue and does not tell an end, or who asked does the job, and tells how it ended after all others |
//! | T-CALLS | there are at most `calls_max` calls of the store |
//! | T-SLEEP | `idle` and `called` are together as many as sleep, or were called or started and have not looked yet; who looks takes one from `called`, or, if others have, from `idle` |

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::kept::Kept;
use super::{Completion, FlushCompletion, Limits, ReadRun, Store, WriteBatch};
use crate::error::StoreError;
use crate::modes::FlushKind;
use crate::panics::contain;
use crate::primitives::{Condvar, Instant, Mutex, MutexGuard, thread};

/// For so long a thread waits for something to do.
const IDLE: Duration = Duration::from_secs(10);
/// Most bytes that are read by whoever asks if they are in memory: to copy more takes about as long as to wake a thread and to be woken.
const AT_ONCE_MAX: u64 = 64 * 1024;

/// A store over another one that blocks: reads, writes and flushes are calls of the other one by threads of this one, and return before they have ended.
///
/// For [tasks](crate::AsyncHandle): over a [`FileStore`](crate::FileStore) alone, a future that has something read or written takes as long as the system's call does, and
/// holds up the executor's thread. And for devices that do several things at a time: a sync, or a prefetch, then has as many runs of pages under way
/// as there may be calls.
///
/// Everything else, such as [`len`](Store::len) and [`set_len`](Store::set_len), is a call of the other store by whoever asks: of a task that syncs, if a store with an
/// [alignment](Limits::alignment) was padded, or a cut has failed before. Has the [limits](Store::limits) of the other store.
///
/// # Concurrency
/// What is asked for is taken in the order in which it was asked for, and ends in any. What waits is not bounded, but by what the cache has under way.
/// A thread is started when none is free, and ends when it has had nothing to do for ten seconds, or the store is dropped. There are as many as there are calls of the store, and
/// some that tell how one has ended: it does not matter if a waker waits for this store. But if the system has no thread left, and all that there are tell ends, whoever asks
/// makes the calls that are waited for, and tells their ends: then a waker must not wait for this store, nor for a page.
/// In a forked process there are no threads, and whoever asks makes the call.
///
/// To hand something over and to be woken are two wake-ups of threads, 25 to 50 µs on a virtual machine with two processors: less than a read of a device, and many times one
/// that the kernel answers from memory (3 µs there). [`try_reads`](Self::try_reads) saves them.
///
/// # Panics
/// A panic of the other store in a read, a write or a flush is contained: what it was asked for is [lost](StoreError::Lost), as if it had been dropped.
///
/// # Examples
/// ```
/// use writeback::store::Threads;
/// use writeback::{FileStore, Mapping};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let folder = tempfile::tempdir()?;
/// let file = FileStore::open_or_create(folder.path().join("pages"))?;
/// let mapping = Mapping::open(Threads::new(file, 4))?;
/// let handle = mapping.async_handle();
/// handle.write_at(b"hello", 0).await?;
/// handle.sync_data().await?; // waits for no system call
/// assert_eq!(std::fs::read(folder.path().join("pages"))?, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Threads<S> {
    store: Arc<S>,
    queue: Arc<Queue<S>>,
    process: u32,
    tries: bool,
}

impl<S> Threads<S> {
    /// Whether this is the process that they are of.
    fn has_threads(&self) -> bool {
        self.process == std::process::id()
    }
}

impl<S: Store> Threads<S> {
    /// Over `store`, which has at most so many `calls` at a time; at least one.
    pub fn new(store: S, calls: usize) -> Self {
        let (jobs, came) = (Mutex::new(Jobs::new(calls.max(1))), Condvar::new());
        let queue = Arc::new(Queue { jobs, came });
        Self { store: Arc::new(store), queue, process: std::process::id(), tries: false }
    }

    /// Sets whether a read of up to 64 KiB is [tried](Store::try_read) first by whoever asks for it, which ends it within the call if the
    /// other store has the bytes at hand: of a [`FileStore`](crate::FileStore) on Linux, if the kernel has them in memory. Off by default.
    ///
    /// Such a read costs what it does without threads, some 3 µs a page, instead of two wake-ups. It is no call in the sense of `calls`, and does not wait for what was
    /// asked for before. Then what is said above of wakers does not hold of those that are called by its end: they run in the thread of whoever
    /// asked, who has locks of the mapping, and must not wait for it. Those of the usual executors wait for nothing. And the system may note the time of
    /// the access, which can wait for the file system's log, if the file is not on one that is mounted with `noatime`.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::Threads;
    /// use writeback::{FileStore, Mapping};
    ///
    /// let folder = tempfile::tempdir()?;
    /// std::fs::write(folder.path().join("pages"), [7; 4096])?;
    /// let file = FileStore::open(folder.path().join("pages"))?;
    /// let mapping = Mapping::open(Threads::new(file, 4).try_reads(true))?;
    /// let mut byte = [0];
    /// mapping.handle().read_at(&mut byte, 0)?;
    /// assert_eq!(byte, [7]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn try_reads(mut self, yes: bool) -> Self {
        self.tries = yes;
        self
    }

    /// The store that is called.
    pub fn get_ref(&self) -> &S {
        &self.store
    }

    /// Has a thread do this.
    fn ask(&self, job: Job) {
        let job = (Arc::clone(&self.store), job);
        if !self.has_threads() {
            return call(job)();
        }
        let mut jobs = self.queue.jobs.lock();
        jobs.queue.push_back(job);
        let ended = self.queue.call_for_all(jobs);
        ended.into_iter().for_each(|tell| tell());
    }
}

/// What there is to do, and for whom.
type OfStore<S> = (Arc<S>, Job);

/// Passes on how something has ended.
type Tell = Box<dyn FnOnce()>;

enum Job {
    Read(ReadRun),
    Write(WriteBatch, Completion),
    Flush(FlushKind, FlushCompletion),
}

struct Queue<S> {
    jobs: Mutex<Jobs<S>>,
    came: Condvar,
}

struct Jobs<S> {
    queue: VecDeque<OfStore<S>>,
    /// Calls of the store.
    calls: usize,
    calls_max: usize,
    /// Threads, whatever they do.
    threads: usize,
    /// Those that sleep and were not called.
    idle: usize,
    /// Those that were called, or started, and have not looked at the queue since.
    called: usize,
    /// Those that tell an end.
    telling: usize,
    /// Nobody asks for anything any more.
    closed: bool,
}

impl<S> Jobs<S> {
    fn new(calls_max: usize) -> Self {
        let queue = VecDeque::new();
        let [calls, threads, idle, called, telling] = [0; 5];
        Self { queue, calls, calls_max, threads, idle, called, telling, closed: false }
    }

    /// Whether somebody has to be called, or started, for a job that may be done now.
    fn wants(&self) -> bool {
        self.called < self.queue.len().min(self.calls_max - self.calls)
    }

    /// Of a thread that was called, or wakes without.
    fn looks(&mut self) {
        match self.called.checked_sub(1) {
            Some(called) => self.called = called,
            None => self.idle -= 1,
        }
    }

    fn take(&mut self) -> Option<OfStore<S>> {
        if self.calls == self.calls_max {
            return None;
        }
        let job = self.queue.pop_front()?;
        self.calls += 1;
        Some(job)
    }
}

impl<S: Store> Queue<S> {
    /// Calls a thread for each job that may be done now and has none. Returns the ends of those that were done here, because no thread was to be had.
    fn call_for_all<'q>(self: &'q Arc<Self>, mut jobs: MutexGuard<'q, Jobs<S>>) -> Vec<Tell> {
        let mut ended = Vec::new();
        while jobs.wants() {
            jobs.called += 1;
            if jobs.idle > 0 {
                jobs.idle -= 1;
                self.came.notify_one();
                continue;
            }
            jobs.threads += 1;
            drop(jobs);
            let queue = Arc::clone(self);
            let work = move || queue.work();
            let started = thread::Builder::new().name("writeback".into()).spawn(work).is_ok();
            jobs = self.jobs.lock();
            if !started {
                jobs.threads -= 1;
                jobs.looks();
                // Others take it; but not who tells an end, which may wait for this. One may have gone to sleep meanwhile.
                if jobs.idle > 0 {
                    continue;
                }
                let job = if jobs.threads == jobs.telling { jobs.take() } else { None };
                let Some(job) = job else { break };
                drop(jobs);
                ended.push(call(job));
                // By now there may be a thread to be had.
                jobs = self.jobs.lock();
                jobs.calls -= 1;
            }
        }
        ended
    }

    /// What a thread does.
    fn work(self: &Arc<Self>) {
        let mut jobs = self.jobs.lock();
        jobs.looks();
        while let Some(job) = self.next(&mut jobs) {
            drop(jobs);
            let tell = call(job);
            let mut left = self.jobs.lock();
            (left.calls, left.telling) = (left.calls - 1, left.telling + 1);
            let ended = self.call_for_all(left);
            tell();
            ended.into_iter().for_each(|tell| tell());
            jobs = self.jobs.lock();
            jobs.telling -= 1;
        }
        jobs.threads -= 1;
        if jobs.closed {
            // Some may have been told so while there was something to do, and sleep again.
            self.came.notify_all();
        }
    }

    /// The next job. `None`: there has been none for some time, or there never will be.
    fn next(&self, jobs: &mut MutexGuard<'_, Jobs<S>>) -> Option<OfStore<S>> {
        let until = Instant::now() + IDLE;
        loop {
            if let Some(job) = jobs.take() {
                return Some(job);
            }
            // If there is one that may not be done yet, those who call the store see to it.
            let is_over = jobs.closed && jobs.queue.is_empty();
            if is_over || Instant::now() > until {
                return None;
            }
            jobs.idle += 1;
            self.came.wait_until(jobs, until);
            jobs.looks();
        }
    }
}

/// Calls the store, and lets go of it; returns what passes on how that has ended.
fn call<S: Store>((store, job): OfStore<S>) -> Tell {
    let kept: Tell = match job {
        Job::Read(read) => {
            let (read, kept) = read.keep_end();
            contain(|| store.read(read));
            Box::new(|| kept.pass_on())
        }
        Job::Write(batch, completion) => {
            let (end, kept) = Kept::new(move |(accepted, error)| match error {
                None => completion.complete(Ok(accepted)),
                Some(error) => completion.fail_after(accepted, error),
            });
            let completion =
                Completion::new(batch.len(), move |accepted, error| end((accepted, error)));
            contain(|| store.write(batch, completion));
            Box::new(|| kept.pass_on())
        }
        Job::Flush(kind, completion) => {
            let (end, kept) = Kept::new(move |outcome| completion.complete(outcome));
            contain(|| store.flush(kind, FlushCompletion::new(end)));
            Box::new(|| kept.pass_on())
        }
    };
    contain(|| drop(store));
    // Whoever hears of it may run anything.
    Box::new(|| {
        contain(kept);
    })
}

impl<S> Drop for Threads<S> {
    fn drop(&mut self) {
        // In a fork nobody has the queue, and its lock may be taken for good.
        if self.has_threads() {
            self.queue.jobs.lock().closed = true;
            self.queue.came.notify_all();
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Threads<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("store", &self.store).finish_non_exhaustive()
    }
}

impl<S: Store> Store for Threads<S> {
    fn limits(&self) -> Limits {
        self.store.limits()
    }

    fn len(&self) -> Result<u64, StoreError> {
        self.store.len()
    }

    fn is_empty(&self) -> Result<bool, StoreError> {
        self.store.is_empty()
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.store.set_len(len)
    }

    fn read(&self, run: ReadRun) {
        let tries = self.tries && run.len() <= AT_ONCE_MAX;
        let tried = if tries { self.try_read(run) } else { Err(run) };
        if let Err(run) = tried {
            self.ask(Job::Read(run));
        }
    }

    fn try_read(&self, run: ReadRun) -> Result<(), ReadRun> {
        // What panics has dropped the run, which ends it.
        contain(|| self.store.try_read(run)).unwrap_or(Ok(()))
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        self.ask(Job::Write(batch, completion));
    }

    /// Also if there are all the calls that there may be, and as many wait.
    fn is_congested(&self) -> bool {
        let waits = || {
            let jobs = self.queue.jobs.lock();
            jobs.queue.len() >= jobs.calls_max
        };
        self.store.is_congested() || (self.has_threads() && waits())
    }

    fn flush(&self, kind: FlushKind, completion: FlushCompletion) {
        self.ask(Job::Flush(kind, completion));
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        self.store.allocate(offset, len)
    }

    fn punch(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        self.store.punch(offset, len)
    }

    fn zero(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        self.store.zero(offset, len)
    }

    fn next_data(&self, offset: u64) -> Result<Option<u64>, StoreError> {
        self.store.next_data(offset)
    }

    fn next_hole(&self, offset: u64) -> Result<Option<u64>, StoreError> {
        self.store.next_hole(offset)
    }
}

#[cfg(all(test, not(any(writeback_loom, writeback_shuttle))))]
mod tests {
    use super::*;
    use crate::MemStore;

    #[test]
    fn for_each_job_that_may_be_done_now_one_is_called() {
        let store = Arc::new(MemStore::new());
        let mut jobs = Jobs::new(3);
        let calls = |jobs: &mut Jobs<MemStore>| {
            let before = jobs.called;
            while jobs.wants() {
                jobs.called += 1;
            }
            jobs.called - before
        };
        let job =
            || (Arc::clone(&store), Job::Flush(FlushKind::Data, FlushCompletion::new(|_| ())));
        assert_eq!(calls(&mut jobs), 0);
        jobs.queue.extend([job(), job()]);
        assert_eq!(calls(&mut jobs), 2);
        // Nobody has looked since.
        jobs.queue.extend([job(), job()]);
        assert_eq!(calls(&mut jobs), 1, "there may be three calls");
        for _ in 0..3 {
            jobs.looks();
            assert!(jobs.take().is_some());
        }
        assert_eq!((calls(&mut jobs), jobs.queue.len()), (0, 1));
        assert!(jobs.take().is_none());
        jobs.calls -= 1;
        assert_eq!(calls(&mut jobs), 1);
    }
}
