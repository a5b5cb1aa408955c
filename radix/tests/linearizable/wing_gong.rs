//! Searches an order of effects for the calls on one index (Wing and Gong), remembering which
//! sets of calls with which state were tried.

use std::collections::HashSet;

use tagged_radix::TagSet;

use crate::history::{Call, Outcome, Record, State};

/// What `call` gives and leaves behind if it takes effect in `state`.
fn effect(call: Call, state: State) -> (Outcome, State) {
    let value = state.map(|(stamp, _)| stamp);
    let tags = state.map(|(_, tags)| tags);
    let kept = tags.unwrap_or(TagSet::EMPTY);
    let edit =
        |set: TagSet, clear: TagSet| state.map(|(stamp, tags)| (stamp, (tags - clear) | set));
    match call {
        Call::Get => (Outcome::Value(value), state),
        Call::GetWithTags => (Outcome::Entry(state), state),
        Call::HasTag(tag) => (Outcome::Flag(kept.contains(tag)), state),
        Call::Insert(stamp) => (Outcome::Value(value), Some((stamp, kept))),
        Call::InsertTagged(stamp, new) => (Outcome::Value(value), Some((stamp, kept | new))),
        Call::TryInsert(stamp) => (Outcome::Value(value), state.or(Some((stamp, TagSet::EMPTY)))),
        Call::Remove => (Outcome::Value(value), None),
        Call::SetTag(tag) => (
            Outcome::Changed(tags.map(|tags| !tags.contains(tag))),
            edit(tag.into(), TagSet::EMPTY),
        ),
        Call::ClearTag(tag) => {
            (Outcome::Changed(tags.map(|tags| tags.contains(tag))), edit(TagSet::EMPTY, tag.into()))
        }
        Call::UpdateTags { set, clear } => {
            let after = edit(set, clear);
            (Outcome::Tags(tags.zip(after.map(|(_, tags)| tags))), after)
        }
        Call::Update { stamp, set } => (Outcome::Entry(state), state.map(|_| (stamp, set))),
        Call::UpdateRemove(tag) => {
            (Outcome::Entry(state), state.filter(|(_, tags)| !tags.contains(tag)))
        }
        Call::Alloc(_) => unreachable!("recorded as what it said of each index"),
        Call::Present => (Outcome::Flag(state.is_some()), state),
        Call::Mark(tag) => {
            let clear = tags.is_some_and(|tags| !tags.contains(tag));
            (Outcome::Flag(clear), edit(tag.into(), TagSet::EMPTY))
        }
        Call::RemoveIf(tag) => match state {
            Some((stamp, tags)) if tags.contains(tag) => (Outcome::Exchanged(Ok(stamp)), None),
            _ => (Outcome::Exchanged(Err(value)), state),
        },
        Call::CompareExchange { expected, stamp } => {
            if value == Some(expected) {
                (Outcome::Exchanged(Ok(expected)), Some((stamp, kept)))
            } else {
                (Outcome::Exchanged(Err(value)), state)
            }
        }
    }
}

/// Checks a history of one index, sorted by begin, from an absent entry on. On failure returns
/// how many calls could be put in order at best.
pub(crate) fn check(history: &[Record]) -> Result<(), u32> {
    assert!(history.len() <= 64, "a set of calls is one word");
    let all = u64::MAX.checked_shr(64 - u32::try_from(history.len()).unwrap()).unwrap_or(0);
    let mut tried: HashSet<(u64, State)> = HashSet::new();
    let mut todo: Vec<(u64, State)> = vec![(0, None)];
    let mut best = 0;
    while let Some((done, state)) = todo.pop() {
        if done == all {
            return Ok(());
        }
        best = best.max(done.count_ones());
        let waiting = || history.iter().enumerate().filter(|(n, _)| done >> n & 1 == 0);
        // Only a call that began before every waiting call has ended may come next.
        let limit = waiting().map(|(_, record)| record.end).min().expect("not all are done");
        for (n, record) in waiting().take_while(|(_, record)| record.begin < limit) {
            let (outcome, after) = effect(record.call, state);
            let next = (done | 1 << n, after);
            if outcome == record.outcome && tried.insert(next) {
                todo.push(next);
            }
        }
    }
    Err(best)
}

#[cfg(test)]
mod tests {
    use tagged_radix::{Tag, TagSet};

    use super::{Call, Outcome, Record, check};

    fn record((begin, end): (u64, u64), call: Call, outcome: Outcome) -> Record {
        Record { index: 0, begin, end, call, outcome }
    }

    #[test]
    fn accepts_what_overlaps_and_rejects_what_does_not() {
        let history = |get| {
            vec![
                record((0, 1), Call::Insert(1), Outcome::Value(None)),
                record((2, 5), Call::Insert(2), Outcome::Value(Some(1))),
                record(get, Call::Get, Outcome::Value(Some(1))),
            ]
        };
        assert_eq!(check(&history((3, 4))), Ok(()), "read while the second insert ran");
        assert_eq!(check(&history((6, 7))), Err(2), "stale read after the second insert");
    }

    #[test]
    fn rejects_a_value_with_the_tags_of_another() {
        let tags = TagSet::from(Tag::T0);
        let history = |found| {
            vec![
                record((0, 1), Call::InsertTagged(1, tags), Outcome::Value(None)),
                record((2, 9), Call::Remove, Outcome::Value(Some(1))),
                record((3, 8), Call::GetWithTags, Outcome::Entry(found)),
                record((10, 11), Call::Insert(2), Outcome::Value(None)),
            ]
        };
        assert_eq!(check(&history(Some((1, tags)))), Ok(()));
        assert_eq!(check(&history(None)), Ok(()));
        assert!(check(&history(Some((1, TagSet::EMPTY)))).is_err(), "tags gone before the value");
        assert!(check(&history(Some((2, tags)))).is_err(), "value of the future");
    }

    #[test]
    fn rejects_two_winners_and_reads_that_go_back() {
        let insert = |at, stamp| record(at, Call::TryInsert(stamp), Outcome::Value(None));
        assert!(check(&[insert((0, 2), 1), insert((1, 3), 2)]).is_err(), "both found it absent");
        let get = |at, found| record(at, Call::Get, Outcome::Value(found));
        let ordered = [insert((0, 9), 1), get((1, 2), None), get((3, 4), Some(1))];
        assert_eq!(check(&ordered), Ok(()));
        let reversed = [insert((0, 9), 1), get((1, 2), Some(1)), get((3, 4), None)];
        assert!(check(&reversed).is_err(), "seen, then not seen");
    }
}
