//! What pages of several blocks owe to the limit of dirty pages: once while they are dirty, claimed ones
//! included, and once while they are written. Exact after every step, whatever part of a page it is about.

use std::sync::Arc;

use writeback::page::Hold;
use writeback::store::Store;
use writeback::{CacheConfig, Config, Mapping, PageCache, StoreError, SyncMode};

use crate::world::*;

/// One page in a cache, with these blocks dirty.
fn indebted(blocks: &[usize]) -> (PageCache, Mapping, TestStore) {
    let (cache, store) = (PageCache::new(CacheConfig::new(100)).unwrap(), TestStore::new());
    store.set_len(PAGE as u64).unwrap();
    let config = Config::new().block_size(BLOCK).cache(&cache);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    blocks.iter().for_each(|block| fill(&mapping, *block, 1));
    assert_owes(&cache, u64::from(!blocks.is_empty()));
    (cache, mapping, store)
}

/// Where no claim is open, when what is owed is what is dirty and what is written.
#[track_caller]
fn assert_owes(cache: &PageCache, pages: u64) {
    cache.check().unwrap();
    assert_eq!(owed(cache), pages);
}

fn owed(cache: &PageCache) -> u64 {
    cache.stats().debt
}

fn settle(cache: &PageCache, mapping: &Mapping, store: &TestStore) {
    store.writes(Writes::Accept);
    while store.kept() > 0 {
        store.release_first(Ok(()));
    }
    let _told = mapping.handle().check_error();
    mapping.handle().sync_data().unwrap();
    assert_settled(mapping);
    assert_owes(cache, 0);
}

fn taken(mapping: &Mapping, block: usize) -> Hold {
    let mut hold = mapping.hold_blocks(0, block..block + 1).unwrap();
    assert!(hold.take_dirty());
    hold
}

#[test]
fn a_claim_owes_what_the_page_did_and_gives_it_back() {
    let (cache, mapping, store) = indebted(&[0, 2]);
    let claimed = claim(&mapping, 0);
    assert_eq!(owed(&cache), 1);
    claimed.redirty();
    assert_owes(&cache, 1);
    let claimed = claim(&mapping, 0);
    fill(&mapping, 1, 1);
    assert_eq!(owed(&cache), 2, "dirty again, beside the claim");
    claimed.redirty();
    assert_owes(&cache, 1);
    settle(&cache, &mapping, &store);
}

#[test]
fn a_claim_takes_along_what_became_dirty_since_and_what_that_owes() {
    let (cache, mapping, store) = indebted(&[0]);
    let claimed = claim(&mapping, 0);
    fill(&mapping, 1, 1);
    assert_eq!(owed(&cache), 2);
    let pieces = claimed.start_blocks(SyncMode::Wait).unwrap();
    assert_owes(&cache, 1);
    pieces.into_iter().for_each(|piece| piece.end(Ok(())));
    assert_owes(&cache, 0);
    fill(&mapping, 0, 2);
    fill(&mapping, 1, 2);
    settle(&cache, &mapping, &store);
}

#[test]
fn a_page_that_is_held_in_part_owes_twice_while_the_rest_is_written() {
    for well in [true, false] {
        let (cache, mapping, store) = indebted(&[0, 2]);
        let hold = mapping.hold_blocks(0, 2..3).unwrap();
        store.writes(Writes::Keep);
        assert_eq!(background(&mapping).declined, 1);
        assert_owes(&cache, 2);
        store.release_first(if well { Ok(()) } else { Err(StoreError::NoSpace) });
        assert_owes(&cache, 1);
        drop(hold);
        settle(&cache, &mapping, &store);
    }
}

