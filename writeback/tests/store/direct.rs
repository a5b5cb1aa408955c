//! `DirectStore`: a file past the kernel's cache does all that a file does, and is in one memory. So it is of every store of such files: these
//! tests are those of `UringStore` too.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use proptest::prelude::*;
use rustix::fs::OFlags;
use writeback::store::Store;
use writeback::{Budget, CacheConfig, Config, FileStore, Handle, Mapping, PageCache, SyncMode};

use crate::copies::{cached, folder as folder_on_a_device, skip};
use crate::{DirectStore, can_be, within};

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;

/// A folder where files can have direct I/O.
fn folder() -> Option<(tempfile::TempDir, PathBuf)> {
    if !can_be() {
        return None;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("file");
    match DirectStore::create(&path) {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            skip("direct I/O");
            return None;
        }
        created => drop(created.unwrap()),
    }
    fs::remove_file(&path).unwrap();
    Some((folder, path))
}

/// What another test is starting has the file's lock for a moment.
fn reopened(path: &Path) -> DirectStore {
    let open = || FileStore::options().direct(true).open(path);
    drop(crate::common_files::reopened(open));
    loop {
        match DirectStore::open(path) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

#[track_caller]
fn assert_refused<T>(opened: io::Result<T>, kind: ErrorKind, why: &str) {
    let error = opened.map(drop).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(why), "{error}");
}

#[test]
fn the_tail_is_padded_until_a_sync_sets_the_length() {
    let Some((_folder, path)) = folder() else { return };
    let mapping = Mapping::open(DirectStore::create(&path).unwrap()).unwrap();
    mapping.handle().write_at(&[7; 5000], 0).unwrap();
    mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED).unwrap();
    mapping.wait_range(..);
    assert_eq!(fs::metadata(&path).unwrap().len(), 8192);
    mapping.handle().sync_data().unwrap();
    assert_eq!(fs::read(&path).unwrap(), [7; 5000]);
    mapping.close().unwrap();
    let handle = Mapping::open(reopened(&path)).unwrap().handle();
    let mut bytes = [0; 8192];
    assert_eq!(handle.read_at(&mut bytes, 0).unwrap(), 5000);
    assert_eq!(bytes[..5000], [7; 5000]);
}

#[test]
fn nothing_of_it_is_in_the_kernels_cache() {
    let Some((_folder, path)) = folder_on_a_device().filter(|_| can_be()) else { return };
    let Ok(store) = DirectStore::create(&path) else { return skip("direct I/O") };
    let mapping = Mapping::open(store).unwrap();
    let handle = mapping.handle();
    for offset in (0..64 * MIB).step_by(MIB) {
        handle.write_at(&vec![7; MIB], offset as u64).unwrap();
        // Also without a flush.
        handle.mapping().write_range(.., SyncMode::Wait, Budget::UNLIMITED).unwrap();
    }
    mapping.wait_range(..);
    assert_eq!(cached(&path), 0);
    drop(handle);
    mapping.close().unwrap();
    let handle = Mapping::open(reopened(&path)).unwrap().handle();
    let mut bytes = vec![0; 64 * MIB];
    assert_eq!(handle.read_at(&mut bytes, 0).unwrap(), bytes.len());
    assert!(bytes.iter().all(|byte| *byte == 7));
    assert_eq!(cached(&path), 0);
}

