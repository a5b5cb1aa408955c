//! Changes of the length.

use writeback::SyncMode;

use crate::disk::PAGE;
use crate::model::model;
use crate::world::{Ledger, World};

fn cut(world: &World, len: usize) {
    world.mapping.handle().set_len(len as u64).unwrap();
}

/// A sync that meets a page which is cut away waits for nothing and writes nothing beyond the end.
#[test]
fn cut_vs_sync() {
    model("cut_vs_sync", || {
        let world = World::dirty(1);
        let syncer = world.spawn(|world| world.mapping.handle().sync_data().unwrap());
        cut(&world, 0);
        syncer.join().unwrap();
        assert_eq!(world.mapping.stats().cached, 0);
        world.settle();
    });
}

/// A cut waits for the write of a page that it drops, so that none lengthens the store again.
#[test]
fn cut_vs_end_writeback() {
    model("cut_vs_end_writeback", || {
        let world = World::dirty(1);
        let writeback = world.start(0);
        let device = world.spawn(|world| world.write_out(writeback));
        cut(&world, 0);
        device.join().unwrap();
        world.settle();
    });
}

/// Also of one that begins while it looks for pages.
#[test]
fn cut_vs_write_page() {
    model("cut_vs_write_page", || {
        let world = World::dirty(1);
        let flusher = world.spawn(|world| world.mapping.write_page(0, SyncMode::Skip).unwrap());
        cut(&world, 0);
        flusher.join().unwrap();
        world.settle();
    });
}

/// A claim keeps its page in the index; a cut waits for the lock.
#[test]
fn cut_vs_declined_claim() {
    model("cut_vs_declined_claim", || {
        let world = World::dirty(1);
        let claim = world.claim(0).expect("dirty");
        let cutter = world.spawn(|world| cut(world, 0));
        claim.redirty();
        cutter.join().unwrap();
        world.settle();
    });
}

/// A cut waits for a hold.
#[test]
fn cut_vs_hold() {
    model("cut_vs_hold", || {
        let world = World::dirty(1);
        let hold = world.mapping.hold_page(0).unwrap();
        let cutter = world.spawn(|world| {
            cut(world, 0);
            assert_eq!(world.mapping.stats().cached, 0);
        });
        assert!(hold.page().snapshot().is_mapped());
        drop(hold);
        cutter.join().unwrap();
        world.settle();
    });
}

/// A reader sees a page whole, or not at all.
#[test]
fn cut_vs_read() {
    model("cut_vs_read", || {
        let world = World::dirty(1);
        let reader = world.spawn(|world| world.read(0));
        cut(&world, 0);
        assert_eq!(world.read(0), None);
        assert!(matches!(reader.join().unwrap(), None | Some(1)));
        world.settle();
    });
}

/// A page that is read in while it is cut away does not stay.
#[test]
fn cut_vs_fault() {
    model("cut_vs_fault", || {
        let world = World::new(1);
        let reader = world.spawn(|world| world.read(0));
        cut(&world, 0);
        assert!(matches!(reader.join().unwrap(), None | Some(0)));
        assert_eq!(world.mapping.stats().cached, 0);
        world.settle();
    });
}

/// Two who read a page in read it once.
#[test]
fn fault_vs_fault() {
    model("fault_vs_fault", || {
        let world = World::new(1);
        let other = world.spawn(|world| world.read(0));
        assert_eq!((world.read(0), other.join().unwrap()), (Some(0), Some(0)));
        let stats = world.mapping.stats();
        assert_eq!((stats.read, stats.cached), (1, 1));
        world.settle();
    });
}

/// A write comes before a cut, and is gone, or after it, and is all there.
#[test]
fn cut_vs_write() {
    model("cut_vs_write", || {
        let world = World::dirty(1);
        let writer = world.spawn(|world| {
            world.write(0, 2);
        });
        cut(&world, 0);
        writer.join().unwrap();
        assert!(matches!((world.mapping.len(), world.read(0)), (0, None) | (512, Some(2))));
        world.settle();
    });
}

/// What is beyond a cut within a page does not come back, whoever writes to the page.
#[test]
fn cut_within_vs_write() {
    model("cut_within_vs_write", || {
        let world = World::dirty(1);
        let writer = world.spawn(|world| world.write(0, 2));
        cut(&world, PAGE / 2);
        writer.join().unwrap();
        let len = usize::try_from(world.mapping.len()).unwrap();
        assert!(len == PAGE / 2 || len == PAGE && world.read(0) == Some(2));
        world.settle();
        cut(&world, PAGE);
        let page = world.page(0);
        page.read_with(|bytes| {
            assert!(bytes[..len].iter().all(|byte| *byte == bytes[0]));
            assert!(bytes[len..].iter().all(|byte| *byte == 0));
        });
    });
}

/// A reader sees a page as it was before a cut within it, or what is left.
#[test]
fn cut_within_vs_read() {
    model("cut_within_vs_read", || {
        let world = World::dirty(1);
        let reader = world.spawn(|world| world.read(0));
        cut(&world, PAGE / 2);
        assert_eq!(reader.join().unwrap(), Some(1));
        world.settle();
    });
}

/// A page that is locked is in the mapping.
#[test]
fn cut_vs_lock() {
    model("cut_vs_lock", || {
        let world = World::dirty(1);
        let page = world.page(0);
        let locker = world.spawn(move |_| {
            let Some(locked) = page.lock_state() else { return };
            assert!(
                locked.page().snapshot().is_mapped()
                    && locked.mark_dirty().is_ok_and(|newly| !newly)
            );
        });
        cut(&world, 0);
        locker.join().unwrap();
        assert_eq!((world.mapping.stats().dirty, world.mapping.stats().cached), (0, 0));
        world.settle();
    });
}

