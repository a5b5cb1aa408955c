//! A server that does not answer for a while, and what a crash, a refusal or a late answer leaves behind.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use common::gate::Gate;
use common::{CHUNK, bucket, contents, keys, spilling, wait_until};
use writeback::store::{Completion, FlushKind, Store, WriteBatch};
use writeback::{Mapping, StoreError};
use writeback_objects::object_store::ObjectStore;
use writeback_objects::{ObjectPages, OpenError};

const MIB: u64 = 1 << 20;

/// Less than the second after which a database looks again for what others have done.
const QUIET: Duration = Duration::from_millis(600);

fn random(len: usize) -> Vec<u8> {
    (0..len).map(|_| fastrand::u8(1..)).collect()
}

/// Small tables, so that the database is soon full if it cannot put; two seconds of patience.
fn impatient(gate: &Arc<Gate>) -> ObjectPages {
    ObjectPages::options()
        .staging_bytes(MIB)
        .patience(Duration::from_secs(2))
        .cache_bytes(0)
        .settings(|settings| {
            settings.max_unflushed_bytes = 2 << 20;
            settings.l0_sst_size_bytes = 512 << 10;
            settings.compactor_options = None;
        })
        .open("disk", Arc::clone(gate) as Arc<dyn ObjectStore>)
        .unwrap()
}

/// Spills until the database takes nothing more; the gate holds its puts.
fn fill_up(store: &ObjectPages) {
    let bytes = random(1 << 20);
    let full = (0..20).any(|at| store.write_at((1 << 30) + at * MIB, &bytes).is_err());
    assert!(full, "it takes no end of bytes");
}

#[test]
fn a_sweep_after_a_flush_that_failed_deletes_nothing() {
    let gate = Gate::new();
    let store = impatient(&gate);
    // Nothing of it is spilled.
    for at in [0, 240] {
        store.write_at(at * CHUNK as u64, &vec![1; 240 * CHUNK]).unwrap();
        store.sync(FlushKind::Data).unwrap();
    }
    store.close().unwrap();
    drop(store);
    let store = impatient(&gate);
    // Zeros, whose sweep waits for a table, and flush N: chunk 50 is back.
    gate.hold_gets(true);
    store.punch(0, 400 * CHUNK as u64).unwrap();
    store.sync(FlushKind::Data).unwrap();
    store.write_at(50 * CHUNK as u64, &[5; CHUNK]).unwrap();
    store.sync(FlushKind::Data).unwrap();
    // Flush N + 1 does not come to pass in time.
    gate.hold_puts(true);
    fill_up(&store);
    store.punch(0, 400 * CHUNK as u64).unwrap();
    store.sync(FlushKind::Data).unwrap_err();
    gate.hold_puts(false);
    std::thread::sleep(Duration::from_millis(500));
    let is_sweeping = || format!("{store:?}").contains("sweeping: true");
    assert!(is_sweeping(), "it waits for the table");
    gate.hold_gets(false);
    wait_until("the sweep is over, or has given up", || !is_sweeping());
    let _ = store.close();
    drop(store);
    let store = impatient(&gate);
    let mut found = [9; CHUNK];
    store.read_at(50 * CHUNK as u64, &mut found).unwrap();
    assert_eq!(
        store.len().unwrap(),
        480 * CHUNK as u64,
        "N + 1 has come to pass: this shows nothing"
    );
    assert!(found == [5; CHUNK], "as N left it, not {}", found[0]);
}

#[test]
fn after_a_flush_that_failed_reads_find_what_they_found_before() {
    let gate = Gate::new();
    let store = impatient(&gate);
    for at in 0..4 {
        store.write_at(at * MIB, &vec![1; 1 << 20]).unwrap();
    }
    wait_until("it is spilled", || !store.is_congested());
    store.sync(FlushKind::Data).unwrap();
    store.close().unwrap();
    drop(store);
    let store = impatient(&gate);
    gate.hold_puts(true);
    fill_up(&store);
    store.set_len(10 * CHUNK as u64 + 100).unwrap();
    let before = contents(&store);
    assert!(before.iter().all(|byte| *byte == 1));
    std::thread::scope(|scope| {
        let flusher = scope.spawn(|| store.sync(FlushKind::Data));
        std::thread::sleep(Duration::from_millis(500));
        assert!(contents(&store) == before, "during the flush");
        flusher.join().unwrap().unwrap_err();
    });
    assert!(contents(&store) == before, "after the flush");
    // Nor does it matter whether the batch arrives.
    gate.hold_puts(false);
    gate.wait_until_quiet(QUIET);
    assert!(contents(&store) == before, "and after it may have come to pass");
}

