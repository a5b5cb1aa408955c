//! Eviction against everybody who may be at the page. That a page is gone is seen by nobody: it is read in again.

use std::sync::Arc;

use loom::thread::JoinHandle;
use writeback::{Budget, PageCache, SyncMode};

use crate::disk::PAGE;
use crate::model::model;
use crate::world::{Ledger, World};

/// A page of version 1 in a cache, clean and cached.
fn clean() -> (World, PageCache) {
    let (world, cache) = World::in_cache(1, 8);
    world.write(0, 1);
    world.settle();
    (world, cache)
}

fn spawn_evictor(world: &World, cache: &PageCache) -> JoinHandle<()> {
    let cache = cache.clone();
    world.spawn(move |_| _ = cache.evict(8))
}

/// At the end: all is accounted for, and what is read, after all is evicted, is `version`.
#[track_caller]
fn settle(world: &World, cache: &PageCache, version: u64) {
    assert_eq!(world.read(0), Some(version), "in memory");
    world.settle();
    cache.check().unwrap();
    cache.evict(8);
    assert_eq!(world.read(0), Some(version), "in the store");
}

/// What is written to a page while it is evicted is written.
#[test]
fn evict_vs_write() {
    model("evict_vs_write", || {
        let (world, cache) = clean();
        let evictor = spawn_evictor(&world, &cache);
        world.write(0, 2);
        evictor.join().unwrap();
        settle(&world, &cache, 2);
    });
}

/// A read while the page is evicted finds what was written.
#[test]
fn evict_vs_read() {
    model("evict_vs_read", || {
        let (world, cache) = clean();
        let evictor = spawn_evictor(&world, &cache);
        assert_eq!(world.read(0), Some(1));
        evictor.join().unwrap();
        settle(&world, &cache, 1);
    });
}

/// Who has got hold of a page can change it: it is not evicted any more.
#[test]
fn evict_vs_page_in_hand() {
    model("evict_vs_page_in_hand", || {
        let (world, cache) = clean();
        let evictor = spawn_evictor(&world, &cache);
        let page = world.page(0);
        page.write_with(0..512, |bytes| bytes.fill(2)).expect("it is part of the mapping");
        drop(page);
        evictor.join().unwrap();
        settle(&world, &cache, 2);
    });
}

/// Also who says so only afterwards.
#[test]
fn evict_vs_mark_dirty() {
    model("evict_vs_mark_dirty", || {
        let (world, cache) = clean();
        let evictor = spawn_evictor(&world, &cache);
        assert!(world.page(0).mark_dirty().expect("it is part of the mapping"));
        evictor.join().unwrap();
        assert_eq!(world.mapping.stats().dirty, 1);
        settle(&world, &cache, 1);
    });
}

/// Who locks a page and finds it in its place has it there until it is unlocked.
#[test]
fn evict_vs_lock() {
    model("evict_vs_lock", || {
        let (world, cache) = clean();
        let evictor = spawn_evictor(&world, &cache);
        let locked = world.page(0).lock_state().expect("not cut");
        assert!(locked.mark_dirty().unwrap());
        drop(locked);
        evictor.join().unwrap();
        settle(&world, &cache, 1);
    });
}

/// A page is evicted after its write, and a sync that does not find it any more has nothing to wait for.
#[test]
fn write_then_evict_vs_sync() {
    model("write_then_evict_vs_sync", || {
        let (world, cache) = World::in_cache(1, 8);
        world.write(0, 1);
        let syncer = world.spawn(|world| world.sync(0, 1));
        world.mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
        cache.evict(8);
        syncer.join().unwrap();
        settle(&world, &cache, 1);
    });
}

/// A write that ends, and an eviction at the same time: the page stays or is in the store.
#[test]
fn evict_vs_end() {
    model("evict_vs_end", || {
        let (world, cache) = World::in_cache(1, 8);
        world.write(0, 1);
        let writeback = world.start(0);
        let evictor = spawn_evictor(&world, &cache);
        world.write_out(writeback);
        evictor.join().unwrap();
        settle(&world, &cache, 1);
    });
}

/// A page whose write fails is not evicted.
#[test]
fn evict_vs_failed_end() {
    model("evict_vs_failed_end", || {
        let (world, cache) = World::in_cache(1, 8);
        world.write(0, 1);
        let handle = world.mapping.handle();
        let writeback = world.start(0);
        world.disk.fail_writes(1);
        let evictor = spawn_evictor(&world, &cache);
        world.write_out(writeback);
        evictor.join().unwrap();
        handle.check_error().unwrap_err();
        settle(&world, &cache, 1);
    });
}

