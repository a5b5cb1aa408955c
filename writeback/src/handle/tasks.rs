//! A handle for tasks: calls that are futures, and hold up no thread while they wait.

use std::future::Future;
use std::ops::RangeBounds;

use super::Handle;
use crate::error::Result;
use crate::held;
use crate::index::range::{Inclusive, inclusive};
use crate::modes::FlushKind;
use crate::rules::core::Mapping;
use crate::rules::page_ref::PageRef;

/// A [`Handle`] whose calls are futures, of any runtime or none.
///
/// A call and its future do the same and wait in the same queues. What the two have in common besides, the errors that are told, is the
/// [handle's](Self::handle).
///
/// # Concurrency
/// A future that waits has no thread, and any thread may poll it. Dropping it ends the wait; a thread that was to do something in its place goes on with that, but writes nothing for a write that was dropped. Wakers are called on the threads that end
/// what is waited for, a store's for one, with no lock of the cache that a poll waits for. No guard of a page is to be kept while a future is polled that
/// the [table](crate#while-a-guard-is-held) has a **no** for, and none over any `await`: while a task keeps one, the others of its thread that meet a cut are told
/// [`Error::WouldBlock`](crate::Error::WouldBlock).
///
/// A store that blocks blocks whoever calls it: a future that asks for something takes as long as the call of the store does.
///
/// # Examples
/// With an executor of one line; that of a runtime does the same:
/// ```
/// use std::pin::pin;
/// use std::task::{Context, Waker};
/// use writeback::{Mapping, MemStore};
///
/// let mapping = Mapping::open(MemStore::with_contents(b"hello"))?;
/// let handle = mapping.async_handle();
/// let mut bytes = [0; 5];
/// {
///     let mut read = pin!(handle.read_at(&mut bytes, 0));
///     while read.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {}
/// }
/// assert_eq!(&bytes, b"hello");
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct AsyncHandle {
    handle: Handle,
}

impl AsyncHandle {
    /// The same handle, for calls that are no futures.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Reads up to the end of the mapping; returns how many bytes: see [`Handle::read_at`].
    ///
    /// # Concurrency
    /// Waits for a read of the store, for whoever has begun one of the page, and for a cut that is under way. A page that somebody changes is
    /// looked at again each time the executor comes round to the task. A page that is not cached comes in over the capacity of the
    /// [`PageCache`](crate::PageCache) rather than wait until one can go. Dropped, it leaves the read behind, which fills the cache.
    ///
    /// # Errors
    /// As [`Handle::read_at`].
    pub fn read_at(
        &self,
        buf: &mut [u8],
        offset: u64,
    ) -> impl Future<Output = Result<usize>> + Send {
        self.handle.mapping().read_at_in_task(buf, offset, &self.handle.sequence)
    }

    /// Writes all of `buf` at `offset`: see [`Handle::write_at`].
    ///
    /// # Concurrency
    /// Waits for room for dirty pages, in the order in which tasks of the mapping have come: one thread of the cache waits in the place of all of them, as a writer that is a thread
    /// does, pauses included. Otherwise as [`read_at`](Self::read_at), and for whoever has a guard of the page. One that has been let in and is not polled any more keeps the room of
    /// a page from the others, so drop it. Takes its turns with other tasks if there are many pages.
    ///
    /// If somebody keeps a guard of the page, or cuts follow each other without a pause, it has a thread write the page. Dropped, it has written some of its pages from the front, each of them whole, and writes no more.
    ///
    /// # Errors
    /// As [`Handle::write_at`]; [`Error::Thread`](crate::Error::Thread) if there is no room, and no thread to wait for it.
    pub fn write_at(&self, buf: &[u8], offset: u64) -> impl Future<Output = Result<()>> + Send {
        self.handle.mapping().write_at_in_task(buf, offset, None)
    }

