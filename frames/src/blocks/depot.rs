//! The depot: all segments, which of them have free blocks, and the limit. One lock guards it (E-DEPOT).
//!
//! It does not know of magazines: to it, what they hold is out.

use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::bits::Bits;
use crate::blocks::block::Block;
use crate::blocks::held::Held;
use crate::blocks::shard::Batch;
use crate::blocks::{Inner, Limit};
use crate::error::Error;
use crate::size::{BATCH, Class, SEGMENT_LEN};
use crate::system::Mapping;

/// So many segments get their numbers at a time.
const NUMBERS: usize = 64;
/// What is given back at least, once memory has to be given back; and what comes back before it is tried again in vain.
const PORTION: u64 = SEGMENT_LEN as u64 / 4;
/// Of what is out, the part that may lie unused under huge pages.
const SURPLUS_PART: u64 = 32;

/// Segments that the depot has let go of. Dropping them unmaps them, which should happen when its lock is released.
pub(crate) type Retired = ArrayVec<Held, { BATCH + 1 }>;

#[derive(Debug)]
pub(crate) struct Depot {
    pub(crate) limit: u64,
    /// Bytes of blocks that are out.
    pub(crate) taken: u64,
    /// Bytes that may have memory under them.
    pub(crate) held: u64,
    /// Bytes of all segments.
    pub(crate) mapped: u64,
    /// While there are any, no memory goes back to the system.
    pub(crate) pins: usize,
    /// No pool is left: a segment whose blocks are all free is retired.
    pub(crate) is_closed: bool,
    /// Of `held`, what has memory only because a huge page brought it.
    surplus: u64,
    /// Bytes of all blocks that ever came back.
    returned: u64,
    /// What that was when not enough memory was found to give back.
    fruitless: Option<u64>,
    segments: Vec<Option<Held>>,
    /// Numbers without a segment.
    vacant: Bits,
    /// By class, the segments that have a free block.
    available: [Bits; Class::COUNT],
    /// The segments all of whose blocks are free.
    whole: Bits,
}

/// What a step towards less memory did.
#[derive(Debug)]
pub(crate) enum Step {
    Unmapped(Held),
    Discarded,
    Done,
}

impl Depot {
    pub(crate) fn new(limit: u64) -> Depot {
        Depot {
            limit,
            taken: 0,
            held: 0,
            mapped: 0,
            pins: 0,
            is_closed: false,
            surplus: 0,
            returned: 0,
            fruitless: None,
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
            if let Some(number) = self.source(class) {
                batch.push(self.take_from(number));
            } else if batch.is_empty() {
                self.grow(pool, class)?;
            } else {
                break;
            }
        }
        if batch.is_empty() { Err(Error::Full { limit: self.limit }) } else { Ok(()) }
    }

    /// A segment with a free block of that class. Makes room for the block if it has no memory yet.
    fn source(&mut self, class: Class) -> Option<usize> {
        let number = self.available[class.index()].first()?;
        let len = class.len() as u64;
        if self.is_beyond(len) && !self.held_mut(number).next_is_backed() {
            self.make_room(len);
            // The segment may have been among those that were unmapped.
            return self.available[class.index()].first();
        }
        Some(number)
    }

    fn held_mut(&mut self, number: usize) -> &mut Held {
        self.segments[number].as_mut().expect("a listed number is that of a segment")
    }

    /// Changes a segment, and with it the sums.
    fn change<R>(&mut self, number: usize, change: impl FnOnce(&mut Held) -> R) -> R {
        let held = self.held_mut(number);
        let before = (held.backed(), held.surplus());
        let result = change(held);
        let after = (held.backed(), held.surplus());
        self.held = self.held - before.0 + after.0;
        self.surplus = self.surplus - before.1 + after.1;
        result
    }

    /// Takes a free block of that segment, which has one.
    fn take_from(&mut self, number: usize) -> Block {
        let (block, has_more) = self.change(number, |held| (held.take(), held.has_free()));
        if !has_more {
            self.available[block.class().index()].remove(number);
        }
        self.whole.remove(number);
        self.taken += block.len() as u64;
        block
    }

    /// A block comes back.
    pub(crate) fn put(&mut self, block: &Block, retired: &mut Retired) {
        let (number, class) = (block.segment().number, block.class());
        let is_whole = self.change(number, |held| {
            held.put(block);
            held.is_whole()
        });
        self.available[class.index()].insert(number);
        self.taken -= block.len() as u64;
        self.returned = self.returned.wrapping_add(block.len() as u64);
        if is_whole {
            self.whole.insert(number);
            if self.is_closed {
                retired.extend(self.retire(number));
            }
        }
    }

