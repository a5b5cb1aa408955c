//! Trying again: what failed once is made up for, once and by whoever comes next, and no longer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use writeback::hooks::{Log, Seal};
use writeback::store::{ReadRun, Store};
use writeback::{
    Budget, Clock, Config, Error, Flusher, FlusherConfig, Mapping, StoreError, SyncMode,
};

use crate::common::*;

const BLOCK: usize = PAGE / 4;

/// A mapping with blocks over a store with two pages of sevens that could not be cut at ten bytes.
fn cut_that_failed() -> (Mapping, TestStore) {
    let store = TestStore::new();
    let mapping =
        Mapping::with_config(Arc::new(store.clone()), Config::new().block_size(BLOCK)).unwrap();
    let handle = mapping.handle();
    handle.write_at(&[7; 2 * PAGE], 0).unwrap();
    handle.sync_data().unwrap();
    store.fail_set_len(true);
    assert!(matches!(handle.set_len(10), Err(Error::Length { .. })));
    (mapping, store)
}

/// What the store holds durably is the ten bytes that were left, zeros, and `last`, if there is anything.
#[track_caller]
fn assert_cut(mapping: &Mapping, store: &TestStore, len: usize, last: Option<u8>) {
    mapping.handle().sync_data().unwrap();
    let mut expected = vec![7; 10];
    expected.resize(len, 0);
    if let Some(last) = last {
        expected[len - 1] = last;
    }
    assert!(store.durable() == expected, "what was cut off is back");
    assert_settled(mapping);
}

#[test]
fn a_page_in_hand_lengthens_nothing_over_a_cut_that_failed() {
    let (mapping, store) = cut_that_failed();
    let in_hand = page(&mapping, 0);
    let write = || in_hand.write_with(PAGE - 1..PAGE, |bytes| bytes.fill(1));
    assert!(matches!(write(), Err(Error::Length { .. })), "old bytes would come back");
    assert_eq!(mapping.len(), 10);
    in_hand.write_with(0..1, |bytes| bytes[0] = 7).expect("within the length");
    store.fail_set_len(false);
    write().unwrap();
    assert_cut(&mapping, &store, PAGE, Some(1));
}

#[test]
fn a_length_is_set_beyond_a_cut_that_failed_when_that_is_made_up_for() {
    let (mapping, store) = cut_that_failed();
    let handle = mapping.handle();
    assert!(matches!(handle.set_len(2 * PAGE as u64), Err(Error::Length { .. })));
    assert_eq!(mapping.len(), 10);
    store.fail_set_len(false);
    handle.set_len(2 * PAGE as u64).unwrap();
    assert_cut(&mapping, &store, 2 * PAGE, None);
}

#[test]
fn the_same_cut_again_cuts_the_store() {
    let (mapping, store) = cut_that_failed();
    let handle = mapping.handle();
    assert!(matches!(handle.set_len(10), Err(Error::Length { .. })));
    store.fail_set_len(false);
    handle.set_len(10).unwrap();
    assert_eq!(store.len().unwrap(), 10);
    assert_cut(&mapping, &store, 10, None);
}

#[test]
fn a_new_length_is_durable_after_a_sync() {
    let (mapping, store) = open(1);
    let handle = mapping.handle();
    handle.sync_data().unwrap();
    handle.set_len(3 * PAGE as u64).unwrap();
    handle.sync_data().unwrap();
    assert_eq!(store.durable().len(), 3 * PAGE);
    handle.set_len(5).unwrap();
    handle.sync_data().unwrap();
    assert_eq!(store.durable().len(), 5);
}

/// Fails as long as it is told to.
#[derive(Debug, Default)]
struct Broken(std::sync::atomic::AtomicBool);

impl Seal for Broken {
    fn seal(&self, _index: u64, _bytes: &mut [u8]) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(io::Error::other("no key")) } else { Ok(()) }
    }

    fn open(&self, _index: u64, _bytes: &mut [u8]) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_page_that_could_not_be_sealed_stays_dirty_also_when_it_is_begun_in_pieces() {
    for mode in [SyncMode::Skip, SyncMode::Wait] {
        for end_well in [true, false] {
            let (store, seal) = (TestStore::new(), Arc::new(Broken::default()));
            let config = Config::new().seal(seal.clone());
            let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
            let handle = mapping.handle();
            handle.write_at(b"abc", 0).unwrap();
            seal.0.store(true, Ordering::Relaxed);
            let claim = page(&mapping, 0).lock_state().unwrap().clear_dirty_for_io().unwrap();
            let mut pieces = claim.start_blocks(mode).unwrap();
            let piece = pieces.pop().expect("one that fails however it is ended");
            assert!(pieces.is_empty() && piece.image().is_empty());
            assert!(piece.page().snapshot().is_under_writeback());
            if end_well {
                piece.end(Ok(()));
            } else {
                drop(piece);
            }
            assert!(page(&mapping, 0).snapshot().is_dirty());
            let told = handle.check_error();
            assert!(matches!(told, Err(Error::Write { source: StoreError::Seal(_) })), "{told:?}");
            seal.0.store(false, Ordering::Relaxed);
            handle.sync_data().unwrap();
            assert_eq!(store.durable()[..3], *b"abc");
            assert_settled(&mapping);
        }
    }
}

