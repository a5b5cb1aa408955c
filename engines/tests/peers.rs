//! Several have a database open that one of them changes: in one process by files that were opened apart, and in several processes.

use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use engines::Cached;
use redb::backends::FileBackend;
use redb::{
    BackendError, Builder, ConcurrencyMode, Database, DatabaseError, ReadOnlyDatabase,
    ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend, TableDefinition,
};
use writeback::{CacheConfig, Config, Flusher, FlusherConfig, PageCache};

const NUMBERS: TableDefinition<'_, u64, u64> = TableDefinition::new("numbers");
const BLOBS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blobs");
/// For the child: the database, what it does, and how often.
const FILE: &str = "ENGINES_PEERS_FILE";
const TASK: &str = "ENGINES_PEERS_TASK";
const ROUNDS: u64 = 60;
/// How long threads are at work.
const SECONDS: &str = "ENGINES_PEERS_SECONDS";

type Bounds = (Bound<u64>, Bound<u64>);

const WRITER: Bounds = (Bound::Included(1 << 62), Bound::Included(1 << 62));
const HEADER: Bounds = (Bound::Included(0), Bound::Excluded(320));

fn builder(mode: ConcurrencyMode) -> Builder {
    let mut builder = Database::builder();
    builder.set_concurrency_mode(mode);
    builder
}

/// Small pages, or large ones of which a few fit.
fn configs() -> [Config; 2] {
    let cache = PageCache::new(CacheConfig::new(20)).unwrap();
    [Config::new(), Config::new().page_size(16 * 1024).cache(&cache)]
}

fn cached(path: &Path, config: &Config) -> Cached {
    Cached::open(path, config.clone()).unwrap()
}

fn by_redb(path: &Path) -> FileBackend {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
    FileBackend::new(file.unwrap()).unwrap()
}

fn insert(database: &Database, number: u64) {
    let change = database.begin_write().unwrap();
    change.open_table(NUMBERS).unwrap().insert(number, number).unwrap();
    change.open_table(BLOBS).unwrap().insert(number % 10, &*blob(number)).unwrap();
    change.commit().unwrap();
}

fn blob(number: u64) -> Vec<u8> {
    vec![number.to_le_bytes()[0]; index(1 + number * 997 % 20_000)]
}

fn index(number: u64) -> usize {
    number.try_into().unwrap()
}

/// Checks that it has the numbers from 0 to before `end`, and what belongs to them.
#[track_caller]
fn has_all(database: &impl ReadableDatabase, end: u64) {
    let read = database.begin_read().unwrap();
    assert_eq!(read.open_table(NUMBERS).unwrap().len().unwrap(), end);
    let blobs = read.open_table(BLOBS).unwrap();
    for number in end.saturating_sub(10)..end {
        let bytes = blobs.get(number % 10).unwrap().expect("it was committed");
        assert!(bytes.value() == blob(number), "of {number}");
    }
}

#[test]
fn writers_take_turns_and_find_each_others_commits() {
    for config in configs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("database");
        let mode = ConcurrencyMode::MultiWriter;
        let open = || builder(mode).create_with_backend(cached(&path, &config)).unwrap();
        // One of them is redb's own.
        let other = builder(mode).create_with_backend(by_redb(&path)).unwrap();
        let databases = [open(), open(), other];
        let reader = builder(mode).open_read_only_with_backend(cached(&path, &config)).unwrap();
        for number in 0..ROUNDS {
            let [first, second] = [number % 3, (number + 1) % 3].map(index);
            let before = (number > 0).then(|| databases[second].begin_read().unwrap());
            insert(&databases[first], number);
            databases.iter().for_each(|database| has_all(database, number + 1));
            has_all(&reader, number + 1);
            // What began earlier still sees what was there, also while there are more commits.
            if let Some(before) = before {
                assert_eq!(before.open_table(NUMBERS).unwrap().len().unwrap(), number);
            }
        }
        drop(databases);
        drop(reader);
        let mut alone = Database::builder().create_with_backend(by_redb(&path)).unwrap();
        assert!(alone.check_integrity().unwrap());
        has_all(&alone, ROUNDS);
    }
}

