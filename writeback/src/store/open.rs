//! What a file must be to be a store: found out when it is opened, and not by the first sync that fails.
//!
//! Knows files and what the operating system says of them; it knows nothing of pages.

use std::fs::{File, FileType, OpenOptions, TryLockError};
use std::io;
use std::io::ErrorKind;
use std::path::Path;

use super::{FileStore, system};
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::errno::Errno;

/// What direct I/O is aligned to, unless a device says otherwise.
const DIRECT_ALIGNMENT: usize = 4096;

/// How a [`FileStore`] is opened, where [`FileStore::open`] and its like are not enough.
///
/// # Examples
/// ```
/// use writeback::FileStore;
///
/// # fn main() -> std::io::Result<()> {
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("pages");
/// let store = FileStore::create(&path)?;
/// assert!(FileStore::open(&path).is_err(), "somebody has it");
/// # if cfg!(unix) {
/// let second = FileStore::options().lock(false).open(&path)?;
/// # }
/// # drop(store);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "it opens nothing by itself"]
pub struct FileOptions {
    lock: bool,
    direct: bool,
}

impl FileOptions {
    pub(super) fn new() -> Self {
        Self { lock: true, direct: false }
    }

    /// Sets whether the file is locked for as long as the store exists, so that a second one is refused, in this
    /// process or another. On by default.
    ///
    /// Without it nothing keeps two mappings from changing one file, each of which overwrites what the other
    /// has written without noticing. It is an advisory lock of `flock`: it concerns those who ask for it, and
    /// belongs to the open file. A file that was duplicated ([`File::try_clone`], `dup`) or inherited over
    /// a fork is the same open file, which is not refused, and the lock ends when the last of these is
    /// closed; that includes the end of their processes, however they end. A process that is just being started
    /// has duplicates of all files until it runs its own program: who closes a file and opens it again while
    /// another thread starts one can be refused, and may try again. To be turned off for file systems that have no such lock.
    ///
    /// On Windows a file is opened so that others may open it for reading, and for nothing else, whatever they ask for. One that is given to
    /// [`from_file`](Self::from_file) is open already, and gets a lock of `LockFileEx`: then a duplicate is no store either, and every other handle's reads and writes fail for
    /// as long, but for those of duplicates in this process.
    pub fn lock(mut self, lock: bool) -> Self {
        self.lock = lock;
        self
    }

    /// Sets whether the bytes go to the device and come from there past the kernel's cache, by direct I/O (`O_DIRECT`). Off by default; on
    /// Linux only. [`DirectStore`](super::DirectStore) has it on, and says what it is good for.
    ///
    /// Opening then says [`Unsupported`](ErrorKind::Unsupported) where the file system, or the device, has no such thing, and leaves no file that was
    /// not there;
    /// [`from_file`](Self::from_file) says [`InvalidInput`](ErrorKind::InvalidInput) of a file that was opened without. A file that was
    /// opened with `O_DIRECT` is used so whatever is set here.
    pub fn direct(mut self, direct: bool) -> Self {
        self.direct = direct;
        self
    }

    /// As [`FileStore::open`].
    ///
    /// # Errors
    /// As [`FileStore::open`].
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<FileStore> {
        self.at(path.as_ref(), false)
    }

    /// As [`FileStore::open_or_create`].
    ///
    /// # Errors
    /// As [`FileStore::open_or_create`].
    pub fn open_or_create(&self, path: impl AsRef<Path>) -> io::Result<FileStore> {
        let path = path.as_ref();
        let store = self.at(path, true)?;
        if store.fixed_len().is_some() {
            return Ok(store);
        }
        // Also if the file was there: whoever made it may have been killed before its name was durable.
        Ok(store.in_folder(system::folder_of(path)?))
    }

    /// As [`FileStore::create`].
    ///
    /// # Errors
    /// As [`FileStore::create`].
    pub fn create(&self, path: impl AsRef<Path>) -> io::Result<FileStore> {
        let store = self.open_or_create(path)?;
        if store.fixed_len().is_some() {
            return Err(refused(
                ErrorKind::InvalidInput,
                "it is a device, which cannot be emptied",
            ));
        }
        // Now that nobody else has it.
        store.file().set_len(0)?;
        Ok(store)
    }

    /// As [`FileStore::from_file`].
    ///
    /// # Errors
    /// As [`FileStore::from_file`].
    pub fn from_file(&self, file: File) -> io::Result<FileStore> {
        self.of(file, self.lock)
    }

    fn of(&self, file: File, is_to_be_locked: bool) -> io::Result<FileStore> {
        let kind = file.metadata()?.file_type();
        system::check_kind(kind)?;
        if is_to_be_locked {
            lock(&file)?;
        }
        // When nobody else has it: to find out may be to set its length to what it is.
        let direct = system::check_flags(&file)?;
        if self.direct && !direct {
            return Err(refused(ErrorKind::InvalidInput, "it is not open for direct I/O"));
        }
        let alignment = if direct { alignment_of(&file, kind)? } else { 1 };
        // A device has the size it has. Where a file may end its file system decides.
        let fixed_len = system::fixed_len(&file, kind)?;
        let len_max = match fixed_len {
            Some(len) => len,
            None => system::len_max_of_file(&file)?,
        };
        Ok(FileStore::new(file, Found { alignment, fixed_len, len_max }))
    }

    fn at(&self, path: &Path, create: bool) -> io::Result<FileStore> {
        self.opened_at(path, create).map_err(|error| match system::is_in_use(&error) {
            true => in_use(),
            false => error,
        })
    }

