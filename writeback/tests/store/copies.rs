//! The kernel's own copy of a file below a mapping: dropped where that is asked for.

use std::env;
use std::fs::File;
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::{ReadWriteFlags, pwritev2};
use writeback::store::{FlushKind, Store};
use writeback::{FileStore, Mapping};

use crate::patience;

const MIB: usize = 1 << 20;

/// Says what is missing here for a test. `DIRECT_REQUIRED` is set where nothing may be.
pub(crate) fn skip(missing: &str) {
    assert!(env::var_os("DIRECT_REQUIRED").is_none(), "{missing} is missing");
    println!("skipped: {missing} is missing");
}

/// A folder on a device: what is in memory only has no second copy. `None` if there is none here, or no program that counts.
pub(crate) fn folder() -> Option<(tempfile::TempDir, PathBuf)> {
    const TMPFS: u32 = 0x0102_1994;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let kind = rustix::fs::statfs(folder.path()).unwrap().f_type;
    if u32::try_from(kind) == Ok(TMPFS)
        || Command::new("fincore").arg("--version").output().is_err()
    {
        skip("a device below the target folder, or fincore");
        return None;
    }
    let path = folder.path().join("file");
    Some((folder, path))
}

/// How many bytes of the file the kernel has in memory.
pub(crate) fn cached(path: &Path) -> usize {
    let mut fincore = Command::new("fincore");
    let output = fincore.args(["--bytes", "--noheadings", "--output", "RES"]).arg(path).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// What is in memory after a load of 64 MiB and a sync.
fn left_by(store: FileStore, path: &Path) -> usize {
    let handle = Mapping::open(store).unwrap().handle();
    for offset in (0..64 * MIB).step_by(MIB) {
        handle.write_at(&vec![7; MIB], offset as u64).unwrap();
    }
    handle.sync_data().unwrap();
    let left = cached(path);
    let mut bytes = vec![0; 64 * MIB];
    assert_eq!(handle.read_at(&mut bytes, 0).unwrap(), bytes.len());
    assert!(bytes.iter().all(|byte| *byte == 7));
    left
}

#[test]
fn what_was_loaded_and_synced_is_in_one_cache() {
    let Some((_folder, path)) = folder() else { return };
    let left = left_by(FileStore::create(&path).unwrap().keep_copies(false), &path);
    assert!(left < 64 * MIB / 20, "{left} bytes");
}

#[test]
fn the_kernel_keeps_its_copy_unless_it_is_told() {
    let Some((_folder, path)) = folder() else { return };
    let left = left_by(FileStore::create(&path).unwrap(), &path);
    assert!(left > 64 * MIB / 20 * 18, "{left} bytes");
}

/// Whether the kernel and the file system know the flag that long runs are written with, without the races that it had at first.
fn knows_the_flag(path: &Path) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse::<u32>());
    let mut next = || numbers.next().unwrap().unwrap();
    if (next(), next()) < (6, 16) {
        return false;
    }
    let file = File::create(path).unwrap();
    let flags = ReadWriteFlags::from_bits_retain(0x80);
    pwritev2(&file, &[IoSlice::new(&[0; 4096])], 0, flags).is_ok()
}

/// No flush has to come for that.
#[test]
fn a_long_run_leaves_the_kernels_cache_when_it_is_written() {
    let Some((_folder, path)) = folder() else { return };
    if !knows_the_flag(&path) {
        return println!("skipped: there is no RWF_DONTCACHE here");
    }
    let store = FileStore::create(&path).unwrap().keep_copies(false);
    for offset in (0..16 * MIB).step_by(MIB) {
        store.write_at(offset as u64, &vec![7; MIB]).unwrap();
    }
    let deadline = Instant::now() + patience();
    while cached(&path) > 16 * MIB / 4 {
        assert!(Instant::now() < deadline, "{} bytes are left", cached(&path));
        thread::sleep(Duration::from_millis(10));
    }
}

/// Where the file has room already the kernel may keep what it has written. Before a flush as well that is not all.
#[test]
fn a_load_that_overwrites_does_not_fill_the_kernels_cache() {
    let Some((_folder, path)) = folder() else { return };
    if !knows_the_flag(&path) {
        return println!("skipped: there is no RWF_DONTCACHE here");
    }
    let store = FileStore::create(&path).unwrap().keep_copies(false);
    for round in 0..2 {
        for offset in (0..64 * MIB).step_by(MIB) {
            store.write_at(offset as u64, &vec![7; MIB]).unwrap();
            // As fast as a device is, and not as its host's memory.
            thread::sleep(Duration::from_millis(2));
        }
        let left = cached(&path);
        assert!(left < 64 * MIB / 4 * 3, "{left} bytes after round {round}");
        store.sync(FlushKind::Data).unwrap();
    }
}

/// They are written when the kernel likes, and dropped when they are durable.
#[test]
fn runs_that_are_not_long_leave_it_with_a_flush() {
    let Some((_folder, path)) = folder() else { return };
    let store = FileStore::create(&path).unwrap().keep_copies(false);
    // More than are remembered one by one, and as many.
    for runs in [300, 20] {
        for number in 0..runs {
            store.write_at(number * 65_536, &[7; 32_768]).unwrap();
        }
        assert!(cached(&path) >= usize::try_from(runs).unwrap() * 32_768);
        store.sync(FlushKind::Data).unwrap();
        assert!(cached(&path) < 32_768 * 2, "{} bytes are left", cached(&path));
    }
    let mut bytes = [0; 32_768];
    assert_eq!(store.read_at(65_536, &mut bytes).unwrap(), bytes.len());
    assert_eq!(bytes, [7; 32_768]);
}

/// How many bytes of a file the kernel has that were written and that the device has not begun with: `cachestat(2)`. `None` before Linux 6.5.
fn not_begun(file: &File) -> Option<usize> {
    let (range, mut pages) = ([0_u64; 2], [0_u64; 5]);
    // SAFETY: a range of two words is read, and five words are written.
    let outcome = unsafe {
        libc::syscall(451, file.as_raw_fd(), range.as_ptr(), pages.as_mut_ptr(), 0 as libc::c_uint)
    };
    (outcome == 0).then(|| usize::try_from(pages[1]).unwrap() * 4096)
}

#[test]
fn the_device_begins_with_a_long_run_unless_it_is_told() {
    let Some((_folder, path)) = folder() else { return };
    let left_of = |written: usize, is_early: bool| {
        let store = FileStore::create(&path).unwrap().begin_early(is_early);
        store.write_at(0, &vec![7; written]).unwrap();
        not_begun(store.file())
    };
    let long = 256 << 10;
    if left_of(long, true).is_none() {
        return println!("skipped: there is no cachestat here");
    }
    for (written, is_early, left) in
        [(long, true, 0), (long / 2, true, long / 2), (long, false, long)]
    {
        // The kernel may begin by itself at any moment, but not each time.
        let is_seen = (0..10).any(|_| left_of(written, is_early) == Some(left));
        assert!(is_seen, "early: {is_early}, {written} bytes");
    }
    let is_default = (0..10).any(|_| {
        let store = FileStore::create(&path).unwrap();
        store.write_at(0, &vec![7; long]).unwrap();
        not_begun(store.file()) == Some(0)
    });
    assert!(is_default);
}
