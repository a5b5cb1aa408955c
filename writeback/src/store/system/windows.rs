//! Files on Windows. A file's position is where the last call left it, whoever made it: nothing here goes by it.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read};
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::super::open::refused;
use crate::errno::Errno;

/// As on Unix: how many bytes there were, of all slices. There is no call for several.
pub(in super::super) fn preadv(
    file: &File,
    slices: &mut [IoSliceMut<'_>],
    offset: u64,
) -> Result<usize, Errno> {
    in_turn(slices.iter_mut().map(|slice| (slice.len(), slice)), offset, |slice, at| {
        file.seek_read(slice, at)
    })
}

/// As on Unix: how many bytes were taken, of all slices.
pub(in super::super) fn pwritev(
    file: &File,
    slices: &[IoSlice<'_>],
    offset: u64,
) -> Result<usize, Errno> {
    in_turn(slices.iter().map(|slice| (slice.len(), slice)), offset, |slice, at| {
        file.seek_write(slice, at)
    })
}

/// One call for each, until one does less than it was asked for. What has failed after some bytes is told by the call that goes on there.
fn in_turn<S>(
    slices: impl Iterator<Item = (usize, S)>,
    offset: u64,
    mut call: impl FnMut(S, u64) -> io::Result<usize>,
) -> Result<usize, Errno> {
    let mut done = 0;
    for (len, slice) in slices {
        // The system knows offsets below 2^63, and takes the last of all for the end of the file.
        let at = offset.checked_add(done as u64).filter(|at| i64::try_from(*at).is_ok());
        let outcome = at
            .ok_or(Errno::INVAL)
            .and_then(|at| call(slice, at).map_err(|error| Errno::of(&error)));
        match outcome {
            Ok(count) => done += count,
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
        if outcome != Ok(len) {
            break;
        }
    }
    Ok(done)
}

/// `Err` if things of this kind have no bytes at offsets.
pub(in super::super) fn check_kind(kind: FileType) -> io::Result<()> {
    if kind.is_file() {
        Ok(())
    } else if kind.is_dir() {
        Err(refused(ErrorKind::IsADirectory, "it is a directory"))
    } else {
        Err(refused(ErrorKind::NotSeekable, "it is no file"))
    }
}

/// Others may read the file, or delete it.
pub(in super::super) fn open_locked(options: &mut OpenOptions) -> bool {
    const FILE_SHARE_READ: u32 = 1;
    const FILE_SHARE_DELETE: u32 = 4;
    options.share_mode(FILE_SHARE_READ | FILE_SHARE_DELETE);
    true
}

/// Whether it could not be opened because of how others have it open.
pub(in super::super) fn is_in_use(error: &io::Error) -> bool {
    const ERROR_SHARING_VIOLATION: i32 = 32;
    error.raw_os_error() == Some(ERROR_SHARING_VIOLATION)
}

/// `Err` if a file that was opened so cannot be read and written at offsets. There is no direct I/O.
///
/// How it was opened the system does not say: what it refuses does. A handle for appending only may not set a length, and its writes would all
/// go to the end of the file, at whatever offset, and be told as done. One for overlapped I/O may not read without a structure for that.
pub(in super::super) fn check_flags(file: &File) -> io::Result<bool> {
    let mut reader = file;
    let may_read = reader.read(&mut []).map(drop);
    let may_write = file.metadata().and_then(|metadata| file.set_len(metadata.len()));
    if may_read.is_err() || may_write.is_err() {
        let why = "it must be open for reading and writing, not for appending, and without overlapped I/O";
        return Err(refused(ErrorKind::InvalidInput, why));
    }
    Ok(false)
}

/// The file system keeps a log of names by itself, and a folder cannot be synced.
#[expect(clippy::unnecessary_wraps, reason = "elsewhere a folder is opened")]
pub(in super::super) fn folder_of(_: &Path) -> io::Result<Option<File>> {
    Ok(None)
}

/// A device is no file here.
#[expect(clippy::unnecessary_wraps, reason = "elsewhere a device is asked")]
pub(in super::super) fn fixed_len(_: &File, _: FileType) -> io::Result<Option<u64>> {
    Ok(None)
}

/// What offsets there can be: how long a file can become on its file system, the write finds out that is beyond it.
#[expect(clippy::unnecessary_wraps, reason = "elsewhere the system is asked")]
pub(in super::super) fn len_max_of_file(_: &File) -> io::Result<u64> {
    Ok(i64::MAX.unsigned_abs())
}
