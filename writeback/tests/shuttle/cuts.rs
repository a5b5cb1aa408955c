//! R-PAGE-GONE, R-COUNT-DRIFTS: races of truncation, which takes pages away unwritten, with whoever has or finds them.

use shuttle::thread;
use writeback::{Budget, SyncMode};

use crate::ledger::{PAGE, PLACE, Place, version};
use crate::play::play;
use crate::world::World;

const ONE_PAGE: u64 = PAGE as u64;
const ONE_PLACE: u64 = PLACE as u64;

/// R-PAGE-GONE: the sync has looked the page up and not locked it yet.
#[test]
fn cut_vs_sync() {
    // A sync leaves a page alone that was cut away, and makes durable what was not.
    play("cut_vs_sync", || {
        let world = World::dirty(2, 1);
        let cutter = world.spawn(|world| world.cut(&world.mapping.handle(), ONE_PAGE));
        world.sync(&world.mapping.handle()).unwrap();
        cutter.join().unwrap();
        world.finish();
    });
}

/// A write of what is cut away is under way.
#[test]
fn cut_vs_late_write() {
    // The store is cut when no write beyond the new length is under way any more.
    play("cut_vs_late_write", || {
        let world = World::dirty(2, 1);
        world.mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
        world.cut(&world.mapping.handle(), ONE_PLACE);
        world.finish();
    });
}

/// As above, with a sync that may come between the two halves of a cut.
#[test]
fn cut_vs_late_write_and_sync() {
    // A sync leaves a cut alone that a truncation has still to make.
    play("cut_vs_late_write_and_sync", || {
        let world = World::dirty(2, 1);
        world.mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
        // Of the other page: it does not wait for the write.
        let syncer = world.spawn(|world| {
            world.sync_pages(&world.mapping.handle(), 0..1).unwrap();
        });
        world.cut(&world.mapping.handle(), ONE_PLACE);
        syncer.join().unwrap();
        world.finish();
    });
}

/// The sync makes up for an earlier cut that the store refused, while a new one is made.
#[test]
fn cut_vs_sync_after_a_refused_cut() {
    // A sync that makes up for an earlier cut does not take a later one for made.
    play("cut_vs_sync_after_a_refused_cut", || {
        let world = World::dirty(3, 0);
        let handle = world.mapping.handle();
        world.sync(&handle).unwrap();
        world.cut_mapping_only(&handle, 2 * ONE_PAGE);
        let syncer = world.spawn_syncer();
        world.cut(&handle, ONE_PAGE);
        syncer.join().unwrap();
        world.read(&handle, 0);
        drop(handle);
        world.finish();
    });
}

/// As above, with a writer who must not lengthen a store that is still too long.
#[test]
fn lengthening_write_vs_sync_after_a_refused_cut() {
    // Old bytes do not come back, whoever makes up for the cut.
    play("lengthening_write_vs_sync_after_a_refused_cut", || {
        let world = World::stored(3);
        let handle = world.mapping.handle();
        world.cut_mapping_only(&handle, ONE_PAGE);
        let syncer = world.spawn_syncer();
        let writer = world.spawn_writer(Place::of(2, 1));
        world.write(&handle, Place::of(1, 1));
        [1, 2].into_iter().for_each(|page| world.read(&handle, page));
        syncer.join().unwrap();
        writer.join().unwrap();
        drop(handle);
        world.finish();
    });
}

/// R-COUNT-DRIFTS: flag, tag, counter and membership change as one. With and without the page lock.
#[test]
fn cut_vs_dirtiers() {
    // A page that is cut away while it is dirtied is neither counted nor dirty.
    play("cut_vs_dirtiers", || {
        let world = World::new(2, 0);
        let (page, other) = (world.page(1), world.page(1));
        let dirtier = thread::spawn(move || page.mark_dirty().is_ok());
        let locker = thread::spawn(move || other.lock_state().map(|locked| locked.mark_dirty()));
        world.cut(&world.mapping.handle(), ONE_PAGE);
        dirtier.join().unwrap();
        locker.join().unwrap();
        let stats = world.mapping.stats();
        assert_eq!((stats.dirty, stats.cached), (0, 0), "{stats:?}");
        world.finish();
    });
}

