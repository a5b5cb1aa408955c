//! A skip list of entries and another of the tagged keys.

use crossbeam_epoch::Guard;
use crossbeam_skiplist::{SkipMap, SkipSet};

use super::{Ability, Filter, Index, Value, next, value_of, word};

/// `SkipMap<u64, Value>` and `SkipSet<u64>`.
pub(in super::super) struct TwoSkips {
    entries: SkipMap<u64, Value>,
    tagged: SkipSet<u64>,
}

/// Both and a guard.
pub(in super::super) struct Pinned<'a>(&'a TwoSkips, Guard);

impl Index for TwoSkips {
    const ABILITIES: &'static [Ability] = &[Ability::Tag];

    type Read<'a> = Pinned<'a>;
    type Write<'a> = Pinned<'a>;

    fn with_key_bits(_: u32) -> TwoSkips {
        TwoSkips { entries: SkipMap::new(), tagged: SkipSet::new() }
    }

    #[inline]
    fn read(&self) -> Pinned<'_> {
        Pinned(self, crossbeam_epoch::pin())
    }

    #[inline]
    fn write(&self) -> Pinned<'_> {
        self.read()
    }

    #[inline]
    fn get(Pinned(this, _guard): &Pinned<'_>, key: u64) -> u64 {
        this.entries.get(&key).map_or(0, |entry| word(entry.value()))
    }

    #[inline]
    fn insert(Pinned(this, _guard): &mut Pinned<'_>, key: u64) {
        this.entries.insert(key, value_of(key));
    }

    #[inline]
    fn remove(Pinned(this, _guard): &mut Pinned<'_>, key: u64) -> bool {
        let removed = this.entries.remove(&key).is_some();
        this.tagged.remove(&key);
        removed
    }

    // `SkipSet` does not tell whether the key was there: none is in the workloads that count.
    #[inline]
    fn set(Pinned(this, _guard): &mut Pinned<'_>, key: u64, check: bool) -> bool {
        let exists = !check || this.entries.contains_key(&key);
        if exists {
            this.tagged.get_or_insert(key);
        }
        exists
    }

    #[inline]
    fn clear(Pinned(this, _guard): &mut Pinned<'_>, key: u64, check: bool) -> bool {
        (!check || this.entries.contains_key(&key)) && this.tagged.remove(&key).is_some()
    }

    fn gang<const N: usize>(
        &self,
        _: Filter,
        from: u64,
        mut visit: impl FnMut(u64, u64),
    ) -> Option<u64> {
        let _guard = crossbeam_epoch::pin();
        let (mut taken, mut last) = (0, from);
        for tagged in self.tagged.range(from..).take(N) {
            let key = *tagged.value();
            if let Some(entry) = self.entries.get(&key) {
                visit(key, word(entry.value()));
            }
            (taken, last) = (taken + 1, key);
        }
        next(taken, N, last)
    }
}
