//! Writers that wait for room, and whoever makes it. A wake-up that is lost is a deadlock.

use loom::thread::JoinHandle;
use writeback::{Error, PageCache, Result};

use crate::disk::PAGE;
use crate::model::model;
use crate::world::World;

/// A cache in which one page may be dirty, and page 0 is being written.
fn full() -> (World, PageCache, writeback::page::Writeback) {
    let (world, cache) = World::in_cache(2, 1);
    world.write(0, 1);
    let writeback = world.start(0);
    (world, cache, writeback)
}

fn spawn_writer(world: &World) -> JoinHandle<Result<()>> {
    world.spawn(|world| world.try_write(1, 2))
}

fn settle(world: &World, cache: &PageCache) {
    world.settle();
    cache.check().unwrap();
    let stats = cache.stats();
    assert_eq!((stats.debt, stats.stalled_now), (0, 0), "{stats:?}");
}

/// A writer at the limit is let in by the end of a write.
#[test]
fn stalled_vs_end() {
    model("stalled_vs_end", || {
        let (world, cache, writeback) = full();
        let writer = spawn_writer(&world);
        world.write_out(writeback);
        writer.join().unwrap().unwrap();
        assert_eq!(cache.stats().debt, 1);
        settle(&world, &cache);
    });
}

/// So it is by the first of two, whatever becomes of the second.
#[test]
fn stalled_vs_one_end_of_two() {
    model("stalled_vs_one_end_of_two", || {
        let (world, cache) = World::in_cache(3, 2);
        (0..2).for_each(|page| world.write(page, 1));
        let [first, second] = [world.start(0), world.start(1)];
        let writer = world.spawn(|world| world.try_write(2, 1).unwrap());
        world.write_out(first);
        writer.join().unwrap();
        world.write_out(second);
        settle(&world, &cache);
    });
}

/// If that write fails, and the one that the writer tries before it gives up, it is told.
#[test]
fn stalled_vs_failed_end() {
    model("stalled_vs_failed_end", || {
        let (world, cache, writeback) = full();
        let handle = world.mapping.handle();
        world.disk.fail_writes(2);
        let writer = spawn_writer(&world);
        world.write_out(writeback);
        let outcome = writer.join().unwrap();
        assert!(matches!(outcome, Err(Error::Stalled { source: Some(_) })), "{outcome:?}");
        handle.check_error().unwrap_err();
        settle(&world, &cache);
    });
}

/// If that write fails and the store has recovered since, the writer finds that out and is let in.
#[test]
fn stalled_vs_recovery() {
    model("stalled_vs_recovery", || {
        let (world, cache, writeback) = full();
        let handle = world.mapping.handle();
        world.disk.fail_writes(1);
        let writer = spawn_writer(&world);
        world.write_out(writeback);
        writer.join().unwrap().unwrap();
        handle.check_error().unwrap_err();
        settle(&world, &cache);
    });
}

/// A writer at the limit learns that the mapping is closed, or is let in before.
#[test]
fn stalled_vs_close() {
    model("stalled_vs_close", || {
        let (world, cache, writeback) = full();
        let writer = spawn_writer(&world);
        let closer = world.spawn(|world| world.mapping.clone().close().unwrap());
        let outcome = writer.join().unwrap();
        assert!(matches!(outcome, Err(Error::Closed)), "{outcome:?}");
        world.write_out(writeback);
        closer.join().unwrap();
        settle(&world, &cache);
    });
}

/// A writer at the limit is let in when a dirty page is cut.
#[test]
fn stalled_vs_cut() {
    model("stalled_vs_cut", || {
        let (world, cache) = World::in_cache(2, 2);
        world.write(0, 1);
        let writeback = world.start(0);
        world.write(1, 1);
        let writer = world.spawn(|world| world.mapping.handle().write_at(&[3; 512], 1024));
        world.mapping.handle().set_len(512).unwrap();
        writer.join().unwrap().unwrap();
        world.write_out(writeback);
        world.mapping.handle().set_len(1024).unwrap();
        settle(&world, &cache);
    });
}

/// Two wait, and two writes end.
#[test]
fn two_stalled_vs_two_ends() {
    model("two_stalled_vs_two_ends", || {
        let (world, cache) = World::in_cache(4, 2);
        (0..2).for_each(|page| world.write(page, 1));
        let writebacks = [world.start(0), world.start(1)];
        let writers =
            [2, 3].map(|page| world.spawn(move |world| world.try_write(page, 1).unwrap()));
        writebacks.into_iter().for_each(|writeback| world.write_out(writeback));
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        settle(&world, &cache);
    });
}

/// A writer at the limit is let in when the cache is made larger, though no write ends.
#[test]
fn stalled_vs_resize() {
    model("stalled_vs_resize", || {
        let (world, cache) = World::in_small_cache(2, 5);
        world.write(0, 1);
        let writeback = world.start(0);
        let writer = spawn_writer(&world);
        cache.resize(10 * PAGE as u64).unwrap();
        writer.join().unwrap().unwrap();
        assert_eq!(cache.stats().debt, 2);
        world.write_out(writeback);
        settle(&world, &cache);
    });
}

/// A writer comes to the limit while the cache is made smaller: it is let in by the end of a write.
#[test]
fn resize_vs_stalled_vs_end() {
    model("resize_vs_stalled_vs_end", || {
        let (world, cache) = World::in_small_cache(2, 10);
        world.write(0, 1);
        let writeback = world.start(0);
        let writer = spawn_writer(&world);
        cache.resize(5 * PAGE as u64).unwrap();
        world.write_out(writeback);
        writer.join().unwrap().unwrap();
        settle(&world, &cache);
    });
}
