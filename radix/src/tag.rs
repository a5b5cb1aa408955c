//! Tags, sets of tags, and filters over them.

use core::fmt;
use core::iter::FusedIterator;
use core::ops::{BitAnd, BitOr, Not, Sub};

/// One of the four tags an entry can carry.
///
/// What a tag means is the user's choice; a page cache uses four: dirty, under writeback, to be written, accessed.
///
/// # Examples
/// ```
/// use tagged_radix::Tag;
///
/// const DIRTY: Tag = Tag::T0;
/// assert_eq!(DIRTY.number(), 0);
/// assert_eq!(Tag::new(3), Some(Tag::T3));
/// assert_eq!(Tag::new(4), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(u8);

impl Tag {
    /// How many tags there are.
    pub const COUNT: usize = if crate::sync::CHECKED && !cfg!(radix_all_tags) { 2 } else { 4 };
    /// Tag 0.
    pub const T0: Tag = Tag(0);
    /// Tag 1.
    pub const T1: Tag = Tag(1);
    /// Tag 2.
    pub const T2: Tag = Tag(2);
    /// Tag 3.
    pub const T3: Tag = Tag(3);

    /// The tag with this number, or `None` if the number is 4 or more.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(tagged_radix::Tag::new(1), Some(tagged_radix::Tag::T1));
    /// ```
    #[must_use]
    pub const fn new(number: u8) -> Option<Tag> {
        if (number as usize) < Tag::COUNT { Some(Tag(number)) } else { None }
    }

    /// The number of the tag, 0 to 3.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(tagged_radix::Tag::T2.number(), 2);
    /// ```
    #[must_use]
    #[inline]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// All tags, in order.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(tagged_radix::Tag::all().len(), tagged_radix::Tag::COUNT);
    /// ```
    #[must_use]
    #[inline]
    pub const fn all() -> [Tag; Tag::COUNT] {
        let mut tags = [Tag::T0; Tag::COUNT];
        let mut number = 0_u8;
        while (number as usize) < Tag::COUNT {
            tags[number as usize] = Tag(number);
            number += 1;
        }
        tags
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "T{}", self.0)
    }
}

/// A set of tags.
///
/// # Examples
/// ```
/// use tagged_radix::{Tag, TagSet};
///
/// let both = TagSet::of(&[Tag::T0, Tag::T2]);
/// assert!(both.contains(Tag::T2));
/// assert_eq!(both - TagSet::from(Tag::T0), TagSet::from(Tag::T2));
/// assert_eq!(both.iter().count(), 2);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TagSet(u8);

impl TagSet {
    /// No tag.
    pub const EMPTY: TagSet = TagSet(0);
    /// All four tags.
    pub const ALL: TagSet = TagSet((1 << Tag::COUNT) - 1);

    /// The set of these tags.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Tag, TagSet};
    ///
    /// const DIRTY_OR_BUSY: TagSet = TagSet::of(&[Tag::T0, Tag::T1]);
    /// assert_eq!(DIRTY_OR_BUSY.len(), 2);
    /// ```
    #[must_use]
    pub const fn of(tags: &[Tag]) -> TagSet {
        let mut set = TagSet::EMPTY;
        let mut at = 0;
        while at < tags.len() {
            set = set.with(tags[at]);
            at += 1;
        }
        set
    }

    /// Whether `tag` is in the set.
    ///
    /// # Examples
    /// ```
    /// assert!(tagged_radix::TagSet::ALL.contains(tagged_radix::Tag::T3));
    /// ```
    #[must_use]
    #[inline]
    pub const fn contains(self, tag: Tag) -> bool {
        self.0 & 1 << tag.0 != 0
    }

