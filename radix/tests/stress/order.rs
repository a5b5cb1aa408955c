//! The order in which the steps of one call can be seen. One thread makes a call and undoes it,
//! over and over; another waits for a first sign of the call and at once asks for what must have
//! come before that sign or with it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use crate::common::{Clock, Race, T0, T1, Tree, assert_at_rest, stress_time};
use tagged_radix::{Pinned, Tag, TagFilter};

type Handle<'t> = Pinned<'t, Box<u64>>;
type Act = fn(&Handle<'_>, u64);
type Ask = (&'static str, fn(&Handle<'_>, u64) -> bool);

/// A call at an index that is prepared and undone each time.
#[derive(Clone, Copy)]
struct Steps {
    prepare: Act,
    call: Act,
    undo: Act,
}

/// Indices under several levels of nodes; the entries next to them, in other leaves, keep those
/// nodes there. None of the neighbours is ever tagged.
const INDICES: [u64; 4] = [1 << 30, (1 << 30) + 64, 1 << 12, u64::MAX];
const NEIGHBOURS: [u64; 8] =
    [0, 64, 1 << 13, (1 << 30) + 128, (1 << 30) + (1 << 13), 1 << 40, 1 << 62, u64::MAX - 64];

/// Plays the steps again and again, until time is up. Whenever `sign` is seen, `then` must hold, unless the call
/// was being undone by then. Returns how often it was: at least once, if the call has the sign when it is over.
fn play(steps: Steps, sign: Ask, then: Ask) -> u64 {
    let tree = Tree::new();
    let p = tree.pin();
    NEIGHBOURS.into_iter().for_each(|index| insert_plain(&p, index));
    drop(p);
    // Odd from before a call until its undoing begins; the number of the turn, doubled.
    let turns = AtomicU64::new(0);
    let index_of = |turn: u64| INDICES[usize::try_from(turn / 2 % 4).unwrap()];
    let (signs, looks, is_over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let turn = |clock: &Clock, turn: u64| {
        let (p, index) = (tree.pin(), index_of(2 * turn));
        (steps.prepare)(&p, index);
        turns.store(2 * turn + 1, SeqCst);
        (steps.call)(&p, index);
        (0..turn % 64).for_each(|_| std::hint::spin_loop());
        if turn.is_multiple_of(256) {
            // The second look began after the call, however busy the machine is.
            let two = looks.load(SeqCst) + 2;
            while looks.load(SeqCst) < two && !clock.failed() {
                std::thread::yield_now();
            }
        }
        turns.store(2 * turn + 2, SeqCst);
        (steps.undo)(&p, index);
    };
    let caller = |clock: &Clock| {
        turn(clock, 0);
        (1..).take_while(|_| clock.running()).for_each(|number| turn(clock, number));
        is_over.store(true, SeqCst);
    };
    let look = |p: &Handle<'_>| {
        let turn = turns.load(SeqCst);
        let index = index_of(turn);
        if turn.is_multiple_of(2) || !(sign.1)(p, index) {
            return;
        }
        let holds = (then.1)(p, index);
        if turns.load(SeqCst) == turn {
            signs.fetch_add(1, SeqCst);
            assert!(holds, "at {index:#x}: \"{}\", but not \"{}\"", sign.0, then.0);
        }
    };
    let watcher = |clock: &Clock| {
        while !is_over.load(SeqCst) && !clock.failed() {
            let p = tree.pin();
            for _ in 0..64 {
                look(&p);
                looks.fetch_add(1, SeqCst);
            }
        }
    };
    Race::new(stress_time() / 12).thread(caller).thread(watcher).run();
    assert_at_rest(&tree);
    signs.into_inner()
}

fn play_all(steps: Steps, signs: &[Ask], thens: &[Ask]) {
    for (sign, then) in signs.iter().flat_map(|sign| thens.iter().map(move |then| (sign, then))) {
        assert!(play(steps, *sign, *then) > 0, "\"{}\" was never seen", sign.0);
    }
}

fn nothing(_: &Handle<'_>, _: u64) {}

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
    assert!(p.remove(index).is_some());
}

const PRESENT: &[Ask] = &[
    ("get", |p, index| p.get(index).is_some()),
    ("scan", |p, index| p.range(index..=index).next().is_some()),
    ("scan back", |p, index| p.range(index..=index).next_back().is_some()),
    ("next", |p, index| p.next(index).is_some_and(|(found, _)| found == index)),
    ("not absent", |p, index| p.next_absent(index) != Some(index)),
    ("count of all", |p, index| p.count_tagged(index..=index, TagFilter::ANY) == 1),
];

