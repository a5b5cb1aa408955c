//! Stores that are on their way out, and still have their file.
//!
//! A mapping that is closed has been told of all ends, and whoever told it of the last, a store's thread, may let go of the store a moment later: then that thread closes the file.
//! Whoever opens the file again in that moment waits for it. A store of this process that is in use is not waited for.
//!
//! Of a process that was killed the kernel takes down the ring after the process is gone, and with it the file and its lock. So whoever finds a file in
//! another process's hands asks again for a moment: it may be the one that is started in the place of that.

use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use writeback::FileStore;

use crate::drive::Shared;

/// Until a thread that does not come back is no longer waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long another process may be on its way out.
const GRACE: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(5);

/// All threads that have a file.
static LIVE: Mutex<Vec<Live>> = Mutex::new(Vec::new());

struct Live {
    file: FileId,
    shared: Weak<Shared>,
}

/// What is the same file, whatever its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl From<Metadata> for FileId {
    fn from(metadata: Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// Notes that a thread has a file, until it is dropped: after the file.
pub(super) struct Noted(Weak<Shared>);

impl Noted {
    pub(super) fn new(shared: &Arc<Shared>, file: &FileStore) -> io::Result<Self> {
        let (file, shared) = (file.file().metadata()?.into(), Arc::downgrade(shared));
        LIVE.lock().push(Live { file, shared: Weak::clone(&shared) });
        Ok(Self(shared))
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        LIVE.lock().retain(|live| !live.shared.ptr_eq(&self.0));
    }
}

/// Opens a file by `open`; while a store that is on its way out has it, again. `id` says which file it is.
pub(super) fn open(
    id: impl FnOnce() -> io::Result<FileId>,
    open: impl Fn() -> io::Result<FileStore>,
) -> io::Result<FileStore> {
    let refused = match open() {
        Err(error) if error.kind() == ErrorKind::ResourceBusy => error,
        opened => return opened,
    };
    let Ok(id) = id() else { return Err(refused) };
    let others: Vec<_> = {
        let live = LIVE.lock();
        let of_file = live.iter().filter(|live| live.file == id);
        of_file
            .map(|live| {
                (Weak::clone(&live.shared), live.shared.upgrade().map(|shared| shared.moment()))
            })
            .collect()
    };
    let is_elsewhere = others.is_empty();
    let deadline = Instant::now() + if is_elsewhere { GRACE } else { PATIENCE };
    loop {
        let is_leaving = others.iter().any(|(shared, moment)| match (shared.upgrade(), moment) {
            (Some(shared), Some(moment)) => shared.is_leaving(*moment),
            // Its file is being closed, unless it is.
            _ => LIVE.lock().iter().any(|live| live.shared.ptr_eq(shared)),
        });
        match open() {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                if !(is_leaving || is_elsewhere) || Instant::now() > deadline {
                    return Err(error);
                }
                if is_elsewhere { thread::sleep(AGAIN) } else { thread::yield_now() }
            }
            opened => return opened,
        }
    }
}
