//! A hash map in shards, each behind a lock.

use dashmap::DashMap;

use super::{Ability, Hasher, Index, Value, value_of, word};

/// `DashMap<u64, Value>`: there is no guard for more than one operation.
pub(super) struct Sharded(DashMap<u64, Value, Hasher>);

impl Index for Sharded {
    const ABILITIES: &'static [Ability] = &[Ability::Map, Ability::Iterate];

    type Read<'a> = &'a DashMap<u64, Value, Hasher>;
    type Write<'a> = &'a DashMap<u64, Value, Hasher>;

    fn with_key_bits(_: u32) -> Sharded {
        Sharded(DashMap::default())
    }

    #[inline]
    fn read(&self) -> Self::Read<'_> {
        &self.0
    }

    #[inline]
    fn write(&self) -> Self::Write<'_> {
        &self.0
    }

    #[inline]
    fn get(map: &Self::Read<'_>, key: u64) -> u64 {
        map.get(&key).map_or(0, |entry| word(entry.value()))
    }

    #[inline]
    fn insert(map: &mut Self::Write<'_>, key: u64) {
        map.insert(key, value_of(key));
    }

    #[inline]
    fn remove(map: &mut Self::Write<'_>, key: u64) -> bool {
        map.remove(&key).is_some()
    }

    fn iterate(map: &Self::Read<'_>, mut visit: impl FnMut(u64, u64)) {
        map.iter().for_each(|entry| visit(*entry.key(), word(entry.value())));
    }
}
