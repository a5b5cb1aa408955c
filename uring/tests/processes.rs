//! A file that another process has: one that stays, one that goes, and one that was killed.
#![cfg(target_os = "linux")]

mod common;

use std::env;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::folder;
use rustix::fs::{FlockOperation, flock};
use writeback::store::Store;
use writeback_uring::UringStore;

/// A process that has the file's lock for so many seconds.
fn locks(path: &Path, seconds: &str) -> Option<Child> {
    let locker = Command::new("flock").arg(path).args(["sleep", seconds]).spawn();
    let Ok(locker) = locker else {
        println!("skipped: there is no flock");
        return None;
    };
    // As soon as it has it.
    let file = fs::File::open(path).unwrap();
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        flock(&file, FlockOperation::Unlock).unwrap();
        thread::sleep(Duration::from_millis(2));
    }
    Some(locker)
}

#[test]
fn whoever_opens_a_file_waits_a_moment_for_another_process_and_no_longer() {
    let Some((_folder, path)) = folder() else { return };
    fs::write(&path, [7; 4096]).unwrap();
    let Some(mut leaves) = locks(&path, "0.3") else { return };
    UringStore::open(&path).unwrap();
    leaves.wait().unwrap();
    let Some(mut stays) = locks(&path, "60") else { return };
    let start = Instant::now();
    let error = UringStore::open(&path).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceBusy);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    stays.kill().unwrap();
    stays.wait().unwrap();
}

#[test]
fn child_that_is_killed() {
    let Some(path) = env::var_os("WRITEBACK_URING_CHILD").map(PathBuf::from) else { return };
    let store = UringStore::open_or_create(path).unwrap();
    println!("\nup");
    loop {
        store.write_at(0, &[7; 1 << 16]).unwrap();
    }
}

#[test]
fn whoever_is_started_in_the_place_of_a_process_that_was_killed_has_its_file() {
    let Some((_folder, path)) = folder() else { return };
    for _ in 0..5 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["child_that_is_killed", "--exact", "--nocapture"])
            .env("WRITEBACK_URING_CHILD", &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut said, mut byte) = (Vec::new(), [0]);
        let output = child.stdout.as_mut().unwrap();
        while !said.ends_with(b"\nup\n") {
            output.read_exact(&mut byte).unwrap();
            said.push(byte[0]);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        UringStore::open(&path).unwrap();
    }
}
