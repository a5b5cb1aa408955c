//! Scans over entries: iteration from both ends, gang lookups, counting.
//!
//! A scan is not a snapshot. It visits leaf after leaf; within a leaf, a tagged scan reads what belongs together at one
//! instant, while a plain scan trusts each slot alone. What writers spoil is read again, a bounded number of times for
//! each entry, then under the lock.

use arrayvec::ArrayVec;

use super::ahead::{Ahead, Look};
use super::passed::Passed;
use super::walk::Walk;
use crate::raw::link::above::Tree;
use crate::raw::link::leaf::Leaf;
use crate::raw::node::full::Node;
use crate::raw::node::index::{FANOUT, bit, from, highest, leaf_bits, lowest, offset};
use crate::raw::node::lock::{READ_TRIES, Version};
use crate::raw::node::single::Single;
use crate::raw::node::word::{Entry, Word};
use crate::reclaim::Guard;
use crate::tag::TagFilter;

/// What is left of a range: `low..=high`, or nothing.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    low: u64,
    high: u64,
    done: bool,
}

impl Bounds {
    /// Gives up everything up to `index` (from it on, if not `UP`).
    #[inline]
    fn consume<const UP: bool>(&mut self, index: u64) {
        if UP {
            self.done |= index >= self.high;
            self.low = index.saturating_add(1);
        } else {
            self.done |= index <= self.low;
            self.high = index.saturating_sub(1);
        }
    }

    #[inline]
    fn contains(&self, index: u64) -> bool {
        self.low <= index && index <= self.high
    }
}

/// One end of a scan. `UP` is the front, which moves up.
#[derive(Debug)]
struct Cursor<'g, const UP: bool> {
    walk: Walk<'g, Ahead>,
    filter: TagFilter,
    /// The full leaf that is being reported; a single is reported at once.
    leaf: Option<&'g Node>,
    /// The leaf's lowest index.
    base: u64,
    /// The leaf's slots that are still to be reported.
    rest: u64,
    /// The leaf's version when `rest` was read; only tagged scans have one.
    version: Option<Version>,
}

impl<'g, const UP: bool> Cursor<'g, UP> {
    #[inline]
    fn new(tree: &'g Tree, filter: TagFilter, guard: &'g Guard) -> Self {
        let walk = Walk::of_entries(tree, filter, guard);
        Cursor { walk, filter, leaf: None, base: 0, rest: 0, version: None }
    }

