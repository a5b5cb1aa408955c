//! The races of writeback, each driven step by step through the interleaving that once went wrong.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::{
    PAGE, SetOnDrop, TestStore, Writes, assert_settled, eventually, never, open_dirty, page,
};
use writeback::page::PageTag;
use writeback::store::Store;
use writeback::{Budget, Config, Mapping, Result, StoreError, SyncMode};

fn sync_on_a_thread(mapping: &Mapping) -> JoinHandle<Result<()>> {
    let handle = mapping.handle();
    thread::spawn(move || handle.sync_data())
}

/// What the sync of 2004 saw: did it return before the page was in the store?
///
/// A journal holds the page, and the flusher, having claimed it, has not yet noticed. Then a sync
/// begins, and only then does the flusher meet the hold and put the page back.
fn flusher_journal_and_sync(mapping: &Mapping, store: &TestStore) -> bool {
    let journal = mapping.hold_page(0).unwrap();
    let locked = page(mapping, 0).lock_state().unwrap();
    let claim = locked.clear_dirty_for_io().expect("dirty");

    let syncer = sync_on_a_thread(mapping);
    let deadline = Instant::now() + Duration::from_millis(100);
    while !syncer.is_finished() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    let missed = syncer.is_finished();
    assert!(store.durable().is_empty() || !missed);

    let claim = claim.start_writeback().expect_err("the journal holds the page");
    claim.redirty();
    if !missed {
        never("the journal still holds the page", || syncer.is_finished());
    }
    drop(journal);
    syncer.join().unwrap().expect("nothing failed");
    missed
}

#[test]
fn a_sync_finds_a_page_that_a_flusher_claimed_and_a_journal_holds() {
    // A sync never returns Ok while a page that was dirty before it is neither written nor dropped.
    let (mapping, store) = open_dirty(1, 7);
    assert!(!flusher_journal_and_sync(&mapping, &store));
    assert_eq!(store.durable(), [7; PAGE]);
    assert_settled(&mapping);
}

#[test]
fn a_declined_page_is_dirty_again_whatever_the_decliner_thinks() {
    // Declining redirties unconditionally: the holder's own write may be what a sync waits for.
    let (mapping, _store) = open_dirty(1, 1);
    let hold = mapping.hold_page(0).unwrap();
    for _ in 0..3 {
        let progress = mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
        assert_eq!((progress.declined, progress.submitted), (1, 0));
        let page = page(&mapping, 0);
        assert!(page.snapshot().is_dirty() && page.has_tag(PageTag::Dirty));
    }
    drop(hold);
}

