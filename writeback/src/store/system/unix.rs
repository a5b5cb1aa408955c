//! Files on Unix.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

pub(in super::super) use rustix::io::{preadv, pwritev};

use rustix::fs::{OFlags, SeekFrom, fcntl_getfl, seek};
use rustix::io::Errno;

use super::super::open::refused;

/// Whether to open a file so can be to lock it. Here that is done afterwards.
pub(in super::super) fn open_locked(_: &mut OpenOptions) -> bool {
    false
}

/// Whether it could not be opened because of how others have it open.
pub(in super::super) fn is_in_use(_: &io::Error) -> bool {
    false
}

/// `Err` if things of this kind have no bytes at offsets.
pub(in super::super) fn check_kind(kind: FileType) -> io::Result<()> {
    let what = if kind.is_file() || kind.is_block_device() {
        return Ok(());
    } else if kind.is_dir() {
        return Err(refused(ErrorKind::IsADirectory, "it is a directory"));
    } else if kind.is_fifo() {
        "it is a pipe"
    } else if kind.is_socket() {
        "it is a socket"
    } else if kind.is_char_device() {
        "it is a character device"
    } else {
        "it is neither a file nor a block device"
    };
    Err(refused(ErrorKind::NotSeekable, what))
}

/// `Err` if a file that was opened so cannot be read and written at offsets. Tells whether its I/O is direct.
pub(in super::super) fn check_flags(file: &File) -> io::Result<bool> {
    let flags = fcntl_getfl(file)?;
    if flags & OFlags::RWMODE != OFlags::RDWR {
        // Also for a mapping that is only read: evicted pages and syncs would find out much later.
        let why = "it must be open for reading and writing";
        return Err(refused(ErrorKind::InvalidInput, why));
    }
    if flags.contains(OFlags::APPEND) {
        let why = "it is open for appending, so that every write would go to its end";
        return Err(refused(ErrorKind::InvalidInput, why));
    }
    Ok(is_direct(flags))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_direct(flags: OFlags) -> bool {
    flags.contains(OFlags::DIRECT)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_direct(_: OFlags) -> bool {
    false
}

/// The folder that the name of a file is in: the file's own, not that of a link to it.
pub(in super::super) fn folder_of(path: &Path) -> io::Result<Option<File>> {
    path.canonicalize()?.parent().map(File::open).transpose()
}

/// The size of a device, which has the one it has; `None` for a file.
pub(in super::super) fn fixed_len(file: &File, kind: FileType) -> io::Result<Option<u64>> {
    if !kind.is_block_device() {
        return Ok(None);
    }
    at_its_position(file, || Ok(Some(seek(file, SeekFrom::End(0))?)))
}

/// The greatest length the file can have on its file system: the last offset that can be gone to. Linux
/// refuses others at once; what does not is believed, and refuses the write.
pub(in super::super) fn len_max_of_file(file: &File) -> io::Result<u64> {
    let can_be = |len: u64| match seek(file, SeekFrom::Start(len)) {
        Ok(_) => Ok(true),
        Err(Errno::INVAL | Errno::OVERFLOW) => Ok(false),
        Err(errno) => Err(io::Error::from(errno)),
    };
    at_its_position(file, || {
        let (mut can, mut cannot) = (0, i64::MAX.unsigned_abs());
        if can_be(cannot)? {
            return Ok(cannot);
        }
        while cannot - can > 1 {
            let middle = can + (cannot - can) / 2;
            if can_be(middle)? {
                can = middle;
            } else {
                cannot = middle;
            }
        }
        Ok(can)
    })
}

/// Whoever gave us the file finds its position where it was.
fn at_its_position<R>(file: &File, ask: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
    let position = seek(file, SeekFrom::Current(0))?;
    let answer = ask();
    seek(file, SeekFrom::Start(position))?;
    answer
}
