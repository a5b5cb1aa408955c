//! What the medium of a [`FaultStore`](super::FaultStore) holds, and what a power cut may leave of it.
//!
//! Two contents: *accepted*, which reads see, and *stable*, which a power cut leaves for certain. Between
//! them lies what came since the last flush: for each sector its writes, oldest first, and apart from
//! them the changes of the length. A flush folds into *stable* what had come when it began.
//!
//! A change is *certain* if it was acknowledged. It is not if a write failed, was forgotten or is under
//! way, or if a flush that was to cover it failed: then it may be on the medium or not, and no flush that
//! succeeds later says that it is. A certain write of the same sector puts an end to that; for a change of
//! the length see [`length`](super::length).
//!
//! After a power cut each sector is as it was at a moment of its own, at or after the last flush: some
//! of the writes since, from the oldest on, are there and the others are not. Sectors do not tear and
//! whole writes do; later writes may be there and earlier ones not, if they are of other sectors. The
//! length, too, is as it was at a moment of its own. A cut that is there acts on all that was written
//! before it, as the journal of a file system sees to.
//!
//! This file knows nothing of faults, completions and pages.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::length::{Change, Length, Lengths};
use crate::buffer::Image;
use crate::store::sparse::{CHUNK, Sparse, pieces};

/// A part of a write that lies in one sector.
#[derive(Debug, Clone)]
struct Patch {
    when: u64,
    certain: bool,
    /// Where in the sector.
    at: usize,
    image: Image,
    from: usize,
    len: usize,
}

impl Patch {
    fn bytes(&self) -> &[u8] {
        &self.image.as_ref()[self.from..self.from + self.len]
    }
}

/// What a power cut does to what was not flushed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cut {
    Nothing,
    Everything,
    Some,
}

impl Cut {
    /// How many of `count` changes survive, from the oldest on.
    pub(super) fn survivors(self, count: usize, random: &mut Rng) -> usize {
        match self {
            Cut::Nothing => 0,
            Cut::Everything => count,
            Cut::Some => random.usize(0..=count),
        }
    }

    /// Whether a change that was never acknowledged is there.
    pub(super) fn has(self, certain: bool, random: &mut Rng) -> bool {
        certain || matches!(self, Cut::Everything) || random.bool()
    }
}

/// What a flush makes stable.
enum Stable {
    /// A write, by its sector and its place in the list of that.
    Bytes(u64, usize),
    Length(Change),
}

#[derive(Debug, Clone)]
pub(super) struct Media {
    sector: usize,
    accepted: Sparse,
    stable: Sparse,
    patches: BTreeMap<u64, Vec<Patch>>,
    lengths: Lengths,
    /// When each sector's stable bytes were last written, as long as it is in doubt what was cut before.
    written: BTreeMap<u64, u64>,
    /// Counts changes.
    now: u64,
}

impl Media {
    /// A medium that holds `contents`, for certain.
    pub(super) fn new(sector: usize, contents: Sparse) -> Self {
        let (patches, lengths) = (BTreeMap::new(), Lengths::new(contents.len()));
        let (accepted, stable, written) = (contents.clone(), contents, BTreeMap::new());
        Self { sector, accepted, stable, patches, lengths, written, now: 0 }
    }

    pub(super) fn accepted(&self) -> &Sparse {
        &self.accepted
    }

    pub(super) fn stable(&self) -> &Sparse {
        &self.stable
    }

    pub(super) fn sector(&self) -> usize {
        self.sector
    }

    /// The changes up to now, for a flush that begins now.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Writes `accepted` bytes for certain, from the front; of the rest any part, if `rest`, may be on
    /// the medium.
    pub(super) fn write(&mut self, offset: u64, images: &[Image], accepted: u64, rest: bool) {
        let mut at = offset;
        for image in images {
            let well = accepted.saturating_sub(at - offset).min(image.len() as u64);
            let well = usize::try_from(well).expect("at most an image");
            if well > 0 {
                self.accepted.write(at, &image.as_ref()[..well]);
                self.note(at, image, 0..well, true);
            }
            if rest && well < image.len() {
                self.note(at + well as u64, image, well..image.len(), false);
            }
            at += image.len() as u64;
        }
    }

