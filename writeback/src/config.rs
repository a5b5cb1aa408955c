//! How a mapping is opened, and when its flusher writes.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::hooks::Log;

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
    pub(crate) clock: Clock,
    pub(crate) log: Option<Arc<dyn Log>>,
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
    /// The defaults: pages of 4096 bytes, the system's clock.
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
            clock: Clock::system(),
            log: None,
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
        let reason = if memory_backed && self.log.is_some() {
            "a memory-backed mapping writes nothing and has no log"
        } else if !self.page_size.is_power_of_two() {
            "the page size must be a power of two"
        } else if !(512..=1 << 20).contains(&self.page_size) {
            "the page size must be from 512 to 1048576 bytes"
        } else if !self.page_size.is_multiple_of(alignment.max(1)) {
            "the page size must be a multiple of the store's alignment"
        } else {
            return Ok(());
        };
        Err(Error::Config { reason })
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
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
        }
    }

    /// Sets how often it looks for expired pages.
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
}

impl Default for FlusherConfig {
    fn default() -> Self {
        Self::new()
    }
}