/// A page that is to be written in two pieces, each of which ends when it is told to.
fn two_pieces() -> (Mapping, TestStore) {
    let store = TestStore::new();
    store.set_len(PAGE as u64).unwrap();
    let config = Config::new().block_size(BLOCK);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    for block in [0, 2] {
        mapping.handle().write_at(&[3; BLOCK], (block * BLOCK) as u64).unwrap();
    }
    store.writes(Writes::Keep);
    (mapping, store)
}

#[test]
fn a_sync_that_was_told_before_writes_again_what_failed_once_and_ends() {
    let (mapping, store) = two_pieces();
    let handle = mapping.handle();
    mapping.write_page(0, SyncMode::Skip).unwrap();
    // One piece has failed, which is told; the page is dirty again when the other ends.
    store.release_first(Err(StoreError::NoSpace));
    handle.check_error().unwrap_err();
    let syncer = thread::spawn(move || handle.sync_data());
    never("a piece is being written", || syncer.is_finished());
    store.writes(Writes::Accept);
    store.release_first(Ok(()));
    syncer.join().unwrap().expect("it has written the page again");
    assert_eq!(store.durable()[0], 3);
    assert_settled(&mapping);
    // That it was over is known: the next sync makes one pass and no more, though it fails.
    mapping.handle().write_at(&[4; PAGE], 0).unwrap();
    let before = store.batches().len();
    store.writes(Writes::Fail(StoreError::NoSpace));
    mapping.handle().sync_data().unwrap_err();
    assert_eq!(store.batches().len() - before, 1);
}

#[test]
fn a_sync_makes_one_pass_when_all_errors_before_it_are_over() {
    // Of a batch, of pieces, of a page alone, of a completion that is dropped: each is over with its writes.
    let failures: [fn(&Mapping, &TestStore); 5] = [
        |mapping, store| fail(mapping, store, 3 * PAGE, Writes::Fail(StoreError::NoSpace)),
        |mapping, store| fail(mapping, store, 3 * PAGE, Writes::Short(PAGE as u64 + 1)),
        |mapping, store| fail(mapping, store, 3 * PAGE, Writes::Drop),
        |mapping, store| {
            mapping.handle().write_at(&[1; 10], 2 * BLOCK as u64).unwrap();
            fail(mapping, store, 10, Writes::Fail(StoreError::NoSpace));
        },
        |mapping, store| {
            store.set_len(PAGE as u64).unwrap();
            mapping.handle().write_at(&[1; 10], 0).unwrap();
            let claim = page(mapping, 0).lock_state().unwrap().clear_dirty_for_io().unwrap();
            claim.start_writeback().unwrap().end(Err(StoreError::Lost));
        },
    ];
    for (number, failure) in failures.iter().enumerate() {
        let store = TestStore::new();
        let config = Config::new().block_size(BLOCK);
        let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
        let handle = mapping.handle();
        failure(&mapping, &store);
        store.writes(Writes::Accept);
        handle.check_error().unwrap_err();
        handle.sync_data().unwrap();
        handle.write_at(&[2; PAGE], 0).unwrap();
        let before = store.batches().len();
        store.writes(Writes::Fail(StoreError::NoSpace));
        handle.sync_data().unwrap_err();
        assert_eq!(store.batches().len() - before, 1, "after failure {number}");
    }
}

fn fail(mapping: &Mapping, store: &TestStore, len: usize, writes: Writes) {
    mapping.handle().write_at(&vec![1; len], 0).unwrap();
    store.writes(writes);
    mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED).unwrap();
}

#[test]
fn who_waits_for_a_page_in_pieces_is_told_what_became_of_each() {
    for failing in 0..2 {
        let (mapping, store) = two_pieces();
        let writer = thread::spawn({
            let mapping = mapping.clone();
            move || mapping.write_page(0, SyncMode::Wait)
        });
        eventually("both are being written", || store.kept() == 2);
        for piece in 0..2 {
            let outcome = if piece == failing { Err(StoreError::NoSpace) } else { Ok(()) };
            store.release_first(outcome);
        }
        let told = writer.join().unwrap();
        assert!(matches!(told, Err(Error::Write { source: StoreError::NoSpace })), "{told:?}");
    }
}

