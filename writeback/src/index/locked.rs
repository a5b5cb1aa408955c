//! The index under loom: every operation is one step, under one lock.

use std::ops::RangeBounds;
use std::sync::Arc;

use tagged_radix::{
    ArcRef, ArrayVec, OccupiedError, RadixTree, Tag, TagFilter, TagRange, TagSet, Violation,
};

use super::Slot;
use crate::pages::Page;
use crate::primitives::Mutex;

/// The operations that this crate uses, in the shape of [`RadixTree`]'s.
pub(crate) struct Index {
    tree: RadixTree<Arc<Page>>,
    step: Mutex<()>,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { tree: RadixTree::new(), step: Mutex::new(()) }
    }

    pub(crate) fn pin(&self) -> Pinned<'_> {
        Pinned { tree: self.tree.pin(), step: &self.step }
    }

    pub(crate) fn any_tagged(&self, tag: Tag) -> bool {
        let _step = self.step.lock();
        self.tree.any_tagged(tag)
    }

    pub(crate) fn get_owned(&self, index: u64) -> Option<Arc<Page>> {
        let _step = self.step.lock();
        self.tree.get_owned(index)
    }

    pub(crate) fn gang_lookup_tagged_owned<const N: usize>(
        &self,
        start: u64,
        filter: impl Into<TagFilter>,
        batch: &mut ArrayVec<(u64, Arc<Page>), N>,
    ) -> Option<u64> {
        let _step = self.step.lock();
        self.tree.gang_lookup_tagged_owned(start, filter, batch)
    }

    pub(crate) fn check(&self) -> Result<(), Violation> {
        let _step = self.step.lock();
        self.tree.check()
    }
}

/// The operations that this crate uses, in the shape of [`tagged_radix::Pinned`]'s.
pub(crate) struct Pinned<'t> {
    tree: tagged_radix::Pinned<'t, Arc<Page>>,
    step: &'t Mutex<()>,
}

impl Pinned<'_> {
    pub(crate) fn get(&self, index: u64) -> Option<ArcRef<'_, Page>> {
        let _step = self.step.lock();
        self.tree.get(index)
    }

    pub(crate) fn has_tag(&self, index: u64, tag: Tag) -> bool {
        let _step = self.step.lock();
        self.tree.has_tag(index, tag)
    }

    pub(crate) fn tags(&self, index: u64) -> Option<TagSet> {
        let _step = self.step.lock();
        self.tree.tags(index)
    }

    pub(crate) fn try_insert_tagged(
        &self,
        index: u64,
        page: Arc<Page>,
        tags: TagSet,
    ) -> Result<ArcRef<'_, Page>, OccupiedError<'_, Arc<Page>>> {
        let _step = self.step.lock();
        self.tree.try_insert_tagged(index, page, tags)
    }

    pub(crate) fn update<R>(
        &self,
        index: u64,
        section: impl FnOnce(&mut Slot<'_>) -> R,
    ) -> Option<R> {
        let _step = self.step.lock();
        self.tree.update(index, section)
    }

    pub(crate) fn set_tag(&self, index: u64, tag: Tag) -> Option<bool> {
        let _step = self.step.lock();
        self.tree.set_tag(index, tag)
    }

    pub(crate) fn clear_tag(&self, index: u64, tag: Tag) -> Option<bool> {
        let _step = self.step.lock();
        self.tree.clear_tag(index, tag)
    }

    pub(crate) fn tag_range(
        &self,
        bounds: impl RangeBounds<u64>,
        set: impl Into<TagSet>,
        clear: impl Into<TagSet>,
    ) -> u64 {
        let _step = self.step.lock();
        self.tree.tag_range(bounds, set, clear)
    }

    pub(crate) fn tag_range_if_tagged(
        &self,
        bounds: impl RangeBounds<u64>,
        from: Tag,
        to: Tag,
        limit: u64,
    ) -> TagRange {
        let _step = self.step.lock();
        self.tree.tag_range_if_tagged(bounds, from, to, limit)
    }

    /// All at once, rather than one after the other while the caller looks at them.
    pub(crate) fn range_tagged(
        &self,
        bounds: impl RangeBounds<u64>,
        filter: impl Into<TagFilter>,
    ) -> Vec<(u64, ArcRef<'_, Page>, TagSet)> {
        let _step = self.step.lock();
        self.tree.range_tagged(bounds, filter).collect()
    }
}
