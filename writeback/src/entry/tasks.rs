//! Reading and writing in a task: where a thread would sleep, the future is pending.
//!
//! A task that writes waits with no lock, and with nothing in its hands but its turn to dirty a page, if it has waited for that, the page that it has had read, and the position of a
//! logged change. So a piece of a write is tried until it goes through from its beginning to its end without waiting. After some tries a thread has its place in the queues of
//! those who keep it from the page, and writes the piece. A future that is dropped where it waits has changed nothing of that piece, or, if a thread was at it, all of it; and it
//! changes nothing later: its drop waits for a copy that is under way.

use std::sync::Arc;

use crate::accounts::queue::Admission;
use crate::error::{Error, Result};
use crate::io::access::{Copied, Piece, Tried, Wanted, has_been_read};
use crate::io::ahead::Sequence;
use crate::io::errands::Errand;
use crate::primitives::Mutex;
use crate::rules::core::{Core, Mapping};
use crate::rules::page_ref::PageRef;
use crate::wait;

/// So often a task comes again by itself for a latch, or until the mapping can grow: for what is over soon, as a rule.
const PATIENCE: u32 = 16;

/// So many cuts that follow each other without a pause a task waits for before it tries between two of them.
const CUTS: u32 = 4;

/// After so many pages the other tasks have a turn.
const TURN: u32 = 1000;

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

    /// Writes all of `buf`, of a change that is logged at `position`, if at all.
    pub(crate) async fn write_at_in_task(
        &self,
        buf: &[u8],
        offset: u64,
        position: Option<u64>,
    ) -> Result<()> {
        let core = &*self.core;
        core.check_span(offset, buf.len() as u64)?;
        core.check_reserved(offset, buf.len())?;
        core.admit()?;
        let _told = core.tell_at_end();
        let (mut done, mut pages) = (0, 0);
        while done < buf.len() {
            let piece = core.piece(offset + done as u64, buf.len() - done);
            let (piece, from) = (Piece { position, ..piece }, &buf[done..done + piece.len]);
            let write = |_| core.try_write_cached(piece, from) == Copied::Yes;
            if !core.admit_task(piece.index).is_some_and(write) {
                // Apart: most need no more room than the above.
                let written = Box::pin(self.write_piece_in_task(piece, from)).await;
                written.map_err(|error| error.after(done))?;
            }
            done += piece.len;
            pages += 1;
            if pages % TURN == 0 {
                wait::come_again().await;
            }
        }
        Ok(())
    }

    async fn write_piece_in_task(&self, piece: Piece, from: &[u8]) -> Result<()> {
        let core = &*self.core;
        // Both until the page is dirty; it is not evicted before.
        let (mut turn, mut _kept) = (None, None);
        let (mut tries, mut cuts) = (0, 0);
        loop {
            match core.try_write_piece(piece, from, turn.is_some())? {
                Tried::Done => return Ok(()),
                Tried::Gone => {}
                Tried::Full => turn = self.wait_for_turn().await?,
                Tried::Missing => match self.load_page(piece.index, || core.room_at_once()).await {
                    Ok(page) => _kept = Some(page),
                    // It was cut away meanwhile.
                    Err(Error::OutOfRange { .. }) => {}
                    Err(error) => return Err(error),
                },
                Tried::Busy(page) => page.until(|state| has_been_read(state, &|| false)).await,
                Tried::Latched | Tried::Growing if tries < PATIENCE => {
                    tries += 1;
                    wait::come_again().await;
                }
                Tried::Cut if cuts < CUTS => {
                    cuts += 1;
                    core.not_cut(CUTS).await;
                }
                // One after the other keeps it from the page: a thread has its place in the queues of those.
                Tried::Latched | Tried::Growing | Tried::Cut => {
                    turn = None;
                    if let Some(written) = self.write_in_thread(piece, from).await {
                        return written;
                    }
                }
            }
        }
    }

    /// Has a thread write a piece; `None`: one was at another of the page.
    async fn write_in_thread(&self, piece: Piece, from: &[u8]) -> Option<Result<()>> {
        let wanted = WhileWanted(Arc::new(Mutex::new(Some(from.into()))));
        let bytes = Arc::clone(&wanted.0);
        let write = move |mapping: &Self| {
            let core = &*mapping.core;
            let _told = core.tell_at_end();
            let _admission = core.admit_dirtier(piece.index, true)?;
            if bytes.lock().is_none() {
                return Ok(());
            }
            core.write_wanted(piece, &bytes, core.make_room())
        };
        self.errand(Errand::Write(piece.index), write).await
    }
}

/// The bytes that a thread is to write. It does not once this is dropped.
struct WhileWanted(Arc<Wanted>);

impl Drop for WhileWanted {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

impl Core {
    /// Writes a piece without waiting; `is_let_in`: it may dirty a page.
    fn try_write_piece(&self, piece: Piece, from: &[u8], is_let_in: bool) -> Result<Tried> {
        let admission =
            if is_let_in { Some(Admission::FREE) } else { self.admit_task(piece.index) };
        let Some(_admission) = admission else { return Ok(Tried::Full) };
        match self.try_write_cached(piece, from) {
            Copied::Yes => Ok(Tried::Done),
            Copied::Busy => Ok(Tried::Latched),
            Copied::Missing => self.try_write_slow(piece, from, self.room_at_once()),
        }
    }
}

#[cfg(all(test, not(any(writeback_loom, writeback_shuttle))))]
mod tests {
    use super::*;
    use crate::MemStore;

    #[test]
    fn a_whole_page_that_is_not_wanted_any_more_is_as_it_was() {
        let mapping = Mapping::open(MemStore::with_contents([7; 8192])).expect("it opens");
        let core = &*mapping.core;
        let write = |wanted: Option<Box<[u8]>>| {
            let piece = core.piece(4096, 4096);
            core.write_wanted(piece, &Mutex::new(wanted), core.make_room()).expect("it is there");
            let mut bytes = [0; 4096];
            mapping.handle().read_at(&mut bytes, 4096).expect("it is there");
            bytes
        };
        // The page is not cached, and nothing of it would have been left.
        assert_eq!(write(None), [7; 4096]);
        assert_eq!(mapping.stats().dirty, 0);
        assert_eq!(write(Some([9; 4096].into())), [9; 4096]);
    }
}
