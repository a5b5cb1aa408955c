//! Keeping writers back while the store takes less than they dirty.
//!
//! One number decides when the flusher is woken and when a writer waits: the *debt* of a cache, its pages
//! that are dirty, claimed or under writeback. (A page that is dirtied again while it is written counts
//! twice, as its image takes memory of its own.) A page is charged in the section that makes it dirty and
//! discharged after the one in which its write ends, or that removes it; what passes it on in between, claim
//! and redirtying, changes nothing. Up to the *background* limit nothing happens; beyond, the flusher is
//! woken. From half way to the limit on, writers pause, the longer the nearer; at the limit they wait.
//!
//! Whoever waits holds nothing: admission comes before any lock and latch. Writers wait in a line; what is
//! discharged lets in those in front, one for each page. The line's WAITING bit is in the same word as the
//! debt, so that of a writer who lines up and a discharge one sees the other. Who ends a write without
//! discharging anything, because it failed, and who closes or poisons, *nudges*: then everybody in the line
//! looks again.
//!
//! No flusher is needed: if nothing is under way, a writer in the line writes back itself, one at a time. So
//! a wait is always for a write that has been begun, and that ends; or nothing can be written, and then it
//! is for a limited time and an error.

use std::collections::VecDeque;
use std::time::Duration;

use crate::cache::Inner;
use crate::config::CacheConfig;
use crate::error::{Error, Result, StoreError};
use crate::mapping::Mapping;
use crate::primitives::{
    AtomicBool, AtomicU64, CHECKED, Condvar, Instant, Mutex, Ordering, thread,
};
use crate::shared::Shared;
use crate::stats::Counter;
use crate::sync::Budget;

/// Somebody waits in the line. The rest of the word is the debt.
const WAITING: u64 = 1 << 63;

/// How long a writer that may have to write back itself waits before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// The same, while nothing can be written.
const LOOK_AGAIN_SOON: Duration = Duration::from_millis(5);

/// How long who needs a page waits at most for the end of a write that will make room.
const END_MAX: Duration = Duration::from_millis(100);

/// Most pages that a waiting writer writes back at a time.
const PUSH_PAGES: u64 = 256;

/// The line of a cache's writers, and its debt.
pub(crate) struct Throttle {
    word: AtomicU64,
    background: u64,
    max: u64,
    stall_max: Duration,
    line: Mutex<Line>,
    /// The line has moved, or there is reason to look again.
    changed: Condvar,
    /// The flusher has been told, and has not begun.
    kicked: AtomicBool,
    stalled: Counter,
    pub(crate) pace: Pace,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<u64>,
    next: u64,
    /// Let in from the line, and not yet done with the page.
    entering: u64,
    seen: Seen,
    /// Somebody from the line is writing back.
    pushing: bool,
    /// Those who only want to know of the next event.
    watching: u64,
}

/// What those in the line go by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    /// How often there was reason to look again.
    events: u64,
    /// How often somebody who might have begun a write did not, or has ended to begin some, or has dirtied
    /// the page that it was let in for.
    given_up: u64,
}

/// A place in the line; once it is not in there any more, the right to dirty a page.
#[derive(Debug)]
struct Place<'t> {
    throttle: &'t Throttle,
    number: u64,
}

/// Leave to dirty one page. Kept until that is done.
#[derive(Debug)]
#[must_use = "it is kept until the page is dirty"]
pub(crate) struct Admission<'t>(#[expect(dead_code, reason = "for its drop")] Option<Place<'t>>);

/// What a waiting writer found that could be done.
enum Push {
    /// Writes are under way, or somebody else is beginning some: there will be an event.
    UnderWay,
    /// Nothing can be written now; the latest reason for that.
    Nothing(Option<StoreError>),
}

