//! Rings that take nothing any more, and stores whose ends are in each other's hands.

use std::sync::Barrier;

use super::*;

/// What is told of these many writes, each of them.
fn told(told: &Receiver<(u64, bool)>, count: usize) -> Vec<bool> {
    let one = || told.recv_timeout(Duration::from_secs(20)).expect("each is told of its end").1;
    (0..count).map(|_| one()).collect()
}

#[test]
fn what_was_noted_and_never_handed_over_ends_when_the_ring_breaks() {
    within(|| {
        let memory = MemStore::new();
        let ring = Fake::new(&memory, 8);
        *ring.deaf.lock() = true;
        let store = Under::new(ring, 8);
        let (tell, ends) = channel();
        (0..20).for_each(|number| write(&store, number * PAGE as u64, &tell));
        assert_eq!(told(&ends, 20), [false; 20]);
        let error = store.sync(FlushKind::Data).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        drop(store);
        assert!(memory.accepted().is_empty());
    });
}

#[test]
fn what_had_ended_before_the_ring_broke_has_ended() {
    within(|| {
        let memory = MemStore::new();
        let mut ring = Fake::new(&memory, 9);
        (ring.prompt, ring.refuses, ring.alignment) = (true, 0, PAGE);
        let (stuck, broken, most) =
            (Arc::clone(&ring.stuck), Arc::clone(&ring.broken), Arc::clone(&ring.most));
        *stuck.lock() = true;
        let store = Under::new(ring, 3);
        let (tell, ends) = channel();
        (0..3).for_each(|number| write(&store, number * PAGE as u64, &tell));
        eventually(|| most.load(Ordering::Relaxed) == 3);
        *broken.lock() = true;
        assert_eq!(told(&ends, 3), [true; 3]);
        assert!(memory.accepted() == [7; 3 * PAGE]);
    });
}

/// It breaks while something that has not ended is handed over again, and others have ended at the same time.
#[test]
fn ends_that_come_as_the_ring_breaks_are_all_told() {
    within(|| {
        for seed in 0..60 {
            let mut ring = Fake::new(&MemStore::new(), seed);
            (ring.prompt, ring.deafens) = (true, true);
            (ring.room, ring.refuses) = (1, 2);
            let stuck = Arc::clone(&ring.stuck);
            *stuck.lock() = true;
            let store = Under::new(ring, 8);
            let (tell, ends) = channel();
            (0..8).for_each(|number| write(&store, number * PAGE as u64, &tell));
            *stuck.lock() = false;
            told(&ends, 8);
        }
    });
}

#[test]
fn stores_that_drop_each_other_do_not_wait_for_each_other() {
    within(|| {
        let stores =
            [10, 11].map(|seed| Arc::new(Under::new(Fake::new(&MemStore::new(), seed), 8)));
        let barrier = Arc::new(Barrier::new(3));
        let (tell, told) = channel();
        for (number, store) in stores.iter().enumerate() {
            let (other, barrier) = (Arc::clone(&stores[1 - number]), Arc::clone(&barrier));
            let tell = tell.clone();
            let completion = Completion::new(PAGE as u64, move |_, _| {
                barrier.wait();
                drop(other);
                let _ = tell.send(());
            });
            store.write(WriteBatch::new(0, 0, vec![[1; PAGE][..].into()]), completion);
        }
        // Each is in the hands of the other's thread now.
        drop(stores);
        barrier.wait();
        (0..2).for_each(|_| told.recv_timeout(Duration::from_secs(20)).expect("they wait"));
    });
}

#[test]
fn what_no_file_reaches_is_refused_before_the_kernel_sees_it() {
    within(|| {
        let memory = MemStore::new();
        let store = Under::new(Fake::new(&memory, 12), 2);
        let last = i64::MAX.cast_unsigned();
        for offset in [u64::MAX, u64::MAX - PAGE as u64, last, last - PAGE as u64 + 1] {
            let written = store.write_at(offset, &[9; PAGE]).unwrap_err();
            let read = store.read_at(offset, &mut [0; PAGE]).unwrap_err();
            for error in [written, read] {
                assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{offset}");
            }
        }
        assert!(memory.accepted().is_empty());
    });
}
