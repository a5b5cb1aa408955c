//! The kernel's own copy of what a file is written: the device begins with it early, and it is dropped once it is durable.
//!
//! The cache has these pages, so the kernel's copy is memory for nothing. It is worse than that: what one call writes the kernel keeps in
//! large pieces (folios of up to a megabyte and more), and every later write of a single page in one of these, and the flush after it,
//! walks all blocks of the piece. So two things are done, and both are hints:
//!
//! * A call that writes a *long run* says `RWF_DONTCACHE`: the kernel writes it to the device at once, and drops it then. A kernel that
//!   has no such flag refuses it once. Afterwards it is advised that a run is not needed, which makes it begin as well.
//! * After a flush it is advised that *runs* written before are not needed. They are clean then, and those are dropped that
//!   the flag has left: of a run that was overwritten where the file had room already, and of shorter runs.
//! * Between two flushes that is advised of a run when some others have been written after it: the device is likely to have it by then. So the
//!   kernel's memory for these runs does not grow with a load, however long that is.
//!
//! Ranges are taken out before the flush begins and dropped after it has succeeded: what is written meanwhile is left for the next one. Advice drops
//! nothing that is dirty, so a range that is out of date costs time at the most.

use std::collections::VecDeque;
use std::fs::File;
use std::io::IoSlice;

use rustix::io::Errno;

use crate::primitives::{HintBool, Mutex, Ordering};

/// Bytes in a call from which on the device is to begin at once. What is shorter is better left to the
/// kernel, which may merge it.
const LONG: usize = 256 * 1024;
/// Bytes in a run from which on its copy is dropped after a flush. The pieces of what is shorter are small.
const RUN: u64 = 16 * 1024;
/// Most ranges that are remembered one by one.
const RANGES_MAX: usize = 64;
/// Long runs after which the device is likely to have the one before them.
const LAG: usize = 16;

/// What is to become of the kernel's copy of a file.
#[derive(Debug)]
pub(super) struct Copies {
    /// Whether nobody needs it.
    unwanted: bool,
    /// Whether the kernel has refused the flag.
    is_refused: HintBool,
    /// Runs written since the last flush was begun.
    runs: Mutex<Runs>,
}

impl Copies {
    pub(super) fn new(unwanted: bool) -> Self {
        let (is_refused, runs) = (HintBool::new(false), Mutex::new(Runs::default()));
        Self { unwanted, is_refused, runs }
    }

    /// Writes as `pwritev` does, and tells the device to begin if that is much.
    pub(super) fn write(
        &self,
        file: &File,
        slices: &[IoSlice<'_>],
        at: u64,
    ) -> Result<usize, Errno> {
        let plain = || rustix::io::pwritev(file, slices, at);
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        self.write_by(len, || system::write_dropping(file, slices, at), plain)
    }

    /// By one of two ways.
    fn write_by(
        &self,
        len: usize,
        dropping: impl FnOnce() -> Result<usize, Errno>,
        plain: impl FnOnce() -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        // Relaxed: who does not see it yet is refused too.
        if !self.unwanted || len < LONG || self.is_refused.load(Ordering::Relaxed) {
            return plain();
        }
        match dropping() {
            // If it is not the flag that is wrong, the other call says so as well.
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                self.is_refused.store(true, Ordering::Relaxed);
                plain()
            }
            written => written,
        }
    }

    /// Takes note of a run that was written.
    pub(super) fn note(&self, file: &File, offset: u64, len: u64) {
        if !self.unwanted || len < RUN {
            return;
        }
        let is_long = len >= LONG as u64;
        if self.is_refused.load(Ordering::Relaxed) && is_long {
            system::advise(file, offset, len);
        }
        let mut runs = self.runs.lock();
        runs.add(offset, len);
        let before = if is_long { runs.add_long(offset, len) } else { None };
        drop(runs);
        if let Some((offset, len)) = before {
            system::advise(file, offset, len);
        }
    }

    /// What a flush that begins now covers.
    pub(super) fn take(&self) -> Runs {
        std::mem::take(&mut *self.runs.lock())
    }
}

/// Offset and length.
type Range = (u64, u64);

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// All of it, or one range around it, if that is too many.
    all: Vec<Range>,
    /// The last long ones.
    long: VecDeque<Range>,
}

impl Runs {
    fn add(&mut self, offset: u64, len: u64) {
        self.all.push((offset, len));
        if self.all.len() > RANGES_MAX {
            let start = self.all.iter().map(|(offset, _)| *offset).min().unwrap_or(0);
            let end = self.all.iter().map(|(offset, len)| offset + len).max().unwrap_or(0);
            self.all.clear();
            self.all.push((start, end - start));
        }
    }