#[test]
fn readers_follow_a_single_writer() {
    for config in configs() {
        for (of_redb, reads) in [(false, false), (false, true), (true, false)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("database");
            let mode = ConcurrencyMode::SingleWriter;
            let builder = builder(mode);
            let writer = match of_redb {
                true => builder.create_with_backend(by_redb(&path)),
                false => builder.create_with_backend(cached(&path, &config)),
            };
            let writer = writer.unwrap();
            let reader: ReadOnlyDatabase = match reads {
                true => builder.open_read_only_with_backend(by_redb(&path)),
                false => builder.open_read_only_with_backend(cached(&path, &config)),
            }
            .unwrap();
            let second = builder.create_with_backend(cached(&path, &config));
            assert!(matches!(second, Err(DatabaseError::DatabaseAlreadyOpen)), "{second:?}");
            for number in 0..ROUNDS {
                insert(&writer, number);
                has_all(&reader, number + 1);
            }
            drop(writer);
            // The next one goes on, and the reader with it.
            let writer = builder.create_with_backend(cached(&path, &config)).unwrap();
            insert(&writer, ROUNDS);
            has_all(&reader, ROUNDS + 1);
            has_all(&writer, ROUNDS + 1);
        }
    }
}

/// The file grows and is cut while others have it open.
#[test]
fn a_file_that_others_lengthen_and_cut_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database");
    let mode = ConcurrencyMode::MultiWriter;
    let open = || builder(mode).create_with_backend(cached(&path, &Config::new())).unwrap();
    let (mut first, second) = (open(), open());
    insert(&first, 0);
    has_all(&second, 1);
    let len = || std::fs::metadata(&path).unwrap().len();
    for round in 0..3 {
        let change = second.begin_write().unwrap();
        let mut table = change.open_table(BLOBS).unwrap();
        for key in 1000..1400 {
            table.insert(key, &*vec![round; 10_000]).unwrap();
        }
        drop(table);
        change.commit().unwrap();
        let long = len();
        assert!(long > 4_000_000);
        let blobs = first.begin_read().unwrap().open_table(BLOBS).unwrap();
        for entry in blobs.range(1000..).unwrap() {
            assert!(entry.unwrap().1.value().iter().all(|&byte| byte == round));
        }
        drop(blobs);
        let change = first.begin_write().unwrap();
        change.open_table(BLOBS).unwrap().retain(|key, _| key < 1000).unwrap();
        change.commit().unwrap();
        first.compact().unwrap();
        assert!(len() < long / 2, "{} of {long}", len());
        has_all(&second, 1);
    }
}

/// An aborted transaction, whose pages came to the file, leaves nothing that another is misled by.
#[test]
fn what_is_aborted_is_not_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database");
    let open = || {
        let mut builder = builder(ConcurrencyMode::MultiWriter);
        // It writes before it commits.
        builder.set_cache_size(100_000);
        builder.create_with_backend(cached(&path, &Config::new())).unwrap()
    };
    let databases = [open(), open()];
    for number in 0..20 {
        let [turn, other] = [number % 2, (number + 1) % 2].map(index);
        let change = databases[other].begin_write().unwrap();
        let mut table = change.open_table(BLOBS).unwrap();
        for key in 0..50 {
            table.insert(key, &*vec![255; 10_000 + index(number)]).unwrap();
        }
        drop(table);
        change.abort().unwrap();
        insert(&databases[turn], number);
        databases.iter().for_each(|database| has_all(database, number + 1));
    }
    drop(databases);
    let mut alone = Database::builder().create_with_backend(by_redb(&path)).unwrap();
    assert!(alone.check_integrity().unwrap());
}

