//! Foreign code that may panic, where others need the thread that calls it.

use std::any::Any;
use std::mem::forget;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// So many drops in a row may panic.
const DROPS: usize = 4;

/// Calls it; `None` if it panicked.
///
/// Unwinding must leave nothing of the cache's half done: the caller sees to that.
pub(crate) fn contain<R>(call: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(call)).map_err(discard).ok()
}

/// Drops what something panicked with. That is a foreign value, whose drop may panic in turn, and so on; what does so too often is kept for ever.
pub(crate) fn discard(mut panic: Box<dyn Any + Send>) {
    for _ in 0..DROPS {
        match catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            Ok(()) => return,
            Err(next) => panic = next,
        }
    }
    forget(panic);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics when it is dropped.
    struct Sore;

    impl Drop for Sore {
        fn drop(&mut self) {
            panic!("of what was panicked with");
        }
    }

    #[test]
    fn no_panic_gets_out_not_even_that_of_what_was_panicked_with() {
        assert_eq!(contain(|| 7), Some(7));
        assert!(contain(|| panic!("of foreign code")).is_none());
        assert!(contain(|| std::panic::panic_any(Sore)).is_none());
    }
}
