//! Write-ahead order, one rule a test.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use writeback::hooks::Log;
use writeback::page::PageTag;
use writeback::{
    Budget, Clock, Config, Error, Flusher, FlusherConfig, Mapping, MemStore, StoreError, SyncMode,
};

use crate::common::{PAGE, TestStore, Writes, assert_settled, eventually, never};
use crate::journal::{Journal, logged, logged_in_memory, write_number};

fn on_test_store(pages: usize) -> (Mapping, Journal, TestStore) {
    let store = TestStore::new();
    writeback::store::Store::set_len(&store, (pages * PAGE) as u64).unwrap();
    let (mapping, journal) = logged(store.clone());
    (mapping, journal, store)
}

#[test]
fn a_sync_makes_the_log_durable_once_a_batch_up_to_its_greatest_position() {
    let (mapping, journal, store) = logged_in_memory(10);
    for page in [2, 0, 1, 7] {
        write_number(&mapping, &journal, page, 0);
    }
    journal.append(); // of a change that is not made yet
    mapping.handle().sync_data().unwrap();
    assert_eq!(journal.ensured(), [3, 4], "pages 0 to 2, then page 7");
    assert_eq!(mapping.stats().log_waits, 2);
    assert_eq!(store.durable()[0], 2);
    assert_settled(&mapping);
}

#[test]
fn a_log_that_is_durable_is_not_asked_for() {
    let (mapping, journal, _) = logged_in_memory(1);
    write_number(&mapping, &journal, 0, 0);
    journal.commit();
    mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
    mapping.handle().sync_data().unwrap();
    assert_eq!((journal.ensured(), journal.requested()), (vec![], vec![]));
}

#[test]
fn what_is_not_logged_waits_for_no_log() {
    let (mapping, journal, _) = logged_in_memory(1);
    mapping.handle().write_at(&[0], 100).unwrap();
    journal.append();
    mapping.handle().sync_data().unwrap();
    assert_eq!(journal.ensured(), []);
    assert_eq!(mapping.page(0).unwrap().log_position(), None);
}

#[test]
fn an_older_change_still_counts_for_a_later_image() {
    // The first change stays in the bytes though its write failed, or was cancelled, or never began.
    let (mapping, journal, _) = logged_in_memory(1);
    write_number(&mapping, &journal, 0, 0);
    mapping.page(0).unwrap().lock_state().unwrap().cancel_dirty();
    mapping.handle().write_at(&[0], 100).unwrap();
    mapping.handle().sync_data().unwrap();
    assert_eq!(journal.ensured(), [1]);
}

#[test]
fn background_writeback_leaves_what_the_log_may_lose_and_asks_for_it() {
    let (mapping, journal, _) = logged_in_memory(3);
    write_number(&mapping, &journal, 0, 0);
    journal.commit();
    write_number(&mapping, &journal, 1, 0);
    write_number(&mapping, &journal, 2, 0);
    let progress = mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
    assert_eq!((progress.submitted, progress.unlogged, progress.declined), (1, 2, 0));
    assert_eq!((journal.ensured(), journal.requested()), (vec![], vec![3]));
    assert!(!mapping.write_page(1, SyncMode::Skip).unwrap());
    assert_eq!((mapping.stats().dirty, mapping.stats().unlogged), (2, 3));
    mapping.check().unwrap();
    journal.commit();
    assert!(mapping.write_page(1, SyncMode::Skip).unwrap());
    // What is asked for is the newest, not that of the last page.
    write_number(&mapping, &journal, 2, 1);
    write_number(&mapping, &journal, 1, 1);
    mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
    assert_eq!(journal.requested().last(), Some(&5));
}

