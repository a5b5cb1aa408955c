//! How a store is opened.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use parking_lot::Mutex;
use writeback::store::FileOptions;
use writeback::{FileStore, PageCache};

use super::UringStore;
use super::leaving::{self, FileId, Held};
use crate::drive::{Engine, Shared, drive};
use crate::ring::Registered;
use crate::system::System;

const ENTRIES: u32 = 256;
const ENTRIES_MAX: u32 = 4096;

/// How a [`UringStore`] is opened, where [`UringStore::open`] and its like are not enough.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use writeback::{CacheConfig, Config, Mapping, PageCache};
/// use writeback_uring::UringStore;
///
/// # let folder = tempfile::tempdir_in(".")?;
/// # let path = folder.path().join("pages");
/// # if UringStore::probe().is_err() { return Ok(()) }
/// let cache = PageCache::new(CacheConfig::bytes(64 << 20))?;
/// let store = match UringStore::options().memory(&cache).create(&path) {
///     Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return Ok(()),
///     created => Arc::new(created?),
/// };
/// let mapping = Mapping::with_config(store.clone(), Config::new().cache(&cache))?;
/// mapping.handle().write_at(&[7; 10_000], 0)?;
/// mapping.handle().sync_data()?;
/// assert!(store.registered().file);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "it opens nothing by itself"]
pub struct UringOptions {
    file: FileOptions,
    entries: u32,
    memory: Option<PageCache>,
    require_memory: bool,
}

impl Default for UringOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl UringOptions {
    pub(crate) fn new() -> Self {
        let file = FileStore::options().direct(true);
        Self { file, entries: ENTRIES, memory: None, require_memory: false }
    }

    /// Sets how many reads, writes and flushes the kernel has at a time: 1 to 4096, 256 by default. Others wait for these in the store, and
    /// it says that it is [congested](writeback::store::Store::is_congested) from three quarters on.
    pub fn entries(mut self, entries: u32) -> Self {
        self.entries = entries;
        self
    }

    /// Sets whether the bytes go past the kernel's cache, as [`FileOptions::direct`]. On by default. Without, the kernel does reads and
    /// writes that it cannot do at once on threads of its own, which cost more than they gain, mostly.
    pub fn direct(mut self, direct: bool) -> Self {
        self.file = self.file.direct(direct);
        self
    }

    /// Sets whether the file is locked, as [`FileOptions::lock`]. On by default.
    pub fn lock(mut self, lock: bool) -> Self {
        self.file = self.file.lock(lock);
        self
    }

    /// Registers the memory that the pages of this cache lie in with the ring, also what the cache gets later, so that the kernel need not
    /// find and pin pages of it for each call. To be used by a mapping in that cache. Linux before 5.19 refuses it.
    ///
    /// Registered memory is locked: the process has all of a segment (2 MiB or more) as soon as the cache uses some of it, and the system gets nothing back, also if the cache is made
    /// smaller, until the store is gone. It counts as `RLIMIT_MEMLOCK` does, except for root. What the kernel refuses to register is used as it is, and
    /// [`UringStore::registered`] tells why.
    pub fn memory(mut self, cache: &PageCache) -> Self {
        self.memory = Some(cache.clone());
        self
    }

    /// Sets whether opening fails if the kernel refuses to register the [memory](Self::memory) that the cache has by then. Off by default.
    pub fn require_memory(mut self, require: bool) -> Self {
        self.require_memory = require;
        self
    }

    /// As [`UringStore::open`].
    ///
    /// # Errors
    /// As [`UringStore::open`]; of kind [`InvalidInput`](io::ErrorKind::InvalidInput) for a number of entries that cannot be, and of kind
    /// [`OutOfMemory`](io::ErrorKind::OutOfMemory) if [memory is required](Self::require_memory) and refused.
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<UringStore> {
        let path = path.as_ref();
        self.start(|| at(path), || self.file.open(path))
    }

