//! Reads and flushes that end on a thread of the disk, against everybody who may be at the page, or at another flush.

use loom::thread::JoinHandle;
use writeback::store::{FlushKind, Store};
use writeback::{Error, Result, StoreError};

use crate::disk::PAGE;
use crate::model::model;
use crate::world::World;

/// A mapping of one page of zeros that is not cached. Reads and flushes are late; the first `lost` of them are dropped.
fn late(lost: usize) -> (World, JoinHandle<()>) {
    let world = World::new(1);
    let device = serve(&world, lost);
    (world, device)
}

pub(crate) fn serve(world: &World, lost: usize) -> JoinHandle<()> {
    world.disk.be_late(true);
    world.spawn(move |world| world.disk.serve(lost))
}

/// The disk is as quick as any other from now on.
pub(crate) fn settle(world: &World, device: JoinHandle<()>) {
    world.disk.close();
    device.join().unwrap();
    world.disk.be_late(false);
    world.settle();
}

fn try_read(world: &World) -> Result<usize> {
    world.mapping.handle().read_at(&mut [0; PAGE], 0)
}

fn is_lost<T>(outcome: &Result<T>) -> bool {
    matches!(outcome, Err(Error::Read { source: StoreError::Lost, .. }))
}

/// A page whose read ends late is not left behind by a cut.
#[test]
fn late_read_vs_cut() {
    model("late_read_vs_cut", || {
        let (world, device) = late(0);
        let reader = world.spawn(|world| world.read(0));
        world.mapping.handle().set_len(0).unwrap();
        assert!(matches!(reader.join().unwrap(), None | Some(0)));
        assert_eq!(world.mapping.stats().cached, 0);
        settle(&world, device);
    });
}

/// What is read of a page beyond a cut within it is cleared, whether the cut or the end of the read comes first.
#[test]
fn late_read_vs_cut_within() {
    model("late_read_vs_cut_within", || {
        let world = World::new(1);
        world.disk.write_page(0, &[1; PAGE]);
        let device = serve(&world, 0);
        let reader = world.spawn(|world| try_read(world).unwrap());
        world.mapping.handle().set_len(PAGE as u64 / 2).unwrap();
        assert!([PAGE, PAGE / 2].contains(&reader.join().unwrap()));
        if let Some(page) = world.mapping.try_page(0) {
            page.read_with(|bytes| assert!(bytes[PAGE / 2..].iter().all(|byte| *byte == 0)));
        }
        world.disk.close();
        device.join().unwrap();
    });
}

/// A page is not punched while the disk reads it, nor is it left behind.
#[test]
fn late_read_vs_punch() {
    model("late_read_vs_punch", || {
        let world = World::new(2);
        world.disk.write_page(0, &[1; PAGE]);
        let device = serve(&world, 0);
        let reader = world.spawn(|world| world.read(0));
        world.mapping.handle().punch(..PAGE as u64).unwrap();
        assert!(matches!(reader.join().unwrap(), Some(0 | 1)));
        assert_eq!(world.read(0), Some(0));
        world.disk.close();
        device.join().unwrap();
    });
}

/// Two who want a page wait for one read of it, and both find what was read.
#[test]
fn late_read_vs_read() {
    model("late_read_vs_read", || {
        let (world, device) = late(0);
        let other = world.spawn(|world| world.read(0));
        assert_eq!((world.read(0), other.join().unwrap()), (Some(0), Some(0)));
        assert_eq!(world.mapping.stats().read, 1);
        settle(&world, device);
    });
}

/// What is written to a page while its read is under way is not overwritten by what was read.
#[test]
fn late_read_vs_write() {
    model("late_read_vs_write", || {
        let (world, device) = late(0);
        let reader = world.spawn(|world| world.read(0));
        world.write(0, 1);
        assert!(matches!(reader.join().unwrap(), Some(0 | 1)));
        assert_eq!(world.read(0), Some(1));
        settle(&world, device);
    });
}

/// A page that is being read is not evicted: its reader finds it.
#[test]
fn late_read_vs_evict() {
    model("late_read_vs_evict", || {
        let (world, cache) = World::in_cache(1, 8);
        let device = serve(&world, 0);
        let evictor = world.spawn({
            let cache = cache.clone();
            move |_| _ = cache.evict(8)
        });
        assert_eq!(world.read(0), Some(0));
        evictor.join().unwrap();
        settle(&world, device);
        cache.check().unwrap();
    });
}

/// Whoever asks a store itself sleeps until the answer is there.
#[test]
fn late_answers_to_one_thread() {
    model("late_answers_to_one_thread", || {
        let (world, device) = late(0);
        let mut bytes = [9; PAGE];
        assert_eq!(world.disk.read_at(0, &mut bytes).unwrap(), PAGE);
        assert_eq!(bytes, [0; PAGE]);
        world.disk.sync(FlushKind::Data).unwrap();
        settle(&world, device);
    });
}

/// A read that is lost is told to the one who asked; the other asks again, and no page stays locked.
#[test]
fn lost_read_vs_read() {
    model("lost_read_vs_read", || {
        let (world, device) = late(1);
        let other = world.spawn(|world| try_read(world));
        let outcomes = [try_read(&world), other.join().unwrap()];
        assert_eq!(outcomes.iter().filter(|outcome| is_lost(outcome)).count(), 1, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Ok(PAGE))).count(), 1);
        settle(&world, device);
    });
}

/// A flush that ends late covers what had ended when it began, and each sync what was written before it.
#[test]
fn late_flush_vs_sync() {
    model("late_flush_vs_sync", || {
        let (world, device) = late(0);
        world.write(0, 1);
        let other = world.spawn(|world| world.sync(0, 1));
        world.write(0, 2);
        world.sync(0, 2);
        other.join().unwrap();
        settle(&world, device);
    });
}

/// A flush that is lost is a flush that failed: neither who waits for it nor who comes next says `Ok`.
#[test]
fn lost_flush_vs_sync() {
    model("lost_flush_vs_sync", || {
        let (world, device) = late(1);
        world.write(0, 1);
        let other = world.spawn(|world| world.mapping.handle().sync_data());
        let told = [world.mapping.handle().sync_data(), other.join().unwrap()];
        let poisoned = |told: &Result<()>| told.as_ref().is_err_and(Error::is_poisoned);
        assert!(told.iter().all(poisoned), "{told:?}");
        assert_eq!(world.disk.flushes(), 1, "it is not tried again");
        world.disk.close();
        device.join().unwrap();
    });
}
