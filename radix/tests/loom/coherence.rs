//! Decides whether what the threads of a model were told is possible, index by index.
//!
//! Threads that do not synchronize agree on the order of changes of one index, and on no more: memory may show changes of two
//! indices to two threads in different orders. So for each index there must be one order of the calls that concern it
//! that keeps every thread's own order and explains every outcome. A scan concerns every index: of each it reports that it
//! matched, or that it did not.

use std::collections::{BTreeSet, HashSet};

use crate::call::{Call, Content, Entry, How, Outcome};
use crate::effect::{effect, matching, paint};

/// What one thread did, in its order.
pub(crate) type Program = Vec<(Call, Outcome)>;

/// What is wrong if no order explains the outcomes and what is left at the end.
pub(crate) fn contradiction(
    before: &Content,
    programs: &[Program],
    after: &Content,
) -> Option<String> {
    let mut indices: BTreeSet<u64> = before.keys().chain(after.keys()).copied().collect();
    for (call, outcome) in programs.iter().flatten() {
        indices.extend(index_of(call));
        if let (Call::Alloc { .. }, Outcome::Index(Some(found))) = (call, outcome) {
            indices.insert(*found);
        }
        if let Outcome::Items(items) = outcome {
            if !items.is_sorted_by(|a, b| a.0 < b.0) {
                return Some(format!("out of order: {items:?}"));
            }
            indices.extend(items.iter().map(|item| item.0));
        }
    }
    let (came, left) = (appeared(programs), disappeared(programs));
    if before.len() + came != after.len() + left {
        return Some(format!(
            "{came} entries came and {left} left, from {before:?} to {after:?}, with {programs:#?}"
        ));
    }
    let wrong = indices.into_iter().find(|index| {
        !explained(*index, before.get(index).copied(), programs, after.get(index).copied())
    })?;
    Some(format!(
        "no order explains index {wrong}, from {before:?} to {after:?}, with {programs:#?}"
    ))
}

/// How many entries the calls say they have made.
fn appeared(programs: &[Program]) -> usize {
    let new = |(call, outcome): &&(Call, Outcome)| match (call, outcome) {
        (Call::Insert { .. }, Outcome::Stamp(old)) => old.is_none(),
        (Call::Make { stamp, .. }, Outcome::Stamp(value)) => *value == Some(*stamp),
        (Call::Alloc { .. }, Outcome::Index(found)) => found.is_some(),
        _ => false,
    };
    programs.iter().flatten().filter(new).count()
}

/// How many entries the calls say they have removed.
fn disappeared(programs: &[Program]) -> usize {
    let gone = |(call, outcome): &(Call, Outcome)| match (call, outcome) {
        (Call::Remove(_), Outcome::Stamp(value)) => usize::from(value.is_some()),
        (Call::Drop(..), Outcome::Removal(removed)) => usize::from(removed.is_ok()),
        (Call::Sweep, Outcome::Count(count)) => usize::try_from(*count).expect("few"),
        _ => 0,
    };
    programs.iter().flatten().map(gone).sum()
}

/// The index that the call is about, if it is about one.
fn index_of(call: &Call) -> Option<u64> {
    match *call {
        Call::Get(index)
        | Call::Entry(index)
        | Call::Has(index, _)
        | Call::Insert { index, .. }
        | Call::Remove(index)
        | Call::Set(index, _)
        | Call::Clear(index, _)
        | Call::Update { index, .. }
        | Call::Swap { index, .. }
        | Call::Drop(index, _)
        | Call::Make { index, .. } => Some(index),
        Call::Any(_)
        | Call::Scan { .. }
        | Call::Copy { .. }
        | Call::Paint { .. }
        | Call::Mark { .. }
        | Call::Alloc { .. }
        | Call::Absent(_)
        | Call::Sweep => None,
    }
}

