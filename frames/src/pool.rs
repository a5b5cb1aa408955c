//! Pools: the magazines of all shards, with the depot behind them.

use std::fmt;
use std::ptr;
use std::sync::Arc;

use crate::block::Block;
use crate::depot::{Depot, Retired, Step};
use crate::error::Error;
use crate::frame::Frame;
use crate::held::Held;
use crate::regions::Regions;
use crate::shard::{Batch, Push, Shard};
use crate::size::{Class, LIMIT_DEFAULT, SHARDS_MAX};
use crate::sync::{Mutex, MutexGuard, processors, thread_number};

/// Memory for frames, with a limit in bytes.
///
/// Cheap to clone: clones are the same pool. Frames outlive it. When the last clone is dropped, memory without frames goes back to
/// the system at once, and the rest with the last frame of each segment.
///
/// # Concurrency
/// Everything may be called from any thread. Frames of all sizes together never exceed the limit, unless [`Limit::Exceed`] says so. With one thread at work the limit is exact. Of several
/// threads, one can be refused while another has up to 16 frames on their way between its magazine and the depot.
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

/// What to do where a frame would take the pool above its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Refuse the frame.
    Keep,
    /// Hand it out nevertheless: for work that must go on, by a caller that makes up for it soon after.
    Exceed,
}

/// What a pool has, from [`Pool::stats`]. Exact while no other thread uses the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes that frames may take together.
    pub limit_bytes: u64,
    /// Bytes of all frames.
    pub in_use_bytes: u64,
    /// Bytes that may have memory under them: frames, free blocks that were used, and the unused rest of a huge page.
    pub held_bytes: u64,
    /// Bytes of address space.
    pub mapped_bytes: u64,
    /// Segments mapped.
    pub segments: usize,
}

/// The part of a pool that its segments keep.
#[derive(Debug)]
pub(crate) struct Inner {
    /// A power of two of them.
    shards: Box<[Shard]>,
    depot: Mutex<Depot>,
}

/// Closes the pool when its last clone is dropped.
struct Closer(Arc<Inner>);

