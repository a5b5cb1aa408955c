//! What flushes have replaced and the database still has.
//!
//! The batch of a flush says itself what it makes garbage, under the key `g` of its number, and what has been swept takes that key away: so a crash
//! before the sweep costs nothing but the time until the store is opened again. Ranges say where to look, not what to delete:
//! that is decided chunk by chunk when their turn comes.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::keys::Space;

/// Where garbage may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Chunks(Space, Range<u64>),
    /// All that was spilled in these generations, for flushes that never came.
    Generations(Range<u64>),
}

/// What one flush has replaced.
#[derive(Debug)]
pub(crate) struct Heap {
    /// The number of its key.
    pub(crate) number: u64,
    pub(crate) parts: Vec<Part>,
    /// Locked by the reads that may have looked up places before the flush.
    pub(crate) readers: Arc<tokio::sync::RwLock<()>>,
}

/// In an encoded part: a generation that none has, for those of pages and of generations.
const PAGES: u64 = 0;
const GENERATIONS: u64 = u64::MAX;

impl Heap {
    pub(crate) fn new(number: u64, parts: Vec<Part>) -> Self {
        Self { number, parts: joined(parts), readers: Arc::default() }
    }

    /// Whether it says that this may be garbage.
    pub(crate) fn names(&self, space: Space, chunk: u64) -> bool {
        let behind = self.parts.partition_point(|part| key(part) <= (Some(space), chunk, u64::MAX));
        let last = behind.checked_sub(1).map(|at| &self.parts[at]);
        matches!(last, Some(Part::Chunks(own, range)) if *own == space && range.contains(&chunk))
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.parts.len() * 24);
        for part in &self.parts {
            let (kind, range) = match part {
                Part::Chunks(Space::Pages, range) => (PAGES, range),
                Part::Chunks(Space::Spilled(generation), range) => (*generation, range),
                Part::Generations(range) => (GENERATIONS, range),
            };
            [kind, range.start, range.end].into_iter().for_each(|number| bytes.put_u64(number));
        }
        bytes.freeze()
    }

    /// `None`: something else wrote it.
    pub(crate) fn decode(number: u64, mut bytes: &[u8]) -> Option<Self> {
        let mut parts = Vec::with_capacity(bytes.len() / 24);
        while !bytes.is_empty() {
            let kind = bytes.try_get_u64().ok()?;
            let range = bytes.try_get_u64().ok()?..bytes.try_get_u64().ok()?;
            parts.push(match kind {
                PAGES => Part::Chunks(Space::Pages, range),
                GENERATIONS => Part::Generations(range),
                generation => Part::Chunks(Space::Spilled(generation), range),
            });
        }
        Some(Self::new(number, parts))
    }
}

/// In order, and one where several touch: each costs a request or two.
fn joined(mut parts: Vec<Part>) -> Vec<Part> {
    parts.sort_unstable_by_key(key);
    let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts {
        match (joined.last_mut(), &part) {
            (_, Part::Chunks(_, range)) if range.is_empty() => {}
            (Some(Part::Chunks(space, last)), Part::Chunks(own, range))
                if space == own && range.start <= last.end =>
            {
                last.end = last.end.max(range.end);
            }
            _ => joined.push(part),
        }
    }
    joined
}

fn key(part: &Part) -> (Option<Space>, u64, u64) {
    match part {
        Part::Chunks(space, range) => (Some(*space), range.start, range.end),
        Part::Generations(range) => (None, range.start, range.end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_touches_is_one_and_comes_back_from_the_database() {
        let spilled = |generation, range| Part::Chunks(Space::Spilled(generation), range);
        let parts = vec![
            spilled(7, 3..4),
            Part::Chunks(Space::Pages, 5..9),
            spilled(7, 2..3),
            spilled(8, 4..5),
            spilled(7, 4..4),
            Part::Generations(9..20),
            Part::Chunks(Space::Pages, 6..7),
        ];
        let heap = Heap::new(3, parts);
        let expected = [
            Part::Generations(9..20),
            Part::Chunks(Space::Pages, 5..9),
            spilled(7, 2..4),
            spilled(8, 4..5),
        ];
        assert_eq!(heap.parts, expected);
        let named = |space| (0..12).filter(|chunk| heap.names(space, *chunk)).collect::<Vec<_>>();
        assert_eq!(named(Space::Pages), [5, 6, 7, 8]);
        assert_eq!((named(Space::Spilled(7)), named(Space::Spilled(8))), (vec![2, 3], vec![4]));
        assert!(named(Space::Spilled(9)).is_empty() && named(Space::Spilled(6)).is_empty());
        let bytes = heap.encode();
        assert_eq!(Heap::decode(3, &bytes).unwrap().parts, expected);
        assert!(Heap::decode(3, &bytes[1..]).is_none());
    }
}