#[test]
fn what_has_no_direct_io_is_refused_in_words() {
    let Some((folder, path)) = folder() else { return };
    fs::write(&path, b"abc").unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let why = "not open for direct I/O";
    assert_refused(DirectStore::from_file(file), ErrorKind::InvalidInput, why);
    // A file of a file system that has none, on every Linux.
    let none = Path::new("/proc/self/coredump_filter");
    if none.exists() {
        let opens = [DirectStore::open, DirectStore::open_or_create, DirectStore::create];
        for open in opens {
            assert_refused(open(none), ErrorKind::Unsupported, "no direct I/O");
        }
        assert_refused(DirectStore::options().open(none), ErrorKind::Unsupported, "direct I/O");
    } else {
        skip("a file that has no direct I/O");
    }
    assert_refused(DirectStore::open(folder.path()), ErrorKind::IsADirectory, "directory");
    let there_is_none = DirectStore::open(folder.path().join("none")).map(drop).unwrap_err();
    assert_eq!(there_is_none.kind(), ErrorKind::NotFound);
    // Pages that are shorter than what is written at once.
    let store = Arc::new(DirectStore::open(&path).unwrap());
    let small = Mapping::with_config(store.clone(), Config::new().page_size(512));
    assert!(small.is_err(), "{small:?}");
    let all = fs::read(&path).unwrap();
    assert_eq!((all.as_slice(), store.limits().alignment), (&b"abc"[..], PAGE));
}

/// For the child that has a file system without direct I/O: where that is.
const NONE: &str = "WRITEBACK_DIRECT_NONE";

/// The child, if the test binary was started as one.
#[test]
fn child_without_direct_io() {
    let Some(folder) = env::var_os(NONE) else { return };
    let (new, there) = (Path::new(&folder).join("new"), Path::new(&folder).join("there"));
    fs::write(&there, b"abc").unwrap();
    let link = Path::new(&folder).join("link");
    std::os::unix::fs::symlink(&there, &link).unwrap();
    for open in [DirectStore::open_or_create, DirectStore::create] {
        for path in [&new, &there, &link] {
            assert_refused(open(path), ErrorKind::Unsupported, "no direct I/O");
        }
    }
    assert!(!new.exists() && fs::read(&link).unwrap() == b"abc");
    // What is wrong with a name is said of it.
    let name = DirectStore::open_or_create(Path::new("\0")).map(drop).unwrap_err();
    assert_eq!(name.kind(), ErrorKind::InvalidInput);
    println!("\nrefused");
}

#[test]
fn what_is_refused_leaves_no_file() {
    if !can_be() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    command.arg("mount -t ramfs none \"$0\" && echo mounted && exec \"$@\"").arg(folder.path());
    command.arg(env::current_exe().unwrap());
    command.args(["direct::child_without_direct_io", "--exact", "--nocapture"]);
    let told = command.env(NONE, folder.path()).output();
    let told = told.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match told {
        Ok(told) if told.contains("mounted") => assert!(told.contains("\nrefused"), "{told}"),
        _ => skip("a file system that has no direct I/O and can be mounted"),
    }
}

#[test]
fn it_is_locked_as_every_file_is() {
    let Some((_folder, path)) = folder() else { return };
    let store = DirectStore::create(&path).unwrap();
    assert_refused(DirectStore::open(&path), ErrorKind::ResourceBusy, "in use");
    assert_refused(DirectStore::create(&path), ErrorKind::ResourceBusy, "in use");
    assert_refused(FileStore::open(&path), ErrorKind::ResourceBusy, "in use");
    DirectStore::options().lock(false).open(&path).unwrap();
    let duplicate = DirectStore::from_file(store.file().try_clone().unwrap()).unwrap();
    drop((store, duplicate));
    reopened(&path);
}

#[test]
fn a_file_that_was_opened_so_is_taken() {
    let Some((_folder, path)) = folder() else { return };
    let flags = i32::try_from(OFlags::DIRECT.bits()).unwrap();
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).custom_flags(flags).open(&path);
    let handle = Mapping::open(DirectStore::from_file(file.unwrap()).unwrap()).unwrap().handle();
    handle.write_at(b"hello", 0).unwrap();
    handle.sync_all().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"hello");
}

/// The most that one call takes, as pages, and more, in a cache of few.
#[test]
fn long_runs_go_through_a_small_cache() {
    within(|| {
        let Some((_folder, path)) = folder() else { return };
        let cache = PageCache::new(CacheConfig::new(64)).unwrap();
        let store = Arc::new(DirectStore::create(&path).unwrap());
        let mapping = Mapping::with_config(store, Config::new().cache(&cache)).unwrap();
        let handle = mapping.handle();
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(3 * MIB + 333).collect();
        handle.write_at(&bytes, 100).unwrap();
        let mut found = vec![0; bytes.len()];
        assert_eq!(handle.read_at(&mut found, 100).unwrap(), bytes.len());
        assert!(found == bytes);
        drop(handle);
        mapping.close().unwrap();
        assert!(fs::read(&path).unwrap()[100..] == bytes);
    });
}

