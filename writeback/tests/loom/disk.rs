//! The store under the cache. Its contents are relaxed words of loom's: it orders nothing by itself, so a flush that is
//! not ordered after a write that it has to cover may miss it, and so may who looks at the durable contents.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Mutex as Unmodelled;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::sync::{Condvar, Mutex};
use writeback::StoreError;
use writeback::page::Writeback;
use writeback::store::{
    Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch,
};

/// Bytes of a page: the least there is. Where pages have several blocks, of a block, and what is called a page
/// here and counted from the beginning of the disk is one.
pub(crate) const PAGE: usize = 512;

/// A word, each of whose accesses takes a turn first: else loom would overlook that a load races with a store that
/// its thread makes later.
#[derive(Debug)]
pub(crate) struct Word {
    turn: Condvar,
    word: AtomicU64,
}

impl Word {
    pub(crate) fn new(value: u64) -> Self {
        Self { turn: Condvar::new(), word: AtomicU64::new(value) }
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.turn.notify_one();
        self.word.load(order)
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        self.turn.notify_one();
        self.word.store(value, order);
    }
}

/// What is the same in every memory: lengths, and what the test has told it to do.
#[derive(Debug, Default)]
struct Plan {
    len: usize,
    durable_len: usize,
    /// Pages whose write was submitted and is not completed.
    under_way: BTreeSet<usize>,
    /// Pages of late reads, once for each.
    reading: Vec<usize>,
    failing_writes: usize,
    failing_flushes: usize,
    failing_cuts: usize,
    /// To make up for a cut that failed the cache may cut early, too.
    cuts_failed: usize,
    flushes: usize,
    /// Writes are kept for [`Disk::complete`].
    keeps: bool,
    /// Reads and flushes are kept for [`Disk::serve`].
    is_late: bool,
    /// Somebody is in [`Disk::wait_accepted`], or will be.
    tells: bool,
}

/// A write that was submitted and not made, with the versions that its images had then.
#[derive(Debug)]
struct Kept {
    batch: WriteBatch,
    completion: Completion,
    versions: Vec<u64>,
}

/// A read or a flush that has begun and not ended.
#[derive(Debug)]
enum Late {
    Read(ReadRun),
    Flush(Covers, FlushCompletion),
}

/// What a flush has seen when it began.
#[derive(Debug)]
struct Covers {
    versions: Vec<u64>,
    len: usize,
    failed: bool,
}

/// A store for whole pages of one version each.
#[derive(Debug)]
pub(crate) struct Disk {
    /// It is written in whole pages only, the last one padded with zeros.
    aligned: bool,
    /// The version of each page, 0 for zeros.
    accepted: Vec<Word>,
    durable: Vec<Word>,
    /// Taken by every operation: what is in `plan` depends on their order.
    turn: Condvar,
    /// Never locked over anything that loom sees.
    plan: Unmodelled<Plan>,
    kept: Mutex<Vec<Kept>>,
    arrived: Condvar,
    /// Reads and flushes under way; and whether there will be no more.
    late: Mutex<(Vec<Late>, bool)>,
    came: Condvar,
}

impl Disk {
    /// A disk with room for `capacity` pages, the first `pages` of them there, and zeros.
    pub(crate) fn new(pages: usize, capacity: usize) -> Self {
        let words = || (0..capacity).map(|_| Word::new(0)).collect();
        let len = pages * PAGE;
        Self {
            aligned: false,
            accepted: words(),
            durable: words(),
            turn: Condvar::new(),
            plan: Unmodelled::new(Plan { len, durable_len: len, ..Plan::default() }),
            kept: Mutex::new(Vec::new()),
            arrived: Condvar::new(),
            late: Mutex::new((Vec::new(), false)),
            came: Condvar::new(),
        }
    }

    /// An empty disk for so many pages, which is written in whole pages only.
    pub(crate) fn aligned(capacity: usize) -> Self {
        Self { aligned: true, ..Self::new(0, capacity) }
    }

    /// The version of a page, or of the beginning of one; behind that there are zeros, if it is written in whole pages.
    pub(crate) fn version_of(&self, bytes: &[u8]) -> u64 {
        if !self.aligned {
            return version_of(bytes);
        }
        let padding = bytes.iter().rev().take_while(|byte| **byte == 0).count();
        match bytes.len() - padding {
            0 => 0,
            len => version_of(&bytes[..len]),
        }
    }

    fn versions_of(&self, batch: &WriteBatch) -> Vec<u64> {
        let blocks = batch.images().iter().flat_map(|image| image.as_ref().chunks(PAGE));
        blocks.map(|block| self.version_of(block)).collect()
    }

    fn plan<R>(&self, look: impl FnOnce(&mut Plan) -> R) -> R {
        self.turn.notify_one();
        look(&mut self.plan.lock().expect("no panic under it"))
    }

    pub(crate) fn fail_writes(&self, count: usize) {
        self.plan(|plan| plan.failing_writes = count);
    }

