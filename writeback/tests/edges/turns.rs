//! Turns: what comes while something else is at work is not lost, and nobody comes before who has waited.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use writeback::store::{Completion, Store, WriteBatch};
use writeback::{CacheConfig, Config, Error, Flusher, FlusherConfig, Mapping, PageCache, SyncMode};

use crate::common::*;

type Once = Mutex<Option<Box<dyn FnOnce() + Send>>>;

/// A store that does something, once, before it takes a write, or says whether it is congested.
#[derive(Default)]
struct Hooked {
    inner: TestStore,
    on_submit: Once,
    on_congested: Once,
}

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooked")
    }
}

fn run(hook: &Once) {
    let hook = hook.lock().take();
    if let Some(hook) = hook {
        hook();
    }
}

fn set(hook: &Once, f: impl FnOnce() + Send + 'static) {
    *hook.lock() = Some(Box::new(f));
}

impl Store for Hooked {
    pass_on!(inner: limits, len, set_len, read, flush);

    fn write(&self, batch: WriteBatch, completion: Completion) {
        run(&self.on_submit);
        self.inner.write(batch, completion);
    }

    fn is_congested(&self) -> bool {
        run(&self.on_congested);
        false
    }
}

fn hooked(config: Config, pages: usize) -> (Mapping, Arc<Hooked>) {
    let store = Arc::new(Hooked::default());
    store.set_len((pages * PAGE) as u64).unwrap();
    (Mapping::with_config(store.clone(), config).unwrap(), store)
}

fn write(mapping: &Mapping, page: u64) {
    mapping.handle().write_at(&[1; PAGE], page * PAGE as u64).unwrap();
}

/// A flusher that does nothing unless it is woken.
fn asleep() -> FlusherConfig {
    let hours = Duration::from_secs(3600);
    FlusherConfig::new().interval(hours).dirty_expire(hours).background_pages(1000)
}

#[test]
fn a_kick_during_a_round_is_followed_by_another_round() {
    let (mapping, store) = hooked(Config::new(), 1);
    write(&mapping, 0);
    let flusher = Arc::new(Flusher::start([mapping], asleep()).unwrap());
    set(&store.on_submit, {
        let flusher = Arc::clone(&flusher);
        move || flusher.kick()
    });
    flusher.request(1);
    eventually("a second round", || flusher.stats().rounds >= 2);
}

#[test]
fn a_request_during_a_round_is_done_in_the_next_and_requests_add_up() {
    crate::common::watch();
    let (mapping, store) = hooked(Config::new(), 20);
    (0..20).for_each(|page| write(&mapping, page));
    let flusher = Arc::new(Flusher::manual([mapping], asleep()));
    set(&store.on_submit, {
        let flusher = Arc::clone(&flusher);
        move || flusher.request(3)
    });
    flusher.request(2);
    assert_eq!(flusher.step().submitted, 2);
    assert_eq!(flusher.step().submitted, 3);
    assert_eq!(flusher.step().submitted, 0);
    flusher.request(4);
    flusher.request(1);
    assert_eq!(flusher.step().submitted, 5);
}

#[test]
fn pages_dirtied_at_the_end_of_a_round_are_written_without_waiting_for_the_next_interval() {
    let config = CacheConfig::new(16).dirty_pages_max(16).dirty_pages_background(4);
    let cache = PageCache::new(config.pause_max(Duration::ZERO)).unwrap();
    // The first is looked at for memory before the second, whose store is asked then.
    let (first, _store) = hooked(Config::new().cache(&cache), 8);
    let (second, store) = hooked(Config::new().cache(&cache), 8);
    let hands: Vec<_> =
        (0..8).flat_map(|index| [page(&first, index), page(&second, index)]).collect();
    let flusher = Flusher::start([first.clone(), second.clone()], asleep()).unwrap();
    // A store must not call the cache: somebody else does at this moment.
    let dirties = {
        let first = first.clone();
        move || thread::spawn(move || (0..5).for_each(|page| write(&first, page))).join().unwrap()
    };
    // A round looks for memory last, when nothing looks for dirty pages any more.
    set(&store.on_congested, dirties);
    (0..5).for_each(|page| write(&second, page));
    eventually("all is written", || {
        store.on_congested.lock().is_none() && cache.stats().debt == 0 && flusher.stats().rounds > 1
    });
    flusher.stop();
    drop(hands);
    assert_settled(&first);
    assert_settled(&second);
    cache.check().unwrap();
}

