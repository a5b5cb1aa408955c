//! Syncs: everything is [written](crate::rules::sync) and waited for, and then the store is flushed.
//!
//! A sync is a future, which a thread polls once. A thread makes a pass as all passes are made. A task goes on page by page: what it waits for it waits for
//! with one claim in hand at the most and nothing that has not been submitted, it lets others have a turn after so many pages, and it keeps no
//! walk meanwhile but goes on from where it was. If it is dropped, the pages that it has not come to are dirty as before and still tagged, for nobody: the next sync of theirs takes a look
//! more. What has begun ends, and is booked, without it.
//!
//! For the log a task has a thread wait, before its pass, as far as the pages want it then; and again for a page that has been changed since: whether its image is covered is
//! looked at under the latch that the image is taken under.
//!
//! Of what nobody would wake it for, a latch and the end of a growth, a task first comes again a few times, because most are free after a copy. Then a
//! thread does for it what it would have to wait for, as an [errand](super::errands): in the queue of the latch, where no reader that comes later is before it.

use std::ops::RangeBounds;
use std::sync::Arc;

use crate::error::{Error, Result, StoreError};
use crate::held;
use crate::index::range::{ALL, Inclusive, inclusive};
use crate::index::walk;
use crate::io::errands::Errand;
use crate::modes::{Budget, FlushKind, SyncMode};
use crate::pages::tag::PageTag;
use crate::rules::core::Mapping;
use crate::rules::page_ref::PageRef;
use crate::rules::pass::{Pass, Stuck};
use crate::rules::writeback::Verdict;
use crate::wait::{come_again, now, sleeps};

/// So many pages of a pass a task visits before others have a turn.
const TURN: u32 = 1000;

/// So many times a task comes again for what is over soon, as a rule.
const PATIENCE: u32 = 16;

/// So many times it waits for the log, of a page that has later changes each time.
const LOG_WAITS: u32 = 2;

/// So many syncs a close makes, when writes fail that others make good.
const SAVES_MAX: u32 = 8;

impl Mapping {
    /// Everything a sync does but report write errors: those are in the error sequence.
    ///
    /// A write that fails while this waits for it has its error recorded after the call, so that the
    /// caller finds it; whoever meets the page next writes it.
    pub(crate) async fn sync_pages(&self, pages: Inclusive, kind: FlushKind) -> Result<()> {
        if self.core.memory_backed {
            return Ok(());
        }
        held::refuse(self.core.id(), "a sync");
        self.core.check_process()?;
        let failing = self.core.errors.any_ending();
        let mut written = self.write_and_wait(pages).await;
        if failing {
            // A write had failed before the call and its page was not dirty again yet. The caller may
            // have been told of that error already, and will not be again, so the page, which is dirty
            // by now, is written here. If that fails, it is a new error.
            written = written.and(self.write_and_wait(pages).await);
        }
        let cut = self.settle_length().await;
        let flushed = self.flushed(kind).await;
        written.and(flushed).and(cut)
    }

    async fn write_and_wait(&self, (first, last): Inclusive) -> Result<()> {
        if !sleeps().await {
            // Apart, so that the future of a thread, which has no use for it, is not moved about with its room.
            return Box::pin(self.write_and_wait_in_task((first, last))).await;
        }
        let pass = self.write_range(first..=last, SyncMode::Wait, Budget::UNLIMITED);
        // Always, also after an error: the store may still be using the pages' images.
        self.wait_range(first..=last);
        pass.map(|_| ())
    }

    async fn write_and_wait_in_task(&self, pages: Inclusive) -> Result<()> {
        let pass = self.write_in_task(pages).await;
        self.writes_ended(pages).await;
        pass
    }

