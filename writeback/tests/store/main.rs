//! What a mapping may take for granted of the store below it: whether its bytes are durable, what it is, how long it
//! can be, and how its writes have to be aligned.

mod aligned;
mod files;
mod limits;
mod partly;
mod reopen;
mod stacked;

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Returns what `work` returns; fails the test if it takes longer than half a minute.
fn limited<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, done) = channel();
    let worker = thread::spawn(move || {
        // The test may have given up.
        let _ = sender.send(work());
    });
    match done.recv_timeout(Duration::from_secs(30)) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("it does not end"),
        Err(RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("it ended without a result"),
        },
    }
}
