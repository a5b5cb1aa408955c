//! The bound for truncating the log where pages are written, held and failed in parts: never above a change
//! that is not durable, and not below all that are.
//!
//! A page knows its oldest change, not the block of it. So a change counts as needed until it is durable and
//! its page has nothing left to write; with pages of one block `book` asks for the exact bound.

use std::sync::Arc;

use proptest::prelude::*;
use writeback::hooks::Log;
use writeback::page::Hold;
use writeback::store::Store;
use writeback::{Budget, Config, Mapping, StoreError, SyncMode};

use crate::common::{PAGE, TestStore, Writes, assert_settled};
use crate::journal::Journal;

const PAGES: u64 = 3;
const BLOCKS: usize = 4;
const BLOCK: usize = PAGE / BLOCKS;
const NUMBER: usize = 8;

#[derive(Debug, Clone)]
enum Op {
    Write { page: u64, block: usize },
    Commit,
    Background,
    Page { page: u64, wait: bool },
    Range(u64),
    Sync,
    Fail(bool),
    Keep(bool),
    End { first: bool, well: bool },
    Claim { page: u64, well: bool },
    Hold { page: u64, first: usize, last: usize, takes: bool },
    Release { which: usize, written: bool },
    Cancel(u64),
    Cut(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let page = || 0..PAGES;
    prop_oneof![
        8 => (page(), 0..BLOCKS).prop_map(|(page, block)| Op::Write { page, block }),
        3 => Just(Op::Commit),
        4 => Just(Op::Background),
        2 => (page(), any::<bool>()).prop_map(|(page, wait)| Op::Page { page, wait }),
        2 => page().prop_map(Op::Range),
        2 => Just(Op::Sync),
        1 => any::<bool>().prop_map(Op::Fail),
        2 => any::<bool>().prop_map(Op::Keep),
        4 => (any::<bool>(), any::<bool>()).prop_map(|(first, well)| Op::End { first, well }),
        2 => (page(), any::<bool>()).prop_map(|(page, well)| Op::Claim { page, well }),
        4 => (page(), 0..BLOCKS, 0..BLOCKS, any::<bool>()).prop_map(|(page, one, other, takes)| {
            Op::Hold { page, first: one.min(other), last: one.max(other), takes }
        }),
        4 => (any::<usize>(), any::<bool>())
            .prop_map(|(which, written)| Op::Release { which, written }),
        1 => page().prop_map(Op::Cancel),
        1 => page().prop_map(Op::Cut),
    ]
}

#[derive(Debug, Clone, Copy)]
struct Change {
    position: u64,
    page: u64,
    block: usize,
}

struct Case {
    mapping: Mapping,
    journal: Journal,
    store: TestStore,
    holds: Vec<Hold>,
    /// What may be needed yet.
    changes: Vec<Change>,
    /// Cut away or cancelled when they were written and not durable: a flush ends them with the others.
    dropped: Vec<u64>,
    flushes: u64,
}

fn at(page: u64, block: usize) -> usize {
    usize::try_from(page).unwrap() * PAGE + block * BLOCK
}

fn number(bytes: &[u8], change: &Change) -> u64 {
    bytes.get(at(change.page, change.block)..).map_or(0, first_number)
}

fn first_number(block: &[u8]) -> u64 {
    block.first_chunk().map_or(0, |number| u64::from_le_bytes(*number))
}

impl Case {
    fn new() -> Self {
        let (store, journal) = (TestStore::new(), Journal::default());
        store.set_len(PAGES * PAGE as u64).unwrap();
        let config = Config::new().block_size(BLOCK).log(Arc::new(journal.clone()));
        let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
        let (holds, changes, dropped) = (Vec::new(), Vec::new(), Vec::new());
        Self { mapping, journal, store, holds, changes, dropped, flushes: 0 }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Write { page, block } => self.write(page, block),
            Op::Commit => self.journal.commit(),
            Op::Background => self.background(),
            Op::Page { page, wait } => {
                self.free(wait);
                let _told = self.mapping.write_page(page, mode(wait));
            }
            Op::Range(first) => {
                self.free(true);
                let _told = self.mapping.handle().sync_range(first * PAGE as u64..);
            }
            Op::Sync => {
                self.free(true);
                let _told = self.mapping.handle().sync_data();
            }
            Op::Fail(fail) => self.set_writes(fail, Writes::Fail(StoreError::NoSpace)),
            Op::Keep(keep) => self.set_writes(keep, Writes::Keep),
            Op::End { first, well } if self.store.kept() > 0 => {
                let outcome = if well { Ok(()) } else { Err(StoreError::NoSpace) };
                match first {
                    true => self.store.release_first(outcome),
                    false => self.store.release_last(outcome),
                }
            }
            Op::Claim { page, well } => self.claim(page, well),
            Op::Hold { page, first, last, takes } => self.hold(page, first..last + 1, takes),
            Op::Release { which, written } if !self.holds.is_empty() => {
                let hold = self.holds.swap_remove(which % self.holds.len());
                self.release(hold, written);
            }
            Op::Cancel(page) => self.cancel(page),
            Op::Cut(page) => {
                self.free(true);
                self.mapping.handle().set_len(page * PAGE as u64).unwrap();
                self.mapping.handle().set_len(PAGES * PAGE as u64).unwrap();
                self.drop_changes(|change| change.page >= page);
            }
            _ => {}
        }
        self.forget();
    }

