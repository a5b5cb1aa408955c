//! What another process has changed in the store, and what this one does at the same time.

use writeback::store::Store;
use writeback::{StoreError, SyncMode};

use crate::disk::PAGE;
use crate::late::serve;
use crate::model::model;
use crate::world::World;

/// Bytes of a page that is padded.
const TAIL: usize = 100;

/// What is written while pages are taken out goes to the page that is there, or to one that comes in anew.
#[test]
fn invalidate_vs_write() {
    model("invalidate_vs_write", || {
        let world = World::new(1);
        assert_eq!(world.read(0), Some(0));
        let writer = world.spawn(|world| world.write(0, 1));
        world.mapping.invalidate(..).unwrap();
        writer.join().unwrap();
        assert_eq!(world.read(0), Some(1));
        world.settle();
    });
}

/// A page whose write is under way is taken out when that has ended.
#[test]
fn invalidate_vs_end_writeback() {
    model("invalidate_vs_end_writeback", || {
        let world = World::dirty(1);
        let writeback = world.start(0);
        let device = world.spawn(|world| world.write_out(writeback));
        assert_eq!(world.mapping.invalidate(..).unwrap(), 0);
        assert_eq!(world.mapping.stats().cached, 0);
        device.join().unwrap();
        assert_eq!(world.read(0), Some(1));
        world.settle();
    });
}

/// If it fails, the page has what nobody else has, and stays.
#[test]
fn invalidate_vs_failed_write() {
    model("invalidate_vs_failed_write", || {
        let world = World::dirty(1);
        let writeback = world.start(0);
        let device = world.spawn(|_| writeback.end(Err(StoreError::NoSpace)));
        assert_eq!(world.mapping.invalidate(..).unwrap(), 1);
        device.join().unwrap();
        assert_eq!(world.read(0), Some(1));
        assert!(world.mapping.handle().sync_data().is_err(), "the write that failed");
        world.settle();
    });
}

/// A page that is claimed is as dirty as one that is not.
#[test]
fn invalidate_vs_declined_claim() {
    model("invalidate_vs_declined_claim", || {
        let world = World::dirty(1);
        let claim = world.claim(0).expect("dirty");
        let other = world.spawn(|world| world.mapping.invalidate(..).unwrap());
        claim.redirty();
        assert_eq!(other.join().unwrap(), 1);
        world.settle();
    });
}

/// A sync writes what it meets, or meets a page that is clean and gone.
#[test]
fn invalidate_vs_sync() {
    model("invalidate_vs_sync", || {
        let world = World::dirty(1);
        let syncer = world.spawn(|world| world.sync(0, 1));
        let stayed = world.mapping.invalidate(..).unwrap();
        assert!(stayed <= 1);
        syncer.join().unwrap();
        assert_eq!(world.read(0), Some(1));
        world.settle();
    });
}

/// A page is claimed, and written to again before its write begins: what a sync has called durable is not dirty afterwards, to be written
/// over what another process has put there.
#[test]
fn invalidate_after_sync_vs_claim_of_before() {
    model("invalidate_after_sync_vs_claim_of_before", || {
        let world = World::dirty(1);
        let claim = world.claim(0).expect("dirty");
        world.write(0, 2);
        let device = world.spawn(|world| {
            let writeback = claim.start_writeback().expect("not held");
            world.write_out(writeback);
        });
        world.sync(0, 2);
        assert_eq!(world.mapping.stats().dirty, 0);
        assert_eq!(world.mapping.invalidate(..).unwrap(), 0);
        device.join().unwrap();
        world.settle();
    });
}

/// A read that was begun before brings in what was there; no read does that afterwards.
#[test]
fn invalidate_vs_late_read() {
    model("invalidate_vs_late_read", || {
        let world = World::new(1);
        let device = serve(&world, 0);
        world.disk.be_late(true);
        let reader = world.spawn(|world| world.read(0));
        world.disk.write_page(0, &[1; PAGE]);
        assert_eq!(world.mapping.invalidate(..).unwrap(), 0);
        assert_eq!(world.read(0), Some(1));
        assert!(matches!(reader.join().unwrap(), Some(0 | 1)));
        world.disk.close();
        device.join().unwrap();
    });
}