    /// As [`write_range`](Self::write_range) in mode `Wait`, of a task.
    async fn write_in_task(&self, (first, last): Inclusive) -> Result<()> {
        let core = &*self.core;
        core.durability.check()?;
        core.tag_to_write((first, last));
        self.make_log_durable((first, last)).await;
        let mut pass = Pass::new(self, SyncMode::Wait, Budget::UNLIMITED);
        pass.in_task = true;
        let mut next = Some(first);
        while let Some(start) = next.take() {
            let (mut visited, mut stuck) = (0, None);
            for (index, page) in walk(&core.tree, (start, last), PageTag::ToWrite) {
                visited += 1;
                stuck = pass.try_visit(page).err();
                if stuck.is_some() || visited == TURN {
                    next = index.checked_add(1);
                    break;
                }
            }
            match stuck {
                Some(stuck) => self.finish_in_task(&mut pass, stuck).await,
                None if next.is_some() => {
                    pass.submit();
                    come_again().await;
                }
                None => {}
            }
        }
        pass.finish();
        Ok(())
    }

    /// As far as these pages want it, so that there is one wait for all of them. If it fails, each of them finds that.
    async fn make_log_durable(&self, (first, last): Inclusive) {
        let core = &*self.core;
        if core.order.is_none() {
            return;
        }
        let (mut wanted, mut next) = (0, Some(first));
        while let Some(start) = next.take() {
            let mut visited = 0;
            for (index, page) in walk(&core.tree, (start, last), PageTag::ToWrite) {
                wanted = wanted.max(page.positions.lock().newest().unwrap_or(0));
                visited += 1;
                if visited == TURN {
                    next = index.checked_add(1);
                    break;
                }
            }
            if next.is_some() {
                come_again().await;
            }
        }
        self.ensure_log_in_task(wanted).await;
    }

    /// Has a thread wait for the log, unless one does for another; returns whether it has become durable. Who finds that it has not says so, with a page.
    async fn ensure_log_in_task(&self, upto: u64) -> bool {
        let ensure = move |mapping: &Self| {
            mapping.core.order.as_ref().is_some_and(|order| order.ensure(upto).is_ok())
        };
        let is_durable = || self.core.order.as_ref().is_none_or(|order| order.is_durable(upto));
        while !is_durable() {
            if let Some(ensured) = self.errand(Errand::Log, ensure).await {
                return ensured;
            }
        }
        true
    }

    /// Decides a page that a task cannot write at once.
    async fn finish_in_task(&self, pass: &mut Pass<'_>, mut stuck: Stuck) {
        let (mut turns, mut waits) = (0, 0);
        while let Some(page) = pass.finish_visit(stuck).await {
            turns += 1;
            let log_wanted = std::mem::take(&mut pass.progress.log_wanted);
            waits += u32::from(log_wanted > 0);
            let is_logged =
                log_wanted > 0 && waits <= LOG_WAITS && self.ensure_log_in_task(log_wanted).await;
            if log_wanted == 0 && turns <= PATIENCE {
                come_again().await;
            } else if !is_logged {
                let index = page.index();
                let write = move |mapping: &Mapping| {
                    let mut pass = Pass::new(mapping, SyncMode::Wait, Budget::UNLIMITED);
                    if let Some(page) = mapping.core.tree.get_owned(index) {
                        pass.visit(page);
                    }
                    pass.finish();
                };
                if self.errand(Errand::Sync(index), write).await.is_some() {
                    return;
                }
            }
            match pass.visit_again(page) {
                Ok(()) => return,
                Err(again) => stuck = again,
            }
        }
    }

    async fn settle_length(&self) -> Result<()> {
        if sleeps().await {
            return self.core.settle_length();
        }
        if let Some(settled) = self.core.try_settle_length() {
            return settled;
        }
        Box::pin(self.settle_length_in_task()).await
    }

    /// Somebody is at it: as long as a copy takes, or a call of the store, or while whoever lengthens the mapping waits for a guard.
    async fn settle_length_in_task(&self) -> Result<()> {
        let mut turns = 0;
        loop {
            turns += 1;
            if turns <= PATIENCE {
                come_again().await;
            } else {
                let settled =
                    self.errand(Errand::Settle, |mapping| mapping.core.settle_length()).await;
                if let Some(settled) = settled {
                    return settled;
                }
            }
            if let Some(settled) = self.core.try_settle_length() {
                return settled;
            }
        }
    }

