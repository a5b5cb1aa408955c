//! The store: its state, and what the cache calls.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use slatedb::Db;
use slatedb::object_store::ObjectStore;
use slatedb::object_store::path::Path;
use tokio::runtime::{Handle, Runtime};
use writeback::StoreError;
use writeback::store::{
    Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch,
};

use crate::ahead::Ahead;
use crate::error::{OpenError, store_error, timed_out};
use crate::keys::Record;
use crate::layer::{Layer, Staged, significant};
use crate::options::ObjectOptions;
use crate::runs::Runs;

/// A store on object storage: pages are keys of a [slatedb](slatedb::Db) database.
///
/// Clones are the same store. When the last is dropped, work in the background ends where it is; [`close`](Self::close) lets it
/// come to an end.
///
/// # Concurrency
/// Writes end when they are in memory. Reads and flushes run on a runtime and end there; any number of reads at once, one flush after the other.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use writeback::{Config, Mapping};
/// use writeback_objects::ObjectPages;
/// use writeback_objects::object_store::memory::InMemory;
///
/// let bucket = Arc::new(InMemory::new());
/// let store = ObjectPages::open("disk", bucket.clone())?;
/// let handle = Mapping::open(store.clone())?.handle();
/// handle.write_at(b"hello", 10_000)?;
/// handle.sync_data()?;
///
/// // Somebody else opens it, and has what was synced.
/// let other = Mapping::open(ObjectPages::open("disk", bucket)?)?.handle();
/// let mut bytes = [0; 5];
/// other.read_at(&mut bytes, 10_000)?;
/// assert_eq!(&bytes, b"hello");
///
/// // That has shut the first one out.
/// handle.write_at(b"lost", 0)?;
/// assert!(handle.sync_data().unwrap_err().to_string().contains("another writer"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ObjectPages(Arc<Owner>);

/// The tasks have the rest, so that the last reference in a program is known.
struct Owner {
    inner: Arc<Inner>,
    runtime: Option<Runtime>,
}

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) handle: Handle,
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) path: Path,
    pub(crate) chunk: u64,
    pub(crate) options: ObjectOptions,
    pub(crate) epoch: u64,
    pub(crate) state: Mutex<State>,
    /// Whoever writes to the database has it, one flush or one slice of spilled chunks or of garbage after the other.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Shared by reads of the database from when they look up where until they have the bytes. A flush has it alone while it changes
    /// where chunks are.
    pub(crate) places: tokio::sync::RwLock<()>,
    pub(crate) ahead: Mutex<Ahead>,
    pub(crate) spilled: AtomicU64,
}

/// What is written and what is stored. Locked for moments only, and never when something is ended.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) len: u64,
    pub(crate) now: Layer,
    /// Of a flush that has not yet reached the database, or has failed on its way.
    pub(crate) going: Option<Arc<Layer>>,
    /// Where the database has what is not in `p`.
    pub(crate) stored: Runs,
    /// As the database has it, durable or about to be.
    pub(crate) record: Record,
    /// Of the flush that comes next.
    pub(crate) generation: u64,
    /// How a flush failed: nothing can be flushed any more.
    pub(crate) failed: Option<StoreError>,
    pub(crate) spilling: bool,
    /// Writes that end when less is staged.
    pub(crate) waiting: VecDeque<(Completion, u64)>,
}

impl ObjectPages {
    /// Opens the store at `path`, or makes it; see [`ObjectOptions::open`].
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: impl Into<Path>, objects: Arc<dyn ObjectStore>) -> Result<Self, OpenError> {
        Self::options().open(path, objects)
    }

    /// How to open it, to be changed.
    pub fn options() -> ObjectOptions {
        ObjectOptions::default()
    }

    pub(crate) fn open_with(
        path: Path,
        objects: Arc<dyn ObjectStore>,
        options: ObjectOptions,
    ) -> Result<Self, OpenError> {
        options.check()?;
        let runtime = match &options.runtime {
            Some(_) => None,
            None => Some(own_runtime()?),
        };
        let handle = options.runtime.clone().or_else(|| Some(runtime.as_ref()?.handle().clone()));
        let handle = handle.expect("one of the two");
        let patience = options.patience;
        let opening = crate::open::open(handle.clone(), path, objects, options);
        match wait(&handle, patience, opening) {
            Some(Ok(inner)) => Ok(Self(Arc::new(Owner { inner: Arc::new(inner), runtime }))),
            Some(Err(error)) => {
                runtime.into_iter().for_each(Runtime::shutdown_background);
                Err(error)
            }
            None => {
                runtime.into_iter().for_each(Runtime::shutdown_background);
                Err(OpenError::Patience(patience))
            }
        }
    }

    /// How many openings there have been: each has a number of its own, one more than the last.
    pub fn epoch(&self) -> u64 {
        self.0.inner.epoch
    }

    /// How many chunks have been put ahead of their flush.
    pub fn spilled(&self) -> u64 {
        self.inner().spilled.load(Ordering::Relaxed)
    }

    /// The database, for its metrics, its manifest and the like.
    ///
    /// To write to it is to break the store.
    pub fn db(&self) -> &Db {
        &self.0.inner.db
    }

    /// Ends the work in the background and waits for that: what was flushed moves out of the log, so that the next opening is
    /// faster. What was not flushed is lost. The store is of no use afterwards.
    ///
    /// # Errors
    /// [`StoreError::Fenced`], or whatever else keeps it from that. Nothing flushed is lost.
    pub fn close(&self) -> Result<(), StoreError> {
        let db = self.inner().db.clone();
        self.wait(async move { db.close().await.map_err(store_error) })
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0.inner
    }

    /// Runs `task` on the runtime and waits for it, within the patience.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let patience = self.inner().options.patience;
        wait(&self.inner().handle, patience, task).unwrap_or_else(|| Err(timed_out(patience)))
    }
}

