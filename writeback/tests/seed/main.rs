//! The vocabulary of the patch of 2004 that this crate grew from, each word with a test of what became of it.
//!
//! | kernel of 2004 | here | tests |
//! |---|---|---|
//! | radix tree, PAGECACHE_TAG_DIRTY, PAGECACHE_TAG_WRITEBACK | `PageTag` on entries of a `RadixTree` | `radix_tree_tags` |
//! | set_page_dirty, __set_page_dirty_nobuffers, __set_page_dirty_buffers, set_page_dirty_lock | `mark_dirty`, `mark_blocks_dirty`, of `PageRef` and of `LockedPage` | `set_page_dirty` |
//! | test_clear_page_dirty, __clear_page_dirty | `LockedPage::cancel_dirty` | `test_clear_page_dirty` |
//! | clear_page_dirty_for_io | `LockedPage::clear_dirty_for_io` | `clear_page_dirty_for_io` |
//! | test_set_page_writeback, end_page_writeback, wait_on_page_writeback | `Claim::start_writeback`, `Writeback::end`, `PageRef::wait_writeback` | `set_page_writeback` |
//! | write_one_page(page, wait) | `Mapping::write_page` | `write_one_page` |
//! | mpage_writepages: WB_SYNC_NONE, WB_SYNC_ALL, nr_to_write, range_cyclic | `Mapping::write_range`, `Mapping::write_cyclic` | `mpage_writepages` |
//! | fdatasync, fsync, filemap_fdatawait | `Handle::sync_data`, `sync_all`, `sync_range`; `Mapping::wait_range` | `fdatasync` |
//! | buffer heads, __block_write_full_page, kjournald | blocks: `Config::block_size`, `Claim::start_blocks`, `Mapping::hold_blocks` | `buffer_heads`, `block_write_full_page`, `kjournald` |
//! | backing_dev_info->memory_backed | `Mapping::memory_backed` | `memory_backed` |
//!
//! What pages of several blocks owe to the limit of dirty pages is in `accounts`.
//!
//! Reclaim, throttling and congestion (shrink_list, balance_dirty_pages, may_write_to_queue) have tests of their own.

#[path = "../common/mod.rs"]
mod common;
mod world;

mod accounts;
mod any;
mod block_write_full_page;
mod buffer_heads;
mod kjournald;
mod pages;
mod passes;
