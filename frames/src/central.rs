//! The center: all segments, which of their blocks are free, and the limit. One lock guards it (E-CENTER).
//!
//! It does not know of magazines: to it, what they hold is out.

use std::ops::Range;
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::bits::Bits;
use crate::block::Block;
use crate::error::Error;
use crate::pool::{Inner, Limit};
use crate::segment::Described;
use crate::shard::Batch;
use crate::size::{BATCH, Class, SEGMENT_LEN};
use crate::system::{Mapping, page_len};

/// Numbers of segments are made room for so many at a time.
const NUMBERS: usize = 64;

/// Segments that are no longer the center's: dropped, which unmaps them, when its lock is released.
pub(crate) type Retired = ArrayVec<Held, { BATCH + 1 }>;

#[derive(Debug)]
pub(crate) struct Central {
    pub(crate) limit: u64,
    /// Bytes of blocks that are out.
    pub(crate) taken: u64,
    /// Bytes that may have memory under them: all but the blocks known to be zero.
    pub(crate) held: u64,
    /// Bytes of all segments.
    pub(crate) mapped: u64,
    /// While there are any, no memory goes back to the system.
    pub(crate) pins: usize,
    /// No pool is left: a segment that becomes whole is retired.
    pub(crate) is_closed: bool,
    segments: Vec<Option<Held>>,
    vacant: Bits,
    /// By class, the segments that have a free block.
    available: [Bits; Class::COUNT],
    /// Those that have no other.
    whole: Bits,
}

/// A segment as the center has it.
#[derive(Debug)]
pub(crate) struct Held {
    // Dropped in this order; the description may be the last to hold the pool.
    mapping: Mapping,
    described: Described,
    class: Class,
    free: Bits,
    free_count: usize,
    /// Of the free blocks, those whose bytes are all zero and have no memory under them, as far as is known.
    zero: Bits,
    zero_count: usize,
    /// It has lost parts of its memory since huge pages were advised, or none are.
    is_small: bool,
}

/// What a step towards less memory did.
#[derive(Debug)]
pub(crate) enum Step {
    Unmapped(Held),
    Discarded,
    Done,
}

impl Central {
    pub(crate) fn new(limit: u64) -> Central {
        Central {
            limit,
            taken: 0,
            held: 0,
            mapped: 0,
            pins: 0,
            is_closed: false,
            segments: Vec::new(),
            vacant: Bits::default(),
            available: Default::default(),
            whole: Bits::default(),
        }
    }

    /// Takes up to `count` blocks of `class` into `batch`, at least one; maps a segment if there is none to take them from.
    pub(crate) fn take(
        &mut self,
        pool: &Arc<Inner>,
        class: Class,
        limit: Limit,
        count: usize,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        while batch.len() < count {
            let over = self.taken.saturating_add(class.len() as u64) > self.limit;
            // Beyond the limit only the one that is asked for.
            if over && (limit == Limit::Keep || !batch.is_empty()) {
                break;
            }
            if let Some(number) = self.available[class.index()].first() {
                batch.push(self.take_from(number));
            } else if batch.is_empty() {
                self.grow(pool, class)?;
            } else {
                break;
            }
        }
        if batch.is_empty() { Err(Error::Full { limit: self.limit }) } else { Ok(()) }
    }

    fn held_mut(&mut self, number: usize) -> &mut Held {
        self.segments[number].as_mut().expect("a listed number is that of a segment")
    }

    /// Takes a free block of that segment, which has one.
    fn take_from(&mut self, number: usize) -> Block {
        let held = self.held_mut(number);
        let index = held.free.first().expect("it is listed as having a free block");
        held.free.remove(index);
        held.free_count -= 1;
        let zero = held.zero.contains(index);
        if zero {
            held.zero.remove(index);
            held.zero_count -= 1;
        }
        // SAFETY: the segment is held, and of this block the free bit was just cleared, under the lock (I-ONE, I-ALIVE).
        let block = unsafe { Block::new(held.described.pointer(), index, zero) };
        let none_left = held.free_count == 0;
        if none_left {
            self.available[block.class().index()].remove(number);
        }
        self.whole.remove(number);
        self.taken += block.len() as u64;
        if zero {
            self.held += block.len() as u64;
        }
        block
    }