/// The store is shorter than the mapping while the write of a page at the end is under way: the length is the mapping's own.
#[test]
fn refresh_vs_write_at_the_end() {
    model("refresh_vs_write_at_the_end", || {
        let world = World::with_capacity(1, 2);
        world.write(1, 1);
        let writeback = world.start(1);
        let device = world.spawn(|world| world.write_out(writeback));
        assert_eq!(world.mapping.refresh_len().unwrap(), 2 * PAGE as u64);
        device.join().unwrap();
        assert_eq!(world.read(1), Some(1));
        world.settle();
    });
}

/// And where it is padded, up to the length of the mapping.
#[test]
fn refresh_vs_padded_write() {
    model("refresh_vs_padded_write", || {
        let world = World::aligned(1);
        world.mapping.handle().write_at(&[1; TAIL], 0).unwrap();
        let writeback = world.start(0);
        let device = world.spawn(|world| world.write_out(writeback));
        assert_eq!(world.mapping.refresh_len().unwrap(), TAIL as u64);
        device.join().unwrap();
        world.settle();
    });
}

/// One page is met dirty, and both are written before the next is looked at.
#[test]
fn refresh_vs_writes_of_two() {
    model("refresh_vs_writes_of_two", || {
        let world = World::with_capacity(0, 2);
        world.write(0, 1);
        world.write(1, 1);
        let flusher = world.spawn(|world| {
            (0..2).for_each(|page| _ = world.mapping.write_page(page, SyncMode::Skip).unwrap());
        });
        assert_eq!(world.mapping.refresh_len().unwrap(), 2 * PAGE as u64);
        flusher.join().unwrap();
        assert_eq!(world.read(1), Some(1));
        world.settle();
    });
}

/// While a sync cuts it off.
#[test]
fn refresh_vs_trim() {
    model("refresh_vs_trim", || {
        let world = World::aligned(1);
        world.mapping.handle().write_at(&[1; TAIL], 0).unwrap();
        let syncer = world.spawn(|world| world.sync(0, 1));
        assert_eq!(world.mapping.refresh_len().unwrap(), TAIL as u64);
        syncer.join().unwrap();
        world.settle();
    });
}

/// Who has cut the store behind what is dirty has not cut that.
#[test]
fn refresh_vs_sync_of_what_is_cut() {
    model("refresh_vs_sync_of_what_is_cut", || {
        let world = World::new(2);
        world.write(1, 1);
        world.disk.set_len(0).unwrap();
        let syncer = world.spawn(|world| world.sync(1, 1));
        world.mapping.refresh_len().unwrap();
        syncer.join().unwrap();
        assert_eq!((world.mapping.len(), world.read(1)), (2 * PAGE as u64, Some(1)));
        world.settle();
    });
}

/// Another has cut the store; who writes there keeps the length, or lengthens anew.
#[test]
fn refresh_vs_write_beyond() {
    model("refresh_vs_write_beyond", || {
        let world = World::new(2);
        assert_eq!(world.read(1), Some(0));
        world.disk.set_len(PAGE as u64).unwrap();
        let writer = world.spawn(|world| world.write(1, 1));
        world.mapping.refresh_len().unwrap();
        writer.join().unwrap();
        assert_eq!((world.mapping.len(), world.read(1)), (2 * PAGE as u64, Some(1)));
        world.settle();
    });
}

/// Another has lengthened the store; who appends does so behind that, or where the mapping ended, and is not lost.
#[test]
fn refresh_vs_append() {
    model("refresh_vs_append", || {
        let world = World::with_capacity(0, 3);
        world.disk.set_len(PAGE as u64).unwrap();
        let appender = world.spawn(|world| world.mapping.handle().append(&[1; PAGE]).unwrap());
        world.mapping.refresh_len().unwrap();
        let at = usize::try_from(appender.join().unwrap()).unwrap() / PAGE;
        assert!(at <= 1);
        assert_eq!((world.read(at), world.mapping.len()), (Some(1), ((at + 1) * PAGE) as u64));
        world.settle();
    });
}