/// Marking a page that is cut away counts nothing.
#[test]
fn cut_vs_mark_dirty() {
    model("cut_vs_mark_dirty", || {
        let world = World::dirty(1);
        world.settle();
        let page = world.page(0);
        let marker = world.spawn(move |_| page.mark_dirty().is_ok());
        cut(&world, 0);
        marker.join().unwrap();
        assert_eq!((world.mapping.stats().dirty, world.mapping.stats().cached), (0, 0));
        world.settle();
    });
}

/// A sync of pages that stay leaves the cut of the store to who cuts.
#[test]
fn cut_vs_sync_of_the_rest() {
    model("cut_vs_sync_of_the_rest", || {
        let world = World::dirty(2);
        let writeback = world.start(1);
        let cutter = world.spawn(|world| cut(world, PAGE));
        let syncer = world.spawn(|world| world.mapping.handle().sync_range(..PAGE as u64).unwrap());
        world.write_out(writeback);
        cutter.join().unwrap();
        syncer.join().unwrap();
        world.settle();
    });
}

/// A cut of the store that failed is made up for by a sync before anybody lengthens the mapping: what is appended then
/// is not cut away.
#[test]
fn sync_that_cuts_vs_append() {
    model("sync_that_cuts_vs_append", || {
        let world = World::dirty(1);
        world.settle();
        world.disk.fail_set_len(1);
        world.mapping.handle().set_len(0).unwrap_err();
        let syncer = world.spawn(|world| world.mapping.handle().sync_data().unwrap());
        world.write(0, 2);
        world.mapping.write_page(0, SyncMode::Wait).unwrap();
        assert_eq!(world.disk.accepted(0), 2);
        syncer.join().unwrap();
        world.settle();
    });
}

/// A sync that makes up for an earlier cut does not take the next one for made.
#[test]
fn cut_vs_sync_that_cuts() {
    model("cut_vs_sync_that_cuts", || {
        let world = World::dirty(2);
        world.settle();
        world.disk.fail_set_len(1);
        world.mapping.handle().set_len(PAGE as u64).unwrap_err();
        world.write(0, 2);
        let writeback = world.start(0);
        let device = world.spawn(|world| world.write_out(writeback));
        let syncer = world.spawn(|world| world.mapping.handle().sync_range(PAGE as u64..).unwrap());
        cut(&world, 0);
        device.join().unwrap();
        syncer.join().unwrap();
        world.settle();
    });
}

/// Two cuts are made one after the other.
#[test]
fn cut_vs_cut() {
    model("cut_vs_cut", || {
        let world = World::dirty(2);
        let other = world.spawn(|world| cut(world, 0));
        cut(&world, PAGE);
        other.join().unwrap();
        assert!(matches!(world.mapping.len(), 0 | 512));
        world.settle();
    });
}

/// Who sees a length reads what was written up to there.
#[test]
fn append_vs_read() {
    model("append_vs_read", || {
        let world = World::with_capacity(0, 1);
        let writer = world.spawn(|world| world.write(0, 1));
        assert!(matches!(world.read(0), None | Some(1)));
        writer.join().unwrap();
        world.settle();
    });
}

/// Who sees a length finds the pages up to it in the cache.
#[test]
fn append_vs_look_up() {
    model("append_vs_look_up", || {
        let world = World::with_capacity(0, 1);
        let writer = world.spawn(|world| world.write(0, 1));
        if !world.mapping.is_empty() {
            assert!(world.mapping.cached_page(0).is_some());
        }
        writer.join().unwrap();
        world.settle();
    });
}

/// Also if the page was there before, and is only filled.
#[test]
fn page_write_vs_look_up() {
    model("page_write_vs_look_up", || {
        let world = World::with_capacity(0, 1);
        let writer = world.spawn(|world| {
            world.mapping.handle().write_at(&[1; PAGE / 2], 0).unwrap();
            world.page(0).write_with(PAGE / 2..PAGE, |bytes| bytes.fill(1)).unwrap();
        });
        if world.mapping.len() == PAGE as u64 {
            assert!(world.mapping.cached_page(0).is_some());
            assert_eq!(world.read(0), Some(1));
        }
        writer.join().unwrap();
        world.settle();
    });
}

/// What is appended before a sync is durable after it, its length, too.
#[test]
fn append_vs_sync() {
    model("append_vs_sync", || {
        let (world, ledger) = (World::with_capacity(0, 1), Ledger::new());
        let writer = world.spawn_writer(&ledger, 0, 1);
        let due = ledger.due();
        world.sync(0, due);
        assert!(world.disk.lengths().1 >= PAGE * usize::try_from(due).unwrap());
        writer.join().unwrap();
        world.settle();
    });
}

/// Also within a page that is there: an image with the bytes is cut at a length that has them.
#[test]
fn fill_vs_sync() {
    model("fill_vs_sync", || {
        let world = World::with_capacity(0, 1);
        world.mapping.handle().write_at(&[1; PAGE / 2], 0).unwrap();
        let writer = world.spawn(|world| {
            world.mapping.handle().write_at(&[1; PAGE / 2], PAGE as u64 / 2).unwrap();
            world.sync(0, 1);
            assert_eq!(world.disk.lengths(), (PAGE, PAGE));
        });
        world.sync(0, 1);
        writer.join().unwrap();
        world.settle();
    });
}

/// Two who append both have their bytes in.
#[test]
fn append_vs_append() {
    model("append_vs_append", || {
        let world = World::with_capacity(0, 2);
        let other = world.spawn(|world| world.write(1, 1));
        world.write(0, 1);
        other.join().unwrap();
        assert_eq!((world.read(0), world.read(1)), (Some(1), Some(1)));
        world.settle();
    });
}
