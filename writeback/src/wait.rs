//! Where threads and tasks wait until something changes, for now a page: one table for all of them, so a page pays nothing.
//!
//! The table knows nothing of pages. Whoever waits names a key (the page's address) and a condition; whoever makes a condition
//! true wakes everybody under that key, and each looks again. The caller's side of the bargain, kept by
//! [`PageState`](crate::pages::state::PageState):
//!
//! * the condition *announces* the sleeper (sets the WAITERS bit) in the same atomic operation
//!   that reads what it looks at, and
//! * the waker changes the state and takes the announcement away in one atomic operation, and
//!   calls [`wake_all`] if there was one.
//!
//! So either the sleeper sees the change, or the waker sees the sleeper; and because the sleeper
//! holds its bucket's lock from the announcement until it sleeps, the waker cannot notify too early.
//!
//! # Threads and tasks
//! To wait is a future, [`Until`]. A task polls it: if the condition is false, the task's waker is put into the bucket, under the lock
//! in which the condition was asked, and that is its sleep. A thread polls it once, by [`now`], with a context by which `Until` knows it:
//! then it sleeps in the call, in the bucket's condition variable, and what it polled is never pending. So a call that blocks and one that is a
//! future are one function, and wait in one queue.
//!
//! * *Every wake is for all* who wait under the key. So a task that is dropped after it was woken takes nobody's wake-up with it,
//!   and one that is dropped before takes its entry out of the bucket. The announcement that it leaves costs a wake-up of nobody.
//! * *An entry serves one wake-up.* A wake takes it out. The task puts it in again when it is polled and the condition is still false, which announces
//!   it again, too: to look is to announce, also if it is polled for another reason while its entry is there.
//! * *The last waker counts*: a task that is polled with another waker than before is woken by that.
//! * *Wakers are foreign code.* To clone, drop or call one may run anything, such as the end of a task that drops a future of this table. So
//!   none of that is done under a bucket's lock; and who calls [`wake_all`] has no other lock that a poll may wait for in its thread: no mutex,
//!   no latch, no section of the index. (Page locks and the truncate lock may be held: a task that finds these taken waits here.) A waker that panics
//!   keeps nobody else from being woken.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use crate::panics::contain;
use crate::primitives::{CHECKED, Condvar, Mutex, static_array};

const BUCKETS: usize = if CHECKED { 2 } else { 64 };

#[derive(Debug)]
#[repr(align(64))]
struct Bucket {
    tasks: Mutex<Tasks>,
    wakeup: Condvar,
}

/// The tasks that sleep in a bucket.
#[derive(Debug)]
struct Tasks {
    /// By key, and by a number that each has of its own.
    waiting: BTreeMap<(u64, u64), Waker>,
    next: u64,
}

static_array! {
    static TABLE: [Bucket; BUCKETS] of Bucket { tasks: Mutex::new(Tasks::none()), wakeup: Condvar::new() };
}

impl Tasks {
    const fn none() -> Self {
        Self { waiting: BTreeMap::new(), next: 0 }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Takes out all that wait under `key`.
    fn take(&mut self, key: u64) -> Vec<Waker> {
        let mut taken = Vec::new();
        while let Some((entry, _)) = self.waiting.range((key, 0)..=(key, u64::MAX)).next() {
            let entry = *entry;
            taken.extend(self.waiting.remove(&entry));
        }
        taken
    }
}

fn bucket(key: u64) -> &'static Bucket {
    // Fibonacci hashing of the key: the high bits are well mixed.
    let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
    &TABLE[usize::from(mixed as u8) % BUCKETS]
}

/// A wait: see [`until`].
#[must_use = "nobody waits before it is polled"]
pub(crate) struct Until<F> {
    key: u64,
    ready: F,
    /// Of its entry in the bucket, which may have been taken out by now.
    number: Option<u64>,
}

/// Waits until `ready`, which must announce the caller and look at the state in one step.
pub(crate) fn until<F: FnMut() -> bool + Unpin>(key: u64, ready: F) -> Until<F> {
    Until { key, ready, number: None }
}

