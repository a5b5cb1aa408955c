//! More ways to read and write bytes: all or an error, several buffers, at the end.

use std::io::{IoSlice, IoSliceMut};

use super::Handle;
use crate::error::{Error, Result};

impl Handle {
    /// Fills `buf` from `offset` on.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at); [`Error::OutOfRange`] if the mapping ends earlier. What is in `buf` then is of no use.
    pub fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let (count, len) = (self.read_at(buf, offset)?, buf.len());
        if count == len { Ok(()) } else { Err(Error::OutOfRange { offset, len: len as u64 }) }
    }

    /// As [`read_at`](Self::read_at), into one buffer after the other.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn read_vectored_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        let mut done = 0;
        for buf in bufs {
            let count = self.read_at(buf, offset.saturating_add(done as u64))?;
            done += count;
            if count < buf.len() {
                break;
            }
        }
        Ok(done)
    }

    /// As [`write_at`](Self::write_at), of one buffer after the other: as if they were one, which may be changed
    /// by others between two of them.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at). [`Error::Partial`] counts the bytes of all buffers.
    ///
    /// # Examples
    /// ```
    /// use std::io::IoSlice;
    /// use writeback::{Mapping, MemStore};
    ///
    /// let handle = Mapping::open(MemStore::new())?.handle();
    /// handle.write_vectored_at(&[IoSlice::new(b"head"), IoSlice::new(b"body")], 10)?;
    /// let mut bytes = [0; 8];
    /// handle.read_exact_at(&mut bytes, 10)?;
    /// assert_eq!(&bytes, b"headbody");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<()> {
        let all: usize = bufs.iter().map(|buf| buf.len()).sum();
        self.mapping.core.check_span(offset, all as u64)?;
        let mut done = 0;
        for buf in bufs {
            match self.write_at(buf, offset + done as u64) {
                Ok(()) => done += buf.len(),
                Err(Error::Partial { written, source }) => {
                    return Err(source.after(done + usize::try_from(written).unwrap_or(usize::MAX)));
                }
                Err(error) => return Err(error.after(done)),
            }
        }
        Ok(())
    }

    /// Writes all of `buf` at the end of the mapping; returns where it begins.
    ///
    /// # Concurrency
    /// Appends, of all handles of the mapping, come one after the other. Who lengthens it by other calls meanwhile may find his
    /// bytes where an append has put its own. Otherwise as [`write_at`](Self::write_at); not to be called by a thread that has a
    /// [guard](crate#while-a-guard-is-held).
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at). What an [`Error::Partial`] says was written lengthens the mapping.
    ///
    /// # Examples
    /// ```
    /// use writeback::{Mapping, MemStore};
    ///
    /// let handle = Mapping::open(MemStore::with_contents(b"one"))?.handle();
    /// assert_eq!(handle.append(b"two")?, 3);
    /// assert_eq!(handle.append(b"three")?, 6);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn append(&self, buf: &[u8]) -> Result<u64> {
        self.mapping.core.append(buf)
    }
}
