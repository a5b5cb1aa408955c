//! Magazines: free blocks at hand, for one thread at a time. This layer does not know the depot.

use arrayvec::ArrayVec;

use crate::blocks::block::Block;
use crate::size::{BATCH, Class, MAGAZINE_CLASSES, MAGAZINE_FRAMES};
use crate::sync::{AtomicBool, Ordering, UnsafeCell, yield_now};

/// What goes between a magazine and the depot at once.
pub(crate) type Batch = ArrayVec<Block, BATCH>;

/// Magazines behind a flag. Its cache lines, and those that processors fetch along with them, are its own.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shard {
    is_taken: AtomicBool,
    magazines: UnsafeCell<Magazines>,
}

/// A magazine for each class that has one.
#[derive(Debug, Default)]
pub(crate) struct Magazines {
    /// The pool is closed: nothing is kept any more.
    is_closed: bool,
    classes: [ArrayVec<Block, MAGAZINE_FRAMES>; MAGAZINE_CLASSES],
}

impl Shard {
    pub(crate) fn new() -> Shard {
        Shard { is_taken: AtomicBool::new(false), magazines: UnsafeCell::new(Magazines::default()) }
    }

    /// Has `f` work on the magazines, unless another thread is at it. Never waits. `f` must not panic: the flag would stay set.
    ///
    /// # Safety
    /// The shard exists until the flag is cleared. That is so if the caller has a reference to the pool, or enters with a block of it (I-SEGMENT): until the
    /// flag is cleared nobody can take that block out of the magazine again. After that nothing of the shard is touched (I-MAGAZINE), so this takes a pointer.
    #[inline]
    pub(crate) unsafe fn try_with<R>(
        shard: *const Shard,
        f: impl FnOnce(&mut Magazines) -> R,
    ) -> Option<R> {
        // SAFETY: it exists, by the caller's promise.
        let shard = unsafe { &*shard };
        // Acquire: E-MAGAZINE. Relaxed if it is taken: then nothing is looked at.
        shard.is_taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
        let result = shard.magazines.with_mut(|magazines| {
            // SAFETY: this thread set the flag (I-MAGAZINE).
            f(unsafe { &mut *magazines })
        });
        // Release: E-MAGAZINE.
        shard.is_taken.store(false, Ordering::Release);
        Some(result)
    }

    /// The same, but waits for a thread that is at it: for a few instructions, or until that thread runs again.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Magazines) -> R) -> R {
        let mut f = Some(f);
        loop {
            // SAFETY: the caller has a reference to it.
            let done = unsafe { Shard::try_with(self, |all| f.take().map(|f| f(all))) };
            match done {
                Some(Some(result)) => return result,
                _ => yield_now(),
            }
        }
    }
}

impl Magazines {
    #[inline]
    pub(crate) fn pop(&mut self, class: Class) -> Option<Block> {
        self.classes[class.index()].pop()
    }

    /// Keeps a block. Returns what has to go to the depot: the oldest ones if there are too many then, the block itself if the pool is closed.
    #[inline]
    pub(crate) fn push(&mut self, block: Block) -> Batch {
        let mut rest = Batch::new();
        if self.is_closed {
            rest.push(block);
            return rest;
        }
        let class = block.class();
        let magazine = &mut self.classes[class.index()];
        if magazine.len() >= class.magazine() {
            rest.extend(magazine.drain(..class.batch()));
        }
        magazine.push(block);
        rest
    }

    /// Keeps as many of a batch as there is room for, and leaves the rest in it.
    pub(crate) fn fill(&mut self, class: Class, batch: &mut Batch) {
        let magazine = &mut self.classes[class.index()];
        while !self.is_closed && magazine.len() < class.magazine() {
            let Some(block) = batch.pop() else { break };
            magazine.push(block);
        }
    }

    /// Takes some of the blocks out; none if none are left.
    pub(crate) fn drain(&mut self) -> Batch {
        let mut batch = Batch::new();
        for magazine in &mut self.classes {
            let room = batch.remaining_capacity().min(magazine.len());
            batch.extend(magazine.drain(..room));
        }
        batch
    }

    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Bytes of the blocks in them.
    pub(crate) fn bytes(&self) -> u64 {
        self.classes.iter().flatten().map(|block| block.len() as u64).sum()
    }
}

// SAFETY: the magazines are reached only by the thread that set the flag (I-MAGAZINE).
unsafe impl Sync for Shard {}
