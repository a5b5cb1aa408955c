//! Random calls on a tree, recorded with when each began and ended.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use rand::{Rng, rngs::SmallRng};
use tagged_radix::{Pinned, Tag, TagSet};

use crate::common::Tree;

/// Value stamp and tags of an index, `None` while it is absent.
pub(crate) type State = Option<(u64, TagSet)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Get,
    GetWithTags,
    HasTag(Tag),
    Insert(u64),
    InsertTagged(u64, TagSet),
    TryInsert(u64),
    Remove,
    SetTag(Tag),
    ClearTag(Tag),
    UpdateTags {
        set: TagSet,
        clear: TagSet,
    },
    /// Replaces the value, clears the tags, sets others.
    Update {
        stamp: u64,
        set: TagSet,
    },
    /// Removes the entry if it has the tag.
    UpdateRemove(Tag),
    /// Inserts at the lowest absent index from this one on, among those beside it that the history is of.
    Alloc(u64),
    /// There was an entry at some instant.
    Present,
    /// Sets a tag by a list of indices, of which this is one.
    Mark(Tag),
    /// Removes the entry if it has the tag, and says what became of it.
    RemoveIf(Tag),
    CompareExchange {
        expected: u64,
        stamp: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Value(Option<u64>),
    Entry(State),
    Flag(bool),
    Changed(Option<bool>),
    Tags(Option<(TagSet, TagSet)>),
    Exchanged(Result<u64, Option<u64>>),
}

#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) index: u64,
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) call: Call,
    pub(crate) outcome: Outcome,
}

/// One thread's hand on a tree.
pub(crate) struct Player<'t> {
    p: Pinned<'t, Box<u64>>,
    now: &'t AtomicU64,
    random: SmallRng,
    stamp: u64,
    pub(crate) records: Vec<Record>,
}

impl<'t> Player<'t> {
    pub(crate) fn new(
        tree: &'t Tree,
        now: &'t AtomicU64,
        thread: u64,
        random: SmallRng,
    ) -> Player<'t> {
        Player { p: tree.pin(), now, random, stamp: thread << 32, records: Vec::new() }
    }

    /// Makes a random call on one of the indices.
    pub(crate) fn call(&mut self, indices: &[u64]) {
        let index = indices[self.random.random_range(0..indices.len())];
        let call = self.choose();
        for _ in 0..self.random.random_range(0..30) {
            std::hint::spin_loop();
        }
        if let Call::CompareExchange { stamp, .. } = call {
            self.compare_exchange(index, stamp);
            return;
        }
        if let Call::Alloc(stamp) = call {
            self.alloc(index, indices, stamp);
            return;
        }
        self.record(index, call, |p| make(p, index, call));
    }

    /// One call, which says something of each index that it has passed over.
    fn alloc(&mut self, low: u64, indices: &[u64], stamp: u64) {
        let beside = |index: &u64| index.checked_add(1).filter(|next| indices.contains(next));
        let high = std::iter::successors(Some(low), beside).last().expect("the first");
        let begin = self.now.fetch_add(1, SeqCst);
        let found = self.p.insert_at_absent(low..=high, Box::new(stamp)).ok();
        let end = self.now.fetch_add(1, SeqCst);
        let passed = (low..=high).take_while(|index| Some(*index) != found);
        self.records.extend(passed.map(|index| Record {
            index,
            begin,
            end,
            call: Call::Present,
            outcome: Outcome::Flag(true),
        }));
        let call = Call::TryInsert(stamp);
        self.records.extend(found.map(|index| Record {
            index,
            begin,
            end,
            call,
            outcome: Outcome::Value(None),
        }));
    }

    fn record(
        &mut self,
        index: u64,
        call: Call,
        make: impl FnOnce(&Pinned<'_, Box<u64>>) -> Outcome,
    ) -> Outcome {
        let begin = self.now.fetch_add(1, SeqCst);
        let outcome = make(&self.p);
        let end = self.now.fetch_add(1, SeqCst);
        self.records.push(Record { index, begin, end, call, outcome });
        outcome
    }

    /// Two calls: finds the current value, then replaces it if it is still the same.
    fn compare_exchange(&mut self, index: u64, stamp: u64) {
        let now = self.now;
        let begin = now.fetch_add(1, SeqCst);
        let current = self.p.get(index);
        let end = now.fetch_add(1, SeqCst);
        let outcome = Outcome::Value(current.copied());
        let found = Record { index, begin, end, call: Call::Get, outcome };
        self.records.push(found);
        let Some(current) = current else { return };
        let call = Call::CompareExchange { expected: *current, stamp };
        let begin = now.fetch_add(1, SeqCst);
        let result = match self.p.compare_exchange(index, current, Box::new(stamp)) {
            Ok(old) => Ok(*old),
            Err(error) => Err(error.current.copied()),
        };
        let end = now.fetch_add(1, SeqCst);
        self.records.push(Record { index, begin, end, call, outcome: Outcome::Exchanged(result) });
    }

    fn choose(&mut self) -> Call {
        self.stamp += 1;
        let stamp = self.stamp;
        let (tag, other) = (self.tag(), self.tag());
        match self.random.random_range(0..19) {
            0 => Call::Get,
            1 | 2 => Call::GetWithTags,
            3 => Call::HasTag(tag),
            4 => Call::Insert(stamp),
            5 => Call::InsertTagged(stamp, tag.into()),
            6 => Call::TryInsert(stamp),
            7 | 8 => Call::Remove,
            9 => Call::SetTag(tag),
            10 => Call::ClearTag(tag),
            11 => Call::UpdateTags { set: tag.into(), clear: other.into() },
            12 => Call::Update { stamp, set: tag.into() },
            13 => Call::UpdateRemove(tag),
            14 => Call::RemoveIf(tag),
            15 => Call::Mark(tag),
            16 | 17 => Call::Alloc(stamp),
            _ => Call::CompareExchange { expected: 0, stamp },
        }
    }

    /// One of two tags, so that calls meet.
    fn tag(&mut self) -> Tag {
        if self.random.random() { Tag::T0 } else { Tag::T1 }
    }
}