    /// For `close`, which has stopped all writers: writes and flushes everything and tells whether anything is left.
    ///
    /// A page whose write has failed is dirty, and this fails. But another may have it in hand, and write it well at any time: before it is looked for here,
    /// and after the flush was begun. So where nothing is left and a write has failed since, there is another sync. One without such a failure has
    /// met every page before its flush.
    pub(crate) fn save_all(&self) -> Result<()> {
        let core = &self.core;
        if core.memory_backed {
            return Ok(());
        }
        let mut failure = None;
        for _ in 0..SAVES_MAX {
            let before = core.errors.recorded();
            now(self.sync_pages((0, u64::MAX), FlushKind::All))?;
            // By tag: a claimed page has no flag. In this order, and errors last: a page that was in neither look has failed in between.
            let is_tagged = |tag: PageTag| walk(&core.tree, ALL, tag).next().is_some();
            let left = is_tagged(PageTag::Dirty) || is_tagged(PageTag::Writeback);
            failure = core.errors.latest_after(before);
            if !left && failure.is_none() {
                return Ok(());
            }
            if left {
                break;
            }
        }
        Err(Error::Write { source: failure.unwrap_or(StoreError::Lost) })
    }

    /// Waits until every write of the range's pages that had begun before the call has ended, whoever
    /// began it.
    ///
    /// # Concurrency
    /// By ticket: writes begun later are not waited for, so it ends on a busy mapping too.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Budget, Mapping, MemStore, SyncMode};
    ///
    /// let mapping = Mapping::open(MemStore::new())?;
    /// mapping.handle().write_at(&[1; 8192], 0)?;
    /// mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED)?;
    /// mapping.wait_range(..);
    /// assert_eq!(mapping.stats().written, 2);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn wait_range(&self, pages: impl RangeBounds<u64>) {
        held::refuse(self.core.id(), "`wait_range`");
        let Some(range) = inclusive(pages) else { return };
        for (_, page) in walk(&self.core.tree, range, PageTag::Writeback) {
            page.wait_ticket(page.ticket());
        }
    }

    /// As [`wait_range`](Self::wait_range), of a task. It looks for the next page each time it has waited, rather than keep a walk meanwhile.
    pub(crate) async fn writes_ended(&self, (first, last): Inclusive) {
        let mut next = Some(first);
        while let Some(start) = next {
            let page = walk(&self.core.tree, (start, last), PageTag::Writeback).next();
            let Some((index, page)) = page else { return };
            page.ended(page.ticket()).await;
            next = index.checked_add(1);
        }
    }

    /// Writes back one page; returns whether it was written. In mode `Wait` it waits for a write under
    /// way before and for its own after, and for another writer that holds the page; in mode `Skip` it gives
    /// way to both and only submits.
    ///
    /// # Concurrency
    /// Waits for the page lock either way.
    ///
    /// # Errors
    /// [`Error::Poisoned`]; in mode `Wait`, [`Error::Write`] with what this very write failed with. The handles
    /// are told of it too.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::new())?;
    /// mapping.handle().write_at(&[1; 8192], 0)?;
    /// assert!(mapping.write_page(1, writeback::SyncMode::Wait)?);
    /// assert!(!mapping.write_page(1, writeback::SyncMode::Wait)?, "it is clean now");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn write_page(&self, index: u64, mode: SyncMode) -> Result<bool> {
        let (core, wait) = (&self.core, mode == SyncMode::Wait);
        held::refuse(core.id(), "`write_page`");
        core.check_store()?;
        let Some(page) = PageRef::cached(self, index).filter(|_| !core.memory_backed) else {
            return Ok(false);
        };
        let Some(locked) = page.lock_state() else { return Ok(false) };
        if wait {
            locked.wait_writeback();
        }
        let Ok(claim) = locked.clear_dirty_for_io() else { return Ok(false) };
        let mut pass = Pass::new(self, mode, Budget::UNLIMITED);
        let verdict = wait.then(Arc::<Verdict>::default);
        pass.verdict.clone_from(&verdict);
        pass.write(claim);
        pass.finish();
        if let Some(verdict) = verdict {
            page.wait_writeback();
            if let Some(source) = verdict.get() {
                return Err(Error::Write { source: source.clone() });
            }
        }
        Ok(pass.progress.submitted == 1)
    }
}
