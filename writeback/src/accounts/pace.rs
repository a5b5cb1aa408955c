//! How fast a mapping's store takes pages, and how long its writers pause by that.
//!
//! The rate is taken over the time in which writes are under way, and over no other: while nobody
//! writes, because there is no reason to or because writers pause, nothing is learned, so that no pause makes the
//! rate sink from which the next pause is derived.

use std::time::Duration;

use crate::counters::Counter;
use crate::primitives::{CHECKED, Instant, Mutex};

/// A measurement takes so much time in which writes are under way.
const WINDOW: Duration = Duration::from_millis(20);

/// Shorter pauses are saved up until they are worth a sleep.
const PAUSE_MIN: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
pub(crate) struct Pace {
    rate: Mutex<Rate>,
    /// Pages written well.
    pub(crate) written: Counter,
}

#[derive(Debug, Default)]
struct Rate {
    /// Pages a second; `None`: not measured yet.
    measured: Option<f64>,
    /// Batches that are under way.
    under_way: u64,
    /// When the time began that is not in `busy` yet; `None`: nothing is under way.
    since: Option<Instant>,
    /// Of this measurement: the time in which something was under way, and the pages written in it.
    busy: Duration,
    pages: u64,
    /// When the next writer may go on.
    next: Option<Instant>,
}

impl Pace {
    /// A batch is about to be handed to the store.
    pub(crate) fn begun(&self) {
        // Under a checker time stands still.
        if CHECKED {
            return;
        }
        let mut rate = self.rate.lock();
        rate.under_way += 1;
        rate.since.get_or_insert_with(Instant::now);
    }

    /// A batch has ended, with so many pages written well.
    pub(crate) fn ended(&self, pages: u64) {
        self.written.add(pages);
        if !CHECKED {
            self.rate.lock().ended(pages, Instant::now());
        }
    }

    /// For how long a writer of one page pauses that may go at `speed` times what the store takes: no longer than
    /// the store takes for the pages of which there are too many, because then nobody would have to pause.
    pub(crate) fn pause(
        &self,
        speed: f64,
        too_many: u64,
        max: Duration,
        now: Instant,
    ) -> Option<Duration> {
        let mut rate = self.rate.lock();
        rate.measure(now);
        let measured = rate.measured?;
        let at_most = |seconds: f64| Duration::from_secs_f64(seconds.min(max.as_secs_f64()));
        #[expect(clippy::cast_precision_loss, reason = "a time")]
        let max = at_most(too_many as f64 / measured.max(1e-9));
        let apart = at_most(1.0 / (measured * speed).max(1e-9));
        // Idle time gives no credit for later.
        let next = rate.next.map_or(now, |next| next.max(now)) + apart;
        let next = next.min(now + max);
        rate.next = Some(next);
        Some(next.duration_since(now)).filter(|pause| *pause >= PAUSE_MIN)
    }
}

impl Rate {
    fn ended(&mut self, pages: u64, now: Instant) {
        self.pages += pages;
        self.measure(now);
        self.under_way = self.under_way.saturating_sub(1);
        if self.under_way == 0 {
            self.since = None;
        }
    }

    /// Adds up the time until now and, if it is enough, makes a rate of it.
    fn measure(&mut self, now: Instant) {
        if let Some(since) = self.since {
            self.busy += now.duration_since(since);
            self.since = Some(now);
        }
        if self.busy < WINDOW {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let latest = self.pages as f64 / self.busy.as_secs_f64();
        self.measured = Some(self.measured.map_or(latest, |rate| (3.0 * rate + latest) / 4.0));
        (self.busy, self.pages) = (Duration::ZERO, 0);
    }
}

#[cfg(all(test, not(any(writeback_loom, writeback_shuttle))))]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_millis(200);

    /// A rate measured over `busy_ms` in which `pages` were written.
    fn measured(pace: &Pace, start: Instant, busy_ms: u64, pages: u64) {
        let mut rate = pace.rate.lock();
        rate.under_way += 1;
        rate.since = Some(start);
        rate.ended(pages, start + Duration::from_millis(busy_ms));
    }

    #[test]
    fn nobody_pauses_before_anything_was_written() {
        assert_eq!(Pace::default().pause(1.0, 1, MAX, Instant::now()), None);
    }

    #[test]
    fn time_in_which_nothing_is_under_way_does_not_count() {
        let (pace, start) = (Pace::default(), Instant::now());
        measured(&pace, start, 100, 100); // a page a millisecond
        let much_later = start + Duration::from_secs(3600);
        let pause = pace.pause(1.0, 100, MAX, much_later).unwrap();
        assert_eq!(pause.as_micros(), 1000);
        assert_eq!(pace.rate.lock().measured, Some(1000.0));
    }

    #[test]
    fn a_write_that_does_not_end_slows_its_writers_down() {
        let (pace, start) = (Pace::default(), Instant::now());
        measured(&pace, start, 100, 100);
        let mut rate = pace.rate.lock();
        (rate.under_way, rate.since) = (1, Some(start));
        for second in 1..30 {
            rate.measure(start + Duration::from_secs(second));
        }
        assert!(rate.measured < Some(1.0), "{rate:?}");
    }

    #[test]
    fn writers_queue_for_their_turns_and_no_longer_than_they_must() {
        let (pace, start) = (Pace::default(), Instant::now());
        measured(&pace, start, 100, 1000);
        let now = start + Duration::from_secs(1);
        // 0.1 ms each: the tenth has saved up enough for a sleep.
        let pauses: Vec<_> = (0..10).map(|_| pace.pause(1.0, 100, MAX, now)).collect();
        assert!(pauses[..9].iter().all(Option::is_none) && pauses[9].is_some(), "{pauses:?}");
        assert_eq!(pace.pause(0.0, 10_000, MAX, now), Some(MAX), "at the limit");
        let pause = pace.pause(0.0, 50, MAX, now).unwrap();
        assert_eq!(pause.as_millis(), 5, "by then the store has taken what is too much");
    }
}
