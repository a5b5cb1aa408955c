//! The store and mappings over it, in a bucket in memory: fencing, checkpoints, clones, what is refused, memory, read-ahead.

mod common;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use common::{CHUNK, bucket, contents, keys, spilling, wait_until};
use writeback::store::{Completion, FlushKind, ReadRun, Store, WriteBatch};
use writeback::{Config, Error, Mapping, StoreError};
use writeback_objects::object_store::{ObjectStore, ObjectStoreExt};
use writeback_objects::{ObjectPages, OpenError};

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at / 7 + at / CHUNK) % 251).unwrap() ^ seed).collect()
}

#[test]
fn a_mapping_is_found_again_with_the_length_it_had() {
    for wal in [true, false] {
        let bucket = bucket();
        let options = || ObjectPages::options().wal(wal);
        let bytes = pattern(1_000_001, 1);
        {
            let handle =
                Mapping::open(options().open("disk", bucket.clone()).unwrap()).unwrap().handle();
            handle.write_at(&bytes, 0).unwrap();
            handle.sync_data().unwrap();
            handle.write_at(&[9; 5000], 100).unwrap(); // nobody syncs that
        }
        let store = options().open("disk", bucket).unwrap();
        assert_eq!(store.len().unwrap(), 1_000_001);
        assert_eq!(store.epoch(), 2);
        assert!(contents(&store) == bytes);
        store.close().unwrap();
    }
}

#[test]
fn an_opener_shuts_out_the_one_before_and_has_what_that_one_flushed() {
    for wal in [true, false] {
        let bucket = bucket();
        let options = || ObjectPages::options().wal(wal);
        let first = options().open("disk", bucket.clone()).unwrap();
        let handle = Mapping::with_config(Arc::new(first.clone()), Config::new()).unwrap().handle();
        handle.write_at(b"flushed", 0).unwrap();
        handle.sync_data().unwrap();
        handle.write_at(b"too late", 0).unwrap();

        let second = options().open("disk", bucket.clone()).unwrap();
        let error = handle.sync_data().unwrap_err();
        assert!(matches!(error, Error::Flush { source: StoreError::Fenced }), "{error}");
        assert!(handle.write_at(b"x", 0).is_err() || handle.sync_data().is_err(), "poisoned");
        assert!(matches!(first.sync(FlushKind::Data), Err(StoreError::Fenced)));
        assert_eq!(contents(&second), b"flushed");
        second.write_at(0, &[5; CHUNK]).unwrap();
        second.sync(FlushKind::Data).unwrap();
        let third = options().open("disk", bucket).unwrap();
        assert_eq!(contents(&third), [5; CHUNK]);
    }
}

#[test]
fn of_several_that_expect_the_same_epoch_one_opens() {
    let bucket = bucket();
    let first = ObjectPages::open("disk", bucket.clone()).unwrap();
    let epoch = first.epoch();
    let opened: Vec<_> = std::thread::scope(|scope| {
        let openers: Vec<_> = (0..3)
            .map(|_| {
                let bucket = bucket.clone();
                let options = ObjectPages::options().expected_epoch(epoch);
                scope.spawn(move || options.open("disk", bucket))
            })
            .collect();
        openers.into_iter().map(|opener| opener.join().unwrap()).collect()
    });
    let (well, ill): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
    assert_eq!(well.len(), 1);
    assert!(ill.iter().all(|error| matches!(error, Err(OpenError::Fenced))), "{ill:?}");
    assert_eq!(well[0].as_ref().unwrap().epoch(), epoch + 1);
}

