//! A limit for tests that could hang: whichever is not over in time is named, and ends the process.
//!
//! A test is watched from its first call of [`watch`], which the helpers that tests begin with make for them,
//! until its thread ends; each further call gives it the whole time again. And [`SetOnDrop`], so that a test
//! that fails does fail, and not wait for threads that go on until it ends. This file is one for both crates.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Much more than any test takes on a busy machine: a limit is not a measurement.
const LIMIT: Duration = Duration::from_secs(300);

/// By a number of its own: the name of each watched test, and when it is to be over.
static WATCHED: Mutex<BTreeMap<u64, (String, Instant)>> = Mutex::new(BTreeMap::new());

fn watched() -> MutexGuard<'static, BTreeMap<u64, (String, Instant)>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lives as long as its thread.
struct Entry(u64);

impl Drop for Entry {
    fn drop(&mut self) {
        watched().remove(&self.0);
    }
}

thread_local! {
    static ENTRY: Entry = {
        let mut watched = watched();
        let number = watched.last_key_value().map_or(0, |(number, _)| number + 1);
        let name = thread::current().name().unwrap_or("a thread of a test").to_owned();
        // At once with its whole time: the dog may look before the caller goes on.
        watched.insert(number, (name, Instant::now() + limit()));
        Entry(number)
    };
}

/// Gives the test that calls it so many seconds (`TEST_LIMIT_SECONDS`, 300 if that is not set; zero: no limit) from now on.
pub(crate) fn watch() {
    watch_for(Duration::ZERO);
}

/// As [`watch`], for a test that is told how long to take: that comes on top.
pub(crate) fn watch_for(time: Duration) {
    // ThreadSanitizer does not see into the locks used here, and takes them for races.
    // Where there are no threads there is no dog.
    if limit().is_zero() || cfg!(target_family = "wasm") {
        return;
    }
    static DOG: Once = Once::new();
    DOG.call_once(|| drop(thread::spawn(bark_in_time)));
    ENTRY.with(|entry| {
        if let Some((_, deadline)) = watched().get_mut(&entry.0) {
            *deadline = Instant::now() + time + limit();
        }
    });
}

/// How long a test waits for what must come: as long as it may, since a machine can stand still for many seconds. Only a
/// test that fails waits so long.
pub(crate) fn patience() -> Duration {
    if limit().is_zero() { Duration::from_secs(24 * 3600) } else { limit() / 2 }
}

/// Runs `body` on a thread of its own, for the test that calls it; panics with its panic, and if it
/// takes longer than half of the limit, so that the test has failed before its process is ended. The thread is left behind then.
pub(crate) fn within<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    watch();
    let (done, is_done) = mpsc::channel();
    let thread = thread::spawn(move || {
        let result = body();
        // Nobody waits any more if it came too late.
        let _ = done.send(());
        result
    });
    let outcome = is_done.recv_timeout(patience());
    assert!(outcome != Err(RecvTimeoutError::Timeout), "not done after {:?}", patience());
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Sets the flag that others loop by at the end of its scope, and also if that is a panic.
pub(crate) struct SetOnDrop<'f>(pub(crate) &'f AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn limit() -> Duration {
    let seconds = std::env::var("TEST_LIMIT_SECONDS").ok().and_then(|text| text.parse().ok());
    seconds.map_or(LIMIT, Duration::from_secs)
}

fn bark_in_time() {
    loop {
        thread::sleep(Duration::from_millis(500));
        let watched = watched();
        let Some((name, _)) = watched.values().find(|(_, deadline)| *deadline < Instant::now())
        else {
            continue;
        };
        // Not by a macro, whose output is kept for a test that ends.
        let text = format!("\nwatchdog: {name} hangs: it waits for what does not come\n");
        let _ = std::io::stderr().write_all(text.as_bytes());
        std::process::abort();
    }
}
