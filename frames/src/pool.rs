//! Pools: a center with magazines before it.

use std::fmt;
use std::ptr;
use std::sync::Arc;

use crate::block::Block;
use crate::central::{Central, Held, Retired, Step};
use crate::error::Error;
use crate::frame::Frame;
use crate::shard::{Batch, Push, Shard};
use crate::size::Class;
use crate::sync::{Mutex, MutexGuard, processors, thread_number};

/// Memory for frames, with a limit in bytes.
///
/// Cheap to clone: clones are the same pool. Frames outlive it; when the last clone is dropped, memory that no frame is in goes back to
/// the system at once, the rest with the last frame of each segment.
///
/// # Concurrency
/// The limit is exact while one thread is at work. Of several, one can be refused although another has up to 16 frames on their way between its
/// magazine and the center; the limit itself is never exceeded by that.
///
/// Everything may be called from any thread. [`frame`](Self::frame) and dropping a frame wait for nobody but, now and then, the center's
/// lock, which is held for a few hundred nanoseconds, or while a segment is mapped.
///
/// # Examples
/// ```
/// use page_frames::{Error, Limit, Pool};
///
/// let pool = Pool::new(8192);
/// let small = pool.zeroed(4096, Limit::Keep)?;
/// let large = pool.frame(4096, Limit::Keep)?;
/// assert_eq!(pool.frame(512, Limit::Keep).unwrap_err(), Error::Full { limit: 8192 });
/// drop((small, large));
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
    /// Refuse it.
    Keep,
    /// Give it all the same: for what must go on, by whoever makes up for it soon after.
    Exceed,
}

/// What a pool has. Exact while nobody uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes that frames may take together.
    pub limit_bytes: u64,
    /// Bytes of all frames.
    pub in_use_bytes: u64,
    /// Bytes of memory that frames take, or that is kept for coming ones. With huge pages the system may have put memory under a segment's
    /// fresh end as well: up to 2 MiB for each size of frames in use.
    pub held_bytes: u64,
    /// Bytes of address space.
    pub mapped_bytes: u64,
    /// Segments mapped.
    pub segments: usize,
}

/// The part of a pool that frames keep.
#[derive(Debug)]
pub(crate) struct Inner {
    /// A power of two of them.
    shards: Box<[Shard]>,
    center: Mutex<Central>,
}

/// Closes the pool when its last clone goes.
struct Closer(Arc<Inner>);

impl Pool {
    /// A pool whose frames may take `limit` bytes together. It takes no memory for them before the first is asked for.
    pub fn new(limit: u64) -> Pool {
        let shards = processors().next_power_of_two().min(64);
        let inner = Arc::new(Inner {
            shards: (0..shards).map(|_| Shard::new()).collect(),
            center: Mutex::new(Central::new(limit)),
        });
        Pool { inner: Arc::clone(&inner), _closer: Arc::new(Closer(inner)) }
    }

    /// A frame of `len` bytes, aligned to `len`. It holds zeros, or what was left there by an earlier frame of this pool.
    ///
    /// # Errors
    /// [`Error::Len`] unless `len` is a power of two from [`FRAME_LEN_MIN`](crate::FRAME_LEN_MIN) to
    /// [`FRAME_LEN_MAX`](crate::FRAME_LEN_MAX); [`Error::Full`] if the limit is to be kept and would not be; [`Error::System`] if the system has no memory.
    ///
    /// # Complexity
    /// O(1) from the calling thread's magazine. O(segments) if a segment has to be found or mapped.
    #[inline]
    pub fn frame(&self, len: usize, limit: Limit) -> Result<Frame, Error> {
        Frame::take(&self.inner, len, limit)
    }

    /// The same, all bytes zero.
    ///
    /// # Errors
    /// As [`frame`](Self::frame).
    pub fn zeroed(&self, len: usize, limit: Limit) -> Result<Frame, Error> {
        Frame::take_zeroed(&self.inner, len, limit)
    }

    /// The bytes that frames may take together.
    pub fn limit(&self) -> u64 {
        self.inner.center().limit
    }

    /// Sets a new limit. If it is lower, memory that is not in use goes back to the system until the pool holds no more than that, or nothing
    /// is left that no frame is in. Frames that are out stay; while they take more than the limit, up to a magazine's bytes for each processor
    /// may be reused before a frame is refused.
    pub fn resize(&self, limit: u64) {
        self.inner.center().limit = limit;
        self.inner.shrink_to(limit);
    }

    /// Gives all memory that is not in use back to the system: segments that no frame is in, and what lies under free blocks of the others.
    ///
    /// # Complexity
    /// A call of the system for each segment and each gap in one. The pool can be used meanwhile.
    pub fn trim(&self) {
        self.inner.shrink_to(0);
    }

    /// What it has.
    ///
    /// # Complexity
    /// O(segments), and looks into all magazines: not for a fast path.
    pub fn stats(&self) -> Stats {
        let kept: u64 =
            self.inner.shards.iter().map(|shard| shard.with(|shelf| shelf.bytes())).sum();
        let center = self.inner.center();
        Stats {
            limit_bytes: center.limit,
            in_use_bytes: center.taken.saturating_sub(kept),
            held_bytes: center.held,
            mapped_bytes: center.mapped,
            segments: center.mappings().count(),
        }
    }

