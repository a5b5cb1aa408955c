//! buffer_head: each block of a page is dirty by itself.

use std::sync::Arc;

use writeback::{Config, Error, Mapping, MemStore, StoreError};

use crate::world::*;

#[test]
fn buffer_heads_are_dirty_where_a_write_touched_them() {
    let (mapping, _store) = open_blocks(2);
    let handle = mapping.handle();
    handle.write_at(&[1; 10], 1020).unwrap();
    assert_eq!(page(&mapping, 0).dirty_blocks(), 0b0011);
    handle.write_at(&[1; 1], 3 * BLOCK as u64).unwrap();
    assert_eq!(page(&mapping, 0).dirty_blocks(), 0b1011);
    handle.write_at(&[1; PAGE], 2 * BLOCK as u64).unwrap();
    assert_eq!(page(&mapping, 0).dirty_blocks(), 0b1111);
    assert_eq!(page(&mapping, 1).dirty_blocks(), 0b0011);
    assert_eq!(mapping.stats().dirty, 2, "pages are counted, not blocks");
    page(&mapping, 1).write_with(3000..3001, |byte| byte.fill(2)).unwrap();
    assert_eq!(page(&mapping, 1).dirty_blocks(), 0b0111);
    mapping.check().unwrap();
}

#[test]
fn buffer_heads_of_a_page_are_marked_by_who_can_name_them_and_all_by_who_cannot() {
    let (mapping, _store) = open_blocks(1);
    let page = page(&mapping, 0);
    assert!(page.mark_blocks_dirty(1..2).unwrap());
    assert!(!page.mark_blocks_dirty(1..3).unwrap());
    assert_eq!(page.dirty_blocks(), 0b0110);
    for bad in [0..0, 4..5, 3..5] {
        assert!(matches!(page.mark_blocks_dirty(bad), Err(Error::OutOfRange { .. })));
    }
    assert!(!page.mark_dirty().unwrap());
    assert_eq!(page.dirty_blocks(), 0b1111);

    let locked = page.lock_state().unwrap();
    assert!(locked.cancel_dirty());
    assert_eq!(page.dirty_blocks(), 0);
    assert!(locked.mark_blocks_dirty(3..4).unwrap());
    assert!(locked.mark_blocks_dirty(3..5).is_err());
    assert_eq!(page.dirty_blocks(), 0b1000);
    assert!(!locked.mark_dirty().unwrap());
    assert_eq!(page.dirty_blocks(), 0b1111);
    assert_eq!(mapping.stats().dirty, 1);
}

#[test]
fn buffer_heads_that_are_dirty_make_the_page_dirty_also_if_it_was_claimed_meanwhile() {
    let (mapping, _store) = dirty_blocks(&[0]);
    let claim = claim(&mapping, 0);
    let page = page(&mapping, 0);
    assert_eq!((page.dirty_blocks(), page.snapshot().is_dirty()), (0, false));
    fill(&mapping, 2, 9);
    assert_eq!((page.dirty_blocks(), page.snapshot().is_dirty()), (0b0100, true));
    claim.redirty();
    assert_eq!(page.dirty_blocks(), 0b0101);
}

#[test]
fn buffer_heads_need_a_size_that_fits() {
    let open = |page_size, block_size| {
        let config = Config::new().page_size(page_size).block_size(block_size);
        Mapping::with_config(Arc::new(MemStore::new()), config)
    };
    for (page_size, block_size) in
        [(4096, 256), (4096, 3000), (4096, 8192), (1 << 20, 8192), (4096, 0), (512, 1024)]
    {
        let refused = open(page_size, block_size);
        assert!(matches!(refused, Err(Error::Config { .. })), "{page_size} and {block_size}");
    }
    for (page_size, block_size) in [(4096, 512), (4096, 4096), (1 << 20, 16_384), (512, 512)] {
        assert_eq!(open(page_size, block_size).unwrap().block_size(), block_size);
    }
}