    /// Takes a segment out, all of whose blocks are free (I-SEGMENT).
    fn retire(&mut self, number: usize) -> Option<Held> {
        let held = self.segments[number].take()?;
        debug_assert!(held.is_whole(), "a block of the segment is out (I-SEGMENT)");
        self.whole.remove(number);
        self.available[held.class().index()].remove(number);
        self.vacant.insert(number);
        self.mapped -= held.len();
        self.held -= held.backed();
        self.surplus -= held.surplus();
        Some(held)
    }

    /// Takes out the next segment all of whose blocks are free.
    pub(crate) fn retire_next(&mut self) -> Option<Held> {
        let number = self.whole.first()?;
        self.retire(number)
    }

    /// One more segment for `class`: one that no class uses, or a new one.
    #[cold]
    fn grow(&mut self, pool: &Arc<Inner>, class: Class) -> Result<(), Error> {
        let number = self.vacant_number()?;
        let held = if let Some(unused) = self.unused(class.segment_len()) {
            let may_discard = self.pins == 0;
            // Planned before it is taken out: a refusal must not unmap it, for it may be pinned.
            let plan = self.change(unused, |held| held.plan(number, class, may_discard, pool))?;
            let Some(held) = self.retire(unused) else { return Ok(()) };
            held.recut(plan)
        } else {
            self.make_room(class.segment_len() as u64);
            let mut held = Held::map(number, class, pool)?;
            if self.is_worth_huge_pages(class) {
                held.make_huge();
            }
            held
        };
        self.add(number, held);
        Ok(())
    }

    /// Lists a segment, all of whose blocks are free.
    fn add(&mut self, number: usize, held: Held) {
        self.mapped += held.len();
        self.held += held.backed();
        self.surplus += held.surplus();
        self.vacant.remove(number);
        self.available[held.class().index()].insert(number);
        self.whole.insert(number);
        self.segments[number] = Some(held);
    }

    /// Whether a new segment of that class gets huge pages.
    fn is_worth_huge_pages(&self, class: Class) -> bool {
        if class.blocks() == 1 {
            return true;
        }
        let surplus = self.surplus + class.segment_len() as u64;
        surplus <= (self.taken / SURPLUS_PART).max(SEGMENT_LEN as u64)
            && self.segments.iter().flatten().any(|held| held.class() == class)
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

    /// A segment of that length, all of whose blocks are free.
    fn unused(&mut self, len: usize) -> Option<usize> {
        let first = self.whole.first()?;
        let fits = |number: &usize| {
            self.whole.contains(*number)
                && self.segments[*number].as_ref().is_some_and(|held| held.mapping().len() == len)
        };
        (first..self.segments.len()).find(fits)
    }

    /// What may have memory under it, at most, as far as that is in the depot's hands.
    fn ceiling(&self) -> u64 {
        self.limit.saturating_add(SEGMENT_LEN as u64)
    }

    /// Whether `len` bytes more would go beyond the ceiling, and something can perhaps be done about it.
    fn is_beyond(&self, len: u64) -> bool {
        let waits = |at: u64| self.returned.wrapping_sub(at) < PORTION;
        self.held.saturating_add(len) > self.ceiling() && !self.fruitless.is_some_and(waits)
    }

    /// The next call that needs memory looks for some to give back, whatever was found before.
    pub(crate) fn forget_fruitless(&mut self) {
        self.fruitless = None;
    }

    /// Before `len` bytes get memory: gives some back, until they fit below the ceiling. The caller has a reference to the pool.
    pub(crate) fn make_room(&mut self, len: u64) {
        if !self.is_beyond(len) {
            return;
        }
        let target = self.ceiling().saturating_sub(len.max(PORTION));
        let mut cursor = usize::MAX;
        while !matches!(self.shrink(target, &mut cursor), Step::Done) {}
        let is_enough = self.held.saturating_add(len) <= self.ceiling();
        self.fruitless = if is_enough { None } else { Some(self.returned) };
    }

    /// One step towards at most `target` bytes held: unmaps a segment, or discards what is free in one below `cursor`.
    pub(crate) fn shrink(&mut self, target: u64, cursor: &mut usize) -> Step {
        if target > 0 && self.held <= target || self.pins > 0 {
            return Step::Done;
        }
        if let Some(held) = self.retire_next() {
            return Step::Unmapped(held);
        }
        while *cursor > 0 {
            *cursor = (*cursor).min(self.segments.len()).saturating_sub(1);
            let number = *cursor;
            let is_there = self.segments.get(number).is_some_and(Option::is_some);
            if is_there && self.change(number, Held::discard) > 0 {
                return Step::Discarded;
            }
        }
        Step::Done
    }

    /// Where the segments lie.
    pub(crate) fn mappings(&self) -> impl Iterator<Item = &Mapping> {
        self.segments.iter().flatten().map(Held::mapping)
    }
}