    /// Where the frames lie, for those who tell the system of it, as by registering buffers with `io_uring`.
    ///
    /// Until what is returned is dropped, none of these segments is unmapped and no memory goes back to the system. Segments that are
    /// mapped later are not in it: ask again when a frame lies outside.
    pub fn regions(&self) -> Regions {
        let mut center = self.inner.center();
        center.pins += 1;
        let region = |mapping: &crate::system::Mapping| Region {
            start: mapping.start().as_ptr(),
            len: mapping.len(),
        };
        let regions = center.mappings().map(region).collect();
        drop(center);
        Regions { pool: self.clone(), regions }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stats().fmt(f)
    }
}

/// Where a segment of a pool lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Its first byte.
    pub start: *const u8,
    /// Its length in bytes.
    pub len: usize,
}

// SAFETY: an address and a length; to use them is unsafe by itself.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// The segments of a pool, which stay where they are until this is dropped. From [`Pool::regions`].
#[derive(Debug)]
pub struct Regions {
    pool: Pool,
    regions: Box<[Region]>,
}

impl std::ops::Deref for Regions {
    type Target = [Region];

    fn deref(&self) -> &[Region] {
        &self.regions
    }
}

impl Drop for Regions {
    fn drop(&mut self) {
        self.pool.inner.center().pins -= 1;
    }
}

impl Inner {
    fn center(&self) -> MutexGuard<'_, Central> {
        // Nothing panics in the middle of a change of the center.
        self.center.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The calling thread's shard and its neighbour.
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
                match unsafe { Shard::try_with(shard, |shelf| shelf.pop(class)) } {
                    Some(Some(block)) => return Ok(block),
                    Some(None) => break,
                    None => {}
                }
            }
        }
        self.refill(class, limit)
    }

    /// A block from the center, and some more for the magazine.
    #[cold]
    fn refill(self: &Arc<Self>, class: Class, limit: Limit) -> Result<Block, Error> {
        let mut batch = Batch::new();
        let mut found = self.center().take(self, class, limit, class.batch(), &mut batch);
        if matches!(found, Err(Error::Full { .. })) {
            // The magazines may have what is missing.
            self.drain();
            found = self.center().take(self, class, limit, 1, &mut batch);
        }
        found?;
        let block = batch.pop().expect("the center gave one at least");
        for shard in Inner::near(&self.shards) {
            if batch.is_empty() {
                break;
            }
            // SAFETY: a shard of `self`.
            let _ = unsafe { Shard::try_with(shard, |shelf| shelf.fill(class, &mut batch)) };
        }
        // Those that found no room, or a pool that is closed. What goes with them does not hold the last of `self`.
        drop(self.put(batch));
        Ok(block)
    }

    /// Blocks come back to the center.
    fn put(&self, batch: Batch) -> Retired {
        let mut retired = Retired::new();
        if !batch.is_empty() {
            let mut center = self.center();
            batch.iter().for_each(|block| center.put(block, &mut retired));
        }
        retired
    }

    /// Empties all magazines into the center.
    fn drain(&self) {
        for shard in &self.shards {
            loop {
                let batch = shard.with(|shelf| shelf.drain());
                if batch.is_empty() {
                    break;
                }
                drop(self.put(batch));
            }
        }
    }

    /// Gives memory back that is not in use, until `target` bytes are held at most.
    fn shrink_to(&self, target: u64) {
        if self.center().held > target || target == 0 {
            self.drain();
        }
        let mut cursor = usize::MAX;
        loop {
            // One step at a time, so that others come to the center in between; what is unmapped is so behind its back.
            let step = self.center().shrink(target, &mut cursor);
            match step {
                Step::Unmapped(held) => drop(held),
                Step::Discarded => {}
                Step::Done => break,
            }
        }
    }

    /// No pool is left. Its caller has a reference, so `self` stays until the end.
    fn close(&self) {
        for shard in &self.shards {
            shard.with(|shelf| shelf.close());
        }
        self.drain();
        let next = || -> Option<Held> {
            let mut center = self.center();
            center.is_closed = true;
            center.retire_next()
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

/// A block comes back, on whatever thread.
#[inline]
pub(crate) fn give_back(block: Block) {
    let class = block.class();
    let mut block = Some(block);
    if class.magazine() > 0 {
        // Pointers, for the pool may be gone once a shelf has the block (I-SHELF).
        let near = block.as_ref().map(|block| Inner::near(&block.pool().shards));
        for shard in near.into_iter().flatten() {
            let push =
                |shelf: &mut crate::shard::Shelf| block.take().map(|block| shelf.push(block));
            // SAFETY: a shard of the block's pool, which is there as long as the block is out or on the shelf (I-ALIVE).
            match unsafe { Shard::try_with(shard, push) } {
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

/// Blocks of one pool, at least one, come back to its center.
#[cold]
fn put_back(batch: Batch) {
    let Some(pool) = batch.first().map(|block| Arc::clone(block.pool())) else { return };
    // In this order: with a segment may go the pool.
    let retired = pool.put(batch);
    drop(retired);
    drop(pool);
}
