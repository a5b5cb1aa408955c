//! Ranges of indices, as first and last.

use std::ops::{Bound, RangeBounds};

/// First and last, both included.
pub(crate) type Inclusive = (u64, u64);

/// All indices.
pub(crate) const ALL: Inclusive = (0, u64::MAX);

/// The bounds as first and last; `None` if there is nothing between them.
pub(crate) fn inclusive(bounds: impl RangeBounds<u64>) -> Option<Inclusive> {
    let first = match bounds.start_bound() {
        Bound::Unbounded => 0,
        Bound::Included(&first) => first,
        Bound::Excluded(&before) => before.checked_add(1)?,
    };
    let last = match bounds.end_bound() {
        Bound::Unbounded => u64::MAX,
        Bound::Included(&last) => last,
        Bound::Excluded(&after) => after.checked_sub(1)?,
    };
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_and_inverted_ranges_are_nothing() {
        assert_eq!(inclusive(..), Some((0, u64::MAX)));
        assert_eq!(inclusive(3..5), Some((3, 4)));
        assert_eq!(inclusive(3..=3), Some((3, 3)));
        assert_eq!(inclusive(3..3), None);
        assert_eq!(inclusive(..0), None);
        assert_eq!(inclusive((Bound::Excluded(u64::MAX), Bound::Unbounded)), None);
        #[expect(clippy::reversed_empty_ranges, reason = "that is the point")]
        let inverted = inclusive(5..3);
        assert_eq!(inverted, None);
    }
}