const ABSENT: &[Ask] = &[
    ("no get", |p, index| p.get(index).is_none()),
    ("no scan", |p, index| p.range(index..=index).next().is_none()),
    ("no tag", |p, index| !p.has_tag(index, T0)),
    ("no tagged scan", |p, _| p.range_tagged(.., T0).next().is_none()),
    ("no tags", |p, index| p.tags(index).is_none()),
    ("no count of all", |p, index| p.count_tagged(index..=index, TagFilter::ANY) == 0),
];

const TAGGED: &[Ask] = &[
    ("tagged scan", |p, index| p.range_tagged(.., T0).any(|(found, ..)| found == index)),
    ("root flag", |p, _| p.tree().any_tagged(T0)),
    ("tag", |p, index| p.has_tag(index, T0)),
    ("count", |p, _| p.count_tagged(.., T0) == 1),
];

#[test]
fn a_tag_that_is_seen_is_found_by_every_scan() {
    // A tag is visible in its leaf only when it is in all summaries above; who finds it set
    // already may rely on that as well.
    let set = |p: &Handle<'_>, index: u64| assert!(p.set_tag(index, T0).is_some());
    let signs: &[Ask] = &[
        ("has_tag", |p, index| p.has_tag(index, T0)),
        ("set before", |p, index| p.set_tag(index, T0) == Some(false)),
    ];
    play_all(Steps { prepare: insert_plain, call: set, undo: remove }, signs, TAGGED);
    let copy = |p: &Handle<'_>, index: u64| {
        p.tag_range_if_tagged(index..=index, T1, T0, 1);
    };
    let prepare = |p: &Handle<'_>, index: u64| {
        p.insert_tagged(index, Box::new(index), T1.into());
    };
    play_all(Steps { prepare, call: copy, undo: remove }, &signs[..1], TAGGED);
}

#[test]
fn an_entry_stored_with_a_tag_is_found_by_every_scan() {
    for prepare in [nothing, keep_leaf] {
        let steps = Steps { prepare, call: insert_with, undo: remove };
        play_all(steps, &PRESENT[..2], TAGGED);
        play_all(steps, &TAGGED[2..3], TAGGED);
        play_all(steps, &TAGGED[..1], &PRESENT[..2]);
    }
}

#[test]
fn an_entry_that_is_seen_is_found_by_every_scan() {
    for prepare in [nothing, keep_leaf] {
        let steps = Steps { prepare, call: insert_plain, undo: remove };
        play_all(steps, &PRESENT[..1], PRESENT);
        play_all(steps, &PRESENT[1..], &PRESENT[..2]);
    }
}

/// Whether the root flag is clear when somebody has looked.
fn flag_gone(p: &Handle<'_>, tag: Tag) -> bool {
    p.range_tagged(.., tag).next().is_none() && !p.tree().any_tagged(tag)
}

#[test]
fn an_entry_whose_tag_is_gone_with_it_is_gone() {
    // A removal takes effect before its tag leaves any summary.
    let steps = Steps { prepare: insert_with, call: remove, undo: nothing };
    play_all(steps, ABSENT, &ABSENT[..3]);
    // In a leaf that stays.
    let prepare = |p: &Handle<'_>, index: u64| {
        keep_leaf(p, index);
        insert_with(p, index);
    };
    play_all(Steps { prepare, ..steps }, &ABSENT[..1], ABSENT);
    let flags: &[Ask] = &[
        ("no root flag", |p, _| flag_gone(p, T0)),
        ("no count", |p, _| p.count_tagged(.., T0) == 0),
    ];
    play_all(steps, flags, &ABSENT[..2]);
}

#[test]
fn a_tag_handed_over_is_never_gone() {
    let call = |p: &Handle<'_>, index: u64| {
        assert!(p.update_tags(index, T1, T0).is_some());
    };
    let signs: &[Ask] = &[
        ("old flag gone", |p, _| flag_gone(p, T0)),
        ("old scan empty", |p, _| p.range_tagged(.., T0).next().is_none()),
        ("old tag gone", |p, index| !p.has_tag(index, T0)),
        ("new tag", |p, index| p.has_tag(index, T1)),
    ];
    let thens: &[Ask] = &[
        ("new flag", |p, _| p.tree().any_tagged(T1)),
        ("new scan", |p, index| p.range_tagged(.., T1).any(|(found, ..)| found == index)),
        ("new tag alone", |p, index| p.has_tag(index, T1) && !p.has_tag(index, T0)),
    ];
    play_all(Steps { prepare: insert_with, call, undo: remove }, signs, thens);
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
    let signs: &[Ask] = &[
        ("new value", |p, index| p.get(index) == Some(&7)),
        ("new tag", |p, index| p.has_tag(index, T1)),
        ("old tag gone", |p, index| !p.has_tag(index, T0)),
    ];
    let steps = Steps { prepare: insert_with, call, undo: remove };
    play_all(steps, signs, signs);
}