    /// Notes that the bytes of `image` in `range` were written at `offset`.
    fn note(&mut self, offset: u64, image: &Image, range: std::ops::Range<usize>, certain: bool) {
        self.now += 1;
        let when = self.now;
        pieces(self.sector, offset, range.len(), |sector, at, done, len| {
            let (image, from) = (image.clone(), range.start + done);
            let patch = Patch { when, certain, at, image, from, len };
            self.patches.entry(sector).or_default().push(patch);
        });
        self.lengths.push(when, certain, Change::Grow(offset + range.len() as u64));
    }

    /// How many bytes of a write of `len` bytes there is room for, if no more than `capacity` bytes may
    /// be stored.
    pub(super) fn room(&self, offset: u64, len: u64, capacity: u64) -> u64 {
        let mut left = capacity.saturating_sub(self.accepted.stored());
        let (mut fits, mut full) = (0, false);
        pieces(CHUNK, offset, usize::try_from(len).expect("in memory"), |chunk, _, _, count| {
            if !self.accepted.has_chunk(chunk) {
                full |= left < CHUNK as u64;
                left = left.saturating_sub(CHUNK as u64);
            }
            fits += if full { 0 } else { count as u64 };
        });
        fits
    }

    /// Cuts it or lengthens it with zeros; for certain, or perhaps.
    pub(super) fn set_len(&mut self, len: u64, certain: bool) {
        self.now += 1;
        self.lengths.push(self.now, certain, Change::Set(len));
        if certain {
            self.accepted.set_len(len);
        }
    }

    /// Makes stable what had come when `now` was what it is said to have been.
    pub(super) fn flush(&mut self, covers: u64) {
        for (when, change) in self.certain_changes(covers) {
            match change {
                Stable::Bytes(sector, at) => {
                    let patch = &self.patches[&sector][at];
                    let offset = sector * self.sector as u64 + patch.at as u64;
                    self.stable.write(offset, patch.bytes());
                    self.written.insert(sector, when);
                }
                Stable::Length(Change::Set(len)) => self.stable.set_len(len),
                Stable::Length(Change::Grow(len)) => {
                    self.stable.set_len(self.stable.len().max(len));
                }
            }
        }
        self.settle(covers);
    }

    /// What a flush makes stable, in the order in which it came.
    fn certain_changes(&self, covers: u64) -> Vec<(u64, Stable)> {
        let mut all = Vec::new();
        for (sector, patches) in &self.patches {
            let covered = patches.iter().enumerate().filter(|(_, patch)| patch.when <= covers);
            let certain = covered.filter(|(_, patch)| patch.certain);
            all.extend(certain.map(|(at, patch)| (patch.when, Stable::Bytes(*sector, at))));
        }
        let lengths = self.lengths.to_flush(covers);
        all.extend(lengths.map(|length| (length.when, Stable::Length(length.change))));
        // A write's bytes before its length, which makes no difference.
        all.sort_by_key(|(when, _)| *when);
        all
    }

    /// Forgets what a flush has covered, and what is uncertain no more.
    fn settle(&mut self, covers: u64) {
        let covered = self.lengths.certain().filter(|length| length.when <= covers);
        let cuts: Vec<_> = covered.filter_map(Length::cut).collect();
        for (sector, patches) in &mut self.patches {
            let certain = patches.iter().filter(|patch| patch.certain && patch.when <= covers);
            let last = certain.map(|patch| patch.when).max().unwrap_or(0);
            let start = sector * self.sector as u64;
            patches.retain_mut(|patch| {
                for (_, len) in cuts.iter().filter(|(when, _)| *when > patch.when) {
                    let within = len.saturating_sub(start + patch.at as u64);
                    patch.len = patch.len.min(usize::try_from(within).unwrap_or(usize::MAX));
                }
                patch.when > covers || (!patch.certain && patch.when > last && patch.len > 0)
            });
        }
        self.patches.retain(|_, patches| !patches.is_empty());
        self.lengths.flushed(covers);
        if !self.lengths.any_in_doubt() {
            self.written.clear();
        }
    }

