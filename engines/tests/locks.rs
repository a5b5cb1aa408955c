//! A database is open once: whoever opens it again is refused, in this process and in others.

use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Bound;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use engines::Cached;
use proptest::prelude::*;
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, StorageBackend, TableDefinition};
use writeback::{Config, Mapping, MemStore};

const NUMBERS: TableDefinition<'_, u64, u64> = TableDefinition::new("numbers");
/// For the child: the database that it opens.
const FILE: &str = "ENGINES_LOCKS_FILE";
const BYTE: (Bound<u64>, Bound<u64>) = (Bound::Included(7), Bound::Included(7));
/// Longer than a thread that is not waiting takes, however busy the machine is.
const MOMENT: Duration = Duration::from_millis(100);
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

/// Whoever waits for `backend`'s lock has it only after `ends` was done, and then does.
fn waits_until(backend: &Arc<Cached>, lock: fn(&Cached), ends: impl FnOnce()) {
    let (tell, told) = channel();
    let backend = Arc::clone(backend);
    // Not in a scope: a thread that nobody wakes would keep the test from failing.
    let waiter = thread::spawn(move || {
        lock(&backend);
        tell.send(()).unwrap();
    });
    told.recv_timeout(MOMENT).unwrap_err();
    ends();
    told.recv_timeout(PATIENCE).expect("it is woken");
    waiter.join().unwrap();
}

#[test]
fn whoever_waits_for_a_range_is_woken_when_the_last_conflict_is_gone() {
    let mapping = Mapping::open(MemStore::new()).unwrap();
    let [first, second, third] = [(); 3].map(|()| Arc::new(Cached::new(&mapping)));
    let exclusive = |cached: &Cached| cached.lock_range(BYTE.0, BYTE.1).unwrap();
    let shared = |cached: &Cached| cached.lock_shared_range(BYTE.0, BYTE.1).unwrap();
    shared(&first);
    shared(&second);
    second.unlock_range(BYTE.0, BYTE.1).unwrap();
    // A writer waits for a reader.
    waits_until(&third, exclusive, || first.unlock_range(BYTE.0, BYTE.1).unwrap());
    // A reader for a writer, who becomes a reader.
    waits_until(&first, shared, || shared(&third));
    // A writer for a reader that is closed, and for another that is dropped.
    waits_until(&second, exclusive, || {
        first.close().unwrap();
        drop(third);
    });
}

#[test]
fn threads_that_lock_a_range_have_it_one_at_a_time() {
    let mapping = Mapping::open(MemStore::with_contents([0; 8])).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let backend = Cached::new(&mapping);
                for _ in 0..500 {
                    backend.lock_range(BYTE.0, BYTE.1).unwrap();
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
    backend.lock_range(start, end).unwrap_err();
    backend.lock_shared_range(start, end).unwrap_err();
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