/// Every transaction writes the same number everywhere, so a page that another replaced shows. In each of two databases one thread writes and two read.
#[test]
fn snapshots_stay_whole_while_several_commit() {
    let seconds = env::var(SECONDS).map_or(1, |seconds| seconds.parse().unwrap());
    for config in configs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("database");
        let open = || {
            let backend = cached(&path, &config);
            let flusher = FlusherConfig::new().interval(Duration::from_millis(3));
            let flusher = flusher.dirty_expire(Duration::ZERO);
            let flusher = Flusher::start([backend.mapping().clone()], flusher).unwrap();
            let mut builder = builder(ConcurrencyMode::MultiWriter);
            (builder.set_cache_size(100_000).create_with_backend(backend).unwrap(), flusher)
        };
        let databases = [open(), open()];
        let attempts = AtomicU64::new(0);
        let write = |database: &Database| {
            let change = database.begin_write().unwrap();
            let mut numbers = change.open_table(NUMBERS).unwrap();
            let next = numbers.get(0).unwrap().map_or(0, |number| number.value()) + 1;
            let mut blobs = change.open_table(BLOBS).unwrap();
            for key in 0..40 {
                numbers.insert(key, next).unwrap();
                blobs.insert(key, &*blob(next + key)).unwrap();
            }
            drop((numbers, blobs));
            if attempts.fetch_add(1, Ordering::Relaxed) % 5 == 4 {
                change.abort().unwrap();
                return next - 1;
            }
            change.commit().unwrap();
            next
        };
        let look = |database: &Database| {
            let read = database.begin_read().unwrap();
            let numbers = read.open_table(NUMBERS).unwrap();
            let number = numbers.get(0).unwrap().unwrap().value();
            let blobs = read.open_table(BLOBS).unwrap();
            for key in 0..40 {
                assert_eq!(numbers.get(key).unwrap().unwrap().value(), number);
                let bytes = blobs.get(key).unwrap().unwrap();
                assert!(bytes.value() == blob(number + key), "{key} in transaction {number}");
            }
            number
        };
        let end = Instant::now() + Duration::from_secs(seconds);
        let repeat = |database: &Database, step: &dyn Fn(&Database) -> u64| {
            let (mut last, mut count) = (0, 0);
            while Instant::now() < end || count < 5 {
                let number = step(database);
                assert!(number >= last, "{number} after {last}");
                (last, count) = (number, count + 1);
            }
        };
        write(&databases[0].0);
        thread::scope(|scope| {
            for (database, _) in &databases {
                scope.spawn(|| repeat(database, &write));
                scope.spawn(|| repeat(database, &look));
                scope.spawn(|| repeat(database, &look));
            }
        });
        for (database, flusher) in databases {
            drop(database);
            flusher.stop();
        }
        let mut alone = Database::builder().create_with_backend(by_redb(&path)).unwrap();
        assert!(alone.check_integrity().unwrap());
        look(&alone);
    }
}

fn shared(backend: &Cached, locked: Bounds) {
    backend.lock_shared_range(locked.0, locked.1).unwrap();
}

fn unlock(backend: &Cached, locked: Bounds) {
    backend.unlock_range(locked.0, locked.1).unwrap();
}

fn read(backend: &Cached, offset: u64) -> u8 {
    let mut byte = [0];
    backend.read(offset, &mut byte).unwrap();
    byte[0]
}

/// Locks as redb does, without it.
#[test]
fn what_is_cached_stays_until_the_header_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database");
    let [writer, reader] = [(); 2].map(|()| cached(&path, &Config::new()));
    let pages = |backend: &Cached| backend.mapping().stats().cached;
    writer.lock_range(WRITER.0, WRITER.1).unwrap();
    writer.lock_range(HEADER.0, HEADER.1).unwrap();
    writer.set_len(40_000).unwrap();
    writer.write(0, &[1; 320]).unwrap();
    writer.write(20_000, &[1]).unwrap();
    unlock(&writer, HEADER);
    // It is in the file, and not because anybody has synced it.
    assert_eq!(std::fs::read(&path).unwrap()[20_000], 1);
    assert_eq!(writer.mapping().stats().flushes, 0);

    shared(&reader, HEADER);
    assert_eq!((read(&reader, 0), read(&reader, 20_000), reader.len().unwrap()), (1, 1, 40_000));
    unlock(&reader, HEADER);
    let kept = pages(&reader);
    assert!(kept >= 2);

    // A page and the length, but not the header: no commit, so that is not looked for. The length is.
    writer.write(20_000, &[2]).unwrap();
    writer.set_len(50_000).unwrap();
    writer.sync_data().unwrap();
    shared(&reader, HEADER);
    assert!(pages(&reader) >= kept - 1, "but for the last page");
    assert_eq!((read(&reader, 20_000), reader.len().unwrap()), (1, 50_000));
    unlock(&reader, HEADER);

    // With the header.
    writer.lock_range(HEADER.0, HEADER.1).unwrap();
    writer.write(100, &[2]).unwrap();
    let own = pages(&writer);
    unlock(&writer, HEADER);
    shared(&reader, HEADER);
    assert_eq!(pages(&reader), 0);
    assert_eq!((read(&reader, 100), read(&reader, 20_000)), (2, 2));
    unlock(&reader, HEADER);

    // The writer knows its own changes, also when it comes again.
    unlock(&writer, WRITER);
    writer.lock_range(WRITER.0, WRITER.1).unwrap();
    assert_eq!(pages(&writer), own);
    unlock(&writer, WRITER);
    // Until another was there.
    reader.lock_range(WRITER.0, WRITER.1).unwrap();
    reader.lock_range(HEADER.0, HEADER.1).unwrap();
    reader.write(100, &[3]).unwrap();
    reader.write(30_000, &[3]).unwrap();
    unlock(&reader, HEADER);
    unlock(&reader, WRITER);
    writer.lock_range(WRITER.0, WRITER.1).unwrap();
    assert_eq!((pages(&writer), read(&writer, 30_000)), (0, 3));
}