    /// The flush failed: of what it was to cover nothing is certain any more.
    pub(super) fn fail_flush(&mut self, covers: u64) {
        for patch in self.patches.values_mut().flatten() {
            patch.certain &= patch.when > covers;
        }
        self.lengths.fail(covers);
    }

    /// What a power cut leaves.
    pub(super) fn crash(&self, random: &mut Rng) -> Self {
        let cut = match random.u8(0..8) {
            0 => Cut::Nothing,
            1 => Cut::Everything,
            _ => Cut::Some,
        };
        let (mut left, cuts) = self.crashed_length(cut, random);
        for (sector, patches) in &self.patches {
            let offset = sector * self.sector as u64;
            let survivors = &patches[..cut.survivors(patches.len(), random)];
            // A certain write is one of the whole sector, as reads saw it then: what is uncertain and
            // older is gone.
            let last = survivors.iter().rfind(|patch| patch.certain).map_or(0, |patch| patch.when);
            let there = survivors
                .iter()
                .filter(|patch| patch.certain || (patch.when > last && cut.has(false, random)));
            let bytes = self.sector_with(*sector, &there.collect::<Vec<_>>(), &cuts);
            let within = left.len().saturating_sub(offset).min(bytes.len() as u64);
            if within > 0 {
                left.write(offset, &bytes[..usize::try_from(within).expect("at most a sector")]);
            }
        }
        Self::new(self.sector, left)
    }

    /// The stable contents with the length of some moment since; and the cuts up to then.
    fn crashed_length(&self, cut: Cut, random: &mut Rng) -> (Sparse, Vec<(u64, u64)>) {
        let (len, cuts) = self.lengths.crash(cut, random);
        let mut left = self.stable.clone();
        for (when, len) in &cuts {
            // What is stable and was written later than a cut is not cut by it.
            let later = self.written.iter().filter(|(_, written)| *written > when);
            let later: Vec<_> = later.map(|(sector, _)| self.stable_sector(*sector)).collect();
            left.set_len(*len);
            later.into_iter().for_each(|(offset, bytes)| left.write(offset, &bytes));
        }
        left.set_len(len);
        (left, cuts)
    }

    /// Where a sector begins, and its stable bytes up to the end.
    fn stable_sector(&self, sector: u64) -> (u64, Vec<u8>) {
        let offset = sector * self.sector as u64;
        let mut bytes = vec![0; self.sector];
        let there = self.stable.read(offset, &mut bytes);
        bytes.truncate(there);
        (offset, bytes)
    }