#[test]
fn a_clone_begins_as_the_checkpoint_and_both_go_on_alone() {
    let bucket = bucket();
    let store = spilling().open("disk", bucket.clone()).unwrap();
    let old = pattern(300 * CHUNK, 1);
    store.write_at(0, &old).unwrap();
    store.sync(FlushKind::Data).unwrap();
    let checkpoint = store.checkpoint("before", None).unwrap();

    let new = pattern(300 * CHUNK, 2);
    store.write_at(0, &new).unwrap();
    store.set_len(200 * CHUNK as u64).unwrap();
    store.sync(FlushKind::Data).unwrap();
    store.clone_to(checkpoint, "copy").unwrap();

    let copy = spilling().open("copy", bucket.clone()).unwrap();
    assert!(contents(&copy) == old);
    copy.write_at(0, &[3; CHUNK]).unwrap();
    copy.sync(FlushKind::Data).unwrap();
    assert!(contents(&store) == new[..200 * CHUNK]);
    drop((store, copy));
    let (store, copy) =
        (ObjectPages::open("disk", bucket.clone()), ObjectPages::open("copy", bucket));
    let (store, copy) = (store.unwrap(), copy.unwrap());
    assert!(contents(&store) == new[..200 * CHUNK]);
    assert!(contents(&copy)[CHUNK..] == old[CHUNK..] && contents(&copy)[..CHUNK] == [3; CHUNK]);
    store.forget_checkpoint(checkpoint).unwrap();
    assert!(store.clone_to(checkpoint, "another").is_err(), "it is forgotten");
}

#[test]
fn what_it_was_not_made_with_and_what_it_has_not_made_is_refused() {
    let bucket = bucket();
    let store = ObjectPages::options().chunk(8192).open("disk", bucket.clone()).unwrap();
    store.write_at(0, &[1; 8192]).unwrap();
    store.sync(FlushKind::Data).unwrap();
    drop(store);
    let error = ObjectPages::open("disk", bucket.clone()).unwrap_err();
    assert!(matches!(error, OpenError::Chunk { stored: 8192, asked: 4096 }), "{error}");
    for chunk in [0, 100, 256, 3 << 12, 2 << 20] {
        let error = ObjectPages::options().chunk(chunk).open("disk", bucket.clone()).unwrap_err();
        assert!(matches!(error, OpenError::Options(_)), "{error}");
    }

    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (path, key) in [("foreign", b"key".as_slice()), ("later", b"m")] {
        let bucket = bucket.clone();
        runtime.block_on(async move {
            let db = writeback_objects::slatedb::Db::open(path, bucket).await.unwrap();
            db.put(key, b"value").await.unwrap();
            db.close().await.unwrap();
        });
    }
    for path in ["foreign", "later"] {
        let error = ObjectPages::open(path, bucket.clone()).unwrap_err();
        assert!(matches!(error, OpenError::Foreign(_)), "{path}: {error}");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);
    }
}

#[test]
fn writes_of_parts_of_chunks_are_refused_and_change_nothing() {
    let store = ObjectPages::open("disk", bucket()).unwrap();
    store.write_at(0, &[1; CHUNK]).unwrap();
    for (offset, len) in [(1, CHUNK), (0, 100), (CHUNK as u64, CHUNK + 1)] {
        let error = store.write_at(offset, &vec![2; len]).unwrap_err();
        assert!(
            matches!(error, StoreError::Io(error) if error.kind() == io::ErrorKind::InvalidInput)
        );
    }
    assert!(store.punch(1, 4000).is_err() && store.set_len(u64::MAX).is_err());
    assert_eq!(contents(&store), [1; CHUNK]);
}

#[test]
fn it_works_from_within_a_runtime_and_on_one_that_it_is_given() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    runtime.block_on(async move {
        let bucket = bucket();
        for options in [ObjectPages::options(), ObjectPages::options().runtime(handle)] {
            let store = options.open("disk", bucket.clone()).unwrap();
            let handle = Mapping::open(store).unwrap().handle();
            handle.write_at(b"async", 0).unwrap();
            let mut bytes = [0; 5];
            handle.clone().into_async().sync_data().await.unwrap();
            handle.read_at(&mut bytes, 0).unwrap();
            assert_eq!(&bytes, b"async");
        }
    });
}

