//! Writes that wait in no thread: for a page to be read, for room, for a guard, for a cut; and that do what a thread's do.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use writeback::hooks::Log;
use writeback::store::fault::{Action, Fault, Rule};
use writeback::{
    AsyncHandle, CacheConfig, Config, Error, Handle, Mapping, MemStore, PageCache, StoreError,
};

use crate::common::{SetOnDrop, TestStore, Writes, eventually, in_one_of_five, watch};
use crate::latches::{keep_a_guard, until_it_waits};
use crate::reads::cut_without_pause;
use crate::{PAGE, Task, contents, stored};

/// Polls it each time it has been woken.
fn finish<T>(task: &mut Task<'_, T>) -> T {
    let mut polls = 0;
    loop {
        if let Poll::Ready(output) = task.poll() {
            return output;
        }
        polls += 1;
        eventually("it is woken", || task.woken() >= polls);
    }
}

/// A mapping that may have so many dirty pages.
fn limited(pages: u64) -> (TestStore, PageCache, Mapping) {
    limited_for(pages, Duration::from_millis(50))
}

/// The same, where who finds nothing to write is told after so long.
fn limited_for(pages: u64, stall_max: Duration) -> (TestStore, PageCache, Mapping) {
    let (store, config) = (TestStore::new(), CacheConfig::new(100).dirty_pages_max(pages));
    let cache = PageCache::new(config.stall_max(stall_max)).unwrap();
    let config = Config::new().cache(&cache);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    (store, cache, mapping)
}

fn page_of(handle: &AsyncHandle, page: u64) -> Task<'_, Result<(), Error>> {
    Task::new(handle.write_at(&[7; PAGE], page * PAGE as u64))
}

#[test]
fn a_task_writes_what_a_thread_would() {
    watch();
    let mut random = SmallRng::seed_from_u64(5);
    let (cache, store) = (PageCache::new(CacheConfig::new(4)).unwrap(), MemStore::new());
    let config = Config::new().cache(&cache);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    let (handle, mut expected) = (mapping.async_handle(), Vec::new());
    for round in 0..2000 {
        let offset = random.random_range(0..12 * PAGE);
        let len = *[1, 100, PAGE, 2 * PAGE + 1].get(random.random_range(0..4)).unwrap();
        let bytes = vec![random.random::<u8>(); len];
        if expected.len() < offset + len {
            expected.resize(offset + len, 0);
        }
        expected[offset..offset + len].copy_from_slice(&bytes);
        finish(&mut Task::new(handle.write_at(&bytes, offset as u64))).unwrap();
        if round % 100 == 0 {
            let mut found = vec![0; expected.len()];
            assert_eq!(handle.handle().read_at(&mut found, 0).unwrap(), expected.len());
            assert!(found == expected, "round {round}");
        }
    }
    finish(&mut Task::new(handle.sync_data())).unwrap();
    assert!(store.durable() == expected);
    mapping.check().unwrap();
    cache.check().unwrap();
}

#[test]
fn what_is_not_possible_is_told_at_once() {
    let (_store, mapping) = stored(1, &[]);
    let handle = mapping.async_handle();
    let mut beyond = Task::new(handle.write_at(&[1; 2], u64::MAX));
    assert!(matches!(beyond.ready(), Err(Error::OutOfRange { .. })));
    let mut unlogged = Task::new(handle.write_logged_at(&[1], 0, 1));
    assert!(matches!(unlogged.ready(), Err(Error::Config { .. })));
    mapping.close().unwrap();
    assert!(matches!(page_of(&handle, 0).ready(), Err(Error::Closed)));
}

#[test]
fn a_part_of_a_page_waits_for_it_to_be_read() {
    let (store, mapping) = stored(4, &[Action::Read]);
    let handle = mapping.async_handle();
    let mut whole = Task::new(handle.write_at(&[9; PAGE], PAGE as u64));
    whole.ready().unwrap();
    assert_eq!(store.pending(), 0, "nothing of it is left");
    let mut part = Task::new(handle.write_at(&[8; 10], 5));
    assert!(part.is_pending() && part.is_pending());
    assert_eq!(store.pending(), 1, "asked for once");
    store.deliver_all();
    assert_eq!(part.woken(), 1);
    part.ready().unwrap();
    let mut bytes = [0; 20];
    mapping.handle().read_at(&mut bytes, 0).unwrap();
    assert_eq!((bytes[4], &bytes[5..15], bytes[15]), (1, &[8; 10][..], 1));
    mapping.check().unwrap();
}

