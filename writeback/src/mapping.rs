//! The mapping, as its users see it: opened, asked, checked, closed.
//!
//! Its operations on bytes are in [`handle`](crate::handle) and [`entry`](crate::entry), with those on single pages; its passes
//! and waits are in [`rules`](crate::rules), its syncs in [`io`](crate::io).

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tagged_radix::TagFilter;

use crate::buffer::Frames;
use crate::config::{Config, Memory};
use crate::counters::Stats;
use crate::durable::tail::Tail;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::held;
use crate::hooks::{Observers, Order, Sealer};
use crate::index::range::ALL;
use crate::index::walk;
use crate::io::backing::{length_of, open};
use crate::memory::PageCache;
use crate::pages::tag::PageTag;
use crate::rules::core::{Core, Mapping, Member, Parts};
use crate::rules::invariants::{Seen, Violation, check_count};
use crate::rules::page_ref::PageRef;
use crate::store::{NullStore, Store};
use crate::wait::now;

/// Most bytes of one write to the store, unless a page has more.
const BATCH_BYTES_MAX: usize = 64 << 20;

impl Mapping {
    /// Opens `store` with the default [`Config`].
    ///
    /// # Errors
    /// As [`with_config`](Self::with_config).
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::with_contents(b"hello"))?;
    /// assert_eq!(mapping.len(), 5);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn open(store: impl Store) -> Result<Self> {
        Self::with_config(Arc::new(store), Config::new())
    }

    /// Opens `store`.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for an unusable configuration,
    /// [`Error::Length`](crate::Error::Length) if the store does not tell its length, or is longer than its
    /// own [limits](crate::store::Limits::len_max) say it can be.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use writeback::{Config, Mapping, MemStore};
    ///
    /// let store = Arc::new(MemStore::new());
    /// assert!(Mapping::with_config(store.clone(), Config::new().page_size(1000)).is_err());
    /// assert!(Mapping::with_config(store, Config::new().page_size(1024)).is_ok());
    /// ```
    pub fn with_config(store: Arc<dyn Store>, config: Config) -> Result<Self> {
        Self::new(store, config, false)
    }

    /// A mapping without a store. Its pages become dirty like any other's, flags and tags, but
    /// they are not counted and syncs do not write them: memory is where they live. All of them stay, and there is no bound
    /// to how many.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for an unusable configuration.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Config, Mapping};
    ///
    /// let mapping = Mapping::memory_backed(Config::new())?;
    /// mapping.handle().write_at(b"abc", 0)?;
    /// mapping.handle().sync_data()?;
    /// assert!(mapping.page(0)?.snapshot().is_dirty());
    /// assert_eq!(mapping.stats().dirty, 0);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn memory_backed(config: Config) -> Result<Self> {
        Self::new(Arc::new(NullStore), config, true)
    }

    fn new(store: Arc<dyn Store>, config: Config, memory_backed: bool) -> Result<Self> {
        let mut limits = store.limits();
        config.check(limits.alignment, memory_backed)?;
        let tail = Tail::new(limits.alignment);
        limits.len_max = tail.len_max(limits.len_max);
        limits.batch_pages_max =
            limits.batch_pages_max.min((BATCH_BYTES_MAX / config.page_size).max(1));
        let division = config.division();
        let seal = config.seal.map(|seal| Sealer::new(seal, config.page_size));
        let sealer = seal.transpose()?;
        let whole = sealer.as_ref().map(|_| config.page_size);
        // A length that fits still fits when it is rounded up.
        limits.len_max -= whole.map_or(0, |page_size| limits.len_max % page_size as u64);
        let cache = match config.memory {
            Memory::In(cache) => Some(cache),
            Memory::Own if !memory_backed => Some(PageCache::of_one()?),
            Memory::Own | Memory::Unbounded => None,
        };
        let parts = Parts {
            page_size: config.page_size,
            frames: match &cache {
                Some(cache) => cache.accounts.frames.clone(),
                None => Frames::unlimited(),
            },
            division,
            clock: config.clock,
            member: cache.map(|cache| Member::new(cache.accounts, config.page_size as u64)),
            memory_backed,
            length: length_of(&*store, limits.len_max, whole)?,
            len_max: limits.len_max,
            tail,
            order: config.log.map(|log| Arc::new(Order::new(log))),
            sealer,
            observers: Observers::new(config.observers),
        };
        Ok(open(parts, store, limits))
    }

    /// A new handle, with an error cursor of its own. An error that no handle was told yet is
    /// reported to it too.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// let (one, other) = (mapping.handle(), mapping.handle());
    /// one.write_at(b"x", 0)?;
    /// let mut byte = [0];
    /// other.read_at(&mut byte, 0)?;
    /// assert_eq!(&byte, b"x");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn handle(&self) -> Handle {
        Handle::new(self.clone())
    }

    /// What tells whether this mapping still exists, and which one it is, and does not keep it.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let store = MemStore::new();
    /// let mapping = Mapping::open(store.clone())?;
    /// let weak = mapping.downgrade();
    /// assert!(weak == mapping.clone().downgrade());
    /// assert!(weak != Mapping::open(store)?.downgrade());
    /// drop(mapping);
    /// assert!(weak.upgrade().is_none());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn downgrade(&self) -> WeakMapping {
        WeakMapping(Arc::downgrade(&self.core))
    }

    /// Bytes in a page.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// assert_eq!(mapping.page_size(), 4096);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn page_size(&self) -> usize {
        self.core.page_size
    }

    /// The bytes of each page that are the caller's: all, but for what a [`Seal`](crate::hooks::Seal) keeps for
    /// itself.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// assert_eq!(mapping.payload(), 0..4096);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn payload(&self) -> Range<usize> {
        self.core.payload()
    }

    /// Bytes in a block: that of a page, unless [`Config::block_size`] says otherwise.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// assert_eq!(mapping.block_size(), mapping.page_size());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn block_size(&self) -> usize {
        self.core.division.block_size()
    }

    /// Length in bytes, as readers see it; the store's own may lag behind until a sync.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// assert_eq!(mapping.len(), 3);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn len(&self) -> u64 {
        self.core.len()
    }

    /// Tells whether the length is zero.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// assert!(!mapping.is_empty());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The store below.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// assert_eq!(mapping.store().len().expect("in memory"), 0, "nothing is written yet");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.core.backing().store
    }

    /// The page at `index`, read in if it is not cached.
    ///
    /// # Concurrency
    /// May wait for the page lock and for the store.
    ///
    /// # Errors
    /// [`Error::OutOfRange`](crate::Error::OutOfRange) beyond the end,
    /// [`Error::Read`](crate::Error::Read) if the store fails,
    /// [`Error::Corrupt`](crate::Error::Corrupt) if what it has does not open; to a thread that has a
    /// [guard](crate#while-a-guard-is-held), [`Error::WouldBlock`](crate::Error::WouldBlock) while the mapping is being cut.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::with_contents(b"hello"))?;
    /// let page = mapping.page(0)?;
    /// assert_eq!(page.read_with(|bytes| bytes[..5].to_vec()), b"hello");
    /// assert!(mapping.page(1).is_err());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn page(&self, index: u64) -> Result<PageRef> {
        if let Some(page) = self.try_page(index) {
            return Ok(page);
        }
        // Also if it is just being taken out: this waits for that, so that who asks again and again does
        // not spin meanwhile.
        let page = now(self.load_page(index, || self.core.make_room()))?;
        Ok(PageRef::new(self.clone(), page))
    }

    /// The page at `index` if it is cached; no I/O. Its contents may not have been read yet.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// assert!(mapping.cached_page(0).is_some());
    /// assert!(mapping.cached_page(1).is_none());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn cached_page(&self, index: u64) -> Option<PageRef> {
        PageRef::cached(self, index)
    }

    /// Waits until another page may become dirty, as a change of a clean page does by itself: only in a
    /// [`PageCache`](crate::PageCache), and only if the mapping has as many dirty pages as it may.
    ///
    /// For a thread that is about to take guards: while it has one it does not wait for room, which might wait for
    /// the guard, but goes over the limit. So call this before the first guard of an operation that changes pages.
    ///
    /// # Errors
    /// As a write: [`Error::Stalled`](crate::Error::Stalled), [`Error::Closed`](crate::Error::Closed), [`Error::Poisoned`](crate::Error::Poisoned).
    pub fn wait_for_room(&self) -> Result<()> {
        held::refuse(self.core.id(), "`wait_for_room`");
        self.core.wait_for_room()
    }

    /// What it holds and has done.
    ///
    /// # Complexity
    /// O(n) in the pages under writeback, whose ages are looked at.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// mapping.handle().sync_data()?;
    /// let stats = mapping.stats();
    /// assert_eq!((stats.cached, stats.dirty, stats.written, stats.flushes), (1, 0, 1, 1));
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn stats(&self) -> Stats {
        let core = &self.core;
        Stats {
            log_waits: core.order.as_ref().map_or(0, |order| order.ensured.get()),
            oldest_writeback: core.oldest_writeback(),
            unflushed: core.durability.uncovered(),
            observer_panics: core.observers.panics.get(),
            ..core.counters.stats(self.is_poisoned())
        }
    }

    /// How long ago the page became dirty that has been dirty for longest; `None`: none is. By the mapping's
    /// [`Clock`](crate::Clock), in whole milliseconds.
    ///
    /// # Complexity
    /// Looks at every dirty page.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use writeback::{Clock, Config, Mapping, MemStore};
    ///
    /// let clock = Clock::manual();
    /// let config = Config::new().clock(clock.clone());
    /// let mapping = Mapping::with_config(Arc::new(MemStore::new()), config)?;
    /// mapping.handle().write_at(b"abc", 0)?;
    /// clock.advance(Duration::from_secs(7));
    /// mapping.handle().write_at(b"abc", 4096)?;
    /// assert_eq!(mapping.oldest_dirty_age(), Some(Duration::from_secs(7)));
    /// mapping.handle().sync_data()?;
    /// assert_eq!(mapping.oldest_dirty_age(), None);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn oldest_dirty_age(&self) -> Option<Duration> {
        let core = &self.core;
        let pages = walk(&core.tree, ALL, PageTag::Dirty).map(|(_, page)| page);
        let oldest_ms =
            pages.filter(|page| page.snapshot().is_dirty()).map(|page| page.first_dirty_ms());
        let age_ms = core.clock.now_ms().saturating_sub(oldest_ms.min()?);
        Some(Duration::from_millis(age_ms))
    }

    /// Tells whether a flush of the store has failed; then nothing can be promised any more and
    /// writes and syncs return [`Error::Poisoned`](crate::Error::Poisoned). Reads are still served.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// assert!(!mapping.is_poisoned());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn is_poisoned(&self) -> bool {
        self.core.durability.poison().is_some()
    }

    /// Checks the index and every page's invariants. For tests and the suspicious.
    ///
    /// # Concurrency
    /// Each page is checked in one section and may be in use; the counters and the index as a whole
    /// are exact only while nothing changes.
    ///
    /// # Errors
    /// The first invariant found broken.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::new())?;
    /// mapping.handle().write_at(&[1; 20_000], 0)?;
    /// mapping.check().expect("nothing is broken");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn check(&self) -> Result<(), Violation> {
        let core = &*self.core;
        let tree = |violation: &dyn fmt::Display| Violation {
            invariant: "tree",
            detail: violation.to_string(),
        };
        core.tree.check().map_err(|violation| tree(&violation))?;
        let (mut cached, mut dirty, mut writeback) = (0, 0, 0);
        let pinned = core.tree.pin();
        for (key, _, _) in pinned.range_tagged(.., TagFilter::ANY) {
            let seen = pinned.update(key, |slot| {
                let page = slot.value();
                let (state, tags) = (page.snapshot(), slot.tags());
                let seen = Seen { page: &page, key, state, tags };
                seen.check()?;
                match &core.order {
                    Some(order) => seen.check_log(|| order.oldest()).map(|()| state),
                    None => Ok(state),
                }
            });
            let Some(state) = seen.transpose()? else { continue };
            cached += 1;
            dirty += u64::from(state.is_dirty() && !core.memory_backed);
            writeback += u64::from(state.is_under_writeback() && !core.memory_backed);
        }
        let counters = &core.counters;
        check_count("cached", counters.cached.get(), cached)?;
        check_count("dirty", counters.dirty.get(), dirty)?;
        check_count("writeback", counters.writeback.get(), writeback)
    }

    /// Stops all writers, writes every dirty page, flushes the store and lets go of this clone. Also a mapping
    /// that has written nothing flushes, unless it has done so before: what the store held when it was
    /// opened may not have been durable.
    ///
    /// Writes of other clones and handles fail with [`Error::Closed`](crate::Error::Closed) from now
    /// on; reads are still served from memory and store. The store is dropped, and a file's lock with it, when all clones and handles are, and the
    /// reads under way have ended: also one that nobody waits for, because its task was dropped or it [read ahead](crate::Handle::read_ahead). What a store is just telling the end of, on a thread
    /// of its own, is waited for, a second at the most; so a file can be opened again as soon as this has returned, if nobody has a handle or a page, nothing is being read,
    /// and no task was dropped whose work a thread goes on with. A thread that makes room for another mapping of the same [`PageCache`](crate::PageCache) may have the last reference for a moment more. Called by a waker or an observer, on
    /// the thread of a store that tells an end, it does not wait.
    ///
    /// # Errors
    /// [`CloseError`] hands the mapping back, open again unless another close has stopped the writers, too, with everything that is not saved.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Error, Mapping, MemStore};
    ///
    /// let mapping = Mapping::open(MemStore::new())?;
    /// let handle = mapping.handle();
    /// handle.write_at(b"kept", 0)?;
    /// mapping.close().map_err(|failed| failed.error)?;
    /// assert!(matches!(handle.write_at(b"late", 0), Err(Error::Closed)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn close(self) -> Result<(), CloseError> {
        held::refuse(self.core.id(), "`close`");
        if let Err(error) = self.core.check_process() {
            let unsaved_pages = self.core.unsaved();
            return Err(CloseError { error, unsaved_pages, mapping: self });
        }
        self.core.stop_writers();
        match self.save_all() {
            Ok(()) => {
                // Else one of them may have the last reference, for a moment more.
                self.core.backing().ends.wait();
                Ok(())
            }
            Err(error) => {
                self.core.reopen();
                let unsaved_pages = self.core.unsaved();
                Err(CloseError { error, unsaved_pages, mapping: self })
            }
        }
    }
}

