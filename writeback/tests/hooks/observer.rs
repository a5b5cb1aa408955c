//! Observers: each thing is told once, after the fact, with nothing held.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use writeback::hooks::{Metrics, Observer, WriteEvent};
use writeback::store::{FlushKind, Store};
use writeback::{
    Budget, CacheConfig, Clock, Config, Error, Mapping, MemStore, PageCache, StoreError, SyncMode,
    WeakMapping,
};

use crate::common::{PAGE, TestStore, Writes, eventually};
use crate::journal::Journal;

/// Writes down what it is told, and on request panics, or looks whether it could have a page.
#[derive(Debug, Default)]
struct Diary {
    lines: Mutex<Vec<String>>,
    panic: AtomicBool,
    looks_at: OnceLock<WeakMapping>,
}

impl Diary {
    fn note(&self, line: String) {
        if let Some(mapping) = self.looks_at.get().and_then(WeakMapping::upgrade) {
            assert_page_is_free(&mapping, &line);
        }
        self.lines.lock().push(line);
        assert!(!self.panic.load(Ordering::Relaxed), "told to by the test");
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock())
    }
}

/// That another thread can read, change and lock page 0 now.
fn assert_page_is_free(mapping: &Mapping, when: &str) {
    let (done, is_done) = channel();
    let mapping = mapping.clone();
    thread::spawn(move || {
        let page = mapping.cached_page(0).unwrap();
        page.read_with(|bytes| assert_eq!(bytes.len(), PAGE));
        drop(page.lock_state());
        done.send(()).unwrap();
    });
    is_done.recv_timeout(crate::common::patience()).unwrap_or_else(|_| panic!("held: {when}"));
}

impl Observer for Diary {
    fn dirtied(&self, pages: u64) {
        self.note(format!("dirtied {pages}"));
    }

    fn evicted(&self, pages: u64) {
        self.note(format!("evicted {pages}"));
    }

    fn submitted(&self, write: WriteEvent) {
        self.note(format!("submitted {}+{} {}", write.first_page, write.pages, write.bytes));
    }

    fn written(&self, write: WriteEvent, _took: Duration, outcome: Result<(), &StoreError>) {
        self.note(format!("written {}+{} {}", write.first_page, write.pages, outcome.is_ok()));
    }

    fn flushed(&self, kind: FlushKind, _took: Duration, outcome: Result<(), &Error>) {
        self.note(format!("flushed {kind:?} {}", outcome.is_ok()));
    }

    fn synced(&self, _took: Duration, outcome: Result<(), &Error>) {
        self.note(format!("synced {}", outcome.is_ok()));
    }

    fn failed(&self, error: &StoreError, errors: u64) {
        self.note(format!("failed {errors}: {error}"));
    }

    fn held_up(&self, took: Duration) {
        self.note(format!("held up {}", took > Duration::ZERO));
    }
}

fn observed() -> (Mapping, TestStore, Arc<Diary>) {
    let (store, diary) = (TestStore::new(), Arc::new(Diary::default()));
    let config = Config::new().observer(diary.clone());
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    (mapping, store, diary)
}

#[test]
fn a_write_and_a_sync_are_told_step_by_step() {
    let (mapping, _store, diary) = observed();
    let handle = mapping.handle();
    handle.write_at(&[1; 2 * PAGE + 1], 0).unwrap();
    handle.write_at(&[2; 10], 0).unwrap();
    assert_eq!(diary.take(), ["dirtied 3"]);
    handle.sync_data().unwrap();
    let expected = ["submitted 0+3 8193", "written 0+3 true", "flushed Data true", "synced true"];
    assert_eq!(diary.take(), expected);
    handle.sync_all().unwrap();
    assert_eq!(diary.take(), ["flushed All true", "synced true"]);
    handle.sync_all().unwrap();
    assert_eq!(diary.take(), ["synced true"], "covered");
    mapping.page(0).unwrap().write_with(0..1, |_| ()).unwrap();
    mapping.page(1).unwrap().mark_dirty().unwrap();
    mapping.page(2).unwrap().lock_state().unwrap().mark_dirty().unwrap();
    assert_eq!(diary.take(), ["dirtied 1", "dirtied 1", "dirtied 1"]);
}

