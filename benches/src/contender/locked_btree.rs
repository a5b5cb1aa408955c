//! What a cache starts with: an ordered map and an ordered set of its dirty keys behind one lock.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::RwLock;

use super::{BATCH, Contender, Hold};

/// `RwLock<(BTreeMap<u64, u64>, BTreeSet<u64>)>`: the set holds the tagged indices.
#[derive(Debug, Default)]
pub struct LockedBTree(RwLock<Parts>);

#[derive(Debug, Default)]
struct Parts {
    values: BTreeMap<u64, u64>,
    tagged: BTreeSet<u64>,
}

impl Parts {
    fn value(&self, index: u64) -> u64 {
        self.values.get(&index).copied().unwrap_or(0)
    }

    fn set(&mut self, index: u64, check: bool) -> u64 {
        let exists = !check || self.values.contains_key(&index);
        u64::from(exists && self.tagged.insert(index))
    }

    fn clear(&mut self, index: u64, check: bool) -> u64 {
        let exists = !check || self.values.contains_key(&index);
        u64::from(exists && self.tagged.remove(&index))
    }
}

impl LockedBTree {
    /// Inserts an entry at each of `indices`.
    pub fn build(indices: &[u64]) -> LockedBTree {
        let values = indices.iter().map(|&index| (index, index));
        let mut parts = Parts::default();
        for (index, value) in values {
            parts.values.insert(index, value);
        }
        LockedBTree(RwLock::new(parts))
    }

    // Functions of their own, so that each lock is released before the next is taken.
    fn set(&self, index: u64, check: bool) -> u64 {
        self.0.write().set(index, check)
    }

    fn clear(&self, index: u64, check: bool) -> u64 {
        self.0.write().clear(index, check)
    }
}

impl Contender for LockedBTree {
    fn lookup(&self, indices: &[u64], hold: Hold) -> u64 {
        match hold {
            Hold::Each => indices.iter().map(|&index| self.0.read().value(index)).sum(),
            Hold::Chunk => {
                let parts = self.0.read();
                indices.iter().map(|&index| parts.value(index)).sum()
            }
        }
    }

    fn set_clear(&self, indices: &[u64], hold: Hold, check: bool) -> u64 {
        match hold {
            Hold::Each => {
                indices.iter().map(|&index| self.set(index, check) + self.clear(index, check)).sum()
            }
            Hold::Chunk => {
                let mut parts = self.0.write();
                indices
                    .iter()
                    .map(|&index| parts.set(index, check) + parts.clear(index, check))
                    .sum()
            }
        }
    }

    fn walk(&self) -> u64 {
        let mut sum = 0;
        let mut start = Some(0);
        while let Some(from) = start {
            let parts = self.0.read();
            let mut last = None;
            let batch = parts.tagged.range(from..).take(BATCH);
            for (taken, &index) in (1..).zip(batch) {
                sum += index + parts.value(index);
                last = (taken == BATCH).then_some(index);
            }
            start = last.and_then(|index| index.checked_add(1));
        }
        sum
    }

    fn tag_all(&self, indices: &[u64], tagged: bool) {
        let parts = &mut self.0.write().tagged;
        for index in indices {
            if tagged {
                parts.insert(*index);
            } else {
                parts.remove(index);
            }
        }
    }
}