    fn set_writes(&self, on: bool, writes: Writes) {
        self.store.writes(if on { writes } else { Writes::Accept });
    }

    /// Nothing is left that could be waited for, if anything is.
    fn free(&mut self, waits: bool) {
        if waits {
            while let Some(hold) = self.holds.pop() {
                self.release(hold, false);
            }
            while self.store.kept() > 0 {
                self.store.release_first(Ok(()));
            }
            self.store.writes(Writes::Accept);
        }
    }

    fn write(&mut self, page: u64, block: usize) {
        let from = block * BLOCK;
        let write = |change: &mut writeback::hooks::LoggedChange<'_>| {
            let position = self.journal.append();
            change.at(position).copy_from_slice(&position.to_le_bytes());
            position
        };
        let page_in_hand = self.mapping.page(page).unwrap();
        let position = page_in_hand.write_logged(from..from + NUMBER, write).unwrap();
        self.changes.push(Change { position, page, block });
    }

    fn background(&self) {
        self.mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
    }

    /// An engine's own writeback of a page; the first piece fails, or none.
    fn claim(&self, page: u64, well: bool) {
        let Some(locked) = self.mapping.page(page).unwrap().lock_state() else { return };
        let Ok(claim) = locked.clear_dirty_for_io() else { return };
        let pieces = claim.start_blocks(SyncMode::Skip).unwrap();
        for (number, piece) in pieces.into_iter().enumerate() {
            if number == 0 && !well {
                drop(piece);
                continue;
            }
            if let Some(upto) = piece.log_position() {
                self.journal.ensure(upto).unwrap();
            }
            let newest = piece.image().as_ref().chunks(BLOCK).map(first_number).max();
            assert!(newest <= Some(self.journal.durable()), "the log may lose what is written");
            self.store.put(piece.offset(), piece.image().as_ref());
            piece.end(Ok(()));
        }
    }

    fn hold(&mut self, page: u64, blocks: std::ops::Range<usize>, takes: bool) {
        if let Some(mut hold) = self.mapping.try_hold_blocks(page, blocks).unwrap() {
            if takes {
                hold.take_dirty();
            }
            self.holds.push(hold);
        }
    }

    fn release(&self, hold: Hold, written: bool) {
        if !written {
            return;
        }
        let mut hold = hold;
        // Whoever says `written` has written what is there now.
        hold.take_dirty();
        let image = hold.image();
        if let Some(upto) = hold.log_position() {
            self.journal.ensure(upto).unwrap();
        }
        self.store.put(hold.offset(), image.as_ref());
        hold.written();
    }

    fn cancel(&mut self, page: u64) {
        let cached = self.mapping.page(page).unwrap();
        if cached.snapshot().is_under_writeback() || cached.snapshot().is_held() {
            return;
        }
        let dirty = cached.dirty_blocks();
        cached.lock_state().unwrap().cancel_dirty();
        self.drop_changes(|change| change.page == page && dirty >> change.block & 1 == 1);
    }

    fn drop_changes(&mut self, which: impl Fn(&Change) -> bool) {
        let gone: Vec<_> = self.changes.extract_if(.., |change| which(change)).collect();
        self.dropped.extend(gone.iter().map(|change| change.position));
    }

    /// After a flush: what is durable, and whose page has nothing left to write, is not needed any more. Not
    /// before: what a hold has written is the page's until a pass finds nothing left, and a flush covers that.
    fn forget(&mut self) {
        let flushes = self.store.flushes_begun();
        if std::mem::replace(&mut self.flushes, flushes) == flushes {
            return;
        }
        let durable = self.store.durable();
        let is_busy = |page: u64| {
            let state = self.mapping.page(page).unwrap().snapshot();
            state.is_dirty() || state.is_under_writeback()
        };
        let busy: Vec<_> = (0..PAGES).filter(|page| is_busy(*page)).collect();
        self.changes.retain(|change| {
            busy.contains(&change.page) || number(&durable, change) < change.position
        });
        // What a page has in no image it keeps, whatever was cancelled beside it.
        if busy.is_empty() {
            self.dropped.clear();
        }
    }

    fn check(&self) {
        let durable = self.store.durable();
        let lacks = |change: &&Change| number(&durable, change) < change.position;
        let end = self.journal.end();
        let truth = self.changes.iter().filter(lacks).map(|change| change.position).min();
        let bound = self.mapping.oldest_unwritten();
        let says = bound.unwrap_or(end);
        assert!(says <= truth.unwrap_or(end), "{bound:?} is too high, {truth:?} is not durable");
        let positions = self.changes.iter().map(|change| change.position);
        let needed = positions.chain(self.dropped.iter().copied()).min().unwrap_or(end);
        assert!(says >= needed, "{bound:?} is too low, nothing below {needed} is needed");
        self.mapping.check().unwrap();
    }
}

