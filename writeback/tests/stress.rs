//! Many threads at once, each with something it can be held to.
//!
//! Every *stamp* is 32 bytes that name their place, their writer and its version, with a checksum, so
//! that a reader knows a mixture when it sees one and a syncer knows how new what it finds must be.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{LateStore, SetOnDrop, assert_settled, watch_for};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use writeback::store::Store;
use writeback::{Budget, Config, Flusher, FlusherConfig, Mapping, MemStore, SyncMode};

const STAMP: usize = 32;
const PAGE: usize = 512;
const SLOTS: usize = PAGE / STAMP;

fn time() -> Duration {
    let millis = std::env::var("WRITEBACK_STRESS_MS").ok().and_then(|text| text.parse().ok());
    Duration::from_millis(millis.unwrap_or(700))
}

fn sum(words: [u64; 3]) -> u64 {
    words
        .iter()
        .fold(1, |sum: u64, word| (sum ^ word).wrapping_mul(0x100_0000_01b3).rotate_left(29))
}

fn stamp(place: u64, writer: u64, version: u64) -> [u8; STAMP] {
    let words = [place, writer, version, sum([place, writer, version])];
    let mut bytes = [0; STAMP];
    for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// The version of a stamp; 0 for zeros. Panics if it is neither.
#[track_caller]
fn version_of(place: u64, bytes: &[u8]) -> u64 {
    if bytes.iter().all(|byte| *byte == 0) {
        return 0;
    }
    let word = |at: usize| u64::from_le_bytes(bytes[at * 8..at * 8 + 8].try_into().unwrap());
    assert_eq!(word(0), place, "bytes of another place");
    assert_eq!(word(3), sum([word(0), word(1), word(2)]), "a mixture of two writes at {place}");
    word(2)
}

fn open(late: bool, seed: u64) -> (Mapping, MemStore) {
    watch_for(time());
    let store = MemStore::new();
    let config = Config::new().page_size(PAGE);
    let dynamic: Arc<dyn Store> = match late {
        true => Arc::new(LateStore::new(store.clone(), seed)),
        false => Arc::new(store.clone()),
    };
    (Mapping::with_config(dynamic, config).unwrap(), store)
}

fn busy_flusher(mapping: &Mapping) -> Flusher {
    let config = FlusherConfig::new()
        .interval(Duration::from_millis(1))
        .dirty_expire(Duration::ZERO)
        .background_pages(4)
        .chunk_pages(3);
    Flusher::start([mapping.clone()], config).unwrap()
}

/// Holds pages like a journal until told to stop.
fn journal(mapping: &Mapping, pages: u64, seed: u64, stop: &AtomicBool) {
    let mut random = SmallRng::seed_from_u64(seed);
    while !stop.load(Ordering::Relaxed) {
        let index = random.random_range(0..pages);
        if let Ok(Some(hold)) = mapping.try_hold_page(index) {
            let image = hold.image();
            thread::sleep(Duration::from_micros(random.random_range(0..300)));
            for (slot, bytes) in image.as_ref().chunks_exact(STAMP).enumerate() {
                version_of(index * SLOTS as u64 + slot as u64, bytes);
            }
        }
    }
}

/// Writers own places, write ever newer versions into them and sync; after every sync the store's
/// durable bytes must be at least as new as what had been written before it.
fn nothing_synced_is_missed(late: bool, seed: u64) {
    const PAGES: u64 = 24;
    const WRITERS: u64 = 3;
    let (mapping, store) = open(late, seed);
    mapping.handle().set_len(PAGES * PAGE as u64).unwrap();
    mapping.handle().sync_all().unwrap();
    let flusher = busy_flusher(&mapping);
    let (stop, syncs) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let _stop_at_end = SetOnDrop(&stop);
        scope.spawn(|| journal(&mapping, PAGES, seed, &stop));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (mapping, store, syncs) = (&mapping, &store, &syncs);
                scope.spawn(move || {
                    let handle = mapping.handle();
                    let mut random = SmallRng::seed_from_u64(seed * 100 + writer);
                    let places = PAGES * SLOTS as u64;
                    let mut newest = vec![0; usize::try_from(places).unwrap()];
                    let end = Instant::now() + time();
                    let mut version = 0;
                    while Instant::now() < end {
                        for _ in 0..random.random_range(1..40) {
                            let place = random.random_range(0..places / WRITERS) * WRITERS + writer;
                            version += 1;
                            newest[usize::try_from(place).unwrap()] = version;
                            let bytes = stamp(place, writer, version);
                            handle.write_at(&bytes, place * STAMP as u64).unwrap();
                        }
                        handle.sync_data().unwrap();
                        syncs.fetch_add(1, Ordering::Relaxed);
                        let durable = store.durable();
                        for (place, bytes) in durable.chunks_exact(STAMP).enumerate() {
                            let seen = version_of(place as u64, bytes);
                            if place as u64 % WRITERS == writer {
                                let newest = newest[place];
                                assert!(seen >= newest, "place {place}: {seen} < {newest}");
                            }
                        }
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
    flusher.stop();
    assert!(syncs.load(Ordering::Relaxed) > 0);
    mapping.handle().sync_data().unwrap();
    assert_settled(&mapping);
    mapping.close().unwrap();
}

#[test]
fn nothing_synced_is_missed_by_a_store_that_writes_at_once() {
    nothing_synced_is_missed(false, 1);
}

#[test]
fn nothing_synced_is_missed_by_a_store_that_completes_late_and_out_of_order() {
    nothing_synced_is_missed(true, 2);
}

/// Readers, writers, syncers and a truncater: no byte is ever a mixture, or of another place, and at
/// the end cache, store and counters agree.
fn truncates_and_everything_else(late: bool, seed: u64) {
    const PAGES: u64 = 16;
    let (mapping, store) = open(late, seed);
    let flusher = busy_flusher(&mapping);
    let end = Instant::now() + time();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop_at_end = SetOnDrop(&stop);
        scope.spawn(|| journal(&mapping, PAGES, seed, &stop));
        let workers: Vec<_> = (0..4_u64)
            .map(|worker| {
                let mapping = &mapping;
                scope.spawn(move || {
                    let handle = mapping.handle();
                    let mut random = SmallRng::seed_from_u64(seed * 1000 + worker);
                    let mut version = 0;
                    let mut bytes = vec![0; 3 * PAGE];
                    while Instant::now() < end {
                        let place = random.random_range(0..PAGES * SLOTS as u64);
                        match random.random_range(0..100) {
                            0..55 => {
                                version += 1;
                                let bytes = stamp(place, worker, version);
                                handle.write_at(&bytes, place * STAMP as u64).unwrap();
                            }
                            55..85 => {
                                let count = handle.read_at(&mut bytes, place * STAMP as u64);
                                let read = &bytes[..count.unwrap()];
                                assert_eq!(read.len() % STAMP, 0);
                                for (n, bytes) in read.chunks_exact(STAMP).enumerate() {
                                    version_of(place + n as u64, bytes);
                                }
                            }
                            85..92 => handle.set_len(place * STAMP as u64).unwrap(),
                            92..96 => handle.sync_data().unwrap(),
                            96..98 => handle.sync_range(..place * STAMP as u64).unwrap(),
                            _ => drop(
                                mapping.write_page(place / SLOTS as u64, SyncMode::Wait).unwrap(),
                            ),
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
    flusher.stop();
    mapping.handle().sync_all().unwrap();
    assert_settled(&mapping);
    let mut bytes = vec![0; usize::try_from(mapping.len()).unwrap()];
    mapping.handle().read_at(&mut bytes, 0).unwrap();
    assert!(store.durable() == bytes, "cache and store differ");
    mapping.handle().set_len(0).unwrap();
    let stats = mapping.stats();
    assert_eq!((stats.cached, stats.dirty, stats.writeback), (0, 0, 0));
}

#[test]
fn truncates_and_everything_else_with_a_store_that_writes_at_once() {
    truncates_and_everything_else(false, 3);
}

#[test]
fn truncates_and_everything_else_with_a_store_that_completes_late() {
    truncates_and_everything_else(true, 4);
}

/// After `close` returns `Ok`, whatever a writer was told is written is durable.
#[test]
fn a_write_that_returned_ok_is_saved_by_close() {
    for seed in 0..30 {
        let (mapping, store) = open(true, seed);
        mapping.handle().write_at(&[0; 8 * PAGE], 0).unwrap();
        let stop = &AtomicBool::new(false);
        let written: Vec<_> = thread::scope(|scope| {
            let _stop_at_end = SetOnDrop(stop);
            let writers: Vec<_> = (0..3_u64)
                .map(|writer| {
                    let handle = mapping.handle();
                    scope.spawn(move || {
                        let write = |version| {
                            handle.write_at(&stamp(writer * 16, writer, version), writer * 512)
                        };
                        let mut version = 0;
                        while !stop.load(Ordering::Relaxed) && write(version + 1).is_ok() {
                            version += 1;
                        }
                        version
                    })
                })
                .collect();
            thread::sleep(Duration::from_micros(seed * 100));
            mapping.clone().close().unwrap();
            let durable = store.durable();
            let versions: Vec<_> = (0..3_usize)
                .map(|writer| version_of(writer as u64 * 16, &durable[writer * 512..][..STAMP]))
                .collect();
            let told = writers.into_iter().map(|writer| writer.join().unwrap());
            told.zip(versions).collect()
        });
        for (told, durable) in written {
            assert_eq!(told, durable, "seed {seed}");
        }
    }
}

/// Two threads dirty the same page and each syncs: neither returns before its own bytes are durable,
/// though only one of them found the page clean.
#[test]
fn two_dirtiers_of_one_page_each_get_what_they_synced() {
    let (mapping, store) = open(true, 5);
    mapping.handle().write_at(&[0; PAGE], 0).unwrap();
    let end = Instant::now() + time();
    thread::scope(|scope| {
        for writer in 0..2_u64 {
            let (handle, store) = (mapping.handle(), &store);
            scope.spawn(move || {
                let mut version = 0;
                while Instant::now() < end {
                    version += 1;
                    handle
                        .write_at(&stamp(writer, writer, version), writer * STAMP as u64)
                        .unwrap();
                    handle.sync_data().unwrap();
                    let at = usize::try_from(writer).unwrap() * STAMP;
                    assert_eq!(version_of(writer, &store.durable()[at..at + STAMP]), version);
                }
            });
        }
    });
    mapping.handle().sync_data().unwrap();
    assert_settled(&mapping);
}

/// A truncate clears what it cuts off, and no reader ever sees that as part of the file.
#[test]
fn a_reader_never_sees_what_lies_beyond_the_end() {
    let (mapping, _store) = open(false, 6);
    mapping.handle().write_at(&[1; PAGE], 0).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop_at_end = SetOnDrop(&stop);
        let (changer, stop) = (mapping.handle(), &stop);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                changer.set_len(10).unwrap();
                changer.write_at(&[1; PAGE - 10], 10).unwrap();
            }
        });
        let (reader, end) = (mapping.handle(), Instant::now() + time());
        let mut bytes = [0; PAGE];
        while Instant::now() < end {
            let count = reader.read_at(&mut bytes, 0).unwrap();
            assert!(count >= 10 && bytes[..count].iter().all(|byte| *byte == 1), "{count}");
        }
    });
}

/// An image of bytes that lengthen the file is never cut at the length the file had before them.
#[test]
fn what_is_appended_and_synced_is_there_although_the_page_is_written_all_the_time() {
    crate::common::watch();
    const BIG: usize = 1 << 20;
    const STEP: usize = BIG / 3;
    let store = MemStore::new();
    let config = Config::new().page_size(BIG);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop_at_end = SetOnDrop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
            }
        });
        let (handle, end) = (mapping.handle(), Instant::now() + time());
        while Instant::now() < end {
            handle.set_len(0).unwrap();
            for step in 0..9 {
                handle.write_at(&[7; STEP], (step * STEP) as u64).unwrap();
                handle.sync_data().unwrap();
                assert_eq!(handle.mapping().store().len().unwrap(), ((step + 1) * STEP) as u64);
            }
        }
    });
    assert_eq!(store.durable(), [7; 9 * STEP]);
}

/// A page that is overwritten before it was ever read is valid and has its bytes at one instant.
#[test]
fn a_reader_never_sees_a_page_without_its_first_contents() {
    crate::common::watch();
    let end = Instant::now() + time();
    while Instant::now() < end {
        let mapping = Mapping::open(MemStore::with_contents([1; 100])).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| mapping.handle().write_at(&[1; 100], 0).unwrap());
            for _ in 0..10 {
                let mut bytes = [0; 100];
                assert_eq!(mapping.handle().read_at(&mut bytes, 0).unwrap(), 100);
                assert_eq!(bytes, [1; 100]);
            }
        });
    }
}
