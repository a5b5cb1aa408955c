//! Races of claims: between the moment a page's DIRTY flag is cleared and the moment it is decided
//! whether the page is written or stays dirty. And of those who make it dirty.

use shuttle::thread;
use writeback::{Budget, StoreError, SyncMode};

use crate::ledger::Place;
use crate::play::play;
use crate::world::World;

/// R-CLAIM-PUT-BACK, the race of 2004: the flusher has claimed the page, meets the journal's hold and puts it back;
/// the sync looks for it meanwhile.
#[test]
fn claim_put_back_vs_sync() {
    // A sync never misses a page that was dirty when it began, whoever has claimed it.
    play("claim_put_back_vs_sync", || {
        let world = World::dirty(1, 0);
        let hold = world.mapping.hold_page(0).unwrap();
        let flusher = world.spawn(|world| {
            let Some(claim) = world.claim(0) else { return };
            match claim.start_writeback() {
                Ok(writeback) => world.write_out(writeback),
                Err(held) => held.redirty(),
            }
        });
        let journal = thread::spawn(move || drop(hold));
        let syncer = world.spawn_syncer();
        flusher.join().unwrap();
        journal.join().unwrap();
        syncer.join().unwrap();
        world.finish();
    });
}

/// R-LOOKS-CLEAN, R-TOWRITE-EATEN: the pass declines a page that the sync has tagged already.
#[test]
fn declining_pass_vs_sync() {
    // A pass that declines a page leaves it dirty, and a sync that tagged it still finds it.
    play("declining_pass_vs_sync", || {
        let world = World::dirty(2, 0);
        let hold = world.mapping.hold_page(1).unwrap();
        let flusher = world.spawn(|world| {
            world.mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
        });
        let journal = thread::spawn(move || drop(hold));
        let syncer = world.spawn_syncer();
        flusher.join().unwrap();
        journal.join().unwrap();
        syncer.join().unwrap();
        world.finish();
    });
}

/// R-DIRTY-BEFORE-START, R-FLAG-WITHOUT-TAG.
#[test]
fn redirty_vs_start() {
    // A page that is dirtied between its claim and the start of its writeback keeps its DIRTY tag.
    play("redirty_vs_start", || {
        let world = World::dirty(1, 0);
        let claim = world.claim(0).expect("dirty");
        let writer = world.spawn_writer(Place::of(0, 1));
        world.write_out(claim.start_writeback().expect("not held"));
        writer.join().unwrap();
        world.finish();
    });
}

/// R-DIRTY-DURING-WRITE.
#[test]
fn redirty_vs_completion() {
    // The end of a write does not make clean what was dirtied since it began.
    play("redirty_vs_completion", || {
        let world = World::dirty(1, 1);
        world.mapping.write_page(0, SyncMode::Skip).unwrap();
        let writer = world.spawn_writer(Place::of(0, 1));
        writer.join().unwrap();
        world.finish();
    });
}

/// R-SECOND-DIRTIER: the first dirtier has no bytes to write, only the page lock.
#[test]
fn two_dirtiers_then_sync() {
    // Who returns from making a page dirty finds it in the next sync, though another was first.
    play("two_dirtiers_then_sync", || {
        let world = World::new(1, 0);
        let page = world.page(0);
        let first = thread::spawn(move || page.lock_state().expect("not cut").mark_dirty());
        let second = world.spawn_writer(Place::of(0, 1));
        first.join().unwrap().unwrap();
        second.join().unwrap();
        world.finish();
    });
}

/// R-SECOND-DIRTIER: the first dirtier is a write that fails. The content latch does not keep that out.
#[test]
fn failed_write_vs_second_dirtier() {
    // Who finds a page dirty before its tag is set finds it in the next pass all the same.
    play("failed_write_vs_second_dirtier", || {
        let world = World::dirty(1, 0);
        let writeback = world.claim(0).expect("dirty").start_writeback().expect("not held");
        let ender = thread::spawn(move || writeback.end(Err(StoreError::NoSpace)));
        world.write(&world.mapping.handle(), Place::of(0, 1));
        world.write_range_and_look();
        ender.join().unwrap();
        world.finish();
    });
}

/// First clean, then copy.
#[test]
fn write_vs_image() {
    // What is written to a page while it is claimed is in the image, or the page is dirty again.
    play("write_vs_image", || {
        let world = World::dirty(1, 0);
        let writer = world.spawn(|world| {
            let handle = world.mapping.handle();
            world.write(&handle, Place::of(0, 1));
            world.write(&handle, Place::of(0, 2));
        });
        for _ in 0..2 {
            if let Some(claim) = world.claim(0) {
                world.write_out(claim.start_writeback().expect("not held"));
            }
        }
        writer.join().unwrap();
        world.finish();
    });
}

