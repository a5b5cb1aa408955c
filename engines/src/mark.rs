//! How far a history has come, as somebody may look at it at any moment.

use std::sync::atomic::{AtomicU64, Ordering};

/// The transactions begun, and those acknowledged.
#[derive(Debug, Default)]
pub struct Mark {
    begun: AtomicU64,
    acknowledged: AtomicU64,
    /// How many commits were acknowledged as durable.
    commits: AtomicU64,
}

impl Mark {
    /// Transaction `number` is about to be performed.
    pub fn begin(&self, number: u64) {
        self.begun.fetch_max(number, Ordering::AcqRel);
    }

    /// The commit of transaction `number` returned, and all up to it are durable.
    pub fn acknowledge(&self, number: u64) {
        self.acknowledged.fetch_max(number, Ordering::AcqRel);
        self.commits.fetch_add(1, Ordering::AcqRel);
    }

    /// The last transaction begun.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    /// The last transaction known to be durable.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// How many commits were acknowledged as durable.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Acquire)
    }
}