    /// Whether no tag is in the set.
    ///
    /// # Examples
    /// ```
    /// assert!(tagged_radix::TagSet::EMPTY.is_empty());
    /// ```
    #[must_use]
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The tag in the set, if there is one only.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "at most 8")]
    pub(crate) const fn only(self) -> Option<Tag> {
        if self.0.is_power_of_two() { Some(Tag(self.0.trailing_zeros() as u8)) } else { None }
    }

    /// How many tags are in the set.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(tagged_radix::TagSet::ALL.len(), 4);
    /// ```
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The set with `tag` in it.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Tag, TagSet};
    ///
    /// assert_eq!(TagSet::EMPTY.with(Tag::T1), TagSet::from(Tag::T1));
    /// ```
    #[must_use]
    #[inline]
    pub const fn with(self, tag: Tag) -> TagSet {
        TagSet(self.0 | 1 << tag.0)
    }

    /// The set with `tag` not in it.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Tag, TagSet};
    ///
    /// assert!(!TagSet::ALL.without(Tag::T1).contains(Tag::T1));
    /// ```
    #[must_use]
    #[inline]
    pub const fn without(self, tag: Tag) -> TagSet {
        TagSet(self.0 & !(1 << tag.0))
    }

    /// The tags in either set; the same as `|`.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Tag, TagSet};
    ///
    /// assert_eq!(TagSet::from(Tag::T0).union(Tag::T1.into()), TagSet::of(&[Tag::T0, Tag::T1]));
    /// ```
    #[must_use]
    #[inline]
    pub const fn union(self, other: TagSet) -> TagSet {
        TagSet(self.0 | other.0)
    }

    /// The tags in both sets; the same as `&`.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Tag, TagSet};
    ///
    /// assert!(TagSet::from(Tag::T0).intersection(Tag::T1.into()).is_empty());
    /// ```
    #[must_use]
    #[inline]
    pub const fn intersection(self, other: TagSet) -> TagSet {
        TagSet(self.0 & other.0)
    }

    /// The tags in this set and not in `other`; the same as `-`.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::TagSet;
    ///
    /// assert!(TagSet::ALL.difference(TagSet::ALL).is_empty());
    /// ```
    #[must_use]
    #[inline]
    pub const fn difference(self, other: TagSet) -> TagSet {
        TagSet(self.0 & !other.0)
    }

    /// The tags of the set, in ascending order.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Tag, TagSet};
    ///
    /// assert!(TagSet::ALL.iter().eq(Tag::all()));
    /// ```
    #[inline]
    pub fn iter(self) -> TagSetIter {
        TagSetIter(self)
    }
}

impl From<Tag> for TagSet {
    #[inline]
    fn from(tag: Tag) -> TagSet {
        TagSet::EMPTY.with(tag)
    }
}

impl FromIterator<Tag> for TagSet {
    fn from_iter<I: IntoIterator<Item = Tag>>(tags: I) -> TagSet {
        tags.into_iter().fold(TagSet::EMPTY, TagSet::with)
    }
}

impl IntoIterator for TagSet {
    type Item = Tag;
    type IntoIter = TagSetIter;

    #[inline]
    fn into_iter(self) -> TagSetIter {
        self.iter()
    }
}

impl BitOr for TagSet {
    type Output = TagSet;

    #[inline]
    fn bitor(self, other: TagSet) -> TagSet {
        self.union(other)
    }
}

impl BitAnd for TagSet {
    type Output = TagSet;

    #[inline]
    fn bitand(self, other: TagSet) -> TagSet {
        self.intersection(other)
    }
}

impl Sub for TagSet {
    type Output = TagSet;

    #[inline]
    fn sub(self, other: TagSet) -> TagSet {
        self.difference(other)
    }
}

impl Not for TagSet {
    type Output = TagSet;

    #[inline]
    fn not(self) -> TagSet {
        TagSet::ALL.difference(self)
    }
}

impl fmt::Debug for TagSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The tags of a [`TagSet`], in ascending order.
///
/// # Examples
/// ```
/// use tagged_radix::{Tag, TagSet};
///
/// let mut tags = TagSet::of(&[Tag::T3, Tag::T1]).iter();
/// assert_eq!((tags.next(), tags.next(), tags.next()), (Some(Tag::T1), Some(Tag::T3), None));
/// ```
#[derive(Clone, Debug)]
pub struct TagSetIter(TagSet);

