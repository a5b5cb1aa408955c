//! A lock-free skip list.

use crossbeam_epoch::Guard;
use crossbeam_skiplist::SkipMap;

use super::{Ability, Index, Value, value_of, word};

/// `SkipMap<u64, Value>`.
pub(super) struct Skip(SkipMap<u64, Value>);

/// The map and a guard: each call takes its own, which is cheap while one is held.
pub(super) struct Pinned<'a>(&'a SkipMap<u64, Value>, Guard);

impl Index for Skip {
    const ABILITIES: &'static [Ability] = &[Ability::Map, Ability::Iterate, Ability::Scan];

    type Read<'a> = Pinned<'a>;
    type Write<'a> = Pinned<'a>;

    fn with_key_bits(_: u32) -> Skip {
        Skip(SkipMap::new())
    }

    #[inline]
    fn read(&self) -> Pinned<'_> {
        Pinned(&self.0, crossbeam_epoch::pin())
    }

    #[inline]
    fn write(&self) -> Pinned<'_> {
        self.read()
    }

    #[inline]
    fn get(Pinned(map, _guard): &Pinned<'_>, key: u64) -> u64 {
        map.get(&key).map_or(0, |entry| word(entry.value()))
    }

    #[inline]
    fn insert(Pinned(map, _guard): &mut Pinned<'_>, key: u64) {
        map.insert(key, value_of(key));
    }

    #[inline]
    fn remove(Pinned(map, _guard): &mut Pinned<'_>, key: u64) -> bool {
        map.remove(&key).is_some()
    }

    fn iterate(Pinned(map, _guard): &Pinned<'_>, mut visit: impl FnMut(u64, u64)) {
        map.iter().for_each(|entry| visit(*entry.key(), word(entry.value())));
    }

    fn scan(
        Pinned(map, _guard): &Pinned<'_>,
        from: u64,
        count: usize,
        mut visit: impl FnMut(u64, u64),
    ) {
        map.range(from..).take(count).for_each(|entry| visit(*entry.key(), word(entry.value())));
    }
}
