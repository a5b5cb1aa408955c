//! __block_write_full_page: of a page, what is dirty is written, and what is held is not.

use std::sync::Arc;
use std::time::Duration;

use writeback::store::{Completion, WriteBatch};
use writeback::{Clock, Config, Mapping, StoreError, SyncMode};

use crate::world::*;

#[test]
fn block_write_full_page_writes_what_is_dirty_in_pieces() {
    let (mapping, store) = dirty_blocks(&[0, 2, 3]);
    let progress = background(&mapping);
    assert_eq!((progress.submitted, progress.declined, progress.skipped), (1, 0, 0));
    assert_eq!(store.spans(), [(0, 1024), (2048, 2048)]);
    assert_eq!(accepted(&store), [1, 0, 3, 4]);
    assert_eq!(mapping.stats().written, 1);
    assert_settled(&mapping);
}

#[test]
fn block_write_full_page_goes_on_in_the_next_page() {
    // Blocks that lie side by side are one batch, also across pages; wholly dirty pages as ever.
    let (mapping, store) = open_blocks(5);
    fill(&mapping, 1, 1);
    fill(&mapping, 3, 1);
    (4..8).for_each(|block| fill(&mapping, block, 2));
    fill(&mapping, 8, 3);
    fill(&mapping, 10, 3);
    background(&mapping);
    assert_eq!(store.spans(), [(1024, 1024), (3072, 6 * 1024), (10 * 1024, 1024)]);
    assert_eq!(mapping.stats().written, 3);
    assert_settled(&mapping);
}

#[test]
fn block_write_full_page_ends_with_its_last_piece_whichever_that_is() {
    for last_first in [false, true] {
        let (mapping, store) = dirty_blocks(&[0, 2]);
        store.writes(Writes::Keep);
        background(&mapping);
        let page = page(&mapping, 0);
        let end = |result| match last_first {
            true => store.release_last(result),
            false => store.release_first(result),
        };
        end(Ok(()));
        assert!(page.snapshot().is_under_writeback() && tags(&page) == "w");
        assert_eq!((mapping.stats().writeback, mapping.stats().written), (1, 0));
        let hold = mapping.try_hold_blocks(0, 0..1).unwrap();
        assert!(hold.is_none(), "the page's write is one");
        end(Ok(()));
        assert_eq!((mapping.stats().writeback, mapping.stats().written), (0, 1));
        assert_settled(&mapping);
    }
}

#[test]
fn block_write_full_page_fails_if_any_piece_does() {
    // Whichever fails: the blocks of that piece are dirty again when all have ended, and the error is told once.
    for failing in [&[0][..], &[1], &[2], &[0, 2], &[0, 1, 2]] {
        let (mapping, store) = open_blocks(2);
        [0, 2, 3, 4, 6].iter().for_each(|block| fill(&mapping, *block, 9));
        let (handle, other) = (mapping.handle(), mapping.handle());
        store.writes(Writes::Keep);
        background(&mapping);
        // Block 0; blocks 2 and 3 with block 0 of the next page; block 2 of that.
        assert_eq!(store.spans(), [(0, 1024), (2048, 3 * 1024), (6 * 1024, 1024)]);
        for piece in 0..3 {
            if piece == 1 {
                assert_eq!(page(&mapping, 0).dirty_blocks(), 0, "not before all have ended");
            }
            let fails = failing.contains(&piece);
            store.release_first(if fails { Err(StoreError::NoSpace) } else { Ok(()) });
        }
        let failed = |piece: usize, blocks: u64| u64::from(failing.contains(&piece)) * blocks;
        assert_eq!(page(&mapping, 0).dirty_blocks(), failed(0, 0b1) | failed(1, 0b1100));
        assert_eq!(page(&mapping, 1).dirty_blocks(), failed(1, 0b1) | failed(2, 0b100));
        let pages_failed = u64::from(failing != [2]) + u64::from(failing != [0]);
        assert_eq!(mapping.stats().write_errors, pages_failed);
        store.writes(Writes::Accept);
        handle.sync_data().unwrap_err();
        handle.sync_data().unwrap();
        other.sync_data().unwrap_err();
        assert_eq!(accepted(&store), [9, 0, 9, 9, 9, 0, 9, 0]);
        assert_settled(&mapping);
    }
}

