//! Every transition of a page's life, with what holds before and after it.
//!
//! | transition | what happens |
//! |---|---|
//! | *enter* | a page enters the index |
//! | *read* | its first contents are read |
//! | *dirty* | it becomes dirty, with or without the page lock |
//! | *tag* | what is dirty is tagged for a sync |
//! | *claim* | its flag is cleared, its tag stays |
//! | *start* | it is put under writeback |
//! | *redirty* | the claim is given up |
//! | *submit* | its image is handed to the store |
//! | *unlock* | it is unlocked |
//! | *end* | the write ends |
//! | *cancel* | its dirt is forgotten |
//! | *remove* | it is truncated away |
//! | *evict* | it leaves memory, clean: tested in `memory` |
//! | *wait* | its write is waited for |
//!
//! The invariants are checked by the library itself at the end of every section of a debug build,
//! and by `Mapping::check` here.

mod common;

use std::sync::mpsc;
use std::thread;

use common::{PAGE, Writes, assert_settled, eventually, never, open, open_dirty, page};
use writeback::page::{Claim, LockedPage, PageTag, Writeback};
use writeback::{Budget, Error, Mapping, StoreError, SyncMode};

/// Which of DIRTY, TOWRITE and WRITEBACK the index has, and the flags DIRTY and WRITEBACK.
#[track_caller]
fn assert_state(mapping: &Mapping, index: u64, tags: &str, flags: &str) {
    let page = mapping.cached_page(index).unwrap();
    let names = [(PageTag::Dirty, 'd'), (PageTag::ToWrite, 't'), (PageTag::Writeback, 'w')];
    let seen: String = names.iter().filter(|(tag, _)| page.has_tag(*tag)).map(|n| n.1).collect();
    assert_eq!(seen, tags, "tags of page {index}");
    let state = page.snapshot();
    let names = [(state.is_dirty(), 'd'), (state.is_under_writeback(), 'w')];
    let seen: String = names.iter().filter(|(set, _)| *set).map(|n| n.1).collect();
    assert_eq!(seen, flags, "flags of page {index}");
    mapping.check().unwrap();
}

fn lock(mapping: &Mapping, index: u64) -> LockedPage {
    page(mapping, index).lock_state().expect("nobody truncates")
}

fn claim(mapping: &Mapping, index: u64) -> Claim {
    lock(mapping, index).clear_dirty_for_io().expect("dirty")
}

fn start(mapping: &Mapping, index: u64) -> Writeback {
    claim(mapping, index).start_writeback().expect("not held")
}

#[test]
fn a_page_enters_the_index_once() {
    let (mapping, _store) = open(3);
    assert!(mapping.cached_page(1).is_none());
    let first = page(&mapping, 1);
    let again = page(&mapping, 1);
    assert!(std::ptr::eq(&raw const *first, &raw const *again));
    assert!(first.snapshot().is_mapped() && first.index() == 1);
    assert_eq!(mapping.stats().cached, 1);
    mapping.check().unwrap();
}

#[test]
fn a_page_that_could_not_be_read_is_read_again() {
    let (mapping, store) = open(1);
    store.fail_read(true);
    assert!(matches!(mapping.page(0), Err(Error::Read { index: 0, .. })));
    let page = mapping.cached_page(0).unwrap();
    assert!(!page.snapshot().is_uptodate() && !page.snapshot().is_locked());
    assert!(matches!(page.mark_dirty(), Err(Error::Gone { .. })), "there is nothing to be dirty");
    store.fail_read(false);
    assert!(mapping.page(0).unwrap().snapshot().is_uptodate());
    assert_settled(&mapping);
}

#[test]
fn dirtying_changes_flag_tag_and_counter_together_and_once() {
    let (mapping, _store) = open(2);
    let page = page(&mapping, 1);
    assert_state(&mapping, 1, "", "");
    assert!(page.mark_dirty().unwrap());
    assert_state(&mapping, 1, "d", "d");
    assert!(!page.mark_dirty().unwrap());
    page.write_with(0..3, |bytes| bytes.fill(1)).unwrap();
    mapping.handle().write_at(b"x", PAGE as u64).unwrap();
    assert_eq!((mapping.stats().dirty, mapping.stats().dirtied), (1, 1));
}