#[test]
fn a_flush_has_no_more_than_its_patience_whatever_goes_on() {
    let gate = Gate::new();
    let store = impatient(&gate);
    store.write_at(0, &vec![1; 500 * CHUNK]).unwrap();
    store.sync(FlushKind::Data).unwrap();
    store.close().unwrap();
    drop(store);
    let store = impatient(&gate);
    gate.hold_gets(true);
    store.punch(0, 400 * CHUNK as u64).unwrap();
    store.sync(FlushKind::Data).unwrap();
    gate.hold_puts(true);
    fill_up(&store);
    // The sweep finds a lot to delete, and no room for it.
    gate.hold_gets(false);
    std::thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    let own = store.clone();
    let (tell, told) = channel();
    std::thread::spawn(move || tell.send(own.sync(FlushKind::Data)));
    let outcome = told.recv_timeout(Duration::from_secs(20)).expect("within the patience");
    assert!(start.elapsed() < Duration::from_secs(4), "{outcome:?} {:?}", start.elapsed());
    gate.hold_puts(false);
}

/// One read that hangs poisons nothing.
#[test]
fn a_flush_does_not_wait_for_reads() {
    let gate = Gate::new();
    let store = impatient(&gate);
    store.write_at(0, &random(300 * CHUNK)).unwrap();
    store.sync(FlushKind::Data).unwrap();
    store.close().unwrap();
    drop(store);
    let store = impatient(&gate);
    gate.hold_gets(true);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| store.read_at(0, &mut [0; CHUNK]).map(drop));
        std::thread::sleep(Duration::from_millis(100));
        let start = Instant::now();
        store.write_at(100 * CHUNK as u64, &[7; CHUNK]).unwrap();
        store.sync(FlushKind::Data).unwrap();
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        gate.hold_gets(false);
        reader.join().unwrap().unwrap();
    });
}

#[test]
fn what_was_fetched_ahead_is_shorter_than_the_store_has_become() {
    for far in [false, true] {
        let store = ObjectPages::open("disk", bucket()).unwrap();
        store.write_at(0, &vec![1; 300 * CHUNK]).unwrap();
        store.sync(FlushKind::Data).unwrap();
        let mut bytes = vec![0; 32 * CHUNK];
        for at in (0..300).step_by(32) {
            store.read_at(at * CHUNK as u64, &mut bytes).unwrap();
        }
        match far {
            true => store.write_at(600 * CHUNK as u64, &[7; CHUNK]).unwrap(),
            false => store.set_len(400 * CHUNK as u64).unwrap(),
        }
        for at in [290, 299, 300, 350] {
            let mut bytes = vec![9; CHUNK];
            assert_eq!(store.read_at(at * CHUNK as u64, &mut bytes).unwrap(), CHUNK);
            assert_eq!(bytes, [u8::from(at < 300); CHUNK], "chunk {at}");
        }
    }
}

#[test]
fn a_mapping_reads_beyond_what_was_fetched_ahead() {
    let store = ObjectPages::open("disk", bucket()).unwrap();
    store.write_at(0, &vec![1; 300 * CHUNK]).unwrap();
    store.sync(FlushKind::Data).unwrap();
    let handle = Mapping::open(store).unwrap().handle();
    let mut bytes = vec![0; 16 * CHUNK];
    for at in (0..300).step_by(16) {
        handle.read_at(&mut bytes, at * CHUNK as u64).unwrap();
    }
    handle.write_at(&[7; CHUNK], 600 * CHUNK as u64).unwrap();
    handle.sync_data().unwrap();
    let mut bytes = vec![9; CHUNK];
    handle.read_at(&mut bytes, 360 * CHUNK as u64).unwrap();
    assert_eq!(bytes, [0; CHUNK]);
}