#[test]
fn what_was_written_before_a_page_that_cannot_be_read_is_told() {
    let (store, mapping) = stored(4, &[]);
    let handle = mapping.async_handle();
    store.inject(Rule::new(Fault::Io).on(Action::Read).touching(2 * PAGE as u64..3 * PAGE as u64));
    let bytes = [9; 2 * PAGE];
    let told = finish(&mut Task::new(handle.write_at(&bytes, PAGE as u64 / 2)));
    let Err(Error::Partial { written, source }) = told else { panic!("{told:?}") };
    assert_eq!(written, 3 * PAGE as u64 / 2);
    assert!(matches!(*source, Error::Read { index: 2, .. }), "{source:?}");
}

#[test]
fn tasks_come_in_in_the_order_in_which_they_came() {
    let (store, cache, mapping) = limited(1);
    store.writes(Writes::Keep);
    let handle = mapping.async_handle();
    page_of(&handle, 0).ready().unwrap();
    let mut tasks: Vec<_> = (1..=4).map(|page| page_of(&handle, page)).collect();
    assert!(tasks.iter_mut().all(Task::is_pending));
    let mut tasks = tasks.into_iter();
    while let Some(mut first) = tasks.next() {
        eventually("its page is being written", || store.kept() == 1);
        assert_eq!((first.woken(), cache.stats().debt), (0, 1));
        store.release_first(Ok(()));
        eventually("the first is woken", || first.woken() == 1);
        assert!(tasks.as_slice().iter().all(|task| task.woken() == 0), "and no other");
        first.ready().unwrap();
    }
    assert_eq!((cache.stats().debt, mapping.stats().written), (1, 4));
    cache.check().unwrap();
}

#[test]
fn who_goes_away_leaves_the_turn_to_the_next() {
    // After a second the next one does not mind whoever was let in before it.
    in_one_of_five(|| {
        let (store, cache, mapping) = limited_for(1, Duration::from_secs(10));
        store.writes(Writes::Keep);
        let handle = mapping.async_handle();
        page_of(&handle, 0).ready().unwrap();
        let [mut let_in, mut waits, mut last] = [1, 2, 3].map(|page| page_of(&handle, page));
        assert!(let_in.is_pending() && waits.is_pending() && last.is_pending());
        assert_eq!(waits.drop_future(), 0);
        eventually("a page is being written", || store.kept() == 1);
        store.release_first(Ok(()));
        eventually("the first is woken", || let_in.woken() == 1);
        assert_eq!(last.woken(), 0);
        let began = Instant::now();
        drop(let_in);
        eventually("the last is woken", || last.woken() == 1);
        let took = began.elapsed();
        last.ready().unwrap();
        assert_eq!((cache.stats().debt, cache.stats().stalled_now), (1, 0));
        assert!(mapping.cached_page(1).is_none() && mapping.cached_page(3).is_some());
        cache.check().unwrap();
        if took < Duration::from_millis(500) { Ok(()) } else { Err(format!("{took:?}")) }
    });
}

#[test]
fn a_task_that_has_its_turn_keeps_its_room_and_no_more() {
    let (store, cache, mapping) = limited(2);
    store.writes(Writes::Keep);
    let handle = mapping.async_handle();
    (0..2).for_each(|page| page_of(&handle, page).ready().unwrap());
    let mut task = page_of(&handle, 2);
    assert!(task.is_pending());
    eventually("both are being written", || store.kept() == 1);
    store.writes(Writes::Accept);
    store.release_first(Ok(()));
    eventually("it has its turn", || task.woken() == 1 && mapping.stats().dirty == 0);
    // Not polled yet: of the two pages that may be dirty one is its own.
    store.writes(Writes::Keep);
    let thread = mapping.handle();
    thread.write_at(&[1; PAGE], 3 * PAGE as u64).unwrap();
    let mut other = page_of(&handle, 4);
    assert!(other.is_pending(), "there is room for one, and that is kept");
    eventually("the thread's is being written", || store.kept() == 1);
    task.ready().unwrap();
    assert_eq!((cache.stats().debt, other.woken()), (2, 0));
    store.writes(Writes::Accept);
    store.release_first(Ok(()));
    finish(&mut other).unwrap();
    assert!(cache.stats().debt <= 2);
    cache.check().unwrap();
}

