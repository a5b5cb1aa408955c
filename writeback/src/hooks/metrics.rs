//! An observer that feeds the `metrics` facade.

use std::time::Duration;

use metrics::{SharedString, counter, gauge, histogram};

use super::{Observer, ReadEvent, WriteEvent};
use crate::counters::Stats;
use crate::error::{Error, StoreError};
use crate::modes::FlushKind;

/// An [`Observer`] that counts into the [`metrics`](https://docs.rs/metrics) facade, under names that begin
/// with `writeback_` and with the label `mapping`.
///
/// | name | kind | what |
/// |---|---|---|
/// | `writeback_dirtied_pages_total` | counter | clean pages that became dirty |
/// | `writeback_evicted_pages_total` | counter | pages evicted |
/// | `writeback_hits_total`, `writeback_misses_total` | counter | lookups of a page that was in memory, and of one that had to be read |
/// | `writeback_read_bytes_total` | counter | bytes that the store had of what was read |
/// | `writeback_read_seconds` | histogram | from asking the store for a run of pages to its end |
/// | `writeback_submitted_bytes_total` | counter | bytes handed to the store |
/// | `writeback_written_bytes_total` | counter | bytes of batches that it accepted whole |
/// | `writeback_write_seconds` | histogram | from handing a batch over to its end |
/// | `writeback_flush_seconds` | histogram | flushes of the store |
/// | `writeback_sync_seconds` | histogram | syncs |
/// | `writeback_held_up_seconds` | histogram | writers held up by too many dirty pages |
/// | `writeback_errors_total` | counter | errors recorded for the handles |
/// | `writeback_failed_reads_total`, `writeback_failed_flushes_total`, `writeback_failed_syncs_total` | counter | reads, flushes and syncs that returned an error |
/// | `writeback_cached_pages`, `writeback_dirty_pages`, `writeback_writeback_pages` | gauge | see [`publish`](Self::publish) |
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use writeback::{Config, Mapping, MemStore};
/// use writeback::hooks::Metrics;
///
/// let metrics = Arc::new(Metrics::new("accounts"));
/// let config = Config::new().observer(metrics.clone());
/// let mapping = Mapping::with_config(Arc::new(MemStore::new()), config)?;
/// mapping.handle().write_at(b"abc", 0)?;
/// metrics.publish(&mapping.stats()); // now and then
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Metrics {
    mapping: SharedString,
}

impl Metrics {
    /// With this value of the label `mapping`.
    ///
    /// # Examples
    /// See [`Metrics`].
    pub fn new(mapping: impl Into<String>) -> Self {
        Self { mapping: SharedString::from(mapping.into()) }
    }

    /// Sets the gauges. They are not kept up to date by themselves, because that would cost every write of
    /// the mapping; call this as often as they are read.
    ///
    /// # Examples
    /// See [`Metrics`].
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn publish(&self, stats: &Stats) {
        let mapping = &self.mapping;
        gauge!("writeback_cached_pages", "mapping" => mapping.clone()).set(stats.cached as f64);
        gauge!("writeback_dirty_pages", "mapping" => mapping.clone()).set(stats.dirty as f64);
        gauge!("writeback_writeback_pages", "mapping" => mapping.clone())
            .set(stats.writeback as f64);
    }

    fn count(&self, name: &'static str, by: u64) {
        counter!(name, "mapping" => self.mapping.clone()).increment(by);
    }

    fn time(&self, name: &'static str, took: Duration) {
        histogram!(name, "mapping" => self.mapping.clone()).record(took);
    }
}

impl Observer for Metrics {
    fn dirtied(&self, pages: u64) {
        self.count("writeback_dirtied_pages_total", pages);
    }

    fn evicted(&self, pages: u64) {
        self.count("writeback_evicted_pages_total", pages);
    }

    fn looked_up(&self, hits: u64, misses: u64) {
        self.count("writeback_hits_total", hits);
        self.count("writeback_misses_total", misses);
    }

    fn read(&self, read: ReadEvent, took: Duration, outcome: Result<(), &StoreError>) {
        self.time("writeback_read_seconds", took);
        self.count("writeback_read_bytes_total", read.bytes);
        self.count("writeback_failed_reads_total", u64::from(outcome.is_err()));
    }

    fn submitted(&self, write: WriteEvent) {
        self.count("writeback_submitted_bytes_total", write.bytes);
    }

    fn written(&self, write: WriteEvent, took: Duration, outcome: Result<(), &StoreError>) {
        self.time("writeback_write_seconds", took);
        if outcome.is_ok() {
            self.count("writeback_written_bytes_total", write.bytes);
        }
    }

    fn flushed(&self, _kind: FlushKind, took: Duration, outcome: Result<(), &Error>) {
        self.time("writeback_flush_seconds", took);
        self.count("writeback_failed_flushes_total", u64::from(outcome.is_err()));
    }

    fn synced(&self, took: Duration, outcome: Result<(), &Error>) {
        self.time("writeback_sync_seconds", took);
        self.count("writeback_failed_syncs_total", u64::from(outcome.is_err()));
    }

    fn failed(&self, _error: &StoreError, errors: u64) {
        self.count("writeback_errors_total", errors);
    }

    fn held_up(&self, took: Duration) {
        self.time("writeback_held_up_seconds", took);
    }
}
