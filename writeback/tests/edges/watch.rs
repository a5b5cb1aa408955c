//! The limit of these tests itself: one that hangs is named, and ends.

use std::process::Command;

use crate::common::watch;

#[test]
fn a_test_that_hangs_is_named_and_ended() {
    watch();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "watch::hangs", "--ignored"]).env("TEST_LIMIT_SECONDS", "1");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("watchdog: watch::hangs hangs"), "{said}");
}

#[test]
#[ignore = "started by the test above, to hang"]
fn hangs() {
    watch();
    loop {
        std::thread::park();
    }
}