#[test]
fn every_way_to_dirty_a_page_is_told() {
    crate::common::watch();
    let (store, diary) = (MemStore::with_contents(vec![0; PAGE]), Arc::new(Diary::default()));
    let config = Config::new().block_size(PAGE / 4).log(Arc::new(Journal::default()));
    let config = config.observer(diary.clone());
    let mapping = Mapping::with_config(Arc::new(store), config).unwrap();
    let (page, handle) = (mapping.page(0).unwrap(), mapping.handle());
    let lock = || page.lock_state().expect("nobody truncates");
    type Dirtier<'d> = (&'d str, &'d dyn Fn());
    let ways: [Dirtier<'_>; 9] = [
        ("write_at", &|| handle.write_at(b"x", 0).unwrap()),
        ("try_write_at", &|| assert_eq!(handle.try_write_at(b"x", 0).unwrap(), 1)),
        ("write_logged_at", &|| handle.write_logged_at(b"x", 0, 1).unwrap()),
        ("write", &|| page.write_with(0..1, |_| ()).unwrap()),
        ("write_logged", &|| page.write_logged(0..1, |_| ()).unwrap()),
        ("mark_dirty", &|| assert!(page.mark_dirty().unwrap())),
        ("mark_blocks_dirty", &|| assert!(page.mark_blocks_dirty(1..2).unwrap())),
        ("mark_dirty, locked", &|| assert!(lock().mark_dirty().unwrap())),
        ("mark_blocks_dirty, locked", &|| assert!(lock().mark_blocks_dirty(1..2).unwrap())),
    ];
    for (name, dirty) in ways {
        dirty();
        assert_eq!(diary.take(), ["dirtied 1"], "{name}");
        assert!(lock().cancel_dirty());
    }
}

#[test]
fn failures_are_told() {
    let (mapping, store, diary) = observed();
    let handle = mapping.handle();
    handle.write_at(&[1; 2 * PAGE], 0).unwrap();
    diary.take();
    store.writes(Writes::Fail(StoreError::NoSpace));
    handle.sync_data().unwrap_err();
    let told = ["failed 1: no space left on the store", "flushed Data true", "synced false"];
    assert_eq!(diary.take()[2..], told);
    store.writes(Writes::Short(PAGE as u64));
    handle.sync_data().unwrap_err();
    assert_eq!(diary.take()[..2], ["submitted 0+2 8192", "written 0+2 false"]);
    store.writes(Writes::Drop);
    handle.sync_data().unwrap_err();
    assert_eq!(
        diary.take()[1..3],
        ["written 1+1 false", &format!("failed 1: {}", StoreError::Lost)]
    );
    store.writes(Writes::Accept);
    store.fail_flush(true);
    handle.sync_data().unwrap_err();
    assert_eq!(diary.take()[2..], ["flushed Data false", "synced false"]);
    assert_eq!(mapping.stats().observer_panics, 0);
}

#[test]
fn a_writeback_of_the_engines_own_tells_its_error() {
    let (mapping, _store, diary) = observed();
    mapping.handle().write_at(&[1; PAGE], 0).unwrap();
    for forget in [true, false] {
        diary.take();
        let claim = mapping.page(0).unwrap().lock_state().unwrap().clear_dirty_for_io().unwrap();
        let writeback = claim.start_writeback().unwrap();
        if forget {
            drop(writeback);
        } else {
            writeback.end(Err(StoreError::NoSpace));
        }
        assert!(diary.take()[0].starts_with("failed 1: "));
    }
}

#[test]
fn errors_of_the_log_are_told() {
    crate::common::watch();
    let (journal, diary) = (Journal::default(), Arc::new(Diary::default()));
    let config = Config::new().observer(diary.clone()).log(Arc::new(journal.clone()));
    let mapping = Mapping::with_config(Arc::new(MemStore::new()), config).unwrap();
    let handle = mapping.handle();
    handle.write_logged_at(b"a", 0, journal.append()).unwrap();
    journal.with(|state| state.fail = true);
    diary.take();
    handle.sync_data().unwrap_err();
    let told = diary.take();
    assert!(told[0].starts_with("failed 1: the log"), "{told:?}");
    assert_eq!(told.last().unwrap(), "synced false");
    assert!(!told.iter().any(|line| line.starts_with("submitted")), "{told:?}");
}

