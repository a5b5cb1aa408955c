//! The error sequence: every handle learns of every error once.
//!
//! A mapping has one [`ErrorSequence`]; each handle has a [`Cursor`] into it. Recording an error
//! moves the sequence on if anybody has seen the current one; a handle whose cursor differs has
//! something to report. Several errors between two checks collapse into the latest. This layer
//! does not know what the errors are about.

use crate::error::StoreError;
use crate::primitives::{AtomicU64, HintU64, Mutex, Ordering};

/// Where a handle stands in an [`ErrorSequence`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cursor(u64);

#[derive(Debug)]
struct Latest {
    /// Counts errors as handles see them: those recorded before anybody looked are one.
    sequence: u64,
    seen: bool,
    /// Counts every error.
    recorded: u64,
    error: Option<StoreError>,
}

/// The errors of one mapping, as far as someone still has to be told.
#[derive(Debug)]
pub(crate) struct ErrorSequence {
    latest: Mutex<Latest>,
    /// As in `latest`, for whoever only asks whether there is anything new.
    recorded: HintU64,
    /// Writes whose error is recorded, or about to be, and that are not yet seen to have ended.
    ending: AtomicU64,
}

impl ErrorSequence {
    pub(crate) fn new() -> Self {
        let latest = Latest { sequence: 0, seen: true, recorded: 0, error: None };
        Self { latest: Mutex::new(latest), recorded: HintU64::new(0), ending: AtomicU64::new(0) }
    }

    /// Records the `error` that `writes` failed with as one. Must come before any of them is seen to
    /// have ended (I-ERROR-FIRST); when that is so, [`ended`](Self::ended) must be called, for each.
    pub(crate) fn record(&self, error: StoreError, writes: u64) {
        // First, and Relaxed: who is told of the error, under the lock, sees it counted here.
        self.ending.fetch_add(writes, Ordering::Relaxed);
        let mut latest = self.latest.lock();
        if latest.seen {
            latest.sequence += 1;
            latest.seen = false;
        }
        latest.recorded += 1;
        self.recorded.store(latest.recorded, Ordering::Relaxed);
        let former = latest.error.replace(error);
        // What it says may be the caller's, who may ask for errors when that goes.
        drop(latest);
        drop(former);
    }

    /// A write that failed with a recorded error is seen to have ended.
    pub(crate) fn ended(&self) {
        // Release: who finds nothing ending any more sees how it ended.
        let before = self.ending.fetch_sub(1, Ordering::Release);
        debug_assert!(before > 0, "ended without an error");
    }

    /// Tells whether something has failed, and its error may have been told, that is not yet seen to
    /// have ended.
    pub(crate) fn any_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire) > 0
    }

    /// The cursor of a handle opened now. An error that nobody has been told yet is still news
    /// to it, so that an error met before the first handle was opened is not lost.
    pub(crate) fn sample(&self) -> Cursor {
        let latest = self.latest.lock();
        Cursor(if latest.seen { latest.sequence } else { latest.sequence - 1 })
    }

    /// The error recorded after `since`, if any, and where to look from next time.
    pub(crate) fn check(&self, since: Cursor) -> (Cursor, Option<StoreError>) {
        let mut latest = self.latest.lock();
        let now = Cursor(latest.sequence);
        if now == since {
            return (now, None);
        }
        latest.seen = true;
        (now, latest.error.clone())
    }

    /// How many errors there have been.
    pub(crate) fn recorded(&self) -> u64 {
        self.latest.lock().recorded
    }

    /// The same without the lock: of another thread's errors some may be missing.
    pub(crate) fn recorded_about(&self) -> u64 {
        self.recorded.load(Ordering::Relaxed)
    }

    /// The latest error, if there were more than `recorded`. Tells nobody: for internal callers.
    pub(crate) fn latest_after(&self, recorded: u64) -> Option<StoreError> {
        let latest = self.latest.lock();
        latest.error.clone().filter(|_| latest.recorded > recorded)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn each_cursor_is_told_once() {
        let errors = ErrorSequence::new();
        let (a, b) = (errors.sample(), errors.sample());
        assert!(errors.check(a).1.is_none());
        errors.record(StoreError::NoSpace, 1);
        let (a, told) = errors.check(a);
        assert!(matches!(told, Some(StoreError::NoSpace)));
        assert!(errors.check(a).1.is_none());
        let (b, told) = errors.check(b);
        assert!(told.is_some());
        assert!(errors.check(b).1.is_none());
    }

    #[test]
    fn an_unseen_error_is_news_to_the_next_handle_and_a_seen_one_is_not() {
        let errors = ErrorSequence::new();
        errors.record(StoreError::Lost, 1);
        let first = errors.sample();
        assert!(errors.latest_after(0).is_some() && errors.latest_after(1).is_none());
        assert!(errors.check(first).1.is_some());
        let second = errors.sample();
        assert!(errors.check(second).1.is_none());
    }

    #[test]
    fn an_error_may_ask_for_errors_when_it_goes() {
        #[derive(Debug)]
        struct Asks(Arc<ErrorSequence>);
        impl std::fmt::Display for Asks {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("asks")
            }
        }
        impl std::error::Error for Asks {}
        impl Drop for Asks {
            fn drop(&mut self) {
                assert!(self.0.latest.try_lock().is_some(), "it would wait for its own thread");
            }
        }
        let errors = Arc::new(ErrorSequence::new());
        errors.record(std::io::Error::other(Asks(Arc::clone(&errors))).into(), 1);
        errors.record(StoreError::Lost, 1);
        assert!(matches!(errors.latest_after(1), Some(StoreError::Lost)));
    }

    #[test]
    fn errors_between_two_checks_collapse_into_the_latest() {
        let errors = ErrorSequence::new();
        let cursor = errors.sample();
        errors.record(StoreError::Lost, 1);
        errors.record(StoreError::NoSpace, 1);
        let (cursor, told) = errors.check(cursor);
        assert!(matches!(told, Some(StoreError::NoSpace)));
        errors.record(StoreError::Lost, 1);
        assert!(matches!(errors.check(cursor).1, Some(StoreError::Lost)));
    }
}
