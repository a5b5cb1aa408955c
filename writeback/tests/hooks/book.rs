//! The bound for truncating the log: never too high, and exact where nothing is under way.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use proptest::prelude::*;
use writeback::store::Store;
use writeback::{Budget, Mapping, MemStore, StoreError, SyncMode};

use crate::common::{PAGE, SetOnDrop, TestStore, Writes, assert_settled, eventually};
use crate::journal::{Journal, NUMBER, NUMBERS, logged, logged_in_memory, numbers, write_number};

fn over(store: &TestStore, pages: usize) -> (Mapping, Journal) {
    store.set_len((pages * PAGE) as u64).unwrap();
    logged(store.clone())
}

#[test]
fn a_change_holds_the_log_until_a_flush_after_its_write_has_succeeded() {
    let store = TestStore::new();
    let (mapping, journal) = over(&store, 2);
    assert_eq!(mapping.oldest_unwritten(), None);
    write_number(&mapping, &journal, 0, 0);
    write_number(&mapping, &journal, 1, 0);
    assert_eq!(mapping.oldest_unwritten(), Some(1), "in memory");
    store.writes(Writes::Keep);
    journal.commit();
    mapping.write_page(0, SyncMode::Skip).unwrap();
    assert_eq!(mapping.oldest_unwritten(), Some(1), "being written");
    store.release_first(Ok(()));
    assert_eq!(mapping.oldest_unwritten(), Some(1), "written, not durable");
    store.writes(Writes::Accept);
    mapping.handle().sync_range(0..PAGE as u64).unwrap();
    assert_eq!(mapping.oldest_unwritten(), Some(2));
    mapping.handle().sync_data().unwrap();
    assert_eq!(mapping.oldest_unwritten(), None);
    assert_settled(&mapping);
}

#[test]
fn a_change_made_while_the_page_is_written_has_a_place_of_its_own() {
    let store = TestStore::new();
    let (mapping, journal) = over(&store, 1);
    let handle = mapping.handle();
    store.writes(Writes::Keep);
    write_number(&mapping, &journal, 0, 0);
    journal.commit();
    mapping.write_page(0, SyncMode::Skip).unwrap();
    write_number(&mapping, &journal, 0, 1);
    assert_eq!(mapping.oldest_unwritten(), Some(1));
    store.release_first(Ok(()));
    store.writes(Writes::Accept);
    handle.sync_range(PAGE as u64..).unwrap(); // only the flush
    assert_eq!(mapping.oldest_unwritten(), Some(2));
    // The other way round: the later change's write fails first.
    store.writes(Writes::Fail(StoreError::NoSpace));
    handle.sync_data().unwrap_err();
    assert_eq!(mapping.oldest_unwritten(), Some(2));
    store.writes(Writes::Accept);
    handle.sync_data().unwrap();
    assert_eq!(mapping.oldest_unwritten(), None);
}

#[test]
fn of_a_failed_write_and_a_later_change_the_older_counts_whichever_ends_first() {
    for (later_fails, positions) in
        [[1, 2], [2, 1], [1, 1]].into_iter().flat_map(|both| [(false, both), (true, both)])
    {
        let store = TestStore::new();
        let (mapping, journal) = over(&store, 1);
        (0..2).for_each(|_| _ = journal.append());
        journal.commit();
        let handle = mapping.handle();
        let write = |position: u64| {
            handle.write_logged_at(&position.to_le_bytes(), position * NUMBER as u64, position)
        };
        write(positions[0]).unwrap();
        store.writes(Writes::Keep);
        mapping.write_page(0, SyncMode::Skip).unwrap();
        write(positions[1]).unwrap();
        assert_eq!(mapping.oldest_unwritten(), Some(1));
        store.release_first(Err(StoreError::NoSpace));
        assert_eq!(mapping.oldest_unwritten(), Some(1), "both are in memory only");
        mapping.check().unwrap();
        if later_fails {
            handle.check_error().unwrap_err();
            mapping.write_page(0, SyncMode::Skip).unwrap();
            store.release_first(Err(StoreError::NoSpace));
            assert_eq!(mapping.oldest_unwritten(), Some(1));
        }
        store.writes(Writes::Accept);
        handle.sync_data().unwrap_err();
        assert_eq!(mapping.oldest_unwritten(), None, "both are durable");
        // Nothing is left that would hide a later one.
        journal.append();
        write(3).unwrap();
        assert_eq!(mapping.oldest_unwritten(), Some(3));
        mapping.check().unwrap();
    }
}

