//! What a flusher does with one mapping: for each reason to write it, in order, a chunk at a time.
//!
//! Whatever a store, a hook or an observer does there concerns the mapping alone: a pass that panics is counted, and what it had in its hands is redirtied or reported as lost.

use std::sync::Arc;

use super::FlusherStats;
use super::rounds::{Inner, Task, after};
use crate::clock::millis;
use crate::error::Result;
use crate::modes::{Budget, Progress};
use crate::panics::contain;
use crate::primitives::{HintU64, Instant, Ordering};
use crate::rules::core::Mapping;

/// What a round is to do with one mapping.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) task: Arc<Task>,
    stage: Stage,
    /// Looks for expired pages too.
    timed: bool,
    /// Of those, when they became dirty at the latest, and from which page on.
    expired: Option<(u64, u64)>,
    /// Chunks in a row of which nothing could be written. Two: once round the mapping.
    fruitless: u8,
    /// Pages handed to the store.
    pub(super) submitted: u64,
    /// Until when it writes because there is too much.
    until: Option<Instant>,
    /// Pages that were asked for and are left to be written, by all jobs of the round.
    requested: Arc<HintU64>,
}

/// The reasons to write, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Requested,
    Expired,
    Background,
    Reclaim,
}

impl Inner {
    /// Does a chunk of the job; returns whether there is more to do.
    pub(super) fn serve(self: &Arc<Self>, job: &mut Job, done: &mut FlusherStats) -> bool {
        let task = Arc::clone(&job.task);
        let mapping = &task.mapping;
        let state = self.state.lock();
        let is_wanted = !state.stop && state.tasks.contains_key(&job.number);
        drop(state);
        match job.stage {
            _ if !is_wanted => return false,
            Stage::Requested => {
                let wanted = if job.fruitless < 2 { self.take_requested(job) } else { 0 };
                if wanted == 0 {
                    job.next_stage(Stage::Expired);
                } else {
                    let submitted = self.chunk(job, done, wanted);
                    job.requested.fetch_add(wanted.saturating_sub(submitted), Ordering::Relaxed);
                }
            }
            Stage::Expired => {
                if job.timed && self.chunk_of_expired(job, done) {
                    return true;
                }
                job.next_stage(Stage::Background);
                job.until = after(Instant::now(), self.config.interval);
            }
            Stage::Background => {
                let is_over = job.fruitless < 2 && self.is_over_background(mapping);
                if is_over && job.until.is_none_or(|until| Instant::now() < until) {
                    self.chunk(job, done, self.config.chunk_pages);
                } else {
                    if is_over {
                        // Not for ever, lest expired pages wait.
                        self.kick();
                    }
                    job.next_stage(Stage::Reclaim);
                }
            }
            Stage::Reclaim => {
                let paged_out = contain(|| mapping.page_out_if_short());
                self.count(done, |stats| stats.panics += u64::from(paged_out.is_none()));
                job.submitted += u64::from(paged_out.unwrap_or(false));
                return false;
            }
        }
        true
    }

    pub(super) fn is_over_background(&self, mapping: &Mapping) -> bool {
        let dirty = mapping.core.counters.dirty.get();
        dirty > self.config.background_pages || (dirty > 0 && mapping.core.member.is_in_debt())
    }

    /// So many of the pages that were asked for, up to a chunk.
    fn take_requested(&self, job: &Job) -> u64 {
        let take = |left: u64| left.checked_sub(left.min(self.config.chunk_pages));
        // Relaxed: a number and nothing else.
        let before = job.requested.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        before.unwrap_or_default().min(self.config.chunk_pages)
    }

    /// Writes up to so many pages from where the last chunk of the mapping has stopped.
    fn chunk(&self, job: &mut Job, done: &mut FlusherStats, pages: u64) -> u64 {
        let mapping = job.task.mapping.clone();
        let submitted = self.pass(done, &mapping, || mapping.write_cyclic(Budget::pages(pages)));
        job.fruitless = if submitted == 0 { job.fruitless + 1 } else { 0 };
        job.submitted += submitted;
        submitted
    }

    /// Writes up to a chunk of the pages that have been dirty for long; returns whether there may be more.
    fn chunk_of_expired(&self, job: &mut Job, done: &mut FlusherStats) -> bool {
        let mapping = job.task.mapping.clone();
        // As of the first chunk, or there would be more and more.
        let since = || mapping.core.clock.now_ms().checked_sub(millis(self.config.dirty_expire));
        let Some((dirty_by_ms, first)) = job.expired.or_else(|| Some((since()?, 0))) else {
            return false; // The clock is younger than that.
        };
        let budget = Budget::pages(self.config.chunk_pages);
        let mut stopped = None;
        job.submitted += self.pass(done, &mapping, || {
            let (progress, at) = mapping.write_expired(dirty_by_ms, first, budget)?;
            stopped = at;
            Ok(progress)
        });
        job.expired = stopped.map(|next| (dirty_by_ms, next));
        stopped.is_some()
    }

    /// Makes a pass, and another if the log had to be made durable first; returns how many pages were
    /// submitted.
    fn pass(
        &self,
        done: &mut FlusherStats,
        mapping: &Mapping,
        mut write: impl FnMut() -> Result<Progress>,
    ) -> u64 {
        let first = self.add_up(done, &mut write);
        // Here nothing is held that anybody waits for.
        if first.log_wanted == 0 || !mapping.core.ensure_log(first.log_wanted) {
            return first.submitted;
        }
        first.submitted + self.add_up(done, &mut write).submitted
    }

    /// Makes a pass and adds up what it did.
    ///
    /// A store that panics must not end the flusher of all the others. Whatever the pass had in its hands
    /// is redirtied, or reported as lost, by the drops on the way.
    fn add_up(&self, done: &mut FlusherStats, pass: impl FnOnce() -> Result<Progress>) -> Progress {
        let progress = match contain(pass) {
            Some(Ok(progress)) => progress,
            Some(Err(_)) => {
                self.count(done, |stats| stats.errors += 1);
                return Progress::default();
            }
            None => {
                self.count(done, |stats| stats.panics += 1);
                return Progress::default();
            }
        };
        self.count(done, |stats| {
            stats.submitted += progress.submitted;
            stats.declined += progress.declined;
            stats.skipped += progress.skipped;
            stats.unlogged += progress.unlogged;
        });
        progress
    }
}

impl Job {
    pub(super) fn new(
        number: u64,
        task: &Arc<Task>,
        timed: bool,
        requested: &Arc<HintU64>,
    ) -> Self {
        let (task, requested) = (Arc::clone(task), Arc::clone(requested));
        let stage = Stage::Requested;
        let (expired, fruitless, submitted, until) = (None, 0, 0, None);
        Self { number, task, stage, timed, expired, fruitless, submitted, until, requested }
    }

    fn next_stage(&mut self, stage: Stage) {
        self.stage = stage;
        self.fruitless = 0;
    }
}
