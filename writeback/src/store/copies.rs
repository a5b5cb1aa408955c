//! The kernel's own copy of what a file is written: the device begins with it early, and it is dropped once it is durable, where that is asked for.
//!
//! A *long run* is followed by a call that has the kernel write it to the device at once, unless that is refused: a flush finds little
//! left to do, and the device works while the next run is gathered. The kernel keeps its copy.
//!
//! What one call writes the kernel keeps in pieces as large (folios of up to a megabyte and more), and every later write of a single page in one of these,
//! and the flush after it, walks all blocks of the piece. So one call writes a *piece* of [`PIECE`] bytes and no more, unless a page is longer: a load takes
//! some per cent more of the processor for it, and a page that is written later half of what it took.
//!
//! The cache has these pages, so the kernel's copy is memory for nothing. If it is not wanted, three things are done, the first and the third only if the device is to begin early. All are hints:
//!
//! * A call that writes a long run says `RWF_DONTCACHE`: the kernel writes it to the device at once, and drops it then. Linux has the flag since
//!   6.14, with races that were found later, for which it was turned off until they were mended: it is used from 6.16 on. A file system that
//!   refuses it is asked once.
//! * After a flush it is advised that *runs* written before are not needed. They are clean then, and those are dropped that
//!   the flag has left: of a run that was overwritten where the file had room already, and of shorter runs.
//! * Between two flushes that is advised of a long run when some others have been written after it: the device is likely to have it by then. So the
//!   kernel's memory for these runs does not grow with a load, however long that is.
//!
//! Where there is no flag, the device begins as if the copy was wanted, and advice is given after the flush only: of what is being written it would have
//! every processor hand over what it keeps of pages, in vain and at each run.
//!
//! Ranges are taken out before the flush begins and dropped after it has succeeded and was told: what is written meanwhile is left for the next one.
//! Advice drops nothing that is dirty, so a range that is out of date costs time at the most. So that it is not much, few ranges are remembered: too many are
//! made fewer where two lie close to each other, and the shortest is forgotten where none do.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::IoSlice;

use crate::errno::Errno;

use crate::primitives::{HintBool, Mutex, Ordering};

/// Bytes in a run from which on the device is to begin at once. What is shorter is better left to the
/// kernel, which may merge it.
const LONG: usize = 256 * 1024;
/// Most bytes that one call writes, of pages that are not longer, where the kernel keeps them.
const PIECE: usize = 128 * 1024;
/// Bytes in a run from which on its copy is dropped after a flush. The pieces of what is shorter are small.
const RUN: u64 = 16 * 1024;
/// Most ranges that are remembered one by one.
const RANGES_MAX: usize = 64;
/// Long runs after which the device is likely to have the one before them.
const LAG: usize = 16;

/// Most bytes between two ranges that become one.
const GAP_MAX: u64 = 1 << 20;

/// What is to become of the kernel's copy of a file.
#[derive(Debug)]
pub(super) struct Copies {
    /// Whether there are any: with direct I/O there are none.
    exist: bool,
    /// Whether the device is to begin with long runs at once.
    is_early: bool,
    /// Whether nobody needs it.
    unwanted: bool,
    /// Whether the kernel has refused the flag, or has none that can be used.
    is_refused: HintBool,
    /// Runs written since the last flush was begun.
    runs: Mutex<Runs>,
}

impl Copies {
    pub(super) fn new(exist: bool) -> Self {
        Self { exist, is_early: exist, ..Self::on(false, system::has_flag()) }
    }

    fn on(unwanted: bool, has_flag: bool) -> Self {
        let (is_refused, runs) = (HintBool::new(!has_flag), Mutex::new(Runs::default()));
        Self { exist: true, is_early: true, unwanted, is_refused, runs }
    }

    pub(super) fn begin_early(&mut self, yes: bool) {
        self.is_early = yes && self.exist;
    }

