//! `FaultStore` without a cache: runs, batches and flushes are handed to it, and each ends once, when and as it is told to.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use writeback::StoreError;
use writeback::store::fault::{Action, Fault, FaultConfig, FaultStore, Rule};
use writeback::store::{Completion, FlushCompletion, FlushKind, ReadRun, Store, WriteBatch};

use crate::common::watch;
use crate::driver::silence_ordered_panics;

const PAGE: usize = 512;

/// How an operation ended: bytes from the front, and what came then.
type Ended = (Vec<u8>, Option<StoreError>);

/// Eight pages, each filled with its number.
fn new(seed: u64) -> FaultStore {
    watch();
    let contents: Vec<_> = (0..8).flat_map(|byte| [byte; PAGE]).collect();
    FaultStore::with_config(FaultConfig::new(seed).contents(contents))
}

fn read(store: &FaultStore, page: usize, pages: usize) -> Receiver<Ended> {
    let (tell, told) = channel();
    store.read(ReadRun::new((page * PAGE) as u64, PAGE, pages, move |bytes, error| {
        let _ = tell.send((bytes, error));
    }));
    told
}

/// How many bytes were accepted, and what came then.
fn write(
    store: &FaultStore,
    page: usize,
    byte: u8,
    pages: usize,
) -> Receiver<(u64, Option<StoreError>)> {
    let (tell, told) = channel();
    let images = (0..pages).map(|_| [byte; PAGE][..].into()).collect();
    let batch = WriteBatch::new(page as u64, (page * PAGE) as u64, images);
    let completion = Completion::new(batch.len(), move |accepted, error| {
        let _ = tell.send((accepted, error));
    });
    store.write(batch, completion);
    told
}

fn flush(store: &FaultStore) -> Receiver<Result<(), StoreError>> {
    let (tell, told) = channel();
    let completion = FlushCompletion::new(move |outcome| drop(tell.send(outcome)));
    store.flush(FlushKind::Data, completion);
    told
}

/// The first byte of each of some pages, as power cuts may leave them.
fn left(store: &FaultStore, pages: usize) -> BTreeSet<Vec<u8>> {
    let first_bytes = |bytes: &[u8]| bytes.chunks(PAGE).take(pages).map(|page| page[0]).collect();
    (0..200).map(|seed| first_bytes(&store.crash_clone(seed).accepted())).collect()
}

#[test]
fn a_run_is_read_by_one_operation_into_all_of_its_buffers() {
    let store = new(1);
    let (bytes, error) = read(&store, 2, 3).recv().unwrap();
    assert_eq!(bytes, [[2; PAGE], [3; PAGE], [4; PAGE]].concat());
    assert!(error.is_none() && store.operations(Action::Read) == 1);
    // The store ends within the run, which is no error.
    store.set_len((7 * PAGE + 10) as u64).unwrap();
    let (bytes, error) = read(&store, 6, 4).recv().unwrap();
    assert_eq!(bytes, [&[6; PAGE][..], &[7; 10]].concat());
    assert!(error.is_none());
}

#[test]
fn each_fault_of_a_read_ends_it_once_and_as_it_is_told() {
    let store = new(1);
    store.inject(Rule::new(Fault::Io).on(Action::Read));
    let (bytes, error) = read(&store, 0, 2).recv().unwrap();
    assert!(bytes.is_empty());
    let errno = if cfg!(windows) { 1117 } else { 5 };
    assert_eq!(error.unwrap().raw_os_error(), Some(errno), "the errno is kept");
    store.inject(Rule::new(Fault::Lost).on(Action::Read));
    let (bytes, error) = read(&store, 0, 2).recv().unwrap();
    assert!(bytes.is_empty() && matches!(error, Some(StoreError::Lost)));
    store.inject(Rule::new(Fault::BitRot).on(Action::Read));
    let (bytes, error) = read(&store, 0, 8).recv().unwrap();
    let expected: Vec<_> = (0..8).flat_map(|byte| [byte; PAGE]).collect();
    let wrong: u32 =
        bytes.iter().zip(&expected).map(|(one, other)| (one ^ other).count_ones()).sum();
    assert!(error.is_none() && wrong == 1, "{wrong} bits");
    store.inject(Rule::new(Fault::Panic).on(Action::Read));
    silence_ordered_panics();
    let (tell, told) = channel();
    let run = ReadRun::new(0, PAGE, 1, move |_, error| drop(tell.send(error)));
    assert!(catch_unwind(AssertUnwindSafe(|| store.read(run))).is_err());
    assert!(matches!(told.recv().unwrap(), Some(StoreError::Lost)), "dropped while unwinding");
    assert_eq!(store.accepted(), expected);
}

