//! What is done to many pages: mpage_writepages, and the syncs made of it.

use std::thread;

use writeback::{Budget, Mapping, SyncMode};

use crate::world::*;

/// Three pages: one wholly dirty, one in two blocks that do not lie side by side, one clean; and one more that is dirty.
fn mixed() -> (Mapping, TestStore) {
    let (mapping, store) = open_blocks(4);
    [0, 1, 2, 3, 4, 7, 12].iter().for_each(|block| fill(&mapping, *block, 6));
    (mapping, store)
}

#[test]
fn mpage_writepages_in_mode_none_goes_by_what_it_would_wait_for() {
    // WB_SYNC_NONE.
    let (mapping, store) = mixed();
    let locked = lock(&mapping, 0);
    let hold = mapping.hold_blocks(1, 3..4).unwrap();
    let progress = background(&mapping);
    assert_eq!((progress.submitted, progress.declined, progress.skipped), (2, 1, 1));
    assert_eq!(store.spans(), [(4096, 1024), (12 * 1024, 1024)]);
    drop((locked, hold));
    assert_eq!(background(&mapping).submitted, 2);
    assert_settled(&mapping);
}

#[test]
fn mpage_writepages_in_mode_all_waits() {
    // WB_SYNC_ALL: for the lock, for a held block, for a write under way.
    let (mapping, store) = mixed();
    store.writes(Writes::Keep);
    mapping.write_page(3, SyncMode::Skip).unwrap();
    fill(&mapping, 12, 7);
    let (locked, hold) = (lock(&mapping, 0), mapping.hold_blocks(1, 3..4).unwrap());
    let pass = {
        let mapping = mapping.clone();
        thread::spawn(move || mapping.write_range(.., SyncMode::Wait, Budget::pages(1)).unwrap())
    };
    never("page 0 is locked", || store.spans().len() > 1);
    drop(locked);
    eventually("page 0 is written", || store.spans().len() > 1);
    never("a block of page 1 is held", || store.spans().len() > 2);
    drop(hold);
    eventually("page 1 is written", || store.spans().len() == 4);
    never("page 3 is being written", || pass.is_finished());
    store.release_first(Ok(()));
    let progress = pass.join().unwrap();
    assert_eq!((progress.submitted, progress.declined, progress.skipped), (3, 0, 0));
    while store.kept() > 0 {
        store.release_first(Ok(()));
    }
    assert_settled(&mapping);
}

#[test]
fn mpage_writepages_in_mode_all_does_not_wait_for_the_end_of_its_own_writes() {
    let (mapping, store) = mixed();
    store.writes(Writes::Keep);
    let progress = mapping.write_range(0..=1, SyncMode::Wait, Budget::UNLIMITED).unwrap();
    assert_eq!((progress.submitted, mapping.stats().writeback), (2, 2));
    assert_eq!(mapping.stats().dirty, 1, "outside the range");
    let waiter = {
        let mapping = mapping.clone();
        thread::spawn(move || mapping.wait_range(..)) // filemap_fdatawait
    };
    store.release_last(Ok(()));
    never("not all have ended", || waiter.is_finished());
    store.release_last(Ok(()));
    waiter.join().unwrap();
    assert_eq!((mapping.stats().writeback, store.flushes_begun()), (0, 0));
}

#[test]
fn mpage_writepages_writes_so_many_pages_and_goes_round() {
    // nr_to_write counts pages, however many pieces they have; range_cyclic goes on where the last pass stopped.
    let (mapping, store) = mixed();
    let progress = mapping.write_range(.., SyncMode::Skip, Budget::pages(2)).unwrap();
    assert_eq!(progress.submitted, 2);
    // The first piece of page 1 goes on where page 0 ends.
    assert_eq!(store.spans(), [(0, 5 * 1024), (7 * 1024, 1024)]);
    [0, 5].iter().for_each(|block| fill(&mapping, *block, 8));
    assert_eq!(mapping.write_cyclic(Budget::pages(2)).unwrap().submitted, 2);
    fill(&mapping, 1, 9);
    assert_eq!(mapping.write_cyclic(Budget::pages(2)).unwrap().submitted, 1, "page 3");
    assert_eq!(mapping.stats().dirty, 1, "page 0 is behind it");
    assert_eq!(mapping.write_cyclic(Budget::pages(2)).unwrap().submitted, 1);
    assert_settled(&mapping);
}

#[test]
fn fdatasync_writes_and_flushes_and_fsync_flushes_everything() {
    let (mapping, store) = mixed();
    let handle = mapping.handle();
    handle.sync_data().unwrap();
    let expected: Vec<_> = (0..16).map(|block| [0, 1, 2, 3, 4, 7, 12].contains(&block)).collect();
    let durable: Vec<_> = store.durable().chunks(BLOCK).map(|block| block == [6; BLOCK]).collect();
    assert_eq!(durable, expected);
    assert_eq!(store.flushes_begun(), 1);
    handle.sync_data().unwrap();
    assert_eq!(store.flushes_begun(), 1, "nothing was written since");
    handle.sync_all().unwrap();
    assert_eq!(store.flushes_begun(), 2, "a data flush does not cover it");
    assert_settled(&mapping);
}

#[test]
fn fdatasync_of_a_range_leaves_the_rest() {
    let (mapping, store) = mixed();
    let handle = mapping.handle();
    handle.sync_range(4096..4097).unwrap();
    assert_eq!(store.spans(), [(4096, 1024), (7 * 1024, 1024)], "whole pages, their dirty blocks");
    assert_eq!(mapping.stats().dirty, 2);
    handle.sync_range(0..0).unwrap();
    assert_eq!(mapping.stats().dirty, 2);
    handle.sync_range(0..u64::MAX).unwrap();
    assert_settled(&mapping);
}

#[test]
fn fdatasync_waits_for_a_page_that_a_flusher_has_claimed() {
    // The race that the patch mended, without a hold: the sync comes between the claim and its decision.
    for decline in [false, true] {
        let (mapping, store) = dirty_blocks(&[0, 2]);
        let claim = claim(&mapping, 0);
        let syncer = {
            let handle = mapping.handle();
            thread::spawn(move || handle.sync_data())
        };
        never("the page is claimed", || syncer.is_finished());
        if decline {
            claim.redirty();
        } else {
            for piece in claim.start_blocks(SyncMode::Skip).unwrap() {
                never("a piece is under way", || syncer.is_finished());
                store.put(piece.offset(), piece.image().as_ref());
                piece.end(Ok(()));
            }
        }
        syncer.join().unwrap().unwrap();
        assert_eq!(accepted(&store), [1, 0, 3, 0]);
        assert_eq!(store.durable(), store.accepted());
        assert_settled(&mapping);
    }
}
