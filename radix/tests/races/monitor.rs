//! Decides whether a history keeps what the tree promises, by following every order in which
//! its calls can have taken effect.
//!
//! A configuration is one such order so far: what the tree would hold, and where each thread's
//! call stands. A history is wrong as soon as no configuration is left.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use tagged_radix::Tag;

use crate::call::{Call, Content, Entry, How, Outcome};
use crate::common::BITS;
use crate::effect::{effect, matching, paint};

/// A call made by one thread, or its return, in the order all threads agree on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    Begin(Call),
    End(Outcome),
}

/// The calls of a history.
pub(crate) fn calls(history: &[(usize, Event)]) -> Vec<&Call> {
    let begun = history.iter().filter_map(|(_, event)| match event {
        Event::Begin(call) => Some(call),
        Event::End(_) => None,
    });
    begun.collect()
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Pending {
    Idle,
    /// Not yet taken effect.
    Called(Call),
    /// Has taken effect, with this outcome.
    Took(Outcome),
    /// Indices that matched all along, and all that was true at one instant.
    Scanning {
        tag: Option<Tag>,
        how: How,
        must: BTreeSet<u64>,
        may: BTreeSet<(u64, Entry)>,
    },
    /// Leaves whose entries are yet to be tagged, each at one instant.
    Painting {
        call: Call,
        left: BTreeSet<u64>,
    },
    /// Looking for an absent index: all below this one have been seen present.
    Passing {
        at: Option<u64>,
    },
    /// Looking for an absent index, to insert there: all below this one have been seen present.
    Seeking {
        at: u64,
        high: u64,
        stamp: u64,
    },
    /// Indices yet to be passed, each at one instant at which its entry is removed or there is none.
    Sweeping {
        left: BTreeSet<u64>,
        removed: u64,
    },
}

type Configuration = (Content, Vec<Pending>);

/// Lets all running scans take note of the content.
fn show(pending: &mut [Pending], content: &Content) {
    for call in pending {
        if let Pending::Scanning { tag, how, must, may } = call {
            let now: BTreeMap<_, _> = matching(content, *tag, *how).collect();
            must.retain(|index| now.contains_key(index));
            may.extend(now);
        }
    }
}

/// The indices at which a race may ever have an entry.
pub(crate) fn indices(content: &Content, programs: &[Vec<Call>]) -> BTreeSet<u64> {
    let inserted = programs.iter().flatten().flat_map(|call| match call {
        Call::Insert { index, .. } | Call::Make { index, .. } => *index..=*index,
        Call::Alloc { low, high, .. } if low <= high => {
            assert!(high - low < 64, "the digits of a range stand side by side");
            *low..=*high
        }
        #[expect(clippy::reversed_empty_ranges, reason = "none")]
        _ => 1..=0,
    });
    content.keys().copied().chain(inserted).collect()
}

/// All configurations reachable when pending calls take effect now.
fn close(configurations: Vec<Configuration>) -> HashSet<Configuration> {
    let mut todo = configurations;
    let mut all: HashSet<_> = todo.iter().cloned().collect();
    while let Some((content, pending)) = todo.pop() {
        let mut next = Vec::new();
        for (thread, call) in pending.iter().enumerate() {
            match call {
                Pending::Called(call) => {
                    let mut after = content.clone();
                    let outcomes = effect(call, &mut after);
                    next.extend(
                        outcomes.into_iter().map(|o| (thread, after.clone(), Pending::Took(o))),
                    );
                }
                Pending::Painting { call, left } => {
                    for leaf in left {
                        let (mut after, mut left) = (content.clone(), left.clone());
                        left.remove(leaf);
                        after
                            .iter_mut()
                            .filter(|(index, _)| *index >> BITS == *leaf)
                            .for_each(|(index, entry)| paint(call, *index, entry));
                        next.push((thread, after, Pending::Painting { call: call.clone(), left }));
                    }
                }
                Pending::Passing { at } => {
                    let step = match at {
                        Some(index) if content.contains_key(index) => {
                            Pending::Passing { at: index.checked_add(1) }
                        }
                        at => Pending::Took(Outcome::Index(*at)),
                    };
                    next.push((thread, content.clone(), step));
                }
                Pending::Seeking { at, high, stamp } => {
                    let (mut after, step) = (content.clone(), at + 1);
                    let call = if at > high {
                        Pending::Took(Outcome::Index(None))
                    } else if content.contains_key(at) {
                        Pending::Seeking { at: step, high: *high, stamp: *stamp }
                    } else {
                        after.insert(*at, (*stamp, 0));
                        Pending::Took(Outcome::Index(Some(*at)))
                    };
                    next.push((thread, after, call));
                }
                Pending::Sweeping { left, removed } => {
                    for index in left {
                        let (mut after, mut left) = (content.clone(), left.clone());
                        left.remove(index);
                        let removed = removed + u64::from(after.remove(index).is_some());
                        next.push((thread, after, Pending::Sweeping { left, removed }));
                    }
                }
                _ => {}
            }
        }
        for (thread, content, call) in next {
            let mut pending = pending.clone();
            pending[thread] = call;
            show(&mut pending, &content);
            let configuration = (content, pending);
            if all.insert(configuration.clone()) {
                todo.push(configuration);
            }
        }
    }
    all
}

fn begin(call: &Call, content: &Content, indices: &BTreeSet<u64>) -> Pending {
    match *call {
        Call::Scan { tag, how } => {
            let must = matching(content, tag, how).map(|(index, _)| index).collect();
            Pending::Scanning { tag, how, must, may: matching(content, tag, how).collect() }
        }
        Call::Copy { .. } | Call::Paint { .. } | Call::Mark { .. } => {
            let left = indices.iter().map(|index| index >> BITS).collect();
            Pending::Painting { call: call.clone(), left }
        }
        Call::Alloc { low, high, stamp } => Pending::Seeking { at: low, high, stamp },
        Call::Absent(index) => Pending::Passing { at: Some(index) },
        Call::Sweep => Pending::Sweeping { left: indices.clone(), removed: 0 },
        _ => Pending::Called(call.clone()),
    }
}

/// Can a call that stands like this have returned `outcome`?
fn may_end(pending: &Pending, outcome: &Outcome) -> bool {
    match (pending, outcome) {
        (Pending::Took(expected), found) => expected == found,
        (Pending::Painting { left, .. }, Outcome::Done) => left.is_empty(),
        (Pending::Sweeping { left, removed }, Outcome::Count(count)) => {
            left.is_empty() && removed == count
        }
        (Pending::Scanning { must, may, .. }, Outcome::Items(items)) => {
            let found: BTreeSet<_> = items.iter().map(|(index, _)| *index).collect();
            items.is_sorted_by(|a, b| a.0 < b.0)
                && must.is_subset(&found)
                && items.iter().all(|item| may.contains(item))
        }
        (Pending::Scanning { must, may, .. }, Outcome::Count(count)) => {
            let most: BTreeSet<u64> = may.iter().map(|(index, _)| *index).collect();
            (must.len() as u64..=most.len() as u64).contains(count)
        }
        _ => false,
    }
}

/// All contents the tree may have after a history, empty if the history is wrong. `indices` are
/// those at which there may ever be an entry.
pub(crate) fn follow(
    content: &Content,
    history: &[(usize, Event)],
    threads: usize,
    indices: &BTreeSet<u64>,
) -> HashSet<Content> {
    let mut all = HashSet::from([(content.clone(), vec![Pending::Idle; threads])]);
    for (thread, event) in history {
        let next = match event {
            Event::Begin(call) => {
                let started = |(content, mut pending): Configuration| {
                    pending[*thread] = begin(call, &content, indices);
                    (content, pending)
                };
                all.into_iter().map(started).collect()
            }
            Event::End(outcome) => {
                let mut left: Vec<_> =
                    all.into_iter().filter(|c| may_end(&c.1[*thread], outcome)).collect();
                left.iter_mut().for_each(|c| c.1[*thread] = Pending::Idle);
                left
            }
        };
        all = close(next);
    }
    all.into_iter().map(|(content, _)| content).collect()
}
