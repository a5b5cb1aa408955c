//! An adaptive radix tree.

use congee::Congee;
use congee::epoch::Guard;

use super::{Ability, Index, narrow, value_of, word};

/// `Congee<usize, usize>`: it holds addresses.
pub(super) struct Art(Congee<usize, usize>);

/// The tree and the guard its methods ask for.
pub(super) struct Pinned<'a>(&'a Congee<usize, usize>, Guard);

/// Entries asked for at a time in iteration.
const BATCH: usize = 256;

/// Visits up to `count` entries from `from` on, no more than fit into `batch`; returns how many.
#[inline]
fn visit_batch(
    Pinned(tree, guard): &Pinned<'_>,
    from: u64,
    batch: &mut [(usize, usize)],
    mut visit: impl FnMut(u64, u64),
) -> usize {
    let found = tree.range(&narrow(from), &usize::MAX, batch, guard);
    batch[..found].iter().for_each(|&(key, word)| visit(key as u64, word as u64));
    found
}

impl Index for Art {
    const ABILITIES: &'static [Ability] = &[Ability::Map, Ability::Iterate, Ability::Scan];

    type Read<'a> = Pinned<'a>;
    type Write<'a> = Pinned<'a>;

    fn with_key_bits(_: u32) -> Art {
        Art(Congee::default())
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
    fn get(Pinned(tree, guard): &Pinned<'_>, key: u64) -> u64 {
        tree.get(&narrow(key), guard).map_or(0, |word| word as u64)
    }

    #[inline]
    fn insert(Pinned(tree, guard): &mut Pinned<'_>, key: u64) {
        let inserted = tree.insert(narrow(key), narrow(word(value_of(key))), guard);
        assert!(inserted.is_ok(), "out of memory");
    }

    #[inline]
    fn remove(Pinned(tree, guard): &mut Pinned<'_>, key: u64) -> bool {
        tree.remove(&narrow(key), guard).is_some()
    }

    fn iterate(pinned: &Pinned<'_>, mut visit: impl FnMut(u64, u64)) {
        let mut batch = [(0, 0); BATCH];
        let mut from = Some(0);
        while let Some(start) = from {
            let found = visit_batch(pinned, start, &mut batch, &mut visit);
            from = (found == BATCH)
                .then(|| batch[BATCH - 1].0 as u64)
                .and_then(|key| key.checked_add(1));
        }
    }

    #[inline]
    fn scan(pinned: &Pinned<'_>, from: u64, count: usize, visit: impl FnMut(u64, u64)) {
        let mut batch = [(0, 0); BATCH];
        visit_batch(pinned, from, &mut batch[..count], visit);
    }
}
