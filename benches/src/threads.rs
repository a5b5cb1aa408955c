//! Threads that start together.

use std::hint;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Lets nobody pass until all are there. Spins: a thread that sleeps starts microseconds late.
#[derive(Debug)]
struct Line(AtomicUsize);

impl Line {
    fn wait(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
        let mut tries = 0_u32;
        while self.0.load(Ordering::Acquire) > 0 {
            tries += 1;
            if tries.is_multiple_of(10_000) { thread::yield_now() } else { hint::spin_loop() }
        }
    }
}

/// Runs `warm_up` and then `work` on each of that many threads; nobody starts to work before all are warm. Returns the wall
/// time from the first start to the last end, and what the threads returned.
///
/// # Panics
/// If a thread does.
pub fn together<T: Send>(
    threads: usize,
    warm_up: impl Fn(usize) + Sync,
    work: impl Fn(usize) -> T + Sync,
) -> (Duration, Vec<T>) {
    let line = Line(AtomicUsize::new(threads));
    let run = |thread| {
        warm_up(thread);
        line.wait();
        let start = Instant::now();
        let result = work(thread);
        (start, Instant::now(), result)
    };
    if threads == 1 {
        let (start, end, result) = run(0);
        return (end - start, vec![result]);
    }
    let spans: Vec<_> = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        handles.into_iter().map(|handle| handle.join().expect("a bench thread panicked")).collect()
    });
    let first = spans.iter().map(|span| span.0).min();
    let last = spans.iter().map(|span| span.1).max();
    let wall = first.zip(last).map_or(Duration::ZERO, |(first, last)| last - first);
    (wall, spans.into_iter().map(|span| span.2).collect())
}

/// One, two, four, and so on threads, as many as the machine runs at the same time.
pub fn counts() -> Vec<usize> {
    let most = thread::available_parallelism().map_or(1, usize::from);
    (0..).map(|exponent| 1 << exponent).take_while(|&count| count <= most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_work() {
        let (wall, results) = together(3, |_| (), |thread| thread * 2);
        assert_eq!(results, [0, 2, 4]);
        assert!(wall > Duration::ZERO);
    }
}
