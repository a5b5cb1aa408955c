//! What a store is handed: the bytes to write, and the duty to say how it went.

use std::fmt;
use std::sync::Arc;

use super::Ends;
use crate::buffer::Image;
use crate::error::StoreError;

/// Pages that lie side by side, or blocks of them that do, to be written in one go.
///
/// # Examples
/// ```
/// # use std::sync::Arc;
/// # use parking_lot::Mutex;
/// # use writeback::{Config, Mapping, StoreError};
/// # use writeback::store::{Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch};
/// #
/// # /// Keeps what it is given until it is told to write it.
/// # #[derive(Debug, Default)]
/// # struct Lazy(Mutex<Vec<(WriteBatch, Completion)>>);
/// #
/// # impl Store for Lazy {
/// #     fn limits(&self) -> Limits { Limits::default() }
/// #     fn len(&self) -> Result<u64, StoreError> { Ok(0) }
/// #     fn set_len(&self, _: u64) -> Result<(), StoreError> { Ok(()) }
/// #     fn read(&self, run: ReadRun) { run.complete(Ok(0)) }
/// #     fn write(&self, batch: WriteBatch, completion: Completion) {
/// #         self.0.lock().push((batch, completion));
/// #     }
/// #     fn flush(&self, _: FlushKind, completion: FlushCompletion) { completion.complete(Ok(())) }
/// # }
/// #
/// # let store = Arc::new(Lazy::default());
/// # let mapping = Mapping::with_config(store.clone(), Config::new())?;
/// # mapping.handle().write_at(&[1; 8192], 0)?;
/// # mapping.write_page(0, writeback::SyncMode::Skip)?;
/// # mapping.write_page(1, writeback::SyncMode::Skip)?;
/// let (batch, completion) = store.0.lock().remove(1); // given to `Store::write`
/// assert_eq!((batch.first_page(), batch.offset(), batch.len()), (1, 4096, 4096));
/// completion.complete(Ok(batch.len()));
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct WriteBatch {
    first_page: u64,
    offset: u64,
    len: u64,
    images: Vec<Image>,
}

impl WriteBatch {
    /// Images that follow each other from `offset` on, in page `first_page`; the batch alone has them.
    ///
    /// The cache makes them; this is for tests of stores and for stores over stores.
    pub fn new(first_page: u64, offset: u64, images: Vec<Image>) -> Self {
        let len = images.iter().map(|image| image.len() as u64).sum();
        Self { first_page, offset, len, images }
    }

    /// Index of the first page, or of the page that the first blocks are of.
    pub fn first_page(&self) -> u64 {
        self.first_page
    }

    /// Where the first image goes, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many bytes all images have together.
    #[expect(clippy::len_without_is_empty, reason = "a batch has at least one byte")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The pages' bytes, or blocks', one image a page, each following the one before without a gap.
    pub fn images(&self) -> &[Image] {
        &self.images
    }
}

/// The duty to say how a [`WriteBatch`] ended. Dropping it says [`StoreError::Lost`].
///
/// # Examples
/// ```
/// # use std::sync::Arc;
/// # use parking_lot::Mutex;
/// # use writeback::{Config, Mapping, StoreError};
/// # use writeback::store::{Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch};
/// #
/// # /// Keeps what it is given until it is told to write it.
/// # #[derive(Debug, Default)]
/// # struct Lazy(Mutex<Vec<(WriteBatch, Completion)>>);
/// #
/// # impl Store for Lazy {
/// #     fn limits(&self) -> Limits { Limits::default() }
/// #     fn len(&self) -> Result<u64, StoreError> { Ok(0) }
/// #     fn set_len(&self, _: u64) -> Result<(), StoreError> { Ok(()) }
/// #     fn read(&self, run: ReadRun) { run.complete(Ok(0)) }
/// #     fn write(&self, batch: WriteBatch, completion: Completion) {
/// #         self.0.lock().push((batch, completion));
/// #     }
/// #     fn flush(&self, _: FlushKind, completion: FlushCompletion) { completion.complete(Ok(())) }
/// # }
/// #
/// # let store = Arc::new(Lazy::default());
/// # let mapping = Mapping::with_config(store.clone(), Config::new())?;
/// # mapping.handle().write_at(&[1; 8192], 0)?;
/// # mapping.write_page(0, writeback::SyncMode::Skip)?;
/// # mapping.write_page(1, writeback::SyncMode::Skip)?;
/// let (batch, completion) = store.0.lock().remove(1); // given to `Store::write`
/// std::thread::spawn(move || completion.complete(Ok(batch.len()))).join().expect("no panic");
/// assert!(!mapping.page(1)?.snapshot().is_dirty());
/// drop(store.0.lock().pop()); // the other one is forgotten: reported as lost
/// assert!(mapping.page(0)?.snapshot().is_dirty());
/// # Ok::<(), writeback::Error>(())
/// ```
#[must_use = "a write must be ended; dropping its completion reports it as lost"]
pub struct Completion {
    len: u64,
    /// `None` once it has been told.
    ending: Option<Box<dyn EndOfWrite>>,
    /// Those of the mapping, if it is told.
    ends: Option<Arc<Ends>>,
}