impl Iterator for TagSetIter {
    type Item = Tag;

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "at most 8")]
    fn next(&mut self) -> Option<Tag> {
        let set = self.0.0;
        if set == 0 {
            return None;
        }
        self.0 = TagSet(set & (set - 1));
        Some(Tag(set.trailing_zeros() as u8))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len(), Some(self.0.len()))
    }
}

impl ExactSizeIterator for TagSetIter {}
impl FusedIterator for TagSetIter {}

/// Which entries a tagged scan reports: those that have all tags of one set and none of another.
///
/// A filter is evaluated on whole words, 64 entries at a time. Only the tags of "all of" let a scan pass over whole
/// subtrees; a filter without them looks at every leaf.
///
/// # Examples
/// ```
/// use tagged_radix::{Tag, TagFilter, TagSet};
///
/// // Dirty, and not under writeback.
/// let filter = TagFilter::all_of(Tag::T0).and_none_of(Tag::T1);
/// assert!(filter.matches(TagSet::of(&[Tag::T0, Tag::T2])));
/// assert!(!filter.matches(TagSet::of(&[Tag::T0, Tag::T1])));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct TagFilter {
    pub(crate) all: TagSet,
    pub(crate) none: TagSet,
}

impl TagFilter {
    /// Every entry, whatever its tags.
    pub const ANY: TagFilter = TagFilter { all: TagSet::EMPTY, none: TagSet::EMPTY };

    /// Entries that have all of these tags.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Tag, TagFilter, TagSet};
    ///
    /// assert!(TagFilter::all_of(Tag::T0).matches(TagSet::ALL));
    /// ```
    #[must_use]
    pub fn all_of(tags: impl Into<TagSet>) -> TagFilter {
        TagFilter::ANY.and_all_of(tags)
    }

    /// Entries that have none of these tags.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Tag, TagFilter, TagSet};
    ///
    /// assert!(TagFilter::none_of(Tag::T0).matches(TagSet::EMPTY));
    /// ```
    #[must_use]
    pub fn none_of(tags: impl Into<TagSet>) -> TagFilter {
        TagFilter::ANY.and_none_of(tags)
    }

    /// The filter that in addition asks for all of these tags.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Tag, TagFilter, TagSet};
    ///
    /// assert!(!TagFilter::all_of(Tag::T0).and_all_of(Tag::T1).matches(Tag::T0.into()));
    /// ```
    #[must_use]
    pub fn and_all_of(self, tags: impl Into<TagSet>) -> TagFilter {
        TagFilter { all: self.all | tags.into(), none: self.none }
    }

    /// The filter that in addition asks for none of these tags.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{Tag, TagFilter, TagSet};
    ///
    /// assert!(!TagFilter::all_of(Tag::T0).and_none_of(Tag::T1).matches(TagSet::ALL));
    /// ```
    #[must_use]
    pub fn and_none_of(self, tags: impl Into<TagSet>) -> TagFilter {
        TagFilter { all: self.all, none: self.none | tags.into() }
    }

    /// Whether an entry with these tags passes.
    ///
    /// # Examples
    /// ```
    /// use tagged_radix::{TagFilter, TagSet};
    ///
    /// assert!(TagFilter::ANY.matches(TagSet::EMPTY));
    /// ```
    #[must_use]
    #[inline]
    pub fn matches(self, tags: TagSet) -> bool {
        (self.all - tags).is_empty() && (self.none & tags).is_empty()
    }

    /// The only tag that it asks for, if it asks for one and refuses none: the filter of most walks.
    #[inline]
    pub(crate) fn one(self) -> Option<Tag> {
        if self.none.is_empty() { self.all.only() } else { None }
    }

    /// Whether every entry passes.
    pub(crate) fn is_any(self) -> bool {
        self == TagFilter::ANY
    }
}

impl From<Tag> for TagFilter {
    fn from(tag: Tag) -> TagFilter {
        TagFilter::all_of(tag)
    }
}

