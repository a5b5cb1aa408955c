//! The sizes of cells.

/// A size of cells, by number: 0 for the smallest, otherwise lines of 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Class(u8);

/// Bytes of the smallest cells.
const SMALLEST: usize = 24;
const LINE: usize = 64;
/// Lines of the largest ones: a full node.
const LINES_MAX: usize = 9;
/// Bytes of a batch, unless that would be too many cells or too few.
const BATCH_BYTES: usize = 4096;
const BATCH_MIN: usize = 8;
const BATCH_MAX: usize = 64;

impl Class {
    pub(super) const COUNT: usize = LINES_MAX + 1;

    /// The smallest in which a `T` fits.
    #[expect(clippy::cast_possible_truncation, reason = "at most LINES_MAX")]
    pub(super) const fn of<T>() -> Class {
        let (size, align) = (size_of::<T>(), align_of::<T>());
        if size <= SMALLEST {
            assert!(SMALLEST.is_multiple_of(align), "cells of the smallest size lie side by side");
            return Class(0);
        }
        assert!(LINE.is_multiple_of(align) && size <= LINE * LINES_MAX, "there is a size for it");
        Class(size.div_ceil(LINE) as u8)
    }

    #[inline]
    pub(super) const fn number(self) -> usize {
        self.0 as usize
    }

    /// The class of that number.
    pub(super) const fn numbered(number: u8) -> Class {
        assert!((number as usize) < Class::COUNT);
        Class(number)
    }

    /// Bytes of a cell.
    #[inline]
    pub(super) const fn size(self) -> usize {
        if self.0 == 0 { SMALLEST } else { LINE * self.0 as usize }
    }

    /// Cells that go between a thread and the depot at a time.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "at most BATCH_MAX")]
    pub(super) const fn batch(self) -> u32 {
        let count = BATCH_BYTES / self.size();
        (if count < BATCH_MIN {
            BATCH_MIN
        } else if count > BATCH_MAX {
            BATCH_MAX
        } else {
            count
        }) as u32
    }
}