impl Pool {
    /// Makes a pool whose frames may take `limit` bytes together. It takes no memory for them before they are asked for.
    pub fn new(limit: u64) -> Pool {
        let shards = processors().next_power_of_two().min(SHARDS_MAX);
        let inner = Arc::new(Inner {
            shards: (0..shards).map(|_| Shard::new()).collect(),
            depot: Mutex::new(Depot::new(limit)),
        });
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
    /// A call of the system for each segment and each gap in one. Other threads can use the pool meanwhile.
    pub fn resize(&self, limit: u64) {
        self.inner.depot().limit = limit;
        self.inner.shrink_to(limit);
    }

    /// Gives all memory without frames back to the system: whole segments, and what lies under free blocks of the others.
    ///
    /// # Complexity
    /// As [`resize`](Self::resize).
    pub fn trim(&self) {
        self.inner.shrink_to(0);
    }

    /// Returns what it has.
    ///
    /// # Complexity
    /// O(segments), and looks into all magazines: not for a fast path.
    pub fn stats(&self) -> Stats {
        let kept: u64 = self.inner.shards.iter().map(|shard| shard.with(|all| all.bytes())).sum();
        let depot = self.inner.depot();
        Stats {
            limit_bytes: depot.limit,
            in_use_bytes: depot.taken.saturating_sub(kept),
            held_bytes: depot.held,
            mapped_bytes: depot.mapped,
            segments: depot.mappings().count(),
        }
    }

    /// Returns where the frames lie, for registering the memory with the system, as with `io_uring`.
    ///
    /// Until the result is dropped, none of these segments is unmapped and no memory goes back to the system, so the pool may hold more than its
    /// limit. Segments that are mapped later are not in it: ask again when a frame lies outside.
    pub fn regions(&self) -> Regions {
        Regions::of(self)
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

impl Inner {
    pub(crate) fn depot(&self) -> MutexGuard<'_, Depot> {
        // Nothing panics in the middle of a change of the depot.
        self.depot.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The calling thread's shard and the next one.
    #[inline]
    fn near(shards: &[Shard]) -> [*const Shard; 2] {
        let own = thread_number();
        let at = |number: usize| ptr::from_ref(&shards[number & (shards.len() - 1)]);
        [at(own), at(own.wrapping_add(1))]
    }

    /// A block of `class`, with whatever bytes.
    #[inline]
    pub(crate) fn take(self: &Arc<Self>, class: Class, limit: Limit) -> Result<Block, Error> {
        if class.magazine() > 0 {
            for shard in Inner::near(&self.shards) {
                // SAFETY: a shard of `self`.
                match unsafe { Shard::try_with(shard, |all| all.pop(class)) } {
                    Some(Some(block)) => return Ok(block),
                    Some(None) => break,
                    None => {}
                }
            }
        }
        self.refill(class, limit)
    }

    /// A block from the depot, and some more for the magazine.
    #[cold]
    fn refill(self: &Arc<Self>, class: Class, limit: Limit) -> Result<Block, Error> {
        let mut batch = Batch::new();
        // Not beyond the limit before the magazines are empty, or they would hand out what no longer fits.
        let mut found = self.depot().take(self, class, Limit::Keep, class.batch(), &mut batch);
        if matches!(found, Err(Error::Full { .. })) {
            self.drain();
            found = self.depot().take(self, class, limit, 1, &mut batch);
        }
        found?;
        let block = batch.pop().expect("the depot gave one at least");
        for shard in Inner::near(&self.shards) {
            if batch.is_empty() {
                break;
            }
            // SAFETY: a shard of `self`.
            let _ = unsafe { Shard::try_with(shard, |all| all.fill(class, &mut batch)) };
        }
        // What found no room, or came to a pool that is closed. `self` stays: the caller has a reference.
        drop(self.put(batch));
        Ok(block)
    }

    /// Blocks come back to the depot.
    fn put(&self, batch: Batch) -> Retired {
        let mut retired = Retired::new();
        if !batch.is_empty() {
            let mut depot = self.depot();
            batch.iter().for_each(|block| depot.put(block, &mut retired));
            // Above the limit only after a resize, or by `Limit::Exceed`.
            depot.make_room(0);
        }
        retired
    }

    /// Empties all magazines into the depot.
    fn drain(&self) {
        for shard in &self.shards {
            loop {
                let batch = shard.with(|all| all.drain());
                if batch.is_empty() {
                    break;
                }
                drop(self.put(batch));
            }
        }
    }

    /// Gives memory back that is not in use, until `target` bytes are held at most.
    pub(crate) fn shrink_to(&self, target: u64) {
        if self.depot().held > target || target == 0 {
            self.drain();
        }
        let mut cursor = usize::MAX;
        loop {
            // The lock is released after each step, so that other threads come in between. Segments are unmapped without it.
            let step = self.depot().shrink(target, &mut cursor);
            match step {
                Step::Unmapped(held) => drop(held),
                Step::Discarded => {}
                Step::Done => break,
            }
        }
    }

    /// The last `Pool` is gone. The caller has a reference, so `self` stays until the end.
    fn close(&self) {
        for shard in &self.shards {
            shard.with(|all| all.close());
        }
        self.drain();
        let next = || -> Option<Held> {
            let mut depot = self.depot();
            depot.is_closed = true;
            depot.retire_next()
        };
        while let Some(held) = next() {
            drop(held);
        }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Returns a block to its pool, on whatever thread.
#[inline]
pub(crate) fn give_back(block: Block) {
    debug_assert!(!block.is_shared(), "the mark of a CowFrame outlived it (I-EXCLUSIVE)");
    let class = block.class();
    let mut block = Some(block);
    if class.magazine() > 0 {
        // Pointers: once a magazine has the block, the pool may be freed (I-MAGAZINE).
        let near = block.as_ref().map(|block| Inner::near(&block.pool().shards));
        for shard in near.into_iter().flatten() {
            // SAFETY: a shard of the block's pool, and this call has the block (I-SEGMENT).
            let pushed =
                unsafe { Shard::try_with(shard, |all| block.take().map(|block| all.push(block))) };
            match pushed {
                Some(Some(Push::Kept)) => return,
                Some(Some(Push::Overflow(batch))) => return put_back(batch),
                Some(Some(Push::Refused(refused))) => {
                    block = Some(refused);
                    break;
                }
                _ => {}
            }
        }
    }
    put_back(block.into_iter().collect());
}

/// Returns blocks of one pool to its depot.
#[cold]
fn put_back(batch: Batch) {
    let Some(pool) = batch.first().map(|block| Arc::clone(block.pool())) else { return };
    // In this order: a segment may hold the last other reference to the pool.
    let retired = pool.put(batch);
    drop(retired);
    drop(pool);
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
