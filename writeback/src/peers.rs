//! What another process has changed in the store of a mapping, by an agreement with this one: a lock of files, most often.

use std::ops::RangeBounds;

use crate::error::Result;
use crate::index::range::inclusive;
use crate::rules::core::Mapping;

impl Mapping {
    /// Takes the cached pages that have any of these bytes out of the cache, so that they are read from the store again: another
    /// process, or another mapping, has changed it. Returns how many stay, because they have what only this mapping knows: they are dirty, or
    /// somebody [holds](crate::page::Hold) them. None stay if the mapping was synced, and nobody writes or holds them. A [mapping in
    /// memory](Self::memory_backed) has nothing to read again, and keeps all.
    ///
    /// Whoever has a [`PageRef`](crate::page::PageRef) of a page that was taken out has the page as it was: its bytes stay what they were, and
    /// changes, locks and holds of it are refused as of one that is [gone](crate::Error::Gone). Look pages up anew. The next sync makes durable what the store has, whoever
    /// wrote it.
    ///
    /// # Concurrency
    /// Reads through handles that begin afterwards find what the store has; one that is under way may find either. Nobody brings in a page meanwhile; reads
    /// and writes of these pages that are under way are waited for, and, if there is a [log](crate::Config::log), guards of them. A thread that [holds](crate::page::Hold) a page
    /// may call it only while no other thread calls this, `refresh_len`, `set_len`, `punch`, `zero` or `close`. It is of no use against somebody who changes the store
    /// at the same time: two who write one page of the store without an agreement undo each other's changes, as they do without a cache.
    ///
    /// Costs a look at each cached page of the range. What is read again has to earn its place in the cache again.
    ///
    /// # Errors
    /// [`Error::Forked`](crate::Error::Forked).
    ///
    /// # Panics
    /// In a debug build, if this thread has a guard of a page of this mapping: it could wait for itself.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::Store;
    /// use writeback::{Mapping, MemStore};
    ///
    /// let store = MemStore::with_contents([1; 100_000]);
    /// let mapping = Mapping::open(store.clone())?;
    /// let mut byte = [0];
    /// mapping.handle().read_at(&mut byte, 50_000)?;
    /// store.write_at(50_000, &[2])?;
    /// mapping.handle().read_at(&mut byte, 50_000)?;
    /// assert_eq!(byte, [1], "it is cached");
    ///
    /// assert_eq!(mapping.invalidate(50_000..50_001)?, 0, "none has stayed");
    /// mapping.handle().read_at(&mut byte, 50_000)?;
    /// assert_eq!(byte, [2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn invalidate(&self, bytes: impl RangeBounds<u64>) -> Result<u64> {
        inclusive(bytes).map_or(Ok(0), |bytes| self.read_again(bytes))
    }

    /// Takes over the length that the store has by now: another process has lengthened or cut it. Returns the length of the mapping.
    ///
    /// What is dirty is never lost. If a page behind the end of the store, or in which the shorter of both ends, is dirty or held, the mapping keeps its
    /// length, and so does the store: it is lengthened at once if it is shorter. So sync before another may change it, and hold nothing: a page at the end that is held keeps the length as one does
    /// that is dirty. Where this mapping was not synced, because a write has padded the store, or a cut of it has failed, the store is given this mapping's length before it
    /// is asked for its own: what another has appended is cut off, and what another has cut away is there again, as zeros. Pages that lie within both lengths stay cached;
    /// [`invalidate`](Self::invalidate) is for those. If both have the same length nothing is done, and nothing is asked of the next sync: only
    /// `invalidate` has it make durable what another has written.
    ///
    /// # Concurrency
    /// As a change of the length by [`set_len`](crate::Handle::set_len); besides, appends that are under way are waited for, also those that wait for room, and others are kept out. A thread that [holds](crate::page::Hold) a page may call it
    /// only while no other thread appends, or calls this, `invalidate`, `set_len`, `punch`, `zero` or `close`. Asks the store for its
    /// [length](crate::store::Store::len), and waits for reads and writes of pages at the end.
    ///
    /// # Errors
    /// [`Error::Length`](crate::Error::Length) if the store does not tell its length, if it is longer than it says it can be, or if its length cannot be
    /// set: to make up for a cut of this mapping that has failed, to cut off what writes were padded with, or to keep it. The mapping has the length then that it had.
    /// [`Error::Closed`](crate::Error::Closed), [`Error::Poisoned`](crate::Error::Poisoned), [`Error::Forked`](crate::Error::Forked).
    ///
    /// # Panics
    /// In a debug build, if this thread has a guard of a page of this mapping: it could wait for itself.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::Store;
    /// use writeback::{Mapping, MemStore};
    ///
    /// let store = MemStore::with_contents([1; 100_000]);
    /// let mapping = Mapping::open(store.clone())?;
    /// store.set_len(200_000)?;
    /// assert_eq!((mapping.len(), mapping.refresh_len()?), (100_000, 200_000));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn refresh_len(&self) -> Result<u64> {
        self.take_len_of_store()
    }
}