    /// A block comes back.
    pub(crate) fn put(&mut self, block: &Block, retired: &mut Retired) {
        let (number, index, class) = (block.segment().number, block.index(), block.class());
        let held = self.held_mut(number);
        debug_assert!(!held.free.contains(index), "a block came back twice (I-ONE)");
        held.free.insert(index);
        held.free_count += 1;
        let is_whole = held.free_count == class.blocks();
        if block.is_zero() {
            held.zero.insert(index);
            held.zero_count += 1;
            self.held -= block.len() as u64;
        }
        self.available[class.index()].insert(number);
        self.taken -= block.len() as u64;
        if is_whole {
            self.whole.insert(number);
            if self.is_closed {
                retired.extend(self.retire(number));
            }
        }
    }

    /// Takes a whole segment out.
    fn retire(&mut self, number: usize) -> Option<Held> {
        let held = self.segments[number].take()?;
        debug_assert_eq!(
            held.free_count,
            held.class.blocks(),
            "not all its blocks are free (I-ALIVE)"
        );
        self.whole.remove(number);
        self.available[held.class.index()].remove(number);
        self.vacant.insert(number);
        self.mapped -= held.mapping.len() as u64;
        self.held -= held.discardable();
        Some(held)
    }

    /// The next whole segment of a pool that is closed.
    pub(crate) fn retire_next(&mut self) -> Option<Held> {
        let number = self.whole.first()?;
        self.retire(number)
    }

    /// A segment more for `class`: one that no class uses, or a new one.
    #[cold]
    fn grow(&mut self, pool: &Arc<Inner>, class: Class) -> Result<(), Error> {
        let number = self.vacant_number()?;
        let is_first = self.segments.iter().flatten().all(|held| held.class != class);
        let held = if let Some(unused) = self.unused(class.segment_len()) {
            let old = self.held_mut(unused);
            let is_zero = old.zero_count == old.free_count;
            // Described before it is taken: a refusal must not unmap it, for it may be pinned.
            let new = Described::new(number, old.mapping.start(), class, pool)?;
            let (free, zero) = Held::bits(class, is_zero)?;
            let Some(old) = self.retire(unused) else { return Ok(()) };
            Held::new(old.mapping, new, class, free, zero, is_zero)
        } else {
            self.make_room(class.segment_len() as u64);
            let mapping = Mapping::new(class.segment_len())?;
            let new = Described::new(number, mapping.start(), class, pool)?;
            let (free, zero) = Held::bits(class, true)?;
            Held::new(mapping, new, class, free, zero, true)
        };
        self.add(number, held, !is_first);
        Ok(())
    }

    /// Lists a segment, all of whose blocks are free.
    fn add(&mut self, number: usize, mut held: Held, is_huge: bool) {
        held.mapping.advise_huge(is_huge);
        held.is_small = !is_huge;
        self.mapped += held.mapping.len() as u64;
        self.held += held.discardable();
        self.vacant.remove(number);
        self.available[held.class.index()].insert(number);
        self.whole.insert(number);
        self.segments[number] = Some(held);
    }

    /// A number that no segment has.
    fn vacant_number(&mut self) -> Result<usize, Error> {
        if let Some(number) = self.vacant.first() {
            return Ok(number);
        }
        let (old, new) = (self.segments.len(), self.segments.len() + NUMBERS);
        self.segments.try_reserve(NUMBERS)?;
        self.vacant.reach(new)?;
        self.whole.reach(new)?;
        self.available.iter_mut().try_for_each(|bits| bits.reach(new))?;
        self.segments.resize_with(new, || None);
        (old..new).for_each(|number| self.vacant.insert(number));
        Ok(old)
    }

