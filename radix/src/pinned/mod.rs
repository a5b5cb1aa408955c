//! The operations of a tree under a guard.

mod absent;
mod entry;
mod scan;
mod tags;

use core::cell::Cell;
use core::fmt;

use arrayvec::ArrayVec;

use crate::raw::{FANOUT, Op, Word};
use crate::reclaim::{Doomed, Guard, drop_unpinned, pin};
use crate::tag::TreeEdges;
use crate::tree::RadixTree;
use crate::value::Value;

/// A tree together with a guard: all operations on entries.
///
/// Every reference that an operation returns borrows from this value. So it stays valid, whatever other threads remove,
/// and cannot outlive the guard. Where an operation *replaces or removes* an entry it returns a reference to the value that
/// left; that value is dropped once no guard that could see it is left.
///
/// # Progress
/// Lookups and plain scans are wait-free. Tagged scans, counts and lookups of tags take no lock unless writers intervene:
/// they read again when a writer of the same leaf was active, and after a few repetitions wait for that leaf's lock. Writers
/// lock the leaf (64 indices) that they change, and its ancestors as far as their summaries or links change, from below.
///
/// It belongs to its thread (it is not `Send`). Closures that its methods are given run under its guard and, but for the section of
/// [`update`](Pinned::update), under no lock. A panic of one changes nothing and loses no value; what the call has done before it stays.
///
/// # Examples
/// ```
/// use tagged_radix::{Pinned, RadixTree};
///
/// let tree: RadixTree<Box<u32>> = RadixTree::from_iter([(1, Box::new(10))]);
/// let pinned: Pinned<'_, Box<u32>> = tree.pin();
/// let value = pinned.get(1).unwrap();
/// pinned.remove(1);
/// assert_eq!(*value, 10); // removed, and still there for who holds the guard
/// ```
pub struct Pinned<'t, V: Value> {
    tree: &'t RadixTree<V>,
    guard: Held<'t>,
    edges: Cell<TreeEdges>,
}

/// A guard of one's own, or someone else's.
enum Held<'t> {
    Owned(Guard),
    Borrowed(&'t Guard),
}

impl<V: Value> RadixTree<V> {
    /// Pins the current thread and returns the tree's operations.
    ///
    /// References that they return live as long as what this returns. See [`Guard`] for what pinning costs, and what it
    /// costs to stay pinned.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = RadixTree::new();
    /// assert!(tree.pin().get(0).is_none());
    /// ```
    ///
    /// A reference cannot outlive the guard:
    /// ```compile_fail,E0716
    /// use tagged_radix::RadixTree;
    ///
    /// let tree: RadixTree<Box<u32>> = RadixTree::new();
    /// tree.pin().insert(0, Box::new(1));
    /// let value = tree.pin().get(0);
    /// println!("{value:?}");
    /// ```
    #[inline]
    pub fn pin(&self) -> Pinned<'_, V> {
        Pinned::new(self, pin())
    }

    /// The tree's operations under a guard that is there already.
    ///
    /// # Complexity
    /// Free: this is the way not to pay for a guard on each of many operations.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let trees: [RadixTree<Inline>; 2] = Default::default();
    /// let guard = tagged_radix::pin();
    /// for tree in &trees {
    ///     tree.with_guard(&guard).insert(1, Inline::new(1).unwrap());
    /// }
    /// ```
    #[inline]
    pub fn with_guard<'t>(&'t self, guard: &'t Guard) -> Pinned<'t, V> {
        Pinned::borrowed(self, guard)
    }
}

impl<'t, V: Value> Pinned<'t, V> {
    #[inline]
    pub(crate) fn new(tree: &'t RadixTree<V>, guard: Guard) -> Pinned<'t, V> {
        Pinned { tree, guard: Held::Owned(guard), edges: Cell::default() }
    }

    #[inline]
    pub(crate) fn borrowed(tree: &'t RadixTree<V>, guard: &'t Guard) -> Pinned<'t, V> {
        Pinned { tree, guard: Held::Borrowed(guard), edges: Cell::default() }
    }