#[derive(Debug, Clone)]
enum Step {
    Write { offset: usize, len: usize },
    SetLen(usize),
    Punch { offset: usize, len: usize },
    Zero { offset: usize, len: usize },
    Sync,
    Reopen { direct: bool },
}

const LEN_MAX: usize = 10 * PAGE;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let range = || (0..LEN_MAX, 1..3 * PAGE);
    let step = prop_oneof![
        6 => range().prop_map(|(offset, len)| Step::Write { offset, len }),
        2 => (0..LEN_MAX).prop_map(Step::SetLen),
        1 => range().prop_map(|(offset, len)| Step::Punch { offset, len }),
        1 => range().prop_map(|(offset, len)| Step::Zero { offset, len }),
        3 => Just(Step::Sync),
        1 => any::<bool>().prop_map(|direct| Step::Reopen { direct }),
    ];
    prop::collection::vec(step, 1..30)
}

/// As a mapping over the file does it.
fn perform(handle: &Handle, model: &mut Vec<u8>, number: u8, step: &Step) {
    let zeros = |model: &mut Vec<u8>, offset: usize, len: usize| {
        let len_before = model.len();
        let end = (offset + len).min(len_before);
        model[offset.min(end)..end].fill(0);
    };
    match *step {
        Step::Write { offset, len } => {
            handle.write_at(&vec![number; len], offset as u64).unwrap();
            model.resize(model.len().max(offset + len), 0);
            model[offset..offset + len].fill(number);
        }
        Step::SetLen(len) => {
            handle.set_len(len as u64).unwrap();
            model.resize(len, 0);
        }
        Step::Punch { offset, len } => {
            handle.punch(offset as u64..(offset + len) as u64).unwrap();
            zeros(model, offset, len);
        }
        Step::Zero { offset, len } => {
            handle.zero(offset as u64..(offset + len) as u64).unwrap();
            zeros(model, offset, len);
        }
        Step::Sync => handle.sync_data().unwrap(),
        Step::Reopen { .. } => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Each sync leaves exactly the bytes that were written, for those who read past it and for those who open it in the other way.
    #[test]
    fn whatever_is_done_to_it_the_file_has_the_bytes(program in steps()) {
        let Some((_folder, path)) = folder() else { return Ok(()) };
        let mut mapping = Mapping::open(DirectStore::create(&path).unwrap()).unwrap();
        let mut model = Vec::new();
        for (number, step) in (1..).zip(&program) {
            perform(&mapping.handle(), &mut model, number, step);
            match step {
                Step::Sync => prop_assert!(fs::read(&path).unwrap() == model, "step {}", number),
                Step::Reopen { direct } => {
                    mapping.close().unwrap();
                    let open = || FileStore::options().direct(*direct).open(&path);
                    mapping = Mapping::open(crate::common_files::reopened(open)).unwrap();
                }
                _ => {}
            }
            let mut found = vec![0; model.len() + PAGE];
            let count = mapping.handle().read_at(&mut found, 0).unwrap();
            prop_assert!(found[..count] == model, "step {}", number);
        }
        mapping.close().unwrap();
        prop_assert!(fs::read(&path).unwrap() == model);
    }
}

/// For the child that is killed: its file.
const FILE: &str = "WRITEBACK_DIRECT_FILE";
const PAGES: u64 = 16;

/// What a round writes: some pages, and a tail that ends within a page.
fn round(number: u64) -> (impl Iterator<Item = u64>, u64) {
    let pages = (0..PAGES).filter(move |page| (number ^ page).is_multiple_of(3));
    (pages, PAGES * PAGE as u64 + number * 37 % 20_000)
}

/// The child, if the test binary was started as one.
#[test]
fn child() {
    let Some(path) = env::var_os(FILE) else { return };
    let handle = Mapping::open(DirectStore::open_or_create(path).unwrap()).unwrap().handle();
    for number in 1_u64.. {
        let (pages, len) = round(number);
        handle.set_len(len).unwrap();
        for page in pages {
            let bytes = number.to_le_bytes().repeat(PAGE / 8);
            handle.write_at(&bytes, page * PAGE as u64).unwrap();
        }
        handle.write_at(&number.to_le_bytes()[..1], len - 1).unwrap();
        println!("begun {number}");
        handle.sync_data().unwrap();
        println!("synced {number}");
    }
}

/// What comes after the pages, when a round has been synced: the last bytes of rounds, until one is cut off.
fn tail(number: u64) -> Vec<u8> {
    let mut tail = Vec::new();
    for number in 1..=number {
        let len = round(number).1 - PAGES * PAGE as u64;
        tail.resize(usize::try_from(len).unwrap(), 0);
        if let Some(last) = tail.last_mut() {
            *last = number.to_le_bytes()[0];
        }
    }
    tail
}

/// Each page of it is of the last round, of the next, or of the last one cut to the length of the next.
fn check_tail(bytes: &[u8], synced: u64) {
    let (before, next) = (tail(synced), tail(synced + 1));
    let cut = before[..before.len().min(next.len())].to_vec();
    let states = [before, next, cut].map(|mut state| {
        state.resize(bytes.len().max(state.len()), 0);
        state
    });
    for (number, page) in bytes.chunks(PAGE).enumerate() {
        let range = number * PAGE..number * PAGE + page.len();
        let known = states.iter().any(|state| state[range.clone()] == *page);
        assert!(known, "page {number} of the tail after {synced}");
    }
}

/// Each page is whole and of the last round that wrote it, or of the one that was not synced yet; and so is the length, or it is padded.
fn check(bytes: &[u8], synced: u64) {
    let of_page = |page: u64| {
        let start = usize::try_from(page).unwrap() * PAGE;
        let numbers = bytes[start..start + PAGE].as_chunks::<8>().0;
        assert!(numbers.iter().all(|number| *number == numbers[0]), "page {page} is torn");
        u64::from_le_bytes(numbers[0])
    };
    for page in 0..PAGES {
        let writes = |number: &u64| round(*number).0.any(|written| written == page);
        let last = (1..=synced).rev().find(writes).unwrap_or(0);
        let next = Some(synced + 1).filter(writes).unwrap_or(last);
        let found = of_page(page);
        assert!(found == last || found == next, "page {page}: {found}, synced were {synced}");
    }
    check_tail(&bytes[usize::try_from(PAGES).unwrap() * PAGE..], synced);
    let (before, next) = (round(synced).1, round(synced + 1).1);
    let page = PAGE as u64;
    let possible = [before, next, before.next_multiple_of(page), next.next_multiple_of(page)];
    assert!(possible.contains(&(bytes.len() as u64)), "{} bytes after {synced}", bytes.len());
    if bytes.len() as u64 == before && next != before {
        assert_eq!(bytes[bytes.len() - 1], synced.to_le_bytes()[0]);
    }
}

#[test]
fn a_process_that_is_killed_loses_nothing_that_was_synced() {
    let Some((folder, _)) = folder() else { return };
    for kill in 0..20_u64 {
        let path = folder.path().join(kill.to_string());
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["direct::child", "--exact", "--nocapture"]).env(FILE, &path);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // In the middle of a sync, or of the writes that come before the next.
        let last = format!("{} {}", if kill % 2 == 0 { "begun" } else { "synced" }, 10 + kill * 3);
        let found = lines.any(|line| line.ends_with(&last));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found, "it ended by itself");
        let synced = lines.filter_map(|line| line.strip_prefix("synced ")?.parse().ok()).max();
        let known = if kill % 2 == 0 { 9 + kill * 3 } else { 10 + kill * 3 };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut File::open(&path).unwrap(), &mut bytes).unwrap();
        check(&bytes, synced.unwrap_or(known));
    }
}
