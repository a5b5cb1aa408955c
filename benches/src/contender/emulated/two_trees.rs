//! A concurrent B+-tree of entries and another of the tagged keys.

use scc::{Guard, TreeIndex};

use super::{Ability, Filter, Index, Value, next, value_of, word};

/// `TreeIndex<u64, Value>` and `TreeIndex<u64, ()>`.
pub(in super::super) struct TwoTrees {
    entries: TreeIndex<u64, Value>,
    tagged: TreeIndex<u64, ()>,
}

/// Both and a guard.
pub(in super::super) struct Pinned<'a>(&'a TwoTrees, Guard);

impl Index for TwoTrees {
    const ABILITIES: &'static [Ability] = &[Ability::Tag];

    type Read<'a> = Pinned<'a>;
    type Write<'a> = Pinned<'a>;

    fn with_key_bits(_: u32) -> TwoTrees {
        TwoTrees { entries: TreeIndex::new(), tagged: TreeIndex::new() }
    }

    #[inline]
    fn read(&self) -> Pinned<'_> {
        Pinned(self, Guard::new())
    }

    #[inline]
    fn write(&self) -> Pinned<'_> {
        self.read()
    }

    #[inline]
    fn get(Pinned(this, guard): &Pinned<'_>, key: u64) -> u64 {
        this.entries.peek(&key, guard).map_or(0, |value| word(value))
    }

    #[inline]
    fn insert(Pinned(this, _): &mut Pinned<'_>, key: u64) {
        let _ = this.entries.insert_sync(key, value_of(key));
    }

    #[inline]
    fn remove(Pinned(this, _): &mut Pinned<'_>, key: u64) -> bool {
        let removed = this.entries.remove_sync(&key);
        this.tagged.remove_sync(&key);
        removed
    }

    #[inline]
    fn set(Pinned(this, _): &mut Pinned<'_>, key: u64, check: bool) -> bool {
        (!check || this.entries.contains(&key)) && this.tagged.insert_sync(key, ()).is_ok()
    }

    #[inline]
    fn clear(Pinned(this, _): &mut Pinned<'_>, key: u64, check: bool) -> bool {
        (!check || this.entries.contains(&key)) && this.tagged.remove_sync(&key)
    }

    fn gang<const N: usize>(
        &self,
        _: Filter,
        from: u64,
        mut visit: impl FnMut(u64, u64),
    ) -> Option<u64> {
        let guard = Guard::new();
        let (mut taken, mut last) = (0, from);
        for (&key, ()) in self.tagged.range::<u64, _>(from.., &guard).take(N) {
            if let Some(value) = self.entries.peek(&key, &guard) {
                visit(key, word(value));
            }
            (taken, last) = (taken + 1, key);
        }
        next(taken, N, last)
    }
}