fn make(p: &Pinned<'_, Box<u64>>, index: u64, call: Call) -> Outcome {
    match call {
        Call::Get => Outcome::Value(p.get(index).copied()),
        Call::GetWithTags => Outcome::Entry(p.get_with_tags(index).map(|(v, tags)| (*v, tags))),
        Call::HasTag(tag) => Outcome::Flag(p.has_tag(index, tag)),
        Call::Insert(stamp) => Outcome::Value(p.insert(index, Box::new(stamp)).copied()),
        Call::InsertTagged(stamp, tags) => {
            Outcome::Value(p.insert_tagged(index, Box::new(stamp), tags).copied())
        }
        Call::TryInsert(stamp) => match p.try_insert(index, Box::new(stamp)) {
            Ok(_) => Outcome::Value(None),
            Err(error) => Outcome::Value(Some(*error.current)),
        },
        Call::Remove => Outcome::Value(p.remove(index).copied()),
        Call::SetTag(tag) => Outcome::Changed(p.set_tag(index, tag)),
        Call::ClearTag(tag) => Outcome::Changed(p.clear_tag(index, tag)),
        Call::UpdateTags { set, clear } => Outcome::Tags(
            p.update_tags(index, set, clear).map(|update| (update.before, update.after)),
        ),
        Call::Update { stamp, set } => {
            let before = p.update(index, |slot| {
                let before = (*slot.value(), slot.tags());
                slot.clear(TagSet::ALL);
                slot.set(set);
                slot.replace(Box::new(stamp));
                before
            });
            Outcome::Entry(before)
        }
        Call::UpdateRemove(tag) => {
            let before = p.update(index, |slot| {
                let before = (*slot.value(), slot.tags());
                if slot.tags().contains(tag) {
                    slot.remove();
                }
                before
            });
            Outcome::Entry(before)
        }
        Call::Mark(tag) => {
            // No entry but the one can change.
            let count = p.tag_indices(&[index, index, 1 << 50], tag, TagSet::EMPTY);
            Outcome::Flag(count == 1)
        }
        Call::RemoveIf(tag) => {
            let done = p.remove_if(index, |_, tags| tags.contains(tag));
            Outcome::Exchanged(match done {
                Ok(old) => Ok(*old),
                Err(error) => Err(error.current.copied()),
            })
        }
        Call::CompareExchange { .. } | Call::Alloc(_) | Call::Present => {
            unreachable!("made elsewhere, or part of another call")
        }
    }
}