#[test]
fn an_observer_that_panics_disturbs_nobody() {
    let (mapping, store, diary) = observed();
    let handle = mapping.handle();
    diary.panic.store(true, Ordering::Relaxed);
    handle.write_at(&[1; PAGE], 0).unwrap();
    handle.sync_data().unwrap();
    store.writes(Writes::Drop);
    handle.write_at(&[2; PAGE], 0).unwrap();
    handle.sync_data().unwrap_err();
    assert_eq!(mapping.stats().observer_panics, diary.take().len() as u64);
    store.writes(Writes::Accept);
    diary.panic.store(false, Ordering::Relaxed);
    handle.sync_data().unwrap();
    assert_eq!(store.durable(), [2; PAGE]);
    mapping.check().unwrap();
}

#[test]
fn an_observer_is_called_with_the_page_free() {
    let (mapping, store, diary) = observed();
    let handle = mapping.handle();
    handle.write_at(&[1; PAGE], 0).unwrap();
    handle.sync_data().unwrap();
    diary.looks_at.set(mapping.downgrade()).unwrap();
    handle.write_at(&[2; PAGE], 0).unwrap();
    handle.sync_data().unwrap();
    mapping.page(0).unwrap().write_with(0..4, |bytes| bytes.fill(3)).unwrap();
    store.writes(Writes::Fail(StoreError::NoSpace));
    mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED).unwrap();
    store.writes(Writes::Accept);
    handle.sync_data().unwrap_err();
    mapping.page(0).unwrap().mark_dirty().unwrap();
    handle.sync_data().unwrap();
    assert!(diary.take().len() > 10);
    assert_eq!(mapping.stats().observer_panics, 0, "it would have said so");
}

#[test]
fn late_writes_are_told_when_they_end() {
    let (mapping, store, diary) = observed();
    mapping.handle().write_at(&[1; PAGE], 0).unwrap();
    store.writes(Writes::Keep);
    mapping.write_page(0, SyncMode::Skip).unwrap();
    assert_eq!(diary.take(), ["dirtied 1", "submitted 0+1 4096"]);
    eventually("kept", || store.kept() == 1);
    store.release_first(Ok(()));
    assert_eq!(diary.take(), ["written 0+1 true"]);
}

#[test]
fn evictions_and_held_up_writers_are_told() {
    crate::common::watch();
    let diary = Arc::new(Diary::default());
    let cache = PageCache::new(CacheConfig::new(16)).unwrap();
    let config = Config::new().cache(&cache).observer(diary.clone());
    let mapping = Mapping::with_config(Arc::new(MemStore::new()), config).unwrap();
    let handle = mapping.handle();
    for page in 0..64 {
        handle.write_at(&[1; PAGE], page * PAGE as u64).unwrap();
    }
    handle.sync_data().unwrap();
    let told = diary.take();
    let total = |what: &str| -> u64 {
        told.iter()
            .filter_map(|line| line.strip_prefix(what))
            .map(|n| n.parse::<u64>().unwrap())
            .sum()
    };
    assert_eq!(total("dirtied "), 64);
    assert_eq!(total("evicted "), mapping.stats().evicted);
    assert!(mapping.stats().evicted >= 40);
    assert!(told.iter().any(|line| line.starts_with("held up")), "{told:?}");
}

#[test]
fn stats_tell_bytes_flushes_and_age() {
    crate::common::watch();
    let clock = Clock::manual();
    let store = MemStore::with_contents([7; 100]);
    let config = Config::new().clock(clock.clone());
    let mapping = Mapping::with_config(Arc::new(store), config).unwrap();
    let handle = mapping.handle();
    assert_eq!(mapping.oldest_dirty_age(), None);
    handle.read_at(&mut [0; 10], 0).unwrap();
    handle.write_at(&[1; 10], 95).unwrap();
    clock.advance(Duration::from_millis(1500));
    handle.write_at(&[1; PAGE], PAGE as u64).unwrap();
    assert_eq!(mapping.oldest_dirty_age(), Some(Duration::from_millis(1500)));
    mapping.write_page(0, SyncMode::Wait).unwrap();
    assert_eq!(mapping.oldest_dirty_age(), Some(Duration::ZERO));
    let stats = mapping.stats();
    // What it found, and what it wrote.
    assert_eq!((stats.bytes_read, stats.bytes_written, stats.unflushed), (100, 4096, 2));
    handle.sync_data().unwrap();
    let stats = mapping.stats();
    assert_eq!((stats.bytes_written, stats.written, stats.unflushed), (8192, 2, 0));
}

