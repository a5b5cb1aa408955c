//! Operations that change entries.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use tagged_radix::Tag;

use super::data::{Bits, Edit, Filter, Key, Op, Span};
use super::session::{Session, Territory, assert_edges, stamp_at};

impl Session<'_> {
    /// Changes of one entry; false if `op` is none.
    pub(super) fn write(&mut self, op: Op) -> bool {
        match op {
            Op::Insert(key) => self.insert(key, None),
            Op::InsertTagged(key, tags) => self.insert(key, Some(tags)),
            Op::TryInsert(key) => self.try_insert(key, None),
            Op::TryInsertTagged(key, tags) => self.try_insert(key, Some(tags)),
            Op::GetOrInsert(key) => self.get_or_insert(key),
            Op::ReplaceIf(key, tag) => self.replace_if(key, tag),
            Op::CompareExchange { key, expect } => self.compare_exchange(key, expect),
            Op::Remove(key) => self.remove(key),
            Op::RemoveIf(key, tag) => self.remove_if(key, tag),
            Op::Update(key, edit) => self.update(key, edit),
            Op::SetTag(key, tag) => self.set_tag(key, tag),
            Op::ClearTag(key, tag) => self.clear_tag(key, tag),
            Op::UpdateTags { key, set, clear } => self.update_tags(key, set, clear),
            Op::TagIndices { keys, set, clear } => self.tag_indices(keys, set, clear),
            _ => return false,
        }
        true
    }

    fn insert(&mut self, key: Key, tags: Option<Bits>) {
        let index = self.territory.place(key);
        let (item, stamp) = self.new_item(index);
        let old = match tags {
            None => self.pinned.insert(index, item),
            Some(tags) => self.pinned.insert_tagged(index, item, tags.set()),
        };
        let old = old.map(|old| stamp_at(index, &old));
        assert_eq!(old, self.model.insert(index, stamp, tags.unwrap_or_default()));
    }

    fn try_insert(&mut self, key: Key, tags: Option<Bits>) {
        let index = self.territory.place(key);
        let (item, stamp) = self.new_item(index);
        let result = match tags {
            None => self.pinned.try_insert(index, item),
            Some(tags) => self.pinned.try_insert_tagged(index, item, tags.set()),
        };
        match result {
            Ok(new) => {
                assert_eq!(stamp_at(index, &new), stamp);
                assert_eq!(self.model.insert(index, stamp, tags.unwrap_or_default()), None);
            }
            Err(error) => {
                assert_eq!(error.value.stamp, stamp, "the rejected value comes back");
                assert_eq!(Some(stamp_at(index, &error.current)), self.model.stamp(index));
            }
        }
    }

    fn get_or_insert(&mut self, key: Key) {
        let index = self.territory.place(key);
        let (item, stamp) = self.new_item(index);
        let mut made = false;
        let found = self.pinned.get_or_insert_with(index, || {
            made = true;
            item
        });
        assert_eq!(made, self.model.get(index).is_none(), "made only where absent");
        if made {
            self.model.insert(index, stamp, Bits(0));
        }
        assert_eq!(Some(stamp_at(index, &found)), self.model.stamp(index));
    }

    fn replace_if(&mut self, key: Key, tag: Tag) {
        let index = self.territory.place(key);
        let (item, stamp) = self.new_item(index);
        let entry = self.model.get(index);
        let result = self.pinned.replace_if(index, item, |current, tags| {
            assert_eq!(
                entry.map(|e| (e.stamp, e.tags)),
                Some((stamp_at(index, &current), tags.into()))
            );
            tags.contains(tag)
        });
        match result {
            Ok(old) => {
                assert!(entry.is_some_and(|e| e.tags.has(tag)));
                assert_eq!(Some(stamp_at(index, &old)), self.model.insert(index, stamp, Bits(0)));
            }
            Err(error) => {
                assert!(!entry.is_some_and(|e| e.tags.has(tag)));
                assert_eq!(error.value.stamp, stamp, "the rejected value comes back");
                assert_eq!(
                    error.current.map(|item| stamp_at(index, &item)),
                    entry.map(|e| e.stamp)
                );
            }
        }
    }

    /// Replaces the value at `key` if it is the one found at `expect`, which may be another.
    fn compare_exchange(&mut self, key: Key, expect: Key) {
        let (index, expect) = (self.territory.place(key), self.territory.place(expect));
        let (item, stamp) = self.new_item(index);
        let Some(expected) = self.pinned.get(expect) else { return };
        let same = index == expect;
        match self.pinned.compare_exchange(index, expected, item) {
            Ok(old) => {
                assert!(same, "the value of {expect} is not at {index}");
                assert_eq!(Some(stamp_at(index, &old)), self.model.insert(index, stamp, Bits(0)));
            }
            Err(error) => {
                assert!(!same, "the value of {index} was expected and found");
                assert_eq!(error.value.stamp, stamp, "the rejected value comes back");
                assert_eq!(
                    error.current.map(|item| stamp_at(index, &item)),
                    self.model.stamp(index)
                );
            }
        }
    }

    fn remove(&mut self, key: Key) {
        let index = self.territory.place(key);
        let old = self.pinned.remove(index).map(|old| stamp_at(index, &old));
        assert_eq!(old, self.model.remove(index));
    }

    fn remove_if(&mut self, key: Key, tag: Tag) {
        let index = self.territory.place(key);
        let old = self.pinned.remove_if(index, |item, tags| {
            stamp_at(index, &item);
            tags.contains(tag)
        });
        let entry = self.model.get(index);
        let expected = match entry {
            Some(entry) if entry.tags.has(tag) => {
                Ok(self.model.remove(index).expect("there is an entry"))
            }
            entry => Err(entry.map(|entry| entry.stamp)),
        };
        let found = old.map(|old| stamp_at(index, &old));
        let found = found.map_err(|error| error.current.map(|item| stamp_at(index, &item)));
        assert_eq!(found, expected);
    }

    fn update(&mut self, key: Key, edit: Edit) {
        let index = self.territory.place(key);
        let (first, _) = self.new_item(index);
        let (second, stamp) = self.new_item(index);
        let entry = self.model.get(index);
        let section = || {
            self.pinned.update(index, |slot| {
                let found = (stamp_at(index, &slot.value()), Bits::from(slot.tags()));
                assert_eq!(Some(found), entry.map(|e| (e.stamp, e.tags)));
                slot.clear(edit.clear.set());
                slot.set(edit.set.set());
                assert_eq!(Bits::from(slot.tags()), found.1.edited(edit.set, edit.clear));
                if edit.replace {
                    assert_eq!(slot.replace(Arc::clone(&first)), None, "nothing was given before");
                    assert_eq!(
                        slot.replace(second),
                        Some(first),
                        "what was given before comes back"
                    );
                }
                if edit.remove {
                    slot.remove();
                }
                if edit.panic {
                    resume_unwind(Box::new("section"));
                }
            })
        };
        match catch_unwind(AssertUnwindSafe(section)) {
            Ok(outcome) => assert_eq!(outcome.is_some(), entry.is_some()),
            Err(reason) if edit.panic && reason.is::<&str>() && entry.is_some() => return,
            Err(reason) => resume_unwind(reason),
        }
        if entry.is_some() {
            self.model.tag(index, edit.set, edit.clear);
            if edit.replace {
                self.model.insert(index, stamp, Bits(0));
            }
            if edit.remove {
                self.model.remove(index);
            }
        }
    }

    fn set_tag(&mut self, key: Key, tag: Tag) {
        let index = self.territory.place(key);
        let changed = self.model.tag(index, Bits(0).with(tag), Bits(0));
        assert_eq!(self.pinned.set_tag(index, tag), changed.map(|(before, after)| before != after));
    }

    fn clear_tag(&mut self, key: Key, tag: Tag) {
        let index = self.territory.place(key);
        let changed = self.model.tag(index, Bits(0), Bits(0).with(tag));
        assert_eq!(
            self.pinned.clear_tag(index, tag),
            changed.map(|(before, after)| before != after)
        );
    }

    fn update_tags(&mut self, key: Key, set: Bits, clear: Bits) {
        let index = self.territory.place(key);
        let flags = self.flags();
        let expected = self.model.tag(index, set, clear);
        let update = self.pinned.update_tags(index, set.set(), clear.set());
        assert_eq!(update.map(|u| (Bits::from(u.before), Bits::from(u.after))), expected);
        if let (Some(update), Territory::Whole) = (update, self.territory) {
            let now = self.flags();
            assert_edges(update.tree_edges, Bits(now.0 & !flags.0), Bits(flags.0 & !now.0));
        }
    }

    fn tag_indices(&mut self, keys: [Key; 4], set: Bits, clear: Bits) {
        let indices = keys.map(|key| self.territory.place(key));
        let changed = self.pinned.tag_indices(&indices, set.set(), clear.set());
        let mut differs = |index| {
            self.model.tag(index, set, clear).is_some_and(|(before, after)| before != after)
        };
        assert_eq!(changed, indices.into_iter().filter(|&index| differs(index)).count() as u64);
    }

    /// Changes of many entries; false if `op` is none. Only `retain` spares the entries of
    /// other sessions; the rest is left out where there are any.
    pub(super) fn write_many(&mut self, op: Op) -> bool {
        let alone = self.territory.is_whole();
        match op {
            Op::Retain(filter) => self.retain(filter),
            Op::TagRange { span, set, clear } if alone => self.tag_range(span, set, clear),
            Op::TagRangeIfTagged { span, from, to, limit } if alone => {
                self.tag_range_if_tagged(span, from, to, limit.into());
            }
            Op::RemoveRange(span) if alone => {
                let removed = self.model.select(span, Filter::ANY);
                assert_eq!(self.pinned.remove_range(span.bounds()), removed.len() as u64);
                self.model.entries.retain(|index, _| !span.contains(*index));
            }
            Op::Cursor { from, steps, tag } if alone => self.cursor(from.index(), steps, tag),
            Op::InsertAtAbsent(span) if alone => self.insert_at_absent(span),
            Op::Extend(key, count) if alone => self.extend(key.index(), count),
            Op::TagRange { .. }
            | Op::TagRangeIfTagged { .. }
            | Op::RemoveRange(_)
            | Op::InsertAtAbsent(_)
            | Op::Cursor { .. }
            | Op::Extend(..) => {}
            _ => return false,
        }
        true
    }

    fn retain(&mut self, filter: Filter) {
        let territory = self.territory;
        let removed = self.pinned.retain(|index, item, tags| {
            stamp_at(index, &item);
            !territory.owns(index) || filter.matches(tags.into())
        });
        let before = self.model.entries.len();
        self.model.entries.retain(|_, entry| filter.matches(entry.tags));
        assert_eq!(removed, (before - self.model.entries.len()) as u64);
    }

    fn tag_range(&mut self, span: Span, set: Bits, clear: Bits) {
        let changed = self.pinned.tag_range(span.bounds(), set.set(), clear.set());
        let inside = self.model.select(span, Filter::ANY);
        let differ = inside.iter().filter(|(index, _)| {
            self.model.tag(*index, set, clear).is_some_and(|(before, after)| before != after)
        });
        assert_eq!(changed, differ.count() as u64);
    }

    /// Checks that the first entries up to the limit get the tag, and where to go on.
    fn tag_range_if_tagged(&mut self, span: Span, from: Tag, to: Tag, limit: u64) {
        let filter = Filter { all_of: Bits(0).with(from), none_of: Bits(0).with(to) };
        let mut waiting = if from == to { Vec::new() } else { self.model.select(span, filter) };
        let done = self.pinned.tag_range_if_tagged(span.bounds(), from, to, limit);
        let expected = waiting.len().min(usize::try_from(limit).expect("a small limit"));
        assert_eq!(done.count, expected as u64, "entries changed");
        let left = waiting.split_off(expected);
        for (index, _) in &waiting {
            self.model.tag(*index, Bits(0).with(to), Bits(0));
        }
        match done.next {
            None => assert!(left.is_empty(), "ended before {:?}", left[0]),
            Some(next) => {
                assert_eq!(done.count, limit, "stopped before the limit");
                assert!(span.contains(next), "goes on outside the range");
                assert!(waiting.last().is_none_or(|(index, _)| *index < next), "goes on too early");
                assert!(left.first().is_none_or(|(index, _)| *index >= next), "goes on too late");
            }
        }
    }

    fn cursor(&mut self, from: u64, mut steps: u32, tag: Tag) {
        let cursor = self.pinned.tree().cursor();
        let mut at = self.model.next(from).map(|entry| entry.0);
        assert_eq!(cursor.seek(from).map(|entry| entry.0), at);
        while steps != 0 {
            let (up, change) = (steps & 1 == 0, steps >> 1 & 3);
            steps >>= 3;
            let next = match (up, at) {
                (true, at) => {
                    at.map_or(Some(0), |at| at.checked_add(1)).and_then(|i| self.model.next(i))
                }
                (false, None) => self.model.prev(u64::MAX),
                (false, Some(at)) => at.checked_sub(1).and_then(|i| self.model.prev(i)),
            };
            let found = if up { cursor.next() } else { cursor.prev() };
            assert_eq!(found.map(|(index, item)| (index, stamp_at(index, &item))), next, "step");
            at = next.map(|entry| entry.0).or(at);
            assert_eq!(cursor.index(), at);
            let there = at.and_then(|at| self.model.get(at));
            match (change, at) {
                (0, Some(at)) => {
                    assert_eq!(
                        cursor.remove().map(|item| stamp_at(at, &item)),
                        there.map(|e| e.stamp)
                    );
                    self.model.remove(at);
                }
                (1, Some(at)) => {
                    assert_eq!(cursor.set_tag(tag), there.map(|entry| !entry.tags.has(tag)));
                    self.model.tag(at, Bits(0).with(tag), Bits(0));
                }
                _ => {}
            }
        }
    }

    fn insert_at_absent(&mut self, span: Span) {
        let ends = span.ends();
        let expected =
            ends.and_then(|(low, high)| self.model.next_absent(low).filter(|index| *index <= high));
        let (item, stamp) = self.new_item(expected.unwrap_or(0));
        match self.pinned.insert_at_absent(span.bounds(), item) {
            Ok(index) => {
                assert_eq!(Some(index), expected, "the lowest absent index");
                self.model.insert(index, stamp, Bits(0));
            }
            Err(error) => {
                assert_eq!(error.value.stamp, stamp, "the rejected value comes back");
                assert_eq!(expected, None, "there is room");
            }
        }
    }

    fn extend(&mut self, start: u64, count: u8) {
        let last = start.saturating_add(count.into());
        let items: Vec<_> = (start..=last).map(|index| (index, self.new_item(index))).collect();
        self.pinned
            .tree()
            .extend(items.iter().map(|(index, (item, _))| (*index, Arc::clone(item))));
        for (index, (_, stamp)) in items {
            self.model.insert(index, stamp, Bits(0));
        }
    }
}
