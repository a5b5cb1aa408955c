//! A mapping over a [`Disk`], and what is asked of it.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use loom::thread::{self, JoinHandle};
use writeback::page::{Claim, PageRef, Writeback};
use writeback::{CacheConfig, Clock, Config, Handle, Mapping, PageCache, Result};

use crate::disk::{Disk, PAGE, Word, version_of};

/// Cheap to clone; all clones are the same. A thread has one.
#[derive(Clone)]
pub(crate) struct World(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) mapping: Mapping,
    pub(crate) disk: Arc<Disk>,
}

impl Deref for World {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl World {
    /// A mapping of `pages` pages of zeros, none of them cached, with room for one more.
    pub(crate) fn new(pages: usize) -> Self {
        Self::with_capacity(pages, pages)
    }

    /// As [`new`](Self::new), over a disk with room for `capacity` pages.
    pub(crate) fn with_capacity(pages: usize, capacity: usize) -> Self {
        Self::over(Disk::new(pages, capacity), Config::new().unbounded().page_size(PAGE))
    }

    /// As [`new`](Self::new), in a cache for eight pages, so many of which may be dirty. Nobody who waits in
    /// vain waits for long.
    pub(crate) fn in_cache(pages: usize, dirty_max: u64) -> (Self, PageCache) {
        let config = CacheConfig::bytes(8 * PAGE as u64);
        let config = config.dirty_bytes_max(dirty_max * PAGE as u64).stall_max(Duration::ZERO);
        let cache = PageCache::new(config).unwrap();
        (Self::also_in(&cache, pages, 1), cache)
    }

    /// As [`in_cache`](Self::in_cache), with room for `capacity` pages, of which a fifth may be dirty, whatever the size later.
    pub(crate) fn in_small_cache(pages: usize, capacity: usize) -> (Self, PageCache) {
        let config = CacheConfig::bytes((capacity * PAGE) as u64).stall_max(Duration::ZERO);
        let cache = PageCache::new(config).unwrap();
        (Self::also_in(&cache, pages, 1), cache)
    }

    /// A mapping of `pages` pages of zeros, each as large as `times` those of others, in a cache that others may be in too.
    pub(crate) fn also_in(cache: &PageCache, pages: usize, times: usize) -> Self {
        let config = Config::new().page_size(times * PAGE).cache(cache);
        Self::over(Disk::new(times * pages, times * pages + 1), config)
    }

    /// A mapping of one page of so many blocks, those in `dirty` of version 1, the others clean and zeros. A block
    /// is what is called a page below, but for claims and holds.
    pub(crate) fn blocks(count: usize, dirty: &[usize]) -> Self {
        let config = Config::new().unbounded().page_size(count * PAGE).block_size(PAGE);
        let world = Self::over(Disk::new(count, count), config);
        dirty.iter().for_each(|block| world.write(*block, 1));
        world
    }

    /// An empty mapping over a disk for so many pages that is written in whole pages only.
    pub(crate) fn aligned(capacity: usize) -> Self {
        Self::over(Disk::aligned(capacity), Config::new().unbounded().page_size(PAGE))
    }

    fn over(disk: Disk, config: Config) -> Self {
        let disk = Arc::new(disk);
        let config = config.clock(Clock::manual());
        let store = Arc::clone(&disk);
        let mapping = Mapping::with_config(store, config).unwrap();
        Self(Arc::new(Inner { mapping, disk }))
    }

    /// A mapping of `pages` pages of version 1, all of them dirty.
    pub(crate) fn dirty(pages: usize) -> Self {
        let world = Self::new(pages);
        (0..pages).for_each(|page| world.write(page, 1));
        world
    }

    /// A thread of the model.
    pub(crate) fn spawn<R: 'static>(
        &self,
        work: impl FnOnce(&World) -> R + 'static,
    ) -> JoinHandle<R> {
        let world = self.clone();
        thread::spawn(move || work(&world))
    }

    /// A thread that writes a page and then tells of it.
    pub(crate) fn spawn_writer(
        &self,
        ledger: &Arc<Ledger>,
        page: usize,
        version: u8,
    ) -> JoinHandle<()> {
        let ledger = Arc::clone(ledger);
        self.spawn(move |world| {
            world.write(page, version);
            ledger.wrote(version.into());
        })
    }
}

