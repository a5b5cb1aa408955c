//! A store that keeps track of what is written to it, and which versions its `fdatasync` covered.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use writeback::page::Image;
use writeback::store::{
    Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch,
};
use writeback::{FileStore, StoreError};

use super::at::write_all_at;

/// Tells the version of a page from its bytes; the greatest number if they do not say.
pub(crate) type VersionOf = fn(&[u8]) -> u64;

/// What is known of one page.
#[derive(Debug, Default)]
struct Record {
    /// Newest version written, and newest followed by a successful flush.
    written: AtomicU64,
    flushed: AtomicU64,
    /// How many writes have begun and ended.
    begun: AtomicU64,
    ended: AtomicU64,
}

/// The file, and what was written to it and flushed.
///
/// Reading the file shows that a page was written, but not that it was flushed; this shows both. A
/// version is noted before its write begins, because that ends inside the file store: a flush that
/// begins in between is taken to cover it, though it may not.
#[derive(Debug)]
pub(crate) struct Witness {
    store: FileStore,
    page_size: u64,
    version_of: VersionOf,
    pages: Vec<Record>,
    fdatasyncs: AtomicU64,
}

impl Witness {
    pub(crate) fn new(
        store: FileStore,
        pages: usize,
        page_size: usize,
        version_of: VersionOf,
    ) -> Self {
        let pages = std::iter::repeat_with(Record::default).take(pages).collect();
        Self {
            store,
            page_size: page_size as u64,
            version_of,
            pages,
            fdatasyncs: AtomicU64::new(0),
        }
    }

    /// How many times `fdatasync` was called.
    pub(crate) fn fdatasyncs(&self) -> u64 {
        self.fdatasyncs.load(Ordering::Relaxed)
    }

    /// The newest version of `page` that a flush has covered.
    pub(crate) fn flushed(&self, page: usize) -> u64 {
        self.pages[page].flushed.load(Ordering::Acquire)
    }

    /// How many writes of `page` have begun. Equal to the number of those that had ended before a
    /// read, it tells after the read that none of them was under way.
    pub(crate) fn writes_begun(&self, page: usize) -> u64 {
        self.pages[page].begun.load(Ordering::Acquire)
    }

    /// How many writes of `page` have ended.
    pub(crate) fn writes_ended(&self, page: usize) -> u64 {
        self.pages[page].ended.load(Ordering::Acquire)
    }

    /// Writes one page, for who does its own I/O.
    pub(crate) fn write_page(&self, offset: u64, image: &Image) -> io::Result<()> {
        let record = self.record(offset);
        self.begin(record, image);
        let written = write_all_at(self.store.file(), image.as_ref(), offset);
        end(record);
        written
    }

    fn record(&self, offset: u64) -> &Record {
        &self.pages[usize::try_from(offset / self.page_size).expect("a page of the file")]
    }

    fn begin(&self, record: &Record, image: &Image) {
        record.begun.fetch_add(1, Ordering::AcqRel);
        record.written.fetch_max((self.version_of)(image.as_ref()), Ordering::AcqRel);
    }
}

fn end(record: &Record) {
    record.ended.fetch_add(1, Ordering::AcqRel);
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

    fn read(&self, run: ReadRun) {
        self.store.read(run);
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        let mut records = Vec::with_capacity(batch.images().len());
        let mut offset = batch.offset();
        for image in batch.images() {
            records.push(self.record(offset));
            self.begin(self.record(offset), image);
            offset += image.len() as u64;
        }
        // The file store is done when it returns.
        self.store.write(batch, completion);
        records.into_iter().for_each(end);
    }

    fn flush(&self, kind: FlushKind, completion: FlushCompletion) {
        completion.complete_with(|| {
            let written = |page: &Record| page.written.load(Ordering::Acquire);
            let covered: Vec<_> = self.pages.iter().map(written).collect();
            if kind == FlushKind::Data {
                self.fdatasyncs.fetch_add(1, Ordering::Relaxed);
            }
            self.store.sync(kind)?;
            for (page, version) in self.pages.iter().zip(covered) {
                page.flushed.fetch_max(version, Ordering::AcqRel);
            }
            Ok(())
        });
    }
}
