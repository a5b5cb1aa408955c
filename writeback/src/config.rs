//! How a mapping is opened, and when its flusher writes.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::hooks::{Log, Observer, Seal};
use crate::memory::PageCache;
use crate::page::blocks::{BLOCKS_MAX, Division};

/// Settings of a mapping; each has a default.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use writeback::{Config, Mapping, MemStore};
///
/// let config = Config::new().page_size(16 * 1024);
/// let mapping = Mapping::with_config(Arc::new(MemStore::new()), config)?;
/// assert_eq!(mapping.page_size(), 16 * 1024);
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) page_size: usize,
    /// `None`: that of a page.
    block_size: Option<usize>,
    pub(crate) clock: Clock,
    pub(crate) log: Option<Arc<dyn Log>>,
    pub(crate) cache: Option<PageCache>,
    pub(crate) seal: Option<Arc<dyn Seal>>,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    #[cfg(feature = "rule-2003")]
    pub(crate) dirty_rule: DirtyRule,
}

/// What a claim clears when a page is put under writeout. Only with feature `rule-2003`, which
/// exists to show what the wrong one does.
///
/// # Examples
/// ```
/// use writeback::{Config, DirtyRule};
///
/// let config = Config::new().dirty_rule(DirtyRule::FlagAndTag); // loses pages
/// # let _ = config;
/// ```
#[cfg(feature = "rule-2003")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DirtyRule {
    /// 2004: the flag only. The tag stays until the page is under writeback or dirty again, so a
    /// sync finds it at every instant.
    #[default]
    FlagOnly,
    /// 2003: flag and tag. A sync that walks the tags before the page is redirtied misses it.
    FlagAndTag,
}

