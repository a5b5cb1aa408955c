//! The memory that mappings share: who gives a page up, who is let in, and who waits.
//!
//! The accounts are in [`accounts`](crate::accounts). Which page gives up its place, and in which
//! order, is in [`reclaim`] and [`hand`]; which writers wait for the stores, in [`admission`]. The cache keeps no
//! list of pages: what is searched for is found in the mappings' indexes, by tags.

mod admission;
mod config;
mod hand;
pub(crate) mod reclaim;

use std::fmt;
use std::sync::Arc;

pub use self::config::CacheConfig;
use crate::accounts::Accounts;
use crate::accounts::outcomes::ReclaimStats;
use crate::counters::{Counter, Counters};
use crate::error::Result;
use crate::rules::core::{Cache, Core, Member, Room};
use crate::rules::invariants::{Violation, check_count};

/// Memory for pages, shared by any number of mappings.
///
/// Mappings are opened in it by [`Config::cache`](crate::Config::cache); a mapping without one has 256 MiB of its own, unless it
/// is [unbounded](crate::Config::unbounded). Cheap to clone; all clones are the same cache. It lives as long as a clone or a mapping does.
///
/// # Concurrency
/// Where a page is to come in and there is no room, the thread that needs it evicts some that nobody has
/// used lately, by whatever way ([`Handle`](crate::Handle), [`Mapping::page`](crate::Mapping::page), [`PageRef`](crate::page::PageRef)). What
/// is read once, in however small pieces, costs what is used again and again no place. Only clean pages are evicted, and none that is locked, held, under writeback or in somebody's
/// hands ([`PageRef`](crate::page::PageRef)). Should there be no other, the cache grows beyond its capacity, and
/// shrinks again when it can ([`CacheStats::overcommitted`]).
///
/// Who changes a page while it is being written, or while somebody keeps an [`Image`](crate::page::Image) of it, does not wait, but goes on with a copy. The old
/// bytes count until the image is dropped ([`CacheStats::image_bytes`]), and other pages make room for them.
///
/// How many pages may be dirty is limited too ([`CacheConfig::dirty_pages_max`]), and shared among the mappings: one
/// whose store is slow, failing or stuck uses up its own share, and its writers alone wait, or are told.
///
/// A mapping that its user lets go of while a thread evicts pages of it is dropped by that thread, and its store with it.
///
/// # With a flusher and without
/// A cache needs no [`Flusher`](crate::Flusher). Without one, pages are written by syncs, by a writer that finds its mapping at
/// its limit, and by a thread that needs memory and finds no clean page. With one they are written earlier and
/// by other threads: then writers rarely wait, and pages do not stay dirty for long.
///
/// # Complexity
/// Mappings without cached pages cost evictions nothing, and those without dirty pages cost writers and flushers
/// nothing.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use writeback::{CacheConfig, Config, Mapping, MemStore, PageCache};
///
/// let cache = PageCache::new(CacheConfig::new(16))?;
/// let store = Arc::new(MemStore::with_contents(vec![7; 100 * 4096]));
/// let mapping = Mapping::with_config(store, Config::new().cache(&cache))?;
/// let mut all = vec![0; 100 * 4096];
/// mapping.handle().read_at(&mut all, 0)?;
/// assert_eq!(all, [7; 100 * 4096]);
/// assert!(cache.stats().cached <= 16);
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Clone)]
pub struct PageCache {
    pub(crate) accounts: Arc<Cache>,
    config: CacheConfig,
}

/// What a [`PageCache`] holds and has done.
///
/// # Examples
/// ```
/// use writeback::{CacheConfig, PageCache};
///
/// let stats = PageCache::new(CacheConfig::new(1000))?.stats();
/// assert_eq!((stats.capacity_bytes, stats.cached_bytes, stats.reclaim.evicted), (1000 * 4096, 0, 0));
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Bytes of pages that there is room for.
    pub capacity_bytes: u64,
    /// Bytes of the pages in memory, and of those that are about to be.
    pub cached_bytes: u64,
    /// Bytes of images that are being written or held, and whose pages have gone on with copies meanwhile: they take room, too.
    pub image_bytes: u64,
    /// What the pages weigh that are dirty, claimed or under writeback, as the limits count them.
    pub debt_bytes: u64,
    /// Pages in memory, of all mappings, whatever their sizes.
    pub cached: u64,
    /// Mappings.
    pub mappings: u64,
    /// Dirty pages of all of them.
    pub dirty: u64,
    /// Pages under writeback.
    pub writeback: u64,
    /// Pages dirty, claimed or under writeback; one that was dirtied again while it is written counts twice.
    pub debt: u64,
    /// Pages written successfully.
    pub written: u64,
    /// What became of the pages that were looked at for want of room.
    pub reclaim: ReclaimStats,
    /// Pages that came in beyond the capacity, because none could be evicted.
    pub overcommitted: u64,
    /// How often a writer paused, because the limit of dirty pages was near.
    pub paused: u64,
    /// Writers that wait now, because the limit is reached.
    pub stalled_now: u64,
    /// How often a writer began to wait.
    pub stalled: u64,
}

