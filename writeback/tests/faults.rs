//! Stores that fail: who is told, what is kept, what can still be done.

mod common;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::{PAGE, TestStore, Writes, assert_settled, eventually, never, open, open_dirty, page};
use writeback::{
    Budget, Clock, Config, Error, Flusher, FlusherConfig, Mapping, StoreError, SyncMode,
};

#[test]
fn every_handle_is_told_of_an_error_once() {
    let (mapping, store) = open_dirty(1, 1);
    let handles: Vec<_> = (0..5).map(|_| mapping.handle()).collect();
    store.writes(Writes::Fail(StoreError::NoSpace));
    assert!(handles[0].sync_data().unwrap_err().is_no_space());
    store.writes(Writes::Accept);
    for handle in &handles[1..] {
        assert!(handle.sync_data().unwrap_err().is_no_space());
    }
    for handle in &handles {
        handle.sync_data().unwrap();
        handle.check_error().unwrap();
    }
    mapping.handle().sync_data().expect("opened after everybody was told");
    assert_eq!(store.durable(), [1; PAGE]);
    assert_settled(&mapping);
}

#[test]
fn an_error_before_the_first_handle_is_told_to_it() {
    let (mapping, store) = open_dirty(1, 1);
    store.writes(Writes::Fail(StoreError::NoSpace));
    mapping.write_page(0, SyncMode::Skip).unwrap();
    assert!(mapping.handle().check_error().is_err());
    mapping.handle().check_error().expect("someone has been told");
}

#[test]
fn a_sync_fails_as_often_as_the_write_fails_and_succeeds_when_it_succeeds() {
    let (mapping, store) = open_dirty(2, 1);
    let handle = mapping.handle();
    store.writes(Writes::Fail(io::Error::other("device").into()));
    for _ in 0..3 {
        assert!(matches!(handle.sync_data(), Err(Error::Write { source: StoreError::Io(_) })));
        assert_eq!(mapping.stats().dirty, 2, "kept");
    }
    store.writes(Writes::Accept);
    handle.sync_data().unwrap();
    assert_eq!(store.durable(), [1; 2 * PAGE]);
    assert_eq!(mapping.stats().write_errors, 6);
    assert_settled(&mapping);
}

#[test]
fn two_syncs_of_one_handle_are_both_told() {
    let (mapping, store) = open_dirty(1, 1);
    let handle = Arc::new(mapping.handle());
    store.writes(Writes::Keep);
    let sync = || {
        let handle = Arc::clone(&handle);
        thread::spawn(move || handle.sync_data())
    };
    let first = sync();
    eventually("written", || store.kept() == 1);
    // So that it can be seen that the second has begun, too: it writes this one.
    handle.write_at(&[1; PAGE], PAGE as u64).unwrap();
    let second = sync();
    eventually("the second, too", || store.kept() == 2);
    never("the writes are under way", || second.is_finished());
    store.writes(Writes::Accept);
    store.release_first(Err(StoreError::NoSpace));
    store.release_first(Ok(()));
    assert!(first.join().unwrap().unwrap_err().is_no_space());
    assert!(second.join().unwrap().unwrap_err().is_no_space());
    handle.sync_data().unwrap();
}

#[test]
fn a_short_write_keeps_the_pages_it_left_out() {
    let (mapping, store) = open_dirty(4, 1);
    store.writes(Writes::Short(2 * PAGE as u64 + 100));
    let error = mapping.handle().sync_data().unwrap_err();
    assert!(
        matches!(error, Error::Write { source: StoreError::ShortWrite { expected: 16384, .. } }),
        "{error}"
    );
    let dirty: Vec<_> = (0..4).map(|index| page(&mapping, index).snapshot().is_dirty()).collect();
    assert_eq!(dirty, [false, false, true, true]);
    store.writes(Writes::Accept);
    mapping.handle().sync_data().unwrap();
    assert_eq!(store.durable(), [1; 4 * PAGE]);
    assert_settled(&mapping);
}

#[test]
fn a_write_the_store_forgets_is_lost_and_nobody_waits_for_it() {
    let (mapping, store) = open_dirty(2, 1);
    let handle = mapping.handle();
    store.writes(Writes::Drop);
    let error = handle.sync_data().unwrap_err();
    assert!(matches!(error, Error::Write { source: StoreError::Lost }), "{error}");
    store.writes(Writes::Accept);
    handle.sync_data().unwrap();
    assert_settled(&mapping);
}