impl Config {
    /// The defaults: pages of 4096 bytes, each one block, the system's clock, all pages kept in memory.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Config, Mapping};
    ///
    /// let mapping = Mapping::memory_backed(Config::new())?;
    /// assert_eq!(mapping.page_size(), 4096);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn new() -> Self {
        Self {
            page_size: 4096,
            block_size: None,
            clock: Clock::system(),
            log: None,
            cache: None,
            seal: None,
            observers: Vec::new(),
            #[cfg(feature = "rule-2003")]
            dirty_rule: DirtyRule::FlagOnly,
        }
    }

    /// Sets the page size in bytes: a power of two from 512 to 1048576.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Config, Mapping};
    ///
    /// let mapping = Mapping::memory_backed(Config::new().page_size(65_536))?;
    /// assert_eq!(mapping.page_size(), 65_536);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    #[must_use]
    pub fn page_size(mut self, bytes: usize) -> Self {
        self.page_size = bytes;
        self
    }

    /// Sets the size in bytes of a page's blocks: the parts that become dirty, are held and are written each by
    /// itself. A power of two from 512 to the page size, at most 64 to a page, and a multiple of the store's
    /// alignment. By default a page is one block, and with a [seal](Self::seal) it has to be.
    ///
    /// Worth it where pages are several times larger than what is usually changed of them, and bytes written
    /// cost something: pages of 16 KiB or more on a device that writes 4 KiB atomically. The first change
    /// of each block then costs a section of the index, and a page with gaps is several writes.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use writeback::{Config, Mapping, MemStore};
    ///
    /// let store = MemStore::new();
    /// let config = Config::new().page_size(65_536).block_size(4096);
    /// let mapping = Mapping::with_config(Arc::new(store.clone()), config)?;
    /// let handle = mapping.handle();
    /// handle.write_at(&[1; 65_536], 0)?;
    /// handle.sync_data()?;
    /// handle.write_at(&[2; 100], 5000)?; // some of block 1
    /// assert_eq!(mapping.page(0)?.dirty_blocks(), 0b10);
    /// handle.sync_data()?; // writes 4096 bytes
    /// # Ok::<(), writeback::Error>(())
    /// ```
    #[must_use]
    pub fn block_size(mut self, bytes: usize) -> Self {
        self.block_size = Some(bytes);
        self
    }

    pub(crate) fn division(&self) -> Division {
        Division::new(self.page_size, self.block_size.unwrap_or(self.page_size))
    }

    /// Sets the clock that pages age by.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Clock, Config};
    ///
    /// let clock = Clock::manual();
    /// let config = Config::new().clock(clock.clone());
    /// # let _ = config;
    /// ```
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the write-ahead log that pages wait for before they are written. A memory-backed mapping has
    /// none: opening one with a log is an error.
    ///
    /// # Examples
    /// See [`Log`].
    #[must_use]
    pub fn log(mut self, log: Arc<dyn Log>) -> Self {
        self.log = Some(log);
        self
    }

    /// Keeps the mapping's pages in `cache`, which has room for so many; what is not used makes room for
    /// what is.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use writeback::{CacheConfig, Config, Mapping, MemStore, PageCache};
    ///
    /// let cache = PageCache::new(CacheConfig::new(1000))?;
    /// let mapping = Mapping::with_config(Arc::new(MemStore::new()), Config::new().cache(&cache))?;
    /// assert_eq!(cache.stats().mappings, 1);
    /// # let _ = mapping;
    /// # Ok::<(), writeback::Error>(())
    /// ```
    #[must_use]
    pub fn cache(mut self, cache: &PageCache) -> Self {
        self.cache = Some(cache.clone());
        self
    }

    /// Sets what is done to pages on their way to the store and back. A memory-backed mapping has no such
    /// way: opening one with a seal is an error.
    ///
    /// # Examples
    /// See [`Seal`].
    #[must_use]
    pub fn seal(mut self, seal: Arc<dyn Seal>) -> Self {
        self.seal = Some(seal);
        self
    }

    /// Adds someone who is told what the mapping does.
    ///
    /// # Examples
    /// See [`Observer`].
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Sets what a claim clears.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Config, DirtyRule};
    ///
    /// let config = Config::new().dirty_rule(DirtyRule::FlagOnly);
    /// # let _ = config;
    /// ```
    #[cfg(feature = "rule-2003")]
    #[must_use]
    pub fn dirty_rule(mut self, rule: DirtyRule) -> Self {
        self.dirty_rule = rule;
        self
    }

    pub(crate) fn check(&self, alignment: usize, memory_backed: bool) -> Result<()> {
        let reason = if memory_backed && (self.log.is_some() || self.seal.is_some()) {
            "a memory-backed mapping writes nothing and has neither log nor seal"
        } else if memory_backed && self.cache.is_some() {
            "the pages of a memory-backed mapping have nowhere to go, so it cannot be in a cache"
        } else if !self.page_size.is_power_of_two() {
            "the page size must be a power of two"
        } else if !(512..=1 << 20).contains(&self.page_size) {
            "the page size must be from 512 to 1048576 bytes"
        } else if !self.page_size.is_multiple_of(alignment.max(1)) {
            "the page size must be a multiple of the store's alignment"
        } else if let Some(reason) =
            self.block_size.and_then(|size| self.check_block(size, alignment))
        {
            reason
        } else {
            return Ok(());
        };
        Err(Error::Config { reason })
    }

    /// What is wrong with a block size.
    fn check_block(&self, size: usize, alignment: usize) -> Option<&'static str> {
        if !size.is_power_of_two() {
            Some("the block size must be a power of two")
        } else if !(512..=self.page_size).contains(&size) {
            Some("the block size must be from 512 bytes to the page size")
        } else if self.page_size / size > BLOCKS_MAX {
            Some("a page must have at most 64 blocks")
        } else if !size.is_multiple_of(alignment.max(1)) {
            Some("the block size must be a multiple of the store's alignment")
        } else if self.seal.is_some() && size < self.page_size {
            Some("a page that is sealed is written as a whole, so it must be one block")
        } else {
            None
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

/// How many pages a [`PageCache`] keeps.
///
/// # Examples
/// ```
/// use writeback::{CacheConfig, PageCache};
///
/// let cache = PageCache::new(CacheConfig::new(65_536))?; // 256 MiB in pages of 4096 bytes
/// # let _ = cache;
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct CacheConfig {
    pub(crate) capacity_pages: u64,
    background_pages: Option<u64>,
    max_pages: Option<u64>,
    pub(crate) pause_max: Duration,
    pub(crate) stall_max: Duration,
}

impl CacheConfig {
    /// Room for so many pages, whatever their size; at least one. A tenth of them may be dirty before the
    /// flusher is woken, a fifth at all; who writes pauses for 200 milliseconds at most while there is room for
    /// dirty pages, and gets an error if there is none and nothing can be written for a second.
    ///
    /// # Examples
    /// ```
    /// use writeback::{CacheConfig, PageCache};
    ///
    /// assert_eq!(PageCache::new(CacheConfig::new(100))?.stats().capacity, 100);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn new(capacity_pages: u64) -> Self {
        Self {
            capacity_pages,
            background_pages: None,
            max_pages: None,
            pause_max: Duration::from_millis(200),
            stall_max: Duration::from_secs(1),
        }
    }

    /// Sets how many pages may be dirty or under writeback before the flusher is woken.
    ///
    /// # Examples
    /// ```
    /// use writeback::{CacheConfig, PageCache};
    ///
    /// let config = CacheConfig::new(1000).dirty_pages_max(500).dirty_pages_background(100);
    /// assert!(PageCache::new(config).is_ok());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    #[must_use]
    pub fn dirty_pages_background(mut self, pages: u64) -> Self {
        self.background_pages = Some(pages);
        self
    }

    /// Sets how many pages may be dirty or under writeback, of all mappings together. At least one, at most all.
    ///
    /// A mapping that is alone in its cache may use all of it. Of several, each may owe up to eight times what
    /// is left free: one up to 8/9 of the limit, two up to 8/17 each, and so on. A writer that would dirty a page more
    /// waits. A mapping that owes nothing may dirty its first page although the limit is reached, as long as fewer
    /// pages are dirty than the cache has room for. Apart from that, the limit is exceeded by one page for each thread that
    /// is just writing, at the most.
    ///
    /// # Examples
    /// ```
    /// use writeback::{CacheConfig, PageCache};
    ///
    /// assert!(PageCache::new(CacheConfig::new(1000).dirty_pages_max(1000)).is_ok());
    /// assert!(PageCache::new(CacheConfig::new(1000).dirty_pages_max(0)).is_err());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    #[must_use]
    pub fn dirty_pages_max(mut self, pages: u64) -> Self {
        self.max_pages = Some(pages);
        self
    }

    /// Sets for how long a writer pauses at most, page by page, while its mapping's limit is near and not reached.
    /// Zero: it never does. Without a [`Flusher`](crate::Flusher) for the mapping nobody pauses.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use writeback::{CacheConfig, PageCache};
    ///
    /// let config = CacheConfig::new(1000).pause_max(Duration::from_millis(20));
    /// assert!(PageCache::new(config).is_ok());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    #[must_use]
    pub fn pause_max(mut self, pause: Duration) -> Self {
        self.pause_max = pause;
        self
    }

    /// Sets for how long nothing of a mapping may be writable before its waiting writers get
    /// [`Error::Stalled`](crate::Error::Stalled). Before that, one page is tried even if it backs off from an earlier
    /// failure. Writes that are under way are waited for however long they take.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use writeback::{CacheConfig, PageCache};
    ///
    /// let config = CacheConfig::new(1000).stall_max(Duration::ZERO); // an error at once
    /// assert!(PageCache::new(config).is_ok());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    #[must_use]
    pub fn stall_max(mut self, time: Duration) -> Self {
        self.stall_max = time;
        self
    }

    pub(crate) fn max_pages(&self) -> u64 {
        self.max_pages.unwrap_or((self.capacity_pages / 5).max(1))
    }

    pub(crate) fn background_pages(&self) -> u64 {
        let default = (self.capacity_pages / 10).min(self.max_pages() / 2);
        self.background_pages.unwrap_or(default)
    }

    pub(crate) fn check(&self) -> Result<()> {
        let max = self.max_pages();
        let reason = if self.capacity_pages == 0 {
            "a cache must have room for one page at least"
        } else if max == 0 || max > self.capacity_pages {
            "the limit of dirty pages must be from one to the capacity"
        } else if self.background_pages() > max {
            "the flusher must be woken before the limit of dirty pages is reached"
        } else {
            return Ok(());
        };
        Err(Error::Config { reason })
    }
}

