//! What has been written and not flushed, and where to look for a chunk's bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use crate::keys::Space;
use crate::runs::{Runs, ZEROS};

/// A chunk's bytes in memory. Those that are missing at the end are zeros.
#[derive(Debug, Clone)]
pub(crate) enum Staged {
    Bytes(Bytes),
    /// What lies below, but nothing from this byte on: the store was cut there.
    Keep(usize),
}

/// Writes, cuts and punches since a flush began, up to the next.
#[derive(Debug, Default, Clone)]
pub(crate) struct Layer {
    /// Stands above `runs`.
    pub(crate) chunks: BTreeMap<u64, Staged>,
    /// Spilled with this layer's generation, or zeros.
    pub(crate) runs: Runs,
    /// What those of `chunks` take that can be spilled, about.
    pub(crate) bytes: u64,
    /// Spilled with this layer's generation, and of no use: written or zeroed again since.
    pub(crate) wasted: Vec<Range<u64>>,
}

/// What a chunk takes beside its bytes.
const ENTRY: u64 = 96;

impl Staged {
    fn weight(&self) -> u64 {
        match self {
            Staged::Bytes(bytes) => ENTRY + bytes.len() as u64,
            Staged::Keep(_) => 0,
        }
    }
}

impl Layer {
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.runs.is_empty()
    }

    pub(crate) fn put(&mut self, chunk: u64, staged: Staged) {
        self.bytes += staged.weight();
        if let Some(old) = self.chunks.insert(chunk, staged) {
            self.bytes -= old.weight();
        }
    }

    pub(crate) fn remove(&mut self, chunk: u64) {
        if let Some(old) = self.chunks.remove(&chunk) {
            self.bytes -= old.weight();
        }
    }

    /// All of these are zeros.
    pub(crate) fn clear(&mut self, chunks: Range<u64>) {
        if chunks.is_empty() {
            return;
        }
        let inside: Vec<u64> = self.chunks.range(chunks.clone()).map(|(chunk, _)| *chunk).collect();
        inside.into_iter().for_each(|chunk| self.remove(chunk));
        let replaced = self.runs.insert(chunks, ZEROS);
        let spilled = replaced.into_iter().filter(|(_, generation)| *generation != ZEROS);
        self.wasted.extend(spilled.map(|(range, _)| range));
    }

    /// Of this chunk, only so many bytes from the front stay.
    pub(crate) fn cut(&mut self, chunk: u64, keep: usize) {
        let staged = match self.chunks.get(&chunk) {
            Some(Staged::Bytes(bytes)) => {
                Staged::Bytes(trimmed(&bytes.slice(..keep.min(bytes.len()))))
            }
            Some(Staged::Keep(less)) => Staged::Keep(keep.min(*less)),
            None => Staged::Keep(keep),
        };
        self.put(chunk, staged);
    }
}

/// Without the zeros at the end.
pub(crate) fn trimmed(bytes: &Bytes) -> Bytes {
    bytes.slice(..significant(bytes))
}

/// How many bytes there are up to the last that is not zero.
pub(crate) fn significant(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 64] = [0; 64];
    let mut end = bytes.len();
    while end >= 64 && bytes[end - 64..end] == ZEROS {
        end -= 64;
    }
    bytes[..end].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Where the bytes of some chunks are.
#[derive(Debug, Clone)]
pub(crate) enum From {
    Memory(Bytes),
    Zeros,
    Stored(Space),
}

/// Chunks side by side whose bytes come from one place.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) chunks: Range<u64>,
    pub(crate) from: From,
    /// The rest of each is zeros.
    pub(crate) keep: usize,
}