/// What a change of tags did to one entry, as [`Pinned::update_tags`](crate::Pinned::update_tags) reports it.
///
/// # Examples
/// ```
/// use tagged_radix::{Inline, RadixTree, Tag, TagSet};
///
/// let tree: RadixTree<Inline> = RadixTree::from_iter([(1, Inline::new(1).unwrap())]);
/// let update = tree.pin().update_tags(1, Tag::T0, TagSet::EMPTY).unwrap();
/// assert!(update.before.is_empty() && update.after.contains(Tag::T0));
/// assert!(update.tree_edges.tagged.contains(Tag::T0));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TagUpdate {
    /// The entry's tags before.
    pub before: TagSet,
    /// The entry's tags after.
    pub after: TagSet,
    /// The tags for which the tree as a whole became tagged by this call.
    pub tree_edges: TreeEdges,
}

/// The tags for which a tree as a whole became tagged, or was found to be so no longer: the changes of what
/// [`any_tagged`](crate::RadixTree::any_tagged) says.
///
/// That it became true is told to exactly one call, the one that made it so: the first that sets the tag after the tree was seen to be without. That it
/// became false is told to the call that made it so by clearing tags or removing entries; most often it is a walk, also that within
/// [`tag_range_if_tagged`](crate::Pinned::tag_range_if_tagged), and what that does is told to nobody. A call over a range may
/// make the same change more than once, while others undo it between; it is told of the kind, not of the number.
///
/// Use `tagged` to start something, each time, and let what was started stop by itself, when it has looked for entries, found none, and `any_tagged` is false *then*.
/// Until it is false nobody else is told. What was started before may still run when `tagged` is told again: to have one thing run, let the last look of what runs and its word
/// that it stops be one step under a lock of yours, and so the question of whoever is told, whether it runs.
///
/// # Examples
/// ```
/// use tagged_radix::{Inline, RadixTree, Tag, TagSet};
///
/// let tree: RadixTree<Inline> = (0..4).filter_map(|i| Some((i, Inline::new(i)?))).collect();
/// let pinned = tree.pin();
/// pinned.set_tag(1, Tag::T0);
/// pinned.set_tag(2, Tag::T0);
/// let edges = pinned.take_edges();
/// assert_eq!(edges.tagged, TagSet::from(Tag::T0)); // told once, for the first of the two
/// assert!(edges.untagged.is_empty());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct TreeEdges {
    /// An entry got these tags, and the tree had been seen to have none with them.
    pub tagged: TagSet,
    /// No entry has these tags any more, as this call found: one over a range, or one that removed the last entry of its leaf.
    pub untagged: TagSet,
}

impl TreeEdges {
    /// Whether nothing changed for the tree as a whole.
    ///
    /// # Examples
    /// ```
    /// assert!(tagged_radix::TreeEdges::default().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.tagged.is_empty() && self.untagged.is_empty()
    }

    /// Adds what another call was told.
    pub(crate) fn add(&mut self, other: TreeEdges) {
        self.tagged = self.tagged | other.tagged;
        self.untagged = self.untagged | other.untagged;
    }
}

/// How far a bounded change over a range came, as [`Pinned::tag_range_if_tagged`](crate::Pinned::tag_range_if_tagged)
/// reports it.
///
/// # Examples
/// ```
/// use tagged_radix::{Inline, RadixTree, Tag, TagSet};
///
/// let tree: RadixTree<Inline> = (0..10).filter_map(|i| Some((i, Inline::new(i)?))).collect();
/// let pinned = tree.pin();
/// pinned.tag_range(.., Tag::T0, TagSet::EMPTY);
/// let done = pinned.tag_range_if_tagged(.., Tag::T0, Tag::T1, 4);
/// assert_eq!((done.count, done.next), (4, Some(4)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TagRange {
    /// The number of entries that this call changed.
    pub count: u64,
    /// The index to go on from, or `None` if the range is done.
    pub next: Option<u64>,
}
