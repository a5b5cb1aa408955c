//! Operations on one entry.

use super::Pinned;
use crate::error::{OccupiedError, RemoveError, ReplaceError};
use crate::flight::Joined;
use crate::raw::{Change, Entry, Inserted, Insertion, NewValue, Word};
use crate::slot::{Pending, Slot};
use crate::tag::TagSet;
use crate::value::Value;

impl<V: Value> Pinned<'_, V> {
    /// The value at `index`.
    ///
    /// # Concurrency
    /// Wait-free: one dependent load a level, no lock, no retry. Takes effect at one instant between call and return.
    /// # Complexity
    /// O(height), at most 11 levels; no allocation.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::RadixTree;
    ///
    /// let tree: RadixTree<Box<u32>> = RadixTree::from_iter([(3, Box::new(9))]);
    /// let pinned = tree.pin();
    /// assert_eq!(pinned.get(3), Some(&9));
    /// assert_eq!(pinned.get(4), None);
    /// ```
    #[inline]
    pub fn get(&self, index: u64) -> Option<V::Ref<'_>> {
        let word = self.tree.raw().get(index, self.guard())?;
        // SAFETY: read from the tree under this guard.
        Some(unsafe { self.value(word) })
    }

    /// The value and the tags at `index`, both as they were at the same instant.
    ///
    /// # Concurrency
    /// Read without a lock, and again when a writer of the same leaf intervenes; after a few repetitions it waits for the
    /// leaf's lock.
    /// # Complexity
    /// O(height), no allocation.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree, Tag, TagSet};
    ///
    /// let tree: RadixTree<Inline> = RadixTree::new();
    /// let pinned = tree.pin();
    /// pinned.insert_tagged(3, Inline::new(9).unwrap(), Tag::T2.into());
    /// let (value, tags) = pinned.get_with_tags(3).unwrap();
    /// assert_eq!((value.get(), tags), (9, TagSet::from(Tag::T2)));
    /// ```
    pub fn get_with_tags(&self, index: u64) -> Option<(V::Ref<'_>, TagSet)> {
        let entry = self.tree.raw().entry(index, self.guard())?;
        // SAFETY: read from the tree under this guard.
        Some((unsafe { self.value(entry.value) }, entry.tags))
    }

    /// Whether there is an entry at `index`.
    ///
    /// # Concurrency
    /// As [`get`](Pinned::get).
    /// # Complexity
    /// O(height), no allocation.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = RadixTree::from_iter([(u64::MAX, Inline::new(0).unwrap())]);
    /// assert!(tree.pin().contains(u64::MAX));
    /// ```
    #[inline]
    pub fn contains(&self, index: u64) -> bool {
        self.tree.raw().get(index, self.guard()).is_some()
    }

    /// Puts `value` at `index`; returns the value that it replaces, whose tags it takes over.
    ///
    /// # Concurrency
    /// Takes effect at one instant between call and return. Locks the leaf, or the node above a new leaf.
    /// # Complexity
    /// O(height). Allocates a leaf if there is none for `index`, and an inner node if an edge must be split.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{RadixTree, Tag};
    ///
    /// let tree: RadixTree<Box<u32>> = RadixTree::new();
    /// let pinned = tree.pin();
    /// assert_eq!(pinned.insert(1, Box::new(10)), None);
    /// pinned.set_tag(1, Tag::T0);
    /// assert_eq!(pinned.insert(1, Box::new(11)), Some(&10));
    /// assert!(pinned.has_tag(1, Tag::T0));
    /// ```
    #[inline]
    pub fn insert(&self, index: u64, value: V) -> Option<V::Ref<'_>> {
        self.insert_tagged(index, value, TagSet::EMPTY)
    }

    /// Puts `value` at `index` and adds `tags` to those of the entry, in one step; returns the value that it replaces.
    ///
    /// # Concurrency
    /// As [`insert`](Pinned::insert): nobody sees the value without the tags.
    /// # Complexity
    /// As [`insert`](Pinned::insert).
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree, Tag, TagSet};
    ///
    /// let tree: RadixTree<Inline> = RadixTree::new();
    /// let pinned = tree.pin();
    /// pinned.insert_tagged(1, Inline::new(0).unwrap(), TagSet::of(&[Tag::T0, Tag::T1]));
    /// pinned.insert_tagged(1, Inline::new(0).unwrap(), Tag::T2.into());
    /// assert_eq!(pinned.tags(1).unwrap().len(), 3);
    /// ```
    pub fn insert_tagged(&self, index: u64, value: V, tags: TagSet) -> Option<V::Ref<'_>> {
        let word = value.into_word();
        match self.insert_word(index, word, tags, true) {
            // SAFETY: `insert` has just taken it out of the tree.
            Inserted::Replaced(old) => Some(unsafe { self.retire(old) }),
            Inserted::New | Inserted::Occupied(_) => None,
        }
    }

    /// Puts `value` at `index` if there is no entry; returns a reference to it.
    ///
    /// # Concurrency
    /// Takes effect at one instant between call and return.
    /// # Complexity
    /// As [`insert`](Pinned::insert).
    /// # Errors
    /// [`OccupiedError`], with both values, if there is an entry.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::RadixTree;
    ///
    /// let tree: RadixTree<Box<u32>> = RadixTree::new();
    /// let pinned = tree.pin();
    /// assert_eq!(pinned.try_insert(1, Box::new(10)).unwrap(), &10);
    /// assert_eq!(pinned.try_insert(1, Box::new(11)).unwrap_err().current, &10);
    /// ```
    pub fn try_insert(&self, index: u64, value: V) -> Result<V::Ref<'_>, OccupiedError<'_, V>> {
        self.try_insert_tagged(index, value, TagSet::EMPTY)
    }

    /// Puts `value` with `tags` at `index` if there is no entry; returns a reference to it.
    ///
    /// # Concurrency
    /// Takes effect at one instant between call and return.
    /// # Complexity
    /// As [`insert`](Pinned::insert).
    /// # Errors
    /// [`OccupiedError`], with both values, if there is an entry. Its tags stay as they are.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree, Tag};
    ///
    /// let tree: RadixTree<Inline> = RadixTree::new();
    /// let pinned = tree.pin();
    /// assert!(pinned.try_insert_tagged(1, Inline::new(0).unwrap(), Tag::T3.into()).is_ok());
    /// assert!(pinned.has_tag(1, Tag::T3));
    /// ```
    pub fn try_insert_tagged(
        &self,
        index: u64,
        value: V,
        tags: TagSet,
    ) -> Result<V::Ref<'_>, OccupiedError<'_, V>> {
        let word = value.into_word();
        match self.insert_word(index, word, tags, false) {
            Inserted::Occupied(current) => {
                // SAFETY: the word did not get into the tree.
                let value = unsafe { V::from_word(word) };
                // SAFETY: read from the tree under this guard.
                let current = unsafe { self.value(current) };
                Err(OccupiedError { value, current })
            }
            // SAFETY: put into the tree under this guard.
            Inserted::New | Inserted::Replaced(_) => Ok(unsafe { self.value(word) }),
        }
    }

    fn insert_word(&self, index: u64, word: Word, tags: TagSet, overwrite: bool) -> Inserted {
        if tags.is_empty()
            && let Some(done) = self.tree.raw().put(index, word, overwrite, self.guard())
        {
            return done;
        }
        self.insert_anywhere(Insertion { index, entry: Entry { value: word, tags }, overwrite })
    }

    /// Inserts with tags, or where there is no full leaf yet. Out of line, for the short way above.
    #[inline(never)]
    fn insert_anywhere(&self, insertion: Insertion) -> Inserted {
        self.told(|op| op.insert(insertion))
    }

    /// The value at `index`, or the one that `make` returns, which is inserted.
    ///
    /// # Concurrency
    /// `make` runs outside all locks, at most once. Of calls for the same index, one runs its `make` while the others wait for it, under
    /// their guards; if it panics, one of them goes on with its own. A call from within a `make` does not wait: where another call
    /// is making a value, it makes one, too. If an entry is inserted first, by such a call or by another operation, what was made is dropped.
    ///
    /// As with any wait: if `make` takes a lock, or waits for a thread, do not call this while you hold that lock, or are that thread.
    /// # Complexity
    /// As [`get`](Pinned::get) if there is an entry, else as [`insert`](Pinned::insert).
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::RadixTree;
    ///
    /// let tree: RadixTree<Box<u32>> = RadixTree::new();
    /// let pinned = tree.pin();
    /// assert_eq!(pinned.get_or_insert_with(1, || Box::new(10)), &10);
    /// assert_eq!(pinned.get_or_insert_with(1, || unreachable!()), &10);
    /// ```
    pub fn get_or_insert_with(&self, index: u64, make: impl FnOnce() -> V) -> V::Ref<'_> {
        if let Some(value) = self.get(index) {
            return value;
        }
        self.make_or_wait(index, make)
    }

    /// The same where there was no entry a moment ago.
    #[cold]
    fn make_or_wait(&self, index: u64, make: impl FnOnce() -> V) -> V::Ref<'_> {
        loop {
            let flight = match self.tree.flights().join(index) {
                Joined::Maker(flight) => Some(flight),
                Joined::Beside => None,
                Joined::Landed => match self.get(index) {
                    Some(value) => return value,
                    None => continue,
                },
            };
            if let (Some(_), Some(value)) = (&flight, self.get(index)) {
                return value;
            }
            let inserted = self.try_insert(index, make());
            // Not before the value is in the tree.
            drop(flight);
            return inserted.unwrap_or_else(|occupied| occupied.current);
        }
    }

    /// Replaces the value at `index` if `predicate` says so of the value and tags that are there; returns the old value.
    /// The tags stay.
    ///
    /// # Concurrency
    /// `predicate` runs outside all locks, on value and tags of one instant, and again if the entry has changed by the
    /// time of the replacement. The replacement takes effect at one instant at which the last verdict still holds.
    /// # Complexity
    /// O(height) a try, no allocation.
    /// # Errors
    /// [`ReplaceError`], with the value that was not stored, if there is no entry or `predicate` says no.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::RadixTree;
    ///
    /// let tree: RadixTree<Box<u32>> = RadixTree::from_iter([(1, Box::new(10))]);
    /// let pinned = tree.pin();
    /// let old = pinned.replace_if(1, Box::new(11), |value, tags| *value == 10 && tags.is_empty());
    /// assert_eq!(old.unwrap(), &10);
    /// ```
    pub fn replace_if(
        &self,
        index: u64,
        value: V,
        mut predicate: impl FnMut(V::Ref<'_>, TagSet) -> bool,
    ) -> Result<V::Ref<'_>, ReplaceError<'_, V>> {
        let raw = self.tree.raw();
        let mut value = value;
        loop {
            let Some(entry) = raw.entry(index, self.guard()) else {
                return Err(ReplaceError { value, current: None });
            };
            // SAFETY: read from the tree under this guard.
            let current = unsafe { self.value(entry.value) };
            if !predicate(current, entry.tags) {
                return Err(ReplaceError { value, current: Some(current) });
            }
            let word = value.into_word();
            if let Ok(old) = self.change_if(index, entry, NewValue::Store(word)) {
                // SAFETY: the change has just taken it out of the tree.
                return Ok(unsafe { self.retire(old) });
            }
            // SAFETY: the word did not get into the tree.
            value = unsafe { V::from_word(word) };
        }
    }

    /// Replaces the value at `index` by `new` if it is `current`, that is, the very same word; returns the old value. The
    /// tags stay.
    ///
    /// Two boxes or two `Arc`s with equal contents are not the same.
    ///
    /// # Concurrency
    /// Takes effect at one instant between call and return.
    /// # Complexity
    /// O(height) a try, no allocation. It tries again when value or tags of the entry have changed in between.
    /// # Errors
    /// [`ReplaceError`], with `new` and the value that is there, if it is another one or none.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::RadixTree;
    ///
    /// let tree: RadixTree<Box<u32>> = RadixTree::from_iter([(1, Box::new(10))]);
    /// let pinned = tree.pin();
    /// let seen = pinned.get(1).unwrap();
    /// assert!(pinned.compare_exchange(1, seen, Box::new(11)).is_ok());
    /// assert!(pinned.compare_exchange(1, seen, Box::new(12)).is_err());
    /// ```
    pub fn compare_exchange(
        &self,
        index: u64,
        current: V::Ref<'_>,
        new: V,
    ) -> Result<V::Ref<'_>, ReplaceError<'_, V>> {
        let expected = V::ref_word(current);
        self.replace_if(index, new, |value, _| V::ref_word(value) == expected)
    }

    /// Removes the entry at `index`, with its tags; returns its value.
    ///
    /// # Concurrency
    /// Takes effect at one instant between call and return. Locks the leaf; if it becomes empty, also the node above, and
    /// the one above that if the node is left with one child.
    /// # Complexity
    /// O(height), no allocation but for what the epoch scheme keeps about garbage.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::RadixTree;
    ///
    /// let tree: RadixTree<Box<u32>> = RadixTree::from_iter([(1, Box::new(10))]);
    /// let pinned = tree.pin();
    /// assert_eq!(pinned.remove(1), Some(&10));
    /// assert_eq!(pinned.remove(1), None);
    /// ```
    pub fn remove(&self, index: u64) -> Option<V::Ref<'_>> {
        let word = self.told(|op| op.remove(index))?;
        // SAFETY: `remove` has just taken it out of the tree.
        Some(unsafe { self.retire(word) })
    }

    /// Removes the entry at `index` if `predicate` says so of its value and tags; returns its value.
    ///
    /// # Concurrency
    /// As [`replace_if`](Pinned::replace_if): `predicate` runs outside all locks, and again if the entry has changed. A refusal, and
    /// the lack of an entry, hold at one instant between call and return.
    /// # Complexity
    /// O(height) a try, no allocation but for what the epoch scheme keeps about garbage.
    /// # Errors
    /// [`RemoveError`], with the value that was refused, or without one if there is no entry: the last word of `predicate`
    /// may have been yes then, and another thread quicker.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree, Tag};
    ///
    /// const DIRTY: Tag = Tag::T0;
    /// let tree: RadixTree<Inline> = RadixTree::from_iter([(1, Inline::new(10).unwrap())]);
    /// let pinned = tree.pin();
    /// pinned.set_tag(1, DIRTY);
    /// let is_clean = |_, tags: tagged_radix::TagSet| !tags.contains(DIRTY);
    /// assert!(pinned.remove_if(1, is_clean).unwrap_err().current.is_some(), "it is dirty");
    /// pinned.clear_tag(1, DIRTY);
    /// assert!(pinned.remove_if(1, is_clean).is_ok());
    /// assert!(pinned.remove_if(1, is_clean).unwrap_err().current.is_none(), "it has gone");
    /// ```
    pub fn remove_if(
        &self,
        index: u64,
        mut predicate: impl FnMut(V::Ref<'_>, TagSet) -> bool,
    ) -> Result<V::Ref<'_>, RemoveError<'_, V>> {
        loop {
            let Some(entry) = self.tree.raw().entry(index, self.guard()) else {
                return Err(RemoveError { current: None });
            };
            // SAFETY: read from the tree under this guard.
            let current = unsafe { self.value(entry.value) };
            if !predicate(current, entry.tags) {
                return Err(RemoveError { current: Some(current) });
            }
            if let Ok(old) = self.change_if(index, entry, NewValue::Remove) {
                // SAFETY: the change has just taken it out of the tree.
                return Ok(unsafe { self.retire(old) });
            }
        }
    }

    pub(super) fn change_if(
        &self,
        index: u64,
        expected: Entry,
        value: NewValue,
    ) -> Result<Word, Option<Entry>> {
        self.told(|op| op.change_if(index, expected, Change::of(value)))
    }

    /// Runs `section` on the entry at `index` and makes what it does to the [`Slot`] take effect at one instant.
    ///
    /// Returns what `section` returned, or `None` without running it if there is no entry.
    ///
    /// # Concurrency
    /// The section runs under the lock of the entry's leaf: no other change of the entry, or of one of its 63 neighbours,
    /// happens meanwhile. Lookups and plain scans go on, and see the entry as it was before; reads of tags and tagged scans
    /// that come to the leaf wait for the section's end. So it is the place for changes that must go together with a change
    /// of tags, such as a flag in the value itself.
    ///
    /// It must be short, and must not use the tree in any way: it would wait for itself for ever. That goes for the drops of what it
    /// owns, too: they are part of it. If it does not run, it is dropped outside the lock.
    /// # Complexity
    /// O(height), no allocation, and what the section costs.
    /// # Panics
    /// Only if `section` does; then nothing of it is applied, and the lock is released.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree, Tag};
    ///
    /// let tree: RadixTree<Inline> = RadixTree::from_iter([(1, Inline::new(10).unwrap())]);
    /// let pinned = tree.pin();
    /// let was_tagged = pinned.update(1, |slot| {
    ///     let was = slot.tags().contains(Tag::T0);
    ///     slot.set(Tag::T0);
    ///     was
    /// });
    /// assert_eq!(was_tagged, Some(false));
    /// assert_eq!(pinned.update(2, |_| ()), None);
    /// ```
    pub fn update<R>(&self, index: u64, section: impl FnOnce(&mut Slot<'_, V>) -> R) -> Option<R> {
        // Both outside the section, so that what `section` leaves behind by a panic, and `section` itself if there is no entry
        // in a leaf that is locked already, are dropped without the lock.
        let (mut pending, mut section) = (Pending::Keep, Some(section));
        let run = |entry: Entry| {
            let section = section.take().expect("a section runs once");
            // SAFETY: read from the tree under this guard.
            let value = unsafe { self.value(entry.value) };
            let mut slot = Slot { value, tags: entry.tags, pending: &mut pending };
            let result = section(&mut slot);
            let tags = slot.tags;
            let value = match core::mem::replace(&mut pending, Pending::Keep) {
                Pending::Keep => NewValue::Keep,
                Pending::Replace(value) => NewValue::Store(value.into_word()),
                Pending::Remove => NewValue::Remove,
            };
            (Change { value, set: tags - entry.tags, clear: entry.tags - tags }, result)
        };
        let (result, left) = self.told(|op| op.update(index, run))?;
        if let Some(word) = left {
            // SAFETY: `update` has just taken it out of the tree.
            unsafe { self.retire(word) };
        }
        Some(result)
    }
}
