//! Indices without an entry: looking for one, and insertion at one.

use core::ops::RangeBounds;

use super::Pinned;
use crate::bounds::inclusive;
use crate::error::RangeFullError;
use crate::value::Value;

impl<V: Value> Pinned<'_, V> {
    /// Puts `value` at the lowest index in `bounds` that has no entry; returns the index.
    ///
    /// This hands out numbers: the lowest that is free, and [`remove`](Pinned::remove) gives one back.
    ///
    /// # Concurrency
    /// Takes effect at one instant between call and return, at which the index had no entry; every lower index of the range had one at some instant
    /// of the call, not all at the same. Looks without a lock, as [`next_absent`](Pinned::next_absent) does, and where it finds that all of 64 indices, or of a group
    /// of such ranges, have entries, it locks their node to mark it, so that later calls pass over them at once. Then it locks as
    /// [`try_insert`](Pinned::try_insert) does. If another thread inserts at the same index first, it goes on behind it.
    /// # Complexity
    /// O(height), on an average over many calls: a mark that a removal has taken away is made anew once, by a look at the eight nodes of its group. The nodes in which `bounds` begin in the middle
    /// are never marked: such a call goes down once more for each level. Allocates
    /// as [`insert`](Pinned::insert).
    /// # Errors
    /// [`RangeFullError`], with the value, if every index of the range has an entry, or had one at some instant of the call.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = RadixTree::new();
    /// let pinned = tree.pin();
    /// let one = Inline::new(1).unwrap();
    /// assert_eq!(pinned.insert_at_absent(100..103, one).unwrap(), 100);
    /// assert_eq!(pinned.insert_at_absent(100..103, one).unwrap(), 101);
    /// pinned.remove(100);
    /// assert_eq!(pinned.insert_at_absent(100..103, one).unwrap(), 100);
    /// assert_eq!(pinned.insert_at_absent(100..103, one).unwrap(), 102);
    /// assert_eq!(pinned.insert_at_absent(100..103, one).unwrap_err().value, one);
    /// ```
    pub fn insert_at_absent(
        &self,
        bounds: impl RangeBounds<u64>,
        value: V,
    ) -> Result<u64, RangeFullError<V>> {
        let Some(range) = inclusive(&bounds) else { return Err(RangeFullError { value }) };
        let word = value.into_word();
        if let Some(index) = self.told(|op| op.insert_at_absent(range, word)) {
            return Ok(index);
        }
        // SAFETY: the word did not get into the tree.
        Err(RangeFullError { value: unsafe { V::from_word(word) } })
    }

    /// The lowest index at or above `index` that has no entry.
    ///
    /// # Concurrency
    /// Read without a lock, and again when a writer of the same leaf intervenes; after a few repetitions it waits for the
    /// leaf's lock. The result had no entry at one instant of the call, and every index passed over had one at some instant of it; not all at the same.
    /// # Complexity
    /// O(height) for every 64 occupied indices passed over; less where [`insert_at_absent`](Pinned::insert_at_absent) has marked them.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = (0..70).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    /// assert_eq!(tree.pin().next_absent(3), Some(70));
    /// assert_eq!(tree.pin().next_absent(90), Some(90));
    /// ```
    pub fn next_absent(&self, index: u64) -> Option<u64> {
        self.tree.raw().first_absent((index, u64::MAX), self.guard())
    }

    /// The highest index at or below `index` that has no entry.
    ///
    /// # Concurrency
    /// As [`next_absent`](Pinned::next_absent).
    /// # Complexity
    /// O(height) for every 64 occupied indices passed over.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = (10..70).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    /// assert_eq!(tree.pin().prev_absent(69), Some(9));
    /// ```
    pub fn prev_absent(&self, index: u64) -> Option<u64> {
        self.tree.raw().last_absent((0, index), self.guard())
    }

    /// The lowest index in `bounds` that has no entry, or `None` if all have one.
    ///
    /// # Concurrency
    /// As [`next_absent`](Pinned::next_absent): if it finds none, every index of the range had an entry at some instant of the call.
    /// # Complexity
    /// As [`next_absent`](Pinned::next_absent); it does not look beyond the range.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = (0..70).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    /// assert_eq!(tree.pin().first_absent(3..=70), Some(70));
    /// assert_eq!(tree.pin().first_absent(3..70), None);
    /// ```
    pub fn first_absent(&self, bounds: impl RangeBounds<u64>) -> Option<u64> {
        self.tree.raw().first_absent(inclusive(&bounds)?, self.guard())
    }

    /// The highest index in `bounds` that has no entry, or `None` if all have one.
    ///
    /// # Concurrency
    /// As [`first_absent`](Pinned::first_absent).
    /// # Complexity
    /// As [`prev_absent`](Pinned::prev_absent); it does not look beyond the range.
    pub fn last_absent(&self, bounds: impl RangeBounds<u64>) -> Option<u64> {
        self.tree.raw().last_absent(inclusive(&bounds)?, self.guard())
    }
}
