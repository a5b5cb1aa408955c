//! Syncs: everything is [written and waited for](crate::rules::sync), and then the store is flushed.

use crate::error::{Error, Result, StoreError};
use crate::held;
use crate::index::range::Inclusive;
use crate::modes::{Budget, FlushKind, SyncMode};
use crate::rules::core::Mapping;

impl Mapping {
    /// Everything a sync does but report write errors: those are in the error sequence.
    ///
    /// A write that fails while this waits for it has its error recorded after the call, so that the
    /// caller finds it; whoever meets the page next writes it.
    pub(crate) fn sync_pages(&self, pages: Inclusive, kind: FlushKind) -> Result<()> {
        if self.core.memory_backed {
            return Ok(());
        }
        held::refuse(self.core.id(), "a sync");
        self.core.check_process()?;
        let failing = self.core.errors.any_ending();
        let mut written = self.write_and_wait(pages);
        if failing {
            // A write had failed before the call and its page was not dirty again yet. The caller may
            // have been told of that error already, and will not be again, so the page, which is dirty
            // by now, is written here. If that fails, it is a new error.
            written = written.and(self.write_and_wait(pages));
        }
        let cut = self.core.settle_length();
        let flushed = self.core.flush(kind);
        written.and(flushed).and(cut)
    }

    fn write_and_wait(&self, (first, last): Inclusive) -> Result<()> {
        let pass = self.write_range(first..=last, SyncMode::Wait, Budget::UNLIMITED);
        // Always, also after an error: the store may still be using the pages' images.
        self.wait_range(first..=last);
        pass.map(|_| ())
    }

    /// For `close`: writes and flushes everything and tells whether anything is left.
    pub(crate) fn save_all(&self) -> Result<()> {
        let before = self.core.errors.recorded();
        self.sync_pages((0, u64::MAX), FlushKind::All)?;
        let counters = &self.core.counters;
        if counters.dirty.get() + counters.writeback.get() == 0 {
            return Ok(());
        }
        let source = self.core.errors.latest_after(before).unwrap_or(StoreError::Lost);
        Err(Error::Write { source })
    }
}
