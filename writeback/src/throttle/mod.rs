//! Keeping writers back while the stores take less than they dirty.
//!
//! # Debt, and who may add to it
//!
//! The *debt* of a cache is the number of its pages that are dirty, claimed or under writeback. (A page that is
//! dirtied again while it is written counts twice, as its image takes memory of its own.) Each mapping has
//! an [`Account`] of its own part. A page is charged in the section that makes it dirty, and discharged after the one
//! in which its write ends or that removes it; claim and redirtying change nothing.
//!
//! What each mapping may owe is in [`share`]: some of the limit is always left for a mapping that owes
//! little. So a store that is slow, failing, full or never answers uses up its mapping's share and no more,
//! and only the writers of that mapping wait, or are told, with the errors of that mapping.
//!
//! Up to the *background* limit nothing happens; beyond, the flushers are woken. From half way to the limit
//! on, the writers of a mapping that owes much pause, the longer the nearer, if a flusher writes meanwhile (without one
//! a pause would bring nothing); at their mapping's limit they wait.
//!
//! # Waiting
//!
//! A thread that waits holds nothing: admission comes before any lock and latch. Each mapping has a queue of its
//! waiting writers; what is discharged lets in those in front, one for each page, of whatever queue there is
//! room for. The word of the debt has a bit, WAITING, that says whether there is any queue, so that of a
//! writer that queues up and a discharge one sees the other: the writer sets the bit first and looks at the
//! debt afterwards, and a discharge that finds the bit set looks through the queues. A write that ends without discharging anything,
//! because it failed, and a mapping that closes or is poisoned, *nudge*: then the writers of that mapping look again.
//!
//! No flusher is needed: if nothing of its mapping is under way, a writer in the queue writes back itself,
//! pages of its own mapping only, one writer at a time. It never enters another mapping's store, which might not let it go.
//! So it waits for a write of its own mapping that has been begun, or for a place that another mapping gives up, or
//! nothing of its mapping can be written: then it waits for a limited time and gets an error. Before
//! that, one page is tried even if it backs off from an earlier failure, because the store may have recovered since. A
//! writer whose mapping owes nothing is never refused.

mod pace;
mod queue;
mod share;

use std::time::Duration;

use self::pace::Pace;
pub(crate) use self::queue::Admission;
use self::queue::Queues;
use self::share::{Owed, Shares};
use crate::config::CacheConfig;
use crate::error::{Error, Result, StoreError};
use crate::memory::{Inner, Member};
use crate::modes::{Budget, SyncMode};
use crate::primitives::{
    AtomicBool, AtomicU64, CHECKED, Condvar, CounterU64, HintU64, Instant, Mutex, Ordering, thread,
};
use crate::rules::core::Shared;
use crate::rules::pass::Pass;
use crate::stats::Counter;

/// The debt's WAITING bit: there is a queue, or a thread that watches for the end of a write.
const WAITING: u64 = 1 << 63;

/// How long a waiting writer believes that what is under way will end, before it looks whether something
/// else could be written; and how often a page is tried in spite of its backing off.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// The same where nothing is under way.
const LOOK_AGAIN_SOON: Duration = Duration::from_millis(5);

/// How long a thread that needs memory waits for a write to end.
const END_MAX: Duration = Duration::from_millis(100);

/// So many pages a waiting writer writes back at a time.
const PUSH_PAGES: u64 = 256;

/// The debt of a cache.
pub(crate) struct Throttle {
    word: AtomicU64,
    shares: Shares,
    stall_max: Duration,
    pause_max: Duration,
    queues: Mutex<Queues>,
    /// Mappings in the cache, and how many of them owe anything; the latter is off by a few for a moment.
    mappings: HintU64,
    owing: HintU64,
    /// The flushers have been woken and have not begun to look yet.
    kicked: AtomicBool,
    stalled: Counter,
    paused: Counter,
    written: Counter,
}

/// What one mapping owes, and where its writers wait.
#[derive(Debug, Default)]
pub(crate) struct Account {
    debt: CounterU64,
    /// Writers in the mapping's queue. A hint: who finds it zero need not queue up behind anybody.
    waiting: HintU64,
    changed: Condvar,
    pub(crate) pace: Pace,
    /// How often a page has been tried in spite of its backing off, and when last.
    tries: HintU64,
    tried: Mutex<Option<Instant>>,
}

impl Account {
    pub(crate) fn debt(&self) -> u64 {
        self.debt.load(Ordering::Acquire)
    }
}

