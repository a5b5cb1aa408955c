//! What an engine hangs into the cache: its [log](Log), the [seal](Seal) of its pages, and who
//! [observes](Observer) it.
//!
//! A hook is code of the engine's that the cache calls at a point of a page's life. What they have in
//! common is here: no hook is called under a content latch or in a section of the index, no hook can
//! keep a page from being decided, and a hook that panics has failed, no more.

#[cfg(feature = "crc32c")]
mod crc32c;
mod log;
#[cfg(feature = "metrics")]
mod metrics;
mod observer;
mod order;
mod seal;
pub(crate) mod trace;

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[cfg(feature = "crc32c")]
pub use crc32c::Crc32c;
pub(crate) use log::Reserved;
pub use log::{Log, LogHold, LoggedChange};
#[cfg(feature = "metrics")]
pub use metrics::Metrics;
pub use observer::{Observer, ReadEvent, WriteEvent};
pub(crate) use observer::{Observers, untold};
pub(crate) use order::Order;
pub use seal::Seal;
pub(crate) use seal::Sealer;

use crate::panics::discard;

/// Calls a hook. If it panics, it has failed.
///
/// Unwinding leaves nothing of the cache's half done: a hook is given values of its own.
pub(crate) fn contain<R>(hook: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
    catch_unwind(AssertUnwindSafe(hook)).unwrap_or_else(|panic| {
        let error = panicked(&*panic);
        discard(panic);
        Err(error)
    })
}

#[cold]
fn panicked(panic: &(dyn Any + Send)) -> io::Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    io::Error::other(format!("the hook panicked: {}", text.unwrap_or("no message")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_that_says_what_it_said() {
        let failed = |error: io::Result<()>| error.unwrap_err().to_string();
        assert!(failed(contain(|| panic!("plain"))).ends_with("panicked: plain"));
        assert!(failed(contain(|| panic!("number {}", 7))).ends_with("panicked: number 7"));
        assert!(failed(contain(|| std::panic::panic_any(7))).ends_with("panicked: no message"));
        assert_eq!(contain(|| Ok(7)).unwrap(), 7);
    }

    #[test]
    fn what_it_panicked_with_may_panic_when_it_is_dropped() {
        struct Sore;
        impl Drop for Sore {
            fn drop(&mut self) {
                panic!("of what was panicked with");
            }
        }
        contain::<()>(|| std::panic::panic_any(Sore)).unwrap_err();
    }
}
