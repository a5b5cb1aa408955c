//! `--input`: the contents of a real file, rewritten again and again.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use sha2::{Digest, Sha256};

use crate::common::workload::Workload;
use crate::common::{Fallible, at};

/// A file that is read and never written.
///
/// Its pages have two faces: as they are in even versions, and with every bit inverted in odd ones,
/// so that a page left out is never right by accident. Writers go over all pages in shuffled order,
/// inverting them, and a second time, turning them back, and so on until time is up.
#[derive(Debug)]
pub(crate) struct Input {
    file: File,
    path: String,
    len: u64,
    page_size: usize,
    order: Vec<usize>,
    /// How many pages were given out.
    given: Mutex<usize>,
}

impl Input {
    pub(crate) fn open(path: &Path, page_size: usize, seed: u64) -> Fallible<Self> {
        let name = path.display().to_string();
        let failed = |error: io::Error| format!("cannot read {name}: {error}");
        // Asked before it is opened, which waits if it is a pipe.
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(format!("cannot read {name}: not a regular file").into());
        }
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let pages = usize::try_from(len.div_ceil(page_size as u64))?;
        let mut order: Vec<_> = (0..pages).collect();
        order.shuffle(&mut SmallRng::seed_from_u64(seed));
        Ok(Self { file, path: name, len, page_size, order, given: Mutex::new(0) })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn path(&self) -> &Path {
        Path::new(&self.path)
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// How many times every page was rewritten.
    pub(crate) fn passes(&self) -> usize {
        self.given.lock().checked_div(self.order.len()).unwrap_or(0)
    }

    /// SHA-256 of the input as it is now.
    pub(crate) fn digest(&self) -> Fallible<String> {
        digest(&self.file).map_err(|error| format!("cannot read {}: {error}", self.path).into())
    }
}

/// SHA-256 of a whole file, as `sha256sum` prints it.
pub(crate) fn digest(file: &File) -> io::Result<String> {
    let (mut hasher, mut buffer, mut offset) = (Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        match at::read_at(file, &mut buffer, offset) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&buffer[..count]);
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Workload for Input {
    fn pages(&self) -> usize {
        self.order.len()
    }

    fn page_len(&self, page: usize) -> usize {
        let left = self.len - page as u64 * self.page_size as u64;
        usize::try_from(left).unwrap_or(usize::MAX).min(self.page_size)
    }

    fn fill(&self, page: usize, version: u64, bytes: &mut [u8]) -> Fallible<()> {
        let offset = page as u64 * self.page_size as u64;
        let read = at::read_exact_at(&self.file, bytes, offset);
        read.map_err(|error| format!("cannot read {}: {error}", self.path))?;
        if version % 2 == 1 {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
        }
        Ok(())
    }

    fn version(&self, page: usize, bytes: &[u8], newest: u64) -> Result<u64, String> {
        let mut expected = vec![0; bytes.len()];
        // The newest two versions are all there is to tell apart.
        for version in (0..=newest).rev().take(2) {
            self.fill(page, version, &mut expected).map_err(|error| error.to_string())?;
            if expected == bytes {
                return Ok(version);
            }
        }
        Err(format!("these bytes are none of the input's, up to version {newest}"))
    }

    fn next(&self, _rng: &mut SmallRng, time_up: bool) -> Option<usize> {
        let mut given = self.given.lock();
        let pages = self.order.len();
        // Whole rounds only, of which the second pass turns every page back; at least one of them.
        if time_up && *given > 0 && given.is_multiple_of(2 * pages) {
            return None;
        }
        let (pass, place) = (*given / pages, *given % pages);
        *given += 1;
        // Another order in each pass, without keeping them all.
        Some(self.order[(place + pass * 7919) % pages])
    }
}
