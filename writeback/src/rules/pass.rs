//! A pass: one ascending walk over tagged pages that claims and submits what it finds.
//!
//! It submits in batches of pages that lie side by side. Mode `Skip` goes by what it would have to
//! wait for; mode `Wait` waits, but first submits what it has: a page that is under writeback and not
//! submitted must not be kept while anything is waited for, or two passes could wait for each other.
//!
//! A page is visited without waiting; what it would have to wait for is handed back as [`Stuck`]. To wait for that and finish is a future, which a
//! thread polls once. It keeps no lock meanwhile, so a task that is not polled keeps nobody else from the page, with one exception: of a page that another writer
//! holds it keeps the claim, which is what keeps the next one off. A task that is dropped there drops the claim with it, which is as if
//! somebody had locked the page and let go: it is dirty, with all its tags.
//!
//! Whoever waits without the lock may find the page changed and written again each time it comes. It need not go on: a write that was claimed since it looked at the
//! page has everything that the page had by then, and leaves it dirty only if it was changed since. A write that has merely begun since may leave it dirty with what
//! it has stored: what was changed between its claim and the look is in its image, and a sync would say that all is durable, and the page be written once more later,
//! over what another process has written meanwhile. One claim may be open at the look, and gets the next ticket, if any; later tickets are of later claims. So
//! the second write that begins after the look is enough; and the next one, if the page was seen under writeback with its lock in hand, when no claim is open. The look is the
//! first one, and stays it, however often the page's lock is found taken, or its latch when a task comes. What the lock is needed for at the end is said below;
//! it is free between any two writes.
//!
//! Of a page of several blocks a write may leave out those that are held; there it is the last that has left out none, by the same tickets.

use std::sync::Arc;

use crate::error::StoreError;
use crate::hooks::trace;
use crate::index::range::Inclusive;
use crate::index::walk;
use crate::modes::{Budget, Progress, SyncMode};
use crate::pages::Page;
use crate::pages::tag::PageTag;
use crate::primitives::{Ordering, lasts};
use crate::rules::claim::Claim;
use crate::rules::core::Mapping;
use crate::rules::locked::LockedPage;
use crate::rules::page_ref::{Latched, PageRef};
use crate::rules::writeback::{Verdict, Writeback};
use crate::wait::now;

/// What keeps a pass in mode `Wait` from going on.
pub(crate) enum Stuck {
    /// Somebody has the page lock.
    Locked(PageRef),
    UnderWriteback(PageRef),
    /// Another writer has some of the page.
    Held(Claim),
    /// A task's: somebody has the latch, perhaps for long, or the log [is wanted](Progress::log_wanted).
    Latched(PageRef),
}

/// One pass in the making.
pub(crate) struct Pass<'m> {
    mapping: &'m Mapping,
    mode: SyncMode,
    /// It is a task's, which waits for no latch that somebody has.
    pub(crate) in_task: bool,
    /// The last write of the page that is visited that may have been claimed before it was looked at.
    seen: u64,
    budget: u64,
    /// Only pages dirty since this clock time or longer.
    pub(crate) dirty_by_ms: u64,
    /// One page, and that also if it backs off from a failed write.
    pub(crate) one_despite_failures: bool,
    batch: Vec<Writeback>,
    batch_end: u64,
    /// Where the writes of this pass tell what they fail with.
    pub(crate) verdict: Option<Arc<Verdict>>,
    pub(crate) progress: Progress,
}

impl<'m> Pass<'m> {
    pub(crate) fn new(mapping: &'m Mapping, mode: SyncMode, budget: Budget) -> Self {
        let budget = match mode {
            SyncMode::Skip => budget.pages,
            SyncMode::Wait => u64::MAX,
        };
        Self {
            mapping,
            mode,
            in_task: false,
            seen: 0,
            budget,
            dirty_by_ms: u64::MAX,
            one_despite_failures: false,
            batch: Vec::new(),
            batch_end: 0,
            verdict: None,
            progress: Progress::default(),
        }
    }