#[test]
fn what_is_stuck_ends_when_it_is_released_and_what_is_slow_in_its_time() {
    let store = new(1);
    for action in [Action::Read, Action::Write, Action::Flush] {
        store.inject(Rule::new(Fault::Stuck).on(action));
    }
    let (read_told, write_told, flush_told) =
        (read(&store, 0, 1), write(&store, 1, 9, 1), flush(&store));
    assert_eq!((store.pending(), store.stuck_calls(), store.deliver_all()), (3, 2, 0));
    assert!(read_told.try_recv().is_err() && flush_told.try_recv().is_err());
    store.release_stuck();
    assert_eq!((store.pending(), store.stuck_calls()), (1, 0));
    assert!(read_told.recv().unwrap().1.is_none() && flush_told.recv().unwrap().is_ok());
    assert!(write_told.try_recv().is_err(), "a write waits to be delivered");
    assert_eq!(store.deliver_all(), 1);
    assert!(write_told.recv().unwrap().1.is_none());

    let second = Duration::from_secs(1);
    for action in [Action::Read, Action::Flush] {
        store.queue(action, true);
        store.inject(Rule::new(Fault::Slow(2 * second)).on(action));
    }
    let (read_told, flush_told) = (read(&store, 1, 1), flush(&store));
    store.advance(second);
    assert_eq!((store.deliver_all(), store.pending()), (0, 2));
    store.advance(second);
    assert_eq!((store.deliver_all(), store.pending()), (2, 0));
    assert_eq!(read_told.recv().unwrap().0, [9; PAGE]);
    flush_told.recv().unwrap().unwrap();
}

#[test]
fn what_is_queued_ends_in_an_order_that_the_seed_makes() {
    let mut orders = BTreeSet::new();
    for seed in 0..40 {
        let store = new(seed);
        for action in [Action::Read, Action::Write, Action::Flush] {
            store.queue(action, true);
        }
        let (reads, writes, flushed) = (
            [read(&store, 0, 1), read(&store, 1, 1)],
            [write(&store, 2, 9, 1), write(&store, 3, 9, 1)],
            flush(&store),
        );
        let mut order = Vec::new();
        while store.deliver_one() {
            reads
                .iter()
                .enumerate()
                .for_each(|(at, told)| order.extend(told.try_iter().map(|_| at)));
            writes
                .iter()
                .enumerate()
                .for_each(|(at, told)| order.extend(told.try_iter().map(|_| 2 + at)));
            order.extend(flushed.try_iter().map(|_| 4));
        }
        assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 5, "each once: {order:?}");
        assert_eq!(order.len(), 5);
        orders.insert(order);
    }
    assert!(orders.len() > 15, "{} orders", orders.len());
}

#[test]
fn a_late_flush_covers_what_had_ended_when_it_began_and_no_more() {
    let store = new(1);
    store.queue(Action::Flush, true);
    write(&store, 0, 5, 1).recv().unwrap();
    let flushed = flush(&store);
    write(&store, 1, 5, 1).recv().unwrap();
    assert!(left(&store, 2).contains(&vec![0, 1]), "nothing is durable before it ends");
    assert_eq!(store.deliver_all(), 1);
    flushed.recv().unwrap().unwrap();
    assert_eq!(left(&store, 2), [vec![5, 1], vec![5, 5]].into());
}

#[test]
fn of_what_a_forgotten_flush_was_to_cover_nothing_is_certain() {
    let store = new(1);
    write(&store, 0, 5, 1).recv().unwrap();
    store.inject(Rule::new(Fault::Lost).on(Action::Flush));
    assert!(matches!(flush(&store).recv().unwrap(), Err(StoreError::Lost)));
    for _ in 0..2 {
        assert_eq!(left(&store, 1), [vec![0], vec![5]].into());
        flush(&store).recv().unwrap().unwrap();
    }
}

#[test]
fn what_is_forgotten_is_told_to_each_who_waits() {
    let store = new(1);
    for action in [Action::Read, Action::Write, Action::Flush] {
        store.queue(action, true);
    }
    let (read_told, write_told, flush_told) =
        (read(&store, 0, 1), write(&store, 1, 9, 2), flush(&store));
    assert_eq!((store.lose_pending(), store.pending()), (3, 0));
    assert!(matches!(read_told.recv().unwrap().1, Some(StoreError::Lost)));
    assert!(matches!(write_told.recv().unwrap(), (0, Some(StoreError::Lost))));
    assert!(matches!(flush_told.recv().unwrap(), Err(StoreError::Lost)));
}

#[test]
fn a_short_write_tells_how_much_was_accepted() {
    let store = new(1);
    store.inject(Rule::new(Fault::Short { accepted: Some(700) }).on(Action::Write));
    let (accepted, error) = write(&store, 0, 9, 2).recv().unwrap();
    assert_eq!(accepted, 700);
    assert!(matches!(error, Some(StoreError::ShortWrite { expected: 1024, accepted: 700 })));
    assert_eq!(store.accepted()[698..702], [9, 9, 1, 1]);
}

#[test]
fn callers_who_break_the_rules_are_found_out() {
    for (first, second) in [
        (Action::Read, Action::Write),
        (Action::Write, Action::Read),
        (Action::Write, Action::Write),
    ] {
        let store = new(1);
        store.queue(first, true);
        let begin = |action, page| match action {
            Action::Read => drop(read(&store, page, 2)),
            _ => drop(write(&store, page, 9, 2)),
        };
        begin(first, 2);
        begin(second, 4); // beside it
        begin(second, 0);
        store.queue(second, false);
        assert!(
            catch_unwind(AssertUnwindSafe(|| begin(second, 3))).is_err(),
            "{first:?}, {second:?}"
        );
    }
}
