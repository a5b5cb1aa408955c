//! What the tests share: a place for files that a ring can read and write.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::{env, fs};

use writeback_uring::UringStore;

/// A folder, and the path of a file in it that there is not yet. `None`, with a message, where the kernel refuses a ring or the file system direct I/O, unless
/// `URING_REQUIRED` is set.
pub(crate) fn folder() -> Option<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("file");
    let skipped = match UringStore::probe() {
        Err(refused) => refused.to_string(),
        Ok(()) => match UringStore::create(&path) {
            Err(error) if error.kind() == ErrorKind::Unsupported => error.to_string(),
            created => {
                drop(created.unwrap());
                fs::remove_file(&path).unwrap();
                return Some((folder, path));
            }
        },
    };
    assert!(env::var_os("URING_REQUIRED").is_none(), "{skipped}");
    println!("skipped: {skipped}");
    None
}
