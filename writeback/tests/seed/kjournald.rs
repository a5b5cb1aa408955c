//! kjournald: another writer has a block, while a flusher and a sync come by.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use writeback::hooks::Log;
use writeback::{Budget, Config, Error, Mapping, Result, SyncMode};

use crate::world::*;

fn sync_on_a_thread(mapping: &Mapping) -> JoinHandle<Result<()>> {
    let handle = mapping.handle();
    thread::spawn(move || handle.sync_data())
}

#[test]
fn kjournald_has_a_block_and_the_flusher_writes_the_others() {
    let (mapping, store) = dirty_blocks(&[0, 1, 3]);
    let hold = mapping.hold_blocks(0, 1..2).unwrap();
    assert_eq!((hold.index(), hold.blocks(), hold.offset()), (0, 1..2, 1024));
    assert_eq!(hold.image().as_ref(), [2; BLOCK]);
    let progress = background(&mapping);
    assert_eq!((progress.submitted, progress.declined), (1, 1));
    assert_eq!(accepted(&store), [1, 0, 0, 4]);
    let page = page(&mapping, 0);
    assert_eq!((page.dirty_blocks(), page.held_blocks(), tags(&page).as_str()), (0b10, 0b10, "d"));
    let progress = background(&mapping);
    assert_eq!((progress.submitted, progress.declined), (0, 1), "all that is left is held");
    drop(hold);
    assert_eq!(background(&mapping).submitted, 1);
    assert_settled(&mapping);
}

#[test]
fn kjournald_has_a_block_that_looks_clean_and_the_page_is_dirty_again() {
    // R-LOOKS-CLEAN: whatever the decliner thinks, since the holder may be writing the block at this moment.
    let (mapping, store) = dirty_blocks(&[0]);
    let hold = mapping.hold_blocks(0, 2..3).unwrap();
    let page = page(&mapping, 0);
    let progress = background(&mapping);
    assert_eq!((progress.submitted, progress.declined), (1, 1));
    assert_eq!(accepted(&store), [1, 0, 0, 0]);
    assert!(page.snapshot().is_dirty() && tags(&page) == "d" && page.dirty_blocks() == 0);
    let progress = background(&mapping);
    assert_eq!((progress.submitted, progress.declined), (0, 1));
    assert!(page.snapshot().is_dirty() && tags(&page) == "d");
    let syncer = sync_on_a_thread(&mapping);
    never("a block is held", || syncer.is_finished());
    drop(hold);
    syncer.join().unwrap().unwrap();
    assert_settled(&mapping);
    assert_eq!(mapping.stats().written, 1, "there was nothing more to write");
}

/// The race of 2004, with the buffer's dirty bit cleared by the journal, which is writing it.
///
/// The flusher claims the page; the sync begins, and finds the page by its tag; the flusher meets the held block and puts
/// the page back; the sync waits for the journal.
#[test]
fn kjournald_writes_a_block_itself_and_the_sync_waits_for_it() {
    let (mapping, store) = open_blocks(1);
    // A mapping's first sync always flushes: this one is that.
    mapping.handle().sync_data().unwrap();
    let flushes = store.flushes_begun();
    fill(&mapping, 1, 2);
    let mut journal = mapping.hold_blocks(0, 1..2).unwrap();
    assert!(journal.take_dirty());
    let page = page(&mapping, 0);
    assert!(page.snapshot().is_dirty() && page.dirty_blocks() == 0);

    let claim = claim(&mapping, 0);
    let syncer = sync_on_a_thread(&mapping);
    never("the page is claimed", || syncer.is_finished());
    let pieces = claim.start_blocks(SyncMode::Skip).unwrap();
    assert!(pieces.is_empty(), "the page is put back");
    never("the journal has the block", || syncer.is_finished());
    assert_eq!(store.flushes_begun(), flushes);

    store.put(journal.offset(), journal.image().as_ref());
    journal.written();
    syncer.join().unwrap().unwrap();
    assert_eq!(store.durable(), [[0; BLOCK], [2; BLOCK], [0; BLOCK], [0; BLOCK]].concat());
    assert_eq!(mapping.stats().written, 0, "the journal did it");
    assert_settled(&mapping);
}

