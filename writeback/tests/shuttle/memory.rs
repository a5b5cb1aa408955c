//! Races of eviction, and of writers who wait for room. That a page was evicted is seen by nobody: it is
//! read in again, and the device notices if that happens while it is written.

use std::sync::Arc;

use shuttle::thread;
use writeback::{Error, Flusher, FlusherConfig, PageCache};

use crate::ledger::{PAGE, Place};
use crate::play::play;
use crate::world::World;

/// A thread that evicts all it can, so many times.
fn spawn_evictor(world: &Arc<World>, cache: &PageCache, times: usize) -> thread::JoinHandle<()> {
    let cache = cache.clone();
    world.spawn(move |_| {
        for _ in 0..times {
            cache.evict(8);
            thread::yield_now();
        }
    })
}

fn finish(world: Arc<World>, cache: &PageCache, threads: Vec<thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let handle = world.mapping.handle();
    cache.evict(8);
    (0..2).for_each(|page| world.read(&handle, page));
    drop(handle);
    world.finish();
    // Nobody is half way through the end of a write any more, and the mapping is gone.
    cache.check().unwrap();
    let stats = cache.stats();
    assert_eq!((stats.cached, stats.debt, stats.stalled_now), (0, 0, 0), "{stats:?}");
}

/// R-PAGE-GONE, R-EVICTED-DIRTY.
#[test]
fn evict_vs_writers_and_readers() {
    // What is written to a page while it is evicted is written, and read by whoever comes after.
    play("evict_vs_writers_and_readers", || {
        let (world, cache) = World::in_cache(2, 0, 8, 8);
        let reader = world.spawn(|world| {
            let handle = world.mapping.handle();
            (0..3).for_each(|_| world.read(&handle, 0));
        });
        let threads = vec![
            spawn_evictor(&world, &cache, 3),
            world.spawn_writer(Place::of(0, 0)),
            world.spawn_writer(Place::of(0, 1)),
            reader,
        ];
        finish(world, &cache, threads);
    });
}

/// R-EVICTED-DIRTY.
#[test]
fn evict_vs_page_in_hand() {
    // Who has a page in hand finds it in its place, however much is evicted.
    play("evict_vs_page_in_hand", || {
        let (world, cache) = World::in_cache(2, 0, 8, 8);
        let change = |number| {
            world.spawn(move |world| {
                let page = world.page(0);
                world.write_page(&page, number).expect("nobody cuts it");
                let locked = page.lock_state().expect("nobody cuts it");
                assert!(locked.page().snapshot().is_mapped());
            })
        };
        let threads = vec![
            spawn_evictor(&world, &cache, 3),
            change(0),
            change(1),
            world.spawn(|world| world.write_range_and_look()),
        ];
        finish(world, &cache, threads);
    });
}

/// Two pages, one of which is used while one has to go.
#[test]
fn evict_vs_use_by_page() {
    // Who uses a page by a reference, however short, has it spared: the reference is seen, or the use.
    play("evict_vs_use_by_page", || {
        let (world, cache) = World::in_cache(2, 0, 8, 8);
        let handle = world.mapping.handle();
        // The first is not in the turn any more in which it came in.
        (0..2).for_each(|page| world.read(&handle, page));
        drop(handle);
        let user = world.spawn(|world| {
            let page = world.mapping.cached_page(0)?;
            Some(page.read_with(|bytes| assert_eq!(bytes.len(), PAGE)))
        });
        assert_eq!(cache.evict(1), 1, "the other one can go instead");
        let used = user.join().unwrap().is_some();
        assert!(!used || world.mapping.cached_page(0).is_some(), "it was evicted all the same");
        finish(world, &cache, Vec::new());
    });
}

/// The page is written by one and looked for by another when it is gone.
#[test]
fn evict_vs_syncs() {
    // A sync that does not find a page any more has nothing to wait for.
    play("evict_vs_syncs", || {
        let (world, cache) = World::in_cache(2, 1, 8, 8);
        let threads = vec![
            spawn_evictor(&world, &cache, 3),
            world.spawn_writer(Place::of(0, 0)),
            world.spawn_writer(Place::of(1, 0)),
            world.spawn_syncer(),
        ];
        finish(world, &cache, threads);
    });
}

/// A page is cut away, evicted and read in again.
#[test]
fn evict_vs_cut() {
    // What is cut stays cut, and each page is accounted for once.
    play("evict_vs_cut", || {
        let (world, cache) = World::in_cache(2, 0, 8, 8);
        let cutter = world.spawn(|world| {
            let handle = world.mapping.handle();
            world.cut(&handle, PAGE as u64 / 2);
            handle.set_len(2 * PAGE as u64).unwrap();
        });
        let threads = vec![
            spawn_evictor(&world, &cache, 3),
            world.spawn_writer(Place::of(0, 0)),
            world.spawn_writer(Place::of(1, 4)),
            cutter,
        ];
        finish(world, &cache, threads);
    });
}

/// Room for one page, for two that are written and read all the time.
#[test]
fn two_pages_and_room_for_one() {
    // Whoever needs a page gets it.
    play("two_pages_and_room_for_one", || {
        let (world, cache) = World::in_cache(2, 0, 1, 1);
        let work = |first: u64| {
            world.spawn(move |world| {
                let handle = world.mapping.handle();
                for page in [first, 1 - first] {
                    world.write(&handle, Place::of(page, first));
                    world.read(&handle, page);
                }
            })
        };
        let threads = vec![work(0), work(1)];
        finish(world, &cache, threads);
    });
}

/// Everybody needs the room that the device makes.
#[test]
fn stalled_vs_a_late_device() {
    // Each writer at the limit is let in.
    play("stalled_vs_a_late_device", || {
        let (world, cache) = World::in_cache(4, 1, 8, 1);
        let write = |page| {
            world.spawn(move |world| world.write(&world.mapping.handle(), Place::of(page, 0)))
        };
        let threads = (0..4).map(write).collect();
        finish(world, &cache, threads);
    });
}

/// The flusher writes for them.
#[test]
fn stalled_vs_flusher() {
    // Each writer at the limit is let in, and the flusher can be stopped.
    play("stalled_vs_flusher", || {
        let (world, cache) = World::in_cache(3, 1, 8, 1);
        let flusher =
            Flusher::start([world.mapping.clone()], FlusherConfig::new()).expect("a thread");
        let write = |page| {
            world.spawn(move |world| world.write(&world.mapping.handle(), Place::of(page, 0)))
        };
        let threads: Vec<_> = (0..3).map(write).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        flusher.stop();
        finish(world, &cache, Vec::new());
    });
}

/// One comes in, or learns that it is too late.
#[test]
fn stalled_vs_close() {
    // Each writer at the limit is let in, or told that the mapping is closed.
    play("stalled_vs_close", || {
        let (world, cache) = World::in_cache(4, 1, 8, 1);
        let write = |page| {
            world.spawn(move |world| {
                match world.try_write(&world.mapping.handle(), Place::of(page, 0)) {
                    Ok(()) | Err(Error::Closed) => {}
                    Err(error) => panic!("{error}"),
                }
            })
        };
        let threads: Vec<_> = (0..3).map(write).collect();
        world.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        finish(world, &cache, Vec::new());
    });
}