impl PageCache {
    /// An empty cache.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for an unusable configuration.
    ///
    /// # Examples
    /// ```
    /// use writeback::{CacheConfig, PageCache};
    ///
    /// assert!(PageCache::new(CacheConfig::new(0)).is_err());
    /// assert!(PageCache::new(CacheConfig::new(10_000)).is_ok());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn new(config: CacheConfig) -> Result<Self> {
        Self::with(config, false)
    }

    /// A cache for one mapping, whose user has not said anything about it.
    pub(crate) fn of_one() -> Result<Self> {
        Self::with(CacheConfig::of_one(), true)
    }

    fn with(config: CacheConfig, of_one: bool) -> Result<Self> {
        let accounts = Arc::new(Accounts::new(&config.limits()?, of_one));
        Ok(Self { accounts, config })
    }

    /// What it holds and has done. Each number is exact; all together are not one instant.
    ///
    /// # Complexity
    /// O(n) in the mappings.
    ///
    /// # Examples
    /// ```
    /// use writeback::{CacheConfig, Config, Mapping, MemStore, PageCache};
    /// use std::sync::Arc;
    ///
    /// let cache = PageCache::new(CacheConfig::new(100))?;
    /// let config = Config::new().cache(&cache);
    /// let one = Mapping::with_config(Arc::new(MemStore::new()), config.clone())?;
    /// let other = Mapping::with_config(Arc::new(MemStore::new()), config)?;
    /// one.handle().write_at(&[1; 8192], 0)?;
    /// other.handle().write_at(&[1; 4096], 0)?;
    /// let stats = cache.stats();
    /// assert_eq!((stats.mappings, stats.cached, stats.dirty), (2, 3, 3));
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn stats(&self) -> CacheStats {
        let accounts = &*self.accounts;
        let (stalled_now, stalled) = accounts.throttle.stalled();
        let mut stats = CacheStats {
            capacity_bytes: accounts.capacity(),
            cached_bytes: accounts.places(),
            image_bytes: accounts.frames.image_bytes(),
            debt_bytes: accounts.throttle.debt(),
            reclaim: accounts.outcomes.stats(),
            overcommitted: accounts.overcommitted.get(),
            written: accounts.throttle.written(),
            paused: accounts.throttle.paused(),
            stalled_now,
            stalled,
            ..CacheStats::default()
        };
        for mapping in accounts.members() {
            stats.mappings += 1;
            stats.cached += mapping.counters.cached.get();
            stats.debt += mapping.member.as_ref().map_or(0, Member::debt_pages);
            stats.dirty += mapping.counters.dirty.get();
            stats.writeback += mapping.counters.writeback.get();
        }
        stats
    }

    /// Makes room for `bytes` bytes of pages from now on, more than before or less, while the cache is in use. Limits of dirty pages that were not set when it was
    /// made change with it; those that were set stay, but for what is beyond the new capacity.
    ///
    /// If that is less, evicts what is beyond it, and gives the memory back to the system. What cannot be evicted stays, and nothing is lost: pages that are dirty
    /// leave after the sync or the flusher's round that writes them, those in somebody's hands when the next page comes in. Memory
    /// goes back as they leave.
    ///
    /// # Concurrency
    /// Waits for no store. Writers that wait and have room by the new limits go on; others wait for what is beyond them to be written, or write it themselves. Of several
    /// calls at a time one is the last.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if it is less than the smallest page. Then nothing has changed.
    ///
    /// # Complexity
    /// O(n) in the pages that leave; a call of the system for each 2 MiB that the cache had.
    ///
    /// # Examples
    /// ```
    /// use writeback::{CacheConfig, Config, Mapping, MemStore, PageCache};
    /// use std::sync::Arc;
    ///
    /// let cache = PageCache::new(CacheConfig::bytes(1 << 20))?;
    /// let mapping = Mapping::with_config(Arc::new(MemStore::new()), Config::new().cache(&cache))?;
    /// mapping.handle().write_at(&[1; 100_000], 0)?;
    /// cache.resize(10 << 10)?;
    /// assert_eq!(cache.stats().dirty, 25, "none is lost");
    /// mapping.handle().sync_data()?;
    /// assert_eq!(cache.stats().cached, 2);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn resize(&self, bytes: u64) -> Result<()> {
        let limits = self.config.resized(bytes).limits()?;
        self.accounts.resize(&limits);
        self.accounts.shrink();
        self.accounts.fit();
        self.accounts.kick_flushers();
        Ok(())
    }

    /// Evicts up to `pages` pages now, all that can be if there are fewer; returns how many. They are
    /// chosen as for want of room: what is used again and again goes last.
    ///
    /// # Examples
    /// ```
    /// use writeback::{CacheConfig, Config, Mapping, MemStore, PageCache};
    /// use std::sync::Arc;
    ///
    /// let cache = PageCache::new(CacheConfig::new(100))?;
    /// let mapping = Mapping::with_config(Arc::new(MemStore::new()), Config::new().cache(&cache))?;
    /// mapping.handle().write_at(&[1; 8192], 0)?;
    /// assert_eq!(cache.evict(10), 0, "both are dirty");
    /// mapping.handle().sync_data()?;
    /// assert_eq!(cache.evict(10), 2);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn evict(&self, pages: u64) -> u64 {
        self.accounts.evict(pages)
    }

    /// Returns where the pages' memory lies, for stores that register it with the system.
    ///
    /// Until the result is dropped none of it goes back to the system: a cache that is made smaller keeps its memory meanwhile. Pages that come in later may lie elsewhere.
    pub fn regions(&self) -> page_frames::Regions {
        self.accounts.frames.regions()
    }

    /// Checks its accounts against those of its mappings, while nothing changes.
    ///
    /// # Errors
    /// The first number that is wrong.
    ///
    /// # Examples
    /// ```
    /// use writeback::{CacheConfig, PageCache};
    ///
    /// PageCache::new(CacheConfig::new(100))?.check().expect("it is empty");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn check(&self) -> Result<(), Violation> {
        let members = self.accounts.members();
        let sum = |count: fn(&Counters) -> &Counter| {
            let of =
                |mapping: &Arc<Core>| count(&mapping.counters).get() * mapping.page_size as u64;
            members.iter().map(of).sum::<u64>()
        };
        check_count("places", self.accounts.places(), sum(|counters| &counters.cached))?;
        let unwritten = sum(|counters| &counters.dirty) + sum(|counters| &counters.writeback);
        check_count("debt", self.accounts.throttle.debt(), unwritten)
    }
}

