//! A trie of B+-trees, with byte strings for keys.

use masstree::{MassTree, RangeBound};

use super::{Ability, Index, value_of, word};

/// `MassTree<u64>`: it holds addresses, under big-endian keys.
pub(super) struct Mass(MassTree<u64>);

/// The tree and the guard its methods ask for.
pub(super) struct Pinned<'a>(&'a MassTree<u64>, seize::LocalGuard<'a>);

#[inline]
fn number(key: &[u8]) -> u64 {
    key.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

impl Index for Mass {
    const ABILITIES: &'static [Ability] = &[Ability::Map, Ability::Iterate, Ability::Scan];

    type Read<'a> = Pinned<'a>;
    type Write<'a> = Pinned<'a>;

    fn with_key_bits(_: u32) -> Mass {
        Mass(MassTree::new())
    }

    #[inline]
    fn read(&self) -> Pinned<'_> {
        Pinned(&self.0, self.0.guard())
    }

    #[inline]
    fn write(&self) -> Pinned<'_> {
        self.read()
    }

    #[inline]
    fn get(Pinned(tree, guard): &Pinned<'_>, key: u64) -> u64 {
        tree.get_with_guard(&key.to_be_bytes(), guard).unwrap_or(0)
    }

    #[inline]
    fn insert(Pinned(tree, guard): &mut Pinned<'_>, key: u64) {
        tree.insert_with_guard(&key.to_be_bytes(), word(value_of(key)), guard);
    }

    #[inline]
    fn remove(Pinned(tree, guard): &mut Pinned<'_>, key: u64) -> bool {
        matches!(tree.remove_with_guard(&key.to_be_bytes(), guard), Ok(Some(_)))
    }

    fn iterate(Pinned(tree, guard): &Pinned<'_>, mut visit: impl FnMut(u64, u64)) {
        let each = |key: &[u8], word| {
            visit(number(key), word);
            true
        };
        tree.scan_intra_leaf_batch(RangeBound::Unbounded, RangeBound::Unbounded, each, guard);
    }

    fn scan(
        Pinned(tree, guard): &Pinned<'_>,
        from: u64,
        count: usize,
        mut visit: impl FnMut(u64, u64),
    ) {
        let mut left = count;
        let each = |key: &[u8], word| {
            visit(number(key), word);
            left -= 1;
            left > 0
        };
        let start = from.to_be_bytes();
        tree.scan(RangeBound::Included(&start), RangeBound::Unbounded, each, guard);
    }
}