#[test]
fn a_change_after_one_that_was_cancelled_counts() {
    let (mapping, journal, _) = logged_in_memory(1);
    write_number(&mapping, &journal, 0, 0);
    mapping.page(0).unwrap().lock_state().unwrap().cancel_dirty();
    assert_eq!(mapping.oldest_unwritten(), None);
    let position = write_number(&mapping, &journal, 0, 1);
    assert_eq!(mapping.oldest_unwritten(), Some(position));
    mapping.check().unwrap();
}

#[test]
fn a_flush_covers_no_write_that_ended_after_it_began() {
    let store = TestStore::new();
    let (mapping, journal) = over(&store, 2);
    write_number(&mapping, &journal, 0, 0);
    store.block_flush(true);
    let flush = thread::spawn({
        let handle = mapping.handle();
        move || handle.sync_data()
    });
    eventually("begun", || store.flushes_begun() == 1);
    write_number(&mapping, &journal, 1, 0);
    journal.commit();
    assert!(mapping.write_page(1, SyncMode::Wait).unwrap());
    store.block_flush(false);
    flush.join().unwrap().unwrap();
    assert_eq!(mapping.oldest_unwritten(), Some(2), "the flush began before its write ended");
    mapping.handle().sync_data().unwrap();
    assert_eq!(mapping.oldest_unwritten(), None);
}

#[test]
fn after_a_failed_flush_the_bound_stays() {
    for panics in [false, true] {
        let store = TestStore::new();
        let (mapping, journal) = over(&store, 1);
        write_number(&mapping, &journal, 0, 0);
        if panics {
            store.panic_in_flush();
        } else {
            store.fail_flush(true);
        }
        let handle = mapping.handle();
        let synced = catch_unwind(AssertUnwindSafe(|| handle.sync_data()));
        assert!(synced.is_err() || synced.unwrap().is_err());
        assert_eq!(mapping.oldest_unwritten(), Some(1));
        store.fail_flush(false);
        handle.sync_data().unwrap_err();
        assert_eq!(mapping.oldest_unwritten(), Some(1));
    }
}

#[test]
fn a_change_counts_from_before_its_record() {
    let (mapping, journal, _) = logged_in_memory(2);
    write_number(&mapping, &journal, 0, 0);
    mapping.handle().sync_data().unwrap();
    let page = mapping.page(1).unwrap();
    page.write_logged(0..8, |change| {
        let end = journal.end();
        assert!(mapping.oldest_unwritten().is_some_and(|oldest| oldest <= end));
        let first = journal.append();
        let second = journal.append();
        assert!(mapping.oldest_unwritten().is_some_and(|oldest| oldest <= first));
        // In any order.
        change.at(second);
        change.at(first);
        assert_eq!(mapping.oldest_unwritten(), Some(first));
    })
    .unwrap();
    assert_eq!((mapping.oldest_unwritten(), page.log_position()), (Some(2), Some(3)));
    mapping.handle().sync_data().unwrap();
    assert_eq!(mapping.oldest_unwritten(), None, "of both");
}

#[test]
fn a_hold_keeps_the_log_from_what_is_appended_under_it() {
    let (mapping, journal, _) = logged_in_memory(2);
    journal.append();
    journal.commit();
    let hold = mapping.hold_log().unwrap();
    let position = journal.append();
    assert!(mapping.oldest_unwritten().is_some_and(|oldest| oldest <= position));
    let handle = mapping.handle();
    handle.write_logged_at(&position.to_le_bytes(), 0, position).unwrap();
    handle.sync_data().unwrap();
    assert!(mapping.oldest_unwritten().is_some_and(|oldest| oldest <= position));
    handle.write_logged_at(&position.to_le_bytes(), PAGE as u64, position).unwrap();
    drop(hold);
    assert_eq!(mapping.oldest_unwritten(), Some(position));
    handle.sync_data().unwrap();
    assert_eq!(mapping.oldest_unwritten(), None);
}

#[test]
fn a_write_of_several_pages_counts_until_all_have_it() {
    let store = TestStore::new();
    let (mapping, _journal) = over(&store, 2);
    store.block_read(true);
    let writer = thread::spawn({
        let handle = mapping.handle();
        move || handle.write_logged_at(&[0; 2 * PAGE - 1], 0, 5)
    });
    eventually("at the second page", || store.reads_begun() == 1);
    mapping.page(0).unwrap().lock_state().unwrap().cancel_dirty();
    assert_eq!(mapping.oldest_unwritten(), Some(5));
    store.block_read(false);
    writer.join().unwrap().unwrap();
    assert_eq!(mapping.oldest_unwritten(), Some(5));
}