    /// Adds a long one, and returns the one that came [`LAG`] before it.
    fn add_long(&mut self, offset: u64, len: u64) -> Option<Range> {
        self.long.push_back((offset, len));
        if self.long.len() > LAG { self.long.pop_front() } else { None }
    }

    /// Drops the kernel's copy of them, now that they are durable.
    pub(super) fn drop_from(self, file: &File) {
        for (offset, len) in self.all {
            system::advise(file, offset, len);
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::num::NonZeroU64;

    use rustix::fs::{Advice, fadvise};

    use super::*;

    /// `RWF_DONTCACHE`, since Linux 6.14.
    #[cfg(target_os = "linux")]
    pub(super) fn write_dropping(
        file: &File,
        slices: &[IoSlice<'_>],
        at: u64,
    ) -> Result<usize, Errno> {
        let flags = rustix::io::ReadWriteFlags::from_bits_retain(0x80);
        rustix::io::pwritev2(file, slices, at, flags)
    }

    #[cfg(target_os = "android")]
    pub(super) fn write_dropping(_: &File, _: &[IoSlice<'_>], _: u64) -> Result<usize, Errno> {
        Err(Errno::OPNOTSUPP)
    }

    /// Linux starts to write what is dirty, and drops what is clean.
    pub(super) fn advise(file: &File, offset: u64, len: u64) {
        // Whatever it says: a flush does what is left, and finds what has failed.
        let _ = fadvise(file, offset, NonZeroU64::new(len), Advice::DontNeed);
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use super::*;

    pub(super) fn write_dropping(_: &File, _: &[IoSlice<'_>], _: u64) -> Result<usize, Errno> {
        Err(Errno::OPNOTSUPP)
    }

    pub(super) fn advise(_: &File, _: u64, _: u64) {}
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// How often each of the two ways was gone, and what came of it.
    fn write(
        copies: &Copies,
        len: usize,
        dropping: Result<usize, Errno>,
    ) -> (Result<usize, Errno>, u32, u32) {
        let (by_dropping, by_plain) = (Cell::new(0), Cell::new(0));
        let outcome = copies.write_by(
            len,
            || {
                by_dropping.set(by_dropping.get() + 1);
                dropping
            },
            || {
                by_plain.set(by_plain.get() + 1);
                Ok(len)
            },
        );
        (outcome, by_dropping.get(), by_plain.get())
    }

    #[test]
    fn a_kernel_that_refuses_the_flag_is_asked_once() {
        for errno in [Errno::OPNOTSUPP, Errno::INVAL, Errno::NOSYS] {
            let copies = Copies::new(true);
            assert_eq!(write(&copies, LONG, Ok(LONG / 2)), (Ok(LONG / 2), 1, 0));
            assert_eq!(write(&copies, LONG, Err(errno)), (Ok(LONG), 1, 1));
            assert_eq!(write(&copies, LONG, Ok(LONG)), (Ok(LONG), 0, 1));
        }
    }

    #[test]
    fn other_errors_are_those_of_the_write() {
        let copies = Copies::new(true);
        for errno in [Errno::INTR, Errno::NOSPC, Errno::IO] {
            assert_eq!(write(&copies, LONG, Err(errno)), (Err(errno), 1, 0));
        }
    }

    #[test]
    fn what_is_short_or_wanted_is_written_as_ever() {
        assert_eq!(write(&Copies::new(true), LONG - 1, Ok(0)), (Ok(LONG - 1), 0, 1));
        assert_eq!(write(&Copies::new(false), LONG, Ok(0)), (Ok(LONG), 0, 1));
    }

    #[test]
    fn too_many_runs_are_one_range_around_them() {
        let (file, copies) = (tempfile::tempfile().unwrap(), Copies::new(true));
        let all = RANGES_MAX as u64;
        for number in 1..=all {
            copies.note(&file, number * 2 * RUN, RUN);
        }
        copies.note(&file, 0, RUN - 1);
        let runs = copies.take();
        assert_eq!((runs.all.len(), runs.all[0]), (RANGES_MAX, (2 * RUN, RUN)));
        for number in (1..=all + 1).rev() {
            copies.note(&file, number * 2 * RUN, RUN);
        }
        assert_eq!(copies.take().all, [(2 * RUN, (2 * all + 1) * RUN)]);
        assert!(copies.take().all.is_empty());
    }
}
