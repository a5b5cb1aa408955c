//! Files that are opened again.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::Instant;

use writeback::FileStore;

use super::patience;

/// Opens what nobody has any more. A process that another test is starting has all files of this one until it runs its own
/// program, and their locks with them.
#[track_caller]
pub(crate) fn reopened(open: impl Fn() -> io::Result<FileStore>) -> FileStore {
    let deadline = Instant::now() + patience();
    loop {
        match open() {
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                thread::yield_now();
            }
            opened => return opened.unwrap(),
        }
    }
}