#[test]
fn after_any_other_lock_and_a_close_all_is_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database");
    std::fs::write(&path, [1; 10_000]).unwrap();
    let backend = cached(&path, &Config::new());
    let look = |locked: Bounds| {
        shared(&backend, locked);
        let byte = read(&backend, 5000);
        unlock(&backend, locked);
        byte
    };
    let change = |byte: u8| {
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[byte], 5000).unwrap();
    };
    assert_eq!(look(HEADER), 1);
    change(2);
    assert_eq!(look(HEADER), 1, "the header is as it was");
    assert_eq!(look((Bound::Unbounded, Bound::Unbounded)), 2);
    assert_eq!(look(HEADER), 2);
    change(3);
    assert_eq!(look((Bound::Included(7), Bound::Included(7))), 3);
    assert_eq!(look(HEADER), 3);
    change(4);
    backend.close().unwrap();
    assert_eq!(look(HEADER), 4);
}

#[test]
fn what_somebody_changed_beside_the_database_is_no_base_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database");
    let backend = cached(&path, &Config::new());
    backend.mapping().handle().write_at(&[1; 100], 0).unwrap();
    for bounds in [HEADER, WRITER, (Bound::Unbounded, Bound::Unbounded)] {
        let told = backend.try_lock_range(bounds.0, bounds.1).unwrap_err().to_string();
        assert!(told.contains("dirty"), "{told}");
        // Nobody has it.
        let other = by_redb(&path);
        assert!(other.try_lock_range(bounds.0, bounds.1).unwrap());
    }
    backend.mapping().handle().sync_data().unwrap();
    assert!(backend.try_lock_range(WRITER.0, WRITER.1).unwrap());
}

/// What another version of redb would do there nobody knows.
#[test]
fn another_generation_of_the_protocol_is_unsupported() {
    let folder = tempfile::tempdir().unwrap();
    let backend = cached(&folder.path().join("database"), &Config::new());
    let generation = |number: u64| Bound::Included((1 << 62) + 5 + number);
    for number in 1..64 {
        let told = backend.try_lock_shared_range(generation(number), generation(number));
        assert!(matches!(told, Err(BackendError::Unsupported)), "{told:?}");
    }
    assert!(backend.try_lock_shared_range(generation(0), generation(0)).unwrap());
}

/// A child of this test binary, which is told to go on by lines.
struct Peer {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Peer {
    fn of(path: &Path, task: &str) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["child", "--exact", "--nocapture"]).env(FILE, path).env(TASK, task);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut peer = Self { child, lines };
        assert_eq!(peer.next(), Some("opened".into()));
        peer
    }

    /// The next thing that it says.
    fn next(&mut self) -> Option<String> {
        self.lines.find_map(|line| Some(line.ok()?.strip_prefix("peer: ")?.to_owned()))
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"on\n").unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(text: &str) {
    println!("\npeer: {text}");
}

