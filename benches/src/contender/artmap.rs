//! An adaptive radix tree with optimistic lock coupling.

use artmap::{ArtMap, Guard};

use super::{Ability, Index, Value, value_of, word};

/// `ArtMap<[u8; 8], Value>`: keys as big-endian bytes, which its documentation gives for integers.
pub(super) struct Art(ArtMap<[u8; 8], Value>);

/// The map and the guard its methods ask for; `remove` takes one of its own beside it.
pub(super) struct Pinned<'a>(&'a ArtMap<[u8; 8], Value>, Guard<'a>);

impl Index for Art {
    const ABILITIES: &'static [Ability] = &[Ability::Map, Ability::Iterate, Ability::Scan];

    type Read<'a> = Pinned<'a>;
    type Write<'a> = Pinned<'a>;

    fn with_key_bits(_: u32) -> Art {
        Art(ArtMap::new())
    }

    #[inline]
    fn read(&self) -> Pinned<'_> {
        Pinned(&self.0, self.0.pin())
    }

    #[inline]
    fn write(&self) -> Pinned<'_> {
        self.read()
    }

    #[inline]
    fn get(Pinned(map, guard): &Pinned<'_>, key: u64) -> u64 {
        map.get_with_guard(&key.to_be_bytes(), guard).map_or(0, |entry| word(entry.value()))
    }

    #[inline]
    fn insert(Pinned(map, guard): &mut Pinned<'_>, key: u64) {
        map.insert_with_guard(key.to_be_bytes(), value_of(key), guard);
    }

    #[inline]
    fn remove(Pinned(map, _guard): &mut Pinned<'_>, key: u64) -> bool {
        map.remove(&key.to_be_bytes()).is_some()
    }

    fn iterate(Pinned(map, guard): &Pinned<'_>, mut visit: impl FnMut(u64, u64)) {
        map.iter_with_guard(guard)
            .for_each(|entry| visit(u64::from_be_bytes(*entry.key()), word(entry.value())));
    }

    #[inline]
    fn scan(
        Pinned(map, guard): &Pinned<'_>,
        from: u64,
        count: usize,
        mut visit: impl FnMut(u64, u64),
    ) {
        map.range_with_guard(from.to_be_bytes().., guard)
            .take(count)
            .for_each(|entry| visit(u64::from_be_bytes(*entry.key()), word(entry.value())));
    }
}
