//! What a mapping may take for granted of the store below it: whether its bytes are durable, what it is, how long it
//! can be, and how its writes have to be aligned.

mod ahead;
mod aligned;
#[cfg(target_os = "linux")]
mod copies;
#[cfg(target_os = "linux")]
mod direct;
#[cfg(unix)]
mod files;
#[cfg(unix)]
mod holes;
mod limits;
#[cfg(unix)]
mod partly;
mod peers;
mod reopen;
mod runs;
mod space;
mod stacked;
mod turns;
#[cfg(windows)]
mod windows;

#[path = "../common/watchdog.rs"]
#[allow(dead_code, reason = "shared with tests that use the rest")]
mod watchdog;

#[path = "../common/files.rs"]
mod common_files;

#[path = "../common/pass_on.rs"]
mod pass_on;

use watchdog::{patience, watch, within};
#[cfg(target_os = "linux")]
use writeback::DirectStore;
use writeback::Handle;

/// Whether there can be the store that the tests of direct I/O are of, wherever there is direct I/O.
#[cfg(target_os = "linux")]
fn can_be() -> bool {
    true
}

/// All that is read of a mapping, up to its end.
fn contents(handle: &Handle) -> Vec<u8> {
    let mut bytes = vec![9; usize::try_from(handle.len()).unwrap() + 1];
    let count = handle.read_at(&mut bytes, 0).unwrap();
    bytes.truncate(count);
    bytes
}
