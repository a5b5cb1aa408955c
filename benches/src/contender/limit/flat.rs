//! An array with a slot for every key there could be, and a bitmap for each tag.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::bitmap::Bitmap;
use super::{Ability, Filter, Index, Mark, value_of};
use crate::contender::narrow;

/// `Vec<AtomicPtr>` and two [`Bitmap`]s.
pub(super) struct Flat {
    slots: Vec<AtomicPtr<u64>>,
    dirty: Bitmap,
    to_write: Bitmap,
}

impl Flat {
    #[inline]
    fn slot(&self, key: u64) -> u64 {
        let slot = self.slots.get(narrow(key));
        slot.map_or(0, |slot| slot.load(Ordering::Acquire).addr() as u64)
    }

    fn tags(&self, mark: Mark) -> &Bitmap {
        match mark {
            Mark::Dirty => &self.dirty,
            Mark::ToWrite => &self.to_write,
        }
    }

    /// The bits of `word` that `filter` lets through.
    #[inline]
    fn chosen(&self, filter: Filter, word: usize) -> u64 {
        let dirty = self.dirty.words()[word].load(Ordering::Acquire);
        match filter {
            Filter::Dirty => dirty,
            Filter::DirtyOnly => dirty & !self.to_write.words()[word].load(Ordering::Acquire),
        }
    }
}

impl Index for Flat {
    const ABILITIES: &'static [Ability] =
        &[Ability::Map, Ability::Iterate, Ability::Scan, Ability::Tag, Ability::TagRange];

    type Read<'a> = &'a Flat;
    type Write<'a> = &'a Flat;

    fn with_key_bits(key_bits: u32) -> Flat {
        let slots = (0..1_u64 << key_bits).map(|_| AtomicPtr::default()).collect();
        Flat { slots, dirty: Bitmap::new(key_bits), to_write: Bitmap::new(key_bits) }
    }

    #[inline]
    fn read(&self) -> &Flat {
        self
    }

    #[inline]
    fn write(&self) -> &Flat {
        self
    }

    #[inline]
    fn get(this: &&Flat, key: u64) -> u64 {
        this.slot(key)
    }

    #[inline]
    fn insert(this: &mut &Flat, key: u64) {
        let value = ptr::from_ref(value_of(key)).cast_mut();
        this.slots[narrow(key)].store(value, Ordering::Release);
    }

    #[inline]
    fn remove(this: &mut &Flat, key: u64) -> bool {
        this.dirty.remove(key);
        !this.slots[narrow(key)].swap(ptr::null_mut(), Ordering::AcqRel).is_null()
    }

    fn iterate(this: &&Flat, visit: impl FnMut(u64, u64)) {
        Flat::scan(this, 0, this.slots.len(), visit);
    }

    #[inline]
    fn scan(this: &&Flat, from: u64, count: usize, mut visit: impl FnMut(u64, u64)) {
        let slots = this.slots[narrow(from)..].iter().map(|slot| slot.load(Ordering::Acquire));
        let entries = (from..).zip(slots).filter(|(_, slot)| !slot.is_null());
        entries.take(count).for_each(|(key, slot)| visit(key, slot.addr() as u64));
    }

    #[inline]
    fn set(this: &mut &Flat, key: u64, check: bool) -> bool {
        (!check || this.slot(key) != 0) && this.dirty.insert(key)
    }

    #[inline]
    fn clear(this: &mut &Flat, key: u64, check: bool) -> bool {
        (!check || this.slot(key) != 0) && this.dirty.remove(key)
    }

    #[inline]
    fn gang<const N: usize>(
        &self,
        filter: Filter,
        from: u64,
        mut visit: impl FnMut(u64, u64),
    ) -> Option<u64> {
        let mut left = N;
        let mut mask = u64::MAX << (from % 64);
        let mut start = narrow(from / 64);
        while let Some(word) = self.dirty.next_word(start) {
            let mask_here = if word == narrow(from / 64) { mask } else { u64::MAX };
            let mut bits = self.chosen(filter, word) & mask_here;
            while bits != 0 {
                let key = word as u64 * 64 + u64::from(bits.trailing_zeros());
                if left == 0 {
                    return Some(key);
                }
                visit(key, self.slot(key));
                left -= 1;
                bits &= bits - 1;
            }
            mask = u64::MAX;
            start = word + 1;
        }
        None
    }

    // The entries fill the lower half of the array, or all of it: it need not look which keys are there.
    fn tag_range(this: &mut &Flat, mark: Mark, on: bool, from: u64) {
        let occupied = this.slots.partition_point(|slot| !slot.load(Ordering::Acquire).is_null());
        let tags = this.tags(mark);
        for word in narrow(from / 64)..occupied.div_ceil(64) {
            let below = if word == narrow(from / 64) { u64::MAX << (from % 64) } else { u64::MAX };
            if on {
                tags.insert_word(word, below);
            } else {
                tags.remove_word(word, below);
            }
        }
    }

    fn count(this: &&Flat) -> u64 {
        let ones = |word: usize| u64::from(this.chosen(Filter::Dirty, word).count_ones());
        (0..this.dirty.words().len()).map(ones).sum()
    }

    fn retag(this: &mut &Flat) -> u64 {
        let mut changed = 0;
        let mut start = 0;
        while let Some(word) = this.dirty.next_word(start) {
            let dirty = this.chosen(Filter::Dirty, word);
            changed += u64::from(this.to_write.insert_word(word, dirty).count_ones());
            start = word + 1;
        }
        changed
    }
}
