//! Writing back on demand, and waiting for writes: what syncs are made of.
//!
//! A *sync* tags what is dirty now TOWRITE, makes a [`pass`](crate::rules::pass) over TOWRITE that waits,
//! waits for every page with the WRITEBACK tag, and flushes the store. Between DIRTY and WRITEBACK a
//! page has one tag or both at every instant, or is locked under a claim and has DIRTY; so looking at
//! DIRTY first and at WRITEBACK second misses nothing. And because pages dirtied later are not
//! TOWRITE, a sync ends however fast they are dirtied.

use std::ops::RangeBounds;

use crate::error::Result;
use crate::held;
use crate::index::range::{Inclusive, inclusive};
use crate::modes::{Budget, Progress, SyncMode};
use crate::pages::tag::PageTag;
use crate::rules::core::{Core, Mapping};
use crate::rules::pass::Pass;

impl Mapping {
    /// Writes back the dirty pages of a range. Makes nothing durable: for that there are the syncs of
    /// [`Handle`](crate::Handle).
    ///
    /// In mode `Wait` every page that was dirty when it was called has been submitted when it returns,
    /// or was truncated; [`wait_range`](Self::wait_range) waits for the store to accept them.
    ///
    /// # Concurrency
    /// Any number of passes may run at once. Takes page locks one at a time.
    ///
    /// # Errors
    /// [`Error::Poisoned`](crate::Error::Poisoned). Failed writes are told by the handles.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Budget, Mapping, MemStore, SyncMode};
    ///
    /// let mapping = Mapping::open(MemStore::new())?;
    /// mapping.handle().write_at(&[1; 8192], 0)?;
    /// let progress = mapping.write_range(1.., SyncMode::Wait, Budget::UNLIMITED)?;
    /// assert_eq!(progress.submitted, 1);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn write_range(
        &self,
        pages: impl RangeBounds<u64>,
        mode: SyncMode,
        budget: Budget,
    ) -> Result<Progress> {
        let core = &self.core;
        held::refuse(core.id(), "`write_range`");
        core.check_store()?;
        let Some((first, last)) = inclusive(pages) else { return Ok(Progress::default()) };
        if core.memory_backed || !core.tree.any_tagged(PageTag::Dirty.tag()) {
            return Ok(Progress::default());
        }
        let mut pass = Pass::new(self, mode, budget);
        if mode == SyncMode::Skip {
            pass.walk((first, last), PageTag::Dirty);
            return Ok(pass.progress);
        }
        core.tag_to_write((first, last));
        pass.walk((first, last), PageTag::ToWrite);
        Ok(pass.progress)
    }
}

impl Core {
    /// What is dirty in the range is to be written, and nothing that becomes dirty later.
    pub(crate) fn tag_to_write(&self, (first, last): Inclusive) {
        let (dirty, to_write) = (PageTag::Dirty.tag(), PageTag::ToWrite.tag());
        let mut next = Some(first);
        while let Some(start) = next {
            // In pieces, so that the index is not kept pinned for long.
            let tagged = self.tree.pin().tag_range_if_tagged(start..=last, dirty, to_write, 4096);
            next = tagged.next;
        }
    }
}
