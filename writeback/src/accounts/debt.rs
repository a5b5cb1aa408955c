//! The debt of a cache and of its mappings: how many bytes are dirty, and who may add to them.
//!
//! The *debt* of a cache is what its pages weigh that are dirty, claimed or under writeback. (A page that is
//! dirtied again while it is written counts twice, as its image takes memory of its own.) Each mapping has
//! an [`Account`] of its own part. A page weighs as many bytes as it has, however few of them have changed. It is charged in the section that makes it dirty, and discharged after the one
//! in which its write ends or that removes it; claim and redirtying change nothing.
//!
//! What each mapping may owe is in [`share`](crate::accounts::share): some of the limit is always left for a mapping that owes
//! little. So a store that is slow, failing, full or never answers uses up its mapping's share and no more,
//! and only the writers of that mapping wait, or are told, with the errors of that mapping.
//!
//! Up to the *background* limit nothing happens; beyond, the flushers are woken. From half way to the limit
//! on, the writers of a mapping that owes much pause, the longer the nearer, if a flusher writes meanwhile (without one
//! a pause would bring nothing); at their mapping's limit they wait.

use std::time::Duration;

use crate::accounts::Limits;
use crate::accounts::pace::Pace;
use crate::accounts::queue::Queues;
use crate::accounts::share::{Owed, Shares};
use crate::counters::Counter;
use crate::primitives::{
    AtomicBool, AtomicU64, CHECKED, Condvar, CounterU64, HintU64, Instant, Mutex, Ordering,
};

/// The debt's WAITING bit: there is a queue, or a thread that watches for the end of a write.
pub(super) const WAITING: u64 = 1 << 63;

/// How long a thread that needs memory waits for a write to end.
pub(super) const END_MAX: Duration = Duration::from_millis(100);

/// A pause is over so long at the most after there is no more reason to it.
const PAUSE_PART: Duration = Duration::from_millis(5);

/// The debt of a cache.
pub(crate) struct Throttle {
    pub(super) word: AtomicU64,
    limits: Bounds,
    pub(crate) stall_max: Duration,
    pause_max: Duration,
    pub(super) queues: Mutex<Queues>,
    /// Mappings in the cache, and how many of them owe anything; the latter is off by a few for a moment.
    mappings: HintU64,
    owing: HintU64,
    /// The flushers have been woken and have not begun to look yet.
    kicked: AtomicBool,
    pub(super) stalled: Counter,
    paused: Counter,
    pub(crate) written: Counter,
}

/// The limits, as they are now. They change [together](Throttle::resize), and whoever does not have the queues may see some of them
/// before the others: they are approximate, and a page or two beyond them do no harm.
#[derive(Debug)]
struct Bounds {
    background: HintU64,
    /// Not a hint, nor the last: who reads them decides whether to wait.
    max: AtomicU64,
    capacity: HintU64,
    /// Up to this debt nobody has to look further.
    easy: AtomicU64,
}

impl Bounds {
    fn new(shares: Shares) -> Self {
        Self {
            background: HintU64::new(shares.background),
            max: AtomicU64::new(shares.max),
            capacity: HintU64::new(shares.capacity),
            easy: AtomicU64::new(shares.easy()),
        }
    }

    fn set(&self, shares: Shares) {
        // Relaxed, all of them: the lock orders them for those who decide to wait.
        self.background.store(shares.background, Ordering::Relaxed);
        self.max.store(shares.max, Ordering::Relaxed);
        self.capacity.store(shares.capacity, Ordering::Relaxed);
        self.easy.store(shares.easy(), Ordering::Relaxed);
    }
}

/// What one mapping owes, and where its writers wait.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Bytes of each of the mapping's pages.
    pub(crate) weight: u64,
    debt: CounterU64,
    /// Writers in the mapping's queue, and tasks that have been let in and have not dirtied their pages yet. A hint: who finds it zero need not queue up behind anybody.
    pub(super) waiting: HintU64,
    pub(super) changed: Condvar,
    pub(crate) pace: Pace,
    /// How often a page has been tried in spite of its backing off, and when last.
    pub(crate) tries: HintU64,
    pub(crate) tried: Mutex<Option<Instant>>,
}

impl Account {
    pub(crate) fn new(weight: u64) -> Self {
        Self { weight, ..Self::default() }
    }

    pub(crate) fn debt(&self) -> u64 {
        self.debt.load(Ordering::Acquire)
    }
}