#[test]
fn a_page_can_be_dirtied_while_it_is_locked_by_its_holder_and_by_others() {
    let (mapping, _store) = open(2);
    let locked = lock(&mapping, 0);
    assert!(locked.mark_dirty().unwrap());
    assert!(!locked.mark_dirty().unwrap());
    assert!(!locked.page().mark_dirty().unwrap());
    drop(locked);
    let _locked = lock(&mapping, 1);
    mapping.handle().write_at(b"x", PAGE as u64).unwrap();
    assert_state(&mapping, 1, "d", "d");
}

#[test]
fn a_panic_in_a_writer_leaves_what_it_wrote_dirty() {
    let (mapping, _store) = open(1);
    let page = page(&mapping, 0);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        page.write_with(0..2, |bytes| {
            bytes[0] = 1;
            panic!("told to by the test");
        })
    }));
    assert!(outcome.is_err());
    assert_state(&mapping, 0, "d", "d");
    mapping.handle().sync_data().unwrap();
    assert_settled(&mapping);
}

#[test]
fn a_sync_tags_what_is_dirty_and_nothing_later() {
    // A sync ends although pages become dirty behind and before it: it writes those that were dirty
    // when it began. More pages than one look-up finds, so that it looks again after the change.
    let (mapping, store) = open_dirty(101, 1);
    mapping.handle().sync_data().unwrap();
    mapping.handle().write_at(&[2; 70 * PAGE], 0).unwrap();
    let locked = lock(&mapping, 0);
    let syncer = thread::spawn({
        let handle = mapping.handle();
        move || handle.sync_data()
    });
    eventually("tagged", || page(&mapping, 69).has_tag(PageTag::ToWrite));
    mapping.handle().write_at(b"later", 100 * PAGE as u64).unwrap();
    assert_state(&mapping, 100, "d", "d");
    drop(locked);
    syncer.join().unwrap().unwrap();
    assert_state(&mapping, 100, "d", "d");
    assert_eq!(store.batches(), [(0, 101), (0, 70)]);
}

#[test]
fn a_claim_clears_the_flag_and_leaves_the_tag() {
    let (mapping, _store) = open_dirty(1, 1);
    let claim = claim(&mapping, 0);
    assert_state(&mapping, 0, "d", "");
    assert!(claim.page().snapshot().is_locked());
    assert_eq!(mapping.stats().dirty, 0);
    drop(claim);
}

#[test]
fn there_is_nothing_to_claim_in_a_clean_page_or_one_under_writeback() {
    let (mapping, _store) = open_dirty(1, 1);
    let writeback = start(&mapping, 0);
    mapping.handle().write_at(b"x", 0).unwrap();
    let locked = lock(&mapping, 0).clear_dirty_for_io().unwrap_err();
    drop(locked);
    writeback.end(Ok(()));
    start(&mapping, 0).end(Ok(()));
    assert!(lock(&mapping, 0).clear_dirty_for_io().is_err());
    assert_state(&mapping, 0, "", "");
}

#[test]
fn a_start_brings_flag_and_tag_together() {
    let (mapping, _store) = open_dirty(1, 1);
    let writeback = start(&mapping, 0);
    assert_state(&mapping, 0, "w", "w");
    assert!(!page(&mapping, 0).snapshot().is_locked());
    assert_eq!((mapping.stats().dirty, mapping.stats().writeback), (0, 1));
    writeback.end(Ok(()));
    assert_state(&mapping, 0, "", "");
}

#[test]
fn a_start_leaves_the_tag_of_a_page_that_was_dirtied_after_the_claim() {
    let (mapping, store) = open_dirty(1, 1);
    let claim = claim(&mapping, 0);
    mapping.handle().write_at(b"x", 0).unwrap();
    let writeback = claim.start_writeback().unwrap();
    assert_state(&mapping, 0, "dw", "dw");
    writeback.end(Ok(()));
    assert_state(&mapping, 0, "d", "d");
    mapping.handle().sync_data().unwrap();
    assert_eq!(&store.durable()[..2], b"x\x01");
}

#[test]
fn a_start_keeps_towrite_while_the_page_is_dirty() {
    // A sync that tagged the page still finds it, whoever started a writeback in between.
    let (mapping, _store) = open_dirty(2, 1);
    let first = lock(&mapping, 0);
    let syncer = thread::spawn({
        let handle = mapping.handle();
        move || handle.sync_data()
    });
    eventually("tagged", || page(&mapping, 1).has_tag(PageTag::ToWrite));
    let claim = claim(&mapping, 1);
    mapping.handle().write_at(b"x", PAGE as u64).unwrap();
    let writeback = claim.start_writeback().unwrap();
    assert_state(&mapping, 1, "dtw", "dw");
    writeback.end(Err(StoreError::NoSpace));
    drop(first);
    assert!(syncer.join().unwrap().is_err(), "the error came after the sync began");
    assert_settled(&mapping);
}

