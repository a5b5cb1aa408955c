//! A store with an alignment, as that of direct I/O: it gets whole multiples of it and nothing else, and every sync
//! leaves it with the mapping's length.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use writeback::store::Store;
use writeback::store::fault::{Action, Fault, FaultConfig, FaultStore, Rule};
use writeback::{Budget, Config, Error, Mapping, MemStore, StoreError, SyncMode};

use crate::pass_on::pass_on;
use crate::{contents, within};

const PAGE: usize = 4096;

fn open(alignment: usize, contents: &[u8]) -> (MemStore, Mapping) {
    let store = MemStore::with_contents(contents).aligned(alignment);
    let mapping = Mapping::open(store.clone()).unwrap();
    (store, mapping)
}

/// As a flusher does.
fn write_out(mapping: &Mapping) {
    mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
}

#[test]
fn the_last_page_is_padded_with_zeros_and_a_sync_sets_the_length() {
    for (alignment, padded) in [(1, 5000), (512, 5120), (PAGE, 8192)] {
        let (store, mapping) = open(alignment, b"");
        mapping.handle().write_at(&[1; 5000], 0).unwrap();
        write_out(&mapping);
        let mut expected = vec![1; 5000];
        expected.resize(padded, 0);
        assert!(store.accepted() == expected, "alignment {alignment}");
        assert_eq!(mapping.len(), 5000);
        mapping.handle().sync_data().unwrap();
        assert!(store.durable() == [1; 5000] && store.accepted() == [1; 5000]);
        // It was the tail once: what comes after it is not zeros for ever.
        mapping.handle().write_at(&[2; 5000], 5000).unwrap();
        mapping.close().unwrap();
        assert!(store.durable() == [[1; 5000], [2; 5000]].concat());
    }
}

#[test]
fn closing_sets_the_length_too() {
    let (store, mapping) = open(512, &[1; 700]);
    mapping.handle().write_at(b"x", 1300).unwrap();
    mapping.close().unwrap();
    assert_eq!(store.durable().len(), 1301);
}

/// One for each sync that finds any, and none where the end is that of a multiple.
#[test]
fn appending_does_not_set_the_length_for_every_write() {
    let config = FaultConfig::new(1).alignment(512);
    let store = FaultStore::with_config(config);
    let mapping = Mapping::open(store.clone()).unwrap();
    let append = |len: usize| {
        mapping.handle().write_at(&vec![1; len], mapping.len()).unwrap();
        write_out(&mapping);
    };
    (0..10).for_each(|_| append(100));
    assert_eq!((store.operations(Action::Write), store.operations(Action::SetLen)), (10, 0));
    mapping.handle().sync_data().unwrap();
    mapping.handle().sync_data().unwrap();
    assert_eq!(store.operations(Action::SetLen), 1);
    append(24);
    assert_eq!(mapping.len(), 1024);
    mapping.handle().sync_data().unwrap();
    assert_eq!(store.operations(Action::SetLen), 1);
    assert_eq!(store.durable(), [1; 1024]);
}

/// Blocks are padded as pages are, within themselves.
#[test]
fn the_last_block_is_padded_and_the_others_are_not_written() {
    let store = MemStore::new().aligned(512);
    let config = Config::new().block_size(1024);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    mapping.handle().write_at(&[1; 100], 0).unwrap();
    mapping.handle().write_at(&[2; 100], 2100).unwrap();
    write_out(&mapping);
    assert_eq!(store.accepted().len(), 2560);
    let written = mapping.stats().bytes_written;
    assert_eq!(written, 1024 + 512);
    mapping.handle().sync_data().unwrap();
    assert_eq!(store.durable().len(), 2200);
}

/// A cut lowers the length first, and comes to the tail when it has the page's lock: an image that is taken in
/// between must not show what lies behind the new end, which may come back as zeros and nothing else.
#[test]
fn what_a_cut_has_not_cleared_yet_is_not_in_an_image() {
    within(|| {
        let (store, mapping) = open(512, b"");
        mapping.handle().write_at(&[1; 1000], 0).unwrap();
        let claim = mapping.page(0).unwrap().lock_state().unwrap().clear_dirty_for_io().unwrap();
        let handle = mapping.handle();
        let cutter = thread::spawn(move || handle.set_len(100).unwrap());
        while mapping.len() != 100 {
            thread::yield_now();
        }
        let writeback = claim.start_writeback().unwrap();
        let image = writeback.image().as_ref();
        assert_eq!(image.len(), 512);
        assert!(image[..100] == [1; 100] && image[100..].iter().all(|byte| *byte == 0));
        writeback.end(Ok(()));
        cutter.join().unwrap();
        mapping.handle().sync_data().unwrap();
        assert_eq!(store.durable().len(), 100);
    });
}

