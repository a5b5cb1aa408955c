//! The tree the pairs of operations fight over: a few indices that change, and sentinels that
//! never do, which every scan must report.

use std::sync::Arc;

use rand::{Rng, rngs::SmallRng};

use crate::common::{Ledger, NONE, T0, T1, Tracked, assert_at_rest, assert_untagged};
use tagged_radix::{ArrayVec, Pinned, RadixTree, TagFilter, TagSet};

/// Indices that are fought over: neighbours, borders of leaves, a leaf of its own, one that makes
/// the top come and go.
pub(crate) const FOUGHT: [u64; 12] =
    [0, 1, 2, 62, 63, 64, 65, 127, 128, 4096, 1 << 20, u64::MAX - 1];

/// Sentinels that leave every leaf that is fought over free to go.
const APART: [u64; 6] = [200, 4160, 5000, 300_000, (1 << 20) + 64, 1 << 40];
/// Sentinels within the leaves that are fought over, and at the top.
const AMONG: [u64; 6] = [3, 66, 4097, (1 << 20) + 1, 1 << 40, u64::MAX];

/// A tree with its sentinels, all of which have tag 0 and nothing else forever.
pub(crate) struct Field {
    pub(crate) tree: RadixTree<Arc<Tracked>>,
    pub(crate) ledger: &'static Ledger,
    sentinels: [u64; 6],
}

impl Field {
    pub(crate) fn new(ledger: &'static Ledger, among: bool) -> Field {
        let field =
            Field { tree: RadixTree::new(), ledger, sentinels: if among { AMONG } else { APART } };
        let p = field.tree.pin();
        for index in field.sentinels {
            p.insert_tagged(index, field.value(index), T0.into());
        }
        drop(p);
        field
    }

    pub(crate) fn value(&self, index: u64) -> Arc<Tracked> {
        Arc::new(self.ledger.value(index, 0))
    }

    pub(crate) fn is_sentinel(&self, index: u64) -> bool {
        self.sentinels.contains(&index)
    }

    /// An index that is fought over.
    pub(crate) fn any(random: &mut SmallRng) -> u64 {
        FOUGHT[random.random_range(0..FOUGHT.len())]
    }

    /// A range without sentinels.
    pub(crate) fn gap(&self, random: &mut SmallRng) -> (u64, u64) {
        let from = Field::any(random);
        let mut to = from.saturating_add(random.random_range(0..140));
        if let Some(sentinel) = self.sentinels.into_iter().find(|index| (from..=to).contains(index))
        {
            to = sentinel - 1; // sentinels are not fought over, so this is not below `from`
        }
        (from, to)
    }

    /// Asserts what a scan over the whole tree reported.
    fn assert_scan(&self, reports: impl Iterator<Item = u64>, backward: bool) {
        let mut last = None;
        let mut missing = self.sentinels.len();
        for index in reports {
            let ordered =
                last.is_none_or(|last| if backward { index < last } else { index > last });
            assert!(ordered, "{index} after {last:?}");
            assert!(FOUGHT.contains(&index) || self.is_sentinel(index), "{index} was never there");
            missing -= usize::from(self.is_sentinel(index));
            last = Some(index);
        }
        assert_eq!(missing, 0, "sentinels missed");
    }

    fn check(value: &Tracked, index: u64) -> u64 {
        value.stamp_at(index);
        index
    }

    pub(crate) fn scan_plain(&self, p: &Pinned<'_, Arc<Tracked>>, backward: bool) {
        let checked =
            |(index, value): (u64, tagged_radix::ArcRef<'_, Tracked>)| Field::check(&value, index);
        if backward {
            self.assert_scan(p.iter().rev().map(checked), true);
        } else {
            self.assert_scan(p.iter().map(checked), false);
        }
    }

    pub(crate) fn scan_tagged(&self, p: &Pinned<'_, Arc<Tracked>>, backward: bool) {
        let checked = |(index, value, tags): (u64, tagged_radix::ArcRef<'_, Tracked>, TagSet)| {
            assert!(tags.contains(T0), "{index} has {tags:?}");
            assert!(!self.is_sentinel(index) || tags == T0.into(), "{index} has {tags:?}");
            Field::check(&value, index)
        };
        if backward {
            self.assert_scan(p.range_tagged(.., T0).rev().map(checked), true);
        } else {
            self.assert_scan(p.range_tagged(.., T0).map(checked), false);
        }
    }

    /// Scans that take a leaf at a time.
    pub(crate) fn scan_folded(&self, p: &Pinned<'_, Arc<Tracked>>) {
        let mut found = Vec::new();
        p.range_tagged(.., T0).for_each(|(index, value, tags)| {
            assert!(tags.contains(T0), "{index} has {tags:?}");
            found.push(Field::check(&value, index));
        });
        self.assert_scan(found.drain(..), false);
        p.iter().for_each(|(index, value)| found.push(Field::check(&value, index)));
        self.assert_scan(found.into_iter(), false);
    }

    /// A scan in small batches of values it owns, with no guard in between.
    pub(crate) fn scan_owned(&self, filter: TagFilter) {
        let (mut found, mut start) = (Vec::new(), Some(0));
        while let Some(from) = start {
            let mut batch = ArrayVec::<_, 3>::new();
            start = self.tree.gang_lookup_tagged_owned(from, filter, &mut batch);
            assert!(start.is_none_or(|next| next > from && batch.is_full()));
            found.extend(batch.iter().map(|(index, value)| Field::check(value, *index)));
        }
        self.assert_scan(found.into_iter(), false);
    }

    /// A scan that lets go of the guard after each entry.
    pub(crate) fn scan_resumed(&self, p: &mut Pinned<'_, Arc<Tracked>>, filter: TagFilter) {
        let (mut found, mut start) = (Vec::new(), Some(0));
        while let Some(from) = start {
            let next = p
                .range_tagged(from.., filter)
                .next()
                .map(|(index, value, _)| Field::check(&value, index));
            found.extend(next);
            start = next.and_then(|index| index.checked_add(1));
            p.repin();
        }
        self.assert_scan(found.into_iter(), false);
    }

    /// One turn of the thread that watches: another kind of scan each time.
    pub(crate) fn watch(&self, turn: u64) {
        let mut p = self.tree.pin();
        match turn % 7 {
            0 => self.scan_tagged(&p, false),
            1 => self.scan_plain(&p, false),
            2 => self.scan_tagged(&p, true),
            3 => self.scan_plain(&p, true),
            4 => self.scan_owned(T0.into()),
            5 => self.scan_resumed(&mut p, T0.into()),
            _ => self.scan_resumed(&mut p, TagFilter::ANY),
        }
        assert!(self.tree.any_tagged(T0) && !self.tree.is_empty());
    }

    /// Asserts that the tree is sound now that no one writes, and the sentinels untouched.
    pub(crate) fn assert_intact(&self) {
        assert_at_rest(&self.tree);
        self.watch(0);
        self.watch(1);
        let p = self.tree.pin();
        for index in FOUGHT {
            if let Some((value, tags)) = p.get_with_tags(index) {
                value.stamp_at(index);
                p.update_tags(index, NONE, tags);
            }
        }
        assert_untagged(&self.tree, T1);
        assert_at_rest(&self.tree);
    }
}