    fn opened_at(&self, path: &Path, create: bool) -> io::Result<FileStore> {
        // First: to open some things is to do something to them.
        if let Ok(there) = path.metadata() {
            system::check_kind(there.file_type())?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let is_locked = self.lock && system::open_locked(&mut options);
        let (file, is_new) = if !self.direct {
            (options.create(create).truncate(false).open(path)?, false)
        } else if create {
            // So that what is refused then leaves no file that was not there.
            match options.clone().create_new(true).open(path) {
                Ok(file) => (file, true),
                // Also a link to nothing, which is created.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    (options.create(true).truncate(false).open(path)?, false)
                }
                Err(error) => return Err(error),
            }
        } else {
            (options.open(path)?, false)
        };
        let direct = if self.direct { make_direct(&file) } else { Ok(()) };
        let opened = direct.and_then(|()| self.of(file, self.lock && !is_locked));
        if let Err(error) = &opened
            && is_new
            && error.kind() == ErrorKind::Unsupported
        {
            // Whoever else has found it meanwhile is refused as well.
            std::fs::remove_file(path)?;
        }
        opened
    }
}

/// What was found out about a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// 1: none is needed.
    pub(super) alignment: usize,
    /// Of a device.
    pub(super) fixed_len: Option<u64>,
    pub(super) len_max: u64,
}

pub(super) fn refused(kind: ErrorKind, why: &str) -> io::Error {
    io::Error::new(kind, format!("it cannot be a store: {why}"))
}

fn no_direct_io() -> io::Error {
    refused(ErrorKind::Unsupported, "there is no direct I/O on this file system or device")
}

/// After it is open: what is wrong with its name is told as that.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn make_direct(file: &File) -> io::Result<()> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    match fcntl_setfl(file, fcntl_getfl(file)? | OFlags::DIRECT) {
        Err(Errno::INVAL) => Err(no_direct_io()),
        done => Ok(done?),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn make_direct(_: &File) -> io::Result<()> {
    Err(no_direct_io())
}

/// Reads the first bytes: there are file systems that take a file so and refuse what is done with it.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn check_read(file: &File, alignment: usize) -> io::Result<()> {
    let mut bytes = vec![0; 2 * alignment];
    let from = bytes.as_ptr().align_offset(alignment);
    let aligned = &mut bytes[from..][..alignment];
    match rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *aligned, 0)) {
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Err(no_direct_io()),
        read => Ok(read.map(drop)?),
    }
}

/// Of a file with direct I/O. A device that asks for more than a page has refuses the writes.
///
/// # Errors
/// If the kernel knows that there is none, although it was opened so, or refuses to read.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn alignment_of(file: &File, kind: FileType) -> io::Result<usize> {
    use std::os::unix::fs::FileTypeExt;

    let alignment = if kind.is_block_device() {
        let sector = rustix::fs::ioctl_blksszget(file).ok();
        sector.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(DIRECT_ALIGNMENT)
    } else {
        alignment_by(wanted_by(file))?
    };
    check_read(file, alignment.max(DIRECT_ALIGNMENT))?;
    Ok(alignment)
}

/// What the kernel wants memory and offsets to be multiples of.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[derive(Debug, Clone, Copy)]
struct Wanted {
    memory: u32,
    offsets: u32,
}

/// 0 if it has no direct I/O, `None` if it does not tell: it does since Linux 6.1.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn wanted_by(file: &File) -> Option<Wanted> {
    use rustix::fs::{AtFlags, StatxFlags, statx};

    let told = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    let tells = told.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
    let wanted = Wanted { memory: told.stx_dio_mem_align, offsets: told.stx_dio_offset_align };
    tells.then_some(wanted)
}

/// Pages are at least so long in most mappings, and devices' blocks too, whatever smaller ones they take. In memory they are
/// multiples of no more.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn alignment_by(wanted: Option<Wanted>) -> io::Result<usize> {
    match wanted {
        Some(Wanted { offsets: 0, .. }) => Err(no_direct_io()),
        Some(Wanted { memory, .. }) if memory as usize > DIRECT_ALIGNMENT => {
            let why = "its direct I/O wants memory to be aligned to more than 4096 bytes";
            Err(refused(ErrorKind::Unsupported, why))
        }
        Some(Wanted { offsets, .. }) => Ok(DIRECT_ALIGNMENT.max(offsets as usize)),
        None => Ok(DIRECT_ALIGNMENT),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn alignment_of(_: &File, _: FileType) -> io::Result<usize> {
    Ok(DIRECT_ALIGNMENT)
}

fn in_use() -> io::Error {
    let why = "it is in use, by this process or another (see `FileOptions::lock`)";
    refused(ErrorKind::ResourceBusy, why)
}

fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(in_use()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    #[test]
    fn an_alignment_is_a_page_or_what_more_is_wanted() {
        let of = |wanted| alignment_by(wanted).map_err(|error| error.kind());
        let wants = |memory, offsets| of(Some(Wanted { memory, offsets }));
        assert_eq!(of(None), Ok(4096));
        assert_eq!(wants(4, 512), Ok(4096));
        assert_eq!(wants(4096, 16_384), Ok(16_384));
        assert_eq!(wants(0, 0), Err(ErrorKind::Unsupported));
        assert_eq!(wants(8192, 4096), Err(ErrorKind::Unsupported));
    }
}