#[test]
fn a_sync_that_can_promise_nothing_waits_all_the_same() {
    // The store may still be using what it was given.
    let (mapping, store) = open_dirty(2, 1);
    store.writes(Writes::Keep);
    mapping.write_page(0, SyncMode::Skip).unwrap();
    store.writes(Writes::Accept);
    store.fail_flush(true);
    mapping.handle().sync_range(PAGE as u64..).unwrap_err();
    let handle = mapping.handle();
    let syncer = thread::spawn(move || handle.sync_data());
    never("page 0 is being written", || syncer.is_finished());
    store.release_first(Ok(()));
    assert!(syncer.join().unwrap().unwrap_err().is_poisoned());
}

/// A log that makes durable what it is asked to and says of none that it is.
#[derive(Debug, Default)]
struct Modest(AtomicU64);

impl Log for Modest {
    fn durable(&self) -> u64 {
        0
    }

    fn ensure(&self, _upto: u64) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn a_flusher_comes_a_second_time_for_the_log_and_not_a_third() {
    let (log, store) = (Arc::new(Modest::default()), TestStore::new());
    let config = Config::new().log(log.clone());
    let mapping = Mapping::with_config(Arc::new(store), config).unwrap();
    mapping.handle().write_logged_at(b"x", 0, 1).unwrap();
    let config = FlusherConfig::new().background_pages(0).dirty_expire(Duration::ZERO);
    let flusher = Flusher::manual([mapping.clone()], config);
    let done = flusher.step();
    assert_eq!((done.submitted, mapping.stats().dirty), (0, 1));
    let asked = log.0.load(Ordering::Relaxed);
    assert!((1..=4).contains(&asked), "asked {asked} times");
    mapping.handle().sync_data().expect("a sync asks, and believes it");
}

/// A log whose every word is a panic but one.
#[derive(Debug, Default)]
struct Mute(AtomicU64);

impl Log for Mute {
    fn durable(&self) -> u64 {
        panic!("nobody knows");
    }

    fn ensure(&self, upto: u64) -> io::Result<()> {
        self.0.fetch_max(upto, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn a_log_that_cannot_say_what_is_durable_is_asked_to_make_it_so() {
    let log = Arc::new(Mute::default());
    let config = Config::new().log(log.clone());
    let mapping = Mapping::with_config(Arc::new(TestStore::new()), config).unwrap();
    mapping.handle().write_logged_at(b"x", 0, 9).unwrap();
    let hold = mapping.hold_log().unwrap();
    assert_eq!(mapping.oldest_unwritten(), Some(0), "from the beginning on");
    mapping.handle().sync_data().unwrap();
    assert_eq!(log.0.load(Ordering::Relaxed), 9);
    drop(hold);
}

#[test]
fn a_page_that_is_written_after_all_backs_off_from_the_beginning_the_next_time() {
    let (clock, store) = (Clock::manual(), TestStore::new());
    let config = Config::new().clock(clock.clone());
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    let config = FlusherConfig::new().background_pages(0).dirty_expire(Duration::ZERO);
    let flusher = Flusher::manual([mapping.clone()], config);
    for _ in 0..2 {
        mapping.handle().write_at(&[1; PAGE], 0).unwrap();
        store.writes(Writes::Fail(StoreError::NoSpace));
        for backoff_ms in [100, 200, 400] {
            assert_eq!(flusher.step().submitted, 1);
            clock.advance(Duration::from_millis(backoff_ms - 1));
            assert_eq!(flusher.step().submitted, 0, "not before {backoff_ms} ms");
            clock.advance(Duration::from_millis(1));
        }
        store.writes(Writes::Accept);
        assert_eq!(flusher.step().submitted, 1);
        assert_settled(&mapping);
    }
}

/// A store that has zeros where it ends, and leaves anything behind what it has read.
#[derive(Debug)]
struct Scribbling(TestStore);

impl Store for Scribbling {
    pass_on!(0: limits, len, set_len, write, flush);

    fn read(&self, run: ReadRun) {
        run.fill(|offset, into| {
            into.fill(0xff);
            self.0.read_at(offset, into)
        });
    }
}

#[test]
fn a_page_has_zeros_behind_what_was_read_whatever_the_store_left_there() {
    let store = TestStore::new();
    store.set_len(10).unwrap();
    let mapping = Mapping::open(Scribbling(store)).unwrap();
    let handle = mapping.handle();
    handle.write_at(b"x", 3 * PAGE as u64).unwrap();
    let mut bytes = vec![9; 3 * PAGE];
    handle.read_at(&mut bytes, 0).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
}