/// As long as a flush is not told, nothing of what was spilled for it is seen by who opens the store.
#[test]
fn what_is_spilled_belongs_to_nothing_until_it_is_flushed() {
    let bucket = bucket();
    let store = spilling().open("disk", bucket.clone()).unwrap();
    store.write_at(0, &pattern(100 * CHUNK, 1)).unwrap();
    store.sync(FlushKind::Data).unwrap();
    store.write_at(0, &pattern(2000 * CHUNK, 2)).unwrap();
    wait_until("it is spilled", || store.spilled() > 1500);
    assert!(contents(&store) == pattern(2000 * CHUNK, 2));
    store.close().unwrap(); // moves all of it to where it is durable
    let again = spilling().open("disk", bucket.clone()).unwrap();
    assert!(contents(&again) == pattern(100 * CHUNK, 1));
    wait_until("what belongs to nothing is swept up", || keys(&again, "s") <= 100);
    // Zeros that are spilled now are not what was spilled before.
    again.write_at(0, &vec![0; 2000 * CHUNK]).unwrap();
    again.sync(FlushKind::Data).unwrap();
    assert!(contents(&again).iter().all(|byte| *byte == 0));
    again.set_len(0).unwrap();
    again.set_len(2000 * CHUNK as u64).unwrap();
    again.sync(FlushKind::Data).unwrap();
    drop(again);
    let again = spilling().open("disk", bucket).unwrap();
    assert!(contents(&again).iter().all(|byte| *byte == 0));
}

#[test]
fn writes_wait_when_too_much_is_staged() {
    let store = spilling().open("disk", bucket()).unwrap();
    let (tell, told) = channel();
    let caller = std::thread::current().id();
    for at in 0..200_u64 {
        let batch =
            WriteBatch::new(0, at * 64 * CHUNK as u64, vec![vec![1; 64 * CHUNK].as_slice().into()]);
        let tell = tell.clone();
        let ended = move |accepted, error: Option<StoreError>| {
            let at_once = std::thread::current().id() == caller;
            let _ = tell.send((accepted, error.is_none() && !at_once));
        };
        store.write(batch, Completion::new(64 * CHUNK as u64, ended));
    }
    // All but the first, which finds all room.
    let waited = (0..200).filter(|_| {
        let (accepted, later) = told.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(accepted, 64 * CHUNK as u64);
        later
    });
    let waited = waited.count();
    assert!(waited > 20, "{waited}");
    wait_until("little is staged", || !store.is_congested());
    assert!(store.spilled() >= 200 * 64 - 32, "{}", store.spilled());
}

#[test]
fn what_is_cut_off_or_overwritten_leaves_the_database() {
    let store = spilling().open("disk", bucket()).unwrap();
    store.write_at(0, &pattern(3000 * CHUNK, 1)).unwrap();
    store.sync(FlushKind::Data).unwrap();
    store.write_at(0, &pattern(3000 * CHUNK, 2)).unwrap();
    store.sync(FlushKind::Data).unwrap();
    store.set_len(100).unwrap();
    store.sync(FlushKind::Data).unwrap();
    wait_until("it is swept up", || keys(&store, "s") == 0 && keys(&store, "p") <= 1);
    assert!(contents(&store) == pattern(100, 2));
}

#[test]
fn a_flush_of_nothing_asks_the_server_for_nothing() {
    let bucket = bucket();
    let store = ObjectPages::open("disk", bucket.clone()).unwrap();
    store.write_at(0, &[1; CHUNK]).unwrap();
    store.sync(FlushKind::Data).unwrap();
    let objects = || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let list = runtime.block_on(bucket.list_with_delimiter(Some(&"disk/wal".into()))).unwrap();
        list.objects.len()
    };
    let before = objects();
    (0..10).for_each(|_| store.sync(FlushKind::All).unwrap());
    assert_eq!(objects(), before);
    store.write_at(0, &[2; CHUNK]).unwrap();
    store.sync(FlushKind::Data).unwrap();
    assert_eq!(objects(), before + 1, "and for one object otherwise");
}

