//! Syncs among themselves, and with writers and writes that others began.

use writeback::{Budget, Error, SyncMode};

use crate::model::model;
use crate::world::{Ledger, World};

/// What was written before a sync was called is durable when it returns `Ok`.
#[test]
fn write_vs_sync() {
    model("write_vs_sync", || {
        let (world, ledger) = (World::dirty(1), Ledger::new());
        let writer = world.spawn_writer(&ledger, 0, 2);
        let due = ledger.due().max(1);
        world.sync(0, due);
        writer.join().unwrap();
        world.settle();
    });
}

/// Two syncs of one page: both return when it is durable, and it is written once.
#[test]
fn sync_vs_sync() {
    model("sync_vs_sync", || {
        let world = World::dirty(1);
        let other = world.spawn(|world| world.sync(0, 1));
        world.sync(0, 1);
        other.join().unwrap();
        assert_eq!(world.mapping.stats().written, 1);
        world.settle();
    });
}

/// Two syncs of two pages do not wait for each other, and both find both pages durable.
#[test]
fn sync_vs_sync_of_two_pages() {
    model("sync_vs_sync_of_two_pages", || {
        let world = World::dirty(2);
        let other = world.spawn(|world| {
            world.sync(0, 1);
            world.assert_durable(1, 1);
        });
        world.sync(1, 1);
        world.assert_durable(0, 1);
        other.join().unwrap();
        world.settle();
    });
}

/// A write of one page and a sync that finds it under way: the sync waits, and writes nothing.
#[test]
fn write_page_vs_sync() {
    model("write_page_vs_sync", || {
        let world = World::dirty(1);
        let writer = world.spawn(|world| world.mapping.write_page(0, SyncMode::Skip).unwrap());
        world.sync(0, 1);
        writer.join().unwrap();
        assert_eq!(world.mapping.stats().written, 1);
        world.settle();
    });
}

/// A write of one page that is waited for is accepted, whoever else writes it.
#[test]
fn write_page_vs_write_page() {
    model("write_page_vs_write_page", || {
        let world = World::dirty(1);
        let write = |world: &World| {
            world.mapping.write_page(0, SyncMode::Wait).unwrap();
            assert_eq!(world.disk.accepted(0), 1);
        };
        let other = world.spawn(write);
        write(&world);
        other.join().unwrap();
        world.settle();
    });
}

/// A sync waits for a write that another began and that ends on a third thread.
#[test]
fn sync_vs_late_completion() {
    model("sync_vs_late_completion", || {
        let world = World::dirty(1);
        world.disk.keep_writes(true);
        world.mapping.write_page(0, SyncMode::Skip).unwrap();
        world.disk.keep_writes(false);
        let device = world.spawn(|world| world.disk.complete());
        world.sync(0, 1);
        device.join().unwrap();
        world.settle();
    });
}

/// A page that was written to while it was under way is written again by a sync: the old image is not enough.
#[test]
fn sync_of_redirtied_vs_late_completion() {
    model("sync_of_redirtied_vs_late_completion", || {
        let world = World::dirty(1);
        world.disk.keep_writes(true);
        world.mapping.write_page(0, SyncMode::Skip).unwrap();
        world.disk.keep_writes(false);
        world.write(0, 2);
        let device = world.spawn(|world| world.disk.complete());
        world.sync(0, 2);
        device.join().unwrap();
        world.settle();
    });
}

/// A sync submits what it has before it waits; so do two passes that meet in the middle, and a third thread completes.
#[test]
fn sync_vs_pass_vs_device() {
    model("sync_vs_pass_vs_device", || {
        let world = World::dirty(2);
        world.disk.keep_writes(true);
        let flusher = world.spawn(|world| {
            world.mapping.write_range(1.., SyncMode::Skip, Budget::UNLIMITED).unwrap().submitted
        });
        let device = world.spawn(|world| (0..2).for_each(|_| world.disk.complete()));
        let first = world.mapping.write_range(..1, SyncMode::Wait, Budget::UNLIMITED).unwrap();
        assert_eq!((first.submitted, flusher.join().unwrap()), (1, 1));
        world.mapping.wait_range(..);
        world.disk.keep_writes(false);
        world.sync(0, 1);
        world.assert_durable(1, 1);
        device.join().unwrap();
        world.settle();
    });
}

/// A writeback that is dropped does not keep a sync waiting: the sync tells that a write was lost, and the next one
/// writes the page.
#[test]
fn sync_vs_dropped_writeback() {
    model("sync_vs_dropped_writeback", || {
        let world = World::dirty(1);
        let handle = world.mapping.handle();
        let writeback = world.start(0);
        let syncer = world.spawn(move |world| {
            // The write is over when the second one is begun, so that its error cannot have come after it.
            let told = world.sync_by(&handle, 0, 1).unwrap_err();
            assert!(matches!(told, Error::Write { .. }), "{told}");
            world.sync_by(&handle, 0, 1).unwrap();
        });
        drop(writeback);
        syncer.join().unwrap();
        world.settle();
    });
}

/// A store that forgets a write does not keep a sync waiting.
#[test]
fn sync_vs_lost_completion() {
    model("sync_vs_lost_completion", || {
        let world = World::dirty(1);
        let handle = world.mapping.handle();
        world.disk.keep_writes(true);
        world.mapping.write_page(0, SyncMode::Skip).unwrap();
        world.disk.keep_writes(false);
        let device = world.spawn(|world| world.disk.lose());
        world.sync_by(&handle, 0, 1).unwrap_err();
        device.join().unwrap();
        world.sync_by(&handle, 0, 1).unwrap();
        world.settle();
    });
}

/// A write that is let in before a close is durable after it; one that is not says so.
#[test]
fn write_vs_close() {
    model("write_vs_close", || {
        let world = World::dirty(1);
        let writer = world.spawn(|world| world.try_write(0, 2));
        world.mapping.clone().close().unwrap();
        let durable = world.disk.durable(0);
        match writer.join().unwrap() {
            Ok(()) => assert_eq!(durable, 2),
            Err(error) => assert!(matches!(error, Error::Closed) && durable == 1, "{error}"),
        }
        world.settle();
    });
}

/// A close that says `Ok` has flushed what another wrote well after the close's own write of it had failed.
#[test]
fn failed_close_vs_write_page() {
    model("failed_close_vs_write_page", || {
        let world = World::dirty(1);
        world.disk.fail_writes(1);
        let other = world.spawn(|world| world.mapping.write_page(0, SyncMode::Wait).map(drop));
        let closed = world.mapping.clone().close();
        if closed.is_ok() {
            world.assert_durable(0, 1);
        }
        let _ = other.join().unwrap();
        let _ = world.mapping.handle().check_error();
        world.settle();
    });
}

/// The same for a writer that has to bring the page in.
#[test]
fn first_write_vs_close() {
    model("first_write_vs_close", || {
        let world = World::new(1);
        let writer = world.spawn(|world| world.try_write(0, 2));
        world.mapping.clone().close().unwrap();
        let durable = world.disk.durable(0);
        match writer.join().unwrap() {
            Ok(()) => assert_eq!(durable, 2),
            Err(error) => assert!(matches!(error, Error::Closed) && durable == 0, "{error}"),
        }
        world.settle();
    });
}
