//! A database is open once: whoever opens it again is refused, in this process and in others.

use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Bound;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use engines::Cached;
use proptest::prelude::*;
use redb::backends::FileBackend;
use redb::{
    BackendError, ConcurrencyMode, Database, DatabaseError, ReadableDatabase, StorageBackend,
    StorageError, TableDefinition,
};
use writeback::store::Store;
use writeback::store::fault::{Action, Fault, FaultStore, Rule};
use writeback::{Config, Mapping, MemStore};

const NUMBERS: TableDefinition<'_, u64, u64> = TableDefinition::new("numbers");
/// For the child: the database that it opens.
const FILE: &str = "ENGINES_LOCKS_FILE";
const BYTE: (Bound<u64>, Bound<u64>) = (Bound::Included(7), Bound::Included(7));
const PATIENCE: Duration = Duration::from_secs(20);

type Opens = fn(&Path) -> Result<Database, DatabaseError>;

fn open(backend: impl StorageBackend) -> Result<Database, DatabaseError> {
    Database::builder().create_with_backend(backend)
}

fn over_file(path: &Path) -> Result<Database, DatabaseError> {
    open(Cached::open(path, Config::new()).unwrap())
}

fn by_redb(path: &Path) -> Result<Database, DatabaseError> {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
    open(FileBackend::new(file.unwrap()).unwrap())
}

#[track_caller]
fn refused(second: Result<Database, DatabaseError>) {
    assert!(matches!(second, Err(DatabaseError::DatabaseAlreadyOpen)), "{second:?}");
}

fn insert(database: &Database, number: u64) {
    let change = database.begin_write().unwrap();
    change.open_table(NUMBERS).unwrap().insert(number, number).unwrap();
    change.commit().unwrap();
}

fn has(database: &Database, number: u64) -> bool {
    let table = database.begin_read().unwrap().open_table(NUMBERS).unwrap();
    table.get_owned(number).unwrap().is_some()
}

#[test]
fn a_second_database_in_a_mapping_is_refused() {
    let store = Arc::new(MemStore::new());
    let mappings =
        [(); 3].map(|()| Mapping::with_config(Arc::clone(&store) as _, Config::new()).unwrap());
    let first = open(Cached::new(&mappings[0])).unwrap();
    refused(open(Cached::new(&mappings[0])));
    // Nor in another one of the same store, which would not see a change of the first.
    refused(open(Cached::new(&mappings[1])));
    insert(&first, 1);
    // Another store is nobody's business.
    open(Cached::new(&Mapping::open(MemStore::new()).unwrap())).unwrap();
    drop(first);
    let again = Mapping::with_config(store, Config::new()).unwrap();
    assert!(has(&open(Cached::new(&again)).unwrap(), 1));
}

#[test]
fn a_backend_that_is_dropped_without_being_closed_locks_nothing() {
    let mapping = Mapping::open(MemStore::new()).unwrap();
    let backend = Cached::new(&mapping);
    assert!(backend.try_lock_range(Bound::Unbounded, Bound::Unbounded).unwrap());
    drop(backend);
    open(Cached::new(&mapping)).unwrap();
}

#[test]
fn a_second_database_in_a_file_is_refused_whatever_its_backend_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database");
    let opens: [Opens; 2] = [over_file, by_redb];
    for (number, first) in opens.into_iter().enumerate() {
        let database = first(&path).unwrap();
        insert(&database, number as u64);
        for second in opens {
            refused(second(&path));
        }
        assert!(has(&database, number as u64));
    }
    // All of it is there, whoever wrote it.
    let database = by_redb(&path).unwrap();
    assert!(has(&database, 0) && has(&database, 1));
}