#[test]
fn a_page_that_is_held_where_it_is_dirty_owes_once() {
    let (cache, mapping, store) = indebted(&[2]);
    let hold = mapping.hold_blocks(0, 1..3).unwrap();
    assert_eq!(background(&mapping).declined, 1);
    assert_owes(&cache, 1);
    // Changed beside a claim that is declined: what it owed twice it owes once.
    let claimed = claim(&mapping, 0);
    fill(&mapping, 1, 1);
    assert_eq!(owed(&cache), 2);
    assert!(claimed.start_blocks(SyncMode::Skip).unwrap().is_empty());
    assert_owes(&cache, 1);
    // In part: it is dirty and it is written.
    let claimed = claim(&mapping, 0);
    fill(&mapping, 3, 1);
    let pieces = claimed.start_blocks(SyncMode::Skip).unwrap();
    assert_owes(&cache, 2);
    drop((pieces, hold));
    assert_owes(&cache, 1);
    settle(&cache, &mapping, &store);
}

#[test]
fn of_two_pieces_the_last_pays() {
    let (cache, mapping, store) = indebted(&[0, 2]);
    store.writes(Writes::Keep);
    background(&mapping);
    store.release_first(Ok(()));
    assert_owes(&cache, 1);
    fill(&mapping, 1, 1);
    assert_owes(&cache, 2);
    store.release_first(Ok(()));
    assert_owes(&cache, 1);
    settle(&cache, &mapping, &store);
}

#[test]
fn pieces_that_fail_pay_nothing_unless_the_page_is_dirty_already() {
    for (again, failing) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let (cache, mapping, store) = indebted(&[0, 2]);
        store.writes(Writes::Keep);
        background(&mapping);
        if again {
            fill(&mapping, 1, 1);
        }
        for piece in 0..2 {
            store.release_first(if piece == failing { Err(StoreError::Lost) } else { Ok(()) });
        }
        assert_owes(&cache, 1);
        settle(&cache, &mapping, &store);
    }
}

#[test]
fn what_is_cancelled_or_cut_owes_nothing() {
    let (cache, mapping, store) = indebted(&[0, 3]);
    assert!(lock(&mapping, 0).cancel_dirty());
    assert_owes(&cache, 0);
    assert!(!lock(&mapping, 0).cancel_dirty());
    assert_owes(&cache, 0);
    fill(&mapping, 1, 1);
    assert_owes(&cache, 1);
    mapping.handle().set_len(0).unwrap();
    assert_owes(&cache, 0);
    settle(&cache, &mapping, &store);
}

#[test]
fn who_took_a_block_and_did_not_write_it_gives_back_what_it_owes() {
    // The page is dirty all the time: once.
    let (cache, mapping, store) = indebted(&[1]);
    let hold = taken(&mapping, 1);
    assert_owes(&cache, 1);
    drop(hold);
    assert_owes(&cache, 1);
    // Beside a claim: twice, until that starts, or is given up.
    for starts in [true, false] {
        let hold = taken(&mapping, 1);
        let claimed = claim(&mapping, 0);
        drop(hold);
        assert_eq!(owed(&cache), 2);
        if starts {
            drop(claimed.start_blocks(SyncMode::Wait).unwrap());
        } else {
            claimed.redirty();
        }
        assert_owes(&cache, 1);
    }
    // What he has taken is not dirty, and not cancelled.
    let hold = taken(&mapping, 1);
    assert!(!lock(&mapping, 0).cancel_dirty());
    fill(&mapping, 2, 0);
    assert!(lock(&mapping, 0).cancel_dirty());
    assert_owes(&cache, 1);
    drop(hold);
    assert_owes(&cache, 1);
    settle(&cache, &mapping, &store);
}

#[test]
fn who_took_a_block_and_wrote_it_leaves_the_rest_to_the_next_pass() {
    let (cache, mapping, store) = indebted(&[1]);
    let hold = taken(&mapping, 1);
    store.put(hold.offset(), hold.image().as_ref());
    hold.written();
    assert_owes(&cache, 1);
    assert_eq!(background(&mapping).submitted, 0, "there is nothing to write");
    assert_owes(&cache, 0);
    settle(&cache, &mapping, &store);
}
