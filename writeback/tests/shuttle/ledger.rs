//! What was written, cut and synced, when; and what must therefore be where.
//!
//! A page has eight *places*. A stamp fills a place with one word, eight times: the place and a version,
//! so that a reader knows a mixture when it sees one, and bytes of another place. Versions only rise.
//! The ledger lies in ordinary memory: shuttle does not see it, so it adds no schedules and no order.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

/// Bytes of a page: the least there is.
pub(crate) const PAGE: usize = 512;
/// Bytes of a place.
pub(crate) const PLACE: usize = 64;
/// Places of a page.
pub(crate) const PLACES: u64 = (PAGE / PLACE) as u64;

/// A place by its page and its number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(pub(crate) u64);

impl Place {
    pub(crate) const fn of(page: u64, number: u64) -> Self {
        Self(page * PLACES + number)
    }

    pub(crate) const fn offset(self) -> u64 {
        self.0 * PLACE as u64
    }
}

/// The bytes of a version of a place.
pub(crate) fn stamp(place: Place, version: u64) -> [u8; PLACE] {
    let word = (place.0 + 1) << 32 | version;
    let mut bytes = [0; PLACE];
    bytes.chunks_exact_mut(8).for_each(|to| to.copy_from_slice(&word.to_le_bytes()));
    bytes
}

/// The version that the bytes of a place are of; 0 for zeros. Panics if they are of none.
#[track_caller]
pub(crate) fn version(place: Place, bytes: &[u8]) -> u64 {
    let word = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    if word == 0 && bytes.iter().all(|byte| *byte == 0) {
        return 0;
    }
    let (stamped, version) = ((word >> 32).wrapping_sub(1), word & 0xffff_ffff);
    assert_eq!(stamped, place.0, "bytes of another place");
    assert_eq!(bytes, stamp(place, version), "a mixture of two writes in {place:?}");
    version
}

/// A call that changed something. What is still under way has not ended.
#[derive(Debug, Clone, Copy)]
struct Span {
    begin: u64,
    end: u64,
}

impl Span {
    const UNENDED: u64 = u64::MAX;
}

#[derive(Debug, Default)]
struct Book {
    now: u64,
    version: u64,
    writes: Vec<(Place, u64, Span)>,
    /// To which length.
    cuts: Vec<(u64, Span)>,
}

impl Book {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }
}

/// See above.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Book>);

/// Of a call that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry(usize);

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The time now: what has ended is before it.
    pub(crate) fn now(&self) -> u64 {
        self.book().tick()
    }

    /// A write of a new version begins.
    pub(crate) fn begin_write(&self, place: Place) -> (Entry, u64) {
        let mut book = self.book();
        let begin = book.tick();
        book.version += 1;
        let version = book.version;
        book.writes.push((place, version, Span { begin, end: Span::UNENDED }));
        (Entry(book.writes.len() - 1), version)
    }

    pub(crate) fn end_write(&self, Entry(at): Entry) {
        let mut book = self.book();
        book.writes[at].2.end = book.tick();
    }

    pub(crate) fn begin_cut(&self, len: u64) -> Entry {
        let mut book = self.book();
        let begin = book.tick();
        book.cuts.push((len, Span { begin, end: Span::UNENDED }));
        Entry(book.cuts.len() - 1)
    }

    pub(crate) fn end_cut(&self, Entry(at): Entry) {
        let mut book = self.book();
        book.cuts[at].1.end = book.tick();
    }

    /// What was there before the race: a first version of a place.
    pub(crate) fn stored(&self, place: Place) -> [u8; PLACE] {
        let (entry, version) = self.begin_write(place);
        self.end_write(entry);
        stamp(place, version)
    }

    /// Checks the bytes from `first` on against what had ended at `time`. They were read, or made durable,
    /// after it. What `bytes` does not have, because the store or the mapping ends there, is zeros.
    #[track_caller]
    pub(crate) fn check(&self, what: &str, time: u64, places: Range<Place>, bytes: &[u8]) {
        let book = self.book();
        for place in (places.start.0..places.end.0).map(Place) {
            let from = usize::try_from(place.offset() - places.start.offset()).unwrap();
            let seen = bytes.get(from..from + PLACE).map_or(0, |bytes| version(place, bytes));
            book.check(what, time, place, seen);
        }
    }
}

impl Book {
    /// A place has the newest version whose write had ended, or a newer one; or nothing, if a cut may have
    /// come after that write. No cut may have come after the write of what it has. While a cut is under way
    /// it may have anything that was ever written to it.
    #[track_caller]
    fn check(&self, what: &str, time: u64, place: Place, seen: u64) {
        let end = place.offset() + PLACE as u64;
        let cuts: Vec<_> = self.cuts.iter().filter(|cut| cut.0 < end).map(|cut| cut.1).collect();
        if cuts.iter().any(|cut| cut.end > time) {
            return;
        }
        let writes = || self.writes.iter().filter(|write| write.0 == place);
        let span_of = |version| writes().find(|write| write.1 == version).map(|write| write.2);
        let due =
            writes().filter(|write| write.2.end < time).map(|write| write.1).max().unwrap_or(0);
        let dropped = |span: Span| cuts.iter().any(|cut| cut.end > span.begin);
        let nothing_is_due = span_of(due).is_none_or(dropped);
        assert!(
            seen >= due || (seen == 0 && nothing_is_due),
            "{what}: {place:?} has version {seen}, not {due}"
        );
        let back = |span: Span| cuts.iter().any(|cut| cut.begin > span.end);
        assert!(
            !span_of(seen).is_some_and(back),
            "{what}: {place:?} has {seen} again, which was cut"
        );
    }
}