#[test]
fn a_part_of_a_page_waits_for_the_log_as_the_whole_does() {
    let mut case = Case::new();
    case.write(0, 0);
    case.write(0, 2);
    let hold = case.mapping.hold_blocks(0, 0..1).unwrap();
    assert_eq!(hold.log_position(), Some(2));
    let claim = case.mapping.page(0).unwrap().lock_state().unwrap().clear_dirty_for_io().unwrap();
    let pieces = claim.start_blocks(SyncMode::Skip).unwrap();
    assert_eq!(pieces.len(), 1);
    assert_eq!(pieces[0].log_position(), Some(2), "the newest of the page is in it");
    assert_eq!(case.mapping.oldest_unwritten(), Some(1), "the oldest stays the page's");
    drop((pieces, hold));
    assert_eq!(case.mapping.oldest_unwritten(), Some(1));
    case.check();
}

#[test]
fn what_is_taken_by_a_hold_stays_in_the_bound_however_often_the_rest_is_written() {
    for written in [true, false] {
        let mut case = Case::new();
        case.write(0, 1);
        let mut hold = case.mapping.hold_blocks(0, 1..2).unwrap();
        assert!(hold.take_dirty());
        for _ in 0..2 {
            case.write(0, 3);
            case.journal.commit();
            case.background();
            case.mapping.handle().sync_range(PAGE as u64..).unwrap();
            assert_eq!(case.mapping.oldest_unwritten(), Some(1));
        }
        case.release(hold, written);
        assert_eq!(case.mapping.oldest_unwritten(), Some(1), "{written}");
        case.mapping.handle().sync_data().unwrap();
        assert_eq!(case.mapping.oldest_unwritten(), None);
        assert_settled(&case.mapping);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_bound_of_pages_in_blocks_is_neither_too_high_nor_too_low(
        ops in prop::collection::vec(op(), 1..60)
    ) {
        let mut case = Case::new();
        for op in &ops {
            case.apply(op);
            case.check();
        }
        case.free(true);
        let _told = case.mapping.handle().check_error();
        case.mapping.handle().sync_data().unwrap();
        prop_assert_eq!(case.mapping.oldest_unwritten(), None);
    }
}

fn mode(waits: bool) -> SyncMode {
    if waits { SyncMode::Wait } else { SyncMode::Skip }
}
