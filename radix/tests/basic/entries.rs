//! Lookup, insertion, replacement and removal of single entries.

use std::cell::Cell;
use std::error::Error;

use crate::common::{NONE, T0, T1, T3, Tree, assert_at_rest, tree_of};
use tagged_radix::TagSet;

#[test]
fn get_finds_what_was_inserted_and_nothing_else() {
    let tree = tree_of([5, 70, 1 << 40]);
    let p = tree.pin();
    for index in [5, 70, 1 << 40] {
        assert_eq!(p.get(index), Some(&index));
        assert_eq!(p.get_with_tags(index), Some((&index, NONE)));
        assert!(p.contains(index));
        assert!(!p.contains(index + 1));
        assert_eq!(p.get(index - 1), None);
        assert_eq!(p.get_with_tags(index + 64), None);
    }
    assert_at_rest(&tree);
}

#[test]
fn empty_tree_has_nothing() {
    let tree = Tree::new();
    let p = tree.pin();
    assert_eq!(p.get(0), None);
    assert_eq!(p.remove(0), None);
    assert_eq!(p.iter().next(), None);
    assert!(p.remove_if(0, |_, _| unreachable!("no entry")).is_err());
    assert!(p.replace_if(0, Box::new(1), |_, _| unreachable!("no entry")).is_err());
    assert!(p.update(0, |_| unreachable!("no entry")).is_none());
    assert_at_rest(&tree);
}

#[test]
fn insert_returns_the_old_value_and_keeps_tags() {
    let tree = Tree::new();
    let p = tree.pin();
    assert_eq!(p.insert(9, Box::new(1)), None);
    assert_eq!(p.tags(9), Some(NONE));
    p.set_tag(9, T1);
    assert_eq!(p.insert(9, Box::new(2)), Some(&1));
    assert_eq!(p.get_with_tags(9), Some((&2, T1.into())));
    assert_at_rest(&tree);
}

#[test]
fn insert_tagged_adds_to_the_tags_kept() {
    let tree = Tree::new();
    let p = tree.pin();
    assert_eq!(p.insert_tagged(9, Box::new(1), T0.into()), None);
    assert_eq!(p.insert_tagged(9, Box::new(2), T3.into()), Some(&1));
    assert_eq!(p.insert_tagged(9, Box::new(3), NONE), Some(&2));
    assert_eq!(p.get_with_tags(9), Some((&3, TagSet::of(&[T0, T3]))));
    assert_at_rest(&tree);
}

#[test]
fn remove_returns_the_value_and_drops_its_tags() {
    let tree = Tree::new();
    let p = tree.pin();
    p.insert_tagged(9, Box::new(1), TagSet::ALL);
    assert_eq!(p.remove(9), Some(&1));
    assert_eq!(p.remove(9), None);
    assert_eq!(p.tags(9), None);
    assert!(!tree.any_tagged(T0));
    p.insert(9, Box::new(2));
    assert_eq!(p.get_with_tags(9), Some((&2, NONE)), "an entry starts without tags");
    assert_at_rest(&tree);
}

#[test]
fn what_was_removed_can_be_read_while_the_handle_lives() {
    let tree = tree_of([1, 2]);
    let p = tree.pin();
    let (kept, replaced) = (p.get(1).unwrap(), p.get(2).unwrap());
    let removed = p.remove(1).unwrap();
    p.insert(2, Box::new(20));
    p.remove(2);
    assert_eq!((*kept, *replaced, *removed), (1, 2, 1));
}

#[test]
fn try_insert_gives_the_value_back_where_one_is() {
    crate::common::watch();
    let tree = Tree::new();
    let p = tree.pin();
    let new = p.try_insert(3, Box::new(1)).ok();
    assert_eq!(new, Some(&1), "the value now stored");
    let Err(error) = p.try_insert(3, Box::new(2)) else { panic!("3 is occupied") };
    assert_eq!((*error.value, *error.current), (2, 1));
    assert_eq!(p.get(3), Some(&1));
}

#[test]
fn try_insert_tagged_tags_only_what_it_inserts() {
    let tree = Tree::new();
    let p = tree.pin();
    assert!(p.try_insert_tagged(3, Box::new(1), T0.into()).is_ok());
    let Err(error) = p.try_insert_tagged(3, Box::new(2), T1.into()) else {
        panic!("3 is occupied")
    };
    assert_eq!((*error.value, *error.current), (2, 1));
    assert_eq!(p.get_with_tags(3), Some((&1, T0.into())));
    assert!(!tree.any_tagged(T1));
    assert_at_rest(&tree);
}

