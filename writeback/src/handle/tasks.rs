//! A handle for tasks: calls that are futures, and hold up no thread while they wait.

use std::future::Future;
use std::ops::RangeBounds;

use super::Handle;
use crate::held;
use crate::index::range::inclusive;
use crate::rules::core::Mapping;

/// A [`Handle`] whose calls are futures, of any runtime or none.
///
/// A call and its future do the same and wait in the same queues. What the two have in common besides, the errors that are told, is the
/// [handle's](Self::handle).
///
/// # Concurrency
/// A future that waits has no thread, and any thread may poll it. Dropping it ends the wait and nothing else. Wakers are called on the threads that end
/// what is waited for, a store's for one, with no lock of the cache that a poll waits for. No guard of a page is to be kept while a future is polled that
/// the [table](crate#while-a-guard-is-held) has a **no** for.
///
/// A store that blocks blocks whoever calls it: a future that asks for something takes as long as the call of the store does.
///
/// # Examples
/// With an executor of one line; that of a runtime does the same:
/// ```
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
/// use writeback::{Budget, Mapping, MemStore, SyncMode};
///
/// let mapping = Mapping::open(MemStore::new())?;
/// let handle = mapping.async_handle();
/// handle.handle().write_at(b"hello", 0)?;
/// mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED)?;
/// let written = pin!(handle.wait_range(..));
/// assert_eq!(written.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()));
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
