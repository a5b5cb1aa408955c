//! Ranges of indices as users write them.

use core::ops::{Bound, RangeBounds};

/// The lowest and the highest index of a range; `None` if it is empty or inverted.
pub(crate) fn inclusive(bounds: &impl RangeBounds<u64>) -> Option<(u64, u64)> {
    let low = match bounds.start_bound() {
        Bound::Included(&low) => low,
        Bound::Excluded(&below) => below.checked_add(1)?,
        Bound::Unbounded => 0,
    };
    let high = match bounds.end_bound() {
        Bound::Included(&high) => high,
        Bound::Excluded(&above) => above.checked_sub(1)?,
        Bound::Unbounded => u64::MAX,
    };
    (low <= high).then_some((low, high))
}
