//! Pages beyond the end, pages if they are cached, pages by tag.

use writeback::page::PageTag;
use writeback::{Error, Mapping, SyncMode};

use crate::common::{PAGE, open};
use crate::settle;

#[test]
fn a_page_beyond_the_end_is_zeros_and_dirty_and_the_mapping_ends_with_it() {
    let (mapping, store) = open(1);
    mapping.handle().set_len(10).unwrap();
    let fifth = mapping.allocate(5).unwrap();
    assert_eq!((mapping.len(), store.reads_begun()), (6 * PAGE as u64, 0));
    assert!(fifth.snapshot().is_dirty() && fifth.read().iter().all(|byte| *byte == 0));
    fifth.write().unwrap().fill(5);
    let again = mapping.allocate(5).unwrap();
    assert_eq!(again.read()[9], 5, "it is there already");
    assert!(!mapping.allocate(2).unwrap().snapshot().is_dirty(), "nor is what lies before");
    assert!(matches!(mapping.allocate(u64::MAX), Err(Error::OutOfRange { .. })));
    settle(&mapping);
    assert_eq!(store.durable().len(), 6 * PAGE);
    assert_eq!(store.durable()[5 * PAGE..], [5; PAGE]);
    // One that begins within the mapping keeps what is there, in the store or in memory.
    let fresh = Mapping::open(store.clone()).unwrap();
    fresh.handle().set_len(5 * PAGE as u64 + 2).unwrap();
    assert_eq!(fresh.allocate(5).unwrap().read()[..3], [5, 5, 0]);
    drop(fresh);
    mapping.handle().set_len(5 * PAGE as u64 + 3).unwrap();
    let tail = mapping.allocate(5).unwrap();
    assert_eq!((&tail.read()[..4], mapping.len()), (&[5, 5, 5, 0][..], 6 * PAGE as u64));
    settle(&mapping);
    mapping.clone().close().unwrap();
    assert!(matches!(mapping.allocate(9), Err(Error::Closed)));
}

#[test]
fn pages_are_tried_for_and_found_by_tag() {
    let (mapping, store) = open(4);
    assert!(mapping.try_page(0).is_none());
    store.fail_read(true);
    mapping.page(0).unwrap_err();
    assert!(mapping.try_page(0).is_none(), "it was not read");
    store.fail_read(false);
    for index in [1, 2, 3] {
        mapping.page(index).unwrap().write().unwrap()[0] = 1;
    }
    assert_eq!(mapping.try_page(1).unwrap().read()[0], 1);
    let dirty = |range: std::ops::Range<u64>| -> Vec<u64> {
        mapping.tagged(range, PageTag::Dirty).map(|page| page.index()).collect()
    };
    assert_eq!((dirty(0..9), dirty(2..3), dirty(2..2)), (vec![1, 2, 3], vec![2], vec![]));
    mapping
        .tagged(.., PageTag::Dirty)
        .for_each(|page| _ = mapping.write_page(page.index(), SyncMode::Wait));
    assert!(dirty(0..9).is_empty());
    settle(&mapping);
}
