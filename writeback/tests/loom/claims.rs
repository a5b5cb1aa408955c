//! A page under a claim: its flag is clear, its tag is set, and its lock is held.

use writeback::{Budget, SyncMode};

use crate::model::model;
use crate::world::World;

/// A sync that begins while a page is claimed misses nothing, also if the claim is given up (2004).
#[test]
fn sync_vs_declined_claim() {
    model("sync_vs_declined_claim", || {
        let world = World::dirty(1);
        let claim = world.claim(0).expect("dirty");
        let syncer = world.spawn(|world| world.sync(0, 1));
        claim.redirty();
        syncer.join().unwrap();
        world.settle();
    });
}

/// A sync misses no page that a flusher claims while a journal holds it (2004, all three).
#[test]
fn sync_vs_flusher_vs_journal() {
    model("sync_vs_flusher_vs_journal", || {
        let world = World::dirty(1);
        let hold = world.mapping.hold_page(0).unwrap();
        let flusher = world.spawn(|world| {
            world.mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
        });
        let syncer = world.spawn(|world| world.sync(0, 1));
        drop(hold);
        flusher.join().unwrap();
        syncer.join().unwrap();
        world.settle();
    });
}

/// A claim that is dropped is given up: a sync that waits for the page writes it.
#[test]
fn sync_vs_dropped_claim() {
    model("sync_vs_dropped_claim", || {
        let world = World::dirty(1);
        let syncer = world.spawn(|world| world.sync(0, 1));
        drop(world.claim(0));
        syncer.join().unwrap();
        world.settle();
    });
}
