//! What only a store with a ring has to do, on the kernel's. Skipped, with a message, where the kernel refuses one, unless `URING_REQUIRED` is set.
#![cfg(target_os = "linux")]

mod common;

use std::env;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::folder;
use writeback::store::{Completion, FlushKind, ReadRun, Store, WriteBatch};
use writeback::{CacheConfig, Config, Mapping, PageCache, StoreError};
use writeback_uring::{Refused, UringOptions, UringStore};

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;

/// Opened again: a child that another test is starting has the file's lock for a moment.
fn reopened(options: &UringOptions, path: &Path) -> UringStore {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match options.open(path) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                thread::yield_now();
            }
            opened => return opened.unwrap(),
        }
    }
}

fn page_of(number: u64) -> Vec<u8> {
    (number + 1).to_le_bytes().repeat(PAGE / 8)
}

fn write(store: &UringStore, number: u64, ended: impl FnOnce(bool) + Send + Sync + 'static) {
    let batch = WriteBatch::new(number, number * PAGE as u64, vec![page_of(number)[..].into()]);
    let completion = Completion::new(batch.len(), move |_, error| ended(error.is_none()));
    store.write(batch, completion);
}

#[test]
fn what_was_asked_for_before_the_store_is_dropped_is_done() {
    let Some((_folder, path)) = folder() else { return };
    let store = UringStore::create(&path).unwrap();
    let (tell, told) = channel();
    for number in 0..600 {
        let tell = tell.clone();
        write(&store, number, move |fine| {
            let _ = tell.send(fine);
        });
    }
    drop((store, tell));
    // All have been told before, and nobody has the file any more.
    assert_eq!(told.try_iter().filter(|fine| *fine).count(), 600);
    let bytes = fs::read(&path).unwrap();
    for (number, page) in (0..).zip(bytes.chunks(PAGE)) {
        assert!(page == page_of(number), "page {number}");
    }
    assert_eq!(bytes.len(), 600 * PAGE);
    reopened(&UringStore::options(), &path);
}

#[test]
fn a_ring_of_few_entries_has_many_writers_and_readers() {
    let Some((_folder, path)) = folder() else { return };
    let store = UringStore::options().entries(4).create(&path).unwrap();
    thread::scope(|scope| {
        for writer in 0..32 {
            let store = &store;
            scope.spawn(move || {
                for number in writer * 16..(writer + 1) * 16 {
                    store.write_at(number * PAGE as u64, &page_of(number)).unwrap();
                    let mut found = vec![0; PAGE];
                    assert_eq!(store.read_at(number * PAGE as u64, &mut found).unwrap(), PAGE);
                    assert!(found == page_of(number));
                }
                store.sync(FlushKind::Data).unwrap();
            });
        }
    });
    assert_eq!(Store::len(&store).unwrap(), 512 * PAGE as u64);
}

#[test]
fn bytes_behind_four_gigabytes_are_where_they_belong() {
    let Some((_folder, path)) = folder() else { return };
    let store = UringStore::create(&path).unwrap();
    let far = (5_u64 << 30) + PAGE as u64;
    store.write_at(far, &page_of(77)).unwrap();
    store.write_at(far - (4 << 30), &page_of(78)).unwrap();
    let mut found = vec![0; PAGE];
    assert_eq!(store.read_at(far, &mut found).unwrap(), PAGE);
    assert!(found == page_of(77));
    // Behind the end there is nothing, and over it only what is before.
    assert_eq!(store.read_at(far + PAGE as u64, &mut found).unwrap(), 0);
    let (tell, told) = channel();
    let run = ReadRun::new(far, PAGE, 3, move |bytes, error: Option<StoreError>| {
        let _ = tell.send((bytes, error.is_none()));
    });
    store.read(run);
    assert!(told.recv().unwrap() == (page_of(77), true));
}

#[test]
fn options_that_cannot_be_are_refused_and_change_nothing() {
    let Some((_folder, path)) = folder() else { return };
    fs::write(&path, b"abc").unwrap();
    for entries in [0, 4097] {
        let error = UringStore::options().entries(entries).create(&path).map(drop).unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("4096"));
    }
    assert_eq!(fs::read(&path).unwrap(), b"abc");
    // Without direct I/O as well, and then to the byte.
    let store = UringStore::options().direct(false).open(&path).unwrap();
    store.write_at(1, b"xy").unwrap();
    assert_eq!((fs::read(&path).unwrap(), store.limits().alignment), (b"axy".to_vec(), 1));
}

/// A cache of so many bytes, with a mapping of a store whose ring has its memory.
fn registered(path: &Path, bytes: u64) -> (PageCache, Arc<UringStore>, Mapping) {
    let cache = PageCache::new(CacheConfig::bytes(bytes)).unwrap();
    let store = Arc::new(UringStore::options().memory(&cache).open_or_create(path).unwrap());
    let mapping = Mapping::with_config(store.clone(), Config::new().cache(&cache)).unwrap();
    (cache, store, mapping)
}

