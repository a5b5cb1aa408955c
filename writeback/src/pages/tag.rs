//! What the index's four tags mean here.

use tagged_radix::{Tag, TagFilter, TagSet};

/// A searchable property of a page: how walks find what they look for without looking at the rest.
///
/// # Examples
/// ```
/// use writeback::{Mapping, MemStore};
/// use writeback::page::PageTag;
///
/// let mapping = Mapping::open(MemStore::new())?;
/// mapping.handle().write_at(b"abc", 0)?;
/// assert!(mapping.page(0)?.has_tag(PageTag::Dirty));
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PageTag {
    /// A sync must look here: the page is dirty, or a claim on it is not resolved yet.
    Dirty,
    /// A sync must wait here: a write of the page has begun and not ended.
    Writeback,
    /// The page was dirty when some sync began.
    ToWrite,
    /// The page was used again after it had come in, and the clock has not gone by it as often since: it is not
    /// evicted.
    Accessed,
}

impl PageTag {
    /// The tag's number in the index.
    ///
    /// # Examples
    /// ```
    /// use writeback::page::PageTag;
    ///
    /// assert_eq!(PageTag::Dirty.tag().number(), 0);
    /// ```
    pub const fn tag(self) -> Tag {
        match self {
            PageTag::Dirty => Tag::T0,
            PageTag::Writeback => Tag::T1,
            PageTag::ToWrite => Tag::T2,
            PageTag::Accessed => Tag::T3,
        }
    }
}

impl From<PageTag> for Tag {
    fn from(tag: PageTag) -> Self {
        tag.tag()
    }
}

impl From<PageTag> for TagSet {
    fn from(tag: PageTag) -> Self {
        TagSet::from(tag.tag())
    }
}

impl From<PageTag> for TagFilter {
    fn from(tag: PageTag) -> Self {
        TagFilter::from(tag.tag())
    }
}

/// DIRTY and TOWRITE, which always go together.
pub(crate) const DIRTY_TAGS: TagSet = TagSet::of(&[PageTag::Dirty.tag(), PageTag::ToWrite.tag()]);

const _: () =
    assert!(Tag::COUNT == 4, "a tree made small for a checker needs `--cfg radix_all_tags`");
