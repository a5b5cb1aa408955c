//! What lies around the middle of the protocol: ways to try again, writes that are taken in part, work that
//! comes while other work is under way, the clock's hand, and numbers.

#[path = "../common/mod.rs"]
mod common;
#[cfg(unix)]
#[path = "../common/files.rs"]
mod common_files;

mod closing;
mod counts;
#[cfg(unix)]
mod file;
mod hand;
mod retries;
mod turns;
mod watch;

#[cfg(unix)]
use common::patience;
