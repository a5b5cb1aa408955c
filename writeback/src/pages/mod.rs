//! A page: its state word, its contents, and waiting for it.
//!
//! The state word is in [`state`](crate::pages::state), the contents are in [`buffer`](crate::buffer), the
//! place to sleep is in [`wait`](crate::wait); a page puts them together and adds the tickets of its
//! writebacks. It does not know its mapping.

pub(crate) mod blocks;
pub(crate) mod keep;
pub(crate) mod positions;
pub(crate) mod state;
pub(crate) mod tag;

use std::fmt;
use std::future::Future;

use crate::accounts::usage::Usage;
use crate::buffer::Contents;
use crate::pages::blocks::{BlockMap, Blocks};
use crate::pages::positions::Positions;
use crate::pages::state::{PageState, Snapshot, Wake};
use crate::primitives::{AtomicU64, CHECKED, HintU32, HintU64, Latch, Mutex, Ordering};
use crate::wait;

/// A cached page, as the index stores it. Reached through [`PageRef`](crate::page::PageRef).
///
/// # Examples
/// ```
/// # use writeback::{Mapping, MemStore};
/// # let mapping = Mapping::open(MemStore::new())?;
/// # mapping.handle().write_at(b"abc", 0)?;
/// let page = mapping.page(0)?; // a `PageRef`, which dereferences to `Page`
/// assert_eq!(page.index(), 0);
/// # Ok::<(), writeback::Error>(())
/// ```
pub struct Page {
    pub(crate) state: PageState,
    index: u64,
    /// Writebacks begun; the last one's ticket. Changes with WRITEBACK.
    started: AtomicU64,
    /// The highest ticket whose end is visible in flags, tags and errors.
    ended: AtomicU64,
    /// When the page last became dirty after being clean, in clock milliseconds.
    first_dirty_ms: HintU64,
    /// When its last writeback began, in clock milliseconds.
    writeback_since_ms: HintU64,
    /// Failed writes in a row, and when the next one may be tried without being asked for.
    failures: HintU32,
    retry_at_ms: HintU64,
    /// Whether eviction spares it.
    pub(crate) usage: Usage,
    /// What is dirty, held, written and wanted of it; `None` if it is one block.
    pub(crate) blocks: Option<Box<Blocks>>,
    /// The content latch. Held for the time of a copy, never across I/O.
    pub(crate) contents: Latch<Contents>,
    /// Log positions of its changes; noted and taken under the latch.
    pub(crate) positions: Mutex<Positions>,
}

/// First delay after a failed write; doubles up to [`BACKOFF_MAX_MS`].
const BACKOFF_MS: u64 = 100;
const BACKOFF_MAX_MS: u64 = 30_000;

impl Page {
    /// A page for `index` of so many blocks, locked by the caller and without contents.
    pub(crate) fn new(index: u64, block_count: usize) -> Self {
        Self {
            state: PageState::new(block_count > 1),
            index,
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            first_dirty_ms: HintU64::new(0),
            writeback_since_ms: HintU64::new(0),
            failures: HintU32::new(0),
            retry_at_ms: HintU64::new(0),
            usage: Usage::default(),
            blocks: Blocks::new(block_count),
            contents: Latch::new(Contents::empty()),
            positions: Mutex::new(Positions::NONE),
        }
    }

