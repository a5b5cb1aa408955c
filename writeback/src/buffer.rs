//! A page's bytes: exclusively owned, or shared with images that are being written.
//!
//! A writer never waits for I/O: if an image is out, it gets a copy of its own. An image never
//! changes. This layer does not know what a page is.

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::ops::Range;
use std::sync::LazyLock;

use page_frames::{
    CowFrame, FRAME_LEN_MAX, FRAME_LEN_MIN, Frame, Limit, Pool, Regions, SharedFrame,
};

use crate::primitives::processors;

/// Alignment of every page's memory, for direct I/O, or its size if that is less.
pub(crate) const ALIGNMENT: usize = 4096;

/// Memory for the pages of a cache, their images and their copies.
#[derive(Clone, Debug)]
pub(crate) struct Frames(Pool);

impl Frames {
    /// As many as the system has memory for.
    pub(crate) fn unlimited() -> Self {
        Self(Pool::new(u64::MAX))
    }

    /// For a cache of so many bytes. The cache decides how many frames there are; memory of more, which it has had for
    /// a time, goes back to the system.
    pub(crate) fn with_capacity(bytes: u64) -> Self {
        Self(Pool::new(with_spare(bytes)))
    }

    /// The cache has so many bytes from now on: memory of more goes back to the system, as soon as it is not in use.
    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.0.resize(with_spare(bytes));
    }

    /// Bytes of images whose pages have gone on with copies, or are gone: what there is beside the pages.
    #[inline]
    pub(crate) fn image_bytes(&self) -> u64 {
        self.0.image_bytes()
    }

    /// Where they lie.
    pub(crate) fn regions(&self) -> Regions {
        self.0.regions()
    }

    /// `len` bytes to be read into, which may be those of another page: as much as the store does not fill is for the caller to clear.
    pub(crate) fn to_fill(&self, len: usize) -> Frame {
        let mut frame = taken(self.0.frame(len, Limit::Exceed), len);
        if cfg!(debug_assertions) {
            frame.fill(0xa5); // So that tests see whoever counts on zeros.
        }
        frame
    }

    /// `len` zero bytes; `len` is that of a page.
    pub(crate) fn zeroed(&self, len: usize) -> Frame {
        taken(self.0.zeroed(len, Limit::Exceed), len)
    }
}

/// The limit of a pool for so many bytes of pages: as much again as lies in the pool's magazines, and some copies, before
/// it looks for memory to give back.
fn with_spare(bytes: u64) -> u64 {
    let processors = processors().min(64);
    bytes.saturating_add(bytes / 64).saturating_add((1 << 20) + processors as u64 * (128 << 10))
}

/// Ends the process where there is no memory, as the global allocator does.
fn taken<T>(result: Result<T, page_frames::Error>, len: usize) -> T {
    result.unwrap_or_else(|_| {
        handle_alloc_error(Layout::from_size_align(len, 1).expect("a page is small"))
    })
}

/// The bytes of one page. Empty until the page has been read or overwritten for the first time.
pub(crate) enum Contents {
    Empty,
    Bytes(CowFrame),
}

impl Contents {
    /// No bytes yet.
    pub(crate) fn empty() -> Self {
        Self::Empty
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Bytes(frame) => frame,
        }
    }

    /// The bytes, for change. Copies them first if an image of them is still in use.
    pub(crate) fn make_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Empty => &mut [],
            Self::Bytes(frame) => {
                let len = frame.len();
                taken(frame.make_mut(Limit::Exceed), len)
            }
        }
    }

    /// The page's alone again, if no image is out any more: a writer then has one step less to the bytes.
    #[cfg(not(any(writeback_loom, writeback_shuttle)))]
    pub(crate) fn take_back(&mut self) {
        if let Self::Bytes(frame) = self {
            frame.take_back();
        }
    }

    /// An image of the first `len` bytes as they are now.
    pub(crate) fn share(&mut self, len: usize) -> Image {
        match self {
            Self::Empty => Image::from(&[][..]),
            Self::Bytes(frame) => Image::new(frame.share(), len),
        }
    }
}

impl From<Frame> for Contents {
    fn from(frame: Frame) -> Self {
        Self::Bytes(frame.into())
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Contents({} bytes)", self.as_slice().len())
    }
}

