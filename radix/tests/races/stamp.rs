//! What the trees of the races hold: a number that tells values apart.

#[cfg(not(radix_loom))]
#[derive(Debug)]
pub(crate) struct Stamp(u64);

#[cfg(not(radix_loom))]
impl Stamp {
    pub(crate) fn new(number: u64) -> Stamp {
        Stamp(number)
    }

    pub(crate) fn get(&self) -> u64 {
        self.0
    }
}

/// Under loom in an atomic, which loom panics about if it is read by who cannot know that it has been made.
#[cfg(radix_loom)]
#[derive(Debug)]
pub(crate) struct Stamp(loom::sync::atomic::AtomicU64);

#[cfg(radix_loom)]
impl Stamp {
    pub(crate) fn new(number: u64) -> Stamp {
        Stamp(loom::sync::atomic::AtomicU64::new(number))
    }

    pub(crate) fn get(&self) -> u64 {
        // SAFETY: nobody stores to it; loom panics if it was made later than this or is made at the same time.
        unsafe { self.0.unsync_load() }
    }
}
