//! Cursors.

use crate::common::{
    NONE, T0, T1, Tree, add, assert_at_rest, assert_untagged, indices, tagged, tree_of,
};

#[test]
fn a_cursor_goes_up_and_down_and_stays_at_the_ends() {
    let tree = tree_of([3, 64, 65, 9000, u64::MAX]);
    let mut cursor = tree.cursor();
    assert_eq!((cursor.index(), cursor.value(), cursor.remove()), (None, None, None), "nowhere");
    assert_eq!((cursor.set_tag(T0), cursor.clear_tag(T0)), (None, None));
    let up: Vec<_> = std::iter::from_fn(|| cursor.next().map(|(index, _)| index)).collect();
    assert_eq!(up, [3, 64, 65, 9000, u64::MAX]);
    assert_eq!((cursor.index(), cursor.next()), (Some(u64::MAX), None));
    assert_eq!(cursor.value(), Some(&u64::MAX));
    let down: Vec<_> = std::iter::from_fn(|| cursor.prev().map(|(index, _)| index)).collect();
    assert_eq!(down, [9000, 65, 64, 3]);
    assert_eq!((cursor.index(), cursor.prev()), (Some(3), None));
    assert_eq!(cursor.seek(65), Some((65, &65)));
    assert_eq!(cursor.seek(66), Some((9000, &9000)));
    cursor.repin();
    assert_eq!((cursor.index(), cursor.prev()), (Some(9000), Some((65, &65))), "it stays");
    assert_eq!(tree.cursor().prev(), Some((u64::MAX, &u64::MAX)), "from nowhere");
    let tree = tree_of([0, 9]);
    let cursor = tree.cursor();
    assert_eq!((cursor.next(), cursor.prev()), (Some((0, &0)), None), "nothing lies below 0");
    assert_eq!((cursor.next(), cursor.seek(10)), (Some((9, &9)), None));
    assert_eq!(cursor.index(), Some(9), "it stays where nothing is found");
    add(&tree.pin(), 10);
    assert_eq!(cursor.next(), Some((10, &10)), "what has come since");
}

#[test]
fn what_a_cursor_stands_at_can_go_and_come_back() {
    let tree = tree_of(0..200);
    let mut cursor = tree.cursor();
    cursor.seek(100);
    assert_eq!((cursor.remove(), cursor.remove(), cursor.value()), (Some(&100), None, None));
    assert_eq!(cursor.set_tag(T0), None);
    cursor.repin();
    tree.pin().remove_range(90..110);
    assert_eq!((cursor.next(), cursor.index()), (Some((110, &110)), Some(110)));
    assert_eq!(
        (cursor.prev(), cursor.next(), cursor.prev()),
        (Some((89, &89)), Some((110, &110)), Some((89, &89)))
    );
    assert_eq!((cursor.set_tag(T0), cursor.set_tag(T0)), (Some(true), Some(false)));
    assert_eq!((cursor.set_tag(T1), cursor.clear_tag(T0)), (Some(true), Some(true)));
    assert_eq!((tagged(&tree.pin(), T1), cursor.pinned().tags(89)), (vec![89], Some(T1.into())));
    assert_at_rest(&tree);
}

#[test]
fn a_cursor_finds_the_tagged() {
    let tree = tree_of(0..10_000);
    tree.pin().tag_indices(&[0, 5, 4096, 9999], T0, NONE);
    let mut cursor = tree.cursor();
    let mut found = Vec::new();
    while let Some((index, value, tags)) = cursor.next_tagged(T0) {
        assert_eq!((*value, tags), (index, T0.into()));
        found.push(index);
        cursor.clear_tag(T0);
        cursor.repin();
    }
    assert_eq!((found, cursor.index()), (vec![0, 5, 4096, 9999], Some(9999)));
    assert_untagged(&tree, T0);
}

#[test]
fn a_tree_is_emptied_by_a_cursor_that_is_repinned() {
    let tree: Tree = tree_of((0..5000).map(|n| n * n));
    let mut cursor = tree.cursor();
    while cursor.next().is_some() {
        if cursor.index().is_some_and(|index| index % 3 > 0) {
            assert!(cursor.remove().is_some());
        }
        cursor.repin();
    }
    assert!(indices(&tree.pin()).iter().all(|index| index % 3 == 0));
    assert_at_rest(&tree);
}
