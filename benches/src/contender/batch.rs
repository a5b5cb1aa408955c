//! Whole batches of operations: the loops are compiled together with the contender's own code, and the dynamic call is paid
//! once a batch.

use std::time::Instant;

use hdrhistogram::Histogram;

use super::{Filter, Hold, Index, Mark};

/// Entries a range scan visits.
pub(crate) const SCAN: usize = 64;
/// One operation in that many is timed by [`Contender::latencies`].
const SAMPLED: usize = 64;

/// A batch of operations.
#[derive(Clone, Copy, Debug)]
pub enum Task<'k> {
    /// Look up each key.
    Lookup(&'k [u64], Hold),
    /// Look up each key, which is known only when the lookup before is done; one guard.
    Chase(&'k [u64]),
    /// Insert each key.
    Insert(&'k [u64], Hold),
    /// Remove each key.
    Remove(&'k [u64], Hold),
    /// Remove all in one call.
    RemoveRange,
    /// Visit all entries.
    Iterate,
    /// Visit 64 entries from each key on; a guard each.
    Scan(&'k [u64]),
    /// Set, then clear, the tag at each key; with `true` only if there is an entry.
    Pair(&'k [u64], Hold, bool),
    /// Set or clear the tag at each key; one guard.
    Tag(&'k [u64], bool),
    /// Visit all entries that pass, in batches of 16.
    Walk16(Filter),
    /// Visit all entries that pass, in batches of 256.
    Walk256(Filter),
    /// Set or clear a tag of all entries from a key on.
    TagRange(Mark, bool, u64),
    /// Count the tagged entries.
    Count,
    /// Give the second tag to all that have the first.
    Retag,
    /// Remove and insert each key, with `true` after setting and clearing its tag; a guard each.
    Churn(&'k [u64], bool),
}

/// An [`Index`] behind one dynamic call a batch.
pub trait Contender: Sync {
    /// Does all of `task`; returns a checksum in which all contenders must agree.
    fn run(&self, task: Task<'_>) -> u64;

    /// Looks each key up, or with `tags` sets and clears its tag, and records how many nanoseconds some of these took.
    fn latencies(&self, keys: &[u64], tags: bool, histogram: &mut Histogram<u64>);
}

impl<I: Index> Contender for I {
    fn run(&self, task: Task<'_>) -> u64 {
        match task {
            Task::Lookup(keys, Hold::Each) => sum(keys, |key| I::get(&self.read(), key)),
            Task::Lookup(keys, Hold::Chunk) => {
                let read = self.read();
                sum(keys, |key| I::get(&read, key))
            }
            Task::Chase(keys) => chase(self, keys),
            Task::Insert(keys, hold) => insert(self, keys, hold),
            Task::Remove(keys, hold) => remove(self, keys, hold),
            Task::RemoveRange => {
                I::remove_range(&mut self.write());
                0
            }
            Task::Iterate => {
                let mut sum = 0;
                I::iterate(&self.read(), |key, word| add(&mut sum, key, word));
                sum
            }
            Task::Scan(keys) => scan(self, keys),
            Task::Pair(keys, hold, check) => pairs(self, keys, hold, check),
            Task::Tag(keys, on) => tag(self, keys, on),
            Task::Walk16(filter) => walk::<I, 16>(self, filter),
            Task::Walk256(filter) => walk::<I, 256>(self, filter),
            Task::TagRange(mark, on, from) => {
                I::tag_range(&mut self.write(), mark, on, from);
                0
            }
            Task::Count => I::count(&self.read()),
            Task::Retag => I::retag(&mut self.write()),
            Task::Churn(keys, tags) => churn(self, keys, tags),
        }
    }

    fn latencies(&self, keys: &[u64], tags: bool, histogram: &mut Histogram<u64>) {
        for keys in keys.chunks_exact(SAMPLED) {
            let start = Instant::now();
            if tags {
                pair(self, keys[0], false);
            } else {
                sum(&keys[..1], |key| I::get(&self.read(), key));
            }
            let nanos = start.elapsed().as_nanos();
            histogram.saturating_record(u64::try_from(nanos).unwrap_or(u64::MAX));
            let rest = &keys[1..];
            let task = if tags {
                Task::Pair(rest, Hold::Each, false)
            } else {
                Task::Lookup(rest, Hold::Each)
            };
            std::hint::black_box(self.run(task));
        }
    }
}

#[inline]
fn sum(keys: &[u64], mut work: impl FnMut(u64) -> u64) -> u64 {
    keys.iter().fold(0, |sum, &key| sum.wrapping_add(work(key)))
}

#[inline]
fn chase<I: Index>(index: &I, keys: &[u64]) -> u64 {
    let read = index.read();
    // No address has the highest bit set, and the key stays as it is; but the processor has to wait for the value to know.
    let step = |(sum, last): (u64, u64), &key: &u64| {
        let all_or_no_bits = (last.cast_signed() >> 63).cast_unsigned();
        let found = I::get(&read, key ^ all_or_no_bits);
        (sum.wrapping_add(found), found)
    };
    keys.iter().fold((0, 0), step).0
}

#[inline]
fn insert<I: Index>(index: &I, keys: &[u64], hold: Hold) -> u64 {
    match hold {
        Hold::Each => keys.iter().for_each(|&key| I::insert(&mut index.write(), key)),
        Hold::Chunk => {
            let mut write = index.write();
            keys.iter().for_each(|&key| I::insert(&mut write, key));
        }
    }
    keys.len() as u64
}

#[inline]
fn remove<I: Index>(index: &I, keys: &[u64], hold: Hold) -> u64 {
    match hold {
        Hold::Each => sum(keys, |key| u64::from(I::remove(&mut index.write(), key))),
        Hold::Chunk => {
            let mut write = index.write();
            sum(keys, |key| u64::from(I::remove(&mut write, key)))
        }
    }
}

/// Sets and clears a tag, each under its own guard.
#[inline]
fn pair<I: Index>(index: &I, key: u64, check: bool) -> u64 {
    let set = I::set(&mut index.write(), key, check);
    let cleared = I::clear(&mut index.write(), key, check);
    u64::from(set) + u64::from(cleared)
}

#[inline]
fn pairs<I: Index>(index: &I, keys: &[u64], hold: Hold, check: bool) -> u64 {
    match hold {
        Hold::Each => sum(keys, |key| pair(index, key, check)),
        Hold::Chunk => {
            let mut write = index.write();
            sum(keys, |key| {
                let set = I::set(&mut write, key, check);
                u64::from(set) + u64::from(I::clear(&mut write, key, check))
            })
        }
    }
}

#[inline]
fn tag<I: Index>(index: &I, keys: &[u64], on: bool) -> u64 {
    let mut write = index.write();
    if on {
        sum(keys, |key| u64::from(I::set(&mut write, key, false)))
    } else {
        sum(keys, |key| u64::from(I::clear(&mut write, key, false)))
    }
}

#[inline]
fn walk<I: Index, const N: usize>(index: &I, filter: Filter) -> u64 {
    let mut sum = 0;
    let mut start = Some(0);
    while let Some(from) = start {
        start = index.gang::<N>(filter, from, |key, word| add(&mut sum, key, word));
    }
    sum
}

#[inline]
fn scan<I: Index>(index: &I, keys: &[u64]) -> u64 {
    let mut sum = 0;
    for &key in keys {
        I::scan(&index.read(), key, SCAN, |key, word| add(&mut sum, key, word));
    }
    sum
}

/// Adds a visited entry to a checksum.
#[inline]
const fn add(sum: &mut u64, key: u64, word: u64) {
    *sum = sum.wrapping_add(key).wrapping_add(word);
}

#[inline]
fn churn<I: Index>(index: &I, keys: &[u64], tags: bool) -> u64 {
    for &key in keys {
        if tags {
            pair(index, key, false);
        }
        I::remove(&mut index.write(), key);
        I::insert(&mut index.write(), key);
    }
    let each = if tags { 4 } else { 2 };
    keys.len() as u64 * each
}
