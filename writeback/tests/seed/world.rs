//! A mapping whose pages have four blocks, over a store that does as it is told.

use std::sync::Arc;

use writeback::page::{Claim, LockedPage, PageRef, PageTag};
use writeback::stats::Progress;
use writeback::store::Store;
use writeback::{Budget, Config, Mapping, SyncMode};

pub(crate) use crate::common::*;

/// Bytes of a block; a page has four.
pub(crate) const BLOCK: usize = 1024;

/// A mapping over a store of `pages` pages of zeros, none of them cached.
pub(crate) fn open_blocks(pages: usize) -> (Mapping, TestStore) {
    let store = TestStore::new();
    store.set_len((pages * PAGE) as u64).unwrap();
    let config = Config::new().page_size(PAGE).block_size(BLOCK);
    (Mapping::with_config(Arc::new(store.clone()), config).unwrap(), store)
}

/// As [`open_blocks`], of one page in which these blocks are dirty, each filled with its number and one more.
pub(crate) fn dirty_blocks(blocks: &[usize]) -> (Mapping, TestStore) {
    let (mapping, store) = open_blocks(1);
    blocks.iter().for_each(|block| fill(&mapping, *block, u8::try_from(block + 1).unwrap()));
    (mapping, store)
}

/// Fills a block of the mapping, counted from its beginning.
pub(crate) fn fill(mapping: &Mapping, block: usize, byte: u8) {
    mapping.handle().write_at(&[byte; BLOCK], (block * BLOCK) as u64).unwrap();
}

/// The first byte of each block that the store has accepted.
pub(crate) fn accepted(store: &TestStore) -> Vec<u8> {
    store.accepted().chunks(BLOCK).map(|block| block[0]).collect()
}

pub(crate) fn background(mapping: &Mapping) -> Progress {
    mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap()
}

pub(crate) fn lock(mapping: &Mapping, index: u64) -> LockedPage {
    page(mapping, index).lock_state().expect("nobody truncates")
}

pub(crate) fn claim(mapping: &Mapping, index: u64) -> Claim {
    lock(mapping, index).clear_dirty_for_io().expect("dirty")
}

/// Which of DIRTY, TOWRITE and WRITEBACK the index has.
pub(crate) fn tags(page: &PageRef) -> String {
    let names = [(PageTag::Dirty, 'd'), (PageTag::ToWrite, 't'), (PageTag::Writeback, 'w')];
    names.iter().filter(|(tag, _)| page.has_tag(*tag)).map(|(_, name)| name).collect()
}
