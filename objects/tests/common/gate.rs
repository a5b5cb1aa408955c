//! A bucket whose requests can be held up, and are counted.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use writeback_objects::object_store::memory::InMemory;
use writeback_objects::object_store::path::Path;
use writeback_objects::object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

#[derive(Debug)]
pub(crate) struct Gate {
    bucket: InMemory,
    /// No table can be read.
    no_get: AtomicBool,
    /// Nothing can be put.
    no_put: AtomicBool,
    /// So many can be put still.
    puts: AtomicU64,
    /// Whether one more has been tried.
    stopped: AtomicBool,
    delay_ms: AtomicU64,
    requests: AtomicU64,
}

impl Gate {
    pub(crate) fn new() -> Arc<Self> {
        Self::of(InMemory::new())
    }

    fn of(bucket: InMemory) -> Arc<Self> {
        Arc::new(Self {
            bucket,
            no_get: AtomicBool::new(false),
            no_put: AtomicBool::new(false),
            puts: AtomicU64::new(u64::MAX),
            stopped: AtomicBool::new(false),
            delay_ms: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        })
    }

    /// A bucket of its own with what is there now.
    pub(crate) fn copy(&self) -> Arc<Self> {
        Self::of(self.bucket.fork())
    }

    /// From now on so many are put, and what comes behind waits.
    pub(crate) fn let_puts(&self, count: u64) {
        self.puts.store(count, Ordering::SeqCst);
    }

    /// Whether one more was tried than was let.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub(crate) fn hold_gets(&self, hold: bool) {
        self.no_get.store(hold, Ordering::SeqCst);
    }

    pub(crate) fn hold_puts(&self, hold: bool) {
        self.no_put.store(hold, Ordering::SeqCst);
    }

    pub(crate) fn delay(&self, ms: u64) {
        self.delay_ms.store(ms, Ordering::SeqCst);
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// Waits until nobody has asked for anything for a while: what was under way is over, and only what looks now and then goes on.
    pub(crate) fn wait_until_quiet(&self, a_while: Duration) {
        let start = Instant::now();
        let (mut seen, mut since) = (self.requests(), Instant::now());
        while since.elapsed() < a_while {
            assert!(start.elapsed() < Duration::from_secs(30), "requests without end");
            std::thread::sleep(Duration::from_millis(10));
            let now = self.requests();
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
        }
    }

    async fn put(&self) {
        self.pass(&self.no_put).await;
        let less = |count: u64| count.checked_sub(1);
        while self.puts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_err() {
            self.stopped.store(true, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn pass(&self, held: &AtomicBool) {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let ms = self.delay_ms.load(Ordering::SeqCst);
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        while held.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("gate")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Gate {
    async fn put_opts(&self, at: &Path, what: PutPayload, how: PutOptions) -> Result<PutResult> {
        self.put().await;
        self.bucket.put_opts(at, what, how).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        how: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.put().await;
        self.bucket.put_multipart_opts(at, how).await
    }

    async fn get_opts(&self, at: &Path, how: GetOptions) -> Result<GetResult> {
        let free = AtomicBool::new(false);
        let table = at.as_ref().contains("compacted");
        self.pass(if table { &self.no_get } else { &free }).await;
        self.bucket.get_opts(at, how).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.pass(&self.no_get).await;
        self.bucket.get_ranges(at, ranges).await
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.bucket.delete_stream(at)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.bucket.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.bucket.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, how: CopyOptions) -> Result<()> {
        self.bucket.copy_opts(from, to, how).await
    }
}
