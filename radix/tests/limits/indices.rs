//! Every function at every limit, with one entry and with all.

use std::ops::Bound::{Excluded, Unbounded};

use crate::common::{
    NONE, T0, T1, T2, Tree, add, assert_at_rest, assert_untagged, indices, tagged, tree_of,
};
use crate::limits;
use tagged_radix::{ArrayVec, TagFilter, TagSet};

/// The neighbours of an index that are indices.
fn around(index: u64) -> impl Iterator<Item = u64> {
    index.checked_sub(1).into_iter().chain(index.checked_add(1))
}

#[test]
fn a_lone_entry_can_be_stored_found_and_removed() {
    for index in limits() {
        let tree = Tree::new();
        let p = tree.pin();
        assert_eq!((p.get(index), p.remove(index), p.tags(index)), (None, None, None));
        add(&p, index);
        assert_at_rest(&tree);
        assert_eq!(tree.stats().height, 1, "one leaf holds {index:#x}");
        for other in around(index).chain(limits().into_iter().filter(|other| *other != index)) {
            assert!(!p.contains(other), "{other:#x} beside {index:#x}");
            assert_eq!((p.set_tag(other, T0), p.remove(other)), (None, None));
        }
        assert_eq!(p.insert(index, Box::new(index)), Some(&index));
        assert!(p.try_insert(index, Box::new(0)).is_err());
        assert_eq!(p.get_or_insert_with(index, || unreachable!("occupied")), &index);
        assert_eq!(p.replace_if(index, Box::new(index), |_, _| true).ok(), Some(&index));
        let current = p.get(index).unwrap();
        assert_eq!(p.compare_exchange(index, current, Box::new(index)).ok(), Some(&index));
        assert_eq!(p.update(index, |slot| *slot.value()), Some(index));
        assert_eq!(p.remove_if(index, |_, _| false).unwrap_err().current, Some(&index));
        assert_eq!(p.remove_if(index, |_, _| true).ok(), Some(&index));
        assert_at_rest(&tree);
        add(&p, index);
        assert_eq!(p.remove(index), Some(&index));
        assert_at_rest(&tree);
    }
}

#[test]
fn a_lone_entry_can_be_tagged() {
    for index in limits() {
        let tree = tree_of([index]);
        let p = tree.pin();
        assert_eq!((p.set_tag(index, T0), p.set_tag(index, T0)), (Some(true), Some(false)));
        assert_eq!((p.has_tag(index, T0), p.has_tag(index, T1)), (true, false));
        assert!(around(index).all(|other| !p.has_tag(other, T0)));
        assert_eq!(tagged(&p, T0), [index]);
        assert_eq!(p.count_tagged(index..=index, T0), 1);
        let done = p.tag_range_if_tagged(index..=index, T0, T1, 1);
        assert_eq!((done.count, done.next.is_none_or(|next| next > index)), (1, true));
        assert_eq!(p.tag_range(index..=index, T2, T0), 1);
        assert_eq!(p.get_with_tags(index), Some((&index, TagSet::of(&[T1, T2]))));
        assert_at_rest(&tree);
        assert_eq!(p.update_tags(index, NONE, TagSet::ALL).map(|update| update.after), Some(NONE));
        [T0, T1, T2].into_iter().for_each(|tag| assert_untagged(&tree, tag));
        assert_eq!(p.remove_range(index..=index), 1);
        assert_at_rest(&tree);
    }
}

#[test]
fn a_lone_entry_is_the_neighbour_of_all() {
    for index in limits() {
        let tree = tree_of([index]);
        let p = tree.pin();
        let it = Some((index, &index));
        assert_eq!((p.first(), p.last(), p.next(index), p.prev(index)), (it, it, it, it));
        assert_eq!((p.next(0), p.prev(u64::MAX)), (it, it));
        assert_eq!(index.checked_add(1).and_then(|above| p.next(above)), None);
        assert_eq!(index.checked_sub(1).and_then(|below| p.prev(below)), None);
        assert_eq!(p.next_absent(index), index.checked_add(1));
        assert_eq!(p.prev_absent(index), index.checked_sub(1));
        for other in around(index) {
            assert_eq!((p.next_absent(other), p.prev_absent(other)), (Some(other), Some(other)));
        }
        assert_eq!(p.range((Excluded(index), Unbounded)).next(), None);
        assert_eq!(p.range((Unbounded, Excluded(index))).next_back(), None);
        let mut batch = ArrayVec::<_, 2>::new();
        assert_eq!(p.gang_lookup(index, &mut batch), None);
        assert_eq!(batch[..], [(index, &index)]);
    }
}

#[test]
fn all_limits_live_together() {
    let all = limits();
    let tree = tree_of(all.iter().rev().copied());
    let p = tree.pin();
    assert_at_rest(&tree);
    assert_eq!(indices(&p), all);
    assert!(p.iter().rev().map(|(index, _)| index).eq(all.iter().rev().copied()));
    for pair in all.windows(2) {
        assert_eq!(p.next(pair[0] + 1).map(|(index, _)| index), Some(pair[1]));
        assert_eq!(p.prev(pair[1] - 1).map(|(index, _)| index), Some(pair[0]));
        assert!(p.range(pair[0]..=pair[1]).map(|(index, _)| index).eq(pair.iter().copied()));
    }
    for (n, index) in (0_u8..).zip(&all) {
        p.set_tag(*index, if n % 2 == 0 { T0 } else { T1 });
    }
    let even: Vec<_> = all.iter().copied().step_by(2).collect();
    assert_eq!(tagged(&p, T0), even);
    assert_eq!(p.range_tagged(.., TagFilter::none_of(T0)).count(), all.len() - even.len());
    assert_at_rest(&tree);
    for index in even {
        assert_eq!(p.remove(index), Some(&index));
        assert_at_rest(&tree);
    }
}

#[test]
fn ranges_between_limits_are_exact() {
    let all = limits();
    let tree = tree_of(all.iter().copied());
    let p = tree.pin();
    for (from, low) in all.iter().enumerate() {
        for (to, high) in all.iter().enumerate().skip(from) {
            let inside = (to - from + 1) as u64;
            assert_eq!(p.count_tagged(low..=high, TagFilter::ANY), inside, "{low:#x} to {high:#x}");
            let open = (Excluded(*low), Excluded(*high));
            assert_eq!(p.count_tagged(open, TagFilter::ANY), inside.saturating_sub(2));
            let mut range = p.range(low..=high);
            assert_eq!(range.next_back().map(|(index, _)| index), Some(*high));
            let first = if from == to { None } else { Some(*low) };
            assert_eq!(range.next().map(|(index, _)| index), first);
        }
    }
}