/// A mapping that may be gone already: [`Mapping::downgrade`]. Equal are those of the same mapping, also after it is gone.
#[derive(Debug, Clone)]
pub struct WeakMapping(Weak<Core>);

impl WeakMapping {
    /// The mapping, if there is still a clone or a handle of it.
    pub fn upgrade(&self) -> Option<Mapping> {
        Some(Mapping { core: self.0.upgrade()? })
    }
}

impl PartialEq for WeakMapping {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl Eq for WeakMapping {}

/// [`Mapping::close`] did not save everything.
///
/// The mapping is handed back, open again and with every unsaved page still in it: free some
/// space and close it again, read the pages out, or drop it and lose them knowingly.
///
/// # Examples
/// ```
/// # use writeback::StoreError;
/// # use writeback::store::{Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch};
/// use writeback::Mapping;
///
/// # #[derive(Debug)]
/// # struct Full;
/// # impl Store for Full {
/// #     fn limits(&self) -> Limits { Limits::default() }
/// #     fn len(&self) -> Result<u64, StoreError> { Ok(0) }
/// #     fn set_len(&self, _: u64) -> Result<(), StoreError> { Ok(()) }
/// #     fn read(&self, run: ReadRun) { run.complete(Ok(0)) }
/// #     fn write(&self, _: WriteBatch, completion: Completion) {
/// #         completion.complete(Err(StoreError::NoSpace));
/// #     }
/// #     fn flush(&self, _: FlushKind, completion: FlushCompletion) { completion.complete(Ok(())) }
/// # }
/// let mapping = Mapping::open(Full)?; // a store that has no room
/// mapping.handle().write_at(b"new", 0)?;
/// let failed = mapping.close().expect_err("it cannot be written");
/// assert!(failed.error.is_no_space());
/// assert_eq!(failed.unsaved_pages, 1);
/// let mut bytes = [0; 3];
/// failed.mapping.handle().read_at(&mut bytes, 0)?; // still here
/// assert_eq!(&bytes, b"new");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[error("closing failed with {unsaved_pages} pages unsaved: {error}")]
pub struct CloseError {
    /// Why.
    pub error: Error,
    /// How many pages are dirty or not known to be written.
    pub unsaved_pages: u64,
    /// The mapping, for whoever wants to save them.
    pub mapping: Mapping,
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping")
            .field("store", self.store())
            .field("page_size", &self.core.page_size)
            .field("len", &self.len())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
