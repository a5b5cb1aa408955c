//! A device that takes whole pages only: the last one is padded with zeros, and each sync sets the length right.

use std::sync::Arc;

use writeback::Budget;
use writeback::SyncMode;

use crate::ledger::{PLACE, Place};
use crate::play::play;
use crate::world::World;

/// The first place of a page, and the second.
fn tail(page: u64) -> [Place; 2] {
    [Place::of(page, 0), Place::of(page, 1)]
}

/// A mapping of one place, which may have been written or not.
fn world(threads: usize) -> Arc<World> {
    let world = World::aligned(threads);
    world.write(&world.mapping.handle(), tail(0)[0]);
    world.mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
    world
}

/// A sync has looked at the length and not cut yet.
#[test]
fn trim_vs_appending_writer() {
    // A sync that cuts the padding takes nothing from those who append meanwhile.
    play("trim_vs_appending_writer", || {
        let world = world(0);
        let writers = [tail(0)[1], tail(1)[0]].map(|place| {
            world.spawn(move |world| {
                world.write(&world.mapping.handle(), place);
                world.mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
            })
        });
        world.sync(&world.mapping.handle()).unwrap();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        world.sync(&world.mapping.handle()).unwrap();
        world.assert_lengths();
        world.finish();
    });
}

/// The same through a page in hand.
#[test]
fn trim_vs_writer_of_a_page() {
    // A sync that cuts the padding takes nothing from those who lengthen the mapping within its last page.
    play("trim_vs_writer_of_a_page", || {
        let world = world(0);
        let page = world.page(0);
        let writer = world.spawn(move |world| {
            world.write_page(&page, 1).unwrap();
            world.mapping.write_page(0, SyncMode::Skip).unwrap();
        });
        world.sync(&world.mapping.handle()).unwrap();
        writer.join().unwrap();
        world.sync(&world.mapping.handle()).unwrap();
        world.assert_lengths();
        world.finish();
    });
}

/// One padded write has ended, and another ends while a sync sets the length that does not wait for it.
#[test]
fn trim_vs_late_write() {
    // A padded write that ends after the cut is cut by the next sync.
    play("trim_vs_late_write", || {
        let world = world(1);
        world.mapping.wait_range(..);
        world.write(&world.mapping.handle(), tail(0)[1]);
        world.mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
        let syncer = world.spawn(|world| {
            world.sync_pages(&world.mapping.handle(), 1..2).unwrap();
        });
        world.sync(&world.mapping.handle()).unwrap();
        syncer.join().unwrap();
        world.sync(&world.mapping.handle()).unwrap();
        world.assert_lengths();
        world.finish();
    });
}

/// Both set the store's length, to different ones.
#[test]
fn trim_vs_cut() {
    // A cut stays, whenever a sync sets the length; and what is behind it comes back as zeros.
    play("trim_vs_cut", || {
        let world = world(1);
        let handle = world.mapping.handle();
        [tail(0)[1], tail(1)[0]].into_iter().for_each(|place| world.write(&handle, place));
        world.mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
        let syncer = world.spawn_syncer();
        let writer = world.spawn(|world| world.write(&world.mapping.handle(), tail(2)[0]));
        world.cut(&handle, PLACE as u64);
        syncer.join().unwrap();
        writer.join().unwrap();
        world.sync(&handle).unwrap();
        world.assert_lengths();
        drop(handle);
        world.finish();
    });
}
