//! `tagged-radix` itself.

use arrayvec::ArrayVec;
use tagged_radix::{Inline, Pinned, RadixTree, Tag};

use super::{BATCH, Contender, Hold};

const TAG: Tag = Tag::T0;

/// `RadixTree<Inline>`: the value is in the slot.
#[derive(Debug)]
pub struct Tree(RadixTree<Inline>);

impl Tree {
    /// Inserts an entry at each of `indices`.
    ///
    /// # Panics
    /// If an index is above [`Inline::MAX`].
    pub fn build(indices: &[u64]) -> Tree {
        let tree = RadixTree::new();
        let pinned = tree.pin();
        for &index in indices {
            pinned.insert(index, Inline::new(index).expect("indices in benches are small"));
        }
        drop(pinned);
        Tree(tree)
    }

    // Functions of their own, so that each guard is gone before the next is taken: a nested one costs less.
    fn set(&self, index: u64) -> u64 {
        set(&self.0.pin(), index)
    }

    fn clear(&self, index: u64) -> u64 {
        clear(&self.0.pin(), index)
    }
}

fn value(pinned: &Pinned<'_, Inline>, index: u64) -> u64 {
    pinned.get(index).map_or(0, |value| *value)
}

fn set(pinned: &Pinned<'_, Inline>, index: u64) -> u64 {
    u64::from(pinned.set_tag(index, TAG) == Some(true))
}

fn clear(pinned: &Pinned<'_, Inline>, index: u64) -> u64 {
    u64::from(pinned.clear_tag(index, TAG) == Some(true))
}

impl Contender for Tree {
    fn lookup(&self, indices: &[u64], hold: Hold) -> u64 {
        match hold {
            Hold::Each => indices.iter().map(|&index| value(&self.0.pin(), index)).sum(),
            Hold::Chunk => {
                let pinned = self.0.pin();
                indices.iter().map(|&index| value(&pinned, index)).sum()
            }
        }
    }

    // It always checks: the tag is where the entry is.
    fn set_clear(&self, indices: &[u64], hold: Hold, _check: bool) -> u64 {
        match hold {
            Hold::Each => indices.iter().map(|&index| self.set(index) + self.clear(index)).sum(),
            Hold::Chunk => {
                let pinned = self.0.pin();
                indices.iter().map(|&index| set(&pinned, index) + clear(&pinned, index)).sum()
            }
        }
    }

    fn walk(&self) -> u64 {
        let mut sum = 0;
        let mut start = Some(0);
        while let Some(from) = start {
            let pinned = self.0.pin();
            let mut batch = ArrayVec::<_, BATCH>::new();
            start = pinned.gang_lookup_tagged(from, TAG, &mut batch);
            sum += batch.iter().map(|(index, value)| index + **value).sum::<u64>();
        }
        sum
    }

    fn tag_all(&self, indices: &[u64], tagged: bool) {
        let pinned = self.0.pin();
        for &index in indices {
            if tagged {
                pinned.set_tag(index, TAG);
            } else {
                pinned.clear_tag(index, TAG);
            }
        }
    }
}