#[test]
fn memory_that_the_cache_gets_later_is_registered_too() {
    let Some((_folder, path)) = folder() else { return };
    let (cache, store, mapping) = registered(&path, 64 << 20);
    let before = store.registered();
    assert!(before.file && before.memory_bytes == 0 && before.refused.is_none(), "{before:?}");
    let handle = mapping.handle();
    for number in 0..48 * MIB / PAGE {
        handle.write_at(&page_of(number as u64), (number * PAGE) as u64).unwrap();
        if number % 100 == 0 {
            handle.sync_data().unwrap();
        }
    }
    handle.sync_data().unwrap();
    let after = store.registered();
    if let Some(refused) = after.refused {
        return println!("skipped: {refused}: RLIMIT_MEMLOCK is too low here");
    }
    assert!(after.memory_bytes >= 40 << 20, "{after:?}");
    cache.evict(u64::MAX);
    for number in (0..48 * MIB / PAGE).rev() {
        let mut found = vec![0; PAGE];
        handle.read_at(&mut found, (number * PAGE) as u64).unwrap();
        assert!(found == page_of(number as u64), "page {number}");
    }
    let bytes = fs::read(&path).unwrap();
    assert!((0..).zip(bytes.chunks(PAGE)).all(|(number, page)| page == page_of(number)));
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * PAGE as u64
}

/// What a child of this binary says in one test.
fn child(test: &str, path: &Path, prefix: &[&str]) -> Option<String> {
    let mut words = prefix.iter().map(|word| (*word).to_owned());
    let exe = env::current_exe().unwrap().into_os_string().into_string().unwrap();
    let mut command = Command::new(words.next().unwrap_or_else(|| exe.clone()));
    if !prefix.is_empty() {
        command.args(words).arg(&exe);
    }
    command.args([test, "--exact", "--nocapture"]).env("WRITEBACK_URING_CHILD", path);
    let output = command.output().ok()?;
    Some(
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr),
    )
}

fn as_child() -> Option<PathBuf> {
    env::var_os("WRITEBACK_URING_CHILD").map(PathBuf::from)
}

#[test]
fn child_that_is_made_smaller() {
    let Some(path) = as_child() else { return };
    let (cache, store, mapping) = registered(&path, 64 << 20);
    mapping.handle().write_at(&vec![7; 60 * MIB], 0).unwrap();
    mapping.handle().sync_data().unwrap();
    let registered = store.registered().memory_bytes;
    let full = resident();
    cache.resize(1 << 20).unwrap();
    while cache.evict(u64::MAX) > 0 {}
    let pinned = resident();
    drop((store, mapping));
    println!("\ngiven back {registered} {full} {pinned} {}", resident());
}

/// While the store is there its cache's memory stays where it is; afterwards it goes.
#[test]
fn a_cache_that_is_made_smaller_gives_its_memory_back_after_the_store() {
    let Some((_folder, path)) = folder() else { return };
    let told = child("child_that_is_made_smaller", &path, &[]).unwrap();
    let line = told.lines().find_map(|line| line.strip_prefix("given back ")).expect(&told);
    let figures: Vec<u64> = line.split(' ').map(|figure| figure.parse().unwrap()).collect();
    let &[registered, full, pinned, after] = &figures[..] else { panic!("{line}") };
    if registered == 0 {
        return println!("skipped: no memory can be registered here");
    }
    // Under a sanitizer there is more that is not the cache's.
    assert!(pinned + (15 << 20) > full && after + (40 << 20) < pinned, "{line}");
}

#[test]
fn child_that_may_lock_little() {
    let Some(path) = as_child() else { return };
    let cache = PageCache::new(CacheConfig::bytes(64 << 20)).unwrap();
    let config = Config::new().cache(&cache);
    let memory = Arc::new(writeback::MemStore::new());
    let filling = Mapping::with_config(memory, config.clone()).unwrap();
    filling.handle().write_at(&vec![1; 16 * MIB], 0).unwrap();
    let options = UringStore::options().memory(&cache);
    // What this user's other processes have locked for the moment counts too, and a ring as well.
    let created = |options: &UringOptions| loop {
        match options.create(&path) {
            Err(error) if error.to_string().contains("memory for a ring") => thread::yield_now(),
            created => return created,
        }
    };
    let error = created(&options.clone().require_memory(true)).map(drop).unwrap_err();
    assert!(error.kind() == ErrorKind::OutOfMemory && error.to_string().contains("of the cache"));
    assert_eq!(fs::read(&path).unwrap(), b"abc", "it was emptied before the refusal");
    let store = Arc::new(created(&options).unwrap());
    let registered = store.registered();
    assert!(registered.file && registered.memory_bytes == 0, "{registered:?}");
    let errno = registered.refused.expect("it was refused").raw_os_error();
    assert!(matches!(errno, Some(libc::ENOMEM | libc::EPERM)), "{errno:?}");
    let handle = Mapping::with_config(store, config).unwrap().handle();
    handle.write_at(&vec![7; 4 * MIB], 0).unwrap();
    handle.sync_data().unwrap();
    assert!(fs::read(&path).unwrap() == vec![7; 4 * MIB]);
    println!("\nall the same");
}