    /// A whole segment of that length.
    fn unused(&mut self, len: usize) -> Option<usize> {
        let first = self.whole.first()?;
        let fits = |number: &usize| {
            self.whole.contains(*number)
                && self.segments[*number].as_ref().is_some_and(|held| held.mapping.len() == len)
        };
        (first..self.segments.len()).find(fits)
    }

    /// Before `len` bytes are mapped: gives memory back until they fit, with a segment to spare.
    fn make_room(&mut self, len: u64) {
        let (target, mut cursor) =
            ((self.limit + SEGMENT_LEN as u64).saturating_sub(len), usize::MAX);
        while !matches!(self.shrink(target, &mut cursor), Step::Done) {}
    }

    /// One step towards at most `target` bytes held: unmaps a whole segment, or discards what is free in one below `cursor`.
    pub(crate) fn shrink(&mut self, target: u64, cursor: &mut usize) -> Step {
        if target > 0 && self.held <= target || self.pins > 0 {
            return Step::Done;
        }
        if let Some(held) = self.retire_next() {
            return Step::Unmapped(held);
        }
        let Self { segments, held: bytes, .. } = self;
        let below = segments.len().min(*cursor);
        for (number, held) in segments[..below].iter_mut().enumerate().rev() {
            *cursor = number;
            let discarded = held.as_mut().map_or(0, Held::discard);
            if discarded > 0 {
                *bytes -= discarded;
                return Step::Discarded;
            }
        }
        Step::Done
    }

    /// Where the segments lie.
    pub(crate) fn mappings(&self) -> impl Iterator<Item = &Mapping> {
        self.segments.iter().flatten().map(|held| &held.mapping)
    }
}

impl Held {
    /// All blocks free, and all of them zero or none.
    fn bits(class: Class, is_zero: bool) -> Result<(Bits, Bits), Error> {
        Ok((Bits::below(class.blocks(), true)?, Bits::below(class.blocks(), is_zero)?))
    }

    fn new(
        mapping: Mapping,
        described: Described,
        class: Class,
        free: Bits,
        zero: Bits,
        is_zero: bool,
    ) -> Held {
        let free_count = class.blocks();
        let zero_count = if is_zero { free_count } else { 0 };
        Held { mapping, described, class, free, free_count, zero, zero_count, is_small: true }
    }

    /// Bytes of free blocks that may have memory under them.
    fn discardable(&self) -> u64 {
        ((self.free_count - self.zero_count) * self.class.len()) as u64
    }

    /// Gives back what lies under free blocks; returns how many bytes.
    fn discard(&mut self) -> u64 {
        if self.discardable() == 0 {
            return 0;
        }
        // Blocks smaller than the system's pages go by as many as fill one.
        let group = (page_len() / self.class.len()).max(1);
        let mut discarded = 0;
        let mut from = 0;
        while let Some(run) = self.next_run(from, group) {
            from = run.end;
            if !self.is_small {
                // Else the system might fill the gaps again, with huge pages.
                self.mapping.advise_huge(false);
                self.is_small = true;
            }
            let bytes = run.start * self.class.len()..run.end * self.class.len();
            // SAFETY: whole pages of blocks that are free, under the lock: nobody uses them (I-ONE).
            if !unsafe { self.mapping.discard(bytes) } {
                break;
            }
            for index in run.filter(|index| !self.zero.contains(*index)).collect::<Vec<_>>() {
                self.zero.insert(index);
                self.zero_count += 1;
                discarded += self.class.len() as u64;
            }
        }
        discarded
    }

    /// The next run, from a multiple of `group` on, of groups that are free and not all zero.
    fn next_run(&self, from: usize, group: usize) -> Option<Range<usize>> {
        let blocks = self.class.blocks();
        let wanted = |start: &usize| {
            let mut group = *start..(*start + group).min(blocks);
            group.clone().all(|index| self.free.contains(index))
                && group.any(|index| !self.zero.contains(index))
        };
        let mut starts = (from..blocks).step_by(group);
        let start = starts.find(wanted)?;
        let more = starts.take_while(wanted).count();
        Some(start..start + (more + 1) * group)
    }
}