#[test]
fn get_or_insert_with_makes_a_value_only_where_none_is() {
    crate::common::watch();
    let tree = Tree::new();
    let p = tree.pin();
    assert_eq!(p.get_or_insert_with(3, || Box::new(1)), &1);
    assert_eq!(p.get_or_insert_with(3, || unreachable!("3 is occupied")), &1);
    assert_eq!(tree.len(), 1);
}

#[test]
fn replace_if_asks_with_value_and_tags_and_keeps_the_tags() {
    crate::common::watch();
    let tree = Tree::new();
    let p = tree.pin();
    p.insert_tagged(3, Box::new(1), T0.into());
    let asked = Cell::new(None);
    let old = p.replace_if(3, Box::new(2), |value, tags| {
        asked.set(Some((*value, tags)));
        true
    });
    assert_eq!(old.ok(), Some(&1));
    assert_eq!(asked.get(), Some((1, T0.into())));
    assert_eq!(p.get_with_tags(3), Some((&2, T0.into())));
}

#[test]
fn replace_if_gives_the_value_back_when_refused_or_absent() {
    let tree = tree_of([3]);
    let p = tree.pin();
    let Err(refused) = p.replace_if(3, Box::new(30), |_, _| false) else { panic!("refused") };
    assert_eq!((*refused.value, refused.current), (30, Some(&3)));
    let Err(absent) = p.replace_if(4, Box::new(40), |_, _| true) else { panic!("absent") };
    assert_eq!((*absent.value, absent.current), (40, None));
    assert_eq!(tree.len(), 1);
    assert_eq!(p.get(3), Some(&3));
}

#[test]
fn compare_exchange_goes_by_identity_not_by_equality() {
    crate::common::watch();
    let tree = Tree::new();
    let p = tree.pin();
    p.insert_tagged(3, Box::new(7), T0.into());
    p.insert(4, Box::new(7));
    let other = p.get(4).unwrap();
    let Err(error) = p.compare_exchange(3, other, Box::new(8)) else {
        panic!("equal, but another")
    };
    assert_eq!((*error.value, error.current), (8, Some(&7)));
    let current = p.get(3).unwrap();
    assert_eq!(p.compare_exchange(3, current, Box::new(8)).ok(), Some(&7));
    assert_eq!(p.get_with_tags(3), Some((&8, T0.into())), "tags are kept");
    let Err(stale) = p.compare_exchange(3, current, Box::new(9)) else { panic!("replaced before") };
    assert_eq!((*stale.value, stale.current), (9, Some(&8)));
    let Err(absent) = p.compare_exchange(5, current, Box::new(9)) else { panic!("absent") };
    assert_eq!((*absent.value, absent.current), (9, None));
}

#[test]
fn remove_if_removes_only_what_the_predicate_accepts() {
    let tree = Tree::new();
    let p = tree.pin();
    p.insert_tagged(3, Box::new(1), T0.into());
    let refused = p.remove_if(3, |value, tags| *value == 1 && tags.is_empty()).unwrap_err();
    assert_eq!(refused.current, Some(&1), "what was refused");
    assert_eq!(p.get(3), Some(&1));
    assert_eq!(p.remove_if(3, |value, tags| *value == 1 && tags.contains(T0)).ok(), Some(&1));
    assert_eq!(p.remove_if(3, |_, _| true).unwrap_err().current, None, "nothing to refuse");
    assert_eq!(p.get(3), None);
    assert_at_rest(&tree);
}

#[test]
fn errors_say_what_was_wrong() {
    let tree = tree_of([3]);
    let p = tree.pin();
    let Err(occupied) = p.try_insert(3, Box::new(1)) else { panic!("3 is occupied") };
    let Err(refused) = p.replace_if(3, Box::new(1), |_, _| false) else { panic!("refused") };
    let Err(absent) = p.replace_if(4, Box::new(1), |_, _| true) else { panic!("absent") };
    let Err(kept) = p.remove_if(3, |_, _| false) else { panic!("refused") };
    let Err(gone) = p.remove_if(4, |_, _| true) else { panic!("absent") };
    let errors: [&dyn Error; 5] = [&occupied, &refused, &absent, &kept, &gone];
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert!(texts.iter().all(|text| !text.is_empty()));
    assert_ne!(texts[1], texts[2], "refused is not absent");
    assert!(errors.iter().all(|error| format!("{error:?}").contains("Error")));
}
