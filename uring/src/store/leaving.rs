//! Stores that are on their way out, and still have their file.
//!
//! The last reference to a store may go with the end of something: with the last write of a mapping that is closed, or with a read ahead that nobody waits for. Then a store's thread
//! drops it, a moment after others could know of that end, or as long after the mapping is closed as those reads take. Whoever opens the file again meanwhile waits for it: until what the
//! store had been asked for at that moment has ended, and if it was dropped by then, until its file is closed. If it was not, it is in use, and not waited for.
//! On a store's thread nobody waits: the store may be the one that this thread is to end, or one that waits for it.
//!
//! Of a process that was killed the kernel takes down the ring after the process is gone, and with it the file and its lock, tens of milliseconds later; sooner would be wrong, for what
//! that process had asked for may be under way until then. So whoever finds a file in another process's hands asks again for a moment: it may be the one that is started in the place of that.

use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use writeback::FileStore;

use crate::drive::is_on_a_stores_thread;
use crate::progress::Progress;

/// Until a store that does not go is no longer waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long another process may be on its way out.
const GRACE: Duration = Duration::from_secs(1);

/// Between two looks, at first and at most.
const PAUSE: Duration = Duration::from_micros(50);
const PAUSE_MAX: Duration = Duration::from_millis(2);

/// All files that stores of this process have.
static LIVE: Mutex<Vec<Live>> = Mutex::new(Vec::new());

struct Live {
    file: FileId,
    progress: Arc<Progress>,
}

/// What is the same file, whatever its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl From<Metadata> for FileId {
    fn from(metadata: Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// A store's file, which others can know of as long as it is open, and no longer.
#[derive(Debug)]
pub(super) struct Held {
    /// First: it is closed before nobody knows of it.
    file: FileStore,
    noted: Noted,
}

#[derive(Debug)]
struct Noted(Arc<Progress>);

impl Held {
    fn new(file: FileStore) -> io::Result<Self> {
        let (id, progress) = (file.file().metadata()?.into(), Arc::<Progress>::default());
        LIVE.lock().push(Live { file: id, progress: Arc::clone(&progress) });
        Ok(Self { file, noted: Noted(progress) })
    }

    /// That of the store which has the file.
    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.noted.0
    }
}

impl Deref for Held {
    type Target = FileStore;

    fn deref(&self) -> &FileStore {
        &self.file
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        LIVE.lock().retain(|live| !Arc::ptr_eq(&live.progress, &self.0));
    }
}

/// Stores that have a file, as they were when they were seen first.
#[derive(Default)]
struct Seen(Vec<(Arc<Progress>, u64)>);

/// Who has a file.
#[derive(Debug, PartialEq, Eq)]
enum Holder {
    /// A store that is going, or may be.
    Leaving,
    /// A store that is not.
    Store,
    /// No store of this process.
    Nobody,
}

impl Seen {
    fn look(&mut self, id: FileId) -> Holder {
        let live = LIVE.lock();
        let mut holder = Holder::Nobody;
        for Live { progress, .. } in live.iter().filter(|live| live.file == id) {
            let known = self.0.iter().find(|(known, _)| Arc::ptr_eq(known, progress));
            let moment = known.map_or_else(|| progress.moment(), |(_, moment)| *moment);
            if known.is_none() {
                self.0.push((Arc::clone(progress), moment));
            }
            match progress.is_leaving(moment) {
                true => return Holder::Leaving,
                false => holder = Holder::Store,
            }
        }
        holder
    }
}

/// Opens a file by `open`; while a store that is on its way out has it, again. `id` says which file it is.
pub(super) fn open(
    id: impl FnOnce() -> io::Result<FileId>,
    open: impl Fn() -> io::Result<FileStore>,
) -> io::Result<Held> {
    let is_busy = |opened: &io::Result<FileStore>| {
        opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::ResourceBusy)
    };
    let opened = open();
    if !is_busy(&opened) || is_on_a_stores_thread() {
        return Held::new(opened?);
    }
    let Ok(id) = id() else { return Held::new(opened?) };
    let (mut seen, start, mut pause) = (Seen::default(), Instant::now(), PAUSE);
    loop {
        // Looked at before it is tried, so that a store which goes in between has gone.
        let patience = match seen.look(id) {
            Holder::Leaving => PATIENCE,
            Holder::Store => Duration::ZERO,
            Holder::Nobody => GRACE,
        };
        let opened = open();
        if !is_busy(&opened) || start.elapsed() >= patience {
            return Held::new(opened?);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