    pub(super) fn keep(&mut self, yes: bool) {
        self.unwanted = !yes && self.exist;
    }

    /// Writes as `pwritev` does, and no more than a piece where the kernel keeps it.
    pub(super) fn write(
        &self,
        file: &File,
        slices: &[IoSlice<'_>],
        at: u64,
    ) -> Result<usize, Errno> {
        let plain = || super::system::pwritev(file, self.piece(slices), at);
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        self.write_by(len, at, || system::write_dropping(file, slices, at), plain)
    }

    /// By one of two ways.
    fn write_by(
        &self,
        len: usize,
        at: u64,
        dropping: impl FnOnce() -> Result<usize, Errno>,
        plain: impl FnOnce() -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        // The call that has flags takes the last offset of all for "wherever the file's position is".
        let is_offset = at <= i64::MAX.unsigned_abs();
        if !is_offset || !self.is_dropped(len as u64) {
            return plain();
        }
        match dropping() {
            // If it is not the flag that is wrong, or the call that has flags, the other call says so as well.
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
                self.is_refused.store(true, Ordering::Relaxed);
                plain()
            }
            written => written,
        }
    }

    /// What one call is to write of them, at least one.
    fn piece<'a, 'b>(&self, slices: &'a [IoSlice<'b>]) -> &'a [IoSlice<'b>] {
        if !self.exist {
            return slices;
        }
        let mut len = 0;
        let fit = slices.iter().take_while(|slice| {
            len += slice.len();
            len <= PIECE
        });
        &slices[..fit.count().max(1).min(slices.len())]
    }

    /// Whether the kernel is to drop a run of so many bytes as the device has it.
    fn is_dropped(&self, len: u64) -> bool {
        // Relaxed: who does not see it yet is refused too.
        let is_refused = self.is_refused.load(Ordering::Relaxed);
        self.unwanted && self.is_early && len >= LONG as u64 && !is_refused
    }

    /// Takes note of a run that was written: tells the device to begin if that is much, and has not been told with it.
    pub(super) fn note(&self, file: &File, offset: u64, len: u64) {
        if self.is_early && len >= LONG as u64 && !self.is_dropped(len) {
            page_frames::start_writing(file, offset, len);
        }
        if let Some((offset, len)) = self.noted(offset, len) {
            system::advise(file, offset, len);
        }
    }

    /// What is to be advised of already: a run before this one, if the device was made to begin with it.
    fn noted(&self, offset: u64, len: u64) -> Option<Range> {
        if !self.unwanted || len < RUN {
            return None;
        }
        let mut runs = self.runs.lock();
        runs.add(offset, len);
        if self.is_dropped(len) { runs.add_long(offset, len) } else { None }
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
    /// Ends by offsets; they do not overlap.
    all: BTreeMap<u64, u64>,
    /// The last long ones.
    long: VecDeque<Range>,
}

impl Runs {
    fn add(&mut self, offset: u64, len: u64) {
        let (mut start, mut end) = (offset, offset.saturating_add(len));
        // Those that it touches are one with it.
        while let Some((&before, &before_end)) = self.all.range(..=end).next_back()
            && before_end >= start
        {
            self.all.remove(&before);
            (start, end) = (start.min(before), end.max(before_end));
        }
        self.all.insert(start, end);
        if self.all.len() > RANGES_MAX {
            self.make_fewer();
        }
    }

    fn make_fewer(&mut self) {
        let nexts = self.all.iter().skip(1);
        let gaps =
            self.all.iter().zip(nexts).map(|((first, end), (next, _))| (next - end, *first, *next));
        match gaps.min() {
            Some((gap, first, next)) if gap <= GAP_MAX => {
                let end = self.all.remove(&next);
                self.all.extend(end.map(|end| (first, end)));
            }
            _ => {
                let lens = self.all.iter().map(|(start, end)| (end - start, *start));
                let shortest = lens.min().map(|(_, start)| start);
                shortest.and_then(|start| self.all.remove(&start));
            }
        }
    }

