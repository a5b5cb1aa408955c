//! From accepted to durable: the generations.

use writeback::SyncMode;

use crate::model::model;
use crate::world::{Ledger, World};

/// A write that ends while a flush is under way is made durable by the next one.
#[test]
fn late_write_vs_flush() {
    model("late_write_vs_flush", || {
        let world = World::dirty(2);
        world.mapping.write_page(0, SyncMode::Wait).unwrap();
        let other = world.spawn(|world| world.mapping.handle().sync_range(..512).unwrap());
        world.mapping.write_page(1, SyncMode::Wait).unwrap();
        world.mapping.wait_range(..);
        world.mapping.handle().sync_range(..512).unwrap();
        world.assert_durable(0, 1);
        // No page that was dirty was in the range, but a flush covers all that was written.
        world.assert_durable(1, 1);
        other.join().unwrap();
        world.settle();
    });
}

/// So it is for two who flush and one who writes: nobody takes for covered what came too late.
#[test]
fn late_write_vs_two_flushes() {
    model("late_write_vs_two_flushes", || {
        let world = World::dirty(2);
        world.mapping.write_page(0, SyncMode::Wait).unwrap();
        let flush = |world: &World| world.mapping.handle().sync_range(..512).unwrap();
        let others = [world.spawn(flush), world.spawn(flush)];
        let writeback = world.start(1);
        world.write_out(writeback);
        flush(&world);
        world.assert_durable(1, 1);
        others.into_iter().for_each(|other| other.join().unwrap());
        world.settle();
    });
}

/// Two who write a page each, and sync: each finds its own durable, whoever flushes.
#[test]
fn write_and_sync_vs_write_and_sync() {
    model("write_and_sync_vs_write_and_sync", || {
        let world = World::dirty(2);
        let other = world.spawn(|world| {
            world.mapping.write_page(1, SyncMode::Wait).unwrap();
            world.mapping.handle().sync_range(512..).unwrap();
            world.assert_durable(1, 1);
        });
        world.mapping.write_page(0, SyncMode::Wait).unwrap();
        world.mapping.handle().sync_range(..512).unwrap();
        world.assert_durable(0, 1);
        other.join().unwrap();
        world.settle();
    });
}

/// Who waits for a write and then syncs finds its generation: "nothing is dirty" is not "everything is durable".
#[test]
fn end_writeback_vs_sync() {
    model("end_writeback_vs_sync", || {
        let world = World::dirty(1);
        let writeback = world.start(0);
        let syncer = world.spawn(|world| world.sync(0, 1));
        world.write_out(writeback);
        syncer.join().unwrap();
        world.settle();
    });
}

/// A sync of a clean page finds the flush that covers it, or makes it.
#[test]
fn sync_vs_sync_of_clean_page() {
    model("sync_vs_sync_of_clean_page", || {
        let world = World::dirty(1);
        world.mapping.write_page(0, SyncMode::Wait).unwrap();
        let other = world.spawn(|world| world.sync(0, 1));
        world.sync(0, 1);
        other.join().unwrap();
        assert_eq!(world.disk.flushes(), 1);
        world.settle();
    });
}

/// The same for everything else the store keeps.
#[test]
fn sync_all_vs_sync_all() {
    model("sync_all_vs_sync_all", || {
        let world = World::dirty(1);
        world.mapping.write_page(0, SyncMode::Wait).unwrap();
        let sync = |world: &World| {
            world.mapping.handle().sync_all().unwrap();
            world.assert_durable(0, 1);
        };
        let other = world.spawn(sync);
        sync(&world);
        other.join().unwrap();
        assert_eq!(world.disk.flushes(), 1);
        world.settle();
    });
}

/// A data flush does not cover what a full one is asked for, but the other way round.
#[test]
fn sync_data_vs_sync_all() {
    model("sync_data_vs_sync_all", || {
        let world = World::dirty(1);
        let other = world.spawn(|world| {
            world.mapping.handle().sync_all().unwrap();
            world.assert_durable(0, 1);
        });
        world.sync(0, 1);
        other.join().unwrap();
        assert!((1..=2).contains(&world.disk.flushes()));
        world.settle();
    });
}

/// Who sees a page clean, not under writeback and not locked finds its bytes in the store (I-STORED).
#[test]
fn snapshot_vs_write_back() {
    model("snapshot_vs_write_back", || {
        let world = World::dirty(1);
        let page = world.page(0);
        let flusher = world.spawn(|world| {
            let writeback = world.start(0);
            world.write_out(writeback);
        });
        let state = page.snapshot();
        if !state.is_dirty() && !state.is_under_writeback() && !state.is_locked() {
            assert_eq!(world.disk.accepted(0), 1);
        }
        flusher.join().unwrap();
        world.settle();
    });
}

/// Three: a writer, a device that completes late, and a sync that has to cover what the writer tells of.
#[test]
fn write_vs_late_completion_vs_sync() {
    model("write_vs_late_completion_vs_sync", || {
        let (world, ledger) = (World::dirty(1), Ledger::new());
        world.disk.keep_writes(true);
        world.mapping.write_page(0, SyncMode::Skip).unwrap();
        world.disk.keep_writes(false);
        let device = world.spawn(|world| world.disk.complete());
        let writer = world.spawn_writer(&ledger, 0, 2);
        let due = ledger.due().max(1);
        world.sync(0, due);
        device.join().unwrap();
        writer.join().unwrap();
        world.settle();
    });
}
