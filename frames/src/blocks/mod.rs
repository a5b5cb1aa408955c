//! Blocks, and who has them: free in the depot, in a magazine, or out.
//!
//! This room keeps I-OWNER, I-SEGMENT and I-MAGAZINE of PROTOCOL.md. It does not know what a frame is: to it, a block that is out is out.

pub(crate) mod block;
pub(crate) mod depot;
pub(crate) mod held;
pub(crate) mod segment;
pub(crate) mod shard;

use std::ptr;
use std::sync::Arc;

use crate::blocks::block::Block;
use crate::blocks::depot::{Depot, Retired, Step};
use crate::blocks::held::Held;
use crate::blocks::shard::{Batch, Shard};
use crate::error::Error;
use crate::size::{Class, SHARDS_MAX};
use crate::sync::{
    CounterU64, Mutex, MutexGuard, OnceLock, Ordering, process, processors, thread_number,
};

/// What to do where a frame would take the pool above its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Refuse the frame, unless it lies in a magazine: those are handed out without a look at the limit.
    Keep,
    /// Hand it out nevertheless: for work that must go on, by a caller that makes up for it soon after.
    Exceed,
}

/// The part of a pool that its segments keep.
#[derive(Debug)]
pub(crate) struct Inner {
    /// A power of two of them.
    shards: Box<[Shard]>,
    depot: Mutex<Depot>,
    images: Images,
    limit_at_first: u64,
    /// The process that made it.
    process: u32,
    /// What a child made by `fork` has in its place.
    of_child: OnceLock<Arc<Inner>>,
}

/// Bytes of the blocks all of whose owners are images (I-IMAGE). Alone in its lines of the processor's cache, since others look at it all the time.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Images(CounterU64);

impl Images {
    pub(crate) fn add(&self, len: usize) {
        // Relaxed, here and below: the number is all there is to know.
        self.0.fetch_add(len as u64, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, len: usize) {
        let before = self.0.fetch_sub(len as u64, Ordering::Relaxed);
        debug_assert!(before >= len as u64, "images that were not counted have ended (I-IMAGE)");
    }

    #[inline]
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Inner {
    pub(crate) fn new(limit: u64) -> Inner {
        let shards = processors().next_power_of_two().min(SHARDS_MAX);
        Inner {
            shards: (0..shards).map(|_| Shard::new()).collect(),
            depot: Mutex::new(Depot::new(limit)),
            images: Images::default(),
            limit_at_first: limit,
            process: process(),
            of_child: OnceLock::new(),
        }
    }

    /// Bytes of the blocks in magazines.
    pub(crate) fn kept(&self) -> u64 {
        self.shards.iter().map(|shard| shard.with(|all| all.bytes())).sum()
    }

    #[inline]
    pub(crate) fn images(&self) -> &Images {
        &self.images
    }

    pub(crate) fn depot(&self) -> MutexGuard<'_, Depot> {
        // Nothing panics in the middle of a change of the depot.
        self.depot.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether this process is a child, by `fork`, of the one that made the pool.
    fn is_of_parent(&self) -> bool {
        process() != self.process
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
        if self.is_of_parent() {
            // A thread that is not there may have the lock for ever.
            let of_child = self.of_child.get_or_init(|| Arc::new(Inner::new(self.limit_at_first)));
            return of_child.take(class, limit);
        }
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
        // In a child nobody needs the parent's free blocks.
        if !batch.is_empty() && !self.is_of_parent() {
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
    ///
    /// In a child made by `fork` nothing is closed: a thread that is not there may have a flag or the lock for ever. What the
    /// pool has goes with the process.
    pub(crate) fn close(&self) {
        if self.is_of_parent() {
            return;
        }
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

/// Returns a block to its pool, on whatever thread.
#[inline]
pub(crate) fn give_back(block: Block) {
    debug_assert!(!block.is_shared(), "the mark of a CowFrame outlived it (I-EXCLUSIVE)");
    let has_magazine = block.class().magazine() > 0;
    // Pointers: once a magazine has the block, the pool may be freed (I-MAGAZINE).
    let near = has_magazine.then(|| Inner::near(&block.pool().shards));
    let mut block = Some(block);
    for shard in near.into_iter().flatten() {
        // SAFETY: a shard of the block's pool, and this call has the block (I-SEGMENT).
        let pushed =
            unsafe { Shard::try_with(shard, |all| block.take().map(|block| all.push(block))) };
        if let Some(Some(rest)) = pushed {
            if !rest.is_empty() {
                put_back(rest);
            }
            return;
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

#[cfg(all(test, unix, not(frames_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_child_process_waits_for_no_lock_of_its_parents_threads() {
        let inner = Arc::new(Inner::new(1 << 20));
        let class = Class::of(4096).expect("a size");
        let mut of_parent: Vec<_> =
            (0..200).map(|_| inner.take(class, Limit::Keep).expect("it fits")).collect();
        // As they would be if other threads had them at the fork.
        let locked = inner.depot();
        let status = inner.shards[0].with(|_| {
            // SAFETY: the child calls nothing but the pool, which is what the test is about, and leaves by `_exit`.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: it concerns this process only, which ends by it unless it ends by itself.
                unsafe { libc::alarm(20) };
                let taken: Vec<_> =
                    (0..200).map_while(|_| inner.take(class, Limit::Keep).ok()).collect();
                let all = taken.len() == 200;
                taken.into_iter().chain(of_parent.drain(..)).for_each(give_back);
                inner.close();
                // SAFETY: ends the process at once, without running what the parent will run itself.
                unsafe { libc::_exit(i32::from(!all)) };
            }
            assert!(child > 0, "{}", std::io::Error::last_os_error());
            let mut status = 0;
            // SAFETY: `status` is valid for the write, and the child is this thread's.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            status
        });
        assert_eq!(status, 0, "a status of 14 is the alarm: it hung");
        drop(locked);
        of_parent.into_iter().for_each(give_back);
        inner.close();
    }
}
