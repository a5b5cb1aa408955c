//! A write of several pages that fails after some of them tells how much was done, and that is so.

use std::io;
use std::sync::Arc;

use rustix::io::Errno;
use writeback::store::fault::{Action, Fault, FaultConfig, FaultStore, Rule};
use writeback::{CacheConfig, Config, Error, Mapping, PageCache, Result, StoreError};

use crate::{contents, within};

const PAGE: usize = 4096;

/// What was told is what was done: so many bytes are the new ones, and the rest is as it was.
fn assert_written(
    mapping: &Mapping,
    told: Result<()>,
    before: &[u8],
    offset: usize,
    data: &[u8],
) -> Error {
    let Err(Error::Partial { written, source }) = told else { panic!("{told:?}") };
    let written = usize::try_from(written).unwrap();
    assert!(written > 0 && written < data.len());
    let mut expected = before.to_vec();
    expected.resize(before.len().max(offset + written), 0);
    expected[offset..offset + written].copy_from_slice(&data[..written]);
    assert!(contents(&mapping.handle()) == expected, "{written} bytes");
    assert_eq!(
        mapping.stats().dirty,
        (offset + written).div_ceil(PAGE) as u64 - (offset / PAGE) as u64
    );
    *source
}

#[test]
fn a_page_that_cannot_be_read() {
    let before = vec![1; 4 * PAGE];
    let store = FaultStore::with_config(FaultConfig::new(1).contents(&before));
    let mapping = Mapping::open(store.clone()).unwrap();
    let data = vec![7; 2 * PAGE];
    // From the middle of a page to that of the next but one, which cannot be read.
    store.inject(Rule::new(Fault::Io).touching(2 * PAGE as u64..3 * PAGE as u64));
    let told = mapping.handle().write_at(&data, 100);
    let cause = assert_written(&mapping, told, &before, 100, &data);
    assert!(matches!(cause, Error::Read { index: 2, .. }), "{cause}");
    mapping.handle().write_at(&data, 100).unwrap();
}

#[test]
fn a_first_page_that_cannot_be_read_is_told_as_such() {
    let store = FaultStore::with_config(FaultConfig::new(1).contents([1; 2 * PAGE]));
    let mapping = Mapping::open(store.clone()).unwrap();
    store.inject(Rule::new(Fault::Io).on(Action::Read));
    let told = mapping.handle().write_at(&[7; PAGE], 100);
    assert!(matches!(told, Err(Error::Read { index: 0, .. })), "{told:?}");
    assert!(contents(&mapping.handle()) == [1; 2 * PAGE]);
}

/// A store that is full: there is room for four dirty pages, and none of them can be written.
fn full() -> (FaultStore, Mapping) {
    let store = FaultStore::with_config(FaultConfig::new(1).contents([1; PAGE]));
    store.inject(Rule::new(Fault::NoSpace).on(Action::Write).persistent());
    let limits = CacheConfig::new(20).dirty_pages_max(4).stall_max(std::time::Duration::ZERO);
    let config = Config::new().cache(&PageCache::new(limits).unwrap());
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    (store, mapping)
}

#[test]
fn no_room_for_dirty_pages() {
    within(|| {
        let (_store, mapping) = full();
        let data = vec![7; 16 * PAGE];
        let told = mapping.handle().write_at(&data, 50);
        assert!(told.as_ref().is_err_and(Error::is_no_space), "{told:?}");
        let cause = assert_written(&mapping, told, &[1; PAGE], 50, &data);
        assert!(matches!(cause, Error::Stalled { .. }), "{cause}");
        // Not even one page: then nothing is.
        let told = mapping.handle().write_at(&data, 100 * PAGE as u64);
        assert!(matches!(told, Err(Error::Stalled { .. })), "{told:?}");
    });
}

#[test]
fn what_does_not_wait_returns_how_much_it_has_written() {
    within(|| {
        let (_store, mapping) = full();
        let written = mapping.handle().try_write_at(&[7; 16 * PAGE], 0).unwrap();
        assert_eq!((written % PAGE, mapping.len()), (0, written as u64));
        assert!((PAGE..16 * PAGE).contains(&written));
        let told = mapping.handle().try_write_at(&[7; 10], 100 * PAGE as u64);
        assert!(matches!(told, Err(Error::WouldBlock)), "{told:?}");
    });
}

/// The same as of the error inside, whoever asks.
#[test]
fn an_error_in_part_is_what_its_cause_is() {
    let cause = Error::Write { source: io::Error::from(Errno::DQUOT).into() };
    let part = Error::Partial { written: 5, source: Box::new(cause.clone()) };
    assert!(part.is_no_space() && !part.is_poisoned());
    assert_eq!(part.raw_os_error(), cause.raw_os_error());
    assert_eq!(io::Error::from(part.clone()).kind(), io::ErrorKind::QuotaExceeded);
    assert!(part.to_string().contains("after 5 bytes"), "{part}");
    let poisoned = Error::Poisoned { source: StoreError::Lost };
    assert!(Error::Partial { written: 5, source: Box::new(poisoned) }.is_poisoned());
    let blocked = Error::Partial { written: 5, source: Box::new(Error::WouldBlock) };
    let blocked = io::Error::from(blocked);
    assert_eq!((blocked.kind(), blocked.raw_os_error()), (io::ErrorKind::WouldBlock, None));
}

/// ENOSPC, EDQUOT and EFBIG are three things to do something about.
#[test]
fn the_errno_is_kept_all_the_way() {
    for errno in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG, Errno::IO, Errno::NODEV] {
        let store: StoreError = io::Error::from(errno).into();
        let errors = [
            Error::Read { index: 0, source: store.clone() },
            Error::Write { source: store.clone() },
            Error::Flush { source: store.clone() },
            Error::Length { source: store.clone() },
            Error::Poisoned { source: store.clone() },
            Error::Stalled { source: Some(store.clone()) },
        ];
        for error in errors {
            let raw = Some(errno.raw_os_error());
            assert_eq!((error.raw_os_error(), store.raw_os_error()), (raw, raw), "{error}");
            assert_eq!(error.is_no_space(), !matches!(errno, Errno::IO | Errno::NODEV));
            assert_eq!(io::Error::from(error).raw_os_error(), raw);
        }
    }
    let fenced = Error::Flush { source: StoreError::Fenced };
    assert_eq!(fenced.raw_os_error(), Some(Errno::STALE.raw_os_error()), "{fenced}");
    assert_eq!(io::Error::from(fenced).kind(), io::ErrorKind::StaleNetworkFileHandle);
    let raw = Error::Write { source: StoreError::NoSpace }.raw_os_error();
    assert_eq!(raw, Some(Errno::NOSPC.raw_os_error()));
    let lost = Error::Write { source: StoreError::Lost };
    assert_eq!(lost.raw_os_error(), None);
    let lost = io::Error::from(lost).into_inner().unwrap();
    assert!(lost.downcast_ref::<Error>().is_some());
}
