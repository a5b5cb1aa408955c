//! Holes of files, and any sequence of punches, cuts and writes beside what the bytes must be.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use writeback::store::Store;
use writeback::{
    CacheConfig, Config, Error, FileStore, Handle, Mapping, MemStore, PageCache, SyncMode,
};

use crate::space::PAGE;
use crate::{contents, within};

const LEN_MAX: u64 = 6 * PAGE;

#[test]
fn a_file_gives_room_back_and_takes_it() {
    within(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let handle = Mapping::open(FileStore::create(&path).unwrap()).unwrap().handle();
        let room = || std::fs::metadata(&path).unwrap().blocks() * 512;
        handle.write_at(&[1; 64 * 4096], 0).unwrap();
        handle.sync_data().unwrap();
        let full = room();
        match handle.punch(10 * PAGE..40 * PAGE + 5) {
            Err(Error::Space { source }) if source.is_unsupported() => {
                return eprintln!("not looked at: the file system of {path:?} punches no holes");
            }
            told => told.unwrap(),
        }
        assert!(full - room() >= 30 * PAGE, "{full}, then {}", room());
        assert_eq!(
            (handle.next_hole(0).unwrap(), handle.next_data(10 * PAGE).unwrap()),
            (Some(10 * PAGE), Some(40 * PAGE))
        );
        assert_eq!(
            (handle.next_hole(41 * PAGE).unwrap(), handle.next_hole(64 * PAGE).unwrap()),
            (Some(64 * PAGE), Some(64 * PAGE))
        );
        assert_eq!(handle.next_hole(64 * PAGE + 1).unwrap(), None);
        handle.sync_data().unwrap();
        let file = std::fs::read(&path).unwrap();
        assert!(file[10 * 4096..40 * 4096 + 5].iter().all(|byte| *byte == 0));
        assert!(file[..10 * 4096].iter().chain(&file[40 * 4096 + 5..]).all(|byte| *byte == 1));
        let punched = room();
        match handle.allocate(10 * PAGE..100 * PAGE) {
            Err(Error::Space { source }) if source.is_unsupported() => {}
            told => {
                told.unwrap();
                assert!(room() - punched >= 60 * PAGE, "{punched}, then {}", room());
                assert_eq!(
                    (handle.len(), std::fs::metadata(&path).unwrap().len()),
                    (64 * PAGE, 64 * PAGE)
                );
            }
        }
        match handle.zero(..2 * PAGE) {
            Err(Error::Space { source }) if source.is_unsupported() => {}
            told => told.unwrap(),
        }
        assert!(matches!(handle.allocate(..), Err(Error::OutOfRange { .. })));
    });
}

/// One thing to do, with two offsets.
type Op = (u8, u64, u64);

/// What the mapping must be.
fn apply(model: &mut Vec<u8>, handle: &Handle, (what, from, to): Op) {
    let (from, to) = (from.min(to), from.max(to));
    let (start, end) = (usize::try_from(from).unwrap(), usize::try_from(to).unwrap());
    match what {
        0..=2 => {
            let byte = u8::try_from(from % 250).unwrap() + 1;
            handle.write_at(&vec![byte; end - start], from).unwrap();
            if start < end {
                model.resize(model.len().max(end), 0);
                model[start..end].fill(byte);
            }
        }
        3 | 4 => {
            match what {
                3 => handle.punch(from..to).unwrap(),
                _ => handle.zero(from..to).unwrap(),
            }
            let end = end.min(model.len());
            model[start.min(end)..end].fill(0);
        }
        5 => {
            handle.set_len(from).unwrap();
            model.resize(start, 0);
        }
        6 => handle.sync_data().unwrap(),
        _ => _ = handle.mapping().write_page(from / PAGE, SyncMode::Wait).unwrap(),
    }
}

/// Every byte that is not zero is data, and every hole is zeros, and they take turns.
fn check_holes(handle: &Handle, model: &[u8]) {
    let (mut at, len) = (0, handle.len());
    while at < len {
        let data = handle.next_data(at).unwrap().unwrap_or(len);
        assert!(
            model[usize::try_from(at).unwrap()..usize::try_from(data).unwrap()]
                .iter()
                .all(|byte| *byte == 0)
        );
        if data == len {
            return;
        }
        let hole = handle.next_hole(data).unwrap().unwrap();
        assert!(hole > data && hole <= len, "{hole} after {data}");
        at = hole;
    }
}

fn run(store: impl Store, ops: &[Op]) -> Vec<u8> {
    let cache = PageCache::new(CacheConfig::new(4)).unwrap();
    let mapping = Mapping::with_config(Arc::new(store), Config::new().cache(&cache)).unwrap();
    let (handle, mut model) = (mapping.handle(), Vec::new());
    for op in ops {
        apply(&mut model, &handle, *op);
        assert!(contents(&handle) == model, "{op:?}");
        check_holes(&handle, &model);
        mapping.check().unwrap();
    }
    mapping.close().unwrap();
    model
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_punches_are_as_zeros_that_are_written(
        ops in vec((0..8_u8, 0..LEN_MAX, 0..LEN_MAX), 1..25),
    ) {
        let store = MemStore::new();
        let model = run(store.clone(), &ops);
        prop_assert!(store.durable() == model);
    }
}

#[test]
fn a_file_is_punched_as_memory_is() {
    within(|| {
        let folder = tempfile::tempdir().unwrap();
        for seed in 0..10 {
            let mut random = numbers(seed);
            let ops: Vec<Op> = (0..20)
                .map(|_| {
                    (u8::try_from(random() % 8).unwrap(), random() % LEN_MAX, random() % LEN_MAX)
                })
                .collect();
            let path = folder.path().join(seed.to_string());
            let store = FileStore::create(&path).unwrap();
            if store.punch(0, PAGE).is_err() || store.zero(0, PAGE).is_err() {
                return eprintln!("not looked at: the file system of {path:?} punches no holes");
            }
            let model = run(store, &ops);
            assert!(std::fs::read(&path).unwrap() == model, "{seed}");
        }
    });
}

/// Numbers that look random.
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 8
    }
}
