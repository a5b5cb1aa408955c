//! A position in a tree.

use core::cell::Cell;
use core::fmt;

use crate::pinned::Pinned;
use crate::tag::{Tag, TagFilter, TagSet};
use crate::tree::RadixTree;
use crate::value::Value;

/// A position in a tree that moves from entry to entry, in both directions, and stays when its guard is [renewed](Cursor::repin).
///
/// It stands at an index, where an entry was when it came there, or nowhere as yet. It has a guard of its own, under which the references
/// that it returns are valid; they borrow from it, so they have to be gone before it is repinned. What it does not offer itself
/// is done through [`pinned`](Cursor::pinned).
///
/// # Concurrency
/// It keeps an index and no node: whatever others insert, remove or split meanwhile, a step goes past no entry that is there during the whole call.
/// So one pass with [`next`](Cursor::next), repinned or not, keeps what is said of [`Pinned::range`]: ascending indices, each at most once, and
/// every entry that is there all the time. Each call is one operation of the tree, of the progress that the table in the crate's documentation gives
/// for it. It belongs to its thread.
///
/// # Examples
/// ```
/// use tagged_radix::{Inline, RadixTree, Tag};
///
/// let tree: RadixTree<Inline> = (0..10_000).filter_map(|i| Some((i * 7, Inline::new(i)?))).collect();
/// let mut cursor = tree.cursor();
/// while let Some((index, value)) = cursor.next() {
///     if value.get() % 2 == 0 {
///         cursor.remove();
///     } else {
///         cursor.set_tag(Tag::T0);
///     }
///     if index % 256 == 0 {
///         cursor.repin(); // what was removed can be freed
///     }
/// }
/// assert_eq!(tree.len(), 5_000);
/// ```
pub struct Cursor<'t, V: Value> {
    pinned: Pinned<'t, V>,
    at: Cell<Option<u64>>,
}

impl<V: Value> RadixTree<V> {
    /// Pins the current thread and returns a cursor that stands nowhere.
    ///
    /// # Complexity
    /// As [`pin`](RadixTree::pin).
    pub fn cursor(&self) -> Cursor<'_, V> {
        Cursor { pinned: self.pin(), at: Cell::new(None) }
    }
}

impl<'t, V: Value> Cursor<'t, V> {
    /// Moves to the first entry at or above `index`, and returns it. Stays where it is if there is none.
    ///
    /// # Complexity
    /// O(height), no allocation.
    pub fn seek(&self, index: u64) -> Option<(u64, V::Ref<'_>)> {
        self.to(self.pinned.next(index))
    }

    /// Moves to the first entry above where it stands, from nowhere to the first of all, and returns it. Stays where it is if there is none:
    /// what comes there later is found then.
    ///
    /// # Complexity
    /// O(height), no allocation.
    pub fn next(&self) -> Option<(u64, V::Ref<'_>)> {
        self.to(self.pinned.next(self.above()?))
    }

    /// Moves to the last entry below where it stands, from nowhere to the last of all, and returns it. Stays where it is if there is none.
    ///
    /// # Complexity
    /// O(height), no allocation.
    pub fn prev(&self) -> Option<(u64, V::Ref<'_>)> {
        let below = self.at.get().map_or(Some(u64::MAX), |at| at.checked_sub(1))?;
        self.to(self.pinned.prev(below))
    }

    /// Moves to the first entry above where it stands that passes `filter`, and returns it with its tags. Stays where it is if there is
    /// none.
    ///
    /// # Complexity
    /// O(height) and, as [`Pinned::range_tagged`], no more for what does not have the tags asked for; no allocation.
    pub fn next_tagged(&self, filter: impl Into<TagFilter>) -> Option<(u64, V::Ref<'_>, TagSet)> {
        let found = self.pinned.range_tagged(self.above()?.., filter).next()?;
        self.at.set(Some(found.0));
        Some(found)
    }

    /// Where it stands; `None` if it has not moved to any entry.
    pub fn index(&self) -> Option<u64> {
        self.at.get()
    }

    /// The value where it stands, as it is now; `None` if the entry has gone, too.
    ///
    /// # Complexity
    /// O(height), no allocation.
    pub fn value(&self) -> Option<V::Ref<'_>> {
        self.pinned.get(self.at.get()?)
    }

    /// Removes the entry where it stands, which it leaves only by the next step; returns its value.
    ///
    /// # Complexity
    /// As [`Pinned::remove`].
    pub fn remove(&self) -> Option<V::Ref<'_>> {
        self.pinned.remove(self.at.get()?)
    }

    /// Sets `tag` on the entry where it stands; returns whether it was clear before, `None` if there is no entry.
    ///
    /// # Complexity
    /// As [`Pinned::set_tag`].
    pub fn set_tag(&self, tag: Tag) -> Option<bool> {
        self.pinned.set_tag(self.at.get()?, tag)
    }

    /// Clears `tag` on the entry where it stands; returns whether it was set before, `None` if there is no entry.
    ///
    /// # Complexity
    /// As [`Pinned::clear_tag`].
    pub fn clear_tag(&self, tag: Tag) -> Option<bool> {
        self.pinned.clear_tag(self.at.get()?, tag)
    }

    /// Lets go of all references and renews the guard, so that what was removed can be freed. The position stays.
    ///
    /// As [`Pinned::repin`]. Before anything that blocks, keep [`index`](Cursor::index) instead, and drop the cursor; a new one goes on with
    /// [`seek`](Cursor::seek) of the index *behind* that one, which also finds the next entry if the one it stood at is gone.
    pub fn repin(&mut self) {
        self.pinned.repin();
    }

    /// All operations of the tree under the cursor's guard.
    pub fn pinned(&self) -> &Pinned<'t, V> {
        &self.pinned
    }

    /// The lowest index above the position; `None` if that is the highest of all.
    fn above(&self) -> Option<u64> {
        self.at.get().map_or(Some(0), |at| at.checked_add(1))
    }

    fn to<'c>(&'c self, found: Option<(u64, V::Ref<'c>)>) -> Option<(u64, V::Ref<'c>)> {
        let found = found?;
        self.at.set(Some(found.0));
        Some(found)
    }
}

impl<V: Value> fmt::Debug for Cursor<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("index", &self.at.get()).finish_non_exhaustive()
    }
}
