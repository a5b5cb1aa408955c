//! A pass: one ascending walk over tagged pages that claims and submits what it finds.
//!
//! It submits in batches of pages that lie side by side. Mode `None` goes by what it would have to
//! wait for; mode `All` waits, but first submits what it has: a page that is under writeback and not
//! submitted must not be kept while anything is waited for, or two passes could wait for each other.

use std::sync::Arc;

use tagged_radix::ArrayVec;

use crate::error::StoreError;
use crate::hooks::trace;
use crate::index::range::Inclusive;
use crate::index::tagged_pages;
use crate::modes::{Budget, Progress, SyncMode};
use crate::page::Page;
use crate::page::tag::PageTag;
use crate::rules::claim::Claim;
use crate::rules::core::Mapping;
use crate::rules::locked::LockedPage;
use crate::rules::page_ref::PageRef;
use crate::rules::writeback::{Verdict, Writeback};

/// One pass in the making.
pub(crate) struct Pass<'m> {
    mapping: &'m Mapping,
    mode: SyncMode,
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
            SyncMode::None => budget.pages,
            SyncMode::All => u64::MAX,
        };
        Self {
            mapping,
            mode,
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
    pub(crate) fn walk(&mut self, (first, last): Inclusive, tag: PageTag) -> Option<u64> {
        let _span = trace::pass(self.mode);
        let mut next = Some(first);
        let mut stopped = None;
        'walk: while let Some(start) = next.filter(|start| *start <= last) {
            let mut found = ArrayVec::new();
            next = tagged_pages(&self.mapping.core.tree, start, tag, &mut found);
            for (index, page) in found {
                if index > last {
                    break 'walk;
                }
                if self.budget == 0 || self.has_its_one() {
                    stopped = Some(index);
                    break 'walk;
                }
                self.visit(page);
            }
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
        // `None`: it is leaving the index, and so was written, or is being cut.
        let Some(page) = PageRef::of_found(self.mapping, page) else { return };
        if self.mode == SyncMode::None && self.goes_by(&page) {
            self.progress.skipped += 1;
            return;
        }
        // `None` in mode All: truncated away, and nothing was promised about it any more.
        let Some(locked) = self.lock(&page) else { return };
        if locked.page().snapshot().is_under_writeback() {
            self.submit();
            locked.wait_writeback();
        }
        // `Err`: clean. Whoever wrote it began that before the lock was free, so that waiting for
        // the WRITEBACK tag afterwards covers it.
        if let Ok(claim) = locked.clear_dirty_for_io() {
            self.write(claim);
        }
    }

    /// Mode None: not now.
    fn goes_by(&self, page: &Page) -> bool {
        let state = page.snapshot();
        let core = &self.mapping.core;
        state.is_under_writeback()
            || page.first_dirty_ms() > self.dirty_by_ms
            || (!self.one_despite_failures && core.backs_off(page, state, core.clock.now_ms()))
    }

    fn lock(&mut self, page: &PageRef) -> Option<LockedPage> {
        if let Some(locked) = page.try_lock() {
            // It may have come under writeback since it was looked at.
            let busy = locked.page().snapshot().is_under_writeback();
            if self.mode == SyncMode::All || !busy {
                return Some(locked);
            }
        } else if self.mode == SyncMode::All {
            self.submit();
            return page.lock();
        }
        self.progress.skipped += 1;
        None
    }

    /// Decides a claim.
    pub(crate) fn write(&mut self, claim: Claim) {
        self.budget = self.budget.saturating_sub(1);
        if self.mode == SyncMode::None && self.is_ahead_of_log(claim.page()) {
            claim.redirty();
            self.progress.unlogged += 1;
            return;
        }
        if claim.page().blocks.is_some() {
            self.write_blocks(claim);
        } else {
            self.write_page(claim);
        }
    }

    fn write_page(&mut self, mut claim: Claim) {
        let writeback = loop {
            claim = match claim.start_writeback() {
                Ok(writeback) => break writeback.telling(self.verdict.as_ref()),
                Err(held) if self.mode == SyncMode::None => {
                    // Dirty again whether or not there seems to be anything left to write: the other
                    // writer's write may be the one that a sync is to wait for.
                    held.redirty();
                    self.progress.declined += 1;
                    return;
                }
                Err(held) => held,
            };
            self.submit();
            claim.wait_released();
        };
        if writeback.image().is_empty() {
            // Beyond the end: a truncate is about to drop it.
            writeback.end(Ok(()));
            return;
        }
        self.progress.submitted += 1;
        self.push(writeback);
    }

    /// As `write_page`, of a page of several blocks: writes those that are dirty, but in mode None not those
    /// that another writer holds.
    fn write_blocks(&mut self, mut claim: Claim) {
        let (pieces, declined) = loop {
            claim = match claim.start_pieces(self.mode) {
                Ok(started) => break started,
                Err(held) => held,
            };
            self.submit();
            claim.wait_released();
        };
        self.progress.submitted += u64::from(!pieces.is_empty());
        self.progress.declined += u64::from(declined);
        for piece in pieces {
            self.push(piece.telling(self.verdict.as_ref()));
        }
    }

    /// Puts a write into the batch; one that does not go on where the batch ends begins another.
    fn push(&mut self, writeback: Writeback) {
        if writeback.offset() != self.batch_end {
            self.submit();
        }
        self.batch_end = writeback.offset() + writeback.len() as u64;
        self.batch.push(writeback);
        if self.batch.len() >= self.mapping.core.below.batch_max() {
            self.submit();
        }
    }

    /// Whether the page has a change that the log may lose.
    fn is_ahead_of_log(&mut self, page: &Page) -> bool {
        let Some(order) = &self.mapping.core.order else { return false };
        let newest = page.positions.lock().newest().unwrap_or(0);
        let ahead = !order.is_durable(newest);
        if ahead {
            self.progress.log_wanted = self.progress.log_wanted.max(newest);
        }
        ahead
    }

    /// Hands over what has been collected, once the log is durable up to the newest change in it.
    pub(crate) fn submit(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let newest = batch.iter().filter_map(Writeback::log_position).max();
        if let (Some(order), Some(newest)) = (&self.mapping.core.order, newest) {
            // Also in mode None, for a page that was changed since it was looked at.
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