#[test]
fn what_is_cut_away_or_cancelled_holds_nothing() {
    let (mapping, journal, _) = logged_in_memory(3);
    for page in 0..3 {
        write_number(&mapping, &journal, page, 0);
    }
    let cut = mapping.page(0).unwrap();
    mapping.page(0).unwrap().lock_state().unwrap().cancel_dirty();
    assert_eq!(mapping.oldest_unwritten(), Some(2));
    mapping.handle().set_len(0).unwrap();
    assert_eq!(mapping.oldest_unwritten(), None);
    cut.write_logged(0..1, |_| ()).unwrap_err();
    assert_eq!(mapping.oldest_unwritten(), None);
}

#[test]
fn an_image_that_a_cut_has_emptied_holds_nothing_however_it_ends() {
    for well in [true, false] {
        let (mapping, journal, _) = logged_in_memory(2);
        write_number(&mapping, &journal, 0, 0);
        write_number(&mapping, &journal, 1, 0);
        mapping.write_range(0..1, SyncMode::Wait, Budget::UNLIMITED).unwrap();
        mapping.handle().sync_range(0..1).unwrap();
        let claim = mapping.page(1).unwrap().lock_state().unwrap().clear_dirty_for_io().unwrap();
        thread::scope(|scope| {
            let cut = scope.spawn(|| mapping.handle().set_len(PAGE as u64));
            eventually("the length is cut", || mapping.len() == PAGE as u64);
            assert_eq!(mapping.oldest_unwritten(), Some(2));
            let writeback = claim.start_writeback().unwrap();
            assert!(writeback.image().is_empty());
            writeback.end(if well { Ok(()) } else { Err(StoreError::Lost) });
            cut.join().unwrap().unwrap();
        });
        assert_eq!(mapping.oldest_unwritten(), None);
        mapping.check().unwrap();
    }
}

const PAGES: u64 = 3;

#[derive(Debug, Clone)]
enum Op {
    Write(u64, usize),
    WriteUnlogged(u64),
    Commit,
    Page(u64, bool),
    Background,
    Range(u64),
    Sync,
    FailWrites(bool),
    FailLog(bool),
    Claim(u64, bool),
    Cut(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..PAGES, 0..NUMBERS).prop_map(|(page, number)| Op::Write(page, number)),
        1 => (0..PAGES).prop_map(Op::WriteUnlogged),
        2 => Just(Op::Commit),
        2 => (0..PAGES, any::<bool>()).prop_map(|(page, wait)| Op::Page(page, wait)),
        2 => Just(Op::Background),
        2 => (0..PAGES).prop_map(Op::Range),
        2 => Just(Op::Sync),
        1 => any::<bool>().prop_map(Op::FailWrites),
        1 => any::<bool>().prop_map(Op::FailLog),
        1 => (0..PAGES, any::<bool>()).prop_map(|(page, fail)| Op::Claim(page, fail)),
        1 => (0..PAGES).prop_map(Op::Cut),
    ]
}

struct Case {
    mapping: Mapping,
    journal: Journal,
    store: TestStore,
    /// Where each change went that no cut has dropped.
    changes: Vec<(u64, u64, usize)>,
    /// Those that one has dropped, until the next flush: they may have been written before.
    cut: Vec<u64>,
    flushes: u64,
}

impl Case {
    fn new() -> Self {
        let store = TestStore::new();
        let (mapping, journal) = over(&store, usize::try_from(PAGES).unwrap());
        Self { mapping, journal, store, changes: Vec::new(), cut: Vec::new(), flushes: 0 }
    }

    fn apply(&mut self, op: &Op) {
        let (mapping, handle) = (&self.mapping, self.mapping.handle());
        match *op {
            Op::Write(page, number) => {
                let position = write_number(mapping, &self.journal, page, number);
                self.changes.push((position, page, number));
            }
            Op::WriteUnlogged(page) => handle.write_at(&[1], page * PAGE as u64 + 100).unwrap(),
            Op::Commit => self.journal.commit(),
            Op::Page(page, wait) => drop(mapping.write_page(page, mode(wait))),
            Op::Background => {
                mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
            }
            Op::Range(first) => drop(handle.sync_range(first * PAGE as u64..)),
            Op::Sync => drop(handle.sync_data()),
            Op::FailWrites(true) => self.store.writes(Writes::Fail(StoreError::NoSpace)),
            Op::FailWrites(false) => self.store.writes(Writes::Accept),
            Op::FailLog(fail) => self.journal.with(|state| state.fail = fail),
            Op::Claim(page, fail) => self.claim(page, fail),
            Op::Cut(page) => {
                handle.set_len(page * PAGE as u64).unwrap();
                handle.set_len(PAGES * PAGE as u64).unwrap();
                let cut = self.changes.extract_if(.., |(_, changed, _)| *changed >= page);
                self.cut.extend(cut.map(|(position, _, _)| position));
            }
        }
        if self.store.flushes_begun() > self.flushes {
            self.flushes = self.store.flushes_begun();
            self.cut.clear();
        }
    }