#[test]
fn without_a_file_only_an_exclusive_writer_can_open_it_and_nothing_is_closed_by_others() {
    let mapping = Mapping::open(MemStore::new()).unwrap();
    let first = open(Cached::new(&mapping)).unwrap();
    insert(&first, 1);
    for mode in [ConcurrencyMode::SingleWriter, ConcurrencyMode::MultiWriter] {
        let mut builder = Database::builder();
        builder.set_concurrency_mode(mode);
        // Beside a database that is open, and where there is none.
        let beside = builder.create_with_backend(Cached::new(&mapping));
        assert!(beside.is_err(), "{mode:?}");
        assert!(builder.open_read_only_with_backend(Cached::new(&mapping)).is_err(), "{mode:?}");
        insert(&first, 2);
        let backend = || Cached::new(&Mapping::open(MemStore::new()).unwrap());
        let alone = builder.create_with_backend(backend()).map(drop);
        assert!(unsupported(&alone), "{alone:?} in {mode:?}");
        let alone = builder.open_read_only_with_backend(backend()).map(drop);
        assert!(unsupported(&alone), "{alone:?} in {mode:?}");
    }
    assert!(has(&first, 1) && has(&first, 2));
}

/// What the other modes begin with is refused before anybody has a lock of it.
#[test]
fn without_a_file_locks_of_other_modes_are_unsupported() {
    let backend = Cached::new(&Mapping::open(MemStore::new()).unwrap());
    let unsupported = |told| matches!(told, Err(BackendError::Unsupported));
    for byte in (0..3).map(|number| Bound::Included((1 << 62) + number)) {
        assert!(unsupported(backend.try_lock_range(byte, byte)));
        assert!(unsupported(backend.try_lock_shared_range(byte, byte)));
    }
    assert!(unsupported(backend.lock_range(BYTE.0, BYTE.1).map(|()| true)));
    assert!(unsupported(backend.lock_shared_range(BYTE.0, BYTE.1).map(|()| true)));
    assert!(backend.try_lock_range(BYTE.0, BYTE.1).unwrap());
}

fn unsupported(opened: &Result<(), DatabaseError>) -> bool {
    matches!(opened, Err(DatabaseError::Storage(StorageError::Unsupported)))
}

/// By redb's own backend another process may have it so.
#[test]
fn a_database_that_has_several_writers_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database");
    insert(&by_redb(&path).unwrap(), 1);
    for mode in [ConcurrencyMode::SingleWriter, ConcurrencyMode::MultiWriter] {
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let mut builder = Database::builder();
        builder.set_concurrency_mode(mode);
        let several = builder.create_with_backend(FileBackend::new(file).unwrap()).unwrap();
        refused(over_file(&path));
        let backend = Cached::open(&path, Config::new()).unwrap();
        let reader = Database::builder().open_read_only_with_backend(backend).map(drop);
        assert!(matches!(reader, Err(DatabaseError::DatabaseAlreadyOpen)), "{reader:?}");
        insert(&several, 2);
    }
    assert!(has(&over_file(&path).unwrap(), 2));
}

#[test]
fn readers_close_nothing_that_others_have() {
    let mapping = Mapping::open(MemStore::new()).unwrap();
    insert(&open(Cached::new(&mapping)).unwrap(), 1);
    let again = Mapping::with_config(Arc::clone(mapping.store()), Config::new()).unwrap();
    let read = || Database::builder().open_read_only_with_backend(Cached::new(&again)).unwrap();
    let (first, second) = (read(), read());
    refused(open(Cached::new(&again)));
    drop(first);
    assert!(
        second.begin_read().unwrap().open_table(NUMBERS).unwrap().get_owned(1).unwrap().is_some()
    );
    drop(second);
    let database = open(Cached::new(&again)).unwrap();
    insert(&database, 2);
    assert!(has(&database, 1) && has(&database, 2));
}

/// A backend may be made while another has the database, and opened when that is closed.
#[test]
fn a_backend_that_was_made_earlier_sees_what_was_changed_since() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database");
    // While it grows from nothing, and from something.
    for round in 0..2 {
        let early = Cached::open(&path, Config::new()).unwrap();
        let asked = Cached::open(&path, Config::new()).unwrap();
        // It has a page.
        asked.mapping().handle().read_at(&mut [0], 0).unwrap();
        let other = over_file(&path).unwrap();
        let change = other.begin_write().unwrap();
        let mut table = change.open_table(NUMBERS).unwrap();
        for number in 0..50_000 {
            table.insert(round * 50_000 + number, number).unwrap();
        }
        drop(table);
        change.commit().unwrap();
        drop(other);
        let database = open(asked).unwrap();
        assert!(has(&database, round * 50_000 + 49_999));
        insert(&database, 1_000_000 + round);
        drop(database);
        let database = open(early).unwrap();
        assert!(has(&database, round * 50_000 + 49_999) && has(&database, 1_000_000 + round));
    }
    assert!(has(&by_redb(&path).unwrap(), 1_000_001));
}

