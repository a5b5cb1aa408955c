//! Reading in a task: where a thread would sleep, the future is pending.

use crate::error::{Error, Result};
use crate::io::access::Copied;
use crate::io::ahead::Sequence;
use crate::rules::core::Mapping;
use crate::rules::page_ref::PageRef;
use crate::wait;

impl Mapping {
    /// As [`read_at`](Self::read_at). A page comes in over the capacity rather than wait for room.
    pub(crate) async fn read_at_in_task(
        &self,
        buf: &mut [u8],
        offset: u64,
        sequence: &Sequence,
    ) -> Result<usize> {
        let core = &*self.core;
        let mut done = 0;
        // The page that was read in last is not evicted before it has been copied.
        let mut _kept = None;
        while let Some((piece, wanted)) = core.next_piece(buf.len(), offset, done) {
            match core.try_read_cached(piece, &mut buf[done..done + piece.len], sequence) {
                Copied::Yes => done += piece.len,
                Copied::Busy => wait::come_again().await,
                Copied::Missing => {
                    let _told = core.tell_at_end();
                    let room = || core.room_at_once();
                    match self.load_run(piece.index, wanted, Some(sequence), room).await {
                        Ok(page) => _kept = Some(page),
                        // A truncate came between, and the length is to be asked again.
                        Err(Error::OutOfRange { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(done)
    }

    /// As [`page`](Self::page), in the same way.
    pub(crate) async fn page_in_task(&self, index: u64) -> Result<PageRef> {
        if let Some(page) = self.try_page(index) {
            return Ok(page);
        }
        let page = self.load_page(index, || self.core.room_at_once()).await?;
        Ok(PageRef::new(self.clone(), page))
    }
}
