//! What a kernel would take in another way than it is meant, and a kernel that takes nothing any more.
#![cfg(target_os = "linux")]

mod common;

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::common::folder;
use writeback::DirectStore;
use writeback::store::{FlushKind, Store};
use writeback_uring::UringStore;

const PAGE: usize = 4096;

/// As another store, and not at the file's own position, which is what a ring takes the last offset for.
#[test]
fn nothing_is_written_where_no_file_reaches() {
    let Some((folder, path)) = folder() else { return };
    let ring = UringStore::create(&path).unwrap();
    let direct = DirectStore::create(folder.path().join("direct")).unwrap();
    for store in [&ring as &dyn Store, &direct] {
        store.write_at(0, &[1; PAGE]).unwrap();
        for offset in [u64::MAX, 1 << 63, (1 << 63) - PAGE as u64] {
            let written = store.write_at(offset, &[9; PAGE]).unwrap_err();
            let read = store.read_at(offset, &mut [0; PAGE]).unwrap_err();
            assert_eq!(written.raw_os_error(), Some(libc::EINVAL), "{offset}");
            assert_eq!(read.raw_os_error(), Some(libc::EINVAL), "{offset}");
        }
    }
    assert_eq!(fs::read(&path).unwrap(), [1; PAGE]);
}

/// Has the kernel refuse to be entered for a ring, all threads of this process.
fn forbid_entering() {
    const LOAD_NUMBER: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let number = u32::try_from(libc::SYS_io_uring_enter).unwrap();
    let mut steps = [
        step(LOAD_NUMBER, 0, 0, 0),
        step(IF_EQUAL, 0, 1, number),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned()),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: 4, filter: steps.as_mut_ptr() };
    // SAFETY: it takes no address.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(done, 0);
    // SAFETY: the filter and its steps are there until it returns, which has copied them.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const filter,
        )
    };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

#[test]
fn child_that_may_not_enter() {
    let Some(path) = env::var_os("WRITEBACK_URING_CHILD").map(PathBuf::from) else { return };
    let store = UringStore::open_or_create(path).unwrap();
    store.write_at(0, &[1; PAGE]).unwrap();
    forbid_entering();
    let (tell, told) = channel();
    thread::spawn(move || {
        let calls = [
            store.write_at(0, &[2; PAGE]),
            store.read_at(0, &mut [0; PAGE]).map(drop),
            store.sync(FlushKind::Data),
        ];
        drop(store);
        let _ = tell.send(calls.map(|called| called.unwrap_err().raw_os_error()));
    });
    let told = told.recv_timeout(Duration::from_secs(20));
    println!("\nended {}", told == Ok([Some(libc::EPERM); 3]));
}

/// A sandbox that is closed after the store was opened.
#[test]
fn a_ring_that_may_not_be_entered_any_more_leaves_nobody_waiting() {
    let Some((_folder, path)) = folder() else { return };
    let output = Command::new(env::current_exe().unwrap())
        .args(["child_that_may_not_enter", "--exact", "--nocapture"])
        .env("WRITEBACK_URING_CHILD", &path)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("\nended true"), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read(&path).unwrap(), [1; PAGE]);
}