/// Tries every order of the calls that concern `index`.
fn explained(
    index: u64,
    before: Option<Entry>,
    programs: &[Program],
    after: Option<Entry>,
) -> bool {
    let mut todo = vec![(vec![0; programs.len()], before)];
    let mut seen: HashSet<_> = todo.iter().cloned().collect();
    while let Some((done, entry)) = todo.pop() {
        if done.iter().zip(programs).all(|(&done, program)| done == program.len()) {
            if entry == after {
                return true;
            }
            continue;
        }
        for (thread, program) in programs.iter().enumerate() {
            let Some((call, outcome)) = program.get(done[thread]) else { continue };
            let Some(entry) = step(index, entry, call, outcome) else { continue };
            let mut done = done.clone();
            done[thread] += 1;
            if seen.insert((done.clone(), entry)) {
                todo.push((done, entry));
            }
        }
    }
    false
}

/// The entry at `index` after the call, or `None` if the call cannot have had this outcome.
fn step(index: u64, entry: Option<Entry>, call: &Call, outcome: &Outcome) -> Option<Option<Entry>> {
    if index_of(call).is_some_and(|at| at != index) {
        return Some(entry);
    }
    let mut content: Content = entry.into_iter().map(|entry| (index, entry)).collect();
    let possible = match (call, outcome) {
        (Call::Scan { tag, how }, Outcome::Items(items)) => {
            matching(&content, *tag, *how).eq(items.iter().copied().filter(|item| item.0 == index))
        }
        (Call::Copy { .. } | Call::Paint { .. } | Call::Mark { .. }, Outcome::Done) => {
            content.iter_mut().for_each(|(index, entry)| paint(call, *index, entry));
            true
        }
        (Call::Absent(from), Outcome::Index(found)) => {
            // What was passed over was there; what was found was not.
            let passed = *from <= index && found.is_none_or(|found| index < found);
            (!passed || entry.is_some()) && (*found != Some(index) || entry.is_none())
        }
        (Call::Alloc { low, high, stamp }, Outcome::Index(found)) => {
            let passed =
                *low <= index && index <= found.unwrap_or(high.wrapping_add(1)).wrapping_sub(1);
            let passed = passed && *low <= *high && *found != Some(*low);
            let fits =
                if *found == Some(index) { entry.is_none() } else { !passed || entry.is_some() };
            if *found == Some(index) {
                content.insert(index, (*stamp, 0));
            }
            fits
        }
        (Call::Sweep, Outcome::Count(_)) => {
            content.clear();
            true
        }
        _ => effect(call, &mut content).contains(outcome),
    };
    possible.then(|| content.get(&index).copied())
}

#[test]
fn impossible_outcomes_are_noticed() {
    let before = Content::from([(0, (1000, 1)), (1, (1001, 0))]);
    let a = tagged_radix::Tag::T0;
    let possible =
        |programs: &[Program], after: &Content| contradiction(&before, programs, after).is_none();
    let cleared = Content::from([(0, (1000, 0)), (1, (1001, 0))]);
    let clear = || vec![(Call::Clear(0, a), Outcome::Changed(Some(true)))];
    let has = |first, second| {
        vec![(Call::Has(0, a), Outcome::Flag(first)), (Call::Has(0, a), Outcome::Flag(second))]
    };
    assert!(possible(&[clear(), has(true, false)], &cleared));
    assert!(!possible(&[clear(), has(false, true)], &cleared), "back in time");
    assert!(!possible(&[clear(), has(true, true)], &before), "the clear is lost");
    assert!(!possible(&[clear(), clear()], &cleared), "cleared twice");
    let scan =
        |items| vec![(Call::Scan { tag: Some(a), how: How::Iterate }, Outcome::Items(items))];
    assert!(possible(&[clear(), scan(vec![])], &cleared));
    assert!(!possible(&[scan(vec![])], &before), "missed");
    assert!(!possible(&[scan(vec![(1, (1001, 0))])], &before), "never true");
}