/// What a writer found that meant to write back itself.
enum Push {
    /// A write has been begun, or somebody is about to.
    UnderWay,
    /// Nothing of the mapping can be written; why, if an error is the reason.
    Nothing(Option<StoreError>),
}

impl Throttle {
    pub(crate) fn new(config: &CacheConfig) -> Self {
        let (background, max) = (config.background_pages(), config.max_pages());
        let shares = Shares { background, max, capacity: config.capacity_pages };
        Self {
            word: AtomicU64::new(0),
            shares,
            stall_max: config.stall_max,
            pause_max: config.pause_max,
            queues: Mutex::new(Queues::default()),
            mappings: HintU64::new(0),
            owing: HintU64::new(0),
            kicked: AtomicBool::new(false),
            stalled: Counter::default(),
            paused: Counter::default(),
            written: Counter::default(),
        }
    }

    pub(crate) fn debt(&self) -> u64 {
        // Acquire: pairs with the discharges.
        self.word.load(Ordering::Acquire) & !WAITING
    }

    /// How much a mapping owes, beside the others.
    fn owed(&self, account: &Account) -> Owed {
        let by_one = account.debt();
        Owed { by_all: self.debt(), by_one, alone: self.mappings.load(Ordering::Relaxed) <= 1 }
    }

    /// No writer has to look at what its mapping owes, and none of this one's waits.
    #[inline]
    fn is_easy(&self, account: &Account) -> bool {
        // Relaxed: the limits are approximate, and a page or two beyond them do no harm.
        self.word.load(Ordering::Acquire) & !WAITING <= self.shares.easy()
            && account.waiting.load(Ordering::Relaxed) == 0
    }

    /// There is room for a page more of the mapping, and nobody waits for it.
    fn has_room(&self, account: &Account) -> bool {
        account.waiting.load(Ordering::Relaxed) == 0 && self.shares.admits(self.owed(account))
    }

    /// A page became dirty. Whoever was admitted may charge, and so may those that need no admission.
    pub(crate) fn charge(&self, account: &Account) {
        // The account first, as in `discharge` last: it is never less than its part of the word.
        if account.debt.fetch_add(1, Ordering::AcqRel) == 0 {
            self.owing.fetch_add(1, Ordering::Relaxed);
        }
        self.word.fetch_add(1, Ordering::AcqRel);
    }

