//! Random programs against a copy in memory of what was written, and of what the last flush has made durable.

mod common;

use std::sync::Arc;

use common::{CHUNK, bucket, contents, spilling};
use proptest::prelude::*;
use writeback::store::{FlushKind, Store};
use writeback_objects::ObjectPages;
use writeback_objects::object_store::ObjectStore;

const CHUNKS: usize = 64;

#[derive(Debug, Clone)]
enum Step {
    Write {
        chunk: usize,
        count: usize,
        kind: u8,
    },
    Read {
        offset: usize,
        len: usize,
    },
    SetLen(usize),
    Punch {
        chunk: usize,
        count: usize,
    },
    Flush,
    /// As after a crash.
    Reopen {
        wal: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let span = (0..CHUNKS, 1..24_usize);
    let step = prop_oneof![
        6 => (span.clone(), 0..4_u8)
            .prop_map(|((chunk, count), kind)| Step::Write { chunk, count, kind }),
        3 => (0..CHUNKS * CHUNK, 1..24 * CHUNK).prop_map(|(offset, len)| Step::Read { offset, len }),
        2 => (0..CHUNKS * CHUNK).prop_map(Step::SetLen),
        1 => span.prop_map(|(chunk, count)| Step::Punch { chunk, count }),
        2 => Just(Step::Flush),
        1 => any::<bool>().prop_map(|wal| Step::Reopen { wal }),
    ];
    prop::collection::vec(step, 1..40)
}

struct Run {
    bucket: Arc<dyn ObjectStore>,
    store: ObjectPages,
    written: Vec<u8>,
    flushed: Vec<u8>,
    stamp: u8,
    spilled: u64,
}

impl Run {
    fn new() -> Self {
        let bucket = bucket();
        let store = spilling().open("model", Arc::clone(&bucket)).unwrap();
        Self { bucket, store, written: Vec::new(), flushed: Vec::new(), stamp: 0, spilled: 0 }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write { chunk, count, kind } => self.write(*chunk, *count, *kind),
            Step::Read { offset, len } => {
                let mut bytes = vec![0xee; *len];
                let count = self.store.read_at(*offset as u64, &mut bytes).unwrap();
                let end = self.written.len().min(offset + len);
                assert_eq!(bytes[..count], self.written[(*offset).min(end)..end]);
            }
            Step::SetLen(len) => {
                self.store.set_len(*len as u64).unwrap();
                self.written.resize(*len, 0);
            }
            Step::Punch { chunk, count } => {
                self.store.punch((chunk * CHUNK) as u64, (count * CHUNK) as u64).unwrap();
                let end = self.written.len();
                self.written[(chunk * CHUNK).min(end)..((chunk + count) * CHUNK).min(end)].fill(0);
            }
            Step::Flush => {
                self.store.sync(FlushKind::All).unwrap();
                self.flushed.clone_from(&self.written);
            }
            Step::Reopen { wal } => {
                self.spilled += self.store.spilled();
                self.store = spilling().wal(*wal).open("model", Arc::clone(&self.bucket)).unwrap();
                self.written.clone_from(&self.flushed);
                assert!(contents(&self.store) == self.flushed, "not as the last flush left it");
            }
        }
    }

    fn write(&mut self, chunk: usize, count: usize, kind: u8) {
        self.stamp = self.stamp % 250 + 1;
        let mut bytes = vec![0; count * CHUNK];
        for (at, chunk) in bytes.chunks_mut(CHUNK).enumerate() {
            let significant = match (kind, at % 2) {
                (0, _) | (3, 1) => 0,
                (1, _) => 100,
                _ => CHUNK,
            };
            chunk[..significant].fill(self.stamp);
        }
        let start = chunk * CHUNK;
        self.store.write_at(start as u64, &bytes).unwrap();
        let end = start + bytes.len();
        self.written.resize(self.written.len().max(end), 0);
        self.written[start..end].copy_from_slice(&bytes);
    }
}

/// How many programs: `OBJECTS_PROGRAMS`.
fn programs() -> u32 {
    std::env::var("OBJECTS_PROGRAMS").map_or(150, |text| text.parse().expect("a number"))
}

#[test]
fn the_store_is_as_it_was_written_and_after_a_crash_as_it_was_flushed() {
    let spilled = std::cell::Cell::new(0);
    let config = ProptestConfig {
        cases: programs(),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&steps(), |steps| {
            let mut run = Run::new();
            steps.iter().for_each(|step| run.step(step));
            assert!(contents(&run.store) == run.written, "not as it was written");
            spilled.set(spilled.get() + run.spilled + run.store.spilled());
            Ok(())
        })
        .unwrap();
    println!("{} programs spilled {} chunks", programs(), spilled.get());
    assert!(spilled.get() > u64::from(programs()), "spilling is what this is about");
}
