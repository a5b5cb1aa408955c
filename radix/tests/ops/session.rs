//! Runs operations on a tree through one handle and on a model beside it, and compares.

use std::ops::Deref;
use std::sync::Arc;

use tagged_radix::{Pinned, RadixTree, Tag, TagFilter, TagSet, TreeEdges};

use super::data::{Bits, Key, Op};
use super::model::{Entry, Model};

/// A value: the index it is stored at and a stamp of its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) index: u64,
    pub(crate) stamp: u64,
}

/// The stamp of a value found at `index`.
pub(crate) fn stamp_at(index: u64, item: &Item) -> u64 {
    assert_eq!(item.index, index, "value of another index");
    item.stamp
}

/// Which indices a session may change, and so can predict exactly.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Territory {
    /// All: the session is alone.
    Whole,
    /// Two of eight neighbours each: every leaf is shared with other sessions.
    Part(u8),
}

impl Territory {
    pub(crate) fn owns(self, index: u64) -> bool {
        match self {
            Territory::Whole => true,
            Territory::Part(part) => index / 2 % 4 == u64::from(part),
        }
    }

    /// The index for `key`, moved into this territory.
    pub(crate) fn place(self, key: Key) -> u64 {
        let index = key.index();
        match self {
            Territory::Whole => index,
            Territory::Part(part) => index & !0b110 | u64::from(part) << 1,
        }
    }

    pub(crate) fn is_whole(self) -> bool {
        matches!(self, Territory::Whole)
    }
}

/// One handle on a tree, and the model of what this session put into it.
pub(crate) struct Session<'t> {
    pub(crate) pinned: Pinned<'t, Arc<Item>>,
    pub(crate) model: Model,
    pub(crate) territory: Territory,
    told: (Bits, Bits), // changes of root flags since edges were taken, as seen before and after each call: 0 to 1, 1 to 0
}

impl<'t> Session<'t> {
    /// Starts on a tree that holds nothing in `territory`.
    pub(crate) fn new(tree: &'t RadixTree<Arc<Item>>, territory: Territory) -> Session<'t> {
        let (pinned, model) = (tree.pin(), Model::default());
        Session { pinned, model, territory, told: (Bits(0), Bits(0)) }
    }

    /// Runs one operation on both sides; panics where they differ.
    pub(crate) fn step(&mut self, op: Op) {
        let before = self.flags();
        match op {
            Op::TakeEdges => self.take_edges(),
            Op::Repin => self.pinned.repin(),
            _ if self.read(op) || self.write(op) || self.write_many(op) => {}
            _ => unreachable!("{op:?} has no home"),
        }
        if matches!(op, Op::Cursor { .. }) {
            // A cursor has a handle of its own, which is told.
            return;
        }
        let after = self.flags();
        self.told.0.0 |= after.0 & !before.0;
        self.told.1.0 |= before.0 & !after.0;
    }

    /// The root flags. One may stand longer than the model has the tag: until somebody has looked.
    pub(crate) fn flags(&self) -> Bits {
        let tree = self.pinned.tree();
        let flags: TagSet = Tag::all().into_iter().filter(|tag| tree.any_tagged(*tag)).collect();
        let flags = Bits::from(flags);
        if self.territory.is_whole() {
            assert_eq!(self.model.flags().0 & !flags.0, 0, "a flag is clear over a tag");
        }
        flags
    }

    fn take_edges(&mut self) {
        let edges = self.pinned.take_edges();
        if self.territory.is_whole() {
            assert_edges(edges, self.told.0, self.told.1);
        }
        self.told = (Bits(0), Bits(0));
    }

    pub(crate) fn new_item(&mut self, index: u64) -> (Arc<Item>, u64) {
        let stamp = self.model.new_stamp();
        (Arc::new(Item { index, stamp }), stamp)
    }

    /// Asserts what the tree says of one index of this territory.
    pub(crate) fn assert_entry(&self, index: u64) {
        let p = &self.pinned;
        let expected = self.model.get(index);
        let found = p.get_with_tags(index).map(|(item, tags)| entry(index, &item, tags.into()));
        assert_eq!(found, expected, "get_with_tags({index})");
        assert_eq!(p.get(index).map(|item| stamp_at(index, &item)), expected.map(|e| e.stamp));
        assert_eq!(p.contains(index), expected.is_some());
        assert_eq!(p.tags(index).map(Bits::from), expected.map(|e| e.tags), "tags({index})");
        for tag in Tag::all() {
            assert_eq!(
                p.has_tag(index, tag),
                expected.is_some_and(|e| e.tags.has(tag)),
                "has_tag({index}, {tag:?})"
            );
        }
    }
}

pub(crate) fn entry(index: u64, item: &impl Deref<Target = Item>, tags: Bits) -> Entry {
    Entry { stamp: stamp_at(index, item), tags }
}

/// Every rise of a flag was told; a fall perhaps, unless a walk made it.
pub(crate) fn assert_edges(edges: TreeEdges, rose: Bits, fell: Bits) {
    assert_eq!(Bits::from(edges.tagged), rose, "flags told to have risen");
    assert_eq!(Bits::from(edges.untagged).0 & !fell.0, 0, "flags told to have fallen");
}

/// Asserts that a tree no one writes to is sound and holds exactly what `model` holds.
pub(crate) fn assert_matches(tree: &RadixTree<Arc<Item>>, model: &Model) {
    if let Err(violation) = tree.check() {
        panic!("{violation}");
    }
    let p = tree.pin();
    let found: Vec<_> = p
        .range_tagged(.., TagFilter::ANY)
        .map(|(index, item, tags)| (index, entry(index, &item, tags.into())))
        .collect();
    let expected: Vec<_> = model.entries.iter().map(|(index, entry)| (*index, *entry)).collect();
    assert_eq!(found, expected, "contents");
    assert_eq!(tree.len(), expected.len() as u64);
    assert_eq!(tree.is_empty(), expected.is_empty());
    for tag in Tag::all() {
        assert!(tree.any_tagged(tag) || !model.any_tagged(tag), "any_tagged({tag:?})");
    }
}
