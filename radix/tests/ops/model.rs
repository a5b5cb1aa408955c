//! What a tree must contain: an ordered map from index to value stamp and tags.

use std::collections::BTreeMap;

use tagged_radix::Tag;

use super::data::{Bits, Filter, Span};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) stamp: u64,
    pub(crate) tags: Bits,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) entries: BTreeMap<u64, Entry>,
    stamps: u64,
}

impl Model {
    /// A stamp no value has had.
    pub(crate) fn new_stamp(&mut self) -> u64 {
        self.stamps += 1;
        self.stamps
    }

    pub(crate) fn get(&self, index: u64) -> Option<Entry> {
        self.entries.get(&index).copied()
    }

    pub(crate) fn stamp(&self, index: u64) -> Option<u64> {
        self.get(index).map(|entry| entry.stamp)
    }

    /// Stores a value, adding `tags` to those kept; returns the stamp of the old one.
    pub(crate) fn insert(&mut self, index: u64, stamp: u64, tags: Bits) -> Option<u64> {
        let old = self.get(index);
        let kept = old.map_or(Bits(0), |entry| entry.tags);
        self.entries.insert(index, Entry { stamp, tags: kept.edited(tags, Bits(0)) });
        old.map(|entry| entry.stamp)
    }

    pub(crate) fn remove(&mut self, index: u64) -> Option<u64> {
        self.entries.remove(&index).map(|entry| entry.stamp)
    }

    /// Changes the tags of an entry; returns those before and after.
    pub(crate) fn tag(&mut self, index: u64, set: Bits, clear: Bits) -> Option<(Bits, Bits)> {
        let entry = self.entries.get_mut(&index)?;
        let before = entry.tags;
        entry.tags = before.edited(set, clear);
        Some((before, entry.tags))
    }

    /// The root flags: which tags any entry has.
    pub(crate) fn flags(&self) -> Bits {
        Bits(self.entries.values().fold(0, |flags, entry| flags | entry.tags.0))
    }

    pub(crate) fn any_tagged(&self, tag: Tag) -> bool {
        self.flags().has(tag)
    }

    /// Entries in `span` that match `filter`, ascending.
    pub(crate) fn select(&self, span: Span, filter: Filter) -> Vec<(u64, Entry)> {
        let entries = self.entries.iter().map(|(index, entry)| (*index, *entry));
        entries
            .filter(|(index, entry)| span.contains(*index) && filter.matches(entry.tags))
            .collect()
    }

    pub(crate) fn next(&self, index: u64) -> Option<(u64, u64)> {
        self.entries.range(index..).next().map(|(index, entry)| (*index, entry.stamp))
    }

    pub(crate) fn prev(&self, index: u64) -> Option<(u64, u64)> {
        self.entries.range(..=index).next_back().map(|(index, entry)| (*index, entry.stamp))
    }

    pub(crate) fn next_absent(&self, index: u64) -> Option<u64> {
        let run = self.entries.range(index..).map(|e| *e.0);
        run.zip(index..=u64::MAX).find(|(found, sought)| found != sought).map_or_else(
            || index.checked_add(self.entries.range(index..).count() as u64),
            |(_, absent)| Some(absent),
        )
    }

    pub(crate) fn prev_absent(&self, index: u64) -> Option<u64> {
        let mut absent = index;
        while self.entries.contains_key(&absent) {
            absent = absent.checked_sub(1)?;
        }
        Some(absent)
    }
}