impl Throttle {
    pub(crate) fn new(config: &CacheConfig) -> Self {
        Self {
            word: AtomicU64::new(0),
            background: config.background_pages(),
            max: config.max_pages(),
            stall_max: config.stall_max,
            line: Mutex::new(Line::default()),
            changed: Condvar::new(),
            kicked: AtomicBool::new(false),
            stalled: Counter::default(),
            pace: Pace::new(config.pause_max),
        }
    }

    /// Pages dirty, claimed or under writeback.
    pub(crate) fn debt(&self) -> u64 {
        self.word.load(Ordering::Acquire) & !WAITING
    }

    /// From here on writers pause.
    fn ease(&self) -> u64 {
        self.background.midpoint(self.max)
    }

    /// There is no reason to look any closer. For the limits above all: a page or two more do no harm.
    fn is_easy(&self) -> bool {
        let word = self.word.load(Ordering::Acquire);
        word < self.max && word <= self.ease()
    }

    /// There is room, and nobody waits for it.
    fn has_room(&self) -> bool {
        self.word.load(Ordering::Acquire) < self.max
    }

    /// A page became dirty. In its section: before anybody can discharge it.
    pub(crate) fn charge(&self) {
        self.word.fetch_add(1, Ordering::AcqRel);
    }

    /// Pages were written, or dropped; after the section in which that is seen.
    pub(crate) fn discharge(&self, pages: u64) {
        let before = self.word.fetch_sub(pages, Ordering::AcqRel);
        debug_assert!(before & !WAITING >= pages, "I10: more discharged than was charged");
        if before & WAITING != 0 {
            self.look_again();
        }
    }

    /// Something else happened that those in the line must know.
    pub(crate) fn nudge(&self) {
        // A change of the word that changes nothing: of this and of who lines up one sees the other.
        if self.word.fetch_or(0, Ordering::AcqRel) & WAITING != 0 {
            self.look_again();
        }
    }

    #[cold]
    fn look_again(&self) {
        let mut line = self.line.lock();
        line.seen.events += 1;
        self.let_in(&mut line);
        drop(line);
        self.changed.notify_all();
    }

    /// Whether the caller is to write back. `false`: somebody else does, or is about to dirty a page and
    /// will say so; its page may be locked until then.
    fn begin_push(&self) -> bool {
        let mut line = self.line.lock();
        let begins = line.entering == 0 && !line.pushing;
        line.pushing |= begins;
        begins
    }

    /// Who was writing back is not any more.
    fn push_ended(&self) {
        self.line.lock().pushing = false;
        self.given_up();
    }

    /// What looked like a write to come was none.
    #[cold]
    fn given_up(&self) {
        self.line.lock().seen.given_up += 1;
        self.changed.notify_all();
    }

    /// Lets in from the front as many as there is room for.
    fn let_in(&self, line: &mut Line) {
        while self.debt() + line.entering < self.max && line.waiting.pop_front().is_some() {
            line.entering += 1;
            self.changed.notify_all();
        }
        if line.waiting.is_empty() && line.watching == 0 {
            self.word.fetch_and(!WAITING, Ordering::AcqRel);
        }
    }

    /// Lines up.
    fn line_up(&self) -> Place<'_> {
        self.stalled.add(1);
        let mut line = self.line.lock();
        let number = line.next;
        line.next += 1;
        line.waiting.push_back(number);
        // Announced first, then looked at, as by a sleeper of `wait`.
        self.word.fetch_or(WAITING, Ordering::AcqRel);
        self.let_in(&mut line);
        Place { throttle: self, number }
    }

    /// Waits a little for the end of a write.
    pub(crate) fn wait_for_an_end(&self) {
        // Under a checker time stands still.
        if CHECKED {
            return;
        }
        let until = Instant::now() + END_MAX;
        let mut line = self.line.lock();
        line.watching += 1;
        self.word.fetch_or(WAITING, Ordering::AcqRel);
        let seen = line.seen.events;
        while line.seen.events == seen && Instant::now() < until {
            self.changed.wait_until(&mut line, until);
        }
        line.watching -= 1;
        self.let_in(&mut line);
    }

    /// How many writers wait, and how many have waited.
    pub(crate) fn stalled(&self) -> (u64, u64) {
        (self.line.lock().waiting.len() as u64, self.stalled.get())
    }

    /// There is more than the flusher is to leave.
    pub(crate) fn is_over_background(&self) -> bool {
        self.debt() > self.background
    }

    /// Whether the caller is the first, since the flusher began, to see that it has to.
    pub(crate) fn wants_kick(&self) -> bool {
        self.is_over_background() && !self.kicked.swap(true, Ordering::AcqRel)
    }

    /// A flusher begins its round, or there is a new one. What is charged from now on kicks again.
    pub(crate) fn kick_taken(&self) {
        // A swap: who finds it set has charged before, and the flusher sees that.
        self.kicked.swap(false, Ordering::AcqRel);
    }
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttle").field("debt", &self.debt()).finish_non_exhaustive()
    }
}

