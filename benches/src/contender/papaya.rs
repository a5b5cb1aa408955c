//! A lock-free hash map.

use papaya::{HashMap, HashMapRef, LocalGuard};

use super::{Ability, Hasher, Index, Value, value_of, word};

/// `HashMap<u64, Value>`.
pub(super) struct Papaya(HashMap<u64, Value, Hasher>);

type Pinned<'a> = HashMapRef<'a, u64, Value, Hasher, LocalGuard<'a>>;

impl Index for Papaya {
    const ABILITIES: &'static [Ability] = &[Ability::Map, Ability::Iterate];

    type Read<'a> = Pinned<'a>;
    type Write<'a> = Pinned<'a>;

    fn with_key_bits(_: u32) -> Papaya {
        Papaya(HashMap::default())
    }

    #[inline]
    fn read(&self) -> Pinned<'_> {
        self.0.pin()
    }

    #[inline]
    fn write(&self) -> Pinned<'_> {
        self.0.pin()
    }

    #[inline]
    fn get(map: &Pinned<'_>, key: u64) -> u64 {
        map.get(&key).map_or(0, |value| word(value))
    }

    #[inline]
    fn insert(map: &mut Pinned<'_>, key: u64) {
        map.insert(key, value_of(key));
    }

    #[inline]
    fn remove(map: &mut Pinned<'_>, key: u64) -> bool {
        map.remove(&key).is_some()
    }

    fn iterate(map: &Pinned<'_>, mut visit: impl FnMut(u64, u64)) {
        map.iter().for_each(|(key, value)| visit(*key, word(value)));
    }
}
