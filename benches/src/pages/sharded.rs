//! What is written when a page cache is needed by tomorrow: a map of pages and a set of those that are dirty.
//!
//! A page that is changed while a sync writes it is written again by the next. A failed write leaves its page clean, so it loses data:
//! that is not mended here, because it is what is compared with.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::fs::FileExt;

use dashmap::DashMap;
use parking_lot::Mutex;

use super::{PAGE, Pages, place};

/// Pages by number, and the numbers of those that are dirty.
struct Sharded {
    file: File,
    pages: DashMap<u64, Box<[u8; PAGE]>, foldhash::fast::RandomState>,
    dirty: Mutex<BTreeSet<u64>>,
}

pub(super) fn open(file: File) -> io::Result<Box<dyn Pages>> {
    Ok(Box::new(Sharded { file, pages: DashMap::default(), dirty: Mutex::default() }))
}

impl Sharded {
    fn load(&self, number: u64) -> io::Result<Box<[u8; PAGE]>> {
        let mut page = Box::new([0; PAGE]);
        self.file.read_exact_at(&mut *page, number * PAGE as u64)?;
        Ok(page)
    }

    /// Runs `work` on a page, which is read in if need be.
    fn with(&self, number: u64, work: impl FnOnce(&mut [u8; PAGE])) -> io::Result<()> {
        if let Some(mut page) = self.pages.get_mut(&number) {
            work(&mut page);
            return Ok(());
        }
        let page = self.load(number)?;
        work(&mut self.pages.entry(number).or_insert(page));
        Ok(())
    }
}

impl Pages for Sharded {
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut offset = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let (number, start) = place(offset);
            let count = rest.len().min(PAGE - start);
            let (now, later) = mem::take(&mut rest).split_at_mut(count);
            if let Some(page) = self.pages.get(&number) {
                now.copy_from_slice(&page[start..][..count]);
            } else {
                self.with(number, |page| now.copy_from_slice(&page[start..][..count]))?;
            }
            (rest, offset) = (later, offset + count as u64);
        }
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        let mut offset = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let (number, start) = place(offset);
            let (now, later) = rest.split_at(rest.len().min(PAGE - start));
            self.with(number, |page| page[start..][..now.len()].copy_from_slice(now))?;
            self.dirty.lock().insert(number);
            (rest, offset) = (later, offset + now.len() as u64);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let dirty = mem::take(&mut *self.dirty.lock());
        for number in dirty {
            // A copy: the shard must not be locked while the system writes.
            let Some(image) = self.pages.get(&number).map(|page| page.clone()) else { continue };
            self.file.write_all_at(&*image, number * PAGE as u64)?;
        }
        self.file.sync_data()
    }
}
