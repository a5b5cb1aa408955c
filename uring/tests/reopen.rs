//! A file that is opened again as soon as the mapping over it is closed. In a program of its own: a process that is being started has all files of
//! this one for a moment, and their locks.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::ErrorKind;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use writeback::Mapping;
use writeback::store::{FlushCompletion, FlushKind, Store};
use writeback_uring::UringStore;

fn folder() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let skipped = match UringStore::probe() {
        Err(refused) => refused.to_string(),
        Ok(()) => match UringStore::create(folder.path().join("first")) {
            Err(error) if error.kind() == ErrorKind::Unsupported => error.to_string(),
            created => {
                drop(created.unwrap());
                return Some(folder);
            }
        },
    };
    assert!(std::env::var_os("URING_REQUIRED").is_none(), "{skipped}");
    println!("skipped: {skipped}");
    None
}

#[test]
fn a_file_can_be_opened_again_as_soon_as_its_mapping_is_closed() {
    let Some(folder) = folder() else { return };
    let path = folder.path().join("file");
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
    let Some(folder) = folder() else { return };
    let path = folder.path().join("file");
    let store = std::sync::Arc::new(UringStore::create(&path).unwrap());
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
    let Some(folder) = folder() else { return };
    let path = folder.path().join("file");
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
            let start = std::time::Instant::now();
            let error = UringStore::open(&path).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ResourceBusy);
            assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        }
        let _ = stop.send(());
    });
}

/// A process that has the file's lock for so many seconds.
fn locks(path: &std::path::Path, seconds: &str) -> Option<std::process::Child> {
    let locker = std::process::Command::new("flock").arg(path).args(["sleep", seconds]).spawn();
    let Ok(locker) = locker else {
        println!("skipped: there is no flock");
        return None;
    };
    // As soon as it has it.
    let file = fs::File::open(path).unwrap();
    while file.try_lock().is_ok() {
        file.unlock().unwrap();
        thread::sleep(Duration::from_millis(2));
    }
    Some(locker)
}

#[test]
fn whoever_opens_a_file_waits_a_moment_for_another_process_and_no_longer() {
    let Some(folder) = folder() else { return };
    let path = folder.path().join("file");
    fs::write(&path, [7; 4096]).unwrap();
    let Some(mut leaves) = locks(&path, "0.3") else { return };
    UringStore::open(&path).unwrap();
    leaves.wait().unwrap();
    let Some(mut stays) = locks(&path, "60") else { return };
    let start = std::time::Instant::now();
    let error = UringStore::open(&path).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceBusy);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    stays.kill().unwrap();
    stays.wait().unwrap();
}