    /// A sector's stable bytes, with the patches that are there, and the cuts: up to the last patch all
    /// of them, since a sector is written as reads saw it then; after it those that are there.
    fn sector_with(&self, sector: u64, patches: &[&Patch], cuts: &[(u64, u64)]) -> Vec<u8> {
        let (offset, mut bytes) = self.stable_sector(sector);
        bytes.resize(self.sector, 0);
        let clear_beyond = |bytes: &mut [u8], len: u64| {
            let keep = len.saturating_sub(offset).min(bytes.len() as u64);
            bytes[usize::try_from(keep).expect("at most a sector")..].fill(0);
        };
        let mut before = self.written.get(&sector).copied().unwrap_or(0);
        for patch in patches {
            let all = self.lengths.certain().filter_map(Length::cut);
            all.filter(|(when, _)| (before..patch.when).contains(when))
                .for_each(|(_, len)| clear_beyond(&mut bytes, len));
            bytes[patch.at..patch.at + patch.len].copy_from_slice(patch.bytes());
            before = patch.when;
        }
        let after = cuts.iter().filter(|(when, _)| *when > before);
        after.for_each(|(_, len)| clear_beyond(&mut bytes, *len));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTOR: usize = 4;

    fn media(contents: &[u8]) -> Media {
        crate::watchdog::watch();
        let mut sparse = Sparse::default();
        sparse.write(0, contents);
        Media::new(SECTOR, sparse)
    }

    fn write(media: &mut Media, offset: u64, bytes: &[u8]) {
        media.write(offset, &[Image::from(bytes)], bytes.len() as u64, false);
    }

    /// What many power cuts leave.
    fn crashes(media: &Media) -> std::collections::BTreeSet<Vec<u8>> {
        (0..500).map(|seed| media.crash(&mut Rng::with_seed(seed)).accepted.to_vec()).collect()
    }

    fn expect(media: &Media, expected: &[&[u8]]) {
        let expected = expected.iter().map(|bytes| bytes.to_vec()).collect();
        assert_eq!(crashes(media), expected);
    }

    #[test]
    fn what_is_flushed_survives_and_the_rest_tears_at_sectors() {
        let mut media = media(b"aaaaaaaa");
        write(&mut media, 0, b"bbbbbbbb");
        media.flush(media.now());
        expect(&media, &[b"bbbbbbbb"]);
        write(&mut media, 0, b"cccccccc");
        expect(&media, &[b"bbbbbbbb", b"ccccbbbb", b"bbbbcccc", b"cccccccc"]);
    }

    #[test]
    fn a_flush_covers_what_came_before_it_began() {
        let mut media = media(b"aaaa");
        write(&mut media, 0, b"bbbb");
        let begun = media.now();
        write(&mut media, 0, b"cccc");
        media.flush(begun);
        expect(&media, &[b"bbbb", b"cccc"]);
        media.flush(media.now());
        expect(&media, &[b"cccc"]);
    }

    #[test]
    fn each_sector_is_of_a_moment_of_its_own() {
        let mut media = media(b"aaaa");
        write(&mut media, 0, b"b");
        write(&mut media, 1, b"c");
        expect(&media, &[b"aaaa", b"baaa", b"bcaa"]);
    }

    #[test]
    fn a_failed_write_stays_possible_until_its_sector_is_written() {
        let mut media = media(b"aaaa");
        media.write(0, &[Image::from(&b"bbbb"[..])], 0, true);
        assert_eq!(media.accepted.to_vec(), b"aaaa");
        media.flush(media.now());
        expect(&media, &[b"aaaa", b"bbbb"]);
        write(&mut media, 0, b"c");
        expect(&media, &[b"aaaa", b"bbbb", b"caaa"]);
        media.flush(media.now());
        expect(&media, &[b"caaa"]);
    }

    #[test]
    fn what_a_failed_flush_was_to_cover_no_later_flush_covers() {
        let mut media = media(b"aaaa");
        write(&mut media, 0, b"bbbb");
        media.fail_flush(media.now());
        media.flush(media.now());
        assert_eq!(media.accepted.to_vec(), b"bbbb");
        expect(&media, &[b"aaaa", b"bbbb"]);
        write(&mut media, 0, b"cccc");
        media.flush(media.now());
        expect(&media, &[b"cccc"]);
    }

    #[test]
    fn a_cut_that_is_there_acts_on_what_was_written_before() {
        let mut media = media(b"aaaaaaaa");
        media.set_len(2, true);
        expect(&media, &[b"aaaaaaaa", b"aa"]);
        media.set_len(8, true);
        expect(&media, &[b"aaaaaaaa", b"aa", b"aa\0\0\0\0\0\0"]);
        media.flush(media.now());
        expect(&media, &[b"aa\0\0\0\0\0\0"]);
    }

    #[test]
    fn a_write_after_a_cut_has_the_cut_in_its_sector() {
        let mut media = media(b"aaaa");
        media.set_len(2, true);
        write(&mut media, 0, b"bb");
        expect(&media, &[b"aaaa", b"bb\0\0", b"aa", b"bb"]);
    }

    #[test]
    fn a_write_that_lengthens_leaves_the_old_length_or_the_new() {
        let mut media = media(b"aa");
        write(&mut media, 2, b"bb");
        expect(&media, &[b"aa", b"aa\0\0", b"aabb"]);
    }

    #[test]
    fn sectors_beyond_the_length_that_is_left_do_not_lengthen_it() {
        let mut media = media(b"a");
        write(&mut media, 1, b"bbb");
        write(&mut media, 4, b"cccc");
        for left in crashes(&media) {
            assert!([1, 4, 8].contains(&left.len()), "{left:?}");
        }
    }

    #[test]
    fn an_uncertain_write_does_not_outlive_a_cut() {
        let mut media = media(b"aaaa");
        media.write(0, &[Image::from(&b"bbbb"[..])], 0, true);
        media.set_len(1, true);
        media.flush(media.now());
        media.set_len(4, true);
        media.flush(media.now());
        expect(&media, &[b"a\0\0\0", b"b\0\0\0"]);
    }

    #[test]
    fn a_length_that_could_not_be_set_stays_possible_after_a_good_flush() {
        let mut media = media(b"aa");
        media.set_len(4, false);
        for _ in 0..2 {
            media.flush(media.now());
            assert_eq!(media.accepted.to_vec(), b"aa");
            expect(&media, &[b"aa", b"aa\0\0"]);
        }
        media.set_len(2, true);
        expect(&media, &[b"aa", b"aa\0\0"]);
        media.flush(media.now());
        expect(&media, &[b"aa"]);
    }

    #[test]
    fn a_cut_that_failed_stays_possible_where_nothing_was_written_since() {
        let mut media = media(b"aaaaaaaa");
        media.set_len(2, false);
        media.flush(media.now());
        expect(&media, &[b"aaaaaaaa", b"aa"]);
        // A sector is written as reads saw it.
        write(&mut media, 0, b"b");
        media.flush(media.now());
        expect(&media, &[b"baaaaaaa", b"ba"]);
        write(&mut media, 7, b"c");
        expect(&media, &[b"baaaaaaa", b"ba", b"baaaaaac", b"baaa\0\0\0\0"]);
        media.flush(media.now());
        expect(&media, &[b"baaaaaac"]);
    }

    #[test]
    fn a_cut_that_failed_is_seen_through_a_longer_length_and_ends_with_a_shorter_one() {
        let mut media = media(b"aaaaaaaa");
        media.set_len(2, false);
        media.set_len(7, true);
        media.flush(media.now());
        expect(&media, &[b"aaaaaaa", b"aa\0\0\0\0\0"]);
        media.set_len(1, true);
        media.flush(media.now());
        media.set_len(8, true);
        media.flush(media.now());
        expect(&media, &[b"a\0\0\0\0\0\0\0"]);
    }

    #[test]
    fn what_a_failed_flush_was_to_cover_of_the_length_no_later_flush_covers() {
        let mut media = media(b"aa");
        media.set_len(1, true);
        media.flush(media.now());
        media.set_len(4, true);
        media.fail_flush(media.now());
        media.flush(media.now());
        assert_eq!(media.accepted.to_vec(), b"a\0\0\0");
        expect(&media, &[b"a", b"a\0\0\0"]);
        // What was flushed before is certain all the same.
        media.fail_flush(media.now());
        expect(&media, &[b"a", b"a\0\0\0"]);
    }

    #[test]
    fn a_write_that_failed_may_have_lengthened_until_it_makes_no_difference() {
        let mut media = media(b"aa");
        media.write(4, &[Image::from(&b"bb"[..])], 0, true);
        media.flush(media.now());
        expect(&media, &[b"aa", b"aa\0\0\0\0", b"aa\0\0bb"]);
        write(&mut media, 4, b"cccc");
        media.flush(media.now());
        expect(&media, &[b"aa\0\0cccc"]);
        assert!(!media.lengths.any_in_doubt(), "nothing is kept for ever");
    }

    #[test]
    fn a_failed_write_within_the_length_leaves_the_length_alone() {
        let mut media = media(b"aaaa");
        media.write(0, &[Image::from(&b"bb"[..])], 0, true);
        media.flush(media.now());
        assert!(!media.lengths.any_in_doubt());
        expect(&media, &[b"aaaa", b"bbaa"]);
    }

    #[test]
    fn room_is_counted_in_chunks() {
        let media = media(b"a");
        assert_eq!(media.room(0, 100, 4096), 100);
        assert_eq!(media.room(4000, 200, 4096), 96);
        assert_eq!(media.room(4000, 200, 8192), 200);
        assert_eq!(media.room(8192, 1, 4096), 0);
    }
}