#[test]
fn a_start_does_not_happen_while_another_writer_holds_the_page() {
    let (mapping, _store) = open_dirty(1, 1);
    let hold = mapping.hold_page(0).unwrap();
    let claim = claim(&mapping, 0);
    assert!(claim.is_held());
    let claim = claim.start_writeback().unwrap_err();
    drop(hold);
    claim.wait_released();
    claim.start_writeback().unwrap().end(Ok(()));
    assert_state(&mapping, 0, "", "");
}

#[test]
fn a_claim_given_up_or_dropped_leaves_the_page_dirty_and_unlocked() {
    let (mapping, _store) = open_dirty(1, 1);
    claim(&mapping, 0).redirty();
    assert_state(&mapping, 0, "d", "d");
    drop(claim(&mapping, 0));
    let dirtied_meanwhile = claim(&mapping, 0);
    mapping.handle().write_at(b"x", 0).unwrap();
    drop(dirtied_meanwhile);
    let claim = claim(&mapping, 0);
    let panicked = thread::spawn(move || {
        let _claim = claim;
        panic!("told to by the test");
    });
    assert!(panicked.join().is_err());
    assert_state(&mapping, 0, "d", "d");
    assert!(!page(&mapping, 0).snapshot().is_locked());
    assert_eq!(mapping.stats().dirty, 1);
}

#[test]
fn an_image_has_what_was_written_before_the_claim_and_does_not_change() {
    let (mapping, store) = open_dirty(1, 1);
    store.writes(Writes::Keep);
    mapping.write_page(0, SyncMode::Skip).unwrap();
    mapping.handle().write_at(&[2; PAGE], 0).unwrap();
    assert_state(&mapping, 0, "dw", "dw");
    store.release_first(Ok(()));
    assert_eq!(store.accepted(), [1; PAGE]);
    assert_state(&mapping, 0, "d", "d");
    store.writes(Writes::Accept);
    mapping.handle().sync_data().unwrap();
    assert_eq!(store.durable(), [2; PAGE]);
}

#[test]
fn the_last_image_is_cut_at_the_length_there_is_when_it_is_taken() {
    let (mapping, store) = open(0);
    mapping.handle().write_at(&[1; 100], 0).unwrap();
    let claim = claim(&mapping, 0);
    mapping.handle().write_at(&[2; 100], 100).unwrap();
    let writeback = claim.start_writeback().unwrap();
    assert_eq!(writeback.image().len(), 200);
    writeback.end(Ok(()));
    mapping.handle().sync_data().unwrap();
    assert_eq!(store.durable().len(), 200);
}

#[test]
fn a_waiting_thread_gets_the_lock() {
    let (mapping, _store) = open(1);
    let locked = lock(&mapping, 0);
    assert!(page(&mapping, 0).try_lock_state().is_none());
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn({
                let page = page(&mapping, 0);
                move || drop(page.lock_state().unwrap())
            })
        })
        .collect();
    never("locked twice", || waiters.iter().any(thread::JoinHandle::is_finished));
    drop(locked);
    waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    assert!(!page(&mapping, 0).snapshot().is_locked());
}

#[test]
fn a_good_end_makes_the_page_clean_and_a_bad_one_dirty_again() {
    let (mapping, store) = open_dirty(1, 1);
    store.writes(Writes::Fail(StoreError::NoSpace));
    mapping.write_page(0, SyncMode::Skip).unwrap();
    assert_state(&mapping, 0, "d", "d");
    assert!(page(&mapping, 0).snapshot().has_error());
    let stats = mapping.stats();
    assert_eq!((stats.dirty, stats.written, stats.write_errors), (1, 0, 1));
    store.writes(Writes::Accept);
    assert!(mapping.write_page(0, SyncMode::Wait).unwrap());
    assert!(!page(&mapping, 0).snapshot().has_error());
    assert_eq!(mapping.stats().written, 1);
    assert_settled(&mapping);
}

#[test]
fn a_writeback_that_is_dropped_is_lost_and_leaves_the_page_dirty() {
    let (mapping, _store) = open_dirty(1, 1);
    let handle = mapping.handle();
    drop(start(&mapping, 0));
    assert_state(&mapping, 0, "d", "d");
    let error = handle.check_error().unwrap_err();
    assert!(matches!(error, Error::Write { source: StoreError::Lost }), "{error}");
}