#[test]
fn what_the_kernel_refuses_to_register_is_used_as_it_is() {
    let Some((_folder, path)) = folder() else { return };
    fs::write(&path, b"abc").unwrap();
    // Root may lock what it likes.
    let limits = [
        "setpriv",
        "--bounding-set",
        "-ipc_lock",
        "--inh-caps",
        "-ipc_lock",
        "prlimit",
        "--memlock=1048576:1048576",
    ];
    match child("child_that_may_lock_little", &path, &limits) {
        Some(told) if told.contains("running 1 test") => {
            assert!(told.contains("\nall the same"), "{told}");
        }
        told => println!("skipped: setpriv and prlimit are not to be had here: {told:?}"),
    }
}

#[test]
fn child_without_descriptors() {
    let Some(path) = as_child() else { return };
    let mut files = Vec::new();
    while let Ok(file) = fs::File::open("/dev/null") {
        files.push(file);
    }
    let error = UringStore::create(&path).map(drop).unwrap_err();
    files.truncate(files.len() - 3);
    println!("\nrefused {error}");
}

#[test]
fn a_ring_that_cannot_be_had_changes_no_file() {
    let Some((_folder, path)) = folder() else { return };
    fs::write(&path, b"abc").unwrap();
    let prefix = ["prlimit", "--nofile=64:64"];
    match child("child_without_descriptors", &path, &prefix) {
        Some(told) if told.contains("running 1 test") => {
            assert!(told.contains("refused the kernel gives no ring: Too many open"), "{told}");
            assert_eq!(fs::read(&path).unwrap(), b"abc");
        }
        told => println!("skipped: prlimit is not to be had here: {told:?}"),
    }
}

/// Has the kernel answer a thread, and those which it starts, with an error when they ask for a ring.
fn forbid_rings(errno: u32) {
    const LOAD_NUMBER: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let number = u32::try_from(libc::SYS_io_uring_setup).unwrap();
    let mut steps = [
        step(LOAD_NUMBER, 0, 0, 0),
        step(IF_EQUAL, 0, 1, number),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | errno),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: 4, filter: steps.as_mut_ptr() };
    // SAFETY: it takes no address.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(done, 0);
    // SAFETY: the filter and its steps are there until it returns, which has copied them.
    let done =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

/// As in a container, or on a kernel without.
#[test]
fn a_system_that_forbids_rings_is_told_of_in_words_and_no_file_changes() {
    let Some((_folder, path)) = folder() else { return };
    fs::write(&path, b"abc").unwrap();
    for (errno, kind, refused) in [
        (libc::EPERM, ErrorKind::PermissionDenied, Refused::Forbidden),
        (libc::ENOSYS, ErrorKind::Unsupported, Refused::Missing),
    ] {
        let path = path.clone();
        let told = thread::spawn(move || {
            forbid_rings(errno.cast_unsigned());
            (UringStore::probe(), UringStore::create(&path).map(drop))
        });
        let (probed, created) = told.join().unwrap();
        assert_eq!(probed, Err(refused));
        let error = created.unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains("seccomp"), "{error}");
    }
    assert_eq!(fs::read(&path).unwrap(), b"abc");
}

#[test]
fn a_child_made_by_fork_is_told_that_it_has_no_ring() {
    let Some((_folder, path)) = folder() else { return };
    let store = UringStore::create(&path).unwrap();
    store.write_at(0, &page_of(0)).unwrap();
    let (mut told, tell) = io::pipe().unwrap();
    // SAFETY: the child has this thread only, takes no lock that another may have, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // Without the test's harness, whose other threads are not here; and not for ever.
        // SAFETY: it takes no address.
        unsafe { libc::alarm(30) };
        let refused = store.sync(FlushKind::Data).is_err();
        drop(store);
        let word: &[u8] = if refused { b"refused" } else { b"done" };
        // SAFETY: the bytes are there.
        unsafe { libc::write(tell.as_raw_fd(), word.as_ptr().cast(), word.len()) };
        // SAFETY: it takes no address.
        unsafe { libc::_exit(0) };
    }
    drop(tell);
    let mut word = String::new();
    io::Read::read_to_string(&mut told, &mut word).unwrap();
    // SAFETY: it is this process's child; nobody wants to know how it ended.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    assert_eq!(word, "refused");
    // The parent goes on.
    store.write_at(PAGE as u64, &page_of(1)).unwrap();
    store.sync(FlushKind::All).unwrap();
    assert_eq!(fs::read(&path).unwrap(), [page_of(0), page_of(1)].concat());
}
