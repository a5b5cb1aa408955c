//! The room that a mapping takes in its store: given back, taken ahead, looked for.
//!
//! # Punching and zeroing
//! Bytes that do not make whole pages are written as zeros, through the cache. Whole pages are taken out of the cache, as a cut
//! takes them, and are zeros in the store; so what is read afterwards is what the store has, and neither can differ from the
//! other. As for a cut, the truncate lock is held exclusively: nobody begins to read a page in meanwhile, and whoever writes one that is still cached
//! writes before it is dropped, which is before the pages are zeros. A read that was begun before does not hold that lock: its end is waited for before
//! the store is asked, or it could find a page half as it was and half zeros, and say that it is corrupt.
//!
//! The store is asked twice. First before any page is dropped: if it cannot, nothing is lost. A write of one of the pages may be under way then,
//! by a pass or by whoever holds the page, and may end after it. So the store is asked again when the pages are gone, and with them everybody who
//! could write there. It does not matter whether any page is found then: one may have been written and evicted since the store was asked.
//!
//! The last page stays, as zeros, while it has still to be written: with it the store becomes as long as the mapping.
//!
//! # Data and holes
//! A page that is dirty or under writeback is data, whatever the store says. DIRTY is looked for first, WRITEBACK second and the store
//! last: what has become clean in between, the store has. A write that fails in between takes its page from WRITEBACK back to DIRTY,
//! where nobody looks any more. Its error is recorded before, so if there is one all pages are looked at, each for both tags at once.

use tagged_radix::{TagFilter, TagSet};

use crate::durable::flushes::Durability;
use crate::error::{Error, Result, StoreError};
use crate::held;
use crate::index::range::Inclusive;
use crate::index::walk;
use crate::io::access::Piece;
use crate::pages::tag::PageTag;
use crate::rules::core::{Core, Mapping};
use crate::store::Store;

/// How bytes become zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clear {
    /// Their room is given back.
    Punch,
    /// It is kept, or taken.
    Zero,
}

impl Clear {
    fn ask(self, store: &dyn Store, offset: u64, len: u64) -> Result<()> {
        let done = match self {
            Clear::Punch => store.punch(offset, len),
            Clear::Zero => store.zero(offset, len),
        };
        done.map_err(|source| Error::Space { source })
    }
}

/// What a page has that the store may not have.
const UNWRITTEN: TagSet = TagSet::of(&[PageTag::Dirty.tag(), PageTag::Writeback.tag()]);

/// A change of the store, noted when it is over.
struct Noted<'d>(&'d Durability);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.note_write();
    }
}

impl Mapping {
    /// Makes these bytes zeros, as far as there are any.
    pub(crate) fn clear(&self, (first, last): Inclusive, how: Clear) -> Result<()> {
        let core = &*self.core;
        held::refuse(core.id(), "`punch` or `zero`");
        core.admit()?;
        core.check_process()?;
        let (end, size) = (last.saturating_add(1).min(core.len()), core.page_size as u64);
        if first >= end {
            return Ok(());
        }
        // Before anything is changed.
        let from = first.next_multiple_of(size);
        let (head, tail) = (from.min(end), (end - end % size).max(first));
        core.check_reserved(first, to_len(head - first))?;
        core.check_reserved(tail, to_len(end - tail))?;
        let (cleared, end) = self.clear_pages(from, end, how)?;
        core.write_zeros(first, head.min(end))?;
        core.write_zeros(cleared, end)
    }

    /// Clears the whole pages between two offsets, if there are any; returns up to where, and where the bytes end that the mapping still has.
    fn clear_pages(&self, from: u64, end: u64, how: Clear) -> Result<(u64, u64)> {
        let core = &*self.core;
        let size = core.page_size as u64;
        let _exclusive = core.truncate_alone();
        core.admit()?;
        // Nobody changes it now, and it may have been cut meanwhile.
        let len = core.len();
        let left = end.min(len);
        let to = match len {
            // The page in which it ends is whole, whatever lies behind the end.
            len if len <= end && core.has_its_length_stored(len) => end.next_multiple_of(size),
            len => end.min(len.saturating_sub(1)) / size * size,
        };
        if to <= from {
            return Ok((from, left));
        }
        let (store, pages) =
            (&*core.backing().store, (core.page_index(from), core.page_index(to - 1)));
        core.reads_ended(pages);
        // However it ends, the store may have changed.
        let _noted = Noted(&core.durability);
        how.ask(store, from, to - from)?;
        // Also now: a sync that finds the dropped pages no longer dirty makes durable what has taken their place.
        core.durability.note_write();
        self.drop_pages(pages);
        how.ask(store, from, to - from)?;
        Ok((to, left))
    }
}

/// Of bytes in one page, or all of it.
fn to_len(bytes: u64) -> usize {
    usize::try_from(bytes).expect("at most a page")
}

impl Core {
    /// Whether the store is as long as the mapping, whose length this is: it is, unless the last page has still to be written.
    fn has_its_length_stored(&self, len: u64) -> bool {
        let last = self.page_index(len.saturating_sub(1));
        self.next_unwritten(len.saturating_sub(1), last).is_none()
    }

