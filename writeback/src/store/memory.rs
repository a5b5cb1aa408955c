//! A store in memory that knows what has been flushed: for tests and examples.

use std::collections::BTreeSet;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::errno::Errno;

use super::sparse::{CHUNK, Sparse, pieces};
use super::{Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch};
use crate::buffer::{ALIGNMENT, Image};
use crate::error::StoreError;
use crate::primitives::Mutex;

#[derive(Debug, Default)]
struct Inner {
    alignment: Option<NonZeroUsize>,
    accepted: Sparse,
    durable: Sparse,
    /// Chunks that differ, or may differ, between the two.
    unflushed: BTreeSet<u64>,
    /// Shortest length since the last flush: chunks beyond it were cut in between.
    cut: Option<u64>,
    writes: u64,
    flushes: u64,
}

/// A store in memory that tells what it accepted from what a flush has made durable.
///
/// Clones share the contents: keep one to look at what the cache wrote. Sparse: pages that were
/// never written take no memory.
///
/// # Concurrency
/// All methods lock it for the time of a copy. Everything has ended when its call returns.
///
/// # Examples
/// ```
/// use writeback::{Mapping, MemStore};
///
/// let store = MemStore::new();
/// let handle = Mapping::open(store.clone())?.handle();
/// handle.write_at(b"hello", 0)?;
/// assert_eq!(store.accepted(), b"");
/// handle.sync_data()?;
/// assert_eq!(store.durable(), b"hello");
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemStore(Arc<Mutex<Inner>>);

impl MemStore {
    /// An empty store.
    ///
    /// # Examples
    /// ```
    /// use writeback::MemStore;
    ///
    /// assert!(MemStore::new().accepted().is_empty());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// A store that holds `bytes`, durably.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let handle = Mapping::open(MemStore::with_contents(b"hello"))?.handle();
    /// let mut bytes = [0; 8];
    /// assert_eq!(handle.read_at(&mut bytes, 0)?, 5);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn with_contents(bytes: impl AsRef<[u8]>) -> Self {
        let mut contents = Sparse::default();
        contents.write(0, bytes.as_ref());
        Self(Arc::new(Mutex::new(Inner {
            accepted: contents.clone(),
            durable: contents,
            ..Inner::default()
        })))
    }

    /// From now on it takes only reads and writes that begin and end at multiples of `alignment` bytes, with memory that
    /// does so too (up to 4096), as direct I/O; others fail with `EINVAL`.
    ///
    /// # Panics
    /// If `alignment` is zero.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let store = MemStore::new().aligned(512);
    /// let mapping = Mapping::open(store.clone())?;
    /// mapping.handle().write_at(&[7; 1000], 0)?;
    /// mapping.write_page(0, writeback::SyncMode::Wait)?;
    /// assert_eq!(store.accepted().len(), 1024);
    /// mapping.handle().sync_data()?;
    /// assert_eq!(store.accepted(), [7; 1000]);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    #[must_use]
    pub fn aligned(self, alignment: usize) -> Self {
        let alignment = NonZeroUsize::new(alignment).expect("an alignment is at least one byte");
        self.0.lock().alignment = Some(alignment);
        self
    }

    /// A copy of everything accepted, flushed or not.
    ///
    /// # Panics
    /// If it does not fit into memory.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// let store = MemStore::new();
    /// let handle = Mapping::open(store.clone())?.handle();
    /// handle.write_at(b"abc", 0)?;
    /// handle.mapping().write_page(0, writeback::SyncMode::Wait)?;
    /// assert_eq!(store.accepted(), b"abc");
    /// assert_eq!(store.durable(), b"");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn accepted(&self) -> Vec<u8> {
        self.0.lock().accepted.to_vec()
    }

    /// A copy of what a power cut would certainly leave.
    ///
    /// # Panics
    /// If it does not fit into memory.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// let store = MemStore::new();
    /// let handle = Mapping::open(store.clone())?.handle();
    /// handle.write_at(b"abc", 0)?;
    /// handle.sync_data()?;
    /// assert_eq!(store.durable(), b"abc");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn durable(&self) -> Vec<u8> {
        self.0.lock().durable.to_vec()
    }

    /// The store as a power cut now could leave it at worst: without anything not flushed.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let store = MemStore::new();
    /// let handle = Mapping::open(store.clone())?.handle();
    /// handle.write_at(b"synced", 0)?;
    /// handle.sync_data()?;
    /// handle.write_at(b"doomed", 0)?;
    /// assert_eq!(store.after_crash().accepted(), b"synced");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn after_crash(&self) -> Self {
        let (durable, alignment) = {
            let inner = self.0.lock();
            (inner.durable.clone(), inner.alignment)
        };
        let inner = Inner { alignment, accepted: durable.clone(), durable, ..Inner::default() };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// How many batches were written.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// let store = MemStore::new();
    /// let handle = Mapping::open(store.clone())?.handle();
    /// handle.write_at(b"abc", 0)?;
    /// handle.sync_data()?;
    /// assert_eq!(store.writes(), 1);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn writes(&self) -> u64 {
        self.0.lock().writes
    }

    /// How often it was flushed.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// let store = MemStore::new();
    /// let handle = Mapping::open(store.clone())?.handle();
    /// handle.write_at(b"abc", 0)?;
    /// handle.sync_data()?;
    /// handle.sync_data()?; // nothing to do
    /// assert_eq!(store.flushes(), 1);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn flushes(&self) -> u64 {
        self.0.lock().flushes
    }
}