/// R-PAGE-GONE: the write has found the page and not yet its latch.
#[test]
fn cut_vs_write() {
    // A write to a page that is cut away goes to a new page, or is cut with the old one.
    play("cut_vs_write", || {
        let world = World::dirty(2, 0);
        let writer = world.spawn_writer(Place::of(1, 1));
        world.cut(&world.mapping.handle(), ONE_PAGE);
        writer.join().unwrap();
        world.finish();
    });
}

/// The page that the cut goes through stays; what is beyond in it goes.
#[test]
fn cut_vs_write_of_the_same_page() {
    // Within the last page, too, a write comes before the cut or lengthens again after it.
    play("cut_vs_write_of_the_same_page", || {
        let world = World::dirty(1, 0);
        let writer = world.spawn_writer(Place::of(0, 2));
        let reader = world.spawn(|world| world.read(&world.mapping.handle(), 0));
        world.cut(&world.mapping.handle(), ONE_PLACE);
        writer.join().unwrap();
        reader.join().unwrap();
        world.finish();
    });
}

/// R-PAGE-GONE: a reference to the old page, while a new one takes its place.
#[test]
fn cut_and_new_page_vs_old_reference() {
    // Nothing is done to a new page in the name of an old one, nor the other way round.
    play("cut_and_new_page_vs_old_reference", || {
        let world = World::dirty(2, 0);
        world.sync(&world.mapping.handle()).unwrap();
        let old = world.page(1);
        let stale = world.spawn(move |world| {
            for number in [1, 2] {
                // `Err`: it was cut away.
                let _gone = world.write_page(&old, number);
            }
        });
        let handle = world.mapping.handle();
        world.cut(&handle, ONE_PAGE);
        world.write(&handle, Place::of(1, 3));
        world.sync(&handle).unwrap();
        stale.join().unwrap();
        world.finish();
    });
}

/// As above, for those who lock and claim.
#[test]
fn cut_vs_claim_of_old_reference() {
    // Who locks a page and finds that it was cut away gets no claim on what is there now.
    play("cut_vs_claim_of_old_reference", || {
        let world = World::dirty(2, 0);
        let old = world.page(1);
        let flusher = world.spawn(move |world| {
            let Some(locked) = old.lock_state() else { return };
            if let Ok(claim) = locked.clear_dirty_for_io() {
                world.write_out(claim.start_writeback().expect("not held"));
            }
        });
        let handle = world.mapping.handle();
        world.cut(&handle, ONE_PAGE);
        world.write(&handle, Place::of(1, 1));
        flusher.join().unwrap();
        world.finish();
    });
}

/// A reader that looked at the length in time and at the page too late.
#[test]
fn cut_vs_reader_of_the_same_page() {
    // Nobody reads the zeros that a cut leaves behind in the last page.
    play("cut_vs_reader_of_the_same_page", || {
        let world = World::stored(1);
        world.read(&world.mapping.handle(), 0);
        let reader = world.spawn(|world| {
            let mut bytes = [0; PAGE];
            let count = world.mapping.handle().read_at(&mut bytes, 0).unwrap();
            let cut_away = Place::of(0, 4);
            let from = PLACE * 4;
            assert!(count == PLACE || version(cut_away, &bytes[from..from + PLACE]) > 0, "{count}");
        });
        world.cut(&world.mapping.handle(), ONE_PLACE);
        reader.join().unwrap();
        world.finish();
    });
}

/// The page is not cached, and what is in the store beyond the cut must not come back.
#[test]
fn cut_vs_read_fault() {
    // What a reader finds after a truncation is not what was there before it.
    play("cut_vs_read_fault", || {
        let world = World::stored(2);
        let reader = world.spawn(|world| {
            let handle = world.mapping.handle();
            world.read(&handle, 1);
            world.read(&handle, 1);
        });
        let handle = world.mapping.handle();
        world.cut(&handle, ONE_PAGE);
        world.write(&handle, Place::of(1, 1));
        world.read(&handle, 1);
        reader.join().unwrap();
        world.finish();
    });
}

