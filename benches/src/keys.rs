//! Where the entries are: data sets and the orders in which their keys are asked for.

use std::collections::BTreeSet;
use std::fmt;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngCore, SeedableRng};

/// Keys in a run of [`DataSet::Clustered`].
const RUN: u64 = 256;

/// The keys of an index. All choices are the same in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataSet {
    /// `0..n`.
    Dense(u64),
    /// That many runs of 256 keys at random multiples of 256 below 2^40.
    Clustered(u64),
    /// That many random 64-bit keys.
    Sparse(u64),
    /// That many multiples of a step.
    Strided {
        /// From key to key.
        step: u64,
        /// How many.
        entries: u64,
    },
}

impl DataSet {
    /// Lists the keys, ascending.
    pub fn keys(self) -> Vec<u64> {
        let mut random = SmallRng::seed_from_u64(0x7461_6773);
        match self {
            DataSet::Dense(entries) => (0..entries).collect(),
            DataSet::Clustered(runs) => {
                let starts = distinct(runs, || random.random_range(0..(1 << 40) / RUN));
                starts.iter().flat_map(|start| start * RUN..(start + 1) * RUN).collect()
            }
            DataSet::Sparse(entries) => {
                distinct(entries, || random.next_u64()).into_iter().collect()
            }
            DataSet::Strided { step, entries } => (0..entries).map(|nth| nth * step).collect(),
        }
    }

    /// Lists keys at which there is nothing, in random order: just past the end, one run further, random, or one further.
    pub fn missing(self) -> Vec<u64> {
        let keys = self.keys();
        let mut random = SmallRng::seed_from_u64(0x6d69_7373);
        let mut missing: Vec<u64> = match self {
            DataSet::Dense(entries) => keys.iter().map(|key| key + entries).collect(),
            DataSet::Clustered(_) => keys.iter().map(|key| key ^ RUN).collect(),
            DataSet::Sparse(_) => keys.iter().map(|_| random.next_u64()).collect(),
            DataSet::Strided { .. } => keys.iter().map(|key| key + 1).collect(),
        };
        missing.retain(|key| keys.binary_search(key).is_err());
        missing.shuffle(&mut random);
        missing
    }

    /// Counts the keys.
    pub const fn entries(self) -> u64 {
        match self {
            DataSet::Clustered(runs) => runs * RUN,
            DataSet::Dense(entries)
            | DataSet::Sparse(entries)
            | DataSet::Strided { entries, .. } => entries,
        }
    }

    /// The number of bits that hold every key there is.
    pub const fn key_bits(self) -> u32 {
        match self {
            DataSet::Dense(entries) => (entries - 1).ilog2() + 1,
            DataSet::Clustered(_) => 40,
            DataSet::Sparse(_) => 64,
            DataSet::Strided { step, entries } => (step * (entries - 1)).ilog2() + 1,
        }
    }

    /// The same kind with at most `entries` keys.
    #[must_use]
    pub fn at_most(self, entries: u64) -> DataSet {
        match self {
            DataSet::Dense(n) => DataSet::Dense(n.min(entries)),
            DataSet::Clustered(runs) => DataSet::Clustered(runs.min(entries / RUN)),
            DataSet::Sparse(n) => DataSet::Sparse(n.min(entries)),
            DataSet::Strided { step, entries: n } => {
                DataSet::Strided { step, entries: n.min(entries) }
            }
        }
    }
}

impl fmt::Display for DataSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = size(self.entries());
        match self {
            DataSet::Dense(_) => write!(f, "dense {entries}"),
            DataSet::Clustered(_) => write!(f, "clustered {entries}"),
            DataSet::Sparse(_) => write!(f, "sparse {entries}"),
            DataSet::Strided { step, .. } => write!(f, "every {step}th, {entries}"),
        }
    }
}

/// Writes a number of entries in units of 1024 or 1024 x 1024 where it is a multiple of them.
pub fn size(entries: u64) -> String {
    match entries {
        n if n.is_multiple_of(1 << 20) => format!("{}M", n >> 20),
        n if n.is_multiple_of(1 << 10) => format!("{}K", n >> 10),
        n => n.to_string(),
    }
}

/// Puts `keys` in a random order, the same for the same `seed`.
pub fn shuffled(mut keys: Vec<u64>, seed: u64) -> Vec<u64> {
    keys.shuffle(&mut SmallRng::seed_from_u64(seed));
    keys
}

fn distinct(count: u64, mut draw: impl FnMut() -> u64) -> BTreeSet<u64> {
    let mut drawn = BTreeSet::new();
    while (drawn.len() as u64) < count {
        drawn.insert(draw());
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_sets_are_ascending_and_as_large_as_they_say() {
        let sets = [
            DataSet::Dense(1 << 12),
            DataSet::Clustered(16),
            DataSet::Sparse(1 << 12),
            DataSet::Strided { step: 64, entries: 1 << 12 },
        ];
        for set in sets {
            let keys = set.keys();
            assert_eq!(keys.len() as u64, set.entries(), "{set}");
            assert!(keys.is_sorted_by(|one, next| one < next), "{set}");
            assert!(keys.iter().all(|key| set.key_bits() == 64 || key >> set.key_bits() == 0));
            assert!(set.missing().iter().all(|key| keys.binary_search(key).is_err()), "{set}");
        }
    }
}
