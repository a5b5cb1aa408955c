//! Threads that start together and stop together.

use std::env;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::watchdog::watch_for;

/// How long a threaded test runs: half a second, or what `TAGGED_RADIX_STRESS_SECONDS` says.
pub(crate) fn stress_time() -> Duration {
    let seconds = match env::var("TAGGED_RADIX_STRESS_SECONDS") {
        Ok(text) => text.parse().expect("TAGGED_RADIX_STRESS_SECONDS is a number of seconds"),
        Err(_) => 0.5,
    };
    Duration::from_secs_f64(seconds)
}

/// Tells the threads of a race when to stop: after its time, or when one of them has failed.
pub(crate) struct Clock {
    time: Duration,
    end: OnceLock<Instant>,
    stop: AtomicBool,
}

impl Clock {
    /// Another thread has failed.
    pub(crate) fn failed(&self) -> bool {
        self.stop.load(SeqCst)
    }

    pub(crate) fn running(&self) -> bool {
        let end = self.end.get_or_init(|| Instant::now() + self.time);
        !self.failed() && Instant::now() < *end
    }
}

/// Stops the others when its thread panics.
struct StopOthers<'a>(&'a Clock);

impl Drop for StopOthers<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop.store(true, SeqCst);
        }
    }
}

type Body<'a> = Box<dyn FnOnce(&Clock) + Send + 'a>;

/// A set of threads to be run at once; each takes at least one turn of `while`-`running`
/// unless another fails first.
pub(crate) struct Race<'a> {
    time: Duration,
    bodies: Vec<Body<'a>>,
}

impl<'a> Race<'a> {
    pub(crate) fn new(time: Duration) -> Race<'a> {
        Race { time, bodies: Vec::new() }
    }

    /// Adds a thread.
    pub(crate) fn thread(mut self, body: impl FnOnce(&Clock) + Send + 'a) -> Race<'a> {
        self.bodies.push(Box::new(body));
        self
    }

    /// Adds a thread that repeats `turn`, with the number of the turn, until time is up.
    pub(crate) fn repeat(self, mut turn: impl FnMut(u64) + Send + 'a) -> Race<'a> {
        self.thread(move |clock| {
            let mut n = 0;
            loop {
                turn(n);
                n += 1;
                if !clock.running() {
                    break;
                }
            }
        })
    }

    /// Runs all threads to their ends; panics if one of them did.
    pub(crate) fn run(self) {
        watch_for(self.time * 4);
        let clock = Clock { time: self.time, end: OnceLock::new(), stop: AtomicBool::new(false) };
        let start = Barrier::new(self.bodies.len());
        thread::scope(|scope| {
            let (clock, start) = (&clock, &start);
            let spawn = |body: Body<'a>| {
                scope.spawn(move || {
                    let _stop = StopOthers(clock);
                    start.wait();
                    body(clock);
                })
            };
            let threads: Vec<_> = self.bodies.into_iter().map(spawn).collect();
            // The scope would not wait for what a thread does at its end, when it gives back what it has kept for the collector.
            for thread in threads {
                thread.join().unwrap_or_else(|failed| resume_unwind(failed));
            }
        });
    }
}

/// Where the threads of one short round wait for each other, busily, to start within
/// nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct StartLine(AtomicUsize);

impl StartLine {
    /// Waits until `threads` threads are here. Returns at once when the clock has stopped, so
    /// that a thread that failed leaves none waiting.
    pub(crate) fn wait(&self, threads: usize, clock: &Clock) {
        self.0.fetch_add(1, SeqCst);
        let mut spins = 0_u32;
        while self.0.load(SeqCst) < threads && !clock.failed() {
            spins += 1;
            if spins.is_multiple_of(64) {
                thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }
}
