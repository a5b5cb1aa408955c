//! Runs of missing pages that are read with one read of the disk, against whoever wants one of the pages, or cuts them away.

use crate::disk::PAGE;
use crate::model::model;
use crate::world::World;

/// Reads `pages` pages, which are zeros; returns how many bytes there were.
fn read_run(world: &World, page: usize, pages: usize) -> usize {
    let mut bytes = vec![9; pages * PAGE];
    let count = world.mapping.handle().read_at(&mut bytes, (page * PAGE) as u64).unwrap();
    assert!(bytes[..count].iter().all(|byte| *byte == 0));
    count
}

/// Each page is read once, though the one reader's run reaches into the other's.
#[test]
fn run_vs_run() {
    model("run_vs_run", || {
        let world = World::new(3);
        let other = world.spawn(|world| read_run(world, 1, 2));
        assert_eq!((read_run(&world, 0, 2), other.join().unwrap()), (2 * PAGE, 2 * PAGE));
        assert_eq!((world.mapping.stats().read, world.mapping.stats().cached), (3, 3));
        world.settle();
    });
}

/// A page of a run that is cut away meanwhile does not stay.
#[test]
fn run_vs_cut() {
    model("run_vs_cut", || {
        let world = World::new(2);
        let reader = world.spawn(|world| read_run(world, 0, 2));
        world.mapping.handle().set_len(PAGE as u64).unwrap();
        assert!(matches!(reader.join().unwrap() / PAGE, 1 | 2));
        assert!(world.mapping.stats().cached <= 1);
        world.settle();
    });
}

/// What is written to a page of a run meanwhile is not overwritten by what was read.
#[test]
fn run_vs_write() {
    model("run_vs_write", || {
        let world = World::new(2);
        let reader = world.spawn(|world| {
            let mut bytes = [9; 2 * PAGE];
            assert_eq!(world.mapping.handle().read_at(&mut bytes, 0).unwrap(), 2 * PAGE);
            bytes[PAGE]
        });
        world.write(1, 1);
        assert!(matches!(reader.join().unwrap(), 0 | 1));
        assert_eq!(world.read(1), Some(1));
        world.settle();
    });
}

/// Pages of a run are not evicted before it has ended, and no place is lost or taken twice.
#[test]
fn run_vs_evict() {
    model("run_vs_evict", || {
        let (world, cache) = World::in_cache(2, 8);
        let evictor = world.spawn({
            let cache = cache.clone();
            move |_| _ = cache.evict(8)
        });
        assert_eq!(read_run(&world, 0, 2), 2 * PAGE);
        evictor.join().unwrap();
        world.settle();
        cache.check().unwrap();
    });
}
