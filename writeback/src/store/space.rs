//! The room that a file takes: `fallocate`, and `lseek` to data and holes.
//!
//! Positions are moved by the latter, and belong to whoever else has the file open: they are put back.

use std::fs::File;

use crate::error::StoreError;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::io;

    use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
    use rustix::io::Errno;

    use super::*;

    /// Again, if it is interrupted: what it has done until then does no harm.
    fn change(file: &File, flags: FallocateFlags, offset: u64, len: u64) -> Result<(), StoreError> {
        loop {
            match fallocate(file, flags | FallocateFlags::KEEP_SIZE, offset, len) {
                Err(Errno::INTR) => {}
                done => return done.map_err(io_error),
            }
        }
    }

    pub(in super::super) fn allocate(file: &File, offset: u64, len: u64) -> Result<(), StoreError> {
        change(file, FallocateFlags::empty(), offset, len)
    }

    pub(in super::super) fn punch(file: &File, offset: u64, len: u64) -> Result<(), StoreError> {
        change(file, FallocateFlags::PUNCH_HOLE, offset, len)
    }

    pub(in super::super) fn zero(file: &File, offset: u64, len: u64) -> Result<(), StoreError> {
        change(file, FallocateFlags::ZERO_RANGE, offset, len)
    }

    pub(in super::super) fn next_data(file: &File, offset: u64) -> Result<Option<u64>, StoreError> {
        at(file, SeekFrom::Data(offset))
    }

    pub(in super::super) fn next_hole(file: &File, offset: u64) -> Result<Option<u64>, StoreError> {
        // The end is a hole, but a search that begins there finds none.
        if file.metadata()?.len() == offset {
            return Ok(Some(offset));
        }
        at(file, SeekFrom::Hole(offset))
    }

    /// Where that is; `None` behind the end. The file's position is where it was.
    fn at(file: &File, what: SeekFrom) -> Result<Option<u64>, StoreError> {
        let before = seek(file, SeekFrom::Current(0)).map_err(io_error)?;
        let found = seek(file, what);
        seek(file, SeekFrom::Start(before)).map_err(io_error)?;
        match found {
            Ok(offset) => Ok(Some(offset)),
            Err(Errno::NXIO) => Ok(None),
            Err(errno) => Err(io_error(errno)),
        }
    }

    fn io_error(errno: Errno) -> StoreError {
        io::Error::from(errno).into()
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use super::*;

    pub(in super::super) fn allocate(_: &File, _: u64, _: u64) -> Result<(), StoreError> {
        Err(StoreError::Unsupported)
    }

    pub(in super::super) fn punch(_: &File, _: u64, _: u64) -> Result<(), StoreError> {
        Err(StoreError::Unsupported)
    }

    pub(in super::super) fn zero(_: &File, _: u64, _: u64) -> Result<(), StoreError> {
        Err(StoreError::Unsupported)
    }

    pub(in super::super) fn next_data(_: &File, _: u64) -> Result<Option<u64>, StoreError> {
        Err(StoreError::Unsupported)
    }

    pub(in super::super) fn next_hole(_: &File, _: u64) -> Result<Option<u64>, StoreError> {
        Err(StoreError::Unsupported)
    }
}

pub(super) use system::{allocate, next_data, next_hole, punch, zero};