#[test]
fn an_opener_that_is_refused_has_shut_out_nobody() {
    for in_the_log_only in [false, true] {
        let bucket = bucket();
        let store = ObjectPages::open("disk", bucket.clone()).unwrap();
        store.write_at(0, &[1; CHUNK]).unwrap();
        store.sync(FlushKind::Data).unwrap();
        let store = match in_the_log_only {
            true => store,
            false => {
                store.close().unwrap();
                ObjectPages::open("disk", bucket.clone()).unwrap()
            }
        };
        let refused = ObjectPages::options().chunk(8192).open("disk", bucket.clone());
        assert!(matches!(refused, Err(OpenError::Chunk { .. })), "{refused:?}");
        store.write_at(0, &[2; CHUNK]).unwrap();
        store.sync(FlushKind::Data).unwrap();

        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let db = writeback_objects::slatedb::Db::open("foreign", bucket.clone()).await.unwrap();
            let put = async || db.put(b"k", b"v").await?.await_durable().await;
            put().await.unwrap();
            let refused = ObjectPages::open("foreign", bucket.clone()).unwrap_err();
            assert!(matches!(refused, OpenError::Foreign(_)), "{refused}");
            put().await.unwrap();
        });
    }
}

#[test]
fn what_is_not_swept_before_the_end_is_swept_after_the_next_opening() {
    let gate = Gate::new();
    let open =
        || spilling().cache_bytes(0).open("disk", gate.clone() as Arc<dyn ObjectStore>).unwrap();
    let store = open();
    store.write_at(0, &vec![1; 4000 * CHUNK]).unwrap();
    store.sync(FlushKind::Data).unwrap();
    store.set_len(0).unwrap();
    store.sync(FlushKind::Data).unwrap();
    drop(store);
    let store = open();
    wait_until("it is swept up", || keys(&store, "s") + keys(&store, "p") + keys(&store, "g") == 0);
}

/// The generation of what a crash has left is not used again; so the opening does not wait for its end.
#[test]
fn an_opening_does_not_wait_for_what_a_crash_has_left() {
    let gate = Gate::new();
    let open =
        || spilling().cache_bytes(0).open("disk", gate.clone() as Arc<dyn ObjectStore>).unwrap();
    let store = open();
    store.write_at(0, &[1; CHUNK]).unwrap();
    store.sync(FlushKind::Data).unwrap();
    for at in 0..16 {
        store.write_at(at * 4 * MIB, &random(4 << 20)).unwrap();
    }
    wait_until("it is spilled", || store.spilled() > 16_000);
    store.close().unwrap();
    drop(store);
    gate.delay(20);
    let start = Instant::now();
    let store = open();
    let took = start.elapsed();
    println!("opened in {took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    // The first flush comes before the sweep ends, and what it names is not taken for what the crash has left.
    store.write_at(0, &vec![3; 300 * CHUNK]).unwrap();
    store.sync(FlushKind::Data).unwrap();
    gate.delay(0);
    drop(store);
    let store = open();
    assert!(contents(&store) == vec![3; 300 * CHUNK]);
    wait_until("it is swept up", || keys(&store, "s") <= 300 && keys(&store, "g") == 0);
    assert!(contents(&store) == vec![3; 300 * CHUNK]);
}

#[test]
fn an_opening_that_comes_too_late_is_closed() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let gate = Gate::new();
    drop(ObjectPages::open("disk", gate.clone() as Arc<dyn ObjectStore>).unwrap());
    gate.delay(50);
    let opened = ObjectPages::options()
        .runtime(runtime.handle().clone())
        .patience(Duration::from_millis(120))
        .settings(|settings| {
            settings.manifest_poll_interval = Duration::from_millis(100);
            settings.compactor_options.as_mut().unwrap().poll_interval = Duration::from_millis(100);
        })
        .open("disk", gate.clone());
    assert!(matches!(opened, Err(OpenError::Patience(_))), "{opened:?}");
    gate.delay(0);
    // Nobody has it: what went on would look ten times a second.
    gate.wait_until_quiet(Duration::from_millis(500));
}

