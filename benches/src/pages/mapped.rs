//! The kernel's page cache, mapped into memory.

use std::fs::File;
use std::io;
use std::ptr;

use memmap2::{MmapOptions, MmapRaw};

use super::Pages;
use crate::contender::narrow;

/// A shared mapping of the whole file. Nothing keeps two threads from the same byte: the benches do.
struct Mapped(MmapRaw);

pub(super) fn open(file: File) -> io::Result<Box<dyn Pages>> {
    Ok(Box::new(Mapped(MmapOptions::new().map_raw(&file)?)))
}

impl Mapped {
    /// Where the bytes `offset..offset + len` are.
    fn place(&self, offset: u64, len: usize) -> io::Result<*mut u8> {
        let offset = narrow(offset);
        if offset.checked_add(len).is_none_or(|end| end > self.0.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(self.0.as_mut_ptr().wrapping_add(offset))
    }
}

impl Pages for Mapped {
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let from = self.place(offset, buf.len())?;
        // SAFETY: `place` has checked the range; the file is not cut, and threads keep to pages of their own.
        unsafe { ptr::copy_nonoverlapping(from, buf.as_mut_ptr(), buf.len()) };
        Ok(())
    }

    fn look(&self, offset: u64) -> io::Result<u8> {
        let from = self.place(offset, 1)?;
        // SAFETY: `place` has checked the range; the file is not cut, and threads keep to pages of their own.
        Ok(unsafe { from.read_volatile() })
    }

    fn write(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        let to = self.place(offset, buf.len())?;
        // SAFETY: `place` has checked the range; the file is not cut, and threads keep to pages of their own.
        unsafe { ptr::copy_nonoverlapping(buf.as_ptr(), to, buf.len()) };
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.flush()
    }
}