    /// As [`write_at`](Self::write_at), for a change that has a record at `position` in the log: see [`Handle::write_logged_at`].
    ///
    /// # Concurrency
    /// The log is not to be truncated beyond `position` before this has ended. Otherwise as [`write_at`](Self::write_at).
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at), and as [`Handle::write_logged_at`].
    pub fn write_logged_at(
        &self,
        buf: &[u8],
        offset: u64,
        position: u64,
    ) -> impl Future<Output = Result<()>> + Send {
        self.handle.mapping().write_logged_in_task(buf, offset, position)
    }

    /// Reads the pages of these bytes that are not cached: see [`Handle::prefetch`].
    ///
    /// # Concurrency
    /// As [`read_at`](Self::read_at). Dropped, it leaves all reads behind that it has asked for.
    ///
    /// # Errors
    /// As [`Handle::prefetch`].
    pub fn prefetch(
        &self,
        bytes: impl RangeBounds<u64>,
    ) -> impl Future<Output = Result<()>> + Send {
        let (bytes, mapping) = (inclusive(bytes), self.handle.mapping());
        async move {
            match bytes {
                Some(bytes) => mapping.prefetch_in_task(bytes).await,
                None => Ok(()),
            }
        }
    }

    /// The page at `index`: see [`Mapping::page`]. With it in hand, [`try_read`](PageRef::try_read) and [`try_write`](PageRef::try_write) do not wait.
    ///
    /// # Concurrency
    /// As [`read_at`](Self::read_at). A future of either that waits for a page is one of the million references that there may be to it; to poll one more panics.
    ///
    /// # Errors
    /// As [`Mapping::page`].
    pub fn page(&self, index: u64) -> impl Future<Output = Result<PageRef>> + Send {
        self.handle.mapping().page_in_task(index)
    }

    /// Makes everything durable that was written before it was first polled: see [`Handle::sync_data`].
    ///
    /// # Concurrency
    /// Waits for what [`Handle::sync_data`] waits for. Any number of them share the flushes of the store: those that wait for one are covered by the next. While it waits for
    /// whoever [holds](crate::page::Hold) a page it has a claim of that page, for which other syncs and cuts wait, so a future that is not polled any more has to be dropped; otherwise it has no lock while it waits.
    /// If somebody keeps a guard of a page, it has a thread wait for that and write the page; and for the [log](crate::hooks::Log) a thread waits, one for all syncs of the mapping. Dropped, it leaves pages dirty that it has not come to, and what was begun ends
    /// without it; it has told no error, so the handle's next sync does. Takes its turns with other tasks if there are many pages.
    ///
    /// # Errors
    /// As [`Handle::sync_data`].
    pub fn sync_data(&self) -> impl Future<Output = Result<()>> + Send {
        self.sync(Some((0, u64::MAX)), FlushKind::Data)
    }

    /// As [`sync_data`](Self::sync_data), with what [`Handle::sync_all`] makes durable besides.
    ///
    /// # Errors
    /// As [`sync_data`](Self::sync_data).
    pub fn sync_all(&self) -> impl Future<Output = Result<()>> + Send {
        self.sync(Some((0, u64::MAX)), FlushKind::All)
    }

    /// As [`sync_data`](Self::sync_data), of the pages that have any of these bytes: see [`Handle::sync_range`].
    ///
    /// # Errors
    /// As [`sync_data`](Self::sync_data).
    pub fn sync_range(
        &self,
        bytes: impl RangeBounds<u64>,
    ) -> impl Future<Output = Result<()>> + Send {
        self.sync(self.handle.pages_of(bytes), FlushKind::Data)
    }

    async fn sync(&self, pages: Option<Inclusive>, kind: FlushKind) -> Result<()> {
        match pages {
            Some(pages) => self.handle.synced(pages, kind).await,
            None => Ok(()),
        }
    }

    /// Waits until every write of the range's pages that had begun before it was first polled has ended, whoever
    /// began it: see [`Mapping::wait_range`].
    pub fn wait_range(&self, pages: impl RangeBounds<u64>) -> impl Future<Output = ()> + Send {
        let range = inclusive(pages);
        let mapping = self.handle.mapping();
        async move {
            held::refuse(mapping.core.id(), "`wait_range`");
            if let Some(range) = range {
                mapping.writes_ended(range).await;
            }
        }
    }
}

impl Handle {
    /// The same handle for tasks.
    pub fn into_async(self) -> AsyncHandle {
        AsyncHandle { handle: self }
    }
}

impl Mapping {
    /// A new [handle](Self::handle) for tasks.
    pub fn async_handle(&self) -> AsyncHandle {
        self.handle().into_async()
    }
}