#[test]
fn completions_may_come_in_any_order() {
    let (mapping, store) = open_dirty(5, 1);
    store.writes(Writes::Keep);
    for index in [0, 2, 4] {
        mapping.write_page(index, SyncMode::Skip).unwrap();
    }
    let syncer = thread::spawn({
        let handle = mapping.handle();
        move || handle.sync_data()
    });
    // The sync submits pages 1 and 3 and waits for all of them.
    eventually("all under way", || store.kept() == 5);
    for _ in 0..5 {
        never("not all have ended", || syncer.is_finished());
        store.release_last(Ok(()));
    }
    syncer.join().unwrap().unwrap();
    assert_eq!(store.durable(), [1; 5 * PAGE]);
    assert_settled(&mapping);
}

#[test]
fn a_failed_flush_poisons_the_mapping_for_good() {
    let (mapping, store) = open_dirty(2, 1);
    let (first, second) = (mapping.handle(), mapping.handle());
    store.fail_flush(true);
    assert!(matches!(first.sync_data(), Err(Error::Flush { .. })));
    store.fail_flush(false);
    assert!(mapping.is_poisoned() && mapping.stats().poisoned);
    for handle in [&first, &second, &mapping.handle()] {
        assert!(matches!(handle.sync_data(), Err(Error::Poisoned { .. })));
        assert!(matches!(handle.sync_all(), Err(Error::Poisoned { .. })));
        assert!(matches!(handle.check_error(), Err(Error::Poisoned { .. })));
        assert!(matches!(handle.write_at(b"x", 0), Err(Error::Poisoned { .. })));
        assert!(matches!(handle.set_len(0), Err(Error::Poisoned { .. })));
    }
    assert!(mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED).is_err());
    assert!(mapping.write_page(0, SyncMode::Wait).unwrap_err().is_poisoned());
    assert_eq!(store.flushes_begun(), 1, "never tried again");
    let mut bytes = [0; 4];
    assert_eq!(first.read_at(&mut bytes, 0).unwrap(), 4);
    assert_eq!(bytes, [1; 4], "reads are served");
    assert!(mapping.close().unwrap_err().error.is_poisoned());
}

#[test]
fn a_flush_that_panics_is_a_flush_that_failed() {
    let (mapping, store) = open_dirty(1, 1);
    store.panic_in_flush();
    let handle = mapping.handle();
    assert!(thread::spawn(move || handle.sync_data()).join().is_err());
    assert!(matches!(mapping.handle().sync_data(), Err(Error::Poisoned { .. })));
    assert_eq!(store.flushes_begun(), 1);
}

#[test]
fn close_hands_back_what_it_could_not_save() {
    let (mapping, store) = open_dirty(3, 6);
    store.writes(Writes::Fail(StoreError::NoSpace));
    let failed = mapping.close().unwrap_err();
    assert!(failed.error.is_no_space());
    assert_eq!(failed.unsaved_pages, 3);
    let mapping = failed.mapping;
    mapping.handle().set_len(2 * PAGE as u64).expect("it is open again, and can be cut");
    store.writes(Writes::Accept);
    mapping.close().unwrap();
    assert_eq!(store.durable(), [6; 2 * PAGE]);
}

#[test]
fn close_does_not_mind_an_error_that_was_made_good() {
    let (mapping, store) = open_dirty(1, 6);
    store.writes(Writes::Fail(StoreError::NoSpace));
    mapping.write_page(0, SyncMode::Skip).unwrap();
    store.writes(Writes::Accept);
    mapping.close().unwrap();
    assert_eq!(store.durable(), [6; PAGE]);
}

#[test]
fn a_cut_the_store_refuses_is_made_up_for() {
    let (mapping, store) = open_dirty(2, 7);
    let handle = mapping.handle();
    handle.sync_data().unwrap();
    store.fail_set_len(true);
    assert!(matches!(handle.set_len(10), Err(Error::Length { .. })));
    assert_eq!(handle.len(), 10);
    assert!(matches!(handle.sync_data(), Err(Error::Length { .. })), "not durable yet");
    let lengthening = handle.write_at(b"x", 5000);
    assert!(matches!(lengthening, Err(Error::Length { .. })), "old bytes would come back");
    handle.write_at(b"x", 0).unwrap();
    store.fail_set_len(false);
    handle.write_at(b"x", 5000).unwrap();
    handle.sync_data().unwrap();
    let mut expected = vec![7; 10];
    expected[0] = b'x';
    expected.resize(5001, 0);
    expected[5000] = b'x';
    assert_eq!(store.durable(), expected);
    assert_settled(&mapping);
}

