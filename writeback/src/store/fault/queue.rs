//! Writes that were begun and have not ended: which of them ends next.
//!
//! Knows when each may end, not what becomes of it.

use fastrand::Rng;

use super::plan::{Fault, Operation};
use crate::store::{Completion, WriteBatch};

/// A write under way.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) operation: Operation,
    pub(super) batch: WriteBatch,
    pub(super) completion: Completion,
    pub(super) fault: Option<Fault>,
    /// By the store's clock; `None`: it is stuck.
    pub(super) due_ms: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Vec<Pending>,
}

impl Queue {
    pub(super) fn push(&mut self, write: Pending) {
        self.waiting.push(write);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn into_writes(self) -> Vec<Pending> {
        self.waiting
    }

    pub(super) fn batches(&self) -> impl Iterator<Item = &WriteBatch> {
        self.waiting.iter().map(|write| &write.batch)
    }

    /// Takes one of those that may end now.
    pub(super) fn take_due(&mut self, now_ms: u64, random: &mut Rng) -> Option<Pending> {
        let is_due = |at: &usize| self.waiting[*at].due_ms.is_some_and(|due| due <= now_ms);
        let due: Vec<_> = (0..self.waiting.len()).filter(is_due).collect();
        let at = random.choice(due)?;
        Some(self.waiting.remove(at))
    }

    pub(super) fn any_due(&self, now_ms: u64) -> bool {
        self.waiting.iter().any(|write| write.due_ms.is_some_and(|due| due <= now_ms))
    }

    /// What is stuck may end now.
    pub(super) fn release_stuck(&mut self) {
        for write in &mut self.waiting {
            write.due_ms.get_or_insert(0);
        }
    }

    /// Whether a write of some of these bytes is under way.
    pub(super) fn touches(&self, offset: u64, len: u64) -> bool {
        let mut batches = self.batches();
        batches.any(|batch| batch.offset() < offset + len && offset < batch.offset() + batch.len())
    }
}