impl fmt::Debug for PageCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageCache").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Core {
    /// Takes a place for a page, if this mapping is in a cache. The caller has no lock and no latch.
    pub(crate) fn make_room(&self) -> Room<'_> {
        let Some(member) = &*self.member else { return Room::UNLIMITED };
        let (cache, weight) = (&*member.cache, member.account.weight);
        if !cache.take_place(weight) {
            cache.make_room(member);
        }
        Room::taken(cache, weight)
    }

    /// As [`make_room`](Self::make_room), but waits for nothing: `None` if there is no room and nothing can be evicted.
    pub(crate) fn room_if_any(&self) -> Option<Room<'_>> {
        let Some(member) = &*self.member else { return Some(Room::UNLIMITED) };
        let (cache, weight) = (&*member.cache, member.account.weight);
        cache.take_room_if_any(weight).then(|| Room::taken(cache, weight))
    }

    /// As [`make_room`](Self::make_room), but waits for nothing: if nothing can be evicted, over the capacity.
    pub(crate) fn room_at_once(&self) -> Room<'_> {
        let Some(member) = &*self.member else { return Room::UNLIMITED };
        let (cache, weight) = (&*member.cache, member.account.weight);
        cache.take_room_at_once(weight);
        Room::taken(cache, weight)
    }
}
