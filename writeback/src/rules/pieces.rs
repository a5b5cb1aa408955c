//! Pieces: the write of a page whose dirty blocks do not all lie side by side.
//!
//! Each run of blocks is a [`Writeback`] of its own, so that batches stay contiguous and a store need not
//! know of any of this; the page has one ticket, which ends when all its pieces have. They are counted before
//! the first of them can be ended, so that none that ends early takes itself for the last.
//!
//! A piece that fails records its error at once, like any write, but its blocks are dirty again only when the
//! page's write is over: until then the page is under writeback, and who syncs it waits.

use std::sync::Arc;

use crate::buffer::Image;
use crate::pages::blocks::{BlockMap, Division};
use crate::primitives::{AtomicU64, Ordering};
use crate::rules::writeback::Writeback;

/// What the pieces of one write of a page share.
#[derive(Debug)]
pub(crate) struct Whole {
    /// Those that have not ended.
    open: AtomicU64,
    /// Blocks of those that failed, and how many did.
    failed: AtomicU64,
    errors: AtomicU64,
}

impl Whole {
    fn new(count: usize) -> Arc<Self> {
        let (failed, errors) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { open: AtomicU64::new(count as u64), failed, errors })
    }

    /// A piece has ended; of it, `failed` failed. `Some` for the last: of the whole write, what failed, and how
    /// many pieces did.
    pub(crate) fn end_one(&self, failed: BlockMap) -> Option<(BlockMap, u64)> {
        if !failed.is_empty() {
            // Relaxed: `open` makes both seen by who ends the last piece. No two have a block in common, so that
            // adding them is joining them.
            self.failed.fetch_add(failed.bits(), Ordering::Relaxed);
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        // Release: what this piece did, its errors and the store's work included, is seen by the last.
        // Acquire: the last sees what the others did, and ends the page's write in their name.
        if self.open.fetch_sub(1, Ordering::AcqRel) > 1 {
            return None;
        }
        let failed = BlockMap::from_bits(self.failed.load(Ordering::Relaxed));
        Some((failed, self.errors.load(Ordering::Relaxed)))
    }
}

impl Writeback {
    /// A writeback of a page in pieces, each of them contiguous. What lies beyond the end of the mapping is
    /// left out, as a page that does; if that is all, the writeback is over.
    #[inline]
    pub(super) fn into_pieces(mut self, division: Division, mut each: impl FnMut(Self)) {
        if self.unsealed.is_some() {
            // Nothing to write, and yet not over.
            return each(self);
        }
        if self.page().blocks.is_some() {
            let part = |run| {
                let image = self.image().part(division.bytes(&run));
                (!image.is_empty()).then(|| (BlockMap::of(run), image))
            };
            let mut parts: Vec<_> = self.blocks.runs().filter_map(part).collect();
            if parts.len() > 1 {
                return self.split(parts).into_iter().for_each(each);
            }
            let nothing = || self.image().part(0..0);
            let image = parts.pop().map_or_else(nothing, |(_, image)| image);
            self.set_image(image);
        }
        if self.len() == 0 {
            // Beyond the end: a truncate is about to drop it.
            let wake = self.finish(false);
            self.page().wake(wake);
        } else {
            each(self);
        }
    }

    fn split(self, parts: Vec<(BlockMap, Image)>) -> Vec<Self> {
        let whole = Whole::new(parts.len());
        let piece = |(blocks, image)| self.piece(blocks, image, &whole);
        let pieces = parts.into_iter().map(piece).collect();
        self.become_pieces();
        pieces
    }
}
