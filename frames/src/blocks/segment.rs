//! What is known of a segment by those who have a block of it.

use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::blocks::Inner;
use crate::error::Error;
use crate::size::Class;
use crate::sync::{AtomicU32, Uses};

/// What does not change while a block of it is out, and the owners of each block. Which blocks are free is known to the depot.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Under which the depot knows it.
    pub(crate) number: usize,
    pub(crate) start: NonNull<u8>,
    pub(crate) class: Class,
    /// Keeps the pool's inner part as long as the segment is there (I-SEGMENT).
    pub(crate) pool: Arc<Inner>,
    pub(crate) tallies: Box<[Tally]>,
}

/// Of one block.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How many own it, while it is shared (I-EXCLUSIVE).
    pub(crate) owners: AtomicU32,
    pub(crate) uses: Uses,
}

/// The owner of a [`Segment`], which blocks point to: so it is no `Box`, which must not be pointed to from elsewhere.
#[derive(Debug)]
pub(crate) struct Described(NonNull<Segment>);

impl Described {
    pub(crate) fn new(
        number: usize,
        start: NonNull<u8>,
        class: Class,
        pool: &Arc<Inner>,
    ) -> Result<Described, Error> {
        let mut tallies = Vec::new();
        tallies.try_reserve_exact(class.blocks())?;
        tallies.resize_with(class.blocks(), Tally::default);
        // A vector of one, since a box cannot be refused.
        let mut segment = Vec::new();
        segment.try_reserve_exact(1)?;
        let tallies = tallies.into_boxed_slice();
        segment.push(Segment { number, start, class, pool: Arc::clone(pool), tallies });
        let segment = Box::into_raw(segment.into_boxed_slice());
        NonNull::new(segment.cast::<Segment>()).map(Described).ok_or(Error::System { code: None })
    }

    pub(crate) fn pointer(&self) -> NonNull<Segment> {
        self.0
    }
}

impl Drop for Described {
    fn drop(&mut self) {
        let segment = ptr::slice_from_raw_parts_mut(self.0.as_ptr(), 1);
        // SAFETY: made by `new` from a box of one. No block of it is out any more (I-SEGMENT).
        drop(unsafe { Box::from_raw(segment) });
    }
}

// SAFETY: numbers, an address that is only passed on, and atomics. (`Uses` has contents only under loom, which watches over them.)
unsafe impl Send for Segment {}
// SAFETY: as above.
unsafe impl Sync for Segment {}
// SAFETY: it owns a `Segment`.
unsafe impl Send for Described {}
// SAFETY: it gives out `&Segment` only.
unsafe impl Sync for Described {}
