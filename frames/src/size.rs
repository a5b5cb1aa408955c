//! Sizes: of frames, of segments, of what a magazine holds. Arithmetic only.

use crate::error::Error;

/// The smallest frame, in bytes.
pub const FRAME_LEN_MIN: usize = 512;
/// The largest frame, in bytes.
pub const FRAME_LEN_MAX: usize = 16 << 20;

/// The limit of a pool that is made by `Pool::default`, in bytes: 256 MiB.
pub const LIMIT_DEFAULT: u64 = 256 << 20;

/// The bytes of a segment of small frames. Few where a tool looks at every step.
pub(crate) const SEGMENT_LEN: usize = if cfg!(frames_loom) {
    2 * FRAME_LEN_MIN
} else if cfg!(miri) {
    64 << 10
} else {
    2 << 20
};

/// Shards of a pool, at most.
pub(crate) const SHARDS_MAX: usize = 64;
/// Frames of one class in a magazine, at most.
pub(crate) const MAGAZINE_FRAMES: usize = if cfg!(frames_loom) { 2 } else { 32 };
/// Bytes of one class in a magazine, at most.
const MAGAZINE_BYTES: usize = 128 << 10;
/// Classes that have magazines: up to 64 KiB.
pub(crate) const MAGAZINE_CLASSES: usize = 8;
/// Frames that go between a magazine and the depot at a time, at most.
pub(crate) const BATCH: usize = MAGAZINE_FRAMES / 2;

const LEN_MIN_LOG2: u32 = FRAME_LEN_MIN.trailing_zeros();

/// A size of frames: 512 bytes times a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class(u8);

impl Class {
    pub(crate) const COUNT: usize = 16;

    pub(crate) fn of(len: usize) -> Result<Class, Error> {
        if !len.is_power_of_two() || !(FRAME_LEN_MIN..=FRAME_LEN_MAX).contains(&len) {
            return Err(Error::Len { len });
        }
        Ok(Class::from_index((len.trailing_zeros() - LEN_MIN_LOG2) as usize))
    }

    /// The lowest four bits of a word say which class its block has.
    pub(crate) fn of_word(word: usize) -> Class {
        Class::from_index(word & (Self::COUNT - 1))
    }

    #[expect(clippy::cast_possible_truncation, reason = "there are 16")]
    fn from_index(index: usize) -> Class {
        Class(index as u8)
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Bytes of a frame.
    pub(crate) fn len(self) -> usize {
        FRAME_LEN_MIN << self.0
    }

    pub(crate) fn segment_len(self) -> usize {
        self.len().max(SEGMENT_LEN)
    }

    /// Blocks of a segment.
    pub(crate) fn blocks(self) -> usize {
        self.segment_len() / self.len()
    }

    /// Which block of its segment lies there.
    pub(crate) fn block_at(self, offset: usize) -> usize {
        offset >> (LEN_MIN_LOG2 + u32::from(self.0))
    }

    /// Frames that a magazine holds; none above 64 KiB.
    pub(crate) fn magazine(self) -> usize {
        if self.index() < MAGAZINE_CLASSES {
            (MAGAZINE_BYTES / self.len()).min(MAGAZINE_FRAMES)
        } else {
            0
        }
    }

    /// Frames that go between magazine and depot at a time: half a magazine, or one.
    pub(crate) fn batch(self) -> usize {
        (self.magazine() / 2).max(1)
    }
}

const _: () = assert!(FRAME_LEN_MIN << (Class::COUNT - 1) == FRAME_LEN_MAX);

#[cfg(all(test, not(any(miri, frames_loom))))]
mod tests {
    use super::*;

    #[test]
    fn a_class_for_each_power_of_two_in_range() {
        for index in 0..Class::COUNT {
            let class = Class::of(512 << index).unwrap();
            assert_eq!((class.index(), class.len()), (index, 512 << index));
            assert_eq!(class.blocks() * class.len(), class.segment_len());
            assert_eq!(class.block_at(class.segment_len() - 1), class.blocks() - 1);
        }
        for len in [0, 1, 256, 511, 513, 4095, 4097, 32 << 20, usize::MAX] {
            assert_eq!(Class::of(len), Err(Error::Len { len }));
        }
    }

    #[test]
    fn a_magazine_keeps_no_more_than_documented() {
        let classes = || (0..Class::COUNT).map(|index| Class::of(512 << index).unwrap());
        assert_eq!(classes().map(|class| class.magazine() * class.len()).sum::<usize>(), 752 << 10);
        assert!(classes().all(|class| class.batch() <= class.magazine().max(1)));
    }
}
