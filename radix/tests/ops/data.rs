//! The operations. Indices are drawn from places where they collide: a dense low run, the
//! surroundings of powers of 64, the top of the range, the children of one inner node.

use std::ops::Bound;

use tagged_radix::{Tag, TagFilter, TagSet};

/// How an index is made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key {
    /// The index itself.
    Dense(u8),
    /// `times` times 64 to the power of `level`, moved by `nudge`.
    Near { times: u8, level: u8, nudge: i8 },
    /// Counted down from `u64::MAX`.
    Top(u8),
    /// In child `child` of one inner node far from index 0, `low` deep in it.
    Fork { child: u8, low: u8 },
    /// Any index.
    Any(u64),
}

impl Key {
    pub(crate) fn index(self) -> u64 {
        match self {
            Key::Dense(index) => index.into(),
            Key::Near { times, level, nudge } => {
                let base = u64::from(times) << (6 * u32::from(level % 11));
                base.wrapping_add_signed(nudge.into())
            }
            Key::Top(down) => u64::MAX - u64::from(down),
            Key::Fork { child, low } => {
                let low = [0, 1, 1 << 6, 1 << 30][usize::from(low % 4)];
                7 << 50 | u64::from(child % 64) << 12 | low
            }
            Key::Any(index) => index,
        }
    }
}

/// One end of a range.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Edge {
    Open,
    At(Key),
    Past(Key),
}

impl Edge {
    fn bound(self) -> Bound<u64> {
        match self {
            Edge::Open => Bound::Unbounded,
            Edge::At(key) => Bound::Included(key.index()),
            Edge::Past(key) => Bound::Excluded(key.index()),
        }
    }
}

/// A range of indices; may be empty or inverted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: Edge,
    pub(crate) to: Edge,
}

impl Span {
    pub(crate) fn bounds(self) -> (Bound<u64>, Bound<u64>) {
        (self.from.bound(), self.to.bound())
    }

    /// The lowest and the highest index; `None` if there is none.
    pub(crate) fn ends(self) -> Option<(u64, u64)> {
        let low = match self.from {
            Edge::Open => 0,
            Edge::At(key) => key.index(),
            Edge::Past(key) => key.index().checked_add(1)?,
        };
        let high = match self.to {
            Edge::Open => u64::MAX,
            Edge::At(key) => key.index(),
            Edge::Past(key) => key.index().checked_sub(1)?,
        };
        (low <= high).then_some((low, high))
    }

    pub(crate) fn contains(self, index: u64) -> bool {
        let after = match self.from {
            Edge::Open => true,
            Edge::At(key) => index >= key.index(),
            Edge::Past(key) => index > key.index(),
        };
        let before = match self.to {
            Edge::Open => true,
            Edge::At(key) => index <= key.index(),
            Edge::Past(key) => index < key.index(),
        };
        after && before
    }
}

/// A set of tags, one bit each; the model's own form of [`TagSet`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits(pub(crate) u8);

impl Bits {
    pub(crate) fn set(self) -> TagSet {
        Tag::all().into_iter().filter(|tag| self.has(*tag)).collect()
    }

    pub(crate) fn has(self, tag: Tag) -> bool {
        self.0 >> tag.number() & 1 == 1
    }

    pub(crate) fn with(self, tag: Tag) -> Bits {
        Bits(self.0 | 1 << tag.number())
    }

    /// These without `clear`, and with `set`, which wins.
    pub(crate) fn edited(self, set: Bits, clear: Bits) -> Bits {
        Bits((self.0 & !clear.0 | set.0) & 15)
    }
}

impl From<TagSet> for Bits {
    fn from(tags: TagSet) -> Bits {
        tags.iter().fold(Bits(0), Bits::with)
    }
}

/// All of some tags and none of others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    pub(crate) all_of: Bits,
    pub(crate) none_of: Bits,
}

impl Filter {
    pub(crate) const ANY: Filter = Filter { all_of: Bits(0), none_of: Bits(0) };

    pub(crate) fn filter(self) -> TagFilter {
        TagFilter::all_of(self.all_of.set()).and_none_of(self.none_of.set())
    }

    pub(crate) fn matches(self, tags: Bits) -> bool {
        let (all_of, none_of) = (self.all_of.0 & 15, self.none_of.0 & 15);
        tags.0 & all_of == all_of && tags.0 & none_of == 0
    }
}

/// What an update section does with its entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edit {
    pub(crate) set: Bits,
    pub(crate) clear: Bits,
    pub(crate) replace: bool,
    pub(crate) remove: bool,
    pub(crate) panic: bool,
}

/// One call. Values are made by the session, each different from all before.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Get(Key),
    GetOwned(Key),
    Insert(Key),
    InsertTagged(Key, Bits),
    TryInsert(Key),
    TryInsertTagged(Key, Bits),
    GetOrInsert(Key),
    ReplaceIf(Key, Tag),
    CompareExchange {
        key: Key,
        expect: Key,
    },
    Remove(Key),
    RemoveIf(Key, Tag),
    Update(Key, Edit),
    SetTag(Key, Tag),
    ClearTag(Key, Tag),
    UpdateTags {
        key: Key,
        set: Bits,
        clear: Bits,
    },
    Next(Key),
    Prev(Key),
    NextAbsent(Key),
    PrevAbsent(Key),
    /// A scan from both ends: a bit of `turns` says from which the next entry is taken.
    Range {
        span: Span,
        turns: u32,
    },
    RangeTagged {
        span: Span,
        filter: Filter,
        turns: u32,
    },
    CountTagged(Span, Filter),
    TagRange {
        span: Span,
        set: Bits,
        clear: Bits,
    },
    TagRangeIfTagged {
        span: Span,
        from: Tag,
        to: Tag,
        limit: u8,
    },
    Gang {
        start: Key,
        filter: Filter,
        filled: u8,
    },
    GangOwned {
        start: Key,
        filter: Filter,
        filled: u8,
    },
    /// Into a `Vec`, a slice or an `ArrayVec`.
    GangRange {
        span: Span,
        filter: Filter,
        max: u8,
        kind: u8,
    },
    FirstAbsent(Span),
    InsertAtAbsent(Span),
    /// From a key on, a step for every two bits; a third says whether the entry is removed or tagged.
    Cursor {
        from: Key,
        steps: u32,
        tag: Tag,
    },
    TagIndices {
        keys: [Key; 4],
        set: Bits,
        clear: Bits,
    },
    RemoveRange(Span),
    Retain(Filter),
    Extend(Key, u8),
    TakeEdges,
    Repin,
}
