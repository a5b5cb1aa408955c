//! Races of syncs with one another, with other writeback, and with whoever writes meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use writeback::page::PageTag;
use writeback::{Budget, SyncMode};

use crate::ledger::Place;
use crate::play::play;
use crate::world::World;

/// The page is written once, by either; the other has nothing to write and everything to wait for.
#[test]
fn sync_vs_sync() {
    // Of two syncs of one page neither returns before its write has ended and was flushed.
    play("sync_vs_sync", || {
        let world = World::dirty(1, 1);
        let other = world.spawn_syncer();
        world.sync(&world.mapping.handle()).unwrap();
        other.join().unwrap();
        world.finish();
    });
}

/// R-PASSED-BETWEEN, R-UNFLUSHED: DIRTY first, WRITEBACK second; the pass takes the page from the one to the other.
#[test]
fn background_pass_vs_sync() {
    // A sync waits for a write that another began, and flushes what it wrote.
    play("background_pass_vs_sync", || {
        let world = World::dirty(2, 2);
        let flusher = world.spawn(|world| {
            world.mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
        });
        world.sync(&world.mapping.handle()).unwrap();
        flusher.join().unwrap();
        world.finish();
    });
}

/// R-OLD-IMAGE: an old image is under way.
#[test]
fn sync_vs_write_of_an_old_image() {
    // A sync that meets a page under writeback waits, and then writes it again if it is dirty.
    play("sync_vs_write_of_an_old_image", || {
        let world = World::dirty(1, 1);
        world.mapping.write_page(0, SyncMode::Skip).unwrap();
        let handle = world.mapping.handle();
        world.write(&handle, Place::of(0, 1));
        let other = world.spawn_writer(Place::of(0, 2));
        world.sync(&handle).unwrap();
        other.join().unwrap();
        world.finish();
    });
}

/// R-ENDLESS-SYNC: both pages are in one leaf, which is tagged at one instant.
#[test]
fn sync_vs_dirtier_behind_it() {
    // A pass writes what was dirty when it was called, and not what became dirty since.
    play("sync_vs_dirtier_behind_it", || {
        let world = World::dirty(1, 0);
        world.mapping.handle().set_len(1024).unwrap();
        let late = Arc::new(AtomicBool::new(false));
        let writer = world.spawn({
            let late = Arc::clone(&late);
            move |world| {
                let tagged = world.page(0).has_tag(PageTag::ToWrite);
                late.store(tagged, SeqCst);
                world.write(&world.mapping.handle(), Place::of(1, 0));
            }
        });
        let pass = world.mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED).unwrap();
        assert!(pass.submitted == 1 || !late.load(SeqCst), "{pass:?}");
        writer.join().unwrap();
        world.finish();
    });
}

/// `write_one_page(page, wait)` of the seed, twice, and a writer.
#[test]
fn write_page_vs_write_page() {
    // Who writes a page and waits finds it accepted by the store when it returns.
    play("write_page_vs_write_page", || {
        let world = World::dirty(1, 2);
        let other = world.spawn(|world| {
            world.write(&world.mapping.handle(), Place::of(0, 1));
            world.write_page_and_look(0);
        });
        world.write_page_and_look(0);
        other.join().unwrap();
        world.finish();
    });
}

/// Part of the mapping, while another pass takes the page from under it.
#[test]
fn sync_range_vs_pass() {
    // A sync of a range makes that range durable, whoever writes it.
    play("sync_range_vs_pass", || {
        let world = World::dirty(3, 1);
        let flusher = world.spawn(|world| {
            world.mapping.write_cyclic(Budget::UNLIMITED).unwrap();
        });
        world.sync_pages(&world.mapping.handle(), 1..3).unwrap();
        flusher.join().unwrap();
        world.finish();
    });
}

/// Several at once, on a tree of more than one leaf.
#[test]
fn writers_that_sync() {
    // Everybody's sync makes everybody's earlier bytes durable.
    play("writers_that_sync", || {
        let world = World::new(4, 2);
        let writers = [Place::of(0, 1), Place::of(2, 2), Place::of(3, 3)];
        let writers = writers.map(|place| world.spawn_writer(place));
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        world.finish();
    });
}
