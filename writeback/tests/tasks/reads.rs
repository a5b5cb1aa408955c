//! Reads of pages that are not cached, that others read or change, or while the mapping is being cut.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use writeback::store::Store;
use writeback::store::fault::{Action, FaultConfig, FaultStore};
use writeback::{CacheConfig, Config, Error, Mapping, MemStore, PageCache, StoreError};

use crate::common::{self, SetOnDrop, eventually, never, pass_on, patience};
use crate::{PAGE, Task, contents, stored};

#[test]
fn a_read_waits_in_no_thread_and_is_woken_once() {
    let (store, mapping) = stored(4, &[Action::Read]);
    let handle = mapping.async_handle();
    let mut bytes = vec![0; 2 * PAGE];
    let mut task = Task::new(handle.read_at(&mut bytes, PAGE as u64 / 2));
    assert!(task.is_pending());
    assert_eq!((store.pending(), task.woken()), (1, 0), "all that is missing, at once");
    assert!(task.is_pending(), "it may be polled for nothing");
    assert_eq!((store.pending(), task.wakers()), (1, 1));
    assert_eq!(store.deliver_all(), 1);
    assert_eq!((task.woken(), task.wakers()), (1, 0));
    assert_eq!(task.ready().unwrap(), 2 * PAGE);
    assert_eq!(task.drop_future(), 0);
    assert_eq!(bytes, contents(4)[PAGE / 2..5 * PAGE / 2]);
    // Cached by now, and the end of the mapping.
    let mut bytes = vec![0; PAGE];
    assert_eq!(Task::new(handle.read_at(&mut bytes, PAGE as u64)).ready().unwrap(), PAGE);
    assert_eq!(Task::new(handle.read_at(&mut bytes, 4 * PAGE as u64)).ready().unwrap(), 0);
    assert_eq!(store.operations(Action::Read), 1);
    mapping.check().unwrap();
}

#[test]
fn tasks_and_threads_wait_for_one_read_of_a_page() {
    let (store, mapping) = stored(4, &[Action::Read]);
    let handle = mapping.async_handle();
    let mut tasks: Vec<_> = (0..100).map(|_| Task::new(handle.page(2))).collect();
    assert!(tasks.iter_mut().all(Task::is_pending));
    let reader = thread::spawn({
        let handle = mapping.handle();
        move || handle.read_at(&mut [0; 1], 2 * PAGE as u64)
    });
    never("the thread has it", || reader.is_finished());
    assert_eq!(store.pending(), 1);
    store.deliver_all();
    for task in &mut tasks {
        assert_eq!((task.woken(), task.wakers()), (1, 0));
        assert_eq!(task.ready().unwrap().read()[..], [3; PAGE]);
    }
    assert_eq!(reader.join().unwrap().unwrap(), 1);
    assert_eq!(store.operations(Action::Read), 1);
}

#[test]
fn a_read_that_is_lost_is_told_to_the_task_that_asked_and_the_next_asks_again() {
    let (store, mapping) = stored(4, &[Action::Read]);
    let handle = mapping.async_handle();
    let (mut first, mut second) = (Task::new(handle.page(1)), Task::new(handle.page(1)));
    assert!(first.is_pending() && second.is_pending());
    assert_eq!(store.lose_pending(), 1);
    assert!(second.is_pending() && store.pending() == 1, "it asks itself");
    assert!(matches!(first.ready(), Err(Error::Read { index: 1, source: StoreError::Lost })));
    store.deliver_all();
    assert_eq!(second.ready().unwrap().read()[..], [2; PAGE]);
    // Told though another has read the page meanwhile.
    let (mut first, mut second) = (Task::new(handle.page(3)), Task::new(handle.page(3)));
    assert!(first.is_pending() && second.is_pending());
    store.lose_pending();
    assert!(second.is_pending());
    store.deliver_all();
    second.ready().unwrap();
    assert!(matches!(first.ready(), Err(Error::Read { index: 3, source: StoreError::Lost })));
    mapping.check().unwrap();
}

