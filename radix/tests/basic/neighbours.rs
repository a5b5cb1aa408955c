//! First, last, next, previous; present and absent.

use crate::common::{Tree, tree_of};

#[test]
fn first_and_last_are_the_ends() {
    let tree = tree_of([70, 5, 1 << 50]);
    let p = tree.pin();
    assert_eq!(p.first(), Some((5, &5)));
    assert_eq!(p.last(), Some((1 << 50, &(1 << 50))));
    let empty = Tree::new();
    let p = empty.pin();
    assert_eq!((p.first(), p.last(), p.next(0), p.prev(u64::MAX)), (None, None, None, None));
}

#[test]
fn next_and_prev_include_the_index_itself() {
    let tree = tree_of([5, 63, 64, 4096]);
    let p = tree.pin();
    let next = |index| p.next(index).map(|(found, _)| found);
    let prev = |index| p.prev(index).map(|(found, _)| found);
    assert_eq!([0, 5, 6, 63, 64, 65].map(next), [5, 5, 63, 63, 64, 4096].map(Some));
    assert_eq!([4096, 4095, 64, 63, 62, 5].map(prev), [4096, 64, 64, 63, 5, 5].map(Some));
    assert_eq!((next(4097), prev(4)), (None, None));
    assert_eq!(prev(u64::MAX), Some(4096));
}

#[test]
fn neighbours_are_found_across_subtrees() {
    let far = [1, 1 << 30, (1 << 30) + 64, 1 << 60];
    let tree = tree_of(far);
    let p = tree.pin();
    for pair in far.windows(2) {
        assert_eq!(p.next(pair[0] + 1), Some((pair[1], &pair[1])));
        assert_eq!(p.prev(pair[1] - 1), Some((pair[0], &pair[0])));
        assert_eq!(p.next(pair[1] - 1), Some((pair[1], &pair[1])));
        assert_eq!(p.prev(pair[0] + 1), Some((pair[0], &pair[0])));
    }
}

#[test]
fn absent_neighbours_lie_outside_the_run() {
    let tree = tree_of(60..200);
    let p = tree.pin();
    assert_eq!((p.next_absent(59), p.prev_absent(200)), (Some(59), Some(200)));
    for inside in [60, 63, 64, 127, 128, 199] {
        assert_eq!(p.next_absent(inside), Some(200));
        assert_eq!(p.prev_absent(inside), Some(59));
    }
    p.remove(130);
    assert_eq!((p.next_absent(60), p.prev_absent(199)), (Some(130), Some(130)));
    assert_eq!((p.next_absent(130), p.next_absent(131)), (Some(130), Some(200)));
    assert_eq!((p.prev_absent(130), p.prev_absent(129)), (Some(130), Some(59)));
}

#[test]
fn all_is_absent_in_an_empty_tree() {
    crate::common::watch();
    let tree = Tree::new();
    let p = tree.pin();
    for index in [0, 63, 64, u64::MAX] {
        assert_eq!((p.next_absent(index), p.prev_absent(index)), (Some(index), Some(index)));
    }
}
