//! A map from ranges of chunks to generations: which chunks are not where a flush puts them one by one.

use std::collections::BTreeMap;
use std::ops::Range;

/// Of a run whose chunks are zeros.
pub(crate) const ZEROS: u64 = 0;

/// Ranges that do not overlap, each with a generation; such as touch have different ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs {
    /// By start: end and generation.
    runs: BTreeMap<u64, (u64, u64)>,
    /// Starts whose entries may have changed since [`keep`](Self::keep), with what began there then.
    touched: BTreeMap<u64, Option<(u64, u64)>>,
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

    /// The starts whose runs may be others than at the last [`keep`](Self::keep), with what begins there now.
    pub(crate) fn changes(&self) -> Vec<(u64, Option<(u64, u64)>)> {
        self.touched.keys().map(|start| (*start, self.runs.get(start).copied())).collect()
    }

    /// It stays as it is now.
    pub(crate) fn keep(&mut self) {
        self.touched.clear();
    }

    /// It is again as it was at the last [`keep`](Self::keep).
    pub(crate) fn undo(&mut self) {
        for (start, run) in std::mem::take(&mut self.touched) {
            match run {
                Some(run) => self.runs.insert(start, run),
                None => self.runs.remove(&start),
            };
        }
    }

    fn before(&self, chunk: u64) -> Option<(u64, (u64, u64))> {
        self.runs.range(..chunk).next_back().map(|(start, run)| (*start, *run))
    }

    fn first_in(&self, range: &Range<u64>) -> Option<(u64, (u64, u64))> {
        self.runs.range(range.clone()).next().map(|(start, run)| (*start, *run))
    }

    fn put(&mut self, range: Range<u64>, generation: u64) {
        let old = self.runs.insert(range.start, (range.end, generation));
        self.touched.entry(range.start).or_insert(old);
    }

    fn drop_at(&mut self, start: u64) {
        let old = self.runs.remove(&start);
        self.touched.entry(start).or_insert(old);
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
            steps in prop::collection::vec((0..CHUNKS, 0..CHUNKS, prop::option::of(0..3_u64), 0..4_u8), 0..40),
        ) {
            let (mut runs, mut stored) = (Runs::default(), BTreeMap::new());
            let (mut model, mut kept) = ([None; 24], [None; 24]);
            for (start, len, generation, then) in steps {
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
                if then == 0 {
                    for (start, run) in runs.changes() {
                        match run {
                            Some(run) => stored.insert(start, run),
                            None => stored.remove(&start),
                        };
                    }
                    runs.keep();
                    kept = model;
                }
                if then == 1 {
                    runs.undo();
                    model = kept;
                }
                if then < 2 {
                    prop_assert_eq!(&stored, &runs.runs);
                    (0..CHUNKS).for_each(|chunk| assert_eq!(runs.get(chunk), model[at(chunk)]));
                }
                let all: Vec<_> = runs.iter().collect();
                prop_assert!(all.iter().all(|(range, _)| !range.is_empty()));
                prop_assert!(all.windows(2).all(|two| two[0].0.end <= two[1].0.start));
            }
        }
    }
}