    /// Pages are clean, or gone.
    pub(crate) fn discharge(&self, account: &Account, pages: u64) {
        let before = self.word.fetch_sub(pages, Ordering::AcqRel);
        debug_assert!(before & !WAITING >= pages, "I10: more discharged than was charged");
        // After the word, and before anybody is told: a writer that finds the account without this debt, and so
        // nothing under way, finds the room too.
        let owed = account.debt.fetch_sub(pages, Ordering::AcqRel);
        debug_assert!(owed >= pages, "I10: more discharged than the mapping was charged");
        if owed == pages && pages > 0 {
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
    fn somebody_waits(&self) -> bool {
        self.word.fetch_or(0, Ordering::AcqRel) & WAITING != 0
    }

    /// Whether a flusher is to write the mapping.
    pub(crate) fn is_over_background(&self, account: &Account) -> bool {
        // It falls below zero for a moment where a mapping is charged and discharged at the same time.
        let owing = self.owing.load(Ordering::Relaxed).cast_signed().max(1).unsigned_abs();
        self.shares.is_over_background(self.owed(account), owing)
    }

    /// Whether the flushers are to be woken: once, until they begin to look.
    fn wants_kick(&self) -> bool {
        self.debt() > self.shares.background && !self.kicked.swap(true, Ordering::AcqRel)
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
    fn wants_pause(&self, account: &Account) -> bool {
        let owed = self.owed(account);
        // Under a checker time stands still.
        !CHECKED && owed.by_one > self.shares.ease_of_one(owed)
    }

    /// Has a writer pause, because a flusher writes its mapping meanwhile; returns whether it did.
    fn pause(&self, account: &Account) -> bool {
        let owed = self.owed(account);
        let (ease, now) = (self.shares.ease_of_one(owed), Instant::now());
        let (speed, too_many) = (self.shares.speed(owed), owed.by_one.saturating_sub(ease));
        let Some(pause) = account.pace.pause(speed, too_many, self.pause_max, now) else {
            return false;
        };
        self.paused.add(1);
        let until = now + pause;
        let mut queues = self.queues.lock();
        while Instant::now() < until && account.debt() > ease {
            account.changed.wait_until(&mut queues, until);
        }
        true
    }
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttle").field("debt", &self.debt()).finish_non_exhaustive()
    }
}

impl Shared {
    /// Admits a writer that is about to dirty the page at `index`; it keeps the admission until the page is dirty. The
    /// caller has no lock and no latch.
    ///
    /// # Errors
    /// `WouldBlock` instead of waiting; `Stalled` if nothing of the mapping can be written; what [`admit`](Self::admit) says.
    #[inline]
    pub(crate) fn admit_dirtier(&self, index: u64, may_wait: bool) -> Result<Admission<'_>> {
        let Some(member) = &self.member else { return Ok(Admission::FREE) };
        if member.cache.throttle.is_easy(&member.account) {
            return Ok(Admission::FREE);
        }
        self.admit_slowly(member, index, may_wait)
    }

    #[cold]
    fn admit_slowly<'s>(
        &self,
        member: &'s Member,
        index: u64,
        may_wait: bool,
    ) -> Result<Admission<'s>> {
        let throttle = &member.cache.throttle;
        if self.is_dirty(index) {
            return Ok(Admission::FREE); // That costs nothing.
        }
        if throttle.has_room(&member.account) {
            if may_wait && throttle.wants_pause(&member.account) && self.kick.has_flusher() {
                let began = self.observers.now();
                if throttle.pause(&member.account) {
                    self.observers.tell_since(began, |observer, took| observer.held_up(took));
                }
            }
            return Ok(Admission::FREE);
        }
        if !may_wait {
            return Err(Error::WouldBlock);
        }
        let began = self.observers.now();
        let admitted = self.wait_in_queue(member, index);
        self.observers.tell_since(began, |observer, took| observer.held_up(took));
        admitted
    }

    fn wait_in_queue<'s>(&self, member: &'s Member, index: u64) -> Result<Admission<'s>> {
        let (throttle, account) = (&member.cache.throttle, &*member.account);
        let ticket = throttle.queue_up(&member.account);
        let mut stall = Stall::begun(account);
        let mut impatient = false;
        // What has happened until now is noted first: what is found out below may be out of date by the time
        // it waits, but then something has happened since.
        while let Some(seen) = ticket.waits() {
            self.admit()?;
            self.check_process()?;
            if self.is_dirty(index) {
                return Ok(Admission::FREE);
            }
            member.cache.kick_flushers();
            let Push::Nothing(source) = self.push(member, impatient) else {
                impatient = !ticket.wait(|now| now == seen, LOOK_AGAIN);
                continue;
            };
            // There may be room by now, or something to write. That others can write nothing either is no
            // reason to look again.
            let Some(now) = ticket.waits() else { break };
            if now.events != seen.events || self.try_one(member, &stall) {
                continue;
            }
            let (lasts, owes) = (stall.lasts(account), account.debt() > 0);
            if owes && lasts >= throttle.stall_max {
                return Err(Error::Stalled { source });
            }
            // The debt is that of others, and as much as there is room for.
            if !owes && lasts >= throttle.stall_max.min(LOOK_AGAIN) && ticket.enter_anyway() {
                break;
            }
            if CHECKED {
                // Time stands still, and a page may be locked for a moment only.
                thread::yield_now();
            } else {
                ticket.wait(|later| later.events == now.events, LOOK_AGAIN_SOON);
            }
        }
        self.admit()?;
        Ok(ticket.into())
    }

    fn is_dirty(&self, index: u64) -> bool {
        self.tree.pin().get(index).is_some_and(|page| page.snapshot().is_dirty())
    }

    /// Writes back some of the mapping's pages on this thread, unless something of it is under way. An
    /// `impatient` writer, for whom nothing has happened for a while, does so all the same.
    fn push(&self, member: &Member, impatient: bool) -> Push {
        let throttle = &member.cache.throttle;
        // The debt first: if it is more than is dirty, somebody is about to end something, and says so, after this.
        let owed = member.account.debt();
        if !impatient && owed > self.counters.dirty.get() {
            return Push::UnderWay;
        }
        let Some(_pushing) = throttle.begin_push(&member.account, impatient) else {
            return Push::UnderWay;
        };
        let Some(mapping) = member.mapping() else { return Push::Nothing(None) };
        let mut reason = None;
        // Twice: once to the end and once from the beginning.
        for _ in 0..2 {
            match mapping.write_cyclic(Budget::pages(PUSH_PAGES)) {
                Ok(progress) if progress.submitted > 0 => return Push::UnderWay,
                // The pages must wait for the log, and then one more pass is made.
                Ok(progress) => _ = self.ensure_log(progress.log_wanted),
                Err(error) => reason = error.source_error().cloned().or(reason),
            }
        }
        if impatient && owed > self.counters.dirty.get() {
            return Push::UnderWay;
        }
        Push::Nothing(reason.or_else(|| self.errors.latest_after(0)))
    }

    /// Writes one page, even if it backs off from an earlier failure, if it is time to; returns whether there was one.
    fn try_one(&self, member: &Member, stall: &Stall) -> bool {
        let (Some(_pushing), Some(mapping)) =
            (member.cache.throttle.begin_push(&member.account, true), member.mapping())
        else {
            return false;
        };
        if !stall.wants_try(&member.account) {
            return false;
        }
        // Twice, as in `push`.
        (0..2).any(|_| {
            let mut pass = Pass::new(&mapping, SyncMode::None, Budget::pages(PUSH_PAGES));
            pass.one_despite_failures = true;
            mapping.write_on(pass).is_ok_and(|progress| {
                self.ensure_log(progress.log_wanted);
                progress.submitted > 0
            })
        })
    }

    /// A page of this mapping became dirty, in the section that made it so.
    pub(crate) fn charge(&self) {
        if let Some(member) = &self.member {
            member.cache.throttle.charge(&member.account);
        }
    }

    /// After that: wakes the flushers if there is too much.
    pub(crate) fn consider_kick(&self) {
        if let Some(member) = &self.member {
            member.cache.kick_flushers();
        }
    }

    /// The mapping has enough of its cache's debt that a flusher is to write it.
    pub(crate) fn is_in_debt(&self) -> bool {
        self.member
            .as_ref()
            .is_some_and(|member| member.cache.throttle.is_over_background(&member.account))
    }

    /// Pages of this mapping are clean, or gone. Not within a section, and not under a latch.
    pub(crate) fn discharge(&self, pages: u64) {
        if let Some(member) = &self.member {
            member.cache.throttle.discharge(&member.account, pages);
        }
    }

    /// A batch of the mapping is about to be handed to the store.
    pub(crate) fn batch_begun(&self) {
        if let Some(member) = &self.member {
            member.account.pace.begun();
        }
    }

    /// It has ended, with so many pages written well.
    pub(crate) fn batch_ended(&self, well: u64) {
        if let Some(member) = &self.member {
            member.account.pace.ended(well);
        }
    }

    /// A page has been written well.
    pub(crate) fn count_written(&self) {
        if let Some(member) = &self.member {
            member.cache.throttle.written.add(1);
        }
    }

    /// A claim was given up: the page can be written again, by whoever found nothing to write.
    pub(crate) fn claim_given_up(&self) {
        if let Some(member) = &self.member
            && member.cache.throttle.somebody_waits()
        {
            member.cache.throttle.given_up(&member.account);
        }
    }

    /// Has the mapping's waiting writers look again.
    pub(crate) fn nudge_writers(&self) {
        if let Some(member) = &self.member {
            member.cache.throttle.nudge(&member.account);
        }
    }
}

