//! A disk that is written in whole pages only: the last one is padded, and a sync sets the length right.

use writeback::SyncMode;

use crate::disk::PAGE;
use crate::model::model;
use crate::world::World;

/// Bytes of the last page.
const TAIL: usize = 100;

/// Writes the beginning of a page.
fn write_tail(world: &World, page: usize, version: u8) {
    world.mapping.handle().write_at(&[version; TAIL], (page * PAGE) as u64).unwrap();
}

/// A sync that cuts the padding takes nothing from a writer that lengthens the mapping, and whose page is written and clean
/// before the cut.
#[test]
fn trim_vs_lengthening_write() {
    model("trim_vs_lengthening_write", || {
        let world = World::aligned(2);
        write_tail(&world, 0, 1);
        world.mapping.write_page(0, SyncMode::Skip).unwrap();
        let writer = world.spawn(|world| {
            write_tail(world, 1, 2);
            world.mapping.write_page(1, SyncMode::Skip).unwrap();
        });
        world.sync(0, 1);
        writer.join().unwrap();
        world.settle();
        world.assert_durable(1, 2);
    });
}

/// A sync that waited for a padded write leaves the disk with the mapping's length, whoever ends the write.
#[test]
fn trim_vs_end_of_padded_write() {
    model("trim_vs_end_of_padded_write", || {
        let world = World::aligned(1);
        write_tail(&world, 0, 1);
        let writeback = world.start(0);
        let device = world.spawn(|world| world.write_out(writeback));
        world.sync(0, 1);
        assert_eq!(world.disk.lengths(), (TAIL, TAIL));
        device.join().unwrap();
        world.settle();
    });
}

/// A cut and a sync that set the disk's length leave the shorter one.
#[test]
fn trim_vs_cut() {
    model("trim_vs_cut", || {
        let world = World::aligned(1);
        write_tail(&world, 0, 1);
        world.mapping.write_page(0, SyncMode::Skip).unwrap();
        let cutter = world.spawn(|world| world.mapping.handle().set_len(10).unwrap());
        world.mapping.handle().sync_data().unwrap();
        cutter.join().unwrap();
        world.settle();
        assert_eq!(world.disk.lengths(), (10, 10));
    });
}

/// A mapping that is lengthened with zeros while a sync cuts has its new length on the disk, too.
#[test]
fn trim_vs_lengthening() {
    model("trim_vs_lengthening", || {
        let world = World::aligned(2);
        write_tail(&world, 0, 1);
        world.mapping.write_page(0, SyncMode::Skip).unwrap();
        let other = world.spawn(|world| {
            let len = (PAGE + TAIL) as u64;
            world.mapping.handle().set_len(len).unwrap();
        });
        world.mapping.handle().sync_data().unwrap();
        other.join().unwrap();
        world.settle();
        assert_eq!(world.disk.lengths(), (PAGE + TAIL, PAGE + TAIL));
    });
}
