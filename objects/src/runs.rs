//! A map from ranges of chunks to generations: which chunks are not where a flush puts them one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Of a run whose chunks are zeros.
pub(crate) const ZEROS: u64 = 0;

/// Ranges that do not overlap, each with a generation; such as touch have different ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs {
    /// By start: end and generation.
    runs: BTreeMap<u64, (u64, u64)>,
    /// Starts whose entries may have changed since they were last taken.
    touched: BTreeSet<u64>,
}

impl Runs {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(crate) fn get(&self, chunk: u64) -> Option<u64> {
        let (_, (end, generation)) = self.runs.range(..=chunk).next_back()?;
        (chunk < *end).then_some(*generation)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Range<u64>, u64)> {
        self.runs.iter().map(|(start, (end, generation))| (*start..*end, *generation))
    }

    /// What is in `range` has `generation` from now on. Returns what it had before.
    pub(crate) fn insert(&mut self, range: Range<u64>, generation: u64) -> Vec<(Range<u64>, u64)> {
        if range.is_empty() {
            return Vec::new();
        }
        let replaced = self.remove(range.clone());
        let mut range = range;
        if let Some((start, (end, left))) = self.before(range.start)
            && (end, left) == (range.start, generation)
        {
            range.start = start;
        }
        if let Some((end, right)) = self.runs.get(&range.end).copied()
            && right == generation
        {
            self.drop_at(range.end);
            range.end = end;
        }
        self.put(range, generation);
        replaced
    }

    /// Nothing in `range` is in a run any more. Returns what was.
    pub(crate) fn remove(&mut self, range: Range<u64>) -> Vec<(Range<u64>, u64)> {
        let mut removed = Vec::new();
        if range.is_empty() {
            return removed;
        }
        if let Some((start, (end, generation))) = self.before(range.start)
            && end > range.start
        {
            self.put(start..range.start, generation);
            self.put(range.start..end, generation);
        }
        while let Some((start, (end, generation))) = self.first_in(&range) {
            self.drop_at(start);
            if end > range.end {
                self.put(range.end..end, generation);
            }
            removed.push((start..end.min(range.end), generation));
        }
        removed
    }

    /// The starts whose runs are others than when this was last called, with what begins there now.
    pub(crate) fn take_changes(&mut self) -> Vec<(u64, Option<(u64, u64)>)> {
        let touched = std::mem::take(&mut self.touched);
        touched.into_iter().map(|start| (start, self.runs.get(&start).copied())).collect()
    }

    fn before(&self, chunk: u64) -> Option<(u64, (u64, u64))> {
        self.runs.range(..chunk).next_back().map(|(start, run)| (*start, *run))
    }

    fn first_in(&self, range: &Range<u64>) -> Option<(u64, (u64, u64))> {
        self.runs.range(range.clone()).next().map(|(start, run)| (*start, *run))
    }

    fn put(&mut self, range: Range<u64>, generation: u64) {
        self.touched.insert(range.start);
        self.runs.insert(range.start, (range.end, generation));
    }

    fn drop_at(&mut self, start: u64) {
        self.touched.insert(start);
        self.runs.remove(&start);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHUNKS: u64 = 24;

    fn at(chunk: u64) -> usize {
        usize::try_from(chunk).expect("few")
    }

    proptest! {
        #[test]
        fn it_is_a_map_of_chunks_and_tells_its_changes(
            steps in prop::collection::vec((0..CHUNKS, 0..CHUNKS, prop::option::of(0..3_u64), any::<bool>()), 0..40),
        ) {
            let (mut runs, mut stored) = (Runs::default(), BTreeMap::new());
            let mut model = [None; 24];
            for (start, len, generation, take) in steps {
                let range = start..(start + len).min(CHUNKS);
                let before = model;
                let replaced = match generation {
                    Some(generation) => runs.insert(range.clone(), generation),
                    None => runs.remove(range.clone()),
                };
                let mut told = [None; 24];
                for (part, generation) in replaced {
                    part.for_each(|chunk| told[at(chunk)] = Some(generation));
                }
                for chunk in 0..CHUNKS {
                    let inside = range.contains(&chunk);
                    prop_assert_eq!(told[at(chunk)], before[at(chunk)].filter(|_| inside));
                    if inside {
                        model[at(chunk)] = generation;
                    }
                    prop_assert_eq!(runs.get(chunk), model[at(chunk)]);
                }
                if take {
                    for (start, run) in runs.take_changes() {
                        match run {
                            Some(run) => stored.insert(start, run),
                            None => stored.remove(&start),
                        };
                    }
                    prop_assert_eq!(&stored, &runs.runs);
                }
                let all: Vec<_> = runs.iter().collect();
                prop_assert!(all.iter().all(|(range, _)| !range.is_empty()));
                prop_assert!(all.windows(2).all(|two| two[0].0.end <= two[1].0.start));
            }
        }
    }
}
