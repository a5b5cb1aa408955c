//! What a `FileStore` makes of a file is found out when it is opened.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::OFlags;
use writeback::store::Store;
use writeback::{Error, FileStore, Mapping};

use crate::common_files::reopened;
use crate::within;

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    (folder, path)
}

fn read_write() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options
}

#[track_caller]
fn assert_refused(opened: io::Result<FileStore>, kind: ErrorKind, why: &str) {
    let error = opened.map(drop).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(why), "{error}");
}

#[test]
fn what_has_no_bytes_at_offsets_is_refused() {
    within(|| {
        let (folder, path) = folder();
        assert_refused(FileStore::open(folder.path()), ErrorKind::IsADirectory, "directory");
        let opened = FileStore::from_file(File::open(folder.path()).unwrap());
        assert_refused(opened, ErrorKind::IsADirectory, "directory");
        let device = Path::new("/dev/null");
        assert_refused(FileStore::open(device), ErrorKind::NotSeekable, "character device");
        assert_refused(FileStore::create(device), ErrorKind::NotSeekable, "character device");
        let opened = FileStore::from_file(read_write().open(device).unwrap());
        assert_refused(opened, ErrorKind::NotSeekable, "character device");
        let (pipe, _other) = io::pipe().unwrap();
        let opened = FileStore::from_file(File::from(OwnedFd::from(pipe)));
        assert_refused(opened, ErrorKind::NotSeekable, "pipe");
        let (socket, _other) = UnixStream::pair().unwrap();
        let opened = FileStore::from_file(File::from(OwnedFd::from(socket)));
        assert_refused(opened, ErrorKind::NotSeekable, "socket");
        // To open one would wait for somebody at the other end.
        let _listener = UnixListener::bind(&path).unwrap();
        assert_refused(FileStore::open(&path), ErrorKind::NotSeekable, "socket");
    });
}

#[test]
fn a_file_that_is_opened_in_a_way_that_cannot_work_is_refused() {
    let (_folder, path) = folder();
    std::fs::write(&path, b"0123456789").unwrap();
    let append = OpenOptions::new().read(true).append(true).open(&path).unwrap();
    assert_refused(FileStore::from_file(append), ErrorKind::InvalidInput, "appending");
    for file in [File::open(&path), OpenOptions::new().write(true).open(&path)] {
        let opened = FileStore::from_file(file.unwrap());
        assert_refused(opened, ErrorKind::InvalidInput, "reading and writing");
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"0123456789");
    FileStore::from_file(read_write().open(&path).unwrap()).unwrap();
}

/// Two mappings over one file overwrite each other's pages, and both their syncs are `Ok`.
#[test]
fn a_file_that_somebody_has_is_refused_until_it_is_let_go() {
    let (_folder, path) = folder();
    std::fs::write(&path, [b'.'; 100]).unwrap();
    let first = Mapping::open(FileStore::open(&path).unwrap()).unwrap();
    assert_refused(FileStore::open(&path), ErrorKind::ResourceBusy, "in use");
    assert_refused(FileStore::open_or_create(&path), ErrorKind::ResourceBusy, "in use");
    let file = read_write().open(&path).unwrap();
    assert_refused(FileStore::from_file(file), ErrorKind::ResourceBusy, "in use");
    // Not even emptied.
    assert_refused(FileStore::create(&path), ErrorKind::ResourceBusy, "in use");
    assert_eq!(std::fs::read(&path).unwrap(), [b'.'; 100]);
    FileStore::options().lock(false).open(&path).unwrap();
    first.close().unwrap();
    reopened(|| FileStore::open(&path));
}

/// The same file, opened once: that is its caller's affair.
#[test]
fn a_duplicate_of_the_file_is_the_same_file() {
    let (_folder, path) = folder();
    let store = FileStore::create(&path).unwrap();
    let duplicate = FileStore::from_file(store.file().try_clone().unwrap()).unwrap();
    drop(store);
    assert_refused(FileStore::open(&path), ErrorKind::ResourceBusy, "in use");
    drop(duplicate);
    reopened(|| FileStore::open(&path));
}

const OTHER: &str = "WRITEBACK_STORE_FILE";

/// Another process, if the test binary was started as one.
#[test]
fn other_process() {
    let Some(path) = env::var_os(OTHER) else { return };
    assert_refused(FileStore::open(path), ErrorKind::ResourceBusy, "in use");
}

#[test]
fn another_process_is_told_too() {
    let (_folder, path) = folder();
    let store = FileStore::create(&path).unwrap();
    let other = || {
        let mut other = Command::new(env::current_exe().unwrap());
        other.args(["files::other_process", "--exact"]).env(OTHER, &path);
        other.output().unwrap().status.success()
    };
    assert!(other());
    drop(store);
    // Nobody has it before the other is started, and it stays so.
    drop(reopened(|| FileStore::open(&path)));
    let free = (0..5).any(|_| !other());
    assert!(free, "it is free, and the other process does not say so");
}

