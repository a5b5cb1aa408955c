//! Lengthening the mapping by writing beyond its end.
//!
//! The length is raised under the latch of the page that was written, and while the store cannot be cut
//! ([`tail`](crate::durable::tail)). Whoever lengthens holds the truncate lock shared from before it
//! [prepares](Core::prepare_to_lengthen) until it is done.

use crate::durable::tail::Growing;
use crate::error::{Error, Result};
use crate::held;
use crate::primitives::Ordering;
use crate::rules::core::Core;

/// A writer may lengthen the mapping to `end`: nothing old lies beyond it in the store.
#[derive(Clone, Copy)]
pub(crate) struct ToLengthen<'c> {
    core: &'c Core,
    end: u64,
}

/// The mapping is being lengthened, if it is; begun before the content latch is taken.
#[must_use = "ended under the latch"]
pub(crate) struct Growth<'c> {
    to: ToLengthen<'c>,
    _growing: Growing<'c>,
}

impl Core {
    /// A mapping that is lengthened to have the byte before `end` ends there: with a seal, after a whole page.
    pub(crate) fn whole(&self, end: u64) -> u64 {
        match &self.sealer {
            Some(_) => end.next_multiple_of(self.page_size as u64),
            None => end,
        }
    }

    /// `Err` if a write of these bytes touches what is the seal's.
    pub(crate) fn check_reserved(&self, offset: u64, len: usize) -> Result<()> {
        let Some(sealer) = &self.sealer else { return Ok(()) };
        let within = offset - self.page_offset(self.page_index(offset));
        let from = usize::try_from(within).expect("less than a page");
        // Who goes on in the next page has passed through what is reserved, if anything is.
        let bytes = from..from.saturating_add(len).min(self.page_size);
        let goes_on = len > bytes.len() && sealer.payload().len() < self.page_size;
        if goes_on || sealer.reserves_any_of(&bytes) {
            return Err(Error::Reserved { offset, len: len as u64 });
        }
        Ok(())
    }

    /// Whether the store has to be cut before the mapping is lengthened to `end`.
    pub(crate) fn has_to_cut_before(&self, end: u64) -> bool {
        end > self.len() && self.store_is_longer.load(Ordering::Acquire)
    }

    /// A writer is about to lengthen the mapping to `end`, if it ends earlier. If the store is longer than the mapping,
    /// because an earlier cut failed, it is cut now: its old bytes must not come back. Not by a thread with a guard: it
    /// might wait for a sync that does the same, and waits for a writer who waits for the guard.
    pub(crate) fn prepare_to_lengthen(&self, end: u64) -> Result<ToLengthen<'_>> {
        if self.has_to_cut_before(end) {
            if held::any_of(self.id()) {
                return Err(Error::WouldBlock);
            }
            self.check_process()?;
            self.cut_store()?;
        }
        Ok(ToLengthen { core: self, end })
    }
}

impl<'c> ToLengthen<'c> {
    /// Keeps the store from being cut, if the mapping ends earlier. The caller has no page lock.
    pub(crate) fn begin(self) -> Growth<'c> {
        Growth { to: self, _growing: self.core.tail.growing(self.end > self.core.len()) }
    }

    /// As [`begin`](Self::begin), for whoever has a page lock; `None` if the store is being cut, or about to be.
    pub(crate) fn try_begin(self) -> Option<Growth<'c>> {
        let growing = self.core.tail.try_growing(self.end > self.core.len())?;
        Some(Growth { to: self, _growing: growing })
    }
}

impl Growth<'_> {
    /// Under the latch, when the page is dirty: an image with its bytes is cut at a length that has them.
    pub(crate) fn end(self) {
        let ToLengthen { core, end } = self.to;
        core.length.fetch_max(core.whole(end), Ordering::AcqRel);
    }
}