fn own_runtime() -> Result<Runtime, OpenError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("writeback-objects")
        .enable_all()
        .build()
        .map_err(|error| OpenError::Store(error.into()))
}

/// Runs `task` and waits for it; `None` if it takes longer, or panics. Works in any thread but the runtime's only one.
pub(crate) fn wait<T: Send + 'static>(
    handle: &Handle,
    patience: Duration,
    task: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let (tell, told) = mpsc::sync_channel(1);
    let _ended = handle.spawn(async move {
        if let Ok(outcome) = tokio::time::timeout(patience, task).await {
            let _ = tell.send(outcome);
        }
    });
    told.recv().ok()
}

impl Inner {
    pub(crate) fn chunk_len(&self) -> usize {
        usize::try_from(self.chunk).expect("at most a MiB")
    }

    /// Puts what a batch has into memory. Afterwards it is as good as written.
    fn stage(&self, batch: &WriteBatch, state: &mut State) {
        let size = self.chunk_len();
        let mut chunk = batch.offset() / self.chunk;
        for image in batch.images() {
            for bytes in image.as_ref().chunks(size) {
                // Copied: the database keeps it, and must not keep the cache's memory by that.
                let bytes = Bytes::copy_from_slice(&bytes[..significant(bytes)]);
                state.now.put(chunk, Staged::Bytes(bytes));
                chunk += 1;
            }
        }
        state.len = state.len.max(batch.offset() + batch.len());
    }

    /// Zeros, or cuts, all bytes from `start` to `end`.
    fn clear(&self, state: &mut State, start: u64, end: u64) -> Result<(), StoreError> {
        let (first, last) = (start.div_ceil(self.chunk), end.div_ceil(self.chunk));
        if first > last {
            return Ok(());
        }
        if !start.is_multiple_of(self.chunk) {
            let keep = usize::try_from(start % self.chunk).expect("less than a chunk");
            state.now.cut(start / self.chunk, keep);
        }
        state.now.clear(first..last);
        Ok(())
    }

    fn is_aligned(&self, offset: u64, len: u64) -> bool {
        offset.is_multiple_of(self.chunk) && len.is_multiple_of(self.chunk)
    }
}

fn invalid(what: &'static str) -> StoreError {
    io::Error::new(io::ErrorKind::InvalidInput, what).into()
}

impl Store for ObjectPages {
    /// Whole chunks, up to 256 pages, to the end of what an `i64` counts.
    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.alignment = self.inner().chunk_len();
        limits
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(self.inner().state.lock().len)
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        if len > self.limits().len_max {
            return Err(invalid("longer than a store can be"));
        }
        let inner = self.inner();
        let mut state = inner.state.lock();
        if len < state.len {
            let end = state.len;
            inner.clear(&mut state, len, end)?;
            inner.ahead.lock().forget_all();
        }
        state.len = len;
        Ok(())
    }

    fn read(&self, run: ReadRun) {
        crate::read::read(self.inner(), run);
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        let inner = self.inner();
        if !inner.is_aligned(batch.offset(), batch.len()) {
            return completion.complete(Err(invalid("writes are of whole chunks")));
        }
        let now = {
            let mut state = inner.state.lock();
            if let Some(error) = state.failed.clone() {
                drop(state);
                return completion.complete(Err(error));
            }
            inner.stage(&batch, &mut state);
            let first = batch.offset() / inner.chunk;
            inner.ahead.lock().forget(first..first + batch.len() / inner.chunk);
            let room = state.now.bytes <= 2 * inner.options.staging_bytes;
            crate::flush::spill_if_needed(inner, &mut state);
            match room || !state.spilling {
                true => Some(completion),
                false => {
                    state.waiting.push_back((completion, batch.len()));
                    None
                }
            }
        };
        let len = batch.len();
        drop(batch);
        if let Some(completion) = now {
            completion.complete(Ok(len));
        }
    }

    fn is_congested(&self) -> bool {
        let inner = self.inner();
        inner.state.lock().now.bytes > inner.options.staging_bytes
    }

    fn flush(&self, _: FlushKind, completion: FlushCompletion) {
        crate::flush::flush(self.inner(), completion);
    }

    fn punch(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        let inner = self.inner();
        let mut state = inner.state.lock();
        let end = offset.saturating_add(len).min(state.len);
        if offset >= end {
            return Ok(());
        }
        // The end of the store is the end of its last chunk: behind it are zeros.
        let whole = end == state.len || end.is_multiple_of(inner.chunk);
        if !offset.is_multiple_of(inner.chunk) || !whole {
            return Err(invalid("whole chunks are punched"));
        }
        inner.clear(&mut state, offset, end)?;
        inner.ahead.lock().forget_all();
        Ok(())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        match self.runtime.take() {
            Some(runtime) => runtime.shutdown_background(),
            None => {
                let db = self.inner.db.clone();
                let _closing = self.inner.handle.spawn(async move { db.close().await });
            }
        }
    }
}

impl fmt::Debug for ObjectPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner();
        let state = inner.state.lock();
        f.debug_struct("ObjectPages")
            .field("path", &inner.path.as_ref())
            .field("len", &state.len)
            .field("staged", &state.now.bytes)
            .field("epoch", &inner.epoch)
            .finish_non_exhaustive()
    }
}
