//! Values that are being made for absent indices: of the calls that want one for the same index, one makes it and the others wait.
//! `flight` does not know trees nor values.
//!
//! A call opens a *flight* for its index, looks once more whether there is an entry, makes the value, inserts it, and ends the flight. One that finds
//! the flight of another call waits until it has ended, and looks again. What holds:
//!
//! * **One**: no two flights of an index are open at the same time.
//! * **Again**: who has opened a flight looks for the entry afterwards. One that was absent before may have been inserted by a flight
//!   that ended in between.
//! * **Last**: a flight ends when its value is in the tree; or without one, if the making panics. Then one of those who waited makes it.
//! * **Free**: a thread with an open flight, of any tree, waits for none. So there is no circle of flights that wait for each
//!   other, nor one that waits for itself: a call from within a maker makes a value of its own where another call is making one, and the
//!   first that is inserted stays.

use core::cell::Cell;
use std::sync::PoisonError;

use crate::sync::{Condvar, Mutex, MutexGuard, const_unless_checked, thread_local};

thread_local! {
    /// How many flights this thread has open.
    #[allow(clippy::missing_const_for_thread_local, reason = "a checker's macro takes no constant")]
    static OPEN: Cell<usize> = Cell::new(0);
}

/// The flights of one tree.
#[derive(Debug)]
pub(crate) struct Flights {
    /// No code of the user runs while it is held.
    open: Mutex<Open>,
    landed: Condvar,
}

#[derive(Debug)]
struct Open {
    indices: Vec<u64>,
    waiting: usize,
}

/// What a call that wants a value is to do.
#[derive(Debug)]
pub(crate) enum Joined<'f> {
    /// Look again, and make the value if there is none.
    Maker(Flight<'f>),
    /// Look again: another call has made it, or given up.
    Landed,
    /// Make a value beside another call that is making one.
    Beside,
}

/// An open flight. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Flight<'f> {
    flights: &'f Flights,
    index: u64,
}

impl Flights {
    const_unless_checked! {
        pub(crate) const fn new() -> Flights {
            let open = Open { indices: Vec::new(), waiting: 0 };
            Flights { open: Mutex::new(open), landed: Condvar::new() }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a flight for `index`, or waits for the end of the one that is open.
    pub(crate) fn join(&self, index: u64) -> Joined<'_> {
        let mut open = self.lock();
        if !open.indices.contains(&index) {
            open.indices.push(index);
            count(|flights| flights + 1);
            return Joined::Maker(Flight { flights: self, index });
        }
        if count(|flights| flights) > 0 {
            return Joined::Beside;
        }
        while open.indices.contains(&index) {
            open.waiting += 1;
            open = self.landed.wait(open).unwrap_or_else(PoisonError::into_inner);
            open.waiting -= 1;
        }
        Joined::Landed
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut open = self.flights.lock();
        open.indices.retain(|index| *index != self.index);
        count(|flights| flights - 1);
        if open.waiting > 0 {
            self.flights.landed.notify_all();
        }
    }
}

/// Changes the number of flights that this thread has open; returns the new one.
fn count(change: impl FnOnce(usize) -> usize) -> usize {
    OPEN.with(|open| {
        open.set(change(open.get()));
        open.get()
    })
}