#[test]
fn a_page_that_is_locked_again_when_it_has_been_read_is_read() {
    let (store, mapping) = stored(2, &[Action::Read]);
    let handle = mapping.async_handle();
    let (mut asked, mut other) = (Task::new(handle.page(1)), Task::new(handle.page(1)));
    assert!(asked.is_pending() && other.is_pending());
    store.deliver_all();
    let locked = mapping.cached_page(1).and_then(|page| page.lock_state()).expect("it is mapped");
    assert_eq!((asked.woken(), other.woken()), (1, 1));
    assert!(asked.ready().is_ok() && other.ready().is_ok());
    drop(locked);
}

#[test]
fn a_page_that_is_being_changed_holds_up_no_thread() {
    let (_store, mapping) = stored(2, &[]);
    let handle = mapping.async_handle();
    let page = mapping.page(0).unwrap();
    let guard = page.write().unwrap();
    thread::scope(|scope| {
        let polled = scope.spawn(|| {
            let mut bytes = [0; 10];
            let mut task = Task::new(handle.read_at(&mut bytes, 0));
            for times in 1..=100 {
                assert!(task.is_pending());
                assert_eq!(task.woken(), times, "it comes again by itself");
            }
        });
        polled.join().unwrap();
    });
    drop(guard);
    let mut bytes = [0; 10];
    assert_eq!(Task::new(handle.read_at(&mut bytes, 0)).ready().unwrap(), 10);
    // What this thread reads itself it reads again.
    let _guard = page.read();
    assert_eq!(Task::new(handle.read_at(&mut bytes, 0)).ready().unwrap(), 10);
}

#[test]
fn a_read_waits_for_a_cut_that_is_under_way() {
    let (store, mapping) = stored(4, &[Action::Read]);
    let handle = mapping.async_handle();
    // The cut waits for this one.
    let mut late = Task::new(handle.page(3));
    assert!(late.is_pending());
    let cutter = thread::spawn({
        let handle = mapping.handle();
        move || handle.set_len(2 * PAGE as u64)
    });
    eventually("the cut has begun", || mapping.len() == 2 * PAGE as u64);
    let (mut page, mut gone) = (Task::new(handle.page(0)), Task::new(handle.page(2)));
    assert!(page.is_pending() && gone.is_pending());
    assert_eq!((store.pending(), page.wakers()), (1, 1), "nothing is asked for meanwhile");
    store.deliver_all();
    cutter.join().unwrap().unwrap();
    assert_eq!((page.woken(), gone.woken()), (1, 1));
    assert!(matches!(gone.ready(), Err(Error::OutOfRange { .. })));
    assert!(matches!(late.ready(), Err(Error::OutOfRange { .. })));
    assert!(page.is_pending() && store.pending() == 1);
    store.deliver_all();
    assert_eq!(page.ready().unwrap().read()[..], [1; PAGE]);
    mapping.check().unwrap();
}

#[test]
fn a_read_that_waits_for_two_cuts_is_woken_when_both_are_over() {
    let (store, mapping) = stored(4, &[Action::Read]);
    let handle = mapping.async_handle();
    let mut late = Task::new(handle.page(3));
    assert!(late.is_pending());
    let cut = |pages: u64| {
        let handle = mapping.handle();
        thread::spawn(move || handle.set_len(pages * PAGE as u64))
    };
    // The first waits for the read.
    let first = cut(3);
    eventually("it has begun", || mapping.len() == 3 * PAGE as u64);
    // The second waits for the first, if it comes in time.
    let second = cut(2);
    never("the first is not over", || mapping.len() != 3 * PAGE as u64);
    let mut page = Task::new(handle.page(0));
    assert!(page.is_pending());
    store.deliver_all();
    [first, second].into_iter().for_each(|cutter| cutter.join().unwrap().unwrap());
    assert!(page.woken() > 0);
    assert!(page.is_pending() && store.pending() == 1, "it asks");
    store.deliver_all();
    page.ready().unwrap();
    mapping.check().unwrap();
}

