//! Where writers wait for their mapping to owe less.
//!
//! One lock for the queues of all mappings of a cache, because what one mapping gives up may let in a writer of
//! another; each mapping has a condition variable of its own, so that nobody is woken for nothing. A queue
//! exists while anybody is in it, enters from it, or writes back for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::accounts::debt::{Account, END_MAX, Throttle, WAITING};
use crate::accounts::share::Owed;
use crate::primitives::{CHECKED, Instant, Ordering};

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
    waiting: VecDeque<u64>,
    next: u64,
    /// How many were let in and have not dirtied their pages yet.
    entering: u64,
    seen: Seen,
    pushing: bool,
    /// Threads that wait for memory and not in the queue.
    watching: u64,
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
    number: u64,
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
        let number = queue.next;
        queue.next += 1;
        queue.waiting.push_back(number);
        // Relaxed: a hint; the lock orders it for those who queue up.
        account.waiting.fetch_add(1, Ordering::Relaxed);
        // Announced first, then looked at, as by a sleeper of `wait`.
        self.word.fetch_or(WAITING, Ordering::AcqRel);
        self.let_in(&mut queues);
        Ticket { throttle: self, account, number }
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
        let owed = self.owed(&queue.account);
        let of_one = queue.entering * queue.account.weight;
        let (by_all, by_one) = (owed.by_all + entering, owed.by_one + of_one);
        if queue.waiting.is_empty() || !self.shares().admits(Owed { by_all, by_one, ..owed }) {
            return false;
        }
        queue.enter_first();
        true
    }

    /// Something has happened to the mapping: its writers look again, and those of all for whom there is room go on.
    #[cold]
    pub(super) fn look_again(&self, account: &Account) {
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.find(account) {
            queue.seen.events += 1;
            account.changed.notify_all();
        }
        self.let_in(&mut queues);
    }

    /// A claim or a push came to nothing: another may try.
    #[cold]
    pub(crate) fn given_up(&self, account: &Account) {
        if let Some(queue) = self.queues.lock().find(account) {
            queue.seen.given_up += 1;
            account.changed.notify_all();
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
        self.waiting.pop_front();
        self.entering += 1;
        self.account.waiting.fetch_sub(1, Ordering::Relaxed);
        self.account.changed.notify_all();
    }
}

impl Ticket<'_> {
    /// What has happened so far, if the writer still waits; `None`: it has been let in.
    pub(crate) fn waits(&self) -> Option<Seen> {
        let mut queues = self.throttle.queues.lock();
        self.throttle.let_in(&mut queues);
        let queue = queues.find(self.account)?;
        queue.waiting.contains(&self.number).then_some(queue.seen)
    }

    /// Sleeps while there are `no_news`, at most that long; returns whether there are any, or it has been let in.
    pub(crate) fn wait(&self, no_news: impl Fn(Seen) -> bool, at_most: Duration) -> bool {
        let until = Instant::now() + at_most;
        let mut queues = self.throttle.queues.lock();
        loop {
            let queue = queues.of(self.account);
            if !no_news(queue.seen) || !queue.waiting.contains(&self.number) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            self.account.changed.wait_until(&mut queues, until);
        }
    }

    /// Enters although there is no room, if nobody of its mapping is before it; returns whether it did, or had been let in.
    pub(crate) fn enter_anyway(&self) -> bool {
        let mut queues = self.throttle.queues.lock();
        let queue = queues.of(self.account);
        if !queue.waiting.contains(&self.number) {
            return true;
        }
        if queue.waiting.front() != Some(&self.number) || queue.entering > 0 {
            return false;
        }
        queue.enter_first();
        queues.entering += self.account.weight;
        true
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut queues = self.throttle.queues.lock();
        let queue = queues.of(self.account);
        match queue.waiting.iter().position(|number| *number == self.number) {
            Some(at) => {
                queue.waiting.remove(at);
                self.account.waiting.fetch_sub(1, Ordering::Relaxed);
            }
            None => {
                queue.entering -= 1;
                queue.seen.given_up += 1;
                queues.entering -= self.account.weight;
            }
        }
        // It may not have dirtied anything: then the next one can.
        self.throttle.let_in(&mut queues);
        drop(queues);
        self.account.changed.notify_all();
    }
}

impl Drop for Pushing<'_> {
    fn drop(&mut self) {
        let mut queues = self.0.queues.lock();
        let queue = queues.of(self.1);
        queue.pushing = false;
        queue.seen.given_up += 1;
        self.1.changed.notify_all();
        queues.queues.retain(Queue::is_needed);
    }
}
