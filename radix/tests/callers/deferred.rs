//! Calls that are deferred until nobody looks.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;

use tagged_radix::{Inline, RadixTree, pin};

use crate::alone;
use crate::common::{drain, within};

#[test]
fn a_call_waits_for_all_guards_of_its_time() {
    let _alone = alone();
    within(|| {
        let done = Arc::new(AtomicU64::new(0));
        let ((ready, is_ready), (go, may_go)) = (mpsc::channel(), mpsc::channel::<()>());
        let other = thread::spawn(move || {
            let _guard = pin();
            ready.send(()).unwrap();
            may_go.recv().unwrap_err();
        });
        is_ready.recv().unwrap();
        let seen = Arc::clone(&done);
        pin().defer(move || {
            seen.fetch_add(1, SeqCst);
        });
        for _ in 0..100 {
            pin().flush();
        }
        assert_eq!(done.load(SeqCst), 0, "the other thread is pinned");
        drop(go);
        other.join().unwrap();
        drain(|| done.load(SeqCst) > 0);
        (0..100).for_each(|_| pin().flush());
        assert_eq!(done.load(SeqCst), 1, "once");
    });
}

#[test]
fn a_call_may_use_trees_and_panic_and_is_under_no_guard() {
    static TREE: RadixTree<Inline> = RadixTree::new();
    let _alone = alone();
    within(|| {
        let (sender, receiver) = mpsc::channel();
        for number in 0..300_u64 {
            let sender = sender.clone();
            pin().defer(move || {
                TREE.pin().insert(number, Inline::default());
                if number % 100 == 0 {
                    // Were this under a guard, nothing of another thread would be freed.
                    thread::spawn(frees_something).join().unwrap();
                }
                sender.send(number).unwrap();
                assert!(number % 10 > 0, "bomb {number}");
            });
        }
        drain(|| TREE.len() == 300);
        drop(sender);
        let mut numbers: Vec<_> = receiver.iter().collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..300));
    });
}

fn frees_something() {
    let freed = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&freed);
    pin().defer(move || {
        told.fetch_add(1, SeqCst);
    });
    drain(|| freed.load(SeqCst) == 1);
}
