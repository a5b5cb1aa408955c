//! What a caller asks of a pass, a sync or a flush, and what a pass has done.

/// What a pass does about pages that are locked, held, or under writeback.
///
/// # Examples
/// ```
/// # use writeback::{Budget, Mapping, MemStore, SyncMode};
/// # let mapping = Mapping::open(MemStore::new())?;
/// # mapping.handle().write_at(b"abc", 0)?;
/// let locked = mapping.page(0)?.lock_state().expect("nobody truncates");
/// let progress = mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED)?;
/// assert_eq!((progress.submitted, progress.skipped), (0, 1));
/// drop(locked); // mode `Wait` would have waited for this
/// let progress = mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED)?;
/// assert_eq!(progress.submitted, 1);
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// Leaves them dirty and goes on: background writeback.
    Skip,
    /// Waits for them: every page that was dirty when the pass began is written.
    Wait,
}

/// How many pages a pass in mode `Skip` may write. Mode `Wait` takes no notice.
///
/// # Examples
/// ```
/// use writeback::{Budget, Mapping, MemStore, SyncMode};
///
/// let mapping = Mapping::open(MemStore::new())?;
/// mapping.handle().write_at(&[1; 40_960], 0)?;
/// mapping.write_range(.., SyncMode::Skip, Budget::pages(3))?;
/// assert_eq!(mapping.stats().dirty, 7);
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub(crate) pages: u64,
}

impl Budget {
    /// As many as there are.
    pub const UNLIMITED: Budget = Budget { pages: u64::MAX };

    /// So many pages, counting those that are claimed and declined.
    ///
    /// # Examples
    /// ```
    /// use writeback::Budget;
    ///
    /// assert!(Budget::pages(10) != Budget::UNLIMITED);
    /// ```
    pub const fn pages(pages: u64) -> Self {
        Self { pages }
    }
}

/// What a pass did.
///
/// # Examples
/// ```
/// # use writeback::{Budget, Mapping, MemStore, SyncMode};
/// # let mapping = Mapping::open(MemStore::new())?;
/// # mapping.handle().write_at(b"abc", 0)?;
/// let progress = mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED)?;
/// assert_eq!((progress.submitted, progress.declined, progress.skipped), (1, 0, 0));
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Pages handed to the store; whether they were accepted is told by their completion.
    pub submitted: u64,
    /// Pages claimed and redirtied, because another writer held them (mode `Skip`).
    pub declined: u64,
    /// Pages gone by: locked, under writeback, too young or backing off (mode `Skip`).
    pub skipped: u64,
    /// Pages claimed and redirtied, because the [log](crate::hooks::Log) is not durable up to their newest change
    /// (mode `Skip`).
    pub unlogged: u64,
    /// The greatest position of those.
    pub(crate) log_wanted: u64,
}

/// How much a flush has to cover.
///
/// # Examples
/// ```
/// # use writeback::MemStore;
/// # use writeback::store::{FlushKind, Store};
/// let store = MemStore::with_contents(b"abc");
/// store.sync(FlushKind::Data)?; // fdatasync
/// store.sync(FlushKind::All)?; // fsync
/// # Ok::<(), writeback::StoreError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushKind {
    /// The data and what is needed to read it again, as `fdatasync`.
    Data,
    /// Everything, as `fsync`.
    All,
}

/// What a caller is about to do with some bytes: [`Handle::advise`](crate::Handle::advise).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// Nothing special: the handle reads ahead where its misses go on from each other.
    Normal,
    /// To read from the front to the back: the handle reads ahead as far as it can, from the first miss on.
    Sequential,
    /// To read here and there: the handle reads nothing that it was not asked for.
    Random,
    /// To use these bytes soon: [`Handle::read_ahead`](crate::Handle::read_ahead).
    WillNeed,
    /// To read bytes once: what this handle reads is no use of a page from now on, neither of one that is cached nor of one that comes in for it. A
    /// backup or a scan that comes again and again leaves the cache to those who use it.
    NoReuse,
    /// Not to use them for long: their pages leave the cache, if they are clean and nobody has them in hand.
    DontNeed,
}