#[test]
fn tasks_are_told_that_nothing_can_be_written_and_why() {
    let (store, cache, mapping) = limited(1);
    store.writes(Writes::Fail(StoreError::NoSpace));
    let handle = mapping.async_handle();
    page_of(&handle, 0).ready().unwrap();
    for page in 1..=3 {
        let told = finish(&mut page_of(&handle, page)).unwrap_err();
        assert!(matches!(told, Error::Stalled { .. }) && told.is_no_space(), "{told:?}");
    }
    store.writes(Writes::Accept);
    finish(&mut page_of(&handle, 1)).unwrap();
    cache.check().unwrap();
}

#[test]
fn a_store_that_panics_when_room_is_made_panics_in_a_task_and_the_next_goes_on() {
    let (store, cache, mapping) = limited(1);
    let handle = mapping.async_handle();
    page_of(&handle, 0).ready().unwrap();
    store.writes(Writes::Panic);
    let mut task = page_of(&handle, 1);
    assert!(catch_unwind(AssertUnwindSafe(|| finish(&mut task))).is_err());
    drop(task);
    store.writes(Writes::Accept);
    finish(&mut page_of(&handle, 2)).unwrap();
    cache.check().unwrap();
}

#[test]
fn tasks_that_wait_for_room_are_told_when_the_mapping_closes() {
    let (store, _cache, mapping) = limited(1);
    store.writes(Writes::Keep);
    let handle = mapping.async_handle();
    page_of(&handle, 0).ready().unwrap();
    let mut tasks = [1, 2].map(|page| page_of(&handle, page));
    assert!(tasks.iter_mut().all(Task::is_pending));
    eventually("the page is being written", || store.kept() == 1);
    thread::scope(|scope| {
        let closer = scope.spawn(|| mapping.close());
        for task in &mut tasks {
            assert!(matches!(finish(task), Err(Error::Closed)));
        }
        store.release_first(Ok(()));
        closer.join().unwrap().unwrap();
    });
}

#[test]
fn tasks_and_threads_wait_for_room_side_by_side() {
    let (_store, cache, mapping) = limited(2);
    thread::scope(|scope| {
        for thread in 0..4 {
            let handle: Handle = mapping.handle();
            scope.spawn(move || {
                for page in 0..200 {
                    let page = thread * 200 + page;
                    handle.write_at(&[1; PAGE], page * PAGE as u64).unwrap();
                }
            });
            let handle = mapping.async_handle();
            scope.spawn(move || {
                for page in 0..200 {
                    finish(&mut page_of(&handle, 1000 + thread * 200 + page)).unwrap();
                }
            });
        }
    });
    mapping.handle().sync_data().unwrap();
    assert_eq!((cache.stats().debt, cache.stats().stalled_now), (0, 0));
    cache.check().unwrap();
}

#[test]
fn a_write_waits_for_a_guard_and_does_not_spin() {
    let (_store, mapping) = stored(4, &[]);
    let handle = mapping.async_handle();
    let (let_go, keeper) = keep_a_guard(&mapping, 1);
    let mut task = Task::new(handle.write_at(&[9; 10], PAGE as u64));
    let polls = until_it_waits(&mut task, || {});
    drop(let_go);
    eventually("it is woken", || task.woken() >= polls);
    keeper.join().unwrap();
    finish(&mut task).unwrap();
    assert_eq!(mapping.page(1).unwrap().try_read().unwrap()[..11], [&[9; 10][..], &[2]].concat());
}

#[test]
fn a_write_ends_beside_readers_that_never_all_let_go() {
    watch();
    let mapping = Mapping::open(MemStore::with_contents(contents(1))).unwrap();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ended = SetOnDrop(&ended);
        for reader in 0..4 {
            let (page, ended) = (mapping.page(0).unwrap(), &ended);
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(reader));
                while !ended.load(Ordering::Relaxed) {
                    let guard = page.read();
                    thread::sleep(Duration::from_millis(2));
                    drop(guard);
                }
            });
        }
        thread::sleep(Duration::from_millis(20));
        let handle = mapping.async_handle();
        finish(&mut Task::new(handle.write_at(&[9; 8], 4))).unwrap();
    });
    assert_eq!(mapping.page(0).unwrap().try_read().unwrap()[3..13], [1, 9, 9, 9, 9, 9, 9, 9, 9, 1]);
}

#[test]
fn a_write_ends_beside_cuts_that_never_pause() {
    watch();
    let mapping = Mapping::open(MemStore::with_contents(contents(8))).unwrap();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ended = SetOnDrop(&ended);
        cut_without_pause(scope, &mapping, &ended);
        let handle = mapping.async_handle();
        for round in 1..20 {
            finish(&mut Task::new(
                handle.write_at(&[round; 8], 8 * PAGE as u64 * u64::from(round)),
            ))
            .unwrap();
        }
    });
    mapping.check().unwrap();
}