    /// The tree.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = RadixTree::new();
    /// assert!(tree.pin().tree().is_empty());
    /// ```
    #[inline]
    pub fn tree(&self) -> &'t RadixTree<V> {
        self.tree
    }

    /// Lets go of all references and moves the guard to the current epoch, so that what was removed can be freed.
    ///
    /// It takes `&mut self`, so no reference from before is left. Does nothing under a guard that is borrowed
    /// ([`RadixTree::with_guard`]), or while another guard of the same thread lives. Long loops call it now and then.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = RadixTree::new();
    /// let mut pinned = tree.pin();
    /// for index in 0..10_000 {
    ///     pinned.insert(index, Inline::new(index).unwrap());
    ///     pinned.remove(index);
    ///     if index % 256 == 0 {
    ///         pinned.repin();
    ///     }
    /// }
    /// ```
    pub fn repin(&mut self) {
        if let Held::Owned(guard) = &mut self.guard {
            guard.repin();
        }
    }

    /// The changes of root flags that calls through this value have made since they were last taken.
    ///
    /// Each change is told to the `Pinned` through which the call that made it was made, several of a kind as one; see
    /// [`TreeEdges`].
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree, Tag, TagSet};
    ///
    /// let tree: RadixTree<Inline> = RadixTree::from_iter([(1, Inline::new(1).unwrap())]);
    /// let pinned = tree.pin();
    /// pinned.set_tag(1, Tag::T0);
    /// assert_eq!(pinned.take_edges().tagged, TagSet::from(Tag::T0));
    /// pinned.remove(1);
    /// assert_eq!(pinned.take_edges().untagged, TagSet::from(Tag::T0));
    /// assert!(pinned.take_edges().is_empty());
    /// ```
    pub fn take_edges(&self) -> TreeEdges {
        self.edges.take()
    }

    #[inline]
    fn guard(&self) -> &Guard {
        match &self.guard {
            Held::Owned(guard) => guard,
            Held::Borrowed(guard) => guard,
        }
    }

    /// Runs an operation that changes the tree, and keeps what it is told.
    #[inline]
    fn told<R>(&self, operation: impl FnOnce(&mut Op<'_>) -> R) -> R {
        let mut op = Op::new(self.tree.raw(), self.guard());
        let result = operation(&mut op);
        if !op.told.is_empty() {
            self.note(op.told);
        }
        result
    }

    #[cold]
    fn note(&self, edges: TreeEdges) {
        let mut all = self.edges.get();
        all.add(edges);
        self.edges.set(all);
    }

    /// A reference to the value behind a word.
    ///
    /// # Safety
    /// The word was read from the tree, or taken out of it, under this guard.
    #[inline]
    unsafe fn value(&self, word: Word) -> V::Ref<'_> {
        // SAFETY: what leaves the tree is dropped only once no guard that could see it is left, and `self` keeps one.
        unsafe { V::as_ref(word) }
    }

    /// Has the value behind a word dropped once nobody can see it, and returns a reference to it.
    ///
    /// # Safety
    /// The caller has just taken the word out of the tree, under this guard.
    #[inline]
    unsafe fn retire(&self, word: Word) -> V::Ref<'_> {
        if core::mem::needs_drop::<V>() {
            let free = move || {
                // SAFETY: the word was taken out once, so it is taken back once.
                drop_unpinned(unsafe { Doomed::new(word, drop_value::<V>) });
            };
            // SAFETY: a value is `Send + 'static`, and no guard that could see it is left when this runs.
            unsafe { self.guard().retire(free) }
            self.guard().count_bytes(V::BYTES);
        }
        self.guard().settle();
        // SAFETY: dropped after this guard, at the earliest.
        unsafe { self.value(word) }
    }

    /// Has the values behind the words of one leaf dropped together once nobody can see them.
    ///
    /// # Safety
    /// The caller has just taken the words out of the tree, under this guard.
    unsafe fn retire_all(&self, words: ArrayVec<Word, FANOUT>) {
        if core::mem::needs_drop::<V>() && !words.is_empty() {
            self.guard().count_bytes(words.len().saturating_mul(V::BYTES));
            let free = move || {
                for word in words {
                    // SAFETY: the word was taken out once, so it is taken back once.
                    drop_unpinned(unsafe { Doomed::new(word, drop_value::<V>) });
                }
            };
            // SAFETY: a value is `Send + 'static`, and no guard that could see one is left when this runs.
            unsafe { self.guard().retire(free) }
        }
        self.guard().settle();
    }
}

/// Drops the value behind a word.
///
/// # Safety
/// As for [`Value::from_word`].
unsafe fn drop_value<V: Value>(word: Word) {
    // SAFETY: the caller's word.
    drop(unsafe { V::from_word(word) });
}

impl<V: Value> fmt::Debug for Pinned<'_, V>
where
    for<'g> V::Ref<'g>: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").field("tree", self.tree).finish_non_exhaustive()
    }
}

impl<'p, V: Value> IntoIterator for &'p Pinned<'_, V> {
    type Item = (u64, V::Ref<'p>);
    type IntoIter = crate::iter::Range<'p, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