#[test]
fn one_reference_too_many_to_a_page_that_is_to_be_read_leaves_it_unlocked() {
    let (store, mapping) = stored(2, &[Action::Read]);
    let handle = mapping.async_handle();
    let mut lost = Task::new(handle.page(0));
    assert!(lost.is_pending());
    store.lose_pending();
    drop(lost);
    // All but one that there may be.
    let page = mapping.cached_page(0).unwrap();
    let mut references = vec![page.clone(); (1 << 20) - 3];
    let panicked = |call: &dyn Fn()| catch_unwind(AssertUnwindSafe(call)).is_err();
    assert!(panicked(&|| drop(Task::new(handle.page(0)).poll())));
    assert!(!page.snapshot().is_locked());
    assert!(panicked(&|| drop(handle.handle().write_at(&[1], 0))));
    assert!(!page.snapshot().is_locked());
    references.truncate(10);
    let mut again = Task::new(handle.page(0));
    assert!(again.is_pending());
    store.deliver_all();
    again.ready().unwrap();
    mapping.check().unwrap();
}

#[test]
fn a_page_comes_in_over_the_capacity_rather_than_wait_for_room() {
    let (store, _) = stored(16, &[]);
    let cache = PageCache::new(CacheConfig::new(4)).unwrap();
    let config = Config::new().cache(&cache);
    let mapping = Mapping::with_config(Arc::new(store), config).unwrap();
    let handle = mapping.async_handle();
    let kept: Vec<_> = (0..8).map(|index| Task::new(handle.page(index)).ready().unwrap()).collect();
    assert_eq!((cache.stats().cached, cache.stats().overcommitted), (8, 4));
    drop(kept);
    // What can go makes room.
    for index in 8..16 {
        assert_eq!(Task::new(handle.page(index)).ready().unwrap().index(), index);
    }
    assert!(cache.stats().cached <= 4 && cache.stats().overcommitted == 4, "{:?}", cache.stats());
    cache.check().unwrap();
}

/// More reads than there are places, none of which ends.
fn reads_beyond_the_capacity(count: u64) -> (FaultStore, PageCache, Mapping) {
    common::watch();
    let store = FaultStore::with_config(FaultConfig::new(1));
    store.queue(Action::Read, true);
    let cache = PageCache::new(CacheConfig::new(16)).unwrap();
    let mapping =
        Mapping::with_config(Arc::new(store.clone()), Config::new().cache(&cache)).unwrap();
    mapping.handle().set_len(count * PAGE as u64).unwrap();
    (store, cache, mapping)
}

#[test]
fn a_cache_full_of_reads_is_not_looked_through_by_each_who_comes() {
    let (store, cache, mapping) = reads_beyond_the_capacity(2000);
    let handle = mapping.async_handle();
    let mut tasks: Vec<_> = (0..2000).map(|page| Task::new(handle.page(page))).collect();
    assert!(tasks.iter_mut().all(Task::is_pending));
    let looked_at = cache.stats().reclaim.locked;
    assert!((1..50_000).contains(&looked_at), "{looked_at} pages, each of them in vain");
    store.deliver_all();
    tasks.drain(..).for_each(|mut task| drop(task.ready().unwrap()));
    // What can go now makes room again.
    mapping.handle().set_len(3000 * PAGE as u64).unwrap();
    for page in 2000..2010 {
        assert!(Task::new(handle.page(page)).is_pending());
        store.deliver_all();
    }
    assert!(cache.stats().cached <= 32, "{}", cache.stats().cached);
    cache.check().unwrap();
}

