//! The contenders with all entries of the data set at hand.

use crate::contender::{Ability, CANDIDATES, Contender, Hold, Task};
use crate::keys::{DataSet, shuffled};

/// Builds contenders when they are first asked for, and keeps those of one data set.
#[derive(Default)]
pub struct Pool {
    set: Option<DataSet>,
    keys: Vec<u64>,
    built: Vec<Option<Box<dyn Contender>>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("set", &self.set).finish_non_exhaustive()
    }
}

impl Pool {
    /// The keys of `set`, ascending. Lets go of the contenders of another set.
    pub fn keys(&mut self, set: DataSet) -> &[u64] {
        if self.set != Some(set) {
            self.built = CANDIDATES.iter().map(|_| None).collect();
            self.keys = set.keys();
            self.set = Some(set);
        }
        &self.keys
    }

    /// Sees to it that those who can do `ability` are built, with entries inserted in random order.
    pub(crate) fn build(&mut self, ability: Ability) {
        let Some(set) = self.set else { return };
        let mut order = Vec::new();
        for (candidate, built) in CANDIDATES.iter().zip(&mut self.built) {
            if built.is_some() || !candidate.takes_part(ability, set) {
                continue;
            }
            if order.is_empty() {
                order = shuffled(self.keys.clone(), 2);
            }
            let contender = (candidate.build)(set.key_bits());
            for keys in order.chunks(4096) {
                contender.run(Task::Insert(keys, Hold::Chunk));
            }
            *built = Some(contender);
        }
    }

    /// Those who can do `ability`, and their positions; only those that are built.
    pub(crate) fn able(&self, ability: Ability) -> Vec<(usize, &dyn Contender)> {
        let built = self.built.iter().zip(CANDIDATES).enumerate();
        let able = built.filter(|(_, (_, candidate))| candidate.abilities.contains(&ability));
        able.filter_map(|(position, (built, _))| Some((position, built.as_deref()?))).collect()
    }
}
