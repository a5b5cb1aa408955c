//! Wakers that wait themselves, for what ends with what they are called for.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use writeback::store::fault::Action;
use writeback::{Budget, Mapping, SyncMode};

use crate::{PAGE, stored};

/// Runs a call that blocks when it is woken.
struct Blocks {
    mapping: Mapping,
    call: fn(&Mapping),
    calls: AtomicUsize,
}

impl Wake for Blocks {
    fn wake(self: Arc<Self>) {
        (self.call)(&self.mapping);
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

fn waker(mapping: &Mapping, call: fn(&Mapping)) -> (Arc<Blocks>, Waker) {
    let blocks = Arc::new(Blocks { mapping: mapping.clone(), call, calls: AtomicUsize::new(0) });
    (Arc::clone(&blocks), Waker::from(blocks))
}

#[test]
fn a_waker_may_wait_for_all_that_ends_with_what_it_is_called_for() {
    // A run of reads, whose pages a cut takes away.
    let (store, mapping) = stored(4, &[Action::Read]);
    let handle = mapping.async_handle();
    let (blocks, waker) = waker(&mapping, |mapping| mapping.handle().set_len(0).unwrap());
    let mut bytes = [0; 4 * PAGE];
    {
        let mut read = pin!(handle.read_at(&mut bytes, 0));
        assert!(read.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!((store.pending(), store.deliver_all()), (1, 1));
    }
    assert_eq!((blocks.calls.load(Ordering::Relaxed), mapping.stats().cached), (1, 0));

    // A batch of writes, all of which a sync waits for.
    let (store, mapping) = stored(4, &[Action::Write]);
    let handle = mapping.async_handle();
    handle.handle().write_at(&[9; 4 * PAGE], 0).unwrap();
    mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED).unwrap();
    let (blocks, waker) = self::waker(&mapping, |mapping| mapping.handle().sync_data().unwrap());
    let mut ended = pin!(handle.wait_range(..1));
    assert!(ended.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!((store.pending(), store.deliver_all()), (1, 1));
    assert_eq!((blocks.calls.load(Ordering::Relaxed), mapping.stats().written), (1, 4));
    assert_eq!(store.durable()[..4 * PAGE], [9; 4 * PAGE]);
}
