//! A page that is written to while it is written back.

use writeback::page::PageTag;
use writeback::{Budget, SyncMode};

use crate::model::model;
use crate::world::{Ledger, World};

/// What is written between a claim and the start of its write is in the image, or the page stays dirty.
#[test]
fn write_vs_start_writeback() {
    model("write_vs_start_writeback", || {
        let world = World::dirty(1);
        let claim = world.claim(0).expect("dirty");
        let writer = world.spawn(|world| {
            world.write(0, 2);
            world.sync(0, 2);
        });
        let writeback = claim.start_writeback().expect("not held");
        world.write_out(writeback);
        writer.join().unwrap();
        world.settle();
    });
}

/// What is written while a write is under way is not made clean by its end.
#[test]
fn write_vs_end_writeback() {
    model("write_vs_end_writeback", || {
        let world = World::dirty(1);
        let writeback = world.start(0);
        let writer = world.spawn(|world| {
            world.write(0, 2);
            world.sync(0, 2);
        });
        world.write_out(writeback);
        writer.join().unwrap();
        world.settle();
    });
}

/// A failed write leaves the page dirty, once, whether or not it was written to meanwhile.
#[test]
fn write_vs_failed_end() {
    model("write_vs_failed_end", || {
        let world = World::dirty(1);
        let writeback = world.start(0);
        world.disk.fail_writes(1);
        let writer = world.spawn(|world| world.write(0, 2));
        world.write_out(writeback);
        writer.join().unwrap();
        let page = world.page(0);
        assert!(page.snapshot().is_dirty() && page.has_tag(PageTag::Dirty));
        assert_eq!(world.mapping.stats().dirty, 1);
        world.mapping.handle().check_error().unwrap_err();
        world.settle();
    });
}

/// What a store is given does not change while it writes it.
#[test]
fn write_vs_image() {
    model("write_vs_image", || {
        let world = World::dirty(1);
        world.disk.keep_writes(true);
        let flusher = world.spawn(|world| {
            world.mapping.write_page(0, SyncMode::Skip).unwrap();
            world.disk.complete();
        });
        world.write(0, 2);
        flusher.join().unwrap();
        world.disk.keep_writes(false);
        world.settle();
    });
}

/// Of two who mark a clean page dirty one finds it clean; and for each a sync finds it when its mark is made.
#[test]
fn mark_dirty_vs_mark_dirty() {
    model("mark_dirty_vs_mark_dirty", || {
        let world = World::dirty(1);
        world.settle();
        let mark = |world: &World| {
            let page = world.page(0);
            let newly = page.mark_dirty().unwrap();
            assert!(page.snapshot().is_dirty() && page.has_tag(PageTag::Dirty));
            newly
        };
        let other = world.spawn(mark);
        let newly = mark(&world);
        assert!(newly != other.join().unwrap());
        assert_eq!(world.mapping.stats().dirty, 1);
        world.settle();
    });
}

/// Who writes to a page that another is making dirty finds it by a sync.
#[test]
fn mark_dirty_vs_write_and_sync() {
    model("mark_dirty_vs_write_and_sync", || {
        let world = World::dirty(1);
        world.settle();
        let marker = world.spawn(|world| world.page(0).mark_dirty().unwrap());
        world.write(0, 2);
        world.sync(0, 2);
        marker.join().unwrap();
        world.settle();
    });
}

/// A page that is dirty and not written has its tag at every moment, whoever claims it and gives it up; and who sees
/// its flag finds its tag.
#[test]
fn reader_vs_claim_vs_write() {
    model("reader_vs_claim_vs_write", || {
        let world = World::dirty(1);
        let decliner = world.spawn(|world| drop(world.claim(0)));
        let writer = world.spawn(|world| world.write(0, 2));
        assert!(world.page(0).has_tag(PageTag::Dirty));
        decliner.join().unwrap();
        writer.join().unwrap();
        world.settle();
    });
}

/// Who sees the flag of a page that becomes dirty finds its tag.
#[test]
fn reader_vs_mark_dirty() {
    model("reader_vs_mark_dirty", || {
        let world = World::dirty(1);
        world.settle();
        let writer = world.spawn(|world| world.write(0, 2));
        let page = world.page(0);
        if page.snapshot().is_dirty() {
            assert!(page.has_tag(PageTag::Dirty));
        }
        writer.join().unwrap();
        world.settle();
    });
}

/// What was written before a sync is durable after it, and a background pass takes nothing from it.
#[test]
fn write_vs_pass_vs_sync() {
    model("write_vs_pass_vs_sync", || {
        let (world, ledger) = (World::dirty(1), Ledger::new());
        let flusher = world.spawn(|world| {
            world.mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
        });
        let writer = world.spawn_writer(&ledger, 0, 2);
        let due = ledger.due().max(1);
        world.sync(0, due);
        flusher.join().unwrap();
        writer.join().unwrap();
        world.settle();
    });
}
