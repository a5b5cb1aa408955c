//! Writes of tasks, beside threads. What a task cannot do at once it waits for with nothing in its hands, and tries again.

use writeback::{Error, Result};

use crate::disk::PAGE;
use crate::late::{serve, settle};
use crate::model::model;
use crate::tasks::block_on;
use crate::world::World;

/// Writes a page of that version.
fn write(world: &World, page: usize, version: u8) -> Result<()> {
    write_part(world, page, &[version; PAGE])
}

fn write_part(world: &World, page: usize, bytes: &[u8]) -> Result<()> {
    block_on(world.mapping.async_handle().write_at(bytes, (page * PAGE) as u64))
}

/// A task's write comes before a cut, and is gone, or after it, and is all there.
#[test]
fn task_write_vs_cut() {
    model("task_write_vs_cut", || {
        let world = World::dirty(2);
        let writer = world.spawn(|world| write(world, 1, 2).unwrap());
        world.mapping.handle().set_len(PAGE as u64).unwrap();
        writer.join().unwrap();
        assert!(matches!(world.read(1), None | Some(2)));
        world.settle();
    });
}

/// What a task wrote before a sync is durable after it.
#[test]
fn task_write_vs_sync() {
    model("task_write_vs_sync", || {
        let world = World::dirty(1);
        let syncer = world.spawn(|world| world.sync(0, 1));
        write(&world, 0, 2).unwrap();
        world.sync(0, 2);
        syncer.join().unwrap();
        world.settle();
    });
}

/// A task and a thread that lengthen the mapping over one page: neither takes from the other what it wrote.
#[test]
fn task_write_vs_growth() {
    model("task_write_vs_growth", || {
        let world = World::with_capacity(0, 2);
        let writer = world.spawn(|world| write(world, 1, 2).unwrap());
        world.write(0, 1);
        writer.join().unwrap();
        assert_eq!((world.read(0), world.read(1)), (Some(1), Some(2)));
        world.settle();
    });
}

/// A reader beside a task that writes a page which is not cached sees what was there before, or all of it.
#[test]
fn task_write_vs_read() {
    model("task_write_vs_read", || {
        let world = World::new(1);
        let writer = world.spawn(|world| write(world, 0, 2).unwrap());
        assert!(matches!(world.read(0), Some(0 | 2)));
        writer.join().unwrap();
        assert_eq!(world.read(0), Some(2));
        world.settle();
    });
}

/// A task that writes a part waits for the page to be read, whoever asks, and nothing of the rest is lost.
#[test]
fn task_write_of_a_part_vs_late_read() {
    model("task_write_of_a_part_vs_late_read", || {
        let world = World::new(1);
        world.disk.be_late(true);
        let device = serve(&world, 0);
        let writer = world.spawn(|world| write_part(world, 0, &[0; PAGE / 2]).unwrap());
        assert_eq!(world.read(0), Some(0));
        writer.join().unwrap();
        settle(&world, device);
    });
}

/// Two tasks wait for room. Time stands still, so one may be told that there is none while the page in its way is locked; if not, its page has what it wrote.
#[test]
fn task_write_vs_task_write_without_room() {
    model("task_write_vs_task_write_without_room", || {
        let (world, cache) = World::in_cache(2, 1);
        let other = world.spawn(|world| write(world, 0, 2));
        let outcomes = [write(&world, 1, 3), other.join().unwrap()];
        for (outcome, (page, version)) in outcomes.iter().zip([(1, 3), (0, 2)]) {
            match outcome {
                Ok(()) => assert_eq!(world.read(page), Some(version)),
                Err(error) => assert!(matches!(error, Error::Stalled { .. }), "{error}"),
            }
        }
        assert!(outcomes.iter().any(Result::is_ok));
        cache.check().unwrap();
        world.settle();
    });
}