    /// An engine's own writeback of a page.
    fn claim(&self, page: u64, fail: bool) {
        let Some(locked) = self.mapping.page(page).unwrap().lock_state() else { return };
        let Ok(claim) = locked.clear_dirty_for_io() else { return };
        let writeback = claim.start_writeback().unwrap();
        if fail {
            drop(writeback);
            return;
        }
        let Ok(()) = writeback
            .log_position()
            .map_or(Ok(()), |upto| writeback::hooks::Log::ensure(&self.journal, upto))
        else {
            return;
        };
        self.store.put(writeback.offset(), writeback.image().as_ref());
        writeback.end(Ok(()));
    }

    /// The lowest position whose change the durable image does not have.
    fn truth(&self) -> Option<u64> {
        let durable: Vec<_> = numbers(&self.store.durable()).collect();
        let lacks = |(position, page, number): &&(u64, u64, usize)| {
            let at = usize::try_from(*page).unwrap() * NUMBERS + number;
            durable.get(at).is_none_or(|stored| stored < position)
        };
        self.changes.iter().find(lacks).map(|(position, _, _)| *position)
    }

    fn check(&self) {
        let (bound, truth) = (self.mapping.oldest_unwritten(), self.truth());
        let end = self.journal.end();
        assert!(bound.unwrap_or(end) <= truth.unwrap_or(end), "{bound:?} is above {truth:?}");
        let exact = bound == truth || bound.is_some_and(|bound| self.cut.contains(&bound));
        assert!(exact, "{bound:?} is below {truth:?}, and nothing is under way");
        self.mapping.check().unwrap();
    }
}

proptest! {
    #[test]
    fn the_bound_is_exact_where_nothing_is_under_way(ops in prop::collection::vec(op(), 1..60)) {
        let mut case = Case::new();
        for op in &ops {
            case.apply(op);
            case.check();
        }
        case.apply(&Op::FailWrites(false));
        case.apply(&Op::FailLog(false));
        drop(case.mapping.handle().sync_data()); // told of earlier failures
        case.mapping.handle().sync_data().unwrap();
        prop_assert_eq!(case.mapping.oldest_unwritten(), None);
        prop_assert_eq!(case.truth(), None);
    }
}

#[test]
fn the_bound_is_never_too_high_while_all_are_at_work() {
    let store = MemStore::with_contents(vec![0; 4 * PAGE]);
    let (mapping, journal) = logged(store.clone());
    let (mapping, journal, store) = (&mapping, &journal, &store);
    let stop = &std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..2 {
            scope.spawn(move || {
                for turn in 0..3000_u64 {
                    write_number(mapping, journal, turn * 7 % 4, number);
                }
            });
        }
        scope.spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
                mapping.handle().sync_range(0..2 * PAGE as u64).unwrap();
                mapping.handle().sync_data().unwrap();
            }
        });
        let _ends = SetOnDrop(stop);
        // What was in memory before the bound was asked for, and is below it, is durable, or overtaken by
        // what is: the positions in each place grow.
        for _ in 0..300 {
            let end = journal.end();
            let in_memory: Vec<u64> = (0..4)
                .flat_map(|page| {
                    let bytes = mapping.page(page).unwrap().read_with(<[u8]>::to_vec);
                    numbers(&bytes).collect::<Vec<_>>()
                })
                .collect();
            let bound = mapping.oldest_unwritten().unwrap_or(end).min(end);
            let durable: Vec<u64> = numbers(&store.durable()).collect();
            for (seen, stored) in in_memory.iter().zip(&durable) {
                assert!(*seen >= bound || stored >= seen, "{seen} < {bound}, durable is {stored}");
            }
        }
    });
    mapping.handle().sync_data().unwrap();
    assert_eq!(mapping.oldest_unwritten(), None);
    assert_settled(mapping);
}

fn mode(waits: bool) -> SyncMode {
    if waits { SyncMode::Wait } else { SyncMode::Skip }
}
