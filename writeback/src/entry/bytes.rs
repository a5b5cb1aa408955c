//! Reading and writing bytes, page by page.

use tagged_radix::TagFilter;

use crate::error::{Error, Result};
use crate::held;
use crate::index::range::Inclusive;
use crate::index::walk;
use crate::io::access::Piece;
use crate::io::ahead::Sequence;
use crate::pages::tag::PageTag;
use crate::rules::core::{Core, Mapping, Member};
use crate::wait::now;

impl Mapping {
    /// Reads up to the end of the mapping, and ahead as the misses of a `sequence` tell; returns how many bytes.
    pub(crate) fn read_at(
        &self,
        buf: &mut [u8],
        offset: u64,
        sequence: &Sequence,
    ) -> Result<usize> {
        let core = &*self.core;
        let mut done = 0;
        while done < buf.len() {
            let Some((piece, wanted)) = core.next_piece(buf.len(), offset, done) else { break };
            let into = &mut buf[done..done + piece.len];
            // `false`: a truncate came between, and the length is to be asked again.
            if core.read_cached(piece, into, sequence)
                || self.read_slow(piece, into, wanted, sequence)?
            {
                done += piece.len;
            }
        }
        Ok(done)
    }

    /// Reads a page that is not cached, and with it those behind it that the caller wants, `wanted` in all.
    #[cold]
    fn read_slow(
        &self,
        piece: Piece,
        into: &mut [u8],
        wanted: u64,
        sequence: &Sequence,
    ) -> Result<bool> {
        let core = &*self.core;
        let _told = core.tell_at_end();
        match now(self.load_run(piece.index, wanted, Some(sequence), || core.make_room())) {
            Ok(page) => Ok(core.copy_out(&page, piece, into)),
            Err(Error::OutOfRange { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The pages of these bytes, as many as fit into half of what there is room for.
    fn half_of_room(&self, (first, last): Inclusive) -> Inclusive {
        let core = &*self.core;
        let half = |member: &Member| member.cache.capacity() / 2 / core.page_size as u64;
        let room = core.member.as_ref().map_or(u64::MAX, |member| half(member).max(1));
        let first = core.page_index(first);
        (first, core.page_index(last).min(first.saturating_add(room - 1)))
    }

    /// Reads the pages of these bytes that are not cached, up to half of what there is room for.
    pub(crate) fn prefetch(&self, bytes: Inclusive) -> Result<()> {
        now(self.load_all(self.half_of_room(bytes), || self.core.make_room()))
    }

    /// As [`prefetch`](Self::prefetch), in a task.
    pub(crate) async fn prefetch_in_task(&self, bytes: Inclusive) -> Result<()> {
        self.load_all(self.half_of_room(bytes), || self.core.room_at_once()).await
    }

    /// Evicts the pages that lie within these bytes, if they are clean and nobody has them in hand.
    pub(crate) fn let_go(&self, (first, last): Inclusive) {
        let core = &*self.core;
        if core.memory_backed {
            return; // They are nowhere else.
        }
        let size = core.page_size as u64;
        let first = core.page_index(first.saturating_add(size - 1));
        // The last page has nothing behind the end of the mapping.
        let end = if last >= core.len().saturating_sub(1) { u64::MAX } else { last + 1 };
        let Some(last) = core.page_index(end).checked_sub(1).filter(|last| *last >= first) else {
            return;
        };
        let _told = core.tell_at_end();
        for (index, page) in walk(&core.tree, (first, last), TagFilter::ANY) {
            if let Some(member) = &*core.member {
                // Should it stay, its next use counts.
                page.usage.take_all(member.cache.turns.now());
            }
            core.tree.pin().clear_tag(index, PageTag::Accessed.tag());
            let _ = core.evict(&page);
        }
    }

    /// Begins to read them, where there is room without waiting for it.
    pub(crate) fn read_ahead(&self, bytes: Inclusive) {
        self.begin_to_load(self.half_of_room(bytes), || self.core.room_if_any());
    }
}

impl Core {
    /// The next piece of a read of `len` bytes from `offset`, of which some are done, and how many pages are wanted from there on; `None` at
    /// the end of the mapping.
    pub(super) fn next_piece(&self, len: usize, offset: u64, done: usize) -> Option<(Piece, u64)> {
        let at = offset.saturating_add(done as u64);
        let left = usize::try_from(self.len().saturating_sub(at)).unwrap_or(usize::MAX);
        let left = left.min(len.saturating_sub(done));
        let last = at + (left as u64).checked_sub(1)?;
        let piece = self.piece(at, left);
        Some((piece, self.page_index(last) - piece.index + 1))
    }

    /// Writes all of `buf`, lengthening the mapping if it ends earlier.
    pub(crate) fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.write(buf, offset, None, true).map(|_| ())
    }

    /// Writes all of `buf` where the mapping ends; returns where that was.
    ///
    /// The lock comes before all others, room included: only those wait for it who have nothing.
    pub(crate) fn append(&self, buf: &[u8]) -> Result<u64> {
        held::refuse(self.id(), "`append`");
        let _one_at_a_time = self.backing().appending.lock();
        let end = self.len();
        self.write_at(buf, end).map(|()| end)
    }

    /// As [`write_at`](Self::write_at), for a change that is logged at `position`.
    pub(crate) fn write_logged_at(&self, buf: &[u8], offset: u64, position: u64) -> Result<()> {
        self.write(buf, offset, Some(position), true).map(|_| ())
    }

    /// As [`write_at`](Self::write_at), but stops where it would have to wait for room; returns how many
    /// bytes have been written.
    pub(crate) fn try_write_at(&self, buf: &[u8], offset: u64) -> Result<usize> {
        self.write(buf, offset, None, false)
    }

    fn write(
        &self,
        buf: &[u8],
        offset: u64,
        position: Option<u64>,
        may_wait: bool,
    ) -> Result<usize> {
        self.check_span(offset, buf.len() as u64)?;
        self.check_reserved(offset, buf.len())?;
        self.admit()?;
        let _told = self.tell_at_end();
        let mut done = 0;
        while done < buf.len() {
            let piece = self.piece(offset + done as u64, buf.len() - done);
            let piece = Piece { position, ..piece };
            let from = &buf[done..done + piece.len];
            match self.write_piece(piece, from, may_wait) {
                Ok(()) => done += piece.len,
                // Only of a call that may stop anywhere. A thread with a guard is told this by the others, too.
                Err(Error::WouldBlock) if done > 0 && !may_wait => break,
                // The pages before have been written, and stay so.
                Err(error) => return Err(error.after(done)),
            }
        }
        Ok(done)
    }

    pub(crate) fn write_piece(&self, piece: Piece, from: &[u8], may_wait: bool) -> Result<()> {
        // Before any lock, and kept until the page is dirty.
        let _admission = self.admit_dirtier(piece.index, may_wait)?;
        if self.write_cached(piece, from) {
            Ok(())
        } else {
            self.write_slow(piece, from, self.make_room())
        }
    }
}