    /// Moves on to the next leaf of the range; `None` at the end of it.
    #[inline]
    fn next_leaf(&mut self, bounds: &mut Bounds) -> Option<Leaf<'g>> {
        if let Some(left) = self.leaf.take() {
            bounds.consume::<UP>(if UP { left.last() } else { left.base() });
        }
        if bounds.done {
            return None;
        }
        let leaf = if UP {
            self.walk.next_leaf(bounds.low).filter(|leaf| leaf.first() <= bounds.high)
        } else {
            self.walk.prev_leaf(bounds.high).filter(|leaf| leaf.last() >= bounds.low)
        };
        match leaf {
            None => bounds.done = true,
            Some(Leaf::Full(leaf)) => (self.leaf, self.base) = (Some(leaf), leaf.base()),
            Some(leaf @ Leaf::Single(_)) => {
                bounds.consume::<UP>(if UP { leaf.range_last() } else { leaf.base() });
            }
        }
        leaf
    }

    #[inline]
    fn pick(&self) -> usize {
        if UP { lowest(self.rest) } else { highest(self.rest) }
    }

    /// The next entry of a scan that lets every entry pass.
    #[inline]
    fn next(&mut self, bounds: &mut Bounds) -> Option<(u64, Word)> {
        if bounds.done {
            return None;
        }
        loop {
            if self.rest == 0
                && let Some(single) = self.refill(bounds)?
            {
                return Some(single);
            }
            let leaf = self.leaf?;
            let offset = self.pick();
            let index = self.base + offset as u64;
            if !bounds.contains(index) {
                // The other end has been here.
                self.rest = 0;
                bounds.done = true;
                return None;
            }
            self.rest &= !bit(offset);
            if let Some(value) = leaf.value(offset) {
                bounds.consume::<UP>(index);
                return Some((index, value));
            }
        }
    }

    /// Moves on to a full leaf with entries, or takes the entry of a single. For scans that let every entry pass.
    fn refill(&mut self, bounds: &mut Bounds) -> Option<Option<(u64, Word)>> {
        loop {
            match self.next_leaf(bounds)? {
                Leaf::Full(leaf) => {
                    self.rest = leaf.present() & leaf_bits(self.base, bounds.low, bounds.high);
                    if self.rest != 0 {
                        return Some(None);
                    }
                }
                Leaf::Single(single) => {
                    if let Some(value) = single.value() {
                        return Some(Some((single.index(), value)));
                    }
                }
            }
        }
    }

    /// The next entry that passes the filter, value and tags as they were at one instant.
    fn next_entry(&mut self, bounds: &mut Bounds) -> Option<(u64, Entry)> {
        if bounds.done {
            return None;
        }
        let mut spoiled = 0;
        loop {
            while self.rest == 0 {
                match self.next_leaf(bounds)? {
                    Leaf::Full(leaf) => {
                        self.read_leaf(leaf, bounds);
                        if self.rest == 0 {
                            self.walk.heal_if_in_vain(Leaf::Full(leaf));
                        }
                    }
                    Leaf::Single(single) => {
                        if let Some(found) = matching_entry(single, self.filter) {
                            return Some(found);
                        }
                        self.walk.heal_if_in_vain(Leaf::Single(single));
                    }
                }
            }
            let leaf = self.leaf?;
            let offset = self.pick();
            let index = leaf.base() + offset as u64;
            if !bounds.contains(index) {
                self.rest = 0;
                bounds.done = true;
                return None;
            }
            let entry = leaf.peek(offset);
            if !self.version.is_some_and(|version| leaf.is_still(version)) {
                // Something changed in this leaf since `rest` was read: read it again, from where we are.
                spoiled += 1;
                if spoiled <= READ_TRIES {
                    self.read_leaf(leaf, bounds);
                } else if let Some(found) = self.read_locked_leaf(leaf, bounds) {
                    return Some(found);
                }
                continue;
            }
            self.rest &= !bit(offset);
            if let Some(entry) = entry {
                bounds.consume::<UP>(index);
                return Some((index, entry));
            }
        }
    }

    /// Reads which slots of `leaf` pass the filter.
    fn read_leaf(&mut self, leaf: &'g Node, bounds: &Bounds) {
        let bits = leaf_bits(leaf.base(), bounds.low, bounds.high);
        (self.rest, self.version) =
            leaf.at_one_instant(|version| (leaf.matching(self.filter) & bits, Some(version)));
    }

    /// The same under the lock, and the first of them at once: what writers do next cannot spoil it.
    #[cold]
    fn read_locked_leaf(&mut self, leaf: &'g Node, bounds: &mut Bounds) -> Option<(u64, Entry)> {
        let bits = leaf_bits(leaf.base(), bounds.low, bounds.high);
        let (offset, entry) = leaf.read_locked(|version| {
            self.rest = leaf.matching(self.filter) & bits;
            self.version = Some(version);
            let offset = (self.rest != 0).then(|| self.pick())?;
            Some((offset, leaf.peek(offset)?))
        })?;
        self.rest &= !bit(offset);
        let index = leaf.base() + offset as u64;
        bounds.consume::<UP>(index);
        Some((index, entry))
    }
}

/// A scan over a range that can be taken from both ends.
#[derive(Debug)]
pub(crate) struct Scan<'g> {
    bounds: Bounds,
    front: Cursor<'g, true>,
    back: Cursor<'g, false>,
}

