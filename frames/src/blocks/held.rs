//! A segment as the depot holds it: which blocks are free, and which bytes may have memory under them.
//!
//! It does not know of other segments, nor of any limit. See "Memory under a segment" in PROTOCOL.md.

use std::ops::Range;
use std::sync::Arc;

use crate::bits::Bits;
use crate::blocks::Inner;
use crate::blocks::block::Block;
use crate::blocks::segment::Described;
use crate::error::Error;
use crate::size::Class;
use crate::system::{Mapping, page_len};

/// A segment, mapped.
#[derive(Debug)]
pub(crate) struct Held {
    // Dropped in this order: the description may be the last to hold the pool.
    mapping: Mapping,
    cut: Cut,
    backing: Backing,
}

/// How a segment is cut into blocks.
#[derive(Debug)]
struct Cut {
    described: Described,
    class: Class,
    free: Bits,
    free_count: usize,
    /// Those of the free blocks that are known to be zero.
    zero: Bits,
    zero_count: usize,
}

/// What kind of memory lies under a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backing {
    /// Pages of the usual size, none under a zero block.
    Small,
    /// Huge pages, perhaps under all of it.
    Huge,
    /// It was huge, and parts of it went back to the system.
    Split,
}

impl Cut {
    /// All blocks free, and all of them zero or none.
    fn new(
        number: usize,
        mapping: &Mapping,
        class: Class,
        is_zero: bool,
        pool: &Arc<Inner>,
    ) -> Result<Cut, Error> {
        let described = Described::new(number, mapping.start(), class, pool)?;
        let free_count = class.blocks();
        let free = Bits::below(free_count, true)?;
        let zero = Bits::below(free_count, is_zero)?;
        let zero_count = if is_zero { free_count } else { 0 };
        Ok(Cut { described, class, free, free_count, zero, zero_count })
    }
}

impl Held {
    /// A new segment.
    pub(crate) fn map(number: usize, class: Class, pool: &Arc<Inner>) -> Result<Held, Error> {
        let mapping = Mapping::new(class.segment_len())?;
        let cut = Cut::new(number, &mapping, class, true, pool)?;
        // Else a system that always uses huge pages would put one under the first block of a small pool.
        mapping.advise_huge(false);
        Ok(Held { mapping, cut, backing: Backing::Small })
    }

    /// Has the system put huge pages under a segment that is new.
    pub(crate) fn make_huge(&mut self) {
        debug_assert!(self.is_whole() && self.backing == Backing::Small);
        self.mapping.advise_huge(true);
        self.backing = Backing::Huge;
    }

    /// Prepares to cut a segment for another class, all of whose blocks are free; `recut` completes it. What is zero is known only if all is or nothing
    /// is, so what is zero in part is discarded first, unless it has to stay.
    pub(crate) fn plan(
        &mut self,
        number: usize,
        class: Class,
        may_discard: bool,
        pool: &Arc<Inner>,
    ) -> Result<Plan, Error> {
        debug_assert!(self.is_whole(), "a block of the segment is out (I-SEGMENT)");
        let is_mixed = self.cut.zero_count > 0 && self.cut.zero_count < self.cut.free_count;
        if is_mixed && may_discard {
            self.discard();
        }
        let is_zero = self.cut.zero_count == self.cut.free_count;
        Cut::new(number, &self.mapping, class, is_zero, pool).map(Plan)
    }

    /// The same memory, cut otherwise.
    pub(crate) fn recut(self, plan: Plan) -> Held {
        let cut = plan.0;
        let is_zero = cut.zero_count > 0;
        // Of a split segment that is zero, all has gone back.
        let is_small = self.backing == Backing::Split && is_zero;
        let backing = if is_small { Backing::Small } else { self.backing };
        Held { mapping: self.mapping, cut, backing }
    }

