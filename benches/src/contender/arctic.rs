//! A lock-free adaptive radix tree.

use arctic::{ConcurrentMap, Order};

use super::{Ability, Index, value_of, word};

/// `ConcurrentMap<u64, u64>`: it holds addresses. It has no guard to keep: each of its calls takes one.
pub(super) struct Arctic(ConcurrentMap<u64, u64>);

impl Index for Arctic {
    const ABILITIES: &'static [Ability] = &[Ability::Map, Ability::Iterate, Ability::Scan];

    type Read<'a> = &'a ConcurrentMap<u64, u64>;
    type Write<'a> = &'a ConcurrentMap<u64, u64>;

    fn with_key_bits(_: u32) -> Arctic {
        Arctic(ConcurrentMap::default())
    }

    #[inline]
    fn read(&self) -> &ConcurrentMap<u64, u64> {
        &self.0
    }

    #[inline]
    fn write(&self) -> &ConcurrentMap<u64, u64> {
        &self.0
    }

    #[inline]
    fn get(map: &&ConcurrentMap<u64, u64>, key: u64) -> u64 {
        map.get(&key).map_or(0, |word| *word)
    }

    #[inline]
    fn insert(map: &mut &ConcurrentMap<u64, u64>, key: u64) {
        assert!(map.insert(key, word(value_of(key))).is_ok(), "there is nothing at the key");
    }

    #[inline]
    fn remove(map: &mut &ConcurrentMap<u64, u64>, key: u64) -> bool {
        map.remove(&key).is_some()
    }

    fn iterate(map: &&ConcurrentMap<u64, u64>, mut visit: impl FnMut(u64, u64)) {
        map.all().entries(Order::Ascend).for_each(|(key, word)| visit(key, word));
    }

    #[inline]
    fn scan(
        map: &&ConcurrentMap<u64, u64>,
        from: u64,
        count: usize,
        mut visit: impl FnMut(u64, u64),
    ) {
        map.range(from..)
            .entries(Order::Ascend)
            .take(count)
            .for_each(|(key, word)| visit(key, word));
    }
}
