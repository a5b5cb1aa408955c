//! How much a cache keeps, and how much of it may be dirty.

use std::time::Duration;

use crate::accounts::Limits;
use crate::error::{Error, Result};

/// How many pages a [`PageCache`](crate::PageCache) keeps.
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
    capacity_pages: u64,
    background_pages: Option<u64>,
    max_pages: Option<u64>,
    pause_max: Duration,
    stall_max: Duration,
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

    fn max_pages(&self) -> u64 {
        self.max_pages.unwrap_or((self.capacity_pages / 5).max(1))
    }

    fn background_pages(&self) -> u64 {
        let default = (self.capacity_pages / 10).min(self.max_pages() / 2);
        self.background_pages.unwrap_or(default)
    }

    /// # Errors
    /// If they are not usable.
    pub(super) fn limits(&self) -> Result<Limits> {
        let max = self.max_pages();
        let reason = if self.capacity_pages == 0 {
            "a cache must have room for one page at least"
        } else if max == 0 || max > self.capacity_pages {
            "the limit of dirty pages must be from one to the capacity"
        } else if self.background_pages() > max {
            "the flusher must be woken before the limit of dirty pages is reached"
        } else {
            return Ok(Limits {
                capacity_pages: self.capacity_pages,
                background_pages: self.background_pages(),
                max_pages: max,
                pause_max: self.pause_max,
                stall_max: self.stall_max,
            });
        };
        Err(Error::Config { reason })
    }
}
