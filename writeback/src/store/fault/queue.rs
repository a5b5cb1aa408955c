//! Reads, writes and flushes that were begun and have not ended: which of them ends next.
//!
//! Knows when each may end, not what becomes of it.

use fastrand::Rng;

use super::plan::{Action, Fault, Operation};
use crate::store::{Completion, FlushCompletion, ReadRun, WriteBatch};

/// An operation under way.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) operation: Operation,
    pub(super) work: Work,
    pub(super) fault: Option<Fault>,
    /// The medium's time when it began.
    pub(super) began: u64,
    /// By the store's clock; `None`: it is stuck.
    pub(super) due_ms: Option<u64>,
}

/// What is to be done, and whom to tell.
#[derive(Debug)]
pub(super) enum Work {
    Read(ReadRun),
    Write(WriteBatch, Completion),
    Flush(FlushCompletion),
}

impl Pending {
    fn is_stuck(&self) -> bool {
        self.due_ms.is_none()
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Vec<Pending>,
}

impl Queue {
    pub(super) fn push(&mut self, pending: Pending) {
        self.waiting.push(pending);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn into_all(self) -> Vec<Pending> {
        self.waiting
    }

    pub(super) fn batches(&self) -> impl Iterator<Item = &WriteBatch> {
        self.waiting.iter().filter_map(|pending| match &pending.work {
            Work::Write(batch, _) => Some(batch),
            Work::Read(_) | Work::Flush(_) => None,
        })
    }

    /// Takes one of those that may end now.
    pub(super) fn take_due(&mut self, now_ms: u64, random: &mut Rng) -> Option<Pending> {
        let is_due = |at: &usize| self.waiting[*at].due_ms.is_some_and(|due| due <= now_ms);
        let due: Vec<_> = (0..self.waiting.len()).filter(is_due).collect();
        let at = random.choice(due)?;
        Some(self.waiting.remove(at))
    }

    pub(super) fn any_due(&self, now_ms: u64) -> bool {
        self.waiting.iter().any(|pending| pending.due_ms.is_some_and(|due| due <= now_ms))
    }

    /// How many reads and flushes are stuck.
    pub(super) fn stuck_calls(&self) -> usize {
        let is_call = |pending: &&Pending| !matches!(pending.work, Work::Write(..));
        self.waiting.iter().filter(|pending| pending.is_stuck()).filter(is_call).count()
    }

    /// What is stuck may end now. Takes out, in their order, those that are not to wait until they are delivered.
    pub(super) fn release_stuck(&mut self, is_queued: impl Fn(Action) -> bool) -> Vec<Pending> {
        let released = |pending: &mut Pending| {
            pending.is_stuck()
                && pending.operation.action != Action::Write
                && !is_queued(pending.operation.action)
        };
        let ended = self.waiting.extract_if(.., released).collect();
        for pending in &mut self.waiting {
            pending.due_ms.get_or_insert(0);
        }
        ended
    }

    /// Whether a write of some of these bytes is under way.
    pub(super) fn writes(&self, offset: u64, len: u64) -> bool {
        let mut batches = self.batches();
        batches.any(|batch| batch.offset() < offset + len && offset < batch.offset() + batch.len())
    }

    /// Whether a read of some of these bytes is under way.
    pub(super) fn reads(&self, offset: u64, len: u64) -> bool {
        self.waiting.iter().any(|pending| match &pending.work {
            Work::Read(run) => run.offset() < offset + len && offset < run.offset() + run.len(),
            Work::Write(..) | Work::Flush(_) => false,
        })
    }
}
