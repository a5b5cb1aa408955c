//! Tags as people build them today: an index beside a set of the tagged keys, or flags that are searched.

mod dash_set;
mod flagged;
mod roaring;
mod two_skips;
mod two_trees;

pub(super) use dash_set::DashSet;
pub(super) use flagged::Flagged;
pub(super) use roaring::Roaring;
pub(super) use two_skips::TwoSkips;
pub(super) use two_trees::TwoTrees;

use super::{Ability, Filter, Hasher, Index, Mark, Value, value_of, word};

/// Where a walk goes on after a batch of `taken` of at most `room` keys, the last of them `last`.
fn next(taken: usize, room: usize, last: u64) -> Option<u64> {
    if taken == room { last.checked_add(1) } else { None }
}
