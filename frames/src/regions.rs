//! Where the segments of a pool lie.

use std::fmt;
use std::ops::Deref;

use crate::pool::Pool;

/// Where a segment of a pool lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Its first byte.
    pub start: *const u8,
    /// Its length in bytes.
    pub len: usize,
}

// SAFETY: an address and a length; only unsafe code can use them to reach memory.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// The segments of a pool, which stay where they are until this is dropped. From [`Pool::regions`].
pub struct Regions {
    pool: Pool,
    regions: Box<[Region]>,
}

impl Pool {
    /// Returns where the frames lie, for registering the memory with the system, as with `io_uring`.
    ///
    /// Until the result is dropped, none of these segments is unmapped and no memory goes back to the system, so the pool may hold more than its
    /// limit. Segments that are mapped later are not in it: ask again when a frame lies outside.
    pub fn regions(&self) -> Regions {
        let mut depot = self.inner.depot();
        depot.pins += 1;
        let regions = depot
            .mappings()
            .map(|mapping| Region { start: mapping.start().as_ptr(), len: mapping.len() })
            .collect();
        drop(depot);
        Regions { pool: self.clone(), regions }
    }
}

impl Deref for Regions {
    type Target = [Region];

    fn deref(&self) -> &[Region] {
        &self.regions
    }
}

impl fmt::Debug for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.regions).finish()
    }
}

impl Drop for Regions {
    /// Makes up for a [`Pool::resize`] that could give nothing back meanwhile.
    fn drop(&mut self) {
        let limit = {
            let mut depot = self.pool.inner.depot();
            depot.pins -= 1;
            // Only now can a pass find something.
            depot.forget_fruitless();
            depot.limit
        };
        self.pool.inner.shrink_to(limit);
    }
}
