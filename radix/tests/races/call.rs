//! Calls, their outcomes, and how each is made on a tree.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrayvec::ArrayVec;
use tagged_radix::{Pinned, RadixTree, Tag, TagFilter, TagSet};

use crate::stamp::Stamp;

/// An entry as the races see it: the stamp of its value and its tags.
pub(crate) type Entry = (u64, TagSetBits);
/// What a tree holds.
pub(crate) type Content = BTreeMap<u64, Entry>;
/// Tags as bits, so that contents can be hashed and compared.
pub(crate) type TagSetBits = u8;

pub(crate) fn bits(tags: TagSet) -> TagSetBits {
    tags.iter().fold(0, |bits, tag| bits | 1 << tag.number())
}

/// Puts entries into a tree.
pub(crate) fn plant(tree: &RadixTree<Arc<Stamp>>, content: &Content) {
    for (index, (stamp, tags)) in content {
        tree.pin().insert_tagged(*index, Stamp::new(*stamp), set_of(*tags));
    }
}

/// What a tree holds.
pub(crate) fn contents(tree: &RadixTree<Arc<Stamp>>) -> Content {
    let pinned = tree.pin();
    pinned
        .range_tagged(.., TagFilter::ANY)
        .map(|(index, value, tags)| (index, (value.get(), bits(tags))))
        .collect()
}

/// Asserts that a walk for each tag, beside no writer, leaves no summary over nothing, and finds what there is.
pub(crate) fn assert_exact_after_walks(tree: &RadixTree<Arc<Stamp>>, content: &Content) {
    for tag in Tag::all() {
        let expected = content.values().filter(|entry| entry.1 >> tag.number() & 1 == 1).count();
        assert!(tree.any_tagged(tag) || expected == 0, "{tag:?} is missed");
        assert_eq!(tree.pin().count_tagged(.., tag), expected as u64, "{tag:?}");
        assert_eq!(tree.any_tagged(tag), expected > 0, "{tag:?}, after a walk");
    }
    assert_eq!(tree.stats().stale_summaries, 0, "walks have passed");
    tree.check().unwrap_or_else(|violation| panic!("after walks: {violation}"));
}

