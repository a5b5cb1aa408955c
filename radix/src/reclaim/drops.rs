//! Drops of values: the user's code, which may do anything, and panic.

use core::any::Any;
use core::panic::AssertUnwindSafe;
use core::ptr::NonNull;
use std::panic::{catch_unwind, resume_unwind};

/// A value that has left its tree and that nobody can see any more.
#[derive(Debug)]
pub(crate) struct Doomed {
    word: NonNull<()>,
    drop: unsafe fn(NonNull<()>),
}

impl Doomed {
    /// The value behind `word`, which `drop` drops.
    ///
    /// # Safety
    /// `drop` of `word` must be sound to run once, at any later time, on the present thread.
    pub(crate) unsafe fn new(word: NonNull<()>, drop: unsafe fn(NonNull<()>)) -> Doomed {
        Doomed { word, drop }
    }

    pub(super) fn drop(self) {
        // SAFETY: the word of the caller of `new`; `self` is gone then.
        unsafe { (self.drop)(self.word) }
    }
}

/// Runs a drop; returns what it panicked with, if it did.
fn caught(drop: impl FnOnce()) -> Option<Box<dyn Any + Send>> {
    // A value whose drop panicked is not used again.
    catch_unwind(AssertUnwindSafe(drop)).err()
}

/// Runs a drop of which a panic is to go no further: the panic hook has told of it.
#[cfg(not(any(radix_loom, radix_shuttle)))]
pub(super) fn contain(drop: impl FnOnce()) {
    if let Some(panic) = caught(drop) {
        forget(panic);
    }
}

/// Lets go of what a drop panicked with.
fn forget(panic: Box<dyn Any + Send>) {
    // Its type may have a drop that panics, too.
    if let Some(again) = caught(|| drop(panic)) {
        core::mem::forget(again);
    }
}

/// Runs many drops, none of which keeps the others from running, and then gives the first panic to the caller.
#[derive(Default)]
pub(crate) struct Drops {
    panic: Option<Box<dyn Any + Send>>,
}

impl Drops {
    pub(crate) fn run(&mut self, drop: impl FnOnce()) {
        let Some(panic) = caught(drop) else { return };
        if self.panic.is_none() {
            self.panic = Some(panic);
        } else {
            forget(panic);
        }
    }

    /// Goes on with the first panic, if there was one and the thread is not panicking already: two would end the process.
    pub(crate) fn finish(self) {
        match self.panic {
            Some(panic) if crate::sync::panicking() => forget(panic),
            Some(panic) => resume_unwind(panic),
            None => {}
        }
    }
}
