//! `writeback` itself.

use std::fs::File;
use std::io;

use writeback::{FileStore, Handle, Mapping};

use super::{Pages, place};

/// A handle of a mapping over the file.
struct Cached(Handle);

pub(super) fn open(file: File) -> io::Result<Box<dyn Pages>> {
    over(FileStore::from_file(file)?)
}

/// The same, and the kernel keeps no copy of what was written.
pub(super) fn open_dropped(file: File) -> io::Result<Box<dyn Pages>> {
    over(FileStore::from_file(file)?.keep_copies(false))
}

fn over(store: FileStore) -> io::Result<Box<dyn Pages>> {
    let mapping = Mapping::open(store).map_err(io::Error::other)?;
    Ok(Box::new(Cached(mapping.handle())))
}

impl Pages for Cached {
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let read = self.0.read_at(buf, offset).map_err(io::Error::other)?;
        if read < buf.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn look(&self, offset: u64) -> io::Result<u8> {
        let (number, at) = place(offset);
        let page = self.0.mapping().page(number).map_err(io::Error::other)?;
        Ok(page.read()[at])
    }

    fn write(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.0.write_at(buf, offset).map_err(io::Error::other)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data().map_err(io::Error::other)
    }
}
