//! What a power cut may leave, from nothing but what was asked of the cache and what it answered.
//!
//! Of each page the contents that it may have: what it was when a sync last said that it is durable, and
//! all that it was since. Each sector may be of another of these; a page that was not changed since that
//! sync has only one.

use std::ops::{Range, RangeInclusive};

/// Some bytes of the mapping.
pub(crate) type Bytes = Range<u64>;

#[derive(Debug)]
struct History {
    /// Oldest first; the last is what it is now.
    versions: Vec<Vec<u8>>,
    /// How many there were before the first.
    forgotten: u64,
    /// Up to where bytes were written, not only made room for; from the start of the mapping.
    data_end: u64,
    /// The number of the newest version whose write has returned.
    acknowledged: u64,
}

impl History {
    fn newest(&self) -> u64 {
        self.forgotten + self.versions.len() as u64 - 1
    }

    /// Why `found` cannot be at `at`: of each version that may, its first bytes and where they differ.
    fn explain(&self, page: usize, at: usize, found: &[u8]) -> String {
        let begin = |bytes: &[u8]| bytes[..bytes.len().min(6)].to_vec();
        let differ = |version: &Vec<u8>| {
            let there = &version[at..at + found.len()];
            (begin(there), found.iter().zip(there).position(|(found, there)| found != there))
        };
        let versions: Vec<_> = self.versions.iter().map(differ).collect();
        format!(
            "page {page} from byte {at} on is lost, or too old: {:?}, not {versions:?}",
            begin(found)
        )
    }

    /// Everything before version `number` is no longer possible.
    fn forget_before(&mut self, number: u64) {
        let count = number.saturating_sub(self.forgotten);
        self.versions.drain(..usize::try_from(count).unwrap());
        self.forgotten += count;
    }
}

/// What a sync, begun now, says is durable if it returns `Ok`.
#[derive(Debug)]
pub(crate) struct Promise {
    /// (page, its version, up to where the store must reach)
    pages: Vec<(usize, u64, u64)>,
    /// The length, if it is a sync of everything.
    len: Option<u64>,
    len_changes: u64,
}

#[derive(Debug)]
pub(crate) struct Oracle {
    page: usize,
    /// What a power cut does not tear.
    whole: usize,
    pages: Vec<History>,
    len: u64,
    lens: RangeInclusive<u64>,
    /// How often the length was changed.
    len_changes: u64,
    /// The store is written in multiples of so many bytes, and may be that much longer, by zeros.
    alignment: u64,
    /// Something was written since a sync last said that the length is durable.
    padded: bool,
}

fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap()
}

impl Oracle {
    /// Of a store that holds `contents`, durably, for up to `pages` pages.
    pub(crate) fn new(page: usize, whole: usize, pages: usize, contents: &[u8]) -> Oracle {
        let mut padded = contents.to_vec();
        padded.resize(page * pages, 0);
        let history = |bytes: &[u8]| History {
            versions: vec![bytes.to_vec()],
            forgotten: 0,
            data_end: 0,
            acknowledged: 0,
        };
        let pages = padded.chunks(page).map(history).collect();
        let (len, whole) = (contents.len() as u64, whole.min(page));
        let lens = len..=len;
        Oracle { page, whole, pages, len, lens, len_changes: 0, alignment: 1, padded: false }
    }

    /// Of a store that is written in multiples of so many bytes.
    pub(crate) fn aligned(self, alignment: usize) -> Oracle {
        Oracle { alignment: alignment as u64, ..self }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn len_max(&self) -> u64 {
        (self.page * self.pages.len()) as u64
    }

    /// What readers see.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let newest = self.pages.iter().flat_map(|history| history.versions.last().unwrap());
        newest.copied().take(to_usize(self.len)).collect()
    }

    fn touched(&self, bytes: &Bytes) -> Range<usize> {
        let page = self.page as u64;
        let end = bytes.end.min(self.len_max()).div_ceil(page);
        to_usize(bytes.start / page)..if bytes.is_empty() { 0 } else { to_usize(end) }
    }

    fn set_len(&mut self, len: u64) {
        self.len = len;
        self.lens = *self.lens.start().min(&len)..=*self.lens.end().max(&len);
        self.len_changes += 1;
    }

    /// `data` is about to be written: from now on it may be there.
    pub(crate) fn writing(&mut self, offset: u64, data: &[u8]) {
        let bytes = offset..offset + data.len() as u64;
        self.padded = true;
        for page in self.touched(&bytes) {
            let start = (page * self.page) as u64;
            let (from, to) = (bytes.start.max(start), bytes.end.min(start + self.page as u64));
            let history = &mut self.pages[page];
            let mut version = history.versions.last().unwrap().clone();
            version[to_usize(from - start)..to_usize(to - start)]
                .copy_from_slice(&data[to_usize(from - offset)..to_usize(to - offset)]);
            history.versions.push(version);
            history.data_end = history.data_end.max(to);
        }
        if bytes.end > self.len && !bytes.is_empty() {
            self.set_len(bytes.end);
        }
    }

    /// The call that was to write them has returned.
    pub(crate) fn wrote(&mut self, bytes: &Bytes) {
        for page in self.touched(bytes) {
            self.pages[page].acknowledged = self.pages[page].newest();
        }
    }