/// A recorder that adds up whatever it is given, by name and label.
#[derive(Debug, Default)]
struct Sums(Arc<Mutex<BTreeMap<String, f64>>>);

struct Sum(Arc<Mutex<BTreeMap<String, f64>>>, String);

impl Sum {
    fn change(&self, change: impl FnOnce(f64) -> f64) {
        let mut sums = self.0.lock();
        let sum = sums.entry(self.1.clone()).or_insert(0.0);
        *sum = change(*sum);
    }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
impl metrics::CounterFn for Sum {
    fn increment(&self, value: u64) {
        self.change(|sum| sum + value as f64);
    }

    fn absolute(&self, value: u64) {
        self.change(|_| value as f64);
    }
}

impl metrics::GaugeFn for Sum {
    fn increment(&self, value: f64) {
        self.change(|sum| sum + value);
    }

    fn decrement(&self, value: f64) {
        self.change(|sum| sum - value);
    }

    fn set(&self, value: f64) {
        self.change(|_| value);
    }
}

impl metrics::HistogramFn for Sum {
    fn record(&self, _value: f64) {
        self.change(|sum| sum + 1.0);
    }
}

impl Sums {
    fn of(&self, key: &metrics::Key) -> Arc<Sum> {
        let labels: Vec<_> = key.labels().map(|label| label.value().to_owned()).collect();
        Arc::new(Sum(self.0.clone(), format!("{} {}", key.name(), labels.join(" "))))
    }
}

impl metrics::Recorder for Sums {
    fn describe_counter(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }
    fn describe_gauge(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }
    fn describe_histogram(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        metrics::Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(self.of(key))
    }

    fn register_histogram(
        &self,
        key: &metrics::Key,
        _: &metrics::Metadata<'_>,
    ) -> metrics::Histogram {
        metrics::Histogram::from_arc(self.of(key))
    }
}

#[test]
fn the_metrics_facade_is_fed() {
    let sums = Sums::default();
    let store = TestStore::new();
    metrics::with_local_recorder(&sums, || {
        let observer = Arc::new(Metrics::new("test"));
        let config = Config::new().observer(observer.clone());
        let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
        let handle = mapping.handle();
        handle.write_at(&[1; 3 * PAGE], 0).unwrap();
        observer.publish(&mapping.stats());
        handle.sync_data().unwrap();
        handle.sync_data().unwrap();
        store.writes(Writes::Fail(StoreError::NoSpace));
        handle.write_at(&[1; PAGE], 0).unwrap();
        handle.sync_data().unwrap_err();
        store.set_len(5 * PAGE as u64).unwrap();
        let other = Config::new().observer(observer.clone());
        let other = Mapping::with_config(Arc::new(store.clone()), other).unwrap().handle();
        other.read_at(&mut [0], 4 * PAGE as u64).unwrap();
        (0..61).for_each(|_| _ = other.read_at(&mut [0], 4 * PAGE as u64).unwrap());
        store.fail_read(true);
        other.read_at(&mut [0], 3 * PAGE as u64).unwrap_err();
        other.write_at(&[0; PAGE], 4 * PAGE as u64).unwrap();
    });
    let sums = sums.0.lock();
    for (name, sum) in [
        ("dirtied_pages_total", 5.0),
        ("hits_total", 61.0),
        ("misses_total", 2.0),
        ("read_bytes_total", 4096.0),
        ("read_seconds", 2.0),
        ("failed_reads_total", 1.0),
        ("submitted_bytes_total", 16384.0),
        ("written_bytes_total", 12288.0),
        ("write_seconds", 2.0),
        ("flush_seconds", 2.0),
        ("sync_seconds", 3.0),
        ("errors_total", 1.0),
        ("failed_syncs_total", 1.0),
        ("failed_flushes_total", 0.0),
        ("cached_pages", 3.0),
        ("dirty_pages", 3.0),
        ("writeback_pages", 0.0),
    ] {
        let of = sums.get(&format!("writeback_{name} test"));
        assert_eq!(of, Some(&sum), "{name}");
    }
}
