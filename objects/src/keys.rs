//! What stands in the database: keys and the record that a flush ends with.
//!
//! | key | value |
//! |---|---|
//! | `m` | the [`Record`] |
//! | `p` chunk | its bytes up to the last that is not zero; none if all are |
//! | `s` generation chunk | the same, of a chunk that was put before its flush |
//! | `g` number of a flush | where that has left garbage: see [`garbage`](crate::garbage) |
//! | `x` first chunk | end and generation of a run whose chunks are under `s`, or, with generation 0, are zeros |
//!
//! Numbers are big-endian, so that what lies side by side in the store does so here.

use bytes::{BufMut, Bytes, BytesMut};
use slatedb::config::ScanOptions;
use std::ops::Range;

pub(crate) const RECORD: &[u8] = b"m";
const FORMAT: &[u8; 8] = b"wbpages1";

/// Where chunks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Space {
    /// Flushed, one by one.
    Pages,
    /// Put ahead of the flush that ended this generation. None is used twice, whatever becomes of a flush or of the process.
    Spilled(u64),
}

impl Space {
    pub(crate) fn key(self, chunk: u64) -> Bytes {
        let mut key = BytesMut::with_capacity(17);
        match self {
            Space::Pages => key.put_u8(b'p'),
            Space::Spilled(generation) => {
                key.put_u8(b's');
                key.put_u64(generation);
            }
        }
        key.put_u64(chunk);
        key.freeze()
    }

    pub(crate) fn keys(self, chunks: &Range<u64>) -> Range<Bytes> {
        self.key(chunks.start)..self.key(chunks.end)
    }
}

/// All keys of chunks that were spilled in `generation` or later.
pub(crate) fn spilled_since(generation: u64) -> Range<Bytes> {
    Space::Spilled(generation).key(0)..Bytes::from_static(b"t")
}

/// All keys of chunks that were spilled in these generations.
pub(crate) fn spilled_in(generations: &Range<u64>) -> Range<Bytes> {
    Space::Spilled(generations.start).key(0)..Space::Spilled(generations.end).key(0)
}

/// The key of what a flush has left as garbage.
pub(crate) fn heap(number: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(9);
    key.put_u8(b'g');
    key.put_u64(number);
    key.freeze()
}

/// All of these keys.
pub(crate) fn heaps() -> Range<Bytes> {
    Bytes::from_static(b"g")..Bytes::from_static(b"h")
}

/// For scans that go through much: few requests, several at once.
pub(crate) fn long_scan() -> ScanOptions {
    ScanOptions { read_ahead_bytes: 1 << 20, max_fetch_tasks: 8, ..ScanOptions::default() }
}

/// All keys of runs.
pub(crate) fn runs() -> Range<Bytes> {
    Bytes::from_static(b"x")..Bytes::from_static(b"y")
}

pub(crate) fn run(start: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(9);
    key.put_u8(b'x');
    key.put_u64(start);
    key.freeze()
}

pub(crate) fn run_value(end: u64, generation: u64) -> Bytes {
    let mut value = BytesMut::with_capacity(16);
    value.put_u64(end);
    value.put_u64(generation);
    value.freeze()
}

pub(crate) fn run_of(key: &[u8], value: &[u8]) -> Option<(Range<u64>, u64)> {
    Some((number(key, 1)?..number(value, 0)?, number(value, 8)?))
}

/// Of a key under `s`.
pub(crate) fn generation_of(key: &[u8]) -> Option<u64> {
    number(key, 1)
}

/// The number that a key ends with.
pub(crate) fn chunk_of(key: &[u8]) -> Option<u64> {
    number(key, key.len().checked_sub(8)?)
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(u64::from_be_bytes(bytes.try_into().expect("eight bytes")))
}

/// What a flush says of the store as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) chunk: u32,
    pub(crate) len: u64,
    /// Of the flush. What was spilled in a later one belongs to nothing.
    pub(crate) generation: u64,
    /// No chunk from here on has a key of its own under `p`.
    pub(crate) end: u64,
}

impl Record {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(36);
        bytes.put_slice(FORMAT);
        bytes.put_u32(self.chunk);
        bytes.put_u64(self.len);
        bytes.put_u64(self.generation);
        bytes.put_u64(self.end);
        bytes.freeze()
    }

    /// `None`: something else wrote it.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(FORMAT)?;
        if rest.len() != 28 {
            return None;
        }
        let chunk = u32::from_be_bytes(rest[..4].try_into().expect("four bytes"));
        let generation = number(rest, 12)?;
        Some(Self { chunk, len: number(rest, 4)?, generation, end: number(rest, 20)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_chunks_do_and_come_back() {
        for space in [Space::Pages, Space::Spilled(3)] {
            let keys: Vec<_> = [0, 1, 255, 256, u64::MAX].map(|chunk| space.key(chunk)).to_vec();
            assert!(keys.is_sorted());
            assert_eq!(chunk_of(&keys[3]), Some(256));
        }
        let orphans = spilled_since(4);
        assert!(!orphans.contains(&Space::Spilled(3).key(u64::MAX)));
        assert!(orphans.contains(&Space::Spilled(4).key(0)));
        assert!(!orphans.contains(&Space::Pages.key(0)) && !orphans.contains(&run(0)));
        let (spilled, later) = (Space::Spilled(3).key(u64::MAX), Space::Spilled(4).key(0));
        assert!(spilled_in(&(3..4)).contains(&spilled) && !spilled_in(&(3..4)).contains(&later));
        assert_eq!((generation_of(&later), chunk_of(&heap(8))), (Some(4), Some(8)));
        assert!(heaps().contains(&heap(u64::MAX)));
        assert_eq!(run_of(&run(5), &run_value(9, 2)), Some((5..9, 2)));
        assert_eq!((run_of(b"x", b""), chunk_of(b"")), (None, None));
    }

    #[test]
    fn a_record_comes_back_and_nothing_else_is_one() {
        let record = Record { chunk: 4096, len: 5, generation: 6, end: 7 };
        assert_eq!(Record::decode(&record.encode()), Some(record));
        assert_eq!(Record::decode(&record.encode()[..35]), None);
        assert_eq!(Record::decode(b"wbpages2"), None);
        assert_eq!(Record::decode(b""), None);
    }
}
