//! Changes of root flags, as the calls were told of them.

use tagged_radix::{RadixTree, Tag, TreeEdges, Value};

use crate::call::Call;

/// By tag: how often the flag was told to have been set, less how often cleared.
#[derive(Debug, Default)]
pub(crate) struct Told([i64; Tag::COUNT]);

/// The root flags.
pub(crate) type Flags = [bool; Tag::COUNT];

pub(crate) fn flags<V: Value>(tree: &RadixTree<V>) -> Flags {
    Tag::all().map(|tag| tree.any_tagged(tag))
}

/// What a call may do to the flags without telling of it.
fn hides(call: &Call, tag: Tag) -> bool {
    match *call {
        // Told of a kind of change once, however often it was made.
        Call::Paint { .. } | Call::Mark { .. } | Call::Sweep | Call::Copy { .. } => true,
        // A walk for the tag may heal.
        Call::Scan { tag: of, .. } => of == Some(tag),
        _ => false,
    }
}

impl Told {
    pub(crate) fn add(&mut self, edges: TreeEdges) {
        edges.tagged.iter().for_each(|tag| self.0[usize::from(tag.number())] += 1);
        edges.untagged.iter().for_each(|tag| self.0[usize::from(tag.number())] -= 1);
    }

    pub(crate) fn add_all(&mut self, other: &Told) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, told)| *sum += told);
    }

    /// Each rise of a flag between `before` and `after` was told to exactly one call, and so was each fall that no walk made.
    pub(crate) fn assert_explains(&self, before: Flags, after: Flags, calls: &[&Call]) {
        for (number, tag) in Tag::all().into_iter().enumerate() {
            if !calls.iter().any(|call| hides(call, tag)) {
                let changed = i64::from(after[number]) - i64::from(before[number]);
                assert_eq!(self.0[number], changed, "changes of {tag:?} told");
            }
        }
    }
}