#[test]
fn a_page_left_for_the_log_stays_tagged_for_a_sync_that_is_under_way() {
    let (mapping, journal, store) = on_test_store(2);
    write_number(&mapping, &journal, 0, 0);
    write_number(&mapping, &journal, 1, 0);
    // The sync stops at page 0, with page 1 tagged.
    let locked = mapping.page(0).unwrap().lock_state().unwrap();
    let sync = thread::spawn({
        let handle = mapping.handle();
        move || handle.sync_data()
    });
    let page = mapping.page(1).unwrap();
    eventually("tagged", || page.has_tag(PageTag::ToWrite));
    let progress = mapping.write_range(1.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
    assert_eq!(progress.unlogged, 1);
    assert!(page.has_tag(PageTag::ToWrite));
    drop(locked);
    sync.join().unwrap().unwrap();
    assert_eq!((store.durable()[0], store.durable()[PAGE]), (1, 2));
}

#[test]
fn a_flusher_waits_for_the_log_and_comes_again() {
    crate::common::watch();
    let journal = Journal::default();
    let (clock, store) = (Clock::manual(), MemStore::with_contents(vec![0; 4 * PAGE]));
    let config = Config::new().log(Arc::new(journal.clone())).clock(clock.clone());
    let mapping = Mapping::with_config(Arc::new(store), config).unwrap();
    for page in 0..4 {
        write_number(&mapping, &journal, page, 0);
    }
    let expiring = Flusher::manual([mapping.clone()], FlusherConfig::new());
    clock.advance(Duration::from_secs(30));
    let done = expiring.step();
    assert_eq!((done.submitted, done.unlogged), (4, 4));
    assert_eq!((journal.ensured(), journal.requested()), (vec![4], vec![4]));
    for page in 0..4 {
        write_number(&mapping, &journal, page, 1);
    }
    let config = FlusherConfig::new().background_pages(0).chunk_pages(2);
    let done = Flusher::manual([mapping.clone()], config).step();
    assert_eq!(done.submitted, 4);
    assert_settled(&mapping);
}

#[test]
fn a_flusher_tells_the_handles_that_the_log_is_broken() {
    let (mapping, journal, _) = logged_in_memory(1);
    write_number(&mapping, &journal, 0, 0);
    journal.with(|state| state.fail = true);
    let config = FlusherConfig::new().dirty_expire(Duration::ZERO);
    assert_eq!(Flusher::manual([mapping.clone()], config).step().submitted, 0);
    let told = mapping.handle().check_error();
    assert!(matches!(told, Err(Error::Write { source: StoreError::Log(_) })), "{told:?}");
    assert_eq!(mapping.stats().dirty, 1);
}

#[test]
fn a_log_that_fails_loses_nothing() {
    let (mapping, journal, store) = logged_in_memory(2);
    let (one, other) = (mapping.handle(), mapping.handle());
    write_number(&mapping, &journal, 0, 0);
    write_number(&mapping, &journal, 1, 0);
    journal.with(|state| state.fail = true);
    for handle in [&one, &one, &other] {
        let told = handle.sync_data();
        assert!(matches!(told, Err(Error::Write { source: StoreError::Log(_) })), "{told:?}");
    }
    assert_eq!((store.writes(), mapping.stats().dirty), (0, 2));
    assert_eq!(mapping.oldest_unwritten(), Some(1));
    mapping.check().unwrap();
    let told = mapping.write_page(0, SyncMode::Wait);
    assert!(matches!(told, Err(Error::Write { source: StoreError::Log(_) })), "{told:?}");
    let failed = mapping.clone().close().unwrap_err();
    assert_eq!(failed.unsaved_pages, 2);
    journal.with(|state| state.fail = false);
    other.sync_data().unwrap_err(); // told of what write_page and close met
    other.sync_data().unwrap();
    assert_eq!(mapping.oldest_unwritten(), None);
    assert_settled(&mapping);
}

#[test]
fn a_log_that_panics_has_failed() {
    let (mapping, journal, _) = logged_in_memory(1);
    let handle = mapping.handle();
    write_number(&mapping, &journal, 0, 0);
    journal.with(|state| state.panic = true);
    let told = handle.sync_data().unwrap_err().to_string();
    assert!(
        told.contains("the log could not be made durable") && told.contains("told to"),
        "{told}"
    );
    assert!(mapping.page(0).unwrap().try_lock_state().is_some(), "no lock is kept");
    journal.with(|state| state.panic = false);
    handle.sync_data().unwrap();
    assert_settled(&mapping);
}

#[test]
fn a_mapping_without_a_log_says_so() {
    let mapping = Mapping::open(MemStore::with_contents([0; PAGE])).unwrap();
    let page = mapping.page(0).unwrap();
    assert!(matches!(page.write_logged(0..1, |_| ()), Err(Error::Config { .. })));
    assert!(matches!(mapping.hold_log(), Err(Error::Config { .. })));
    assert!(matches!(mapping.handle().write_logged_at(b"a", 0, 1), Err(Error::Config { .. })));
    assert_eq!((mapping.oldest_unwritten(), mapping.stats().dirty), (None, 0));
    let config = Config::new().log(Arc::new(Journal::default()));
    assert!(matches!(Mapping::memory_backed(config), Err(Error::Config { .. })));
}

#[test]
fn the_last_position_is_none() {
    let (mapping, journal, _) = logged_in_memory(1);
    let handle = mapping.handle();
    assert!(matches!(handle.write_logged_at(b"a", 0, u64::MAX), Err(Error::Config { .. })));
    let page = mapping.page(0).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        page.write_logged(0..1, |change| change.at(u64::MAX).fill(1))
    }));
    assert!(panicked.is_err());
    assert_eq!((mapping.oldest_unwritten(), page.log_position()), (None, None));
    assert_eq!(page.read_with(|bytes| bytes[0]), 0);
    drop(journal);
}

