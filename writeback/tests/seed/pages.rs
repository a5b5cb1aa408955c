//! What is done to one page: set_page_dirty, clear_page_dirty_for_io and the others.
//!
//! `rules` has every transition with what holds before and after it; here each function of 2004 has its successor.

use std::thread;

use writeback::page::PageTag;
use writeback::{Budget, Config, Error, Mapping, StoreError, SyncMode};

use crate::world::*;

#[test]
fn radix_tree_tags_say_what_a_walk_looks_for() {
    let (mapping, store) = open_dirty(3, 1);
    assert_eq!(tags(&page(&mapping, 1)), "d");
    store.writes(Writes::Keep);
    mapping.write_page(1, SyncMode::Skip).unwrap();
    assert_eq!(tags(&page(&mapping, 1)), "w");
    page(&mapping, 1).mark_dirty().unwrap();
    assert_eq!(tags(&page(&mapping, 1)), "dw", "PAGECACHE_TAG_DIRTY and PAGECACHE_TAG_WRITEBACK");
    store.release_first(Ok(()));
    assert_eq!(tags(&page(&mapping, 1)), "d");
    assert!(!page(&mapping, 1).has_tag(PageTag::Accessed));
    store.writes(Writes::Accept);
    mapping.handle().sync_data().unwrap();
    assert_settled(&mapping);
}

#[test]
fn set_page_dirty_without_the_lock_and_with_it() {
    // set_page_dirty, __set_page_dirty_nobuffers: a page of one block, by who excludes truncation or by anybody.
    let (mapping, _store) = open(2);
    let first = page(&mapping, 0);
    assert!(first.mark_dirty().unwrap() && !first.mark_dirty().unwrap());
    // set_page_dirty_lock: with the page lock, which keeps the page where it is.
    let locked = lock(&mapping, 1);
    assert!(locked.mark_dirty().unwrap() && !locked.mark_dirty().unwrap());
    assert!(!page(&mapping, 1).mark_dirty().unwrap(), "others need no lock");
    drop(locked);
    assert_eq!((mapping.stats().dirty, mapping.stats().dirtied), (2, 2));
    mapping.handle().set_len(PAGE as u64).unwrap();
    mapping.check().unwrap();
}

#[test]
fn set_page_dirty_of_a_page_that_was_truncated_does_nothing() {
    // The check of page->mapping in __set_page_dirty_nobuffers.
    let (mapping, _store) = open(2);
    let gone = page(&mapping, 1);
    mapping.handle().set_len(10).unwrap();
    assert!(matches!(gone.mark_dirty(), Err(Error::Gone { index: 1 })));
    assert!(gone.lock_state().is_none());
    assert!(!gone.snapshot().is_dirty());
    assert_eq!(mapping.stats().dirty, 0);
}

#[test]
fn set_page_dirty_buffers_marks_all_blocks_or_those_named() {
    // __set_page_dirty_buffers, with and without the page lock; blocks first, the page after.
    let (mapping, _store) = open_blocks(1);
    let page = page(&mapping, 0);
    assert!(page.mark_blocks_dirty(2..3).unwrap());
    assert_eq!((page.dirty_blocks(), tags(&page).as_str()), (0b100, "d"));
    assert!(!lock(&mapping, 0).mark_blocks_dirty(0..1).unwrap());
    assert_eq!(page.dirty_blocks(), 0b101);
    assert!(!page.mark_dirty().unwrap());
    assert_eq!((page.dirty_blocks(), mapping.stats().dirty), (0b1111, 1));
}