impl Place<'_> {
    /// `None`: it has been let in. Whoever makes room may not have come so far as to say so.
    fn waits(&self) -> Option<Seen> {
        let mut line = self.throttle.line.lock();
        self.throttle.let_in(&mut line);
        line.waiting.contains(&self.number).then_some(line.seen)
    }

    /// Waits while there is no news, until it is let in or it is time to look again.
    fn wait(&self, no_news: impl Fn(Seen) -> bool, again: Duration) {
        let until = Instant::now() + again;
        let mut line = self.throttle.line.lock();
        while no_news(line.seen) && line.waiting.contains(&self.number) && Instant::now() < until {
            self.throttle.changed.wait_until(&mut line, until);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut line = self.throttle.line.lock();
        match line.waiting.iter().position(|number| *number == self.number) {
            Some(at) => _ = line.waiting.remove(at),
            None => {
                line.entering -= 1;
                line.seen.given_up += 1;
            }
        }
        // It may not have dirtied anything: then the next one can.
        self.throttle.let_in(&mut line);
        drop(line);
        self.throttle.changed.notify_all();
    }
}

impl Shared {
    /// Leave to dirty the page at `index`, which the caller has no lock or latch of yet.
    ///
    /// # Errors
    /// `WouldBlock` if it would have to wait and may not; `Stalled`, `Closed`, `Poisoned`.
    pub(crate) fn admit_dirtier(&self, index: u64, may_wait: bool) -> Result<Admission<'_>> {
        let Some(member) = &self.member else { return Ok(Admission(None)) };
        if member.cache.throttle.is_easy() {
            return Ok(Admission(None));
        }
        self.admit_slowly(&member.cache, index, may_wait)
    }

    #[cold]
    fn admit_slowly<'s>(
        &self,
        cache: &'s Inner,
        index: u64,
        may_wait: bool,
    ) -> Result<Admission<'s>> {
        let throttle = &cache.throttle;
        if self.is_dirty(index) {
            return Ok(Admission(None)); // That costs nothing.
        }
        if throttle.has_room() {
            if may_wait {
                let began = self.observers.now();
                if throttle.pause() {
                    self.observers.tell_since(began, |observer, took| observer.held_up(took));
                }
            }
            return Ok(Admission(None));
        }
        if !may_wait {
            return Err(Error::WouldBlock);
        }
        let began = self.observers.now();
        let admitted = self.wait_in_line(cache, index);
        self.observers.tell_since(began, |observer, took| observer.held_up(took));
        admitted
    }

    fn wait_in_line<'s>(&self, cache: &'s Inner, index: u64) -> Result<Admission<'s>> {
        let throttle = &cache.throttle;
        let place = throttle.line_up();
        let (mut nothing_since, mut written) = (None, throttle.pace.written.get());
        // What has happened until now comes first: what is found out below may be out of date by the time
        // it waits, but then something has happened since.
        while let Some(seen) = place.waits() {
            self.admit()?;
            if self.is_dirty(index) {
                return Ok(Admission(None));
            }
            cache.kick_flushers();
            let Push::Nothing(source) = cache.push() else {
                place.wait(|now| now == seen, LOOK_AGAIN);
                continue;
            };
            // There may be room by now, or something to write. That others can write nothing either is no
            // reason to look again.
            let Some(now) = place.waits() else { break };
            if now.events != seen.events {
                continue;
            }
            let written_now = throttle.pace.written.get();
            if std::mem::replace(&mut written, written_now) != written_now {
                nothing_since = None;
            }
            let since = *nothing_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= throttle.stall_max {
                return Err(Error::Stalled { source });
            }
            if CHECKED {
                // Time stands still, and a page may be locked for a moment only.
                thread::yield_now();
            } else {
                place.wait(|later| later.events == now.events, LOOK_AGAIN_SOON);
            }
        }
        self.admit()?;
        Ok(Admission(Some(place)))
    }

    fn is_dirty(&self, index: u64) -> bool {
        self.tree.pin().get(index).is_some_and(|page| page.snapshot().is_dirty())
    }

    /// The page is dirty and was not.
    pub(crate) fn charge(&self) {
        if let Some(member) = &self.member {
            member.cache.throttle.charge();
        }
    }

    /// The flusher is to know that a page was charged.
    pub(crate) fn consider_kick(&self) {
        if let Some(member) = &self.member
            && member.cache.throttle.wants_kick()
        {
            member.cache.wake_flushers();
        }
    }

    /// The flusher knows what was charged until now.
    pub(crate) fn kick_taken(&self) {
        if let Some(member) = &self.member {
            member.cache.throttle.kick_taken();
        }
    }

    /// Its cache has more debt than it is to have for long.
    pub(crate) fn is_in_debt(&self) -> bool {
        self.member.as_ref().is_some_and(|member| member.cache.throttle.is_over_background())
    }

    /// A page was written or dropped, and nobody has dirtied it since.
    pub(crate) fn discharge(&self, pages: u64) {
        if let Some(member) = &self.member {
            member.cache.throttle.discharge(pages);
        }
    }

    /// A page was written well, if so.
    pub(crate) fn count_written(&self, well: bool) {
        if let Some(member) = &self.member
            && well
        {
            member.cache.throttle.pace.written.add(1);
        }
    }

    /// A claim is over and the page is dirty again: there will be no end of a write.
    pub(crate) fn claim_given_up(&self) {
        if let Some(member) = &self.member {
            let throttle = &member.cache.throttle;
            // As in `nudge`.
            if throttle.word.fetch_or(0, Ordering::AcqRel) & WAITING != 0 {
                throttle.given_up();
            }
        }
    }

    /// Writers that wait are to look again.
    pub(crate) fn nudge_writers(&self) {
        if let Some(member) = &self.member {
            member.cache.throttle.nudge();
        }
    }
}