    /// Visits the pages with `tag`. Returns where it stopped, if the budget was used up first.
    pub(crate) fn walk(&mut self, range: Inclusive, tag: PageTag) -> Option<u64> {
        let _span = trace::pass(self.mode);
        let mut stopped = None;
        for (index, page) in walk(&self.mapping.core.tree, range, tag) {
            if self.budget == 0 || self.has_its_one() {
                stopped = Some(index);
                break;
            }
            self.visit(page);
        }
        self.finish();
        stopped
    }

    fn has_its_one(&self) -> bool {
        self.one_despite_failures && self.progress.submitted > 0
    }

    /// Submits what is left, and accounts for what was not written.
    pub(crate) fn finish(&mut self) {
        self.submit();
        let (core, progress) = (&self.mapping.core, self.progress);
        core.counters.declined.add(progress.declined);
        core.counters.skipped.add(progress.skipped);
        core.counters.unlogged.add(progress.unlogged);
        if let Some(order) = core.order.as_ref().filter(|_| progress.unlogged > 0) {
            order.request(progress.log_wanted);
        }
    }

    pub(crate) fn visit(&mut self, page: Arc<Page>) {
        if let Err(stuck) = self.try_visit(page) {
            self.wait_and_finish(stuck);
        }
    }

    #[cold]
    fn wait_and_finish(&mut self, stuck: Stuck) {
        now(self.finish_visit(stuck));
    }

    /// Visits a page without waiting.
    pub(crate) fn try_visit(&mut self, page: Arc<Page>) -> Result<(), Stuck> {
        // `None`: it is leaving the index, and so was written, or is being cut.
        let Some(page) = PageRef::of_found(self.mapping, page) else { return Ok(()) };
        self.seen = page.ticket() + 1; // One may have been claimed by now.
        if self.mode == SyncMode::Skip && self.goes_by(&page) {
            self.progress.skipped += 1;
            return Ok(());
        }
        self.try_lock(page)
    }

    /// Waits for what keeps the pass from going on, as often as it takes to decide the page. What the pass has in hand it submits before.
    /// Returns a task's page whose latch somebody has, or that is ahead of the log.
    pub(crate) async fn finish_visit(&mut self, mut stuck: Stuck) -> Option<PageRef> {
        loop {
            self.submit();
            let visited = match stuck {
                Stuck::Locked(page) => {
                    page.until(|state| !state.is_locked()).await;
                    self.visit_again(page)
                }
                Stuck::UnderWriteback(page) => {
                    page.ended(page.ticket()).await;
                    self.visit_again(page)
                }
                Stuck::Held(claim) => {
                    claim.page().released(claim.page().all_blocks()).await;
                    self.try_write(claim)
                }
                Stuck::Latched(page) => return Some(page),
            };
            match visited {
                Ok(()) => return None,
                Err(again) => stuck = again,
            }
        }
    }

    /// Visits the page that it has been waiting for.
    pub(crate) fn visit_again(&mut self, page: PageRef) -> Result<(), Stuck> {
        // With the lock, which is had from before a write begins until its tag is there for whoever waits for it then.
        let complete = page.blocks.as_ref().map(|sets| sets.complete.load(Ordering::Acquire));
        let begun = complete.unwrap_or_else(|| page.ticket());
        let has_begun = begun > self.seen;
        if has_begun && page.try_lock_state().is_some() { Ok(()) } else { self.try_lock(page) }
    }

    /// Mode `Skip`: not now.
    fn goes_by(&self, page: &Page) -> bool {
        let state = page.snapshot();
        let core = &self.mapping.core;
        state.is_under_writeback()
            || page.first_dirty_ms() > self.dirty_by_ms
            || (!self.one_despite_failures && core.backs_off(page, state, core.clock.now_ms()))
    }

    fn try_lock(&mut self, page: PageRef) -> Result<(), Stuck> {
        if let Some(locked) = page.try_lock_state() {
            // It may have come under writeback since it was looked at; or somebody changes it, for longer than a copy takes.
            let page = locked.page();
            let changed = || lasts(|| page.contents.is_locked_exclusive());
            if self.mode == SyncMode::Wait || !(page.snapshot().is_under_writeback() || changed()) {
                return self.claim(locked);
            }
        } else if self.mode == SyncMode::Wait {
            // If not, it was truncated away, and nothing was promised about it any more.
            return if page.snapshot().is_mapped() { Err(Stuck::Locked(page)) } else { Ok(()) };
        }
        self.progress.skipped += 1;
        Ok(())
    }

