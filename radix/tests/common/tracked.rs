//! Values that know their index and notice when they are dropped twice or read after their drop.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

const ALIVE: u64 = 0x0a11_4e00_600d_da7a;
const DROPPED: u64 = 0xdead_0bad_dead_0bad;

/// Counts the values made and dropped in one test. Aligned so that it is not of a compact leaf's size, see `nodes`.
#[derive(Debug, Default)]
#[repr(align(16))]
pub(crate) struct Ledger {
    made: AtomicU64,
    dropped: AtomicU64,
    faults: AtomicU64,
}

impl Ledger {
    /// A ledger that outlives every value, also one that is never dropped.
    pub(crate) fn new() -> &'static Ledger {
        /// Where a leak detector finds them.
        static ALL: Mutex<Vec<&'static Ledger>> = Mutex::new(Vec::new());
        let ledger: &'static Ledger = Box::leak(Box::default());
        ALL.lock().expect("nothing panics here").push(ledger);
        ledger
    }

    pub(crate) fn value(&'static self, index: u64, stamp: u64) -> Tracked {
        self.made.fetch_add(1, SeqCst);
        Tracked { life: AtomicU64::new(ALIVE), index, stamp, ledger: self }
    }

    pub(crate) fn made(&self) -> u64 {
        self.made.load(SeqCst)
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(SeqCst)
    }

    /// Number of values that live now.
    pub(crate) fn live(&self) -> u64 {
        self.made() - self.dropped()
    }

    /// Waits until all values but `live` were dropped; fails if that takes too long, if more
    /// were dropped, or if any was dropped twice.
    pub(crate) fn settle(&self, live: u64) {
        drain(|| self.live() <= live);
        assert_eq!(self.live(), live, "values alive of {} made", self.made());
        assert_eq!(self.faults.load(SeqCst), 0, "values dropped twice");
    }
}

/// A value with its index, a stamp of the test's choice, and a word that says whether it lives.
#[derive(Debug)]
pub(crate) struct Tracked {
    life: AtomicU64,
    index: u64,
    stamp: u64,
    ledger: &'static Ledger,
}

impl Tracked {
    /// Asserts that this is a live value stored at `index`, and returns its stamp.
    pub(crate) fn stamp_at(&self, index: u64) -> u64 {
        assert_eq!(self.life.load(SeqCst), ALIVE, "value of {index} was dropped while in reach");
        assert_eq!(self.index, index, "value of another index");
        self.stamp
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        if self.life.swap(DROPPED, SeqCst) != ALIVE {
            self.ledger.faults.fetch_add(1, SeqCst);
        }
        self.ledger.dropped.fetch_add(1, SeqCst);
    }
}

/// Lets reclamation go on until `done`; fails the test if that does not come.
pub(crate) fn drain(done: impl Fn() -> bool) {
    let deadline = Instant::now() + super::watchdog::patience();
    while !done() {
        assert!(Instant::now() < deadline, "retired memory was not reclaimed in time");
        tagged_radix::pin().flush();
        std::thread::sleep(Duration::from_micros(200));
    }
}
