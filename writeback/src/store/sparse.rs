//! Sparse bytes in memory, cheap to copy: what the stores in memory keep their contents in.
//!
//! Knows offsets and a length; it does not know what is accepted or durable.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Bytes a chunk has.
pub(super) const CHUNK: usize = 4096;

/// The chunk a byte is in, and where in it.
fn place(offset: u64) -> (u64, usize) {
    let within = usize::try_from(offset % CHUNK as u64).expect("less than a chunk");
    (offset / CHUNK as u64, within)
}

/// Calls `f` with (piece, offset in it, offset in the span, bytes) for each piece of `size` bytes that
/// the span of `len` bytes from `offset` touches.
pub(super) fn pieces(
    size: usize,
    offset: u64,
    len: usize,
    mut f: impl FnMut(u64, usize, usize, usize),
) {
    let mut done = 0;
    while done < len {
        let at = offset + done as u64;
        let within = usize::try_from(at % size as u64).expect("less than a piece");
        let count = (len - done).min(size - within);
        f(at / size as u64, within, done, count);
        done += count;
    }
}

/// Sparse bytes: chunks that were never written are zeros. A copy shares them until it is written to.
#[derive(Debug, Default, Clone)]
pub(super) struct Sparse {
    chunks: BTreeMap<u64, Arc<Vec<u8>>>,
    len: u64,
}

impl Sparse {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Writes `bytes`, lengthening it if it ends earlier.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        pieces(CHUNK, offset, bytes.len(), |chunk, within, done, count| {
            let chunk = self.chunks.entry(chunk).or_insert_with(|| Arc::new(vec![0; CHUNK]));
            let chunk = Arc::make_mut(chunk);
            chunk[within..within + count].copy_from_slice(&bytes[done..done + count]);
        });
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    /// Reads up to the end; returns how many bytes.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> usize {
        let there = self.len.saturating_sub(offset).min(into.len() as u64);
        let there = usize::try_from(there).expect("at most the length of a slice");
        pieces(CHUNK, offset, there, |chunk, within, done, count| {
            let into = &mut into[done..done + count];
            match self.chunks.get(&chunk) {
                Some(chunk) => into.copy_from_slice(&chunk[within..within + count]),
                None => into.fill(0),
            }
        });
        there
    }

    /// Cuts it, or lengthens it with zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.chunks.split_off(&len.div_ceil(CHUNK as u64));
            let (last, within) = place(len);
            if let Some(last) = self.chunks.get_mut(&last) {
                Arc::make_mut(last)[within..].fill(0);
            }
        }
        self.len = len;
    }

    /// Makes bytes zeros, and gives back the memory of the chunks that have no others. Calls `changed` with each chunk.
    pub(super) fn punch(&mut self, offset: u64, len: u64, mut changed: impl FnMut(u64)) {
        self.clear(offset, len, |chunks, chunk, within| {
            changed(chunk);
            if within.len() == CHUNK {
                chunks.remove(&chunk);
            } else if let Some(bytes) = chunks.get_mut(&chunk) {
                Arc::make_mut(bytes)[within].fill(0);
            }
        });
    }

    /// Makes bytes zeros, and has memory for them. Calls `changed` with each chunk.
    pub(super) fn zero(&mut self, offset: u64, len: u64, mut changed: impl FnMut(u64)) {
        self.clear(offset, len, |chunks, chunk, within| {
            changed(chunk);
            let bytes = chunks.entry(chunk).or_insert_with(|| Arc::new(vec![0; CHUNK]));
            Arc::make_mut(bytes)[within].fill(0);
        });
    }

    /// Up to the end: behind it there is nothing to clear.
    fn clear(
        &mut self,
        offset: u64,
        len: u64,
        mut clear: impl FnMut(&mut BTreeMap<u64, Arc<Vec<u8>>>, u64, Range<usize>),
    ) {
        let len = len.min(self.len.next_multiple_of(CHUNK as u64).saturating_sub(offset));
        let len = usize::try_from(len).expect("it is in memory");
        pieces(CHUNK, offset, len, |chunk, within, _, count| {
            clear(&mut self.chunks, chunk, within..within + count);
        });
    }

    /// The first byte from `offset` on in a chunk that is stored.
    pub(super) fn next_data(&self, offset: u64) -> Option<u64> {
        let (chunk, _) = self.chunks.range(offset / CHUNK as u64..).next()?;
        Some(offset.max(chunk * CHUNK as u64)).filter(|data| *data < self.len)
    }

    /// The first byte from `offset` on in a chunk that is not stored, or the end.
    pub(super) fn next_hole(&self, offset: u64) -> Option<u64> {
        let first = offset / CHUNK as u64;
        let stored = self.chunks.range(first..).map(|(chunk, _)| *chunk);
        let run = stored.zip(first..).take_while(|(chunk, expected)| chunk == expected).count();
        let hole = offset.max((first + run as u64) * CHUNK as u64).min(self.len);
        (offset <= self.len).then_some(hole)
    }

    /// Makes one chunk that of `other`, whatever the lengths.
    pub(super) fn copy_chunk(&mut self, chunk: u64, other: &Self) {
        match other.chunks.get(&chunk) {
            Some(bytes) => self.chunks.insert(chunk, Arc::clone(bytes)),
            None => self.chunks.remove(&chunk),
        };
    }

    /// How many bytes of memory its contents take.
    #[cfg(feature = "fault")]
    pub(super) fn stored(&self) -> u64 {
        self.chunks.len() as u64 * CHUNK as u64
    }

    /// Tells whether the bytes of a chunk are stored.
    #[cfg(feature = "fault")]
    pub(super) fn has_chunk(&self, chunk: u64) -> bool {
        self.chunks.contains_key(&chunk)
    }

    /// All of it.
    ///
    /// # Panics
    /// If it does not fit into memory.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).expect("fits into memory")];
        self.read(0, &mut bytes);
        bytes
    }
}