    /// Which page of the mapping this is: its byte offset divided by the page size.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// assert_eq!(mapping.page(0)?.index(), 0);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn index(&self) -> u64 {
        self.index
    }

    /// What the state word says now.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// assert!(mapping.page(0)?.snapshot().is_dirty());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn snapshot(&self) -> Snapshot {
        self.state.load()
    }

    /// Which of its blocks are dirty, one bit a block, the lowest for the first. A page of one block has that
    /// bit when its flag is set; one of several can be dirty by its flag and have none.
    ///
    /// # Examples
    /// ```
    /// # use std::sync::Arc;
    /// # use writeback::{Config, Mapping, MemStore};
    /// let config = Config::new().page_size(16_384).block_size(4096);
    /// let mapping = Mapping::with_config(Arc::new(MemStore::new()), config)?;
    /// mapping.handle().write_at(&[1; 100], 8100)?; // some of block 1, and some of block 2
    /// assert_eq!(mapping.page(0)?.dirty_blocks(), 0b110);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn dirty_blocks(&self) -> u64 {
        match &self.blocks {
            None => u64::from(self.snapshot().is_dirty()),
            Some(sets) => sets.dirty.get().bits(),
        }
    }

    /// Which of its blocks another writer holds, one bit a block (see [`Hold`](crate::page::Hold)).
    ///
    /// # Examples
    /// ```
    /// # use std::sync::Arc;
    /// # use writeback::{Config, Mapping, MemStore};
    /// let config = Config::new().page_size(16_384).block_size(4096);
    /// let store = Arc::new(MemStore::with_contents([0; 16_384]));
    /// let mapping = Mapping::with_config(store, config)?;
    /// let hold = mapping.hold_blocks(0, 1..3)?;
    /// assert_eq!(hold.page().held_blocks(), 0b110);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn held_blocks(&self) -> u64 {
        match &self.blocks {
            None => u64::from(self.snapshot().is_held()),
            Some(sets) => sets.held.get().bits(),
        }
    }

    /// Has the processor fetch the page's words, without waiting for them.
    #[cfg(not(writeback_loom))]
    pub(crate) fn touch(&self) {
        // Relaxed, and for nothing: nobody looks at the values.
        let _ = std::hint::black_box((self.state.load(), self.retry_at_ms.load(Ordering::Relaxed)));
    }

    /// Waits for the page lock and takes it.
    pub(crate) fn lock(&self) {
        while !self.state.try_lock() {
            self.wait_while(Snapshot::is_locked);
        }
    }

    /// Waits until the state word is as it is to be.
    pub(crate) fn until(
        &self,
        ready: impl Fn(Snapshot) -> bool + Unpin + Send,
    ) -> impl Future<Output = ()> + Send {
        wait::until(self.key(), move || ready(self.state.announce()))
    }

    /// Sleeps while `blocked` is true of the state word.
    pub(crate) fn wait_while(&self, blocked: impl Fn(Snapshot) -> bool) {
        if blocked(self.state.load()) {
            wait::wait_until(self.key(), || !blocked(self.state.announce()));
        }
    }

    /// Sleeps while a hold of these blocks of the page has to wait.
    pub(crate) fn wait_for_blocks(&self, blocks: BlockMap) {
        let Some(sets) = &self.blocks else {
            return self.wait_while(Snapshot::refuses_hold);
        };
        // Announced before it looks, as for tickets.
        wait::wait_until(self.key(), || {
            !self.state.announce().is_mapped() || !sets.refuse_hold(blocks)
        });
    }

    /// Waits while any of these blocks is held.
    pub(crate) fn blocks_released<'p>(
        &'p self,
        sets: &'p Blocks,
        blocks: BlockMap,
    ) -> impl Future<Output = ()> + Send {
        wait::until(self.key(), move || {
            self.state.announce();
            !sets.held.get().meets(blocks)
        })
    }

    /// All its blocks.
    pub(crate) fn all_blocks(&self) -> BlockMap {
        self.blocks.as_ref().map_or(BlockMap::ONE, |sets| sets.all)
    }

    /// Whether marking these blocks dirty is done at once: they are dirty already, so that only the tag is left to
    /// look at.
    ///
    /// If a claim takes the set right after it was read, it takes these blocks, and their image later, under
    /// the latch that the caller has. It cannot have taken its image before: then the caller, who got the
    /// latch after it, would find them gone from the set.
    pub(crate) fn blocks_are_dirty(&self, blocks: BlockMap) -> bool {
        let dirty = |sets: &Blocks| sets.dirty.get().contains(blocks);
        self.snapshot().is_dirty() && self.blocks.as_deref().is_some_and(dirty)
    }

    /// In a section: takes what is dirty, to be written.
    pub(crate) fn take_dirty_blocks(&self) -> BlockMap {
        self.blocks.as_ref().map_or(BlockMap::ONE, |sets| sets.dirty.take())
    }

    /// In a section, before DIRTY is set: `blocks` are dirty.
    pub(crate) fn add_dirty_blocks(&self, blocks: BlockMap) {
        if let Some(sets) = &self.blocks {
            sets.dirty.add(blocks);
        }
    }

    /// To be woken: who waits for the lock, or for what a writeback that waited had kept for itself.
    pub(crate) fn unlock(&self) -> Wake {
        if let Some(sets) = &self.blocks {
            sets.wanted.take();
        }
        self.state.unlock()
    }

    pub(crate) fn wake(&self, wake: Wake) {
        if wake.is_needed() {
            wait::wake_all(self.key());
        }
    }

    /// Under what its sleepers sleep. Two pages may share a key; that costs a wake-up.
    fn key(&self) -> u64 {
        if CHECKED { self.index } else { std::ptr::from_ref(self).addr() as u64 }
    }

    /// The ticket of the last writeback begun; 0 if there was none.
    pub(crate) fn ticket(&self) -> u64 {
        self.started.load(Ordering::Acquire)
    }

    /// Called in the section that starts a writeback, so never by two threads at a time.
    pub(crate) fn next_ticket(&self) -> u64 {
        self.started.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The writeback with `ticket` is over and everything it changed can be seen; whoever waits for that is to be woken.
    pub(crate) fn finish_ticket(&self, ticket: u64) -> Wake {
        // fetch_max: the next writeback may have begun, and ended, since this one's section.
        self.ended.fetch_max(ticket, Ordering::AcqRel);
        // A sleeper announces itself before it looks at `ended`: one of the two sees the other.
        self.state.take_sleepers()
    }

    fn is_over(&self, ticket: u64) -> bool {
        self.ended.load(Ordering::Acquire) >= ticket
    }

    /// Announces a sleeper, then looks.
    fn announce_until_over(&self, ticket: u64) -> bool {
        self.state.announce();
        self.is_over(ticket)
    }

    /// Waits until the writeback with `ticket`, and all before it, are over.
    ///
    /// By ticket, not by flag: a page that is written again and again has its flag set whenever
    /// one looks (a waiter would starve), and a flag seen clear says nothing of which write ended.
    pub(crate) fn ended(&self, ticket: u64) -> impl Future<Output = ()> + Send {
        wait::until(self.key(), move || self.announce_until_over(ticket))
    }

    /// As [`ended`](Self::ended), in this thread.
    pub(crate) fn wait_ticket(&self, ticket: u64) {
        if !self.is_over(ticket) {
            wait::now(self.ended(ticket));
        }
    }

    /// An image of this page was let go of. If nobody has the latch, its bytes are the page's own again.
    ///
    /// Never waits, so who ends a write may call it. It changes nothing that can be seen, and is left
    /// out of the models.
    pub(crate) fn image_gone(&self) {
        #[cfg(not(any(writeback_loom, writeback_shuttle)))]
        if let Some(mut contents) = self.contents.try_write() {
            contents.take_back();
        }
    }

    pub(crate) fn set_first_dirty_ms(&self, now_ms: u64) {
        self.first_dirty_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn first_dirty_ms(&self) -> u64 {
        self.first_dirty_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn set_writeback_since_ms(&self, now_ms: u64) {
        self.writeback_since_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn writeback_since_ms(&self) -> u64 {
        self.writeback_since_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn note_failure(&self, now_ms: u64) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).min(16);
        let delay = (BACKOFF_MS << failures).min(BACKOFF_MAX_MS);
        self.retry_at_ms.store(now_ms.saturating_add(delay), Ordering::Relaxed);
    }

    /// Returns whether the write before had failed.
    pub(crate) fn note_success(&self) -> bool {
        let had_failed = self.failures.load(Ordering::Relaxed) != 0;
        if had_failed {
            self.failures.store(0, Ordering::Relaxed);
            self.retry_at_ms.store(0, Ordering::Relaxed);
        }
        had_failed
    }

    pub(crate) fn retry_at_ms(&self) -> u64 {
        self.retry_at_ms.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("index", &self.index)
            .field("state", &self.state.load())
            .field("ticket", &self.ticket())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uptodate_page() -> Page {
        crate::watchdog::watch();
        let page = Page::new(3, 1);
        page.state.set_uptodate();
        page
    }

    #[test]
    fn a_new_page_is_locked_mapped_and_has_no_contents() {
        let page = Page::new(3, 1);
        let state = page.snapshot();
        assert!(state.is_locked() && state.is_mapped() && !state.is_uptodate());
        assert!(page.contents.read().as_slice().is_empty());
        assert!(!page.state.try_lock());
    }

    #[test]
    fn hold_and_writeback_exclude_each_other() {
        let page = uptodate_page();
        page.state.try_hold().unwrap();
        assert!(page.state.begin_writeback().is_err());
        page.state.want_release();
        page.wake(page.state.release_hold());
        assert!(page.state.try_hold().is_err(), "the writeback that waited comes first");
        page.state.begin_writeback().unwrap();
        assert!(page.state.try_hold().is_err());
        page.state.end_writeback(false);
        page.state.try_hold().unwrap();
    }

    #[test]
    fn a_failed_write_leaves_the_page_dirty_and_a_good_one_clears_the_error() {
        let page = uptodate_page();
        page.state.begin_writeback().unwrap();
        assert!(page.state.end_writeback(true));
        assert!(page.snapshot().is_dirty() && page.snapshot().has_error());
        assert!(page.state.clear_dirty());
        page.state.begin_writeback().unwrap();
        assert!(page.state.set_dirty());
        assert!(!page.state.end_writeback(true), "it was redirtied meanwhile");
        page.state.clear_dirty();
        page.state.begin_writeback().unwrap();
        assert!(!page.state.end_writeback(false));
        assert!(!page.snapshot().has_error());
    }

    #[test]
    fn a_detached_page_can_not_be_held() {
        let page = uptodate_page();
        page.state.try_hold().unwrap();
        assert!(page.state.detach().is_err());
        page.wake(page.state.release_hold());
        page.state.detach().unwrap();
        assert!(page.state.try_hold().is_err() && !page.snapshot().refuses_hold());
    }

    #[test]
    fn a_ticket_waiter_is_not_held_up_by_the_next_writeback() {
        let page = uptodate_page();
        page.state.begin_writeback().unwrap();
        let first = page.next_ticket();
        page.state.end_writeback(false);
        page.state.begin_writeback().unwrap();
        let second = page.next_ticket();
        page.wake(page.finish_ticket(first));
        page.wait_ticket(first);
        page.wake(page.finish_ticket(second));
        page.wake(page.finish_ticket(first));
        page.wait_ticket(second);
    }

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let page = uptodate_page();
        page.note_failure(1000);
        assert_eq!(page.retry_at_ms(), 1100);
        page.note_failure(1000);
        assert_eq!(page.retry_at_ms(), 1200);
        for _ in 0..40 {
            page.note_failure(1000);
        }
        assert_eq!(page.retry_at_ms(), 31_000);
        assert!(page.note_success());
        assert_eq!(page.retry_at_ms(), 0);
        assert!(!page.note_success());
    }
}
