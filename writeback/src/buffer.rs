//! A page's bytes: exclusively owned, or shared with images that are being written.
//!
//! A writer never waits for I/O: if an image is out, it gets a copy of its own. An image never
//! changes. This layer does not know what a page is.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aligned_vec::{ABox, AVec, ConstAlign};

/// Alignment of every page's memory, for direct I/O.
pub(crate) const ALIGNMENT: usize = 4096;

/// Aligned bytes of fixed length.
pub(crate) type Bytes = ABox<[u8], ConstAlign<ALIGNMENT>>;

/// `len` zero bytes.
pub(crate) fn zeroed(len: usize) -> Bytes {
    aligned_vec::avec![[ALIGNMENT]| 0_u8; len].into_boxed_slice()
}

/// An aligned copy of `bytes`.
pub(crate) fn copy_of(bytes: &[u8]) -> Bytes {
    AVec::from_slice(ALIGNMENT, bytes).into_boxed_slice()
}

/// The bytes of one page. Empty until the page has been read or overwritten for the first time.
pub(crate) enum Contents {
    Owned(Bytes),
    Shared(Arc<Bytes>),
}

impl Contents {
    /// No bytes yet.
    pub(crate) fn empty() -> Self {
        Self::Owned(zeroed(0))
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    /// The bytes, for change. Copies them first if an image of them is still in use.
    pub(crate) fn make_mut(&mut self) -> &mut [u8] {
        if let Self::Shared(_) = self {
            self.unshare();
        }
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(_) => unreachable!("unshare leaves owned bytes"),
        }
    }

    /// Owned again, if no image is out any more: a reader then has one step less to the bytes.
    #[cfg(not(any(writeback_loom, writeback_shuttle)))]
    pub(crate) fn take_back(&mut self) {
        if let Self::Shared(shared) = self
            && let Some(bytes) = Arc::get_mut(shared)
        {
            *self = Self::Owned(std::mem::replace(bytes, zeroed(0)));
        }
    }

    #[cold]
    fn unshare(&mut self) {
        let shared = self.share();
        *self = Self::empty();
        *self = Self::Owned(Arc::try_unwrap(shared).unwrap_or_else(|shared| copy_of(&shared)));
    }

    /// A reference that keeps the bytes as they are now.
    pub(crate) fn share(&mut self) -> Arc<Bytes> {
        if let Self::Owned(bytes) = self {
            *self = Self::Shared(Arc::new(std::mem::replace(bytes, zeroed(0))));
        }
        match self {
            Self::Shared(bytes) => Arc::clone(bytes),
            Self::Owned(_) => unreachable!("just shared"),
        }
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Owned(_) => "Owned",
            Self::Shared(_) => "Shared",
        };
        write!(f, "{kind}({} bytes)", self.as_slice().len())
    }
}

/// What is written: the bytes of a page, or of some blocks of it, as they were at one instant, however long
/// the write takes.
///
/// Cheap to clone. The memory is aligned to 4096 bytes, that of blocks to the block size; the length is that
/// of the page or the blocks, or less at the end of a mapping, where it is a multiple of the store's
/// [alignment](crate::store::Limits::alignment).
///
/// # Examples
/// ```
/// use writeback::{Mapping, MemStore};
///
/// let mapping = Mapping::open(MemStore::new())?;
/// mapping.handle().write_at(b"abc", 0)?;
/// let hold = mapping.hold_page(0)?;
/// let image = hold.image();
/// mapping.handle().write_at(b"xyz", 0)?;
/// assert_eq!(image.as_ref(), b"abc");
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Clone)]
pub struct Image {
    bytes: Arc<Bytes>,
    /// Where it begins in the page.
    within: usize,
    len: usize,
}

impl Image {
    /// The first `len` of `bytes`.
    pub(crate) fn new(bytes: Arc<Bytes>, len: usize) -> Self {
        debug_assert!(len <= bytes.len());
        Self { bytes, within: 0, len }
    }

    /// Those of its bytes that lie in this part of the page.
    pub(crate) fn part(&self, bytes: Range<usize>) -> Self {
        let end = bytes.end.min(self.within + self.len);
        let within = bytes.start.max(self.within);
        let len = end.saturating_sub(within);
        Self { bytes: Arc::clone(&self.bytes), within: if len == 0 { 0 } else { within }, len }
    }

    /// Where it begins in the page, in bytes.
    pub(crate) fn within(&self) -> usize {
        self.within
    }

    /// How many bytes it has.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// assert_eq!(mapping.hold_page(0)?.image().len(), 3);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.len
    }

    /// Tells whether it has no bytes, as that of a page beyond the end.
    ///
    /// # Examples
    /// ```
    /// # use writeback::{Mapping, MemStore};
    /// # let mapping = Mapping::open(MemStore::new())?;
    /// # mapping.handle().write_at(b"abc", 0)?;
    /// assert!(!mapping.hold_page(0)?.image().is_empty());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl AsRef<[u8]> for Image {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.within..self.within + self.len]
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_keeps_its_bytes_while_the_page_changes() {
        let mut contents = Contents::Owned(copy_of(b"old"));
        let image = Image::new(contents.share(), 3);
        contents.make_mut().copy_from_slice(b"new");
        assert_eq!(image.as_ref(), b"old");
        assert_eq!(contents.as_slice(), b"new");
    }

    #[test]
    #[cfg(not(any(writeback_loom, writeback_shuttle)))]
    fn bytes_are_taken_back_only_from_the_last_image() {
        let mut contents = Contents::Owned(copy_of(b"old"));
        let image = Image::new(contents.share(), 3);
        contents.take_back();
        assert!(matches!(contents, Contents::Shared(_)));
        drop(image);
        contents.take_back();
        assert!(matches!(contents, Contents::Owned(_)));
        assert_eq!(contents.as_slice(), b"old");
    }

    #[test]
    fn a_part_of_an_image_is_cut_where_the_image_is() {
        let mut contents = Contents::Owned(copy_of(b"0123456789"));
        let image = Image::new(contents.share(), 7);
        assert_eq!(image.part(2..4).as_ref(), b"23");
        assert_eq!((image.part(4..10).within(), image.part(4..10).as_ref()), (4, &b"456"[..]));
        assert!(image.part(7..10).is_empty() && image.part(8..10).is_empty());
    }

    #[test]
    fn bytes_are_not_copied_once_the_image_is_gone() {
        let mut contents = Contents::Owned(copy_of(b"old"));
        let at = contents.as_slice().as_ptr();
        drop(contents.share());
        assert_eq!(contents.make_mut().as_ptr(), at);
        assert_eq!(at.addr() % ALIGNMENT, 0);
    }
}
