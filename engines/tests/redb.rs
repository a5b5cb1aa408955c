//! redb over `writeback`, in short; the long forms are in `cargo run --release --example redb`.

use std::env;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use engines::cuts::{self, Plan};
use engines::files::{self, Opened};
use engines::history::History;
use engines::session::{self, verify};
use engines::work::{self, Counts};
use engines::{Cached, Failure, faults, kill};
use redb::backends::FileBackend;
use redb::{Database, StorageBackend};
use writeback::Mapping;
use writeback::store::fault::{Action, Fault, FaultStore, Rule};

/// For the child of a kill loop: the database, the seed, and whether its backend syncs.
const FILE: &str = "ENGINES_KILL_FILE";
const SEED: &str = "ENGINES_KILL_SEED";
const SYNCS: &str = "ENGINES_KILL_SYNCS";

#[test]
fn the_backend_does_what_redb_asks_for() {
    let store = FaultStore::new(1);
    let backend = Cached::new(&Mapping::open(store.clone()).unwrap());
    backend.write(10, b"abc").unwrap();
    assert_eq!(backend.len().unwrap(), 13);
    let mut bytes = [9; 4];
    // All of it or an error.
    assert_eq!(backend.read(10, &mut bytes).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    backend.set_len(11).unwrap();
    backend.set_len(14).unwrap();
    backend.read(10, &mut bytes).unwrap();
    assert_eq!(&bytes, b"a\0\0\0");
    backend.sync_data().unwrap();
    assert_eq!(store.durable(), b"\0\0\0\0\0\0\0\0\0\0a\0\0\0");
    backend.write(0, b"x").unwrap();
    store.inject(Rule::new(Fault::NoSpace).on(Action::Write));
    assert_eq!(backend.sync_data().unwrap_err().kind(), io::ErrorKind::StorageFull);
    backend.close().unwrap();
    assert!(store.durable().starts_with(b"x"), "closing saves what is left");
    assert!(backend.write(0, b"y").is_err());
}

#[test]
fn threads_at_work_find_every_transaction_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database");
    let seconds = Duration::from_secs;
    let plan =
        work::Plan { seed: 1, writers: 3, readers: 2, length: seconds(2), round: seconds(1) };
    let counts = Counts::default();
    let opened = files::open(files::lock(&path).unwrap(), Some(100)).unwrap();
    let Opened { mut database, mapping, flusher } = opened;
    let number = work::run(&mut database, &plan, &counts, || ()).unwrap();
    database.close().unwrap();
    flusher.stop();
    drop(mapping);
    // Past the cache: redb's own backend finds all of it in the file.
    let file = FileBackend::new(files::lock(&path).unwrap()).unwrap();
    let mut database = Database::builder().create_with_backend(file).unwrap();
    verify(&mut database, &mut History::new(plan.seed), number..=number).unwrap();
    assert!(number > 5, "{counts:?}");
}

/// The child, if the test binary was started as one.
#[test]
fn child() {
    let (Some(path), Ok(seed)) = (env::var_os(FILE), env::var(SEED)) else { return };
    let (path, seed) = (Path::new(&path), seed.parse().unwrap());
    let syncs = env::var_os(SYNCS).is_some();
    let open = |mapping: &Mapping| match syncs {
        true => session::open(Cached::new(mapping)),
        false => session::open(Forgetful(Cached::new(mapping))),
    };
    kill::child(&kill::map(path).unwrap(), seed, open).unwrap();
}

fn kill_loop(kills: u64, syncs: bool) -> Result<kill::Report, Failure> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database");
    let command = || {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["child", "--exact", "--nocapture"]).env(FILE, &path).env(SEED, "5");
        command.envs(syncs.then_some((SYNCS, "yes")));
        command
    };
    kill::run(&path, 5, kills, command, |_| ())
}

#[test]
fn kills_lose_no_commit() {
    let report = kill_loop(30, true).unwrap();
    assert_eq!(report.kills, 30);
    assert!(report.transactions > 10 && report.cuts > 5, "{report:?}");
}

#[test]
fn power_cuts_lose_no_commit() {
    let plan = Plan { seed: 1, cuts: 40, every: 6 };
    let report = cuts::run(&plan, Cached::new, |_| ()).unwrap();
    assert_eq!(report.cuts, 40);
    assert!(report.amid > 10, "{report:?}");
}

/// A backend that only says that it syncs.
#[derive(Debug)]
struct Forgetful(Cached);

impl StorageBackend for Forgetful {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}

#[test]
fn a_backend_that_does_not_sync_is_found_out_by_kills() {
    let failure = kill_loop(20, false).unwrap_err();
    assert!(matches!(failure, Failure::Broken(_)), "{failure}");
}

#[test]
fn a_backend_that_does_not_sync_is_found_out_by_power_cuts() {
    let plan = Plan { seed: 1, cuts: 40, every: 6 };
    let backend = |mapping: &Mapping| Forgetful(Cached::new(mapping));
    let failure = cuts::run(&plan, backend, |_| ()).unwrap_err();
    assert!(matches!(failure, Failure::Broken(_)), "{failure}");
}

#[test]
fn every_fault_of_the_store_is_told_and_loses_no_commit() {
    let reports = faults::run(1, 1, |_| ()).unwrap();
    assert!(reports.iter().all(|(_, report)| report.told > 0 && report.cuts > 0), "{reports:?}");
}