#[test]
fn who_comes_later_does_not_overtake_those_who_wait_for_room() {
    let config = CacheConfig::new(100).dirty_pages_max(2).pause_max(Duration::ZERO);
    let cache = PageCache::new(config).unwrap();
    let (mapping, store) = hooked(Config::new().cache(&cache), 10);
    let store = &store.inner;
    (0..2).for_each(|page| write(&mapping, page));
    store.writes(Writes::Keep);
    (0..2).for_each(|page| _ = mapping.write_page(page, SyncMode::Skip).unwrap());
    thread::scope(|scope| {
        // Let in first, and a while on its way: it must read the page that it changes a part of.
        let first = scope.spawn(|| mapping.handle().write_at(b"part", 5 * PAGE as u64));
        eventually("the first waits", || cache.stats().stalled_now == 1);
        let second = scope.spawn(|| write(&mapping, 6));
        eventually("the second waits", || cache.stats().stalled_now == 2);
        store.block_read(true);
        store.release_first(Ok(()));
        eventually("the first is let in", || cache.stats().stalled_now == 1);
        let late = mapping.handle().try_write_at(&[1; PAGE], 7 * PAGE as u64);
        assert!(matches!(late, Err(Error::WouldBlock)), "{late:?}");
        never("there is no room for it yet", || second.is_finished());
        store.block_read(false);
        first.join().unwrap().unwrap();
        never("nor now", || second.is_finished());
        store.writes(Writes::Accept);
        // On a slow machine the second has lost patience, and has begun to write the first one's page.
        (0..store.kept()).for_each(|_| store.release_first(Ok(())));
        second.join().unwrap();
    });
    mapping.handle().sync_data().unwrap();
    assert_settled(&mapping);
    cache.check().unwrap();
    assert_eq!(cache.stats().debt, 0);
}

#[test]
fn a_background_pass_waits_for_nothing_that_it_meets() {
    // A page lock, a hold, a write under way, a log, each in one of the pages: all are left, the others are written.
    let store = TestStore::new();
    store.set_len(6 * PAGE as u64).unwrap();
    let log = Arc::new(Unready);
    let mapping = Mapping::with_config(Arc::new(store.clone()), Config::new().log(log)).unwrap();
    (0..5).for_each(|page| write(&mapping, page));
    store.writes(Writes::Keep);
    mapping.write_page(0, SyncMode::Skip).unwrap();
    write(&mapping, 0);
    store.writes(Writes::Accept);
    let locked = page(&mapping, 1).lock_state().unwrap();
    let hold = mapping.hold_page(2).unwrap();
    mapping.handle().write_logged_at(b"x", 3 * PAGE as u64, 7).unwrap();
    let (budget, mode) = (writeback::Budget::UNLIMITED, writeback::SyncMode::Skip);
    let progress = mapping.write_range(.., mode, budget).unwrap();
    let counts = (progress.submitted, progress.skipped, progress.declined, progress.unlogged);
    assert_eq!(counts, (1, 2, 1, 1));
    // The page that is being written, named: not its turn.
    assert!(!mapping.write_page(0, SyncMode::Skip).unwrap());
    assert!(page(&mapping, 0).snapshot().is_dirty());
    drop((locked, hold));
    store.release_first(Ok(()));
    assert_eq!(mapping.write_range(0..3, mode, budget).unwrap().submitted, 3);
    assert_eq!(mapping.stats().dirty, 1);
}

/// A log that is never durable, and must not be waited for.
#[derive(Debug)]
struct Unready;

impl writeback::hooks::Log for Unready {
    fn durable(&self) -> u64 {
        0
    }

    fn ensure(&self, _upto: u64) -> std::io::Result<()> {
        panic!("a background pass waits for the log");
    }
}
