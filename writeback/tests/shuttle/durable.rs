//! R-UNFLUSHED: written is not durable. Races of flushes with writes that end, and with one another.

use writeback::SyncMode;

use crate::ledger::Place;
use crate::play::play;
use crate::world::World;

/// The second page's write may end while the flush for the first is under way.
#[test]
fn write_vs_flush() {
    // A flush covers the writes that had ended when it began, and no others.
    play("write_vs_flush", || {
        let world = World::new(2, 0);
        let other = world.spawn_writer(Place::of(1, 0));
        let handle = world.mapping.handle();
        world.write(&handle, Place::of(0, 0));
        world.sync(&handle).unwrap();
        other.join().unwrap();
        world.finish();
    });
}

/// The write is over; only the flush is missing.
#[test]
fn flush_vs_flush() {
    // A sync with nothing to write waits for the flush that covers what was written.
    play("flush_vs_flush", || {
        let world = World::dirty(1, 0);
        assert!(world.mapping.write_page(0, SyncMode::Wait).unwrap());
        let other = world.spawn_syncer();
        world.sync(&world.mapping.handle()).unwrap();
        other.join().unwrap();
        assert_eq!(world.device.flushes(), 1, "one of them is covered by the other's");
        world.finish();
    });
}

/// The page is clean by the time the sync looks, or not yet: the generation must be there first.
#[test]
fn completion_vs_sync() {
    // A sync that finds no trace of a write in the index finds that there is something to flush.
    play("completion_vs_sync", || {
        let world = World::new(1, 0);
        let handle = world.mapping.handle();
        // A mapping's first sync always flushes: this one is that.
        world.sync(&handle).unwrap();
        world.write(&handle, Place::of(0, 0));
        let writeback = world.claim(0).expect("dirty").start_writeback().expect("not held");
        let syncer = world.spawn_syncer();
        world.write_out(writeback);
        syncer.join().unwrap();
        world.finish();
    });
}

/// fsyncgate: after the failed flush the device reports success and has forgotten what it held.
#[test]
fn failed_flush_vs_sync() {
    // After a failed flush no sync succeeds any more.
    play("failed_flush_vs_sync", || {
        let world = World::dirty(1, 0);
        world.device.fail_flush();
        let other = world.spawn(|world| world.sync(&world.mapping.handle()));
        let one = world.sync(&world.mapping.handle());
        let other = other.join().unwrap();
        assert!(one.unwrap_err().is_poisoned() && other.unwrap_err().is_poisoned());
        assert!(world.mapping.handle().check_error().unwrap_err().is_poisoned());
        assert_eq!(world.device.flushes(), 1, "never tried again");
        world.abandon();
    });
}

/// Nobody knows how much of it reached the device.
#[test]
fn failed_write_vs_flush() {
    // A write that failed is flushed like one that succeeded.
    play("failed_write_vs_flush", || {
        let world = World::new(1, 1);
        let handle = world.mapping.handle();
        // A mapping's first sync always flushes: this one is that.
        world.sync(&handle).unwrap();
        let flushes = world.device.flushes();
        world.write(&handle, Place::of(0, 0));
        world.device.fail_writes(1);
        let other = world.spawn(|world| {
            let budget = writeback::Budget::UNLIMITED;
            world.mapping.write_range(.., SyncMode::Wait, budget).unwrap();
            world.mapping.wait_range(..);
        });
        let told = world.sync(&world.mapping.handle());
        assert!(told.unwrap_err().is_no_space(), "its page's first write failed");
        assert!(world.device.flushes() > flushes);
        other.join().unwrap();
        world.finish();
    });
}
