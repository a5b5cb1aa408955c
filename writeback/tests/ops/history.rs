//! What a crash may leave of each page: any of the contents it had since it was last made durable.

use std::collections::BTreeSet;

use super::data::PAGE;
use super::store::{Page, page_of};

/// Pages there can ever be.
pub(crate) const PAGES_MAX: u64 = 17;

#[derive(Debug, Default)]
pub(crate) struct History {
    /// For each page what it was when it was last known to be durable, and all that it was since; last what it is.
    pages: Vec<Vec<Page>>,
    /// Pages that the store itself may have mixed: each byte may be of another time.
    torn: BTreeSet<u64>,
    /// Lengths that the store may have.
    len_min: u64,
    len_max: u64,
}

impl History {
    /// Begins with a store that holds `bytes`, durably.
    pub(crate) fn new(bytes: &[u8]) -> History {
        let pages = (0..PAGES_MAX).map(|page| vec![page_of(bytes, page)]).collect();
        let len = bytes.len() as u64;
        History { pages, torn: BTreeSet::new(), len_min: len, len_max: len }
    }

    fn page(&mut self, page: u64) -> &mut Vec<Page> {
        &mut self.pages[usize::try_from(page).expect("few pages")]
    }

    /// The mapping's contents have changed to `bytes`.
    pub(crate) fn note(&mut self, bytes: &[u8]) {
        for page in 0..PAGES_MAX {
            let now = page_of(bytes, page);
            let versions = self.page(page);
            if versions.last() != Some(&now) {
                versions.push(now);
            }
        }
        self.len_min = self.len_min.min(bytes.len() as u64);
        self.len_max = self.len_max.max(bytes.len() as u64);
    }

    /// The store is to be cut at `len`, whatever it has of the last page then. Before the cut is noted.
    pub(crate) fn note_cut(&mut self, len: u64) {
        let within = usize::try_from(len % PAGE as u64).expect("less than a page");
        let versions = self.page(len / PAGE as u64);
        for mut cut in versions.clone() {
            cut[within..].fill(0);
            if !versions.contains(&cut) {
                versions.push(cut);
            }
        }
    }

    pub(crate) fn note_torn(&mut self, page: u64) {
        self.torn.insert(page);
    }

    /// The page's present contents are durable, and the store reaches to `end` at least.
    pub(crate) fn note_durable(&mut self, page: u64, end: u64) {
        let versions = self.page(page);
        versions.drain(..versions.len() - 1);
        self.torn.remove(&page);
        self.len_min = self.len_min.max(end);
    }

    /// The length is durable, too.
    pub(crate) fn note_durable_len(&mut self, len: u64) {
        (self.len_min, self.len_max) = (len, len);
    }

    /// Asserts that a crash may leave `left`.
    pub(crate) fn check_crash(&self, left: &[u8]) {
        let len = left.len() as u64;
        assert!((self.len_min..=self.len_max).contains(&len), "{len} bytes are left: {self:?}");
        for page in 0..PAGES_MAX {
            let found = page_of(left, page);
            let there = len.saturating_sub(page * PAGE as u64).min(PAGE as u64);
            let there = usize::try_from(there).expect("at most a page");
            let versions = &self.pages[usize::try_from(page).expect("few pages")];
            let whole = versions.iter().any(|version| version[..there] == found[..there]);
            let mixed = |at: usize| versions.iter().any(|version| version[at] == found[at]);
            let allowed = whole || self.torn.contains(&page) && (0..there).all(mixed);
            assert!(allowed, "page {page} is lost, or too old: {:?}", &found[..there]);
        }
    }
}
