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

use self::range::Inclusive;
use crate::pages::Page;

/// How many pages a walk takes from the index at a time.
pub(crate) const BATCH: usize = 64;

type Batch = ArrayVec<(u64, Arc<Page>), BATCH>;

/// The pages of a range that pass a filter, in ascending order.
///
/// They are taken from the index a batch at a time: no guard is held between two of them, so what is done with one may
/// wait.
pub(crate) struct Walk<'i> {
    index: &'i Index,
    filter: TagFilter,
    /// Where the index is asked next; `None`: there is nothing more.
    next: Option<u64>,
    last: u64,
    /// In descending order, so that the next one is taken off its end: moving a batch is dear.
    batch: Batch,
}

/// Walks over the pages of a range that pass `filter`.
pub(crate) fn walk(
    index: &Index,
    (first, last): Inclusive,
    filter: impl Into<TagFilter>,
) -> Walk<'_> {
    Walk { index, filter: filter.into(), next: Some(first), last, batch: Batch::new() }
}

impl Iterator for Walk<'_> {
    type Item = (u64, Arc<Page>);

    fn next(&mut self) -> Option<Self::Item> {
        while self.batch.is_empty() {
            let start = self.next.filter(|start| *start <= self.last)?;
            self.next = fill(self.index, start, self.filter, &mut self.batch);
            self.batch.reverse();
        }
        self.batch.pop().filter(|(index, _)| *index <= self.last)
    }
}

/// Fills `pages` with those that pass `filter`, from `start` on; returns where to go on.
#[cfg(not(writeback_loom))]
fn fill(index: &Index, start: u64, filter: TagFilter, pages: &mut Batch) -> Option<u64> {
    let pinned = index.pin();
    let mut found = ArrayVec::<(u64, tagged_radix::ArcRef<'_, Page>), BATCH>::new();
    let next = pinned.gang_lookup_tagged(start, filter, &mut found);
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
fn fill(index: &Index, start: u64, filter: TagFilter, pages: &mut Batch) -> Option<u64> {
    index.gang_lookup_tagged_owned(start, filter, pages)
}

/// Fills `pages` with those that pass `filter`, from `start` on downwards; returns where to go on.
pub(crate) fn pages_down(
    index: &Index,
    start: u64,
    filter: TagFilter,
    pages: &mut Batch,
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
