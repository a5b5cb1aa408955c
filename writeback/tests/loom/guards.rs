//! Guards, kept over calls, against everybody who wants the page or the length.
//!
//! What is only tried for is not modelled: loom has who tries for a lock wait for it if another got it at that moment. That a miss
//! under a guard does not wait for a cut is played in `shuttle::guards`.

use writeback::page::PageRef;
use writeback::{Error, Result};

use crate::disk::{PAGE, version_of};
use crate::model::model;
use crate::world::{Inner, Ledger, World};

/// Writes a whole page under a guard, in two steps, between which others come.
fn write(world: &Inner, page: usize, version: u8) -> Result<()> {
    let page = world.page(page);
    let mut bytes = page.write()?;
    bytes[..PAGE / 2].fill(version);
    assert!(page.snapshot().is_kept());
    bytes[PAGE / 2..].fill(version);
    Ok(())
}

/// No image has half of what is changed under a guard, and what an image does not have is dirty.
#[test]
fn guard_vs_claim() {
    model("guard_vs_claim", || {
        let world = World::dirty(1);
        let writer = world.spawn(|world| write(world, 0, 2).unwrap());
        if let Some(claim) = world.claim(0) {
            // The disk asks whether a page is of one version.
            world.write_out(claim.start_writeback().expect("not held"));
        }
        writer.join().unwrap();
        assert_eq!(world.read(0), Some(2));
        world.settle();
    });
}

/// What was changed under a guard that is gone is in the next sync, whoever has claimed the page meanwhile.
#[test]
fn guard_vs_sync() {
    model("guard_vs_sync", || {
        let (world, ledger) = (World::dirty(1), Ledger::new());
        let told = std::sync::Arc::clone(&ledger);
        let writer = world.spawn(move |world| {
            write(world, 0, 2).unwrap();
            told.wrote(2);
        });
        let due = ledger.due();
        world.sync(0, due);
        writer.join().unwrap();
        world.settle();
    });
}

/// A reader under a guard sees one version.
#[test]
fn read_guard_vs_write_guard() {
    model("read_guard_vs_write_guard", || {
        let world = World::dirty(1);
        let reader = world.spawn(|world| {
            let page = world.page(0);
            let bytes = page.read();
            let first = bytes[0];
            assert!(page.snapshot().is_kept());
            assert_eq!(version_of(&bytes), u64::from(first));
        });
        write(&world, 0, 2).unwrap();
        reader.join().unwrap();
        world.settle();
    });
}

/// A page is not evicted under a guard, and the other is not kept from it.
#[test]
fn guard_vs_evict() {
    model("guard_vs_evict", || {
        let (world, cache) = World::in_cache(1, 8);
        world.write(0, 1);
        world.sync(0, 1);
        let evictor = world.spawn({
            let cache = cache.clone();
            move |_| _ = cache.evict(8)
        });
        write(&world, 0, 2).expect("it is part of the mapping");
        evictor.join().unwrap();
        world.settle();
        cache.check().unwrap();
        assert_eq!(world.read(0), Some(2));
    });
}

/// A page that is cut away under a guard is gone, and nothing of it comes back; or the guard comes too late.
#[test]
fn guard_vs_cut() {
    model("guard_vs_cut", || {
        let world = World::dirty(1);
        let page = world.page(0);
        let writer = world.spawn(move |_| match page.write() {
            Ok(mut bytes) => bytes.fill(2),
            Err(error) => assert!(matches!(error, Error::Gone { .. })),
        });
        world.mapping.handle().set_len(0).unwrap();
        writer.join().unwrap();
        assert_eq!((world.mapping.len(), world.read(0)), (0, None));
        world.settle();
    });
}

/// What is written under a guard beyond a cut within the page is cleared: the guard goes as far as the mapping did.
#[test]
fn guard_vs_cut_within() {
    model("guard_vs_cut_within", || {
        let world = World::dirty(1);
        let writer = world.spawn(|world| write_what_is_there(world, 2));
        let handle = world.mapping.handle();
        handle.set_len(PAGE as u64 / 2).unwrap();
        writer.join().unwrap();
        handle.set_len(PAGE as u64).unwrap();
        world.page(0).read_with(|bytes| assert!(bytes[PAGE / 2..].iter().all(|byte| *byte == 0)));
    });
}

fn write_what_is_there(world: &Inner, version: u8) {
    world.page(0).write().unwrap().fill(version);
}

/// A thread that has a guard is let in, where all that could make room is latched by itself.
#[test]
fn full_under_guard() {
    model("full_under_guard", || {
        let (world, cache) = World::in_cache(2, 1);
        let other = world.spawn(|world| {
            // Finds the first page dirty, and writes it, or is told that it cannot.
            match world.try_write(1, 1) {
                Ok(()) | Err(Error::Stalled { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        });
        let (first, second) = (world.page(0), world.page(1));
        if let Ok(mut bytes) = first.write() {
            second.write().expect("over the limit").fill(2);
            bytes.fill(2);
        }
        other.join().unwrap();
        world.settle();
        cache.check().unwrap();
    });
}

/// Two pages by latch coupling: each thread sees both as one left them.
#[test]
fn coupling_vs_coupling() {
    model("coupling_vs_coupling", || {
        let world = World::new(2);
        let pages = (world.page(0), world.page(1));
        // Dirty already, which costs executions and is not what this is about.
        pages.0.mark_dirty().unwrap();
        pages.1.mark_dirty().unwrap();
        let step = |(first, second): &(PageRef, PageRef)| {
            let mut parent = first.write().unwrap();
            let mut child = second.write().unwrap();
            parent[0] += 1;
            drop(parent);
            child[0] += 1;
            child[0]
        };
        let theirs = pages.clone();
        let other = world.spawn(move |_| step(&theirs));
        let mine = step(&pages);
        let other = other.join().unwrap();
        assert_eq!(mine + other, 3, "one came after the other");
        assert_eq!((world.page(0).read()[0], world.page(1).read()[0]), (2, 2));
    });
}
