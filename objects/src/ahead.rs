//! Read-ahead: runs of reads are recognised, and what follows them is fetched in segments of a MiB, several at once.
//!
//! A segment is fetched as the store is at some time after it was begun, and is forgotten, done or not, by any write,
//! cut or punch of one of its chunks, in the same moment as that takes place. So what is still here is as the store is. Whoever has begun to wait for
//! a segment reads it, and the cache writes nothing that is being read.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;
use futures::future::{BoxFuture, Shared};

/// What a segment's fetch comes to; `None` if it failed, and whoever needs it asks anew.
pub(crate) type Fetch = Shared<BoxFuture<'static, Option<std::sync::Arc<[Bytes]>>>>;

const SEGMENT: u64 = 1 << 20;
/// How many segments are begun in front of a reader.
const DEPTH: u64 = 8;
const SEGMENTS_MAX: usize = 32;
/// So many readers in sequence are told from each other.
const READERS_MAX: usize = 8;
/// After so many reads that follow each other, the next is expected to follow as well.
const SEQUENCE: u32 = 2;

pub(crate) struct Ahead {
    /// Chunks of a segment.
    pub(crate) per_segment: u64,
    segments: BTreeMap<u64, Fetch>,
    /// In the order they were begun.
    order: VecDeque<u64>,
    /// Where a reader is expected next, and how many of its reads were as expected.
    readers: VecDeque<(u64, u32)>,
}

impl Ahead {
    pub(crate) fn new(chunk: u64) -> Self {
        Self {
            per_segment: (SEGMENT / chunk).max(1),
            segments: BTreeMap::new(),
            order: VecDeque::new(),
            readers: VecDeque::new(),
        }
    }

    /// These are read. Returns the segments that are worth to be begun, of those that begin before `end`.
    pub(crate) fn note(&mut self, chunks: &Range<u64>, end: u64) -> Range<u64> {
        let known = self.readers.iter().position(|(next, _)| *next == chunks.start);
        let (_, streak) = known.and_then(|at| self.readers.remove(at)).unwrap_or((0, 0));
        self.readers.push_back((chunks.end, streak.saturating_add(1)));
        if self.readers.len() > READERS_MAX {
            self.readers.pop_front();
        }
        if streak < SEQUENCE {
            return 0..0;
        }
        // So that what one reader looks ahead to is not forgotten for what another does, with one segment each that is half read.
        let readers = self.readers.iter().filter(|(_, streak)| *streak > SEQUENCE).count();
        let depth = DEPTH.min((SEGMENTS_MAX / readers) as u64 - 1);
        let first = chunks.end.div_ceil(self.per_segment);
        let last = (first + depth).min(end.div_ceil(self.per_segment));
        first..last.max(first)
    }

    pub(crate) fn has(&self, segment: u64) -> bool {
        self.segments.contains_key(&segment)
    }

    pub(crate) fn begin(&mut self, segment: u64, fetch: Fetch) {
        self.segments.insert(segment, fetch);
        self.order.push_back(segment);
        while self.order.len() > SEGMENTS_MAX {
            let oldest = self.order.pop_front().expect("there are many");
            self.segments.remove(&oldest);
        }
    }

    /// The segment's fetch, if there is one. It is forgotten if these chunks of it are the last.
    pub(crate) fn take(&mut self, segment: u64, chunks: &Range<u64>) -> Option<Fetch> {
        let fetch = self.segments.get(&segment)?.clone();
        if chunks.end.is_multiple_of(self.per_segment) {
            self.forget_segment(segment);
        }
        Some(fetch)
    }

    pub(crate) fn forget(&mut self, chunks: Range<u64>) {
        let segments = chunks.start / self.per_segment..chunks.end.div_ceil(self.per_segment);
        let inside: Vec<u64> = self.segments.range(segments).map(|(segment, _)| *segment).collect();
        inside.into_iter().for_each(|segment| self.forget_segment(segment));
    }

    fn forget_segment(&mut self, segment: u64) {
        self.segments.remove(&segment);
        self.order.retain(|own| *own != segment);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn fetch() -> Fetch {
        async { None }.boxed().shared()
    }

    #[test]
    fn the_third_read_in_sequence_is_the_first_to_look_ahead() {
        let mut ahead = Ahead::new(4096);
        assert_eq!(ahead.note(&(0..32), 1 << 20), 0..0);
        assert_eq!(ahead.note(&(1000..1032), 1 << 20), 0..0, "another reader");
        assert_eq!(ahead.note(&(32..64), 1 << 20), 0..0);
        assert_eq!(ahead.note(&(64..96), 1 << 20), 1..9);
        assert_eq!(ahead.note(&(96..256), 1 << 20), 1..9);
        assert_eq!(ahead.note(&(256..300), 1000), 2..4, "not beyond the end");
        assert_eq!(ahead.note(&(1032..1064), 1000), 0..0);
        assert_eq!(ahead.note(&(1064..1096), 1000), 5..5);
    }

    #[test]
    fn readers_side_by_side_have_room_for_what_they_look_ahead_to() {
        let mut ahead = Ahead::new(1 << 20);
        let mut wasted = 0;
        for at in 0..100 {
            for reader in 0..8 {
                let chunk = reader * 1000 + at;
                let begun = ahead.note(&(chunk..chunk + 1), 1 << 20);
                wasted += u64::from(at > 10 && !ahead.has(chunk));
                ahead.take(chunk, &(chunk..chunk + 1));
                for segment in begun {
                    if !ahead.has(segment) {
                        ahead.begin(segment, fetch());
                    }
                }
            }
        }
        assert_eq!(wasted, 0);
    }

    #[test]
    fn a_write_forgets_its_segment_and_no_other() {
        let mut ahead = Ahead::new(4096);
        (0..4).for_each(|segment| ahead.begin(segment, fetch()));
        ahead.forget(256..257);
        assert_eq!([0, 1, 2, 3].map(|segment| ahead.has(segment)), [true, false, true, true]);
        ahead.forget(511..600);
        assert_eq!([0, 2, 3].map(|segment| ahead.has(segment)), [true, false, true]);
        assert!(ahead.take(0, &(0..255)).is_some() && ahead.has(0));
        assert!(ahead.take(0, &(255..256)).is_some() && !ahead.has(0), "it was the last of it");
        ahead.forget(0..u64::MAX);
        assert!(!ahead.has(3) && ahead.order.is_empty());
    }

    #[test]
    fn no_more_than_so_many_are_kept() {
        let mut ahead = Ahead::new(1 << 20);
        (0..100).for_each(|segment| ahead.begin(segment, fetch()));
        assert_eq!(
            (ahead.segments.len(), ahead.has(99), ahead.has(0)),
            (SEGMENTS_MAX, true, false)
        );
    }
}