/// What is written: the bytes of a page, or of some blocks of it, as they were at one instant, however long
/// the write takes.
///
/// Cheap to clone, and whoever keeps one keeps its bytes and no more: `bytes::Bytes::from_owner(image)` copies nothing. The memory is aligned to 4096 bytes, or to the page size if that is less, that of blocks to the block size; the length is that
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
    bytes: SharedFrame,
    /// Where it begins in the page.
    within: usize,
    len: usize,
}

impl Image {
    /// The first `len` of `bytes`.
    fn new(bytes: SharedFrame, len: usize) -> Self {
        debug_assert!(len <= bytes.len());
        Self { bytes, within: 0, len }
    }

    /// A copy of its bytes, changed by `change`, as an image of the same place. With an error there are no bytes.
    pub(crate) fn changed<E>(
        &self,
        change: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> (Self, Result<(), E>) {
        let mut frame = taken(self.bytes.to_frame(Limit::Exceed), self.bytes.len());
        let result = change(&mut frame[self.within..self.within + self.len]);
        let len = if result.is_ok() { self.len } else { 0 };
        (Self { bytes: frame.into_shared(), within: self.within, len }, result)
    }

    /// Those of its bytes that lie in this part of the page.
    pub(crate) fn part(&self, bytes: Range<usize>) -> Self {
        let end = bytes.end.min(self.within + self.len);
        let within = bytes.start.max(self.within);
        let len = end.saturating_sub(within);
        Self { bytes: self.bytes.clone(), within: if len == 0 { 0 } else { within }, len }
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

/// For tests of stores: an image of bytes that belong to no page.
///
/// # Panics
/// If there are more than 16 MiB of them.
impl From<&[u8]> for Image {
    fn from(bytes: &[u8]) -> Self {
        let len = bytes.len().next_power_of_two().max(FRAME_LEN_MIN);
        assert!(len <= FRAME_LEN_MAX, "an image of {} bytes is no page's", bytes.len());
        let mut frame = unowned(len);
        frame[..bytes.len()].copy_from_slice(bytes);
        Image::new(frame.into_shared(), bytes.len())
    }
}

/// Zeros that belong to no cache.
pub(crate) fn unowned(len: usize) -> Frame {
    static FRAMES: LazyLock<Frames> = LazyLock::new(Frames::unlimited);
    FRAMES.zeroed(len)
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

    fn contents(bytes: &[u8]) -> Contents {
        let mut frame = Frames::unlimited().zeroed(512);
        frame[..bytes.len()].copy_from_slice(bytes);
        frame.into()
    }

    #[test]
    fn an_image_keeps_its_bytes_while_the_page_changes() {
        let mut contents = contents(b"old");
        let image = contents.share(3);
        contents.make_mut()[..3].copy_from_slice(b"new");
        assert_eq!(image.as_ref(), b"old");
        assert_eq!(&contents.as_slice()[..4], b"new\0");
    }

    #[test]
    #[cfg(not(any(writeback_loom, writeback_shuttle)))]
    fn bytes_are_taken_back_only_from_the_last_image() {
        let mut contents = contents(b"old");
        let image = contents.share(3);
        let at = contents.as_slice().as_ptr();
        contents.take_back();
        contents.make_mut()[0] = b'c';
        assert_ne!(contents.as_slice().as_ptr(), at, "an image of it is out");
        let at = contents.as_slice().as_ptr();
        drop((image, contents.share(3)));
        contents.take_back();
        contents.make_mut()[0] = b'g';
        assert_eq!(contents.as_slice().as_ptr(), at);
        assert_eq!(&contents.as_slice()[..3], b"gld");
    }

    #[test]
    fn a_part_of_an_image_is_cut_where_the_image_is() {
        let image = contents(b"0123456789").share(7);
        assert_eq!(image.part(2..4).as_ref(), b"23");
        assert_eq!((image.part(4..10).within(), image.part(4..10).as_ref()), (4, &b"456"[..]));
        assert!(image.part(7..10).is_empty() && image.part(8..10).is_empty());
    }

    #[test]
    fn bytes_are_not_copied_once_the_image_is_gone() {
        let mut contents = Contents::from(Frames::unlimited().zeroed(ALIGNMENT));
        let at = contents.as_slice().as_ptr();
        drop(contents.share(ALIGNMENT));
        assert_eq!(contents.make_mut().as_ptr(), at);
        assert_eq!(at.addr() % ALIGNMENT, 0);
    }
}