impl Inner {
    fn kick_flushers(&self) {
        if self.throttle.wants_kick() {
            self.wake_flushers();
        }
    }

    #[cold]
    fn wake_flushers(&self) {
        for mapping in self.members() {
            mapping.shared.kick.wake();
        }
    }

    /// Has something written back, unless a write is under way already.
    fn push(&self) -> Push {
        /// Ends a push, also if a store panics, and says so.
        struct Pushing<'t>(&'t Throttle);
        impl Drop for Pushing<'_> {
            fn drop(&mut self) {
                self.0.push_ended();
            }
        }
        // The debt first: if it is more than is dirty, somebody is about to end something, and does so, and
        // says so, after this.
        let debt = self.throttle.debt();
        let members = self.members();
        let dirty: u64 = members.iter().map(Mapping::dirty).sum();
        if debt > dirty || !self.throttle.begin_push() {
            return Push::UnderWay;
        }
        let _pushing = Pushing(&self.throttle);
        let mut reason = None;
        for mapping in &members {
            // Twice: once to the end and once from the beginning.
            for _ in 0..2 {
                match mapping.write_cyclic(Budget::pages(PUSH_PAGES)) {
                    Ok(progress) if progress.submitted > 0 => return Push::UnderWay,
                    // The pages must wait for the log, and then one more pass is made.
                    Ok(progress) => _ = mapping.shared.ensure_log(progress.log_wanted),
                    Err(error) => reason = error.source_error().cloned().or(reason),
                }
            }
            if mapping.dirty() > 0 {
                reason = reason.or_else(|| mapping.shared.errors.latest_after(0));
            }
        }
        Push::Nothing(reason)
    }
}

