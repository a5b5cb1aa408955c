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

impl Regions {
    pub(crate) fn of(pool: &Pool) -> Regions {
        let mut depot = pool.inner.depot();
        depot.pins += 1;
        let regions = depot
            .mappings()
            .map(|mapping| Region { start: mapping.start().as_ptr(), len: mapping.len() })
            .collect();
        drop(depot);
        Regions { pool: pool.clone(), regions }
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