#[test]
fn what_a_thread_has_in_hand_of_a_write_that_is_dropped_is_not_written() {
    let (_store, mapping) = stored(4, &[]);
    let handle = mapping.async_handle();
    let (let_go, keeper) = keep_a_guard(&mapping, 1);
    let mut task = Task::new(handle.write_at(&[9; 10], PAGE as u64));
    until_it_waits(&mut task, || {}); // By now a thread waits for the latch.
    drop(task);
    drop(let_go);
    keeper.join().unwrap();
    // It has been at the page when another errand of it ends.
    finish(&mut Task::new(handle.write_at(&[8; 10], 2 * PAGE as u64))).unwrap();
    for _ in 0..100 {
        mapping.page(1).unwrap().read_with(|bytes| assert_eq!(bytes[..10], [2; 10]));
        thread::sleep(Duration::from_micros(100));
    }
    assert!(!mapping.page(1).unwrap().snapshot().is_dirty());
}

#[test]
fn a_writer_that_owes_nothing_passes_a_task_that_nobody_polls() {
    let (store, cache, mapping) = limited(1);
    store.writes(Writes::Keep);
    let handle = mapping.async_handle();
    page_of(&handle, 0).ready().unwrap();
    let mut task = page_of(&handle, 1);
    assert!(task.is_pending());
    eventually("a page is being written", || store.kept() == 1);
    store.writes(Writes::Accept);
    store.release_first(Ok(()));
    eventually("it has its turn", || task.woken() == 1 && mapping.stats().dirty == 0);
    handle.handle().write_at(&[1; PAGE], 2 * PAGE as u64).unwrap();
    task.ready().unwrap();
    assert_eq!(cache.stats().debt, 2);
    cache.check().unwrap();
}

#[test]
fn a_write_that_lengthens_has_the_store_cut_before() {
    let (store, mapping) = stored(4, &[]);
    let handle = mapping.async_handle();
    store.inject(Rule::new(Fault::NoSpace).on(Action::SetLen).times(u64::MAX));
    handle.handle().set_len(PAGE as u64).unwrap_err();
    let mut refused = Task::new(handle.write_at(&[9], 3 * PAGE as u64));
    assert!(matches!(finish(&mut refused), Err(Error::Length { .. })));
    store.heal();
    finish(&mut Task::new(handle.write_at(&[9], 3 * PAGE as u64))).unwrap();
    let mut bytes = [1; PAGE];
    handle.handle().read_at(&mut bytes, PAGE as u64).unwrap();
    assert_eq!(bytes, [0; PAGE], "what was cut away does not come back");
}

/// A log that is durable up to where it was asked to be.
#[derive(Debug, Default)]
struct Journal(AtomicU64);

impl Log for Journal {
    fn durable(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn ensure(&self, upto: u64) -> io::Result<()> {
        self.0.fetch_max(upto, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn the_log_is_kept_for_a_logged_change_while_it_waits_and_until_it_is_written() {
    let (store, _) = stored(4, &[Action::Read]);
    let config = Config::new().log(Arc::new(Journal::default()));
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    let handle = mapping.async_handle();
    let mut dropped = Task::new(handle.write_logged_at(&[9; 10], 5, 3));
    assert!(dropped.is_pending());
    assert_eq!(mapping.oldest_unwritten(), Some(3));
    assert_eq!((dropped.drop_future(), mapping.oldest_unwritten()), (0, None));
    let mut task = Task::new(handle.write_logged_at(&[9; 10], 5, 4));
    assert!(task.is_pending());
    store.deliver_all();
    task.ready().unwrap();
    assert_eq!(mapping.oldest_unwritten(), Some(4));
    mapping.handle().sync_data().unwrap();
    assert_eq!((mapping.oldest_unwritten(), store.durable()[5]), (None, 9));
}

#[test]
fn a_dropped_write_changes_nothing_later() {
    let (store, mapping) = stored(4, &[Action::Read]);
    let handle = mapping.async_handle();
    let mut task = Task::new(handle.write_at(&[9; 10], 5));
    assert!(task.is_pending());
    drop(task);
    store.deliver_all();
    let mut bytes = [0; PAGE];
    handle.handle().read_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes[..], contents(1)[..]);
    assert_eq!(mapping.stats().dirty, 0);
}
