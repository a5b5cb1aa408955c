//! Collecting as much as is retired.
//!
//! crossbeam-epoch collects once in 128 pins of a thread, and then at most 512 objects. A thread that retires more than four
//! objects a pin would leave garbage behind for good, and ever more of it. So whoever retires also collects, in proportion.

use core::cell::Cell;

/// Objects that a thread may retire for one collection: half of what a collection frees at most.
const COLLECT_EVERY: u32 = 256;

thread_local! {
    static RETIRED: Cell<u32> = const { Cell::new(0) };
    static COLLECTING: Cell<bool> = const { Cell::new(false) };
}

/// Counts what a guard has retired; returns how many collections are due.
#[inline]
pub(super) fn settle(retired: u32) -> u32 {
    // A checker's oracle collects whenever it can.
    if crate::sync::CHECKED {
        return 0;
    }
    let owed = RETIRED.try_with(|sum| {
        let all = sum.get().saturating_add(retired);
        sum.set(all % COLLECT_EVERY);
        all / COLLECT_EVERY
    });
    // At a thread's end its garbage is left to the others.
    owed.unwrap_or(0)
}

/// Collects so many times. The drops of values that this runs may come back here; then it does nothing.
#[cold]
pub(super) fn pay(owed: u32) {
    struct Done;
    impl Drop for Done {
        fn drop(&mut self) {
            COLLECTING.set(false);
        }
    }
    if owed == 0 || COLLECTING.replace(true) {
        return;
    }
    let _done = Done;
    for _ in 0..owed {
        // Pinned anew each time: a pin holds up all advances of the epoch but one.
        super::epoch::pin().flush();
    }
}
