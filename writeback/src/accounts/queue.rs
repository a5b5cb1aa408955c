//! Where writers wait for their mapping to owe less.
//!
//! One lock for the queues of all mappings of a cache, because what one mapping gives up may let in a writer of
//! another. A queue exists while anybody is in it, enters from it, or writes back for it.
//!
//! Each who waits has a condition variable of its own, so that nobody is woken for nothing: whoever is let in, and of each queue the first, when
//! something has happened that it has to see. The others look now and then, and when they have become the first.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::accounts::debt::{Account, END_MAX, Throttle, WAITING};
use crate::accounts::share::Owed;
use crate::accounts::{Accounts, Member};
use crate::primitives::{CHECKED, Condvar, Instant, Ordering};

/// All queues of a cache.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    queues: VecDeque<Queue>,
    /// What the pages weigh of those that were let in and have not dirtied them yet.
    entering: u64,
}

/// The queue of one mapping.
#[derive(Debug)]
struct Queue {
    account: Arc<Account>,
    /// In the order of their numbers.
    waiting: VecDeque<Waiter>,
    next: u64,
    /// How many were let in and have not dirtied their pages yet.
    entering: u64,
    seen: Seen,
    pushing: bool,
    /// Threads that wait for memory and not in the queue.
    watching: u64,
}

/// Who waits in a queue.
#[derive(Clone)]
struct Waiter {
    number: u64,
    changed: Arc<Condvar>,
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waiter").field(&self.number).finish()
    }
}

/// What has happened, as numbers that only rise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Writes that ended, and what else there is to look at.
    pub(crate) events: u64,
    /// Claims and pushes that came to an end without anything written: another may try.
    pub(crate) given_up: u64,
}

/// A place in the queue; or, once that has been let in, the right to dirty a page.
#[derive(Debug)]
pub(crate) struct Ticket<'t> {
    throttle: &'t Throttle,
    account: &'t Arc<Account>,
    waiter: Waiter,
    /// By an [`Entering`].
    is_kept: bool,
}

/// A writer may dirty its page, and keeps this until it has.
#[derive(Debug)]
#[must_use = "it is kept until the page is dirty"]
pub(crate) struct Admission<'t>(#[expect(dead_code, reason = "for its drop")] Option<Ticket<'t>>);

impl Admission<'_> {
    /// Of a writer that had to wait for nobody.
    pub(crate) const FREE: Self = Admission(None);
}

impl<'t> From<Ticket<'t>> for Admission<'t> {
    fn from(ticket: Ticket<'t>) -> Self {
        Admission(Some(ticket))
    }
}

/// As an [`Admission`], of whoever does not stay in the call that was let in.
pub(crate) struct Entering<M> {
    cache: Arc<Accounts<M>>,
    account: Arc<Account>,
}

impl<M> Drop for Entering<M> {
    fn drop(&mut self) {
        self.account.waiting.fetch_sub(1, Ordering::Relaxed);
        self.cache.throttle.entered(&self.account);
    }
}

impl<M> fmt::Debug for Entering<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entering").finish_non_exhaustive()
    }
}

/// The right to write back for a queue.
pub(crate) struct Pushing<'t>(&'t Throttle, &'t Arc<Account>);

impl Queues {
    fn position(&self, account: &Account) -> Option<usize> {
        self.queues.iter().position(|queue| std::ptr::eq(&raw const *queue.account, account))
    }

    fn find(&mut self, account: &Account) -> Option<&mut Queue> {
        let at = self.position(account)?;
        self.queues.get_mut(at)
    }

    /// The mapping's queue, a new one if there is none.
    fn of(&mut self, account: &Arc<Account>) -> &mut Queue {
        let at = self.position(account).unwrap_or_else(|| {
            self.queues.push_back(Queue {
                account: Arc::clone(account),
                waiting: VecDeque::new(),
                next: 0,
                entering: 0,
                seen: Seen::default(),
                pushing: false,
                watching: 0,
            });
            self.queues.len() - 1
        });
        &mut self.queues[at]
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.queues.iter().map(|queue| queue.waiting.len() as u64).sum()
    }
}

impl Queue {
    fn is_needed(&self) -> bool {
        !self.waiting.is_empty() || self.pushing || self.entering + self.watching > 0
    }
}

impl Throttle {
    /// Queues up behind the mapping's other writers.
    pub(crate) fn queue_up<'t>(&'t self, account: &'t Arc<Account>) -> Ticket<'t> {
        self.stalled.add(1);
        let mut queues = self.queues.lock();
        let queue = queues.of(account);
        let waiter = Waiter { number: queue.next, changed: Arc::new(Condvar::new()) };
        queue.next += 1;
        queue.waiting.push_back(waiter.clone());
        // Relaxed: a hint; the lock orders it for those who queue up.
        account.waiting.fetch_add(1, Ordering::Relaxed);
        // Announced first, then looked at, as by a sleeper of `wait`.
        self.word.fetch_or(WAITING, Ordering::AcqRel);
        self.let_in(&mut queues);
        Ticket { throttle: self, account, waiter, is_kept: false }
    }