/// Where the bytes of `chunks` are: in one of `layers`, newest first, or in what is stored, whose chunks from `end` on are zeros.
pub(crate) fn find(layers: &[&Layer], stored: &Runs, end: u64, chunks: Range<u64>) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for chunk in chunks {
        let (from, keep) = find_one(layers, stored, end, chunk);
        match (pieces.last_mut(), &from) {
            (Some(last), From::Zeros) if matches!(last.from, From::Zeros) => last.chunks.end += 1,
            (Some(last), From::Stored(space)) if last.is_stored(*space) && keep == usize::MAX => {
                last.chunks.end += 1;
            }
            _ => pieces.push(Piece { chunks: chunk..chunk + 1, from, keep }),
        }
    }
    pieces
}

impl Piece {
    fn is_stored(&self, space: Space) -> bool {
        self.keep == usize::MAX && matches!(self.from, From::Stored(own) if own == space)
    }
}

fn find_one(layers: &[&Layer], stored: &Runs, end: u64, chunk: u64) -> (From, usize) {
    let mut keep = usize::MAX;
    let of_run = |generation| match generation {
        ZEROS => From::Zeros,
        generation => From::Stored(Space::Spilled(generation)),
    };
    for layer in layers {
        match layer.chunks.get(&chunk) {
            Some(Staged::Bytes(bytes)) => return (From::Memory(bytes.clone()), keep),
            Some(Staged::Keep(less)) => keep = keep.min(*less),
            None => {}
        }
        if let Some(generation) = layer.runs.get(chunk) {
            return (of_run(generation), keep);
        }
    }
    match stored.get(chunk) {
        Some(generation) => (of_run(generation), keep),
        None if chunk >= end => (From::Zeros, keep),
        None => (From::Stored(Space::Pages), keep),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_at_the_end_do_not_count() {
        for len in [0_usize, 1, 63, 64, 65, 200, 4096] {
            for last in [None, Some(0), Some(len / 2), Some(len.saturating_sub(1))] {
                let mut bytes = vec![0; len];
                let expected = match last.filter(|last| *last < len) {
                    Some(last) => {
                        bytes[last] = 1;
                        last + 1
                    }
                    None => 0,
                };
                assert_eq!(significant(&bytes), expected, "{len} {last:?}");
            }
        }
    }

    #[test]
    fn what_a_layer_takes_is_counted() {
        let mut layer = Layer::default();
        layer.put(1, Staged::Bytes(Bytes::from_static(&[1; 100])));
        layer.put(1, Staged::Bytes(Bytes::from_static(&[1; 50])));
        assert_eq!(layer.bytes, ENTRY + 50);
        layer.cut(1, 20);
        layer.cut(2, 9);
        assert_eq!(layer.bytes, ENTRY + 20, "what cannot be spilled does not count");
        layer.clear(0..9);
        assert_eq!((layer.bytes, layer.runs.get(2)), (0, Some(ZEROS)));
    }

    #[test]
    fn the_newest_layer_wins_and_a_cut_reaches_down() {
        let (mut new, mut old, mut stored) = (Layer::default(), Layer::default(), Runs::default());
        old.put(0, Staged::Bytes(Bytes::from_static(b"old")));
        old.runs.insert(4..6, 9);
        stored.insert(5..8, 3);
        new.cut(0, 2);
        new.cut(5, 7);
        new.cut(9, 8);
        let pieces = find(&[&new, &old], &stored, 20, 0..22);
        let told: Vec<_> = pieces
            .iter()
            .map(|piece| {
                let from = match &piece.from {
                    From::Memory(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                    From::Zeros => "zeros".into(),
                    From::Stored(space) => format!("{space:?}"),
                };
                (piece.chunks.clone(), from, piece.keep)
            })
            .collect();
        let all = usize::MAX;
        assert_eq!(
            told,
            [
                (0..1, "old".to_owned(), 2),
                (1..4, "Pages".into(), all),
                (4..5, "Spilled(9)".into(), all),
                (5..6, "Spilled(9)".into(), 7),
                (6..8, "Spilled(3)".into(), all),
                (8..9, "Pages".into(), all),
                (9..10, "Pages".into(), 8),
                (10..20, "Pages".into(), all),
                (20..22, "zeros".into(), all),
            ]
        );
    }
}
