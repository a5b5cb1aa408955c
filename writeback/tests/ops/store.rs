//! A store that fails on command, ends writes late and in any order, and logs what the cache does to it.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Condvar, Mutex, MutexGuard};

use writeback::StoreError;
use writeback::store::{
    Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch,
};

use super::data::{Fault, PAGE, Wrong};

/// What happened, in the order it happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Begun {
        page: u64,
        image: Vec<u8>,
    },
    Ended {
        page: u64,
        outcome: Result<(), Wrong>,
    },
    /// The page is now neither what it was nor what was to be written.
    Torn {
        page: u64,
    },
    Flushed {
        kind: FlushKind,
        well: bool,
    },
    SetLen {
        well: bool,
    },
    Read {
        well: bool,
    },
}

impl Event {
    /// The page whose write was begun.
    pub(crate) fn begun(&self) -> Option<u64> {
        match self {
            Event::Begun { page, .. } => Some(*page),
            _ => None,
        }
    }

    /// The page whose write failed.
    pub(crate) fn failed(&self) -> Option<u64> {
        match self {
            Event::Ended { page, outcome: Err(_) } => Some(*page),
            _ => None,
        }
    }

    /// The store refused to change its length.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Event::SetLen { well: false })
    }
}

/// Some of the pages.
pub(crate) type Pages = RangeInclusive<u64>;

pub(crate) const ALL: Pages = 0..=u64::MAX;

/// A write that was begun, and what will become of it.
#[derive(Debug)]
pub(super) struct Kept {
    batch: WriteBatch,
    completion: Completion,
    fault: Option<(Wrong, u64)>,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    accepted: Vec<u8>,
    durable: Vec<u8>,
    batch_pages_max: usize,
    /// Late writes end in an order that this makes.
    pub(super) late: Option<u8>,
    pub(super) kept: Vec<Kept>,
    write_faults: VecDeque<(Wrong, u16)>,
    reads_to_fail: u8,
    flushes_to_fail: u8,
    set_lens_to_fail: u8,
    log: Vec<Event>,
    /// Nobody waits for late writes any more.
    pub(super) stop: bool,
}

#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Mutex<Inner>,
    pub(super) changed: Condvar,
    /// Whose write ends: errors come to the cache in the order of the log.
    ending: Mutex<()>,
}

/// Takes one from what is left to fail.
fn take(left: &mut u8) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).expect("a small store")
}

pub(crate) type Page = [u8; PAGE];

/// The bytes of a page, zeros beyond the end of `bytes`.
pub(crate) fn page_of(bytes: &[u8], page: u64) -> Page {
    let start = at(page * PAGE as u64).min(bytes.len());
    let there = &bytes[start..bytes.len().min(start + PAGE)];
    let mut found = [0; PAGE];
    found[..there.len()].copy_from_slice(there);
    found
}

impl FaultyStore {
    pub(crate) fn new(contents: Vec<u8>, batch_pages_max: usize) -> FaultyStore {
        let durable = contents.clone();
        let inner = Inner { accepted: contents, durable, batch_pages_max, ..Inner::default() };
        FaultyStore { inner: Mutex::new(inner), changed: Condvar::new(), ending: Mutex::new(()) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic in the store")
    }

    pub(crate) fn accepted(&self) -> Vec<u8> {
        self.lock().accepted.clone()
    }

    pub(crate) fn durable(&self) -> Vec<u8> {
        self.lock().durable.clone()
    }

    /// What happened since this was last asked.
    pub(crate) fn take_log(&self) -> Vec<Event> {
        std::mem::take(&mut self.lock().log)
    }

    pub(crate) fn set_late(&self, order: Option<u8>) {
        self.lock().late = order;
    }

    pub(crate) fn fail(&self, fault: Fault, times: u8) {
        let mut inner = self.lock();
        match fault {
            Fault::Write { wrong, accepted } => {
                inner.write_faults.extend((0..times).map(|_| (wrong, accepted)));
            }
            Fault::Read => inner.reads_to_fail = times,
            Fault::Flush => inner.flushes_to_fail = times,
            Fault::SetLen => inner.set_lens_to_fail = times,
        }
    }

    /// Nothing fails any more, but writes whose fate is sealed.
    pub(crate) fn recover(&self) {
        let mut inner = self.lock();
        inner.write_faults.clear();
        (inner.reads_to_fail, inner.flushes_to_fail, inner.set_lens_to_fail) = (0, 0, 0);
    }

    /// Writes for someone who ends the write without a completion.
    pub(crate) fn accept(&self, offset: u64, bytes: &[u8]) {
        self.lock().put(offset, bytes);
    }

    pub(super) fn end(&self, kept: Kept) {
        let Kept { batch, completion, fault } = kept;
        let _one_by_one = self.ending.lock().expect("no panic in the cache");
        self.lock().end(&batch, fault);
        match fault {
            None => completion.complete(Ok(batch.len())),
            Some((Wrong::Lost, _)) => drop(completion),
            Some((Wrong::Short, accepted)) => completion.complete(Ok(accepted)),
            Some((wrong, 0)) => completion.complete(Err(wrong.error())),
            Some((wrong, accepted)) => completion.fail_after(accepted, wrong.error()),
        }
    }

    /// What is left after the power went: of each page what was flushed, what was accepted since, or what was being
    /// written.
    pub(crate) fn crashed(&self, survives: u32) -> Vec<u8> {
        let mut inner = self.lock();
        for Kept { batch, .. } in std::mem::take(&mut inner.kept) {
            for (page, _, image) in
                pieces(&batch).filter(|(page, ..)| survives >> ((page + 13) % 31) & 1 == 1)
            {
                inner.put(page * PAGE as u64, image);
            }
        }
        let mut len = if survives >> 31 == 1 { inner.accepted.len() } else { inner.durable.len() };
        let mut left = Vec::new();
        for page in 0..inner.accepted.len().max(inner.durable.len()).div_ceil(PAGE) {
            let accepted = survives >> (page % 31) & 1 == 1;
            let source = if accepted { &inner.accepted } else { &inner.durable };
            left.extend(page_of(source, page as u64));
            if accepted {
                len = len.max(source.len().min((page + 1) * PAGE));
            }
        }
        left.resize(len, 0);
        left
    }
}

/// Each page of a batch with where its bytes begin and end in the batch.
fn pieces(batch: &WriteBatch) -> impl Iterator<Item = (u64, u64, &[u8])> {
    let mut end = 0;
    (batch.first_page()..).zip(batch.images()).map(move |(page, image)| {
        end += image.len() as u64;
        (page, end, image.as_ref())
    })
}

impl Inner {
    fn put(&mut self, offset: u64, bytes: &[u8]) {
        let (start, end) = (at(offset), at(offset) + bytes.len());
        let page = offset / PAGE as u64;
        if end < self.accepted.len() && end % PAGE != 0 {
            self.log.push(Event::Torn { page });
        }
        self.accepted.resize(self.accepted.len().max(end), 0);
        self.accepted[start..end].copy_from_slice(bytes);
    }