#[test]
fn a_mapping_that_was_opened_earlier_is_renewed_unless_it_has_changes_of_its_own() {
    let store: Arc<dyn Store> = Arc::new(MemStore::new());
    let mapping = || Mapping::with_config(Arc::clone(&store), Config::new()).unwrap();
    let try_lock = |mapping: &Mapping| {
        let backend = Cached::new(mapping);
        backend.try_lock_range(Bound::Unbounded, Bound::Unbounded).map(|locked| (locked, backend))
    };
    let change = |mapping: &Mapping, bytes: &[u8]| {
        let (locked, backend) = try_lock(mapping).unwrap();
        assert!(locked);
        backend.write(0, bytes).unwrap();
        backend.close().unwrap();
    };
    let first_of = |mapping: &Mapping| {
        let (locked, backend) = try_lock(mapping).unwrap();
        let mut byte = [0];
        backend.read(0, &mut byte).unwrap();
        (locked, backend.len().unwrap(), byte[0])
    };
    let before = mapping();
    change(&mapping(), &[1; 10]);
    // It has another length than the store.
    assert_eq!(first_of(&before), (true, 10, 1));
    let read = mapping();
    let dirty = mapping();
    read.handle().read_at(&mut [0], 0).unwrap();
    dirty.handle().write_at(&[9], 0).unwrap();
    change(&mapping(), &[2; 10]);
    // It has a page that only it knows.
    let told = try_lock(&dirty).unwrap_err().to_string();
    assert!(told.contains("dirty"), "{told}");
    assert!(Cached::new(&dirty).try_lock_shared_range(BYTE.0, BYTE.1).is_err());
    // It has a page.
    assert_eq!(first_of(&read), (true, 10, 2));
    // Now it has one again, and nobody has changed that: it is kept.
    assert_eq!(read.stats().cached, 1);
    assert!(try_lock(&read).unwrap().0);
    assert_eq!(read.stats().cached, 1);
    // Readers keep it as well.
    change(&mapping(), &[2; 10]);
    let look = || {
        let backend = Cached::new(&read);
        assert!(backend.try_lock_shared_range(BYTE.0, BYTE.1).unwrap());
        backend.read(0, &mut [0]).unwrap();
        read.stats().misses
    };
    assert_eq!(look(), look());
    // One that was closed can be read, if it has the store's length.
    change(&read, &[3; 10]);
    let closed = read;
    change(&mapping(), &[4; 10]);
    assert_eq!(first_of(&closed), (true, 10, 4));
}

#[test]
fn a_mapping_with_something_unsaved_keeps_others_off() {
    let store = FaultStore::new(1);
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    let mapping = || Mapping::with_config(Arc::clone(&shared), Config::new()).unwrap();
    let mut saved = None;
    // Until one is saved, and until one is gone.
    for round in 0..2 {
        let unsaved = mapping();
        let database = open(Cached::new(&unsaved)).unwrap();
        insert(&database, round);
        store.inject(Rule::new(Fault::NoSpace).on(Action::Write).persistent());
        let change = database.begin_write().unwrap();
        change.open_table(NUMBERS).unwrap().insert(7, 7).unwrap();
        change.commit().unwrap_err();
        drop(database);
        assert!(unsaved.stats().dirty > 0);
        let others = mapping();
        refused(open(Cached::new(&others)));
        store.heal();
        refused(open(Cached::new(&others)));
        if round == 0 {
            // Which tells of the error once more.
            unsaved.handle().sync_data().unwrap_err();
            insert(&open(Cached::new(&unsaved)).unwrap(), 3);
            saved = Some(unsaved);
        } else {
            drop(unsaved);
        }
        let others = mapping();
        let mut database = open(Cached::new(&others)).unwrap();
        assert!(has(&database, round));
        assert!(database.check_integrity().unwrap());
    }
    assert!(saved.is_some());
}

