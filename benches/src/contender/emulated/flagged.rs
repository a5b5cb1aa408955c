//! A concurrent B+-tree of entries with a flag each; tagged ones are found by looking at all.

use std::sync::atomic::{AtomicBool, Ordering};

use scc::{Guard, TreeIndex};

use super::{Ability, Filter, Index, Value, next, value_of, word};

/// `TreeIndex<u64, (Value, AtomicBool)>`.
pub(in super::super) struct Flagged(TreeIndex<u64, Entry>);

/// The tree and a guard.
pub(in super::super) struct Pinned<'a>(&'a TreeIndex<u64, Entry>, Guard);

struct Entry {
    value: Value,
    tagged: AtomicBool,
}

// `TreeIndex` asks for it: it moves entries between nodes by cloning them, and a flag set meanwhile may be lost.
impl Clone for Entry {
    fn clone(&self) -> Entry {
        Entry { value: self.value, tagged: AtomicBool::new(self.tagged.load(Ordering::Acquire)) }
    }
}

impl Pinned<'_> {
    #[inline]
    fn change(&self, key: u64, tagged: bool) -> bool {
        let entry = self.0.peek(&key, &self.1);
        entry.is_some_and(|entry| entry.tagged.swap(tagged, Ordering::AcqRel) != tagged)
    }
}

impl Index for Flagged {
    const ABILITIES: &'static [Ability] = &[Ability::Tag];

    type Read<'a> = Pinned<'a>;
    type Write<'a> = Pinned<'a>;

    fn with_key_bits(_: u32) -> Flagged {
        Flagged(TreeIndex::new())
    }

    #[inline]
    fn read(&self) -> Pinned<'_> {
        Pinned(&self.0, Guard::new())
    }

    #[inline]
    fn write(&self) -> Pinned<'_> {
        self.read()
    }

    #[inline]
    fn get(Pinned(tree, guard): &Pinned<'_>, key: u64) -> u64 {
        tree.peek(&key, guard).map_or(0, |entry| word(entry.value))
    }

    #[inline]
    fn insert(Pinned(tree, _): &mut Pinned<'_>, key: u64) {
        let _ =
            tree.insert_sync(key, Entry { value: value_of(key), tagged: AtomicBool::new(false) });
    }

    #[inline]
    fn remove(Pinned(tree, _): &mut Pinned<'_>, key: u64) -> bool {
        tree.remove_sync(&key)
    }

    // The flag is where the entry is: it always checks.
    #[inline]
    fn set(pinned: &mut Pinned<'_>, key: u64, _check: bool) -> bool {
        pinned.change(key, true)
    }

    #[inline]
    fn clear(pinned: &mut Pinned<'_>, key: u64, _check: bool) -> bool {
        pinned.change(key, false)
    }

    fn gang<const N: usize>(
        &self,
        _: Filter,
        from: u64,
        mut visit: impl FnMut(u64, u64),
    ) -> Option<u64> {
        let guard = Guard::new();
        let (mut taken, mut last) = (0, from);
        let entries = self.0.range::<u64, _>(from.., &guard);
        let tagged = entries.filter(|(_, entry)| entry.tagged.load(Ordering::Acquire));
        for (&key, entry) in tagged.take(N) {
            visit(key, word(entry.value));
            (taken, last) = (taken + 1, key);
        }
        next(taken, N, last)
    }
}
