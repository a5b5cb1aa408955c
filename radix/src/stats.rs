//! What a tree consists of.

/// A count of a tree's parts, as [`RadixTree::stats`](crate::RadixTree::stats) takes it.
///
/// # Examples
/// ```
/// use tagged_radix::{Inline, RadixTree};
///
/// let tree: RadixTree<Inline> = (0..4096).filter_map(|i| Some((i, Inline::new(i)?))).collect();
/// let stats = tree.stats();
/// assert_eq!((stats.entries, stats.leaves, stats.inner_nodes, stats.height), (4096, 64, 1, 2));
/// assert!(stats.bytes_per_entry() < 9.2);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Entries.
    pub entries: u64,
    /// Nodes that hold entries.
    pub leaves: u64,
    /// Nodes above the leaves.
    pub inner_nodes: u64,
    /// Nodes on the way from the root to a leaf under a tree without skipped levels; 0 for an empty tree. The level of
    /// the top node, plus one: a lone entry gives 1, whatever its index.
    pub height: u32,
    /// Bytes of all nodes. What the values point to, what the allocator adds, and nodes that are unlinked and not yet
    /// freed are not in it.
    pub bytes: u64,
}

impl Stats {
    /// Bytes of nodes an entry, or 0 for an empty tree.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let tree: RadixTree<Inline> = RadixTree::new();
    /// assert_eq!(tree.stats().bytes_per_entry(), 0.0);
    /// ```
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people to read")]
    pub fn bytes_per_entry(&self) -> f64 {
        if self.entries == 0 { 0.0 } else { self.bytes as f64 / self.entries as f64 }
    }
}