/// When a [`Flusher`](crate::Flusher) writes.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use writeback::FlusherConfig;
///
/// let config = FlusherConfig::new().interval(Duration::from_secs(1)).background_pages(1000);
/// # let _ = config;
/// ```
#[derive(Debug, Clone)]
pub struct FlusherConfig {
    pub(crate) interval: Duration,
    pub(crate) dirty_expire: Duration,
    pub(crate) background_pages: u64,
    pub(crate) chunk_pages: u64,
    pub(crate) threads_max: usize,
    pub(crate) stop_max: Duration,
}

impl FlusherConfig {
    /// The defaults: every 5 seconds what has been dirty for 30, and at once what is beyond 65536
    /// dirty pages, 1024 at a time.
    ///
    /// # Examples
    /// ```
    /// use writeback::FlusherConfig;
    ///
    /// let config = FlusherConfig::new();
    /// # let _ = config;
    /// ```
    pub fn new() -> Self {
        Self {
            interval: Duration::from_secs(5),
            dirty_expire: Duration::from_secs(30),
            background_pages: 65_536,
            chunk_pages: 1024,
            threads_max: 4,
            stop_max: Duration::from_secs(10),
        }
    }

    /// Sets how often it looks for expired pages. Less than a millisecond is taken for a millisecond; `Duration::MAX`: never,
    /// and it writes only where there is too much.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use writeback::FlusherConfig;
    ///
    /// let config = FlusherConfig::new().interval(Duration::from_millis(500));
    /// # let _ = config;
    /// ```
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets how long a page may stay dirty. Zero: every round writes everything.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use writeback::FlusherConfig;
    ///
    /// let config = FlusherConfig::new().dirty_expire(Duration::ZERO);
    /// # let _ = config;
    /// ```
    #[must_use]
    pub fn dirty_expire(mut self, age: Duration) -> Self {
        self.dirty_expire = age;
        self
    }

