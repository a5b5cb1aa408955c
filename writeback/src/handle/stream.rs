//! A handle with a position: what `std::io` calls a reader and a writer.

use std::io::{self, Read, Seek, SeekFrom, Write};

use super::Handle;
use crate::error::Error;

/// Reads and writes a mapping from a position on, as a [`File`](std::fs::File) does. Made by [`Handle::stream`].
///
/// Errors are those of the handle, as an [`io::Error`]: it has the operating system's number, if there is one, or the
/// [`Error`] within. [`flush`](Write::flush) does nothing, as a file's: what is written is in the cache at once, and durable
/// after a sync of the [`handle`](Self::handle).
///
/// # Examples
/// ```
/// use std::io::{BufRead, BufReader, Seek, Write};
/// use writeback::{Mapping, MemStore};
///
/// let mapping = Mapping::open(MemStore::new())?;
/// let mut stream = mapping.handle().stream();
/// writeln!(stream, "one")?;
/// writeln!(stream, "two")?;
/// stream.handle().sync_data()?;
/// stream.rewind()?;
/// let lines: Vec<String> = BufReader::new(stream).lines().collect::<Result<_, _>>()?;
/// assert_eq!(lines, ["one", "two"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Stream {
    handle: Handle,
    position: u64,
}

impl Handle {
    /// Reads and writes from a position on, which is 0 now.
    pub fn stream(self) -> Stream {
        Stream { handle: self, position: 0 }
    }
}

impl Stream {
    /// The handle.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The handle, without a position.
    pub fn into_handle(self) -> Handle {
        self.handle
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.handle.read_at(buf, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for Stream {
    /// Writes all of it, or tells how much it has before something failed.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let count = match self.handle.write_at(buf, self.position) {
            Ok(()) => buf.len(),
            // The rest fails when it is written again.
            Err(Error::Partial { written, .. }) => usize::try_from(written).unwrap_or(buf.len()),
            Err(error) => return Err(error.into()),
        };
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Stream {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => self.handle.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        let out_of_range = || io::Error::new(io::ErrorKind::InvalidInput, "a position below 0");
        self.position = position.ok_or_else(out_of_range)?;
        Ok(self.position)
    }
}
