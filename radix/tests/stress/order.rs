//! The order in which the steps of one call can be seen. One thread makes a call, another polls
//! for its first sign; what must have come before or with that sign is then asserted at once.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::common::{Clock, Race, T0, T1, Tree, assert_at_rest, stress_time};
use tagged_radix::{Pinned, TagFilter, TagSet};

type Handle<'t> = Pinned<'t, Box<u64>>;

/// A call at an index, its first sign, and what then holds.
struct Steps {
    prepare: fn(&Handle<'_>, u64),
    call: fn(&Handle<'_>, u64),
    sign: fn(&Handle<'_>, u64) -> bool,
    then: fn(&Handle<'_>, u64),
}

/// Indices under several levels of nodes; the entries next to them, in other leaves, keep those
/// nodes there. None of the neighbours is ever tagged.
const INDICES: [u64; 4] = [1 << 30, (1 << 30) + 64, 1 << 12, u64::MAX];
const NEIGHBOURS: [u64; 8] =
    [0, 64, 1 << 13, (1 << 30) + 128, (1 << 30) + (1 << 13), 1 << 40, 1 << 62, u64::MAX - 64];

/// Turns that are played at least, however short the time and busy the machine.
const TURNS_MIN: u64 = 20;

/// Polls until `done`, letting others run now and then; false if the race ended first.
fn poll(clock: &Clock, turns: &AtomicU64, done: impl Fn() -> bool) -> bool {
    let mut spins = 0_u32;
    while !done() {
        spins += 1;
        if spins.is_multiple_of(128) {
            std::thread::yield_now();
            if clock.failed() || (!clock.running() && turns.load(SeqCst) >= TURNS_MIN) {
                return false;
            }
        }
    }
    true
}

/// Plays the steps again and again. The entry is taken away after each time.
fn play(steps: &Steps) {
    let tree = Tree::new();
    let p = tree.pin();
    NEIGHBOURS.into_iter().for_each(|index| insert_plain(&p, index));
    drop(p);
    let (prepared, checked) = (AtomicU64::new(0), AtomicU64::new(0));
    let caller = |clock: &Clock| {
        for turn in 1.. {
            if turn > TURNS_MIN && !clock.running() {
                return;
            }
            let index = INDICES[usize::try_from(turn % 4).unwrap()];
            let p = tree.pin();
            (steps.prepare)(&p, index);
            prepared.store(turn, SeqCst);
            (0..turn % 50).for_each(|_| std::hint::spin_loop());
            (steps.call)(&p, index);
            if !poll(clock, &checked, || checked.load(SeqCst) == turn) {
                return;
            }
            p.remove(index);
        }
    };
    let watcher = |clock: &Clock| {
        for turn in 1.. {
            let index = INDICES[usize::try_from(turn % 4).unwrap()];
            if !poll(clock, &checked, || prepared.load(SeqCst) == turn) {
                return;
            }
            let p = tree.pin();
            if !poll(clock, &checked, || (steps.sign)(&p, index)) {
                return;
            }
            (steps.then)(&p, index);
            checked.store(turn, SeqCst);
        }
    };
    Race::new(stress_time() / 4).thread(caller).thread(watcher).run();
    assert!(checked.load(SeqCst) >= TURNS_MIN);
    assert_at_rest(&tree);
}

fn insert_plain(p: &Handle<'_>, index: u64) {
    assert_eq!(p.insert(index, Box::new(index)), None);
}

fn insert_with(p: &Handle<'_>, index: u64) {
    assert_eq!(p.insert_tagged(index, Box::new(index), T0.into()), None);
}

/// Keeps the leaf of the index there by another entry in it.
fn keep_leaf(p: &Handle<'_>, index: u64) {
    p.insert(index ^ 1, Box::new(0));
}

fn remove(p: &Handle<'_>, index: u64) {
    assert_eq!(p.remove(index), Some(&index));
}

/// All that can find a tagged entry finds it.
fn assert_tagged(p: &Handle<'_>, index: u64) {
    assert!(p.range_tagged(.., T0).any(|(found, ..)| found == index), "a scan misses {index}");
    assert!(p.tree().any_tagged(T0), "the root flag misses {index}");
    assert_eq!(p.count_tagged(.., T0), 1);
    assert!(p.has_tag(index, T0));
}

fn assert_gone(p: &Handle<'_>, index: u64) {
    assert_eq!(p.get(index), None, "the value is there still");
    assert_eq!((p.tags(index), p.has_tag(index, T0)), (None, false));
    assert_eq!(p.range(index..=index).count(), 0);
}

#[test]
fn a_tag_that_is_seen_is_found_by_every_scan() {
    // A tag is visible in its leaf only when it is in all summaries above.
    play(&Steps {
        prepare: insert_plain,
        call: |p, index| assert!(p.set_tag(index, T0).is_some()),
        sign: |p, index| p.has_tag(index, T0),
        then: assert_tagged,
    });
    // Who finds the tag set already may rely on it as well.
    play(&Steps {
        prepare: insert_plain,
        call: |p, index| assert!(p.set_tag(index, T0).is_some()),
        sign: |p, index| p.set_tag(index, T0) == Some(false),
        then: assert_tagged,
    });
    play(&Steps {
        prepare: |p, index| assert_eq!(p.insert_tagged(index, Box::new(index), T1.into()), None),
        call: |p, index| assert!(p.tag_range_if_tagged(index..=index, T1, T0, 1).count <= 1),
        sign: |p, index| p.has_tag(index, T0),
        then: assert_tagged,
    });
}

#[test]
fn an_entry_stored_with_a_tag_is_found_by_every_scan() {
    play(&Steps {
        prepare: |_, _| {},
        call: insert_with,
        sign: |p, index| p.get(index).is_some(),
        then: |p, index| assert!(p.range(index..=index).count() == 1),
    });
    play(&Steps {
        prepare: |_, _| {},
        call: insert_with,
        sign: |p, index| p.has_tag(index, T0),
        then: assert_tagged,
    });
    // Into a leaf that is there.
    play(&Steps {
        prepare: keep_leaf,
        call: insert_with,
        sign: |p, index| p.tags(index).is_some(),
        then: assert_tagged,
    });
}

#[test]
fn an_entry_that_is_seen_is_found_by_every_scan() {
    let then = |p: &Handle<'_>, index: u64| {
        assert!(p.range(index..=index).count() == 1, "a scan misses {index}");
        assert_eq!(p.next(index), Some((index, &index)));
        assert_eq!(p.prev(index), Some((index, &index)));
        assert_ne!(p.next_absent(index), Some(index));
    };
    let sign = |p: &Handle<'_>, index: u64| p.contains(index);
    play(&Steps { prepare: |_, _| {}, call: insert_plain, sign, then });
    // Into a leaf that is there.
    play(&Steps { prepare: keep_leaf, call: insert_plain, sign, then });
}

#[test]
fn an_entry_whose_tag_is_gone_with_it_is_gone() {
    // A removal takes effect before its tag leaves any summary.
    for sign in [
        (|p, _| !p.tree().any_tagged(T0)) as fn(&Handle<'_>, u64) -> bool,
        |p, _| p.range_tagged(.., T0).next().is_none(),
        |p, _| p.count_tagged(.., T0) == 0,
        |p, index| !p.has_tag(index, T0),
        |p, index| p.range(index..=index).next().is_none(),
        |p, index| p.get(index).is_none(),
    ] {
        play(&Steps { prepare: insert_with, call: remove, sign, then: assert_gone });
    }
}

#[test]
fn a_tag_handed_over_is_never_gone() {
    let call = |p: &Handle<'_>, index: u64| {
        let update = p.update_tags(index, T1, T0).expect("it is there");
        assert_eq!(update.after, T1.into());
    };
    let then = |p: &Handle<'_>, index: u64| {
        assert!(p.tree().any_tagged(T1), "neither flag is set");
        assert!(p.range_tagged(.., T1).any(|(found, ..)| found == index), "neither scan finds it");
        assert_eq!(p.tags(index), Some(T1.into()));
    };
    for sign in [
        (|p, _| !p.tree().any_tagged(T0)) as fn(&Handle<'_>, u64) -> bool,
        |p, _| p.range_tagged(.., T0).next().is_none(),
        |p, index| !p.has_tag(index, T0),
        |p, index| p.has_tag(index, T1),
        |p, _| p.range_tagged(.., TagFilter::none_of(T0).and_all_of(T1)).next().is_some(),
    ] {
        play(&Steps { prepare: insert_with, call, sign, then });
    }
}

#[test]
fn a_new_value_comes_with_its_tags() {
    let call = |p: &Handle<'_>, index: u64| {
        p.update(index, |slot| {
            slot.replace(Box::new(7));
            slot.clear(T0);
            slot.set(T1);
        });
    };
    let sign = |p: &Handle<'_>, index: u64| p.get(index) == Some(&7);
    let then = |p: &Handle<'_>, index: u64| {
        assert_eq!(p.get_with_tags(index), Some((&7, TagSet::from(T1))));
        assert_eq!(p.set_tag(index, T0), Some(true), "the old tag went with the old value");
        assert_eq!(p.clear_tag(index, T0), Some(true));
    };
    play(&Steps { prepare: insert_with, call, sign, then });
}