#[test]
fn bytes_the_store_still_has_beyond_a_cut_are_not_read() {
    let store = TestStore::new();
    let mapping = Mapping::open(store.clone()).unwrap();
    mapping.handle().write_at(&[7; 2 * PAGE], 0).unwrap();
    mapping.close().unwrap();
    let handle = Mapping::open(store.clone()).unwrap().handle();
    store.fail_set_len(true);
    handle.set_len(10).unwrap_err();
    let mut bytes = [9; PAGE];
    assert_eq!(handle.read_at(&mut bytes, 0).unwrap(), 10);
    store.fail_set_len(false);
    handle.write_at(b"x", PAGE as u64).unwrap();
    assert_eq!(handle.read_at(&mut bytes, 0).unwrap(), PAGE);
    assert_eq!((&bytes[..10], &bytes[10..]), (&[7; 10][..], &[0; PAGE - 10][..]));
    handle.sync_data().unwrap();
    assert_settled(handle.mapping());
}

#[test]
fn a_length_the_store_refuses_is_not_taken() {
    let (mapping, store) = open(1);
    store.fail_set_len(true);
    assert!(matches!(mapping.handle().set_len(1 << 20), Err(Error::Length { .. })));
    assert_eq!(mapping.len(), PAGE as u64);
}

#[test]
fn a_read_error_is_told_and_the_write_it_kept_away_can_be_repeated() {
    let (mapping, store) = open(1);
    let handle = mapping.handle();
    store.fail_read(true);
    assert!(matches!(handle.read_at(&mut [0], 0), Err(Error::Read { index: 0, .. })));
    assert!(matches!(handle.write_at(b"part", 0), Err(Error::Read { .. })));
    handle.sync_data().unwrap();
    store.fail_read(false);
    handle.write_at(b"part", 0).unwrap();
    handle.sync_data().unwrap();
    assert_eq!(&store.durable()[..5], b"part\0");
}

#[test]
fn a_store_that_panics_loses_no_page() {
    let (mapping, store) = open_dirty(2, 1);
    let handle = mapping.handle();
    store.writes(Writes::Panic);
    let panicked = thread::spawn({
        let mapping = mapping.clone();
        move || mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED)
    });
    assert!(panicked.join().is_err());
    assert_eq!(mapping.stats().dirty, 2);
    mapping.check().unwrap();
    store.writes(Writes::Accept);
    assert!(handle.sync_data().is_err(), "told that a write was lost");
    handle.sync_data().unwrap();
    assert_settled(&mapping);
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_can_not_be_written_is_an_error_and_not_a_loss() {
    crate::common::watch();
    use std::os::unix::fs::FileExt;

    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

    let file = memfd_create("sealed", MemfdFlags::ALLOW_SEALING).unwrap();
    let file = std::fs::File::from(file);
    file.write_all_at(&[1; 100], 0).unwrap();
    fcntl_add_seals(&file, SealFlags::WRITE).unwrap();
    let store = writeback::FileStore::from_file(file.try_clone().unwrap()).unwrap();
    let mapping = Mapping::open(store).unwrap();
    mapping.handle().write_at(b"new", 0).unwrap();
    assert!(matches!(mapping.handle().sync_data(), Err(Error::Write { .. })));
    assert_eq!(mapping.stats().dirty, 1);
    let error = mapping.close().unwrap_err().error;
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::PERM.raw_os_error()));
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::PermissionDenied);
    let mut bytes = [0; 100];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, [1; 100]);
}

fn with_clock(pages: usize) -> (Mapping, TestStore, Clock) {
    let (clock, store) = (Clock::manual(), TestStore::new());
    let config = Config::new().clock(clock.clone());
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    mapping.handle().write_at(&vec![1; pages * PAGE], 0).unwrap();
    (mapping, store, clock)
}