#[test]
fn what_was_fetched_ahead_is_forgotten_when_it_is_written() {
    let store = ObjectPages::open("disk", bucket()).unwrap();
    let old = pattern(4000 * CHUNK, 1);
    store.write_at(0, &old).unwrap();
    store.sync(FlushKind::Data).unwrap();
    let mut bytes = vec![0; 64 * CHUNK];
    for at in 0..8 {
        store.read_at(at * 64 * CHUNK as u64, &mut bytes).unwrap();
    }
    // All of the next segments are under way or there.
    for chunk in (512..3000).step_by(100) {
        store.write_at(chunk * CHUNK as u64, &[7; CHUNK]).unwrap();
    }
    let mut expected = old;
    for chunk in (512..3000).step_by(100) {
        expected[chunk * CHUNK..][..CHUNK].fill(7);
    }
    for at in 8..62 {
        store.read_at(at * 64 * CHUNK as u64, &mut bytes).unwrap();
        let start = usize::try_from(at).unwrap() * 64 * CHUNK;
        assert!(bytes == expected[start..start + bytes.len()], "run {at}");
    }
    store.punch(0, 1000 * CHUNK as u64).unwrap();
    assert!(contents(&store)[..1000 * CHUNK].iter().all(|byte| *byte == 0));
}

/// A flush moves a chunk that was cut to another place, and deletes it from where it was.
#[test]
fn reads_during_a_flush_find_what_it_moves() {
    let store = spilling().open("disk", bucket()).unwrap();
    for round in 0..60 {
        let bytes = pattern(64 * CHUNK, round);
        store.write_at(0, &bytes).unwrap();
        store.sync(FlushKind::Data).unwrap();
        let end = 8 * CHUNK + 100;
        store.set_len(end as u64).unwrap();
        store.write_at(0, &[round + 100; CHUNK]).unwrap();
        let flushed = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !flushed.load(std::sync::atomic::Ordering::Relaxed) {
                        let mut read = vec![0xee; 2 * CHUNK];
                        let count = store.read_at(7 * CHUNK as u64, &mut read).unwrap();
                        assert!(read[..count] == bytes[7 * CHUNK..end], "round {round}");
                        store.read_at(0, &mut read[..CHUNK]).unwrap();
                        assert!(read[..CHUNK] == [round + 100; CHUNK], "round {round}: unflushed");
                    }
                });
            }
            store.sync(FlushKind::Data).unwrap();
            flushed.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
    assert!(store.spilled() > 60, "{} were spilled", store.spilled());
}

#[test]
fn what_is_written_while_it_is_spilled_stays() {
    let store = spilling().open("disk", bucket()).unwrap();
    for round in 0..400 {
        let bytes = vec![u8::try_from(round % 250 + 1).unwrap(); 64 * CHUNK];
        store.write_at(0, &bytes).unwrap();
        if round % 8 == 7 {
            assert!(contents(&store) == bytes, "round {round}");
        }
    }
    assert!(store.spilled() > 400, "{} were spilled", store.spilled());
}

#[test]
fn a_lost_object_is_an_error_and_not_zeros() {
    let bucket = bucket();
    let options = || ObjectPages::options().wal(false).cache_bytes(0);
    let store = options().open("disk", bucket.clone()).unwrap();
    store.write_at(0, &pattern(64 * CHUNK, 1)).unwrap();
    store.sync(FlushKind::Data).unwrap();
    drop(store);
    let store = options().open("disk", bucket.clone()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let tables = bucket.list_with_delimiter(Some(&"disk/compacted".into())).await.unwrap();
        for table in tables.objects {
            bucket.delete(&table.location).await.unwrap();
        }
    });
    let (tell, told) = channel();
    store
        .read(ReadRun::new(0, CHUNK, 4, move |bytes, error| drop(tell.send((bytes.len(), error)))));
    let (count, error) = told.recv().unwrap();
    assert_eq!(count, 0);
    assert!(error.is_some());
}
