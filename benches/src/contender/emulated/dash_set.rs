//! A sharded hash map of entries and a locked ordered set of the tagged keys.

use std::collections::BTreeSet;

use dashmap::DashMap;
use parking_lot::Mutex;
use tagged_radix::ArrayVec;

use super::{Ability, Filter, Hasher, Index, Value, next, value_of, word};

/// `DashMap` and `Mutex<BTreeSet>`.
pub(in super::super) struct DashSet {
    entries: DashMap<u64, Value, Hasher>,
    tagged: Mutex<BTreeSet<u64>>,
}

impl Index for DashSet {
    const ABILITIES: &'static [Ability] = &[Ability::Tag];

    type Read<'a> = &'a DashSet;
    type Write<'a> = &'a DashSet;

    fn with_key_bits(_: u32) -> DashSet {
        DashSet { entries: DashMap::default(), tagged: Mutex::default() }
    }

    #[inline]
    fn read(&self) -> &DashSet {
        self
    }

    #[inline]
    fn write(&self) -> &DashSet {
        self
    }

    #[inline]
    fn get(this: &&DashSet, key: u64) -> u64 {
        this.entries.get(&key).map_or(0, |entry| word(entry.value()))
    }

    #[inline]
    fn insert(this: &mut &DashSet, key: u64) {
        this.entries.insert(key, value_of(key));
    }

    #[inline]
    fn remove(this: &mut &DashSet, key: u64) -> bool {
        let removed = this.entries.remove(&key).is_some();
        this.tagged.lock().remove(&key);
        removed
    }

    #[inline]
    fn set(this: &mut &DashSet, key: u64, check: bool) -> bool {
        (!check || this.entries.contains_key(&key)) && this.tagged.lock().insert(key)
    }

    #[inline]
    fn clear(this: &mut &DashSet, key: u64, check: bool) -> bool {
        (!check || this.entries.contains_key(&key)) && this.tagged.lock().remove(&key)
    }

    fn gang<const N: usize>(
        &self,
        _: Filter,
        from: u64,
        mut visit: impl FnMut(u64, u64),
    ) -> Option<u64> {
        let batch: ArrayVec<u64, N> = self.tagged.lock().range(from..).take(N).copied().collect();
        for &key in &batch {
            if let Some(entry) = self.entries.get(&key) {
                visit(key, word(entry.value()));
            }
        }
        next(batch.len(), N, *batch.last()?)
    }
}