#[test]
fn no_more_is_staged_than_was_asked_for() {
    let gate = Gate::new();
    let store = ObjectPages::options()
        .staging_bytes(MIB)
        .settings(|settings| {
            settings.max_unflushed_bytes = 2 << 20;
            settings.l0_sst_size_bytes = 512 << 10;
        })
        .open("disk", gate.clone() as Arc<dyn ObjectStore>)
        .unwrap();
    let staged = || {
        let text = format!("{store:?}");
        let number = text.split("staged: ").nth(1).unwrap().split(',').next().unwrap();
        number.parse::<u64>().unwrap()
    };
    // The database takes little more than 2 MiB.
    gate.hold_puts(true);
    let (tell, told) = channel();
    for at in 0..64_u64 {
        let batch = WriteBatch::new(0, at * MIB / 2, vec![random(1 << 19).as_slice().into()]);
        let tell = tell.clone();
        let ended = move |_, error: Option<StoreError>| {
            let _ = tell.send(error.is_none());
        };
        store.write(batch, Completion::new(MIB / 2, ended));
        assert!(staged() <= 2 * MIB, "{}", staged());
    }
    let taken_in = told.try_iter().inspect(|good| assert!(good)).count();
    assert!(taken_in < 64, "this shows nothing");
    gate.hold_puts(false);
    store.sync(FlushKind::Data).unwrap();
    for _ in taken_in..64 {
        assert_eq!(told.recv_timeout(Duration::from_secs(30)), Ok(true));
        assert!(staged() <= 2 * MIB, "{}", staged());
    }
    store.sync(FlushKind::Data).unwrap();
    assert_eq!(store.len().unwrap(), 32 * MIB);
    let all = ObjectPages::options().staging_bytes(u64::MAX).open("disk", gate).unwrap();
    all.write_at(0, &[1; CHUNK]).unwrap();
}

#[test]
fn a_chunk_that_a_run_names_and_that_is_missing_is_an_error() {
    let store = spilling().open("disk", bucket()).unwrap();
    store.write_at(0, &random(1000 * CHUNK)).unwrap();
    wait_until("it is spilled", || store.spilled() > 500);
    store.sync(FlushKind::Data).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let key = runtime.block_on(async {
        let mut found = store.db().scan_prefix("s", ..).await.unwrap();
        let key = found.next().await.unwrap().expect("it was spilled").key;
        store.db().delete(&key).await.unwrap();
        key
    });
    let chunk = u64::from_be_bytes(key[9..].try_into().unwrap());
    for len in [CHUNK, 20 * CHUNK] {
        let error = store.read_at(chunk * CHUNK as u64, &mut vec![0; len]).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }
}

#[test]
fn a_clone_is_made_where_nothing_is() {
    let bucket = bucket();
    let store = ObjectPages::open("disk", bucket.clone()).unwrap();
    store.write_at(0, &[1; CHUNK]).unwrap();
    store.sync(FlushKind::Data).unwrap();
    let checkpoint = store.checkpoint("a", None).unwrap();
    store.clone_to(checkpoint, "copy").unwrap();
    let error = store.clone_to(checkpoint, "copy").unwrap_err();
    assert!(error.to_string().contains("already"), "{error}");
}

/// A read that has many places to look at before that of a chunk which is cut meanwhile, and so moved.
#[test]
fn a_sweep_waits_for_reads() {
    let gate = Gate::new();
    let open =
        || spilling().cache_bytes(0).open("disk", gate.clone() as Arc<dyn ObjectStore>).unwrap();
    let store = open();
    for chunk in (0..60).step_by(2) {
        store.write_at(chunk * CHUNK as u64, &[1; CHUNK]).unwrap();
    }
    store.sync(FlushKind::Data).unwrap();
    store.close().unwrap();
    drop(store);
    let store = open();
    store.write_at(60 * CHUNK as u64, &vec![2; 200 * CHUNK]).unwrap();
    wait_until("it is spilled", || !store.is_congested());
    store.sync(FlushKind::Data).unwrap();
    for chunk in (1..60).step_by(2) {
        store.punch(chunk * CHUNK as u64, CHUNK as u64).unwrap();
    }
    store.set_len(60 * CHUNK as u64 + 100).unwrap();
    gate.hold_gets(true);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut read = vec![0; 61 * CHUNK];
            store.read_at(0, &mut read).map(|count| read[..count].to_vec())
        });
        std::thread::sleep(Duration::from_millis(200));
        store.sync(FlushKind::Data).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        gate.hold_gets(false);
        let read = reader.join().unwrap().unwrap();
        assert_eq!((read[0], &read[60 * CHUNK..]), (1, [2; 100].as_slice()));
    });
    wait_until("it is swept up", || keys(&store, "s") <= 30 && keys(&store, "g") == 0);
}