/// Who is told how a batch has ended: once.
pub(crate) trait EndOfWrite: Send + Sync {
    /// So many bytes from the front were accepted; if there are fewer than the batch has, then `error` came.
    fn end(self: Box<Self>, accepted: u64, error: StoreError);
}

/// Told by a call.
struct Calling<F> {
    len: u64,
    ended: F,
}

impl<F: FnOnce(u64, Option<StoreError>) + Send + Sync> EndOfWrite for Calling<F> {
    fn end(self: Box<Self>, accepted: u64, error: StoreError) {
        let accepted = accepted.min(self.len);
        (self.ended)(accepted, (accepted < self.len).then_some(error));
    }
}

impl Completion {
    /// The duty to tell `ending` how a batch of `len` bytes has ended.
    pub(crate) fn of(len: u64, ending: Box<dyn EndOfWrite>) -> Self {
        Self { len, ending: Some(ending), ends: None }
    }

    /// The same, as one of these ends.
    pub(crate) fn among(mut self, ends: &Arc<Ends>) -> Self {
        self.ends = Some(Arc::clone(ends));
        self
    }

    /// The duty to tell `ended` how a batch of `len` bytes has ended, for tests of stores and for stores over stores:
    /// how many bytes from the front were accepted, and if those are not all, the error that came then.
    ///
    /// # Examples
    /// ```
    /// use std::sync::mpsc::channel;
    /// use writeback::MemStore;
    /// use writeback::store::{Completion, Store, WriteBatch};
    ///
    /// let (tell, told) = channel();
    /// let batch = WriteBatch::new(0, 0, vec![b"abc"[..].into()]);
    /// let completion = Completion::new(batch.len(), move |accepted, error| {
    ///     let _ = tell.send((accepted, error.is_none()));
    /// });
    /// MemStore::new().write(batch, completion);
    /// assert_eq!(told.recv(), Ok((3, true)));
    /// ```
    pub fn new(
        len: u64,
        ended: impl FnOnce(u64, Option<StoreError>) + Send + Sync + 'static,
    ) -> Self {
        Self::of(len, Box::new(Calling { len, ended }))
    }

    /// Ends the write: so many bytes from the front were accepted.
    ///
    /// Pages within them are clean from now on. If there are fewer than the batch has, the pages
    /// that are not wholly within them stay dirty with [`StoreError::ShortWrite`].
    ///
    /// # Concurrency
    /// From any thread. Takes no page lock and never blocks for long.
    pub fn complete(self, accepted: Result<u64, StoreError>) {
        match accepted {
            Ok(accepted) => {
                let error = StoreError::ShortWrite { expected: self.len, accepted };
                self.fail_after(accepted, error);
            }
            Err(error) => self.fail_after(0, error),
        }
    }

    /// Ends the write: so many bytes from the front were accepted, then `error` came.
    ///
    /// # Concurrency
    /// As [`complete`](Self::complete).
    pub fn fail_after(mut self, accepted: u64, error: StoreError) {
        self.end(accepted, error);
    }

    fn end(&mut self, accepted: u64, error: StoreError) {
        if let Some(ending) = self.ending.take() {
            let _told = self.ends.take().map(Ends::enter);
            ending.end(accepted, error);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.end(0, StoreError::Lost);
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").field("len", &self.len).finish_non_exhaustive()
    }
}
