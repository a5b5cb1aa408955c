//! A block that is not free: in a magazine, or out as a frame.

use std::ptr::NonNull;
use std::sync::Arc;

use crate::pool::Inner;
use crate::segment::{Segment, Tally};
use crate::size::{Class, FRAME_LEN_MIN};

/// The right to use a block (I-ONE), in two words.
///
/// The first is its address (I-BLOCK), with the class in the lowest four bits and two flags above. A block that is dropped is lost to the
/// pool: whoever has one gives it back or passes it on.
#[derive(Debug)]
pub(crate) struct Block {
    word: NonNull<u8>,
    segment: NonNull<Segment>,
}

/// All its bytes are zero. In a magazine and between magazine and center; a frame does not have it.
const ZERO: usize = 1 << 4;
/// A `CowFrame` has given out images of it.
const SHARED: usize = 1 << 5;
/// What alignment leaves free.
const FLAGS: usize = FRAME_LEN_MIN - 1;

impl Block {
    /// Block `index` of `segment`.
    ///
    /// # Safety
    /// The segment is there (I-ALIVE), has a block of that index, and nobody has it: the caller just took its bit (I-ONE). `zero`: its bytes are.
    pub(crate) unsafe fn new(segment: NonNull<Segment>, index: usize, zero: bool) -> Block {
        // SAFETY: the caller's promise.
        let known = unsafe { segment.as_ref() };
        let flags = known.class.index() | if zero { ZERO } else { 0 };
        // SAFETY: below the end of the segment, whose blocks are longer than any flags (I-BLOCK).
        let word = unsafe { known.start.add(index * known.class.len() + flags) };
        Block { word, segment }
    }

    /// Another handle of the same block.
    ///
    /// # Safety
    /// One of the two is never used again, or both are owners that the block's tally counts (I-ONE).
    pub(crate) unsafe fn duplicate(&self) -> Block {
        Block { word: self.word, segment: self.segment }
    }

    #[inline]
    fn flags(&self) -> usize {
        self.word.addr().get() & FLAGS
    }

    fn with_flag(&mut self, flag: usize, on: bool) {
        let flags = if on { self.flags() | flag } else { self.flags() & !flag };
        let word = self.word.as_ptr().map_addr(|word| word & !FLAGS | flags);
        // SAFETY: an address of a segment is not zero, with whatever flags.
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

    /// Where its bytes begin: initialized (I-BYTES), and the caller's by I-ONE.
    #[inline]
    pub(crate) fn start(&self) -> *mut u8 {
        self.word.as_ptr().map_addr(|word| word & !FLAGS)
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.flags() & ZERO != 0
    }

    /// From here on its bytes may be written.
    pub(crate) fn no_longer_zero(&mut self) {
        self.with_flag(ZERO, false);
    }

    #[inline]
    pub(crate) fn is_shared(&self) -> bool {
        self.flags() & SHARED != 0
    }

    pub(crate) fn set_shared(&mut self, shared: bool) {
        self.with_flag(SHARED, shared);
    }

    #[inline]
    pub(crate) fn segment(&self) -> &Segment {
        // SAFETY: I-ALIVE, for this block is out.
        unsafe { self.segment.as_ref() }
    }

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

    /// Notes a use of its bytes that only reads, for loom.
    #[inline]
    pub(crate) fn note_read(&self) {
        if cfg!(frames_loom) {
            self.tally().uses.read();
        }
    }

    /// Notes a use of its bytes by one that has them alone, for loom.
    #[inline]
    pub(crate) fn note_write(&self) {
        if cfg!(frames_loom) {
            self.tally().uses.write();
        }
    }
}

// SAFETY: a right may be passed on; what comes with it is ordered by E-SHELF, E-CENTER, E-COUNT, or by the caller who moves a frame.
unsafe impl Send for Block {}
// SAFETY: through a shared reference the bytes are only read.
unsafe impl Sync for Block {}