#[test]
fn set_page_dirty_by_many_is_counted_once() {
    let (mapping, _store) = open_blocks(1);
    let newly: u64 = thread::scope(|scope| {
        let mark = |block: usize| {
            u64::from(page(&mapping, 0).mark_blocks_dirty(block..block + 1).unwrap())
        };
        let threads: Vec<_> = (0..4).map(|block| scope.spawn(move || mark(block))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!((newly, mapping.stats().dirty, page(&mapping, 0).dirty_blocks()), (1, 1, 0b1111));
    mapping.check().unwrap();
}

#[test]
fn test_clear_page_dirty_forgets_the_dirt_and_its_count() {
    // For truncation only: flag, tag, blocks and count go at one instant.
    for (mapping, store) in [open_dirty(1, 1), dirty_blocks(&[1, 3])] {
        let locked = lock(&mapping, 0);
        assert!(locked.cancel_dirty());
        let page = page(&mapping, 0);
        assert_eq!((tags(&page).as_str(), page.dirty_blocks(), mapping.stats().dirty), ("", 0, 0));
        assert!(!locked.cancel_dirty());
        drop(locked);
        mapping.handle().sync_data().unwrap();
        assert_eq!(store.spans(), []);
        mapping.check().unwrap();
    }
}

#[test]
fn clear_page_dirty_without_accounting_is_for_memory_backed_mappings() {
    // __clear_page_dirty: nothing is counted, neither up nor down.
    for config in [Config::new(), Config::new().block_size(BLOCK)] {
        let mapping = Mapping::memory_backed(config).unwrap();
        mapping.handle().write_at(&[1; PAGE], 0).unwrap();
        assert!(page(&mapping, 0).snapshot().is_dirty());
        assert_eq!(mapping.stats().dirty, 0);
        let locked = lock(&mapping, 0);
        assert!(locked.cancel_dirty() && !locked.cancel_dirty());
        assert_eq!(tags(locked.page()), "");
        assert_eq!(mapping.stats().dirty, 0);
        mapping.check().unwrap();
    }
}

#[test]
fn clear_page_dirty_for_io_clears_the_flag_and_leaves_the_tag() {
    for (mapping, _store) in [open_dirty(1, 1), dirty_blocks(&[1, 3])] {
        let page = page(&mapping, 0);
        let dirty = page.dirty_blocks();
        let claim = claim(&mapping, 0);
        assert!(!page.snapshot().is_dirty() && page.snapshot().is_locked());
        assert_eq!((tags(&page).as_str(), page.dirty_blocks(), mapping.stats().dirty), ("d", 0, 0));
        claim.redirty(); // set_page_dirty brings them together again
        assert!(page.snapshot().is_dirty() && !page.snapshot().is_locked());
        assert_eq!(
            (tags(&page).as_str(), page.dirty_blocks(), mapping.stats().dirty),
            ("d", dirty, 1)
        );
        assert!(lock(&mapping, 0).clear_dirty_for_io().is_ok());
    }
}

#[test]
fn set_page_writeback_clears_the_dirty_tag_and_end_page_writeback_wakes() {
    for (mapping, _store) in [open_dirty(1, 1), dirty_blocks(&[1, 3])] {
        let page = page(&mapping, 0);
        let claim = claim(&mapping, 0);
        let mut pieces = claim.start_blocks(SyncMode::Wait).unwrap();
        assert!(page.snapshot().is_under_writeback() && !page.snapshot().is_locked());
        assert_eq!(tags(&page), "w");
        let waiter = {
            let page = page.clone();
            thread::spawn(move || page.wait_writeback()) // wait_on_page_writeback
        };
        let last = pieces.pop().unwrap();
        pieces.into_iter().for_each(|piece| piece.end(Ok(())));
        never("the last piece has not ended", || waiter.is_finished());
        last.end(Ok(()));
        waiter.join().unwrap();
        assert_eq!(tags(&page), "");
        assert_eq!(mapping.stats().writeback, 0);
        mapping.check().unwrap();
    }
}

#[test]
fn write_one_page_waits_or_does_not() {
    for (mapping, store) in [open_dirty(1, 1), dirty_blocks(&[1, 3])] {
        // Without wait: it gives way to a write under way, and only submits.
        store.writes(Writes::Keep);
        assert!(mapping.write_page(0, SyncMode::Skip).unwrap());
        page(&mapping, 0).mark_dirty().unwrap();
        assert!(!mapping.write_page(0, SyncMode::Skip).unwrap(), "under writeback");
        // With wait: for the one before, then for its own.
        let waiter = {
            let mapping = mapping.clone();
            thread::spawn(move || mapping.write_page(0, SyncMode::Wait).unwrap())
        };
        never("the write before it has not ended", || store.spans().len() > 2);
        while !waiter.is_finished() {
            if store.kept() > 0 {
                store.release_first(Ok(()));
            }
            thread::yield_now();
        }
        assert!(waiter.join().unwrap());
        assert!(!mapping.write_page(0, SyncMode::Wait).unwrap(), "clean");
        assert_settled(&mapping);
        // With wait: an error is told here, too.
        store.writes(Writes::Fail(StoreError::NoSpace));
        page(&mapping, 0).mark_dirty().unwrap();
        assert!(mapping.write_page(0, SyncMode::Wait).unwrap_err().is_no_space());
        // Without: it leaves what another writer has. With: it waits for that.
        store.writes(Writes::Accept);
        let hold = mapping.hold_page(0).unwrap();
        assert!(!mapping.write_page(0, SyncMode::Skip).unwrap());
        assert!(page(&mapping, 0).snapshot().is_dirty());
        let waiter = {
            let mapping = mapping.clone();
            thread::spawn(move || mapping.write_page(0, SyncMode::Wait).unwrap())
        };
        never("the page is held", || waiter.is_finished());
        drop(hold);
        assert!(waiter.join().unwrap());
        assert_settled(&mapping);
    }
}

#[test]
fn memory_backed_mappings_move_flags_and_count_and_write_nothing() {
    for config in [Config::new(), Config::new().block_size(BLOCK)] {
        let mapping = Mapping::memory_backed(config).unwrap();
        let handle = mapping.handle();
        handle.write_at(&[5; 2 * PAGE + 1], 0).unwrap();
        handle.sync_data().unwrap();
        handle.sync_all().unwrap();
        let all = mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED).unwrap();
        let cyclic = mapping.write_cyclic(Budget::UNLIMITED).unwrap();
        assert_eq!((all.submitted, cyclic.submitted), (0, 0));
        assert!(!mapping.write_page(0, SyncMode::Wait).unwrap());
        let page = page(&mapping, 1);
        assert!(page.snapshot().is_dirty() && tags(&page) == "d");
        let hold = mapping.hold_page(1).unwrap();
        assert!(claim(&mapping, 1).start_writeback().is_err());
        drop(hold);
        let pieces = claim(&mapping, 1).start_blocks(SyncMode::Wait).unwrap();
        assert_eq!(tags(&page), "w");
        pieces.into_iter().for_each(|piece| piece.end(Ok(())));
        assert!(!page.snapshot().is_dirty());
        let stats = mapping.stats();
        assert_eq!((stats.dirty, stats.writeback, stats.dirtied, stats.written), (0, 0, 0, 0));
        handle.set_len(10).unwrap();
        mapping.check().unwrap();
        mapping.close().unwrap();
    }
}
