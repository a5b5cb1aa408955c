//! What all clones of a mapping share: index, length, counters, errors.
//!
//! Only data and its plainest questions; what is done with it is in [`changes`](crate::rules::changes) (a page's
//! flags and tags), [`pass`](crate::rules::pass) (writing back), [`durability`](crate::durable::flushes), and in
//! the rooms above (bytes, the length, memory).

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use crate::accounts;
use crate::accounts::kick::Kick;
use crate::accounts::membership::Membership;
use crate::buffer::Frames;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::durable::errors::ErrorSequence;
use crate::durable::flushes::Durability;
use crate::durable::tail::Tail;
use crate::error::{Error, Result};
use crate::hooks::{Observers, Order, Sealer};
use crate::index::range::ALL;
use crate::index::{Index, walk};
use crate::pages::Page;
use crate::pages::blocks::Division;
use crate::pages::state::Snapshot;
use crate::pages::tag::PageTag;
use crate::primitives::{AtomicBool, AtomicU32, AtomicU64, HintU32, HintU64, Ordering};
use crate::rules::writeback::Writeback;

/// A cached store: its pages in memory, which of them are dirty, and the way they are written back.
///
/// Cheap to clone; all clones are the same mapping. Open it once for a store: two mappings over one store overwrite
/// each other's pages unnoticed (see [`Store`](crate::store::Store)). Dropping the last
/// clone loses what was not synced: use [`close`](Self::close).
///
/// # Concurrency
/// Any number of threads may use it, and all its handles, at once.
///
/// # Examples
/// ```
/// use writeback::{Mapping, MemStore};
///
/// let store = MemStore::new();
/// let mapping = Mapping::open(store.clone())?;
/// mapping.handle().write_at(b"hello", 0)?;
/// mapping.close().map_err(|failed| failed.error)?;
/// assert_eq!(store.durable(), b"hello");
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Clone)]
pub struct Mapping {
    pub(crate) core: Arc<Core>,
}

/// What all clones of a mapping share, with what lies below its pages.
pub(crate) struct Core {
    pub(crate) tree: Index,
    pub(crate) page_size: usize,
    /// Where the bytes of its pages lie.
    pub(crate) frames: Frames,
    pub(crate) division: Division,
    pub(crate) clock: Clock,
    /// In a cache, if it is in one.
    pub(crate) member: Membership<Core>,
    /// Flags move, but nothing is counted or written.
    pub(crate) memory_backed: bool,
    /// Length in bytes. Raised under the content latch of the page that was written; lowered by truncate alone.
    pub(crate) length: AtomicU64,
    /// What lies below is longer than `length`, because cutting it failed: what is beyond is not zeros.
    pub(crate) store_is_longer: AtomicBool,
    /// Greatest length.
    pub(crate) len_max: u64,
    /// Of a store that needs alignment.
    pub(crate) tail: Tail,
    pub(crate) closed: AtomicU32,
    /// Where the next cyclic pass starts.
    pub(crate) cyclic_next: HintU64,
    pub(crate) counters: Counters,
    pub(crate) errors: ErrorSequence,
    /// Not zero: since the last write that failed, one of a page has succeeded that had failed before.
    recovered: HintU32,
    /// The process that opened the mapping.
    process: u32,
    pub(crate) durability: Durability,
    pub(crate) kick: Kick,
    /// `None`: there is no log.
    pub(crate) order: Option<Arc<Order>>,
    /// `None`: pages are stored as they are.
    pub(crate) sealer: Option<Sealer>,
    pub(crate) observers: Observers,
    pub(crate) below: Box<dyn Below>,
}

/// What lies below the pages. The rules hand it the writes that they begin, and know no more of it.
pub(crate) trait Below: Any + Send + Sync {
    /// Most writes that it takes at a time; at least one.
    fn batch_max(&self) -> usize;

    /// Takes writes that lie side by side, in ascending order, and sees to it that each of them ends.
    fn submit(&self, writes: Vec<Writeback>);
}

/// The accounts of a cache.
pub(crate) type Cache = accounts::Accounts<Core>;

/// What a mapping has of its own in a cache.
pub(crate) type Member = accounts::Member<Core>;

impl Member {
    /// The mapping; `None` if its last user has let go of it.
    pub(crate) fn mapping(&self) -> Option<Mapping> {
        Some(Mapping { core: self.upgrade()? })
    }
}

/// A place for a page.
pub(crate) type Room<'c> = accounts::Room<'c, Core>;

/// What a mapping is made of.
pub(crate) struct Parts {
    pub(crate) page_size: usize,
    pub(crate) frames: Frames,
    pub(crate) division: Division,
    pub(crate) clock: Clock,
    pub(crate) member: Option<Member>,
    pub(crate) memory_backed: bool,
    pub(crate) length: u64,
    pub(crate) len_max: u64,
    pub(crate) tail: Tail,
    pub(crate) order: Option<Arc<Order>>,
    pub(crate) sealer: Option<Sealer>,
    pub(crate) observers: Observers,
}