impl<'g> Scan<'g> {
    /// A scan over `range`, both ends included; `None` is the empty range. Inlined, since a scan is large, and would be copied.
    #[inline]
    pub(crate) fn new(
        tree: &'g Tree,
        range: Option<(u64, u64)>,
        filter: TagFilter,
        guard: &'g Guard,
    ) -> Scan<'g> {
        let (low, high) = range.unwrap_or((0, 0));
        Scan {
            bounds: Bounds { low, high, done: range.is_none() },
            front: Cursor::new(tree, filter, guard),
            back: Cursor::new(tree, filter, guard),
        }
    }

    /// Only for scans that let every entry pass.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<(u64, Word)> {
        self.front.next(&mut self.bounds)
    }

    /// What is left of the scan, a leaf at a time. Only for scans that let every entry pass.
    #[inline]
    pub(crate) fn fold<B>(mut self, init: B, mut each: impl FnMut(B, (u64, Word)) -> B) -> B {
        let mut result = init;
        while !self.bounds.done {
            if let Some(leaf) = self.front.leaf {
                let base = self.front.base;
                let mut rest = self.front.rest & leaf_bits(base, self.bounds.low, self.bounds.high);
                while rest != 0 {
                    let offset = lowest(rest);
                    if let Some(value) = leaf.value(offset) {
                        result = each(result, (base + offset as u64, value));
                    }
                    rest &= rest - 1;
                }
                self.front.rest = 0;
            }
            if let Some(Some(single)) = self.front.refill(&mut self.bounds) {
                result = each(result, single);
                let (folded, last) =
                    self.front.walk.fold_singles(self.bounds.high, result, |result, single| {
                        match single.value() {
                            Some(value) => each(result, (single.index(), value)),
                            None => result,
                        }
                    });
                result = folded;
                if let Some(last) = last {
                    self.bounds.consume::<true>(Leaf::Single(last).range_last());
                }
            }
        }
        result
    }

    /// What is left of the scan that passes the filter, a leaf at a time: the entries of a leaf belong together at one instant.
    #[inline]
    pub(crate) fn fold_entries<B>(self, init: B, mut each: impl FnMut(B, (u64, Entry)) -> B) -> B {
        let Scan { bounds: Bounds { low, high, done }, mut front, .. } = self;
        let (mut result, mut passed) = (init, Passed::default());
        let mut read = |leaf: &Node, low, result, each: &mut _| {
            passed.read_at_one_instant(leaf, leaf_bits(leaf.base(), low, high), front.filter);
            (passed.give(leaf.base(), result, each), passed.is_empty())
        };
        let mut next = (!done).then_some(low);
        if let Some(leaf) = front.leaf.filter(|_| !done) {
            if front.rest != 0 {
                (result, _) = read(leaf, low, result, &mut each);
            }
            next = leaf.last().checked_add(1);
        }
        while let Some(at) = next.filter(|next| *next <= high) {
            let leaf = front.walk.next_leaf(at).filter(|leaf| leaf.first() <= high);
            let Some(leaf) = leaf else { break };
            let in_vain;
            match leaf {
                Leaf::Full(leaf) => (result, in_vain) = read(leaf, at, result, &mut each),
                Leaf::Single(single) => {
                    let found = matching_entry(single, front.filter);
                    in_vain = found.is_none();
                    if let Some(found) = found {
                        result = each(result, found);
                    }
                }
            }
            if in_vain {
                front.walk.heal_if_in_vain(leaf);
            }
            next = leaf.range_last().checked_add(1);
        }
        result
    }

    /// Only for scans that let every entry pass.
    #[inline]
    pub(crate) fn next_back(&mut self) -> Option<(u64, Word)> {
        self.back.next(&mut self.bounds)
    }

    #[inline]
    pub(crate) fn next_entry(&mut self) -> Option<(u64, Entry)> {
        self.front.next_entry(&mut self.bounds)
    }

    #[inline]
    pub(crate) fn next_back_entry(&mut self) -> Option<(u64, Entry)> {
        self.back.next_entry(&mut self.bounds)
    }
}

impl Tree {
    /// Fills `batch` with entries from `start` on that pass the filter; where to go on, or `None` at the end.
    pub(crate) fn gang_lookup<T, const N: usize>(
        &self,
        start: u64,
        filter: TagFilter,
        batch: &mut ArrayVec<T, N>,
        item: impl Fn(u64, Word) -> T,
        guard: &Guard,
    ) -> Option<u64> {
        // A small batch is full before it comes to the next leaf.
        if N < FANOUT {
            fill(Walk::new(self, filter, guard), start, filter, batch, item)
        } else {
            fill(Walk::of_entries(self, filter, guard), start, filter, batch, item)
        }
    }

    /// The number of entries in `low..=high` that pass the filter, counted a leaf at one instant.
    pub(crate) fn count(&self, low: u64, high: u64, filter: TagFilter, guard: &Guard) -> u64 {
        let (mut walk, mut at, mut count) = (Walk::new(self, filter, guard), low, 0);
        while let Some(leaf) = walk.next_leaf(at).filter(|leaf| leaf.first() <= high) {
            let bits = leaf_bits(leaf.base(), at, high);
            let matching = match leaf {
                Leaf::Full(leaf) => leaf.at_one_instant(|_| leaf.matching(filter)),
                Leaf::Single(single) => {
                    matching_value(single, filter).map_or(0, |(index, _)| bit(offset(index, 0)))
                }
            };
            if matching == 0 {
                walk.heal_if_in_vain(leaf);
            }
            count += u64::from((matching & bits).count_ones());
            match leaf.range_last().checked_add(1) {
                Some(next) => at = next,
                None => break,
            }
        }
        count
    }
}

