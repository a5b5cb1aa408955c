//! Runs of entries, looked up in gangs.

use rand::Rng;

use crate::common::{Tree, assert_at_rest, gang_sweep, rng, tree_of};
use tagged_radix::ArrayVec;

/// Most entries a gang lookup may return here.
const CHUNK: usize = 64;

/// A run of entries and how it is looked up.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u64,
    last: u64,
    chunk: usize,
    hop: u64,
}

impl Run {
    /// The run from `down` below to `up` above `middle`, `up` not included.
    fn around(middle: u64, down: u64, up: u64, chunk: usize, hop: u64) -> Run {
        Run { first: middle - down, last: middle + (up - 1), chunk, hop }
    }

    /// The `length` last indices there are.
    fn at_the_top(length: u64, chunk: usize, hop: u64) -> Run {
        Run { first: u64::MAX - (length - 1), last: u64::MAX, chunk, hop }
    }

    fn check(self) {
        let tree = tree_of(self.first..=self.last);
        self.check_presence(&tree);
        self.check_gangs(&tree);
        let p = tree.pin();
        assert!(gang_sweep::<CHUNK>(&p, 0).into_iter().eq(self.first..=self.last), "{self:?}");
        assert_eq!(p.remove_range(self.first..=self.last), self.last - self.first + 1);
        assert!(tree.is_empty());
    }

    fn check_presence(self, tree: &Tree) {
        let p = tree.pin();
        for outside in self.first.checked_sub(1).into_iter().chain(self.last.checked_add(1)) {
            assert_eq!(p.get(outside), None, "{self:?}: {outside:#x}");
        }
        for index in self.first..=self.last {
            assert_eq!(p.get(index), Some(&index), "{self:?}");
        }
    }

    /// Looks up a gang from every hop of the run.
    fn check_gangs(self, tree: &Tree) {
        let p = tree.pin();
        let mut start = self.first;
        loop {
            let mut batch = ArrayVec::<_, CHUNK>::new();
            let filler = p.first().unwrap();
            (self.chunk..CHUNK).for_each(|_| batch.push(filler));
            p.gang_lookup(start, &mut batch);
            let found = batch[CHUNK - self.chunk..].iter().map(|(index, value)| {
                assert_eq!(*index, **value);
                *index
            });
            assert!(found.eq((start..=self.last).take(self.chunk)), "{self:?} from {start:#x}");
            match start.checked_add(self.hop) {
                Some(next) if next <= self.last => start = next,
                _ => break,
            }
        }
    }
}

#[test]
fn gang_lookups_give_the_items_of_a_run() {
    // M-1: runs around places where the top of the tree changes, also high ones.
    for middle in [1 << 30, 1 << 31, 1 << 32, 1 << 36, 1 << 42, 1 << 54, 1 << 60, 1 << 63] {
        Run::around(middle, 128, 128, 35, 2).check();
        Run::around(middle, 128, 128, 32, 32).check();
        Run::around(middle, 128, 128, 32, 100).check();
        Run::around(middle, 128, 128, 17, 7).check();
        Run::around(middle, 1, 1, 17, 7).check();
    }
    Run::around(0xffff_fffe, 1, 1, 17, 7).check();
}

#[test]
fn gang_lookups_give_the_items_of_a_long_run() {
    // M-1: 65 536 items up to the end of 32 bits, and up to the end of all.
    Run::around(0xffff_0000, 0, 65_536, 17, 7).check();
    Run::at_the_top(65_536, 17, 7).check();
}

#[test]
fn gang_lookups_give_the_items_of_runs_at_the_top() {
    // M-1: runs that end with the last index.
    for length in [1, 2, 63, 64, 65, 128, 4097] {
        Run::at_the_top(length, 35, 2).check();
        Run::at_the_top(length, 32, 32).check();
        Run::at_the_top(length, 17, 100).check();
        Run::at_the_top(length, 0, 7).check();
    }
}

#[test]
fn gang_lookups_give_the_items_of_random_runs() {
    // M-2: random runs, each a little above the one before, over the low 33 bits and the top.
    let mut random = rng(2);
    for offset in [0, u64::MAX - (1 << 33)] {
        let mut start = 0;
        for _ in 0..60 {
            start = (start + random.random_range(0..300_000_000)) % (1 << 33);
            let middle = (offset + start).max(1 << 9);
            let (down, up) = (random.random_range(0..256), random.random_range(1..256));
            Run::around(
                middle,
                down,
                up,
                random.random_range(0..=CHUNK),
                random.random_range(1..256),
            )
            .check();
        }
    }
}

#[test]
fn one_entry_leaves_its_neighbour_absent() {
    // M-3
    let tree = tree_of([44]);
    let p = tree.pin();
    assert_eq!((p.get(44), p.get(43)), (Some(&44), None));
    assert_at_rest(&tree);
}
