//! What must be true of a mapping: its bytes, the state of each page, and what is durable.

use std::collections::{BTreeMap, BTreeSet};

use writeback::store::FlushKind;

use super::data::{PAGE, Wrong};
use super::errors::Told;
use super::history::{History, PAGES_MAX};
use super::store::{Event, Page, page_of};

#[derive(Debug, Default)]
pub(crate) struct Model {
    /// What readers see.
    pub(crate) bytes: Vec<u8>,
    pub(crate) dirty: BTreeSet<u64>,
    /// Under writeback.
    pub(crate) under: BTreeSet<u64>,
    /// By hand: locked, and neither dirty nor under writeback unless dirtied since.
    pub(crate) claimed: BTreeSet<u64>,
    pub(crate) held: BTreeSet<u64>,
    /// Pages whose last write failed.
    pub(crate) failed: BTreeSet<u64>,
    /// Pages whose dirt was cancelled: memory and store may differ, and nobody minds.
    pub(crate) forgotten: BTreeSet<u64>,
    /// Up to where bytes of the page were written, not just made room for.
    data_end: BTreeMap<u64, u64>,
    pub(crate) history: History,
    pub(crate) told: Told,
    pub(crate) poisoned: bool,
    /// A cut of the store has failed.
    pub(crate) store_is_longer: bool,
    /// Whether a flush of this kind would have something to do.
    unflushed_data: bool,
    unflushed_all: bool,
    pub(crate) counted: Counted,
    /// Where the next cyclic pass starts.
    pub(crate) cyclic_next: u64,
}

/// What the mapping counts, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) written: u64,
    pub(crate) write_errors: u64,
    pub(crate) flushes: u64,
    pub(crate) read: u64,
}

impl Model {
    /// Of a mapping that was just opened over a store that holds `bytes`, durably; which it does not know.
    pub(crate) fn new(bytes: Vec<u8>) -> Model {
        let history = History::new(&bytes);
        Model { history, bytes, unflushed_data: true, unflushed_all: true, ..Model::default() }
    }

    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn page(&self, page: u64) -> Page {
        page_of(&self.bytes, page)
    }

    /// What of a page lies within the length: an image of it.
    pub(crate) fn image(&self, page: u64) -> &[u8] {
        let within = |offset: u64| usize::try_from(offset.min(self.len())).expect("small");
        &self.bytes[within(page * PAGE as u64)..within((page + 1) * PAGE as u64)]
    }

    /// The pages that `len` bytes from `offset` on touch.
    pub(crate) fn touched(offset: u64, len: u64) -> std::ops::Range<u64> {
        let first = offset / PAGE as u64;
        if len == 0 { first..first } else { first..(offset + len).div_ceil(PAGE as u64) }
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        let start = usize::try_from(offset).expect("small");
        let end = start + data.len();
        if !data.is_empty() {
            self.bytes.resize(self.bytes.len().max(end), 0);
            self.bytes[start..end].copy_from_slice(data);
        }
        for page in Model::touched(offset, data.len() as u64) {
            self.mark_dirty(page);
            let data_end = self.data_end.entry(page).or_default();
            *data_end = (*data_end).max((end as u64).min((page + 1) * PAGE as u64));
        }
        self.history.note(&self.bytes);
    }

    /// Returns whether it was clean.
    pub(crate) fn mark_dirty(&mut self, page: u64) -> bool {
        self.forgotten.remove(&page);
        self.dirty.insert(page)
    }

    pub(crate) fn cancel(&mut self, page: u64) -> bool {
        let was_dirty = self.dirty.remove(&page);
        if was_dirty {
            self.forgotten.insert(page);
        }
        was_dirty
    }

    pub(crate) fn lengthen(&mut self, len: u64) {
        self.bytes.resize(usize::try_from(len).expect("small"), 0);
        self.history.note(&self.bytes);
    }

    pub(crate) fn cut(&mut self, len: u64) {
        self.store_is_longer = true;
        self.history.note_cut(len);
        self.lengthen(len);
        let stays = |page: &u64| page * (PAGE as u64) < len;
        for pages in [&mut self.dirty, &mut self.failed, &mut self.forgotten] {
            pages.retain(stays);
        }
        self.data_end.retain(|page, end| {
            *end = (*end).min(len);
            stays(page)
        });
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Begun { page, image } => {
                assert!(self.dirty.remove(page), "page {page} is written and is not dirty");
                self.begin(*page, image);
            }
            Event::Ended { page, outcome } => self.end(*page, *outcome),
            Event::Torn { page } => self.history.note_torn(*page),
            Event::Flushed { kind, well } => self.flush(*kind, *well),
            Event::SetLen { well: false } => {}
            Event::SetLen { well: true } => {
                self.store_is_longer = false;
                self.unflushed();
            }
            Event::Read { well } => self.counted.read += u64::from(*well),
        }
    }

    pub(crate) fn begin(&mut self, page: u64, image: &[u8]) {
        assert_eq!(image, self.image(page), "the image of page {page}");
        assert!(self.under.insert(page), "two writes of page {page}");
    }

    pub(crate) fn end(&mut self, page: u64, outcome: Result<(), Wrong>) {
        assert!(self.under.remove(&page), "page {page} is not being written");
        self.unflushed();
        match outcome {
            Ok(()) => {
                self.failed.remove(&page);
                self.counted.written += 1;
            }
            Err(wrong) => {
                self.dirty.insert(page);
                self.failed.insert(page);
                self.counted.write_errors += 1;
                self.told.record(wrong);
            }
        }
    }

    fn unflushed(&mut self) {
        (self.unflushed_data, self.unflushed_all) = (true, true);
    }

    fn flush(&mut self, kind: FlushKind, well: bool) {
        assert!(!self.poisoned, "a flush after one that failed");
        self.poisoned = !well;
        self.counted.flushes += u64::from(well);
        self.unflushed_data &= !well;
        self.unflushed_all &= !(well && kind == FlushKind::All);
    }

    /// A sync of these pages has said that they are durable. Is it so?
    pub(crate) fn check_durable(&mut self, pages: std::ops::Range<u64>, durable: &[u8]) {
        for page in pages.filter(|page| *page < PAGES_MAX) {
            if self.forgotten.contains(&page) {
                continue;
            }
            assert!(!self.dirty.contains(&page), "page {page} is left dirty");
            assert!(!self.under.contains(&page), "page {page} is still being written");
            let end = self.data_end.get(&page).copied().unwrap_or(0);
            assert!(end <= durable.len() as u64, "page {page} is not all there");
            assert_eq!(page_of(durable, page), self.page(page), "page {page} is not durable");
            self.history.note_durable(page, end);
        }
    }

    /// A sync of everything has said that it is durable. Is it so?
    pub(crate) fn check_all_durable(&mut self, kind: FlushKind, durable: &[u8]) {
        assert!(!self.store_is_longer, "the store is not cut");
        assert!(!self.unflushed_data, "a flush is missing");
        assert!(kind == FlushKind::Data || !self.unflushed_all, "a flush of all is missing");
        if self.forgotten.is_empty() {
            assert_eq!(durable.len() as u64, self.len(), "the length is not durable");
            self.history.note_durable_len(self.len());
        }
        self.check_durable(0..PAGES_MAX, durable);
    }
}