#[test]
fn a_change_that_is_given_up_leaves_no_trace_in_the_bound() {
    let (mapping, journal, _) = logged_in_memory(1);
    let page = mapping.page(0).unwrap();
    page.write_logged(0..4, |change| assert_eq!(change.bytes(), [0; 4])).unwrap();
    assert_eq!(mapping.oldest_unwritten(), None);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        page.write_logged(0..4, |change| {
            change.at(journal.append());
            panic!("half way");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(mapping.oldest_unwritten(), Some(1), "the bytes may have been changed");
    mapping.handle().sync_data().unwrap();
    assert_eq!(mapping.oldest_unwritten(), None);
    assert_settled(&mapping);
}

#[test]
fn an_image_that_the_caller_writes_tells_how_far_the_log_must_be() {
    let (mapping, journal, store) = on_test_store(1);
    write_number(&mapping, &journal, 0, 0);
    let claim = mapping.page(0).unwrap().lock_state().unwrap().clear_dirty_for_io().unwrap();
    let writeback = claim.start_writeback().unwrap();
    write_number(&mapping, &journal, 0, 1);
    assert_eq!(writeback.log_position(), Some(1));
    assert_eq!(mapping.page(0).unwrap().log_position(), Some(2));
    writeback.end(Ok(()));
    drop(store);
}

#[test]
fn a_log_that_is_slow_holds_up_who_waits_for_it_and_nobody_else() {
    /// Waits until it is told.
    #[derive(Debug, Default)]
    struct Slow(parking_lot::Mutex<bool>, parking_lot::Condvar);
    impl Log for Slow {
        fn durable(&self) -> u64 {
            u64::from(*self.0.lock())
        }
        fn ensure(&self, _upto: u64) -> std::io::Result<()> {
            let mut ready = self.0.lock();
            while !*ready {
                self.1.wait(&mut ready);
            }
            Ok(())
        }
    }
    let (log, store) = (Arc::new(Slow::default()), MemStore::with_contents([0; 2 * PAGE]));
    let config = Config::new().log(log.clone());
    let mapping = Mapping::with_config(Arc::new(store), config).unwrap();
    let handle = mapping.handle();
    handle.write_logged_at(b"a", 0, 1).unwrap();
    let sync = thread::spawn({
        let handle = mapping.handle();
        move || handle.sync_data()
    });
    eventually("under writeback", || mapping.stats().writeback == 1);
    handle.write_logged_at(b"b", 0, 1).unwrap();
    handle.read_at(&mut [0], 0).unwrap();
    handle.write_at(b"c", PAGE as u64).unwrap();
    assert!(mapping.write_page(1, SyncMode::Wait).unwrap());
    // The sync may just be about to let go of it.
    eventually("no page lock is kept", || mapping.page(0).unwrap().try_lock_state().is_some());
    never("the log is not durable", || sync.is_finished());
    *log.0.lock() = true;
    log.1.notify_all();
    sync.join().unwrap().unwrap();
}

#[test]
fn a_dropped_or_failed_write_gives_the_page_its_positions_back() {
    for mode in [Writes::Drop, Writes::Fail(StoreError::NoSpace)] {
        let (mapping, journal, store) = on_test_store(1);
        write_number(&mapping, &journal, 0, 0);
        store.writes(mode);
        mapping.handle().sync_data().unwrap_err();
        assert_eq!(mapping.oldest_unwritten(), Some(1));
        write_number(&mapping, &journal, 0, 1);
        assert_eq!(mapping.oldest_unwritten(), Some(1));
        store.writes(Writes::Accept);
        mapping.handle().sync_data().unwrap();
        assert_eq!(mapping.oldest_unwritten(), None);
        assert_settled(&mapping);
    }
}