/// The page that the cut goes through is just being read in: what it clears is not there yet.
#[test]
fn cut_vs_read_fault_of_the_same_page() {
    // What a reader of the last page brings in is cut with it.
    play("cut_vs_read_fault_of_the_same_page", || {
        let world = World::stored(1);
        let reader = world.spawn(|world| world.read(&world.mapping.handle(), 0));
        let handle = world.mapping.handle();
        world.cut(&handle, ONE_PLACE);
        world.write(&handle, Place::of(0, 7));
        reader.join().unwrap();
        world.read(&handle, 0);
        drop(handle);
        world.finish();
    });
}

/// A write to part of a page that is not cached reads the rest in first.
#[test]
fn cut_vs_write_fault() {
    // Neither does a writer that reads the page in bring back what was cut.
    play("cut_vs_write_fault", || {
        let world = World::stored(2);
        let writer = world.spawn_writer(Place::of(1, 1));
        let handle = world.mapping.handle();
        world.cut(&handle, ONE_PAGE + 2 * ONE_PLACE);
        world.cut(&handle, ONE_PLACE);
        writer.join().unwrap();
        world.read(&handle, 1);
        world.finish();
    });
}

/// As above, in the page that the cut goes through.
#[test]
fn cut_vs_write_fault_of_the_same_page() {
    // What a writer of the last page brings in is cut with it.
    play("cut_vs_write_fault_of_the_same_page", || {
        let world = World::stored(1);
        let writer = world.spawn_writer(Place::of(0, 1));
        let handle = world.mapping.handle();
        world.cut(&handle, ONE_PLACE);
        world.write(&handle, Place::of(0, 7));
        writer.join().unwrap();
        world.read(&handle, 0);
        drop(handle);
        world.finish();
    });
}

/// Two who find nothing, and one who finds it locked and without contents.
#[test]
fn readers_of_an_uncached_page() {
    // A page is read from the store once, and nobody sees it before.
    play("readers_of_an_uncached_page", || {
        let world = World::stored(1);
        let read = |world: &World| world.read(&world.mapping.handle(), 0);
        let readers = [world.spawn(read), world.spawn(read)];
        world.write(&world.mapping.handle(), Place::of(0, 1));
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert_eq!((world.mapping.stats().read, world.mapping.stats().cached), (1, 1));
        world.finish();
    });
}

/// The journal has the page that is to go.
#[test]
fn cut_vs_hold() {
    // A page that is held is cut away when it is released, and not held by anybody afterwards.
    play("cut_vs_hold", || {
        let world = World::dirty(2, 0);
        let journal = world.spawn(|world| {
            // `Err`: it was cut away before.
            let Ok(hold) = world.mapping.hold_page(1) else { return };
            thread::yield_now();
            assert!(hold.page().snapshot().is_mapped());
        });
        let syncer = world.spawn_syncer();
        world.cut(&world.mapping.handle(), ONE_PAGE);
        journal.join().unwrap();
        syncer.join().unwrap();
        world.finish();
    });
}

/// Closing passes through every latch, so that no writer is half way.
#[test]
fn close_vs_writers() {
    // What was written when the mapping is closed is durable, and nothing is written any more.
    play("close_vs_writers", || {
        let world = World::dirty(1, 0);
        let writers = [Place::of(0, 1), Place::of(1, 0)]
            .map(|place| world.spawn(move |world| world.try_write(&world.mapping.handle(), place)));
        world.close();
        let closed = world.durable_and_stats();
        writers.into_iter().for_each(|writer| drop(writer.join().unwrap()));
        assert_eq!(world.durable_and_stats(), closed, "written after it was closed");
        world.finish();
    });
}