    pub(crate) fn fail_flushes(&self, count: usize) {
        self.plan(|plan| plan.failing_flushes = count);
    }

    pub(crate) fn fail_set_len(&self, count: usize) {
        self.plan(|plan| plan.failing_cuts = count);
    }

    /// From now on, writes wait for [`complete`](Self::complete), or no longer.
    pub(crate) fn keep_writes(&self, keeps: bool) {
        self.plan(|plan| plan.keeps = keeps);
    }

    /// From now on, reads and flushes end by whoever [serves](Self::serve) the disk, or not at all.
    pub(crate) fn be_late(&self, late: bool) {
        self.plan(|plan| plan.is_late = late);
    }

    /// Ends reads and flushes, the first `lost` of them by dropping them, until the disk is [closed](Self::close).
    pub(crate) fn serve(&self, mut lost: usize) {
        loop {
            let mut late = self.late.lock().unwrap();
            while late.0.is_empty() && !late.1 {
                late = self.came.wait(late).unwrap();
            }
            if late.0.is_empty() {
                return;
            }
            let first = late.0.remove(0);
            drop(late);
            if let Late::Read(run) = &first {
                let pages = pages_of_run(run);
                self.plan(|plan| plan.reading.retain(|page| !pages.contains(page)));
            }
            if lost > 0 {
                lost -= 1;
                drop(first);
                continue;
            }
            match first {
                Late::Read(run) => self.read_now(run),
                Late::Flush(covers, completion) => self.flush_now(covers, completion),
            }
        }
    }

    /// Nothing more will be asked for.
    pub(crate) fn close(&self) {
        self.late.lock().unwrap().1 = true;
        self.came.notify_all();
    }

    fn keep(&self, late: Late) {
        self.late.lock().unwrap().0.push(late);
        self.came.notify_all();
    }

    fn read_now(&self, run: ReadRun) {
        run.fill(|offset, into| {
            let offset = to_usize(offset);
            let first = offset / PAGE;
            let there = self.plan(|plan| {
                let mut pages = first..first + into.len().div_ceil(PAGE);
                let idle = pages.all(|page| !plan.under_way.contains(&page));
                assert!(idle, "a page is read while it is written");
                plan.len.saturating_sub(offset).min(into.len())
            });
            for (page, into) in (first..).zip(into[..there].chunks_mut(PAGE)) {
                into.fill(u8::try_from(self.accepted(page)).unwrap());
            }
            Ok(there)
        });
    }

    fn flush_now(&self, covers: Covers, completion: FlushCompletion) {
        if covers.failed {
            return completion.complete(Err(StoreError::NoSpace));
        }
        for (page, version) in covers.versions.into_iter().enumerate() {
            self.durable[page].store(version, Ordering::Relaxed);
        }
        self.plan(|plan| plan.durable_len = covers.len);
        completion.complete(Ok(()));
    }

    pub(crate) fn flushes(&self) -> usize {
        self.plan(|plan| plan.flushes)
    }

    pub(crate) fn accepted(&self, page: usize) -> u64 {
        self.accepted[page].load(Ordering::Relaxed)
    }

    pub(crate) fn durable(&self, page: usize) -> u64 {
        self.durable[page].load(Ordering::Relaxed)
    }

    /// The accepted length and the durable one.
    pub(crate) fn lengths(&self) -> (usize, usize) {
        self.plan(|plan| (plan.len, plan.durable_len))
    }

    /// Makes the first of the kept writes; waits until there is one.
    pub(crate) fn complete(&self) {
        let mut kept = self.kept.lock().unwrap();
        while kept.is_empty() {
            kept = self.arrived.wait(kept).unwrap();
        }
        let Kept { batch, completion, versions } = kept.remove(0);
        drop(kept);
        assert_eq!(self.versions_of(&batch), versions, "an image changed while it was written");
        self.write(&batch, completion);
    }

    /// To be called before anybody may write what is [waited for](Self::wait_accepted).
    pub(crate) fn tell_of_writes(&self) {
        self.plan(|plan| plan.tells = true);
    }

    /// Waits until a page has been accepted with a version or a later one.
    pub(crate) fn wait_accepted(&self, page: usize, version: u64) {
        let mut kept = self.kept.lock().unwrap();
        while self.accepted(page) < version {
            kept = self.arrived.wait(kept).unwrap();
        }
    }