#[test]
fn sixty_four_buffer_heads_are_as_good_as_four() {
    let store = MemStore::new();
    let config = Config::new().page_size(64 * 512).block_size(512);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    let handle = mapping.handle();
    handle.write_at(&[1; 64 * 512], 0).unwrap();
    handle.sync_data().unwrap();
    handle.write_at(&[2], 0).unwrap();
    handle.write_at(&[2], 63 * 512).unwrap();
    assert_eq!(page(&mapping, 0).dirty_blocks(), 1 << 63 | 1);
    let hold = mapping.hold_blocks(0, 63..64).unwrap();
    assert_eq!((background(&mapping).declined, page(&mapping, 0).dirty_blocks()), (1, 1 << 63));
    drop(hold);
    handle.sync_data().unwrap();
    let mut expected = vec![1; 64 * 512];
    (expected[0], expected[63 * 512]) = (2, 2);
    assert_eq!(store.durable(), expected);
    assert_settled(&mapping);
}

#[test]
fn buffer_heads_survive_a_write_that_fails() {
    // Only what failed is dirty again, and what became dirty meanwhile stays so.
    let (mapping, store) = dirty_blocks(&[1]);
    let handle = mapping.handle();
    store.writes(Writes::Keep);
    background(&mapping);
    fill(&mapping, 3, 9);
    store.release_first(Err(StoreError::NoSpace));
    assert_eq!(page(&mapping, 0).dirty_blocks(), 0b1010);
    assert!(page(&mapping, 0).snapshot().has_error());
    handle.check_error().unwrap_err();
    store.writes(Writes::Accept);
    handle.sync_data().unwrap();
    assert_eq!(accepted(&store), [0, 2, 0, 9]);
    assert_settled(&mapping);
}

#[test]
fn buffer_heads_beyond_the_end_are_not_written_and_come_back_as_zeros() {
    // A cut in the middle of a block; lengthened again, what was cut off is zeros, in memory and in the store.
    let (mapping, store) = dirty_blocks(&[0, 1, 2, 3]);
    let handle = mapping.handle();
    let len = BLOCK as u64 + 100;
    handle.set_len(len).unwrap();
    handle.sync_data().unwrap();
    assert_eq!(store.durable().len() as u64, len);
    assert_settled(&mapping);
    page(&mapping, 0).mark_dirty().unwrap();
    handle.sync_data().unwrap();
    assert_eq!(store.accepted().len() as u64, len, "nothing beyond the end is written");

    handle.write_at(&[9; 10], 3 * BLOCK as u64).unwrap();
    handle.sync_data().unwrap();
    let mut expected = vec![0; 3 * BLOCK + 10];
    expected[..BLOCK].fill(1);
    expected[BLOCK..BLOCK + 100].fill(2);
    expected[3 * BLOCK..].fill(9);
    assert_eq!(store.durable(), expected);
    handle.set_len(PAGE as u64).unwrap();
    expected.resize(PAGE, 0);
    handle.sync_data().unwrap();
    assert_eq!(store.durable(), expected);
    let mut seen = vec![7; PAGE];
    handle.read_at(&mut seen, 0).unwrap();
    assert_eq!(seen, expected);
    assert_settled(&mapping);
}

#[test]
fn buffer_heads_under_way_are_waited_for_by_a_cut() {
    let (mapping, store) = dirty_blocks(&[0, 2, 3]);
    store.writes(Writes::Keep);
    background(&mapping);
    assert_eq!(store.kept(), 2, "two pieces");
    let cutter = {
        let mapping = mapping.clone();
        std::thread::spawn(move || mapping.handle().set_len(10).unwrap())
    };
    store.release_last(Ok(()));
    never("a piece is under way", || cutter.is_finished());
    store.release_first(Ok(()));
    cutter.join().unwrap();
    assert_eq!(store.accepted(), [1; 10]);
    store.writes(Writes::Accept);
    mapping.handle().sync_data().unwrap();
    assert_settled(&mapping);
}

#[test]
fn part_of_a_page_that_is_not_cached_is_written_over_the_rest_of_it() {
    let (mapping, store) = dirty_blocks(&[0, 1, 2, 3]);
    mapping.close().unwrap();
    let config = Config::new().page_size(PAGE).block_size(BLOCK);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    mapping.handle().write_at(&[9; 10], BLOCK as u64).unwrap();
    let mut seen = vec![0; PAGE];
    mapping.handle().read_at(&mut seen, 0).unwrap();
    assert_eq!((seen[0], seen[BLOCK], seen[BLOCK + 10], seen[3 * BLOCK]), (1, 9, 2, 4));
    assert_eq!(page(&mapping, 0).dirty_blocks(), 0b0010);
    mapping.handle().sync_data().unwrap();
    assert_eq!(store.durable(), seen);
    assert_settled(&mapping);
}
