//! The containers of `scc`: a B+-tree and two hash maps.

use scc::{Guard, HashIndex, HashMap, TreeIndex};

use super::{Ability, Hasher, Index, Value, value_of, word};

/// A container and a guard for it.
pub(super) struct Guarded<'a, C>(&'a C, Guard);

/// `TreeIndex<u64, Value>`.
pub(super) struct Ordered(TreeIndex<u64, Value>);

impl Index for Ordered {
    const ABILITIES: &'static [Ability] =
        &[Ability::Map, Ability::Iterate, Ability::Scan, Ability::RemoveRange];

    type Read<'a> = Guarded<'a, TreeIndex<u64, Value>>;
    // A change takes its guard itself; one held outside makes that cheap.
    type Write<'a> = Guarded<'a, TreeIndex<u64, Value>>;

    fn with_key_bits(_: u32) -> Ordered {
        Ordered(TreeIndex::new())
    }

    #[inline]
    fn read(&self) -> Self::Read<'_> {
        Guarded(&self.0, Guard::new())
    }

    #[inline]
    fn write(&self) -> Self::Write<'_> {
        self.read()
    }

    #[inline]
    fn get(Guarded(tree, guard): &Self::Read<'_>, key: u64) -> u64 {
        tree.peek(&key, guard).map_or(0, |value| word(value))
    }

    #[inline]
    fn insert(Guarded(tree, _): &mut Self::Write<'_>, key: u64) {
        let _ = tree.insert_sync(key, value_of(key));
    }

    #[inline]
    fn remove(Guarded(tree, _): &mut Self::Write<'_>, key: u64) -> bool {
        tree.remove_sync(&key)
    }

    fn iterate(Guarded(tree, guard): &Self::Read<'_>, mut visit: impl FnMut(u64, u64)) {
        tree.iter(guard).for_each(|(key, value)| visit(*key, word(value)));
    }

    fn scan(
        Guarded(tree, guard): &Self::Read<'_>,
        from: u64,
        count: usize,
        mut visit: impl FnMut(u64, u64),
    ) {
        let entries = tree.range::<u64, _>(from.., guard).take(count);
        entries.for_each(|(key, value)| visit(*key, word(value)));
    }

    fn remove_range(Guarded(tree, _): &mut Self::Write<'_>) {
        tree.remove_range_sync::<u64, _>(..);
    }
}

/// `HashMap<u64, Value>`: locks a bucket.
pub(super) struct Hashed(HashMap<u64, Value, Hasher>);

impl Index for Hashed {
    const ABILITIES: &'static [Ability] = &[Ability::Map, Ability::Iterate];

    type Read<'a> = &'a HashMap<u64, Value, Hasher>;
    type Write<'a> = &'a HashMap<u64, Value, Hasher>;

    fn with_key_bits(_: u32) -> Hashed {
        Hashed(HashMap::default())
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
        map.read_sync(&key, |_, value| word(value)).unwrap_or(0)
    }

    #[inline]
    fn insert(map: &mut Self::Write<'_>, key: u64) {
        let _ = map.insert_sync(key, value_of(key));
    }

    #[inline]
    fn remove(map: &mut Self::Write<'_>, key: u64) -> bool {
        map.remove_sync(&key).is_some()
    }

    fn iterate(map: &Self::Read<'_>, mut visit: impl FnMut(u64, u64)) {
        map.iter_sync(|key, value| {
            visit(*key, word(value));
            true
        });
    }
}

/// `HashIndex<u64, Value>`: reads without locks.
pub(super) struct HashedIndex(HashIndex<u64, Value, Hasher>);

impl Index for HashedIndex {
    const ABILITIES: &'static [Ability] = &[Ability::Map, Ability::Iterate];

    type Read<'a> = Guarded<'a, HashIndex<u64, Value, Hasher>>;
    type Write<'a> = Guarded<'a, HashIndex<u64, Value, Hasher>>;

    fn with_key_bits(_: u32) -> HashedIndex {
        HashedIndex(HashIndex::default())
    }

    #[inline]
    fn read(&self) -> Self::Read<'_> {
        Guarded(&self.0, Guard::new())
    }

    #[inline]
    fn write(&self) -> Self::Write<'_> {
        self.read()
    }

    #[inline]
    fn get(Guarded(map, guard): &Self::Read<'_>, key: u64) -> u64 {
        map.peek(&key, guard).map_or(0, |value| word(value))
    }

    #[inline]
    fn insert(Guarded(map, _): &mut Self::Write<'_>, key: u64) {
        let _ = map.insert_sync(key, value_of(key));
    }

    #[inline]
    fn remove(Guarded(map, _): &mut Self::Write<'_>, key: u64) -> bool {
        map.remove_sync(&key)
    }

    fn iterate(Guarded(map, guard): &Self::Read<'_>, mut visit: impl FnMut(u64, u64)) {
        map.iter(guard).for_each(|(key, value)| visit(*key, word(value)));
    }
}
