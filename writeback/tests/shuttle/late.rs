//! Reads and flushes that end on threads of the device, in any order: nobody sees anything but what was read, and no sync says `Ok`
//! for what its flush did not cover.

use crate::ledger::{PAGE, Place};
use crate::play::play;
use crate::world::World;

/// The page is locked by its reader until the read has ended.
#[test]
fn late_read_vs_cut() {
    // A page that is read while it is cut away does not stay.
    play("late_read_vs_cut", || {
        let world = World::new(2, 1);
        let reader = world.spawn(|world| world.read(&world.mapping.handle(), 1));
        world.cut(&world.mapping.handle(), PAGE as u64);
        reader.join().unwrap();
        assert_eq!(world.mapping.stats().cached, 0);
        world.finish();
    });
}

/// The write needs the rest of the page, the read all of it.
#[test]
fn late_read_vs_write_and_sync() {
    // What was read does not take the place of what was written meanwhile.
    play("late_read_vs_write_and_sync", || {
        let world = World::new(1, 2);
        let reader = world.spawn(|world| world.read(&world.mapping.handle(), 0));
        let writer = world.spawn_writer(Place::of(0, 1));
        world.read(&world.mapping.handle(), 0);
        [reader, writer].into_iter().for_each(|thread| thread.join().unwrap());
        world.read(&world.mapping.handle(), 0);
        world.finish();
    });
}

/// There is room for one page.
#[test]
fn late_reads_vs_evict() {
    // A page that is being read is not evicted for another one, and each reader finds its own.
    play("late_reads_vs_evict", || {
        let (world, cache) = World::in_cache(2, 1, 1, 1);
        let other = world.spawn(|world| {
            let handle = world.mapping.handle();
            world.write(&handle, Place::of(1, 0));
            world.read(&handle, 0);
        });
        world.read(&world.mapping.handle(), 1);
        cache.evict(1);
        other.join().unwrap();
        world.finish();
    });
}

/// While the one flush is under way, a page is written and completed.
#[test]
fn late_flush_vs_write_and_sync() {
    // A flush covers no write that ended after it began, however late it ends itself.
    play("late_flush_vs_write_and_sync", || {
        let world = World::dirty(2, 2);
        let syncer = world.spawn_syncer();
        let writer = world.spawn_writer(Place::of(1, 0));
        world.sync(&world.mapping.handle()).unwrap();
        [syncer, writer].into_iter().for_each(|thread| thread.join().unwrap());
        world.finish();
    });
}
