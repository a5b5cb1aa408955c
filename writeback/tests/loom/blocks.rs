//! Pages of several blocks: who claims them, who holds some, who writes others, and how their pieces end.

use std::sync::Arc;

use writeback::{Budget, SyncMode};

use crate::disk::PAGE;
use crate::model::model;
use crate::world::{Inner, World};

fn background(world: &Inner) {
    world.mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
}

/// A block that is written to while another is claimed is written with it, or stays dirty.
#[test]
fn write_of_a_block_vs_start_of_another() {
    model("write_of_a_block_vs_start_of_another", || {
        let world = World::blocks(2, &[0]);
        let claim = world.claim(0).expect("dirty");
        let writer = world.spawn(|world| {
            world.write(1, 2);
            world.sync(1, 2);
        });
        for piece in claim.start_blocks(SyncMode::Wait).expect("not held") {
            world.write_out(piece);
        }
        writer.join().unwrap();
        world.settle();
    });
}

/// A block that is written to while it is being written is not made clean by the end of that.
#[test]
fn write_of_a_block_vs_its_end() {
    model("write_of_a_block_vs_its_end", || {
        let world = World::blocks(2, &[0]);
        let claim = world.claim(0).expect("dirty");
        let pieces = claim.start_blocks(SyncMode::Wait).expect("not held");
        let writer = world.spawn(|world| world.write(0, 2));
        pieces.into_iter().for_each(|piece| world.write_out(piece));
        writer.join().unwrap();
        world.settle();
    });
}

/// Two who write to blocks of one page, as it is claimed and given up: none of it is lost.
#[test]
fn write_of_a_block_vs_claim_given_up() {
    model("write_of_a_block_vs_claim_given_up", || {
        let world = World::blocks(2, &[0]);
        let writer = world.spawn(|world| {
            world.write(1, 2);
            world.sync(1, 2);
        });
        drop(world.claim(0));
        writer.join().unwrap();
        world.sync(0, 1);
        world.settle();
    });
}

/// A background pass writes what is not held and puts the rest back; a sync misses none of it (2004, all three).
#[test]
fn pass_vs_held_block_vs_sync() {
    model("pass_vs_held_block_vs_sync", || {
        let world = World::blocks(2, &[0, 1]);
        let hold = world.mapping.hold_blocks(0, 0..1).unwrap();
        let flusher = world.spawn(|world| background(world));
        let syncer = world.spawn(|world| {
            world.sync(0, 1);
            world.assert_durable(1, 1);
        });
        drop(hold);
        flusher.join().unwrap();
        syncer.join().unwrap();
        world.settle();
    });
}

/// A journal writes a block itself, which looks clean meanwhile; a sync waits for it, though a pass comes between (2004, with
/// the buffer's dirty bit cleared by the journal).
#[test]
fn pass_vs_journal_write_vs_sync() {
    model("pass_vs_journal_write_vs_sync", || {
        let world = World::blocks(2, &[0]);
        let mut hold = world.mapping.hold_blocks(0, 0..1).unwrap();
        assert!(hold.take_dirty());
        let flusher = world.spawn(|world| background(world));
        let syncer = world.spawn(|world| world.sync(0, 1));
        world.disk.write_page(0, hold.image().as_ref());
        hold.written();
        flusher.join().unwrap();
        syncer.join().unwrap();
        world.settle();
    });
}

/// A journal takes a block upon itself and gives it back; the sync that waited writes it.
#[test]
fn journal_gives_back_vs_sync() {
    model("journal_gives_back_vs_sync", || {
        let world = World::blocks(2, &[0]);
        let journal = world.spawn(|world| {
            let mut hold = world.mapping.hold_blocks(0, 0..1).unwrap();
            hold.take_dirty();
        });
        world.sync(0, 1);
        journal.join().unwrap();
        world.settle();
    });
}

/// A journal that takes a block again and again does not keep a sync waiting, and is woken when its turn comes.
#[test]
fn sync_vs_block_held_again() {
    model("sync_vs_block_held_again", || {
        let world = World::blocks(2, &[0]);
        let journal = world.spawn(|world| {
            for _ in 0..2 {
                drop(world.mapping.hold_blocks(0, 0..1).unwrap());
            }
        });
        world.sync(0, 1);
        journal.join().unwrap();
        world.settle();
    });
}

/// Who holds a block and takes a higher one does not wait for a sync that waits for him.
#[test]
fn sync_vs_blocks_held_in_ascending_order() {
    model("sync_vs_blocks_held_in_ascending_order", || {
        let world = World::blocks(2, &[0, 1]);
        let journal = world.spawn(|world| {
            let first = world.mapping.hold_blocks(0, 0..1).unwrap();
            let second = world.mapping.hold_blocks(0, 1..2).unwrap();
            drop((first, second));
        });
        world.sync(0, 1);
        journal.join().unwrap();
        world.settle();
    });
}

