//! Pages whose read is under way when the store is about to be changed below them: none is found half changed.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use writeback::hooks::Crc32c;
use writeback::store::fault::{Action, Fault, FaultConfig, FaultStore, Rule};
use writeback::store::{ReadRun, Store};
use writeback::{Config, Error, Mapping, MemStore, StoreError};

use crate::common::{self, pass_on};
use crate::{PAGE, Task};

/// Over `store`, of sealed pages. Zeros are none.
fn sealed(store: &(impl Store + Clone + 'static)) -> Mapping {
    common::watch();
    let config = Config::new().seal(Arc::new(Crc32c::new().reject_zeros()));
    Mapping::with_config(Arc::new(store.clone()), config).unwrap()
}

/// Writes so many pages, none of which are zeros.
fn fill(store: &(impl Store + Clone + 'static), pages: u8) {
    let mapping = sealed(store);
    for page in 0..pages {
        mapping.handle().write_at(&[page + 1; PAGE - 4], u64::from(page) * PAGE as u64).unwrap();
    }
    mapping.close().unwrap();
}

/// In memory. Reads end when the test says so.
#[derive(Debug, Clone, Default)]
struct Late {
    inner: MemStore,
    reads: Arc<Mutex<Vec<ReadRun>>>,
}

impl Late {
    fn deliver(&self) -> usize {
        let reads = std::mem::take(&mut *self.reads.lock());
        let count = reads.len();
        reads.into_iter().for_each(|run| self.inner.read(run));
        count
    }
}

impl Store for Late {
    pass_on!(inner: limits, len, set_len, write, flush);

    fn read(&self, run: ReadRun) {
        self.reads.lock().push(run);
    }

    fn punch(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        self.inner.punch(offset, len)
    }

    fn zero(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        self.inner.zero(offset, len)
    }
}

/// Long enough for another thread to come where it waits, or to do what it should not.
fn a_while() {
    thread::sleep(Duration::from_millis(50));
}

#[test]
fn a_page_is_not_punched_while_it_is_read() {
    for zero in [false, true] {
        let store = Late::default();
        fill(&store, 3);
        let mapping = sealed(&store);
        let handle = mapping.async_handle();
        let mut bytes = [0; 10];
        let mut read = Task::new(handle.read_at(&mut bytes, PAGE as u64));
        assert!(read.is_pending());
        let (other, page) = (mapping.handle(), PAGE as u64..2 * PAGE as u64);
        let puncher =
            thread::spawn(move || if zero { other.zero(page) } else { other.punch(page) });
        a_while();
        assert_eq!(store.deliver(), 1);
        puncher.join().unwrap().unwrap();
        let told = read.poll();
        assert!(
            !matches!(told, std::task::Poll::Ready(Err(Error::Corrupt { .. }))),
            "it was when it was asked for"
        );
        assert_eq!(mapping.stats().corrupt, 0);
        drop(read);
        // What the store was asked for again has the mapping.
        store.deliver();
        mapping.check().unwrap();
    }
}

#[test]
fn a_sealed_page_is_not_cut_away_while_it_is_read() {
    let store = FaultStore::with_config(FaultConfig::new(1));
    fill(&store, 8);
    store.queue(Action::Read, true);
    let mapping = sealed(&store);
    let handle = mapping.async_handle();
    // The store stays longer, and the next sync makes up for it.
    store.inject(Rule::new(Fault::Io).on(Action::SetLen));
    handle.handle().set_len(6 * PAGE as u64).unwrap_err();
    let mut read = Task::new(handle.page(5));
    assert!(read.is_pending());
    let other = mapping.handle();
    let cutter = thread::spawn(move || other.set_len(4 * PAGE as u64));
    a_while();
    handle.handle().sync_data().unwrap();
    assert_eq!(store.deliver_all(), 1);
    cutter.join().unwrap().unwrap();
    assert!(
        matches!(read.ready(), Err(Error::OutOfRange { .. })),
        "it is gone, and was not corrupt"
    );
    assert_eq!((mapping.stats().corrupt, store.durable().len()), (0, 6 * PAGE));
    handle.handle().sync_data().unwrap();
    assert_eq!(store.durable().len(), 4 * PAGE);
    mapping.check().unwrap();
}
