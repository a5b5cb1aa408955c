//! Errors, and who is told of them.

use std::sync::Arc;

use writeback::{Budget, Error, Handle, SyncMode};

use crate::model::model;
use crate::world::World;

/// A failed write is told to each of two handles by its sync, once.
#[test]
fn failed_write_vs_two_handles() {
    model("failed_write_vs_two_handles", || {
        let world = World::dirty(1);
        let handles = [world.mapping.handle(), world.mapping.handle()];
        world.disk.fail_writes(1);
        let sync = |handle: Handle| {
            move |world: &World| {
                // The first write of the page fails, and without a second one it is not durable.
                let told = world.sync_by(&handle, 0, 1).unwrap_err();
                assert!(matches!(told, Error::Write { .. }), "{told}");
                handle.check_error().unwrap();
            }
        };
        let [one, other] = handles.map(sync);
        let other = world.spawn(other);
        one(&world);
        other.join().unwrap();
        world.settle();
    });
}

/// Two syncs of one handle: who began before the error tells of it, and whoever says `Ok` has written the page.
#[test]
fn failed_write_vs_two_syncs_of_one_handle() {
    model("failed_write_vs_two_syncs_of_one_handle", || {
        let world = World::dirty(1);
        let handle = Arc::new(world.mapping.handle());
        world.disk.fail_writes(1);
        let sync = |handle: Arc<Handle>| move |world: &World| world.sync_by(&handle, 0, 1);
        let other = world.spawn(sync(Arc::clone(&handle)));
        let one = sync(Arc::clone(&handle))(&world);
        let other = other.join().unwrap();
        assert!(one.is_err() || other.is_err(), "nobody was told");
        handle.check_error().unwrap();
        world.settle();
    });
}

/// An error that is recorded while handles look is told to each once, now or later.
#[test]
fn failed_end_vs_check_error() {
    model("failed_end_vs_check_error", || {
        let world = World::dirty(1);
        let handles = [world.mapping.handle(), world.mapping.handle()];
        let writeback = world.start(0);
        world.disk.fail_writes(1);
        let [one, other] = handles.map(Arc::new);
        let checker = world.spawn({
            let other = Arc::clone(&other);
            move |_| other.check_error().is_err()
        });
        let ender = world.spawn(|world| world.write_out(writeback));
        let told = one.check_error().is_err();
        ender.join().unwrap();
        assert!(told != one.check_error().is_err(), "the first handle");
        assert!(checker.join().unwrap() != other.check_error().is_err(), "the second handle");
        world.settle();
    });
}

/// One write of two pages that fails is one error: who was told when one of them is seen to have ended is not told again
/// when the other is.
#[test]
fn failed_batch_vs_told_handle() {
    model("failed_batch_vs_told_handle", || {
        let world = World::dirty(2);
        let handle = world.mapping.handle();
        world.disk.fail_writes(1);
        let writer = world.spawn(|world| {
            world.mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED).unwrap();
        });
        let told = handle.check_error().is_err();
        writer.join().unwrap();
        assert!(told != handle.check_error().is_err(), "told once");
        world.settle();
    });
}

/// Who was told of a failed write is not told again: its next sync writes the page, also if the page was not dirty again
/// when the error was told.
#[test]
fn failed_end_vs_told_sync() {
    model("failed_end_vs_told_sync", || {
        let world = World::dirty(1);
        let handle = world.mapping.handle();
        let writeback = world.start(0);
        world.disk.fail_writes(1);
        let ender = world.spawn(|world| world.write_out(writeback));
        if handle.check_error().is_err() {
            world.sync_by(&handle, 0, 1).unwrap();
        }
        ender.join().unwrap();
        let _ = handle.check_error();
        world.settle();
    });
}

/// Of two that look by one handle, who saw less does not have it told again what the other saw.
#[test]
fn check_error_vs_check_error() {
    model("check_error_vs_check_error", || {
        let world = World::dirty(1);
        let handle = Arc::new(world.mapping.handle());
        drop(world.start(0));
        let other = world.spawn({
            let handle = Arc::clone(&handle);
            move |world| {
                drop(world.start(0));
                let _ = handle.check_error();
            }
        });
        let _ = handle.check_error();
        other.join().unwrap();
        handle.check_error().unwrap();
        world.settle();
    });
}

/// A handle opened while an error is recorded is told of it, or another was.
#[test]
fn failed_end_vs_new_handle() {
    model("failed_end_vs_new_handle", || {
        let world = World::dirty(1);
        let handle = world.mapping.handle();
        let writeback = world.start(0);
        world.disk.fail_writes(1);
        let ender = world.spawn(|world| world.write_out(writeback));
        let new = world.mapping.handle();
        let told = handle.check_error().is_err();
        ender.join().unwrap();
        let told = told || handle.check_error().is_err();
        assert!(told);
        // The new one may have come after the error was told.
        let _ = new.check_error();
        new.check_error().unwrap();
        world.settle();
    });
}

/// After a failed flush no sync says `Ok`, neither the one whose flush it was nor another.
#[test]
fn failed_flush_vs_sync() {
    model("failed_flush_vs_sync", || {
        let world = World::dirty(1);
        world.disk.fail_flushes(1);
        let sync = |world: &World| {
            let told = world.mapping.handle().sync_data().unwrap_err();
            assert!(told.is_poisoned(), "{told}");
        };
        let other = world.spawn(sync);
        sync(&world);
        other.join().unwrap();
        assert!(world.mapping.is_poisoned());
        assert_eq!((world.disk.flushes(), world.disk.durable(0)), (1, 0));
        world.try_write(0, 2).unwrap_err();
    });
}

/// After a failed flush what is written since is not made durable either, and no sync says so.
#[test]
fn failed_flush_vs_write_and_sync() {
    model("failed_flush_vs_write_and_sync", || {
        let world = World::dirty(1);
        world.mapping.write_page(0, SyncMode::Wait).unwrap();
        world.disk.fail_flushes(1);
        let other = world.spawn(|world| {
            world.try_write(0, 2).is_ok() && world.mapping.handle().sync_data().is_ok()
        });
        world.mapping.handle().sync_data().unwrap_err();
        assert!(!other.join().unwrap(), "the first flush fails, and no other comes after it");
        assert_eq!(world.disk.flushes(), 1);
    });
}
