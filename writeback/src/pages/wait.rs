//! Where threads sleep until a page changes: one table for all pages, so a page pays nothing.
//!
//! The table knows nothing of pages. A sleeper names a key (the page's address) and a condition;
//! whoever makes a condition true wakes everybody under that key, and each looks again. The
//! caller's side of the bargain, kept by [`PageState`](crate::pages::state::PageState):
//!
//! * the condition *announces* the sleeper (sets the WAITERS bit) in the same atomic operation
//!   that reads what it looks at, and
//! * the waker changes the state and takes the announcement away in one atomic operation, and
//!   calls [`wake_all`] if there was one.
//!
//! So either the sleeper sees the change, or the waker sees the sleeper; and because the sleeper
//! holds its bucket's lock from the announcement until it sleeps, the waker cannot notify too early.

use crate::primitives::{CHECKED, Condvar, Mutex, static_array};

const BUCKETS: usize = if CHECKED { 2 } else { 64 };

#[derive(Debug)]
#[repr(align(64))]
struct Bucket {
    lock: Mutex<()>,
    wakeup: Condvar,
}

static_array! {
    static TABLE: [Bucket; BUCKETS] of Bucket { lock: Mutex::new(()), wakeup: Condvar::new() };
}

fn bucket(key: u64) -> &'static Bucket {
    // Fibonacci hashing of the key: the high bits are well mixed.
    let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
    &TABLE[usize::from(mixed as u8) % BUCKETS]
}

/// Sleeps until `ready`, which must announce the caller and look at the state in one step.
#[cold]
pub(crate) fn wait_until(key: u64, mut ready: impl FnMut() -> bool) {
    let bucket = bucket(key);
    let mut guard = bucket.lock.lock();
    while !ready() {
        bucket.wakeup.wait(&mut guard);
    }
}

/// Wakes everybody who sleeps under `key`; each looks at its condition again.
#[cold]
pub(crate) fn wake_all(key: u64) {
    let bucket = bucket(key);
    // Taken and released: whoever announced itself is asleep by now.
    drop(bucket.lock.lock());
    bucket.wakeup.notify_all();
}

#[cfg(all(test, not(any(writeback_loom, writeback_shuttle))))]
mod tests {
    use super::*;
    use crate::primitives::{AtomicU32, Ordering, thread};

    #[test]
    fn a_sleeper_is_never_missed() {
        crate::watchdog::watch();
        // Bit 0: the condition; bit 1: somebody sleeps.
        for _ in 0..200 {
            let word = AtomicU32::new(0);
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| wait_until(7, || word.fetch_or(2, Ordering::AcqRel) & 1 == 1));
                }
                if word.fetch_or(1, Ordering::AcqRel) & 2 != 0 {
                    wake_all(7);
                }
                // Late sleepers see the bit that is already set.
            });
        }
    }
}
