//! A store says what it can take, and is believed: what cannot be is told when it is asked for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use writeback::hooks::Crc32c;
use writeback::store::{Limits, Store};
use writeback::{Config, Error, Mapping, MemStore, StoreError};

use crate::pass_on::pass_on;
use crate::within;

/// Bytes in memory, with limits of its own.
#[derive(Debug, Clone)]
struct Limited(MemStore, Limits);

fn limited_to(contents: usize, change: impl FnOnce(&mut Limits)) -> Limited {
    let store = MemStore::with_contents(vec![7; contents]);
    let mut limits = store.limits();
    change(&mut limits);
    Limited(store, limits)
}

impl Store for Limited {
    pass_on!(0: len, read, write, flush);

    fn limits(&self) -> Limits {
        self.1
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        assert!((self.1.len_min..=self.1.len_max).contains(&len), "it is not to be asked that");
        self.0.set_len(len)
    }
}

/// A device that was made smaller, or a quota.
#[test]
fn a_store_that_is_longer_than_it_can_be_is_not_opened() {
    let told = within(|| Mapping::open(limited_to(10_001, |limits| limits.len_max = 10_000)));
    let Err(Error::Length { source }) = told else { panic!("{told:?}") };
    assert_eq!(io::Error::from(Error::Length { source }).kind(), io::ErrorKind::FileTooLarge);
    // As long as it can be is not too long.
    let mapping = Mapping::open(limited_to(10_000, |limits| limits.len_max = 10_000)).unwrap();
    within(move || assert_eq!(mapping.handle().read_at(&mut [0; 100], 9_990).unwrap(), 10));
}

/// A store that is as long as the number says, if there is one.
#[derive(Debug, Clone)]
struct Long(Limited, Arc<AtomicU64>);

impl Store for Long {
    pass_on!(0: limits, set_len, read, write, flush);

    fn len(&self) -> Result<u64, StoreError> {
        match self.1.load(Relaxed) {
            0 => self.0.len(),
            len => Ok(len),
        }
    }
}

/// With a seal its length is rounded up, where there may be no such number.
#[test]
fn a_store_that_is_too_long_is_refused_with_a_seal() {
    const MAX: u64 = i64::MAX.unsigned_abs();
    for (seal, len_max, len) in
        [(false, MAX, MAX + 1), (true, MAX, MAX), (true, MAX, u64::MAX), (true, u64::MAX, u64::MAX)]
    {
        let store = Long(limited_to(4096, |limits| limits.len_max = len_max), Arc::default());
        let config = if seal { Config::new().seal(Arc::new(Crc32c::new())) } else { Config::new() };
        let mapping = Mapping::with_config(Arc::new(store.clone()), config.clone()).unwrap();
        store.1.store(len, Relaxed);
        let told = mapping.refresh_len();
        assert!(matches!(told, Err(Error::Length { .. })), "{seal} {len_max} {len}: {told:?}");
        assert_eq!(mapping.len(), 4096);
        let told = Mapping::with_config(Arc::new(store), config);
        assert!(matches!(told, Err(Error::Length { .. })), "{seal} {len_max} {len}: {told:?}");
        let told = mapping.handle().write_at(&[1], u64::MAX - 1);
        assert!(matches!(told, Err(Error::OutOfRange { .. })), "{seal} {len_max}: {told:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused_at_once_with_its_errno() {
    within(|| {
        let mapping = Mapping::open(limited_to(5000, |limits| limits.len_max = 10_000)).unwrap();
        let handle = mapping.handle();
        for (offset, len) in [(9_999, 2), (10_000, 1), (1 << 62, 1), (u64::MAX, 1)] {
            let told = handle.write_at(&vec![1; len], offset).unwrap_err();
            assert!(matches!(told, Error::OutOfRange { .. }), "{told}");
            assert_eq!(io::Error::from(told).kind(), io::ErrorKind::FileTooLarge);
        }
        assert!(handle.set_len(10_001).is_err() && handle.set_len(u64::MAX).is_err());
        assert_eq!((mapping.len(), mapping.stats().dirty), (5000, 0));
        for index in [2, 3, u64::MAX / 4096, u64::MAX] {
            assert!(matches!(mapping.page(index), Err(Error::OutOfRange { .. })));
            assert_eq!(handle.read_at(&mut [0; 10], index.saturating_mul(4096)).unwrap(), 0);
        }
        handle.write_at(&[1], 9_999).unwrap();
        mapping.close().unwrap();
    });
}

#[test]
fn a_store_of_one_length_is_not_cut_and_stays_usable() {
    let store = limited_to(8192, |limits| (limits.len_min, limits.len_max) = (8192, 8192));
    let mapping = Mapping::open(store.clone()).unwrap();
    let handle = mapping.handle();
    for len in [0, 8191, 8193] {
        handle.set_len(len).unwrap_err();
    }
    let told = handle.set_len(100).unwrap_err();
    assert!(matches!(&told, Error::Length { .. }), "{told}");
    assert_eq!(io::Error::from(told).kind(), io::ErrorKind::InvalidInput);
    handle.set_len(8192).unwrap();
    handle.write_at(&[1; 10], 8182).unwrap();
    handle.write_at(&[1; 10], 8183).unwrap_err();
    mapping.close().unwrap();
    assert_eq!(store.0.durable()[8180..], [7, 7, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
}

/// The last byte of a page that cannot be written whole could never be written.
#[test]
fn with_an_alignment_the_greatest_length_is_a_multiple_of_it() {
    let limits = |limits: &mut Limits| (limits.len_max, limits.alignment) = (10_000, 4096);
    let mapping = Mapping::open(limited_to(0, limits)).unwrap();
    mapping.handle().write_at(&[1], 8191).unwrap();
    assert!(matches!(mapping.handle().write_at(&[1], 8192), Err(Error::OutOfRange { .. })));
    mapping.close().unwrap();
    let told = Mapping::with_config(Arc::new(limited_to(8193, limits)), Config::new());
    assert!(matches!(told, Err(Error::Length { .. })), "{told:?}");
}
