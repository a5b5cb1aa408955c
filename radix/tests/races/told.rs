//! Changes of root flags, as the calls were told of them.

use tagged_radix::{Tag, TreeEdges};

use crate::call::Content;

/// By tag: how often the flag was told to have been set, less how often cleared. Calls on ranges are told of a kind of change
/// once, and so may be told too little for this sum.
#[derive(Debug, Default)]
pub(crate) struct Told([i64; Tag::COUNT]);

impl Told {
    pub(crate) fn add(&mut self, edges: TreeEdges) {
        edges.tagged.iter().for_each(|tag| self.0[usize::from(tag.number())] += 1);
        edges.untagged.iter().for_each(|tag| self.0[usize::from(tag.number())] -= 1);
    }

    pub(crate) fn add_all(&mut self, other: &Told) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, told)| *sum += told);
    }

    /// Each change from `before` to `after` was told to exactly one call.
    pub(crate) fn assert_explains(&self, before: &Content, after: &Content) {
        for (tag, told) in Tag::all().into_iter().zip(self.0) {
            let tagged = |content: &Content| {
                i64::from(content.values().any(|entry| entry.1 >> tag.number() & 1 == 1))
            };
            assert_eq!(told, tagged(after) - tagged(before), "changes of {tag:?} told");
        }
    }
}
