//! Magazines: free frames at hand, for one thread at a time.

use arrayvec::ArrayVec;

use crate::block::Block;
use crate::size::{BATCH, Class, MAGAZINE_CLASSES, MAGAZINE_FRAMES};
use crate::sync::{AtomicBool, Ordering, UnsafeCell, yield_now};

/// What goes between a magazine and the center at once.
pub(crate) type Batch = ArrayVec<Block, BATCH>;

/// A shelf behind a flag. On lines of its own, and those that processors fetch along with them.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shard {
    is_taken: AtomicBool,
    shelf: UnsafeCell<Shelf>,
}

/// A magazine for each class that has one.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    /// The pool is closed: nothing is kept any more.
    is_closed: bool,
    magazines: [ArrayVec<Block, MAGAZINE_FRAMES>; MAGAZINE_CLASSES],
}

/// What became of a block that was to be kept.
#[derive(Debug)]
pub(crate) enum Push {
    Kept,
    /// It was kept, and these have to go.
    Overflow(Batch),
    /// It has to go itself.
    Refused(Block),
}

impl Shard {
    pub(crate) fn new() -> Shard {
        Shard { is_taken: AtomicBool::new(false), shelf: UnsafeCell::new(Shelf::default()) }
    }

    /// Has `f` work on the shelf, unless another thread is at it. Never waits. `f` must not panic.
    ///
    /// # Safety
    /// The shard is there until the flag is cleared, as long as the shelf holds a block or the caller has a claim on the pool. Of its
    /// caller's pool nothing is touched after that (I-SHELF), which is why this takes a pointer.
    pub(crate) unsafe fn try_with<R>(
        shard: *const Shard,
        f: impl FnOnce(&mut Shelf) -> R,
    ) -> Option<R> {
        // SAFETY: it is there, by the caller's promise.
        let shard = unsafe { &*shard };
        // Acquire: E-SHELF. Relaxed if it is taken: then nothing is looked at.
        shard
            .is_taken
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        let result = shard.shelf.with_mut(|shelf| {
            // SAFETY: this thread set the flag (I-SHELF).
            f(unsafe { &mut *shelf })
        });
        // Release: E-SHELF.
        shard.is_taken.store(false, Ordering::Release);
        Some(result)
    }

    /// The same, and waits for a thread that is at it: for the few instructions that it takes, unless it is not running.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Shelf) -> R) -> R {
        let mut f = Some(f);
        loop {
            // SAFETY: the caller has a reference to it.
            let done = unsafe { Shard::try_with(self, |shelf| f.take().map(|f| f(shelf))) };
            match done {
                Some(Some(result)) => return result,
                _ => yield_now(),
            }
        }
    }
}

impl Shelf {
    #[inline]
    pub(crate) fn pop(&mut self, class: Class) -> Option<Block> {
        self.magazines[class.index()].pop()
    }

    /// Keeps a block; if there are too many then, the oldest go.
    #[inline]
    pub(crate) fn push(&mut self, block: Block) -> Push {
        let class = block.class();
        if self.is_closed {
            return Push::Refused(block);
        }
        let magazine = &mut self.magazines[class.index()];
        let mut overflow = Batch::new();
        if magazine.len() >= class.magazine() {
            overflow.extend(magazine.drain(..class.batch()));
        }
        magazine.push(block);
        if overflow.is_empty() { Push::Kept } else { Push::Overflow(overflow) }
    }

    /// Keeps what there is room for of a batch, and leaves the rest in it.
    pub(crate) fn fill(&mut self, class: Class, batch: &mut Batch) {
        let magazine = &mut self.magazines[class.index()];
        while !self.is_closed && magazine.len() < class.magazine() {
            let Some(block) = batch.pop() else { break };
            magazine.push(block);
        }
    }

    /// Takes some of what it keeps, until nothing is left.
    pub(crate) fn drain(&mut self) -> Batch {
        let mut batch = Batch::new();
        for magazine in &mut self.magazines {
            let room = batch.remaining_capacity().min(magazine.len());
            batch.extend(magazine.drain(..room));
        }
        batch
    }

    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Bytes of the blocks that it keeps.
    pub(crate) fn bytes(&self) -> u64 {
        self.magazines.iter().flatten().map(|block| block.len() as u64).sum()
    }
}

// SAFETY: the shelf is reached by the thread that set the flag alone (I-SHELF).
unsafe impl Sync for Shard {}