    /// The mapping is about to be cut. Whatever the store has of a page by then is cut, too.
    pub(crate) fn cutting(&mut self, len: u64) {
        self.set_len(len);
        for (at, history) in self.pages.iter_mut().enumerate() {
            let keep = to_usize(len.saturating_sub((at * self.page) as u64).min(self.page as u64));
            if keep == self.page {
                continue;
            }
            let cut = |version: &Vec<u8>| {
                let mut version = version.clone();
                version[keep..].fill(0);
                version
            };
            let cut: Vec<_> = history.versions.iter().map(cut).collect();
            let now = cut.last().unwrap().clone();
            for version in cut {
                if !history.versions.contains(&version) {
                    history.versions.push(version);
                }
            }
            history.versions.push(now);
            history.data_end = history.data_end.min(len);
            history.acknowledged = history.newest();
        }
    }

    /// The mapping is about to be lengthened, with zeros; or that was refused.
    pub(crate) fn lengthening(&mut self, len: u64) {
        self.set_len(len);
    }

    /// What is in memory of some pages after a call that failed: `None` if they are not cached, and so as
    /// they were.
    pub(crate) fn observed(
        &mut self,
        len: u64,
        bytes: &Bytes,
        page: impl Fn(u64) -> Option<Vec<u8>>,
    ) {
        for at in self.touched(bytes) {
            let history = &mut self.pages[at];
            let before = &history.versions[to_usize(history.acknowledged - history.forgotten)];
            let mut now = page(at as u64).unwrap_or_else(|| before.clone());
            now.resize(self.page, 0);
            history.versions.push(now);
            history.acknowledged = history.newest();
            history.data_end = history.data_end.min(len);
        }
        self.set_len(len);
    }

    /// A sync of these bytes is about to begin.
    pub(crate) fn syncing(&self, bytes: &Bytes) -> Promise {
        let page = |page: usize| {
            let history = &self.pages[page];
            (page, history.acknowledged, history.data_end)
        };
        let all = bytes.start == 0 && bytes.end == u64::MAX;
        Promise {
            pages: self.touched(bytes).map(page).collect(),
            len: all.then_some(self.len),
            len_changes: self.len_changes,
        }
    }

    /// It has returned `Ok`.
    pub(crate) fn synced(&mut self, promise: &Promise) {
        let unchanged = promise.len_changes == self.len_changes;
        for (page, version, data_end) in &promise.pages {
            self.pages[*page].forget_before(*version);
            if unchanged {
                self.lens = *self.lens.start().max(data_end)..=*self.lens.end();
            }
        }
        if let Some(len) = promise.len.filter(|_| unchanged) {
            self.lens = len..=len;
            self.padded = false;
        }
    }

    /// Whether a power cut may leave `left`; if not, why.
    pub(crate) fn check(&self, left: &[u8]) -> Result<(), String> {
        let len = left.len();
        let longest = match self.padded {
            true => self.lens.end().next_multiple_of(self.alignment),
            false => *self.lens.end(),
        };
        if !(*self.lens.start()..=longest).contains(&(len as u64)) {
            return Err(format!("{len} bytes are left, not {:?} or {longest}", self.lens));
        }
        for (page, history) in self.pages.iter().enumerate() {
            let start = (page * self.page).min(len);
            let there = &left[start..len.min(start + self.page)];
            if history.versions.iter().any(|version| version.starts_with(there)) {
                continue;
            }
            for (at, found) in there.chunks(self.whole).enumerate() {
                let at = at * self.whole;
                let is = |version: &Vec<u8>| version[at..at + found.len()] == *found;
                if !history.versions.iter().any(is) {
                    return Err(history.explain(page, at, found));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(data: &[u8]) -> Oracle {
        let mut oracle = Oracle::new(4, 2, 2, b"");
        oracle.writing(0, data);
        oracle.wrote(&(0..data.len() as u64));
        oracle
    }

    fn allows(oracle: &Oracle, left: &[u8]) -> bool {
        oracle.check(left).is_ok()
    }

    #[test]
    fn what_was_synced_must_be_there_and_the_rest_may_be_torn() {
        let mut oracle = written(b"aaaa");
        assert!(allows(&oracle, b"") && allows(&oracle, b"aa\0\0"));
        assert!(!allows(&oracle, b"a\0\0\0"), "a sector does not tear");
        let promise = oracle.syncing(&(0..u64::MAX));
        oracle.synced(&promise);
        assert!(allows(&oracle, b"aaaa"));
        assert!(!allows(&oracle, b"aa\0\0") && !allows(&oracle, b"aaa"));
        oracle.writing(0, b"bbbb");
        assert!(allows(&oracle, b"aabb") && !allows(&oracle, b"aacc"));
    }

    #[test]
    fn a_sync_promises_what_had_returned_when_it_began() {
        let mut oracle = written(b"aaaa");
        oracle.writing(0, b"bbbb");
        let promise = oracle.syncing(&(0..u64::MAX));
        oracle.wrote(&(0..4));
        oracle.synced(&promise);
        assert!(allows(&oracle, b"aaaa") && allows(&oracle, b"bbbb"));
    }

    #[test]
    fn what_is_cut_may_be_gone_or_not_before_the_next_sync() {
        let mut oracle = written(b"aaaa");
        let promise = oracle.syncing(&(0..u64::MAX));
        oracle.synced(&promise);
        oracle.cutting(1);
        assert!(allows(&oracle, b"aaaa") && allows(&oracle, b"a"));
        oracle.writing(3, b"b");
        assert!(allows(&oracle, b"a\0\0b") && !allows(&oracle, b""));
    }
}
