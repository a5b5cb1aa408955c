//! Operations that only read. Where other sessions write to the same tree, their entries are
//! skipped: what this session put there must be reported exactly all the same.

use std::sync::Arc;

use tagged_radix::ArrayVec;

use super::data::{Bits, Edge, Filter, Key, Op, Span};
use super::model::Entry;
use super::session::{Item, Session, entry, stamp_at};

/// Room of the batches; part of it may be filled already.
const ROOM: usize = 5;

impl Session<'_> {
    /// False if `op` does not just read.
    pub(super) fn read(&mut self, op: Op) -> bool {
        match op {
            Op::Get(key) => self.assert_entry(self.territory.place(key)),
            Op::GetOwned(key) => self.get_owned(self.territory.place(key)),
            Op::Next(key) => self.next(self.territory.place(key)),
            Op::Prev(key) => self.prev(self.territory.place(key)),
            Op::NextAbsent(key) => self.absent(self.territory.place(key)),
            Op::PrevAbsent(key) => self.absent_before(self.territory.place(key)),
            Op::Range { span, turns } => self.range(span, turns),
            Op::RangeTagged { span, filter, turns } => self.range_tagged(span, filter, turns),
            Op::CountTagged(span, filter) => self.count_tagged(span, filter),
            Op::FirstAbsent(span) => self.absent_in(span),
            Op::GangRange { span, filter, max, kind } => {
                self.gang_range(span, filter, usize::from(max) % (ROOM + 2), kind);
            }
            Op::Gang { start, filter, filled } => self.gang(start, filter, filled.into()),
            Op::GangOwned { start, filter, filled } => {
                self.gang_owned(start, filter, filled.into())
            }
            _ => return false,
        }
        true
    }

    fn get_owned(&self, index: u64) {
        let found =
            self.pinned.tree().get_owned(index).map(|item: Arc<Item>| stamp_at(index, &item));
        assert_eq!(found, self.model.stamp(index));
    }

    /// Asserts that a neighbour found is the model's, or an entry of another session before it.
    fn assert_neighbour(&self, found: Option<(u64, u64)>, expected: Option<(u64, u64)>, from: u64) {
        match found {
            Some((index, _)) if !self.territory.owns(index) => {
                let skipped =
                    expected.is_some_and(|(own, _)| own.abs_diff(from) < index.abs_diff(from));
                assert!(!skipped, "{expected:?} was passed over for {index}");
            }
            _ => assert_eq!(found, expected, "neighbour of {from}"),
        }
    }

    fn next(&self, index: u64) {
        let p = &self.pinned;
        let found = p.next(index).map(|(at, item)| (at, stamp_at(at, &item)));
        self.assert_neighbour(found, self.model.next(index), index);
        let first = p.first().map(|(at, item)| (at, stamp_at(at, &item)));
        self.assert_neighbour(first, self.model.next(0), 0);
    }

    fn prev(&self, index: u64) {
        let p = &self.pinned;
        let found = p.prev(index).map(|(at, item)| (at, stamp_at(at, &item)));
        self.assert_neighbour(found, self.model.prev(index), index);
        let last = p.last().map(|(at, item)| (at, stamp_at(at, &item)));
        self.assert_neighbour(last, self.model.prev(u64::MAX), u64::MAX);
    }

    fn absent(&self, index: u64) {
        let found = self.pinned.next_absent(index);
        if self.territory.is_whole() {
            assert_eq!(found, self.model.next_absent(index), "next_absent({index})");
        } else if let Some(at) = found.filter(|at| self.territory.owns(*at)) {
            assert_eq!(self.model.get(at), None, "{at} is not absent");
        }
    }

    fn absent_before(&self, index: u64) {
        let found = self.pinned.prev_absent(index);
        if self.territory.is_whole() {
            assert_eq!(found, self.model.prev_absent(index), "prev_absent({index})");
        } else if let Some(at) = found.filter(|at| self.territory.owns(*at)) {
            assert_eq!(self.model.get(at), None, "{at} is not absent");
        }
    }

    /// The lowest and the highest index of a range that have no entry.
    fn absent_in(&self, span: Span) {
        let found =
            (self.pinned.first_absent(span.bounds()), self.pinned.last_absent(span.bounds()));
        let Some((low, high)) = span.ends() else {
            assert_eq!(found, (None, None), "an empty range");
            return;
        };
        if self.territory.is_whole() {
            let first = self.model.next_absent(low).filter(|at| *at <= high);
            let last = self.model.prev_absent(high).filter(|at| *at >= low);
            assert_eq!(found, (first, last), "absent in {low}..={high}");
        } else {
            for at in [found.0, found.1].into_iter().flatten() {
                assert!(
                    span.contains(at) && !(self.territory.owns(at) && self.model.get(at).is_some())
                );
            }
        }
    }

    /// A lookup over a range finds a prefix of what matches there: all of it, or as much as was wanted.
    fn gang_range(&self, span: Span, filter: Filter, max: usize, kind: u8) {
        let (p, wanted) = (&self.pinned, filter.filter());
        let mut batch = Vec::new();
        let next = match kind % 3 {
            0 => p.gang_lookup_range(span.bounds(), wanted, max, &mut batch),
            1 => {
                let mut slots = [None; ROOM];
                let next = p.gang_lookup_range(
                    span.bounds(),
                    wanted,
                    usize::MAX,
                    &mut slots[..max.min(ROOM)],
                );
                batch.extend(slots.into_iter().flatten());
                next
            }
            _ => {
                let mut full = ArrayVec::<_, ROOM>::new();
                let next = p.gang_lookup_range(span.bounds(), wanted, max, &mut full);
                batch.extend(full);
                next
            }
        };
        let max = if matches!(kind % 3, 0) { max } else { max.min(ROOM) };
        assert!(batch.len() <= max, "more than was wanted");
        assert!(batch.iter().all(|(index, _)| span.contains(*index)), "outside the range");
        assert!(next.is_none_or(|next| span.contains(next) && batch.len() == max));
        let found = batch.iter().map(|(index, item)| (*index, stamp_at(*index, item)));
        let found: Vec<_> = found.filter(|(index, _)| self.territory.owns(*index)).collect();
        let expected = self.model.select(span, filter).into_iter();
        let expected = expected.filter(|(index, _)| next.is_none_or(|next| *index < next));
        let expected: Vec<_> = expected.map(|(index, entry)| (index, entry.stamp)).collect();
        assert_eq!(found, expected, "gang_lookup_range");
    }

    fn range(&self, span: Span, turns: u32) {
        let found = from_both_ends(self.pinned.range(span.bounds()), turns, |(index, _)| *index);
        let found = found.into_iter().map(|(index, item)| (index, stamp_at(index, &item)));
        let found: Vec<_> = found.filter(|(index, _)| self.territory.owns(*index)).collect();
        let expected = self.model.select(span, Filter::ANY);
        let expected: Vec<_> =
            expected.into_iter().map(|(index, entry)| (index, entry.stamp)).collect();
        assert_eq!(found, expected, "range");
    }

    fn range_tagged(&self, span: Span, filter: Filter, turns: u32) {
        let range = self.pinned.range_tagged(span.bounds(), filter.filter());
        let found = from_both_ends(range, turns, |(index, ..)| *index);
        let mut own = Vec::new();
        for (index, item, tags) in found {
            let entry = entry(index, &item, Bits::from(tags));
            assert!(filter.matches(entry.tags), "{index} with {tags:?} does not match");
            if self.territory.owns(index) {
                own.push((index, entry));
            }
        }
        assert_eq!(own, self.model.select(span, filter), "range_tagged");
    }

    fn count_tagged(&self, span: Span, filter: Filter) {
        let count = self.pinned.count_tagged(span.bounds(), filter.filter());
        let expected = self.model.select(span, filter).len() as u64;
        if self.territory.is_whole() {
            assert_eq!(count, expected, "count_tagged");
        } else {
            assert!(
                count >= expected,
                "count_tagged gave {count}, of ours alone there are {expected}"
            );
        }
    }

    fn gang(&self, start: Key, filter: Filter, filled: usize) {
        let start = self.territory.place(start);
        let Some(filler) = self.pinned.first() else { return };
        let mut batch: ArrayVec<_, ROOM> = (0..filled % (ROOM + 1)).map(|_| filler).collect();
        let kept = batch.len();
        let next = if filter.all_of.0 | filter.none_of.0 == 0 {
            self.pinned.gang_lookup(start, &mut batch)
        } else {
            self.pinned.gang_lookup_tagged(start, filter.filter(), &mut batch)
        };
        let found = batch[kept..].iter().map(|(index, item)| (*index, stamp_at(*index, item)));
        self.assert_batch(start, filter, ROOM - kept, &found.collect::<Vec<_>>(), next);
    }

    fn gang_owned(&self, start: Key, filter: Filter, filled: usize) {
        let (start, tree) = (self.territory.place(start), self.pinned.tree());
        let filler = (0, Arc::new(Item { index: 0, stamp: 0 }));
        let mut batch: ArrayVec<_, ROOM> =
            (0..filled % (ROOM + 1)).map(|_| filler.clone()).collect();
        let kept = batch.len();
        let next = if filter.all_of.0 | filter.none_of.0 == 0 {
            tree.gang_lookup_owned(start, &mut batch)
        } else {
            tree.gang_lookup_tagged_owned(start, filter.filter(), &mut batch)
        };
        let found = batch[kept..].iter().map(|(index, item)| (*index, stamp_at(*index, item)));
        self.assert_batch(start, filter, ROOM - kept, &found.collect::<Vec<_>>(), next);
    }

    /// Asserts that a batch has all matches from `start` up to `next`, and is full if there is
    /// a `next`.
    fn assert_batch(
        &self,
        start: u64,
        filter: Filter,
        room: usize,
        batch: &[(u64, u64)],
        next: Option<u64>,
    ) {
        assert!(batch.is_sorted_by(|a, b| a.0 < b.0), "ascending: {batch:?}");
        assert!(
            batch.iter().all(|(index, _)| *index >= start && next.is_none_or(|next| *index < next))
        );
        assert!(batch.len() <= room);
        match next {
            None => assert!(room > 0, "a batch without room does not end the lookup"),
            Some(next) => {
                assert_eq!(batch.len(), room, "stopped with room left");
                assert!(room > 0 || next == start, "a batch without room does not move on");
            }
        }
        let to = next.map_or(Edge::Open, |next| Edge::Past(Key::Any(next)));
        let expected = self.model.select(Span { from: Edge::At(Key::Any(start)), to }, filter);
        let expected: Vec<_> =
            expected.into_iter().map(|(index, Entry { stamp, .. })| (index, stamp)).collect();
        let own: Vec<_> =
            batch.iter().copied().filter(|(index, _)| self.territory.owns(*index)).collect();
        assert_eq!(own, expected, "gang lookup from {start}");
    }
}

/// Takes all items, from the front or the back as the bits of `turns` say; returns them in
/// ascending order.
fn from_both_ends<T>(
    mut items: impl DoubleEndedIterator<Item = T>,
    turns: u32,
    index: impl Fn(&T) -> u64,
) -> Vec<T> {
    let (mut front, mut back) = (Vec::new(), Vec::new());
    for turn in 0.. {
        if turn == 20 && turns & 2 == 0 {
            // The rest at once, a leaf at a time.
            items.for_each(|item| front.push(item));
            front.extend(back.into_iter().rev());
            assert!(front.is_sorted_by(|a, b| index(a) < index(b)), "strictly ascending");
            return front;
        }
        let from_back = turns.rotate_right(turn) & 1 == 1;
        match if from_back { items.next_back() } else { items.next() } {
            Some(item) if from_back => back.push(item),
            Some(item) => front.push(item),
            None => break,
        }
    }
    assert!(
        items.next().is_none() && items.next_back().is_none(),
        "the end is the end at both ends"
    );
    front.extend(back.into_iter().rev());
    assert!(front.is_sorted_by(|a, b| index(a) < index(b)), "strictly ascending");
    front
}