/// The offset a file system does not have: found by the write, and not by every sync from then on.
#[test]
fn an_offset_that_the_file_system_does_not_have_fails_at_the_write() {
    let (_folder, path) = folder();
    let mapping = Mapping::open(FileStore::create(&path).unwrap()).unwrap();
    let handle = mapping.handle();
    let len_max = mapping.store().limits().len_max;
    if len_max == i64::MAX.unsigned_abs() {
        println!("this file system says that it has all offsets");
    } else {
        let plain = File::options().write(true).open(&path).unwrap();
        let refused = plain.write_at(b"x", len_max).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::FileTooLarge, "{refused}");
        plain.set_len(len_max).unwrap();
        plain.set_len(0).unwrap();
    }
    // As the kernel has it.
    let (far, plain) = ((1 << 63) - 2 * 4096, File::options().write(true).open(&path).unwrap());
    if plain.write_at(b"x", far).is_err() {
        assert!(matches!(handle.write_at(b"x", far), Err(Error::OutOfRange { .. })));
    }
    for offset in [len_max, len_max + 1, u64::MAX - 1] {
        let told = handle.write_at(b"x", offset).unwrap_err();
        assert!(matches!(told, Error::OutOfRange { .. }), "{told}");
        assert_eq!(told.raw_os_error(), Some(rustix::io::Errno::FBIG.raw_os_error()));
    }
    assert_eq!(handle.len(), 0);
    handle.write_at(b"x", 3).unwrap();
    handle.sync_data().unwrap();
}

/// A file with direct I/O, if there is such a thing here.
fn direct(path: &Path) -> Option<FileStore> {
    #[cfg(target_os = "linux")]
    let flags = OFlags::DIRECT;
    #[cfg(not(target_os = "linux"))]
    let flags = OFlags::empty();
    let mut options = read_write();
    options.create(true).custom_flags(i32::try_from(flags.bits()).unwrap());
    options.open(path).ok()?;
    let store = reopened(|| FileStore::from_file(options.open(path)?));
    (store.limits().alignment > 1).then_some(store)
}

#[test]
fn a_file_with_direct_io_has_every_length() {
    let (_folder, path) = folder();
    let Some(store) = direct(&path) else { return println!("no direct I/O here") };
    let mapping = Mapping::open(store).unwrap();
    let handle = mapping.handle();
    let mut expected = Vec::new();
    for len in [1_usize, 511, 5000, 4096, 12_345] {
        handle.write_at(&vec![len.to_le_bytes()[0]; len], expected.len() as u64).unwrap();
        expected.extend(vec![len.to_le_bytes()[0]; len]);
        handle.sync_data().unwrap();
        assert!(std::fs::read(&path).unwrap() == expected, "after {} bytes", expected.len());
    }
    handle.set_len(7000).unwrap();
    handle.sync_all().unwrap();
    mapping.close().unwrap();
    expected.truncate(7000);
    assert!(std::fs::read(&path).unwrap() == expected);
    drop(handle);
    // And is read.
    let mapping = Mapping::open(direct(&path).unwrap()).unwrap();
    let mut bytes = vec![0; 10_000];
    assert_eq!(mapping.handle().read_at(&mut bytes, 0).unwrap(), 7000);
    assert!(bytes[..7000] == expected);
}

/// A loop device over a file, for who may make one.
struct LoopDevice(PathBuf);

impl LoopDevice {
    fn over(file: &Path) -> Option<Self> {
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file).output().ok()?;
        let path = String::from_utf8(made.stdout).ok()?;
        made.status.success().then(|| Self(PathBuf::from(path.trim())))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // Nothing can be done about it.
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

#[test]
fn a_block_device_works_at_its_size() {
    within(|| {
        let (_folder, path) = folder();
        std::fs::write(&path, [b'A'; 40_960]).unwrap();
        let Some(device) = LoopDevice::over(&path) else {
            return println!("there are no loop devices here, or they are not ours to make");
        };
        assert_refused(FileStore::create(&device.0), ErrorKind::InvalidInput, "device");
        let mapping = Mapping::open(reopened(|| FileStore::open(&device.0))).unwrap();
        let handle = mapping.handle();
        assert_eq!(mapping.len(), 40_960);
        handle.write_at(b"x", 5000).unwrap();
        handle.write_at(b"end", 40_957).unwrap();
        let beyond = handle.write_at(b"beyond", 40_957).unwrap_err();
        assert!(matches!(beyond, Error::OutOfRange { .. }), "{beyond}");
        for len in [0, 40_000, 50_000] {
            handle.set_len(len).unwrap_err();
        }
        handle.sync_all().unwrap();
        drop(handle);
        mapping.close().unwrap();
        drop(reopened(|| FileStore::open_or_create(&device.0)));
        let mut expected = vec![b'A'; 40_960];
        expected[5000] = b'x';
        expected[40_957..].copy_from_slice(b"end");
        let mut found = vec![0; 40_960];
        File::open(&device.0).unwrap().read_exact_at(&mut found, 0).unwrap();
        assert!(found == expected, "its neighbours have changed");
    });
}