#[test]
fn a_backend_that_is_dropped_without_being_closed_keeps_others_off_if_it_has_changed_something() {
    let store: Arc<dyn Store> = Arc::new(MemStore::new());
    let mapping = || Mapping::with_config(Arc::clone(&store), Config::new()).unwrap();
    let first = mapping();
    let backend = Cached::new(&first);
    assert!(backend.try_lock_range(Bound::Unbounded, Bound::Unbounded).unwrap());
    backend.write(0, b"abc").unwrap();
    drop(backend);
    assert_eq!(first.stats().dirty, 1);
    let other = Cached::new(&mapping());
    assert!(!other.try_lock_range(Bound::Unbounded, Bound::Unbounded).unwrap());
    drop(first);
    assert!(other.try_lock_range(Bound::Unbounded, Bound::Unbounded).unwrap());
}

#[test]
fn the_mapping_of_a_file_cannot_be_opened_beside_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Cached::open(folder.path().join("database"), Config::new()).unwrap();
    let mapping = backend.mapping().clone();
    let other = Mapping::with_config(Arc::clone(mapping.store()), Config::new()).unwrap();
    let database = open(backend).unwrap();
    refused(open(Cached::new(&mapping)));
    refused(open(Cached::new(&other)));
    insert(&database, 1);
    drop(database);
    // Nor afterwards: what it locked no other process would see.
    for mapping in [&mapping, &other] {
        let told = open(Cached::new(mapping)).unwrap_err().to_string();
        assert!(told.contains("open the file"), "{told}");
        assert!(Database::builder().open_read_only_with_backend(Cached::new(mapping)).is_err());
    }
}

/// A commit is no use if the file that it is in cannot be found after a power cut.
#[test]
#[cfg(target_os = "linux")]
fn a_file_whose_name_cannot_be_made_durable_is_refused() {
    use std::os::fd::AsRawFd;

    let cached = |path: &Path| Cached::open(path, Config::new()).map(drop);
    let file = tempfile::tempfile().unwrap();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // It is there, and is in no folder.
    Cached::over_file(File::options().read(true).write(true).open(&path).unwrap(), Config::new())
        .unwrap();
    cached(Path::new(&path)).unwrap_err();
    // Nothing there can be synced.
    cached(Path::new("/proc/self/coredump_filter")).unwrap_err();
    // To open a pipe would wait.
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(cached(&pipe).unwrap_err().kind(), std::io::ErrorKind::NotSeekable);
}

/// A child that has the database open, until it is killed.
struct Holder(Child);

impl Holder {
    fn of(path: &Path) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["child", "--exact", "--nocapture"]).env(FILE, path).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let opened = lines.map_while(Result::ok).any(|line| line == "opened");
        let holder = Self(child);
        assert!(opened);
        holder
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The child, if the test binary was started as one.
#[test]
fn child() {
    let Some(path) = env::var_os(FILE) else { return };
    let database = over_file(Path::new(&path)).unwrap();
    insert(&database, 7);
    println!("\nopened");
    // Until it is killed, or its parent has ended without having done so.
    thread::sleep(PATIENCE);
}

#[test]
fn a_database_that_another_process_has_is_refused_until_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database");
    let holder = Holder::of(&path);
    refused(over_file(&path));
    refused(by_redb(&path));
    drop(holder);
    assert!(has(&over_file(&path).unwrap(), 7));
}

#[test]
fn threads_that_lock_a_range_have_it_one_at_a_time() {
    let mapping = Mapping::open(MemStore::with_contents([0; 8])).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let backend = Cached::new(&mapping);
                for _ in 0..500 {
                    while !backend.try_lock_range(BYTE.0, BYTE.1).unwrap() {
                        thread::yield_now();
                    }
                    // Nobody else reads it between this read and this write.
                    let mut bytes = [0; 8];
                    backend.read(0, &mut bytes).unwrap();
                    let next = u64::from_le_bytes(bytes) + 1;
                    thread::yield_now();
                    backend.write(0, &next.to_le_bytes()).unwrap();
                    backend.unlock_range(BYTE.0, BYTE.1).unwrap();
                }
            });
        }
    });
    let mut bytes = [0; 8];
    Cached::new(&mapping).read(0, &mut bytes).unwrap();
    assert_eq!(u64::from_le_bytes(bytes), 2000);
}

