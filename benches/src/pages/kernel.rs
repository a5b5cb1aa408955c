//! The kernel's page cache, through system calls.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::Pages;

/// The file.
struct Kernel(File);

pub(super) fn open(file: File) -> io::Result<Box<dyn Pages>> {
    Ok(Box::new(Kernel(file)))
}

impl Pages for Kernel {
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn write(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.0.write_all_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
