//! R-ERROR-TOLD-TO-ONE, R-ERROR-LATE: races of failing writes with those who must be told.

use std::sync::Arc;

use shuttle::thread;
use writeback::StoreError;
use writeback::SyncMode;

use crate::ledger::Place;
use crate::play::play;
use crate::world::World;

/// R-ERROR-TOLD-TO-ONE, fsyncgate: the first write of the page fails, whoever begins it, and any later one succeeds.
#[test]
fn error_vs_two_handles() {
    // Every handle is told of an error once, by its next sync.
    play("error_vs_two_handles", || {
        let world = World::dirty(1, 1);
        world.device.fail_writes(1);
        let (handle, other) = (world.mapping.handle(), world.mapping.handle());
        let other = world.spawn(move |world| {
            world.sync(&other).expect_err("the first write failed");
            other.check_error().expect("told");
        });
        world.sync(&handle).expect_err("the first write failed");
        handle.check_error().expect("told");
        other.join().unwrap();
        world.finish();
    });
}

/// R-ERROR-TOLD-TO-ONE: the two of one handle, whose cursor one of them moves first.
#[test]
fn error_vs_two_syncs_of_one_handle() {
    // Both are told.
    play("error_vs_two_syncs_of_one_handle", || {
        let world = World::dirty(1, 0);
        world.device.fail_writes(1);
        let handle = Arc::new(world.mapping.handle());
        let other = world.spawn({
            let handle = Arc::clone(&handle);
            move |world| world.sync(&handle).is_err()
        });
        let one = world.sync(&handle).is_err();
        let other = other.join().unwrap();
        // Who came after the other had been told, and found the page written, is rightly content.
        assert!(one || other);
        handle.check_error().expect("told");
        drop(handle);
        world.finish();
    });
}

/// As above, but both have begun before the write fails.
#[test]
fn late_error_vs_two_syncs_of_one_handle() {
    // Of two syncs that wait for the same failing write both are told.
    play("late_error_vs_two_syncs_of_one_handle", || {
        let world = World::dirty(1, 0);
        let handle = Arc::new(world.mapping.handle());
        let writeback = world.claim(0).expect("dirty").start_writeback().expect("not held");
        let syncers = [0, 1].map(|_| {
            let handle = Arc::clone(&handle);
            world.spawn(move |world| world.sync(&handle).is_err())
        });
        // Each syncer must wait for the end of this; whether it has read its cursor before nobody can
        // say, so only one of them is sure to be told.
        writeback.end(Err(StoreError::NoSpace));
        let told = syncers.map(|syncer| syncer.join().unwrap());
        assert!(told.contains(&true));
        handle.check_error().expect("told");
        drop(handle);
        world.finish();
    });
}

/// R-ERROR-LATE, I-ERROR-FIRST.
#[test]
fn failed_end_vs_waiter() {
    // Who has waited for a write that failed finds the error.
    play("failed_end_vs_waiter", || {
        let world = World::dirty(1, 0);
        let handle = world.mapping.handle();
        let writeback = world.claim(0).expect("dirty").start_writeback().expect("not held");
        let ender = thread::spawn(move || writeback.end(Err(StoreError::NoSpace)));
        world.page(0).wait_writeback();
        handle.check_error().expect_err("it has failed");
        ender.join().unwrap();
        world.sync(&handle).unwrap();
        world.finish();
    });
}

/// R-ERROR-LATE: the sync may come when the page has left WRITEBACK and is dirty again, or before.
#[test]
fn failed_end_vs_sync() {
    // No sync returns Ok for a page whose write has just failed, unless it wrote it again.
    play("failed_end_vs_sync", || {
        let world = World::dirty(1, 0);
        let handle = world.mapping.handle();
        let writeback = world.claim(0).expect("dirty").start_writeback().expect("not held");
        let ender = thread::spawn(move || writeback.end(Err(StoreError::NoSpace)));
        world.sync(&handle).expect_err("the error came after the handle was opened");
        ender.join().unwrap();
        world.sync(&handle).unwrap();
        world.finish();
    });
}

/// R-ERROR-LATE, one step later: between the recording of the error and the page's becoming dirty again. The handle
/// has been told by then, so its sync has no error left to return.
#[test]
fn failed_end_vs_sync_of_a_told_handle() {
    // A sync that returns Ok has written the page, also if its handle was told of the failure before.
    play("failed_end_vs_sync_of_a_told_handle", || {
        let world = World::dirty(1, 0);
        let handle = world.mapping.handle();
        let writeback = world.claim(0).expect("dirty").start_writeback().expect("not held");
        let ender = thread::spawn(move || writeback.end(Err(StoreError::NoSpace)));
        while handle.check_error().is_ok() {
            thread::yield_now();
        }
        world.sync(&handle).expect("told before");
        ender.join().unwrap();
        world.finish();
    });
}

/// An internal caller looks, and takes nothing from the handles.
#[test]
fn failed_write_page_vs_handle() {
    // Who writes one page and waits is told by the result, and the handles are told as well.
    play("failed_write_page_vs_handle", || {
        let world = World::dirty(1, 1);
        world.device.fail_writes(1);
        let handle = world.mapping.handle();
        let writer = world.spawn(|world| world.write(&world.mapping.handle(), Place::of(0, 1)));
        world.mapping.write_page(0, SyncMode::Wait).expect_err("its write failed");
        handle.check_error().expect_err("not told yet");
        writer.join().unwrap();
        world.finish();
    });
}
