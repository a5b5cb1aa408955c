//! A file that takes less than it is given: what the kernel does at a limit of the file's size.
//!
//! The limit is a process's, so the write is made by this test's own program, started again under a limit.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use writeback::{Config, Error, FileStore, Mapping};

use crate::common::{PAGE, assert_settled, page};
use crate::common_files::reopened;

const PAGES: usize = 6;
/// Where the limit is: within the fourth page, in the units of `ulimit`.
const LIMIT: usize = 3 * PAGE + 1024;
const UNIT: usize = 512;

const FOLDER: &str = "WRITEBACK_LIMITED_FOLDER";
/// Whether the file has direct I/O.
const DIRECT: &str = "WRITEBACK_LIMITED_DIRECT";
/// Whether the limit lies within a block of that.
const WITHIN: &str = "WRITEBACK_LIMITED_WITHIN";

/// A mapping of pages that are all dirty, each of its number and one more.
fn open_dirty(path: &Path, direct: bool) -> Mapping {
    let store = FileStore::options().direct(direct).create(path).unwrap();
    let mapping = Mapping::with_config(Arc::new(store), Config::new()).unwrap();
    for page in 0..PAGES {
        let byte = u8::try_from(page + 1).unwrap();
        mapping.handle().write_at(&[byte; PAGE], (page * PAGE) as u64).unwrap();
    }
    mapping
}

fn expected() -> Vec<u8> {
    (0..PAGES * PAGE).map(|at| u8::try_from(at / PAGE + 1).unwrap()).collect()
}

/// What is left in the file by a process that may not make it longer than `limit`.
fn left_under(limit: usize, direct: bool) -> Vec<u8> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // A signal comes with the error, which is to be ignored, as it is by who has limits.
    let set = match limit % UNIT {
        0 => format!("ulimit -f {}", limit / UNIT),
        _ => format!("prlimit --pid $$ --fsize={limit}"),
    };
    let script = format!("trap '' XFSZ; {set} && exec \"$@\"");
    let name = "file::under_a_limit";
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture"]).env(FOLDER, folder.path());
    command.envs(direct.then_some((DIRECT, "yes")));
    command.envs((!limit.is_multiple_of(UNIT)).then_some((WITHIN, "yes")));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
    std::fs::read(folder.path().join("pages")).unwrap()
}

#[test]
fn a_write_that_a_limit_cuts_short_is_told_as_far_as_it_came() {
    crate::common::watch();
    let left = left_under(LIMIT, false);
    // What is there is there to the byte.
    assert!(left == expected()[..LIMIT], "{} bytes", left.len());
}

/// With direct I/O a call takes whole blocks.
#[test]
fn a_direct_write_that_a_limit_cuts_short_is_told_as_far_as_it_came() {
    crate::common::watch();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    if FileStore::options().direct(true).create(folder.path().join("pages")).is_err() {
        assert!(std::env::var_os("DIRECT_REQUIRED").is_none(), "direct I/O is missing");
        return println!("skipped: there is no direct I/O here");
    }
    for limit in [3 * PAGE, 3 * PAGE + 100] {
        let left = left_under(limit, true);
        assert!(left == expected()[..3 * PAGE], "{} bytes of {limit}", left.len());
    }
}

#[test]
#[ignore = "started by the test above, under a limit"]
fn under_a_limit() {
    crate::common::watch();
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("set by the test above"));
    let mapping = open_dirty(&folder.join("pages"), std::env::var_os(DIRECT).is_some());
    let error = mapping.handle().sync_data().unwrap_err();
    let within = std::env::var_os(WITHIN).is_some();
    let fits = error.is_no_space() != within;
    assert!(matches!(&error, Error::Write { .. }) && fits, "{error}");
    let is_dirty = |index| page(&mapping, index).snapshot().is_dirty();
    let dirty: Vec<_> = (0..PAGES as u64).map(is_dirty).collect();
    assert_eq!(dirty, [false, false, false, true, true, true], "what was taken whole is clean");
    assert_eq!(mapping.stats().bytes_written, 3 * PAGE as u64);
    mapping.check().unwrap();
}

#[test]
fn a_file_is_as_it_was_written_where_there_is_no_limit() {
    crate::common::watch();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pages");
    let mapping = open_dirty(&path, false);
    mapping.handle().sync_data().unwrap();
    assert!(std::fs::read(&path).unwrap() == expected());
    assert_settled(&mapping);
    drop(mapping); // and the file's lock with it
    let again = Mapping::open(reopened(|| FileStore::open(&path))).unwrap();
    let mut bytes = vec![0; PAGES * PAGE];
    assert_eq!(again.handle().read_at(&mut bytes, 0).unwrap(), bytes.len());
    assert!(bytes == expected());
}