    /// Lets in whoever there is room for: of each queue the first, then of each the second, and so on.
    pub(super) fn let_in(&self, queues: &mut Queues) {
        let mut refused = 0;
        while refused < queues.queues.len() {
            let entering = queues.entering;
            if self.lets_in_one(&mut queues.queues[0], entering) {
                queues.entering += queues.queues[0].account.weight;
                refused = 0;
            } else {
                refused += 1;
            }
            queues.queues.rotate_left(1);
        }
        queues.queues.retain(Queue::is_needed);
        if queues.queues.iter().all(|queue| queue.waiting.is_empty() && queue.watching == 0) {
            self.word.fetch_and(!WAITING, Ordering::AcqRel);
        }
    }

    fn lets_in_one(&self, queue: &mut Queue, entering: u64) -> bool {
        let lets_in = !queue.waiting.is_empty() && self.has_room_beside(queue, entering);
        if lets_in {
            queue.enter_first();
        }
        lets_in
    }

    /// Whether there is room for a page more of the queue's mapping beside those that are entering.
    fn has_room_beside(&self, queue: &Queue, entering: u64) -> bool {
        let owed = self.owed(&queue.account);
        let of_one = queue.entering * queue.account.weight;
        let (by_all, by_one) = (owed.by_all + entering, owed.by_one + of_one);
        self.shares().admits(Owed { by_all, by_one, ..owed })
    }

    /// Enters, if nobody of the mapping waits and there is room.
    pub(crate) fn try_enter<'t>(&'t self, account: &'t Arc<Account>) -> Option<Ticket<'t>> {
        let mut queues = self.queues.lock();
        let entering = queues.entering;
        let queue = queues.of(account);
        let enters = queue.waiting.is_empty() && self.has_room_beside(queue, entering);
        let waiter = Waiter { number: queue.next, changed: Arc::new(Condvar::new()) };
        if enters {
            queue.next += 1;
            queue.entering += 1;
            queues.entering += account.weight;
        }
        queues.queues.retain(Queue::is_needed);
        enters.then(|| Ticket { throttle: self, account, waiter, is_kept: false })
    }

    /// Somebody that was let in has dirtied its page, or does not mean to any more.
    fn entered(&self, account: &Arc<Account>) {
        let mut queues = self.queues.lock();
        let queue = queues.of(account);
        queue.entering -= 1;
        queue.seen.given_up += 1;
        queue.wake_first();
        queues.entering -= account.weight;
        // If it has not, the next one can.
        self.let_in(&mut queues);
    }

    /// Something has happened to the mapping: its writers look again, and those of all for whom there is room go on.
    #[cold]
    pub(super) fn look_again(&self, account: &Account) {
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.find(account) {
            queue.seen.events += 1;
            queue.wake_first();
        }
        // Those who wait in no queue.
        account.changed.notify_all();
        self.let_in(&mut queues);
    }

    /// A claim or a push came to nothing: another may try.
    #[cold]
    pub(crate) fn given_up(&self, account: &Account) {
        if let Some(queue) = self.queues.lock().find(account) {
            queue.seen.given_up += 1;
            queue.wake_first();
        }
    }

    /// `None`: another writer of the mapping writes back, or one that was let in is about to dirty its page.
    /// The latter may take its time, so an `impatient` writer does not mind it.
    pub(crate) fn begin_push<'t>(
        &'t self,
        account: &'t Arc<Account>,
        impatient: bool,
    ) -> Option<Pushing<'t>> {
        let mut queues = self.queues.lock();
        let queue = queues.of(account);
        if queue.pushing || queue.entering > 0 && !impatient {
            return None;
        }
        queue.pushing = true;
        Some(Pushing(self, account))
    }

    /// Waits for a write of the mapping to end, for a limited time.
    pub(crate) fn wait_for_an_end(&self, account: &Arc<Account>) {
        // Under a checker time stands still.
        if CHECKED {
            return;
        }
        let until = Instant::now() + END_MAX;
        let mut queues = self.queues.lock();
        let queue = queues.of(account);
        queue.watching += 1;
        let seen = queue.seen.events;
        self.word.fetch_or(WAITING, Ordering::AcqRel);
        while queues.of(account).seen.events == seen && Instant::now() < until {
            account.changed.wait_until(&mut queues, until);
        }
        queues.of(account).watching -= 1;
        self.let_in(&mut queues);
    }
}

