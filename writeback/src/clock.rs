//! The time a mapping lives by: the system's, or one that a test moves by hand.

use std::sync::Arc;
use std::time::Duration;

use crate::primitives::{HintU64, Instant, Ordering};

/// A monotonic clock that counts from its own creation.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use writeback::Clock;
///
/// let clock = Clock::manual();
/// clock.advance(Duration::from_secs(31));
/// assert_eq!(clock.now(), Duration::from_secs(31));
/// ```
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System(Instant),
    Manual(Arc<HintU64>),
}

impl Clock {
    /// The system's monotonic clock.
    ///
    /// # Examples
    /// ```
    /// use writeback::Clock;
    ///
    /// let clock = Clock::system();
    /// assert!(clock.now() <= clock.now());
    /// ```
    pub fn system() -> Self {
        Self(Source::System(Instant::now()))
    }

    /// A clock that stands at zero until it is moved; clones share it.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use writeback::Clock;
    ///
    /// assert_eq!(Clock::manual().now(), Duration::ZERO);
    /// ```
    pub fn manual() -> Self {
        Self(Source::Manual(Arc::new(HintU64::new(0))))
    }

    /// Moves a manual clock on, by whole milliseconds.
    ///
    /// # Panics
    /// If this is the system's clock.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use writeback::Clock;
    ///
    /// let (clock, second) = (Clock::manual(), Duration::from_secs(1));
    /// clock.clone().advance(second);
    /// assert_eq!(clock.now(), second);
    /// ```
    pub fn advance(&self, by: Duration) {
        match &self.0 {
            // Relaxed: a clock orders nothing.
            Source::Manual(now) => now.fetch_add(millis(by), Ordering::Relaxed),
            Source::System(_) => panic!("the system's clock cannot be moved"),
        };
    }

    /// How long ago the clock was created.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use writeback::Clock;
    ///
    /// assert!(Clock::system().now() < Duration::from_secs(60));
    /// ```
    pub fn now(&self) -> Duration {
        match &self.0 {
            Source::System(start) => start.elapsed(),
            Source::Manual(now) => Duration::from_millis(now.load(Ordering::Relaxed)),
        }
    }

    #[cfg(feature = "fault")]
    pub(crate) fn is_manual(&self) -> bool {
        matches!(self.0, Source::Manual(_))
    }

    pub(crate) fn now_ms(&self) -> u64 {
        millis(self.now())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

/// `duration` in milliseconds, as far as they fit.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
