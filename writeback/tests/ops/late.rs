//! Writes that end late: when they are told to, or on another thread while an operation waits for them.

use std::process;
use std::thread;

use super::store::{FaultyStore, Inner, Pages};

impl FaultyStore {
    /// Ends one of the late writes of these pages, if there is one.
    pub(crate) fn deliver(&self, which: u8, pages: &Pages) -> bool {
        let mut inner = self.lock();
        let among = inner.kept_of(pages);
        if among.is_empty() {
            return false;
        }
        let kept = inner.kept.remove(among[usize::from(which) % among.len()]);
        drop(inner);
        self.end(kept);
        true
    }

    /// Runs `action`, and ends late writes of these pages on another thread as long as it runs; those left are ended
    /// afterwards.
    pub(crate) fn while_delivering<R>(&self, pages: &Pages, action: impl FnOnce() -> R) -> R {
        let inner = self.lock();
        let Some(order) = inner.late.or((!inner.kept.is_empty()).then_some(0)) else {
            drop(inner);
            return action();
        };
        drop(inner);
        let result = thread::scope(|scope| {
            scope.spawn(|| self.deliver_until_stopped(order, pages));
            let _stop = Stop(self);
            action()
        });
        while self.deliver(order, pages) {}
        result
    }

    fn deliver_until_stopped(&self, order: u8, pages: &Pages) {
        let _abort = AbortOnPanic;
        loop {
            let inner = self.lock();
            let waiting = |inner: &mut Inner| inner.kept_of(pages).is_empty() && !inner.stop;
            let mut inner = self.changed.wait_while(inner, waiting).expect("no panic in the store");
            if inner.stop {
                inner.stop = false;
                return;
            }
            drop(inner);
            self.deliver(order, pages);
        }
    }
}

/// Lets the thread that ends late writes go, also in a panic.
struct Stop<'s>(&'s FaultyStore);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.lock().stop = true;
        self.0.changed.notify_all();
    }
}

/// Ends the process if its thread panics: whoever waits for the write would wait for ever.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("a write could not be ended; run with --nocapture to see why");
            process::abort();
        }
    }
}
