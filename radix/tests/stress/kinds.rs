//! The operations that are set against each other, each on random indices that are fought over.

use rand::{Rng, rngs::SmallRng};

use crate::common::{NONE, T0, T1, T2, T3, Tracked};
use crate::field::{FOUGHT, Field};
use tagged_radix::{ArrayVec, Pinned, TagFilter, TagSet};

use std::sync::Arc;

pub(crate) type Handle<'t> = Pinned<'t, Arc<Tracked>>;
/// One call; all it asserts is what holds whatever the others do.
pub(crate) type Kind = fn(&Field, &mut Handle<'_>, &mut SmallRng);

/// Operations that change entries.
pub(crate) const WRITES: &[(&str, Kind)] = &[
    ("insert", insert),
    ("insert_tagged", insert_tagged),
    ("try_insert", try_insert),
    ("get_or_insert_with", get_or_insert_with),
    ("replace_if", replace_if),
    ("compare_exchange", compare_exchange),
    ("remove", remove),
    ("remove_if", remove_if),
    ("update, hand-over", update_hand_over),
    ("update, remove", update_remove),
    ("set_tag", set_tag),
    ("clear_tag", clear_tag),
    ("update_tags", update_tags),
    ("tag_range", tag_range),
    ("tag_range_if_tagged", tag_range_if_tagged),
    ("remove_range", remove_range),
    ("retain", retain),
    ("insert and remove", insert_and_remove),
];

/// Operations that only read.
pub(crate) const READS: &[(&str, Kind)] = &[
    ("get", get),
    ("get_with_tags", get_with_tags),
    ("has_tag", has_tag),
    ("next, prev", neighbours),
    ("next_absent, prev_absent", absent),
    ("gang_lookup", gang_lookup),
    ("gang_lookup_range", gang_lookup_range),
    ("tag_indices", tag_indices),
    ("cursor", cursor),
    ("scan", |field, p, _| field.scan_plain(p, false)),
    ("scan back", |field, p, _| field.scan_plain(p, true)),
    ("tagged scan", |field, p, _| field.scan_tagged(p, false)),
    ("tagged scan back", |field, p, _| field.scan_tagged(p, true)),
    ("folded scans", |field, p, _| field.scan_folded(p)),
    ("resumed scan", |field, p, _| field.scan_resumed(p, T0.into())),
    ("owned scan", |field, _, _| field.scan_owned(TagFilter::ANY)),
    ("count_tagged", count_tagged),
];

fn insert(field: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let index = Field::any(random);
    if let Some(old) = p.insert(index, field.value(index)) {
        old.stamp_at(index);
    }
}

fn insert_tagged(field: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let index = Field::any(random);
    p.insert_tagged(index, field.value(index), some_tags(random));
}

fn try_insert(field: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let index = Field::any(random);
    match p.try_insert_tagged(index, field.value(index), some_tags(random)) {
        Ok(new) => new.stamp_at(index),
        Err(error) => error.value.stamp_at(index) + error.current.stamp_at(index),
    };
}

fn get_or_insert_with(field: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let index = Field::any(random);
    p.get_or_insert_with(index, || field.value(index)).stamp_at(index);
}

fn replace_if(field: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let index = Field::any(random);
    let result = p.replace_if(index, field.value(index), |value, tags| {
        value.stamp_at(index);
        !tags.contains(T1)
    });
    match result {
        Ok(old) => old.stamp_at(index),
        Err(error) => error.value.stamp_at(index),
    };
}

fn compare_exchange(field: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let index = Field::any(random);
    let Some(current) = p.get(index) else { return };
    match p.compare_exchange(index, current, field.value(index)) {
        Ok(old) => assert!(std::ptr::eq(&raw const *old, &raw const *current)),
        Err(error) => {
            let found = error.current.map(|value| &raw const *value);
            assert_ne!(found, Some(&raw const *current), "refused though it is the same");
        }
    }
}

fn remove(_: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let index = Field::any(random);
    if let Some(old) = p.remove(index) {
        old.stamp_at(index);
    }
}

fn remove_if(_: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let index = Field::any(random);
    let mut accepted = None;
    let old = p.remove_if(index, |value, tags| {
        accepted = tags.contains(T0).then_some(&raw const *value);
        tags.contains(T0)
    });
    match old {
        Ok(old) => {
            assert_eq!(Some(&raw const *old), accepted, "what was last accepted is removed");
        }
        Err(error) => {
            if let Some(value) = error.current {
                value.stamp_at(index);
                assert_eq!(accepted, None, "accepted, and reported as refused");
            }
        }
    }
}

/// Moves an entry from the first tag to the second or back, with a new value.
fn update_hand_over(field: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let index = Field::any(random);
    let value = field.value(index);
    p.update(index, |slot| {
        slot.value().stamp_at(index);
        let (set, clear) = if slot.tags().contains(T0) { (T1, T0) } else { (T0, T1) };
        slot.set(set);
        slot.clear(clear);
        slot.replace(value);
    });
}

fn update_remove(_: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let index = Field::any(random);
    let removed = p.update(index, |slot| {
        slot.remove();
        slot.value().stamp_at(index)
    });
    assert!(removed.is_none_or(|stamp| stamp == 0));
}

fn set_tag(_: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let tag = if random.random() { T0 } else { T1 };
    p.set_tag(Field::any(random), tag);
}

fn clear_tag(_: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let tag = if random.random() { T0 } else { T1 };
    p.clear_tag(Field::any(random), tag);
}

fn update_tags(_: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let (set, clear) = (some_tags(random), some_tags(random));
    if let Some(update) = p.update_tags(Field::any(random), set, clear) {
        assert_eq!(update.after, (update.before - clear) | set);
    }
}

fn tag_range(field: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let (from, to) = field.gap(random);
    let changed = p.tag_range(from..=to, some_tags(random), some_tags(random));
    assert!(changed <= FOUGHT.len() as u64);
}

fn tag_range_if_tagged(field: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let (from, to) = field.gap(random);
    let limit = random.random_range(0..4);
    let done = p.tag_range_if_tagged(from..=to, T0, T1, limit);
    assert!(done.count <= limit && (done.count == limit || done.next.is_none()));
    assert!(done.next.is_none_or(|next| (from..=to).contains(&next)));
}

fn remove_range(field: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let (from, to) = field.gap(random);
    assert!(p.remove_range(from..=to) <= FOUGHT.len() as u64);
}

fn retain(field: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let keep = random.random_range(0..3);
    let mut last = None;
    p.retain(|index, value, tags| {
        value.stamp_at(index);
        assert!(last.is_none_or(|last| index >= last), "{index} after {last:?}");
        assert!(!field.is_sentinel(index) || tags == T0.into());
        last = Some(index);
        field.is_sentinel(index) || index % 3 == keep
    });
}

/// Fills two leaves and takes all away again, so that leaves and their parents come and go.
fn insert_and_remove(field: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let first = random.random_range(0..FOUGHT.len() - 3);
    let some = &FOUGHT[first..first + 4];
    for index in some {
        p.insert_tagged(*index, field.value(*index), T0.into());
    }
    for index in some {
        p.remove(*index);
    }
}

fn some_tags(random: &mut SmallRng) -> TagSet {
    [NONE, T0.into(), T1.into(), TagSet::of(&[T0, T2]), TagSet::of(&[T1, T3])]
        [random.random_range(0..5)]
}

fn get(_: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let index = Field::any(random);
    if let Some(value) = p.get(index) {
        value.stamp_at(index);
    }
}

fn get_with_tags(field: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let index = Field::any(random);
    if let Some((value, _)) = p.get_with_tags(index) {
        value.stamp_at(index);
    }
    if let Some(value) = field.tree.get_owned(index) {
        value.stamp_at(index);
    }
}

fn has_tag(_: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let index = Field::any(random);
    p.has_tag(index, T0);
    p.tags(index);
}

fn neighbours(field: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let index = Field::any(random);
    if let Some((found, value)) = p.next(index) {
        assert!(found >= index && (FOUGHT.contains(&found) || field.is_sentinel(found)));
        value.stamp_at(found);
    }
    if let Some((found, value)) = p.prev(index) {
        assert!(found <= index && (FOUGHT.contains(&found) || field.is_sentinel(found)));
        value.stamp_at(found);
    }
    assert!(p.first().is_some() && p.last().is_some(), "sentinels are there");
}

fn absent(field: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let index = Field::any(random);
    // At most a few neighbours are ever present, so an absent one is near.
    let next = p.next_absent(index);
    assert!(
        next.is_none_or(|found| found >= index && found - index <= 8 && !field.is_sentinel(found)),
        "{next:?}"
    );
    let prev = p.prev_absent(index);
    assert!(
        prev.is_none_or(|found| found <= index && index - found <= 8 && !field.is_sentinel(found)),
        "{prev:?}"
    );
}

fn gang_lookup(_: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let start = Field::any(random);
    let mut batch = ArrayVec::<_, 4>::new();
    let next = p.gang_lookup_tagged(start, TagFilter::none_of(T1), &mut batch);
    assert!(batch.is_sorted_by(|a, b| a.0 < b.0));
    for (index, value) in batch {
        assert!(index >= start && next.is_none_or(|next| index < next));
        value.stamp_at(index);
    }
}

fn gang_lookup_range(_: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let (low, high) = (Field::any(random), Field::any(random));
    let mut batch = Vec::new();
    let next = p.gang_lookup_range(low..=high, TagFilter::none_of(T1), 5, &mut batch);
    assert!(batch.is_sorted_by(|a, b| a.0 < b.0));
    assert!(next.is_none_or(|next| batch.len() == 5 && next <= high));
    for (index, value) in batch {
        assert!((low..=high).contains(&index) && next.is_none_or(|next| index < next));
        value.stamp_at(index);
    }
}

/// Tags are set and taken away again of the same list.
fn tag_indices(_: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let mut indices: [u64; 6] = std::array::from_fn(|_| Field::any(random));
    indices.sort_unstable();
    assert!(p.tag_indices(&indices, T1, tagged_radix::TagSet::EMPTY) <= 6);
    assert!(p.tag_indices(&indices, tagged_radix::TagSet::EMPTY, T1) <= 6);
}

/// Whatever comes and goes, a cursor moves up, and none of the sentinels is missed.
fn cursor(field: &Field, p: &mut Handle<'_>, random: &mut SmallRng) {
    let mut cursor = p.tree().cursor();
    let mut last = None;
    for _ in 0..random.random_range(1..8) {
        let Some((index, value)) = cursor.next() else { break };
        assert!(last.is_none_or(|last| index > last), "it goes up");
        value.stamp_at(index);
        if !field.is_sentinel(index) && random.random() {
            cursor.remove().inspect(|old| {
                old.stamp_at(index);
            });
        }
        last = Some(index);
        cursor.repin();
    }
}

fn count_tagged(_: &Field, p: &mut Handle<'_>, _: &mut SmallRng) {
    let count = p.count_tagged(.., T0);
    assert!((6..=6 + FOUGHT.len() as u64).contains(&count), "{count}");
    assert!((6..=6 + FOUGHT.len() as u64).contains(&p.tree().len()));
}
