//! A database in a file, with a mapping and a flusher of its own.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redb::Database;
use writeback::{CacheConfig, Config, FileStore, Flusher, FlusherConfig, Mapping, PageCache};

use crate::backend::Cached;
use crate::failure::Failure;
use crate::session;

/// Opens or creates the file at `path` and locks it: neither redb nor the cache would notice what
/// another process does to it. The lock is gone with the process, however that ends.
///
/// # Errors
/// [`Failure::Trouble`] if it cannot be opened, or somebody else has it.
pub fn lock(path: &Path) -> Result<File, Failure> {
    let name = path.display();
    let mut options = OpenOptions::new();
    let opened = options.read(true).write(true).create(true).truncate(false).open(path);
    let file = opened.map_err(|error| Failure::Trouble(format!("cannot open {name}: {error}")))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Failure::Trouble(format!("{name} is in use by another process")))
        }
        Err(TryLockError::Error(error)) => {
            Err(Failure::Trouble(format!("cannot lock {name}: {error}")))
        }
    }
}

/// A flusher that always finds something to do: whatever is dirty is written some milliseconds later, also
/// in the middle of a transaction.
///
/// # Errors
/// If its thread cannot be started.
pub fn busy_flusher(mapping: &Mapping) -> Result<Flusher, Failure> {
    let config = FlusherConfig::new()
        .interval(Duration::from_millis(3))
        .dirty_expire(Duration::ZERO)
        .background_pages(16);
    Ok(Flusher::start([mapping.clone()], config)?)
}

/// Has room for so many pages, or for as many as a mapping keeps that is opened alone.
///
/// # Errors
/// If it is zero.
pub fn config(cache_pages: Option<u64>) -> Result<Config, Failure> {
    let Some(pages) = cache_pages else { return Ok(Config::new()) };
    Ok(Config::new().cache(&PageCache::new(CacheConfig::new(pages))?))
}

/// A database in a file, cached. Close it before the flusher is stopped: in a cache that is bounded, who
/// writes may have to wait for it.
#[derive(Debug)]
pub struct Opened {
    /// The database.
    pub database: Database,
    /// Where its pages are.
    pub mapping: Mapping,
    /// What writes them in the background.
    pub flusher: Flusher,
}

/// Opens the database in `file`, or makes one if that is empty, with room for so many pages, if there is
/// a bound.
///
/// # Errors
/// As redb's and the mapping's.
pub fn open(file: File, cache_pages: Option<u64>) -> Result<Opened, Failure> {
    let store = Arc::new(FileStore::from_file(file)?);
    let mapping = Mapping::with_config(store, config(cache_pages)?)?;
    let flusher = busy_flusher(&mapping)?;
    let database = session::open(Cached::new(&mapping))?;
    Ok(Opened { database, mapping, flusher })
}