#[test]
fn kjournald_fails_and_the_sync_that_waited_writes_the_block() {
    let (mapping, store) = dirty_blocks(&[1]);
    let mut journal = mapping.hold_blocks(0, 0..2).unwrap();
    assert!(journal.take_dirty() && !journal.take_dirty());
    let syncer = sync_on_a_thread(&mapping);
    never("the journal has the block", || syncer.is_finished());
    drop(journal); // not written
    syncer.join().unwrap().unwrap();
    assert_eq!(store.durable()[BLOCK..2 * BLOCK], [2; BLOCK]);
    assert_settled(&mapping);
}

#[test]
fn kjournald_writes_a_block_that_is_changed_meanwhile_and_it_is_dirty() {
    let (mapping, store) = dirty_blocks(&[1]);
    let mut journal = mapping.hold_blocks(0, 1..2).unwrap();
    journal.take_dirty();
    let image = journal.image();
    fill(&mapping, 1, 9);
    store.put(journal.offset(), image.as_ref());
    journal.written();
    assert_eq!(page(&mapping, 0).dirty_blocks(), 0b10);
    mapping.handle().sync_data().unwrap();
    assert_eq!(accepted(&store), [0, 9, 0, 0]);
    assert_settled(&mapping);
}

#[test]
fn kjournald_declines_in_part_and_takes_nothing_from_a_sync_that_tagged_the_page() {
    // R-TOWRITE-EATEN: TOWRITE survives a background pass that writes some blocks of the page and leaves others.
    let (mapping, store) = open_blocks(2);
    [0, 4, 5].iter().for_each(|block| fill(&mapping, *block, 3));
    let first = lock(&mapping, 0);
    let hold = mapping.hold_blocks(1, 1..2).unwrap();
    let syncer = sync_on_a_thread(&mapping);
    eventually("tagged", || tags(&page(&mapping, 1)) == "dt");
    let progress = mapping.write_range(1.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
    assert_eq!((progress.submitted, progress.declined), (1, 1));
    assert_eq!(tags(&page(&mapping, 1)), "dt");
    drop(first);
    never("a block is held", || syncer.is_finished());
    drop(hold);
    syncer.join().unwrap().unwrap();
    assert_eq!(accepted(&store), [3, 0, 0, 0, 3, 3, 0, 0]);
    assert_settled(&mapping);
}

#[test]
fn kjournald_takes_blocks_of_a_page_that_is_being_written_elsewhere() {
    let (mapping, store) = dirty_blocks(&[0]);
    store.writes(Writes::Keep);
    background(&mapping);
    assert!(mapping.try_hold_page(0).unwrap().is_none());
    assert!(mapping.try_hold_blocks(0, 0..1).unwrap().is_none());
    let other = mapping.try_hold_blocks(0, 1..4).unwrap().expect("not being written");
    let waiting = {
        let mapping = mapping.clone();
        thread::spawn(move || drop(mapping.hold_blocks(0, 0..1).unwrap()))
    };
    never("block 0 is being written", || waiting.is_finished());
    store.release_first(Ok(()));
    waiting.join().unwrap();
    assert_eq!(other.page().held_blocks(), 0b1110);
    drop(other);
    assert!(mapping.try_hold_page(0).unwrap().is_some());
    assert_settled(&mapping);
}

#[test]
fn kjournald_waits_for_blocks_that_another_has() {
    let (mapping, _store) = open_blocks(1);
    let first = mapping.hold_blocks(0, 0..2).unwrap();
    assert!(mapping.try_hold_blocks(0, 1..3).unwrap().is_none());
    let waiting = {
        let mapping = mapping.clone();
        thread::spawn(move || mapping.hold_blocks(0, 1..3).unwrap().blocks())
    };
    never("block 1 is held", || waiting.is_finished());
    drop(first);
    assert_eq!(waiting.join().unwrap(), 1..3);
    for bad in [0..0, 4..5, 3..5] {
        assert!(matches!(mapping.hold_blocks(0, bad.clone()), Err(Error::OutOfRange { .. })));
        assert!(mapping.try_hold_blocks(0, bad).is_err());
    }
    assert!(matches!(mapping.hold_blocks(1, 0..1), Err(Error::OutOfRange { .. })));
    assert!(!page(&mapping, 0).snapshot().is_held());
}

#[test]
fn kjournald_cannot_keep_a_sync_waiting_by_taking_blocks_again_and_again() {
    // WANTED: what a sync waits for is not held anew before it has it.
    let (mapping, store) = dirty_blocks(&[0, 1, 2, 3]);
    let first = mapping.hold_blocks(0, 1..2).unwrap();
    let syncer = sync_on_a_thread(&mapping);
    eventually("the sync waits", || {
        mapping.try_hold_blocks(0, 0..1).unwrap().is_none() && page(&mapping, 0).held_blocks() == 2
    });
    // Higher ones can still be had, by who has lower ones, and are waited for in their turn.
    let second = mapping.try_hold_blocks(0, 2..3).unwrap().expect("the sync waits for block 1");
    drop(first);
    eventually("the sync waits for block 2", || {
        mapping.try_hold_blocks(0, 1..2).unwrap().is_none() && !syncer.is_finished()
    });
    assert_eq!(accepted(&store), [0; 4]);
    drop(second);
    syncer.join().unwrap().unwrap();
    assert!(mapping.try_hold_page(0).unwrap().is_some(), "nobody waits any more");
    assert_settled(&mapping);
}

#[test]
fn kjournald_keeps_a_cut_waiting() {
    let (mapping, _store) = dirty_blocks(&[0, 3]);
    let hold = mapping.hold_blocks(0, 3..4).unwrap();
    let cutter = {
        let mapping = mapping.clone();
        thread::spawn(move || mapping.handle().set_len(0).unwrap())
    };
    never("a block is held", || cutter.is_finished());
    let waiting = {
        let mapping = mapping.clone();
        thread::spawn(move || mapping.hold_blocks(0, 0..1).map(|_| ()))
    };
    never("the cut comes first", || waiting.is_finished());
    drop(hold);
    cutter.join().unwrap();
    assert!(matches!(waiting.join().unwrap(), Err(Error::OutOfRange { .. })));
    assert_settled(&mapping);
}

#[test]
fn kjournald_and_whole_pages() {
    // A page of one block is held as a block, too; a hold of a page is one of all its blocks.
    let (mapping, _store) = open_dirty(1, 1);
    let mut hold = mapping.hold_blocks(0, 0..1).unwrap();
    assert!(mapping.try_hold_page(0).unwrap().is_none());
    assert!(mapping.hold_blocks(0, 1..2).is_err());
    assert!(!hold.take_dirty(), "writeback writes it");
    hold.written();
    assert!(page(&mapping, 0).snapshot().is_dirty());
    let (mapping, _store) = dirty_blocks(&[2]);
    let hold = mapping.hold_page(0).unwrap();
    assert_eq!((hold.blocks(), hold.image().len()), (0..4, PAGE));
    let progress = background(&mapping);
    assert_eq!((progress.submitted, progress.declined), (0, 1));
    assert!(claim(&mapping, 0).start_writeback().is_err());
    assert!(claim(&mapping, 0).start_blocks(SyncMode::Wait).is_err());
    drop(hold);
    mapping.handle().sync_data().unwrap();
    assert_eq!(mapping.store().len().unwrap(), PAGE as u64);
    assert_settled(&mapping);
}

/// A log that is durable when it is asked to be.
#[derive(Debug, Default)]
struct Journal(AtomicU64);

impl Log for Journal {
    fn durable(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn ensure(&self, upto: u64) -> io::Result<()> {
        self.0.fetch_max(upto, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn kjournald_may_not_drop_a_transaction_some_blocks_of_which_are_not_written() {
    let (store, journal) = (TestStore::new(), Arc::new(Journal::default()));
    writeback::store::Store::set_len(&store, PAGE as u64).unwrap();
    let config = Config::new().block_size(BLOCK).log(journal.clone());
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    let handle = mapping.handle();
    handle.write_logged_at(&[1; BLOCK], 0, 5).unwrap();
    handle.write_logged_at(&[2; BLOCK], 2 * BLOCK as u64, 7).unwrap();
    journal.ensure(7).unwrap();

    // Block 0 is held: position 5 stays, also when the other is durable.
    let mut hold = mapping.hold_blocks(0, 0..1).unwrap();
    assert_eq!(hold.log_position(), Some(7));
    assert_eq!(background(&mapping).submitted, 1);
    handle.sync_range(PAGE as u64..PAGE as u64 + 1).unwrap();
    assert_eq!((accepted(&store)[2], mapping.oldest_unwritten()), (2, Some(5)));

    // The holder writes it: it is durable after the next flush.
    assert!(hold.take_dirty());
    store.put(hold.offset(), hold.image().as_ref());
    hold.written();
    mapping.write_page(0, SyncMode::Wait).unwrap();
    assert_eq!(mapping.oldest_unwritten(), Some(5), "not flushed yet");
    handle.sync_data().unwrap();
    assert_eq!(mapping.oldest_unwritten(), None);
    assert_eq!(store.durable(), store.accepted());

    // Whole again, and a failed piece keeps its position.
    handle.write_logged_at(&[3; BLOCK], 0, 9).unwrap();
    handle.write_logged_at(&[3; BLOCK], 2 * BLOCK as u64, 10).unwrap();
    store.writes(Writes::Keep);
    journal.ensure(10).unwrap();
    background(&mapping);
    store.release_first(Ok(()));
    store.release_first(Err(writeback::StoreError::NoSpace));
    assert_eq!(mapping.oldest_unwritten(), Some(9));
    store.writes(Writes::Accept);
    handle.sync_data().unwrap_err();
    handle.sync_data().unwrap();
    assert_eq!(mapping.oldest_unwritten(), None);
    assert_settled(&mapping);
}

/// A mapping of one page with a log, and its store.
fn logged() -> (Mapping, TestStore, Arc<Journal>) {
    let (store, journal) = (TestStore::new(), Arc::new(Journal::default()));
    writeback::store::Store::set_len(&store, PAGE as u64).unwrap();
    let config = Config::new().block_size(BLOCK).log(journal.clone());
    (Mapping::with_config(Arc::new(store.clone()), config).unwrap(), store, journal)
}

#[test]
fn kjournald_has_written_what_is_cancelled_then_and_the_log_is_needed_until_it_is_durable() {
    let (mapping, store, journal) = logged();
    let handle = mapping.handle();
    handle.write_logged_at(&[1; BLOCK], 0, 5).unwrap();
    journal.ensure(5).unwrap();
    let mut hold = mapping.hold_blocks(0, 0..1).unwrap();
    assert!(hold.take_dirty());
    store.put(hold.offset(), hold.image().as_ref());
    hold.written();
    assert!(lock(&mapping, 0).cancel_dirty(), "the page was still dirty, of no block");
    assert_eq!(mapping.oldest_unwritten(), Some(5), "accepted, and not durable");
    handle.sync_data().unwrap();
    assert_eq!((store.durable()[0], mapping.oldest_unwritten()), (1, None));
    assert_settled(&mapping);
}

#[test]
fn kjournald_keeps_what_it_has_taken_from_being_cancelled() {
    let (mapping, store, _journal) = logged();
    mapping.handle().write_logged_at(&[1; BLOCK], 0, 5).unwrap();
    let mut hold = mapping.hold_blocks(0, 0..1).unwrap();
    assert!(hold.take_dirty());
    fill(&mapping, 2, 3);
    assert!(lock(&mapping, 0).cancel_dirty(), "block 2");
    assert!(!lock(&mapping, 0).cancel_dirty());
    assert_eq!(mapping.oldest_unwritten(), Some(5));
    let syncer = sync_on_a_thread(&mapping);
    never("the journal has the block", || syncer.is_finished());
    drop(hold); // not written
    syncer.join().unwrap().unwrap();
    assert_eq!((accepted(&store), mapping.oldest_unwritten()), (vec![1, 0, 0, 0], None));
}
