//! Reading ahead: of whoever reads one page after the other, several are read with one read of the store.
//!
//! A handle remembers where its last run of missing pages ended. A miss that goes on there, or a little beyond, where some pages were cached,
//! is read with more pages behind it, each time with twice as many. Any other miss is read alone, and so is all that follows, until two go
//! on from each other again. This is looked at and changed only where a page is missing: reads of cached pages cost nothing.
//!
//! A page that was read ahead has not been used, and when its reader comes to it, that is what it came in for: no [use](crate::accounts::usage) that counts, whenever
//! that is. So a scan leaves alone what is used. No more is read ahead than comes in during a turn of the clock, and where there are few free places the run is short, as every run.

use crate::modes::Advice;
use crate::primitives::{HintU32, HintU64, Ordering};

/// So many pages are read when a second miss goes on from the first.
const FIRST: u64 = 4;

/// How the misses of a handle have followed each other. Threads that share the handle may each take the other's misses for its own: then pages are read alone.
#[derive(Debug)]
pub(crate) struct Sequence {
    /// Where the last run ended; `u64::MAX`: there was none.
    next: HintU64,
    /// How many pages it was to have.
    window: HintU64,
    /// The last of `Normal`, `Sequential` and `Random`.
    advice: HintU32,
    /// Whether there was `NoReuse` since the last `Normal`.
    no_reuse: HintU32,
}

// Relaxed throughout: hints, which cost a read more or less.
impl Sequence {
    pub(crate) fn new(advice: Advice) -> Self {
        let (next, window) = (HintU64::new(u64::MAX), HintU64::new(0));
        Self { next, window, advice: HintU32::new(advice as u32), no_reuse: HintU32::new(0) }
    }

    /// For another handle, with the advice of this one.
    pub(crate) fn advised_alike(&self) -> Self {
        let no_reuse = HintU32::new(self.no_reuse.load(Ordering::Relaxed));
        Self { no_reuse, ..Self::new(self.advice()) }
    }

    /// Whether what is read is used, for eviction.
    #[inline]
    pub(crate) fn is_use(&self) -> bool {
        self.no_reuse.load(Ordering::Relaxed) == 0
    }

    fn advice(&self) -> Advice {
        match self.advice.load(Ordering::Relaxed) {
            sequential if sequential == Advice::Sequential as u32 => Advice::Sequential,
            random if random == Advice::Random as u32 => Advice::Random,
            _ => Advice::Normal,
        }
    }

    pub(crate) fn advise(&self, advice: Advice) {
        match advice {
            Advice::NoReuse => return self.no_reuse.store(1, Ordering::Relaxed),
            Advice::Normal => self.no_reuse.store(0, Ordering::Relaxed),
            _ => {}
        }
        self.advice.store(advice as u32, Ordering::Relaxed);
    }

    /// How many pages are to be read, at most `most`, where a page is missing of which `wanted` are wanted from there on.
    pub(crate) fn missed(&self, index: u64, wanted: u64, most: u64) -> u64 {
        let (next, before) =
            (self.next.load(Ordering::Relaxed), self.window.load(Ordering::Relaxed));
        let goes_on = index.checked_sub(next).is_some_and(|passed| passed <= before);
        let window = match self.advice() {
            Advice::Sequential => most,
            Advice::Normal if goes_on => (before * 2).max(FIRST),
            _ => 0,
        };
        let pages = wanted.max(window.min(most));
        self.window.store(window.min(most), Ordering::Relaxed);
        self.next.store(index.saturating_add(pages), Ordering::Relaxed);
        pages
    }

    /// The run that began there has so many pages, and no more.
    pub(crate) fn ran(&self, index: u64, pages: u64) {
        self.next.store(index.saturating_add(pages), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn misses(sequence: &Sequence, indices: &[u64]) -> Vec<u64> {
        indices.iter().map(|index| sequence.missed(*index, 1, 64)).collect()
    }

    #[test]
    fn misses_that_go_on_read_more_each_time_up_to_a_limit() {
        let sequence = Sequence::new(Advice::Normal);
        assert_eq!(
            misses(&sequence, &[0, 1, 5, 13, 29, 61, 125, 189]),
            [1, 4, 8, 16, 32, 64, 64, 64]
        );
    }

    #[test]
    fn misses_here_and_there_are_read_alone() {
        let sequence = Sequence::new(Advice::Normal);
        assert_eq!(misses(&sequence, &[10, 12, 11, 500, 3, 499]), [1; 6]);
        // And then not: what was cached in between is passed over.
        assert_eq!(misses(&sequence, &[500, 507, 520]), [4, 8, 16]);
        assert_eq!(misses(&sequence, &[1000, 1001]), [1, 4]);
    }

    #[test]
    fn a_run_that_was_cut_short_goes_on_where_it_ended() {
        let sequence = Sequence::new(Advice::Normal);
        assert_eq!(misses(&sequence, &[0, 1]), [1, 4]);
        sequence.ran(1, 2);
        assert_eq!(misses(&sequence, &[3]), [8]);
    }

    #[test]
    fn advice_is_taken() {
        let sequence = Sequence::new(Advice::Sequential);
        assert_eq!(misses(&sequence, &[77, 5]), [64, 64]);
        sequence.advise(Advice::Random);
        assert_eq!(misses(&sequence, &[69, 70, 71]), [1; 3]);
        assert_eq!(sequence.missed(72, 9, 64), 9, "what is wanted is read");
        sequence.advise(Advice::NoReuse);
        assert_eq!(misses(&sequence, &[79]), [1], "it says nothing of the order");
        assert!(!sequence.is_use() && !sequence.advised_alike().is_use());
        sequence.advise(Advice::Sequential);
        assert!(!sequence.is_use(), "nor the order of that");
        sequence.advise(Advice::Normal);
        assert!(sequence.is_use());
        assert_eq!(misses(&sequence, &[300, 301]), [1, 4]);
    }
}
