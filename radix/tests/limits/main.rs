//! The ends of the index range, the borders of nodes, empty ranges, limits of zero.

#[path = "../common/mod.rs"]
mod common;
mod ends;
mod height;
mod indices;
mod spans;

/// Indices where something may go wrong: the ends, the borders of nodes and of words.
fn limits() -> Vec<u64> {
    let powers = (0..64).flat_map(|k| [(1 << k) - 1, 1 << k, (1 << k) + 1]);
    let mut all: Vec<_> = powers.chain([u64::MAX - 1, u64::MAX]).collect();
    all.sort_unstable();
    all.dedup();
    all
}
