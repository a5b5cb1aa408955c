//! How far a store is: what whoever wants its file has to know to tell a store in use from one that is on its way out.
//!
//! The last reference to a store may go with the end of something that it was asked for. So a store that was asked for something may be gone as soon as all that has ended; and if it
//! is in use then, it stays. It knows nothing of the file, which is not kept open by whoever looks at it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// How many things the store was ever asked for.
    asked: AtomicU64,
    /// How many of them have ended, and whoever is told of that has been told.
    ended: AtomicU64,
    /// Whether the last reference to the store is gone.
    dropped: AtomicBool,
}

impl Progress {
    pub(crate) fn asked(&self) {
        // Relaxed: whoever has to wait for it knows of it, and so sees it.
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self) {
        // Release: whoever sees it sees what was dropped by whoever was told.
        self.ended.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn dropped(&self) {
        self.dropped.store(true, Ordering::Release);
    }

    /// What [`is_leaving`](Self::is_leaving) is asked with later.
    pub(crate) fn moment(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether the store has been dropped, or may be with the end of something that it had been asked for at that moment.
    pub(crate) fn is_leaving(&self, moment: u64) -> bool {
        // In this order: what is dropped with an end is so before that is counted.
        self.ended.load(Ordering::Acquire) < moment || self.dropped.load(Ordering::Acquire)
    }
}