#[test]
fn reads_that_do_not_end_are_not_looked_through_by_each_miss_of_a_neighbour() {
    let (store, cache, sick) = reads_beyond_the_capacity(1500);
    cache.resize(1000 * PAGE as u64).unwrap();
    // All places, and they cannot go.
    (0..4).for_each(|_| sick.handle().read_ahead(..));
    sick.handle().read_ahead(500 * PAGE as u64..);
    assert!(cache.stats().cached >= 1000, "{}", cache.stats().cached);
    let neighbour = MemStore::with_contents(vec![1; 300 * PAGE]);
    let config = Config::new().cache(&cache);
    let neighbour = Mapping::with_config(Arc::new(neighbour), config).unwrap();
    let before = cache.stats().reclaim.locked;
    (0..300).for_each(|page| assert_eq!(neighbour.page(page).unwrap().read()[0], 1));
    let looked_at = cache.stats().reclaim.locked - before;
    assert!(looked_at < 50_000, "{looked_at} pages, each of them in vain");
    store.deliver_all();
    // What can go now makes room again, when that is found out.
    neighbour.handle().set_len(1500 * PAGE as u64).unwrap();
    (0..1500).for_each(|page| drop(neighbour.page(page).unwrap()));
    assert!(cache.stats().cached <= 1000, "{}", cache.stats().cached);
    cache.check().unwrap();
}

#[test]
fn who_waits_for_a_page_that_is_being_read_takes_no_place() {
    let (store, cache, mapping) = reads_beyond_the_capacity(17);
    let handle = mapping.async_handle();
    let mut first: Vec<_> = (0..17).map(|page| Task::new(handle.page(page))).collect();
    assert!(first.iter_mut().all(Task::is_pending));
    assert_eq!(cache.stats().overcommitted, 1);
    let mut waiters: Vec<_> = (0..100).map(|_| Task::new(handle.page(0))).collect();
    for _ in 0..3 {
        assert!(waiters.iter_mut().all(Task::is_pending));
    }
    let mut prefetch = Task::new(handle.prefetch(..));
    assert!(prefetch.is_pending());
    assert_eq!(cache.stats().overcommitted, 1, "it counts pages");
    store.deliver_all();
    waiters.iter_mut().for_each(|task| drop(task.ready().unwrap()));
    prefetch.ready().unwrap();
    assert_eq!(cache.stats().overcommitted, 1);
    cache.check().unwrap();
}

/// Bytes in memory, whose punches take a while.
#[derive(Debug)]
struct SlowPunches(MemStore);

impl Store for SlowPunches {
    pass_on!(0: limits, len, set_len, read, write, flush);

    fn punch(&self, offset: u64, len: u64) -> std::result::Result<(), StoreError> {
        thread::sleep(Duration::from_micros(500));
        self.0.punch(offset, len)
    }
}

/// Three threads punch the first pages, one cut after the other, until that has `ended`.
pub(crate) fn cut_without_pause<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    mapping: &Mapping,
    ended: &'scope AtomicBool,
) {
    for page in 0..3 {
        let (handle, bytes) = (mapping.handle(), page * PAGE as u64..(page + 1) * PAGE as u64);
        scope.spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                handle.punch(bytes.clone()).unwrap();
            }
        });
    }
}

#[test]
fn a_read_ends_beside_cuts_that_never_pause() {
    let mapping = Mapping::open(SlowPunches(MemStore::with_contents(contents(8)))).unwrap();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ended = SetOnDrop(&ended);
        cut_without_pause(scope, &mapping, &ended);
        thread::sleep(Duration::from_millis(20));
        let handle = mapping.async_handle();
        let mut bytes = [0; 1];
        let mut read = Task::new(handle.read_at(&mut bytes, 5 * PAGE as u64));
        let began = Instant::now();
        while read.is_pending() {
            assert!(began.elapsed() < patience(), "one cut after the other keeps it");
            thread::sleep(Duration::from_micros(100));
        }
        drop(read);
        assert_eq!(bytes, [6]);
        let mut prefetch = Task::new(handle.prefetch(6 * PAGE as u64..));
        while prefetch.is_pending() {
            assert!(began.elapsed() < patience(), "one cut after the other keeps it");
            thread::sleep(Duration::from_micros(100));
        }
    });
    mapping.check().unwrap();
}
