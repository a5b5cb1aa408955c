//! What a tree consists of.

/// A count of a tree's parts, as [`RadixTree::stats`](crate::RadixTree::stats) takes it.
///
/// # Examples
/// ```
/// use tagged_radix::{Inline, RadixTree};
///
/// let tree: RadixTree<Inline> = (0..4096).filter_map(|i| Some((i, Inline::new(i)?))).collect();
/// let stats = tree.stats();
/// assert_eq!((stats.entries, stats.leaves(), stats.inner_nodes(), stats.height), (4096, 64, 1, 2));
/// assert!(stats.bytes_per_entry() < 9.2);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Entries.
    pub entries: u64,
    /// Nodes that hold up to 64 entries.
    pub full_leaves: u64,
    /// Nodes that hold one entry, made for an index that has no neighbour among the 64 indices of a full leaf, and no full
    /// leaf beside it. A second entry there replaces it by a full leaf, which stays one until its last entry is removed.
    pub compact_leaves: u64,
    /// Nodes above the leaves with a slot for each of up to 64 children.
    pub full_inner_nodes: u64,
    /// Nodes above the leaves with room for up to 7 or 21 children, as they need. Where more come, a larger one takes the
    /// place of the old one; it stays large until it goes. The top node is a full one, unless all entries are far from index 0.
    pub compact_inner_nodes: u64,
    /// Nodes on the way from the root to a leaf under a tree without skipped levels; 0 for an empty tree. The level of
    /// the top node, plus one: a lone entry gives 1, whatever its index.
    pub height: u32,
    /// Bytes of all nodes. What the values point to, what the allocator adds, and nodes that are unlinked and not yet
    /// freed are not in it.
    pub bytes: u64,
    /// Summaries that lead a search for a tag to a node where no entry has the tag any more. A change of one entry leaves them, so that it need not go up
    /// to the root; the next search that comes by takes them away.
    pub stale_summaries: u64,
}

impl Stats {
    /// Nodes that hold entries, of both kinds.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let far = |i: u64| Some((i << 40, Inline::new(i)?));
    /// let tree: RadixTree<Inline> = (0..10).filter_map(far).collect();
    /// let stats = tree.stats();
    /// assert_eq!((stats.leaves(), stats.compact_leaves), (10, 10));
    /// ```
    #[must_use]
    pub fn leaves(&self) -> u64 {
        self.full_leaves + self.compact_leaves
    }

    /// Nodes above the leaves, of both kinds.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Inline, RadixTree};
    ///
    /// let pairs = |i: u64| Some(((i / 2 + 1) << 48 | (i % 2) << 20, Inline::new(i)?));
    /// let tree: RadixTree<Inline> = (0..20).filter_map(pairs).collect();
    /// let stats = tree.stats();
    /// assert_eq!((stats.inner_nodes(), stats.compact_inner_nodes), (11, 10));
    /// ```
    #[must_use]
    pub fn inner_nodes(&self) -> u64 {
        self.full_inner_nodes + self.compact_inner_nodes
    }

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