#[test]
fn a_writeback_can_be_ended_by_another_thread() {
    let (mapping, _store) = open_dirty(1, 1);
    let writeback = start(&mapping, 0);
    thread::spawn(move || writeback.end(Ok(()))).join().unwrap();
    assert_state(&mapping, 0, "", "");
}

#[test]
fn cancelled_dirt_is_neither_counted_nor_written() {
    let (mapping, store) = open_dirty(2, 1);
    assert!(lock(&mapping, 0).cancel_dirty());
    assert!(!lock(&mapping, 0).cancel_dirty());
    assert_state(&mapping, 0, "", "");
    mapping.handle().sync_data().unwrap();
    assert_eq!(store.batches(), [(1, 1)]);
}

#[test]
fn a_truncated_page_has_no_tags_no_count_and_no_way_back() {
    let (mapping, _store) = open_dirty(3, 1);
    let (gone, stays) = (page(&mapping, 1), page(&mapping, 0));
    mapping.handle().set_len(PAGE as u64).unwrap();
    assert!(!gone.snapshot().is_mapped() && !gone.snapshot().is_dirty());
    assert!(stays.snapshot().is_dirty());
    let stats = mapping.stats();
    assert_eq!((stats.cached, stats.dirty), (1, 1));
    assert!(gone.lock_state().is_none() && gone.try_lock_state().is_none());
    assert!(matches!(gone.mark_dirty(), Err(Error::Gone { index: 1 })));
    assert!(matches!(gone.write_with(0..1, |_| ()), Err(Error::Gone { index: 1 })));
    mapping.handle().write_at(b"new", PAGE as u64).unwrap();
    assert!(
        matches!(gone.mark_dirty(), Err(Error::Gone { index: 1 })),
        "another page is there now"
    );
    mapping.check().unwrap();
}

#[test]
fn a_removal_waits_for_the_page_lock_the_writeback_and_the_hold() {
    let (mapping, store) = open_dirty(3, 1);
    let writeback = start(&mapping, 0);
    let locked = lock(&mapping, 1);
    let hold = mapping.hold_page(2).unwrap();
    let cut = thread::spawn({
        let handle = mapping.handle();
        move || handle.set_len(0)
    });
    let waits = |for_what| never(for_what, || cut.is_finished());
    waits("the writeback");
    writeback.end(Ok(()));
    waits("the page lock");
    drop(locked);
    waits("the hold");
    drop(hold);
    cut.join().unwrap().unwrap();
    assert_eq!((mapping.stats().cached, store.accepted().len()), (0, 0));
    assert_settled(&mapping);
}

#[test]
fn a_wait_is_for_the_writeback_that_had_begun() {
    let (mapping, _store) = open_dirty(2, 1);
    page(&mapping, 0).wait_writeback();
    mapping.wait_range(..);
    let writeback = start(&mapping, 1);
    mapping.wait_range(..1);
    let waiter = thread::spawn({
        let mapping = mapping.clone();
        move || mapping.wait_range(..)
    });
    never("returned too early", || waiter.is_finished());
    writeback.end(Ok(()));
    waiter.join().unwrap();
}

#[test]
fn background_writeback_goes_by_what_it_would_wait_for() {
    let (mapping, store) = open_dirty(4, 1);
    let locked = lock(&mapping, 0);
    let writeback = start(&mapping, 1);
    mapping.handle().write_at(b"x", PAGE as u64).unwrap();
    let hold = mapping.hold_page(2).unwrap();
    // On a thread of its own: if it waited, then for ever.
    let (done, ended) = mpsc::channel();
    let pass = mapping.clone();
    thread::spawn(move || done.send(pass.write_range(.., SyncMode::Skip, Budget::UNLIMITED)));
    let progress = ended.recv_timeout(crate::common::patience()).expect("the pass waits").unwrap();
    assert_eq!((progress.submitted, progress.declined, progress.skipped), (1, 1, 2));
    assert_eq!(store.batches(), [(3, 1)]);
    assert_state(&mapping, 2, "d", "d");
    drop((locked, hold));
    writeback.end(Ok(()));
    mapping.handle().sync_data().unwrap();
    assert_settled(&mapping);
    assert_eq!((mapping.stats().declined, mapping.stats().skipped), (1, 2));
}
