//! A block that is not free: in a magazine, or out as a frame.

use std::ptr::NonNull;
use std::sync::Arc;

use crate::blocks::Inner;
use crate::blocks::segment::{Segment, Tally};
use crate::size::{Class, FRAME_LEN_MIN};

/// The right to use a block (I-OWNER), in two words.
///
/// The first is its address, with the class in the lowest four bits and two flags above (I-HANDLE). Dropping a block does not return it to the pool: its
/// owner returns it or passes it on.
#[derive(Debug)]
pub(crate) struct Block {
    word: NonNull<u8>,
    segment: NonNull<Segment>,
}

/// All its bytes are zero. Blocks in a magazine, and on their way between it and the depot, can have it; a frame does not.
const ZERO: usize = 1 << 4;
/// Its `CowFrame` has given out images of it. Only the handle in a `CowFrame` can have it (I-EXCLUSIVE).
const SHARED: usize = 1 << 5;
/// The bits that alignment leaves free.
const FLAGS: usize = FRAME_LEN_MIN - 1;

impl Block {
    /// Block `index` of `segment`. With `zero`, its bytes are known to be zero.
    ///
    /// # Safety
    /// The segment exists (I-SEGMENT) and has a block of that index, whose free bit the caller just cleared (I-OWNER).
    pub(crate) unsafe fn new(segment: NonNull<Segment>, index: usize, zero: bool) -> Block {
        // SAFETY: the caller's promise (I-SEGMENT).
        let known = unsafe { segment.as_ref() };
        let flags = known.class.index() | if zero { ZERO } else { 0 };
        // SAFETY: below the end of the block, which is longer than any flags (I-HANDLE).
        let word = unsafe { known.start.add(index * known.class.len() + flags) };
        Block { word, segment }
    }

    /// Another handle of the same block, not marked shared.
    ///
    /// # Safety
    /// One of the two is never used again, or both belong to owners that the block's tally counts (I-OWNER).
    pub(crate) unsafe fn duplicate(&self) -> Block {
        let mut block = Block { word: self.word, segment: self.segment };
        block.set_shared(false);
        block
    }

    #[inline]
    fn flags(&self) -> usize {
        self.word.addr().get() & FLAGS
    }

    #[inline]
    fn set_flag(&mut self, flag: usize, on: bool) {
        let flags = if on { self.flags() | flag } else { self.flags() & !flag };
        let word = self.word.as_ptr().map_addr(|word| word & !FLAGS | flags);
        // SAFETY: an address in a segment is not zero, whatever its lowest bits (I-HANDLE).
        self.word = unsafe { NonNull::new_unchecked(word) };
    }

    #[inline]
    pub(crate) fn class(&self) -> Class {
        Class::of_word(self.flags())
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.class().len()
    }

    /// Where its bytes begin. They are initialized (I-BYTES), and who may use them is ruled by I-OWNER and I-EXCLUSIVE.
    #[inline]
    pub(crate) fn start(&self) -> *mut u8 {
        self.word.as_ptr().map_addr(|word| word & !FLAGS)
    }

    #[inline]
    pub(crate) fn is_zero(&self) -> bool {
        self.flags() & ZERO != 0
    }

    /// From here on its bytes may be written.
    #[inline]
    pub(crate) fn no_longer_zero(&mut self) {
        self.set_flag(ZERO, false);
    }

    #[inline]
    pub(crate) fn is_shared(&self) -> bool {
        self.flags() & SHARED != 0
    }

    #[inline]
    pub(crate) fn set_shared(&mut self, shared: bool) {
        self.set_flag(SHARED, shared);
    }

    #[inline]
    pub(crate) fn segment(&self) -> &Segment {
        // SAFETY: the block is not free, so its segment exists (I-SEGMENT).
        unsafe { self.segment.as_ref() }
    }

    #[inline]
    pub(crate) fn pool(&self) -> &Arc<Inner> {
        &self.segment().pool
    }

    /// Which block of its segment it is.
    #[inline]
    pub(crate) fn index(&self) -> usize {
        let segment = self.segment();
        segment.class.block_at(self.start().addr() - segment.start.addr().get())
    }

    #[inline]
    pub(crate) fn tally(&self) -> &Tally {
        &self.segment().tallies[self.index()]
    }

    /// Tells loom that its bytes are read.
    #[inline]
    pub(crate) fn note_read(&self) {
        if cfg!(frames_loom) {
            self.tally().uses.read();
        }
    }

    /// Tells loom that its bytes are written, or that nobody else may use them now.
    #[inline]
    pub(crate) fn note_write(&self) {
        if cfg!(frames_loom) {
            self.tally().uses.write();
        }
    }
}

// SAFETY: a right may be passed on. What happened to the bytes before is ordered by E-MAGAZINE, E-DEPOT, E-OWNERS, or by the means by which a caller moves a frame.
unsafe impl Send for Block {}
// SAFETY: through a shared reference the bytes are only read (I-EXCLUSIVE).
unsafe impl Sync for Block {}
