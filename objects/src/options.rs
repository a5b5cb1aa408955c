//! How a store is opened.

use std::sync::Arc;
use std::time::Duration;

use slatedb::Settings;
use slatedb::object_store::ObjectStore;
use slatedb::object_store::path::Path;
use tokio::runtime::Handle;

use crate::error::OpenError;
use crate::pages::ObjectPages;

/// How an [`ObjectPages`] is opened, beside what it is opened on.
#[derive(Debug, Clone)]
pub struct ObjectOptions {
    pub(crate) staging_bytes: u64,
    pub(crate) chunk: u32,
    pub(crate) wal: bool,
    pub(crate) cache_bytes: u64,
    pub(crate) read_ahead: bool,
    pub(crate) patience: Duration,
    pub(crate) expected_epoch: Option<u64>,
    pub(crate) runtime: Option<Handle>,
    pub(crate) settings: Settings,
}

impl Default for ObjectOptions {
    fn default() -> Self {
        Self {
            staging_bytes: 32 << 20,
            chunk: 4096,
            wal: true,
            cache_bytes: 64 << 20,
            read_ahead: true,
            patience: Duration::from_secs(60),
            expected_epoch: None,
            runtime: None,
            settings: Settings {
                // Only a flush needs one, and asks for it.
                flush_interval: None,
                // Each look costs a request, and who has only flushed once a minute should not pay for sixty.
                manifest_poll_interval: Duration::from_secs(5),
                max_unflushed_bytes: 256 << 20,
                object_store_max_retries: Some(8),
                ..Settings::default()
            },
        }
        .wal(true)
    }
}

impl ObjectOptions {
    /// How many bytes that are not flushed are kept in memory, 32 MiB to begin with. What is more is put into the object store ahead
    /// of the flush, where nobody sees it before. Writes wait that would make it more than twice as much; what a flush has on its way counts.
    #[must_use]
    pub fn staging_bytes(mut self, bytes: u64) -> Self {
        self.staging_bytes = bytes;
        self
    }

    /// Bytes of one key, a power of two from 512 to 1 MiB, of which the page size must be a multiple. 4096 to begin with. Chosen when
    /// the store is made; larger ones cost less for each byte of long runs, and more for a small write.
    #[must_use]
    pub fn chunk(mut self, bytes: u32) -> Self {
        self.chunk = bytes;
        self
    }

    /// Whether flushes go into a log first, as they do to begin with. Without one each byte is sent once less, but a flush of little
    /// costs two requests more, and eight flushes in a row wait for a compaction: good for a bulk copy with few flushes.
    /// May be chosen anew at each opening.
    #[must_use]
    pub fn wal(mut self, wal: bool) -> Self {
        self.wal = wal;
        // Without a log tables are what a flush waits for: smaller ones are sent while the next is made.
        let (table, at_once, tables_max) = if wal { (64 << 20, 4, 64) } else { (32 << 20, 8, 128) };
        self.settings.l0_sst_size_bytes = table;
        self.settings.l0_flush_parallelism = at_once;
        self.settings.l0_max_ssts = tables_max;
        self
    }

    /// Memory for blocks and indices of the database, below the page cache's own. 64 MiB to begin with.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Whether reads in sequence are met by what was fetched ahead, in parallel: up to 32 MiB. They are to begin with.
    #[must_use]
    pub fn read_ahead(mut self, ahead: bool) -> Self {
        self.read_ahead = ahead;
        self
    }

    /// How long opening, a read, or a flush may take before it has failed; a minute to begin with. A flush has it with the wait for what else
    /// writes to the database. After a flush that took longer the store is of no use but for reading, and only opening it again tells whether that flush came to pass.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Opens only if the last opening had this [epoch](ObjectPages::epoch): of several that try at once, one succeeds.
    #[must_use]
    pub fn expected_epoch(mut self, epoch: u64) -> Self {
        self.expected_epoch = Some(epoch);
        self
    }

    /// Works on this runtime, which must have more than one thread, instead of two threads of its own. If all of its threads block, in calls of this
    /// store for instance, nothing goes on, and not even the [patience](Self::patience) ends.
    #[must_use]
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Settings of the database, to be changed after [`wal`](Self::wal) has been called, which sets some of them: the size and number of tables. Whether
    /// there is a log, it says alone.
    #[must_use]
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Opens the store at `path`, or makes it, and waits for that.
    ///
    /// Whoever has it open is shut out: all that it has not flushed is lost, and it says [`StoreError::Fenced`](writeback::StoreError::Fenced)
    /// from then on. Nobody is asked first: there is no lease. An opening that is refused with [`OpenError::Chunk`] or [`OpenError::Foreign`] for what
    /// is there already has shut out nobody; one that fails otherwise may have. One that runs out of patience on a [given
    /// runtime](Self::runtime) goes on to its end there, and is closed then.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing takes longer than the [patience](Self::patience).
    pub fn open(
        self,
        path: impl Into<Path>,
        objects: Arc<dyn ObjectStore>,
    ) -> Result<ObjectPages, OpenError> {
        ObjectPages::open_with(path.into(), objects, self)
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        if !self.chunk.is_power_of_two() || !(512..=1 << 20).contains(&self.chunk) {
            return Err(OpenError::Options(
                "a chunk has a power of two of bytes, from 512 to 1 MiB",
            ));
        }
        if self.patience.is_zero() {
            return Err(OpenError::Options("no patience at all"));
        }
        Ok(())
    }
}