#[test]
fn the_flusher_writes_what_is_old_enough() {
    let (mapping, store, clock) = with_clock(2);
    let flusher = Flusher::manual([mapping.clone()], FlusherConfig::new());
    clock.advance(Duration::from_secs(20));
    mapping.handle().write_at(b"younger", 2 * PAGE as u64).unwrap();
    assert_eq!(flusher.step().submitted, 0);
    clock.advance(Duration::from_secs(10));
    assert_eq!(flusher.step().submitted, 2);
    clock.advance(Duration::from_secs(20));
    assert_eq!(flusher.step().submitted, 1);
    assert_eq!(store.batches(), [(0, 2), (2, 1)]);
    assert_eq!(store.flushes_begun(), 0);
    assert_settled(&mapping);
}

#[test]
fn the_flusher_keeps_the_number_of_dirty_pages_down() {
    let (mapping, _store, _clock) = with_clock(50);
    let config = FlusherConfig::new().background_pages(20).chunk_pages(7);
    let flusher = Flusher::manual([mapping.clone()], config);
    let done = flusher.step();
    assert!(mapping.stats().dirty <= 20 && done.submitted >= 30, "{done:?}");
    assert_eq!(flusher.step().submitted, 0);
}

#[test]
fn the_flusher_backs_off_from_what_it_can_not_write() {
    let (mapping, store, clock) = with_clock(3);
    let config = FlusherConfig::new().background_pages(0).dirty_expire(Duration::ZERO);
    let flusher = Flusher::manual([mapping.clone()], config);
    store.writes(Writes::Fail(StoreError::NoSpace));
    assert_eq!(flusher.step().submitted, 3);
    let done = flusher.step();
    assert_eq!(done.submitted, 0, "not at once");
    assert!(done.skipped >= 3);
    clock.advance(Duration::from_millis(100));
    assert_eq!(flusher.step().submitted, 3, "again");
    clock.advance(Duration::from_millis(100));
    assert_eq!(flusher.step().submitted, 0, "not so soon this time");
    store.writes(Writes::Accept);
    let handle = mapping.handle();
    assert!(handle.sync_data().is_err(), "told of what the flusher met");
    handle.sync_data().unwrap();
    assert_settled(&mapping);
}

#[test]
fn the_flusher_survives_a_store_that_panics_and_serves_the_others() {
    let (bad, bad_store, _) = with_clock(1);
    let (good, _, _) = with_clock(1);
    bad_store.writes(Writes::Panic);
    let config =
        FlusherConfig::new().dirty_expire(Duration::ZERO).interval(Duration::from_millis(1));
    let flusher = Flusher::start([bad.clone(), good.clone()], config).unwrap();
    eventually("served", || good.stats().dirty == 0 && flusher.stats().panics > 0);
    bad_store.writes(Writes::Accept);
    bad.handle().sync_data().unwrap_err();
    bad.handle().sync_data().unwrap();
    assert!(flusher.stop().stats.rounds > 0);
    assert_settled(&bad);
    assert_settled(&good);
}

#[test]
fn the_flusher_is_woken_by_too_many_dirty_pages() {
    let (mapping, _store) = open(100);
    let config = FlusherConfig::new().interval(Duration::from_secs(3600)).background_pages(10);
    let flusher = Flusher::start([mapping.clone()], config).unwrap();
    mapping.handle().write_at(&[1; 11 * PAGE], 0).unwrap();
    eventually("woken", || mapping.stats().dirty <= 10);
    flusher.kick();
    eventually("kicked", || flusher.stats().rounds >= 2);
    drop(flusher);
    mapping.handle().write_at(&[1; 50 * PAGE], 0).unwrap();
    assert!(mapping.stats().dirty >= 50, "nobody writes any more");
}

#[test]
fn the_flusher_counts_poisoned_mappings_and_goes_on() {
    let (mapping, store, _clock) = with_clock(1);
    store.fail_flush(true);
    store.writes(Writes::Fail(StoreError::NoSpace));
    mapping.handle().sync_data().unwrap_err();
    assert!(mapping.is_poisoned() && mapping.stats().dirty > 0);
    let flusher = Flusher::manual([mapping], FlusherConfig::new().dirty_expire(Duration::ZERO));
    assert_eq!(flusher.step().errors, 1);
}