/// A page is cut and evicted once, and accounted for once.
#[test]
fn evict_vs_cut() {
    model("evict_vs_cut", || {
        let (world, cache) = clean();
        let evictor = spawn_evictor(&world, &cache);
        world.mapping.handle().set_len(0).unwrap();
        evictor.join().unwrap();
        world.settle();
        cache.check().unwrap();
        assert_eq!(cache.stats().cached, 0);
    });
}

/// A hold and an eviction exclude each other.
#[test]
fn evict_vs_hold() {
    model("evict_vs_hold", || {
        let (world, cache) = clean();
        let evictor = spawn_evictor(&world, &cache);
        let hold = world.mapping.hold_page(0).unwrap();
        assert!(hold.page().snapshot().is_mapped());
        assert_eq!(hold.image().as_ref()[0], 1);
        drop(hold);
        evictor.join().unwrap();
        settle(&world, &cache, 1);
    });
}

/// Who is told of a write after an eviction reads it.
#[test]
fn evict_vs_write_then_read() {
    model("evict_vs_write_then_read", || {
        let (world, cache) = clean();
        let ledger = Ledger::new();
        let writer = world.spawn_writer(&Arc::clone(&ledger), 0, 2);
        cache.evict(8);
        let due = ledger.due();
        assert!(world.read(0).unwrap() >= due);
        writer.join().unwrap();
        settle(&world, &cache, 2);
    });
}

/// Who uses a page by a reference, however short, has it spared: eviction sees the reference, or the use.
#[test]
fn evict_vs_use_by_page() {
    model("evict_vs_use_by_page", || {
        let (world, cache) = World::in_cache(2, 8);
        // The first is not in the turn any more in which it came in.
        (0..2).for_each(|page| world.write(page, 1));
        // Not settled: that looks at what is in the pages, and would be a use.
        world.sync(0, 1);
        let user = world.spawn(|world| {
            let page = world.mapping.cached_page(0)?;
            Some(page.read_with(|bytes| assert_eq!(bytes[0], 1)))
        });
        // There is another one that can go instead.
        assert_eq!(cache.evict(1), 1);
        let used = user.join().unwrap().is_some();
        assert!(!used || world.mapping.cached_page(0).is_some(), "it was evicted all the same");
        cache.check().unwrap();
    });
}

/// A large page and a small one come in where there is room for neither: as many bytes leave as they need together, neither
/// counts for more or less than it has, and nobody waits for ever.
#[test]
fn large_page_vs_small_page() {
    model("large_page_vs_small_page", || {
        let (small, cache) = World::in_cache(8, 8);
        // Seven eighths of the room.
        (0..7).for_each(|page| assert_eq!(small.read(page), Some(0)));
        let large = World::also_in(&cache, 1, 4);
        let reader = large.spawn(|large| assert_eq!(large.read(3), Some(0)));
        assert_eq!(small.read(7), Some(0));
        reader.join().unwrap();
        cache.check().unwrap();
        let stats = cache.stats();
        assert_eq!((large.mapping.stats().cached, stats.overcommitted), (1, 0), "{stats:?}");
        assert!(stats.cached_bytes <= stats.capacity_bytes, "{stats:?}");
        assert!(small.mapping.cached_page(7).is_some(), "what has just come in stays");
    });
}

/// A page that is written while its cache is made smaller is written, whether there is room for it or not, and afterwards there is no more
/// than there is room for.
#[test]
fn resize_vs_write() {
    model("resize_vs_write", || {
        let (world, cache) = World::in_cache(3, 8);
        (0..2).for_each(|page| world.write(page, 1));
        world.sync(0, 1);
        let smaller = cache.clone();
        let resizer = world.spawn(move |_| smaller.resize(PAGE as u64).unwrap());
        world.write(2, 2);
        resizer.join().unwrap();
        world.sync(2, 2);
        cache.check().unwrap();
        let stats = cache.stats();
        assert!(stats.cached <= 1, "{stats:?}");
        assert_eq!((world.read(0), world.read(1), world.read(2)), (Some(1), Some(1), Some(2)));
    });
}

/// Two that set the size at the same time: one of them is the last, and all of the cache has its size.
#[test]
fn resize_vs_resize() {
    model("resize_vs_resize", || {
        let (world, cache) = World::in_cache(4, 8);
        (0..4).for_each(|page| assert_eq!(world.read(page), Some(0)));
        let other = cache.clone();
        let resizer = world.spawn(move |_| other.resize(PAGE as u64).unwrap());
        cache.resize(2 * PAGE as u64).unwrap();
        resizer.join().unwrap();
        cache.check().unwrap();
        let stats = cache.stats();
        assert!(stats.cached_bytes <= stats.capacity_bytes, "{stats:?}");
    });
}