impl Inner {
    /// Writes a whole page.
    pub(crate) fn write(&self, page: usize, version: u8) {
        self.try_write(page, version).unwrap();
    }

    pub(crate) fn try_write(&self, page: usize, version: u8) -> Result<()> {
        self.mapping.handle().write_at(&[version; PAGE], (page * PAGE) as u64)
    }

    /// The version of a page as readers see it; `None` beyond the end.
    pub(crate) fn read(&self, page: usize) -> Option<u64> {
        let mut bytes = [0; PAGE];
        let count = self.mapping.handle().read_at(&mut bytes, (page * PAGE) as u64).unwrap();
        (count > 0).then(|| version_of(&bytes[..count]))
    }

    /// Syncs. Then `page` has `version` on the disk, or a later one, for good.
    #[track_caller]
    pub(crate) fn sync(&self, page: usize, version: u64) {
        self.sync_by(&self.mapping.handle(), page, version).unwrap();
    }

    /// As [`sync`](Self::sync), by `handle`; the claim is about `Ok` only.
    #[track_caller]
    pub(crate) fn sync_by(&self, handle: &Handle, page: usize, version: u64) -> Result<()> {
        handle.sync_data()?;
        self.assert_durable(page, version);
        Ok(())
    }

    #[track_caller]
    pub(crate) fn assert_durable(&self, page: usize, version: u64) {
        let durable = self.disk.durable(page);
        assert!(durable >= version, "page {page} is durable as {durable}, not as {version}");
    }

    pub(crate) fn page(&self, page: usize) -> PageRef {
        self.mapping.page(page as u64).unwrap()
    }

    /// Locks the page and claims it, if there is anything to claim.
    pub(crate) fn claim(&self, page: usize) -> Option<Claim> {
        let locked = self.page(page).lock_state()?;
        locked.wait_writeback();
        locked.clear_dirty_for_io().ok()
    }

    /// Begins a write of a page that is dirty and not held.
    pub(crate) fn start(&self, page: usize) -> Writeback {
        self.claim(page).expect("dirty").start_writeback().expect("not held")
    }

    /// Does the I/O of a writeback, and ends it.
    pub(crate) fn write_out(&self, writeback: Writeback) {
        let result = self.disk.write_image(&writeback);
        writeback.end(result);
    }

    /// At the end of a race, when its threads are joined: a sync succeeds, and then everything is clean, on the disk, and
    /// accounted for.
    #[track_caller]
    pub(crate) fn settle(&self) {
        self.mapping.handle().sync_data().unwrap();
        self.mapping.check().unwrap();
        let stats = self.mapping.stats();
        assert_eq!((stats.dirty, stats.writeback), (0, 0), "{stats:?}");
        let len = usize::try_from(self.mapping.len()).unwrap();
        assert_eq!(self.disk.lengths(), (len, len), "the disk's lengths");
        let blocks = self.mapping.page_size() / PAGE;
        for page in 0..len.div_ceil(PAGE) {
            let Some(cached) = self.mapping.cached_page((page / blocks) as u64) else { continue };
            let from = page % blocks * PAGE;
            let there = from..from + PAGE.min(len - page * PAGE);
            let version = cached.read_with(|bytes| self.disk.version_of(&bytes[there]));
            assert_eq!((self.disk.accepted(page), self.disk.durable(page)), (version, version));
        }
    }
}

/// What a thread tells others: the version that it has written.
pub(crate) struct Ledger(Word);

impl Ledger {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Word::new(0)))
    }

    /// What has been done until now is before who [`due`](Self::due) tells of it.
    pub(crate) fn wrote(&self, version: u64) {
        self.0.store(version, Release);
    }

    pub(crate) fn due(&self) -> u64 {
        self.0.load(Acquire)
    }
}

/// A number that a lock of the cache guards: its accesses are ordered by the lock or by nothing.
pub(crate) struct Guarded(Word);

impl Guarded {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Word::new(0)))
    }

    /// Not atomic.
    pub(crate) fn increment(&self) {
        self.0.store(self.0.load(Relaxed) + 1, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
