//! How a mapping is opened.

use std::sync::Arc;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::hooks::{Log, Observer, Seal};
use crate::memory::PageCache;
use crate::pages::blocks::{BLOCKS_MAX, Division};

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
    pub(crate) memory: Memory,
    pub(crate) seal: Option<Arc<dyn Seal>>,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
}

/// Where a mapping's pages lie.
#[derive(Debug, Clone)]
pub(crate) enum Memory {
    /// In a cache of the mapping's own; if it has a store, where pages that leave can go.
    Own,
    In(PageCache),
    /// In no cache.
    Unbounded,
}

impl Config {
    /// The defaults: pages of 4096 bytes, each one block, the system's clock, memory for 256 MiB of pages, half of which may be dirty.
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
            memory: Memory::Own,
            seal: None,
            observers: Vec::new(),
        }
    }

    /// Sets the page size in bytes: a power of two from 512 to 16 MiB.
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

    /// Keeps the mapping's pages in `cache`, which has room for so many bytes of them; what is not used makes room for
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
        self.memory = Memory::In(cache.clone());
        self
    }

    /// Keeps all of the mapping's pages, however many are read or written: nothing is evicted, and writers wait for nobody. For a store that
    /// is known to fit into memory. Otherwise a mapping that is in no [cache](Self::cache) keeps 256 MiB of pages, of which half may be dirty, as
    /// if it had a cache of that size to itself.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use writeback::{Config, Mapping, MemStore};
    ///
    /// let store = Arc::new(MemStore::with_contents(vec![7; 100_000]));
    /// let mapping = Mapping::with_config(store, Config::new().unbounded())?;
    /// # let _ = mapping;
    /// # Ok::<(), writeback::Error>(())
    /// ```
    #[must_use]
    pub fn unbounded(mut self) -> Self {
        self.memory = Memory::Unbounded;
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

    pub(crate) fn check(&self, alignment: usize, memory_backed: bool) -> Result<()> {
        let reason = if memory_backed && (self.log.is_some() || self.seal.is_some()) {
            "a memory-backed mapping writes nothing and has neither log nor seal"
        } else if memory_backed && matches!(self.memory, Memory::In(_)) {
            "the pages of a memory-backed mapping have nowhere to go, so it cannot be in a cache"
        } else if !self.page_size.is_power_of_two() {
            "the page size must be a power of two"
        } else if !(512..=16 << 20).contains(&self.page_size) {
            "the page size must be from 512 bytes to 16 MiB"
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
