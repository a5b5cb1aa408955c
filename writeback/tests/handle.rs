//! A handle's further calls: all or an error, several buffers, at the end, as a stream.

mod common;

use std::io::{IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};

use common::{PAGE, TestStore, Writes};
use writeback::{Error, Mapping, MemStore, StoreError, SyncMode};

fn open(store: MemStore) -> Mapping {
    common::watch();
    Mapping::open(store).unwrap()
}

#[test]
fn a_read_of_all_gets_all_or_an_error() {
    let handle = open(MemStore::with_contents(b"hello")).handle();
    let mut bytes = [0; 5];
    handle.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"hello");
    assert!(matches!(
        handle.read_exact_at(&mut bytes, 1),
        Err(Error::OutOfRange { offset: 1, len: 5 })
    ));
    handle.read_exact_at(&mut [], 9).unwrap();
}

#[test]
fn several_buffers_are_read_and_written_as_one() {
    let handle = open(MemStore::new()).handle();
    let long = [7; PAGE];
    let bufs = [IoSlice::new(b"ab"), IoSlice::new(&[]), IoSlice::new(&long)];
    handle.write_vectored_at(&bufs, 3).unwrap();
    assert_eq!(handle.len(), 5 + PAGE as u64);
    let (mut first, mut second, mut third) = ([9; 4], [9; PAGE], [9; 8]);
    let mut bufs =
        [&mut first[..], &mut second, &mut third].map(|buf: &mut [u8]| IoSliceMut::new(buf));
    assert_eq!(handle.read_vectored_at(&mut bufs, 2).unwrap(), 3 + PAGE);
    assert_eq!((&first, second[PAGE - 1]), (b"\0ab\x07", 9));
    assert!(second[..PAGE - 1].iter().all(|byte| *byte == 7) && third == [9; 8]);
    let too_far = handle.write_vectored_at(&[IoSlice::new(b"a"), IoSlice::new(b"b")], u64::MAX);
    assert!(matches!(too_far, Err(Error::OutOfRange { .. })));
}

#[test]
fn appends_of_many_threads_lie_one_behind_the_other() {
    let mapping = open(MemStore::with_contents(b"before"));
    let places: Vec<_> = std::thread::scope(|scope| {
        let append = |thread: u8| {
            let handle = mapping.handle();
            move || (0..200).map(|_| (handle.append(&[thread; 37]).unwrap(), thread)).collect()
        };
        let threads: Vec<_> = (1..5).map(|thread| scope.spawn(append(thread))).collect();
        threads
            .into_iter()
            .flat_map(|thread| -> Vec<(u64, u8)> { thread.join().unwrap() })
            .collect()
    });
    assert_eq!(mapping.len(), 6 + 4 * 200 * 37);
    for (place, thread) in places {
        let mut bytes = [0; 37];
        mapping.handle().read_exact_at(&mut bytes, place).unwrap();
        assert_eq!(bytes, [thread; 37], "at {place}");
    }
}

#[test]
fn an_append_waits_for_the_one_before() {
    let (mapping, store) = common::open(1);
    mapping.handle().set_len(10).unwrap();
    // The first has to read the page, and the end is where it was until it has.
    store.block_read(true);
    let append = |bytes: &'static [u8]| {
        let handle = mapping.handle();
        std::thread::spawn(move || handle.append(bytes).unwrap())
    };
    let first = append(b"first");
    common::eventually("it reads the page", || store.reads_begun() == 1);
    let second = append(b"second");
    common::never("the first is at work", || second.is_finished());
    store.block_read(false);
    assert_eq!((first.join().unwrap(), second.join().unwrap()), (10, 15));
}

#[test]
fn a_cloned_handle_is_told_by_itself_of_what_the_first_was_not_told() {
    let store = TestStore::new();
    let mapping = Mapping::open(store.clone()).unwrap();
    let first = mapping.handle();
    first.write_at(b"x", 0).unwrap();
    store.writes(Writes::Fail(StoreError::NoSpace));
    mapping.write_page(0, SyncMode::Wait).unwrap_err();
    mapping.handle().check_error().expect_err("this one is told, and is another");
    let clone = first.clone();
    first.check_error().unwrap_err();
    clone.check_error().unwrap_err();
    first.clone().check_error().expect("it was told");
    clone.check_error().expect("it was told");
}

#[test]
fn a_stream_is_a_file_with_a_position() {
    let mut stream = open(MemStore::new()).handle().stream();
    stream.write_all(&[1; 3 * PAGE]).unwrap();
    stream.flush().unwrap();
    assert_eq!(stream.stream_position().unwrap(), 3 * PAGE as u64);
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "at the end");
    assert_eq!(stream.seek(SeekFrom::End(-2)).unwrap(), 3 * PAGE as u64 - 2);
    stream.write_all(b"abcd").unwrap();
    assert_eq!(stream.seek(SeekFrom::Current(-4)).unwrap(), 3 * PAGE as u64 - 2);
    let mut rest = String::new();
    assert_eq!(stream.read_to_string(&mut rest).unwrap(), 4);
    assert_eq!(rest, "abcd");
    let below = stream.seek(SeekFrom::Start(1)).and_then(|_| stream.seek(SeekFrom::Current(-2)));
    assert_eq!(below.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(stream.stream_position().unwrap(), 1, "it stays where it was");
    let full = stream.seek(SeekFrom::Start(u64::MAX)).and_then(|_| stream.write(b"x"));
    assert!(full.unwrap_err().raw_os_error().is_some());
    assert_eq!(stream.into_handle().len(), 3 * PAGE as u64 + 2);
}

/// The first page can be changed in part, the second cannot: it would have to be read.
fn half_readable() -> (Mapping, TestStore) {
    let (mapping, store) = common::open(2);
    common::page(&mapping, 0);
    store.fail_read(true);
    (mapping, store)
}

#[test]
fn several_buffers_that_fail_tell_how_much_of_all_was_written() {
    let (mapping, _store) = half_readable();
    let (half, page) = ([1; PAGE / 2], [2; PAGE]);
    let bufs = [IoSlice::new(&half), IoSlice::new(&page)];
    let told = mapping.handle().write_vectored_at(&bufs, 0).unwrap_err();
    assert!(matches!(&told, Error::Partial { written, .. } if *written == PAGE as u64), "{told}");
    let bufs = [IoSlice::new(&half), IoSlice::new(&half), IoSlice::new(&half)];
    let told = mapping.handle().write_vectored_at(&bufs, 0).unwrap_err();
    assert!(matches!(&told, Error::Partial { written, .. } if *written == PAGE as u64), "{told}");
    let told = mapping.handle().write_vectored_at(&bufs[..1], PAGE as u64).unwrap_err();
    assert!(matches!(told, Error::Read { index: 1, .. }), "nothing was");
}

#[test]
fn a_stream_that_fails_has_written_what_it_says_and_stands_behind_it() {
    let (mapping, store) = half_readable();
    let mut stream = mapping.handle().stream();
    assert_eq!(stream.write(&[1; PAGE + 9]).unwrap(), PAGE);
    assert_eq!(stream.stream_position().unwrap(), PAGE as u64);
    stream.write(&[1; 9]).unwrap_err();
    store.fail_read(false);
    stream.write_all(&[1; 9]).unwrap();
    assert_eq!(stream.stream_position().unwrap(), PAGE as u64 + 9);
}
