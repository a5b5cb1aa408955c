//! Bursts of random changes against a model of each index's state.

use rand::{Rng, rngs::SmallRng};

use crate::common::{NONE, T0, Tree, assert_at_rest, assert_same, gang_sweep_tagged, rng};
use tagged_radix::Pinned;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Present,
    Tagged,
}

use State::{Absent, Present, Tagged};

struct Thrash {
    tree: Tree,
    states: Vec<State>,
    first: u64,
}

impl Thrash {
    fn random(&self, random: &mut SmallRng) -> (usize, u64) {
        let at = random.random_range(0..self.states.len());
        (at, self.first + at as u64)
    }

    fn insert(&mut self, p: &Pinned<'_, Box<u64>>, random: &mut SmallRng) {
        let (at, index) = self.random(random);
        assert_eq!(p.try_insert(index, Box::new(index)).is_ok(), self.states[at] == Absent);
        if self.states[at] == Absent {
            assert_eq!(p.tags(index), Some(NONE));
            self.states[at] = Present;
        }
    }

    fn delete(&mut self, p: &Pinned<'_, Box<u64>>, random: &mut SmallRng) {
        let (at, index) = self.random(random);
        assert_eq!(p.has_tag(index, T0), self.states[at] == Tagged);
        assert_eq!(p.remove(index).is_some(), self.states[at] != Absent);
        assert!(!p.has_tag(index, T0));
        self.states[at] = Absent;
    }

    fn tag(&mut self, p: &Pinned<'_, Box<u64>>, random: &mut SmallRng) {
        let (at, index) = self.random(random);
        let state = self.states[at];
        assert_eq!(p.set_tag(index, T0), (state != Absent).then_some(state == Present));
        assert_eq!(p.set_tag(index, T0), (state != Absent).then_some(false), "twice is once");
        if state == Present {
            self.states[at] = Tagged;
        }
    }

    fn untag(&mut self, p: &Pinned<'_, Box<u64>>, random: &mut SmallRng) {
        let (at, index) = self.random(random);
        let state = self.states[at];
        assert_eq!(p.clear_tag(index, T0), (state != Absent).then_some(state == Tagged));
        assert_eq!(p.clear_tag(index, T0), (state != Absent).then_some(false), "twice is once");
        if state == Tagged {
            self.states[at] = Present;
        }
    }

    /// Compares every index, and what a sweep for the tag finds.
    fn sweep(&self) {
        let p = self.tree.pin();
        let (mut present, mut with) = (0, Vec::new());
        for (index, state) in (self.first..=u64::MAX).zip(&self.states) {
            let expected = (*state != Absent, *state == Tagged);
            assert_eq!((p.contains(index), p.has_tag(index, T0)), expected, "{index}");
            present += u64::from(expected.0);
            if expected.1 {
                with.push(index);
            }
        }
        assert_eq!(self.tree.len(), present);
        assert_same(&gang_sweep_tagged::<33>(&p, 0, T0), &with);
        assert_at_rest(&self.tree);
    }
}

#[test]
fn bursts_of_random_changes_match_a_model() {
    // TC-6: chunks of four sizes nested; a part of the indices at the bottom, a part at the top.
    let length = 20_000;
    for first in [0, u64::MAX - (length - 1)] {
        let size = usize::try_from(length).unwrap();
        let mut thrash = Thrash { tree: Tree::new(), states: vec![Absent; size], first };
        let mut random = rng(6);
        for (inserts, deletes, tags, untags) in [
            (16_129, 1, 127, 1),
            (127, 127, 16_129, 127),
            (16_129, 16_129, 1, 1),
            (16_129, 127, 16_129, 16_129),
            (1, 16_129, 127, 127),
        ] {
            let tree = std::mem::take(&mut thrash.tree);
            let p = tree.pin();
            (0..inserts).for_each(|_| thrash.insert(&p, &mut random));
            (0..deletes).for_each(|_| thrash.delete(&p, &mut random));
            (0..tags).for_each(|_| thrash.tag(&p, &mut random));
            (0..untags).for_each(|_| thrash.untag(&p, &mut random));
            drop(p);
            thrash.tree = tree;
            thrash.sweep();
        }
    }
}
