//! What the whole-tree checker reports.

use core::fmt;

/// An invariant of the tree's structure.
///
/// # Examples
/// ```
/// use tagged_radix::{Invariant, Violation};
///
/// fn loses_entries(violation: &Violation) -> bool {
///     matches!(violation.invariant, Invariant::TagUp | Invariant::Prefix | Invariant::Present)
/// }
/// # let _ = loses_entries;
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Invariant {
    /// An edge's level and SKIP bit match its target.
    Edge,
    /// A child lies in its parent's slot, at a lower level.
    Prefix,
    /// A child's `parent` is the node that links to it.
    Parent,
    /// No dead node is linked.
    Dead,
    /// Nobody holds a lock while nobody writes.
    Lock,
    /// A slot is occupied if and only if its present bit is set.
    Present,
    /// In a compact inner node, each place belongs to one offset, and no two to the same.
    Place,
    /// What is marked as occupied throughout is.
    Solid,
    /// Inner nodes have two children or more, leaves an entry or more.
    Branch,
    /// Where a node has a tag, the summary bit above it is set.
    TagUp,
    /// Where a summary bit is set, there is a node below it. That the node has the tag is not an invariant, see
    /// [`Stats::stale_summaries`](crate::Stats::stale_summaries).
    TagDown,
    /// A tag bit in a leaf stands on an entry.
    TagOccupied,
}

/// A broken invariant, as [`RadixTree::check`](crate::RadixTree::check) found it.
///
/// It means a bug in this crate, memory corrupted by other code, or a writer that was active during the check.
///
/// # Examples
/// ```
/// use tagged_radix::{Inline, RadixTree, Violation};
///
/// let tree: RadixTree<Inline> = RadixTree::new();
/// let checked: Result<(), Violation> = tree.check();
/// assert_eq!(checked, Ok(()));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Violation {
    /// The invariant.
    pub invariant: Invariant,
    /// What is wrong, and where.
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(invariant: Invariant, detail: String) -> Violation {
        Violation { invariant, detail }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {:?} is broken: {}", self.invariant, self.detail)
    }
}

impl core::error::Error for Violation {}