    /// Zeros from one offset to another, in one page, like any other bytes that are written, as far as the mapping has them. Of a whole page, all that
    /// is the caller's.
    fn write_zeros(&self, from: u64, to: u64) -> Result<()> {
        let (mut bytes, count) = (0..to_len(to.saturating_sub(from)), self.page_size);
        if let Some(sealer) = self.sealer.as_ref().filter(|_| bytes.len() == count) {
            bytes = sealer.payload();
        }
        let (from, zeros) = (from + bytes.start as u64, vec![0; bytes.len()]);
        let _told = self.tell_at_end();
        loop {
            let end = (from + zeros.len() as u64).min(self.len());
            if end <= from {
                return Ok(());
            }
            let piece = Piece { stays: true, ..self.piece(from, to_len(end - from)) };
            match self.write_piece(piece, &zeros[..piece.len], true) {
                Err(Error::OutOfRange { .. }) => {} // Cut meanwhile.
                written => return written,
            }
        }
    }

    /// Takes room in the store.
    pub(crate) fn allocate(&self, (first, last): Inclusive) -> Result<()> {
        let len = (last - first).saturating_add(1);
        self.check_span(first, len)?;
        self.check_process()?;
        self.admit()?;
        let _noted = Noted(&self.durability);
        self.backing().store.allocate(first, len).map_err(|source| Error::Space { source })
    }

    /// Where the first byte is, from `offset` on, that may be other than zero.
    pub(crate) fn next_data(&self, offset: u64) -> Result<Option<u64>> {
        if offset >= self.len() {
            return Ok(None);
        }
        let unwritten = self.next_unwritten(offset, u64::MAX);
        let stored = self.ask_store(|store| store.next_data(offset))?;
        Ok(unwritten.into_iter().chain(stored).min().filter(|data| *data < self.len()))
    }

    /// Where the first byte is, from `offset` on, that takes no room anywhere. The end is such a place.
    pub(crate) fn next_hole(&self, offset: u64) -> Result<Option<u64>> {
        let mut at = offset;
        loop {
            let len = self.len();
            if at >= len {
                return Ok((offset <= len).then_some(len));
            }
            let index = self.page_index(at);
            if self.next_unwritten(at, index).is_some() {
                at = self.page_offset(index + 1);
                continue;
            }
            // Behind its end there is nothing.
            let hole = self.ask_store(|store| store.next_hole(at))?.unwrap_or(at);
            if hole <= at {
                return Ok(Some(at));
            }
            at = hole;
        }
    }

    fn ask_store<T>(
        &self,
        ask: impl FnOnce(&dyn Store) -> std::result::Result<T, StoreError>,
    ) -> Result<T> {
        ask(&*self.backing().store).map_err(|source| Error::Space { source })
    }

    /// The first byte from `offset` on in a page, up to `last`, that the store may not have.
    fn next_unwritten(&self, offset: u64, last: u64) -> Option<u64> {
        let range = (self.page_index(offset), last);
        // In this order: an error is recorded before it is said to be ending.
        let (recorded, is_ending) = (self.errors.recorded(), self.errors.any_ending());
        // In this order: a page that has lost the one tag has the other, or the store has the page, or its write has failed.
        let dirty = walk(&self.tree, range, PageTag::Dirty).next();
        let writeback = walk(&self.tree, range, PageTag::Writeback).next();
        let first = match is_ending || self.errors.recorded() > recorded {
            false => dirty.into_iter().chain(writeback).map(|(index, _)| index).min(),
            true => walk(&self.tree, range, TagFilter::ANY)
                .map(|(index, _)| index)
                .find(|index| self.is_unwritten(*index)),
        };
        Some(self.page_offset(first?).max(offset))
    }

    /// Whether a page has either tag, at one moment.
    fn is_unwritten(&self, index: u64) -> bool {
        let tags = self.tree.pin().update(index, |slot| slot.tags());
        tags.is_some_and(|tags| !tags.intersection(UNWRITTEN).is_empty())
    }
}

#[cfg(test)]
mod tests {
    use crate::{Mapping, MemStore};

    #[test]
    fn zeros_beyond_the_end_are_not_written() {
        let mapping = Mapping::open(MemStore::new()).unwrap();
        let (handle, core) = (mapping.handle(), &mapping.core);
        handle.write_at(&[1; 5000], 0).unwrap();
        handle.sync_data().unwrap();
        // As for a punch that has been asked for more, before a cut.
        for (from, to) in [(5000, 8192), (8192, 8200)] {
            core.write_zeros(from, to).unwrap();
            assert_eq!((mapping.len(), mapping.stats().dirty), (5000, 0));
        }
        core.write_zeros(4990, 5100).unwrap();
        assert_eq!((mapping.len(), mapping.stats().dirty), (5000, 1));
        let mut bytes = [7; 20];
        assert_eq!(handle.read_at(&mut bytes, 4980).unwrap(), 20);
        assert_eq!(bytes, [[1; 10], [0; 10]].concat()[..]);
    }
}
