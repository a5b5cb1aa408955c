//! The index: which pages are cached, and how they are tagged.
//!
//! It is the tree itself, under a shorter name, in all builds but one. Under loom the tree stays as it
//! is, for real threads, and loom does not see into it: its interleavings times those of the page cache
//! are more than can be played. There every operation on it is made under one of loom's locks
//! (`locked`), the closure of `update` included, whose accesses to the page's words loom does see.
//! So no switch of threads happens inside the tree, and an operation is one step.
//!
//! What that hides from loom: how the tree's operations interleave inside, of which its own models speak;
//! and orderings of memory that the tree does not give. The lock orders any two operations, also a
//! look-up and a change of another page, where the tree orders only those that see each other's work.
//! The shuttle build plays the tree and the cache together, in sequentially consistent memory.

#[cfg(writeback_loom)]
mod locked;
pub(crate) mod range;

#[cfg(writeback_loom)]
pub(crate) use self::locked::{Index, Pinned};

use std::sync::Arc;

use tagged_radix::{ArrayVec, TagFilter};

use crate::page::Page;
use crate::page::tag::PageTag;

/// How many pages a walk takes from the index at a time.
pub(crate) const BATCH: usize = 64;

/// Fills `pages` with those that have `tag`, from `start` on; returns where to go on.
#[cfg(not(writeback_loom))]
pub(crate) fn tagged_pages(
    index: &Index,
    start: u64,
    tag: PageTag,
    pages: &mut ArrayVec<(u64, Arc<Page>), BATCH>,
) -> Option<u64> {
    let pinned = index.pin();
    let mut found = ArrayVec::<(u64, tagged_radix::ArcRef<'_, Page>), BATCH>::new();
    let next = pinned.gang_lookup_tagged(start, tag, &mut found);
    // Plain loads first: the processor fetches all pages at the same time, where each count of
    // references is raised only after the one before.
    for (_, page) in &found {
        page.touch();
    }
    pages.extend(found.into_iter().map(|(index, page)| (index, page.into())));
    next
}

/// The same, as one step.
#[cfg(writeback_loom)]
pub(crate) fn tagged_pages(
    index: &Index,
    start: u64,
    tag: PageTag,
    pages: &mut ArrayVec<(u64, Arc<Page>), BATCH>,
) -> Option<u64> {
    index.gang_lookup_tagged_owned(start, tag, pages)
}

/// Fills `pages` with those that pass `filter`, from `start` on downwards; returns where to go on.
pub(crate) fn pages_down(
    index: &Index,
    start: u64,
    filter: TagFilter,
    pages: &mut ArrayVec<(u64, Arc<Page>), BATCH>,
) -> Option<u64> {
    let pinned = index.pin();
    let found = pinned.range_tagged(..=start, filter);
    #[cfg(writeback_loom)]
    let found = found.into_iter();
    pages.extend(found.rev().take(BATCH).map(|(index, page, _)| (index, page.into())));
    let (last, _) = pages.last()?;
    if pages.is_full() { last.checked_sub(1) } else { None }
}

/// Pages by index.
#[cfg(not(writeback_loom))]
pub(crate) type Index = tagged_radix::RadixTree<Arc<Page>>;

/// The index, pinned for operations on single entries.
#[cfg(not(writeback_loom))]
pub(crate) type Pinned<'t> = tagged_radix::Pinned<'t, Arc<Page>>;

/// An entry of the index inside a section of `Pinned::update`.
pub(crate) type Slot<'s> = tagged_radix::Slot<'s, Arc<Page>>;
