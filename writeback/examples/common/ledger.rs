//! Which version of each page exists: what writers have begun and what they have completed.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Fallible;

#[derive(Debug, Default)]
struct Record {
    /// Held by whoever makes the next version, so that versions of a page come one after another.
    writer: Mutex<()>,
    begun: AtomicU64,
    completed: AtomicU64,
}

/// The versions of all pages. Version 0 is what the page holds before the writers start.
#[derive(Debug)]
pub(crate) struct Ledger {
    pages: Vec<Record>,
}

impl Ledger {
    pub(crate) fn new(pages: usize) -> Self {
        Self { pages: std::iter::repeat_with(Record::default).take(pages).collect() }
    }

    pub(crate) fn pages(&self) -> usize {
        self.pages.len()
    }

    /// The newest version whose write has returned: a sync called from now on has to cover it.
    pub(crate) fn completed(&self, page: usize) -> u64 {
        self.pages[page].completed.load(Ordering::Acquire)
    }

    /// The newest version that can exist anywhere; ask after having read one.
    pub(crate) fn begun(&self, page: usize) -> u64 {
        self.pages[page].begun.load(Ordering::Acquire)
    }

    /// Makes the next version of `page`: `write` puts it into the cache.
    pub(crate) fn change(
        &self,
        page: usize,
        write: impl FnOnce(u64) -> Fallible<()>,
    ) -> Fallible<()> {
        let record = &self.pages[page];
        let _one_at_a_time = record.writer.lock();
        let version = record.completed.load(Ordering::Acquire) + 1;
        record.begun.store(version, Ordering::Release);
        write(version)?;
        record.completed.store(version, Ordering::Release);
        Ok(())
    }
}
