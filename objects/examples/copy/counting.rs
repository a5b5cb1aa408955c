//! Requests and bytes, as the client sends and gets them.

use std::fmt;
use std::ops::{Range, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use writeback_objects::object_store::aws::AmazonS3;
use writeback_objects::object_store::path::Path;
use writeback_objects::object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) put: u64,
    pub(crate) get: u64,
    pub(crate) other: u64,
    pub(crate) up: u64,
    pub(crate) down: u64,
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, old: Self) -> Self {
        Self {
            put: self.put - old.put,
            get: self.get - old.get,
            other: self.other - old.other,
            up: self.up - old.up,
            down: self.down - old.down,
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    put: AtomicU64,
    get: AtomicU64,
    other: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
}

/// A bucket whose requests are counted. A long list counts as one, and what is asked again after a failure is not counted again.
#[derive(Debug)]
pub(crate) struct Counting {
    bucket: AmazonS3,
    tally: Arc<Tally>,
}

impl Counting {
    pub(crate) fn new(bucket: AmazonS3) -> Self {
        Self { bucket, tally: Arc::default() }
    }

    pub(crate) fn counts(&self) -> Counts {
        let Tally { put, get, other, up, down } = &*self.tally;
        let [put, get, other, up, down] =
            [put, get, other, up, down].map(|count| count.load(Relaxed));
        Counts { put, get, other, up, down }
    }

    fn other(&self) {
        self.tally.other.fetch_add(1, Relaxed);
    }
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bucket.fmt(f)
    }
}

/// An upload whose parts are counted.
#[derive(Debug)]
struct Parts(Box<dyn MultipartUpload>, Arc<Tally>);

#[async_trait::async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.1.put.fetch_add(1, Relaxed);
        self.1.up.fetch_add(data.content_length() as u64, Relaxed);
        self.0.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.1.put.fetch_add(1, Relaxed);
        self.0.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.1.other.fetch_add(1, Relaxed);
        self.0.abort().await
    }
}

#[async_trait::async_trait]
impl ObjectStore for Counting {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.tally.put.fetch_add(1, Relaxed);
        self.tally.up.fetch_add(payload.content_length() as u64, Relaxed);
        self.bucket.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.tally.put.fetch_add(1, Relaxed);
        let upload = self.bucket.put_multipart_opts(at, options).await?;
        Ok(Box::new(Parts(upload, Arc::clone(&self.tally))))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.tally.get.fetch_add(1, Relaxed);
        let mut got = self.bucket.get_opts(at, options).await?;
        if let GetResultPayload::Stream(bytes) = got.payload {
            let tally = Arc::clone(&self.tally);
            let counted = bytes.inspect(move |part| {
                let len = part.as_ref().map_or(0, Bytes::len);
                tally.down.fetch_add(len as u64, Relaxed);
            });
            got.payload = GetResultPayload::Stream(counted.boxed());
        }
        Ok(got)
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.tally.get.fetch_add(1, Relaxed);
        let got = self.bucket.get_ranges(at, ranges).await?;
        self.tally.down.fetch_add(got.iter().map(|part| part.len() as u64).sum(), Relaxed);
        Ok(got)
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.other();
        self.bucket.delete_stream(at)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.other();
        self.bucket.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.other();
        self.bucket.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.other();
        self.bucket.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.tally.put.fetch_add(1, Relaxed);
        self.bucket.copy_opts(from, to, options).await
    }
}