    fn claim(&mut self, locked: LockedPage) -> Result<(), Stuck> {
        if locked.page().snapshot().is_under_writeback() {
            // With the lock in hand: no claim is open.
            self.seen = self.seen.min(locked.page().ticket());
            return Err(Stuck::UnderWriteback(locked.page().clone()));
        }
        // `Err`: clean. Whoever wrote it began that before the lock was free, so that waiting for
        // the WRITEBACK tag afterwards covers it.
        locked.clear_dirty_for_io().map_or(Ok(()), |claim| self.try_write(claim))
    }

    /// Decides a claim.
    pub(crate) fn write(&mut self, claim: Claim) {
        if let Err(stuck) = self.try_write(claim) {
            self.wait_and_finish(stuck);
        }
    }

    fn try_write(&mut self, claim: Claim) -> Result<(), Stuck> {
        self.budget = self.budget.saturating_sub(1);
        let durable = self.mapping.core.order.as_ref().map(|order| order.durable());
        if self.mode == SyncMode::Skip && self.is_ahead_of_log(claim.page(), durable) {
            claim.redirty();
            self.progress.unlogged += 1;
            return Ok(());
        }
        if self.in_task {
            let page = claim.page().clone();
            if let Some(latch) = page.contents.try_write()
                && !self.is_ahead_of_log(&page, durable)
            {
                return self.start(claim, Some(latch)); // What comes later is not in the image.
            }
            claim.redirty();
            return Err(Stuck::Latched(page));
        }
        if claim.page().contents.is_locked() {
            self.submit(); // Its image is waited for, perhaps for long, and others may wait for these.
        }
        self.start(claim, None)
    }

    /// Starts the write of a page, whose latch the caller may have.
    fn start(&mut self, claim: Claim, latch: Latched<'_>) -> Result<(), Stuck> {
        let (mut writes, verdict) = (false, self.verdict.clone());
        let started = claim.start_pieces(self.mode, latch, |mut piece| {
            writes |= piece.len() > 0;
            piece.tell(verdict.as_ref());
            self.push(piece);
        });
        let declined = match started {
            Ok(declined) => declined,
            Err(held) if self.mode == SyncMode::Skip => {
                // Dirty again whether or not there seems to be anything left to write: the other
                // writer's write may be the one that a sync is to wait for.
                held.redirty();
                true
            }
            Err(held) => return Err(Stuck::Held(held)),
        };
        self.progress.declined += u64::from(declined);
        self.progress.submitted += u64::from(writes);
        Ok(())
    }

    /// Puts a write into the batch; one that does not go on where the batch ends begins another.
    #[inline]
    fn push(&mut self, writeback: Writeback) {
        if writeback.len() == 0 {
            // It could not be sealed, and so has failed already.
            return writeback.end(Ok(()));
        }
        if writeback.offset() != self.batch_end {
            self.submit();
        }
        self.batch_end = writeback.offset() + writeback.len() as u64;
        self.batch.push(writeback);
        if self.batch.len() >= self.mapping.core.below.batch_max() {
            self.submit();
        }
    }

    /// Whether the page has a change that the log may lose, which was `durable` so far before the latch was taken.
    fn is_ahead_of_log(&mut self, page: &Page, durable: Option<u64>) -> bool {
        let is_ahead = |newest: &u64| durable.is_some_and(|durable| *newest > durable);
        let newest = page.positions.lock().newest().filter(is_ahead);
        self.progress.log_wanted = self.progress.log_wanted.max(newest.unwrap_or(0));
        newest.is_some()
    }

    /// Hands over what has been collected, once the log is durable up to the newest change in it.
    pub(crate) fn submit(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let newest = batch.iter().filter_map(Writeback::log_position).max();
        if let (Some(order), Some(newest)) = (&self.mapping.core.order, newest) {
            // Also in mode `Skip`, for a page that was changed since it was looked at.
            if let Err(error) = order.ensure(newest) {
                Writeback::end_batch(batch, 0, StoreError::Log(Arc::new(error)));
                self.mapping.core.tell_counts();
                return;
            }
        }
        if !batch.is_empty() {
            self.mapping.core.below.submit(batch);
        }
    }
}
