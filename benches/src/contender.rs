//! Who is measured: one trait, one file a contender.

mod locked_btree;
mod tree;

use std::fmt;

pub use locked_btree::LockedBTree;
pub use tree::Tree;

/// Entries a walk asks for at a time.
pub const BATCH: usize = 256;

/// How long a guard or lock is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Taken anew for each operation, as the plainest use of an API does.
    Each,
    /// Taken once for a chunk of operations.
    Chunk,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hold::Each => "a guard each",
            Hold::Chunk => "one guard",
        })
    }
}

/// An index from `u64` to a value equal to the index, with one searchable tag an entry.
///
/// Methods take whole chunks, so that a loop is compiled together with the contender's own code
/// and the dynamic call is paid once a chunk. Each returns a checksum in which all contenders must agree.
pub trait Contender: Sync {
    /// Sums up the values at `indices`, all of which are present.
    fn lookup(&self, indices: &[u64], hold: Hold) -> u64;

    /// Sets and then clears the tag at each of `indices`; counts the changes. With `check` only if there is an entry.
    fn set_clear(&self, indices: &[u64], hold: Hold, check: bool) -> u64;

    /// Visits all tagged entries in order, `BATCH` at a time; sums up indices and values.
    fn walk(&self) -> u64;

    /// Gives the entries at `indices` the tag, or takes it from them.
    fn tag_all(&self, indices: &[u64], tagged: bool);
}

/// A contender that can be built.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// As the table shows it.
    pub name: &'static str,
    /// Builds it with the entries at the given indices, inserted in that order.
    pub build: fn(&[u64]) -> Box<dyn Contender>,
}

/// All contenders. The others are compared with the first.
pub const CANDIDATES: &[Candidate] = &[
    Candidate { name: "tagged-radix", build: |indices| Box::new(Tree::build(indices)) },
    Candidate { name: "RwLock<BTreeMap>", build: |indices| Box::new(LockedBTree::build(indices)) },
];
