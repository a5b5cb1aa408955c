//! A file that is opened again as soon as the mapping over it is closed. In a program of its own: a process that is being started has all files of
//! this one for a moment, and their locks.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::folder;
use writeback::store::{FlushCompletion, FlushKind, Store};
use writeback::{DirectStore, Mapping};
use writeback_uring::UringStore;

#[test]
fn a_file_can_be_opened_again_as_soon_as_its_mapping_is_closed() {
    let Some((_folder, path)) = folder() else { return };
    for round in 0..300_u64 {
        let mapping = Mapping::open(UringStore::open_or_create(&path).unwrap()).unwrap();
        let handle = mapping.handle();
        if round > 0 {
            let mut found = [0; 8];
            handle.read_at(&mut found, 100_000).unwrap();
            assert_eq!(found, (round - 1).to_le_bytes());
        }
        handle.write_at(&round.to_le_bytes(), 100_000).unwrap();
        drop(handle);
        mapping.close().unwrap();
    }
    assert_eq!(fs::metadata(&path).unwrap().len(), 100_008);
}

/// The store goes with the end of a flush, some time after others could know of that.
#[test]
fn whoever_opens_a_file_waits_for_a_store_that_is_going() {
    let Some((_folder, path)) = folder() else { return };
    let store = Arc::new(UringStore::create(&path).unwrap());
    let (last, (tell, told)) = (store.clone(), channel());
    store.flush(
        FlushKind::Data,
        FlushCompletion::new(move |_| {
            let _ = tell.send(());
            thread::sleep(Duration::from_millis(200));
            drop(last);
        }),
    );
    told.recv().unwrap();
    drop(store);
    UringStore::open(&path).unwrap();
}

#[test]
fn whoever_opens_a_file_does_not_wait_for_a_store_that_is_in_use() {
    let Some((_folder, path)) = folder() else { return };
    let store = UringStore::create(&path).unwrap();
    thread::scope(|scope| {
        let (stop, stopped) = channel::<()>();
        let store = &store;
        scope.spawn(move || {
            while stopped.try_recv().is_err() {
                store.write_at(0, &[1; 4096]).unwrap();
            }
        });
        for _ in 0..20 {
            let start = Instant::now();
            let error = UringStore::open(&path).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ResourceBusy);
            assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        }
        let _ = stop.send(());
    });
}

/// Waits until the thread waits for something: on a busy machine that may be long after it was started.
fn wait_until_asleep(thread: &std::path::Path) {
    let stat = std::path::Path::new("/proc").join(thread).join("stat");
    while !fs::read_to_string(&stat).unwrap().contains(") S ") {
        thread::sleep(Duration::from_micros(100));
    }
}

/// Whoever drops it waits for the store's thread, and closes the file a moment after that.
#[test]
fn whoever_opens_a_file_waits_for_a_store_that_another_thread_drops() {
    let Some((_folder, path)) = folder() else { return };
    for round in 0..100_u64 {
        let store = UringStore::open_or_create(&path).unwrap();
        let ((tell, told), (tell_who, who)) = (channel(), channel());
        let who = parking_lot::Mutex::new(who);
        let slow = FlushCompletion::new(move |_| {
            let dropper: std::path::PathBuf = who.lock().recv().unwrap();
            wait_until_asleep(&dropper);
            let _ = tell.send(());
        });
        store.flush(FlushKind::Data, slow);
        let dropping = thread::spawn(move || {
            tell_who.send(fs::read_link("/proc/thread-self").unwrap()).unwrap();
            drop(store);
        });
        told.recv().unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(round * 3) {
            std::hint::spin_loop();
        }
        UringStore::open(&path).unwrap();
        dropping.join().unwrap();
    }
}

/// The last reference goes with reads that nobody waits for.
#[test]
fn whoever_opens_a_file_waits_for_the_reads_ahead_of_a_mapping_that_is_closed() {
    let Some((_folder, path)) = folder() else { return };
    fs::write(&path, vec![7; 32 << 20]).unwrap();
    for round in 0..15 {
        let store = UringStore::open(&path);
        let store = store.unwrap_or_else(|error| panic!("round {round}: {error}"));
        let mapping = Mapping::open(store).unwrap();
        mapping.handle().read_ahead(0..32 << 20);
        mapping.close().unwrap();
    }
}

/// It would wait for itself, and all others for it.
#[test]
fn whoever_is_told_of_an_end_is_refused_at_once_what_is_in_use() {
    let Some((_folder, path)) = folder() else { return };
    for is_last in [false, true] {
        let store = Arc::new(UringStore::open_or_create(&path).unwrap());
        let (again, last) = (path.clone(), store.clone());
        let ((tell, told), (go, gone)) = (channel(), channel());
        let gone = std::sync::Mutex::new(gone);
        let opens = FlushCompletion::new(move |_| {
            let _: Result<(), _> = gone.lock().unwrap().recv();
            drop(last);
            let start = Instant::now();
            let opened = UringStore::open(&again).map(drop);
            let _ = tell.send((opened, start.elapsed()));
        });
        store.flush(FlushKind::Data, opens);
        let store = if is_last { None } else { Some(store) };
        go.send(()).unwrap();
        let (opened, elapsed) = told.recv().unwrap();
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::ResourceBusy);
        assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
        drop(store);
    }
}

/// By whatever store, at once.
#[test]
fn a_store_that_is_dropped_has_its_file_no_more() {
    let Some((_folder, path)) = folder() else { return };
    for _ in 0..20 {
        let store = UringStore::open_or_create(&path).unwrap();
        store.write_at(0, &[7; 4096]).unwrap();
        drop(store);
        DirectStore::open(&path).unwrap();
    }
}