#[test]
fn an_empty_range_is_refused() {
    let mapping = Mapping::open(MemStore::new()).unwrap();
    let backend = Cached::new(&mapping);
    let (start, end) = (Bound::Included(7), Bound::Excluded(7));
    backend.try_lock_range(start, end).unwrap_err();
    backend.try_lock_shared_range(start, end).unwrap_err();
    backend.unlock_range(start, end).unwrap_err();
    backend.query_lock_range(start, end).unwrap_err();
}

/// What a program of locks does, by holders of few bytes.
#[derive(Debug, Clone, Copy)]
enum Step {
    TryLock { shared: bool },
    Unlock,
    Query,
    Close,
}

type Range = (Bound<u64>, Bound<u64>);

fn steps() -> impl Strategy<Value = Vec<(usize, Step, Range)>> {
    let step = prop_oneof![
        6 => any::<bool>().prop_map(|shared| Step::TryLock { shared }),
        3 => Just(Step::Unlock),
        3 => Just(Step::Query),
        1 => Just(Step::Close),
    ];
    let bound = |value: u64| {
        prop_oneof![
            Just(Bound::Included(value)),
            Just(Bound::Excluded(value)),
            Just(Bound::Unbounded)
        ]
    };
    let range = (0..8_u64, 0..8_u64).prop_flat_map(move |(from, to)| (bound(from), bound(to)));
    prop::collection::vec((0..3_usize, step, range), 1..60)
}

/// First and last byte of it, if there is one.
fn bytes(range: Range) -> Option<(u64, u64)> {
    let first = match range.0 {
        Bound::Included(first) => first,
        Bound::Excluded(before) => before + 1,
        Bound::Unbounded => 0,
    };
    let last = match range.1 {
        Bound::Included(last) => last,
        Bound::Excluded(after) => after.checked_sub(1)?,
        Bound::Unbounded => u64::MAX,
    };
    (first <= last).then_some((first, last))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The table says what the kernel says of locks on a file.
    #[test]
    fn locks_of_a_store_are_those_of_a_file(program in steps()) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let files = [(); 3].map(|()| FileBackend::new(file.reopen().unwrap()).unwrap());
        let store = Arc::new(MemStore::new());
        let caches = [(); 3].map(|()| {
            Cached::new(&Mapping::with_config(Arc::clone(&store) as _, Config::new()).unwrap())
        });
        let mut held: [Vec<Range>; 3] = Default::default();
        for (holder, step, range) in program {
            let Some((first, last)) = bytes(range) else {
                prop_assert!(files[holder].query_lock_range(range.0, range.1).is_err());
                prop_assert!(caches[holder].query_lock_range(range.0, range.1).is_err());
                continue;
            };
            let overlaps = |own: &Range| bytes(*own).is_some_and(|own| own.0 <= last && first <= own.1);
            let (held, cache, file) = (&mut held[holder], &caches[holder], &files[holder]);
            match step {
                Step::Unlock => {
                    let Some((start, end)) = held.pop() else { continue };
                    cache.unlock_range(start, end).unwrap();
                    file.unlock_range(start, end).unwrap();
                }
                Step::Close => {
                    held.clear();
                    cache.close().unwrap();
                    file.close().unwrap();
                }
                // redb does neither.
                _ if held.iter().any(overlaps) => {}
                Step::Query => prop_assert_eq!(
                    cache.query_lock_range(range.0, range.1).unwrap(),
                    file.query_lock_range(range.0, range.1).unwrap()
                ),
                Step::TryLock { shared } => {
                    let by = |backend: &dyn StorageBackend| match shared {
                        true => backend.try_lock_shared_range(range.0, range.1).unwrap(),
                        false => backend.try_lock_range(range.0, range.1).unwrap(),
                    };
                    let locked = by(cache);
                    prop_assert_eq!(locked, by(file));
                    if locked {
                        held.push(range);
                    }
                }
            }
        }
    }
}