impl Inner {
    fn alignment(&self) -> usize {
        self.alignment.map_or(1, NonZeroUsize::get)
    }

    fn check(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        match is_aligned(self.alignment(), offset, bytes) {
            true => Ok(()),
            false => Err(io::Error::from(Errno::INVAL).into()),
        }
    }

    fn write(&mut self, mut offset: u64, images: &[Image]) {
        for image in images {
            let bytes = image.as_ref();
            self.accepted.write(offset, bytes);
            pieces(CHUNK, offset, bytes.len(), |chunk, _, _, _| {
                self.unflushed.insert(chunk);
            });
            offset += bytes.len() as u64;
        }
        self.writes += 1;
    }

    fn flush(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.durable.set_len(cut.min(self.durable.len()));
        }
        for chunk in std::mem::take(&mut self.unflushed) {
            self.durable.copy_chunk(chunk, &self.accepted);
        }
        self.durable.set_len(self.accepted.len());
        self.flushes += 1;
    }
}

impl Store for MemStore {
    fn limits(&self) -> Limits {
        Limits { alignment: self.0.lock().alignment(), ..Limits::default() }
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(self.0.lock().accepted.len())
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        let mut inner = self.0.lock();
        inner.cut = Some(inner.cut.unwrap_or(u64::MAX).min(len));
        inner.accepted.set_len(len);
        Ok(())
    }

    fn read(&self, run: ReadRun) {
        // Ended under no lock: whoever is told may come again.
        run.fill(|offset, into| {
            let inner = self.0.lock();
            inner.check(offset, into)?;
            Ok(inner.accepted.read(offset, into))
        });
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        let written = {
            let mut inner = self.0.lock();
            let mut images = batch.images().iter().map(Image::as_ref);
            let checked = images.try_for_each(|image| inner.check(batch.offset(), image));
            checked.map(|()| inner.write(batch.offset(), batch.images()))
        };
        completion.complete(written.map(|()| batch.len()));
    }

    fn flush(&self, _kind: FlushKind, completion: FlushCompletion) {
        self.0.lock().flush();
        completion.complete(Ok(()));
    }

    /// There is room for everything, always.
    fn allocate(&self, _offset: u64, _len: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        let Inner { accepted, unflushed, .. } = &mut *self.0.lock();
        accepted.punch(offset, len, |chunk| _ = unflushed.insert(chunk));
        Ok(())
    }

    fn zero(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        let Inner { accepted, unflushed, .. } = &mut *self.0.lock();
        accepted.zero(offset, len, |chunk| _ = unflushed.insert(chunk));
        Ok(())
    }

    fn next_data(&self, offset: u64) -> Result<Option<u64>, StoreError> {
        Ok(self.0.lock().accepted.next_data(offset))
    }

    fn next_hole(&self, offset: u64) -> Result<Option<u64>, StoreError> {
        Ok(self.0.lock().accepted.next_hole(offset))
    }
}