    /// Sets how many dirty pages a mapping may have before it is written back at once.
    ///
    /// # Examples
    /// ```
    /// use writeback::FlusherConfig;
    ///
    /// let config = FlusherConfig::new().background_pages(256);
    /// # let _ = config;
    /// ```
    #[must_use]
    pub fn background_pages(mut self, pages: u64) -> Self {
        self.background_pages = pages;
        self
    }

    /// Sets how many pages of one mapping are written before the next mapping gets its turn.
    ///
    /// # Examples
    /// ```
    /// use writeback::FlusherConfig;
    ///
    /// let config = FlusherConfig::new().chunk_pages(256);
    /// # let _ = config;
    /// ```
    #[must_use]
    pub fn chunk_pages(mut self, pages: u64) -> Self {
        self.chunk_pages = pages.max(1);
        self
    }

    /// Sets how many threads write at a time, of as many mappings; at least one. A thread whose store does not answer
    /// does not count.
    #[must_use]
    pub fn threads_max(mut self, threads: usize) -> Self {
        self.threads_max = threads.max(1);
        self
    }

    /// Sets for how long [`Flusher::stop`](crate::Flusher::stop) waits for stores that do not answer.
    #[must_use]
    pub fn stop_max(mut self, time: Duration) -> Self {
        self.stop_max = time;
        self
    }
}

impl Default for FlusherConfig {
    fn default() -> Self {
        Self::new()
    }
}
