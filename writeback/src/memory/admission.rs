//! Keeping writers back while the stores take less than they dirty.
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
//!
//! Tasks do not wait in the queue (but for a piece that is left to a thread): they [sit](crate::accounts::seats) in a row, and a thread does for them what a writer does, pauses included.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::accounts::debt::Account;
use crate::accounts::queue::{Admission, Entering, Ticket};
use crate::accounts::seats::Seats;
use crate::error::{Error, Result, StoreError};
use crate::held;
use crate::modes::{Budget, SyncMode};
use crate::panics::contain;
use crate::primitives::{CHECKED, Instant, Ordering, thread};
use crate::rules::core::{Core, Mapping, Member};
use crate::rules::pass::Pass;

/// How long a waiting writer believes that what is under way will end, before it looks whether something
/// else could be written; and how often a page is tried in spite of its backing off.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// The same where nothing is under way.
const LOOK_AGAIN_SOON: Duration = Duration::from_millis(5);

/// How long a writer whose mapping owes nothing leaves the room to one that was let in before it.
const LONG: Duration = Duration::from_secs(1);

/// How long a thread that waits in the place of tasks waits for the next one.
const LINGER: Duration = Duration::from_millis(5);

/// So many pages a waiting writer writes back at a time.
const PUSH_PAGES: u64 = 256;

/// What a writer found that meant to write back itself.
enum Push {
    /// A write has been begun, or somebody is about to.
    UnderWay,
    /// Nothing of the mapping can be written; why, if an error is the reason.
    Nothing(Option<StoreError>),
}

impl Core {
    /// Admits a writer that is about to dirty the page at `index`; it keeps the admission until the page is dirty. The
    /// caller has no lock and no latch.
    ///
    /// # Errors
    /// `WouldBlock` instead of waiting; `Stalled` if nothing of the mapping can be written; what [`admit`](Self::admit) says.
    #[inline]
    pub(crate) fn admit_dirtier(&self, index: u64, may_wait: bool) -> Result<Admission<'_>> {
        let Some(member) = &*self.member else { return Ok(Admission::FREE) };
        if member.cache.has_images_beyond() {
            member.cache.make_up_for_images();
        }
        if member.cache.throttle.is_easy(&member.account) {
            return Ok(Admission::FREE);
        }
        self.admit_slowly(member, index, may_wait)
    }

    /// Waits until a page may become dirty, whichever.
    pub(crate) fn wait_for_room(&self) -> Result<()> {
        // No page has this index.
        self.admit_dirtier(u64::MAX, true).map(|_| ())
    }

    /// As [`admit_dirtier`](Self::admit_dirtier), for a task. `None`: it has to [wait its turn](Mapping::wait_for_turn).
    pub(crate) fn admit_task(&self, index: u64) -> Option<Admission<'_>> {
        let Some(member) = &*self.member else { return Some(Admission::FREE) };
        if member.cache.has_images_beyond() {
            member.cache.make_up_for_images();
        }
        let (throttle, account) = (&member.cache.throttle, &member.account);
        if throttle.is_easy(account) || self.is_dirty(index) || held::any() {
            return Some(Admission::FREE);
        }
        if !member.seats.is_empty() || self.wants_pause(member) {
            return None;
        }
        if throttle.has_room(account) {
            return Some(Admission::FREE);
        }
        throttle.try_enter(account).map(Admission::from)
    }

    /// Writers of the mapping are to slow down, and a flusher writes it meanwhile.
    fn wants_pause(&self, member: &Member) -> bool {
        member.cache.throttle.wants_pause(&member.account) && self.kick.has_flusher()
    }

    /// Slows a writer down.
    fn pause(&self, member: &Member) {
        let began = self.observers.now();
        if member.cache.throttle.pause(&member.account, || self.admits()) {
            self.observers.tell_since(began, |observer, took| observer.held_up(took));
        }
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
            if may_wait && !held::any() && self.wants_pause(member) {
                self.pause(member);
            }
            return Ok(Admission::FREE);
        }
        if let Some(ticket) = throttle.try_enter(&member.account) {
            return Ok(ticket.into()); // Nobody waits, but somebody that was let in is still on its way.
        }
        if !may_wait {
            return Err(Error::WouldBlock);
        }
        if held::any() {
            // What would make room may wait for what this thread has latched.
            return Ok(Admission::FREE);
        }
        let admitted = self.wait_in_queue(member, || self.is_dirty(index))?;
        Ok(admitted.map_or(Admission::FREE, Admission::from))
    }

    /// Waits until there is room for a page more; `None`: it is not needed any more.
    fn wait_in_queue<'s>(
        &self,
        member: &'s Member,
        is_over: impl Fn() -> bool,
    ) -> Result<Option<Ticket<'s>>> {
        let began = self.observers.now();
        let admitted = self.wait_for_turn_in_queue(member, is_over);
        self.observers.tell_since(began, |observer, took| observer.held_up(took));
        admitted
    }

    fn wait_for_turn_in_queue<'s>(
        &self,
        member: &'s Member,
        is_over: impl Fn() -> bool,
    ) -> Result<Option<Ticket<'s>>> {
        let (throttle, account) = (&member.cache.throttle, &*member.account);
        let ticket = throttle.queue_up(&member.account);
        let mut stall = Stall::begun(account);
        let mut impatient = false;
        // What has happened until now is noted first: what is found out below may be out of date by the time
        // it waits, but then something has happened since.
        while let Some(seen) = ticket.waits() {
            self.admit()?;
            self.check_process()?;
            if is_over() {
                return Ok(None);
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
            let waited_long = lasts >= LONG;
            if !owes
                && lasts >= throttle.stall_max.min(LOOK_AGAIN)
                && ticket.enter_anyway(waited_long)
            {
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
        Ok(Some(ticket))
    }

    /// What a writer does, in the place of a task; `None`: it is not needed any more.
    fn admit_for_task<'s>(
        &self,
        member: &'s Member,
        is_over: impl Fn() -> bool,
    ) -> Result<Option<Ticket<'s>>> {
        if self.wants_pause(member) {
            self.pause(member);
        }
        self.admit()?;
        match member.cache.throttle.try_enter(&member.account) {
            Some(ticket) => Ok(Some(ticket)),
            None => self.wait_in_queue(member, is_over),
        }
    }

    fn is_dirty(&self, index: u64) -> bool {
        self.tree.pin().get(index).is_some_and(|page| page.snapshot().is_dirty())
    }

    /// Writes back some of the mapping's pages on this thread, unless something of it is under way. An
    /// `impatient` writer, for whom nothing has happened for a while, does so all the same.
    fn push(&self, member: &Member, impatient: bool) -> Push {
        let throttle = &member.cache.throttle;
        // The debt first: if it is more than is dirty, somebody is about to end something, and says so, after this.
        let owed = member.account.debt() / member.account.weight;
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
            let mut pass = Pass::new(&mapping, SyncMode::Skip, Budget::pages(PUSH_PAGES));
            pass.one_despite_failures = true;
            mapping.write_on(pass).is_ok_and(|progress| {
                self.ensure_log(progress.log_wanted);
                progress.submitted > 0
            })
        })
    }
}

