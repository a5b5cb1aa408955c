//! How a [`FaultStore`](super::FaultStore) is made.

use super::plan::Action;
use crate::clock::Clock;
use crate::store::sparse::Sparse;

/// Settings of a [`FaultStore`](super::FaultStore); each but the seed has a default.
///
/// # Examples
/// ```
/// use writeback::store::fault::{FaultConfig, FaultStore};
///
/// let config = FaultConfig::new(42).contents(b"old").sector_size(4096).queued(true);
/// let store = FaultStore::with_config(config);
/// assert_eq!(store.durable(), b"old");
/// ```
#[derive(Debug, Clone)]
pub struct FaultConfig {
    pub(super) seed: u64,
    pub(super) sector_size: usize,
    pub(super) clock: Clock,
    pub(super) contents: Sparse,
    pub(super) batch_pages_max: usize,
    pub(super) alignment: usize,
    pub(super) queued: [bool; Action::ALL.len()],
    pub(super) log: bool,
}

impl FaultConfig {
    /// The defaults: empty, sectors of 512 bytes, a manual clock of its own, operations that end before
    /// their call returns, a log. All that is random comes from `seed`.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::{FaultConfig, FaultStore};
    ///
    /// assert!(FaultStore::with_config(FaultConfig::new(1)).accepted().is_empty());
    /// ```
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            sector_size: 512,
            clock: Clock::manual(),
            contents: Sparse::default(),
            batch_pages_max: 256,
            alignment: 1,
            queued: [false; Action::ALL.len()],
            log: true,
        }
    }

    /// Sets how many bytes a power cut does not tear: those of an aligned sector.
    ///
    /// # Panics
    /// If that is 0.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::FaultConfig;
    ///
    /// let config = FaultConfig::new(1).sector_size(4096);
    /// # let _ = config;
    /// ```
    #[must_use]
    pub fn sector_size(mut self, bytes: usize) -> Self {
        assert!(bytes > 0, "a sector has at least one byte");
        self.sector_size = bytes;
        self
    }

    /// Sets the clock that slow operations go by, for instance that of the mapping.
    ///
    /// # Panics
    /// If it is not a manual one, since slow operations move it on.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use writeback::store::fault::{Action, Fault, FaultConfig, FaultStore, Rule};
    /// use writeback::Clock;
    /// use writeback::store::Store;
    ///
    /// let clock = Clock::manual();
    /// let store = FaultStore::with_config(FaultConfig::new(1).clock(clock.clone()));
    /// let second = Duration::from_secs(1);
    /// store.inject(Rule::new(Fault::Slow(second)).on(Action::Read));
    /// store.read_at(0, &mut [0; 10])?;
    /// assert_eq!(clock.now(), second);
    /// # Ok::<(), writeback::StoreError>(())
    /// ```
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        assert!(clock.is_manual(), "a store's clock must be a manual one");
        self.clock = clock;
        self
    }

    /// Sets what it holds in the beginning, durably.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::{FaultConfig, FaultStore};
    ///
    /// let store = FaultStore::with_config(FaultConfig::new(1).contents([7; 10_000]));
    /// assert_eq!(store.durable(), [7; 10_000]);
    /// ```
    #[must_use]
    pub fn contents(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.contents = Sparse::default();
        self.contents.write(0, bytes.as_ref());
        self
    }

    /// Sets the most pages of a batch, at least 1.
    ///
    /// # Examples
    /// ```
    /// use writeback::Mapping;
    /// use writeback::store::fault::{Action, FaultConfig, FaultStore};
    ///
    /// let store = FaultStore::with_config(FaultConfig::new(1).batch_pages_max(2));
    /// let handle = Mapping::open(store.clone())?.handle();
    /// handle.write_at(&[1; 5 * 4096], 0)?;
    /// handle.sync_data()?;
    /// assert_eq!(store.operations(Action::Write), 3);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    #[must_use]
    pub fn batch_pages_max(mut self, pages: usize) -> Self {
        self.batch_pages_max = pages.max(1);
        self
    }

    /// Sets what reads and writes, and their memory, are aligned to (see
    /// [`Limits::alignment`](crate::store::Limits::alignment)), at least 1.
    #[must_use]
    pub fn alignment(mut self, bytes: usize) -> Self {
        self.alignment = bytes.max(1);
        self
    }

    /// Sets whether writes wait until they are delivered (see
    /// [`deliver_one`](super::FaultStore::deliver_one)), instead of ending before the call returns.
    ///
    /// # Examples
    /// ```
    /// use writeback::Mapping;
    /// use writeback::store::fault::{FaultConfig, FaultStore};
    ///
    /// let store = FaultStore::with_config(FaultConfig::new(1).queued(true));
    /// let mapping = Mapping::open(store.clone())?;
    /// mapping.handle().write_at(b"abc", 0)?;
    /// mapping.write_page(0, writeback::SyncMode::Skip)?;
    /// assert_eq!((store.pending(), mapping.stats().writeback), (1, 1));
    /// assert_eq!(store.deliver_all(), 1);
    /// assert_eq!(mapping.stats().writeback, 0);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    #[must_use]
    pub fn queued(mut self, queued: bool) -> Self {
        self.queued[Action::Write as usize] = queued;
        self
    }

    /// Sets that reads, writes and flushes, all of them, wait until they are delivered.
    #[must_use]
    pub fn all_queued(mut self) -> Self {
        for action in [Action::Read, Action::Write, Action::Flush] {
            self.queued[action as usize] = true;
        }
        self
    }

    /// Sets whether it keeps a log (see [`log`](super::FaultStore::log)), which grows until it is taken.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::Store;
    /// use writeback::store::fault::{FaultConfig, FaultStore};
    ///
    /// let store = FaultStore::with_config(FaultConfig::new(1).keep_log(false));
    /// store.set_len(1)?;
    /// assert!(store.log().is_empty());
    /// # Ok::<(), writeback::StoreError>(())
    /// ```
    #[must_use]
    pub fn keep_log(mut self, keep: bool) -> Self {
        self.log = keep;
        self
    }
}
