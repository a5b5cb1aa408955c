//! Another writer: someone else than writeback who may have a page's contents, or some of its blocks, to itself.
//!
//! The seed of this crate is a journal that held a buffer of a page while a flusher and a sync both met it.
//!
//! A hold and a writeback of the same block exclude each other. If a page is one block its HELD and WRITEBACK
//! flags say so: they are in one word, and each is set only while the other is clear. If it has several, the
//! sets in [`blocks`](crate::pages::blocks) do, which sections change; a page under writeback can then be held where it
//! is not being written. A writeback that waits is next (WANTED, or the set of that name), so a journal that
//! takes a page again and again cannot keep a sync waiting for ever.

use std::ops::Range;

use crate::buffer::Image;
use crate::pages::blocks::BlockMap;
use crate::rules::page_ref::PageRef;

/// The right of one writer, such as a journal, to the contents of a page, or of some of its blocks: no
/// writeback of them starts until it is dropped. Background writeback writes the page's other blocks, leaves
/// the page dirty, and goes on; a sync waits.
///
/// The contents can still be read and changed through handles; take an [`image`](Self::image) for
/// something that does not change. Who wants to write the blocks to the store itself says so with
/// [`take_dirty`](Self::take_dirty) and then [`written`](Self::written).
///
/// # Concurrency
/// A thread that has a hold must not call what may wait for the page or for a truncation: syncs,
/// `set_len`, `punch`, `zero`, `close`, another hold out of ascending order (of pages, and of blocks in a page), reads, writes or holds of
/// pages that are not cached, writes that lengthen the mapping. It may call [`invalidate`](crate::Mapping::invalidate) and
/// [`refresh_len`](crate::Mapping::refresh_len) only while no other thread calls one of these two, `set_len`, `punch`, `zero` or `close`, and `refresh_len` only while none
/// appends: the other may wait for a page that a sync has, and the sync for the hold.
///
/// # Examples
/// ```
/// use writeback::{Budget, Mapping, MemStore, SyncMode};
///
/// let mapping = Mapping::open(MemStore::new())?;
/// mapping.handle().write_at(b"abc", 0)?;
/// let hold = mapping.hold_page(0)?;
/// let progress = mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED)?;
/// assert_eq!((progress.submitted, progress.declined), (0, 1));
/// drop(hold);
/// let progress = mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED)?;
/// assert_eq!((progress.submitted, progress.declined), (1, 0));
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it releases the page"]
pub struct Hold {
    page: PageRef,
    blocks: BlockMap,
    /// What the holder is to write.
    taken: BlockMap,
}

impl Hold {
    /// Of blocks that were just taken.
    pub(crate) fn new(page: PageRef, blocks: BlockMap) -> Self {
        Self { page, blocks, taken: BlockMap::NONE }
    }

    /// The index of the page.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let hold = mapping.hold_page(0)?;
    /// assert_eq!(hold.index(), 0);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn index(&self) -> u64 {
        self.page.index()
    }

    /// The page.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let hold = mapping.hold_page(0)?;
    /// assert!(hold.page().snapshot().is_held());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn page(&self) -> &PageRef {
        &self.page
    }

    /// Which of the page's blocks are held, by number.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// assert_eq!(mapping.hold_page(0)?.blocks(), 0..1);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    #[expect(
        clippy::missing_panics_doc,
        reason = "at least one block is held, and they lie side by side"
    )]
    pub fn blocks(&self) -> Range<usize> {
        self.blocks.runs().next().expect("at least one block is held")
    }

    /// Where the held blocks begin in the mapping, in bytes.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// assert_eq!(mapping.hold_page(0)?.offset(), 0);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn offset(&self) -> u64 {
        self.page.offset() + self.bytes().start as u64
    }

    fn bytes(&self) -> Range<usize> {
        self.page.core().division.bytes(&self.blocks())
    }

    /// The contents of the held blocks as they are now, cut at the end of the mapping; padded with zeros, if
    /// the store has an [alignment](crate::store::Limits::alignment).
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let hold = mapping.hold_page(0)?;
    /// assert_eq!(hold.image().as_ref(), b"abc");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn image(&self) -> Image {
        self.page.image().part(self.bytes())
    }

    /// Takes it upon the holder to write to the store what is dirty of the held blocks, instead of leaving
    /// that to writeback; returns whether anything is. Take the [`image`](Self::image) after this, write it,
    /// and end with [`written`](Self::written); dropping the hold makes the blocks dirty again.
    ///
    /// The blocks count as clean from now on, and as dirty if they are changed again; the page stays dirty, so
    /// that a sync comes and waits. `false` also for a page of one block, which cannot be both: writeback
    /// writes that.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use writeback::{Config, Mapping, MemStore};
    ///
    /// let config = Config::new().page_size(16_384).block_size(4096);
    /// let mapping = Mapping::with_config(Arc::new(MemStore::new()), config)?;
    /// mapping.handle().write_at(&[1; 16_384], 0)?;
    /// let mut hold = mapping.hold_blocks(0, 1..2)?;
    /// assert!(hold.take_dirty());
    /// assert_eq!(hold.page().dirty_blocks(), 0b1101);
    /// drop(hold); // without having written it
    /// assert_eq!(mapping.page(0)?.dirty_blocks(), 0b1111);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn take_dirty(&mut self) -> bool {
        let taken = self.page.core().take_held_blocks(&self.page, self.blocks);
        self.taken = self.taken.with(taken);
        !taken.is_empty()
    }

    /// How far the [log](crate::hooks::Log) has to be durable before the holder writes the blocks; `None`: nothing
    /// of the page was logged. Ask after the image was taken.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// assert_eq!(mapping.hold_page(0)?.log_position(), None);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn log_position(&self) -> Option<u64> {
        self.page.positions.lock().newest()
    }

    /// Releases the blocks: what was [taken](Self::take_dirty) has been accepted by the store, and is durable
    /// after its next flush.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use writeback::{Config, Mapping, MemStore};
    ///
    /// let store = MemStore::new();
    /// let config = Config::new().page_size(16_384).block_size(4096);
    /// let mapping = Mapping::with_config(Arc::new(store.clone()), config)?;
    /// mapping.handle().write_at(&[1; 16_384], 0)?;
    /// let mut hold = mapping.hold_blocks(0, 1..2)?;
    /// hold.take_dirty();
    /// let image = hold.image(); // ... write it at `hold.offset()` ...
    /// # drop(image);
    /// hold.written();
    /// assert_eq!(mapping.page(0)?.dirty_blocks(), 0b1101);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn written(mut self) {
        if !self.taken.is_empty() {
            // Before the release can be seen: a sync that waited for it must find that there is something to
            // flush.
            self.page.core().durability.note_write();
            let core = &self.page.core();
            core.tail.note_ended(self.page.offset() + self.bytes().end as u64, || core.len());
            self.taken = BlockMap::NONE;
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.page.core().release_hold(&self.page, self.blocks, self.taken);
    }
}