impl Core {
    pub(crate) fn new(parts: Parts, below: Box<dyn Below>) -> Self {
        Self {
            tree: Index::new(),
            page_size: parts.page_size,
            frames: parts.frames,
            division: parts.division,
            clock: parts.clock,
            member: Membership(parts.member),
            memory_backed: parts.memory_backed,
            length: AtomicU64::new(parts.length),
            store_is_longer: AtomicBool::new(false),
            len_max: parts.len_max,
            tail: parts.tail,
            closed: AtomicU32::new(0),
            cyclic_next: HintU64::new(0),
            counters: Counters::default(),
            errors: ErrorSequence::new(),
            recovered: HintU32::new(0),
            process: std::process::id(),
            durability: match parts.memory_backed {
                true => Durability::of_nothing(),
                false => Durability::of_opened(),
            },
            kick: Kick::default(),
            order: parts.order,
            sealer: parts.sealer,
            observers: parts.observers,
            below,
        }
    }
}

impl Drop for Core {
    /// What it still has leaves the cache.
    fn drop(&mut self) {
        if let Some(member) = &*self.member {
            member.leave(self.counters.cached.get(), self.counters.dirty.get());
        }
    }
}

impl Core {
    pub(crate) fn len(&self) -> u64 {
        // Acquire: pairs with the writer that raised it; who sees the length sees the page.
        self.length.load(Ordering::Acquire)
    }

    /// Tells the mapping from others.
    #[inline]
    pub(crate) fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(crate) fn page_index(&self, offset: u64) -> u64 {
        // A power of two: shifted, not divided.
        offset >> self.page_size.trailing_zeros()
    }

    /// First byte of the page. Pages of a mapping lie below the store's greatest length.
    pub(crate) fn page_offset(&self, index: u64) -> u64 {
        index * self.page_size as u64
    }

    /// `Err` if the mapping takes no changes any more.
    #[inline]
    pub(crate) fn admit(&self) -> Result<()> {
        if self.admits() { Ok(()) } else { self.refuse() }
    }

    /// Whether the mapping takes changes.
    #[inline]
    pub(crate) fn admits(&self) -> bool {
        // Acquire: pairs with `stop_writers`.
        self.closed.load(Ordering::Acquire) == 0 && self.durability.poison().is_none()
    }

    #[cold]
    fn refuse(&self) -> Result<()> {
        // It may have been opened again in between; then this comes before that.
        let poisoned =
            if self.closed.load(Ordering::Acquire) > 0 { Ok(()) } else { self.durability.check() };
        poisoned.and(Err(Error::Closed))
    }

    /// The write of an image is over, and nobody has seen that yet: it may have been padded.
    pub(crate) fn note_ended(&self, page: &Page, within: usize, len: usize) {
        let end = self.page_offset(page.index()) + (within + len) as u64;
        if len > 0 {
            self.tail.note_ended(end, || self.len());
        }
    }

    /// The log. `Err`: there is none.
    pub(crate) fn order(&self) -> Result<&Arc<Order>> {
        self.order.as_ref().ok_or(Error::Config { reason: "the mapping has no log" })
    }

    /// `Err` in a fork: nobody there ends what threads of the parent have begun.
    pub(crate) fn check_process(&self) -> Result<()> {
        if self.process == std::process::id() { Ok(()) } else { Err(Error::Forked) }
    }

    /// `Err` if nothing may be written to the store: in a fork, and after a flush that failed.
    pub(crate) fn check_store(&self) -> Result<()> {
        self.check_process().and_then(|()| self.durability.check())
    }

    /// Whether it is too early to try the page again, whose last write has failed.
    ///
    /// No page backs off once one that had failed has been written: the store has recovered, until the next
    /// write fails.
    pub(crate) fn backs_off(&self, page: &Page, state: Snapshot, now_ms: u64) -> bool {
        // Relaxed: a hint. Out of date, it costs a write too many, or one more wait.
        state.has_error()
            && page.retry_at_ms() > now_ms
            && self.recovered.load(Ordering::Relaxed) == 0
    }

    /// A page's write has ended.
    pub(crate) fn note_outcome(&self, page: &Page, failed: bool) {
        if failed {
            page.note_failure(self.clock.now_ms());
            self.recovered.store(0, Ordering::Relaxed);
        } else if page.note_success() {
            self.recovered.store(1, Ordering::Relaxed);
        }
    }

    /// How long the write that began first, of those under way, has been.
    pub(crate) fn oldest_writeback(&self) -> Option<Duration> {
        let pages = walk(&self.tree, ALL, PageTag::Writeback);
        let oldest = pages.map(|(_, page)| page.writeback_since_ms()).min();
        oldest.map(|began| Duration::from_millis(self.clock.now_ms().saturating_sub(began)))
    }
}
