//! What lies around the middle of the protocol: ways to try again, writes that are taken in part, work that
//! comes while other work is under way, the clock's hand, and numbers.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/files.rs"]
mod common_files;

mod closing;
mod counts;
mod file;
mod hand;
mod retries;
mod turns;
mod watch;

use common::patience;