fn set_of(bits: TagSetBits) -> TagSet {
    Tag::all().into_iter().filter(|tag| bits >> tag.number() & 1 == 1).collect()
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    Get(u64),
    Entry(u64),
    Has(u64, Tag),
    Insert {
        index: u64,
        stamp: u64,
        tags: TagSetBits,
    },
    Remove(u64),
    Set(u64, Tag),
    Clear(u64, Tag),
    Update {
        index: u64,
        set: TagSetBits,
        clear: TagSetBits,
        stamp: Option<u64>,
    },
    Any(Tag),
    /// Replaces the value of an entry without tags.
    Swap {
        index: u64,
        stamp: u64,
    },
    /// Removes an entry without the tag.
    Drop(u64, Tag),
    /// Gets the value, or inserts one.
    Make {
        index: u64,
        stamp: u64,
    },
    Scan {
        tag: Option<Tag>,
        how: How,
    },
    Copy {
        from: Tag,
        to: Tag,
    },
    /// Sets and clears tags of all entries, leaf by leaf.
    Paint {
        set: TagSetBits,
        clear: TagSetBits,
    },
    /// Sets a tag of the entries at these indices, leaf by leaf.
    Mark {
        tag: Tag,
        indices: Vec<u64>,
    },
    /// The lowest index from here on without an entry.
    Absent(u64),
    /// Inserts at the lowest absent index of a range, both ends included.
    Alloc {
        low: u64,
        high: u64,
        stamp: u64,
    },
    /// Removes everything, entry by entry.
    Sweep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum How {
    /// By an iterator.
    Iterate,
    /// Entry by entry, the guard let go of and taken again in between.
    Resume,
    /// In batches of two; batches have no tags.
    Gang,
    /// The same into a growing batch, one or two entries a call.
    Gather,
    /// Only their number.
    Count,
    /// By an iterator, from the highest index down.
    Back,
    /// By a fold, which reads a leaf at once.
    Fold,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Stamp(Option<u64>),
    Entry(Option<Entry>),
    Flag(bool),
    Changed(Option<bool>),
    /// What was removed, or what was refused, if there was anything.
    Removal(Result<u64, Option<u64>>),
    Items(Vec<(u64, Entry)>),
    Count(u64),
    Index(Option<u64>),
    Done,
}

fn tag(word: &str) -> Tag {
    let letter = word.bytes().next().expect("a letter");
    Tag::new(letter - b'A').expect("a tag")
}

fn tags(word: &str) -> TagSetBits {
    word.bytes().filter(|b| *b != b'-').fold(0, |bits, letter| bits | 1 << (letter - b'A'))
}

/// Reads the entries of a tree, `index:tags`.
pub(crate) fn parse_entries(text: &str, index: impl Fn(u64) -> u64) -> Content {
    let entry = |word: &str| {
        let (number, letters) = word.split_once(':').unwrap_or((word, ""));
        let number = number.parse().expect("an index");
        (index(number), (1000 + number, tags(letters)))
    };
    text.split_whitespace().map(entry).collect()
}

/// Reads the calls of one thread; the values it inserts get stamps from `stamp` on.
pub(crate) fn parse_calls(text: &str, mut stamp: u64, index: impl Fn(u64) -> u64) -> Vec<Call> {
    let mut calls = Vec::new();
    for call in text.split(';') {
        stamp += 1;
        let words: Vec<_> = call.split_whitespace().collect();
        let at = || index(words[1].parse().expect("an index"));
        calls.push(match words[0] {
            "get" => Call::Get(at()),
            "entry" => Call::Entry(at()),
            "has" => Call::Has(at(), tag(words[2])),
            "insert" => {
                Call::Insert { index: at(), stamp, tags: words.get(2).map_or(0, |w| tags(w)) }
            }
            "remove" => Call::Remove(at()),
            "set" => Call::Set(at(), tag(words[2])),
            "clear" => Call::Clear(at(), tag(words[2])),
            "update" => {
                let (set, clear) = (tags(words[2]), tags(words[3]));
                Call::Update { index: at(), set, clear, stamp: words.get(4).map(|_| stamp) }
            }
            "any" => Call::Any(tag(words[1])),
            "swap" => Call::Swap { index: at(), stamp },
            "drop" => Call::Drop(at(), tag(words[2])),
            "make" => Call::Make { index: at(), stamp },
            "sweep" => Call::Sweep,
            "absent" => Call::Absent(at()),
            "mark" => Call::Mark {
                tag: tag(words[1]),
                indices: words[2..].iter().map(|w| index(w.parse().expect("an index"))).collect(),
            },
            "alloc" => {
                Call::Alloc { low: at(), high: index(words[2].parse().expect("an index")), stamp }
            }
            "paint" => Call::Paint { set: tags(words[1]), clear: tags(words[2]) },
            name @ ("scan" | "back" | "fold" | "resume" | "gang" | "gather" | "count") => {
                let how = match name {
                    "scan" => How::Iterate,
                    "back" => How::Back,
                    "fold" => How::Fold,
                    "resume" => How::Resume,
                    "count" => How::Count,
                    "gather" => How::Gather,
                    _ => How::Gang,
                };
                Call::Scan { tag: words.get(1).map(|w| tag(w)), how }
            }
            "copy" => Call::Copy { from: tag(words[1]), to: tag(words[2]) },
            name => panic!("no call {name}"),
        });
    }
    calls
}

impl Call {
    /// Makes the call on the real tree.
    pub(crate) fn make(&self, p: &mut Pinned<'_, Arc<Stamp>>) -> Outcome {
        match *self {
            Call::Mark { tag, ref indices } => {
                p.tag_indices(indices, tag, TagSet::EMPTY);
                Outcome::Done
            }
            Call::Get(index) => Outcome::Stamp(p.get(index).map(|value| value.get())),
            Call::Entry(index) => {
                Outcome::Entry(p.get_with_tags(index).map(|(v, tags)| (v.get(), bits(tags))))
            }
            Call::Has(index, tag) => Outcome::Flag(p.has_tag(index, tag)),
            Call::Insert { index, stamp, tags: 0 } => {
                Outcome::Stamp(p.insert(index, Stamp::new(stamp)).map(|value| value.get()))
            }
            Call::Insert { index, stamp, tags } => Outcome::Stamp(
                p.insert_tagged(index, Stamp::new(stamp), set_of(tags)).map(|value| value.get()),
            ),
            Call::Remove(index) => Outcome::Stamp(p.remove(index).map(|value| value.get())),
            Call::Set(index, tag) => Outcome::Changed(p.set_tag(index, tag)),
            Call::Clear(index, tag) => Outcome::Changed(p.clear_tag(index, tag)),
            Call::Update { index, set, clear, stamp } => {
                let section = |slot: &mut tagged_radix::Slot<'_, Arc<Stamp>>| {
                    let before = (slot.value().get(), bits(slot.tags()));
                    slot.clear(set_of(clear));
                    slot.set(set_of(set));
                    if let Some(stamp) = stamp {
                        slot.replace(Stamp::new(stamp));
                    }
                    before
                };
                Outcome::Entry(p.update(index, section))
            }
            Call::Any(tag) => Outcome::Flag(p.tree().any_tagged(tag)),
            Call::Swap { index, stamp } => {
                let new = Stamp::new(stamp);
                Outcome::Stamp(
                    p.replace_if(index, new, |_, tags| tags.is_empty())
                        .ok()
                        .map(|value| value.get()),
                )
            }
            Call::Drop(index, tag) => Outcome::Removal(
                p.remove_if(index, |_, tags| !tags.contains(tag))
                    .map(|value| value.get())
                    .map_err(|error| error.current.map(|value| value.get())),
            ),
            Call::Make { index, stamp } => {
                let value = p.get_or_insert_with(index, || Stamp::new(stamp));
                Outcome::Stamp(Some(value.get()))
            }
            Call::Absent(index) => Outcome::Index(p.next_absent(index)),
            Call::Alloc { low, high, stamp } => {
                Outcome::Index(p.insert_at_absent(low..=high, Stamp::new(stamp)).ok())
            }
            Call::Paint { set, clear } => {
                p.tag_range(.., set_of(set), set_of(clear));
                Outcome::Done
            }
            Call::Scan { tag, how } => report(p, tag, how),
            Call::Sweep => Outcome::Count(p.remove_range(..)),
            Call::Copy { from, to } => {
                let done = p.tag_range_if_tagged(.., from, to, u64::MAX);
                assert_eq!(done.next, None);
                Outcome::Done
            }
        }
    }
}