#[test]
fn block_write_full_page_by_hand_takes_what_became_dirty_since_the_claim() {
    let (mapping, _store) = dirty_blocks(&[0]);
    let claim = claim(&mapping, 0);
    fill(&mapping, 1, 7);
    let pieces = claim.start_blocks(SyncMode::Wait).unwrap();
    assert_eq!(pieces.len(), 1);
    assert_eq!((pieces[0].offset(), pieces[0].image().len()), (0, 2 * BLOCK));
    assert_eq!(pieces[0].image().as_ref()[BLOCK..], [7; BLOCK]);
    let page = page(&mapping, 0);
    assert_eq!((tags(&page).as_str(), page.dirty_blocks()), ("w", 0));
    fill(&mapping, 1, 8);
    assert_eq!((tags(&page).as_str(), page.dirty_blocks()), ("dw", 0b10));
    drop(pieces);
    assert_eq!((tags(&page).as_str(), page.dirty_blocks()), ("d", 0b11), "lost: dirty again");
}

#[test]
fn the_age_of_a_write_in_pieces_can_be_seen() {
    let (clock, store) = (Clock::manual(), TestStore::new());
    let config = Config::new().block_size(BLOCK).clock(clock.clone());
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    let second = Duration::from_secs(1);
    for _ in 0..2 {
        clock.advance(9 * second);
        [0, 2].iter().for_each(|block| fill(&mapping, *block, 1));
        store.writes(Writes::Keep);
        background(&mapping);
        assert_eq!(mapping.stats().oldest_writeback, Some(Duration::ZERO));
        clock.advance(second);
        store.release_first(Ok(()));
        assert_eq!(mapping.stats().oldest_writeback, Some(second));
        store.release_first(Ok(()));
        assert_eq!(mapping.stats().oldest_writeback, None);
    }
}

#[test]
fn a_whole_page_can_be_written_all_the_same() {
    let (mapping, _store) = dirty_blocks(&[1]);
    let writeback = claim(&mapping, 0).start_writeback().unwrap();
    assert_eq!((writeback.offset(), writeback.image().len()), (0, PAGE));
    assert!(mapping.try_hold_blocks(0, 3..4).unwrap().is_none(), "all of it is being written");
    writeback.end(Err(StoreError::Lost));
    assert_eq!(page(&mapping, 0).dirty_blocks(), 0b1111, "nobody knows what of it was written");
}

#[test]
fn a_short_write_leaves_the_pieces_dirty_that_are_not_wholly_written() {
    let (mapping, store) = open_blocks(3);
    (2..11).for_each(|block| fill(&mapping, block, 5));
    store.writes(Writes::Short(2 * BLOCK as u64 + 10));
    background(&mapping);
    let dirty = |index| page(&mapping, index).dirty_blocks();
    assert_eq!((dirty(0), dirty(1), dirty(2)), (0, 0b1111, 0b0111));
    store.writes(Writes::Accept);
    mapping.handle().check_error().unwrap_err();
    mapping.handle().sync_data().unwrap();
    assert_settled(&mapping);
}

#[test]
fn a_store_is_given_the_page_and_place_of_each_piece() {
    let check = |batch: &WriteBatch, completion: Completion| {
        assert_eq!((batch.first_page(), batch.offset(), batch.len()), (1, 5 * 1024, 1024));
        completion.complete(Ok(batch.len()));
    };
    let (mapping, store) = open_blocks(2);
    fill(&mapping, 5, 1);
    store.writes(Writes::Keep);
    background(&mapping);
    let (batch, completion) = store.take_first();
    check(&batch, completion);
    assert_eq!(mapping.stats().written, 1);
}
