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
use crate::error::{OpenError, failed, store_error, timed_out};
use crate::garbage::Heap;
use crate::keys::Record;
use crate::layer::{Layer, Staged, significant};
use crate::options::ObjectOptions;
use crate::runs::Runs;

/// A store on object storage: pages are keys of a [slatedb](slatedb::Db) database.
///
/// Clones are the same store. When the last is dropped, work in the background ends where it is, or, on a
/// [given runtime](ObjectOptions::runtime), closes the database there; [`close`](Self::close) lets it come to an end and waits.
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
    /// Whoever writes to the database has it, one flush or one slice of spilled chunks or of garbage after the other. Nobody but a flush keeps it
    /// for longer than a part of the patience, or all of it at most.
    pub(crate) turn: tokio::sync::Mutex<()>,
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
    /// Writes that are taken in, and end, when less is staged.
    pub(crate) waiting: VecDeque<(Completion, WriteBatch)>,
    /// Shared by reads of the database from when they look up where until they have the bytes. A flush that leaves garbage puts another
    /// in its place, and the garbage is swept up when this one is free: so a flush waits for no read.
    pub(crate) places: Arc<tokio::sync::RwLock<()>>,
    /// To be swept up, in this order.
    pub(crate) heaps: VecDeque<Arc<Heap>>,
    pub(crate) sweeping: bool,
    /// One of `heaps` that the next flush has to tell the database of: what was spilled before the store was opened, for flushes that never came.
    pub(crate) unrecorded: Option<Arc<Heap>>,
    /// The first generation since the store was opened.
    pub(crate) first: u64,
}

impl State {
    /// Bytes that are in memory because the database has not taken them.
    pub(crate) fn staged(&self) -> u64 {
        self.now.bytes + self.going.as_ref().map_or(0, |layer| layer.bytes)
    }
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
        match wait_for_opening(&handle, patience, opening) {
            Ok(inner) => {
                let inner = Arc::new(inner);
                crate::sweep::sweep_if_needed(&inner);
                Ok(Self(Arc::new(Owner { inner, runtime })))
            }
            Err(error) => {
                runtime.into_iter().for_each(Runtime::shutdown_background);
                Err(error)
            }
        }
    }

    /// The number of this opening: each has one of its own, greater than that of the last. Openings that failed after they had shut out who was there
    /// before count, too.
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
        match wait(&self.inner().handle, patience, task) {
            Waited::Done(outcome) => outcome,
            Waited::Late => Err(timed_out(patience)),
            Waited::Panicked => Err(failed("the object store's client has panicked")),
        }
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

enum Waited<T> {
    Done(T),
    Late,
    Panicked,
}

/// Runs `task`, so long at most, and waits for it. Works in any thread but the runtime's only one.
fn wait<T: Send + 'static>(
    handle: &Handle,
    patience: Duration,
    task: impl Future<Output = T> + Send + 'static,
) -> Waited<T> {
    let (tell, told) = mpsc::sync_channel(1);
    let _ended = handle.spawn(async move {
        let waited = tokio::time::timeout(patience, task).await.map_or(Waited::Late, Waited::Done);
        let _ = tell.send(waited);
    });
    told.recv().unwrap_or(Waited::Panicked)
}

/// Waits so long for an opening. It goes on to its end in any case, because a database that is given up half open works on; one that comes
/// too late is closed.
fn wait_for_opening(
    handle: &Handle,
    patience: Duration,
    opening: impl Future<Output = Result<Inner, OpenError>> + Send + 'static,
) -> Result<Inner, OpenError> {
    // Without room, so that what is sent has been received.
    let (tell, told) = mpsc::sync_channel(0);
    let _opened = handle.spawn(async move {
        let opened = opening.await;
        if let Err(mpsc::SendError(Ok(inner))) = tell.send(opened) {
            let _ = inner.db.close().await;
        }
    });
    match told.recv_timeout(patience) {
        Ok(opened) => opened,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(OpenError::Patience(patience)),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            Err(OpenError::Store(failed("the object store's client has panicked")))
        }
    }
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

    /// Has what a batch writes, from now on.
    pub(crate) fn take_in(self: &Arc<Self>, batch: &WriteBatch, state: &mut State) {
        self.stage(batch, state);
        let first = batch.offset() / self.chunk;
        self.ahead.lock().forget(first..first + batch.len() / self.chunk);
        crate::spill::spill_if_needed(self, state);
    }

    /// Tells whether there is no room for so many bytes more, and somebody at work who makes some and lets writes in then.
    pub(crate) fn must_wait(&self, state: &State, len: u64) -> bool {
        let most = self.options.staging_bytes.saturating_mul(2);
        let staged = state.staged();
        let room = staged == 0 || staged.saturating_add(len) <= most;
        !room && (state.spilling || state.going.is_some())
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
        self.ahead.lock().forget(start / self.chunk..last);
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
        let len = batch.len();
        {
            let mut state = inner.state.lock();
            if let Some(error) = state.failed.clone() {
                drop(state);
                return completion.complete(Err(error));
            }
            if !state.waiting.is_empty() || inner.must_wait(&state, len) {
                return state.waiting.push_back((completion, batch));
            }
            inner.take_in(&batch, &mut state);
        }
        drop(batch);
        completion.complete(Ok(len));
    }

    fn is_congested(&self) -> bool {
        let inner = self.inner();
        inner.state.lock().staged() > inner.options.staging_bytes
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
        inner.clear(&mut state, offset, end)
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
            .field("staged", &state.staged())
            .field("epoch", &inner.epoch)
            .field("sweeping", &state.sweeping)
            .finish_non_exhaustive()
    }
}