/// What a scan of all entries finds.
fn report(p: &mut Pinned<'_, Arc<Stamp>>, tag: Option<Tag>, how: How) -> Outcome {
    Outcome::Items(match how {
        How::Iterate => scan(p, tag),
        How::Back => scan_back(p, tag),
        How::Fold => folded(p, tag),
        How::Resume => resumed_scan(p, tag),
        How::Gang => gang(p, tag),
        How::Gather => gather(p, tag),
        How::Count => {
            let filter = tag.map_or(TagFilter::ANY, TagFilter::all_of);
            return Outcome::Count(p.count_tagged(.., filter));
        }
    })
}

fn filter(tag: Option<Tag>) -> TagFilter {
    tag.map_or(TagFilter::ANY, TagFilter::from)
}

/// Without a tag: a plain scan, which reports no tags (here 0).
fn scan(p: &Pinned<'_, Arc<Stamp>>, tag: Option<Tag>) -> Vec<(u64, Entry)> {
    match tag {
        None => p.iter().map(|(index, stamp)| (index, (stamp.get(), 0))).collect(),
        Some(_) => {
            p.range_tagged(.., filter(tag)).map(|(i, v, tags)| (i, (v.get(), bits(tags)))).collect()
        }
    }
}

/// The same without a step between two entries of a leaf.
fn folded(p: &Pinned<'_, Arc<Stamp>>, tag: Option<Tag>) -> Vec<(u64, Entry)> {
    let mut items = Vec::new();
    match tag {
        None => p.iter().for_each(|(index, stamp)| items.push((index, (stamp.get(), 0)))),
        Some(_) => p
            .range_tagged(.., filter(tag))
            .for_each(|(i, v, tags)| items.push((i, (v.get(), bits(tags))))),
    }
    items
}

/// The same from above.
fn scan_back(p: &Pinned<'_, Arc<Stamp>>, tag: Option<Tag>) -> Vec<(u64, Entry)> {
    let mut items: Vec<_> = match tag {
        None => p.iter().rev().map(|(index, stamp)| (index, (stamp.get(), 0))).collect(),
        Some(_) => p
            .range_tagged(.., filter(tag))
            .rev()
            .map(|(i, v, tags)| (i, (v.get(), bits(tags))))
            .collect(),
    };
    items.reverse();
    items
}

/// Batch after batch.
fn gang(p: &Pinned<'_, Arc<Stamp>>, tag: Option<Tag>) -> Vec<(u64, Entry)> {
    let (mut items, mut start) = (Vec::new(), Some(0));
    while let Some(from) = start {
        let mut batch = ArrayVec::<_, 2>::new();
        start = p.gang_lookup_tagged(from, filter(tag), &mut batch);
        items.extend(batch.into_iter().map(|(index, stamp)| (index, (stamp.get(), 0))));
    }
    items
}

/// The same by calls over a range, one or two entries each.
fn gather(p: &Pinned<'_, Arc<Stamp>>, tag: Option<Tag>) -> Vec<(u64, Entry)> {
    let (mut batch, mut start) = (Vec::new(), Some(0));
    while let Some(from) = start {
        let max = 1 + batch.len() % 2;
        start = p.gang_lookup_range(from.., filter(tag), max, &mut batch);
    }
    batch.into_iter().map(|(index, stamp)| (index, (stamp.get(), 0))).collect()
}

/// The same, the guard let go of and taken again after each entry.
fn resumed_scan(p: &mut Pinned<'_, Arc<Stamp>>, tag: Option<Tag>) -> Vec<(u64, Entry)> {
    let (mut items, mut start) = (Vec::new(), Some(0));
    while let Some(from) = start {
        let item = match tag {
            None => p.range(from..).next().map(|(index, v)| (index, (v.get(), 0))),
            Some(_) => p
                .range_tagged(from.., filter(tag))
                .next()
                .map(|(i, v, tags)| (i, (v.get(), bits(tags)))),
        };
        start = item.and_then(|(index, _)| index.checked_add(1));
        items.extend(item);
        p.repin();
    }
    items
}
