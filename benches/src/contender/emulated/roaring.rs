//! An ordered map and compressed bitmaps of the tagged keys behind one lock.

use std::collections::BTreeMap;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use roaring::RoaringTreemap;

use super::{Ability, Filter, Index, Mark, Value, next, value_of, word};

/// `RwLock<(BTreeMap, RoaringTreemap, RoaringTreemap)>`.
pub(in super::super) struct Roaring(RwLock<Parts>);

#[derive(Default)]
pub(in super::super) struct Parts {
    entries: BTreeMap<u64, Value>,
    dirty: RoaringTreemap,
    to_write: RoaringTreemap,
}

impl Parts {
    #[inline]
    fn exists(&self, key: u64, check: bool) -> bool {
        !check || self.entries.contains_key(&key)
    }
}

impl Index for Roaring {
    const ABILITIES: &'static [Ability] = &[Ability::Tag, Ability::TagRange];

    type Read<'a> = RwLockReadGuard<'a, Parts>;
    type Write<'a> = RwLockWriteGuard<'a, Parts>;

    fn with_key_bits(_: u32) -> Roaring {
        Roaring(RwLock::default())
    }

    #[inline]
    fn read(&self) -> Self::Read<'_> {
        self.0.read()
    }

    #[inline]
    fn write(&self) -> Self::Write<'_> {
        self.0.write()
    }

    #[inline]
    fn get(parts: &Self::Read<'_>, key: u64) -> u64 {
        parts.entries.get(&key).map_or(0, |value| word(value))
    }

    #[inline]
    fn insert(parts: &mut Self::Write<'_>, key: u64) {
        parts.entries.insert(key, value_of(key));
    }

    #[inline]
    fn remove(parts: &mut Self::Write<'_>, key: u64) -> bool {
        parts.dirty.remove(key);
        parts.to_write.remove(key);
        parts.entries.remove(&key).is_some()
    }

    #[inline]
    fn set(parts: &mut Self::Write<'_>, key: u64, check: bool) -> bool {
        parts.exists(key, check) && parts.dirty.insert(key)
    }

    #[inline]
    fn clear(parts: &mut Self::Write<'_>, key: u64, check: bool) -> bool {
        parts.exists(key, check) && parts.dirty.remove(key)
    }

    fn gang<const N: usize>(
        &self,
        filter: Filter,
        from: u64,
        mut visit: impl FnMut(u64, u64),
    ) -> Option<u64> {
        let parts = self.0.read();
        let mut dirty = parts.dirty.iter();
        dirty.advance_to(from);
        let chosen = dirty.filter(|&key| filter == Filter::Dirty || !parts.to_write.contains(key));
        let (mut taken, mut last) = (0, from);
        for key in chosen.take(N) {
            if let Some(value) = parts.entries.get(&key) {
                visit(key, word(value));
            }
            (taken, last) = (taken + 1, key);
        }
        next(taken, N, last)
    }

    // The entries are dense where this is measured: it need not look which keys are there.
    fn tag_range(parts: &mut Self::Write<'_>, mark: Mark, on: bool, from: u64) {
        let Some((&last, _)) = parts.entries.last_key_value() else { return };
        let tags = match mark {
            Mark::Dirty => &mut parts.dirty,
            Mark::ToWrite => &mut parts.to_write,
        };
        if on {
            tags.insert_range(from..=last)
        } else {
            tags.remove_range(from..=last)
        };
    }

    fn count(parts: &Self::Read<'_>) -> u64 {
        parts.dirty.len()
    }

    fn retag(parts: &mut Self::Write<'_>) -> u64 {
        let parts = &mut **parts;
        let before = parts.to_write.len();
        parts.to_write |= &parts.dirty;
        parts.to_write.len() - before
    }
}
