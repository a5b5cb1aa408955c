//! Ends of one mapping that are being told: until one is over, it has the mapping.
//!
//! Whoever is woken by an end may drop the last reference to the mapping but the one that the end has, and with that one the store goes, a moment later and on another thread. Then a
//! file that was closed is still locked. So whoever closes a mapping waits for the ends that are being told, which is that moment.
//!
//! An end is [entered](Ends::enter) before anybody can know of it, and left when all that it had is dropped. What is only asked for, and has not ended, is not waited for.
//!
//! To tell an end is to call foreign code, wakers and observers, which may wait for what the closer has, or take its time. So the wait has an [end](PATIENCE) of its own, and whoever closes a
//! mapping while it tells an end itself, of whichever mapping, does not wait at all: two might wait for each other.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use crate::primitives::{CHECKED, Condvar, HintU64, Instant, Mutex, Ordering, local};

/// So long a closer waits.
const PATIENCE: Duration = Duration::from_secs(1);

/// Of a mapping.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    being_told: HintU64,
    /// Closers that wait.
    waiting: HintU64,
    bell: Mutex<()>,
    none: Condvar,
}

/// An end that is being told, by this thread.
#[derive(Debug)]
pub(crate) struct BeingTold(Arc<Ends>);

local! {
    // How many this thread is telling.
    static TELLS: Cell<u32> = Cell::new(0);
}

impl Ends {
    /// A checker has no files, and looks at the protocols of pages instead.
    pub(crate) fn enter(self: Arc<Self>) -> BeingTold {
        if !CHECKED {
            self.being_told.fetch_add(1, Ordering::SeqCst);
            TELLS.with(|tells| tells.set(tells.get() + 1));
        }
        BeingTold(self)
    }

    /// Waits until none is being told.
    pub(crate) fn wait(&self) {
        if CHECKED || TELLS.with(Cell::get) > 0 {
            return;
        }
        let until = Instant::now() + PATIENCE;
        // SeqCst: of a closer and the last end, one sees the other.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut bell = self.bell.lock();
        while self.being_told.load(Ordering::SeqCst) > 0 && Instant::now() < until {
            self.none.wait_until(&mut bell, until);
        }
        drop(bell);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for BeingTold {
    fn drop(&mut self) {
        if CHECKED {
            return;
        }
        TELLS.with(|tells| tells.set(tells.get() - 1));
        let Self(ends) = self;
        let is_last = ends.being_told.fetch_sub(1, Ordering::SeqCst) == 1;
        if is_last && ends.waiting.load(Ordering::SeqCst) > 0 {
            // Whoever has looked before that sleeps by now.
            drop(ends.bell.lock());
            ends.none.notify_all();
        }
    }
}

#[cfg(all(test, not(any(writeback_loom, writeback_shuttle))))]
mod tests {
    use super::*;
    use crate::primitives::thread;
    use std::sync::mpsc::channel;

    #[test]
    fn whoever_closes_waits_for_others_and_not_for_itself_nor_for_ever() {
        let ends = Arc::<Ends>::default();
        let wait = || {
            let begun = Instant::now();
            ends.wait();
            begun.elapsed()
        };
        let own = Arc::clone(&ends).enter();
        assert!(wait() < PATIENCE, "its own end");
        drop(own);
        assert!(wait() < PATIENCE, "none");
        let ((tell, told), (go, gone)) = (channel(), channel::<()>());
        let other = Arc::clone(&ends);
        let tells = thread::spawn(move || {
            let end = other.enter();
            let _ = tell.send(());
            let _ = gone.recv();
            drop(end);
        });
        told.recv().expect("it tells");
        assert!(wait() >= PATIENCE, "one that does not come to its end");
        thread::scope(|scope| {
            let waits = scope.spawn(wait);
            thread::sleep(Duration::from_millis(5));
            drop(go);
            assert!(waits.join().expect("no panic") < PATIENCE, "one that ends");
        });
        tells.join().expect("no panic");
    }
}
