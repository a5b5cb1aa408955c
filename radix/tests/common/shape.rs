//! The shape a path-compressed tree must have, computed from its indices alone.

use tagged_radix::{RadixTree, Value};

/// Bits of an index that one level of the tree takes.
pub(crate) const BITS: u32 = if cfg!(radix_stress) { 4 } else { 6 };

/// Number of leaves and inner nodes, and the level of the top node plus one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) leaves: u64,
    pub(crate) inner_nodes: u64,
    pub(crate) height: u64,
}

impl Shape {
    /// The one minimal shape for `indices`, which ascend strictly.
    pub(crate) fn of(indices: &[u64]) -> Shape {
        let (Some(&low), Some(&high)) = (indices.first(), indices.last()) else {
            return Shape::default();
        };
        if low >> BITS == high >> BITS {
            return Shape { leaves: 1, inner_nodes: 0, height: 1 };
        }
        let level = (low ^ high).ilog2() / BITS; // where the first and the last part
        let mut shape = Shape { leaves: 0, inner_nodes: 1, height: u64::from(level) + 1 };
        for child in indices.chunk_by(|a, b| a >> (BITS * level) == b >> (BITS * level)) {
            let below = Shape::of(child);
            shape.leaves += below.leaves;
            shape.inner_nodes += below.inner_nodes;
        }
        shape
    }

    /// The shape a tree says it has.
    pub(crate) fn of_tree<V: Value>(tree: &RadixTree<V>) -> Shape {
        let stats = tree.stats();
        Shape {
            leaves: stats.leaves(),
            inner_nodes: stats.inner_nodes(),
            height: stats.height.into(),
        }
    }
}