impl Throttle {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            word: AtomicU64::new(0),
            limits: Bounds::new(limits.shares()),
            stall_max: limits.stall_max,
            pause_max: limits.pause_max,
            queues: Mutex::new(Queues::default()),
            mappings: HintU64::new(0),
            owing: HintU64::new(0),
            kicked: AtomicBool::new(false),
            stalled: Counter::default(),
            paused: Counter::default(),
            written: Counter::default(),
        }
    }

    pub(super) fn shares(&self) -> Shares {
        let Bounds { background, max, capacity, .. } = &self.limits;
        Shares {
            background: background.load(Ordering::Relaxed),
            max: max.load(Ordering::Relaxed),
            capacity: capacity.load(Ordering::Relaxed),
        }
    }

    /// Bytes that the cache has room for.
    #[inline]
    pub(crate) fn capacity(&self) -> u64 {
        self.limits.capacity.load(Ordering::Relaxed)
    }

    /// Sets new limits, and lets in whoever there is room for by them.
    ///
    /// With the queues: who decides to wait has them too, and so has seen the new limits, or is seen here.
    pub(crate) fn resize(&self, limits: &Limits) {
        let mut queues = self.queues.lock();
        self.limits.set(limits.shares());
        self.let_in(&mut queues);
    }

    pub(crate) fn debt(&self) -> u64 {
        // Acquire: pairs with the discharges.
        self.word.load(Ordering::Acquire) & !WAITING
    }

    /// How much a mapping owes, beside the others.
    pub(super) fn owed(&self, account: &Account) -> Owed {
        let (by_one, by_all) = (account.debt(), self.debt());
        let others = self.owing().saturating_sub(u64::from(by_one > 0));
        Owed { by_all, by_one, others, alone: self.mappings.load(Ordering::Relaxed) <= 1 }
    }

    /// How many mappings owe anything.
    fn owing(&self) -> u64 {
        // It falls below zero for a moment where a mapping is charged and discharged at the same time.
        self.owing.load(Ordering::Relaxed).cast_signed().max(0).unsigned_abs()
    }

    /// No writer has to look at what its mapping owes, and none of this one's waits.
    #[inline]
    pub(crate) fn is_easy(&self, account: &Account) -> bool {
        // Relaxed: the limits are approximate, and a page or two beyond them do no harm.
        self.word.load(Ordering::Acquire) & !WAITING <= self.limits.easy.load(Ordering::Relaxed)
            && account.waiting.load(Ordering::Relaxed) == 0
    }

    /// There is room for a page more of the mapping, and nobody waits for it.
    pub(crate) fn has_room(&self, account: &Account) -> bool {
        account.waiting.load(Ordering::Relaxed) == 0 && self.shares().admits(self.owed(account))
    }

    /// A page became dirty. Whoever was admitted may charge, and so may those that need no admission.
    pub(crate) fn charge(&self, account: &Account) {
        // The account first, as in `discharge` last: it is never less than its part of the word.
        if account.debt.fetch_add(account.weight, Ordering::AcqRel) == 0 {
            self.owing.fetch_add(1, Ordering::Relaxed);
        }
        self.word.fetch_add(account.weight, Ordering::AcqRel);
    }

    /// Pages are clean, or gone.
    pub(crate) fn discharge(&self, account: &Account, pages: u64) {
        let bytes = pages * account.weight;
        let before = self.word.fetch_sub(bytes, Ordering::AcqRel);
        debug_assert!(before & !WAITING >= bytes, "I-COUNT: more discharged than was charged");
        // After the word, and before anybody is told: a writer that finds the account without this debt, and so
        // nothing under way, finds the room too.
        let owed = account.debt.fetch_sub(bytes, Ordering::AcqRel);
        debug_assert!(owed >= bytes, "I-COUNT: more discharged than the mapping was charged");
        if owed == bytes && bytes > 0 {
            self.owing.fetch_sub(1, Ordering::Relaxed);
        }
        self.nudge(account);
    }

    /// Something has happened to the mapping that its waiting writers must see although nothing was discharged.
    pub(crate) fn nudge(&self, account: &Account) {
        if self.somebody_waits() {
            self.look_again(account);
        }
    }

    /// A change of the word that changes nothing: of this and of a writer that queues up one sees the other.
    pub(crate) fn somebody_waits(&self) -> bool {
        self.word.fetch_or(0, Ordering::AcqRel) & WAITING != 0
    }

    /// Whether a flusher is to write the mapping.
    pub(crate) fn is_over_background(&self, account: &Account) -> bool {
        self.shares().is_over_background(self.owed(account), self.owing().max(1))
    }

    /// Whether the flushers are to be woken: once, until they begin to look.
    pub(crate) fn wants_kick(&self) -> bool {
        self.debt() > self.shares().background && !self.kicked.swap(true, Ordering::AcqRel)
    }

    /// The flusher is about to look: what is dirtied from now on wakes it again.
    pub(crate) fn kick_taken(&self) {
        // A swap: whoever finds it set has charged before, and the flusher sees that.
        self.kicked.swap(false, Ordering::AcqRel);
    }

    /// A mapping has joined the cache.
    pub(crate) fn joined(&self) {
        self.mappings.fetch_add(1, Ordering::Relaxed);
    }

    /// A mapping has left the cache, and owes nothing any more.
    pub(crate) fn left(&self, account: &Account, owed: u64) {
        self.mappings.fetch_sub(1, Ordering::Relaxed);
        // Also if it owed nothing: another may be alone now.
        self.discharge(account, owed);
    }

    /// Writers that wait now, and how many ever began to.
    pub(crate) fn stalled(&self) -> (u64, u64) {
        (self.queues.lock().waiting(), self.stalled.get())
    }

    pub(crate) fn paused(&self) -> u64 {
        self.paused.get()
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.get()
    }

    /// The mapping owes so much that its writers are to slow down.
    pub(crate) fn wants_pause(&self, account: &Account) -> bool {
        let owed = self.owed(account);
        // Under a checker time stands still.
        !CHECKED && owed.by_one > self.shares().ease_of_one(owed)
    }

    /// Has a writer pause, because a flusher writes its mapping meanwhile, and while somebody else `takes` what it would write; returns whether
    /// it did.
    pub(crate) fn pause(&self, account: &Account, takes: impl Fn() -> bool) -> bool {
        let owed = self.owed(account);
        let (ease, now) = (self.shares().ease_of_one(owed), Instant::now());
        let speed = self.shares().speed(owed);
        let too_many = owed.by_one.saturating_sub(ease).div_ceil(account.weight);
        let Some(pause) = account.pace.pause(speed, too_many, self.pause_max, now) else {
            return false;
        };
        self.paused.add(1);
        let until = now + pause;
        let mut queues = self.queues.lock();
        while Instant::now() < until && account.debt() > ease && takes() {
            // Nobody wakes who is in no queue.
            let soon = Instant::now() + PAUSE_PART;
            account.changed.wait_until(&mut queues, until.min(soon));
        }
        true
    }
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttle").field("debt", &self.debt()).finish_non_exhaustive()
    }
}