/// Fills `batch` as `walk` goes from leaf to leaf, from `at` on.
#[inline]
fn fill<A: Look, T, const N: usize>(
    mut walk: Walk<'_, A>,
    mut at: u64,
    filter: TagFilter,
    batch: &mut ArrayVec<T, N>,
    item: impl Fn(u64, Word) -> T,
) -> Option<u64> {
    while !batch.is_full() {
        let leaf = walk.next_leaf(at)?;
        let leaf = match leaf {
            Leaf::Full(leaf) => leaf,
            Leaf::Single(single) => {
                match matching_value(single, filter) {
                    Some((index, value)) => batch.push(item(index, value)),
                    None => walk.heal_if_in_vain(leaf),
                }
                at = leaf.range_last().checked_add(1)?;
                continue;
            }
        };
        let before = batch.len();
        let low = if at > leaf.base() { offset(at, 0) } else { 0 };
        let next = if filter.is_any() {
            leaf.take(from(low), filter, batch.remaining_capacity(), |index, value| {
                batch.push(item(index, value))
            })
        } else {
            take_at_one_instant(leaf, low, filter, batch, &item)
        };
        if batch.len() == before {
            walk.heal_if_in_vain(Leaf::Full(leaf));
        }
        at = match next {
            Some(offset) => leaf.base() + offset as u64,
            None => leaf.last().checked_add(1)?,
        };
    }
    Some(at)
}

/// The entry of a single, if it passes the filter.
#[inline]
fn matching_entry(single: &Single, filter: TagFilter) -> Option<(u64, Entry)> {
    let entry = single.entry().filter(|entry| filter.matches(entry.tags))?;
    Some((single.index(), entry))
}

/// The value of a single, if its entry passes the filter.
#[inline]
pub(super) fn matching_value(single: &Single, filter: TagFilter) -> Option<(u64, Word)> {
    if filter.is_any() {
        return Some((single.index(), single.value()?));
    }
    matching_entry(single, filter).map(|(index, entry)| (index, entry.value))
}

/// Fills `batch` with entries of one leaf, read at one instant. `item` is the user's code: it may run for entries that are
/// then found to be spoiled, and runs in no section.
#[inline]
fn take_at_one_instant<T, const N: usize>(
    leaf: &Node,
    low: usize,
    filter: TagFilter,
    batch: &mut ArrayVec<T, N>,
    item: &impl Fn(u64, Word) -> T,
) -> Option<usize> {
    let (before, room) = (batch.len(), batch.remaining_capacity());
    let next = leaf.try_at_one_instant(|_| {
        leaf.take(from(low), filter, room, |index, value| batch.push(item(index, value)))
    });
    if let Some(next) = next {
        return next;
    }
    batch.truncate(before);
    take_contended(leaf, low, filter, batch, item)
}

/// The same where a section intervened: through a buffer, since the reading may now happen in a section.
#[cold]
fn take_contended<T, const N: usize>(
    leaf: &Node,
    low: usize,
    filter: TagFilter,
    batch: &mut ArrayVec<T, N>,
    item: &impl Fn(u64, Word) -> T,
) -> Option<usize> {
    let (mut taken, room) = (ArrayVec::<_, FANOUT>::new(), batch.remaining_capacity());
    let next = leaf.at_one_instant(|_| {
        taken.clear();
        leaf.take(from(low), filter, room, |index, value| taken.push((index, value)))
    });
    batch.extend(taken.into_iter().map(|(index, value)| item(index, value)));
    next
}

impl Node {
    /// Hands what this leaf has in `slots` that passes the filter to `sink`, at most `room` entries; returns the
    /// offset to go on from, if there are more.
    #[inline]
    pub(super) fn take(
        &self,
        slots: u64,
        filter: TagFilter,
        room: usize,
        mut sink: impl FnMut(u64, Word),
    ) -> Option<usize> {
        let (base, mut room) = (self.base(), room);
        let mut rest = self.matching(filter) & slots;
        while rest != 0 {
            let offset = lowest(rest);
            if room == 0 {
                return Some(offset);
            }
            if let Some(value) = self.value(offset) {
                sink(base + offset as u64, value);
                room -= 1;
            }
            rest &= rest - 1;
        }
        None
    }
}
