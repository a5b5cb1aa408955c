//! Every kind of value goes in and comes out whole.

use std::ops::Deref;
use std::sync::Arc;

use crate::common::T0;
use tagged_radix::{ArcRef, CloneValue, Inline, Pinned, RadixTree, TagSet, Value, pin};

fn exercise<V: Value>(make: impl Fn(u64) -> V, read: impl Fn(V::Ref<'_>) -> u64) {
    let tree: RadixTree<V> = RadixTree::new();
    change(&tree.pin(), make, read);
    tree.check().expect("a sound tree");
    assert_eq!(tree.into_iter().count(), 4);
}

fn change<V: Value>(p: &Pinned<'_, V>, make: impl Fn(u64) -> V, read: impl Fn(V::Ref<'_>) -> u64) {
    for index in [0, 1, 64, 1 << 30] {
        assert!(p.insert(index, make(index)).is_none());
        assert_eq!(p.get(index).map(&read), Some(index));
    }
    assert_eq!(p.insert(1, make(10)).map(&read), Some(1));
    let Err(error) = p.try_insert(1, make(11)) else { panic!("1 is occupied") };
    assert_eq!(read(error.current), 10);
    assert!(p.insert_tagged(2, error.value, TagSet::from(T0)).is_none());
    assert_eq!(p.get(2).map(&read), Some(11), "the value given back is whole");
    let current = p.get(2).unwrap();
    assert_eq!(p.compare_exchange(2, current, make(12)).ok().map(&read), Some(11));
    assert_eq!(p.update(2, |slot| read(slot.value())), Some(12));
    assert_eq!(p.remove(2).map(&read), Some(12));
    let found: Vec<_> = p.iter().map(|(index, value)| (index, read(value))).collect();
    assert_eq!(found, [(0, 0), (1, 10), (64, 64), (1 << 30, 1 << 30)]);
}

fn exercise_owned<V: CloneValue>(make: impl Fn(u64) -> V, read: impl Fn(&V) -> u64) {
    let tree: RadixTree<V> = (0..10).map(|n| (n, make(n))).collect();
    let mut batch = tagged_radix::ArrayVec::<_, 4>::new();
    assert_eq!(tree.gang_lookup_owned(3, &mut batch), Some(7));
    assert!(batch.iter().map(|(index, value)| (*index, read(value))).eq((3..7).map(|n| (n, n))));
    assert_eq!(tree.get_owned(9).as_ref().map(&read), Some(9));
    assert!(tree.get_owned(10).is_none());
}

#[test]
fn boxes() {
    crate::common::watch();
    exercise(Box::new, |value: &u64| *value);
}

#[test]
fn arcs() {
    crate::common::watch();
    exercise(Arc::new, |value: ArcRef<'_, u64>| *value);
    exercise_owned(Arc::new, |value: &Arc<u64>| **value);
}

#[test]
fn statics() {
    crate::common::watch();
    static VALUES: [u64; 15] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 64, 1 << 30];
    let find = |n: u64| VALUES.iter().find(|value| **value == n).expect("one of those used here");
    exercise(find, |value: &u64| *value);
    exercise_owned(find, |value: &&'static u64| **value);
}

#[test]
fn inline_integers() {
    crate::common::watch();
    let make = |n: u64| Inline::new(n).unwrap();
    exercise(make, |value: Inline| value.get());
    exercise_owned(make, |value: &Inline| value.get());
}

#[test]
fn inline_integers_have_all_bits_of_a_word_but_one() {
    let tree = RadixTree::new();
    let p = tree.pin();
    for value in [0, 1, 1 << (usize::BITS - 2), Inline::MAX] {
        p.insert(5, Inline::new(value).unwrap());
        assert_eq!(p.get(5).map(|found| (found.get(), *found.deref())), Some((value, value)));
    }
    assert_eq!(Inline::MAX, u64::try_from(usize::MAX >> 1).unwrap());
    assert!(Inline::new(Inline::MAX + 1).is_none() && Inline::new(u64::MAX).is_none());
}

#[test]
fn equal_inline_integers_are_identical() {
    let tree = RadixTree::new();
    let p = tree.pin();
    let value = |n| Inline::new(n).unwrap();
    p.insert(5, value(1));
    assert!(p.compare_exchange(5, value(2), value(3)).is_err());
    assert_eq!(p.compare_exchange(5, value(1), value(3)).ok().map(Inline::get), Some(1));
}

#[test]
fn an_arc_taken_from_the_tree_outlives_it() {
    crate::common::watch();
    let tree = RadixTree::new();
    let value = Arc::new(7_u64);
    tree.pin().insert(5, Arc::clone(&value));
    assert_eq!(Arc::strong_count(&value), 2);
    let p = tree.pin();
    let taken = ArcRef::to_arc(p.get(5).unwrap());
    let other: Arc<u64> = p.get(5).unwrap().into();
    assert!(Arc::ptr_eq(&taken, &value) && Arc::ptr_eq(&other, &value));
    assert_eq!(Arc::strong_count(&value), 4);
    drop(p);
    drop((tree, taken, other));
    crate::common::drain(|| Arc::strong_count(&value) == 1);
}

#[test]
fn a_removed_arc_is_released_after_the_last_guard() {
    crate::common::watch();
    let tree = RadixTree::new();
    let value = Arc::new(7_u64);
    tree.pin().insert(5, Arc::clone(&value));
    let guard = pin();
    let found = tree.with_guard(&guard).remove(5).map(|found| *found);
    for _ in 0..200 {
        pin().flush();
    }
    assert_eq!((found, Arc::strong_count(&value)), (Some(7), 2), "a guard may still see it");
    drop(guard);
    crate::common::drain(|| Arc::strong_count(&value) == 1);
}
