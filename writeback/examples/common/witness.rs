//! A store that keeps track of which versions its `fdatasync` has covered.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use writeback::{Completion, FileStore, FlushKind, Image, Limits, Store, StoreError, WriteBatch};

/// Tells the version of a page from its bytes; the greatest number if they do not say.
pub(crate) type VersionOf = fn(&[u8]) -> u64;

/// The file, and for each page the newest version written and the newest one followed by a
/// successful flush.
///
/// Reading the file shows that a page was written, but not that it was flushed; this shows both. A
/// version is noted before its write begins, because that ends inside the file store: a flush that
/// begins in between is taken to cover it, though it may not.
#[derive(Debug)]
pub(crate) struct Witness {
    store: FileStore,
    page_size: u64,
    version_of: VersionOf,
    written: Vec<AtomicU64>,
    flushed: Vec<AtomicU64>,
}

impl Witness {
    pub(crate) fn new(
        store: FileStore,
        pages: usize,
        page_size: usize,
        version_of: VersionOf,
    ) -> Self {
        let zeros = || std::iter::repeat_with(AtomicU64::default).take(pages).collect();
        let (written, flushed) = (zeros(), zeros());
        Self { store, page_size: page_size as u64, version_of, written, flushed }
    }

    /// The newest version of `page` that a flush has covered.
    pub(crate) fn flushed(&self, page: usize) -> u64 {
        self.flushed[page].load(Ordering::Acquire)
    }

    /// Writes one page, for who does its own I/O.
    pub(crate) fn write_page(&self, offset: u64, image: &Image) -> io::Result<()> {
        self.note(offset, image);
        self.store.file().write_all_at(image.as_ref(), offset)
    }

    fn note(&self, offset: u64, image: &Image) {
        let page = usize::try_from(offset / self.page_size).expect("a page of the file");
        let version = (self.version_of)(image.as_ref());
        self.written[page].fetch_max(version, Ordering::AcqRel);
    }
}

impl Store for Witness {
    fn limits(&self) -> Limits {
        self.store.limits()
    }

    fn len(&self) -> Result<u64, StoreError> {
        self.store.len()
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.store.set_len(len)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, StoreError> {
        self.store.read(offset, into)
    }

    fn submit(&self, batch: WriteBatch, completion: Completion) {
        let mut offset = batch.offset();
        for image in batch.images() {
            self.note(offset, image);
            offset += image.len() as u64;
        }
        self.store.submit(batch, completion);
    }

    fn flush(&self, kind: FlushKind) -> Result<(), StoreError> {
        let covered: Vec<_> =
            self.written.iter().map(|version| version.load(Ordering::Acquire)).collect();
        self.store.flush(kind)?;
        for (flushed, version) in self.flushed.iter().zip(covered) {
            flushed.fetch_max(version, Ordering::AcqRel);
        }
        Ok(())
    }
}