/// How fast the store takes pages, and how long writers pause so that they dirty no more than that.
#[derive(Debug)]
pub(crate) struct Pace {
    pause_max: Duration,
    /// Pages whose write has ended well.
    pub(crate) written: Counter,
    paused: Counter,
    rate: Mutex<Rate>,
}

#[derive(Debug, Default)]
struct Rate {
    /// Pages a second; 0: not known yet.
    pages: f64,
    since: Option<Instant>,
    written_then: u64,
    /// When the next page may be dirtied.
    next: Option<Instant>,
}

/// Over what time the rate is taken.
const WINDOW: Duration = Duration::from_millis(200);
/// Pauses shorter than this are put off until there are enough of them.
const PAUSE_MIN: Duration = Duration::from_millis(1);

impl Pace {
    fn new(pause_max: Duration) -> Self {
        let (written, paused) = (Counter::default(), Counter::default());
        Self { pause_max, written, paused, rate: Mutex::new(Rate::default()) }
    }

    pub(crate) fn paused(&self) -> u64 {
        self.paused.get()
    }

    /// How long the writer of one page more is to pause, if writers are to have `share` of the store's rate.
    fn pause(&self, share: f64, now: Instant) -> Duration {
        let mut rate = self.rate.lock();
        rate.measure(now, self.written.get());
        if rate.pages <= 0.0 {
            return Duration::ZERO;
        }
        let apart = 1.0 / (rate.pages * share).max(1e-9);
        let apart = Duration::from_secs_f64(apart.min(self.pause_max.as_secs_f64()));
        // Who was idle has no credit from before.
        let next = rate.next.map_or(now, |next| next.max(now)) + apart;
        rate.next = Some(next);
        next.duration_since(now).min(self.pause_max)
    }
}

impl Rate {
    fn measure(&mut self, now: Instant, written: u64) {
        let since = *self.since.get_or_insert(now);
        let passed = now.duration_since(since);
        if passed < WINDOW {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let pages = (written - self.written_then) as f64 / passed.as_secs_f64();
        self.pages = if self.pages > 0.0 { (3.0 * self.pages + pages) / 4.0 } else { pages };
        (self.since, self.written_then) = (Some(now), written);
    }
}

impl Throttle {
    /// What writers are to have of the store's rate: all of it half way between ease and limit, twice as
    /// much at ease, nothing at the limit.
    fn share(&self, debt: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let [debt, ease, max] = [debt, self.ease(), self.max].map(|pages| pages as f64);
        let middle = f64::midpoint(ease, max);
        let off = (middle - debt) / (max - middle).max(0.5);
        (1.0 + off.powi(3)).clamp(0.0, 2.0)
    }

    /// Pauses, the longer the nearer the limit; less if the line is nudged meanwhile. Returns whether it did.
    fn pause(&self) -> bool {
        // Under a checker time stands still.
        if CHECKED {
            return false;
        }
        let now = Instant::now();
        let pause = self.pace.pause(self.share(self.debt()), now);
        if pause < PAUSE_MIN {
            return false;
        }
        self.pace.paused.add(1);
        let mut line = self.line.lock();
        let until = now + pause;
        while Instant::now() < until && self.debt() > self.ease() {
            self.changed.wait_until(&mut line, until);
        }
        true
    }
}
