//! Collecting as much as is retired.
//!
//! crossbeam-epoch collects once in 128 pins of a thread, and then at most 512 objects. A thread that retires more than four
//! objects a pin would leave garbage behind for good, and ever more of it. So whoever retires also collects, in proportion.

use core::cell::Cell;

use super::Guard;

/// Objects that a thread may retire for one collection: half of what a collection frees at most.
const COLLECT_EVERY: u32 = 256;

thread_local! {
    /// Retired since the last collection; counts on while one is under way.
    static RETIRED: Cell<u32> = const { Cell::new(0) };
    static COLLECTING: Cell<bool> = const { Cell::new(false) };
}

/// Counts one object.
#[inline]
pub(super) fn count() {
    // At a thread's end its garbage is left to the others; the same below.
    let _ = RETIRED.try_with(|retired| retired.set(retired.get().saturating_add(1)));
}

/// Whether it is time to collect. Never under a checker, whose oracle collects whenever it can.
#[inline]
pub(super) fn is_due() -> bool {
    !crate::sync::CHECKED
        && RETIRED.try_with(|retired| retired.get() >= COLLECT_EVERY).unwrap_or(false)
}

/// Collects. The drops of values that this runs may come back here; then it does nothing.
#[cold]
pub(super) fn collect(guard: &Guard) {
    struct Done;
    impl Drop for Done {
        fn drop(&mut self) {
            let _ = COLLECTING.try_with(|collecting| collecting.set(false));
        }
    }
    if COLLECTING.try_with(|collecting| collecting.replace(true)).unwrap_or(true) {
        return;
    }
    let _done = Done;
    let _ = RETIRED.try_with(|retired| retired.set(0));
    guard.flush();
}
