//! A log that a test drives, and a store that holds the cache to it.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use writeback::hooks::Log;
use writeback::store::{Completion, Store, WriteBatch};
use writeback::{Config, Mapping, MemStore};

use crate::common::{PAGE, pass_on, watch};

#[derive(Debug, Default)]
pub(crate) struct State {
    appended: u64,
    durable: u64,
    pub(crate) fail: bool,
    pub(crate) panic: bool,
    pub(crate) ensured: Vec<u64>,
    pub(crate) requested: Vec<u64>,
}

/// A log of numbered records without contents.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<State>>);

impl Journal {
    pub(crate) fn append(&self) -> u64 {
        let mut state = self.0.lock();
        state.appended += 1;
        state.appended
    }

    /// The position of the next record.
    pub(crate) fn end(&self) -> u64 {
        self.0.lock().appended + 1
    }

    /// What an engine's commit does.
    pub(crate) fn commit(&self) {
        let mut state = self.0.lock();
        state.durable = state.appended;
    }

    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.0.lock())
    }

    pub(crate) fn ensured(&self) -> Vec<u64> {
        self.with(|state| state.ensured.clone())
    }

    pub(crate) fn requested(&self) -> Vec<u64> {
        self.with(|state| state.requested.clone())
    }
}

impl Log for Journal {
    fn durable(&self) -> u64 {
        self.0.lock().durable
    }

    fn ensure(&self, upto: u64) -> io::Result<()> {
        let mut state = self.0.lock();
        assert!(!state.panic, "told to by the test");
        if state.fail {
            return Err(io::Error::other("the log's device"));
        }
        assert!(upto <= state.appended, "asked for what was never appended");
        state.ensured.push(upto);
        // Not more than it was asked for, so that asking for less is seen.
        state.durable = state.durable.max(upto);
        Ok(())
    }

    fn request(&self, upto: u64) {
        self.0.lock().requested.push(upto);
    }
}

/// A store whose pages are numbers: the positions of the changes that made them.
#[derive(Debug)]
pub(crate) struct Numbers<S> {
    pub(crate) inner: S,
    journal: Journal,
}

impl<S: Store> Store for Numbers<S> {
    pass_on!(inner: limits, len, set_len, read, flush);

    /// I-LOG-FIRST: no image has a change that the log may lose.
    fn write(&self, batch: WriteBatch, completion: Completion) {
        let durable = self.journal.durable();
        for image in batch.images() {
            let newest = numbers(image.as_ref()).max().unwrap_or(0);
            assert!(newest <= durable, "{newest} is submitted, the log is durable to {durable}");
        }
        self.inner.write(batch, completion);
    }
}

/// Bytes of a number in a page, and how many of them are used.
pub(crate) const NUMBER: usize = 8;
pub(crate) const NUMBERS: usize = 4;

/// The numbers in `bytes`, which begin where a page does.
pub(crate) fn numbers(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(PAGE).flat_map(|page| {
        let words = page.chunks_exact(NUMBER).take(NUMBERS);
        words.map(|word| u64::from_le_bytes(word.try_into().unwrap()))
    })
}

/// A mapping with a log over `inner`.
pub(crate) fn logged(inner: impl Store) -> (Mapping, Journal) {
    watch();
    let journal = Journal::default();
    let config = Config::new().log(Arc::new(journal.clone()));
    let store = Numbers { inner, journal: journal.clone() };
    (Mapping::with_config(Arc::new(store), config).unwrap(), journal)
}

/// As [`logged`], over `pages` pages of zeros in memory.
pub(crate) fn logged_in_memory(pages: usize) -> (Mapping, Journal, MemStore) {
    let store = MemStore::with_contents(vec![0; pages * PAGE]);
    let (mapping, journal) = logged(store.clone());
    (mapping, journal, store)
}

/// Logs a change of one number of a page and makes it; returns its position.
pub(crate) fn write_number(mapping: &Mapping, journal: &Journal, page: u64, number: usize) -> u64 {
    let from = number * NUMBER;
    let change = mapping.page(page).unwrap().write_logged(from..from + NUMBER, |change| {
        let position = journal.append();
        change.at(position).copy_from_slice(&position.to_le_bytes());
        position
    });
    change.unwrap()
}