/// A sibling of R-IMAGE-APART: the length an image is cut at belongs to its bytes.
#[test]
fn lengthening_write_vs_image() {
    // An image is cut at a length that covers every byte whose write made the page dirty before.
    play("lengthening_write_vs_image", || {
        let world = World::new(0, 0);
        world.write(&world.mapping.handle(), Place::of(0, 0));
        let writer = world.spawn_writer(Place::of(0, 1));
        if let Some(claim) = world.claim(0) {
            world.write_out(claim.start_writeback().expect("not held"));
        }
        writer.join().unwrap();
        world.finish();
    });
}

/// The image of one page is cut where the mapping ends, when the next page has its tag already and not yet
/// its bytes; by the time it is visited it has both. Three pages, because the moment is short.
#[test]
fn lengthening_write_vs_batch() {
    // Pages are written in one batch only if their bytes lie side by side.
    play("lengthening_write_vs_batch", || {
        let world = World::new(0, 0);
        world.write(&world.mapping.handle(), Place::of(0, 0));
        let writer = world.spawn(|world| {
            let handle = world.mapping.handle();
            (1..4).for_each(|page| world.write(&handle, Place::of(page, 0)));
        });
        for _ in 0..2 {
            world.mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
        }
        writer.join().unwrap();
        world.finish();
    });
}

/// The device copies the image in two steps; the writer changes the page in between.
#[test]
fn write_vs_write_under_way() {
    // An image does not change while it is written, and the writer does not wait for that.
    play("write_vs_write_under_way", || {
        let world = World::dirty(1, 1);
        let writer = world.spawn(|world| {
            let handle = world.mapping.handle();
            (0..3).for_each(|_| world.write(&handle, Place::of(0, 1)));
        });
        world.mapping.write_page(0, SyncMode::Skip).unwrap();
        world.read(&world.mapping.handle(), 0);
        writer.join().unwrap();
        world.finish();
    });
}

/// R-CLAIM-DROPPED. That a panic drops it, too, is tested without shuttle, whose locks do nothing while it unwinds.
#[test]
fn dropped_claim_vs_sync() {
    // A claim that nobody decides leaves the page dirty, and unlocked.
    play("dropped_claim_vs_sync", || {
        let world = World::dirty(1, 0);
        let flusher = world.spawn(|world| {
            drop(world.claim(0));
        });
        let syncer = world.spawn_syncer();
        flusher.join().unwrap();
        syncer.join().unwrap();
        world.finish();
    });
}

/// R-CLAIM-DROPPED, a step later: the writeback is dropped.
#[test]
fn dropped_writeback_vs_sync() {
    // A write that nobody ends is over, the page is dirty, and the sync that met it says so.
    play("dropped_writeback_vs_sync", || {
        let world = World::dirty(1, 0);
        let claim = world.claim(0).expect("dirty");
        let flusher = thread::spawn(move || drop(claim.start_writeback()));
        let handle = world.mapping.handle();
        world.sync(&handle).expect_err("a write was lost");
        flusher.join().unwrap();
        world.sync(&handle).expect("told once, and written");
        world.finish();
    });
}

/// The store's error is told to the one who sees to the page, as much as to a sync.
#[test]
fn failed_write_vs_write() {
    // A write that fails while the page is dirtied leaves it dirty, and counted once.
    play("failed_write_vs_write", || {
        let world = World::dirty(1, 1);
        world.device.fail_writes(1);
        let writer = world.spawn(|world| {
            let handle = world.mapping.handle();
            world.write(&handle, Place::of(0, 1));
            let _told = world.sync(&handle);
        });
        let written = world.mapping.write_page(0, SyncMode::Wait);
        let lost = |error: &writeback::Error| error.is_no_space();
        assert!(written.as_ref().err().is_none_or(lost), "{written:?}");
        writer.join().unwrap();
        world.finish();
    });
}

/// Nothing but the page lock orders two claims.
#[test]
fn claim_vs_claim() {
    // A page has one claim at a time, and one write under way.
    play("claim_vs_claim", || {
        let world = World::dirty(1, 0);
        let flusher = world.spawn(|world| {
            if let Some(claim) = world.claim(0) {
                world.write_out(claim.start_writeback().expect("not held"));
            }
        });
        world.write(&world.mapping.handle(), Place::of(0, 1));
        if let Some(locked) = world.page(0).try_lock_state()
            && let Ok(claim) = locked.clear_dirty_for_io()
        {
            claim.start_writeback().expect("not held").end(Err(StoreError::Lost));
        }
        flusher.join().unwrap();
        let _told = world.sync(&world.mapping.handle());
        world.finish();
    });
}