    /// Loses the kept writes.
    pub(crate) fn lose(&self) {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap());
        for Kept { batch, completion, .. } in kept {
            self.plan(|plan| plan.under_way.retain(|page| !pages_of(&batch).contains(page)));
            drop(completion);
        }
    }

    fn write(&self, batch: &WriteBatch, completion: Completion) {
        let end = to_usize(batch.offset() + batch.len());
        let outcome = self.accept(pages_of(batch).zip(self.versions_of(batch)), end);
        completion.complete(outcome.map(|()| batch.len()));
    }

    /// Writes the image of a writeback, as who has it does.
    pub(crate) fn write_image(&self, writeback: &Writeback) -> Result<(), StoreError> {
        let (offset, image) = (to_usize(writeback.offset()), writeback.image());
        let versions = image.as_ref().chunks(PAGE).map(|block| self.version_of(block));
        self.accept((offset / PAGE..).zip(versions), offset + image.len())
    }

    /// Writes a page past the cache.
    pub(crate) fn write_page(&self, page: usize, image: &[u8]) {
        let written =
            self.accept([(page, version_of(image))].into_iter(), page * PAGE + image.len());
        written.unwrap();
    }

    /// Pages with their new versions; the end of the last of them.
    fn accept(
        &self,
        pages: impl Iterator<Item = (usize, u64)> + Clone,
        end: usize,
    ) -> Result<(), StoreError> {
        assert!(!self.aligned || end.is_multiple_of(PAGE), "not a whole page");
        let failed = self.plan(|plan| {
            let failed = plan.failing_writes > 0;
            plan.failing_writes -= usize::from(failed);
            failed
        });
        if !failed {
            pages.clone().for_each(|(page, version)| {
                self.accepted[page].store(version, Ordering::Relaxed);
            });
        }
        let tells = self.plan(|plan| {
            if !failed {
                plan.len = plan.len.max(end);
            }
            pages.for_each(|(page, _)| {
                plan.under_way.remove(&page);
            });
            plan.tells
        });
        if tells {
            drop(self.kept.lock());
            self.arrived.notify_all();
        }
        if failed { Err(StoreError::NoSpace) } else { Ok(()) }
    }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

fn pages_of(batch: &WriteBatch) -> Range<usize> {
    let first = to_usize(batch.offset()) / PAGE;
    first..first + to_usize(batch.len()).div_ceil(PAGE)
}

fn pages_of_run(run: &ReadRun) -> Range<usize> {
    let first = to_usize(run.offset()) / PAGE;
    first..first + to_usize(run.len()).div_ceil(PAGE)
}

/// The version of a page's bytes.
pub(crate) fn version_of(bytes: &[u8]) -> u64 {
    let version = bytes[0];
    assert!(bytes.iter().all(|byte| *byte == version), "a mixture of two versions");
    version.into()
}

impl Store for Disk {
    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.alignment = if self.aligned { PAGE } else { 1 };
        limits
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(self.plan(|plan| plan.len as u64))
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        let len = to_usize(len);
        let failed = self.plan(|plan| {
            let failed = plan.failing_cuts > 0;
            plan.failing_cuts -= usize::from(failed);
            plan.cuts_failed += usize::from(failed);
            let beyond = len.div_ceil(PAGE)..;
            assert!(
                len > plan.len
                    || self.aligned
                    || plan.cuts_failed > 0
                    || plan.under_way.range(beyond).next().is_none(),
                "the store is cut while a write beyond is under way"
            );
            if !failed {
                plan.len = len;
            }
            failed
        });
        if failed {
            return Err(StoreError::NoSpace);
        }
        for page in len.div_ceil(PAGE)..self.accepted.len() {
            self.accepted[page].store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn read(&self, run: ReadRun) {
        let is_late = self.plan(|plan| {
            if plan.is_late {
                plan.reading.extend(pages_of_run(&run));
            }
            plan.is_late
        });
        match is_late {
            true => self.keep(Late::Read(run)),
            false => self.read_now(run),
        }
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        let keeps = self.plan(|plan| {
            for page in pages_of(&batch) {
                assert!(plan.under_way.insert(page), "two writes of page {page} at a time");
            }
            plan.keeps
        });
        if keeps {
            let versions = self.versions_of(&batch);
            self.kept.lock().unwrap().push(Kept { batch, completion, versions });
            self.arrived.notify_one();
        } else {
            self.write(&batch, completion);
        }
    }

    /// Covers what it sees when it begins, and nothing that comes later.
    fn flush(&self, _kind: FlushKind, completion: FlushCompletion) {
        let versions = (0..self.accepted.len()).map(|page| self.accepted(page)).collect();
        let (covers, is_late) = self.plan(|plan| {
            let failed = plan.failing_flushes > 0;
            plan.failing_flushes -= usize::from(failed);
            plan.flushes += 1;
            (Covers { versions, len: plan.len, failed }, plan.is_late)
        });
        match is_late {
            true => self.keep(Late::Flush(covers, completion)),
            false => self.flush_now(covers, completion),
        }
    }

    fn punch(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        let pages = to_usize(offset) / PAGE..to_usize(offset + len).div_ceil(PAGE);
        self.plan(|plan| {
            let idle = plan.reading.iter().all(|page| !pages.contains(page));
            assert!(idle, "a page is punched while it is read");
        });
        for page in pages {
            self.accepted[page].store(0, Ordering::Relaxed);
        }
        Ok(())
    }
    fn next_data(&self, offset: u64) -> Result<Option<u64>, StoreError> {
        let data =
            (to_usize(offset) / PAGE..self.accepted.len()).find(|page| self.accepted(*page) > 0);
        Ok(data.map(|page| offset.max((page * PAGE) as u64)))
    }
}