    /// As [`UringStore::open_or_create`].
    ///
    /// # Errors
    /// As [`UringStore::open_or_create`] and [`open`](Self::open).
    pub fn open_or_create(&self, path: impl AsRef<Path>) -> io::Result<UringStore> {
        let path = path.as_ref();
        self.start(|| at(path), || self.file.open_or_create(path))
    }

    /// As [`UringStore::create`].
    ///
    /// # Errors
    /// As [`UringStore::create`] and [`open`](Self::open).
    pub fn create(&self, path: impl AsRef<Path>) -> io::Result<UringStore> {
        let path = path.as_ref();
        self.start(|| at(path), || self.file.create(path))
    }

    /// As [`UringStore::from_file`].
    ///
    /// # Errors
    /// As [`UringStore::from_file`] and [`open`](Self::open).
    pub fn from_file(&self, file: File) -> io::Result<UringStore> {
        let id = || Ok(file.metadata()?.into());
        self.start(id, || self.file.from_file(file.try_clone()?))
    }

    /// The ring comes first: what it is refused for changes no file.
    fn start(
        &self,
        id: impl FnOnce() -> io::Result<FileId>,
        open: impl Fn() -> io::Result<FileStore>,
    ) -> io::Result<UringStore> {
        if !(1..=ENTRIES_MAX).contains(&self.entries) {
            let text = format!("a ring has 1 to {ENTRIES_MAX} entries, and not {}", self.entries);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let registered = Arc::new(Mutex::new(Registered::default()));
        let (tell_made, made) = channel();
        let (give, given) = channel::<(Arc<Shared>, Arc<Held>)>();
        let (tell_ready, ready) = channel();
        let thread = thread::Builder::new().name("writeback-uring".to_owned()).spawn({
            let (entries, memory) = (self.entries, self.memory.clone());
            let registered = Arc::clone(&registered);
            move || {
                let mut ring = match System::new(entries, memory, registered) {
                    Ok((ring, waker)) => {
                        let _ = tell_made.send(Ok(waker));
                        ring
                    }
                    Err(error) => return drop(tell_made.send(Err(error))),
                };
                // Nothing comes if the file is refused.
                let Ok((shared, file)) = given.recv() else { return };
                ring.set_file(file.file());
                let _ = tell_ready.send(());
                drive(ring, &shared);
            }
        })?;
        let opened = (|| {
            let waker = made.recv().unwrap_or_else(|_| Err(panicked()))?;
            if self.require_memory && self.memory.is_some() {
                refused(&registered.lock())?;
            }
            Ok::<_, io::Error>((waker, Arc::new(leaving::open(id, open)?)))
        })();
        let (waker, file) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                drop(give);
                let _ = thread.join();
                return Err(error);
            }
        };
        let (below, progress) = (Box::new(Arc::clone(&file)), Arc::clone(file.progress()));
        let shared = Shared::new(waker, below, self.entries, progress);
        let _ = give.send((Arc::clone(&shared), Arc::clone(&file)));
        ready.recv().map_err(|_| panicked())?;
        Ok(UringStore::new(Engine::new(shared, thread), file, registered))
    }
}

fn at(path: &Path) -> io::Result<FileId> {
    Ok(path.metadata()?.into())
}

fn panicked() -> io::Error {
    io::Error::other("its thread has panicked")
}

fn refused(registered: &Registered) -> io::Result<()> {
    let Some(refused) = &registered.refused else { return Ok(()) };
    let why = match refused.raw_os_error() {
        Some(libc::ENOMEM | libc::EPERM) => "RLIMIT_MEMLOCK (ulimit -l) may be too low: ",
        Some(libc::EINVAL) => "it takes Linux 5.19: ",
        _ => "",
    };
    let text = format!("the memory of the cache cannot be registered: {why}{refused}");
    Err(io::Error::new(io::ErrorKind::OutOfMemory, text))
}
