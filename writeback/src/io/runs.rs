//! Reading missing pages in, several with one read of the store.
//!
//! A *run* is made of the page that somebody misses and of those behind it that are wanted, too. Each of these is new: it is put
//! into the index locked, and the first that is there already, cached or being read by somebody else, ends the run. So a run is gathered without waiting
//! for a lock, and whoever wants one of its pages waits for the lock of that page, and finds it read: of each page there is
//! one read at a time.
//!
//! The place of the first page was taken before any lock. For the others only places are taken that are free, without evicting or
//! waiting for anybody, because by then locks are held; where there is none the run ends.
//!
//! If the store fails, or the read is lost, in the middle of a run, the pages in front are valid. The others stay empty, and
//! whoever comes to one of them asks the store again: only the reader of the first page is told.

use page_frames::Frame;

use super::access::PageLock;
use crate::buffer::Contents;
use crate::error::{Error, Result, StoreError};
use crate::pages::keep::Kept;
use crate::rules::core::{Core, Room};
use crate::store::wait::{self, Filled};

/// Most bytes of a run, unless a page has more.
const RUN_BYTES_MAX: u64 = 1 << 20;

impl Core {
    /// The page at `index`, valid. Reads it if it is not.
    ///
    /// # Errors
    /// `OutOfRange` beyond the end.
    pub(crate) fn load_page(&self, index: u64, room: Room<'_>) -> Result<Kept> {
        self.load_run(index, 1, room)
    }

    /// As [`load_page`](Self::load_page). If it has to be read, so are those behind it that are missing, up to `wanted` in all.
    pub(crate) fn load_run(&self, index: u64, wanted: u64, mut room: Room<'_>) -> Result<Kept> {
        let _no_truncate = self.no_truncate()?;
        // Saturated, it is beyond every length. A caller that asks again does so because the length has
        // changed since it looked, and for no other reason.
        let offset = index.saturating_mul(self.page_size as u64);
        if offset >= self.len() {
            return Err(Error::OutOfRange { offset, len: self.page_size as u64 });
        }
        let (page, lock) = self.find_or_lock(index, &mut room);
        if let Some(lock) = lock {
            self.read_run(&self.gather(lock, wanted))?;
        }
        Ok(page)
    }

    /// The run that begins with a page that the caller has locked.
    fn gather<'s>(&'s self, first: PageLock<'s>, wanted: u64) -> Vec<PageLock<'s>> {
        let start = first.page.index();
        let most = wanted.min(RUN_BYTES_MAX / self.page_size as u64);
        let end = self.len().div_ceil(self.page_size as u64).min(start.saturating_add(most));
        let mut run = vec![first];
        for index in start + 1..end {
            let Some(mut room) = self.free_room() else { break };
            let Ok(page) = self.insert_locked(index, &mut room) else { break };
            let page = Kept::new(page).expect("nobody evicts or truncates a locked page");
            run.push(PageLock::of_locked(self, page));
        }
        run
    }

    /// A place for a page, if one is free.
    fn free_room(&self) -> Option<Room<'_>> {
        let Some(member) = &*self.member else { return Some(Room::UNLIMITED) };
        let weight = member.account.weight;
        member.cache.take_place(weight).then(|| Room::taken(&member.cache, weight))
    }

    /// Reads the pages of a run; tells what became of the first.
    fn read_run(&self, run: &[PageLock<'_>]) -> Result<()> {
        let size = self.page_size as u64;
        let Some(first) = run.first() else { return Ok(()) };
        let buffers = run.iter().map(|_| self.frames.zeroed(self.page_size)).collect();
        let offset = self.page_offset(first.page.index());
        // Before the store is asked.
        let len = self.len();
        let Filled { buffers, mut count, error } =
            wait::read(&*self.backing().store, offset, buffers);
        let mut outcomes = run.iter().zip(buffers).map(|(lock, bytes)| {
            let there = count.min(size);
            count -= there;
            match &error {
                Some(source) if there < size => {
                    Err(Error::Read { index: lock.page.index(), source: source.clone() })
                }
                _ => self.fill(&lock.page, bytes, there, len),
            }
        });
        let first = outcomes.next().unwrap_or_else(|| {
            Err(Error::Read { index: first.page.index(), source: StoreError::Lost })
        });
        // Whoever comes to one of the others finds out for itself.
        outcomes.for_each(drop);
        first
    }

    /// Makes valid a page that the caller has locked; the store had its first `count` bytes when the mapping had `len`.
    fn fill(&self, page: &Kept, bytes: Frame, count: u64, len: u64) -> Result<()> {
        let bytes = self.first_read(page.index(), bytes, count, self.valid(page.index(), len))?;
        let mut contents = page.contents.write();
        *contents = Contents::from(bytes);
        page.state.set_uptodate();
        Ok(())
    }
}