    pub(crate) fn class(&self) -> Class {
        self.cut.class
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    pub(crate) fn len(&self) -> u64 {
        self.mapping.len() as u64
    }

    pub(crate) fn has_free(&self) -> bool {
        self.cut.free_count > 0
    }

    /// Whether all blocks are free.
    pub(crate) fn is_whole(&self) -> bool {
        self.cut.free_count == self.cut.class.blocks()
    }

    /// Bytes that may have memory under them.
    pub(crate) fn backed(&self) -> u64 {
        let bare = if self.backing == Backing::Huge { 0 } else { self.cut.zero_count };
        self.len() - (bare * self.cut.class.len()) as u64
    }

    /// Bytes that have memory only because a huge page brought it.
    pub(crate) fn surplus(&self) -> u64 {
        let count = if self.backing == Backing::Huge { self.cut.zero_count } else { 0 };
        (count * self.cut.class.len()) as u64
    }

    /// Whether the next block to be taken has memory already.
    pub(crate) fn next_is_backed(&mut self) -> bool {
        let cut = &mut self.cut;
        self.backing == Backing::Huge
            || cut.free.first().is_some_and(|index| !cut.zero.contains(index))
    }

    /// Takes the first free block; there is one.
    pub(crate) fn take(&mut self) -> Block {
        let cut = &mut self.cut;
        let index = cut.free.first().expect("the depot lists only segments that have a free block");
        cut.free.remove(index);
        cut.free_count -= 1;
        let zero = cut.zero.contains(index);
        if zero {
            cut.zero.remove(index);
            cut.zero_count -= 1;
        }
        // SAFETY: the segment is held, and the free bit of this block was just cleared, under the depot's lock (I-OWNER, I-SEGMENT).
        unsafe { Block::new(cut.described.pointer(), index, zero) }
    }

    /// A block of it comes back.
    pub(crate) fn put(&mut self, block: &Block) {
        let (index, cut) = (block.index(), &mut self.cut);
        debug_assert!(!cut.free.contains(index), "a block came back twice (I-OWNER)");
        cut.free.insert(index);
        cut.free_count += 1;
        // In a split segment it may have memory nevertheless.
        if block.is_zero() && self.backing != Backing::Split {
            cut.zero.insert(index);
            cut.zero_count += 1;
        }
    }

    /// Gives the memory under free blocks back to the system. Returns how many bytes.
    pub(crate) fn discard(&mut self) -> u64 {
        let before = self.backed();
        if self.cut.free_count > 0 && self.backing == Backing::Huge {
            self.mapping.advise_huge(false);
            self.backing = Backing::Split;
            self.cut.zero.clear();
            self.cut.zero_count = 0;
        }
        let mut from = 0;
        while self.cut.zero_count < self.cut.free_count
            && let Some(run) = self.cut.next_run(from)
        {
            from = run.end;
            let len = self.cut.class.len();
            // SAFETY: whole pages of blocks that are free, under the depot's lock: nobody uses them (I-OWNER).
            if !unsafe { self.mapping.discard(run.start * len..run.end * len) } {
                break;
            }
            self.cut.is_zero(run);
        }
        before - self.backed()
    }
}

/// A new cut of a segment that is still cut as before.
#[derive(Debug)]
pub(crate) struct Plan(Cut);

impl Cut {
    /// These free blocks are zero now.
    fn is_zero(&mut self, run: Range<usize>) {
        for index in run {
            if !self.zero.contains(index) {
                self.zero.insert(index);
                self.zero_count += 1;
            }
        }
    }

    /// The next run, from `from` on, of system pages whose blocks are all free and not all zero.
    fn next_run(&self, from: usize) -> Option<Range<usize>> {
        let blocks = self.class.blocks();
        let group = (page_len() / self.class.len()).clamp(1, blocks);
        let wanted = |start: &usize| {
            let mut group = *start..*start + group;
            group.clone().all(|index| self.free.contains(index))
                && group.any(|index| !self.zero.contains(index))
        };
        let start = (from..blocks).step_by(group).find(wanted)?;
        let count = (start..blocks).step_by(group).take_while(wanted).count();
        Some(start..start + count * group)
    }
}
