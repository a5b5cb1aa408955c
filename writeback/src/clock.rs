//! The time a mapping lives by: the system's, or one that a test moves by hand.

use std::sync::Arc;
use std::time::Duration;

use self::ticks::Ticks;
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
    System(Instant, Ticks),
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
        Self(Source::System(Instant::now(), Ticks::now()))
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
            Source::System(..) => panic!("the system's clock cannot be moved"),
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
            Source::System(start, _) => start.elapsed(),
            Source::Manual(now) => Duration::from_millis(now.load(Ordering::Relaxed)),
        }
    }

    #[cfg(feature = "fault")]
    pub(crate) fn is_manual(&self) -> bool {
        matches!(self.0, Source::Manual(_))
    }

    /// The same in milliseconds, as of the system's last tick, which is some of them ago. To be compared with other times of this kind only.
    pub(crate) fn now_ms(&self) -> u64 {
        millis(match &self.0 {
            Source::System(_, start) => start.elapsed(),
            Source::Manual(_) => self.now(),
        })
    }
}

/// A clock that is looked at whenever a page becomes dirty or is written.
#[cfg(not(any(writeback_loom, writeback_shuttle)))]
mod ticks {
    use std::time::Duration;

    #[derive(Debug, Clone, Copy)]
    pub(super) struct Ticks(Duration);

    impl Ticks {
        pub(super) fn now() -> Self {
            Self(page_frames::ticks())
        }

        pub(super) fn elapsed(self) -> Duration {
            page_frames::ticks().saturating_sub(self.0)
        }
    }
}

/// Time stands still there.
#[cfg(any(writeback_loom, writeback_shuttle))]
mod ticks {
    pub(super) use crate::primitives::Instant as Ticks;
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

#[cfg(all(test, not(any(writeback_loom, writeback_shuttle))))]
mod tests {
    use super::*;
    use crate::primitives::thread;

    #[test]
    fn ticks_go_on_as_the_clock_does() {
        let clock = Clock::system();
        thread::sleep(Duration::from_millis(60));
        let (ticks, exact) = (clock.now_ms(), millis(clock.now()));
        // A tick takes ten milliseconds at the most, and each end may lie within one.
        assert!(ticks + 20 >= 60 && ticks <= exact + 10, "{ticks} of {exact}");
    }
}
