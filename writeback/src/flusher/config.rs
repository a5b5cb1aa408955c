//! When a flusher writes.

use std::time::Duration;

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