    fn end(&mut self, batch: &WriteBatch, fault: Option<(Wrong, u64)>) {
        let accepted = fault.map_or(batch.len(), |(_, accepted)| accepted);
        for (page, end, image) in pieces(batch) {
            let left_out = at(end.saturating_sub(accepted)).min(image.len());
            if left_out < image.len() {
                self.put(page * PAGE as u64, &image[..image.len() - left_out]);
            }
            if 0 < left_out && left_out < image.len() {
                self.log.push(Event::Torn { page });
            }
            let outcome = match fault {
                Some((wrong, _)) if left_out > 0 || wrong == Wrong::Lost => Err(wrong),
                _ => Ok(()),
            };
            self.log.push(Event::Ended { page, outcome });
        }
    }

    /// Where the late writes are that touch these pages.
    pub(super) fn kept_of(&self, pages: &Pages) -> Vec<usize> {
        let touches = |kept: &Kept| pieces(&kept.batch).any(|(page, ..)| pages.contains(&page));
        (0..self.kept.len()).filter(|at| touches(&self.kept[*at])).collect()
    }

    /// The cache promises what the documentation of `Store` says.
    fn check_no_write_under_way(&self, from: u64, to: u64) {
        for Kept { batch, .. } in &self.kept {
            let (start, end) = (batch.offset(), batch.offset() + batch.len());
            assert!(end <= from || to <= start, "a write of {start}..{end} is under way");
        }
    }
}

impl Store for FaultyStore {
    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.batch_pages_max = self.lock().batch_pages_max;
        limits
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(self.lock().accepted.len() as u64)
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        let mut inner = self.lock();
        inner.check_no_write_under_way(len, u64::MAX);
        let well = !take(&mut inner.set_lens_to_fail);
        inner.log.push(Event::SetLen { well });
        if !well {
            return Err(Wrong::Io.error());
        }
        inner.accepted.resize(at(len), 0);
        Ok(())
    }

    /// All of a run fails, or nothing of it.
    fn read(&self, mut run: ReadRun) {
        let mut inner = self.lock();
        inner.check_no_write_under_way(run.offset(), run.offset() + run.len());
        let well = !take(&mut inner.reads_to_fail);
        let (mut offset, mut count) = (run.offset(), 0);
        for into in run.buffers() {
            into.fill(0xee); // of no use, if it fails
            if well {
                inner.log.push(Event::Read { well });
                let from = at(offset).min(inner.accepted.len());
                let there = into.len().min(inner.accepted.len() - from);
                into[..there].copy_from_slice(&inner.accepted[from..from + there]);
                (offset, count) = (offset + into.len() as u64, count + there as u64);
            }
        }
        if well {
            return run.complete(Ok(count));
        }
        inner.log.push(Event::Read { well });
        run.complete(Err(Wrong::Io.error()));
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        let mut inner = self.lock();
        inner.check_no_write_under_way(batch.offset(), batch.offset() + batch.len());
        assert!(batch.images().len() <= inner.batch_pages_max, "too many pages");
        for (page, _, image) in pieces(&batch) {
            inner.log.push(Event::Begun { page, image: image.to_vec() });
        }
        let fault = inner.write_faults.pop_front();
        let fault = fault.map(|(wrong, accepted)| match wrong {
            Wrong::Lost => (wrong, 0),
            _ => (wrong, u64::from(accepted) % batch.len()),
        });
        let kept = Kept { batch, completion, fault };
        if inner.late.is_some() {
            inner.kept.push(kept);
            self.changed.notify_all();
        } else {
            drop(inner);
            self.end(kept);
        }
    }

    fn flush(&self, kind: FlushKind, completion: FlushCompletion) {
        completion.complete_with(|| {
            let mut inner = self.lock();
            let well = !take(&mut inner.flushes_to_fail);
            inner.log.push(Event::Flushed { kind, well });
            if well {
                inner.durable = inner.accepted.clone();
                return Ok(());
            }
            // Some of it may have become durable all the same.
            let half = inner.durable.len().min(inner.accepted.len()) / PAGE / 2 * PAGE;
            let Inner { accepted, durable, .. } = &mut *inner;
            durable[..half].copy_from_slice(&accepted[..half]);
            Err(Wrong::Io.error())
        });
    }
}