/// Also those of holds, and of who writes a page himself.
#[test]
fn every_image_is_padded() {
    let (_store, mapping) = open(512, &[3; 700]);
    let hold = mapping.hold_page(0).unwrap();
    let image = hold.image();
    assert!(image.as_ref()[..700] == [3; 700] && image.as_ref()[700..] == [0; 324]);
}

/// A holder that writes a block himself writes it whole, too.
#[test]
fn what_a_holder_has_written_is_cut_as_well() {
    let store = FaultStore::with_config(FaultConfig::new(1).alignment(512));
    let config = Config::new().block_size(512);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    let handle = mapping.handle();
    handle.write_at(&[1; 700], 0).unwrap();
    handle.sync_data().unwrap();
    assert_eq!(store.operations(Action::SetLen), 1);
    handle.write_at(&[2; 10], 690).unwrap();
    let mut hold = mapping.hold_blocks(0, 1..2).unwrap();
    assert!(hold.take_dirty());
    assert_eq!((hold.offset(), hold.image().len()), (512, 512));
    hold.written();
    handle.sync_data().unwrap();
    assert_eq!(store.operations(Action::SetLen), 2);
}

/// The sync's own writes have ended, and one that was begun later has not.
#[test]
fn a_padded_write_that_ends_after_a_sync_is_made_up_for_by_the_next() {
    let store = FaultStore::with_config(FaultConfig::new(1).alignment(512).queued(true));
    let mapping = Mapping::open(store.clone()).unwrap();
    let handle = mapping.handle();
    handle.write_at(&[1; 700], 0).unwrap();
    write_out(&mapping);
    // A range without a dirty page: it waits for nothing.
    handle.sync_range(1 << 20..).unwrap();
    assert_eq!((store.accepted().len(), store.pending()), (0, 1));
    store.deliver_all();
    assert_eq!(store.accepted().len(), 1024);
    handle.sync_data().unwrap();
    assert_eq!(store.durable(), [1; 700]);
}

#[test]
fn a_length_that_cannot_be_set_is_told_and_set_by_the_next_sync() {
    let store = FaultStore::with_config(FaultConfig::new(1).alignment(512));
    let mapping = Mapping::open(store.clone()).unwrap();
    let handle = mapping.handle();
    handle.write_at(&[1; 700], 0).unwrap();
    store.inject(Rule::new(Fault::Io).on(Action::SetLen));
    let told = handle.sync_data();
    assert!(matches!(told, Err(Error::Length { .. })), "{told:?}");
    handle.sync_data().unwrap();
    assert_eq!(store.durable(), [1; 700]);
}

/// A failed write may have reached the store all the same.
#[test]
fn a_padded_write_that_fails_is_cut_too() {
    let store = FaultStore::with_config(FaultConfig::new(1).alignment(512).contents([1; 600]));
    let mapping = Mapping::open(store.clone()).unwrap();
    let handle = mapping.handle();
    handle.write_at(&[2; 10], 590).unwrap();
    store.inject(Rule::new(Fault::Short { accepted: Some(1000) }).on(Action::Write));
    handle.sync_data().unwrap_err();
    assert_eq!((store.operations(Action::SetLen), store.accepted().len()), (1, 600));
    handle.sync_data().unwrap();
    assert_eq!(store.durable().len(), 600);
}

#[derive(Debug, Clone)]
enum Op {
    Write(u64, usize),
    Append(usize),
    SetLen(u64),
    WriteOut,
    Sync,
    Reopen,
    PowerCut(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => (0..40_000_u64, 0..9_000_usize).prop_map(|(offset, len)| Op::Write(offset, len)),
        3 => (1..700_usize).prop_map(Op::Append),
        2 => (0..40_000_u64).prop_map(Op::SetLen),
        3 => Just(Op::WriteOut),
        2 => Just(Op::Sync),
        1 => Just(Op::Reopen),
        1 => any::<u64>().prop_map(Op::PowerCut),
    ];
    proptest::collection::vec(op, 1..40)
}

