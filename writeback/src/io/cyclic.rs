//! Passes of those who clean in the background: over all of a mapping, a part at a time, or what has been dirty for long.

use crate::error::Result;
use crate::held;
use crate::modes::{Budget, Progress, SyncMode};
use crate::pages::tag::PageTag;
use crate::primitives::Ordering;
use crate::rules::core::Mapping;
use crate::rules::pass::Pass;

impl Mapping {
    /// Writes back dirty pages in mode `Skip`, from where the last such pass stopped to the end; the
    /// one after that starts at the beginning again.
    ///
    /// # Errors
    /// [`Error::Poisoned`](crate::Error::Poisoned).
    ///
    /// # Examples
    /// ```
    /// use writeback::{Budget, Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::new())?;
    /// mapping.handle().write_at(&[1; 5 * 4096], 0)?;
    /// assert_eq!(mapping.write_cyclic(Budget::pages(3))?.submitted, 3);
    /// assert_eq!(mapping.write_cyclic(Budget::pages(3))?.submitted, 2);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn write_cyclic(&self, budget: Budget) -> Result<Progress> {
        self.write_on(Pass::new(self, SyncMode::Skip, budget))
    }

    /// Makes the pass from where the last one of this kind has stopped.
    pub(crate) fn write_on(&self, mut pass: Pass<'_>) -> Result<Progress> {
        let core = &self.core;
        held::refuse(core.id(), "`write_cyclic`");
        core.check_store()?;
        if core.memory_backed {
            return Ok(Progress::default());
        }
        // Relaxed: a hint where to go on.
        let first = core.cyclic_next.load(Ordering::Relaxed);
        let stopped = pass.walk((first, u64::MAX), PageTag::Dirty);
        core.cyclic_next.store(stopped.unwrap_or(0), Ordering::Relaxed);
        Ok(pass.progress)
    }

    /// Writes back, in mode `Skip`, the pages from `first` on that have been dirty since `dirty_by_ms` or longer. Returns where it stopped, too, if
    /// the budget was used up first.
    pub(crate) fn write_expired(
        &self,
        dirty_by_ms: u64,
        first: u64,
        budget: Budget,
    ) -> Result<(Progress, Option<u64>)> {
        self.core.check_store()?;
        let mut pass = Pass::new(self, SyncMode::Skip, budget);
        pass.dirty_by_ms = dirty_by_ms;
        let is_stored = !self.core.memory_backed;
        let stopped = is_stored.then(|| pass.walk((first, u64::MAX), PageTag::Dirty)).flatten();
        Ok((pass.progress, stopped))
    }
}