impl Inner {
    fn kick_flushers(&self) {
        if self.throttle.wants_kick() {
            self.wake_flushers();
        }
    }
}

/// How long a waiting writer has found nothing to write.
struct Stall {
    since: Option<Instant>,
    written: u64,
    tries: u64,
}

impl Stall {
    fn begun(account: &Account) -> Self {
        let tries = account.tries.load(Ordering::Relaxed);
        Self { since: None, written: account.pace.written.get(), tries }
    }

    /// Since when nothing of the mapping has been written, and nothing could be.
    fn lasts(&mut self, account: &Account) -> Duration {
        let written = account.pace.written.get();
        if std::mem::replace(&mut self.written, written) != written {
            self.since = None;
        }
        self.since.get_or_insert_with(Instant::now).elapsed()
    }

    /// Whether a page is to be tried that backs off: once since this writer waits, and now and then. Says so
    /// to one writer only.
    fn wants_try(&self, account: &Account) -> bool {
        let mut tried = account.tried.lock();
        let due = tried.is_none_or(|tried| tried.elapsed() >= LOOK_AGAIN);
        if account.tries.load(Ordering::Relaxed) != self.tries && !due {
            return false;
        }
        *tried = Some(Instant::now());
        account.tries.fetch_add(1, Ordering::Relaxed);
        true
    }
}
