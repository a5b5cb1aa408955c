//! How much a cache keeps, and how much of it may be dirty.

use std::time::Duration;

use page_frames::LIMIT_DEFAULT;

use crate::accounts::{Limits, USUAL_PAGE, whole_pages};
use crate::error::{Error, Result};

/// Bytes of the smallest pages.
const PAGE_MIN: u64 = 512;

/// More than any memory, and little enough for its multiples.
const BYTES_MAX: u64 = 1 << 60;

/// How much a [`PageCache`](crate::PageCache) keeps.
///
/// All limits are in bytes of pages: a mapping with pages of 64 KiB has a sixteenth as many of them in the same room as one with
/// pages of 4 KiB. What tells them in pages means pages of 4096 bytes.
///
/// # Examples
/// ```
/// use writeback::{CacheConfig, PageCache};
///
/// let cache = PageCache::new(CacheConfig::bytes(256 << 20))?;
/// assert_eq!(cache.stats().capacity_bytes, 256 << 20);
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct CacheConfig {
    capacity: u64,
    background: Option<u64>,
    max: Option<u64>,
    pause_max: Duration,
    stall_max: Duration,
}

impl CacheConfig {
    /// Makes room for so many pages of 4096 bytes, or as many bytes in pages of other sizes, as [`bytes`](Self::bytes) does.
    ///
    /// # Examples
    /// ```
    /// use writeback::{CacheConfig, PageCache};
    ///
    /// assert_eq!(PageCache::new(CacheConfig::new(100))?.stats().capacity_bytes, 409_600);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn new(capacity_pages: u64) -> Self {
        Self::bytes(in_bytes(capacity_pages))
    }

    /// Makes room for so many bytes of pages, at least 512. A tenth of them may be dirty before the
    /// flusher is woken, a fifth at all; who writes pauses for 200 milliseconds at most while there is room for
    /// dirty pages, and gets an error if there is none and nothing can be written for a second.
    ///
    /// What else the cache takes, a descriptor for each page and the index, is not counted: some 300 bytes a page.
    pub fn bytes(capacity: u64) -> Self {
        Self {
            capacity,
            background: None,
            max: None,
            pause_max: Duration::from_millis(200),
            stall_max: Duration::from_secs(1),
        }
    }

    /// Sets how many pages of 4096 bytes, or as many bytes in others, may be dirty or under writeback before the flusher is woken.
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
    pub fn dirty_pages_background(self, pages: u64) -> Self {
        self.dirty_bytes_background(in_bytes(pages))
    }

    /// Sets how many bytes of pages may be dirty or under writeback before the flusher is woken.
    #[must_use]
    pub fn dirty_bytes_background(mut self, bytes: u64) -> Self {
        self.background = Some(bytes);
        self
    }

    /// Sets how many pages of 4096 bytes, or as many bytes in others, may be dirty or under writeback, of all mappings together. At least one, at most all.
    ///
    /// A mapping that is alone in its cache may use all of it. Of several, each may owe up to eight times what
    /// is left free: one up to 8/9 of the limit, two up to 8/17 each, and so on. A writer that would dirty a page more
    /// waits. A mapping that owes nothing may dirty its first page although the limit is reached, as long as fewer
    /// pages are dirty than the cache has room for. Who joins one that was alone has its share, too, although nothing may be left: then the limit is exceeded by up to
    /// a ninth of it, and not beyond the capacity. Apart from that, it is exceeded by one page for each thread that is just writing, at the most.
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
    pub fn dirty_pages_max(self, pages: u64) -> Self {
        self.dirty_bytes_max(in_bytes(pages))
    }

    /// Sets how many bytes of pages may be dirty or under writeback, as [`dirty_pages_max`](Self::dirty_pages_max) does. A page counts
    /// as a whole, however few of its bytes have changed.
    #[must_use]
    pub fn dirty_bytes_max(mut self, bytes: u64) -> Self {
        self.max = Some(bytes);
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

    /// What a mapping has that is in no cache that others are in. It has no neighbours to leave anything of the limit to.
    pub(super) fn of_one() -> Self {
        Self::bytes(LIMIT_DEFAULT).dirty_bytes_max(LIMIT_DEFAULT / 2)
    }

    /// The same for another capacity: what was set stays, as far as it fits.
    pub(super) fn resized(&self, capacity: u64) -> Self {
        let max = self.max.map(|max| max.min(capacity));
        let mut resized = Self { capacity, max, ..self.clone() };
        resized.background = self.background.map(|background| background.min(resized.max()));
        resized
    }

    fn max(&self) -> u64 {
        self.max.unwrap_or(whole_pages(self.capacity / 5).max(1))
    }

    fn background(&self) -> u64 {
        let default = (self.capacity / 10).min(self.max() / 2);
        self.background.unwrap_or(default)
    }

    /// # Errors
    /// If they are not usable.
    pub(super) fn limits(&self) -> Result<Limits> {
        let [capacity, background, max] =
            [self.capacity, self.background(), self.max()].map(|bytes| bytes.min(BYTES_MAX));
        let reason = if capacity < PAGE_MIN {
            "a cache must have room for one page at least"
        } else if max == 0 || max > capacity {
            "the limit of dirty pages must be from one to the capacity"
        } else if background > max {
            "the flusher must be woken before the limit of dirty pages is reached"
        } else {
            let Self { pause_max, stall_max, .. } = *self;
            return Ok(Limits { capacity, background, max, pause_max, stall_max });
        };
        Err(Error::Config { reason })
    }
}

/// Bytes of so many pages of the usual size.
fn in_bytes(pages: u64) -> u64 {
    pages.saturating_mul(USUAL_PAGE)
}