impl Queue {
    fn enter_first(&mut self) {
        self.wake_first();
        self.waiting.pop_front();
        self.entering += 1;
        self.account.waiting.fetch_sub(1, Ordering::Relaxed);
        // What has happened before was told to the one that is gone.
        self.wake_first();
    }

    fn wake_first(&self) {
        if let Some(first) = self.waiting.front() {
            first.changed.notify_all();
        }
    }

    /// Where in the queue somebody is; `None`: it has been let in.
    fn place(&self, waiter: &Waiter) -> Option<usize> {
        self.waiting.binary_search_by_key(&waiter.number, |waiter| waiter.number).ok()
    }
}

impl Ticket<'_> {
    /// Of the `member` that was let in: the same, without a call that it belongs to.
    pub(crate) fn keep<M>(mut self, member: &Member<M>) -> Entering<M> {
        self.is_kept = true;
        // It may be long until the page is dirty: until then no writer of the mapping passes by the queue, which knows of it.
        self.account.waiting.fetch_add(1, Ordering::Relaxed);
        Entering { cache: Arc::clone(&member.cache), account: Arc::clone(&member.account) }
    }

    /// What has happened so far, if the writer still waits; `None`: it has been let in.
    pub(crate) fn waits(&self) -> Option<Seen> {
        let mut queues = self.throttle.queues.lock();
        self.throttle.let_in(&mut queues);
        let queue = queues.find(self.account)?;
        queue.place(&self.waiter).map(|_| queue.seen)
    }

    /// Sleeps while there are `no_news`, at most that long; returns whether there are any, or it has been let in.
    pub(crate) fn wait(&self, no_news: impl Fn(Seen) -> bool, at_most: Duration) -> bool {
        let until = Instant::now() + at_most;
        let mut queues = self.throttle.queues.lock();
        loop {
            let queue = queues.of(self.account);
            if !no_news(queue.seen) || queue.place(&self.waiter).is_none() {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            self.waiter.changed.wait_until(&mut queues, until);
            #[cfg(all(test, not(any(writeback_loom, writeback_shuttle))))]
            tests::WOKEN.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Enters although there is no room, if nobody of its mapping is before it; returns whether it did, or had been let in. One that was let in and is on its way is before it, too, unless
    /// this has `waited_long`: that may be a task which nobody polls.
    pub(crate) fn enter_anyway(&self, waited_long: bool) -> bool {
        let mut queues = self.throttle.queues.lock();
        let queue = queues.of(self.account);
        match queue.place(&self.waiter) {
            None => return true,
            Some(0) if queue.entering == 0 || waited_long => {}
            Some(_) => return false,
        }
        queue.enter_first();
        queues.entering += self.account.weight;
        true
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let mut queues = self.throttle.queues.lock();
        let queue = queues.of(self.account);
        let Some(at) = queue.place(&self.waiter) else {
            drop(queues);
            return self.throttle.entered(self.account);
        };
        queue.waiting.remove(at);
        self.account.waiting.fetch_sub(1, Ordering::Relaxed);
        queue.wake_first();
        self.throttle.let_in(&mut queues);
    }
}

impl Drop for Pushing<'_> {
    fn drop(&mut self) {
        let mut queues = self.0.queues.lock();
        let queue = queues.of(self.1);
        queue.pushing = false;
        queue.seen.given_up += 1;
        queue.wake_first();
        queues.queues.retain(Queue::is_needed);
    }
}

#[cfg(all(test, not(any(writeback_loom, writeback_shuttle))))]
mod tests {
    use super::*;
    use crate::accounts::Limits;
    use crate::primitives::{AtomicU64, thread};

    /// How often somebody in a queue was woken.
    pub(super) static WOKEN: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn nobody_is_woken_for_nothing() {
        const WRITERS: u64 = 40;
        let time = Duration::from_secs(10);
        let (background, max, capacity) = (1, 2, 100);
        let limits = Limits { capacity, background, max, pause_max: time, stall_max: time };
        let throttle = Throttle::new(&limits);
        let account = Arc::new(Account::new(1));
        // As much as there is room for; each who is let in dirties what one end has made clean.
        (0..max).for_each(|_| throttle.charge(&account));
        let woken = WOKEN.load(Ordering::Relaxed);
        thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| {
                    let ticket = throttle.queue_up(&account);
                    while let Some(seen) = ticket.waits() {
                        ticket.wait(|now| now == seen, time);
                    }
                    throttle.charge(&account);
                });
            }
            while throttle.stalled().0 < WRITERS {
                thread::yield_now();
            }
            for left in (0..WRITERS).rev() {
                throttle.discharge(&account, 1);
                while throttle.stalled().0 > left || account.debt() < max {
                    thread::yield_now();
                }
            }
        });
        let woken = WOKEN.load(Ordering::Relaxed) - woken;
        assert!(woken <= 5 * WRITERS, "woken {woken} times, {WRITERS} writers and as many ends");
    }
}
