//! Under runtimes: one with threads, one in a thread, and none of whose threads is held up.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::Builder;
use tokio::task::yield_now;
use writeback::store::fault::{Action, FaultConfig, FaultStore};
use writeback::{CacheConfig, Config, Mapping, MemStore, PageCache};

use crate::common::{eventually, watch};
use crate::{PAGE, stored};

fn threads() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:")).expect("a line of it");
    line.trim().parse().expect("a number")
}

#[test]
fn ten_thousand_reads_wait_on_two_workers() {
    watch();
    const TASKS: usize = 10_000;
    let config = FaultConfig::new(1).contents(vec![7; TASKS * 512]);
    let store = FaultStore::with_config(config);
    store.queue(Action::Read, true);
    let config = Config::new().page_size(512);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let before = threads();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (handle, done) = (mapping.async_handle(), Arc::clone(&done));
            runtime.spawn(async move {
                let mut bytes = [0; 512];
                assert_eq!(handle.read_at(&mut bytes, task as u64 * 512).await.unwrap(), 512);
                assert_eq!(bytes, [7; 512]);
                done.fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect();
    eventually("all wait", || store.pending() == TASKS);
    // The tests beside this one have some.
    assert!(threads() < before + 100, "{before} threads, then {}", threads());
    assert_eq!(done.load(Ordering::Relaxed), 0);
    // A half of them is not waited for any more.
    for task in tasks.iter().step_by(2) {
        task.abort();
    }
    let aborted = TASKS / 2;
    runtime.block_on(async {
        for (at, task) in tasks.into_iter().enumerate() {
            if at % 2 == 1 && at == 1 {
                store.deliver_all();
            }
            match task.await {
                Ok(()) => assert_eq!(at % 2, 1),
                Err(error) => assert!(error.is_cancelled() && at % 2 == 0, "{error}"),
            }
        }
    });
    assert_eq!(done.load(Ordering::Relaxed), TASKS - aborted);
    assert_eq!(mapping.stats().read, TASKS as u64, "reads that nobody waits for end, too");
    mapping.check().unwrap();
}

#[test]
fn ten_thousand_syncs_wait_on_two_workers_and_share_their_flushes() {
    watch();
    const TASKS: usize = 10_000;
    for every in [usize::MAX, 2] {
        let store = FaultStore::with_config(FaultConfig::new(1));
        store.queue(Action::Flush, true);
        let config = Config::new().page_size(512);
        let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (before, waiting) = (threads(), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (handle, waiting) = (mapping.async_handle(), Arc::clone(&waiting));
                runtime.spawn(async move {
                    handle.handle().write_at(&[1; 512], task as u64 * 512).unwrap();
                    waiting.fetch_add(1, Ordering::Relaxed);
                    handle.sync_data().await.unwrap();
                })
            })
            .collect();
        eventually("all wait", || waiting.load(Ordering::Relaxed) == TASKS);
        assert!(threads() < before + 100, "{before} threads, then {}", threads());
        let dropped = tasks.iter().step_by(every).filter(|_| every < TASKS);
        dropped.for_each(tokio::task::JoinHandle::abort);
        let deliverer = store.deliver_in_background();
        let done = runtime.block_on(async {
            let mut done = 0;
            for task in tasks {
                match task.await {
                    Ok(()) => done += 1,
                    Err(error) => assert!(error.is_cancelled(), "{error}"),
                }
            }
            done
        });
        deliverer.stop();
        store.queue(Action::Flush, false);
        assert!(if every < TASKS { done >= TASKS / 2 } else { done == TASKS }, "{done} are done");
        let flushes = store.operations(Action::Flush);
        assert!(flushes < 1000, "{flushes} flushes");
        mapping.handle().sync_data().unwrap();
        assert_eq!(store.durable(), [1; TASKS * 512]);
        mapping.check().unwrap();
    }
}

fn byte_of(task: u64) -> u8 {
    task.to_le_bytes()[0]
}

#[test]
fn a_thousand_writes_wait_for_room_on_two_workers_and_keep_to_the_limit() {
    watch();
    const TASKS: u64 = 1000;
    const LIMIT: u64 = 8;
    let cache = PageCache::new(CacheConfig::new(2 * TASKS).dirty_pages_max(LIMIT)).unwrap();
    let store = MemStore::new();
    let config = Config::new().cache(&cache);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let (before, most) = (threads(), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (handle, cache) = (mapping.async_handle(), cache.clone());
            let most = Arc::clone(&most);
            runtime.spawn(async move {
                // Each page of which a part is left, so that what is not there has to be known first.
                for part in [0, 1, 2] {
                    handle.write_at(&[byte_of(task); 100], task * PAGE as u64 + part * 200).await?;
                    most.fetch_max(cache.stats().debt, Ordering::Relaxed);
                    yield_now().await;
                }
                handle.sync_data().await
            })
        })
        .collect();
    assert!(threads() < before + 100);
    runtime.block_on(async {
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    });
    // Those that are just being polled may go beyond it, and the thread that has pages written.
    assert!(most.load(Ordering::Relaxed) <= LIMIT + 4, "{most:?}");
    let durable = store.durable();
    for (task, page) in (0..TASKS).zip(durable.chunks(PAGE)) {
        for part in [0, 200, 400] {
            assert_eq!(page[part..part + 100], [byte_of(task); 100]);
        }
    }
    cache.check().unwrap();
}

#[test]
fn a_task_that_waits_leaves_its_thread_to_others() {
    let (store, mapping) = stored(4, &[Action::Read]);
    Builder::new_current_thread().build().unwrap().block_on(async {
        let handle = mapping.async_handle();
        let reader = tokio::spawn(async move { handle.page(1).await });
        for _ in 0..20 {
            yield_now().await;
        }
        assert!(!reader.is_finished() && store.pending() == 1);
        // Ended on another thread.
        let deliverer = thread::spawn(move || store.deliver_all());
        assert_eq!(reader.await.unwrap().unwrap().try_read().unwrap()[..], [2; PAGE]);
        assert_eq!(deliverer.join().unwrap(), 1);
    });
}

#[test]
fn a_future_is_small_and_goes_from_thread_to_thread() {
    fn is_send<F: Future + Send>(future: &F) -> usize {
        size_of_val(future)
    }
    let (_store, mapping) = stored(1, &[]);
    let handle = mapping.async_handle();
    let mut bytes = [0; 1];
    let sizes = [
        is_send(&handle.read_at(&mut bytes, 0)),
        is_send(&handle.write_at(&[1], 0)),
        is_send(&handle.write_logged_at(&[1], 0, 1)),
        is_send(&handle.page(0)),
        is_send(&handle.prefetch(..)),
        is_send(&handle.wait_range(..)),
        is_send(&handle.sync_data()),
        is_send(&handle.sync_all()),
        is_send(&handle.sync_range(..)),
    ];
    assert!(sizes.iter().all(|size| *size <= 1024), "{sizes:?}");
}