impl Mapping {
    /// Waits in the row of the mapping's tasks until a page may become dirty, which the caller then does at once; `None`: it is in no cache.
    ///
    /// # Errors
    /// As [`admit_dirtier`](Core::admit_dirtier); `Thread` if there is none that could wait in its place.
    ///
    /// # Panics
    /// If the store does, when a page is written to make room.
    pub(crate) async fn wait_for_turn(&self) -> Result<Option<Entering<Core>>> {
        let Some(member) = &*self.core.member else { return Ok(None) };
        // A fork has no thread that would serve.
        self.core.check_process()?;
        if CHECKED {
            let ticket = self.core.admit_for_task(member, || false)?;
            return Ok(ticket.map(|ticket| ticket.keep(member)));
        }
        let (sitting, is_needed) = member.seats.sit();
        if is_needed {
            let (seats, core) = (Arc::clone(&member.seats), Arc::downgrade(&self.core));
            let serve = move || serve_tasks(&seats, &core);
            if let Err(error) = thread::Builder::new().name("writeback".into()).spawn(serve) {
                let error = Arc::new(error);
                while let Some(last) = member.seats.last(Duration::ZERO) {
                    let refused = || Some(Err(Error::Thread(Arc::clone(&error))));
                    member.seats.give_all(last, refused);
                }
            }
        }
        let given = sitting.given().await;
        given.expect("a store does not panic when a page is written to make room").map(Some)
    }
}

/// Waits in the place of all tasks in the row, and lets them in one after the other, until there is none.
fn serve_tasks(seats: &Seats<Option<Result<Entering<Core>>>>, core: &Weak<Core>) {
    while let Some(last) = seats.last(LINGER) {
        // Who is in the row has the mapping, unless he was leaked.
        let Some(core) = core.upgrade() else { return };
        let admitted = contain(|| -> Result<_> {
            let Some(member) = &*core.member else { return Ok(None) };
            let ticket = core.admit_for_task(member, || seats.is_empty())?;
            Ok(ticket.map(|ticket| ticket.keep(member)))
        });
        // Before the task that may drop the mapping next goes on.
        drop(core);
        match admitted {
            Some(Ok(Some(entering))) => seats.give(Some(Ok(entering))),
            Some(Ok(None)) => {} // All have gone.
            // Those who came meanwhile have not waited for so long.
            Some(Err(error)) => seats.give_all(last, || Some(Err(error.clone()))),
            None => seats.give(None),
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
