//! `tagged-radix` itself.

use tagged_radix::{ArrayVec, Pinned, RadixTree, Tag, TagFilter, TagSet};

use super::{Ability, Filter, Index, Mark, Value, value_of, word};

/// `RadixTree<&'static u64>`.
#[derive(Debug)]
pub(super) struct Tree(RadixTree<Value>);

const fn tag(mark: Mark) -> Tag {
    match mark {
        Mark::Dirty => Tag::T0,
        Mark::ToWrite => Tag::T1,
    }
}

impl Index for Tree {
    const ABILITIES: &'static [Ability] = Ability::ALL;

    type Read<'a> = Pinned<'a, Value>;
    type Write<'a> = Pinned<'a, Value>;

    fn with_key_bits(_: u32) -> Tree {
        Tree(RadixTree::new())
    }

    #[inline]
    fn read(&self) -> Pinned<'_, Value> {
        self.0.pin()
    }

    #[inline]
    fn write(&self) -> Pinned<'_, Value> {
        self.0.pin()
    }

    #[inline]
    fn get(pinned: &Pinned<'_, Value>, key: u64) -> u64 {
        pinned.get(key).map_or(0, word)
    }

    #[inline]
    fn insert(pinned: &mut Pinned<'_, Value>, key: u64) {
        pinned.insert(key, value_of(key));
    }

    #[inline]
    fn remove(pinned: &mut Pinned<'_, Value>, key: u64) -> bool {
        pinned.remove(key).is_some()
    }

    #[inline]
    fn iterate(pinned: &Pinned<'_, Value>, mut visit: impl FnMut(u64, u64)) {
        pinned.iter().for_each(|(key, value)| visit(key, word(value)));
    }

    #[inline]
    fn scan(pinned: &Pinned<'_, Value>, from: u64, count: usize, mut visit: impl FnMut(u64, u64)) {
        pinned.range(from..).take(count).for_each(|(key, value)| visit(key, word(value)));
    }

    fn remove_range(pinned: &mut Pinned<'_, Value>) {
        pinned.remove_range(..);
    }

    // The tag is where the entry is: it always checks.
    #[inline]
    fn set(pinned: &mut Pinned<'_, Value>, key: u64, _check: bool) -> bool {
        pinned.set_tag(key, Tag::T0) == Some(true)
    }

    #[inline]
    fn clear(pinned: &mut Pinned<'_, Value>, key: u64, _check: bool) -> bool {
        pinned.clear_tag(key, Tag::T0) == Some(true)
    }

    #[inline]
    fn gang<const N: usize>(
        &self,
        filter: Filter,
        from: u64,
        mut visit: impl FnMut(u64, u64),
    ) -> Option<u64> {
        let filter = match filter {
            Filter::Dirty => TagFilter::all_of(Tag::T0),
            Filter::DirtyOnly => TagFilter::all_of(Tag::T0).and_none_of(Tag::T1),
        };
        let pinned = self.0.pin();
        let mut batch = ArrayVec::<_, N>::new();
        let next = pinned.gang_lookup_tagged(from, filter, &mut batch);
        batch.iter().for_each(|(key, value)| visit(*key, word(value)));
        next
    }

    fn tag_range(pinned: &mut Pinned<'_, Value>, mark: Mark, on: bool, from: u64) {
        let tags = TagSet::from(tag(mark));
        let (set, clear) = if on { (tags, TagSet::EMPTY) } else { (TagSet::EMPTY, tags) };
        pinned.tag_range(from.., set, clear);
    }

    fn count(pinned: &Pinned<'_, Value>) -> u64 {
        pinned.count_tagged(.., Tag::T0)
    }

    fn retag(pinned: &mut Pinned<'_, Value>) -> u64 {
        pinned.tag_range_if_tagged(.., Tag::T0, Tag::T1, u64::MAX).count
    }
}
