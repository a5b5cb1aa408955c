//! The file that a run works on.

use std::fs::File;
use std::path::PathBuf;
use std::{env, fmt};

use super::Fallible;

/// A file for the cache, and the same file opened again for each who checks it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) file: File,
    /// One for each syncer and one for the check at the end.
    pub(crate) readers: Vec<File>,
}

impl Target {
    /// A temporary file. It has no name any more when this returns, so that it is gone with the
    /// process however that ends.
    pub(crate) fn temporary(syncers: u16) -> Fallible<Self> {
        let directory = directory();
        let failed = |error: &dyn fmt::Display| {
            format!("cannot create a temporary file in {}: {error}", directory.display())
        };
        let named = tempfile::NamedTempFile::with_prefix_in("pagecache-", &directory)
            .map_err(|error| failed(&error))?;
        let readers = (0..=syncers).map(|_| named.reopen()).collect::<Result<_, _>>();
        let readers = readers.map_err(|error| failed(&error))?;
        let name = format!("a temporary file in {}", directory.display());
        let (file, path) = named.into_parts();
        path.close().map_err(|error| failed(&error))?;
        Ok(Self { name, file, readers })
    }

    /// Its name, and what is to be known about it.
    pub(crate) fn describe(&self) -> String {
        let note = if in_memory(&self.file) {
            " (in memory, where fdatasync has nothing to do)"
        } else {
            ""
        };
        format!("{}{note}", self.name)
    }
}

/// The system's directory for temporary files, or the current one if the former is in memory.
fn directory() -> PathBuf {
    let is_real = |path: &PathBuf| File::open(path).is_ok_and(|opened| !in_memory(&opened));
    let (system, here) = (env::temp_dir(), PathBuf::from("."));
    if !is_real(&system) && is_real(&here) { here } else { system }
}

/// Whether the file system keeps its files in memory only.
#[cfg(target_os = "linux")]
fn in_memory(file: &File) -> bool {
    const TMPFS: u32 = 0x0102_1994;
    const RAMFS: u32 = 0x8584_58f6;
    rustix::fs::fstatfs(file)
        .is_ok_and(|stat| [TMPFS, RAMFS].map(i128::from).contains(&i128::from(stat.f_type)))
}

/// Whether the file system keeps its files in memory only.
#[cfg(not(target_os = "linux"))]
fn in_memory(_file: &File) -> bool {
    false
}
