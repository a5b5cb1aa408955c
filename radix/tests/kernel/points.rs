//! Storing, finding and exchanging single entries.

use crate::common::{Tree, add, assert_at_rest, tree_of};

#[test]
fn every_entry_is_found_after_each_store_and_erase() {
    // 1024 stores in ascending order with a full look after each, then as many erases.
    let tree = Tree::new();
    let p = tree.pin();
    let look = |present: std::ops::Range<u64>| {
        for index in 0..1025 {
            assert_eq!(p.contains(index), present.contains(&index), "{index} of {present:?}");
        }
    };
    for index in 0..1024 {
        add(&p, index);
        look(0..index + 1);
    }
    for index in 0..1024 {
        assert_eq!(p.remove(index), Some(&index));
        look(index + 1..1024);
    }
    assert!(tree.is_empty());
    assert_at_rest(&tree);
}

#[test]
fn an_insert_is_alone_at_every_power_of_two() {
    crate::common::watch();
    // 0 to 1023, both sides of each higher power of two, the last index.
    let powers = (10..64).flat_map(|k| [1 << k, (1_u64 << k) - 1]);
    let tree = Tree::new();
    let p = tree.pin();
    for index in (0..1024).chain(powers).chain([u64::MAX]) {
        assert!(p.try_insert(index, Box::new(index)).is_ok());
        for other in index.checked_sub(1).into_iter().chain(index.checked_add(1)) {
            assert_eq!(p.get(other), None, "{other:#x} beside {index:#x}");
        }
        assert!(p.try_insert(index, Box::new(index)).is_err());
        assert_eq!(p.remove(index), Some(&index));
        assert_eq!(p.get(index), None);
        assert!(tree.is_empty());
    }
}

#[test]
fn exchange_compares_identity() {
    // mismatch leaves the value and gives the current one; match replaces; absence is
    // met by try_insert, which finds the place taken or not.
    for index in [12_345_678, 0, u64::MAX] {
        let (tree, other) = (tree_of([index]), index);
        let p = tree.pin();
        let Err(error) = p.compare_exchange(index, &other, Box::new(1)) else {
            panic!("equal, not the same")
        };
        assert_eq!((*error.value, error.current), (1, Some(&index)));
        let current = p.get(index).unwrap();
        assert_eq!(p.compare_exchange(index, current, Box::new(2)).ok(), Some(&index));
        assert_eq!(p.get(index), Some(&2));
        assert!(p.try_insert(index, Box::new(3)).is_err(), "busy");
        p.remove(index);
        assert!(p.compare_exchange(index, current, Box::new(4)).is_err(), "absent");
        assert_eq!(p.try_insert(index, Box::new(5)).ok(), Some(&5));
        assert_at_rest(&tree);
    }
}