impl<F> Until<F> {
    /// Takes the entry out of the bucket; it is to be dropped when the bucket is free.
    fn forget(&mut self, tasks: &mut Tasks) -> Option<Waker> {
        tasks.waiting.remove(&(self.key, self.number.take()?))
    }
}

impl<F: FnMut() -> bool + Unpin> Future for Until<F> {
    type Output = ();

    #[cold]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let bucket = bucket(this.key);
        // Before the lock, as its old one is dropped behind it.
        let waker = (!is_thread(context)).then(|| context.waker().clone());
        let mut tasks = bucket.tasks.lock();
        let Some(waker) = waker else {
            while !(this.ready)() {
                bucket.wakeup.wait(&mut tasks);
            }
            return Poll::Ready(());
        };
        let is_ready = (this.ready)();
        let old = if is_ready {
            this.forget(&mut tasks)
        } else {
            let number = *this.number.get_or_insert_with(|| tasks.number());
            tasks.waiting.insert((this.key, number), waker)
        };
        drop(tasks);
        drop(old);
        if is_ready { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<F> Drop for Until<F> {
    fn drop(&mut self) {
        if self.number.is_some() {
            let mut tasks = bucket(self.key).tasks.lock();
            let waker = self.forget(&mut tasks);
            drop(tasks);
            drop(waker);
        }
    }
}

/// Sleeps until `ready`, as [`until`], in the thread.
pub(crate) fn wait_until(key: u64, ready: impl FnMut() -> bool + Unpin) {
    now(until(key, ready));
}

/// Wakes everybody who waits under `key`; each looks at its condition again.
#[cold]
pub(crate) fn wake_all(key: u64) {
    let bucket = bucket(key);
    // Taken and released: whoever announced itself is asleep by now.
    let tasks = bucket.tasks.lock().take(key);
    bucket.wakeup.notify_all();
    for waker in tasks {
        let _ = contain(|| waker.wake());
    }
}

/// The waker of a thread that waits in the call: nobody calls it. It is told by its place, not by what it does.
static THREAD: LazyLock<Waker> = LazyLock::new(|| Waker::noop().clone());

/// Whether this is the context that [`now`] polls with, in which to wait is to sleep.
fn is_thread(context: &Context<'_>) -> bool {
    std::ptr::eq(context.waker(), &raw const *THREAD)
}

/// Whether this is polled by [`now`].
pub(crate) fn sleeps() -> impl Future<Output = bool> + Send {
    poll_fn(|context| Poll::Ready(is_thread(context)))
}

/// Has the task polled again when others have had their turn, for what nobody would wake it for.
pub(crate) fn come_again() -> impl Future<Output = ()> + Send {
    let mut came = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut came, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Calls what may wait, in this thread.
///
/// # Panics
/// If it waits for anything but what is in this table.
pub(crate) fn now<F: Future>(call: F) -> F::Output {
    match pin!(call).poll(&mut Context::from_waker(&THREAD)) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("a thread sleeps where a task would be pending"),
    }
}

#[cfg(all(test, not(any(writeback_loom, writeback_shuttle))))]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;
    use crate::primitives::{AtomicU32, Ordering, thread};

    #[test]
    fn a_sleeper_is_never_missed() {
        crate::watchdog::watch();
        // Bit 0: the condition; bit 1: somebody sleeps.
        for _ in 0..200 {
            let word = AtomicU32::new(0);
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| wait_until(7, || word.fetch_or(2, Ordering::AcqRel) & 1 == 1));
                }
                if word.fetch_or(1, Ordering::AcqRel) & 2 != 0 {
                    wake_all(7);
                }
                // Late sleepers see the bit that is already set.
            });
        }
    }

    /// Counts how often it was woken, and does something more if it is told to.
    #[derive(Default)]
    struct Bell {
        rung: AtomicU32,
        more: Option<Box<dyn Fn() + Send + Sync>>,
    }

    impl Bell {
        fn rung(&self) -> u32 {
            self.rung.load(Ordering::Relaxed)
        }
    }

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.rung.fetch_add(1, Ordering::Relaxed);
            if let Some(more) = &self.more {
                more();
            }
        }
    }

    fn poll<F: Future + Unpin>(future: &mut F, bell: &Arc<Bell>) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(bell));
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn a_task_is_woken_by_its_key_and_leaves_nothing_behind() {
        let (bell, other) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
        let is_set = AtomicU32::new(0);
        let ready = || is_set.load(Ordering::Relaxed) == 1;
        // The same bucket, whatever the hash: one key, and each other one of so many.
        let (mut task, mut same) = (until(11, ready), until(11, ready));
        let mut others: Vec<_> =
            (12..12 + 2 * BUCKETS as u64).map(|key| until(key, || false)).collect();
        assert!(poll(&mut task, &bell).is_pending() && poll(&mut same, &bell).is_pending());
        others.iter_mut().for_each(|task| assert!(poll(task, &other).is_pending()));
        wake_all(11);
        assert_eq!((bell.rung(), other.rung()), (2, 0), "all of the key, and no others");
        wake_all(11);
        assert_eq!(bell.rung(), 2, "an entry serves one wake-up");
        assert!(poll(&mut task, &bell).is_pending(), "it looks again");
        is_set.store(1, Ordering::Relaxed);
        wake_all(11);
        assert!(poll(&mut task, &bell).is_ready() && poll(&mut same, &bell).is_ready());
        assert_eq!(bell.rung(), 3);
        drop((task, same, others));
        assert_eq!((Arc::strong_count(&bell), Arc::strong_count(&other)), (1, 1));
    }

    #[test]
    fn the_last_waker_counts_and_an_end_or_a_drop_takes_it_away() {
        let (first, last) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
        let is_set = AtomicU32::new(0);
        let mut task = until(21, || is_set.load(Ordering::Relaxed) == 1);
        assert!(poll(&mut task, &first).is_pending() && poll(&mut task, &last).is_pending());
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&last)), (1, 2));
        wake_all(21);
        assert_eq!((first.rung(), last.rung()), (0, 1));
        // Ready without having been woken.
        assert!(poll(&mut task, &last).is_pending());
        is_set.store(1, Ordering::Relaxed);
        assert!(poll(&mut task, &last).is_ready());
        assert_eq!(Arc::strong_count(&last), 1);
        // Dropped while it waits.
        let mut dropped = until(21, || false);
        assert!(poll(&mut dropped, &last).is_pending());
        drop(dropped);
        assert_eq!(Arc::strong_count(&last), 1);
        wake_all(21);
        assert_eq!(last.rung(), 1);
    }

    #[test]
    fn wakers_may_come_back_and_may_panic() {
        crate::watchdog::watch();
        let quiet = Arc::new(Bell::default());
        let comes_back = Bell { more: Some(Box::new(|| wake_all(31))), ..Bell::default() };
        let panics = Bell { more: Some(Box::new(|| panic!("of a waker"))), ..Bell::default() };
        let mut tasks = [(); 3].map(|()| until(31, || false));
        let bells = [Arc::new(comes_back), Arc::new(panics), Arc::clone(&quiet)];
        for (task, bell) in tasks.iter_mut().zip(&bells) {
            assert!(poll(task, bell).is_pending());
        }
        wake_all(31);
        assert!(bells.iter().all(|bell| bell.rung() == 1));
    }

    /// Ends a wait of its own when it is dropped, as the last reference to a task does.
    struct Task {
        _wait: Until<fn() -> bool>,
    }

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn a_waker_that_is_dropped_may_drop_a_wait() {
        crate::watchdog::watch();
        let mut task = until(41, || false);
        for _ in 0..3 {
            let mut _wait = until(41, (|| false) as fn() -> bool);
            assert!(poll(&mut _wait, &Arc::default()).is_pending());
            let waker = Waker::from(Arc::new(Task { _wait }));
            // Replaced by the next, and at last taken out, each with the wait in it.
            assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        drop(task);
        assert!(bucket(41).tasks.lock().take(41).is_empty());
    }
}