fn count(database: &Database) -> u64 {
    let change = database.begin_write().unwrap();
    let mut table = change.open_table(NUMBERS).unwrap();
    let next = table.len().unwrap();
    table.insert(next, next).unwrap();
    drop(table);
    change.open_table(BLOBS).unwrap().insert(next % 10, &*blob(next)).unwrap();
    change.commit().unwrap();
    next
}

/// The child, if the test binary was started as one.
#[test]
fn child() {
    let (Some(path), Ok(task)) = (env::var_os(FILE), env::var(TASK)) else { return };
    let path = PathBuf::from(path);
    let mut ons = std::io::stdin().lines();
    if task == "follow" {
        let backend = cached(&path, &Config::new());
        let builder = builder(ConcurrencyMode::SingleWriter);
        let reader = builder.open_read_only_with_backend(backend).unwrap();
        say("opened");
        while let Some(Ok(_)) = ons.next() {
            let read = reader.begin_read().unwrap();
            let len = read.open_table(NUMBERS).unwrap().len().unwrap();
            has_all(&reader, len);
            say(&len.to_string());
        }
        return;
    }
    let backend = cached(&path, &Config::new());
    // Dirty pages go to the file at any time.
    let config =
        FlusherConfig::new().interval(Duration::from_millis(2)).dirty_expire(Duration::ZERO);
    let flusher = Flusher::start([backend.mapping().clone()], config).unwrap();
    let database = builder(ConcurrencyMode::MultiWriter).create_with_backend(backend).unwrap();
    say("opened");
    let rounds = if task == "count" { ROUNDS } else { u64::MAX };
    let Some(Ok(_)) = ons.next() else { return };
    for _ in 0..rounds {
        say(&count(&database).to_string());
    }
    drop(database);
    flusher.stop();
}

#[test]
fn processes_count_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database");
    let mode = ConcurrencyMode::MultiWriter;
    let database = builder(mode).create_with_backend(cached(&path, &Config::new())).unwrap();
    count(&database);
    let mut peers = [(); 2].map(|()| Peer::of(&path, "count"));
    peers.iter_mut().for_each(Peer::go_on);
    let mut counted = vec![0];
    counted.extend((0..ROUNDS).map(|_| {
        thread::yield_now();
        count(&database)
    }));
    for peer in &mut peers {
        counted.extend((0..ROUNDS).map(|_| peer.next().unwrap().parse::<u64>().unwrap()));
        assert!(peer.child.wait().unwrap().success());
    }
    counted.sort_unstable();
    assert!(counted.iter().copied().eq(0..=3 * ROUNDS), "{counted:?}");
    has_all(&database, 3 * ROUNDS + 1);
    drop(database);
    let mut alone = Database::builder().create_with_backend(by_redb(&path)).unwrap();
    assert!(alone.check_integrity().unwrap());
}

#[test]
fn another_process_follows_a_single_writer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database");
    let mode = ConcurrencyMode::SingleWriter;
    let database = builder(mode).create_with_backend(cached(&path, &Config::new())).unwrap();
    insert(&database, 0);
    let mut peer = Peer::of(&path, "follow");
    for number in 1..ROUNDS {
        insert(&database, number);
        peer.go_on();
        assert_eq!(peer.next(), Some((number + 1).to_string()));
    }
}

/// Its locks are gone with it, and what it had acknowledged is there.
#[test]
fn a_process_that_is_killed_amid_commits_leaves_the_others_with_all_it_had_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database");
    let mode = ConcurrencyMode::MultiWriter;
    let database = builder(mode).create_with_backend(cached(&path, &Config::new())).unwrap();
    let mut counted = count(&database);
    for kill in 0..8 {
        let mut peer = Peer::of(&path, "without end");
        peer.go_on();
        for _ in 0..5 + kill {
            counted = peer.next().unwrap().parse().unwrap();
        }
        thread::sleep(Duration::from_millis(7 * kill % 10));
        drop(peer);
        let next = count(&database);
        assert!(next > counted, "{counted} was acknowledged");
        has_all(&database, next + 1);
        counted = next;
    }
    drop(database);
    let mut alone = Database::builder().create_with_backend(by_redb(&path)).unwrap();
    assert!(alone.check_integrity().unwrap());
    has_all(&alone, counted + 1);
}