/// Whether bytes at an offset, and their place in memory, are as a store with this alignment needs them. All
/// images of a batch are multiples of it, so that its offset stands for that of each.
pub(super) fn is_aligned(alignment: usize, offset: u64, bytes: &[u8]) -> bool {
    offset.is_multiple_of(alignment as u64)
        && bytes.len().is_multiple_of(alignment)
        && bytes.as_ptr().addr().is_multiple_of(alignment.min(ALIGNMENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(store: &MemStore, offset: u64, bytes: &[u8]) {
        store.0.lock().write(offset, &[Image::from(bytes)]);
    }

    #[test]
    fn only_a_flush_makes_durable() {
        let store = MemStore::new();
        write(&store, 3, b"abc");
        assert_eq!(store.accepted(), b"\0\0\0abc");
        assert_eq!(store.durable(), b"");
        store.sync(FlushKind::Data).unwrap();
        assert_eq!(store.durable(), b"\0\0\0abc");
        write(&store, 3, b"xyz");
        assert_eq!(store.after_crash().accepted(), b"\0\0\0abc");
    }

    #[test]
    fn a_cut_and_regrown_store_reads_zeros_also_when_durable() {
        let store = MemStore::with_contents(vec![7; 10_000]);
        store.set_len(5_000).unwrap();
        store.set_len(10_000).unwrap();
        let mut expected = vec![7; 5_000];
        expected.resize(10_000, 0);
        assert_eq!(store.accepted(), expected);
        assert_eq!(store.durable(), vec![7; 10_000]);
        store.sync(FlushKind::All).unwrap();
        assert_eq!(store.durable(), expected);
    }

    #[test]
    fn reads_are_short_at_the_end_and_cross_chunks() {
        let store = MemStore::new();
        write(&store, 4_090, b"0123456789");
        let mut bytes = [9; 20];
        assert_eq!(store.read_at(4_088, &mut bytes).unwrap(), 12);
        assert_eq!(&bytes[..12], b"\0\x000123456789");
        assert_eq!(store.read_at(1 << 40, &mut bytes).unwrap(), 0);
    }

    #[test]
    fn holes_are_where_nothing_was_written_or_all_was_punched() {
        let store = MemStore::new();
        write(&store, 4096, &[1; 3 * 4096]);
        write(&store, 6 * 4096, b"end");
        let (end, page) = (6 * 4096 + 3, 4096);
        let data = |offset| store.next_data(offset).unwrap();
        let hole = |offset| store.next_hole(offset).unwrap();
        assert_eq!(
            (data(0), data(5000), hole(0), hole(5000)),
            (Some(page), Some(5000), Some(0), Some(4 * page))
        );
        assert_eq!((data(4 * page), hole(6 * page), data(end)), (Some(6 * page), Some(end), None));
        assert_eq!((hole(end), hole(end + 1)), (Some(end), None));
        store.punch(5000, 2 * page).unwrap();
        assert_eq!((hole(page), data(2 * page)), (Some(2 * page), Some(3 * page)));
        store.zero(2 * page, page).unwrap();
        assert_eq!((hole(page), data(2 * page)), (Some(4 * page), Some(2 * page)));
        store.punch(0, u64::MAX).unwrap();
        assert_eq!((data(0), hole(0), store.len().unwrap()), (None, Some(0), end));
        assert!(store.accepted().iter().all(|byte| *byte == 0) && store.durable().is_empty());
        store.sync(FlushKind::Data).unwrap();
        assert_eq!(store.durable(), store.accepted());
    }

    #[test]
    fn what_is_punched_is_zeros_and_what_lies_beside_it_is_not_touched() {
        for zero in [false, true] {
            let store = MemStore::with_contents([7; 10_000]);
            match zero {
                true => store.zero(100, 9_000).unwrap(),
                false => store.punch(100, 9_000).unwrap(),
            }
            let mut expected = [7; 10_000];
            expected[100..9_100].fill(0);
            assert_eq!(store.accepted(), expected);
            assert_eq!(store.after_crash().accepted(), [7; 10_000], "not before a flush");
            store.sync(FlushKind::Data).unwrap();
            assert_eq!(store.durable(), expected);
        }
    }
}
