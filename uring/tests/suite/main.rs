//! What files past the kernel's cache have to do, whoever reads and writes them: the tests of `DirectStore`, from where they are.
//!
//! Where the kernel refuses a ring they are skipped, with a message, unless `URING_REQUIRED` is set.
#![cfg(target_os = "linux")]

#[path = "../../../writeback/tests/store/copies.rs"]
#[allow(dead_code, reason = "its tests are of another store")]
mod copies;
#[path = "../../../writeback/tests/store/direct.rs"]
mod direct;

#[path = "../../../writeback/tests/common/files.rs"]
mod common_files;
#[path = "../../../writeback/tests/common/watchdog.rs"]
#[allow(dead_code, reason = "shared with tests that use the rest")]
mod watchdog;

use watchdog::{patience, within};
use writeback_uring::{UringStore, UringStore as DirectStore};

/// Whether the kernel gives a ring.
fn can_be() -> bool {
    let refused = UringStore::probe().err();
    if let Some(refused) = &refused {
        assert!(std::env::var_os("URING_REQUIRED").is_none(), "{refused}");
        println!("skipped: {refused}");
    }
    refused.is_none()
}