/// What the bytes were at some moment since the last sync.
struct Model {
    now: Vec<u8>,
    synced: Vec<u8>,
    lens: Vec<usize>,
}

impl Model {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.now.resize(self.now.len().max(offset + bytes.len()), 0);
            self.now[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        self.lens.push(self.now.len());
    }

    fn synced(&mut self) {
        self.synced.clone_from(&self.now);
        self.lens = vec![self.now.len()];
    }
}

fn run(alignment: usize, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let config = Config::new().page_size(PAGE);
    let open = |store: &FaultStore| Mapping::with_config(Arc::new(store.clone()), config.clone());
    let mut store = FaultStore::with_config(FaultConfig::new(1).alignment(alignment));
    let mut mapping = open(&store).unwrap();
    let mut model = Model { now: Vec::new(), synced: Vec::new(), lens: vec![0] };
    let mut byte = 0;
    for op in ops {
        byte = byte % 250 + 1;
        let handle = mapping.handle();
        match op {
            Op::Write(offset, len) => {
                handle.write_at(&vec![byte; len], offset).unwrap();
                model.write(usize::try_from(offset).unwrap(), &vec![byte; len]);
            }
            Op::Append(len) => {
                handle.write_at(&vec![byte; len], mapping.len()).unwrap();
                model.write(model.now.len(), &vec![byte; len]);
            }
            Op::SetLen(len) => {
                handle.set_len(len).unwrap();
                model.now.resize(usize::try_from(len).unwrap(), 0);
                model.lens.push(model.now.len());
            }
            Op::WriteOut => write_out(&mapping),
            Op::Sync => {
                handle.sync_data().unwrap();
                model.synced();
                prop_assert!(store.durable() == model.now, "not durable");
            }
            Op::Reopen => {
                drop(handle);
                mapping.close().unwrap();
                model.synced();
                prop_assert!(store.durable() == model.now, "not saved");
                mapping = open(&store).unwrap();
            }
            Op::PowerCut(seed) => {
                store = store.crash_clone(seed);
                mapping = open(&store).unwrap();
                let left = contents(&mapping.handle());
                let untouched = model.lens.len() == 1;
                prop_assert!(!untouched || left == model.synced, "what was synced is not there");
                let at_most = model.lens.iter().map(|len| len.next_multiple_of(alignment));
                prop_assert!(left.len() >= *model.lens.iter().min().unwrap());
                prop_assert!(left.len() <= at_most.max().unwrap());
                // Behind what was ever written there are zeros, and nothing else.
                let longest = *model.lens.iter().max().unwrap();
                prop_assert!(left.iter().skip(longest).all(|byte| *byte == 0));
                (model.now, model.lens) = (left.clone(), vec![left.len()]);
                model.synced = left;
            }
        }
        prop_assert_eq!(mapping.len(), model.now.len() as u64);
        prop_assert!(contents(&mapping.handle()) == model.now, "what is read differs");
        mapping.check().unwrap();
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn any_lengths_and_cuts_are_as_without_an_alignment(ops in ops(), large in any::<bool>()) {
        run(if large { PAGE } else { 512 }, ops)?;
    }
}

/// A store that takes its time to be cut.
#[derive(Debug)]
struct SlowToCut(MemStore);

impl Store for SlowToCut {
    pass_on!(0: limits, len, read, write, flush);

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        thread::sleep(Duration::from_millis(1));
        self.0.set_len(len)
    }
}

/// A store that is cut at the length of a moment ago would lose what was written and is clean since.
#[test]
fn a_sync_takes_nothing_from_those_who_append_meanwhile() {
    within(|| {
        let store = MemStore::new().aligned(512);
        let mapping = Mapping::open(SlowToCut(store.clone())).unwrap();
        let rounds = 100;
        let byte_of = |round: u64| u8::try_from(round % 250 + 1).unwrap();
        thread::scope(|scope| {
            let appender = scope.spawn(|| {
                for round in 0..rounds {
                    mapping.handle().write_at(&[byte_of(round); 300], round * 300).unwrap();
                    write_out(&mapping);
                }
            });
            while !appender.is_finished() {
                mapping.handle().sync_data().unwrap();
            }
        });
        mapping.close().unwrap();
        let expected: Vec<_> = (0..rounds).flat_map(|round| [byte_of(round); 300]).collect();
        assert!(store.durable() == expected);
    });
}
