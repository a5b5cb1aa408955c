//! A line of flushes of which each is known by its number: what the disk holds after it can be said beforehand.

use writeback::Handle;

const PAGE: usize = 4096;
const PAGES: usize = 96;

/// What is written between flush `number - 1` and flush `number`.
#[derive(Debug)]
pub(crate) struct Step {
    number: u32,
    len: usize,
    writes: Vec<(usize, usize)>,
}

impl Step {
    pub(crate) fn new(number: u32) -> Self {
        let mut random = fastrand::Rng::with_seed(u64::from(number));
        let writes = (0..random.usize(1..12))
            .map(|_| {
                let start = random.usize(0..PAGES * PAGE);
                (start, random.usize(1..12 * PAGE).min(PAGES * PAGE - start))
            })
            .collect();
        // Now and then it is cut.
        let len = if random.u8(0..4) == 0 { random.usize(0..PAGES * PAGE) } else { PAGES * PAGE };
        Self { number, len, writes }
    }

    fn byte(&self, at: usize) -> u8 {
        (self.number.to_le_bytes()[at % 3]) ^ u8::try_from(at % 251).expect("less")
    }

    pub(crate) fn write(&self, handle: &Handle) -> writeback::Result<()> {
        for (start, len) in &self.writes {
            let bytes: Vec<u8> = (*start..start + len).map(|at| self.byte(at)).collect();
            handle.write_at(&bytes, *start as u64)?;
        }
        handle.set_len(self.len as u64)
    }

    fn apply(&self, disk: &mut Vec<u8>) {
        for (start, len) in &self.writes {
            disk.resize(disk.len().max(start + len), 0);
            (*start..start + len).for_each(|at| disk[at] = self.byte(at));
        }
        disk.resize(self.len, 0);
    }
}

/// The line so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Line {
    pub(crate) number: u32,
    disk: Vec<u8>,
}

impl Line {
    /// Finds `found` to be as some flush from the one with `at_least` to the one with `at_most` has left it, goes there, and tells which.
    pub(crate) fn advance(&mut self, found: &[u8], at_least: u32, at_most: u32) -> u32 {
        loop {
            if self.number >= at_least && self.disk == found {
                return self.number;
            }
            assert!(
                self.number < at_most,
                "the disk is as no flush from {at_least} to {at_most} has left it: {} bytes, {} expected, {:?} is the first other",
                found.len(),
                self.disk.len(),
                self.disk.iter().zip(found).position(|(one, other)| one != other),
            );
            self.flushed();
        }
    }

    /// The next flush has come to pass.
    pub(crate) fn flushed(&mut self) {
        self.number += 1;
        Step::new(self.number).apply(&mut self.disk);
    }
}
