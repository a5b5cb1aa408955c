//! Changes that have a record in the [log](crate::hooks::Log).

use std::ops::Range;

use crate::error::{Error, Result};
use crate::hooks::{LogHold, LoggedChange, Order};
use crate::rules::core::{Core, Mapping};
use crate::rules::page_ref::PageRef;

impl PageRef {
    /// As [`write_with`](Self::write_with), for a change that has a record in the [log](crate::hooks::Log): `f` gets at the bytes by
    /// naming the record's position.
    ///
    /// # Concurrency
    /// As [`write_with`](Self::write_with). What `f` appends to the log it may append within the call: writers of the
    /// page come one after the other, so that records and changes of a page have the same order, and the log
    /// is not to be truncated beyond the record from before it is appended
    /// ([`oldest_unwritten`](Mapping::oldest_unwritten)). `f` must not wait for such a truncation, nor for
    /// the log to become durable, more than it can help: readers of the page wait for it.
    ///
    /// # Errors
    /// As [`write_with`](Self::write_with); [`Error::Config`] if the mapping has no log.
    ///
    /// # Examples
    /// ```
    /// # use std::{io, sync::Arc};
    /// # use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    /// # use writeback::{Config, Mapping, MemStore};
    /// # use writeback::hooks::Log;
    /// # #[derive(Debug, Default)]
    /// # struct Journal(AtomicU64);
    /// # impl Journal {
    /// #     fn append(&self, _: &[u8]) -> io::Result<u64> { Ok(self.0.fetch_add(1, SeqCst) + 1) }
    /// # }
    /// # impl Log for Journal {
    /// #     fn durable(&self) -> u64 { self.0.load(SeqCst) }
    /// #     fn ensure(&self, _: u64) -> io::Result<()> { Ok(()) }
    /// # }
    /// # let journal = Arc::new(Journal::default());
    /// # let config = Config::new().log(journal.clone());
    /// # let mapping = Mapping::with_config(Arc::new(MemStore::with_contents([0; 4096])), config)?;
    /// let logged = mapping.page(0)?.write_logged(0..5, |change| {
    ///     let position = journal.append(b"hello")?; // an error: the page is as it was
    ///     change.at(position).copy_from_slice(b"hello");
    ///     Ok::<_, io::Error>(position)
    /// })?;
    /// assert_eq!(mapping.oldest_unwritten(), logged.ok());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn write_logged<R>(
        &self,
        bytes: Range<usize>,
        f: impl FnOnce(&mut LoggedChange<'_>) -> R,
    ) -> Result<R> {
        let order = self.core().order()?;
        // Before the latch. What is appended later is beyond it.
        let floor = order.durable();
        self.dirty_bytes(&bytes)
            .map(|mut bytes| f(&mut LoggedChange::new(order, &self.positions, &mut bytes, floor)))
    }

    /// The newest log position of any change of the page's bytes since it was read; `None`: it has none.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// assert_eq!(mapping.page(0)?.log_position(), None);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn log_position(&self) -> Option<u64> {
        self.positions.lock().newest()
    }
}

impl Core {
    /// As `write_logged_at`, with the position held until the pages have it.
    pub(crate) fn write_logged(&self, buf: &[u8], offset: u64, position: u64) -> Result<()> {
        let _release = self.hold_position(position)?;
        self.write_logged_at(buf, offset, position)
    }

    /// Has it held until this is dropped, when the pages have it, each from when it was changed.
    fn hold_position(&self, position: u64) -> Result<Release<'_>> {
        let order = self.order()?;
        if position == u64::MAX {
            return Err(Error::Config { reason: "u64::MAX is not a log position" });
        }
        order.hold(position);
        Ok(Release { order, position })
    }
}

impl Mapping {
    /// As [`write_logged`](Core::write_logged), in a task.
    pub(crate) async fn write_logged_in_task(
        &self,
        buf: &[u8],
        offset: u64,
        position: u64,
    ) -> Result<()> {
        let _release = self.core.hold_position(position)?;
        self.write_at_in_task(buf, offset, Some(position)).await
    }
}

struct Release<'o> {
    order: &'o Order,
    position: u64,
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.order.release(self.position);
    }
}

impl Mapping {
    /// From where on the log is still needed: every change at a lower position is durable in the store, or
    /// was cut away by a truncate. `None`: no change needs the log.
    ///
    /// A change stops to need it when an image with it was accepted by the store *and* a flush of the store
    /// that began after that has succeeded. So it is syncs that move the bound; background writeback makes
    /// them cheaper.
    ///
    /// # Concurrency
    /// Exact at one instant, for changes that were begun with [`write_logged`](PageRef::write_logged) before
    /// their record was appended, or made under a [`hold`](Self::hold_log). To truncate a log that others
    /// append to, ask *first* where it ends and then for the bound, and truncate up to the lower of the two:
    /// what is appended later is beyond the end, and what was appended earlier is known here.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # let log_end = || 7;
    /// let end = log_end();
    /// let keep_from = mapping.oldest_unwritten().map_or(end, |oldest| oldest.min(end));
    /// assert_eq!(keep_from, 7);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn oldest_unwritten(&self) -> Option<u64> {
        self.core.order().ok()?.oldest()
    }

    /// Keeps the log from being truncated beyond what is appended to it from now on, until the hold is
    /// dropped.
    ///
    /// # Errors
    /// [`Error::Config`] if the mapping has no log.
    ///
    /// # Examples
    /// A record that describes changes of several pages:
    /// ```
    /// # use std::{io, sync::Arc};
    /// # use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    /// # use writeback::{Config, Mapping, MemStore};
    /// # use writeback::hooks::Log;
    /// # #[derive(Debug, Default)]
    /// # struct Journal(AtomicU64);
    /// # impl Journal {
    /// #     fn append(&self, _: &str) -> u64 { self.0.fetch_add(1, SeqCst) + 1 }
    /// # }
    /// # impl Log for Journal {
    /// #     fn durable(&self) -> u64 { self.0.load(SeqCst) }
    /// #     fn ensure(&self, _: u64) -> io::Result<()> { Ok(()) }
    /// # }
    /// # let journal = Arc::new(Journal::default());
    /// # let config = Config::new().log(journal.clone());
    /// # let mapping = Mapping::with_config(Arc::new(MemStore::new()), config)?;
    /// let hold = mapping.hold_log()?;
    /// let position = journal.append("split page 0 into 0 and 1");
    /// mapping.handle().write_logged_at(b"left", 0, position)?;
    /// mapping.handle().write_logged_at(b"right", 4096, position)?;
    /// drop(hold);
    /// assert_eq!(mapping.oldest_unwritten(), Some(1));
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn hold_log(&self) -> Result<LogHold> {
        self.core.order().map(LogHold::new)
    }
}
