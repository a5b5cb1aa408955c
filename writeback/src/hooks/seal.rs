//! Seals: what an engine does to a page's bytes between memory and store, and back.
//!
//! This layer knows which bytes of a page are the seal's own; it does not know what they say.

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::contain;
use crate::error::{Error, Result};

/// Turns pages into what is stored and back: checksums, encryption, marks against torn writes.
///
/// A page is sealed when its image has been taken and before it is handed to the store: on a copy, while
/// readers and writers of the page go on. It is opened when it has been read from the store, before
/// anybody sees it. In memory a page is always open.
///
/// A seal works on whole pages, so with one a mapping's length is always a whole number of pages: a write
/// beyond the end lengthens it to the end of the page, [`set_len`](crate::Handle::set_len) takes no other
/// lengths, and of a store that ends within a page that page counts.
///
/// # Bytes of its own
/// The [reserved](Self::reserved) bytes of each page are the seal's. In memory they are zeros, and a write
/// that touches one of them is an error ([`Error::Reserved`]), because it would be lost. So whoever uses a
/// seal that has some works in pages, within their [`payload`](crate::Mapping::payload): byte offsets still
/// count all bytes of all pages.
///
/// # Errors
/// A page that cannot be sealed is not written: it stays dirty, every handle is told of
/// [`StoreError::Seal`](crate::StoreError::Seal), and background writeback backs off. A page that cannot be
/// opened is not there: who wants to read it gets [`Error::Corrupt`], and the next one tries again. It can
/// be overwritten by a write of its whole payload. A panic counts as an error.
///
/// # Concurrency
/// Called from any number of threads at once, with no latch held; a page is locked while it is opened, so
/// neither method may call the mapping. It is opened on the thread on which the store ends the read: over a store that ends all reads
/// on one thread of its own, all pages are opened there, one after the other.
///
/// # Examples
/// ```
/// use std::io;
/// use std::ops::Range;
/// use std::sync::Arc;
/// use writeback::{Config, Error, Mapping, MemStore};
/// use writeback::hooks::Seal;
///
/// /// The index of each page in its first 8 bytes.
/// #[derive(Debug)]
/// struct Numbered;
///
/// impl Seal for Numbered {
///     fn reserved(&self, _page_size: usize) -> Range<usize> { 0..8 }
///     fn seal(&self, index: u64, bytes: &mut [u8]) -> io::Result<()> {
///         bytes[..8].copy_from_slice(&(index + 1).to_le_bytes());
///         Ok(())
///     }
///     fn open(&self, index: u64, bytes: &mut [u8]) -> io::Result<()> {
///         match u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) {
///             0 => Ok(()), // never written
///             number if number == index + 1 => Ok(()),
///             number => Err(io::Error::other(format!("this is page {}", number - 1))),
///         }
///     }
/// }
///
/// let store = MemStore::new();
/// let config = Config::new().seal(Arc::new(Numbered));
/// let handle = Mapping::with_config(Arc::new(store.clone()), config)?.handle();
/// assert!(matches!(handle.write_at(b"lost", 4096), Err(Error::Reserved { .. })));
/// handle.write_at(b"page 1", 4096 + 8)?;
/// handle.sync_data()?;
/// assert_eq!(store.durable()[4096..4096 + 14], *b"\x02\0\0\0\0\0\0\0page 1");
/// # Ok::<(), writeback::Error>(())
/// ```
pub trait Seal: Send + Sync + Debug + 'static {
    /// The bytes of each page that are its own: none, some at the beginning or some at the end. Asked once,
    /// when the mapping is opened.
    fn reserved(&self, page_size: usize) -> Range<usize> {
        let _ = page_size;
        0..0
    }

    /// Makes of the page at `index` what is stored. The reserved bytes are zeros.
    ///
    /// # Errors
    /// If it cannot; what is in `bytes` then is not used.
    fn seal(&self, index: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Makes of what is stored at `index` the page. What the store does not have, because it was never
    /// written or is beyond the store's end, is zeros: that must be accepted where a page may be read before
    /// it is written. The reserved bytes are cleared afterwards.
    ///
    /// # Errors
    /// If it is not what was sealed there; what is in `bytes` then is not used.
    fn open(&self, index: u64, bytes: &mut [u8]) -> io::Result<()>;
}

/// The seal of a mapping.
#[derive(Debug)]
pub(crate) struct Sealer {
    seal: Arc<dyn Seal>,
    reserved: Range<usize>,
    page_size: usize,
}

impl Sealer {
    pub(crate) fn new(seal: Arc<dyn Seal>, page_size: usize) -> Result<Self> {
        let reserved = contain(|| Ok(seal.reserved(page_size)));
        let bad =
            Error::Config { reason: "a seal reserves bytes at the beginning or end of a page" };
        let Ok(reserved) = reserved else { return Err(bad) };
        let reserved = if reserved.is_empty() { 0..0 } else { reserved };
        let at_an_end = reserved.start == 0 || reserved.end == page_size;
        if !at_an_end || reserved.end > page_size || reserved.len() == page_size {
            return Err(bad);
        }
        Ok(Self { seal, reserved, page_size })
    }

    /// The bytes of a page that are the caller's.
    pub(crate) fn payload(&self) -> Range<usize> {
        match self.reserved.start {
            0 => self.reserved.end..self.page_size,
            start => 0..start,
        }
    }

    /// Whether any of these bytes of a page are the seal's.
    pub(crate) fn reserves_any_of(&self, bytes: &Range<usize>) -> bool {
        bytes.start.max(self.reserved.start) < bytes.end.min(self.reserved.end)
    }

    pub(crate) fn seal(&self, index: u64, bytes: &mut [u8]) -> io::Result<()> {
        contain(|| self.seal.seal(index, bytes))
    }

    pub(crate) fn open(&self, index: u64, bytes: &mut [u8]) -> io::Result<()> {
        contain(|| self.seal.open(index, bytes))?;
        bytes[self.reserved.clone()].fill(0);
        Ok(())
    }
}