#[test]
fn a_decline_does_not_take_the_page_from_a_sync_that_tagged_it() {
    // TOWRITE survives a background pass that claims the page and gives it up again.
    let (mapping, store) = open_dirty(2, 3);
    let first = page(&mapping, 0).lock_state().unwrap();
    let hold = mapping.hold_page(1).unwrap();
    let syncer = sync_on_a_thread(&mapping);
    eventually("tagged", || page(&mapping, 1).has_tag(PageTag::ToWrite));
    let progress = mapping.write_range(1.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
    assert_eq!(progress.declined, 1);
    assert!(page(&mapping, 1).has_tag(PageTag::ToWrite));
    drop(first);
    never("the page is held", || syncer.is_finished());
    drop(hold);
    syncer.join().unwrap().unwrap();
    assert_eq!(store.durable(), [3; 2 * PAGE]);
}

#[test]
fn a_change_during_a_write_is_not_lost_when_the_write_ends() {
    // The end of a write makes clean what it wrote, not what was changed since.
    let (mapping, store) = open_dirty(1, 1);
    store.writes(Writes::Keep);
    mapping.write_page(0, SyncMode::Skip).unwrap();
    mapping.handle().write_at(&[2; 10], 0).unwrap();
    store.release_first(Ok(()));
    assert!(page(&mapping, 0).snapshot().is_dirty());
    store.writes(Writes::Accept);
    mapping.handle().sync_data().unwrap();
    assert_eq!(&store.durable()[..11], [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]);
}

#[test]
fn an_error_is_there_before_the_write_is_seen_to_end() {
    // Whoever waits for a write that fails finds the error when the wait is over.
    for _ in 0..50 {
        let (mapping, store) = open_dirty(1, 1);
        let handle = mapping.handle();
        store.writes(Writes::Keep);
        mapping.write_page(0, SyncMode::Skip).unwrap();
        let waiter = thread::spawn({
            let page = page(&mapping, 0);
            move || {
                page.wait_writeback();
                handle.check_error()
            }
        });
        store.release_first(Err(StoreError::NoSpace));
        assert!(waiter.join().unwrap().unwrap_err().is_no_space());
    }
}

#[test]
fn a_sync_waits_for_a_write_that_another_began() {
    // The page is clean and has only the WRITEBACK tag: the second walk finds it.
    let (mapping, store) = open_dirty(1, 4);
    store.writes(Writes::Keep);
    mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
    let syncer = sync_on_a_thread(&mapping);
    never("the write is under way", || syncer.is_finished());
    store.release_first(Ok(()));
    syncer.join().unwrap().unwrap();
    assert_eq!(store.durable(), [4; PAGE]);
    assert_eq!(store.batches().len(), 1);
}

#[test]
fn a_sync_writes_a_page_again_that_was_changed_while_it_was_written() {
    // Waiting for the old image is not enough.
    let (mapping, store) = open_dirty(1, 1);
    store.writes(Writes::Keep);
    mapping.write_page(0, SyncMode::Skip).unwrap();
    mapping.handle().write_at(&[2; PAGE], 0).unwrap();
    let syncer = sync_on_a_thread(&mapping);
    never("the first write is under way", || syncer.is_finished());
    store.release_first(Ok(()));
    eventually("written again", || store.kept() == 1);
    never("the second write is under way", || syncer.is_finished());
    store.release_first(Ok(()));
    syncer.join().unwrap().unwrap();
    assert_eq!(store.durable(), [2; PAGE]);
}

#[test]
fn a_page_truncated_between_look_up_and_lock_is_not_written() {
    // After locking a page a sync looks whether it is still part of the mapping.
    let (mapping, store) = open_dirty(2, 1);
    let first = page(&mapping, 0).lock_state().unwrap();
    let syncer = sync_on_a_thread(&mapping);
    eventually("tagged", || page(&mapping, 1).has_tag(PageTag::ToWrite));
    mapping.handle().set_len(PAGE as u64).unwrap();
    drop(first);
    syncer.join().unwrap().unwrap();
    assert_eq!(store.batches(), [(0, 1)]);
    assert_settled(&mapping);
}

#[test]
fn a_write_under_way_does_not_lengthen_a_store_that_was_cut() {
    // Truncate cuts the store only when no image of the old length is on its way, be it of a page
    // that is dropped or of the one that is cut.
    for pages in [1, 2] {
        let (mapping, store) = open_dirty(pages, 1);
        store.writes(Writes::Keep);
        mapping.write_page(pages as u64 - 1, SyncMode::Skip).unwrap();
        let cut = thread::spawn({
            let handle = mapping.handle();
            move || handle.set_len(100)
        });
        never("a write is under way", || cut.is_finished());
        store.release_first(Ok(()));
        cut.join().unwrap().unwrap();
        store.writes(Writes::Accept);
        mapping.handle().sync_data().unwrap();
        assert_eq!((mapping.len(), store.durable()), (100, vec![1; 100]));
    }
}

#[test]
fn a_sync_during_a_truncate_does_not_take_the_cut_from_it() {
    // A sync makes up for a cut that failed; one that is still to come it leaves alone.
    let (mapping, store) = open_dirty(3, 1);
    store.writes(Writes::Keep);
    mapping.write_page(2, SyncMode::Skip).unwrap();
    let cut = thread::spawn({
        let handle = mapping.handle();
        move || handle.set_len(100)
    });
    eventually("the mapping is cut", || mapping.len() == 100);
    never("a write is under way", || cut.is_finished());
    store.writes(Writes::Accept);
    mapping.handle().sync_range(..1).unwrap();
    store.release_first(Ok(()));
    cut.join().unwrap().unwrap();
    assert_eq!(store.accepted(), [1; 100]);
    assert_settled(&mapping);
}

#[test]
fn close_waits_for_a_writer_that_waits_for_the_store() {
    // No write that was let in before the close is saved after it, or not at all.
    let (mapping, store) = common::open(1);
    store.block_read(true);
    let writer = thread::spawn({
        let handle = mapping.handle();
        move || handle.write_at(b"let in", 0)
    });
    eventually("reading", || store.reads_begun() == 1);
    let close = thread::spawn(move || mapping.close());
    never("a writer is under way", || close.is_finished());
    store.block_read(false);
    writer.join().unwrap().expect("it was let in");
    close.join().unwrap().unwrap();
    assert_eq!(&store.durable()[..7], b"let in\0");
}

#[test]
fn a_waiter_is_let_go_by_the_write_it_waits_for() {
    // Also if the next write of the page has begun by the time it looks.
    let (mapping, store) = open_dirty(1, 1);
    store.writes(Writes::Keep);
    mapping.write_page(0, SyncMode::Skip).unwrap();
    let waiter = thread::spawn({
        let page = page(&mapping, 0);
        move || page.wait_writeback()
    });
    // Asleep, that is: a waiter who comes later waits for the next write.
    eventually("it waits", || format!("{:?}", page(&mapping, 0).snapshot()).contains("WAITERS"));
    never("the first write is under way", || waiter.is_finished());
    mapping.handle().write_at(b"again", 0).unwrap();
    store.release_first(Ok(()));
    mapping.write_page(0, SyncMode::Skip).unwrap();
    waiter.join().unwrap();
    assert!(page(&mapping, 0).snapshot().is_under_writeback());
    store.release_first(Ok(()));
}

#[test]
fn a_flush_does_not_cover_a_write_that_ends_during_it() {
    // Written and durable are told apart by generations, not by one flag.
    let (mapping, store) = open_dirty(2, 1);
    mapping.write_page(0, SyncMode::Wait).unwrap();
    store.block_flush(true);
    let first = sync_on_a_thread(&mapping);
    eventually("flushing", || store.flushes_begun() == 1);
    let before = store.accepted();
    mapping.handle().write_at(&[9; PAGE], 0).unwrap();
    mapping.write_page(0, SyncMode::Wait).unwrap();
    let second = sync_on_a_thread(&mapping);
    never("the flush is under way", || second.is_finished());
    store.block_flush(false);
    first.join().unwrap().unwrap();
    second.join().unwrap().unwrap();
    assert_eq!(store.flushes_begun(), 2);
    assert_ne!(before, store.durable());
    assert_eq!(&store.durable()[..PAGE], [9; PAGE]);
}

#[test]
fn a_sync_with_nothing_to_write_waits_for_the_flush_that_covers_it() {
    // "Nothing dirty" is not "everything durable".
    let (mapping, store) = open_dirty(1, 1);
    store.block_flush(true);
    let first = sync_on_a_thread(&mapping);
    eventually("flushing", || store.flushes_begun() == 1);
    let second = sync_on_a_thread(&mapping);
    never("nothing is durable yet", || second.is_finished());
    store.block_flush(false);
    first.join().unwrap().unwrap();
    second.join().unwrap().unwrap();
    assert_eq!(store.flushes_begun(), 1, "the second was covered by the first one's flush");
}

#[test]
fn a_pass_submits_what_it_has_before_it_waits() {
    // Nobody waits with a page under writeback in hand that is not submitted.
    let (mapping, store) = open_dirty(3, 1);
    let locked = page(&mapping, 2).lock_state().unwrap();
    let syncer = sync_on_a_thread(&mapping);
    eventually("submitted", || store.batches() == [(0, 2)]);
    page(&mapping, 0).wait_writeback();
    drop(locked);
    syncer.join().unwrap().unwrap();
    assert_eq!(store.batches(), [(0, 2), (2, 1)]);
}

#[test]
fn a_sync_ends_although_the_journal_takes_the_page_again_and_again() {
    // A writeback that waits for a hold comes before the next hold.
    let (mapping, _store) = open_dirty(1, 1);
    let stop = Arc::new(AtomicBool::new(false));
    let journals: Vec<_> = (0..3)
        .map(|_| {
            thread::spawn({
                let (mapping, stop) = (mapping.clone(), Arc::clone(&stop));
                move || {
                    while !stop.load(Ordering::Relaxed) {
                        let _hold = mapping.hold_page(0).unwrap();
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            })
        })
        .collect();
    let ends = SetOnDrop(&stop);
    for round in 0..20 {
        mapping.handle().write_at(&[round; 8], 0).unwrap();
        mapping.handle().sync_data().unwrap();
    }
    drop(ends);
    journals.into_iter().for_each(|journal| journal.join().unwrap());
    assert_settled(&mapping);
}

#[test]
fn a_sync_ends_under_writers_that_never_stop() {
    // It writes what was dirty when it began, at most once more for a page dirtied since.
    let pages = 200;
    let (mapping, store) = open_dirty(pages, 1);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2_u64)
        .map(|writer| {
            thread::spawn({
                let (handle, stop) = (mapping.handle(), Arc::clone(&stop));
                move || {
                    let mut at = writer;
                    while !stop.load(Ordering::Relaxed) {
                        at = (at + 7) % pages as u64;
                        handle.write_at(&[2; 64], at * PAGE as u64 + writer * 64).unwrap();
                    }
                }
            })
        })
        .collect();
    let ends = SetOnDrop(&stop);
    for _ in 0..20 {
        let written = mapping.stats().written;
        mapping.handle().sync_data().unwrap();
        assert!(mapping.stats().written - written <= pages as u64);
    }
    drop(ends);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    mapping.handle().sync_data().unwrap();
    assert!(store.durable().len() == pages * PAGE);
    assert_settled(&mapping);
}

#[test]
fn marking_dirty_and_truncating_keep_the_count() {
    // A page is counted dirty only while it is in the index, whoever comes first.
    let (mapping, _store) = open_dirty(4, 1);
    let stop = Arc::new(AtomicBool::new(false));
    let dirtier = thread::spawn({
        let (mapping, stop) = (mapping.clone(), Arc::clone(&stop));
        move || {
            while !stop.load(Ordering::Relaxed) {
                for index in 0..4 {
                    if let Some(page) = mapping.cached_page(index) {
                        let _ = page.mark_dirty();
                        if let Some(locked) = page.try_lock_state() {
                            let _ = locked.mark_dirty();
                        }
                    }
                }
            }
        }
    });
    let handle = mapping.handle();
    let ends = SetOnDrop(&stop);
    for _ in 0..400 {
        handle.set_len(0).unwrap();
        assert_eq!((mapping.stats().dirty, mapping.stats().cached), (0, 0));
        handle.write_at(&[1; 4 * PAGE], 0).unwrap();
    }
    drop(ends);
    dirtier.join().unwrap();
    mapping.check().unwrap();
    handle.sync_data().unwrap();
    assert_settled(&mapping);
}

#[test]
fn a_page_that_is_read_twice_at_once_is_read_once() {
    // Who finds a page locked and without contents waits, and looks again.
    let store = TestStore::new();
    store.set_len(PAGE as u64 * 64).unwrap();
    let mapping = Mapping::with_config(Arc::new(store), Config::new()).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut bytes = [1; PAGE];
                for index in 0..64 {
                    mapping.handle().read_at(&mut bytes, index * PAGE as u64).unwrap();
                    assert_eq!(bytes, [0; PAGE]);
                }
            });
        }
    });
    assert_eq!((mapping.stats().read, mapping.stats().cached), (64, 64));
}