#[test]
fn what_is_punched_or_cut_is_not_read_from_what_was_fetched_ahead() {
    for flushed in [false, true] {
        let store = ObjectPages::open("disk", bucket()).unwrap();
        store.write_at(0, &random(2000 * CHUNK)).unwrap();
        store.sync(FlushKind::Data).unwrap();
        let mut bytes = vec![0; 64 * CHUNK];
        for at in 0..4 {
            store.read_at(at * 64 * CHUNK as u64, &mut bytes).unwrap();
        }
        store.punch(300 * CHUNK as u64, 10 * CHUNK as u64).unwrap();
        store.set_len(900 * CHUNK as u64 + 5).unwrap();
        if flushed {
            store.sync(FlushKind::Data).unwrap();
        }
        store.set_len(2000 * CHUNK as u64).unwrap();
        let found = (4..31).flat_map(|at| {
            let mut bytes = vec![9; 64 * CHUNK];
            store.read_at(at * 64 * CHUNK as u64, &mut bytes).unwrap();
            bytes
        });
        let start = 256 * CHUNK;
        for (at, byte) in found.enumerate() {
            let at = start + at;
            let zero = (300 * CHUNK..310 * CHUNK).contains(&at) || at >= 900 * CHUNK + 5;
            assert_eq!(byte == 0, zero, "{at}, flushed: {flushed}");
        }
    }
}

#[test]
fn a_flush_is_there_as_a_whole_or_not_at_all_whichever_put_is_the_last() {
    let first = Gate::new();
    let open = |gate: &Arc<Gate>| spilling().open("disk", gate.clone() as Arc<dyn ObjectStore>);
    let store = open(&first).unwrap();
    let old = random(40 * CHUNK);
    store.write_at(0, &old).unwrap();
    store.sync(FlushKind::Data).unwrap();
    store.close().unwrap();
    drop(store);
    let change = random(50 * CHUNK);
    let mut new = old[..10 * CHUNK].to_vec();
    new.extend(&change);
    let mut halves = 0;
    for puts in 0.. {
        let gate = first.copy();
        let store = open(&gate).unwrap();
        store.write_at(10 * CHUNK as u64, &change).unwrap();
        wait_until("it is spilled", || !store.is_congested());
        gate.let_puts(puts);
        let flusher = std::thread::spawn({
            let store = store.clone();
            move || store.sync(FlushKind::Data)
        });
        wait_until("it is stopped, or done", || gate.is_stopped() || flusher.is_finished());
        // What a crash leaves.
        let left = gate.copy();
        let done = flusher.is_finished();
        gate.let_puts(u64::MAX);
        flusher.join().unwrap().unwrap();
        drop(store);
        let found = contents(&open(&left).unwrap());
        assert!(found == new || found == old && !done, "{} bytes after {puts} puts", found.len());
        halves += u32::from(!done);
        if done {
            break;
        }
    }
    assert!(halves > 0, "a flush puts something");
}

/// By a reader in sequence, a little behind the writer: what is fetched ahead ends where the store did.
#[test]
fn appends_beside_a_reader_are_read() {
    let store = spilling().open("disk", bucket()).unwrap();
    let (written, read) = (AtomicU64::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(SeqCst) {
                let at = written.load(SeqCst);
                if at > read.load(SeqCst) + 600 {
                    std::thread::yield_now();
                    continue;
                }
                store.write_at(at * CHUNK as u64, &[7; CHUNK]).unwrap();
                written.store(at + 1, SeqCst);
            }
        });
        let (mut at, mut wrong) = (0, None);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(4) && wrong.is_none() {
            if at + 100 > written.load(SeqCst) {
                std::thread::yield_now();
                continue;
            }
            let mut bytes = vec![0; CHUNK];
            let count = store.read_at(at * CHUNK as u64, &mut bytes);
            wrong = (count.is_err() || bytes != [7; CHUNK]).then_some(at);
            at += 1;
            read.store(at, SeqCst);
        }
        stop.store(true, SeqCst);
        assert_eq!(wrong, None, "of {at} chunks");
    });
}

#[test]
fn a_generation_is_not_used_again() {
    let bucket = bucket();
    let generations = |store: &ObjectPages| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut found = runtime.block_on(store.db().scan_prefix("s", ..)).unwrap();
        let keys = std::iter::from_fn(|| runtime.block_on(found.next()).unwrap());
        keys.map(|entry| entry.key[1..9].to_vec()).collect::<std::collections::BTreeSet<_>>()
    };
    let mut last = None;
    for _ in 0..3 {
        // Nothing is flushed.
        let store = spilling().open("disk", bucket.clone()).unwrap();
        store.write_at(0, &random(500 * CHUNK)).unwrap();
        wait_until("it is spilled", || store.spilled() > 400);
        let own = generations(&store).pop_last();
        assert!(own > last, "{own:?} after {last:?}");
        last = own;
        store.close().unwrap();
    }
}
