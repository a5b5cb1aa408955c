//! What a gang lookup over a range puts entries into.

use arrayvec::ArrayVec;

/// Where a gang lookup puts entries: [`Vec`], [`ArrayVec`], or a slice or array of [`Option`]s.
///
/// Entries are added behind those that are there. Of a slice, that is from the first `None` on; a `Some` behind that is
/// replaced. A `Vec` has room for as many as the call is to give at most.
///
/// The trait cannot be implemented elsewhere.
///
/// # Examples
/// ```
/// use tagged_radix::{Inline, RadixTree, TagFilter};
///
/// let tree: RadixTree<Inline> = (0..10).filter_map(|i| Some((i, Inline::new(i)?))).collect();
/// let pinned = tree.pin();
/// let mut slots = [None; 4];
/// assert_eq!(pinned.gang_lookup_range(2..7, TagFilter::ANY, 16, &mut slots), Some(6));
/// assert!(slots.iter().flatten().map(|(index, _)| *index).eq(2..6));
/// ```
pub trait Batch<T>: sealed::Sink<T> {}

impl<T, S: sealed::Sink<T> + ?Sized> Batch<T> for S {}

pub(crate) mod sealed {
    /// A batch, for the one who fills it.
    pub trait Sink<T> {
        /// How many it has.
        fn filled(&self) -> usize;

        /// How many more it can take.
        fn room(&self) -> usize;

        /// Adds one, of which there are `filled`, counted by the caller. There is room.
        fn put(&mut self, filled: usize, item: T);
    }
}

impl<T> sealed::Sink<T> for Vec<T> {
    fn filled(&self) -> usize {
        self.len()
    }

    fn room(&self) -> usize {
        usize::MAX
    }

    fn put(&mut self, _filled: usize, item: T) {
        self.push(item);
    }
}

impl<T, const N: usize> sealed::Sink<T> for ArrayVec<T, N> {
    fn filled(&self) -> usize {
        self.len()
    }

    fn room(&self) -> usize {
        self.remaining_capacity()
    }

    fn put(&mut self, _filled: usize, item: T) {
        self.push(item);
    }
}

impl<T> sealed::Sink<T> for [Option<T>] {
    fn filled(&self) -> usize {
        self.iter().position(Option::is_none).unwrap_or(self.len())
    }

    fn room(&self) -> usize {
        self.len() - self.filled()
    }

    fn put(&mut self, filled: usize, item: T) {
        self[filled] = Some(item);
    }
}

impl<T, const N: usize> sealed::Sink<T> for [Option<T>; N] {
    fn filled(&self) -> usize {
        self[..].filled()
    }

    fn room(&self) -> usize {
        self[..].room()
    }

    fn put(&mut self, filled: usize, item: T) {
        self[..].put(filled, item);
    }
}