    /// Adds a long one, and returns the one that came [`LAG`] before it.
    fn add_long(&mut self, offset: u64, len: u64) -> Option<Range> {
        self.long.push_back((offset, len));
        if self.long.len() > LAG { self.long.pop_front() } else { None }
    }

    /// Drops the kernel's copy of them, now that they are durable.
    pub(super) fn drop_from(self, file: &File) {
        for (start, end) in self.all {
            system::advise(file, start, end - start);
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::num::NonZeroU64;

    use rustix::fs::{Advice, fadvise};

    use super::*;

    /// Whether this Linux has `RWF_DONTCACHE` without the races that it had at first.
    #[cfg(target_os = "linux")]
    pub(super) fn has_flag() -> bool {
        static HAS_FLAG: crate::primitives::HintOnce<bool> = crate::primitives::HintOnce::new();
        *HAS_FLAG.get_or_init(|| is_sound(&rustix::system::uname().release().to_string_lossy()))
    }

    #[cfg(target_os = "android")]
    pub(super) fn has_flag() -> bool {
        false
    }

    /// Of a release as "6.16.3-amd64".
    #[cfg(target_os = "linux")]
    pub(super) fn is_sound(release: &str) -> bool {
        let mut numbers = release.split(|character: char| !character.is_ascii_digit());
        let mut next = || numbers.next()?.parse::<u32>().ok();
        next().zip(next()).is_some_and(|version| version >= (6, 16))
    }

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

    pub(super) fn has_flag() -> bool {
        false
    }

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
        write_at(copies, len, 0, dropping)
    }

    fn write_at(
        copies: &Copies,
        len: usize,
        at: u64,
        dropping: Result<usize, Errno>,
    ) -> (Result<usize, Errno>, u32, u32) {
        let (by_dropping, by_plain) = (Cell::new(0), Cell::new(0));
        let outcome = copies.write_by(
            len,
            at,
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
        for errno in [Errno::OPNOTSUPP, Errno::INVAL, Errno::NOSYS, Errno::PERM] {
            let copies = Copies::on(true, true);
            assert_eq!(write(&copies, LONG, Ok(LONG / 2)), (Ok(LONG / 2), 1, 0));
            assert_eq!(write(&copies, LONG, Err(errno)), (Ok(LONG), 1, 1));
            assert_eq!(write(&copies, LONG, Ok(LONG)), (Ok(LONG), 0, 1));
        }
    }

    #[test]
    fn the_files_position_is_no_offset() {
        let copies = Copies::on(true, true);
        assert_eq!(write_at(&copies, LONG, u64::MAX, Ok(0)), (Ok(LONG), 0, 1));
        assert_eq!(write_at(&copies, LONG, i64::MAX as u64, Ok(LONG)), (Ok(LONG), 1, 0));
    }

    #[test]
    fn one_call_writes_a_piece_or_one_page_where_the_kernel_keeps_it() {
        let (page, long) = ([0; 4096], vec![0; 2 * PIECE]);
        let pieces = |copies: &Copies, slices: &[&[u8]]| {
            let slices: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
            copies.piece(&slices).len()
        };
        let kept = Copies::new(true);
        assert_eq!(pieces(&kept, &[&page[..]; 3]), 3);
        assert_eq!(pieces(&kept, &[&page[..]; 100]), PIECE / 4096);
        assert_eq!(pieces(&kept, &[&page[..100], &long, &page]), 1);
        assert_eq!(pieces(&kept, &[&long[..], &page]), 1);
        assert_eq!(pieces(&Copies::new(false), &[&long[..], &long, &page]), 3);
    }

    #[test]
    fn other_errors_are_those_of_the_write() {
        let copies = Copies::on(true, true);
        for errno in [Errno::INTR, Errno::NOSPC, Errno::IO] {
            assert_eq!(write(&copies, LONG, Err(errno)), (Err(errno), 1, 0));
        }
    }

    #[test]
    fn what_is_short_or_wanted_is_written_as_ever() {
        let [little, all] = [true, false].map(|unwanted| Copies::on(unwanted, true));
        assert_eq!(write(&little, LONG - 1, Ok(0)), (Ok(LONG - 1), 0, 1));
        assert_eq!(write(&all, LONG, Ok(0)), (Ok(LONG), 0, 1));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_flag_is_used_where_its_races_are_mended() {
        for release in ["6.16.0", "6.16", "6.18.44-fc", "7.0-rc1", "10.1"] {
            assert!(system::is_sound(release), "{release}");
        }
        for release in ["6.14.2-generic", "6.15.9", "6.6.16", "5.19.0", "4.4", "", "6", "a.b"] {
            assert!(!system::is_sound(release), "{release}");
        }
        let copies = Copies::on(true, false);
        assert_eq!(write(&copies, LONG, Ok(LONG)), (Ok(LONG), 0, 1));
    }

    #[test]
    fn without_the_flag_nothing_is_advised_of_before_a_flush() {
        let long = LONG as u64;
        let advised = |unwanted, has_flag| {
            let copies = Copies::on(unwanted, has_flag);
            let runs = 0..=LAG as u64;
            let advised: Vec<_> =
                runs.map(|number| copies.noted(number * 2 * long, long)).collect();
            assert_eq!(copies.take().all.len(), if unwanted { LAG + 1 } else { 0 });
            assert_eq!(advised[..LAG], [None; LAG]);
            advised[LAG]
        };
        assert_eq!(advised(true, true), Some((0, long)));
        assert_eq!(advised(true, false), None);
        assert_eq!(advised(false, true), None);
    }

    fn runs(ranges: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
        let mut runs = Runs::default();
        ranges.into_iter().for_each(|(offset, len)| runs.add(offset, len));
        runs.all.into_iter().collect()
    }

    #[test]
    fn runs_that_touch_are_one() {
        assert_eq!(runs([(10, 10), (30, 10), (20, 10)]), [(10, 40)]);
        assert_eq!(runs([(10, 10), (30, 10), (0, 100)]), [(0, 100)]);
        assert_eq!(runs([(10, 90), (30, 10), (21, 5)]), [(10, 100)]);
        assert_eq!(runs([(10, 10), (21, 9), (0, 9)]), [(0, 9), (10, 20), (21, 30)]);
    }

    #[test]
    fn of_too_many_runs_those_are_one_that_lie_closest() {
        let max = RANGES_MAX as u64;
        let apart = |number: u64| (number * 3 * RUN, RUN);
        let mut many: Vec<_> = (0..max).map(apart).collect();
        assert_eq!(runs(many.clone()).len(), RANGES_MAX);
        // Closer to the last one than the others to each other.
        many.push(((max - 1) * 3 * RUN + 2 * RUN, RUN));
        let found = runs(many);
        assert_eq!(found.len(), RANGES_MAX);
        assert_eq!(found[0], (0, RUN));
        assert_eq!(found[RANGES_MAX - 1], ((max - 1) * 3 * RUN, ((max - 1) * 3 + 3) * RUN));
    }

    #[test]
    fn what_lies_far_apart_is_forgotten_before_all_between_is_walked() {
        let far = (0..=RANGES_MAX as u64)
            .map(|number| (number << 30, if number == 7 { RUN } else { 2 * RUN }));
        let found = runs(far);
        assert_eq!(found.len(), RANGES_MAX);
        assert!(found.iter().all(|(start, end)| end - start == 2 * RUN && *start != 7 << 30));
    }

    #[test]
    fn short_runs_are_none() {
        let copies = Copies::on(true, true);
        assert_eq!(copies.noted(0, RUN - 1), None);
        assert!(copies.take().all.is_empty());
        copies.noted(0, RUN);
        assert_eq!((copies.take().all.len(), copies.take().all.len()), (1, 0));
    }
}
