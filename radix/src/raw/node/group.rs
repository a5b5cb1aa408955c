//! Groups of slots: what a bit of a solid byte stands for. Pure functions.

use super::index::FANOUT;

/// Slots of a group.
pub(in crate::raw) const SLOTS: usize = FANOUT.div_ceil(8);
/// The byte of a node of which every index has an entry.
#[expect(clippy::cast_possible_truncation, reason = "at most eight groups")]
pub(in crate::raw) const ALL: u8 = ((1_u32 << (FANOUT / SLOTS)) - 1) as u8;

/// The bit of the group that a slot belongs to.
#[inline]
pub(in crate::raw) const fn of(offset: usize) -> u8 {
    1 << (offset / SLOTS)
}

/// The slots of the same group.
#[inline]
pub(in crate::raw) const fn around(offset: usize) -> core::ops::Range<usize> {
    let first = offset - offset % SLOTS;
    first..first + SLOTS
}

/// The first slot from `offset` on, which may be one behind the last, in one of these groups.
#[inline]
pub(in crate::raw) const fn first(groups: u8, offset: usize) -> Option<usize> {
    let rest = groups as usize & usize::MAX << (offset / SLOTS);
    if rest == 0 {
        return None;
    }
    let first = rest.trailing_zeros() as usize * SLOTS;
    Some(if first > offset { first } else { offset })
}

#[cfg(all(test, not(any(radix_loom, radix_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_in_the_group_of_its_bit() {
        let mut all = 0;
        for offset in 0..FANOUT {
            assert!(around(offset).contains(&offset));
            assert!(around(offset).all(|other| other < FANOUT && of(other) == of(offset)));
            all |= of(offset);
        }
        assert_eq!(all, ALL);
        for (offset, groups) in (0..FANOUT).flat_map(|offset| (0..=ALL).map(move |g| (offset, g))) {
            let found = (offset..FANOUT).find(|&slot| groups & of(slot) != 0);
            assert_eq!(first(groups, offset), found);
        }
        assert_eq!(first(ALL, FANOUT), None);
    }
}