/// A block is held or written, not both, also while the page's other blocks are.
#[test]
fn hold_of_a_block_vs_write_of_the_page() {
    model("hold_of_a_block_vs_write_of_the_page", || {
        let world = World::blocks(2, &[0, 1]);
        let journal = world.spawn(|world| {
            let hold = world.mapping.hold_blocks(0, 1..2).unwrap();
            let page = hold.page().clone();
            assert_eq!((hold.image().as_ref(), page.held_blocks()), (&[1; PAGE][..], 0b10));
            drop(hold);
        });
        world.disk.keep_writes(true);
        background(&world);
        while world.mapping.stats().writeback > 0 {
            world.disk.complete();
        }
        journal.join().unwrap();
        world.disk.keep_writes(false);
        world.settle();
    });
}

/// A cut waits for who holds a block, and is woken when he lets go.
#[test]
fn cut_vs_held_block() {
    model("cut_vs_held_block", || {
        let world = World::blocks(2, &[1]);
        let hold = world.mapping.hold_blocks(0, 1..2).unwrap();
        let cutter = world.spawn(|world| world.mapping.handle().set_len(0).unwrap());
        drop(hold);
        cutter.join().unwrap();
        world.settle();
    });
}

/// A cut within a page waits for who holds what it cuts away, though he writes it, and for nobody who holds what stays.
#[test]
fn cut_vs_held_block_of_the_last_page() {
    model("cut_vs_held_block_of_the_last_page", || {
        let world = World::blocks(2, &[0, 1]);
        let in_front = world.mapping.hold_blocks(0, 0..1).unwrap();
        let mut hold = world.mapping.hold_blocks(0, 1..2).unwrap();
        assert!(hold.take_dirty());
        let image = hold.image();
        let cutter = world.spawn(|world| {
            world.mapping.handle().set_len(PAGE as u64).unwrap();
            assert_eq!(world.page(0).held_blocks(), 0b01);
            // Nobody lengthens it again: as long as this for whoever opens it.
            assert_eq!(world.disk.lengths().0, PAGE);
        });
        world.disk.write_page(1, image.as_ref());
        hold.written();
        cutter.join().unwrap();
        drop(in_front);
        world.sync(0, 1);
        world.settle();
    });
}

/// Pieces end on two threads, in either order: the page's write is over when both have, and what failed of it is dirty.
#[test]
fn pieces_end_on_two_threads() {
    for failing in 0..3 {
        model("pieces_end_on_two_threads", move || {
            let world = World::blocks(4, &[0, 2]);
            let claim = world.claim(0).expect("dirty");
            let mut pieces = claim.start_blocks(SyncMode::Wait).expect("not held");
            let (second, first) = (pieces.pop().unwrap(), pieces.pop().unwrap());
            let end = move |world: &Inner, piece: writeback::page::Writeback, number: usize| {
                if number == failing {
                    piece.end(Err(writeback::StoreError::NoSpace));
                } else {
                    world.write_out(piece);
                }
            };
            let other = world.spawn(move |world| end(world, second, 1));
            end(&world, first, 0);
            let waited = world.page(0);
            waited.wait_writeback();
            let failed = [0b001, 0b100, 0][failing];
            assert_eq!(
                (waited.dirty_blocks(), waited.snapshot().is_dirty()),
                (failed, failed != 0)
            );
            let handle = world.mapping.handle();
            assert_eq!(handle.sync_data().is_err(), failing < 2, "told once");
            world.assert_durable(0, 1);
            world.assert_durable(2, 1);
            other.join().unwrap();
            world.settle();
        });
    }
}

/// A sync that comes while a page's pieces end finds all of them, and what has failed.
#[test]
fn pieces_end_vs_sync() {
    model("pieces_end_vs_sync", || {
        let world = World::blocks(4, &[0, 2]);
        let claim = world.claim(0).expect("dirty");
        let pieces = claim.start_blocks(SyncMode::Wait).expect("not held");
        let syncer = world.spawn(|world| {
            let handle = Arc::new(world.mapping.handle());
            if world.sync_by(&handle, 0, 1).is_ok() {
                world.assert_durable(2, 1);
            }
        });
        let mut pieces = pieces.into_iter();
        world.write_out(pieces.next().unwrap());
        drop(pieces);
        syncer.join().unwrap();
        let _told = world.mapping.handle().check_error();
        world.settle();
    });
}
