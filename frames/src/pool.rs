//! Pools, as their users see them.

use std::fmt;
use std::sync::Arc;

use crate::barrier;
use crate::blocks::{Inner, Limit};
use crate::error::Error;
use crate::frame::Frame;
use crate::size::LIMIT_DEFAULT;

/// Memory for frames, with a limit in bytes.
///
/// Cheap to clone: clones are the same pool. Frames outlive it. When the last clone is dropped, memory without frames goes back to
/// the system at once, and the rest with the last frame of each segment; in a child made by `fork`, with the process.
///
/// # Concurrency
/// Everything may be called from any thread. Frames of all sizes together never exceed the limit, unless [`Limit::Exceed`] or a [`resize`](Self::resize) brought them there: as long as
/// that lasts, magazines hand out again what has just come back. With one thread at work nothing is refused that fits. Of several
/// threads, one can be refused while each other has up to 16 frames on their way between its magazine and the depot.
///
/// # Examples
/// ```
/// use page_frames::{Error, Limit, Pool};
///
/// let pool = Pool::new(8192);
/// let first = pool.zeroed(4096, Limit::Keep)?;
/// let second = pool.frame(4096, Limit::Keep)?;
/// assert_eq!(pool.frame(512, Limit::Keep).unwrap_err(), Error::Full { limit: 8192 });
/// drop((first, second));
/// assert_eq!(pool.frame(8192, Limit::Keep)?.len(), 8192);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Pool {
    pub(crate) inner: Arc<Inner>,
    _closer: Arc<Closer>,
}

/// What a pool has, from [`Pool::stats`]. Exact while no other thread uses the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes that frames may take together.
    pub limit_bytes: u64,
    /// Bytes of all frames.
    pub in_use_bytes: u64,
    /// Of these, bytes of blocks that nobody has but [`SharedFrame`](crate::SharedFrame)s.
    pub image_bytes: u64,
    /// Bytes that may have memory under them: frames, free blocks that were used, and the unused rest of a huge page.
    pub held_bytes: u64,
    /// Bytes of address space.
    pub mapped_bytes: u64,
    /// Segments mapped.
    pub segments: usize,
}

/// Closes the pool when its last clone is dropped.
struct Closer(Arc<Inner>);

impl Pool {
    /// Makes a pool whose frames may take `limit` bytes together. It takes no memory for them before they are asked for.
    pub fn new(limit: u64) -> Pool {
        // Frames lie under latches.
        barrier::prepare();
        let inner = Arc::new(Inner::new(limit));
        Pool { inner: Arc::clone(&inner), _closer: Arc::new(Closer(inner)) }
    }

    /// Takes a frame of `len` bytes, aligned to `len`. It holds zeros, or what an earlier frame of this pool left there.
    ///
    /// # Errors
    /// [`Error::Len`] unless `len` is a power of two from [`FRAME_LEN_MIN`](crate::FRAME_LEN_MIN) to
    /// [`FRAME_LEN_MAX`](crate::FRAME_LEN_MAX); [`Error::Full`] if the limit is to be kept and would not be; [`Error::System`] if the system has no
    /// memory. Then nothing has changed.
    ///
    /// # Complexity
    /// O(1) from the calling thread's magazine. O(segments) if a segment has to be found or mapped.
    #[inline]
    pub fn frame(&self, len: usize, limit: Limit) -> Result<Frame, Error> {
        Frame::take(&self.inner, len, limit)
    }

    /// Takes a frame as [`frame`](Self::frame) does, all bytes of it zero.
    ///
    /// # Errors
    /// As [`frame`](Self::frame).
    pub fn zeroed(&self, len: usize, limit: Limit) -> Result<Frame, Error> {
        Frame::take_zeroed(&self.inner, len, limit)
    }

    /// Returns the bytes that frames may take together.
    pub fn limit(&self) -> u64 {
        self.inner.depot().limit
    }

    /// Sets a new limit. If the pool holds more, memory without frames goes back to the system, as far as that is needed.
    ///
    /// Frames that are out stay. If they take more than the limit, their memory goes back to the system as they come back, in portions of some 512 KiB,
    /// until the pool holds no more than the limit and 2 MiB. New frames are refused meanwhile, except for some of up to 64 KiB that were just returned: the magazines
    /// hand them out without a look at the limit.
    ///
    /// # Complexity
    /// A call of the system for each segment and each gap in one. Other threads can use the pool meanwhile; what they return is given back
    /// too, so that it takes longer, without a bound, while they go on to take and return frames.
    pub fn resize(&self, limit: u64) {
        self.inner.depot().limit = limit;
        self.inner.shrink_to(limit);
    }

    /// Gives all memory without frames back to the system: whole segments, and what lies under used free blocks of the others. What others have brought under
    /// blocks that were never used, as the registration of [`Regions`](crate::Regions) with `io_uring` does, goes back with the whole segment.
    ///
    /// # Complexity
    /// As [`resize`](Self::resize).
    pub fn trim(&self) {
        self.inner.shrink_to(0);
    }

    /// Returns how many bytes are in blocks that nobody has but [`SharedFrame`](crate::SharedFrame)s: images whose [`CowFrame`](crate::CowFrame) has taken
    /// a copy or is gone, and those made of a [`Frame`]. For a cache that counts its frames, this is what there is beside them.
    ///
    /// # Complexity
    /// One load. While others make and drop images it may be late, and is never too low by one that was there all the time.
    #[inline]
    pub fn image_bytes(&self) -> u64 {
        self.inner.images().bytes()
    }

    /// Returns what it has.
    ///
    /// # Complexity
    /// O(segments), and looks into all magazines: not for a fast path.
    pub fn stats(&self) -> Stats {
        let kept = self.inner.kept();
        let depot = self.inner.depot();
        Stats {
            limit_bytes: depot.limit,
            in_use_bytes: depot.taken.saturating_sub(kept),
            image_bytes: self.image_bytes(),
            held_bytes: depot.held,
            mapped_bytes: depot.mapped,
            segments: depot.mappings().count(),
        }
    }
}

impl Default for Pool {
    /// Makes a pool with a limit of [`LIMIT_DEFAULT`] bytes.
    fn default() -> Pool {
        Pool::new(LIMIT_DEFAULT)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stats().fmt(f)
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(all(test, not(frames_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_copy_made_after_the_pool_is_closed_keeps_nothing() {
        let pool = Pool::new(1 << 20);
        let watched = Arc::downgrade(&pool.inner);
        let frame = pool.frame(4096, Limit::Keep).unwrap();
        drop(pool);
        // More than a magazine holds.
        let copies: Vec<_> = (0..100).map(|_| frame.try_clone(Limit::Keep).unwrap()).collect();
        drop(frame);
        assert!(watched.strong_count() > 0);
        drop(copies);
        assert_eq!(watched.strong_count(), 0, "a segment is kept for ever");
    }
}
