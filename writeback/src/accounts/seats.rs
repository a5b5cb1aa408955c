//! Where the tasks of a mapping wait to dirty a page: in a row, while one thread waits in the place of all of them.
//!
//! The thread waits in the mapping's [queue](super::queue) as any other writer does, and so in its turn with those. What it is let in with goes to the task that has waited
//! longest, and the next is waited for, until nobody is left in the row. Then it waits a little, since whoever writes page after page comes again at once, and ends; whoever sits down next finds that a thread is needed.
//! Which thread that is, and what it is let in with, is not known here.
//!
//! A task that goes away leaves its seat; what it was given and has not taken is dropped with the seat.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::primitives::{Condvar, Instant, Mutex};
use crate::wait::{until, wake_all};

/// The row. Each who waits in it is given one `T`.
#[derive(Debug)]
pub(crate) struct Seats<T> {
    row: Mutex<Row<T>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct Row<T> {
    /// In the order of their numbers.
    waiting: VecDeque<(u64, Arc<Seat<T>>)>,
    next: u64,
    /// A thread waits in their place, or is about to.
    is_served: bool,
}

#[derive(Debug)]
struct Seat<T>(Mutex<Option<T>>);

impl<T> Seat<T> {
    fn key(&self) -> u64 {
        std::ptr::from_ref(self).addr() as u64
    }

    fn give(&self, given: T) {
        *self.0.lock() = Some(given);
        // Whoever found nothing is asleep by now.
        wake_all(self.key());
    }

    fn take(&self) -> Option<T> {
        self.0.lock().take()
    }
}

/// A task in the row.
#[derive(Debug)]
pub(crate) struct Sitting<'s, T> {
    seats: &'s Seats<T>,
    number: u64,
    seat: Arc<Seat<T>>,
}

impl<T> Default for Seats<T> {
    fn default() -> Self {
        let row = Row { waiting: VecDeque::new(), next: 0, is_served: false };
        Self { row: Mutex::new(row), arrived: Condvar::new() }
    }
}

impl<T> Seats<T> {
    /// Takes the last seat of the row. `true`: nobody serves it, and the caller is to see to it that somebody [does](Self::last).
    pub(crate) fn sit(&self) -> (Sitting<'_, T>, bool) {
        let seat = Arc::new(Seat(Mutex::new(None)));
        let mut row = self.row.lock();
        let number = row.next;
        row.next += 1;
        row.waiting.push_back((number, Arc::clone(&seat)));
        let is_needed = !std::mem::replace(&mut row.is_served, true);
        drop(row);
        self.arrived.notify_all();
        (Sitting { seats: self, number, seat }, is_needed)
    }

    /// For whoever serves: the last in the row; `None`: nobody is in it, nor comes in time, and it is not served any more.
    pub(crate) fn last(&self, within: Duration) -> Option<u64> {
        let until = Instant::now() + within;
        let mut row = self.row.lock();
        while row.waiting.is_empty() && Instant::now() < until {
            self.arrived.wait_until(&mut row, until);
        }
        let last = row.waiting.back().map(|(number, _)| *number);
        row.is_served = last.is_some();
        last
    }

    /// Nobody is in the row.
    pub(crate) fn is_empty(&self) -> bool {
        self.row.lock().waiting.is_empty()
    }

    /// To the one that has waited longest. If all have gone, it is dropped.
    pub(crate) fn give(&self, given: T) {
        let first = self.row.lock().waiting.pop_front();
        if let Some((_, seat)) = first {
            seat.give(given);
        }
    }

    /// To each up to the `last`.
    pub(crate) fn give_all(&self, last: u64, given: impl Fn() -> T) {
        let mut row = self.row.lock();
        let behind = row.waiting.partition_point(|(number, _)| *number <= last);
        let seats: Vec<_> = row.waiting.drain(..behind).collect();
        drop(row);
        seats.iter().for_each(|(_, seat)| seat.give(given()));
    }
}

impl<T> Sitting<'_, T> {
    /// Waits until it is given something.
    pub(crate) async fn given(self) -> T {
        let mut given = None;
        until(self.seat.key(), || {
            given = self.seat.take();
            given.is_some()
        })
        .await;
        given.expect("that was waited for")
    }
}

impl<T> Drop for Sitting<'_, T> {
    fn drop(&mut self) {
        let mut row = self.seats.row.lock();
        if let Ok(at) = row.waiting.binary_search_by_key(&self.number, |(number, _)| *number) {
            row.waiting.remove(at);
        }
        drop(row);
        // Without a lock; or it is dropped where it is given, a moment later.
        drop(self.seat.take());
    }
}

#[cfg(all(test, not(any(writeback_loom, writeback_shuttle))))]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::primitives::thread;
    use crate::wait::now;

    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn who_has_waited_longest_is_given_first_and_who_has_gone_nothing() {
        let seats = Seats::default();
        let [(first, is_needed), (gone, again), (third, _), (fourth, _)] =
            [(); 4].map(|()| seats.sit());
        assert!(is_needed && !again, "one thread for all");
        let (mut first, mut gone) = (pin!(first.given()), Box::pin(gone.given()));
        let (mut third, mut fourth) = (pin!(third.given()), pin!(fourth.given()));
        assert!(poll(&mut first).is_pending() && poll(&mut gone).is_pending());
        assert!(poll(&mut third).is_pending() && poll(&mut fourth).is_pending());
        drop(gone);
        (0..2).for_each(|given| seats.give(given));
        assert_eq!((poll(&mut first), poll(&mut third)), (Poll::Ready(0), Poll::Ready(1)));
        assert!(poll(&mut fourth).is_pending());
        assert_eq!(seats.last(Duration::ZERO), Some(3));
        seats.give(2);
        assert_eq!(poll(&mut fourth), Poll::Ready(2));
        assert_eq!(seats.last(Duration::ZERO), None);
        assert!(seats.is_empty() && seats.sit().1, "it is served no more");
    }

    #[test]
    fn all_up_to_the_last_are_told() {
        let seats = Seats::default();
        let [(one, _), (two, _)] = [(); 2].map(|()| seats.sit());
        let last = seats.last(Duration::ZERO).expect("two wait");
        let (late, _) = seats.sit();
        seats.give_all(last, || "no room");
        assert_eq!((now(one.given()), now(two.given())), ("no room", "no room"));
        assert!(poll(&mut pin!(late.given())).is_pending());
    }

    #[test]
    fn what_was_given_and_not_taken_is_dropped() {
        let (seats, given) = (Seats::default(), Arc::new(()));
        let (sitting, _) = seats.sit();
        seats.give(Arc::clone(&given));
        drop(sitting);
        seats.give(Arc::clone(&given)); // To nobody.
        assert_eq!(Arc::strong_count(&given), 1);
    }

    #[test]
    fn a_row_that_fills_and_empties_is_always_served() {
        const TASKS: u64 = 4;
        crate::watchdog::watch();
        let seats = Seats::default();
        thread::scope(|scope| {
            for _ in 0..TASKS {
                scope.spawn(|| {
                    for round in 0..500_u64 {
                        let (sitting, is_needed) = seats.sit();
                        let (seats, linger) = (&seats, Duration::from_micros(round % 5 * 50));
                        if is_needed {
                            scope.spawn(move || {
                                while seats.last(linger).is_some() {
                                    seats.give(());
                                }
                            });
                        }
                        match round % 3 {
                            0 => drop(sitting),
                            _ => now(sitting.given()),
                        }
                    }
                });
            }
        });
        assert_eq!(seats.last(Duration::ZERO), None);
    }
}
