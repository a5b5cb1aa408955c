//! What a cache starts with: a map of the standard library behind one lock.

use std::collections::{BTreeMap, HashMap};
use std::mem;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Ability, Hasher, Index, Value, value_of, word};

/// `RwLock<BTreeMap<u64, Value>>`.
pub(super) struct Tree(RwLock<BTreeMap<u64, Value>>);

impl Index for Tree {
    const ABILITIES: &'static [Ability] =
        &[Ability::Map, Ability::Iterate, Ability::Scan, Ability::RemoveRange];

    type Read<'a> = RwLockReadGuard<'a, BTreeMap<u64, Value>>;
    type Write<'a> = RwLockWriteGuard<'a, BTreeMap<u64, Value>>;

    fn with_key_bits(_: u32) -> Tree {
        Tree(RwLock::default())
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
    fn get(map: &Self::Read<'_>, key: u64) -> u64 {
        map.get(&key).map_or(0, |value| word(value))
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
        map.iter().for_each(|(key, value)| visit(*key, word(value)));
    }

    fn scan(map: &Self::Read<'_>, from: u64, count: usize, mut visit: impl FnMut(u64, u64)) {
        map.range(from..).take(count).for_each(|(key, value)| visit(*key, word(value)));
    }

    fn remove_range(map: &mut Self::Write<'_>) {
        let whole = map.split_off(&0);
        mem::drop(whole);
    }
}

/// `RwLock<HashMap<u64, Value>>`.
pub(super) struct Hashed(RwLock<HashMap<u64, Value, Hasher>>);

impl Index for Hashed {
    const ABILITIES: &'static [Ability] = &[Ability::Map, Ability::Iterate];

    type Read<'a> = RwLockReadGuard<'a, HashMap<u64, Value, Hasher>>;
    type Write<'a> = RwLockWriteGuard<'a, HashMap<u64, Value, Hasher>>;

    fn with_key_bits(_: u32) -> Hashed {
        Hashed(RwLock::default())
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
    fn get(map: &Self::Read<'_>, key: u64) -> u64 {
        map.get(&key).map_or(0, |value| word(value))
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
        map.iter().for_each(|(key, value)| visit(*key, word(value)));
    }
}
