//! Pages that are punched, against everybody who may write them.

use writeback::SyncMode;

use crate::disk::PAGE;
use crate::model::model;
use crate::world::World;

/// Two dirty pages; the first is punched, the second gives the disk its length.
fn punch(world: &World) {
    world.mapping.handle().punch(..PAGE as u64).unwrap();
}

/// A write of the page that is under way when it is punched does not bring its old bytes back.
#[test]
fn punch_vs_end_writeback() {
    model("punch_vs_end_writeback", || {
        let world = World::dirty(2);
        let writeback = world.start(0);
        let device = world.spawn(|world| world.write_out(writeback));
        punch(&world);
        assert_eq!(world.read(0), Some(0));
        device.join().unwrap();
        world.settle();
    });
}

/// Nor does one that begins meanwhile.
#[test]
fn punch_vs_write_page() {
    model("punch_vs_write_page", || {
        let world = World::dirty(2);
        let flusher = world.spawn(|world| {
            world.mapping.write_page(0, SyncMode::Skip).unwrap();
        });
        punch(&world);
        assert_eq!(world.read(0), Some(0));
        flusher.join().unwrap();
        world.settle();
    });
}

/// What is written to the page meanwhile is there, all of it, or zeros are.
#[test]
fn punch_vs_write() {
    model("punch_vs_write", || {
        let world = World::dirty(2);
        let writer = world.spawn(|world| world.write(0, 2));
        punch(&world);
        writer.join().unwrap();
        assert!(matches!(world.read(0), Some(0 | 2)));
        world.settle();
    });
}

/// A page that is read in meanwhile has what the disk has in the end.
#[test]
fn punch_vs_read() {
    model("punch_vs_read", || {
        let world = World::new(2);
        world.write(0, 1);
        world.settle();
        let reader = world.spawn(|world| world.read(0));
        punch(&world);
        assert!(matches!(reader.join().unwrap(), Some(0 | 1)));
        assert_eq!(world.read(0), Some(0));
        world.settle();
    });
}

/// A page whose write fails is data all the time, though it is never in the store.
#[test]
fn next_data_vs_failed_write() {
    model("next_data_vs_failed_write", || {
        let world = World::dirty(1);
        let (handle, writeback) = (world.mapping.handle(), world.start(0));
        world.disk.fail_writes(1);
        let device = world.spawn(|world| world.write_out(writeback));
        assert_eq!(handle.next_data(0).unwrap(), Some(0));
        device.join().unwrap();
        handle.check_error().unwrap_err();
        world.settle();
    });
}

/// Also if its error was told before anybody looked, and if it is written again at once, in vain.
#[test]
fn failing_writes_vs_next_data() {
    model("failing_writes_vs_next_data", || {
        let world = World::dirty(1);
        let (handle, writeback) = (world.mapping.handle(), world.start(0));
        world.disk.fail_writes(2);
        let searcher = world.spawn(|world| world.mapping.handle().next_data(0).unwrap());
        world.write_out(writeback);
        _ = world.mapping.write_page(0, SyncMode::Skip);
        assert_eq!(searcher.join().unwrap(), Some(0));
        handle.check_error().unwrap_err();
        world.settle();
    });
}
